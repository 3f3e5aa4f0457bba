"""Guard against a user's own ``model/`` or ``schemas.py`` standing before this project's packages on the path."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rsat_data.errors import ShadowedPackageError

SIBLINGS = ("schemas", "model", "pipelines", "annotation")


def check_siblings() -> None:
    """Check that the sibling packages Python would import are the ones installed beside ``rsat_data``.

    Raises:
        ShadowedPackageError: names the file that hides one of them, and how to get around it.
    """
    home = Path(__file__).resolve().parent.parent
    for name in SIBLINGS:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            places = list(spec.submodule_search_locations or []) if spec else []
            found = places[0] if places else "nothing"
        else:
            found = str(Path(spec.origin).resolve())
            if Path(found).parent == home / name:
                continue
        raise ShadowedPackageError(
            f"The package '{name}' of rsat-data is hidden: Python finds {found} instead of {home / name}.",
            hint="Run the command from another folder, or rename that file. Reading datasets works here all the same.",
            path=found,
        )
