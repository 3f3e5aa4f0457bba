"""``rsat-data label adjudicate`` and ``apply``: from votes to agreed labels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from annotation.adjudicate import AdjudicateResult
    from annotation.apply import ApplyResult
    from annotation.consensus import Relation

_PATH = click.Path(path_type=Path)
_SHOWN = 20


def _rules(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say when votes agree; the same for both commands."""
    options = (
        click.option(
            "--majority",
            type=click.FloatRange(0.5, 1),
            default=2 / 3,
            show_default="2/3",
            help="Least share of the votes on a clip that must give an answer.",
        ),
        click.option(
            "--posterior",
            type=click.FloatRange(0, 1),
            default=0.8,
            show_default=True,
            help="Least probability of that answer, given how each annotator votes elsewhere (asked from 50 votes on).",
        ),
        click.option(
            "--min-votes", type=click.IntRange(1), default=2, show_default=True, help="Least number of votes on a clip."
        ),
        click.option(
            "--metadata",
            type=click.Choice(["keep", "replace"]),
            default="keep",
            show_default=True,
            help="What the owner of a source said: keep it against votes, or let votes replace it.",
        ),
        click.option(
            "--form", metavar="HASH", help="Votes of several forms: those of this one (beginning of its hash)."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


ADJUDICATE_EPILOG = """\b
Examples:
  rsat-data label adjudicate my_dataset --dry-run
  rsat-data label adjudicate my_dataset
  rsat-data label pull my_dataset --round adjudication
  rsat-data label apply my_dataset

\b
A clip goes there if its votes have no majority, if the majority is doubtful given how its voters vote elsewhere, if
somebody reported a problem, if clips of the same two people differ, or if votes contradict the owner of the source.
"""


@click.command(epilog=ADJUDICATE_EPILOG)
@click.argument("out", type=_PATH)
@_rules
@click.option("--title", help="Title of the second project.  [default: that of the first, with a word more]")
@click.option("--url", help="The label server.  [default: LABEL_STUDIO_URL, or the one init used]")
@click.option("--token-file", type=_PATH, help="File with the token.  [default: LABEL_STUDIO_API_KEY]")
@click.option("--dry-run", is_flag=True, help="List the clips and why, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def adjudicate(out: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Send clips that votes do not settle to a second project, whose tasks show the votes."""
    from rsat_data.siblings import check_siblings

    check_siblings()
    from annotation.adjudicate import AdjudicateOptions
    from annotation.adjudicate import adjudicate as run_adjudicate
    from rsat_data.long_runs import terminate_as_interrupt
    from rsat_data.progress import Bars

    with Bars(enabled=not quiet) as drawn, terminate_as_interrupt():
        bar = drawn.bar("send", None, "clips")
        result = run_adjudicate(
            out, AdjudicateOptions(**options), progress=lambda done, total: bar.set(done, total=total)
        )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result), indent=1, ensure_ascii=False))
    else:
        click.echo(describe_adjudication(result))


def describe_adjudication(result: AdjudicateResult) -> str:
    """The result in words."""
    lines = [f"{len(result.items)} clips are not settled by votes"]
    for item in result.items[:_SHOWN]:
        lines += [f"  {item.clip_id}", *(f"    {reason}" for reason in item.reasons)]
    if len(result.items) > _SHOWN:
        lines.append(f"  ... and {len(result.items) - _SHOWN} more (--json lists all)")
    if not result.dry_run and result.project_id is not None:
        lines.append(f"sent now: {len(result.pushed)}, there before: {len(result.present)}")
    if result.missing:
        lines.append(f"without a task in the first project, not sent: {len(result.missing)} ({result.missing[0]}, ...)")
    if result.address:
        lines.append(result.address)
    return "\n".join(lines)


APPLY_EPILOG = """\b
Examples:
  rsat-data label apply my_dataset --dry-run
  rsat-data label apply my_dataset
  rsat-data label apply my_dataset --out my_dataset_v2

\b
Only shards with a changed row are written anew. With --out, the old dataset stays as it is, and the new one shares all
other files with it (hard links). Applying again changes nothing, and labels that votes support no longer go away.
"""


@click.command(epilog=APPLY_EPILOG)
@click.argument("out", metavar="DATASET", type=_PATH)
@click.option("--out", "target", type=_PATH, help="Folder for a new version.  [default: change DATASET]")
@_rules
@click.option(
    "--no-spread", is_flag=True, help="Label no clip by other clips of the same two people, only by its own votes."
)
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def apply(out: Path, target: Path | None, no_spread: bool, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write what votes agree on into the rows and clips of DATASET."""
    from rsat_data.siblings import check_siblings

    check_siblings()
    from annotation.apply import ApplyOptions
    from annotation.apply import apply as run_apply
    from rsat_data.long_runs import terminate_as_interrupt
    from rsat_data.progress import Bars

    with Bars(enabled=not quiet) as drawn, terminate_as_interrupt():
        bar = drawn.bar("apply", 1.0, "")
        result = run_apply(out, ApplyOptions(out=target, spread=not no_spread, **options), progress=bar.set)
    click.echo(as_json_text(result) if as_json else describe(result))


def as_json_text(result: ApplyResult) -> str:
    """The result as JSON."""
    return json.dumps({**dataclasses.asdict(result), "out": str(result.out)}, indent=1, ensure_ascii=False)


def describe(result: ApplyResult) -> str:
    """The result in words."""
    verb = "would change" if result.dry_run else "changed"
    lines = [f"{verb} {len(result.changes)} clips" + ("" if result.dry_run else f" ({result.shards} shards written)")]
    for change in result.changes[:_SHOWN]:
        lines.append(f"  {change.clip_id}: {_told(change.before)} -> {_told(change.after)}")
    if len(result.changes) > _SHOWN:
        lines.append(f"  ... and {len(result.changes) - _SHOWN} more (--json lists all)")
    counts = ", ".join(f"{name} {count}" for name, count in sorted(result.labels.items()))
    lines.append(f"relations of clips: {counts}; {result.spread} by other clips of the same people alone")
    if not result.used_model:
        lines.append("  by shares of votes alone: too few votes to tell how each annotator votes")
    open_, settled = (
        [conflict for conflict in result.conflicts if conflict.settled is wanted] for wanted in (False, True)
    )
    for title, conflicts in (("contradictions, not labelled", open_), ("contradictions that were settled", settled)):
        if conflicts:
            lines.append(f"{title}: {len(conflicts)}")
            lines += [
                f"  {conflict}" + (" (one side is the source's owner)" if conflict.with_metadata else "")
                for conflict in conflicts[:_SHOWN]
            ]
    if result.gone:
        lines.append(f"votes on clips that are no more in the dataset: {sum(result.gone.values())}")
    if result.alone:
        lines.append(f"clips with votes that show one person: {len(result.alone)}")
    if result.to_adjudicate:
        lines.append(f"to be settled: {len(result.to_adjudicate)} clips; see: rsat-data label adjudicate --dry-run")
    if not result.dry_run:
        lines.append(str(result.out))
    return "\n".join(lines)


def _told(relation: Relation) -> str:
    text = f"{relation.kinship}, {relation.status}"
    if relation.status == "unequal":
        text += f", {relation.senior} senior"
    trust = "" if relation.relation_confidence is None else f" {relation.relation_confidence:.2f}"
    return f"{text} [{relation.relation_source}{trust}]"
