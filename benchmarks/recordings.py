"""How well do two recordings of one conversation find each other by their sounds?

    python -m benchmarks.recordings --data ../shared/data [--minutes 60]

Reads real recordings from the folder: ``dualtalk_demo/*.wav``, two files a conversation, one a speaker; ``audio/`` and
``clips/`` for sounds that have nothing to do with each other. Microphones are made by adding the other speaker, fainter
and 4 ms later, and noise at -60 dB; recorders by offset and drift. Prints for every leak how many were believed, the
largest error of the offset at the middle and that of the drift; how many unrelated pairs were believed; and what an
hour (pieces of the conversations in random order and speed) costs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine
from pipelines.ingest.align import Alignment, align
from pipelines.ingest.audio import SAMPLE_RATE, read_audio_16k
from pipelines.ingest.sound import to_int16
from pipelines.ingest.timeline import Clock, on_shared

LEAKS_DB: tuple[float | None, ...] = (-6.0, -12.0, -20.0, -30.0, -40.0, None)
CASES = ((Clock(1.234), None), (Clock(-2.5, 150.0), None), (Clock(3.0), 8.0))
"""Clock of the second recorder, and to how many seconds both are cut."""


def microphones(voices: list[np.ndarray], leak_db: float | None, rng: np.random.Generator) -> list[np.ndarray]:
    """What each speaker's microphone hears, (N,) float32; None adds nothing of the other."""
    gain = 0.0 if leak_db is None else 10 ** (leak_db / 20)
    out = []
    for own, other in (voices, voices[::-1]):
        late = np.concatenate([np.zeros(64, np.float32), other[:-64]])
        noise = 1e-3 * rng.standard_normal(len(own), dtype=np.float32)
        out.append((own + np.float32(gain) * late + noise).astype(np.float32))
    return out


def recorded(sound: np.ndarray, clock: Clock) -> np.ndarray:
    """What a recorder with this clock writes of a whole sound of the shared timeline, (M,) int16."""
    return to_int16(on_shared(sound, clock.inverse(), 0, int(clock.own(len(sound) / SAMPLE_RATE) * SAMPLE_RATE)))


def error_ms(found: Alignment, clock: Clock, moment: float) -> float:
    """How far the found clock is off at a moment of the shared timeline."""
    return 1000 * abs(found.clock.own(moment) - clock.own(moment))


def related(conversations: list[list[np.ndarray]]) -> None:
    """Print the table of leaks."""
    print("| other voice | believed | offset off by at most | drift of 150 ppm |")
    print("|---|---|---|---|")
    for leak in LEAKS_DB:
        believed, worst, drifts, count = 0, 0.0, [], 0
        rng = np.random.default_rng(0)
        for voices in conversations:
            first, second = microphones(voices, leak, rng)
            for clock, cut in CASES:
                size = None if cut is None else round(cut * SAMPLE_RATE)
                found = align(to_int16(first)[:size], recorded(second, clock)[:size])
                count += 1
                if found is None or not found.sure:
                    continue
                believed += 1
                worst = max(worst, error_ms(found, clock, clock.offset_s / 2 + (cut or 24.0) / 2))
                if clock.drift_ppm:
                    drifts.append(f"{found.clock.drift_ppm:.0f}")
        name = "as recorded" if leak is None else f"{leak:.0f} dB"
        print(f"| {name} | {believed} of {count} | {worst:.1f} ms | {', '.join(drifts)} |")


def unrelated(sounds: list[tuple[str, np.ndarray]]) -> None:
    """Print how many pairs of different conversations are believed."""
    believed, scores = 0, []
    for name, first in sounds:
        for other, second in sounds:
            if name == other:
                continue
            for seconds in (5, 10, 600):
                size = seconds * SAMPLE_RATE
                found = align(first[:size], second[:size])
                if found is not None:
                    scores.append(found.correlation)
                    believed += found.sure
    print(f"unrelated pairs: {believed} of {len(scores)} believed; highest correlation {max(scores):.2f}")


def long_one(conversations: list[list[np.ndarray]], minutes: float) -> None:
    """Print what a long recording costs and how exact it is."""
    rng = np.random.default_rng(0)
    count = int(minutes * 60 * SAMPLE_RATE)
    talk = [np.zeros(count, np.float32), np.zeros(count, np.float32)]
    at = 0
    while at < count:
        voices = conversations[int(rng.integers(len(conversations)))]
        size = min(int(rng.integers(16_000, 48_000)), count - at)
        start, speed = int(rng.integers(0, len(voices[0]) - 64_000)), rng.uniform(0.8, 1.25)
        for own, voice in zip(talk, voices, strict=True):
            own[at : at + size] = np.interp(np.arange(size) * speed, np.arange(64_000), voice[start : start + 64_000])
        at += size
    clock = Clock(-300.5 if minutes > 20 else 17.3, 35.0)
    first, second = microphones(talk, -20.0, rng)
    del talk
    with tempfile.TemporaryDirectory() as folder:
        maps = []
        for name, samples in (("a", to_int16(first)), ("b", recorded(second, clock))):
            np.save(Path(folder, f"{name}.npy"), samples)
            maps.append(np.load(Path(folder, f"{name}.npy"), mmap_mode="r"))
        del first, second
        begun = time.process_time()
        found = align(*maps)
        spent = time.process_time() - begun
    assert found is not None
    errors = [error_ms(found, clock, share * minutes * 60) for share in (0.1, 0.5, 0.9)]
    print(
        f"{minutes:g} minutes, -20 dB: {spent:.1f} s of one core; correlation {found.correlation:.1f}; off by "
        f"{', '.join(f'{error:.1f}' for error in errors)} ms at the beginning, middle and end; drift of "
        f"{clock.drift_ppm:g} ppm measured as {found.clock.drift_ppm:.2f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of real recordings")
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the long recording")
    arguments = parser.parse_args()
    files = sorted((arguments.data / "dualtalk_demo").glob("*.wav"))
    if len(files) < 2:
        parser.error(f"no conversation with a file a speaker in {arguments.data / 'dualtalk_demo'}")
    print(describe_machine())
    pairs = [files[i : i + 2] for i in range(0, len(files) - 1, 2)]
    conversations = [[read_audio_16k(path)[0] for path in pair] for pair in pairs]
    related(conversations)
    others = [arguments.data / "audio" / "sample.wav", *sorted((arguments.data / "clips").glob("*.*"))]
    sounds = [(pair[0].stem[:11], to_int16(voice)) for pair, talk in zip(pairs, conversations, strict=True)
              for voice in talk]  # fmt: skip
    sounds += [(path.stem, to_int16(read_audio_16k(path)[0])) for path in others if path.is_file()]
    unrelated(sounds)
    long_one(conversations, arguments.minutes)


if __name__ == "__main__":
    main()
