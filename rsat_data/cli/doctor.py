"""``rsat-data doctor``: what this machine has and lacks."""

from __future__ import annotations

import json

import click

from rsat_data.doctor import Report, examine
from rsat_data.errors import EXIT_ERROR, EXIT_OK

MARKS = {"works": "ok", "installed": "ok", "missing": "-", "broken": "BROKEN"}


@click.command(
    epilog="\b\nExamples:\n  rsat-data doctor\n  rsat-data doctor --json > machine.json\n  rsat-data doctor --quick"
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--quick", is_flag=True, help="Do not import the packages; trust what is installed.")
def doctor(as_json: bool, quick: bool) -> int:
    """Show packages, hardware, model files, what each job will use, and what is missing for more.

    Exits with 0 if `build` can run here, else with 1.
    """
    report = examine(imports=not quick)
    click.echo(json.dumps(report.as_dict(), indent=2) if as_json else render(report))
    return EXIT_OK if report.ready else EXIT_ERROR


def render(report: Report) -> str:
    """The report as text."""
    lines = [f"rsat-data {report.rsat_data}   Python {report.python}   {report.platform}", "", "Hardware"]
    lines += [f"  {line}" for line in _hardware(report)]
    lines += ["", "Packages"]
    for extra in dict.fromkeys(package.extra for package in report.packages):
        group = [package for package in report.packages if package.extra == extra]
        lines.append(f"  {'core' if extra is None else f'extra {extra}'}")
        for package in group:
            note = f"  {package.error.splitlines()[0][:160]}" if package.error else ""
            lines.append(f"    {MARKS[package.state]:<7}{package.name:<24}{package.version or package.wanted}{note}")
    lines += ["", "Model files"]
    for model in report.models:
        here = {"present": "ok", "missing": "-", "damaged": "DAMAGED"}[model["state"]]
        lines.append(
            f"    {here:<8}{model['name']:<24}{model['bytes'] / 1e6:>7.1f} MB  {', '.join(model['needed_for'])}"
        )
    lines += ["", "What each job will use"]
    for job in report.jobs:
        lines.append(f"    {job.job:<28}{job.backend or 'NOTHING'}  ({job.why})")
        lines += [f"    {'':<28}first: {command}" for command in job.needs]
    required = [item for item in report.advice if item.required]
    more = [item for item in report.advice if not item.required]
    for title, items in (("To be repaired", required), ("For more", more)):
        if items:
            lines += ["", title]
            for item in items:
                lines += [f"    {item.what}", f"        {item.command}"]
    if report.problems:
        lines += ["", "Could not be examined", *(f"    {problem}" for problem in report.problems)]
    lines += [
        "",
        "`rsat-data build` can run here." if report.ready else "`rsat-data build` CANNOT run here: see above.",
    ]
    return "\n".join(lines)


def _hardware(report: Report) -> list[str]:
    found = report.hardware
    lines = [f"{found.get('cpu', 'unknown CPU')}, {found.get('cores', '?')} cores"]
    if found.get("memory_bytes"):
        free = f", {found['memory_free_bytes'] / 1e9:.1f} GB free" if found.get("memory_free_bytes") else ""
        lines.append(f"memory {found['memory_bytes'] / 1e9:.1f} GB{free}")
    for disk in found.get("disk", []):
        if disk["free_bytes"] is not None:
            lines.append(f"disk   {disk['free_bytes'] / 1e9:.1f} GB free for {disk['place']} ({disk['path']})")
    gpus = [f"{gpu['name']}, {gpu['memory_bytes'] / 1e9:.0f} GB" for gpu in found.get("gpus", [])]
    lines.append(f"GPU    {'; '.join(gpus) or 'none'} ({found.get('gpu_why', 'unknown')})")
    return lines
