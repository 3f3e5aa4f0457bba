"""What ``rsat-data avatar export`` and ``avatar import`` do: avatars to and from other programs."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from rsat_data.avatars.drive import drive_of
from rsat_data.avatars.find import Found, find_avatar, open_dataset, row_of
from rsat_data.errors import EXIT_OK, DatasetError, UsageError
from rsat_data.writer import disk_errors


@dataclass(frozen=True)
class ExportOptions:
    """Options of the command, as given."""

    out: Path | None
    target: Path
    subject: str | None = None
    folder: Path | None = None
    format: str = "gaussian-avatars"
    row: str | None = None
    frame: int = 0
    sh_degree: int = 3
    y_up: bool = False
    as_json: bool = False


def run_export(options: ExportOptions) -> int:
    """Write an avatar in another program's format and return the exit code.

    Raises:
        RsatError: nothing was written.
    """
    static = options.format == "static"
    if static and options.target.suffix.lower() != ".ply":
        raise UsageError(f"--out {options.target} should be a file .ply for --format static.")
    if not static and options.target.suffix.lower() == ".ply":
        raise UsageError(
            f"--out {options.target} should be a folder: GaussianAvatars wants point_cloud.ply, and flame_param.npz "
            "beside it.",
            hint=f"For example --out {options.target.with_suffix('')}",
        )
    data = open_dataset(options.out, needed=options.subject is not None or options.row is not None)
    found = find_avatar(data, options.subject, options.folder)
    codes, name = _codes(options, data, found)
    note = _static(options, found, codes) if static else _gaussian_avatars(options, found, codes)
    facts = {
        "out": str(options.target),
        "format": options.format,
        "avatar": found.name,
        "head": found.avatar.head,
        "gaussians": len(found.avatar.gaussians),
        "row": name,
        "note": note,
    }
    if options.as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        click.echo(f"{options.target}: {facts['gaussians']} Gaussians. {note}".rstrip())
    return EXIT_OK


def _codes(options: ExportOptions, data: Any, found: Found) -> tuple[dict[str, torch.Tensor], str | None]:
    """Complete codes of the row, or of a head at rest; and the row's name."""
    from model.avatar.draw import complete_codes

    if options.row is None or data is None:
        return complete_codes(found.head, {"rotation": torch.zeros(1, 3)}), None
    row = row_of(data, options.row)
    drive = drive_of(row, found.avatar.head, found.head.num_expression)
    return complete_codes(found.head, drive.codes), str(row["row_id"])


def _static(options: ExportOptions, found: Found, codes: dict[str, torch.Tensor]) -> str:
    from model.avatar.draw import torso_of
    from model.avatar.files import export_static
    from model.avatar.posing import pose_on_torso, rest_pose

    count = len(codes["rotation"])
    if not -count <= options.frame < count:
        raise UsageError(f"--frame {options.frame} is outside of the row's {count} frames.")
    personal = found.avatar.personal(found.head)
    torso, rest = torso_of(found.avatar), rest_pose(codes["rotation"], codes["translation"])
    frame = options.frame % count
    one = {name: value[frame : frame + 1] for name, value in codes.items()}
    with torch.no_grad():
        body = None if torso is None else torso.pose(one, rest)
        vertices = pose_on_torso(personal, personal.shaped(found.avatar.shape), one, body)
    _make_folder(options.target.parent)
    export_static(found.avatar.gaussians, vertices, personal.faces, options.target, y_up=options.y_up)
    return "Metres, " + ("y up." if options.y_up else "y down, as scenes of 3D Gaussian splatting have it.")


def _gaussian_avatars(options: ExportOptions, found: Found, codes: dict[str, torch.Tensor]) -> str:
    from model.avatar.files import gaussians_bytes
    from model.avatar.gaussian_avatars import PLY, export_gaussian_avatars
    from rsat_data.dialects.track import FLAME_FAMILIES, family

    _make_folder(options.target)
    if family(found.avatar.head) in FLAME_FAMILIES:
        vertices = found.head.num_vertices
        export_gaussian_avatars(found.avatar, codes, options.target, degree=options.sh_degree, num_vertices=vertices)
        return f"flame_param.npz holds {len(codes['rotation'])} frames."
    path = options.target / PLY
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(path):
            temporary.write_bytes(gaussians_bytes(found.avatar.gaussians, options.sh_degree))
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return (
        f"binding_0 counts the faces of {found.avatar.head}. GaussianAvatars itself carries FLAME alone, so there "
        "is no flame_param.npz, and its viewer cannot pose this file."
    )


def _make_folder(folder: Path) -> None:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


# Import ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImportOptions:
    """Options of the command, as given."""

    source: Path
    target: Path
    head: str | None = None
    as_json: bool = False


def run_import(options: ImportOptions) -> int:
    """Bring an avatar of another program into this project's layout and return the exit code.

    Raises:
        RsatError: nothing was written.
    """
    from model.avatar.files import save_avatar

    kind = kind_of(options.source)
    if kind == "lam":
        from model.avatar.lam import import_lam

        if options.head is not None:
            raise UsageError("A LAM head brings its own mesh: --head does not go with it.")
        avatar, head = import_lam(options.source, options.target)
        frames = 0
    else:
        from model.avatar.gaussian_avatars import import_gaussian_avatars
        from model.head import load_head

        if options.head is None:
            raise UsageError(
                "The files of GaussianAvatars do not say which FLAME they were made with.",
                hint="Say it: --head flame2020 or --head flame2023 (rsat-data models import-flame brings one in).",
            )
        head = load_head(options.head)
        avatar, codes = import_gaussian_avatars(options.source, head)
        _make_folder(options.target)
        save_avatar(avatar, options.target)
        frames = len(codes["rotation"]) if codes else 0
    facts = {
        "out": str(options.target),
        "from": kind,
        "head": head.id,
        "gaussians": len(avatar.gaussians),
        "frames_of_codes": frames,
        "about": dict(avatar.about),
    }
    if options.as_json:
        click.echo(json.dumps(facts, indent=1, default=str))
    else:
        click.echo(f"{options.target}: {facts['gaussians']} Gaussians on {head.id}")
        if frames:
            click.echo(f"its {frames} frames of codes were not taken over: rsat-data import reads such files as rows")
        click.echo(f"Next: rsat-data avatar render --avatar {options.target} --turntable --out turn.mp4")
    return EXIT_OK


def kind_of(source: Path) -> str:
    """``lam`` or ``gaussian-avatars``, by what lies there.

    Raises:
        DatasetError: neither.
    """
    if source.is_dir():
        if (source / "skin.glb").is_file():
            return "lam"
        if (source / "point_cloud.ply").is_file():
            return "gaussian-avatars"
    elif source.suffix.lower() == ".ply" and source.is_file():
        return "gaussian-avatars"
    elif source.is_file() and zipfile.is_zipfile(source):
        return "lam"
    raise DatasetError(
        f"{source} is no avatar that can be read." if source.exists() else f"There is no {source}.",
        hint="Give the point_cloud.ply of GaussianAvatars or its folder, or the zip file of LAM or its folder.",
        path=source,
    )
