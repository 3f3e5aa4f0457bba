"""Files of a run: ``run.json`` says what it is, each stage's folder holds its last state and its best weights.

Tensors are safetensors files, replaced by one rename; nothing in them can run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from model.train.config import SECTIONS, RunConfig
from rsat_data.config import from_mapping
from rsat_data.errors import ConfigError, RunError
from rsat_data.files import keep_state

VERSION = "4"
"""Of the files of a run. 1: networks that could not draw; 2: those that drew by another head."""
RUN_FILE, LAST, BEST = "run.json", "last.safetensors", "best.safetensors"
DRAWS = "draws"
"""Folder in that of stage 1: the head that draws, learnt once the mean stands. Its files hold the whole network."""


@dataclass(frozen=True)
class RunFacts:
    """What a run belongs to."""

    config: RunConfig
    """Settings."""
    dataset_hash: str
    """Of the rows it was trained on, their splits, their head."""
    head_model: str
    """Of the codes it predicts."""
    num_expression: int
    """E."""
    encoder: str
    """Key of the speech encoder."""
    channels: int
    """Numbers a feature vector of speech."""
    per_frame: int
    """Feature vectors a frame."""


def write_facts(folder: Path, facts: RunFacts) -> None:
    """Write ``run.json``."""
    data = json.dumps({"version": VERSION, **asdict(facts)}, indent=2) + "\n"
    keep_state(folder / RUN_FILE, data.encode(), "The run")


def read_facts(folder: Path) -> RunFacts:
    """Read ``run.json``.

    Raises:
        RunError: the folder holds no run, or one of another version.
    """
    path = folder / RUN_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values.pop("version")
    except FileNotFoundError as error:
        raise RunError(
            f"{folder} holds no run: {RUN_FILE} is missing.",
            hint="Train one: rsat-data train-baseline --dataset OUT --run RUN",
            path=folder,
        ) from error
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RunError(
            f"{path} cannot be read: {error}.", hint="Train into another folder, or take the file from a backup.",
            path=path,
        ) from error  # fmt: skip
    if version != VERSION:
        raise RunError(
            f"{folder} was trained by another version: its files are of version {version}, this one reads {VERSION}.",
            hint="Train it anew, or use the version of rsat-data that made it.",
            path=folder,
        )
    try:
        sections = values.pop("config")
        given = [(name, cls, sections.get(name, {})) for name, cls in SECTIONS.items()]
        config = RunConfig(**{name: from_mapping(cls, found, where=name) for name, cls, found in given})
        return RunFacts(config=config, **values)
    except (ConfigError, KeyError, TypeError) as error:
        raise RunError(f"{path} is not a run's description: {error}.", path=path) from error


def weights_of(run: Path, stage: int) -> Path | None:
    """The kept weights of a stage (1 or 3), the latest; None where it has none."""
    places = [run / f"stage{stage}" / DRAWS / BEST, run / f"stage{stage}" / BEST]
    return next((path for path in places if path.is_file()), None)


def write(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Replace a checkpoint; whenever this is interrupted, the old one or the new one is there.

    Raises:
        DiskFullError: no space is left.
        WorkspaceError: the folder cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One entry: several would come in an order that changes from process to process.
    metadata = {"run": json.dumps({"version": VERSION, "values": values})}
    keep_state(path, save(plain, metadata=metadata), "The run")


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and values of a checkpoint.

    Raises:
        RunError: it is missing, damaged, not finite, or of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if metadata.get("version") != VERSION:
            raise RunError(f"{path} is of version {metadata.get('version')}, this one reads {VERSION}.", path=path)
        values = metadata["values"]
    except FileNotFoundError as error:
        raise RunError(f"There is no checkpoint {path}.", path=path) from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(
            f"The checkpoint {path} is damaged: {error}.",
            hint=f"Remove {path.parent} and train that stage again, without --resume if it is stage 1.",
            path=path,
        ) from error
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point()):
        raise RunError(f"The checkpoint {path} holds values that are not finite.", path=path)
    return tensors, values
