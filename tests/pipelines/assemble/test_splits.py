from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.assemble import ids
from pipelines.assemble.splits import RowKeys, assign_splits, leaks

ROWS = st.lists(
    st.tuples(
        st.integers(0, 25),
        st.one_of(st.none(), st.integers(0, 25)),
        st.integers(0, 20),
        st.booleans(),
        st.integers(1, 99),
    ).map(
        lambda t: RowKeys(
            f"s{t[0]}",
            None if t[1] in (None, t[0]) else f"s{t[1]}",
            f"v{t[2]}",
            ids.dyad_id(f"s{t[0]}", None if t[1] in (None, t[0]) else f"s{t[1]}"),
            "blood" if t[3] else "unknown",
            t[4],
        )
    ),
    max_size=60,
)


def alone(count: int, weight: float = 1.0) -> list[RowKeys]:
    return [RowKeys(f"s{n}", None, f"v{n}", f"d{n}", "unknown", weight) for n in range(count)]


@given(ROWS, st.integers(0, 5))
def test_nothing_leaks(rows: list[RowKeys], seed: int) -> None:
    splits = assign_splits(rows, seed=seed)
    assert leaks((row, splits.split_of[row.subject_id]) for row in rows) == []
    for row in rows:
        if row.partner_subject_id is not None:
            assert splits.split_of[row.partner_subject_id] == splits.split_of[row.subject_id]
            if row.kinship == "blood":
                assert splits.family_of[row.partner_subject_id] == splits.family_of[row.subject_id]


@given(ROWS, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(rows: list[RowKeys], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assign_splits(rows) == assign_splits(shuffled)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(0, 9))
def test_train_is_never_empty(weights: list[int], seed: int) -> None:
    rows = [RowKeys(f"s{n}", None, f"v{n}", f"d{n}", "unknown", weight) for n, weight in enumerate(weights)]
    assert "train" in {component.split for component in assign_splits(rows, seed=seed).components}


def test_shares_are_met() -> None:
    splits = assign_splits(alone(1000))
    for name, share in (("train", 800), ("validation", 100), ("test", 100)):
        assert abs(sum(component.split == name for component in splits.components) - share) <= 1


def test_one_component_is_all_train() -> None:
    rows = [RowKeys(f"s{n}", None, "one_source", f"d{n}", "unknown") for n in range(10)]
    assert {component.split for component in assign_splits(rows, seed=3).components} == {"train"}


def test_another_seed_gives_another_division() -> None:
    first, second = assign_splits(alone(200)), assign_splits(alone(200), seed=1)
    assert sum(first.split_of[f"s{n}"] != second.split_of[f"s{n}"] for n in range(200)) > 20


@settings(max_examples=20)
@given(st.integers(50, 300), st.integers(1, 10))
def test_added_clips_move_few_others(count: int, added: int) -> None:
    before, after = assign_splits(alone(count)), assign_splits(alone(count + added))
    moved = sum(before.split_of[f"s{n}"] != after.split_of[f"s{n}"] for n in range(count))
    # A border between splits moves by at most `added` places, and there are two.
    assert moved <= 2 * added


def test_pinned_subjects_stay_and_pull_their_component_along() -> None:
    rows = [*alone(50), RowKeys("s0", "new", "v_new", "d_new", "unknown")]
    free = assign_splits(rows)
    other = next(name for name in ("validation", "test") if name != free.split_of["s0"])
    pinned = assign_splits(rows, pinned={"s0": other})
    assert pinned.split_of["s0"] == pinned.split_of["new"] == other
    joined = [RowKeys("a", "b", "v", "d", "unknown")]
    assert assign_splits(joined, pinned={"a": "test", "b": "train"}).split_of == {"a": "train", "b": "train"}


def test_families_reach_over_several_steps() -> None:
    rows = [
        RowKeys("a", "b", "v1", "d1", "blood"),
        RowKeys("b", "c", "v2", "d2", "blood"),
        RowKeys("c", "x", "v3", "d3", "non_blood"),
    ]
    family = assign_splits(rows).family_of
    assert family["a"] == family["b"] == family["c"] != family["x"]


def test_leaks_are_named() -> None:
    rows = [RowKeys("a", "b", "v1", "d1", "blood"), RowKeys("b", "a", "v1", "d1", "blood")]
    found = leaks(zip(rows, ["train", "test"], strict=True))
    assert [text.split()[0] for text in found] == ["dyad", "family", "source", "subject", "subject"]
    assert "is in test and train" in found[0]


@pytest.mark.parametrize(
    "ratios",
    [{"train": 0.5}, {"train": 1.2, "test": -0.2}, {"training": 1.0}, {}],
    ids=["sum", "negative", "name", "none"],
)
def test_bad_ratios_are_refused(ratios: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="split ratios"):
        assign_splits(alone(3), ratios=ratios)


def test_ids_are_made_from_content() -> None:
    assert ids.named_subject_id(" Ann  Lee") == ids.named_subject_id("ann lee") != ids.named_subject_id("ann li")
    assert "ann" not in ids.named_subject_id("ann")
    assert ids.dyad_id("a", "b") == ids.dyad_id("b", "a") != ids.dyad_id("a", None)
    assert ids.row_id("c", "A") != ids.row_id("c", "B") != ids.row_id("d", "B")
    assert ids.unnamed_subject_id("c", "A") != ids.unnamed_subject_id("d", "A")
