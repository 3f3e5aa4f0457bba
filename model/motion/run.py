"""A trained run: load it, and predict a person's motion in a conversation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from model.motion.conversation import PERSONS, UNKNOWN, Conversation, Relation, partner_of
from model.motion.draw import frame_noise, seed_of
from model.motion.layout import MotionLayout
from model.motion.network import Batch, MotionNetwork
from model.motion.reference import describe, reference_frames
from model.motion.speech import SpeechEncoder, open_encoder
from rsat_data.errors import HeadMismatch, RunError

_CHUNK = 1000


@dataclass
class _Latest:
    """What was computed last of one person in one conversation, and does not depend on the relation.

    Relations are compared by asking for the same person again and again.
    """

    conversation: Conversation | None = None
    person: str = ""
    partner_motion: bool = True
    span: tuple[int, int] = (0, 0)
    fused: torch.Tensor | None = None
    """(1, T', C) of the span."""
    features: dict[tuple[int, ...], torch.Tensor] = field(default_factory=dict)
    """Relation -> features of the span."""

    def fits(self, conversation: Conversation, person: str, partner_motion: bool, span: slice) -> bool:
        """Whether it is of these."""
        own = (self.person, self.partner_motion, self.span)
        return self.conversation is conversation and own == (person, partner_motion, (span.start, span.stop))


@dataclass
class Run:
    """A network, its speech encoder, and what it was trained on."""

    network: MotionNetwork
    """In evaluation mode, on its device."""
    encoder: SpeechEncoder
    """Of speech."""
    layout: MotionLayout
    """Columns of motion."""
    config: object
    """Settings of the run: ``model.train.config.RunConfig``."""
    dataset_hash: str
    """Of the dataset it was trained on."""
    head_model: str
    """Head whose codes it predicts."""
    stage: int
    """1, or 3 with the social module."""
    draws: bool
    """Whether the head that draws was trained."""
    device: torch.device
    """Where it computes."""
    _heard: OrderedDict[tuple[str, str], np.ndarray] = field(default_factory=OrderedDict, repr=False)
    _latest: _Latest = field(default_factory=_Latest, repr=False)

    @property
    def reference_s(self) -> float:
        """Seconds at a clip's beginning that are given to the network."""
        return self.network.config.reference_s

    def evaluated(self, conversation: Conversation, person: str) -> np.ndarray:
        """(T,) bool: frames a metric may count: valid, and outside the reference."""
        first = reference_frames(conversation.num_frames, self.reference_s)
        return conversation.valid[person] & (np.arange(conversation.num_frames) >= first)

    def predict(
        self,
        conversation: Conversation,
        person: str,
        *,
        relation: Relation | None = None,
        partner_motion: bool = True,
        reference: Mapping[str, np.ndarray] | None = None,
        audio: Mapping[str, np.ndarray] | None = None,
        draw: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Motion of ``person`` over the whole conversation: the mean, or a draw.

        The mean is the best guess: what speech does not tell (blinks, nods) is averaged away. A draw does what the face
        might; other seeds, other blinks.

        Args:
            conversation: both people; the target's own codes are looked at in the reference's frames alone.
            person: A or B.
            relation: of the two; None for the conversation's own, ``conversation.UNKNOWN`` for not known. A run
                without the social module hears nothing of it.
            partner_motion: let the network see the partner's codes, where they are valid; otherwise sound alone.
            reference: codes (T', d) of the same person from elsewhere, in place of the clip's beginning.
            audio: A and B -> (640 T,) float32, in place of the conversation's own sound.
            draw: None for the mean; >= 0 for the draw of that seed. A and B get noise of their own.

        Returns:
            Group (``model.motion.layout.GROUPS``) -> (T, d) float32.

        Raises:
            HeadMismatch: the conversation has another head's codes.
            DatasetError: its sound does not fit.
            RunError: the run cannot draw.
        """
        self._same_head(conversation)
        batch = self._batch(conversation, person, relation, partner_motion, reference, audio)
        frames = conversation.num_frames
        if draw is None:

            def mean(part: Batch, span: slice) -> torch.Tensor:
                if reference is not None or audio is not None:
                    return self.network(part)
                features = self._features(part, conversation, person, partner_motion, span)
                return self.network.decoded(features, part) * self.network.scale + self.network.mean

            return self.layout.unpack(self._whole(batch, frames, mean))
        self.require_draws()
        told, expected = self._informed(batch, frames, lambda part, span: self.network.features(part))
        noise = frame_noise(seed_of(draw, PERSONS.index(person)), 0, frames, self.layout.size)
        with torch.inference_mode():
            residual = self.network.draw.residual(told, self._tensor(noise))
            found = (expected + residual) * self.network.scale + self.network.mean
        return self.layout.unpack(found[0].cpu().numpy())

    def surprise(
        self,
        conversation: Conversation,
        person: str,
        *,
        relation: Relation | None = None,
    ) -> np.ndarray:
        """How little the person's true motion was to be expected, frame by frame.

        Minus the logarithm of the density that the head which draws gives to the true motion, given what came before
        it (``model.motion.draw.DrawHead.surprise``), a part.

        Args:
            conversation: both people.
            person: A or B.
            relation: as in :meth:`predict`.

        Returns:
            (T,) float32 nats, lower for what was expected, below 0 too; 0 in frames that are not valid. Frames of the
            reference were given away: leave them out by :meth:`evaluated`.

        Raises:
            HeadMismatch: the conversation has another head's codes.
            DatasetError: its sound does not fit.
            RunError: the run cannot draw.
        """
        self._same_head(conversation)
        self.require_draws()
        batch = self._batch(conversation, person, relation, True, None, None)
        network, target = self.network, self._tensor(self.layout.pack(conversation.codes[person]))
        told, expected = self._informed(
            batch,
            conversation.num_frames,
            lambda part, span: self._features(part, conversation, person, True, span),
        )
        with torch.inference_mode():
            residual = (target - network.mean) / network.scale - expected
            found = network.draw.surprise(told, residual, self._tensor(conversation.valid[person]))
        return found[0].cpu().numpy()

    def require_draws(self) -> None:
        """Refuse a run whose head that draws was never trained.

        Raises:
            RunError: it was not.
        """
        if not self.draws:
            raise RunError(
                "This run cannot draw: the head that does was not trained.",
                hint="Ask for its mean, or let it learn: rsat-data train-baseline --stage 1 --resume ... "
                "--set train.draw_steps=1000",
            )

    def _informed(
        self, batch: Batch, frames: int, features: Callable[[Batch, slice], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the head that draws is told (1, T, .), and the mean (1, T, D) in units of training."""

        def look(part: Batch, span: slice) -> torch.Tensor:
            found = features(part, span)
            mean = self.network.decoded(found, part)
            return torch.cat([self.network.draw.inform(found, mean), mean], dim=-1)

        both = self._tensor(self._whole(batch, frames, look))
        told = both.shape[-1] - self.layout.size
        return both[..., :told], both[..., told:]

    def _same_head(self, conversation: Conversation) -> None:
        if conversation.head_model != self.head_model:
            raise HeadMismatch(
                f"The run predicts codes of the head {self.head_model}, conversation {conversation.clip_id} has those "
                f"of {conversation.head_model}."
            )

    def _features(
        self, part: Batch, conversation: Conversation, person: str, partner_motion: bool, span: slice
    ) -> torch.Tensor:
        """Features (1, T', C) of a piece, ``span`` of the person; what is before the relation is computed once."""
        latest = self._latest
        if not latest.fits(conversation, person, partner_motion, span):
            fused = self.network.fused(part)
            place = (span.start, span.stop)
            latest = _Latest(conversation, person, partner_motion, place, fused)
            self._latest = latest
        assert latest.fused is not None
        if self.network.social is None:
            return latest.fused
        key = tuple(part.relation[0].tolist())
        if key not in latest.features:
            latest.features[key] = self.network.social(latest.fused, part.relation)
        return latest.features[key]

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array)[None]).to(self.device)

    def _batch(
        self,
        talk: Conversation,
        person: str,
        relation: Relation | None,
        partner_motion: bool,
        reference: Mapping[str, np.ndarray] | None,
        audio: Mapping[str, np.ndarray] | None,
    ) -> Batch:
        other = partner_of(person)
        speech = {p: self._speech(talk, p, audio) for p in PERSONS}
        motion = self.layout.pack(talk.codes[other])
        known = talk.valid[other] if partner_motion else np.zeros(talk.num_frames, bool)
        if reference is None:
            first = reference_frames(talk.num_frames, self.reference_s)
            given = self.layout.pack({name: value[:first] for name, value in talk.codes[person].items()})
            style, has = describe(given, talk.valid[person][:first])
        else:
            given = self.layout.pack(reference)
            style, has = describe(given, np.isfinite(given).all(axis=1))
        relation = talk.relation if relation is None else relation
        state = talk.speaking[person] + 2 * talk.speaking[other].astype(np.int64)

        def one(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.array(array)[None])

        return Batch(
            own=one(speech[person]),
            partner=one(speech[other]),
            state=one(state.astype(np.int64)),
            motion=one(motion),
            motion_known=one(known),
            reference=one(style),
            reference_known=torch.tensor([has]),
            relation=torch.tensor([relation.ids(person)]),
        )

    def _speech(self, talk: Conversation, person: str, audio: Mapping[str, np.ndarray] | None) -> np.ndarray:
        if audio is not None:
            return self.encoder.features(np.asarray(audio[person], np.float32))
        key = (talk.clip_id, person)
        if key not in self._heard:
            # As in training, where they were kept with half the digits.
            self._heard[key] = self.encoder.features(talk.audio(person)).astype(np.float16).astype(np.float32)
            while len(self._heard) > 8:
                self._heard.popitem(last=False)
        return self._heard[key]

    @torch.inference_mode()
    def _whole(self, batch: Batch, frames: int, look: Callable[[Batch, slice], torch.Tensor]) -> np.ndarray:
        """(T, D), in pieces with as much of their surroundings as can matter: memory does not grow with T squared."""
        parts, margin = [], self.network.receptive
        for start in range(0, frames, _CHUNK):
            stop = min(start + _CHUNK, frames)
            low, high = max(start - margin, 0), min(stop + margin, frames)
            found = look(_span(batch, low, high, self.encoder.per_frame).to(self.device), slice(low, high))[0]
            parts.append(found[start - low : stop - low].float().cpu().numpy())
        return np.concatenate(parts)


def _span(batch: Batch, start: int, stop: int, per: int) -> Batch:
    values = dict(vars(batch))
    for name in ("own", "partner"):
        values[name] = values[name][:, start * per : stop * per]
    for name in ("state", "motion", "motion_known"):
        values[name] = values[name][:, start:stop]
    return Batch(**values)


def load_run(folder: str | Path, device: str = "cpu", *, stage: int | None = None) -> Run:
    """Load what ``rsat-data train-baseline`` left in ``folder``.

    Args:
        folder: the run.
        device: where to compute.
        stage: 1 or 3; None for the latest.

    Raises:
        RunError: there is no run, it is damaged, or it has no such stage.
        ModelFileError: the weights of its speech encoder are not here, or others are.
    """
    from model.train import checkpoint

    place = Path(folder)
    facts = checkpoint.read_facts(place)
    stages = [s for s in (3, 1) if checkpoint.weights_of(place, s)]
    chosen = next(iter(stages), None) if stage is None else (stage if stage in stages else None)
    if chosen is None:
        wanted = "stage 1" if stage is None else f"stage {stage}"
        raise RunError(
            f"{place} holds no finished {wanted}.",
            hint=f"Train it: rsat-data train-baseline --dataset OUT --run {place} --stage {stage or 1}",
            path=place,
        )
    config = facts.config
    encoder = open_encoder(config.speech.encoder, config.speech.weights, device)
    if encoder.key != facts.encoder:
        raise RunError(
            f"{place} was trained on features of {facts.encoder}; here the encoder is {encoder.key}.", path=place
        )
    layout = MotionLayout(facts.num_expression)
    network = MotionNetwork(config.network, facts.channels, facts.per_frame, layout.size, social=chosen == 3)
    path = checkpoint.weights_of(place, chosen)
    assert path is not None
    tensors, values = checkpoint.read(path)
    try:
        network.load_state_dict({name.removeprefix("network."): value for name, value in tensors.items()})
    except RuntimeError as error:
        raise RunError(f"{place}: stage {chosen} is of another network: {error}.", path=place) from error
    return Run(
        network=network.to(device).eval(),
        encoder=encoder,
        layout=layout,
        config=config,
        dataset_hash=facts.dataset_hash,
        head_model=facts.head_model,
        stage=chosen,
        draws=values.get("terms") != "mean",
        device=torch.device(device),
    )


__all__ = ["UNKNOWN", "Run", "load_run"]
