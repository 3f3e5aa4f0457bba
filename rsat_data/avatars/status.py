"""What of a dataset's avatars is there, begun, or in quarantine; for ``rsat-data status``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsat_data.avatars.jobs import STAGE
from rsat_data.errors import DatasetError
from rsat_data.manifest import read_manifest
from rsat_data.workspace import WORK_DIR
from rsat_data.writer import AVATARS


def avatar_state(out: Path) -> dict[str, Any] | None:
    """Subjects with an avatar in the dataset, with a fit that was begun, with a failure; None where there are none."""
    try:
        files = [entry.file for entry in read_manifest(out)]
    except DatasetError:
        files = []
    there = sorted(file.split("/")[1] for file in files if file.startswith(AVATARS) and file.endswith("/avatar.json"))
    work = out / WORK_DIR
    begun = sorted(path.name.rsplit("-", 1)[0] for path in (work / "state" / STAGE).glob("*-*") if any(path.iterdir()))
    failed = []
    for path in sorted((work / "failed").glob(f"{STAGE}-*.json")):
        try:
            failure = json.loads(path.read_text(encoding="utf-8"))
            failed.append({name: failure[name] for name in ("name", "error", "message", "hint", "attempts")})
        except (OSError, ValueError, KeyError, TypeError):
            continue
    if not there and not begun and not failed:
        return None
    return {"done": there, "begun": begun, "failed": failed}


def describe(state: Mapping[str, Any]) -> str:
    """The state as lines for people."""
    lines = [f"avatars: {len(state['done'])} in the dataset, {len(state['begun'])} begun"]
    lines += [f"  {item['name']:<22} {item['error']:<16} {item['message']}" for item in state["failed"]]
    return "\n".join(lines)
