"""The torch operations against the numba ones. On the CPU in every run, on a GPU where there is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.fitting import solve
from model.fitting.torch_backend import DeviceTerm
from model.head.load import HeadModel
from model.photometric import torch_backend, torch_term, torch_view
from model.photometric.backend import NumbaBackend, backend_for
from model.photometric.config import PhotometricConfig
from model.photometric.operations import Backend, Subject
from model.photometric.refine import Landmarks, refine
from model.photometric.surface import make_surface
from model.photometric.term import PhotometricTerm
from model.photometric.torch_backend import TorchBackend
from model.photometric.torch_term import TorchTerm
from rsat_data.errors import ConfigError
from tests.model.photometric.conftest import CAMERA, Scene
from tests.model.photometric.test_kernels import smooth_pictures

CONFIG = PhotometricConfig(
    size=64, samples=500, texel_m=0.006, keyframes=3, rounds=2, window=6, overlap=2, iterations=2
)
SMALL = CAMERA.scaled(64, 64)
NUM = 5


@pytest.fixture(params=["torch", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    return name


@pytest.fixture(scope="module")
def subject(head: HeadModel, scene: Scene) -> Subject:
    return Subject(make_surface(head, CONFIG.samples, CONFIG.texel_m), scene.shape, scene.root, CONFIG)


@pytest.fixture(scope="module")
def numba(subject: Subject) -> Backend:
    return backend_for("cpu", subject)


@pytest.fixture
def torches(subject: Subject, device: str) -> TorchBackend:
    chosen = backend_for(device, subject)
    assert isinstance(chosen, TorchBackend)
    return chosen


@pytest.fixture(scope="module")
def codes(head: HeadModel, scene: Scene) -> np.ndarray:
    """(T, E + 15): as they are, with the eyes shut, turned to the side, half out of the picture, near its edge."""
    at = scene.codes[:NUM].copy()
    for side in ("Left", "Right"):
        at[1, head.expression_index(f"eyeBlink{side}")] = 1.0
    at[2, -5] = 0.8
    at[3, -3] += 0.09
    at[4, -2] -= 0.06
    return at


def load(backend: Backend, scene: Scene) -> Any:
    return backend.load(scene.frames[:NUM], scene.frames[:NUM, ..., 1], 64)


def host(images: Any) -> np.ndarray:
    return images.cpu().numpy() if isinstance(images, torch.Tensor) else images


@pytest.mark.parametrize("size", [32, 64, 50])
def test_pictures_are_the_same_bytes(numba: Backend, torches: Backend, scene: Scene, size: int) -> None:
    for matte in (None, scene.frames[:3, ..., 1]):
        slow, fast = (backend.load(scene.frames[:3], matte, size) for backend in (numba, torches))
        assert fast.dtype == torch.uint8 and np.array_equal(slow, host(fast))
        assert np.array_equal(numba.halve(slow), host(torches.halve(fast)))
    both = torches.join([fast[1:], fast[np.array([2, 0])]])
    assert np.array_equal(host(both), slow[[1, 2, 2, 0]])


def test_texture_light_and_exposure(
    numba: Backend, torches: TorchBackend, scene: Scene, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(torch_backend.FRAMES_AT_ONCE, torches.device, 2)
    monkeypatch.setattr(torch_view, "RASTERISER", "torch")
    wanted, skin = numba.describe(codes, load(numba, scene), SMALL, True)
    found, texels = torches.describe(codes, load(torches, scene), SMALL, True)
    assert skin is not None and texels is not None and 0.2 < wanted.known.mean() < 1
    assert np.array_equal(found.known, wanted.known) and np.array_equal(texels.known, skin.known)
    for name in ("albedo", "light", "gain"):
        ours, theirs = getattr(found, name), getattr(wanted, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(texels.albedo, skin.albedo, atol=1e-4)
    assert found.noise == pytest.approx(wanted.noise, rel=1e-4)
    assert torches.describe(codes, load(torches, scene), SMALL, False)[1] is None


def test_a_face_that_is_not_seen_is_told(numba: Backend, torches: Backend, scene: Scene, codes: np.ndarray) -> None:
    away = codes.copy()
    away[:, -1] = -1.0
    for backend in (numba, torches):
        with pytest.raises(ValueError, match="No point of the face is seen"):
            backend.describe(away, load(backend, scene), SMALL, False)


def test_gain_and_residual(numba: Backend, torches: Backend, scene: Scene, codes: np.ndarray) -> None:
    skin = numba.describe(codes, load(numba, scene), SMALL, True)[1]
    assert skin is not None
    skin = replace(skin, known=skin.known & (np.arange(len(skin.known)) % 7 != 0))
    for at in (codes, codes + np.r_[np.zeros(codes.shape[1] - 3), 1.0, 0, 0]):  # then out of the picture
        wanted, found = (backend.measure(at, load(backend, scene), SMALL, skin) for backend in (numba, torches))
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert not wanted[1].any() and (wanted[0] == 1).all()


@pytest.mark.parametrize("all_at_once", [True, False])
def test_term(
    numba: Backend, torches: Backend, scene: Scene, codes: np.ndarray, all_at_once: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if not all_at_once:
        monkeypatch.setattr(torch_term, "BYTES_AT_ONCE", {"cpu": 1, "cuda": 1})
    found = numba.describe(codes, load(numba, scene), SMALL, False)[0]
    slow = numba.term(codes, load(numba, scene), SMALL, found)
    fast = torches.term(codes, load(torches, scene), SMALL, found)
    assert isinstance(slow, PhotometricTerm) and isinstance(fast, TorchTerm) and isinstance(fast, DeviceTerm)
    np.testing.assert_allclose(host(fast.target), slow.target, atol=1e-5)
    np.testing.assert_allclose(host(fast.weight), slow.weight, atol=1e-5)
    assert fast.noise == slow.noise and 0.2 < (slow.weight > 0).mean() < 0.9
    # Waves instead of a face: slopes everywhere, in the matte too.
    waves = smooth_pictures(NUM, 64, 5)
    slow = replace(slow, image=waves)
    given: dict[str, Any] = {"image": waves, "weight": slow.weight, "target": slow.target}
    given = {name: torch.as_tensor(array, device=fast.image.device) for name, array in given.items()}
    fast = replace(fast, **given)
    moved = codes + 0.02 * np.random.default_rng(0).normal(size=codes.shape)
    moved[0, -1] = -1.0  # behind the camera
    moved[1, -3] += 3.0  # beyond the edge
    wanted, ours_all = slow(moved), fast(moved)
    assert [part.shape for part in ours_all] == [part.shape for part in wanted]
    assert [part.dtype for part in ours_all] == [part.dtype for part in wanted]
    np.testing.assert_allclose(ours_all[0], wanted[0], rtol=1e-5)
    for ours, theirs in zip(ours_all[1:], wanted[1:], strict=True):
        assert np.abs(theirs[2:]).max() > 0
        for frame in range(NUM):
            # A point within float32's reach of a pixel's border takes the slope on its other side.
            assert np.linalg.norm(ours[frame] - theirs[frame]) <= 1e-3 * np.linalg.norm(theirs[frame])


def test_the_whole_refinement_ends_at_the_same_codes(head: HeadModel, scene: Scene, device: str) -> None:
    num = 8
    fast = replace(scene.fast, **{
        name: getattr(scene.fast, name)[:num]
        for name in ("expression", "jaw", "neck", "eyes", "rotation", "translation", "valid", "reprojection_px",
                     "eye_distance_px")
    })  # fmt: skip
    valid = np.ones(num, bool)
    valid[4] = False
    marks = Landmarks(scene.landmarks.points[:num], valid)
    mattes = np.full(scene.frames.shape[:3], 255, np.uint8)
    mattes[:, :, :40] = 0
    wanted, found = (
        refine(
            head, fast, marks, lambda a, b: scene.frames[a:b], lambda a, b: mattes[a:b], CAMERA, config=CONFIG,
            device=name,
        )
        for name in ("cpu", device)
    )  # fmt: skip
    assert np.abs(wanted.codes.codes - scene.fast.codes[:num]).max() > 0.01, "something was refined"
    np.testing.assert_allclose(found.codes.codes, wanted.codes.codes, atol=1e-3)
    np.testing.assert_allclose(found.codes.translation, wanted.codes.translation, atol=1e-4)
    assert np.array_equal(found.codes.valid, wanted.codes.valid) and not found.codes.valid[4]
    for name in ("residual", "gain"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-3, err_msg=name)
    np.testing.assert_allclose(found.skin.albedo, wanted.skin.albedo, atol=5e-3)
    assert found.texture(64).shape == (64, 64, 3)


def test_devices_by_name(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(backend_for("cpu", subject), NumbaBackend)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert backend_for("auto", subject).solve is solve.solve_codes
    with pytest.raises(ConfigError, match="torch sees no CUDA GPU"):
        backend_for("cuda", subject)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, wanted in (("auto", "cuda"), ("cuda:1", "cuda:1"), ("torch", "cpu")):
        chosen: Any = backend_for(name, subject)
        assert chosen.device == wanted and chosen.solve.keywords == {"device": wanted}
