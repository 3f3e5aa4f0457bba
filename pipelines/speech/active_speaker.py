"""Which face says what is heard: evidence of each face, frame by frame, from two witnesses.

One interface, two backends. `lips` is built in, at next to no cost: how much a mouth moves (`pipelines.speech.mouth`),
and whether it moves as the sound does (`model.metrics.sync_offset.local_fit`, at the lag that fits the clip best), so
that who chews or smiles while another talks is not taken for a speaker. `light_asd` adds a network that looks at the
face while it listens. Each gives log-odds of talking; together they count as their sum, held within bounds: two
witnesses of one mouth err together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.metrics.sync_offset import CLEAR, local_fit, sync_offset
from pipelines.speech.assign import Activity, Match
from pipelines.speech.mouth import Mouth

if TYPE_CHECKING:
    from pipelines.speech.config import SpeechConfig

MODEL = "light-asd"
"""Name in the register of model files."""

_SLOPE = 0.35
"""Log-odds for one unit of the network's answer above the face's threshold. On faces whose truth is known, an answer
4 units above that of the same face in silence is near certainty."""
_MAX_LOG_ODDS = 2.0
"""The network alone never says more than this."""
_MAX_BOTH = 3.0
"""Nor do both witnesses."""
_THRESHOLDS = (0.0, 6.0)
"""A face's threshold lies within these: an answer below 0 was never seen to mean speech, one above 6 never silence."""
_SPREAD = 2.0
"""A face whose answers spread less than this has been seen in one state alone: the middle of the bounds judges it."""

_FIT_CHANCE, _FIT_SLOPE, _MAX_FIT = 0.25, 6.0, 1.5
"""Mouths agree with a sound that is not theirs by 0.1 (quartiles -0.1 and 0.3), with their own by 0.3 to 0.8."""
_MAX_LAG_MS = 250.0
"""A lag beyond this is a coincidence, or another's voice."""

OPEN_CONFIDENCE = 0.6
"""The network is asked where voices and lips match less surely than this,"""
OPEN_SHARE = 0.15
"""or where who speaks is open in more than this share of the frames with speech."""


@dataclass(frozen=True)
class Answers:
    """What the network said of each face."""

    raw: Mapping[str, np.ndarray]
    """Person -> (T,) float32 log-odds as the network gave them."""
    log_odds: Mapping[str, np.ndarray]
    """Person -> (T,) float64, measured from the face's own threshold; 0 where the face is not seen."""


def weights_file(config: SpeechConfig) -> str:
    """Where the network's weights are to come from: a path, the register's name, or "" where it is not to be asked.

    ``auto`` asks it where the weights are on this machine already; nothing is fetched for it.
    """
    if config.active_speaker == "lips":
        return ""
    if config.asd_weights:
        return str(Path(config.asd_weights).expanduser())
    if config.active_speaker == "auto":
        from rsat_data import registry

        return MODEL if registry.state(registry.get(MODEL)) == "present" else ""
    return MODEL


def calibrate(raw: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Log-odds (T,) of talking from the network's answers (T,), each face measured from its own threshold.

    The network's answers are comparable within a face, less so between faces: a lively listener scores higher than a
    mumbling speaker. The threshold is the middle between a face's low and high answers (its 10th and 90th percentile),
    within bounds.
    """
    known = seen & np.isfinite(raw)
    if not known.any():
        return np.zeros(len(raw))
    low, high = np.percentile(raw[known], (10, 90))
    middle = (low + high) / 2 if high - low >= _SPREAD else sum(_THRESHOLDS) / 2
    threshold = float(np.clip(middle, *_THRESHOLDS))
    odds = np.clip(_SLOPE * (np.nan_to_num(raw) - threshold), -_MAX_LOG_ODDS, _MAX_LOG_ODDS)
    return np.where(known, odds, 0.0)


def ask(folder: Path, samples: np.ndarray, mouths: Mapping[str, Mouth], weights: Path) -> Answers:
    """Let the network look at every face while it listens to the mixture.

    Args:
        folder: artefacts of the stage `faces`.
        samples: (T * 640,) float32.
        mouths: the people.
        weights: of Light-ASD.

    Raises:
        ModelFileError: the weights cannot be read.
    """
    import torch

    from model.speech.light_asd import cepstra
    from model.speech.light_asd_fast import features
    from pipelines.speech.closeups import closeups

    network, fast = _load(str(weights))
    raw, odds = {}, {}
    with torch.inference_mode():
        for person, mouth in mouths.items():
            faces = closeups(folder, person)
            heard = network.listen(torch.from_numpy(cepstra(samples, len(faces)))[None])
            answer = network.weigh(features(fast, torch.from_numpy(faces))[None], heard)[0].numpy()
            raw[person] = answer.astype(np.float32)
            odds[person] = calibrate(answer, np.isfinite(mouth.opening))
    return Answers(raw, odds)


@lru_cache(maxsize=1)
def _load(path: str):  # type: ignore[no-untyped-def]
    """The network, and its quick way of looking; kept for the next clips of this process."""
    from model.speech.light_asd import load_light_asd
    from model.speech.light_asd_fast import FastFaces

    network = load_light_asd(path)
    return network, FastFaces(network)


def follow(mouths: Mapping[str, Mouth], samples: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """(T, P) log-odds of talking: lips' movement, and how far they follow the sound while somebody is heard.

    Args:
        mouths: the people.
        samples: (T * 640,) float32, the mixture.
        voice: (T,) probability that anybody talks.
    """
    speech = voice > 0.5
    columns = []
    for mouth in mouths.values():
        found = sync_offset(mouth.opening, samples, speech)
        near = found.clearness >= CLEAR and abs(found.lag_ms) <= _MAX_LAG_MS
        fit = local_fit(mouth.opening, samples, found.lag_ms if near else 0.0)
        odds = np.clip(_FIT_SLOPE * (np.nan_to_num(fit) - _FIT_CHANCE), -_MAX_FIT, _MAX_FIT)
        # Only of a mouth that moves is it asked whether it moves as the sound does.
        told = np.isfinite(fit) & speech & (mouth.log_odds > 0)
        columns.append(mouth.log_odds + np.where(told, odds, 0.0))
    return np.stack(columns, axis=1)


def witnesses(lips: np.ndarray, mouths: Mapping[str, Mouth], answers: Answers | None) -> np.ndarray:
    """(T, P) log-odds of talking, of lips (from :func:`follow`) and network together."""
    if answers is None:
        return lips
    network = np.stack([answers.log_odds[person] for person in mouths], axis=1)
    return np.clip(lips + network, -_MAX_BOTH, _MAX_BOTH)


def is_open(activity: Activity, match: Match, voice: np.ndarray) -> bool:
    """Whether voices and lips leave it open who speaks: see :data:`OPEN_CONFIDENCE` and :data:`OPEN_SHARE`."""
    speech = voice > 0.5
    if not speech.any():
        return False
    if match.confidence < OPEN_CONFIDENCE:
        return True
    certain = np.abs(2.0 * activity.posterior[speech] - 1.0).min(axis=1) > 0.8
    return float(1.0 - certain.mean()) > OPEN_SHARE
