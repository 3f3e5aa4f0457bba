from __future__ import annotations

import numpy as np
import pytest
import torch

from model.motion.config import NetworkConfig
from model.motion.conversation import UNKNOWN
from model.motion.layout import MotionLayout
from model.motion.network import MotionNetwork
from model.motion.run import Run
from model.motion.speech import open_encoder
from tests.model.evaluate.talks import RELATIONS, talk

SMALL = NetworkConfig(width=16, layers=1, heads=2, reach=8, draw_width=16, reference_s=1.0)


ENCODER = open_encoder("logmel", "", "cpu")


def fresh(network: MotionNetwork) -> Run:
    return Run(network, ENCODER, MotionLayout(6), None, "", "", 3, True, torch.device("cpu"))


@pytest.fixture(scope="module")
def network() -> MotionNetwork:
    torch.manual_seed(0)
    network = MotionNetwork(SMALL, 64, 4, 18, social=True).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def test_asking_under_many_relations_gives_what_asking_once_gives(network: MotionNetwork) -> None:
    asked = fresh(network)
    talks = [talk(number, frames=60) for number in (1, 2)]
    for number, person, partner in ((0, "A", True), (0, "A", False), (0, "B", True), (1, "B", True)):
        for relation in (UNKNOWN, RELATIONS[2], UNKNOWN):
            asked_for = {"relation": relation, "partner_motion": partner}
            mean = asked.predict(talks[number], person, **asked_for)
            alone = fresh(network).predict(talks[number], person, **asked_for)
            assert all(np.array_equal(mean[group], alone[group]) for group in mean)
        surprise = asked.surprise(talks[number], person)
        assert np.array_equal(surprise, fresh(network).surprise(talks[number], person))
    # Another reference is not mistaken for the conversation's own.
    given = {name: values[30:50] + 1 for name, values in talks[0].codes["A"].items()}
    own, other = asked.predict(talks[0], "A"), asked.predict(talks[0], "A", reference=given)
    assert not np.allclose(own["jaw"], other["jaw"])


def test_relations_matter_to_the_mean_and_to_surprise(network: MotionNetwork) -> None:
    run, one = fresh(network), talk(3, frames=60)
    means = [run.predict(one, "A", relation=relation)["jaw"] for relation in RELATIONS]
    surprises = [run.surprise(one, "A", relation=relation).mean() for relation in RELATIONS]
    assert len({mean.tobytes() for mean in means}) == len(RELATIONS) == len(set(surprises))
    # Who is senior is seen from the person: what is A's place in one relation is B's in the other.
    assert RELATIONS[2].ids("A")[2] != RELATIONS[2].ids("B")[2]


def test_a_relation_multiplies_features(network: MotionNetwork) -> None:
    """Twice the features may be moved twice as far: a sum alone could not say that."""
    social = network.social
    assert social is not None
    relation = torch.tensor([RELATIONS[0].ids("A")])
    with torch.no_grad():
        before = social.gate.weight.clone(), social.gate.bias.clone()
        social.gate.weight.zero_()
        social.gate.bias.zero_()
        fused = torch.randn(1, 20, 16)
        moved, twice = social(fused, relation) - fused, social(2 * fused, relation) - 2 * fused
        social.gate.weight.copy_(before[0])
        social.gate.bias.copy_(before[1])
    assert moved.abs().max() > 0.01
    torch.testing.assert_close(twice, 2 * moved)
