"""The figures of an avatar on its subject's time held out, and the floors it has to beat.

Held-out frames are drawn with their codes as tracked and nothing of their pictures. Truth, avatar and floors are all
composited on black with the truth's matte, and judged on the foreground (matte above one half), on the head (foreground
without what is nearer to the shoulders, whose own motion no code knows), on the whole picture, and around mouth and
eyes. ST-LPIPS is told for the foreground where its weights lie on this machine. Figures are means over frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model.avatar.footage import Footage, Frame, pictures
from model.avatar.posing import Torso, pose_on_torso
from model.avatar.torso import shoulders
from model.avatar.track import Track, make_track
from model.camera import project
from model.head import HeadModel
from model.metrics.floors import VertexColours, draw_vertex_colours, mean_picture, nearest_frames
from model.metrics.image import mean_over_frames, psnr, ssim
from model.metrics.perceptual import MIN_SIDE, StLpips, st_lpips
from model.metrics.regions import region_masks
from model.raster import rasterize

TEST_FRAMES = 300
"""Held-out frames that are drawn at most, evenly spread."""
COLOUR_FRAMES = 64
"""Training frames the floors' vertex colours are solved from."""
MEAN_FRAMES = 200
"""Training frames the mean picture is made from."""
PERCEPTUAL_FRAMES = 24
"""Of the frames judged, those that ST-LPIPS is worked out for: a pair takes it a quarter of a second of one core."""
FLOORS = ("mean", "nearest", "mesh")


@dataclass(frozen=True)
class Bench:
    """What floors and avatar are judged with."""

    head: HeadModel
    rest: tuple[Tensor, Tensor]
    """Vertices (1, V, 3) and joints (1, J, 3) of the identity."""
    train: Track
    read: Callable[[int], np.ndarray]
    """Picture (S, S, 4) uint8 of a training frame."""
    size: int
    """S, pixels."""


def composite(picture: np.ndarray) -> tuple[Tensor, Tensor]:
    """Picture (S, S, 4) uint8 on black, (S, S, 3) in [0, 1], and its foreground (S, S) bool."""
    image = torch.from_numpy(picture.astype(np.float32) / 255)
    return image[..., :3] * image[..., 3:], image[..., 3] > 0.5


def features(bench: Bench, track: Track) -> Tensor:
    """(M, K, 2) projected points of each frame, pixels: landmarks, or every twentieth vertex without them."""
    parts = []
    for index in range(len(track)):
        vertices = tracked_vertices(bench, track, index)
        points = (
            bench.head.landmark_points(vertices)[0] if bench.head.landmarks is not None else vertices[0, ::20]
        )  # fmt: skip
        parts.append(project(points, track.camera(index, bench.size)))
    return torch.stack(parts)


def tracked_vertices(bench: Bench, track: Track, index: int) -> Tensor:
    """(1, V, 3) of the tracked head, shoulders turning with it, camera frame."""
    with torch.no_grad():
        return pose_on_torso(bench.head, bench.rest, track.at(index), None)


def vertex_colours(bench: Bench) -> Tensor:
    """(V, 3) of the mesh on a still torso."""
    solver = VertexColours(bench.head.faces, bench.head.num_vertices)
    for index in _some(len(bench.train), COLOUR_FRAMES):
        picture, shown = composite(bench.read(index))
        vertices = _on_still_torso(bench, bench.train, index)
        fragments = rasterize(vertices, bench.head.faces, bench.train.camera(index, bench.size))
        solver.add(fragments, picture[None], shown[None])
    return solver.solve()


def _on_still_torso(bench: Bench, track: Track, index: int) -> Tensor:
    """The mesh that the avatar itself starts from: a floor should not lose by its shoulders alone."""
    codes = track.at(index)
    body = Torso.still().pose(codes, track.rest[index : index + 1])
    with torch.no_grad():
        return pose_on_torso(bench.head, bench.rest, codes, body)


def _some(count: int, most: int) -> list[int]:
    return list(range(count)) if count <= most else [int((i + 0.5) / most * count) for i in range(most)]


