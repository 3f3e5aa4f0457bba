"""Gates: how they are read, what passes, and what is left of a dataset and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsat_data.errors import ConfigError, DatasetError
from rsat_data.gates import Gate, apply_gates, numbers_of, parse_gates
from tests.dataset_factory import ClipSpec, write_part


def test_gates_are_read() -> None:
    assert parse_gates(["q_sync>0.3, q_face_px >= 96", "clips.q_overlap<0.5!", ""]) == (
        Gate("triplets", "q_sync", ">", 0.3),
        Gate("triplets", "q_face_px", ">=", 96.0),
        Gate("clips", "q_overlap", "<", 0.5, refuses_null=True),
    )
    assert "latency_a" in numbers_of("clips") and "avatar_psnr" not in numbers_of("triplets")


@given(st.sampled_from(numbers_of("triplets")), st.sampled_from([">", ">=", "<", "<=", "==", "!="]),
       st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: float(f"{v:g}")), st.booleans())  # fmt: skip
def test_what_is_written_is_read_again(column: str, compare: str, value: float, strict: bool) -> None:
    gate = Gate("triplets", column, compare, value, strict)
    assert parse_gates([str(gate)]) == (gate,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("q_sync", "cannot be read"), ("q_sync>", "cannot be read"), ("q_sync=0.3", "cannot be read"),
        ("q_sync>high", "cannot be read"), ("q_sync>1e999", "cannot be read"), ("1>2", "cannot be read"),
        ("__import__('os')>1", "cannot be read"), ("q_snyc>0.3", "names no number"), ("text>1", "names no number"),
        ("clips.q_sync>0.3", "names no number"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        parse_gates([text])
    assert caught.value.hint
    if text == "q_snyc>0.3":
        assert "q_sync" in caught.value.hint


def test_nothing_known_passes_unless_refused() -> None:
    lenient, strict = parse_gates(["q_sync>0.3", "q_sync>0.3!"])
    assert lenient.passes(None) and lenient.passes(float("nan")) and not strict.passes(None)
    assert lenient.passes(0.31) and not lenient.passes(0.3)


def test_a_clip_is_in_whole_or_not_at_all(tmp_path: Path) -> None:
    specs = [ClipSpec(f"s{k}", "anna", "ben", seed=k, frames=10 + 5 * k) for k in range(3)]
    folders = [write_part(tmp_path / spec.clip_id, [spec]) for spec in specs]
    found = apply_gates(parse_gates(["num_frames>=15", "clips.num_frames<20"]), folders, {specs[0].source: "a.mp4"})
    assert found.kept == (folders[1],)
    assert [failure.clip_id for failure in found.failures] == [specs[0].clip_id, specs[2].clip_id]
    first = found.failures[0]
    assert (first.stage, first.error, first.name) == ("gate", "GatedClip", "a.mp4")
    assert "person A: num_frames is 10" in first.message and "person B" in first.message
    assert apply_gates((), folders, {}).kept == tuple(folders)
    assert apply_gates(parse_gates(["q_photometric<2"]), folders, {}).unknown == {"q_photometric<2": 3}
    with pytest.raises(DatasetError, match="none of 3 clips: num_frames>99 fails 6 times"):
        apply_gates(parse_gates(["num_frames>99"]), folders, {})
