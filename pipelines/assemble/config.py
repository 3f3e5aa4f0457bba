"""Options of the stage `assemble`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AssembleConfig:
    """Options of the assemble stage."""

    metadata_confidence: float = 1.0
    """Trust in a relation that the owner of the source stated, in [0, 1]."""
    always_pii: tuple[str, ...] = ("face", "voice")
    """Kinds of personal data that every row holds, whatever the sidecar says."""
    off_screen_partner: bool = True
    """Whether clips that show one of the two people of a recording get a row of the other one; see docs/cutting.md."""
