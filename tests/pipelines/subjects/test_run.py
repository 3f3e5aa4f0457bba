"""The stage over all clips, on measured people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.fitting.evidence import APPARENT
from pipelines.assemble.ids import named_subject_id, unnamed_subject_id
from pipelines.shape.pack import unpack
from pipelines.stage import Member, StageContext
from pipelines.subjects.config import SubjectsConfig
from pipelines.subjects.people import read_crowd, read_evidence
from pipelines.subjects.run import run
from pipelines.subjects.stage import STAGE
from rsat_data.errors import ConfigError, StageError
from tests.pipelines.subjects.conftest import FOCALS, SIZE, member


def join(tmp_path: Path, members: Sequence[Member], **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Parts and open pairs."""
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    out.mkdir()
    context = StageContext(Path(), {}, {}, out, model=Path, members=members)
    run(context, SubjectsConfig(**options))
    return json.loads((out / "parts.json").read_text()), json.loads((out / "subject_review.json").read_text())["pairs"]


def who(parts: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {
        (clip, person): entry["subject_id"]
        for clip, part in parts.items()
        for person, entry in part["identity"].items()
    }


def test_the_same_people_are_found_in_several_clips_and_no_others(tmp_path: Path) -> None:
    cast = [(0, 1), (1, 2), (3, 0), (2, 3), (4,), (5, 1)]
    parts, _ = join(tmp_path, [member(tmp_path, number, *people) for number, people in enumerate(cast)])
    seen = who(parts)
    of_person: dict[int, set[str]] = {}
    for number, people in enumerate(cast):
        for letter, person in zip("AB", people, strict=False):
            of_person.setdefault(person, set()).add(seen[f"clip_{number:02d}", letter])
    assert all(len(ids) == 1 for ids in of_person.values()) and len(set.union(*of_person.values())) == 6
    assert seen["clip_00", "A"] == unnamed_subject_id("clip_00", "A")  # named after the first clip
    single = parts["clip_04"]["identity"]["A"]
    assert single["source"] == "single" and single["score"] is None
    matched = parts["clip_01"]["identity"]["A"]
    assert matched["source"] == "matched" and matched["score"] > 0.9
    assert parts["clip_00"]["fit"]["shapes"]["A"] == parts["clip_02"]["fit"]["shapes"]["B"]


def test_the_shape_over_all_clips_is_nearer_the_truth_than_that_of_one(tmp_path: Path) -> None:
    members = [member(tmp_path, number, 0) for number in range(8)]
    together, _ = join(tmp_path, members, cameras="fixed")
    alone, _ = join(tmp_path, members, cameras="fixed", match=False)
    truth = np.random.default_rng([7, 0]).standard_normal(SIZE)

    def error(parts: dict[str, Any]) -> float:
        return float(np.mean([np.linalg.norm(np.array(p["fit"]["shapes"]["A"]) - truth) for p in parts.values()]))

    assert error(together) < 0.6 * error(alone)


def test_each_source_gets_its_own_focal_length_shared_by_its_people(tmp_path: Path) -> None:
    truth = {0: 1.2, 1: 1.6, 2: 2.2}
    shown = {number: 1 / (APPARENT[0] + APPARENT[1] / focal) for number, focal in truth.items()}
    parts, _ = join(tmp_path, [member(tmp_path, n, 0, 1, focal=focal) for n, focal in shown.items()])
    found = [parts[f"clip_{number:02d}"]["fit"]["focal"] for number in truth]
    assert found[0] < 1.5 < found[1] < 1.7 < found[2]  # drawn towards the default, for the evidence is weak
    for focal, true in zip(found, truth.values(), strict=True):
        assert focal == pytest.approx(true, rel=0.25)
    parts, _ = join(tmp_path, [member(tmp_path, 2, 0, 1, focal=2.0)], cameras="fixed", focal=1.7)
    assert parts["clip_02"]["fit"]["focal"] == 1.7


def test_names_win_and_do_not_merge_but_take_unnamed_clips_in(tmp_path: Path) -> None:
    members = [
        member(tmp_path, 0, 0, names={"A": "Ann"}),
        member(tmp_path, 1, 0, names={"A": "Bea"}),  # the same face: the owner says it is another (a twin)
        member(tmp_path, 2, 1, names={"A": "Carl"}),
        member(tmp_path, 3, 2, names={"A": "carl "}),  # another face: the owner says it is the same
        member(tmp_path, 4, 1, 3),
    ]
    parts, pairs = join(tmp_path, members)
    seen = who(parts)
    assert seen["clip_00", "A"] == named_subject_id("Ann") and seen["clip_01", "A"] == named_subject_id("Bea")
    assert seen["clip_02", "A"] == seen["clip_03", "A"] == named_subject_id("Carl")
    given = {"subject_id": named_subject_id("Carl"), "source": "given", "score": None}
    assert parts["clip_02"]["identity"]["A"] == given
    assert seen["clip_04", "B"] == unnamed_subject_id("clip_04", "B")
    assert not any({"clip_00:A", "clip_01:A"} == {pair["a"]["person"], pair["b"]["person"]} for pair in pairs)


def test_a_new_clip_changes_only_the_parts_of_its_people_and_cameras(tmp_path: Path) -> None:
    members = [member(tmp_path, 0, 0), member(tmp_path, 1, 1, 2), member(tmp_path, 2, 2), member(tmp_path, 3, 3)]
    before, _ = join(tmp_path, members)
    after, _ = join(tmp_path, [*members, member(tmp_path, 4, 0, 4)])
    changed = {clip for clip in before if before[clip]["fit"] != after[clip]["fit"]}
    assert changed == {"clip_00"}
    assert {clip for clip in before if before[clip]["identity"] != after[clip]["identity"]} == {"clip_00"}


def test_the_order_of_clips_changes_nothing(tmp_path: Path) -> None:
    members = [member(tmp_path, number, *people) for number, people in enumerate([(0, 1), (1, 2), (2, 0)])]
    assert join(tmp_path, members)[0] == join(tmp_path, members[::-1])[0]


def test_open_pairs_are_listed_and_answers_settle_them(tmp_path: Path) -> None:
    members = [member(tmp_path, 0, 0), member(tmp_path, 1, 0), member(tmp_path, 2, 1)]
    strict = {"threshold": 0.999999, "review_from": 0.5}
    parts, pairs = join(tmp_path, members, **strict)
    assert len(set(who(parts).values())) == 3 and len(pairs) == 1
    assert (pairs[0]["a"]["person"], pairs[0]["b"]["person"], pairs[0]["same"]) == ("clip_00:A", "clip_01:A", None)
    assert set(pairs[0]["log_odds"]) == {"shape", "texture", "skin", "hair", "voice"}
    answer = tmp_path / "answers.json"
    answer.write_text(json.dumps({"pairs": [pairs[0] | {"same": True}]}))
    before = STAGE.key_material(SubjectsConfig(review=str(answer)))
    parts, pairs_left = join(tmp_path, members, review=str(answer), **strict)
    assert who(parts)["clip_00", "A"] == who(parts)["clip_01", "A"] and pairs_left == []
    answer.write_text(json.dumps({"pairs": [pairs[0] | {"same": False}]}))
    assert STAGE.key_material(SubjectsConfig(review=str(answer))) != before  # the answers are part of the key
    parts, pairs_left = join(tmp_path, members, review=str(answer))  # scored far above the usual threshold
    assert who(parts)["clip_00", "A"] != who(parts)["clip_01", "A"] and pairs_left == []


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"pairs": [{"a": {"person": "x"}}]}',
        '{"pairs": [{"a": {"person": "x"}, "b": {"person": "y"}, "same": "yes"}]}',
        '{"pairs": [{"a": {"person": "x"}, "b": {"person": "x"}, "same": true}]}',
        '{"pairs": [{"a": {"person": "x"}, "b": {"person": "y"}, "same": true},'
        ' {"a": {"person": "y"}, "b": {"person": "x"}, "same": false}]}',
    ],
)
def test_a_bad_review_list_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="answers.json"):
        STAGE.key_material(SubjectsConfig(review=str(path)))
    with pytest.raises(ConfigError, match="gone.json"):
        STAGE.key_material(SubjectsConfig(review=str(tmp_path / "gone.json")))


