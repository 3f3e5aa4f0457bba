"""``rsat-data render``: videos of talking people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

_PATH = click.Path(path_type=Path)

EPILOG = """\b
Examples:
  rsat-data render my_dataset --row 77c0 --out talk.mp4
  rsat-data render my_dataset --clip 3b1e --run my_run --out truth_and_prediction.mp4
  rsat-data render --run my_run --audio anna.wav ben.wav --out mesh.mp4
  rsat-data render my_dataset --subjects 1f3a 77b2 --run my_run --audio anna.wav ben.wav \\
      --relation unequal,senior=A --out conversation.mp4
  rsat-data render --run my_run --audio call.wav --avatars out/avatars/subj_1 out/avatars/subj_2 --out call.mp4
  rsat-data render --run my_run --audio anna.wav ben.wav --relation unequal,senior=A --compare --out two.mp4
  rsat-data render --codes motion.npz --avatars out/avatars/subj_1 --out motion.mp4
  rsat-data render --run causal_run --audio anna.wav ben.wav --stream --size 256 --out live.mp4
  arecord -t raw -f S16_LE -r 16000 -c 2 | rsat-data render --run causal_run --audio - --stream --out live.mp4

\b
Put DATASET first. --audio, --avatars and --subjects take A's and then B's. Exit codes: 0 done, 1 error, 2 wrong usage,
130 interrupted. docs/rendering.md tells more.
"""


class _Pairs(click.Command):
    """A command whose options in :data:`_TWO` take two values, or one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """``--audio a b`` becomes ``--audio a --audio b``."""
        return super().parse_args(ctx, list(_each_named(args)))


_TWO = ("--audio", "--avatars", "--subjects")


def _each_named(args: Sequence[str]) -> list[str]:
    """Arguments with the option repeated before the second value that follows it."""
    found: list[str] = []
    position = 0
    while position < len(args):
        word = args[position]
        found.append(word)
        position += 1
        if word == "--":
            found += args[position:]
            break
        if word in _TWO and position < len(args):
            found.append(args[position])
            position += 1
            second = args[position] if position < len(args) else "--"
            # A folder after a sound is the dataset, which somebody put last.
            dataset = word == "--audio" and Path(second).is_dir()
            if not (second.startswith("-") and second != "-") and not dataset:
                found += [word, second]
                position += 1
    return found


@click.command(cls=_Pairs, epilog=EPILOG)
@click.argument("dataset", metavar="[DATASET]", type=_PATH, required=False)
@click.option("--row", metavar="ID", help="Draw this row of DATASET: a row id, or its beginning.")
@click.option("--clip", metavar="ID", help="Draw both people of this clip of DATASET.")
@click.option("--run", type=_PATH, help="Run of train-baseline: turns sound into motion; with --row or --clip its "
              "prediction stands beside the truth.")  # fmt: skip
@click.option("--stage", type=click.Choice(["1", "3"]), help="Stage of the run.  [default: its last]")
@click.option("--audio", multiple=True, type=_PATH, metavar="A [B]", help="What A and B say: a file each, of any kind, "
              "or one stereo file (left A, right B); - for raw samples on standard input, with --stream.")  # fmt: skip
@click.option("--avatars", multiple=True, type=_PATH, metavar="A B", help="Folders with the avatars of A and B.")
@click.option("--subjects", multiple=True, metavar="A B", help="Or subjects of DATASET: their avatars, or meshes.")
@click.option("--codes", type=_PATH, metavar="FILE", help="Draw codes of a file: .npz with the dataset's names, or "
              ".parquet with one row.")  # fmt: skip
@click.option("--relation", "relations", multiple=True, metavar="WORDS", help="How the two are related: blood or "
              "non_blood, equal or unequal, senior=A or senior=B, with commas between them; or unknown.")  # fmt: skip
@click.option("--compare", is_flag=True, help="Two relations side by side, the same sound and seed: --relation twice, "
              "or once against the other senior (against unknown where nobody is).")  # fmt: skip
@click.option("--stream", is_flag=True, help="Hear sound as it arrives, draw meanwhile, and print the latency. Needs a "
              "run trained with network.causal=true.")  # fmt: skip
@click.option("--mean", is_flag=True, help="The run's mean motion instead of a draw: calmer, without blinks.")
@click.option("--seed", default=0, show_default=True, help="Of the draw: another seed, other blinks and nods.")
@click.option("--see-partner", is_flag=True, help="Let each person see the motion predicted for the other.")
@click.option("--sound", type=click.Choice(["stereo", "mixed"]), default="stereo", show_default=True,
              help="A left and B right, or both together.")  # fmt: skip
@click.option("--out", "target", type=_PATH, required=True, help="The video, a file .mp4.")
@click.option("--size", default=512, show_default=True, help="Side of each person's picture, pixels.")
@click.option(
    "--background", default="white", show_default=True, metavar="NAME|#RRGGBB", help="white, grey, black, ..."
)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def render(**options: Any) -> int:
    """Draw talking people: rows of a dataset, conversations that a run makes of two people's sound, codes of a file.

    People are drawn as their avatars; where there is none as the mesh, and then it is said how to fit an avatar.
    """
    from rsat_data.siblings import check_siblings

    check_siblings()
    from rsat_data.rendering.options import RenderOptions
    from rsat_data.rendering.run import run_render

    return run_render(RenderOptions(**options))
