"""The dialects by name. Their modules are imported when they are used."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from rsat_data.errors import UsageError


@dataclass(frozen=True)
class Dialect:
    """One file format."""

    name: str
    """What ``--format`` takes."""
    module: str
    """Module with ``find``, ``read`` and, where ``writes``, ``write``."""
    about: str
    """One line for ``--help``."""
    head: str | None = None
    """Head that the format implies; None where it says nothing and the user must."""
    flame: bool = True
    """Whether its codes are FLAME's; else any head's."""
    writes: bool = True
    """Whether it can be exported."""

    def load(self) -> ModuleType:
        """The module."""
        return importlib.import_module(self.module)


_PLACE = "rsat_data.dialects"
DIALECTS: dict[str, Dialect] = {
    entry.name: entry
    for entry in (
        Dialect(
            "vhap",
            f"{_PLACE}.vhap",
            "VHAP / GaussianAvatars folder: images, fg_masks, flame_param, transforms*.json",
            head="flame2023",
        ),
        Dialect(
            "vhap-npz", f"{_PLACE}.vhap_npz", "VHAP's tracked_flame_params_*.npz, one a sequence", head="flame2023"
        ),
        Dialect(
            "metrical",
            f"{_PLACE}.metrical",
            "metrical-tracker's checkpoint/*.frame files (INSTA, FlashAvatar, RGBAvatar)",
            head="flame2020",
        ),
        Dialect("dualtalk", f"{_PLACE}.dualtalk", "DualTalk: *_speaker1/2 .npz and .wav of a conversation"),
        Dialect(
            "deca",
            f"{_PLACE}.deca",
            "DECA, EMOCA, SPECTRE codes: .npz, .mat, .pt or a folder of .npy",
            head="flame2020",
        ),
        Dialect("arkit", f"{_PLACE}.arkit", "ARKit's 52 blendshapes: .json or .csv", head="open", flame=False),
        Dialect("vertices", f"{_PLACE}.vertices", "Mesh vertices only: .npy or .npz (T, V, 3)", flame=False),
    )
}


def get(name: str) -> Dialect:
    """A dialect by name.

    Raises:
        UsageError: there is none; the hint lists them.
    """
    if name not in DIALECTS:
        raise UsageError(f"There is no format {name!r}.", hint=f"Formats: {', '.join(DIALECTS)}.")
    return DIALECTS[name]
