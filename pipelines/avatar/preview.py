"""A picture of an avatar: truth and avatar at times it was not fitted to, and the avatar from around."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from model.avatar.avatar import Avatar
from model.avatar.draw import draw_frames
from model.avatar.footage import Footage, Frame, pictures
from model.avatar.orbit import standing, swing_of, turned
from model.avatar.posing import rest_pose
from model.head import HeadModel
from pipelines.avatar.judge import show
from rsat_data.errors import StageError

CELL, COLUMNS, LINE, GAP = 256, 4, 20, 4
_LETTERS = 120
"""Of a note, in a line."""
_INK, _FAINT, _PAPER = (32, 32, 32), (110, 110, 110), (255, 255, 255)


def write_preview(
    path: Path,
    avatar: Avatar,
    head: HeadModel,
    footage: Sequence[Footage],
    test: Sequence[Frame],
    title: str,
    note: str,
    threads: int,
) -> None:
    """Write the picture as PNG.

    Args:
        path: the file.
        avatar, head: what is drawn.
        footage: rows of the subject.
        test: frames held out; four of them are shown.
        title, note: words above the picture.
        threads: for drawing and decoding.
    """
    chosen = [test[int((i + 0.5) / COLUMNS * len(test))] for i in range(min(COLUMNS, len(test)))]
    white = torch.ones(3)
    rows: list[list[np.ndarray]] = [[], [], []]
    for _, picture in sorted(pictures(footage, chosen, CELL, threads), key=lambda item: item[0]):
        matte = picture[..., 3:].astype(np.float32) / 255
        rows[0].append((picture[..., :3] * matte + 255 * (1 - matte)).round().astype(np.uint8))
    for frame in chosen:
        rows[1].append(_bytes(show(avatar, head, footage[frame.row], [frame.time], CELL, white, threads)[0]))
    rows[2] = _around(avatar, head, threads)
    words = ("held out: truth", "held out: avatar, codes as tracked", "from around")
    _write(path, rows, words, title, note)


def _around(avatar: Avatar, head: HeadModel, threads: int) -> list[np.ndarray]:
    codes, camera, centre = standing(avatar, head)
    yaw = torch.linspace(*swing_of(avatar.about).yaw, COLUMNS)
    frames = draw_frames(
        avatar,
        head,
        {name: value.expand(len(yaw), -1) for name, value in codes.items()},
        camera,
        size=(CELL, CELL),
        background=torch.ones(3),
        rest=rest_pose(codes["rotation"], codes["translation"]),
        views=turned(centre, yaw, torch.zeros_like(yaw)),
        threads=threads,
    )
    return [_bytes(picture) for rgb, _ in frames for picture in rgb]


def _bytes(picture: torch.Tensor) -> np.ndarray:
    return (255 * picture.clamp(0, 1)).round().to(torch.uint8).cpu().numpy()


def _write(path: Path, rows: list[list[np.ndarray]], words: Sequence[str], title: str, note: str) -> None:
    line = 24
    notes = textwrap.wrap(note, _LETTERS)
    header = (1 + len(notes)) * LINE + 6
    tall = header + len(rows) * (line + CELL + GAP)
    page = np.full((tall, GAP + COLUMNS * (CELL + GAP), 3), _PAPER, np.uint8)
    _text(page, title, (GAP + 4, LINE), 0.55, _INK)
    for number, words_of in enumerate(notes):
        _text(page, words_of, (GAP + 4, (2 + number) * LINE), 0.45, _FAINT)
    for number, (cells, word) in enumerate(zip(rows, words, strict=True)):
        y = header + number * (line + CELL + GAP)
        _text(page, word, (GAP + 4, y + 17), 0.45, _FAINT)
        for column, cell in enumerate(cells):
            x = GAP + column * (CELL + GAP)
            page[y + line : y + line + CELL, x : x + CELL] = cell
    done, data = cv2.imencode(".png", page[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 4])
    if not done:
        raise StageError(f"{path} cannot be written as PNG.", path=path)
    path.write_bytes(data.tobytes())


def _text(page: np.ndarray, text: str, at: tuple[int, int], size: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
