"""Names made from content: canonical JSON, hashes of files and of values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def content_hash(value: Any, *, length: int = 32) -> str:
    """``length`` hex digits of the BLAKE2b hash of a JSON-able value."""
    return hashlib.blake2b(canonical_json(value).encode("ascii"), digest_size=32).hexdigest()[:length]


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes as 64 hex digits, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def source_id(sha256: str) -> str:
    """Id of a source, from its bytes alone."""
    return f"src_{sha256[:16]}"


def clip_id(sha256: str, start_s: float, end_s: float) -> str:
    """Id of a clip: the source's bytes and the span, in milliseconds."""
    span = {"sha256": sha256, "start_ms": round(start_s * 1000), "end_ms": round(end_s * 1000)}
    return f"clip_{content_hash(span, length=16)}"


def stage_key(
    *,
    stage: str,
    version: str,
    config: Mapping[str, Any],
    unit: Mapping[str, Any],
    inputs: Mapping[str, str],
    models: Mapping[str, str],
    metadata: Mapping[str, Any],
    material: Mapping[str, str],
) -> str:
    """Content key of one unit of one stage: everything that decides its result, and nothing else.

    Args:
        stage, version: the declaration.
        config: the stage's resolved config.
        unit: identity of the unit: sha256 of the source, for a clip also its span.
        inputs: stage name -> content key of the artefacts read.
        models: model file name -> sha256.
        metadata: the sidecar fields the stage reads.
        material: backend names and versions, head model id and the like.
    """
    return content_hash(
        {
            "stage": stage,
            "version": version,
            "config": dict(config),
            "unit": dict(unit),
            "inputs": dict(inputs),
            "models": dict(models),
            "metadata": dict(metadata),
            "material": dict(material),
        }
    )
