"""``rsat-data label pull``: annotations become votes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from annotation.pull import PullResult

_PATH = click.Path(path_type=Path)
_SHOWN = 20

EPILOG = """\b
Examples:
  rsat-data label pull my_dataset
  rsat-data label pull my_dataset --round adjudication
  rsat-data label pull my_dataset --full
  rsat-data label pull my_dataset --json | jq '.refused'

\b
Only tasks that changed since the last pull are asked for, and a vote is added once, so the command may be run at any
time and as often as you like. Stopped in the middle (Ctrl-C, power cut, server gone)? The same command goes on.
Refused annotations are listed, and read again once they are corrected. docs/labelling_votes.md tells more.
"""


@click.command(epilog=EPILOG)
@click.argument("out", type=_PATH)
@click.option(
    "--round",
    "round_",
    type=click.Choice(["labelling", "adjudication"]),
    default="labelling",
    show_default=True,
    help="The annotators' project, or the adjudicators'.",
)
@click.option("--full", is_flag=True, help="Read everything again, and report annotations deleted on the server.")
@click.option("--withdraw-deleted", is_flag=True, help="Votes whose annotation was deleted count no more.")
@click.option("--url", help="The label server.  [default: LABEL_STUDIO_URL, or the one init used]")
@click.option("--token-file", type=_PATH, help="File with the token.  [default: LABEL_STUDIO_API_KEY]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def pull(
    out: Path,
    round_: str,
    full: bool,
    withdraw_deleted: bool,
    url: str | None,
    token_file: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Bring new and changed votes into the table of votes of the dataset in OUT (meta/votes.parquet)."""
    from rsat_data.siblings import check_siblings

    check_siblings()
    from annotation.pull import PullOptions
    from annotation.pull import pull as run_pull
    from rsat_data.long_runs import terminate_as_interrupt
    from rsat_data.progress import Bars

    options = PullOptions(url, token_file, round_, full, withdraw_deleted)
    with Bars(enabled=not quiet) as drawn, terminate_as_interrupt():
        bar = drawn.bar("pull", None, "tasks")
        result = run_pull(out, options, progress=bar.set)
    click.echo(as_json_text(result) if as_json else describe(result, out))


def as_json_text(result: PullResult) -> str:
    """The result as JSON."""
    return json.dumps(dataclasses.asdict(result), indent=1, ensure_ascii=False)


def describe(result: PullResult, out: Path) -> str:
    """The result in words."""
    lines = [
        f"{result.votes} new votes from {result.annotations} annotations on {result.tasks} changed tasks "
        f"in {result.seconds:.1f} s; {result.total} votes in {out}"
    ]
    for count, what in (
        (result.withdrawn, "votes count no more (skipped, spoilt or deleted on the server)"),
        (result.cancelled, "annotations were skipped"),
        (result.drafts, "drafts, left alone"),
        (sum(result.gone.values()), f"votes on {len(result.gone)} clips that are no more in the dataset, kept"),
    ):
        if count:
            lines.append(f"  {count} {what}")
    lines += _listed("warnings", result.warnings)
    lines += _listed("deleted on the server", result.deleted)
    lines += _listed("refused", [str(refusal) for refusal in result.refused])
    return "\n".join(lines)


def _listed(title: str, texts: list[str] | tuple[str, ...]) -> list[str]:
    if not texts:
        return []
    more = [f"  ... and {len(texts) - _SHOWN} more (--json lists all)"] if len(texts) > _SHOWN else []
    return [f"{title}: {len(texts)}", *(f"  {text}" for text in texts[:_SHOWN]), *more]
