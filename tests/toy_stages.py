"""Small real stages for engine tests: they read a source, write files, and fail on demand. No faces, no models."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.stage import PARTS_FILE, Resources, Stage, StageContext
from rsat_data.errors import SkippedSource, StageError, UnreadableSource


@dataclass(frozen=True)
class SplitConfig:
    """Config of the toy stage that cuts a source."""

    clip_s: float = 1.0
    """Length of a clip."""


@dataclass(frozen=True)
class CountConfig:
    """Config of the toy stage that counts bytes."""

    factor: int = 1
    """Multiplies the count."""
    sleep_s: float = 0.0
    """How long a unit takes."""


def split(ctx: StageContext, config: SplitConfig) -> Mapping[str, Any]:
    """One clip a line of the source; words in the source ask for failures."""
    text = ctx.source.read_text(encoding="utf-8")
    if "unreadable" in text:
        raise UnreadableSource(f"{ctx.unit['name']} is broken.", hint="Mend it.")
    if "nobody" in text:
        raise SkippedSource(f"{ctx.unit['name']} shows nobody.")
    (ctx.out / "text.txt").write_text(text, encoding="utf-8")
    clips = [
        {"start_s": i * config.clip_s, "end_s": (i + 1) * config.clip_s, "line": line}
        for i, line in enumerate(text.splitlines())
    ]
    return {"clips": clips, "skipped": []}


def count(ctx: StageContext, config: CountConfig) -> Mapping[str, Any]:
    """Count the bytes of a clip's line."""
    line = str(ctx.unit["line"])
    if "crash" in line:
        os.kill(os.getpid(), 9)
    if "hang" in line:
        time.sleep(60)
    if "bug" in line:
        raise RuntimeError("a bug")
    if "full" in line:
        raise OSError(28, "No space left on device")
    print("noise on standard output")
    for step in range(4):
        time.sleep(config.sleep_s / 4)
        ctx.progress(step / 4)
    result = config.factor * len(line)
    (ctx.out / "count.txt").write_text(str(result), encoding="utf-8")
    return {"count": result}


SPLIT: Stage[SplitConfig] = Stage(name="ingest", version="1", unit="source", config=SplitConfig, run=split)
COUNT: Stage[CountConfig] = Stage(
    name="count",
    version="1",
    unit="clip",
    config=CountConfig,
    run=count,
    inputs=("ingest",),
    metadata_fields=("relation",),
    resources=Resources(timeout_s=3.0, memory_gb=0.1),
)
DOUBLE: Stage[CountConfig] = Stage(
    name="double",
    version="1",
    unit="clip",
    config=CountConfig,
    inputs=("ingest", "count"),
    metadata_fields=("provenance",),
    run=lambda ctx, config: _double(ctx),
    resources=Resources(memory_gb=0.1),
)


def _double(ctx: StageContext) -> Mapping[str, Any]:
    value = 2 * int((ctx.inputs["count"] / "count.txt").read_text(encoding="utf-8"))
    (ctx.out / "double.txt").write_text(str(value), encoding="utf-8")
    return {"value": value}


LINE = {"ingest": "tests.toy_stages:SPLIT", "count": "tests.toy_stages:COUNT", "double": "tests.toy_stages:DOUBLE"}


def _total(ctx: StageContext) -> Mapping[str, Any]:
    """Clips whose lines begin with the same letter share the sum of their counts."""
    sums: dict[str, int] = {}
    for member in ctx.members:
        count = int((member.inputs["count"] / "count.txt").read_text(encoding="utf-8"))
        letter = str(member.unit["line"])[0]
        if member.metadata.get("licence") == "secret":
            raise StageError("A secret clip cannot be added up.", hint="Change its licence.")
        sums[letter] = sums.get(letter, 0) + count
    parts = {m.unit["clip_id"]: {"sum": sums[str(m.unit["line"])[0]], "of": len(ctx.members)} for m in ctx.members}
    (ctx.out / PARTS_FILE).write_text(json.dumps(parts), encoding="utf-8")
    return {"sums": sums}


def _share(ctx: StageContext) -> Mapping[str, Any]:
    count, total = int((ctx.inputs["count"] / "count.txt").read_text(encoding="utf-8")), ctx.parts["total"]
    (ctx.out / "double.txt").write_text(f"{count}/{total['sum']}", encoding="utf-8")
    return {"share": count / total["sum"], "fields": sorted(total)}


TOTAL: Stage[CountConfig] = Stage(
    name="total",
    version="1",
    unit="dataset",
    config=CountConfig,
    inputs=("count",),
    metadata_fields=("licence",),
    run=lambda ctx, config: _total(ctx),
    resources=Resources(memory_gb=0.1),
)
SHARE: Stage[CountConfig] = Stage(
    name="share",
    version="1",
    unit="clip",
    config=CountConfig,
    inputs=("count", "total"),
    part_fields={"total": ("sum",)},
    run=lambda ctx, config: _share(ctx),
    resources=Resources(memory_gb=0.1),
)
JOINED_LINE = {
    "ingest": "tests.toy_stages:SPLIT",
    "count": "tests.toy_stages:COUNT",
    "total": "tests.toy_stages:TOTAL",
    "share": "tests.toy_stages:SHARE",
}
