"""``rsat-data validate``: is this dataset whole and sound?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from rsat_data.errors import EXIT_ERROR, EXIT_OK
from rsat_data.progress import progress
from rsat_data.validate import CHECKS, Finding, Report
from rsat_data.validate import validate as run_checks

EPILOG = """\b
Examples:
  rsat-data validate my_dataset
  rsat-data validate my_dataset --json | jq '.findings[].message'
"""


@click.command(epilog=EPILOG)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--limit", default=100, show_default=True, help="Print at most this many problems; 0 for all.")
def validate(out: Path, as_json: bool, limit: int) -> int:
    """Check the dataset in OUT: schema, hashes, clocks, codes, references, splits.

    Exits with 1 if anything is wrong. Nothing is changed.
    """
    with progress("validate", 100.0, "%", enabled=not as_json) as bar:
        report = run_checks(out, progress=lambda share: bar.set(100.0 * share))
    click.echo(json.dumps(report.as_dict(), indent=1) if as_json else describe(report, out, limit))
    return EXIT_OK if report.ok else EXIT_ERROR


def describe(report: Report, out: Path, limit: int = 0) -> str:
    """The report as a table and a list, for people."""
    lines = [f"{'check':<12} {'checked':>8} {'problems':>9}   what"]
    for name, meaning in CHECKS.items():
        problems = report.count(name)
        lines.append(f"{name:<12} {report.checked[name]:>8} {problems or 'none':>9}   {meaning}")
    shown: Sequence[Finding] = report.findings[: limit or None]
    if shown:
        lines += ["", "problems:"]
    for finding in shown:
        row = "" if finding.row is None else f" row {finding.row}"
        lines.append(f"  {finding.check}: {finding.file}{row}: {finding.message}")
    if len(report.findings) > len(shown):
        lines.append(f"  ... and {len(report.findings) - len(shown)} more (--limit 0 shows all)")
    lines += ["", f"{out}: " + ("sound" if report.ok else f"{len(report.findings)} problems")]
    return "\n".join(lines)
