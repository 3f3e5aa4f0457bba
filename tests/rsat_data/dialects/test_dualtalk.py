"""DualTalk: both persons, the real demo, sound and codes that do not fit together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rsat_data.cli import run
from rsat_data.reader import Row, load
from tests.rsat_data.dialects.conftest import difference, wav

FRAMES = 40


def speaker(stem: Path, seed: int, frames: int = FRAMES, **changes: np.ndarray) -> None:
    """An npz with DualTalk's arrays."""
    rng = np.random.default_rng(seed)
    sizes = {"shape": 100, "tex": 50, "exp": 50, "pose": 6}
    arrays = {name: rng.normal(0, 0.1, (frames, width)).astype(np.float32) for name, width in sizes.items()}
    arrays["cam"] = np.tile(np.float32([9, 0.01, 0.02]), (frames, 1))
    arrays["light"] = rng.normal(size=(frames, 9, 3)).astype(np.float32)
    np.savez(stem.with_suffix(".npz"), **(arrays | changes))  # type: ignore[arg-type]


def conversation(folder: Path, name: str = "talk") -> None:
    folder.mkdir(exist_ok=True)
    for number in (1, 2):
        speaker(folder / f"{name}_speaker{number}", number)
        wav(folder / f"{name}_speaker{number}.wav", FRAMES, number)


def test_both_persons_and_back(tmp_path: Path, no_heads: None, importing: Callable[..., list[Row]]) -> None:
    conversation(tmp_path / "in")
    rows = importing("--format", "dualtalk", "--head", "flame2020", tmp_path / "in", "--licence", "CC0-1.0")
    assert sorted(row["person"] for row in rows) == ["A", "B"]
    first = next(row for row in rows if row["person"] == "A")
    assert first["head_model"] == "flame2020" and first["licence"] == "CC0-1.0"
    assert first["partner_row_id"] == next(row for row in rows if row["person"] == "B")["row_id"]
    given = np.load(tmp_path / "in/talk_speaker1.npz")
    np.testing.assert_array_equal(first["expression"][:, :50], given["exp"])
    assert first["expression"].shape == (FRAMES, 100) and not first["expression"][:, 50:].any()
    np.testing.assert_allclose(first["rotation"], given["pose"][:, :3] * [1, -1, -1])
    assert first["audio_isolation"] == "channel" and first["speaking"].any() and not first["speaking"].all()
    (clip,) = load(tmp_path / "out", None, table="clips")
    np.testing.assert_allclose(clip.audio(), sum(row.audio() for row in rows), atol=1e-4)
    assert {turn["person"] for turn in clip["turns"]} == {"A", "B"}
    assert run(["export", "--format", "dualtalk", str(tmp_path / "out"), str(tmp_path / "x"), "--quiet"]) == 0
    for number in (1, 2):
        written = np.load(tmp_path / f"x/{clip['clip_id']}_speaker{number}.npz")
        given = np.load(tmp_path / f"in/talk_speaker{number}.npz")
        for name in given.files:  # shape frame by frame, tex and light too: kept in meta/imported
            np.testing.assert_array_equal(written[name], given[name])
        for folder, stem in ((tmp_path / "x", clip["clip_id"]), (tmp_path / "in", "talk")):
            sound, _ = soundfile.read(folder / f"{stem}_speaker{number}.wav", dtype="int16")
            kept = sound if folder.name == "x" else kept  # noqa: F821
        np.testing.assert_array_equal(kept, sound)


