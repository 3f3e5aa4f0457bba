"""Small heads under FLAME's names, and sequences in other tools' layouts written here by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile

from rsat_data.cli import run
from rsat_data.reader import Row, load
from tests.flame_factory import MadeFlame, make_codes, make_flame

WIDTH, HEIGHT, FRAMES = 64, 48, 12
CODES = ("expression", "jaw", "neck", "eyes", "rotation", "translation")


@pytest.fixture(scope="session")
def _heads_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(("flame2020", "flame2023")):
        make_flame(seed).write(home / "heads" / f"{name}.safetensors", name)
    return home


@pytest.fixture
def heads(_heads_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, MadeFlame]:
    """Small heads imported as flame2020 and flame2023."""
    monkeypatch.setenv("RSAT_DATA_HOME", str(_heads_folder))
    return {"flame2020": make_flame(0), "flame2023": make_flame(1)}


@pytest.fixture
def no_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No head but the open one."""
    monkeypatch.setenv("RSAT_DATA_HOME", str(tmp_path / "no-home"))


@pytest.fixture
def importing(tmp_path: Path) -> Callable[..., list[Row]]:
    """Import with the command, and read the rows."""

    def go(*words: object, name: str = "out", code: int = 0) -> list[Row]:
        out = tmp_path / name
        assert run(["import", *map(str, words), "--out", str(out), "--quiet"]) == code
        assert run(["validate", str(out)]) == 0
        return list(load(out, None))

    return go


def wav(path: Path, frames: int, seed: int = 0) -> Path:
    """Noise bursts that last as long as so many frames at 25 a second."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(np.arange(frames) % 12 >= 6, 640)
    sound = np.where(loud, rng.normal(0, 0.1, frames * 640), 0.0)
    soundfile.write(path, sound.astype(np.float32), 16_000)
    return path


def vhap_arrays(codes: dict[str, np.ndarray], span: slice) -> dict[str, np.ndarray]:
    """VHAP's names of codes, without shape."""
    names = {"neck": "neck_pose", "jaw": "jaw_pose", "eyes": "eyes_pose", "expression": "expr"}
    return {names.get(name, name): codes[name][span] for name in CODES}


def vhap_folder(folder: Path, *, frames: int = FRAMES, seed: int = 0, c2w: np.ndarray | None = None) -> dict[str, Any]:
    """A VHAP sequence as its exporter would write it; returns codes, cameras (T, 4, 4) and the index."""
    codes = make_codes(frames, seed)
    mean = codes["translation"].astype(np.float64).mean(0)
    codes["translation"] = (codes["translation"] - mean).astype(np.float32)
    if c2w is None:
        c2w = np.eye(4)
        c2w[:3, 3] = np.array([0, 0, 1]) - mean
    poses = np.broadcast_to(c2w, (frames, 4, 4))
    for name in ("images", "fg_masks", "flame_param"):
        (folder / name).mkdir(parents=True)
    focal = 1.5 * WIDTH
    camera = {
        "cx": WIDTH / 2, "cy": HEIGHT / 2, "fl_x": focal, "fl_y": focal, "h": HEIGHT, "w": WIDTH,
        "camera_angle_x": 2 * math.atan(WIDTH / 2 / focal), "camera_angle_y": 2 * math.atan(HEIGHT / 2 / focal),
    }  # fmt: skip
    listed = []
    for step in range(frames):
        picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        picture[10:30, 10 + step : 30 + step] = (200, 120, 60)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[10:30, 10 + step : 30 + step] = 255
        cv2.imwrite(str(folder / f"images/{step:05d}_00.png"), picture[..., ::-1])
        cv2.imwrite(str(folder / f"fg_masks/{step:05d}_00.png"), mask)
        arrays = vhap_arrays(codes, slice(step, step + 1))
        np.savez(folder / f"flame_param/{step:05d}.npz", shape=codes["shape"], **arrays)
        listed.append({
            "timestep_index": step, "timestep_index_original": step, "timestep_id": f"{step:05d}", "camera_index": 0,
            "camera_id": "0", **camera, "transform_matrix": poses[step].tolist(),
            "file_path": f"images/{step:05d}_00.png", "fg_mask_path": f"fg_masks/{step:05d}_00.png",
            "flame_param_path": f"flame_param/{step:05d}.npz",
        })  # fmt: skip
    index = {"frames": listed, **camera, "timestep_indices": list(range(frames)), "camera_indices": [0]}
    (folder / "transforms.json").write_text(json.dumps(index))
    return {"codes": codes, "c2w": poses, "index": index}


def difference(one: Any, other: Any) -> dict[str, float]:
    """Greatest difference of every code."""
    return {name: float(np.abs(one[name] - other[name]).max()) for name in ("shape", *CODES)}
