"""Who talks in every frame of a clip: the network, the voices, the channels and the lips put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.speech.active_speaker import Answers, follow, is_open, witnesses
from pipelines.speech.assign import Activity, Match, decode_activity, match_voices, to_frames
from pipelines.speech.diarise import speech_probability, stitch
from pipelines.speech.inputs import Sound
from pipelines.speech.isolate import SAMPLES_PER_FRAME, gate, leading, levels_db
from pipelines.speech.mouth import Mouth
from pipelines.speech.segmentation import segment
from pipelines.speech.turns import drop_short_runs
from pipelines.speech.voices import columns, count_columns, count_voices

if TYPE_CHECKING:
    from model.speech.pyannet import PyanNet
    from pipelines.speech.config import SpeechConfig


@dataclass(frozen=True)
class Heard:
    """Who talks when, and from where each person's audio is to be taken."""

    isolation: str
    """channel, gated or mixture."""
    voice: np.ndarray
    """(T,) probability that anybody talks; 0 in silence."""
    voices: np.ndarray
    """(T, K) posterior of each voice told apart, in no order that means anything."""
    hidden: np.ndarray
    """(T,) probability that somebody out of sight talks."""
    speaking: Mapping[str, np.ndarray]
    """For each person (T,) bool."""
    posterior: Mapping[str, np.ndarray]
    """For each person (T,) probability of talking."""
    audio: Mapping[str, np.ndarray]
    """For each person (T * 640,) float32: their own audio."""
    match: Match
    """Which voice is whose."""
    speaking_hidden: np.ndarray
    """(T,) bool: somebody out of sight talks."""
    audio_hidden: np.ndarray | None
    """(T * 640,) float32: what they say; None where nobody out of sight does."""
    voices_heard: int | None = None
    """Voices counted: 0 to 3 (three or more) in a mixture, or as many as pyannote's pipeline tells apart; channels with
    speech, where there is one a voice."""
    answers: Answers | None = None
    """What the active speaker network said; None where it was not asked."""


