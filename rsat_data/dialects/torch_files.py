"""Torch files as plain arrays: tensors and number arrays only, nothing that runs code."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rsat_data.dialects.files import check_size
from rsat_data.errors import UnreadableSource, UnsafeSource

_PLAIN_KINDS = "fiubUS"


def read_torch(path: Path) -> dict[str, Any]:
    """The dictionary in a file of ``torch.save``, with tensors as arrays; read with ``weights_only=True``.

    Beyond what torch allows by itself, numpy's number arrays are let through, which trackers like to store.

    Raises:
        UnsafeSource: it holds anything else, which may run code.
        UnreadableSource: damaged, no torch file, or no dictionary.
    """
    import torch

    try:
        if path.stat().st_size == 0:
            raise UnreadableSource(f"{path} is empty (0 bytes).", path=path)
        check_size(path, path.stat().st_size)
        with torch.serialization.safe_globals(_numpy_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except UnreadableSource:
        raise
    except Exception as error:
        text = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        if any(word in str(error) for word in ("Unsupported", "weights_only", "WeightsUnpickler", "allowed")):
            raise UnsafeSource(
                f"{path} holds more than numbers ({_culprit(str(error)) or text}); such a file can run code and is not "
                "read.",
                hint="Save tensors and arrays only, or get the file from a source that does.",
                path=path,
            ) from error
        raise UnreadableSource(f"{path} is not a readable torch file ({text}).", path=path) from error
    if not isinstance(loaded, dict):
        raise UnreadableSource(f"{path} holds a {type(loaded).__name__}, expected a dictionary.", path=path)
    return {str(name): _plain(value, path) for name, value in loaded.items()}


def _plain(value: Any, path: Path) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().float().numpy() if value.is_floating_point() else value.detach().numpy()
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in _PLAIN_KINDS:
            raise UnsafeSource(f"{path} holds an array of {value.dtype}, expected numbers.", path=path)
        return np.asarray(value)
    if isinstance(value, dict):
        return {str(name): _plain(each, path) for name, each in value.items()}
    return value


def _culprit(text: str) -> str:
    """The name that torch stumbled over."""
    import re

    if "Unsupported operand" in text:
        return "a pickle that torch did not write"
    found = re.search(r"GLOBAL ([\w.]+)|class ([\w.]+)", text)
    return "" if found is None else (found.group(1) or found.group(2))


def _numpy_globals() -> list[Any]:
    """What a pickled array of numbers is made of, under its names in numpy 1 and 2. Object arrays stay out: their
    elements would have to pass the same gate.
    """
    from numpy._core import multiarray

    kinds = ("Bool Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float16 Float32 Float64 Str Bytes").split()
    types = [getattr(np.dtypes, f"{kind}DType") for kind in kinds]
    named = [
        (getattr(multiarray, function), f"numpy.{core}.multiarray.{function}")
        for core in ("core", "_core")
        for function in ("_reconstruct", "scalar")
    ]
    return [np.ndarray, np.dtype, *types, *named]
