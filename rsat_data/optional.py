"""The one place that imports optional packages, and says which extra to install when one is absent."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from types import ModuleType

from rsat_data.errors import MissingDependencyError

#: Package -> the extra of this distribution that brings it.
EXTRAS = {
    "whisperx": "speech",
    "pyannote.audio": "speech",
    "label_studio_sdk": "annotate",
    # What label_studio_sdk talks over.
    "httpx": "annotate",
    "gsplat": "gpu",
    "pytorch3d": "gpu",
    "ray": "cluster",
    "accelerate": "train",
    "tensorboard": "train",
    "transformers": "train",
    "datasets": "dev",
}


@cache
def is_installed(package: str) -> bool:
    """Whether ``package`` could be imported, without importing it (its parent, for a dotted name, is imported)."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def require(package: str, *, needed_for: str) -> ModuleType:
    """Import ``package`` or raise :class:`MissingDependencyError` that names the command which installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        extra = EXTRAS.get(package)
        what = f"'rsat-data[{extra}]'" if extra else package
        raise MissingDependencyError(
            f"{needed_for} needs the package {package}, which cannot be imported here ({error}).",
            hint=f"Install it with: pip install {what}",
        ) from error
