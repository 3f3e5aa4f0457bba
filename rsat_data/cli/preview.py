"""``rsat-data preview``: look at rows of a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rsat_data.errors import DatasetError, UsageError, WorkspaceError
from rsat_data.progress import Bars

EPILOG = """\b
Examples:
  rsat-data preview my_dataset --row row_1f3a9c02d4e5b678
  rsat-data preview my_dataset --row 1f3a --row 77c0 --out looks
  rsat-data preview my_dataset --sample 5 --sheet-only
  rsat-data preview my_dataset --all --json | jq -r '.rows[].sheet'
"""


@click.command(epilog=EPILOG)
@click.argument("dataset", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--row", "rows", multiple=True, metavar="ID", help="A row id, or the beginning of just one. Repeatable.")
@click.option("--all", "everything", is_flag=True, help="Every row.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="N rows, drawn by --seed.")
@click.option("--seed", default=0, show_default=True, help="Decides which rows --sample draws.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files.  [default: OUT-preview]")
@click.option("--sheet-only", is_flag=True, help="Only the contact sheet, no video.")
@click.option("--size", default=400, show_default=True, help="Side of a panel of the video, pixels.")
@click.option("--head", metavar="NAME|FILE", help="Draw with this head, though the codes belong to another.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def preview(
    dataset: Path,
    rows: tuple[str, ...],
    everything: bool,
    sample: int | None,
    seed: int,
    out: Path | None,
    sheet_only: bool,
    size: int,
    head: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Write a video and a contact sheet for rows of the dataset in OUT.

    The video shows crop, mesh over face, mesh alone and the mesh's landmarks side by side, with the row's sound. The
    sheet shows the frames that tell most: the ends, extremes of mouth, eyes and turn, the worst, and what is invalid
    and why. Nothing but the dataset and its head model is needed. docs/preview.md says how to read them.
    """
    if sum((bool(rows), everything, sample is not None)) != 1:
        raise UsageError(
            "Say which rows to preview: --row ID (repeatable), --sample N or --all.",
            hint=f"For a start: rsat-data preview {dataset} --sample 3",
        )
    if size % 2 or not 64 <= size <= 1080:
        raise UsageError(f"--size must be an even number from 64 to 1080, it is {size}.")
    from rsat_data.siblings import check_siblings

    check_siblings()
    from rsat_data.find_id import find_id
    from rsat_data.preview.lookup import sample_rows
    from rsat_data.preview.run import PreviewOptions, preview_row
    from rsat_data.reader import load

    data = load(dataset, split=None)
    names: list[str] = data.arrow(["row_id"])["row_id"].to_pylist() if len(data) else []
    if not names:
        raise DatasetError(f"{dataset} holds no row: there is nothing to show.", path=dataset)
    if rows:
        wanted = list(dict.fromkeys(find_id("row", row, names, dataset) for row in rows))
    else:
        wanted = names if sample is None else sample_rows(names, sample, seed)
    folder = dataset.resolve().with_name(f"{dataset.resolve().name}-preview") if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"{folder} cannot be made: {error.strerror}.", path=folder) from error
    options = PreviewOptions(size=size, video=not sheet_only, head=head)
    total = len(wanted) + (0 if sheet_only else sum(int(data.by_id(name)["num_frames"]) for name in wanted))
    done = []
    with Bars(enabled=not quiet and not as_json) as bars:
        bar = bars.bar("preview", float(total), "sheets" if sheet_only else "frames")
        for name in wanted:
            bar.set(bar.done, note=name)
            result = preview_row(data.by_id(name), folder, options, bar.advance)
            done.append(result)
            if not as_json:
                if not result.has_video:
                    bars.say(f"{name} has no video (out of sight, or codes and sound only): the mesh is drawn alone.")
                for path in (result.sheet, result.video):
                    if path is not None:
                        click.echo(path)
    if as_json:
        click.echo(json.dumps({"out": str(folder), "rows": [result.as_dict() for result in done]}, indent=1))
    return 0
