"""Importing a head: the user's file becomes a head file with a name, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from model.head.calibrate import CalibrationConfig, Detector
from model.head.complete import CALIBRATION, MASKS, Completed, complete
from model.head.file import read_head_file, write_head_file
from model.head.import_flame import choose_name, convert, read_flame
from model.head.import_ict import convert_ict, read_ict
from model.head.load import load_head
from model.head.restricted_pickle import numbers, read_pickle
from model.head.store import imported_path
from rsat_data.errors import ModelFileError, WorkspaceError
from rsat_data.registry import HOME_VARIABLE

Report = Callable[[str], None]
OpenDetector = Callable[[], AbstractContextManager[Detector]]
"""Opens the landmark detector; called only when it is needed."""


@dataclass(frozen=True)
class Imported:
    """What an import made."""

    name: str
    """What ``load_head`` takes."""
    head_id: str
    """What ``head_model`` in a dataset will say."""
    path: Path
    """The head file."""
    source_sha256: str
    """Of the user's file."""
    completed: Completed | None
    """Figures of the landmarks; None where the same file had been imported before."""


def import_flame(
    path: Path,
    name: str | None,
    detector: OpenDetector,
    *,
    masks: Path | None = None,
    force: bool = False,
    calibration: CalibrationConfig = CALIBRATION,
    report: Report = lambda text: None,
) -> Imported:
    """Import FLAME from the publisher's pickle or an npz of the same arrays.

    Args:
        path: the user's file.
        name: flame2020, flame2023...; None to go by the file, where it says.
        detector: opens the landmark detector.
        masks: FLAME's file of vertex regions, if the user has it.
        force: import again what is here already.
        calibration: portraits for the landmarks.
        report: told what is being done.

    Raises:
        UnsafeModelFile: the file would run code.
        ModelFileError: the file is damaged, no FLAME, or another head has this name already.
        UsageError: the version is not known.
    """
    flame = read_flame(path)
    chosen = choose_name(flame, path, name)
    report(f"sha256 {flame.sha256}")
    tensors, metadata = convert(flame, chosen, path)
    regions = None if masks is None else read_masks(masks, len(tensors["v_template"]))
    return _finish(chosen, path, tensors, metadata, detector, regions, force, calibration, report)


def import_ict(
    path: Path,
    detector: OpenDetector,
    *,
    name: str = "ict",
    force: bool = False,
    calibration: CalibrationConfig = CALIBRATION,
    report: Report = lambda text: None,
) -> Imported:
    """Import ICT-FaceKit from its folder of OBJ files, or from an npz of the same arrays; see :func:`import_flame`."""
    arrays = read_ict(path)
    report(f"sha256 {arrays.sha256}")
    tensors, metadata = convert_ict(arrays, name, path, load_head())
    return _finish(name, path, tensors, metadata, detector, None, force, calibration, report)


def read_masks(path: Path, num_vertices: int) -> dict[str, np.ndarray]:
    """Vertex ids by region from FLAME's masks file (a pickle, read like the model: nothing of it runs).

    Raises:
        ModelFileError: it is damaged, of another mesh, or holds none of the regions.
    """
    value = read_pickle(path).value
    found: dict[str, np.ndarray] = {}
    for region in MASKS:
        if isinstance(value, Mapping) and region in value:
            try:
                ids = numbers(value[region]).astype(np.int64).ravel()
            except ValueError as error:
                raise ModelFileError(f"{path}: region '{region}' is {error}", path=path) from error
            if len(ids) == 0 or ids.min() < 0 or ids.max() >= num_vertices:
                raise ModelFileError(
                    f"{path}: region '{region}' names vertices that a mesh of {num_vertices} does not have",
                    hint="Give the masks file that belongs to this model.",
                    path=path,
                )
            found[region] = ids
    if not found:
        raise ModelFileError(
            f"{path} holds none of the regions {', '.join(MASKS)}", hint="Give FLAME_masks.pkl, or none.", path=path
        )
    return found


def _finish(
    name: str,
    source: Path,
    tensors: dict[str, np.ndarray],
    metadata: dict[str, str],
    detector: OpenDetector,
    masks: Mapping[str, np.ndarray] | None,
    force: bool,
    calibration: CalibrationConfig,
    report: Report,
) -> Imported:
    target = imported_path(name)
    digest = metadata["source_sha256"]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.is_file() and not force:
                _, old, _ = read_head_file(target)
                if old.get("source_sha256") == digest and masks is None:
                    report("this very file was imported before")
                    return Imported(name, load_head(name).id, target, digest, None)
                raise ModelFileError(
                    f"There is a head called '{name}' already, from another file "
                    f"(sha256 {old.get('source_sha256', 'unknown')[:12]}; this one {digest[:12]})",
                    hint="Give this one another name (--name), or replace the old one (--force): "
                    "datasets made with it keep its id.",
                    path=source,
                )
            with detector() as detect:
                completed = complete(
                    tensors, metadata, load_head(), detect, masks=masks, calibration=calibration, report=report
                )
            write_head_file(target, completed.tensors, metadata)
    except PermissionError as error:
        raise WorkspaceError(
            f"The head cannot be saved: {error}",
            hint=f"Set {HOME_VARIABLE} to a folder that can be written.",
            path=target,
        ) from error
    return Imported(name, load_head(name).id, target, digest, completed)
