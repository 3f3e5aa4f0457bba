"""Motion of two people while they speak: sound goes in piece by piece, codes come out for every 40 ms of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from model.motion.conversation import PERSONS, SAMPLES_PER_FRAME, UNKNOWN, Relation, partner_of
from model.motion.draw import frame_noise, seed_of
from model.motion.layers import Memory
from model.motion.network import Batch
from model.motion.reference import describe
from model.motion.run import Run
from model.motion.voice import VoiceActivity
from rsat_data.errors import DatasetError, RunError

Codes = Mapping[str, np.ndarray]
Partner = Literal["unknown", "predicted"]


class Stream:
    """A causal run that hears two people and predicts both.

    Args:
        run: trained with ``network.causal=true`` and an encoder that does not look ahead.
        relation: of the two.
        references: A and B -> codes (T', d) of that person from elsewhere, which show the neutral face and how lively
            it is; None, or a person left out, for people of whom nothing is known.
        seed: of the draw; None for the mean.
        partner: what each sees of the other's motion: nothing (``unknown``), or what was predicted for the frame before
            (``predicted``; then frames go through the network one by one).

    Raises:
        RunError: the run looks ahead.
    """

    def __init__(
        self,
        run: Run,
        relation: Relation = UNKNOWN,
        references: Mapping[str, Codes | None] | None = None,
        seed: int | None = None,
        *,
        partner: Partner = "unknown",
    ) -> None:
        require_causal(run)
        self.run, self.relation, self.seed, self.partner = run, relation, seed, partner
        self.frames = 0
        """Frames that came out so far."""
        self._memory: Memory = {}
        encoder = run.encoder
        self._past: dict[str, np.ndarray] = {
            person: np.zeros(encoder.history, np.float32)  # type: ignore[attr-defined]
            for person in PERSONS
        }
        self._voices = {person: VoiceActivity() for person in PERSONS}
        self._last: dict[str, np.ndarray | None] = {person: None for person in PERSONS}
        known = {person: _described(run, (references or {}).get(person)) for person in PERSONS}
        self._reference = torch.from_numpy(np.stack([known[person][0] for person in PERSONS])).to(run.device)
        self._known = torch.tensor([known[person][1] for person in PERSONS], device=run.device)
        self._relation = torch.tensor([relation.ids(person) for person in PERSONS], device=run.device)

    def push(
        self, audio: Mapping[str, np.ndarray], speaking: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, dict[str, np.ndarray]]:
        """Codes of both people for the next n frames.

        Args:
            audio: A and B -> (640 n,) float32 at 16 kHz, what each of them says.
            speaking: A and B -> (n,) bool; None to tell it from the loudness of each track.

        Returns:
            A and B -> group (``model.motion.layout.GROUPS``) -> (n, d) float32.

        Raises:
            DatasetError: the pieces are not whole frames, or not equally long.
        """
        count = self._checked(audio)
        voices = self.heard(audio) if speaking is None else speaking
        if self.partner == "unknown" or count <= 1:
            return self._next(audio, voices)
        parts = []
        for index in range(count):
            samples = slice(index * SAMPLES_PER_FRAME, (index + 1) * SAMPLES_PER_FRAME)
            one = slice(index, index + 1)
            parts.append(self._next({p: audio[p][samples] for p in PERSONS}, {p: voices[p][one] for p in PERSONS}))
        return {
            person: {name: np.concatenate([part[person][name] for part in parts]) for name in parts[0][person]}
            for person in PERSONS
        }

    def heard(self, audio: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A and B -> (n,) bool, who speaks in the next n frames; what :meth:`push` asks where it is not told."""
        return {person: self._voices[person].push(audio[person]) for person in PERSONS}

    def _checked(self, audio: Mapping[str, np.ndarray]) -> int:
        lengths = {person: len(audio[person]) for person in PERSONS}
        count, rest = divmod(lengths["A"], SAMPLES_PER_FRAME)
        if rest or lengths["A"] != lengths["B"]:
            raise DatasetError(
                f"A stream takes whole frames of {SAMPLES_PER_FRAME} samples of both people, not {lengths['A']} and "
                f"{lengths['B']} samples."
            )
        return count

    @torch.inference_mode()
    def _next(
        self, audio: Mapping[str, np.ndarray], speaking: Mapping[str, np.ndarray]
    ) -> dict[str, dict[str, np.ndarray]]:
        run, count = self.run, len(speaking["A"])
        if not count:
            empty = run.layout.unpack(np.zeros((0, run.layout.size), np.float32))
            return {person: dict(empty) for person in PERSONS}
        heard = {}
        for person in PERSONS:
            samples = np.concatenate([self._past[person], np.asarray(audio[person], np.float32)])
            heard[person] = run.encoder.continued(samples)  # type: ignore[attr-defined]
            self._past[person] = samples[len(samples) - len(self._past[person]) :]
        own = torch.from_numpy(np.stack([heard[person] for person in PERSONS]))
        says = {person: np.asarray(speaking[person], bool).astype(np.int64) for person in PERSONS}
        state = np.stack([says[person] + 2 * says[partner_of(person)] for person in PERSONS])
        motion = np.zeros((2, count, run.layout.size), np.float32)
        seen = self.partner == "predicted" and all(last is not None for last in self._last.values())
        if seen:
            for index, person in enumerate(PERSONS):
                motion[index] = self._last[partner_of(person)]
        batch = Batch(
            own=own,
            partner=own.flip(0),
            state=torch.from_numpy(state),
            motion=torch.from_numpy(motion),
            motion_known=torch.full((2, count), seen),
            reference=self._reference,
            reference_known=self._known,
            relation=self._relation,
        ).to(run.device)
        found = self._predicted(batch, count).float().cpu().numpy()
        self.frames += count
        for index, person in enumerate(PERSONS):
            self._last[person] = found[index, -1]
        return {person: run.layout.unpack(found[index]) for index, person in enumerate(PERSONS)}

    def _predicted(self, batch: Batch, count: int) -> torch.Tensor:
        """(2, n, D) of the two."""
        network = self.run.network
        if self.seed is None:
            return network(batch, self._memory)
        size = self.run.layout.size
        noise = [frame_noise(seed_of(self.seed, i), self.frames, count, size) for i in range(len(PERSONS))]
        return network.drawn(batch, torch.from_numpy(np.stack(noise)).to(self.run.device), self._memory)


def require_causal(run: Run) -> None:
    """Refuse a run that looks ahead.

    Raises:
        RunError: the network or the encoder of its speech needs sound that has not arrived.
    """
    if not run.network.config.causal:
        raise RunError(
            "This run looks ahead, so it cannot move faces while sound arrives.",
            hint="Train one that does not: rsat-data train-baseline ... --set network.causal=true",
        )
    if not run.encoder.causal or not hasattr(run.encoder, "continued"):
        raise RunError(
            f"The speech encoder of this run ({run.encoder.key}) looks ahead, so it cannot hear sound as it arrives.",
            hint="Train with the built-in one: --set speech.encoder=logmel --set network.causal=true",
        )


def _described(run: Run, codes: Codes | None) -> tuple[np.ndarray, bool]:
    """Mean and spread (2, D) of a person's codes, and whether there are enough of them."""
    if codes is None:
        return np.zeros((2, run.layout.size), np.float32), False
    given = run.layout.pack(codes)
    return describe(given, np.isfinite(given).all(axis=1))
