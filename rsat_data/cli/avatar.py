"""``rsat-data avatar``: Gaussian avatars of the people in a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_PATH = click.Path(path_type=Path)

EPILOG = """\b
Examples:
  rsat-data avatar fit my_dataset
  rsat-data avatar render my_dataset --subject 1f3a --row 77c0 --out talk.mp4
  rsat-data avatar export my_dataset --subject 1f3a --out face.ply --format static

docs/avatar_commands.md tells more.
"""


@click.group(epilog=EPILOG)
def avatar() -> None:
    """Fit Gaussian avatars to the people of a dataset, draw with them, exchange them."""


FIT_EPILOG = """\b
Examples:
  rsat-data avatar fit my_dataset
  rsat-data avatar fit my_dataset --dry-run
  rsat-data avatar fit my_dataset --subject 1f3a --budget 10m
  rsat-data avatar fit my_dataset --budget 80s --device cuda --size 512
  rsat-data avatar fit my_dataset --json | jq '.avatars[].psnr'

\b
A budget is the time one subject's fit may take: 90s, 3m, 1h. Avatars that are there already, fitted with the same
options to the same rows, are kept. Stopped in the middle (Ctrl-C, power cut, kill -9)? The same command goes on where
it was. Exit codes: 0 done, 1 error, 2 wrong usage, 3 done with more failed subjects than --max-failed, 130 interrupted.
"""


@avatar.command(epilog=FIT_EPILOG)
@click.argument("out", type=_PATH)
@click.option(
    "--subject", "subjects", multiple=True, metavar="ID", help="Only this subject, or the beginning of its id."
)
@click.option("--budget", metavar="TIME", help="Time for each fit, such as 90s, 3m, 1h.  [default: 5m]")
@click.option("--size", type=int, metavar="N", help="Side of the pictures compared, pixels.  [default: 256]")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")
@click.option(
    "--workers", type=click.IntRange(1), help="Fits at the same time.  [default: one a GPU, or one per 4 cores]"
)
@click.option("--set", "settings", multiple=True, metavar="avatar.KEY=VALUE", help="Set another option; repeatable.")
@click.option(
    "--max-failed",
    default="5%",
    show_default=True,
    metavar="N|N%",
    help="Exit with 3 when more subjects than this failed (skipped ones count if named with --subject).",
)
@click.option("--offline", is_flag=True, help="Open no network connection.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, with estimated time and disk, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def fit(**options: Any) -> int:
    """Fit an avatar to every subject of the dataset in OUT, and put it there.

    Results: OUT/avatars/<subject>/avatar.ply, avatar.json (metrics on held-out time) and preview.png; the columns
    avatar_id and avatar_psnr of the subject's rows.
    """
    from rsat_data.siblings import check_siblings

    check_siblings()
    from rsat_data.avatars.fit import FitOptions, run_fit

    return run_fit(FitOptions(**options))


RENDER_EPILOG = """\b
Examples:
  rsat-data avatar render my_dataset --subject 1f3a --row 77c0 --out talk.mp4
  rsat-data avatar render my_dataset --subject 1f3a --turntable --out turn.mp4
  rsat-data avatar render my_dataset --subject 1f3a --row 77c0 --out frames/ --alpha
  rsat-data avatar render my_dataset --avatar my_avatar --row 77c0 --out talk.mp4 --size 256

\b
The row may be of the subject itself or of anybody whose codes belong to the same head. A video carries the row's sound.
"""


@avatar.command(epilog=RENDER_EPILOG)
@click.argument("out", metavar="[DATASET]", type=_PATH, required=False)
@click.option("--subject", metavar="ID", help="Whose avatar: a subject id, or its beginning.")
@click.option("--avatar", "folder", type=_PATH, help="Instead of --subject: a folder with avatar.ply and avatar.json.")
@click.option("--row", metavar="ID", help="Whose codes move it: a row id, or its beginning.")
@click.option("--turntable", is_flag=True, help="Swing the camera around the head, as far as training saw it.")
@click.option("--full-turn", is_flag=True, help="All the way around it instead: most of that was never seen.")
@click.option("--out", "target", type=_PATH, required=True, help="A file .mp4, or a folder for PNG files.")
@click.option("--size", default=512, show_default=True, help="Side of the picture, pixels.")
@click.option("--alpha", is_flag=True, help="PNG files with an alpha channel.")
@click.option(
    "--background", default="white", show_default=True, metavar="NAME|#RRGGBB", help="white, grey, black, ..."
)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def render(**options: Any) -> int:
    """Draw a subject's avatar, moved by the codes of a row of DATASET (not needed for --avatar with --turntable alone).

    Frames that are not valid take the codes between their valid neighbours.
    """
    from rsat_data.siblings import check_siblings

    check_siblings()
    from rsat_data.avatars.render import RenderOptions, run_render

    return run_render(RenderOptions(**options))


EXPORT_EPILOG = """\b
Formats:
  gaussian-avatars  point_cloud.ply with local values and binding_0, as GaussianAvatars reads it
  static            one pose as an ordinary splat file, for any viewer

\b
Examples:
  rsat-data avatar export my_dataset --subject 1f3a --out my_avatar
  rsat-data avatar export my_dataset --subject 1f3a --out face.ply --format static
  rsat-data avatar export my_dataset --subject 1f3a --out smile.ply --format static --row 77c0 --frame 25
"""


@avatar.command(epilog=EXPORT_EPILOG)
@click.argument("out", metavar="[DATASET]", type=_PATH, required=False)
@click.option("--subject", metavar="ID", help="Whose avatar: a subject id, or its beginning.")
@click.option("--avatar", "folder", type=_PATH, help="Instead of --subject: a folder with avatar.ply and avatar.json.")
@click.option("--out", "target", type=_PATH, required=True, help="A folder; for static, a file .ply.")
@click.option(
    "--format",
    "format",
    type=click.Choice(["gaussian-avatars", "static"]),
    default="gaussian-avatars",
    show_default=True,
)
@click.option("--row", metavar="ID", help="static: pose of a frame of this row.  [default: the head at rest]")
@click.option("--frame", type=int, default=0, show_default=True, help="static: which frame of the row.")
@click.option(
    "--sh-degree", type=click.IntRange(0, 3), default=3, show_default=True, help="gaussian-avatars: of the file."
)
@click.option("--y-up", is_flag=True, help="static: for viewers that want y up.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON on standard output.")
def export(**options: Any) -> int:
    """Write a subject's avatar in another program's format."""
    from rsat_data.siblings import check_siblings

    check_siblings()
    from rsat_data.avatars.exchange import ExportOptions, run_export

    return run_export(ExportOptions(**options))


IMPORT_EPILOG = """\b
Examples:
  rsat-data avatar import p1/exhibition.zip --out lam_head
  rsat-data avatar import point_cloud/iteration_600000 --head flame2023 --out their_avatar
  rsat-data avatar render --avatar lam_head --turntable --out turn.mp4
"""


@avatar.command("import", epilog=IMPORT_EPILOG)
@click.argument("source", type=_PATH)
@click.option("--out", "target", type=_PATH, required=True, help="Folder for avatar.ply and avatar.json.")
@click.option("--head", metavar="NAME|FILE", help="GaussianAvatars: the FLAME it was made with, such as flame2023.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON on standard output.")
def import_(**options: Any) -> int:
    """Read an avatar of GaussianAvatars (point_cloud.ply, flame_param.npz) or a head of LAM (its zip file)."""
    from rsat_data.siblings import check_siblings

    check_siblings()
    from rsat_data.avatars.exchange import ImportOptions, run_import

    return run_import(ImportOptions(**options))
