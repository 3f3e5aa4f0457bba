"""Does the reference model learn what relations do? Called by ``python -m benchmarks.train social``.

Stage 3 is judged on people it never saw, by the relation-shuffle test of ``rsat-data evaluate``: the same model under
the true relations, under permuted ones, and under none. Outcomes that decide were fixed before: the errors of the mean
(expression, jaw, pose, eyes) and the surprise of the head that draws, p after Holm. Two rows of the table:

oracle  what could be had at all: for each clip the mean of simulations of its own dialogue under every relation. It
        knows the declared effects, so its interval says whether so many test conversations can show them.
model   what stage 3 learnt from the training conversations.

With ``--effect-scale 0`` relations do nothing, and neither may be better or worse under the true ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from benchmarks.machine import table
from model.evaluate.harness import EvaluateConfig
from model.evaluate.relations import RelationPredict, RelationSurprise, shuffle_test, words
from model.evaluate.report import Estimate, ShuffleTest
from model.head import load_head
from model.motion.conversation import PERSONS, Conversation, Conversations, Relation, conversations
from model.motion.layout import MotionLayout
from model.motion.run import Run
from pipelines.synth import relations as synthetic
from pipelines.synth.behaviour import behave
from pipelines.synth.dataset import rows_of
from pipelines.synth.driver import SynthConfig, open_speech
from pipelines.synth.records import rng_for
from pipelines.synth.scene import head_facts, make_codes, make_scene
from pipelines.synth.simulate import simulate
from pipelines.synth.visemes import drive_mouth

SPOKEN = ("Press", "Pucker", "Funnel", "Stretch", "LowerDown", "UpperUp", "RollLower")
"""Columns of the expression code that the synthesiser drives by speech alone."""
DEFAULTS = {
    "train": 200, "test": 100, "seconds": 16.0, "steps": 250, "social_steps": 300, "draws": 2, "unseen_seed": 303,
}  # fmt: skip
"""How much: on 100 unseen conversations of 16 s the oracle's gain is apart from zero in every group. Their seed is
another than that of ``motion``, which the model was made with."""
RATIOS = {"train": 0.8, "validation": 0.2, "test": 0.0}
"""Splits of what is learnt from. Validation chooses the step that is kept: a tenth is too few people for that."""
SETTINGS = ("train.patience=0",)
"""Of stage 3. Validation errors of few people rise and fall by more than relations are worth: all steps are taken."""
BLOCK = tuple(synthetic.relation_of(0, dyad) for dyad in range(8))
"""Relations as often as they occur: every eight dyads hold the same."""


class Oracle:
    """The mean motion of every clip under every relation, as the synthesiser declares it.

    What a relation does to the mouth is known frame by frame. What it does to the rest (gaze, smiles, nods) is the mean
    over all clips by seat, place in the relation, and who speaks: means of a few simulations would be noise.

    Args:
        config: the conversations.
        draws: simulations of each clip under each relation.
    """

    def __init__(self, config: SynthConfig, draws: int) -> None:
        head = load_head()
        facts, speech = head_facts(head), open_speech(config.speech)
        self._layout = MotionLayout(len(facts.expression_names))
        spoken = [any(word in name for word in SPOKEN) for name in facts.expression_names]
        self._known = np.array([*spoken, True, True, True, *[False] * 9])
        relations = list(dict.fromkeys(BLOCK))
        shares = {one: BLOCK.count(one) / len(BLOCK) for one in relations}
        self._means: dict[tuple[str, str], np.ndarray] = {}
        self._mouths: dict[tuple[str, str, str], np.ndarray] = {}
        self._states: dict[tuple[str, str], np.ndarray] = {}
        sums: dict[tuple[str, str, int], tuple[np.ndarray, int]] = {}
        effects = config.simulation.effects
        for index in range(config.clips):
            truth, dialogue = simulate(config.simulation, index, speech, facts)
            clip = rows_of(truth, dialogue, facts, "")[1]["clip_id"]
            seed = int(rng_for(config.simulation.seed, "clip", index).integers(2**31))  # as simulate() places them
            scene = make_scene(config.simulation.width, config.simulation.height, seed, config.simulation.lens)
            found: dict[tuple[str, synthetic.Relation], np.ndarray] = {}
            for one in relations:
                rates = {p: effects.rates(one, p) for p in PERSONS}
                mouths = {p: drive_mouth(dialogue, p, articulation=rates[p].articulation) for p in PERSONS}
                for draw in range(draws):
                    acted = behave(dialogue, mouths, rates, 10_000 + draw)
                    for p in PERSONS:
                        codes = make_codes(acted[p], p, scene.places[p], truth.codes[p].shape, facts)
                        motion = self._layout.pack(vars(codes)).astype(np.float64) / draws
                        found[p, one] = found.get((p, one), 0.0) + motion
            for p in PERSONS:
                mean = sum((shares[one] * found[p, one] for one in relations), np.zeros(1))
                other = PERSONS[1 - PERSONS.index(p)]
                state = dialogue.speaking(p) + 2 * dialogue.speaking(other).astype(np.int64)
                self._means[clip, p], self._states[clip, p] = mean, state
                for one in relations:
                    apart = found[p, one] - mean
                    self._mouths[clip, p, _name(one)] = apart[:, self._known].astype(np.float32)
                    for s in range(4):
                        total, count = sums.get((p, _name(one), s), (np.zeros(self._layout.size), 0))
                        sums[p, _name(one), s] = total + apart[state == s].sum(0), count + int((state == s).sum())
        self._apart = {key: total / max(count, 1) for key, (total, count) in sums.items()}

    def __call__(self, talk: Conversation, person: str, relation: Relation) -> dict[str, np.ndarray]:
        """Mean motion of a person under a relation; over all of them where it is not known."""
        motion = np.array(self._means[talk.clip_id, person])
        if relation.known:
            name, state = words(relation), self._states[talk.clip_id, person]
            motion += np.stack([self._apart[person, name, s] for s in range(4)])[state]
            motion[:, self._known] = self._means[talk.clip_id, person][:, self._known]
            motion[:, self._known] += self._mouths[talk.clip_id, person, name]
        return self._layout.unpack(motion)


def _name(relation: synthetic.Relation) -> str:
    return words(Relation(relation.kinship, relation.status, relation.senior))


def judged(run: Run, unseen: SynthConfig, draws: int) -> str:
    """The table of a run beside the oracle."""
    talks = conversations(unseen.out, None)
    oracle = _test(talks, Oracle(unseen, draws), None, run.reference_s)
    return told({"oracle": oracle, "model": model_test(talks, run)})


def model_test(talks: Conversations, run: Run) -> ShuffleTest:
    """What a run of stage 3 has, on these conversations."""

    def predict(talk: Conversation, person: str, relation: Relation, /) -> Mapping[str, np.ndarray]:
        return run.predict(talk, person, relation=relation)

    def surprise(talk: Conversation, person: str, relation: Relation, /) -> np.ndarray:
        return run.surprise(talk, person, relation=relation)

    return _test(talks, predict, surprise if run.draws else None, run.reference_s)


def _test(
    talks: Conversations, predict: RelationPredict, surprise: RelationSurprise | None, reference_s: float
) -> ShuffleTest:
    config = replace(EvaluateConfig(), reference_s=reference_s, vertices=False)
    return shuffle_test("unseen", talks, predict, None, config, surprise=surprise)


def told(tests: Mapping[str, ShuffleTest]) -> str:
    """Tests side by side, outcome by outcome, and each one's verdict."""
    lines: list[list[str]] = [["measure", "who", "true", "permuted", "unknown", "gain over permuted", "in %", "p"]]
    keys = {(one.metric, one.group): one.primary for test in tests.values() for one in test.outcomes}
    for metric, group in sorted(keys, key=lambda key: not keys[key]):
        for who, test in tests.items():
            for one in test.outcomes:
                if (one.metric, one.group) == (metric, group):
                    figures = [_figure(value) for value in (one.true, one.permuted, one.unknown)]
                    p = one.p_adjusted if one.primary else one.over_permuted.p
                    mark = "*" if one.primary else ""
                    lines.append(
                        [f"{mark}{metric} {group}", who, *figures, _gain(one.over_permuted),
                         _share(one.over_permuted, one.permuted), "-" if p is None else f"{p:.3f}"]
                    )  # fmt: skip
    sentences = [f"{who}: {test.sentence}" for who, test in tests.items()]
    return "\n".join([table(lines), "* fixed before; p after Holm", *sentences])


def _figure(value: Estimate) -> str:
    return "-" if value.value is None else f"{value.value:.4g}"


def _gain(gain: Estimate) -> str:
    if gain.value is None or gain.low is None or gain.high is None:
        return "-"
    return f"{gain.value:.2g} [{gain.low:.2g}, {gain.high:.2g}]"


def _share(gain: Estimate, of: Estimate) -> str:
    # Nats have no zero that means nothing is left, and may be negative: no share of them is worth printing.
    if gain.value is None or gain.low is None or gain.high is None or of.value is None or of.value <= 0:
        return "-"
    return f"{100 * gain.value / of.value:+.2f} [{100 * gain.low / of.value:+.2f}, {100 * gain.high / of.value:+.2f}]"
