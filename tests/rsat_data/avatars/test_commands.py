"""Fit, render, export and rebuild with the real stage on a small painted dataset, through the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import rsat_data
from model.avatar.files import load_avatar, read_gaussians
from model.avatar.ply import read_table
from model.head import load_head
from rsat_data.avatars.drive import drive_of
from rsat_data.avatars.find import find_avatar
from rsat_data.avatars.jobs import find_places
from rsat_data.avatars.scene import row_shot, torso_of_row
from rsat_data.cli import run
from rsat_data.validate import validate
from tests.avatar_factory import SIDE, make_avatar_dataset
from tests.rsat_data.test_writer import tree

OPTIONS = ("--size", "64", "--budget", "1h", "--workers", "1", "--quiet")
STEPS = ("--set", "avatar.max_steps=10", "--set", "avatar.max_gaussians=12000")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_avatar_dataset(tmp_path_factory.mktemp("avatars"))


@pytest.fixture(scope="module")
def fitted(plain: Path) -> Path:
    """The dataset with an avatar of ann, killed once on the way."""
    arguments = [sys.executable, "-m", "rsat_data", "avatar", "fit", str(plain), "--subject", "ann", *OPTIONS, *STEPS]
    process = subprocess.Popen([*arguments, "--set", "avatar.checkpoint_s=0.01"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(plain.glob(".work/state/avatar/ann-*/fit.safetensors")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    again = ["--subject", "ann", *OPTIONS, *STEPS, "--set", "avatar.checkpoint_s=0.01"]
    assert run(["avatar", "fit", str(plain), *again]) == 0
    return plain


def test_a_killed_fit_ends_with_an_avatar_and_its_columns(fitted: Path) -> None:
    rows = list(rsat_data.load(fitted, None))
    for row in rows:
        have = row["subject_id"] == "ann"
        assert (row["avatar_id"] is not None) == have
        assert (row["avatar_psnr"] is not None and 5 < row["avatar_psnr"] < 60) == have
    record = json.loads((fitted / "avatars/ann/avatar.json").read_text())
    assert set(record["rows"]) == {row["row_id"] for row in rows if row["subject_id"] == "ann"}
    assert set(record["metrics"]) >= {"avatar", "mean", "nearest", "mesh"}
    for figure in ("psnr_foreground", "psnr_whole", "psnr_mouth", "psnr_eyes"):
        assert np.isfinite(record["metrics"]["avatar"][figure])
    assert set(record["floors"]) == {"mean", "nearest", "mesh"} and record["matte"] == "given"
    for name, floor in record["floors"].items():
        assert floor["above"] == (record["metrics"]["avatar"]["psnr_foreground"] > floor["psnr"])
        assert floor["psnr"] == record["metrics"][name]["psnr_foreground"]
    assert record["config"]["max_steps"] == 10 and record["steps"] == 10
    assert record["head"] == load_head().id and record["versions"]["torch"]
    # The end of ann's time: of her second row, and nothing of its beginning.
    ((held, (first, last)),) = record["held_out"].items()
    assert last == 19 and first > 0 and held in record["rows"]
    picture = cv2.imread(str(fitted / "avatars/ann/preview.png"))
    assert picture is not None and picture.shape[1] > 1000 and picture.std() > 10
    assert validate(fitted).ok and not list(fitted.glob(".work/state/avatar/*"))


def test_a_subject_without_mattes_gets_an_avatar_that_says_so(
    fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [*OPTIONS, "--set", "avatar.max_steps=3", "--set", "avatar.max_gaussians=12000"]
    assert run(["avatar", "fit", str(fitted), "--subject", "bare", *quick]) == 0
    said = capsys.readouterr()
    record = json.loads((fitted / "avatars/bare/avatar.json").read_text())
    assert record["matte"] == "mesh" and "no matte: judged inside of the mesh's outline" in said.out
    # After three steps it may be below a floor; then it says so, and only then.
    below = not all(floor["above"] for floor in record["floors"].values())
    assert ("NOT above" in said.out) == below == ("not above all floors" in said.err)


def frames_of(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        return frames, len(container.streams.audio)


def row_id(out: Path, subject: str) -> str:
    return next(str(row["row_id"]) for row in rsat_data.load(out, None) if row["subject_id"] == subject)


def render(out: Path, target: Path, *options: str) -> int:
    return run(["avatar", "render", str(out), "--out", str(target), "--size", "64", "--quiet", *options])


def test_a_video_shows_the_person_with_the_rows_sound(fitted: Path, tmp_path: Path) -> None:
    row = next(row for row in rsat_data.load(fitted, None) if row["row_id"] == row_id(fitted, "ann"))
    assert render(fitted, tmp_path / "x.mp4", "--subject", "ann", "--row", row["row_id"]) == 0
    frames, sounds = frames_of(tmp_path / "x.mp4")
    assert frames.shape == (row["num_frames"], SIDE, SIDE, 3) and sounds == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.mp4"]
    # The head is where it is in the row's own pictures, and white where it is not.
    inside = row.matte([12])[0] > 127
    drawn = frames[12].astype(int).min(-1) < 230
    assert (inside & drawn).sum() > 0.8 * inside.sum() and (frames[12][:4] > 240).all()


def test_shoulders_are_where_the_rows_pictures_have_them(fitted: Path) -> None:
    data = rsat_data.load(fitted, None)
    row = data.by_id(row_id(fitted, "ann"))
    found = find_avatar(data, "ann", None)
    drive = drive_of(row, found.avatar.head, found.head.num_expression)
    torso = torso_of_row(found, row, drive, 1)
    assert torso is not None and torso.shape == (len(drive), 6) and np.isfinite(torso).all()
    moved = {**row_shot(found, drive).codes, "torso": 50 * np.ones_like(torso)}
    still, seen = row_shot(found, drive), row_shot(found, drive, torso=torso)
    assert "torso" not in still.codes and np.array_equal(seen.codes["torso"].numpy(), torso)
    place = find_places("cpu", 1, 1)
    first, other = (next(shot.pictures(64, (1.0, 1.0, 1.0), place))[0] for shot in (still, replace(still, codes=moved)))
    assert np.abs(first.astype(int) - other).max() > 20


def test_another_ones_codes_move_it_and_pictures_have_alpha(fitted: Path, tmp_path: Path) -> None:
    other = row_id(fitted, "ben")
    assert render(fitted, tmp_path / "pngs", "--subject", "ann", "--row", other, "--alpha") == 0
    names = sorted(path.name for path in (tmp_path / "pngs").iterdir())
    count = next(int(r["num_frames"]) for r in rsat_data.load(fitted, None) if r["row_id"] == other)
    assert names == [f"{i:06d}.png" for i in range(count)]
    picture = cv2.imread(str(tmp_path / "pngs/000003.png"), cv2.IMREAD_UNCHANGED)
    assert picture is not None and picture.shape == (SIDE, SIDE, 4)
    assert picture[0, 0, 3] == 0 and picture[..., 3].max() > 200


def test_a_turntable_swings_and_comes_back(fitted: Path, tmp_path: Path) -> None:
    assert render(fitted, tmp_path / "t.mp4", "--subject", "ann", "--turntable", "--background", "#000000") == 0
    frames, sounds = frames_of(tmp_path / "t.mp4")
    assert len(frames) == 100 and sounds == 0
    turned = np.abs(frames[25].astype(int) - frames[0]).mean()
    assert turned > 2 * np.abs(frames[-1].astype(int) - frames[0]).mean() > 0


def test_a_turntable_stays_near_what_training_saw_unless_asked(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    low, high = json.loads((fitted / "avatars/ann/avatar.json").read_text())["seen"]["yaw_deg"]
    assert -15 < low < high < 15  # ann nods a little
    said = {}
    for options in (["--turntable"], ["--full-turn"]):
        assert render(fitted, tmp_path / "t.mp4", "--subject", "ann", "--json", *options) == 0
        said[options[0]] = json.loads(capsys.readouterr().out)["camera_yaw_deg"]
    row = row_id(fitted, "ben")  # the camera swings while ann talks as ben does
    assert render(fitted, tmp_path / "r.mp4", "--subject", "ann", "--turntable", "--row", row) == 0
    assert "near what training saw" in capsys.readouterr().out
    assert said == {"--turntable": pytest.approx([low - 15, high + 15], abs=0.11), "--full-turn": [-180, 180]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--subject", "anna", "--turntable"], "No subject of"),
        (["--subject", "few", "--turntable"], "rsat-data avatar fit"),
        (["--subject", "ann"], "--turntable"),
        (["--turntable"], "--subject ID, or --avatar FOLDER"),
        (["--subject", "ann", "--avatar", "x", "--turntable"], "--subject ID, or --avatar FOLDER"),
        (["--subject", "ann", "--row", "zz"], "Nearest:"),
        (["--subject", "ann", "--turntable", "--alpha"], "no alpha channel"),
        (["--subject", "ann", "--turntable", "--background", "pinkish"], "is no colour"),
        (["--subject", "ann", "--turntable", "--size", "63"], "even number"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    options: list[str], words: str, fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["avatar", "render", str(fitted), "--out", str(tmp_path / "x.mp4"), *options]) in (1, 2)
    assert words in capsys.readouterr().err and not (tmp_path / "x.mp4").exists()


def test_codes_of_another_head_are_refused(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "other"
    shutil.copytree(fitted / "avatars/ann", folder)
    record = json.loads((folder / "avatar.json").read_text())
    (folder / "avatar.json").write_text(json.dumps(record | {"head": "open-head-9.9@000000000000"}))
    arguments = ["--avatar", str(folder), "--row", row_id(fitted, "ann")]
    assert render(fitted, tmp_path / "x.mp4", *arguments) == 1
    assert "open-head-9.9@000000000000" in capsys.readouterr().err


def test_exports_are_read_back(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, bare = str(fitted / "avatars/ann"), tmp_path / "bare.ply"
    assert run(["avatar", "export", "--avatar", folder, "--format", "static", "--out", str(bare)]) == 0
    assert bare.stat().st_size > 100_000  # no dataset was named
    assert run(["avatar", "export", folder, "--format", "static", "--out", str(bare)]) == 2
    assert f"Say --avatar {folder}" in capsys.readouterr().err
    export = ["avatar", "export", str(fitted), "--subject", "ann", "--out"]
    assert run([*export, str(tmp_path / "ga")]) == 0
    avatar = load_avatar(fitted / "avatars/ann")
    theirs = read_gaussians(tmp_path / "ga/point_cloud.ply")
    assert theirs.degree == 3 and np.array_equal(theirs.face, avatar.gaussians.face)
    row = row_id(fitted, "ann")
    assert run([*export, str(tmp_path / "s.ply"), "--format", "static", "--row", row, "--frame", "-1"]) == 0
    table: Any = read_table(tmp_path / "s.ply", ("x", "y", "z"))
    assert len(table["z"]) == len(avatar.gaussians) and 0.5 < np.median(table["z"]) < 1.0
    assert run([*export, str(tmp_path / "x.ply")]) == 2
    assert run([*export, str(tmp_path / "x.ply"), "--format", "static", "--row", row, "--frame", "99"]) == 2


def test_a_further_fit_finds_everything_done(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(fitted / "data") | tree(fitted / "avatars")
    again = ["--set", "avatar.checkpoint_s=0.01", "--json"]
    assert run(["avatar", "fit", str(fitted), "--subject", "ann", *OPTIONS, *STEPS, *again]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [avatar["fitted"] for avatar in said["avatars"]] == [False]
    assert tree(fitted / "data") | tree(fitted / "avatars") == before
