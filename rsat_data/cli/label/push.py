"""``rsat-data label push``: clips become tasks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsat_data.errors import EXIT_OK, EXIT_QUARANTINE

if TYPE_CHECKING:
    from annotation.push_report import PushResult

_PATH = click.Path(path_type=Path)

EPILOG = """\b
Examples:
  rsat-data label push my_dataset --dry-run
  rsat-data label push my_dataset --sample 300
  rsat-data label push my_dataset --sample 300 --gold known.csv
  rsat-data label push my_dataset --lexicon de.toml --hide 0.5
  rsat-data label push my_dataset --media url --media-url https://media.example.org/clips --media-root /srv/clips

\b
Clips that are in the project already are passed by, so the same command may be run again at any time: after Ctrl-C,
after a power cut, or with a larger --sample. Exit codes: 0 done, 1 error, 2 wrong usage, 3 done with more damaged clips
than --max-failed, 130 interrupted. docs/labelling_push.md tells more.
"""


@click.command(epilog=EPILOG)
@click.argument("out", type=_PATH)
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Clips the project is to have.  [default: all]")
@click.option("--seed", default=0, show_default=True, help="Decides which clips a sample takes.")
@click.option(
    "--balance",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Sample: 1 keeps the dataset's shares of languages, guesses and lengths, 0 takes the same of each.",
)
@click.option("--gold", type=_PATH, help="CSV of known answers: clip_id,kinship,status,senior[,confidence].")
@click.option("--no-predictions", is_flag=True, help="Let annotators start from an empty form.")
@click.option(
    "--hide",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Share of clips whose guess is not shown, chosen by hash: its influence is measured on them.",
)
@click.option(
    "--lexicon", "lexicons", multiple=True, type=_PATH, help="Terms of address of another language; repeatable."
)
@click.option("--relabel", is_flag=True, help="Also clips whose relation was voted on already.")
@click.option("--sound-only", is_flag=True, help="Also clips that hold no picture.")
@click.option(
    "--media",
    type=click.Choice(["auto", "local", "upload", "url"]),
    default="auto",
    show_default=True,
    help="How files get to annotators: through the server's folder, its API, or a web server of your own.",
)
@click.option("--media-root", type=_PATH, help="The server's document root on this machine; with url, your folder.")
@click.option("--media-url", metavar="PREFIX", help="url: what comes before a file's name.")
@click.option("--batch", type=click.IntRange(1), default=50, show_default=True, help="Tasks a request.")
@click.option("--workers", type=click.IntRange(1), help="Threads that make media.  [default: one a core, at most 8]")
@click.option(
    "--max-failed",
    default="5%",
    show_default=True,
    metavar="N|N%",
    help="Exit with 3 when more clips than this are damaged.",
)
@click.option("--url", help="The label server.  [default: LABEL_STUDIO_URL, or the one init used]")
@click.option("--token-file", type=_PATH, help="File with the token.  [default: LABEL_STUDIO_API_KEY]")
@click.option("--dry-run", is_flag=True, help="Show what would be pushed, with estimated disk, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def push(out: Path, as_json: bool, quiet: bool, max_failed: str, no_predictions: bool, **options: Any) -> int:
    """Render the clips of the dataset in OUT for annotators and make them tasks of its project.

    Each clip becomes one task: a video, its sound as a waveform, a picture of each face, and the transcript, with a
    guess from metadata and terms of address where there is one. `rsat-data label init` makes the project.
    """
    from rsat_data.siblings import check_siblings

    check_siblings()
    from annotation.push import push as run_push
    from annotation.push_report import PushOptions
    from rsat_data.long_runs import check_space, parse_max_failed, terminate_as_interrupt
    from rsat_data.progress import Bar, Bars

    allowed = parse_max_failed(max_failed)
    chosen = PushOptions(predictions=not no_predictions, **options)
    if not chosen.dry_run and out.is_dir():
        check_space(out)
    bars: dict[str, Bar] = {}
    with Bars(enabled=not quiet) as drawn, terminate_as_interrupt():

        def show(step: str, done: int, total: int) -> None:
            if step not in bars and total:
                bars[step] = drawn.bar(step, total, "clips")
            if step in bars:
                bars[step].set(done, total=total)

        result = run_push(out, chosen, progress=show)
    click.echo(as_json_text(result) if as_json else describe(result, dry_run=chosen.dry_run))
    fine = allowed(len(result.failed), result.pushed + result.present + len(result.failed))
    return EXIT_OK if fine else EXIT_QUARANTINE


def as_json_text(result: PushResult) -> str:
    """The result as JSON."""
    return json.dumps({**dataclasses.asdict(result), "requests_per_clip": result.requests_per_clip}, indent=1)


def describe(result: PushResult, *, dry_run: bool) -> str:
    """The result in words."""
    size = f"{result.media_bytes / 1e6:.1f} MB of media ({result.media})"
    if dry_run:
        lines = [f"would push {result.pushed} of {result.clips} clips, about {size}"]
    else:
        lines = [f"pushed {result.pushed} of {result.clips} clips in {result.seconds:.1f} s, {size}"]
    lines.append(f"  in the project before: {result.present}")
    lines += [f"  left out, {reason}: {count}" for reason, count in sorted(result.left_out.items())]
    lines.append(f"  with a guess that is shown: {result.predicted}, hidden: {result.hidden}")
    if result.gold or result.gold_votes:
        lines.append(f"  with a known answer: {result.gold} (votes added: {result.gold_votes})")
    for count, what in (
        (result.recovered, "found on the server from a run that was broken off"),
        (result.lost, "gone from the server"),
        (result.removed, "doubled tasks removed"),
        (result.replaced, "replaced, because the clip was built anew"),
        (result.foreign, "tasks in the project that are not of this dataset"),
    ):
        if count:
            lines.append(f"  {what}: {count}")
    if result.outdated:
        lines.append(
            f"  built anew but answered, left as they were: {len(result.outdated)} ({result.outdated[0]}, ...)"
        )
    if result.doubled:
        lines.append(f"  with several answered tasks: {len(result.doubled)} ({', '.join(result.doubled[:3])})")
    if result.strata:
        lines.append("  of these kinds:")
        lines += [f"    {count:>6}  {name}" for name, count in sorted(result.strata.items(), key=lambda kv: -kv[1])]
    lines += [f"  note: {note}" for note in result.notes]
    if result.failed:
        lines.append(f"damaged, not pushed: {len(result.failed)}")
        lines += [f"  {why}" for why in list(result.failed.values())[:20]]
        if len(result.failed) > 20:
            lines.append(f"  ... and {len(result.failed) - 20} more (--json lists all)")
    if result.url:
        lines.append(result.url)
    return "\n".join(lines)
