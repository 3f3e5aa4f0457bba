"""``rsat-data build``: conversation videos to a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Examples:
  rsat-data build --videos my_videos --out my_dataset
  rsat-data build --videos my_videos --out my_dataset --dry-run
  rsat-data build --videos my_videos --out my_dataset --set speech.model=whisper-tiny.en --workers 2
  rsat-data build --videos my_videos --out my_dataset --gate 'q_sync>0.3,q_face_px>96'
  rsat-data build --videos my_videos --out my_dataset --avatars --avatar-budget 3m
  rsat-data build --videos my_videos --out my_dataset --config my_dataset/meta/config.yaml
  rsat-data build --manifest talks/recordings.csv --out my_dataset

\b
Beside a video, an optional <name>.yaml tells what you know (docs/sidecar.md):
  subjects: {A: anna, B: ben}
  relation: {kinship: blood, status: unequal, senior: A}
  licence: CC-BY-4.0

\b
One video (and microphone) a person? Name them in a CSV, two rows a conversation (docs/recordings.md):
  conversation,person,video,audio,offset_s,subject_id
  talk1,A,talk1/anna.mp4,talk1/anna.wav,,anna
  talk1,B,talk1/ben.mp4,,3.52,ben

Stopped in the middle (Ctrl-C, power cut, kill -9)? The same command goes on where it was.
"""


@click.command(epilog=EPILOG)
@click.option("--videos", type=click.Path(path_type=Path), help="Folder of videos, read at any depth.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="CSV of conversations with one recording a person; with --videos or instead of it.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the dataset; made if missing.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file with a section a stage.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Set one option; repeatable.")
@click.option(
    "--gate",
    "gates",
    multiple=True,
    metavar="CONDITIONS",
    help="Keep clips that meet these, such as 'q_sync>0.3,q_face_px>96'; repeatable. Nothing is computed again.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes. Default: as many as cores and memory allow.")
@click.option(
    "--max-failed",
    default="5%",
    show_default=True,
    metavar="N|N%",
    help="Exit with 3 when more sources than this failed (skipped ones do not count).",
)
@click.option("--avatars", is_flag=True, help="Then fit an avatar to every subject, as `rsat-data avatar fit` does.")
@click.option("--avatar-budget", metavar="TIME", help="With --avatars: time for each fit, such as 90s, 3m, 1h.")
@click.option("--offline", is_flag=True, help="Open no network connection; model files must be there.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, with estimated time and disk, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def build(**options: Any) -> int:
    """Turn conversation videos, or recordings of one person each, into a dataset of Parquet triplets.

    Every stage runs on any machine. Exit codes: 0 done, 1 error, 2 wrong usage, 3 done with more failed sources than
    --max-failed, 130 interrupted.
    """
    from rsat_data.siblings import check_siblings

    check_siblings()
    from rsat_data.run_build import BuildOptions, run_build

    return run_build(BuildOptions(**options))
