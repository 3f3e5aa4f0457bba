"""``rsat-data export``: rows of a dataset in other tools' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rsat_data.dialects.register import DIALECTS
from rsat_data.errors import UsageError

_WRITTEN = [entry for entry in DIALECTS.values() if entry.writes]
EPILOG = (
    """\b
Formats:
"""
    + "\n".join(f"  {entry.name:<10} {entry.about}" for entry in _WRITTEN)
    + """

\b
Examples:
  rsat-data export --vertices my_dataset meshes --row row_0123456789abcdef
  rsat-data export --format vhap --head flame2023 my_dataset sequences
  rsat-data export --format vhap --own-codes my_dataset sequences
"""
)


@click.command(epilog=EPILOG)
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--format", "format", type=click.Choice([entry.name for entry in _WRITTEN]), help="Format to write.")
@click.option("--vertices", is_flag=True, help="Short for --format vertices.")
@click.option("--row", "rows", multiple=True, metavar="ID", help="Only this row; repeatable.")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), help="Only this split.")
@click.option("--head", help="Convert codes to this head, through vertices; both heads must be on this machine.")
@click.option("--own-codes", is_flag=True, help="Write codes of the dataset's own head, named in the files.")
@click.option("--keep-crop", is_flag=True, help="vhap: leave pictures as they are, principal point off the middle.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def export(vertices: bool, **options: Any) -> int:
    """Write rows of the dataset in OUT to the new folder DEST, a folder a row.

    Formats of FLAME take FLAME's codes: those of another head are refused, unless --head converts them or --own-codes
    says that they are meant. What a format cannot hold is named (docs/dialects.md).
    """
    if vertices and options["format"] not in (None, "vertices"):
        raise UsageError("--vertices is short for --format vertices: give one of them.")
    if vertices:
        options["format"] = "vertices"
    if options["format"] is None:
        raise UsageError("Which format? Give --format, or --vertices.", hint="Formats: rsat-data export --help")
    from rsat_data.dialects.export_run import ExportOptions, run_export

    return run_export(ExportOptions(**options))