def listen(
    sound: Sound,
    mouths: Mapping[str, Mouth],
    network: PyanNet,
    config: SpeechConfig,
    ask: Callable[[], Answers] | None = None,
    tell_apart: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Heard:
    """Decide who talks in every frame of a clip.

    With one voice a channel, activity is what the network hears in the person's own channel, less what leaks over
    from the other. With a mixture, voices are told apart by the network, matched with the faces by their lips, and
    voices and lips together decide frame by frame; where these leave it open (or where it is always wanted), the active
    speaker network is asked, and all is decided again with what it saw.

    Args:
        sound: of the clip.
        mouths: the people.
        network: tells voices apart.
        config: options.
        ask: asks the active speaker network; None where it is not to be asked.
        tell_apart: gives (G, K) posteriors of a mixture's voices on the grid of 20 ms; None: the network does.
    """
    persons = list(mouths)
    num_frames = len(sound.mixture) // SAMPLES_PER_FRAME
    lips = np.stack([mouths[person].log_odds for person in persons], axis=1)
    shortest = max(1, round(config.min_turn_s * 25.0))
    loud = levels_db(sound.mixture, hop=SAMPLES_PER_FRAME) > config.silence_db
    answers: Answers | None = None
    if sound.channels is not None:
        per_channel = [
            to_frames(speech_probability(segment(network, channel, hop_s=config.hop_s)), num_frames)
            * (levels_db(channel, hop=SAMPLES_PER_FRAME) > config.silence_db)
            for channel in sound.channels
        ]
        voices = np.stack(per_channel, axis=1) * leading(sound.compared(), num_frames, sound.separation_db)
        match = match_voices(voices, lips)
        if sound.owner is not None:
            match = Match(scores=match.scores, voice_of=sound.owner, confidence=1.0)
        activity = _own_channels(voices, match, config.voice_threshold)
        voice = voices.max(axis=1)
        heard = int(sum((voices[:, channel] >= 0.5).sum() >= shortest for channel in range(voices.shape[1])))
        isolation = "channel"
    else:
        if tell_apart is None:
            windows = segment(network, sound.mixture, hop_s=config.hop_s)
            heard = count_voices(windows)
            grid, anybody = stitch(windows, speakers=columns(config.speakers, heard)), speech_probability(windows)
        else:
            grid = tell_apart(sound.mixture)
            anybody, heard = grid.max(axis=1), count_columns(grid)
        voices = to_frames(grid, num_frames) * loud[:, None]
        voice = _sharpen(to_frames(anybody, num_frames), config.voice_threshold) * loud
        lips = follow(mouths, sound.mixture, voice)
        match = match_voices(voices, lips)
        activity = decode_activity(voices, voice, lips, match, mouth_weight=config.mouth_weight)
        if ask is not None and (config.active_speaker == "light_asd" or is_open(activity, match, voice)):
            answers = ask()
            seen = witnesses(lips, mouths, answers)
            match = match_voices(voices, seen)
            activity = decode_activity(voices, voice, seen, match, mouth_weight=config.mouth_weight)
        isolation = "gated" if len(persons) > 1 else "mixture"

    speaking, audio = {}, {}
    for index, person in enumerate(persons):
        speaking[person] = drop_short_runs(activity.speaking[:, index], shortest)
        own = match.voice_of[index]
        if isolation == "channel" and own is not None and sound.channels is not None:
            audio[person] = sound.channels[own]
        elif isolation == "gated":
            audio[person] = gate(sound.mixture, speaking[person], fade=round(config.fade_ms * 16))
        else:
            audio[person] = sound.mixture
    out_of_sight = drop_short_runs((activity.hidden > 0.5) & (voice > 0.3), shortest)
    return Heard(
        isolation=isolation,
        voice=voice,
        voices=voices,
        hidden=activity.hidden,
        speaking=speaking,
        posterior={person: activity.posterior[:, index] for index, person in enumerate(persons)},
        audio=audio,
        match=match,
        speaking_hidden=out_of_sight,
        audio_hidden=_hidden_audio(sound, match, out_of_sight, config) if out_of_sight.any() else None,
        voices_heard=heard,
        answers=answers,
    )


def _hidden_audio(sound: Sound, match: Match, speaking: np.ndarray, config: SpeechConfig) -> np.ndarray:
    """What somebody out of sight says: the channel that is no face's, else cut out of the mixture."""
    if sound.channels is not None:
        others = [channel for channel in range(len(sound.channels)) if channel not in match.voice_of]
        if len(others) == 1:
            return sound.channels[others[0]]
    return gate(sound.mixture, speaking, fade=round(config.fade_ms * 16))


def speaker_confidence(heard: Heard, person: str) -> float | None:
    """How sure the frames are that were given to a person or not, in [0, 1]; None where nobody speaks.

    Mean of |2 p - 1| over frames with speech, p the probability that the person talks; less by half of what the match
    of voices and faces lacks, for a clear decision that rests on the wrong voice is worth nothing.
    """
    speech = heard.voice > 0.5
    if not speech.any():
        return None
    certain = float(np.abs(2.0 * heard.posterior[person][speech] - 1.0).mean())
    known = 1.0 if heard.isolation == "channel" else heard.match.confidence
    return certain * (0.5 + 0.5 * known)


def _own_channels(voices: np.ndarray, match: Match, threshold: float) -> Activity:
    """Activity where every voice has its channel: no need to ask the lips frame by frame."""
    own = [0 if voice is None else voice for voice in match.voice_of]
    known = np.array([voice is not None for voice in match.voice_of])
    posterior = voices[:, own] * known
    others = [voice for voice in range(voices.shape[1]) if voice not in match.voice_of]
    hidden = voices[:, others].max(axis=1) if others else np.zeros(len(voices))
    return Activity(speaking=posterior >= threshold, posterior=posterior, hidden=hidden)


def _sharpen(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Shift the log-odds so that ``threshold`` becomes 0.5."""
    odds = np.log(np.clip(probability, 1e-6, 1 - 1e-6) / np.clip(1 - probability, 1e-6, 1 - 1e-6))
    return 1.0 / (1.0 + np.exp(-(odds - np.log(threshold / (1 - threshold)))))


def report(heard: Heard) -> dict[str, Any]:
    """How sure the assignment is, for speech.json."""
    persons = list(heard.speaking)
    scores = [[round(float(value), 4) for value in row] for row in heard.match.scores]
    return {
        "scores": scores,
        "voice_of": dict(zip(persons, heard.match.voice_of, strict=True)),
        "confidence": round(heard.match.confidence, 4),
        "hidden_s": round(float((heard.hidden > 0.5).sum()) / 25.0, 2),
        "off_screen_s": round(float(heard.speaking_hidden.sum()) / 25.0, 2),
        "overlap_s": round(
            float(np.all(list(heard.speaking.values()), axis=0).sum()) / 25.0 if len(persons) > 1 else 0.0, 2
        ),
    }
