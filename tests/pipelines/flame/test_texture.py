from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.flame.sampling import sample
from pipelines.flame.texture import SIZE, Flat, Grid, make_grid, nod, unlike, warp
from pipelines.flame.validity import Reason, Seen, judge
from pipelines.ingest.encode import write_video
from tests.pipelines.flame.faces_factory import track

EVERYWHERE = (0.0, 0.0, 512.0, 512.0)


def face_of(flat: np.ndarray, landmarks: np.ndarray, grid: Grid) -> np.ndarray:
    """(512, 512) a picture whose flat face is ``flat``: the slow way round, texel by texel."""
    picture = np.full((512, 512), 90, np.uint8)
    places = (landmarks[grid.corners, :2] * grid.bary[..., None]).sum(axis=1)
    for (x, y), value in zip(places, flat.reshape(-1)[grid.texels], strict=True):
        cv2.circle(picture, (round(float(x)), round(float(y))), 3, int(value), -1)
    return picture


def pattern(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(SIZE, SIZE)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.clip(125 + 25 * smooth / smooth.std(), 30, 220).astype(np.uint8)


@pytest.fixture(scope="module")
def made() -> tuple[Seen, Grid, np.ndarray]:
    """A track, its grid and the flat faces of 60 frames: noise of the camera, light that comes and goes."""
    seen, _, _ = track(60)
    grid = make_grid(seen.landmarks, seen.matrix, seen.valid)
    assert grid is not None
    rng = np.random.default_rng(2)
    x = np.linspace(-1, 1, SIZE)
    faces = np.tile(pattern(1).astype(np.float64), (60, 1, 1))
    for t in range(60):
        faces[t] *= 1 + 0.25 * np.sin(t / 9) * x
    faces = (faces + rng.normal(0, 1.0, faces.shape)).clip(1, 255).astype(np.uint8).reshape(60, -1)
    out = np.zeros_like(faces)
    out[:, grid.texels] = faces[:, grid.texels]
    return seen, grid, out


def test_a_face_comes_back_flat() -> None:
    seen, _, _ = track(4)
    grid = make_grid(seen.landmarks, seen.matrix, seen.valid)
    assert grid is not None
    assert grid.inner.mean() > 0.4 and grid.regions["eyes"].any() and grid.regions["mouth"].any()
    flat = pattern(3)
    picture = face_of(flat, seen.landmarks[2], grid)
    half = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)
    found = warp(half, seen.landmarks[2], grid, EVERYWHERE).reshape(SIZE, SIZE)
    inner = grid.inner
    assert np.corrcoef(found[inner], flat[inner])[0, 1] > 0.95
    assert (found.reshape(-1)[np.setdiff1d(np.arange(SIZE**2), grid.texels)] == 0).all()
    cut = warp(half, seen.landmarks[2], grid, (256.0, 0.0, 512.0, 512.0)).reshape(SIZE, SIZE)
    assert (cut[:, : SIZE // 3] == 0).all() and (cut[inner][found[inner] == cut[inner]] > 0).any()


def test_what_covers_a_part_is_told_from_light(made: tuple[Seen, Grid, np.ndarray]) -> None:
    seen, grid, faces = made
    good = np.ones(60, bool)
    usual = unlike(Flat(faces, grid), seen.matrix, good)
    assert usual.share.max() < 0.02
    covered = faces.copy()
    low = grid.regions["mouth"].reshape(-1)
    covered[40:46, low] = (0.9 * pattern(9).reshape(-1)[low] + 10).astype(np.uint8)
    found = unlike(Flat(covered, grid), seen.matrix, good)
    assert found.share[40:46].min() > 0.1 and np.delete(found.share, range(40, 46)).max() < 0.02
    assert found.regions["mouth"][40:46].min() > 0.6 and found.regions["eyes"][40:46].max() < 0.3


def test_a_hand_of_the_same_colour_is_found_by_its_texture(made: tuple[Seen, Grid, np.ndarray]) -> None:
    seen, grid, faces = made
    _, fitted, colours = track(60)
    hand = faces.copy()
    rows = (np.arange(SIZE**2) // SIZE > SIZE // 2) & (faces[0] > 0)
    hand[20:30, rows] = pattern(5).reshape(-1)[rows]
    hand[50:52, rows] = pattern(5).reshape(-1)[rows]  # two frames: a flash
    assert judge(seen, fitted, colours, flat=Flat(faces, grid)).valid.all()
    judgement = judge(seen, fitted, colours, flat=Flat(hand, grid))
    assert (judgement.reason[20:30] == Reason.OCCLUDED).all()
    assert judgement.valid[:20].all() and judgement.valid[30:].all()
    assert judgement.measures["hidden_mouth"][20:30].min() > 0.5 and not judgement.measures["hidden_mouth"][:20].any()


def test_texture_is_read_with_the_colours(tmp_path: Path, made: tuple[Seen, Grid, np.ndarray]) -> None:
    seen, grid, faces = made
    pictures = [face_of(faces[t].reshape(SIZE, SIZE), seen.landmarks[t], grid) for t in range(3)]
    write_video(tmp_path / "A.mp4", iter([np.stack([p] * 3, axis=2) for p in pictures]), crf=12)
    colours, texture = sample(tmp_path / "A.mp4", seen.landmarks[:5], grid, EVERYWHERE)
    assert colours.shape == (5, 478, 3) and texture is not None and texture.shape == (5, SIZE**2)
    assert not texture[3:].any()  # frames that the file lacks
    inner = grid.inner.reshape(-1)
    for t in range(3):
        assert np.corrcoef(texture[t][inner], faces[t][inner])[0, 1] > 0.9


def test_nodding_is_measured_from_the_usual() -> None:
    seen, _, _ = track(30, yaw_deg=np.where(np.arange(30) < 20, 0.0, 25.0))
    angle = nod(seen.matrix, np.ones(30, bool))
    assert angle[:20].max() < 6 and abs(angle[20:].mean() - 25) < 4


def test_landmarks_that_span_no_face_give_no_grid() -> None:
    matrices = np.tile(np.eye(4), (3, 1, 1))
    assert make_grid(np.zeros((3, 478, 3)), matrices, np.ones(3, bool)) is None
