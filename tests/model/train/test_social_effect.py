"""Stage 3 finds an effect of relations that is there, and none where none is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.evaluate.harness import EvaluateConfig
from model.evaluate.relations import shuffle_test
from model.evaluate.report import Shuffle
from model.motion.config import NetworkConfig
from model.motion.conversation import PERSONS, Conversation, Relation
from model.motion.layout import MotionLayout
from model.motion.run import load_run
from model.motion.speech import open_encoder
from model.train import checkpoint
from model.train.checkpoint import RunFacts
from model.train.config import LossConfig, RunConfig, TrainConfig
from model.train.stages import Prepared, run_stage
from model.train.store import Entry, Store
from tests.model.evaluate.talks import RELATIONS, talk
from tests.model.train.conftest import CPU

LAYOUT, ENCODER = MotionLayout(6), open_encoder("logmel", "", "cpu")
FRAMES = 80


def acted(number: int, effect: float) -> Conversation:
    """Two people; the junior looks to one side while speaking and to the other while listening.

    So the mean over a few seconds says little of it, and the relation has to be multiplied with who speaks.
    """
    relation = RELATIONS[number % len(RELATIONS)]
    one = talk(number, frames=FRAMES, relation=relation)
    codes = {}
    for person in PERSONS:
        mine = {name: np.array(values) for name, values in one.codes[person].items()}
        if relation.senior not in ("none", person):
            mine["eyes"][:, [1, 4]] += np.where(one.speaking[person], effect, -effect)[:, None]
        codes[person] = mine
    return replace(one, codes=codes)


def stored(talks: Sequence[Conversation]) -> Store:
    """What training reads, without files."""
    people = [(one, person) for one in talks for person in PERSONS]
    entries = [
        Entry(
            one.clip_id, one.dyad_id, 2 * FRAMES * i, FRAMES, (one.subject_id["A"], one.subject_id["B"]),
            (one.relation.kinship, one.relation.status, one.relation.senior),
        )
        for i, one in enumerate(talks)
    ]  # fmt: skip
    return Store(
        entries=tuple(entries),
        per_frame=ENCODER.per_frame,
        motion=np.concatenate([LAYOUT.pack(one.codes[person]) for one, person in people]),
        speech=np.concatenate([ENCODER.features(one.audio(person)).astype(np.float16) for one, person in people]),
        valid=np.ones(len(people) * FRAMES, bool),
        speaking=np.concatenate([one.speaking[person] for one, person in people]),
        shape=np.stack([one.shape[person] for one, person in people]),
    )


def eyes_under_relations(effect: float, folder: Path) -> tuple[Shuffle, str]:
    """Both stages, briefly, and what the true relation is worth for the eyes of people who are new."""
    network = NetworkConfig(width=16, layers=1, heads=2, reach=10, queries=2, reference_s=0.4, draw_width=8)
    train = TrainConfig(steps=60, batch=8, window=32, hop=16, lr=1e-2, warmup=5, ema=0.9, validate_every=120)
    train = replace(train, decoder_rate=0.5, partner_dropout=0.0, draw_steps=0)
    config = RunConfig(network=network, train=train, loss=LossConfig())
    facts = RunFacts(config, "", "", LAYOUT.num_expression, ENCODER.key, ENCODER.channels, ENCODER.per_frame)
    known = stored([acted(number, effect) for number in range(32)])
    checkpoint.write_facts(folder, facts)
    for stage, steps in ((1, 30), (3, 120)):
        chosen = replace(facts, config=replace(config, train=replace(train, steps=steps)))
        run_stage(stage, Prepared(chosen, LAYOUT, known, None, 0), folder, None, CPU, resume=False)
    run = load_run(folder, stage=3)

    def predict(one: Conversation, person: str, relation: Relation) -> dict[str, np.ndarray]:
        return run.predict(one, person, relation=relation)

    unseen = [acted(number, effect) for number in range(100, 116)]
    options = EvaluateConfig(reference_s=0.4, rounds=400, vertices=False, metrics=("mse",))
    found = shuffle_test("unseen", unseen, predict, None, options)
    return next(one for one in found.outcomes if one.group == "eyes"), found.verdict


@pytest.mark.parametrize("effect", [0.3, 0.0])
def test_a_planted_effect_is_found_and_none_where_there_is_none(effect: float, tmp_path: Path) -> None:
    eyes, verdict = eyes_under_relations(effect, tmp_path)
    gain = eyes.over_permuted
    assert gain.value is not None and gain.low is not None and eyes.permuted.value is not None
    if effect:
        assert verdict == "gain" and gain.low > 0 and gain.value > 0.05 * eyes.permuted.value
    else:
        assert verdict != "gain" and abs(gain.value) < 0.02 * eyes.permuted.value
