"""Sound, files of codes, pages, and sound that arrives."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import rsat_data
from model.head import load_head
from rsat_data.cli import run
from rsat_data.cli.render import _each_named
from rsat_data.rendering.codes import read_codes
from rsat_data.rendering.live import Latency, Paced, RawInput
from rsat_data.rendering.page import Label, Page
from rsat_data.rendering.sound import Tracks, read_tracks, turns_of
from tests.rsat_data.rendering.test_commands import frames_of


def test_a_stereo_file_holds_a_person_a_channel(voices: tuple[Path, Path], tmp_path: Path) -> None:
    two = read_tracks(voices)
    stereo = tmp_path / "both.wav"
    soundfile.write(stereo, two.stereo().T, 16_000, subtype="FLOAT")
    one = read_tracks([stereo])
    assert not one.notes and one.num_frames == two.num_frames
    np.testing.assert_allclose(one.stereo(), two.stereo(), atol=1e-6)
    # The end of the shorter one is silence, and the quiet half of the time is heard as such.
    assert not two.audio["B"][16_000:].any() and two.audio["A"].any()


def test_somebody_who_only_listens(voices: tuple[Path, Path], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(24_000), 16_000)
    found = read_tracks([tmp_path / "silent.wav", voices[1]])
    assert any("A listens all the time" in note for note in found.notes)


def test_turns_go_over_short_pauses() -> None:
    flags = np.zeros(100, bool)
    flags[10:20] = flags[24:30] = flags[60:70] = True
    other = np.zeros(100, bool)
    other[40:50] = True
    told = [(turn["person"], turn["start"], turn["end"]) for turn in turns_of({"A": flags, "B": other})]
    assert told == [("A", 0.4, 1.2), ("B", 1.6, 2.0), ("A", 2.4, 2.8)]


def test_codes_of_a_file_are_drawn(talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = next(iter(rsat_data.load(talks, None)))
    names = ("expression", "jaw", "neck", "eyes", "rotation", "translation")
    given = {name: np.array(row[name])[:20] for name in names}
    given["jaw"][3:5] = np.nan
    np.savez(tmp_path / "a.npz", head_model=row["head_model"], shape=row["shape"], **given)
    # The groups of a prediction have names of their own.
    np.savez(tmp_path / "b.npz", expression=given["expression"], pose=given["rotation"])
    file = next((talks / "data" / "triplets").glob("*.parquet"))
    pq.write_table(pq.read_table(file).slice(0, 1), tmp_path / "c.parquet")
    avatar = next((talks / "avatars").iterdir())
    for name, more in (("a.npz", []), ("b.npz", ["--avatars", str(avatar)]), ("c.parquet", [])):
        target = tmp_path / "x.mp4"
        arguments = ["--codes", str(tmp_path / name), "--out", str(target), "--size", "64", "--quiet", *more]
        assert run(["render", *arguments]) == 0
        said = capsys.readouterr().err
        assert ("2 frames are not valid" in said) == (name == "a.npz")
        frames, sound = frames_of(target)
        assert frames.shape[2] == 64 and frames[:, :64].std() > 20
        assert (sound is not None) == (name == "c.parquet") and len(frames) == (75 if sound else 20)
    found = read_codes(tmp_path / "c.parquet")
    assert found.head_model == load_head().id and found.camera is not None and found.audio is not None
    np.testing.assert_array_equal(found.codes["expression"].shape, (75, load_head().num_expression))


def test_a_page_shows_who_speaks() -> None:
    page = Page([Label("A  ann", "A"), Label("B  ben", "B")], 2, 128, 128, (), "unequal, A senior")
    white = np.full((128, 128, 3), 255, np.uint8)
    quiet = page.fill([white, white], {"A": False, "B": False}).copy()
    assert quiet.shape[1] == 256 and quiet.shape[0] % 2 == 0 and (quiet[:128] == 255).all()
    loud = page.marked({"A": False, "B": True})
    changed = (loud != quiet).any(axis=-1)
    assert changed[128:130, 128:].all() and not changed[:128].any() and not changed[:, :128].any()
    # Names on the left and right, the relation in the middle; nothing over anything.
    ink = (quiet[131:].max(axis=-1) > 60).any(axis=0)
    assert ink[:40].any() and ink[-40:].any() and ink[110:146].any()
    titled = Page([Label("A")] * 4, 2, 128, 128, ("one", "two"))
    assert titled.picture.shape[0] > 2 * quiet.shape[0]


def test_paced_sound_arrives_in_real_time() -> None:
    rng = np.random.default_rng(0)
    tracks = Tracks({person: rng.normal(0, 0.1, 8 * 640).astype(np.float32) for person in ("A", "B")})
    paced, started, got = Paced(tracks), time.perf_counter(), []
    while frames := paced.take():
        for due, sound in frames:
            assert time.perf_counter() >= due
            got.append(sound["A"])
        if len(got) == 3:
            time.sleep(0.1)  # who is late gets all that came meanwhile
    assert time.perf_counter() - started >= 8 / 25 - 0.001
    assert np.array_equal(np.concatenate(got), tracks.audio["A"])


def test_raw_samples_from_a_pipe() -> None:
    samples = np.random.default_rng(1).integers(-2000, 2000, (1000, 2)).astype("<i2")
    source = RawInput(io.BytesIO(samples.tobytes()))
    got = []
    while frames := source.take():
        got += [np.stack([sound["A"], sound["B"]], axis=1) for _, sound in frames]
    both = np.concatenate(got)
    assert both.shape == (1280, 2) and not both[1000:].any()  # the last frame is filled up
    np.testing.assert_allclose(both[:1000], samples / 32768.0, atol=1e-7)


def test_latency_says_what_was_left_out() -> None:
    latency = Latency([1, 2, 3], [10, 20, 30], [12, 24, 36], frames=5)
    told = " ".join(latency.lines())
    assert "median 24.0 ms" in told and "2 of 5 pictures were left out" in told and not latency.summary()["kept_up"]
    assert "all 3 frames" in " ".join(Latency([1, 2, 3], [1, 2, 3], [1, 2, 3], frames=3).lines())


def test_options_that_take_two_values(tmp_path: Path) -> None:
    assert _each_named(["--audio", "a", "b", "--out", "x"]) == ["--audio", "a", "--audio", "b", "--out", "x"]
    assert _each_named(["--audio", "-", "--stream"]) == ["--audio", "-", "--stream"]
    assert _each_named(["--audio", "a", str(tmp_path)]) == ["--audio", "a", str(tmp_path)]
    assert _each_named(["d", "--subjects", "1", "2"]) == ["d", "--subjects", "1", "--subjects", "2"]
    assert _each_named(["--avatars", "a", "--avatars", "b"]) == ["--avatars", "a", "--avatars", "b"]
