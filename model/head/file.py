"""The head file: safetensors with plain arrays and JSON strings as metadata; no code is ever loaded from it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from rsat_data.errors import ModelFileError

FORMAT = "rsat-head 1"
REQUIRED = (
    "v_template",
    "faces",
    "shapedirs",
    "exprdirs",
    "posedirs",
    "J_template",
    "J_shapedirs",
    "weights",
    "parents",
)


def write_head_file(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write atomically; same content, same bytes (safetensors sorts tensors, and so do we the metadata)."""
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(_with_sorted_metadata(save(arrays), metadata))
    os.replace(temporary, path)


def _with_sorted_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """Put ``metadata`` into a safetensors header in a fixed order (the library's own order varies from run to run)."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header = {"__metadata__": {key: metadata[key] for key in sorted(metadata)}, **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def read_head_file(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str], str]:
    """Arrays, metadata and sha256 (hex) of a head file.

    Raises:
        ModelFileError: the file is missing, damaged, or no head file of this format.
    """
    from safetensors import safe_open

    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(path, framework="numpy") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError as error:
        raise ModelFileError(
            f"No head model at {path}", hint="Check the path, or use the name 'open'.", path=path
        ) from error
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"{path} is not a readable safetensors file ({error})", hint="Fetch or build it again.", path=path
        ) from error
    missing = [name for name in REQUIRED if name not in tensors]
    if metadata.get("format") != FORMAT or missing:
        raise ModelFileError(
            f"{path} is no head file of format {FORMAT!r}" + (f" (missing {', '.join(missing)})" if missing else ""),
            hint="Use a file written by model.head.build_open_head or an importer.",
            path=path,
        )
    return tensors, metadata, digest
