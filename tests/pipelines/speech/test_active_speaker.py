"""The second witness: when it is asked, how its answers are read, what it is shown, and voices that are nobody's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.speech import active_speaker
from pipelines.speech.active_speaker import Answers, calibrate, follow, is_open, weights_file, witnesses
from pipelines.speech.assign import Activity, Match, decode_activity, match_voices
from pipelines.speech.closeups import close_up, squares
from pipelines.speech.config import SpeechConfig
from pipelines.speech.mouth import Mouth, measure_mouth
from pipelines.speech.stage import key_material, models
from rsat_data import registry
from rsat_data.errors import ConfigError
from tests.pipelines.speech.conftest import talking_mouth
from tests.pipelines.speech.test_assign import conversation, heard, lips_of


def test_where_the_weights_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "state", lambda model: "missing")
    assert weights_file(SpeechConfig()) == ""
    assert weights_file(SpeechConfig(active_speaker="light_asd")) == "light-asd"
    assert "light-asd" in models(SpeechConfig(active_speaker="light_asd"))
    monkeypatch.setattr(registry, "state", lambda model: "present")
    assert weights_file(SpeechConfig()) == "light-asd" and "light-asd" in models(SpeechConfig())
    mine = SpeechConfig(asd_weights=str(tmp_path / "mine.model"))
    assert weights_file(mine) == str(tmp_path / "mine.model") and "light-asd" not in models(mine)
    assert weights_file(SpeechConfig(active_speaker="lips", asd_weights="x")) == ""


def test_the_users_file_is_part_of_the_key_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.model"
    config = SpeechConfig(backend="faster-whisper", device="cpu", asd_weights=str(path))
    with pytest.raises(ConfigError, match="mine.model") as error:
        key_material(config)
    assert "active_speaker=lips" in error.value.hint
    path.write_bytes(b"one")
    first = key_material(config)
    path.write_bytes(b"two")
    assert key_material(config) != first


def test_answers_are_measured_from_the_faces_own_threshold() -> None:
    talks = np.arange(200) % 100 < 50
    seen = np.ones(200, bool)
    for offset in (0.0, 3.0):  # a face that scores high throughout does not take everything
        odds = calibrate(np.where(talks, 4.0, -4.0) + offset, seen)
        np.testing.assert_array_equal(odds > 0, talks)
    assert np.abs(odds).max() <= 2.0
    assert (calibrate(np.full(100, 8.0), seen[:100]) > 0).all()  # one who never stops
    assert (calibrate(np.full(100, -3.0), seen[:100]) < 0).all()  # one who never starts
    seen[50:] = False
    assert not calibrate(np.full(200, 9.0), seen)[50:].any()
    assert not calibrate(np.full(200, np.nan), seen).any()


def syllables(seconds: float, seed: int) -> tuple[Mouth, np.ndarray]:
    """A mouth that never stops, and the sound that it makes."""
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * 1000)) / 1000
    onsets = np.cumsum(rng.uniform(0.14, 0.4, int(seconds * 6)))
    gap = (rng.uniform(0.4, 1, len(onsets)) * np.exp(-0.5 * ((times[:, None] - onsets) / 0.05) ** 2)).sum(axis=1)
    opening = 0.15 * np.interp(np.arange(int(seconds * 25)) / 25, times, gap)
    points = np.zeros((len(opening), 478, 3))
    points[:, 263, 0], points[:, 14, 1] = 1.0, opening
    loud = np.interp(np.arange(int(seconds * 16000)) / 16000, times, gap)
    return measure_mouth(points, np.ones(len(opening), bool)), (rng.normal(0, 0.1, len(loud)) * loud).astype(np.float32)


def test_a_mouth_that_moves_otherwise_than_the_sound_says_less() -> None:
    (talker, sound), (chewer, _) = syllables(8.0, 1), syllables(8.0, 2)
    voice = np.ones(200)
    odds = follow({"A": talker, "B": chewer}, sound, voice)
    assert (talker.log_odds > 1).mean() > 0.9 and (chewer.log_odds > 1).mean() > 0.9  # by movement both talk
    inner = slice(10, -10)
    assert np.median(odds[inner, 0]) > 3.0 and np.median(odds[inner, 1]) < 1.6
    assert (odds[inner, 0] > odds[inner, 1]).mean() > 0.9
    silent = follow({"A": talker, "B": chewer}, sound, np.zeros(200))
    np.testing.assert_array_equal(silent[:, 0], talker.log_odds)  # nobody is heard: nothing to follow
    unseen = Mouth(np.full(200, np.nan), np.full(200, np.nan), np.zeros(200))
    assert not follow({"A": unseen}, sound, voice).any()


def test_two_witnesses_count_as_their_sum_within_bounds() -> None:
    mouths = {"A": Mouth(np.zeros(3), np.zeros(3), np.array([2.0, -2.0, 1.0]))}
    answers = Answers({"A": np.zeros(3, np.float32)}, {"A": np.array([2.0, -2.0, -0.5])})
    lips = mouths["A"].log_odds[:, None]
    np.testing.assert_allclose(witnesses(lips, mouths, answers)[:, 0], [3.0, -3.0, 0.5])
    np.testing.assert_allclose(witnesses(lips, mouths, None)[:, 0], [2.0, -2.0, 1.0])


def test_it_is_asked_only_where_the_question_is_open() -> None:
    def judged(posterior: float, confidence: float, voice: float) -> bool:
        share = np.full((50, 2), posterior)
        share[:, 1] = 1 - posterior
        activity = Activity(share > 0.5, share, np.zeros(50))
        return is_open(activity, Match(np.zeros((2, 2)), (0, 1), confidence), np.full(50, voice))

    assert not judged(0.98, 0.9, 0.9)
    assert judged(0.98, 0.3, 0.9) and judged(0.6, 0.9, 0.9)
    assert not judged(0.6, 0.1, 0.0)  # nobody speaks: nothing to ask


def test_what_the_network_is_shown() -> None:
    landmarks = np.full((20, 478, 3), 220, np.float32)
    landmarks[:, 0, :2], landmarks[:, 1, :2] = (100, 150), (300, 350)
    landmarks[7] += 400  # one frame of a detector's madness
    places = squares(landmarks, np.ones(20, bool))
    np.testing.assert_allclose(places, np.tile([[130.0, 220.0, 140.0]], (20, 1)))
    landmarks[5:15] = np.nan
    valid = np.ones(20, bool)
    valid[5:15] = False
    np.testing.assert_allclose(squares(landmarks, valid), places)
    picture = np.zeros((512, 512), np.uint8)
    picture[220:360, 130:270] = 200
    shown = close_up(picture, places[0])
    assert shown.shape == (112, 112) and (shown[2:-2, 2:-2] == 200).all()
    assert (close_up(picture, np.array([600.0, 600.0, 100.0])) == 110).all()


def test_a_voice_over_while_no_mouth_moves_is_nobodys() -> None:
    truth = conversation(31, frames=500)
    voices, voice = heard(truth, 31)
    lips = lips_of(np.zeros_like(truth), 31)
    match = match_voices(voices, lips)
    found = decode_activity(voices, voice, lips, match)
    talks = truth.any(axis=1)
    assert match.voice_of == (None, None)
    assert found.speaking.mean() < 0.05 and (found.hidden[talks] > 0.5).mean() > 0.9


def test_one_voice_over_two_faces_is_given_to_one_of_them() -> None:
    talks = conversation(33, frames=500)[:, :1]
    voices = np.concatenate([np.clip(talks * 0.9 + 0.05, 0, 1), np.full((500, 1), 0.02)], axis=1)
    lips = np.repeat(lips_of(talks, 33), 2, axis=1)
    match = match_voices(voices, lips)
    found = decode_activity(voices, voices.max(axis=1), lips, match)
    assert sorted(match.voice_of, key=str) != [0, 0] and match.confidence < 0.3
    assert found.speaking.all(axis=1).mean() < 0.05


def test_sound_of_another_film_is_trusted_less_than_its_own() -> None:
    own, other = [], []
    for seed in range(8):
        truth, foreign = conversation(seed, 500), conversation(seed + 100, 500)
        lips = lips_of(truth, seed)
        own.append(match_voices(heard(truth, seed)[0], lips).confidence)
        other.append(match_voices(heard(foreign, seed)[0], lips).confidence)
    assert min(own) > 0.5 and np.mean(other) < 0.5 * np.mean(own)


def test_a_face_lost_for_half_the_clip_keeps_its_voice() -> None:
    truth = conversation(41, frames=600)
    voices, voice = heard(truth, 41)
    seen = np.ones((600, 2), bool)
    seen[300:, 0] = False
    lips = np.stack([measure_mouth(talking_mouth(truth[:, k], k), seen[:, k]).log_odds for k in range(2)], axis=1)
    match = match_voices(voices, lips)
    found = decode_activity(voices, voice, lips, match)
    assert match.voice_of == (0, 1) and not lips[300:, 0].any()
    assert (found.speaking[310:] == truth[310:]).mean() > 0.88


def test_the_network_sees_a_face_of_a_stage_before(tmp_path: Path, real_data: Path) -> None:
    """End to end on a still picture with noise for sound: answers for every frame, and none that it speaks."""
    weights = real_data / "asd" / "light_asd_talkset.model"
    if not weights.is_file():
        pytest.skip("the weights of Light-ASD are not here")
    from pipelines.ingest.media import write_video

    landmarks = talking_mouth(np.zeros(40, bool), 3)
    landmarks[:, 0, :2], landmarks[:, 1, :2] = (120, 160), (380, 420)
    np.savez(tmp_path / "A.npz", landmarks=landmarks, valid=np.ones(40, bool))
    picture = np.full((512, 512, 3), 110, np.uint8)
    picture[150:400, 150:350] = 170
    write_video(tmp_path / "A.mp4", iter([picture] * 40), 25.0, 23)
    mouths = {"A": measure_mouth(landmarks, np.ones(40, bool))}
    sound = np.random.default_rng(0).normal(0, 0.05, 40 * 640).astype(np.float32)
    answers = active_speaker.ask(tmp_path, sound, mouths, weights)
    assert answers.raw["A"].shape == (40,) and answers.raw["A"].dtype == np.float32
    assert (answers.raw["A"] < 0).all() and (answers.log_odds["A"] < 0).all()
