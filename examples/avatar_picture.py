"""One picture of an avatar: held-out frames beside it, another's codes, and views that no camera saw.

    rsat-data avatar fit my_dataset
    python examples/avatar_picture.py my_dataset --subject 1f3a --row 77c0 avatar.png

``--row`` is one of somebody else, whose codes move the avatar in the second line.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from model.avatar.avatar import Avatar
from model.avatar.draw import draw, draw_frames
from model.avatar.footage import Footage, Frame, from_row, pictures
from model.avatar.light import light_of
from model.avatar.orbit import standing, swing_of, turned
from model.avatar.posing import rest_pose
from model.avatar.torso import track_torso
from model.head import HeadModel
from pipelines.avatar.judge import rest_of
from rsat_data.avatars.find import find_avatar, open_dataset, row_of

CELL, COLUMNS, LINE, GAP = 180, 6, 20, 4
GAIN = 4
"""How much errors are enlarged."""
_FAINT = (110, 110, 110)


def truth_of(footage: Footage, frame: int) -> np.ndarray:
    """(CELL, CELL, 3) uint8 of a frame on white."""
    ((_, picture),) = pictures([footage], [Frame(0, frame)], CELL)
    matte = picture[..., 3:].astype(np.float32) / 255
    return (picture[..., :3] * matte + 255 * (1 - matte)).round().astype(np.uint8)


def avatar_of(avatar: Avatar, head: HeadModel, footage: Footage, frame: int) -> np.ndarray:
    """The avatar under the codes of a frame, likewise."""
    codes = {name: values[frame : frame + 1] for name, values in footage.codes.items()}
    rgb, _ = draw(
        avatar, head, codes, footage.camera,
        size=(CELL, CELL), background=torch.ones(3), rest=rest_of(footage), light=light_of(avatar, footage.row_id),
    )  # fmt: skip
    return to_bytes(rgb[0])


def views_of(avatar: Avatar, head: HeadModel) -> tuple[list[np.ndarray], list[float]]:
    """The avatar at rest from around, between the ends of its turntable, and the angles in degrees."""
    codes, camera, centre = standing(avatar, head)
    yaw = torch.linspace(*swing_of(avatar.about).yaw, COLUMNS)
    frames = draw_frames(
        avatar, head, {name: value.expand(COLUMNS, -1) for name, value in codes.items()}, camera,
        size=(CELL, CELL), background=torch.ones(3), rest=rest_pose(codes["rotation"], codes["translation"]),
        views=turned(centre, yaw, torch.zeros(COLUMNS)),
    )  # fmt: skip
    return [to_bytes(picture) for rgb, _ in frames for picture in rgb], torch.rad2deg(yaw).tolist()


def to_bytes(picture: torch.Tensor) -> np.ndarray:
    """[0, 1] to uint8."""
    return (255 * picture.clamp(0, 1)).round().to(torch.uint8).numpy()


def error(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Absolute difference, enlarged, dark on white."""
    return (255 - (GAIN * np.abs(one.astype(int) - other.astype(int))).clip(0, 255)).astype(np.uint8)


def with_torso(head: HeadModel, footage: Footage) -> Footage:
    """Shoulders where the pictures have them."""
    return Footage(**{**vars(footage), "codes": {**footage.codes, "torso": track_torso(head, footage)}})


def page(lines: list[tuple[str, list[np.ndarray]]], target: Path) -> None:
    """Write lines of cells under their captions as a PNG of 256 colours."""
    tall = LINE + CELL + GAP
    image = np.full((len(lines) * tall, COLUMNS * (CELL + GAP) - GAP, 3), 255, np.uint8)
    for number, (words, cells) in enumerate(lines):
        top = number * tall
        cv2.putText(image, words, (2, top + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _FAINT, 1, cv2.LINE_AA)
        for column, cell in enumerate(cells):
            left = column * (CELL + GAP)
            image[top + LINE : top + LINE + CELL, left : left + CELL] = cell
    target.parent.mkdir(parents=True, exist_ok=True)
    few = Image.fromarray(image).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    few.save(target, optimize=True)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--subject", required=True)
    parser.add_argument("--row", required=True)
    options = parser.parse_args()
    data = open_dataset(options.dataset, needed=True)
    assert data is not None
    found = find_avatar(data, options.subject, None)
    record = json.loads((data.root / "avatars" / found.name / "avatar.json").read_text(encoding="utf-8"))
    row, (first, last) = list(record["held_out"].items())[-1]
    own = with_torso(found.head, from_row(row_of(data, row)))
    own_cells = []
    for frame in (first + (last - first) // 4, first + 3 * (last - first) // 4):
        truth, drawn = truth_of(own, frame), avatar_of(found.avatar, found.head, own, frame)
        own_cells += [truth, drawn, error(truth, drawn)]
    other = with_torso(found.head, from_row(row_of(data, options.row)))
    talking = other.codes["jaw"][:, 0] * other.usable()
    times = [int(part[talking[part].argmax()]) for part in np.array_split(np.arange(len(other)), 3)]
    cross_cells = [
        cell for time in times for cell in (truth_of(other, time), avatar_of(found.avatar, found.head, other, time))
    ]
    views, angles = views_of(found.avatar, found.head)
    psnr = record["metrics"]["avatar"]["psnr_foreground"]
    page(
        [
            (f"held-out frames: truth, avatar under the tracked codes ({psnr:.1f} dB), error x {GAIN}", own_cells),
            ("another person's codes: that person, and the avatar under the same codes", cross_cells),
            (f"at rest, seen from {angles[0]:.0f} to {angles[-1]:.0f} degrees", views),
        ],
        options.target,
    )


if __name__ == "__main__":
    main()
