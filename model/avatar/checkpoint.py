"""The state of a fit on disk: one safetensors file, replaced in one rename, read without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rsat_data.files import keep_state

FILE = "fit.safetensors"
VERSION = "1"


def write(folder: Path, tensors: dict[str, Tensor], values: dict[str, Any], fingerprint: str) -> None:
    """Replace the checkpoint in ``folder``; whenever this is interrupted, the old one or the new one is there.

    Args:
        folder: made if it is absent.
        tensors: what to keep.
        values: numbers, strings and lists of them.
        fingerprint: of everything the state belongs to; only a fit with the same one goes on from it.

    Raises:
        DiskFullError: no space is left.
        WorkspaceError: the folder cannot be written.
    """
    metadata = {"version": VERSION, "fingerprint": fingerprint, "values": json.dumps(values)}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(plain, metadata=metadata)
    keep_state(folder / FILE, data, "The state of the fit")


def read(folder: Path, fingerprint: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and values of the checkpoint in ``folder``; None where there is none that belongs to this fit.

    A damaged file, or one of another fit, counts as none: it is replaced by the next checkpoint.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("version") != VERSION or metadata.get("fingerprint") != fingerprint:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            values = json.loads(metadata["values"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point()):
        return None
    return tensors, values


def remove(folder: Path) -> None:
    """Forget the checkpoint, if there is one."""
    (folder / FILE).unlink(missing_ok=True)
