"""Kernels compiled before the clock of a fit starts.

The first fit on a machine compiles its kernels, a minute or two of one core, and keeps them on disk. A budget of two
minutes would be spent on that: so a fit of three steps on a few small frames is thrown away first. Where the kernels
are there already it costs a few seconds, most of which the fit itself would need to load them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.avatar.config import AvatarConfig
from model.avatar.fit import fit_avatar
from model.avatar.footage import Footage
from model.head import HeadModel
from rsat_data.errors import RsatError

FRAMES, REACH, SIZE, STEPS = 16, 200, 64, 3
"""Usable frames of one row, how far into it they are looked for, and the size and length of the fit."""


def warm_up(head: HeadModel, footage: Sequence[Footage], config: AvatarConfig, threads: int) -> bool:
    """Run everything once; whether it was. What is wrong with the footage is left for the fit itself to say."""
    short = next((part for row in footage if (part := beginning(row)) is not None), None)
    if short is None:
        return False
    small = replace(config, size=SIZE, max_steps=STEPS, max_frames=FRAMES, budget_s=3600.0, min_frames=4, hold_out=0.3)
    try:
        fit_avatar(head, short.shape, [short], small, threads=threads)
    except RsatError:
        return False
    return True


def beginning(row: Footage) -> Footage | None:
    """The first usable frames of a row; None where they are too far into it."""
    there = np.flatnonzero(row.usable()[:REACH])
    if len(there) < FRAMES:
        return None
    stop = int(there[FRAMES - 1]) + 1
    return replace(row, codes={name: values[:stop] for name, values in row.codes.items()}, valid=row.valid[:stop])
