"""``--stream``: sound is heard as it arrives, and faces are drawn meanwhile. Who is late leaves pictures out."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch

from model.motion.conversation import PERSONS, SAMPLES_PER_FRAME
from model.motion.stream import Stream
from model.render.figure import predicted_codes
from rsat_data.errors import SkippedSource
from rsat_data.mp4 import VideoWriter
from rsat_data.rendering.offline import CRF, FPS, SAMPLE_RATE, Cell, drawing_threads, fitted
from rsat_data.rendering.page import Label, Page
from rsat_data.rendering.people import Person
from rsat_data.rendering.sound import Tracks

Frame = tuple[float, dict[str, np.ndarray]]
"""When it had arrived (``time.perf_counter``), and A and B -> (640,) float32."""
_BYTES = SAMPLES_PER_FRAME * 2 * 2


class Arrivals(Protocol):
    """Sound that arrives."""

    def take(self) -> list[Frame]:
        """All whole frames that have arrived since; waits for the first one; empty when there will be no more."""


class Paced:
    """Tracks played in real time from the first :meth:`take` on."""

    def __init__(self, tracks: Tracks) -> None:
        self.tracks, self.next, self.started = tracks, 0, 0.0

    def take(self) -> list[Frame]:
        """See :class:`Arrivals`."""
        if not self.next:
            self.started = time.perf_counter()
        if self.next == self.tracks.num_frames:
            return []
        due = self.started + (self.next + 1) / FPS
        time.sleep(max(0.0, due - time.perf_counter()))
        there = min(int((time.perf_counter() - self.started) * FPS), self.tracks.num_frames)
        frames = []
        for number in range(self.next, max(there, self.next + 1)):
            span = slice(number * SAMPLES_PER_FRAME, (number + 1) * SAMPLES_PER_FRAME)
            audio = {person: self.tracks.audio[person][span] for person in PERSONS}
            frames.append((self.started + (number + 1) / FPS, audio))
        self.next += len(frames)
        return frames


class RawInput:
    """Signed 16-bit little-endian samples at 16 kHz, A and B in turn, from a binary stream.

    Read from the first :meth:`take` on, so that what comes while models are loaded waits in the pipe.
    """

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = sys.stdin.buffer if stream is None else stream
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="listen", daemon=True)

    def _read(self) -> None:
        while data := self._stream.read(_BYTES):
            whole = data.ljust(_BYTES, b"\0")
            both = np.frombuffer(whole, "<i2").reshape(-1, 2).astype(np.float32) / 32768.0
            audio = {person: np.ascontiguousarray(both[:, index]) for index, person in enumerate(PERSONS)}
            self._frames.put((time.perf_counter(), audio))
        self._frames.put(None)

    def take(self) -> list[Frame]:
        """See :class:`Arrivals`."""
        if self._thread.ident is None:
            self._thread.start()
        frames: list[Frame] = []
        while not self._ended and (not frames or not self._frames.empty()):
            frame = self._frames.get()
            if frame is None:
                self._ended = True
            else:
                frames.append(frame)
        return frames


@dataclass
class Latency:
    """Milliseconds of every frame that was drawn, and how many were not."""

    network: list[float] = field(default_factory=list)
    """From the sound to codes of both people; of all frames that had arrived together."""
    drawing: list[float] = field(default_factory=list)
    """From codes to the pictures of both."""
    total: list[float] = field(default_factory=list)
    """From the arrival of a frame's last sample to its pictures."""
    frames: int = 0

    def summary(self) -> dict[str, Any]:
        """Median and 95 % of each, and whether every frame was drawn."""
        parts = {name: getattr(self, name) for name in ("network", "drawing", "total")}
        return {
            **{
                f"{name}_ms": {
                    "median": round(float(np.median(values)), 1),
                    "p95": round(float(np.percentile(values, 95)), 1),
                }
                for name, values in parts.items()
                if values
            },
            "frames": self.frames,
            "drawn": len(self.total),
            "kept_up": self.frames == len(self.total),
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        facts = self.summary()
        for name in ("network", "drawing", "total"):
            if f"{name}_ms" in facts:
                values = facts[f"{name}_ms"]
                yield f"latency, {name}: median {values['median']:.1f} ms, 95 % within {values['p95']:.1f} ms"
        if facts["kept_up"]:
            yield f"kept up with 25 frames/s: all {self.frames} frames were drawn"
        else:
            left_out = self.frames - facts["drawn"]
            slow = facts["network_ms"]["median"] > facts["drawing_ms"]["median"]
            hint = "the network takes longest: --mean is quicker" if slow else "a smaller --size is quicker"
            yield (
                f"did not keep up with 25 frames/s: {left_out} of {self.frames} pictures were left out, the ones "
                f"before them stand still; {hint}"
            )


def stream_talk(
    path: Path, stream: Stream, arrivals: Arrivals, people: Mapping[str, Person], size: int, threads: int,
    caption: str, *, mixed: bool = False, progress: Callable[[], None] = lambda: None,
) -> Latency:  # fmt: skip
    """Hear, draw and write until no more sound arrives, or Ctrl-C ends it.

    Raises:
        SkippedSource: no sound arrived at all.
    """
    cells = [
        Cell(who.figure, {}, Label(f"{person}  {who.name.rsplit('/', 1)[-1]}", person), who.drawn_as)
        for person, who in people.items()
    ]
    camera = cells[0].figure.stand.camera
    height = round(size * camera.height / camera.width / 2) * 2
    page = Page([cell.label for cell in cells], 2, size, height, (), caption)
    latency = Latency()
    with drawing_threads(threads) as pool, _one_thread_of_torch():
        _warm_up(pool, cells, stream, size)
        silence = np.zeros((1 if mixed else 2, 0), np.float32)
        with VideoWriter(path, FPS, CRF, audio=silence, sample_rate=SAMPLE_RATE) as writer:
            try:
                while frames := arrivals.take():
                    _one_round(frames, stream, pool, cells, page, size, writer, latency, mixed)
                    for _ in frames:
                        progress()
            except KeyboardInterrupt:
                # What was heard so far is a whole video: Ctrl-C is how a live stream ends.
                pass
    if not latency.frames:
        raise SkippedSource("No sound arrived: there is nothing to draw.", hint="Is the other program running?")
    return latency


@contextmanager
def _one_thread_of_torch() -> Iterator[None]:
    """A frame is too little work to share, and threads that wait for each other wait for busy processors too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_round(
    frames: Sequence[Frame], stream: Stream, pool: ThreadPoolExecutor, cells: Sequence[Cell], page: Page, size: int,
    writer: VideoWriter, latency: Latency, mixed: bool,
) -> None:  # fmt: skip
    """All frames that have arrived go through the network; the newest is drawn, older ones keep the picture before."""
    begun = time.perf_counter()
    audio = {person: np.concatenate([sound[person] for _, sound in frames]) for person in PERSONS}
    speaking = stream.heard(audio)
    motion = stream.push(audio, speaking)
    known = time.perf_counter()
    pictures = _pictures(pool, cells, {p: {n: v[-1:] for n, v in motion[p].items()} for p in PERSONS}, size)
    drawn = time.perf_counter()
    latency.network.append(1000 * (known - begun))
    latency.drawing.append(1000 * (drawn - known))
    latency.total.append(1000 * (drawn - frames[-1][0]))
    latency.frames += len(frames)
    both = np.stack([audio[person] for person in PERSONS])
    writer.add_sound(both.sum(axis=0).clip(-1, 1) if mixed else both)
    shown = [fitted(picture, page.height) for picture in pictures]
    for index in range(len(frames)):
        now = {person: bool(speaking[person][index]) for person in PERSONS}
        last = index == len(frames) - 1 or not writer.num_frames
        writer.add(page.fill(shown, now) if last else page.marked(now))


def _pictures(
    pool: ThreadPoolExecutor, cells: Sequence[Cell], motion: Mapping[str, Mapping[str, np.ndarray]], size: int
) -> list[np.ndarray]:
    def one(cell: Cell) -> np.ndarray:
        codes = predicted_codes(motion[cell.label.person], cell.figure.stand)
        return next(iter(cell.figure.pictures(codes, size)))

    return [future.result() for future in [pool.submit(one, cell) for cell in cells]]


def _warm_up(pool: ThreadPoolExecutor, cells: Sequence[Cell], stream: Stream, size: int) -> None:
    """Kernels are loaded and first allocations made before sound counts."""
    other = Stream(stream.run, stream.relation, None, stream.seed, partner=stream.partner)
    silence = {person: np.zeros(SAMPLES_PER_FRAME, np.float32) for person in PERSONS}
    for _ in range(3):
        motion = other.push(silence)
    _pictures(pool, cells, motion, size)
