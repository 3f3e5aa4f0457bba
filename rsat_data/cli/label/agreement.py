"""``rsat-data label agreement``: how well annotators agree, and whom to look at."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  rsat-data label agreement my_dataset
  rsat-data label agreement my_dataset --html agreement.html
  rsat-data label agreement my_dataset --json | jq '.questions[] | {question, alpha}'

\b
Reads the votes that `label pull` brought; needs no server. "alike" is the share of pairs of votes on a clip that are
the same; alpha (Krippendorff) and AC1 (Gwet) take off what chance would give: 0 is chance, 1 perfect, 0.8 reliable.
docs/agreement.md tells what each figure means and when not to trust it.
"""


@click.command(epilog=EPILOG)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--html", "html", type=click.Path(path_type=Path, dir_okay=False), help="Write one page with plots.")
@click.option(
    "--rounds", type=click.IntRange(100, 100_000), default=1000, show_default=True, help="Rounds of the bootstrap."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option(
    "--fast", "fast_s", type=click.FloatRange(0), default=5.0, show_default=True, metavar="SECONDS",
    help="A vote quicker than this counts as fast.",
)  # fmt: skip
@click.option(
    "--min-votes", type=click.IntRange(2), default=20, show_default=True,
    help="Votes below which nothing is said about how an annotator answers.",
)  # fmt: skip
def agreement(
    out: Path, as_json: bool, html: Path | None, rounds: int, seed: int, fast_s: float, min_votes: int
) -> None:
    """Measure how well the annotators of the dataset OUT agree."""
    from annotation.agreement.report import AgreementOptions
    from annotation.agreement.verb import agreement as measured
    from rsat_data.errors import UsageError
    from rsat_data.files import as_disk_error

    report = measured(out, AgreementOptions(rounds=rounds, seed=seed, fast_s=fast_s, min_votes=min_votes))
    if html is not None:
        from annotation.agreement.page import page

        try:
            html.parent.mkdir(parents=True, exist_ok=True)
            html.write_text(page(report, title=out.resolve().name), encoding="utf-8")
        except OSError as error:
            failure = as_disk_error(error, html)
            if isinstance(failure, OSError):
                reason = error.strerror or str(error)
                failure = UsageError(f"Cannot write {html}: {reason}.", hint="Name another file.", path=html)
            raise failure from error
    if as_json:
        import json

        click.echo(json.dumps(report.to_dict(), indent=1, ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    from annotation.agreement.terminal import render

    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(render(report, ascii_only=console.options.ascii_only))
    # Names may hold letters that the terminal does not know: better a question mark than no report.
    click.echo(captured.get().encode(console.encoding, "replace").decode(console.encoding), nl=False)
    if html is not None:
        click.echo(f"\nPage: {html}")
