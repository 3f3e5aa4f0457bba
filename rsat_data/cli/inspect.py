"""``rsat-data inspect``: one clip in time, as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rsat_data.errors import UsageError, WorkspaceError

EPILOG = """\b
Examples:
  rsat-data inspect my_dataset --clip 0
  rsat-data inspect my_dataset --clip clip_1f3a --out looks/clip.png
  rsat-data inspect my_dataset --clip 1f3a --json | jq .persons.A.scores
"""


@click.command(epilog=EPILOG)
@click.argument("dataset", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--clip", required=True, metavar="ID", help="A clip id, the beginning of just one, or its number from 0.")
@click.option("--out", type=click.Path(path_type=Path), help="PNG to write.  [default: OUT-<clip>.png beside OUT]")
@click.option("--width", default=1600, show_default=True, type=click.IntRange(600, 8000), help="Width, pixels.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON instead of drawing them.")
def inspect(dataset: Path, clip: str, out: Path | None, width: int, as_json: bool) -> None:
    """Draw one clip of the dataset in OUT in time.

    Waveform, where each person speaks and what told so, words, opening of both jaws, turns. Scores of lips and network
    are drawn while the build's workspace (OUT/.work) is there. docs/inspect.md says how to read it.
    """
    from rsat_data.siblings import check_siblings

    check_siblings()
    from rsat_data.inspection.timeline import as_json as numbers
    from rsat_data.inspection.timeline import read_timeline

    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out writes a PNG; {out.name!r} does not end in .png.")
    timeline = read_timeline(dataset, clip)
    if as_json:
        click.echo(json.dumps(numbers(timeline)))
        return
    from rsat_data.inspection.draw import draw

    place = dataset.resolve()
    path = out or place.with_name(f"{place.name}-{timeline.clip_id}.png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(timeline, path, width_px=width)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written: {error.strerror}.", path=path) from error
    click.echo(path)
