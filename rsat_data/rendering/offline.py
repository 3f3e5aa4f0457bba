"""A scene as a video: people drawn side by side in threads of their own while what is done is encoded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from model.render.figure import Figure
from rsat_data.mp4 import VideoWriter
from rsat_data.rendering.page import Label, Page
from rsat_data.rendering.scenes import Scene

FPS, SAMPLE_RATE, CRF = 25.0, 16_000, 16
_CHUNK = 8
"""Frames of everybody that are drawn before the next ones are begun."""


@dataclass
class Seconds:
    """What took how long: seconds of work, summed over threads."""

    avatar: float = 0.0
    mesh: float = 0.0
    encoding: float = 0.0
    drawn: dict[str, int] = field(default_factory=lambda: {"avatar": 0, "mesh": 0})
    """Pictures of people."""

    def rates(self) -> dict[str, float]:
        """Pictures a second of one thread, by what was drawn."""
        spent = {"avatar": self.avatar, "mesh": self.mesh}
        return {kind: round(count / spent[kind], 1) for kind, count in self.drawn.items() if count and spent[kind] > 0}


@dataclass(frozen=True)
class Cell:
    """One picture of the page."""

    figure: Figure
    codes: dict[str, np.ndarray]
    label: Label
    kind: str
    """avatar or mesh."""


def cells_of(scene: Scene) -> tuple[list[Cell], int, list[str]]:
    """Pictures row by row, how many a row, and titles of the columns.

    One version: people side by side. Several: a column a version, a row a person, so that versions of the same face lie
    side by side.
    """
    many = len(scene.versions) > 1

    def cell(person: str, motion: dict[str, np.ndarray]) -> Cell:
        who = scene.people[person]
        name = f"{person}  {who.name.rsplit('/', 1)[-1]}" if len(scene.people) > 1 else who.name.rsplit("/", 1)[-1]
        return Cell(who.figure, motion, Label(name, person if person in scene.speaking else ""), who.drawn_as)

    cells = [cell(person, motion[person]) for person in scene.people for _, motion in scene.versions]
    return cells, len(scene.versions) if many else len(scene.people), [t for t, _ in scene.versions] if many else []


def page_of(scene: Scene, size: int) -> tuple[Page, list[Cell]]:
    """The page of a scene. Pictures of a page are equally high: as high as the first one's camera says."""
    cells, columns, titles = cells_of(scene)
    camera = cells[0].figure.stand.camera
    height = round(size * camera.height / camera.width / 2) * 2
    return Page([cell.label for cell in cells], columns, size, height, titles, scene.caption), cells


def write_scene(
    path: Path, scene: Scene, size: int, threads: int, progress: Callable[[], None] = lambda: None
) -> tuple[int, Seconds]:
    """Draw and write all frames; returns how many, and what took how long."""
    page, cells = page_of(scene, size)
    seconds, count = Seconds(), scene.num_frames
    with VideoWriter(path, FPS, CRF, audio=scene.audio, sample_rate=SAMPLE_RATE) as writer:
        for number, pictures in enumerate(pictures_of(cells, count, size, threads, seconds)):
            started = time.perf_counter()
            now = {person: bool(flags[number]) for person, flags in scene.speaking.items()}
            writer.add(page.fill([fitted(picture, page.height) for picture in pictures], now))
            seconds.encoding += time.perf_counter() - started
            progress()
    return count, seconds


def pictures_of(
    cells: Sequence[Cell], count: int, size: int, threads: int, seconds: Seconds | None = None
) -> Iterator[list[np.ndarray]]:
    """Pictures of all cells, frame by frame; the next ones are drawn while these are looked at."""
    spent = Seconds() if seconds is None else seconds
    with drawing_threads(threads) as pool:
        share = max(1, threads // len(cells))

        def begin(start: int) -> list[Future[tuple[list[np.ndarray], float]]]:
            return [pool.submit(_drawn, cell, start, start + _CHUNK, size, share) for cell in cells]

        coming = begin(0)
        for start in range(0, count, _CHUNK):
            done = [future.result() for future in coming]
            coming = begin(start + _CHUNK) if start + _CHUNK < count else []
            for cell, (pictures, took) in zip(cells, done, strict=True):
                setattr(spent, cell.kind, getattr(spent, cell.kind) + took)
                spent.drawn[cell.kind] += len(pictures)
            yield from (list(frame) for frame in zip(*(pictures for pictures, _ in done), strict=True))


def drawing_threads(threads: int) -> ThreadPoolExecutor:
    """Threads that draw a person each, each with one thread of torch."""
    return ThreadPoolExecutor(max(1, threads), "draw", initializer=torch.set_num_threads, initargs=(1,))


def _drawn(cell: Cell, start: int, stop: int, size: int, threads: int) -> tuple[list[np.ndarray], float]:
    started = time.perf_counter()
    codes = {name: value[start:stop] for name, value in cell.codes.items()}
    pictures = list(cell.figure.pictures(codes, size, threads))
    return pictures, time.perf_counter() - started


def fitted(picture: np.ndarray, height: int) -> np.ndarray:
    """A picture cut, or filled up below, to a height: cameras of another shape than the first one's."""
    if len(picture) == height:
        return picture
    if len(picture) > height:
        return picture[:height]
    more = np.broadcast_to(picture[-1:, :1], (height - len(picture), picture.shape[1], 3))
    return np.concatenate([picture, more])
