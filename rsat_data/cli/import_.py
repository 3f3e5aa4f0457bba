"""``rsat-data import``: other trackers' and data sets' files to a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rsat_data.dialects.register import DIALECTS

EPILOG = (
    """\b
Formats:
"""
    + "\n".join(f"  {entry.name:<10} {entry.about}" for entry in DIALECTS.values())
    + """

\b
Examples:
  rsat-data import --format dualtalk --head flame2020 --own-splits dualtalk --out my_dataset
  rsat-data import --format vhap my_sequence --audio my_sequence.wav --own-audio --out my_dataset
  rsat-data import --format metrical output/actor --silence --out my_dataset

\b
A sidecar <name>.yaml beside a unit tells subjects, relation, licence, consent, as in a build (docs/sidecar.md).
What each format keeps and loses: docs/dialects.md.
"""
)


@click.command("import", epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "format", type=click.Choice(list(DIALECTS)), required=True, help="Format of the files.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the new dataset.")
@click.option("--head", help="Head the codes belong to, where the format does not imply it: flame2020, flame2023, ...")
@click.option(
    "--fps", type=click.FloatRange(1, 1000), help="Frames per second of the files. Default: the format's, 25."
)
@click.option("--camera", help="Camera of a folder with several.")
@click.option(
    "--axes",
    type=click.Choice(["flame", "opencv"]),
    default="flame",
    show_default=True,
    help="Axes of bare vertices: y up, or y down and z away.",
)
@click.option("--audio", type=click.Path(path_type=Path), help="Sound of the one unit. Default: <name>.wav beside it.")
@click.option("--own-audio", is_flag=True, help="The sound is this person's voice alone: tells when they speak.")
@click.option("--silence", is_flag=True, help="Write silence where there is no sound.")
@click.option("--subject", help="Name of the person, the same in all units; stored as a hash.")
@click.option("--licence", help="Licence, where no sidecar says it.")
@click.option("--consent", help="Number of the consent, where no sidecar says it.")
@click.option("--language", help="ISO 639-1 code, where no sidecar says it.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the splits.")
@click.option("--own-splits", is_flag=True, help="Take splits from folders called train, validation, test.")
@click.option("--max-failed", default="5%", show_default=True, metavar="N|N%", help="Exit with 3 when more failed.")
@click.option("--replace", is_flag=True, help="Replace the dataset that OUT holds.")
@click.option("--dry-run", is_flag=True, help="Show what would be imported, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def import_(**options: Any) -> int:
    """Turn tracked codes of other tools into a dataset. PATHS are files or folders, searched at any depth.

    Codes keep their head: those of FLAME 2020 and 2023 never come into one dataset. What cannot be used is named, put
    into meta/quarantine.parquet, and the rest goes on.
    """
    from rsat_data.dialects.import_run import ImportOptions, run_import

    return run_import(ImportOptions(**options))
