from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.head import HeadModel, load_head
from pipelines.synth.clip import is_complete, posed_vertices, sidecar, write_clip
from pipelines.synth.records import FPS, PERSONS
from pipelines.synth.scene import Head
from pipelines.synth.simulate import SimulationConfig, simulate
from pipelines.synth.speech import RecordingSource

CONFIG = SimulationConfig(seed=21, seconds=1.0, width=320, height=180)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, speech: RecordingSource, facts: Head, head: HeadModel) -> Path:
    """A folder with one small clip."""
    folder = tmp_path_factory.mktemp("clips")
    truth, dialogue = simulate(CONFIG, 0, speech, facts)
    write_clip(folder, truth, dialogue, head, own_audio=True)
    return folder


def test_clip_is_an_ordinary_video_with_sound(made: Path) -> None:
    from pipelines.ingest.media import iter_frames, probe, read_audio_16k

    video = made / "synth-21-00000.mp4"
    info = probe(video)
    assert (info.video.codec, info.video.width, info.video.height, info.video.fps) == ("h264", 320, 180, FPS)
    pictures = list(iter_frames(video, 0.0, 25))
    assert len(pictures) == 25 and np.stack(pictures).std() > 20
    moved = np.abs(pictures[0].astype(int) - pictures[-1]).max()
    assert moved > 30
    sound, _ = read_audio_16k(video)
    assert abs(len(sound) - 16000) <= 2048 and np.abs(sound).max() > 0.02


def test_sidecar_is_what_build_reads(made: Path) -> None:
    from rsat_data.sources import find_sources

    source = find_sources(made)[0]
    assert source.error is None and source.name == "synth-21-00000.mp4"
    assert source.metadata["consent_id"] == "synthetic"
    assert set(source.metadata["subjects"]) == set(PERSONS)
    assert source.metadata["relation"]["kinship"] in ("blood", "non_blood")
    assert set(source.metadata["audio"]) == set(PERSONS)


def test_finished_clips_are_recognised(made: Path, speech: RecordingSource, facts: Head) -> None:
    truth, _ = simulate(CONFIG, 0, speech, facts)
    assert is_complete(made, truth)
    other, _ = simulate(CONFIG, 1, speech, facts)
    assert not is_complete(made, other)
    longer, _ = simulate(SimulationConfig(seed=21, seconds=2.0, width=320, height=180), 0, speech, facts)
    assert not is_complete(made, longer)
    assert not list(made.glob("*.tmp"))


def test_licence_tells_picture_from_sound(speech: RecordingSource, facts: Head) -> None:
    truth, _ = simulate(CONFIG, 0, speech, facts)
    assert truth.audio_source.startswith("recording:")
    assert sidecar(truth, own_audio=False)["licence"] == "CC0-1.0 AND MIT"
    assert sidecar(truth, own_audio=False)["pii"] == ["voice"]


def test_both_heads_stand_in_their_half_and_do_not_touch(speech: RecordingSource, facts: Head, head: HeadModel) -> None:
    from model.camera import project

    config = SimulationConfig(seed=8, seconds=4.0)
    face = head.groups["face"].numpy()
    above_shoulders = np.concatenate([head.groups[name].numpy() for name in ("face", "scalp", "ears")])
    for index in range(8):
        truth, _ = simulate(config, index, speech, facts)
        reach = {}
        for person in PERSONS:
            vertices = posed_vertices(truth, person, head, list(range(0, truth.num_frames, 10)))
            pixels = project(vertices[:, face], truth.camera)
            width, height = np.ptp(pixels[..., 0], axis=1), np.ptp(pixels[..., 1], axis=1)
            assert 200 <= width.min() and width.max() <= 330 and height.max() < 0.75 * 720
            low, high = (0, 640) if person == "A" else (640, 1280)
            assert pixels[..., 0].min() > low and pixels[..., 0].max() < high
            assert pixels[..., 1].min() > 0 and pixels[..., 1].max() < 720
            reach[person] = vertices[:, above_shoulders, 0]
        assert reach["A"].max() < reach["B"].min()


def test_open_jaw_reaches_the_mesh(speech: RecordingSource, facts: Head, head: HeadModel) -> None:
    truth, _ = simulate(SimulationConfig(seed=8, seconds=4.0), 0, speech, facts)
    person = max(PERSONS, key=lambda p: truth.codes[p].jaw[:, 0].max())
    codes = truth.codes[person]
    assert codes.jaw[:, 0].max() > 0.05
    wide, shut = int(codes.jaw[:, 0].argmax()), int(codes.jaw[:, 0].argmin())
    vertices = posed_vertices(truth, person, head, [wide, shut])
    teeth = [head.groups[name].numpy() for name in ("upper_teeth", "lower_teeth")]
    gap = [vertices[k, teeth[1], 1].mean() - vertices[k, teeth[0], 1].mean() for k in range(2)]
    assert gap[0] > gap[1] + 0.003
