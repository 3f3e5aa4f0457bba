"""What two people say: a file each, or one stereo file; and who of them speaks when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.motion.conversation import PERSONS, SAMPLE_RATE, SAMPLES_PER_FRAME
from model.motion.voice import VoiceActivity, frame_levels_db
from pipelines.ingest.media import read_audio_16k
from pipelines.speech.assign import to_frames
from pipelines.speech.config import SpeechConfig
from pipelines.speech.diarise import speech_probability
from pipelines.speech.isolate import fit_length, leading
from pipelines.speech.segmentation import segment
from pipelines.speech.turns import drop_short_runs, merge_runs, runs
from rsat_data.errors import ModelFileError, SkippedSource, UnreadableSource, UsageError

_SILENT_DB = SpeechConfig().silence_db


@dataclass(frozen=True)
class Tracks:
    """Sound of both people, equally long."""

    audio: Mapping[str, np.ndarray]
    """A and B -> (640 T,) float32 at 16 kHz."""
    notes: tuple[str, ...] = ()
    """What was done to it, for people."""

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.audio["A"]) // SAMPLES_PER_FRAME

    def stereo(self) -> np.ndarray:
        """(2, 640 T): A left, B right."""
        return np.stack([self.audio[person] for person in PERSONS])


def read_tracks(files: Sequence[Path]) -> Tracks:
    """Read a file a person, or one file with a person a channel.

    The shorter one is padded with silence, which is noted.

    Raises:
        UsageError: one file that does not hold a person a channel, or more than two.
        UnreadableSource, NoAudioTrack, UnsupportedSource: a file that cannot be read.
        SkippedSource: nobody says anything.
    """
    if len(files) == 1:
        found, names = _channels(files[0]), [f"{files[0].name}, {side}" for side in ("left", "right")]
    elif len(files) == 2:
        found, names = [_read(file)[0] for file in files], [file.name for file in files]
    else:
        raise UsageError("--audio takes a file of each of the two people, or one stereo file.")
    notes = []
    count = -(-max(len(samples) for samples in found) // SAMPLES_PER_FRAME)
    shorter = int(np.argmin([len(samples) for samples in found]))
    missing = (max(map(len, found)) - len(found[shorter])) / SAMPLE_RATE
    if missing >= 0.5 / 25:
        notes.append(f"{names[shorter]} is {missing:.2f} s shorter than the other: padded with silence")
    audio = [fit_length(samples, count * SAMPLES_PER_FRAME) for samples in found]
    silent = [not count or bool(frame_levels_db(samples).max() <= _SILENT_DB) for samples in audio]
    if all(silent):
        raise SkippedSource(
            f"{' and '.join(dict.fromkeys(file.name for file in files))}: nobody says anything, all is silence.",
            hint="Listen to the files: is it the right track, is it muted?",
            path=files[0],
        )
    for person, name, none in zip(PERSONS, names, silent, strict=True):
        if none:
            notes.append(f"{name} is silent: {person} listens all the time")
    return Tracks(dict(zip(PERSONS, audio, strict=True)), tuple(notes))


def read_one(file: Path) -> np.ndarray:
    """(N,) float32 at 16 kHz: the sound of a file, mixed down.

    Raises:
        UnreadableSource, NoAudioTrack, UnsupportedSource: it cannot be read.
    """
    return _read(file)[0]


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mono (N,) and channels (C, N), checked."""
    mono, channels = read_audio_16k(file)
    if not np.isfinite(mono).all():
        raise UnreadableSource(f"{file} holds samples that are not finite.", hint="Export it again.", path=file)
    return mono, channels


def _channels(file: Path) -> list[np.ndarray]:
    _, channels = _read(file)
    if len(channels) != 2 or np.array_equal(channels[0], channels[1]):
        what = "has the same in both" if len(channels) == 2 else f"has {len(channels)}"
        raise UsageError(
            f"{file} does not hold a person a channel: it {what}.",
            hint="Give a file of each person: --audio a.wav b.wav",
        )
    return list(channels)


def who_speaks(tracks: Tracks) -> tuple[dict[str, np.ndarray], str]:
    """A and B -> (T,) bool, and by what means.

    What the segmentation network hears in each person's own track, less what leaks over from the other's; where its
    weights are not on this machine and cannot be fetched, the loudness of the track.
    """
    from model.speech.pyannet import load_pyannet
    from rsat_data.registry import model_path

    try:
        network = load_pyannet(model_path("pyannote-segmentation"))
    except ModelFileError:
        return {person: VoiceActivity().push(tracks.audio[person]) for person in PERSONS}, "loudness"
    config, count = SpeechConfig(), tracks.num_frames
    alone = leading(tracks.stereo(), count)
    speaking = {}
    for index, person in enumerate(PERSONS):
        samples = tracks.audio[person]
        heard = to_frames(speech_probability(segment(network, samples, hop_s=config.hop_s)), count)
        heard = heard * (frame_levels_db(samples) > _SILENT_DB) * alone[:, index]
        speaking[person] = drop_short_runs(heard >= config.voice_threshold, max(1, round(config.min_turn_s * 25)))
    return speaking, "network"


def turns_of(speaking: Mapping[str, np.ndarray], gap_s: float = SpeechConfig().turn_gap_s) -> list[dict[str, object]]:
    """Who speaks from when to when, in the order of their start; seconds. Shorter pauses do not end a turn."""
    found = [
        {"person": person, "start": start / 25, "end": stop / 25}
        for person, flags in speaking.items()
        for start, stop in merge_runs(runs(flags), round(gap_s * 25))
    ]
    return sorted(found, key=lambda turn: (turn["start"], turn["person"]))  # type: ignore[arg-type, return-value]
