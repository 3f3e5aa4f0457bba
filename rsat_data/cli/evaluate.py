"""``rsat-data evaluate``: how good is a trained run, beside floors?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Examples:
  rsat-data evaluate --dataset my_dataset --floors-only
  rsat-data evaluate --dataset my_dataset --floors-only --split validation --out floors
  rsat-data evaluate --dataset my_dataset --run my_run
  rsat-data evaluate --dataset my_dataset --run my_run --ood other_dataset --json > report.json
"""


@click.command(epilog=EPILOG)
@click.option("--dataset", type=click.Path(path_type=Path), required=True, help="Dataset to evaluate on.")
@click.option("--run", type=click.Path(path_type=Path), help="Folder that train-baseline wrote.")
@click.option("--floors-only", is_flag=True, help="Judge what needs no run: zero, means, copies, halves.")
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(["train", "validation", "test"]),
    help="Split to judge on; repeatable.  [default: test]",
)
@click.option("--ood", type=click.Path(path_type=Path), help="Another dataset, judged whole as the split `ood`.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for report.json and report.html.  [default: "
              "RUN/evaluation; none with --floors-only]")  # fmt: skip
@click.option("--stage", type=click.Choice(["1", "3"]), help="Stage of the run.  [default: its last]")
@click.option("--device", default="cpu", show_default=True, help="Where the run computes: cpu, cuda, cuda:1...")
@click.option("--any-dataset", is_flag=True, help="Judge a run on a dataset that it was not trained on.")
@click.option("--metric", "metrics", multiple=True, metavar="ID", help="Only this measure; repeatable.")
@click.option("--no-vertices", is_flag=True, help="Leave out measures that pose the head; no head model is needed.")
@click.option("--head", help="Name or file of the head model.  [default: the one the dataset names]")
@click.option(
    "--reference-s", type=float, help="Seconds at a clip's start that never count.  [default: the run's, or 3]"
)
@click.option(
    "--draws", type=int, default=1, show_default=True, help="Samples of the run beside its mean; 0 for none."
)
@click.option(
    "--pictures",
    type=int,
    default=10,
    show_default=True,
    help="Frames a person in a clip, at most, that avatars are drawn for and compared with; 0 for none.",
)
@click.option(
    "--picture-pose",
    type=click.Choice(["tracked", "predicted"]),
    default="tracked",
    show_default=True,
    help="How the head stands in them.",
)
@click.option("--rounds", type=int, default=2000, show_default=True, help="Rounds of the bootstrap over dyads.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def evaluate(**options: Any) -> int:
    """Judge the motion that a run predicts, on conversations of two people.

    Every measure with its 95 % interval over dyads, speaking and listening apart, beside floors that any model has to
    beat and beside the same model with other people's speech or another partner; and whether the true relation of the
    two helps it more than a permuted one. How lips follow the clip's own sound; and, where people have avatars, how
    pictures of the prediction compare with the clip's. docs/evaluation.md says how to read it, docs/motion_metrics.md
    what each figure is.
    """
    from rsat_data.evaluation import EvaluationOptions, run_evaluation

    return run_evaluation(EvaluationOptions(**options))