def test_the_real_demo(tmp_path: Path, no_heads: None, real_data: Path, importing: Callable[..., list[Row]]) -> None:
    """Two conversations with codes of one speaker each; one's codes last 1.2 frames longer than its sound."""
    demo = real_data / "dualtalk_demo"
    rows = importing("--format", "dualtalk", "--head", "flame2020", demo)
    assert sorted(row["num_frames"] for row in rows) == [587, 587, 748, 748]
    assert sorted(row["q_valid"] for row in rows) == [0, 0, 1, 1]
    assert all(row["speaking"].any() for row in rows)
    assert run(["export", "--format", "dualtalk", str(tmp_path / "out"), str(tmp_path / "x"), "--quiet"]) == 0
    given = {587: "UbjUDM1MiGE_sub_video_72_speaker2", 748: "xkHwlcDSOjc_sub_video_109_000_speaker1"}
    for path in (tmp_path / "x").glob("*.npz"):
        written = np.load(path)
        frames = len(written["exp"])
        source = np.load(demo / f"{given.pop(frames)}.npz")
        for name in source.files:
            np.testing.assert_array_equal(written[name], source[name][:frames])
    assert not given
    again = importing("--format", "dualtalk", "--head", "flame2020", tmp_path / "x", name="again")
    for row in rows:
        same = next(r for r in again if (r["num_frames"], r["person"]) == (row["num_frames"], row["person"]))
        assert max(difference(row, same).values()) < 1e-3  # the mean shape is now over 748 of 750 frames
        assert max(value for name, value in difference(row, same).items() if name != "shape") == 0
        np.testing.assert_array_equal(row.audio(), same.audio())


def test_the_head_must_be_named(tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]) -> None:
    conversation(tmp_path / "in")
    assert run(["import", "--format", "dualtalk", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 2
    text = capsys.readouterr().err
    assert "not known which head" in text and "--head flame2020" in text


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: speaker(f / "bad_speaker1", 1, frames=FRAMES - 6), "speaker 1 has 34 frames, speaker 2 has 40"),
        (lambda f: wav(f / "bad_speaker2.wav", FRAMES + 10), "the sound bad_speaker2.wav 50.0 frames"),
        (lambda f: (f / "bad_speaker1.wav").unlink(), "speaker 1 has codes and no wav"),
        (lambda f: speaker(f / "bad_speaker1", 1, cam=np.ones((FRAMES - 1, 3))), "differ in their number of frames"),
        (lambda f: speaker(f / "bad_speaker1", 1, exp=np.full((FRAMES, 50), np.nan)), "not finite"),
        (lambda f: speaker(f / "bad_speaker1", 1, pose=np.zeros((FRAMES, 9))), "has shape (40, 9)"),
        (lambda f: (f / "bad_speaker1.npz").write_bytes(b""), "is empty"),
        (lambda f: (f / "bad_speaker1.npz").write_bytes(b"PK\x03\x04 no"), "not a readable array file"),
    ],
)
def test_a_bad_conversation_is_named_and_the_rest_goes_on(
    spoil: Callable[[Path], object],
    words: str,
    tmp_path: Path,
    no_heads: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    conversation(tmp_path / "in", "bad")
    conversation(tmp_path / "in", "good")
    spoil(tmp_path / "in")
    command = [
        "import",
        "--format",
        "dualtalk",
        "--head",
        "flame2020",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert run(command) == 3
    text = capsys.readouterr().err
    assert "failed: bad: " in text and words in text
    assert len(load(tmp_path / "o", None)) == 2


def test_two_heads_never_come_into_one_dataset(
    tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation(tmp_path / "in", "a")
    for name, head in (("b", "flame2020"), ("c", "flame2023")):
        for number in (1, 2):
            speaker(tmp_path / f"in/{name}_speaker{number}", number, head_model=np.array(head))
            wav(tmp_path / f"in/{name}_speaker{number}.wav", FRAMES)
    command = ["import", "--format", "dualtalk", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert run([*command, "--head", "flame2020"]) == 1  # c says otherwise
    assert "c_" in (text := capsys.readouterr().err) or "flame2023" in text
    for path in (tmp_path / "in").glob("a_*"):
        path.unlink()
    assert run(command) == 1
    text = capsys.readouterr().err
    assert "flame2020" in text and "flame2023" in text and "retarget" in text
    assert not (tmp_path / "out/manifest.jsonl").exists()
    shutil.rmtree(tmp_path / "in")
