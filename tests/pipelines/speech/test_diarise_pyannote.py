"""pyannote's own pipeline: when it is meant, what is refused, and a real run of it.

Its published weights are not free to fetch, so the run is of a pipeline put together here: the real segmentation
checkpoint, an embedding network with weights drawn by chance and a calibration that changes nothing. The classes,
files and calls are those of the published one; only who is who is told worse.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pipelines.speech import diarise_pyannote
from pipelines.speech.config import SpeechConfig
from pipelines.speech.diarise import diarisation_error
from pipelines.speech.stage import key_material
from rsat_data.errors import ConfigError, MissingDependencyError, ModelFileError
from rsat_data.optional import is_installed

needs_pyannote = pytest.mark.skipif(
    not (is_installed("pyannote") and is_installed("pyannote.audio")),
    reason="pyannote.audio is not installed: make test-full has it",
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path / "hub"


def copy_in_cache(hub: Path) -> Path:
    folder = hub / "models--pyannote--speaker-diarization-community-1" / "snapshots" / "0123"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("pipeline: {}\n")
    return folder


def test_without_weights_the_local_way_is_meant(hub: Path) -> None:
    assert diarise_pyannote.find(SpeechConfig()) is None
    assert key_material(SpeechConfig())["diariser"] == "local"


def test_what_is_asked_for_and_absent_is_told(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="holds no config.yaml"):
        diarise_pyannote.find(SpeechConfig(diariser="pyannote", diariser_folder=str(tmp_path)))
    monkeypatch.setattr(diarise_pyannote, "is_installed", lambda name: False)
    with pytest.raises(MissingDependencyError, match="not installed"):
        diarise_pyannote.find(SpeechConfig(diariser="pyannote"))
    monkeypatch.setattr(diarise_pyannote, "is_installed", lambda name: True)
    with pytest.raises(ModelFileError, match="not on this machine") as refused:
        diarise_pyannote.find(SpeechConfig(diariser="pyannote"))
    assert "hf download" in str(refused.value.hint)


def test_weights_in_the_cache_are_found_and_are_part_of_the_key(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_in_cache(hub)
    monkeypatch.setattr(diarise_pyannote, "is_installed", lambda name: True)
    assert diarise_pyannote.find(SpeechConfig()) == folder
    assert diarise_pyannote.find(SpeechConfig(diariser="local")) is None
    before = key_material(SpeechConfig())
    assert before["diariser"] == "pyannote" and "config.yaml" in before["diariser_files"]
    (folder / "config.yaml").write_text("pipeline: {name: another}\n")
    assert key_material(SpeechConfig())["diariser_files"] != before["diariser_files"]


def test_turns_become_shares_of_steps() -> None:
    shares = diarise_pyannote.covered([(0.01, 0.05, "b"), (0.04, 0.06, "a"), (0.045, 9.0, "b")], 4)
    np.testing.assert_allclose(shares[:, 1], [0.5, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(shares[:, 0], [0.0, 0.0, 1.0, 0.0], atol=1e-9)
    assert diarise_pyannote.covered([], 3).shape == (3, 1)


class Runs:
    """Unpickled carelessly, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "ran"))


def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("pipeline: {name: x}\n")
    torch.save({"state_dict": {}, "more": Runs(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelFileError, match="has no place in a checkpoint"):
        diarise_pyannote.check_pickles(tmp_path)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "pytorch_model.bin").write_bytes(b"no checkpoint")
    with pytest.raises(ModelFileError, match="not a checkpoint"):
        diarise_pyannote.check_pickles(tmp_path)


@pytest.fixture(scope="module")
def pipeline_folder(segmentation_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline as published ones are laid out."""
    diarise_pyannote.load_package()
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding.xvector import XVectorMFCC

    folder = tmp_path_factory.mktemp("pipeline")
    for part in ("segmentation", "embedding", "plda"):
        (folder / part).mkdir()
    shutil.copy(segmentation_file, folder / "segmentation" / "pytorch_model.bin")
    torch.manual_seed(5)
    network = XVectorMFCC(dimension=128, mfcc={"melkwargs": {"n_mels": 40, "n_fft": 512}})
    torch.save(
        {
            "state_dict": network.state_dict(),
            "hyper_parameters": dict(network.hparams),
            "pytorch-lightning_version": "2.0.0",
            "epoch": 0,
            "global_step": 0,
            "pyannote.audio": {
                "versions": {"torch": "2.0", "pyannote.audio": "4.0.0"},
                "architecture": {"module": "pyannote.audio.models.embedding.xvector", "class": "XVectorMFCC"},
                "specifications": Specifications(
                    problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0
                ),
            },
        },
        folder / "embedding" / "pytorch_model.bin",
    )
    even = np.zeros(128)
    np.savez(folder / "plda" / "xvec_transform.npz", mean1=even, mean2=even, lda=np.eye(128))
    np.savez(folder / "plda" / "plda.npz", mu=even, tr=np.eye(128), psi=np.linspace(2.0, 1.0, 128))
    config = {
        "dependencies": {"pyannote.audio": "4.0.0"},
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {
                "segmentation": "$model/segmentation",
                "embedding": "$model/embedding",
                "plda": "$model/plda",
                "clustering": "AgglomerativeClustering",
                "segmentation_batch_size": 8,
                "embedding_batch_size": 8,
            },
        },
        "params": {
            "segmentation": {"threshold": 0.5, "min_duration_off": 0.0},
            "clustering": {"method": "centroid", "min_cluster_size": 3, "threshold": 0.7},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.full
@needs_pyannote
def test_a_pipeline_tells_voices_of_a_call_apart(
    pipeline_folder: Path, telephone_call: tuple[np.ndarray, np.ndarray]
) -> None:
    samples, truth = telephone_call
    assert diarise_pyannote.find(SpeechConfig(diariser_folder=str(pipeline_folder))) == pipeline_folder
    grid = diarise_pyannote.tell_apart(samples, pipeline_folder, "cpu", 2)
    assert grid.shape == (1500, 2)
    assert 0.0 <= grid.min() and grid.max() <= diarise_pyannote.SURE
    said = np.repeat(grid > 0.5, 2, axis=0)
    anybody = np.mean(said.any(axis=1) == truth.any(axis=1))
    assert anybody > 0.9
    one = np.zeros_like(truth)
    one[:, 0] = truth.any(axis=1)
    error = diarisation_error(truth, said)  # who is who is told by an embedding drawn by chance: 0.40 was seen
    assert error < 0.45 < diarisation_error(truth, one)


@pytest.mark.full
@needs_pyannote
def test_the_stage_asks_it(pipeline_folder: Path, telephone_call: tuple[np.ndarray, np.ndarray]) -> None:
    from pipelines.speech.activity import listen
    from pipelines.speech.inputs import Sound
    from pipelines.speech.mouth import Mouth
    from pipelines.speech.stage import _teller

    samples = telephone_call[0][7 * 16000 : 17 * 16000]
    still = np.zeros(250)
    mouths = {person: Mouth(still, still, still - 0.1) for person in "AB"}
    config = SpeechConfig(diariser="pyannote", diariser_folder=str(pipeline_folder))
    assert key_material(config)["diariser"] == "pyannote"
    teller = _teller(config, "cpu")
    assert teller is not None
    network: Any = None  # the segmentation network is not needed then
    heard = listen(Sound(samples), mouths, network, config, tell_apart=teller)
    assert heard.voices.shape[0] == 250
    assert heard.voices_heard in {1, 2, 3, 4}
    assert heard.voice.max() > 0.9
