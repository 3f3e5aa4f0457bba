"""A stage over subjects for tests of the driver: it keeps a state, writes an avatar's files, and fails on demand."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.stage import Resources, Stage, StageContext
from rsat_data.errors import SkippedSubject

STEPS = 10


@dataclass(frozen=True)
class ToyConfig:
    """Config of the toy stage."""

    budget_s: float = 0.1
    """How long a fit takes."""
    size: int = 64
    """Goes into the result."""
    max_frames: int = 100
    """For the estimate."""


def fit(ctx: StageContext, config: ToyConfig) -> Mapping[str, Any]:
    """Count steps, in a file that outlives a kill; the subject's name asks for failures."""
    name = str(ctx.unit["subject_id"])
    assert ctx.state is not None
    if name.startswith("few"):
        raise SkippedSubject(f"{name} has 12 valid frames.", hint="Film more.")
    if name.startswith("bug"):
        raise RuntimeError("a bug")
    if name.startswith("crash"):
        os.kill(os.getpid(), 9)
    if name.startswith("full"):
        raise OSError(28, "No space left on device")
    steps = ctx.state / "steps"
    done = int(steps.read_text()) if steps.exists() else 0
    for step in range(done, STEPS):
        time.sleep(config.budget_s / STEPS)
        steps.with_suffix(".tmp").write_text(str(step + 1))
        os.replace(steps.with_suffix(".tmp"), steps)
        ctx.progress(step / STEPS)
    record = {
        "avatar_id": ctx.unit["avatar_id"],
        "size": config.size,
        "begun_at": done,
        "device": ctx.device,
        "rows": {row: {"content": content, "psnr": 30.0} for row, content in ctx.unit["rows"].items()},
    }
    (ctx.out / "avatar.json").write_text(json.dumps(record), encoding="utf-8")
    (ctx.out / "avatar.ply").write_bytes(b"ply")
    return {"psnr": 30.0, "says": "30.0 dB", "begun_at": done}


STAGE: Stage[ToyConfig] = Stage(
    name="avatar", version="1", unit="subject", config=ToyConfig, run=fit, resources=Resources(memory_gb=0.1)
)
ADDRESS = "tests.toy_avatar:STAGE"