def evaluate(
    bench: Bench,
    footage: Sequence[Footage],
    test: Sequence[Frame],
    show: Callable[[Track, int], Tensor],
    *,
    floors: bool = True,
    still: bool = True,
    perceptual: StLpips | None = None,
    threads: int = 1,
) -> dict[str, dict[str, float]]:
    """Figures of an avatar and of the floors.

    Args:
        bench: training side, tensors on the CPU.
        footage: rows of the subject.
        test: frames held out; at most ``TEST_FRAMES`` of them are used.
        show: a track of held-out frames and an index -> the avatar's picture (S, S, 3) on black, on the CPU.
        floors: judge the floors too.
        still: judge the avatar with a torso that was not tracked too.
        perceptual: weights of ST-LPIPS; None leaves it out. It needs pictures of at least 32 x 32.
        threads: for decoding.

    Returns:
        Method ("avatar"; "avatar_still", the same with a torso that was not tracked; the floors "mean", "nearest",
        "mesh") -> figure: psnr and ssim with the suffixes _foreground, _head, _whole, _mouth and _eyes;
        st_lpips_foreground with ``perceptual``; frames. A figure that no frame has is NaN.
    """
    chosen = [test[i] for i in _some(len(test), TEST_FRAMES)]
    track = make_track(footage, chosen)
    methods: dict[str, Callable[[int], Tensor]] = {"avatar": lambda index: show(track, index)}
    if still and "torso" in track.codes:
        blind = replace(track, codes={name: value for name, value in track.codes.items() if name != "torso"})
        methods["avatar_still"] = lambda index: show(blind, index)
    if floors:
        mean = mean_picture(composite(bench.read(i))[0] for i in _some(len(bench.train), MEAN_FRAMES))
        nearest = nearest_frames(features(bench, bench.train), features(bench, track))
        colours = vertex_colours(bench)

        def mesh(index: int) -> Tensor:
            vertices = _on_still_torso(bench, track, index)
            fragments = rasterize(vertices, bench.head.faces, track.camera(index, bench.size))
            return draw_vertex_colours(fragments, bench.head.faces, colours, torch.zeros(3))[0]

        methods |= {
            "mean": lambda index: mean, "nearest": lambda index: composite(bench.read(int(nearest[index])))[0],
            "mesh": mesh,
        }  # fmt: skip
    found: dict[str, dict[str, list[Tensor]]] = {name: {} for name in methods}
    looked_at = set(_some(len(chosen), PERCEPTUAL_FRAMES)) if bench.size >= MIN_SIDE else set()
    for index, truth, masks in _truths(bench, footage, chosen, track, threads):
        for name, method in methods.items():
            picture = method(index)[None]
            for region, mask in masks.items():
                found[name].setdefault(f"psnr_{region}", []).append(psnr(picture, truth[None], mask))
                found[name].setdefault(f"ssim_{region}", []).append(ssim(picture, truth[None], mask))
            if perceptual is not None and index in looked_at:
                with torch.no_grad():
                    distance = st_lpips(picture, truth[None], masks["foreground"], perceptual)
                found[name].setdefault("st_lpips_foreground", []).append(distance)
    return {
        name: {figure: mean_over_frames(torch.cat(values)) for figure, values in figures.items()}
        | {"frames": float(len(chosen))}
        for name, figures in found.items()
    }


def _truths(
    bench: Bench, footage: Sequence[Footage], frames: Sequence[Frame], track: Track, threads: int
) -> Iterator[tuple[int, Tensor, dict[str, Tensor | None]]]:
    """Index, composited truth (S, S, 3) and masks (1, S, S) of each frame held out."""
    for index, picture in pictures(footage, frames, bench.size, threads):
        truth, shown = composite(picture)
        body = torch.from_numpy(shoulders(bench.head, bench.rest, footage[frames[index].row], frames[index], picture))
        masks: dict[str, Tensor | None] = {
            "foreground": shown[None], "head": (shown & ~body)[None], "whole": None
        }  # fmt: skip
        if bench.head.landmarks is not None:
            points = bench.head.landmark_points(tracked_vertices(bench, track, index))
            flat = project(points, track.camera(index, bench.size))
            masks |= {name: mask & shown for name, mask in region_masks(flat, bench.size, bench.size).items()}
        yield index, truth, masks
