"""The labelling loop: relationships in Label Studio, from tasks to agreed labels. It knows nothing of meshes.

Each verb is a function that takes the dataset's folder and a frozen dataclass of options, returns a frozen dataclass
of results, prints nothing and raises the errors of :mod:`rsat_data.errors`::

    from annotation import PushOptions, push
    result = push("my_dataset", PushOptions(sample=200))

Names are imported when they are first used, so ``import annotation`` is instant.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

#: Name -> module that has it.
_EXPORTS = {
    "connect": "annotation.client",
    "Client": "annotation.client",
    "Form": "annotation.form",
    "load_form": "annotation.form",
    "LabelStore": "annotation.store",
    "init": "annotation.project",
    "InitOptions": "annotation.project",
    "InitResult": "annotation.project",
    "serve": "annotation.server",
    "ServeOptions": "annotation.server",
    "RunningServer": "annotation.server",
    "doctor": "annotation.doctor",
    "DoctorOptions": "annotation.doctor",
    "DoctorReport": "annotation.doctor",
    "push": "annotation.push",
    "PushOptions": "annotation.push_report",
    "PushResult": "annotation.push_report",
    "pull": "annotation.pull",
    "PullOptions": "annotation.pull",
    "PullResult": "annotation.pull",
    "agreement": "annotation.agreement",
    "AgreementOptions": "annotation.agreement",
    "AgreementReport": "annotation.agreement",
    "adjudicate": "annotation.adjudicate",
    "AdjudicateOptions": "annotation.adjudicate",
    "AdjudicateResult": "annotation.adjudicate",
    "apply": "annotation.apply",
    "ApplyOptions": "annotation.apply",
    "ApplyResult": "annotation.apply",
}
#: Verbs named like the module that holds them.
_VERBS = frozenset({"doctor", "push", "pull", "agreement", "adjudicate", "apply"})

__all__ = list(_EXPORTS)  # noqa: PLE0605


class _Package(ModuleType):
    """A package whose verbs stay functions: importing ``annotation.push`` would put the module in the verb's place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})


sys.modules[__name__].__class__ = _Package
