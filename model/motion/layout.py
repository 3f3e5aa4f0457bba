"""Which columns of a motion vector are what: expression, jaw, pose (the head's rotation), eyes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from rsat_data.errors import HeadMismatch

GROUPS = ("expression", "jaw", "pose", "eyes")
"""Groups in the order of their columns. ``pose`` is the code ``rotation``; the first three make DualTalk's table."""
FAMILIES = (("expression", "jaw"), ("pose",), ("eyes",))
"""Groups that move as one in an event: a mouth and its jaw; the head and the eyes go their own ways."""
CODE_OF_GROUP = {"expression": "expression", "jaw": "jaw", "pose": "rotation", "eyes": "eyes"}
"""Group -> column of the dataset."""


@dataclass(frozen=True)
class MotionLayout:
    """Widths of the groups; only that of the expression depends on the head."""

    num_expression: int
    """E."""

    @property
    def widths(self) -> dict[str, int]:
        """Group -> columns."""
        return {"expression": self.num_expression, "jaw": 3, "pose": 3, "eyes": 6}

    @property
    def size(self) -> int:
        """D, columns of a motion vector."""
        return sum(self.widths.values())

    def slices(self) -> Iterator[tuple[str, slice]]:
        """Groups and where they lie."""
        start = 0
        for name, width in self.widths.items():
            yield name, slice(start, start + width)
            start += width

    def pack(self, codes: Mapping[str, np.ndarray]) -> np.ndarray:
        """(T, D) float32 of a person's codes, given under the dataset's names or the groups'.

        Raises:
            HeadMismatch: the expression code is of another length.
        """
        parts = []
        for name, width in self.widths.items():
            value = codes[name] if name in codes else codes[CODE_OF_GROUP[name]]
            if value.shape[-1] != width:
                raise HeadMismatch(f"{name} has {value.shape[-1]} columns, {width} are expected: is it another head's?")
            parts.append(value)
        return np.concatenate(parts, axis=-1).astype(np.float32, copy=False)

    def unpack(self, motion: np.ndarray) -> dict[str, np.ndarray]:
        """Group -> (T, d) of a motion (T, D): views."""
        if motion.shape[-1] != self.size:
            raise HeadMismatch(f"A motion has {motion.shape[-1]} columns, {self.size} are expected.")
        return {name: motion[..., where] for name, where in self.slices()}
