"""Voices told apart by pyannote's own pipeline, where the user has its weights. The only place that imports it.

Its weights are given to those who accept a form and have a token, so they are never fetched here: the pipeline is read
from a folder, the user's own or the cache of the Hugging Face hub, and nothing is asked of the network. pyannote reads
its checkpoints by unpickling them whole; so their pickles are looked through before, and one that names anything but
parts of such a checkpoint is refused.
"""

from __future__ import annotations

import logging
import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.speech.segmentation import GRID_STEP_S, SAMPLE_RATE
from rsat_data.errors import ConfigError, MissingDependencyError, ModelFileError
from rsat_data.optional import is_installed, require

if TYPE_CHECKING:
    from pipelines.speech.config import SpeechConfig

PIPELINE = "pyannote/speaker-diarization-community-1"
SURE = 0.95
"""Posterior of a voice where the pipeline says that it talks; it tells no probabilities."""
MODULE = "pyannote.audio"
_HOW = (
    f"Accept its terms at https://hf.co/{PIPELINE}, then: hf download {PIPELINE} (it asks for your token), or name a"
    " folder that holds it by speech.diariser_folder; or choose --set speech.diariser=local."
)
_NAMED = (  # what pickles of its checkpoints may name beyond torch's own list, by the beginning of the name
    "pyannote.audio.core.",
    "pyannote.audio.utils.",
    "pyannote.audio.tasks.",
    "omegaconf.",
    "lightning.pytorch.callbacks.",
    "pytorch_lightning.callbacks.",
    "torch.torch_version.",
    "numpy.core.multiarray.",
    "numpy._core.multiarray.",
    "numpy.dtype",
    "collections.",
    "typing.",
    "builtins.int",
    "builtins.float",
    "builtins.list",
    "builtins.dict",
    "builtins.set",
    "builtins.tuple",
)


def find(config: SpeechConfig) -> Path | None:
    """Folder of the pipeline (with its ``config.yaml``) that ``config`` means here; None: the local way is meant.

    Raises:
        ConfigError: pyannote was asked for, and a folder named holds no pipeline.
        MissingDependencyError: pyannote was asked for and is not installed.
        ModelFileError: pyannote was asked for and its weights are not here.
    """
    if config.diariser == "local":
        return None
    if config.diariser_folder and not (Path(config.diariser_folder) / "config.yaml").is_file():
        raise ConfigError(
            f"speech.diariser_folder is {config.diariser_folder!r}, which holds no config.yaml of a pipeline.",
            hint=_HOW,
        )
    folder = Path(config.diariser_folder) if config.diariser_folder else cached()
    installed = is_installed("pyannote") and is_installed(MODULE)
    if config.diariser == "pyannote" and not installed:
        raise MissingDependencyError(
            "speech.diariser is pyannote, and pyannote.audio is not installed.",
            hint="Install it: pip install 'rsat-data[speech]', or choose --set speech.diariser=local.",
        )
    if config.diariser == "pyannote" and folder is None:
        raise ModelFileError(f"The weights of {PIPELINE} are not on this machine.", hint=_HOW)
    return folder if installed else None


def cached() -> Path | None:
    """The newest copy of the pipeline in the hub's cache; None where there is none."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    copies = sorted(hub.glob(f"models--{PIPELINE.replace('/', '--')}/snapshots/*/config.yaml"), key=os.path.getmtime)
    return copies[-1].parent if copies else None


def identity(folder: Path) -> str:
    """What tells one pipeline's files from another's: names and sizes, and all of the text."""
    from rsat_data.content import file_sha256

    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _WEIGHTS | {".yaml"})
    return " ".join(
        f"{path.relative_to(folder)}:{file_sha256(path)[:16] if path.suffix == '.yaml' else path.stat().st_size}"
        for path in files
    )


_WEIGHTS = {".bin", ".ckpt", ".npz", ".pt", ".safetensors"}


def check_pickles(folder: Path) -> None:
    """Refuse checkpoints whose pickles name what has no place in one.

    Raises:
        ModelFileError: the first such file, and what it names.
    """
    import torch

    for path in sorted(folder.rglob("*")):
        if path.suffix not in {".bin", ".ckpt", ".pt"} or not path.is_file():
            continue
        try:
            named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except (RuntimeError, ValueError, OSError, EOFError) as error:
            raise ModelFileError(f"{path} is not a checkpoint of torch: {error}", hint=_HOW, path=path) from error
        strange = [name for name in named if not name.startswith(_NAMED)]
        if strange:
            raise ModelFileError(
                f"{path} names {', '.join(strange[:3])}, which has no place in a checkpoint; it was not opened.",
                hint=_HOW,
                path=path,
            )


def load_package() -> Any:
    """pyannote.audio, imported with its network habits and its complaints switched off."""
    from pipelines.speech.asr_faster_whisper import forbid_network

    forbid_network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains that it could not decode files; it is given arrays
        audio = require(MODULE, needed_for="speech.diariser=pyannote")
    for name in ("pyannote", "lightning", "speechbrain"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return audio


@lru_cache(maxsize=1)
def load(folder: Path, device: str) -> Any:
    """The pipeline; kept for the next clips of this process.

    Raises:
        ModelFileError: the folder does not hold a pipeline that this version of pyannote.audio can read.
    """
    check_pickles(folder)
    audio = load_package()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pipeline = audio.Pipeline.from_pretrained(str(folder))
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise ModelFileError(
                f"pyannote.audio cannot read the pipeline in {folder}: {reason[0] if reason else error!r}",
                hint=_HOW,
                path=folder,
            ) from error
    import torch

    return pipeline.to(torch.device(device))


def tell_apart(samples: np.ndarray, folder: Path, device: str, speakers: int) -> np.ndarray:
    """Posteriors of the clip's voices on the grid of :mod:`pipelines.speech.segmentation`.

    Args:
        samples: (N,) float32 at 16 kHz.
        folder: from :func:`find`.
        device: cpu or cuda.
        speakers: number of voices; 0: as the pipeline finds.

    Returns:
        (ceil(N / 320), K) float64, K at least 1: share of each step in which a voice talks, times SURE.
    """
    import torch

    steps = -(-len(samples) // round(GRID_STEP_S * SAMPLE_RATE))
    sound = {"waveform": torch.from_numpy(np.ascontiguousarray(samples))[None], "sample_rate": SAMPLE_RATE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load(folder, device)(sound, num_speakers=speakers or None)
    annotation = getattr(found, "speaker_diarization", found)
    turns = [(turn.start, turn.end, who) for turn, _, who in annotation.itertracks(yield_label=True)]
    return SURE * covered(turns, steps)


def covered(turns: list[tuple[float, float, str]], steps: int) -> np.ndarray:
    """Share of every grid step that each voice's turns cover, (steps, K) float64, voices in order of name.

    Args:
        turns: start and end in seconds, and the voice's name; a voice's turns may overlap.
        steps: grid steps of the clip.
    """
    names = sorted({who for *_, who in turns})
    shares = np.zeros((steps, max(1, len(names))))
    edges = np.arange(steps) * GRID_STEP_S
    for start, end, who in turns:
        own = np.clip(np.minimum(end, edges + GRID_STEP_S) - np.maximum(start, edges), 0.0, GRID_STEP_S) / GRID_STEP_S
        shares[:, names.index(who)] += own
    return np.minimum(shares, 1.0)
