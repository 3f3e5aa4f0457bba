"""What the speech stage reads: the clip's sound, and the mouths of its faces."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.speech.isolate import SAMPLES_PER_FRAME, channels_separate, fit_length, levels_db
from pipelines.speech.mouth import Mouth, measure_mouth
from pipelines.stage import StageContext
from rsat_data.errors import UnsupportedSource

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Sound:
    """The sound of one clip at 16 kHz, T * 640 samples."""

    mixture: np.ndarray
    """(T * 640,) float32."""
    channels: np.ndarray | None = None
    """(C, T * 640) float32: one voice a channel; None where the recording has only the mixture."""
    owner: tuple[int, ...] | None = None
    """For each person the channel that is theirs, where the user said so; None where the lips must tell."""
    gains: tuple[float, ...] = ()
    """What makes the microphones equal, a factor a channel: for comparing their levels, not for anybody to hear."""
    separation_db: float = float("inf")
    """How far the microphones tell the two voices apart by level, where that was measured; at least 16."""

    def compared(self) -> np.ndarray:
        """The channels as if recorded by equal microphones."""
        assert self.channels is not None
        return self.channels * np.asarray(self.gains or (1.0,) * len(self.channels), np.float32)[:, None]


def read_faces(folder: Path) -> dict[str, Mouth]:
    """The mouth of every person in the artefacts of the faces stage, by A, B."""
    info = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
    mouths = {}
    for entry in info["persons"]:
        with np.load(folder / f"{entry['person']}.npz") as arrays:
            mouths[str(entry["person"])] = measure_mouth(arrays["landmarks"], arrays["valid"].astype(bool))
    return mouths


def read_sound(ctx: StageContext, persons: tuple[str, ...], num_frames: int) -> Sound:
    """The clip's stretch of the mixture, and of separate voices where the recordings or sound files given have them.

    Raises:
        UnsupportedSource: audio was given for one of two visible persons only.
    """
    folder, start = ctx.inputs["ingest"], round(float(ctx.unit["start_s"]) * SAMPLE_RATE)
    length = num_frames * SAMPLES_PER_FRAME
    mixture = fit_length(_read_flac(folder / "mixture.flac", start, length)[0], length)
    names, balance_db, separation_db = channel_owners(folder)
    if names:
        missing = [person for person in persons if person not in names]
        if missing:
            raise UnsupportedSource(
                f"{ctx.source.name} came with audio for {', '.join(names)}, but not for {missing[0]}.",
                hint="Give one audio file for every person in the picture, or for none.",
                path=ctx.source,
            )
        channels = _read_flac(folder / "channels.flac", start, length)
        voices = np.stack([fit_length(channel, length) for channel in channels])
        # With fewer faces than voices, A in this clip need not be the A of the whole recording.
        owner = tuple(names.index(person) for person in persons) if len(persons) == len(names) else None
        gains = (1.0, 10 ** (balance_db / 20)) if len(names) == 2 else ()
        return Sound(mixture, voices, owner, gains, separation_db)
    if (folder / "channels.flac").is_file() and channels_separate(_levels(folder / "channels.flac")):
        channels = _read_flac(folder / "channels.flac", start, length)
        return Sound(mixture, np.stack([fit_length(channel, length) for channel in channels]))
    return Sound(mixture)


def channel_owners(folder: Path) -> tuple[list[str], float, float]:
    """Whose voice each channel of channels.flac is, how many dB the second microphone is fainter, and their separation.

    Empty, 0 and infinity where not every person's sound was given. Microphones that hardly tell the voices apart (under
    16 dB) have infinity too: there the limits for any two hold.
    """
    path = folder / "source.json"
    if not path.is_file():
        return [], 0.0, float("inf")
    audio = json.loads(path.read_text(encoding="utf-8")).get("audio") or {}
    apart = audio.get("separation_db")
    apart = float("inf") if apart is None or apart < 16.0 else float(apart)
    return [str(person) for person in audio.get("persons") or ()], float(audio.get("balance_db", 0.0)), apart


def _read_flac(path: Path, start: int, length: int) -> np.ndarray:
    """(C, up to length) float32 from sample ``start``; empty past the end."""
    import soundfile

    with soundfile.SoundFile(str(path)) as file:
        if start >= file.frames:
            return np.zeros((file.channels, 0), dtype=np.float32)
        file.seek(start)
        return np.asarray(file.read(length, dtype="float32", always_2d=True)).T


def _levels(path: Path) -> np.ndarray:
    """(C, M) dB of every 20 ms of a whole file, a minute at a time."""
    import soundfile

    with soundfile.SoundFile(str(path)) as file:
        minutes = file.blocks(blocksize=60 * SAMPLE_RATE, dtype="float32", always_2d=True)
        parts = [np.stack([levels_db(channel) for channel in block.T]) for block in minutes]
        return np.concatenate(parts, axis=1) if parts else np.zeros((file.channels, 0))


def write_flac(path: Path, samples: np.ndarray) -> None:
    """Write (N,) float32 in [-1, 1] as 16 kHz mono int16 FLAC."""
    import soundfile

    whole = np.clip(np.round(samples.astype(np.float64) * 32768.0), -32768, 32767).astype(np.int16)
    soundfile.write(str(path), whole, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