def test_an_answer_that_cannot_be_is_refused(tmp_path: Path) -> None:
    answer = tmp_path / "answers.json"
    answer.write_text('{"pairs": [{"a": {"person": "clip_00:A"}, "b": {"person": "clip_00:B"}, "same": true}]}')
    with pytest.raises(ConfigError, match="clip_00:A and clip_00:B"):
        join(tmp_path, [member(tmp_path, 0, 0, 1)], review=str(answer))


def test_bad_thresholds_and_broken_artefacts_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        SubjectsConfig(threshold=0.1, review_from=0.5)
    broken = member(tmp_path, 0, 0)
    (broken.inputs["shape"] / "A.npz").write_bytes(b"PK")
    with pytest.raises(StageError, match=r"A\.npz"):
        join(tmp_path, [broken])


def test_evidence_between_candidates_is_mixed(tmp_path: Path) -> None:
    crowd = read_crowd([member(tmp_path, 0, 0)])
    evidence = read_evidence(crowd.people[0].path)
    for index, focal in enumerate(FOCALS):
        information, vector = evidence.at(focal, FOCALS)
        np.testing.assert_allclose(information, unpack(evidence.information[index]))
        np.testing.assert_allclose(vector, evidence.vector[index])
    middle, _ = evidence.at(float(np.sqrt(FOCALS[1] * FOCALS[2])), FOCALS)
    np.testing.assert_allclose(middle, (evidence.at(FOCALS[1], FOCALS)[0] + evidence.at(FOCALS[2], FOCALS)[0]) / 2)
    np.testing.assert_array_equal(evidence.at(99.0, FOCALS)[1], evidence.vector[-1])
