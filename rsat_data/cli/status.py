"""``rsat-data status``: what of a build is done, running, quarantined."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rsat_data.errors import WorkspaceError
from rsat_data.workspace import read_state

EPILOG = """\b
Examples:
  rsat-data status my_dataset
  rsat-data status my_dataset --json | jq .stages
"""


@click.command(epilog=EPILOG)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(out: Path, as_json: bool) -> None:
    """Show what of the build in OUT, and of its avatars, is done, running and quarantined."""
    from rsat_data.avatars.status import avatar_state
    from rsat_data.avatars.status import describe as describe_avatars

    state, avatars = read_state(out), avatar_state(out)
    if state is None and avatars is None:
        raise WorkspaceError(
            f"No build was ever started in {out}.",
            hint=f"Start one: rsat-data build --videos DIR --out {out}",
            path=out,
        )
    if as_json:
        both = {**(state or {}), **({} if avatars is None else {"avatars": avatars})}
        click.echo(json.dumps(both, indent=1, sort_keys=True))
        return
    parts = [] if state is None else [describe(state)]
    if avatars is not None:
        parts.append(describe_avatars(avatars))
    click.echo("\n\n".join(parts))


def describe(state: Mapping[str, Any]) -> str:
    """The state as lines for people."""
    age = time.time() - float(state["updated"])
    words = {"running": "running" if state["alive"] else "stopped in the middle", "computed": "all stages done"}
    head = words.get(state["status"], state["status"])
    lines = [f"{head}; last change {age:.0f} s ago", ""]
    lines.append(f"{'stage':<10} {'units':>6} {'done':>12} {'of':>10}   quarantined")
    for name, count in state["stages"].items():
        unit = {"source": "files", "dataset": "times"}.get(count.get("unit", "clip"), "s video")
        amounts = f"{count['done']:>12.1f} {count['total']:>10.1f} {unit:<7}"
        lines.append(f"{name:<10} {count['units']:>6} {amounts} {count['failed'] or ''}")
    if state.get("conversations"):
        lines += ["", f"of the files, {state['conversations']} are conversations with one recording a person"]
    if state["alive"] and state["running"]:
        lines += ["", "running:"]
        for task in state["running"]:
            lines.append(f"  {task['stage']:<10} {task['share']:4.0%}  {task['name']} {task['clip_id']}")
    if state["quarantined"]:
        lines += ["", "quarantined or skipped:"]
        lines += [f"  {item['stage']:<10} {item['error']:<18} {item['message']}" for item in state["quarantined"]]
    if not state["alive"] and state["status"] not in ("done",):
        lines += [
            "",
            "To go on, run the same build command again" + (f": {state['command']}" if state.get("command") else "."),
        ]
    return "\n".join(lines)
