"""Sheets and videos of a real small dataset, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import rsat_data
from model.head import HeadModel
from rsat_data.cli import run
from rsat_data.preview import paint
from rsat_data.preview.panels import curves
from rsat_data.preview.scene import Scene
from rsat_data.preview.sheet import CELL, GAP, HEADER
from tests.rsat_data.preview.conftest import make_previewable

SIZE = 128


def ids(dataset: Path, video: bool = True) -> list[str]:
    rows = rsat_data.load(dataset, split=None)
    return [row["row_id"] for row in rows if (row["video"] is not None) == video]


@pytest.fixture(scope="module")
def made(previewable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    assert run(["preview", str(previewable), "--all", "--out", str(out), "--size", str(SIZE), "--quiet"]) == 0
    return out


def test_every_row_has_a_sheet_and_a_video_and_nothing_is_left_over(made: Path, previewable: Path) -> None:
    names = ids(previewable) + ids(previewable, video=False)
    assert sorted(path.name for path in made.iterdir()) == sorted(
        f"{name}.{kind}" for name in names for kind in ("png", "mp4")
    )


def test_the_video_shows_the_crop_beside_three_meshes_with_the_rows_sound(made: Path, previewable: Path) -> None:
    name = ids(previewable)[0]
    row = rsat_data.load(previewable, split=None).by_id(name)
    crops = row.frames()
    with av.open(str(made / f"{name}.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(made / f"{name}.mp4")) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(frames) == row["num_frames"] and frames[0].shape[1] == 4 * SIZE
    top = 32 + 8
    for number in (0, 5, 12):
        band = frames[number][top : top + SIZE - 16].astype(float)
        panels = [band[:, n * SIZE + 8 : (n + 1) * SIZE - 8] for n in range(4)]
        level = crops[number].mean()
        assert abs(panels[0].mean() - level) < 6 and panels[0].std() < 4, "the crop of the factory is plain grey"
        ground = np.array(paint.PANEL)
        covered = np.abs(panels[2] - ground).max(axis=-1) > 30
        assert 0.05 < covered.mean() < 0.9
        changed = np.abs(panels[1] - level).max(axis=-1) > 12
        assert (changed & covered).sum() > 0.5 * covered.sum() and (changed & ~covered).sum() < 0.1 * covered.sum()
    assert abs(len(sound) - row["num_frames"] * 640) < 3000
    assert 0.3 < sound[: 640 * 16].std() / row.audio().std() < 1.5


def test_invalid_frames_have_a_red_frame_in_the_video(made: Path, previewable: Path) -> None:
    with av.open(str(made / f"{ids(previewable)[0]}.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    redness = [(frame[50:120, 0:3, 0] - frame[50:120, 0:3, 1]).mean() for frame in frames]
    assert all((red > 60) == (7 <= number < 10) for number, red in enumerate(redness))


def test_the_sheet_marks_the_invalid_span_and_shows_the_crop(made: Path, previewable: Path) -> None:
    name = ids(previewable)[0]
    sheet = cv2.imread(str(made / f"{name}.png"))[..., ::-1].astype(int)
    first = sheet[HEADER + 30 : HEADER + CELL - 4, GAP + 4 : GAP + CELL - 4]
    crop = rsat_data.load(previewable, split=None).by_id(name).frames([0])[0]
    assert abs(first.mean() - crop.mean()) < 6
    red = (sheet[..., 0] > 200) & (sheet[..., 1] < 110) & (sheet[..., 2] < 110)
    assert red.sum() > 4 * 2 * CELL, "an invalid cell has a frame"


def test_a_row_without_video_is_drawn_and_said(
    previewable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = ids(previewable, video=False)
    assert run(["preview", str(previewable), "--row", name, "--out", str(tmp_path), "--size", "64"]) == 0
    done = capsys.readouterr()
    assert f"{name} has no video" in done.err
    assert done.out.split() == [str(tmp_path / f"{name}.png"), str(tmp_path / f"{name}.mp4")]


def test_json_and_a_prefix_and_the_default_folder(
    previewable: Path, open_head: HeadModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_previewable(tmp_path, open_head)
    name = ids(dataset)[0]
    prefix = next(name[4:end] for end in range(5, 30) if sum(n.startswith(name[:end]) for n in ids(dataset)) == 1)
    assert run(["preview", str(dataset), "--row", prefix, "--sheet-only", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["out"] == str(tmp_path / "out-preview")
    (row,) = result["rows"]
    assert row["row_id"] == name and row["video"] is None and Path(row["sheet"]).is_file()
    assert row["frames"][0] == {"frame": 0, "why": row["frames"][0]["why"]} and "first" in row["frames"][0]["why"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--row ID"),
        (["--all", "--sample", "2"], 2, "--row ID"),
        (["--all", "--size", "333"], 2, "--size"),
        (["--row", "row_zzz"], 1, "Nearest: row_"),
        (["--row", "row_"], 1, "beginning of 3 rows"),
        (["--all", "--head", "./nowhere.safetensors"], 1, "No head model"),
    ],
)
def test_wrong_usage_says_what_to_do(
    arguments: list[str], code: int, words: str, previewable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["preview", str(previewable), "--out", str(tmp_path), *arguments]) == code
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_codes_of_a_head_that_is_not_here_are_refused(
    open_head: HeadModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_previewable(tmp_path, open_head, head_model=f"{open_head.name}@0123456789ab")
    assert run(["preview", str(dataset), "--sample", "1", "--sheet-only"]) == 1
    assert "--head open" in capsys.readouterr().err
    assert run(["preview", str(dataset), "--sample", "1", "--sheet-only", "--head", "open"]) == 0


def test_codes_of_another_size_are_a_dataset_error(
    open_head: HeadModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_previewable(tmp_path, open_head, shape=np.zeros(7, np.float32))
    assert run(["preview", str(dataset), "--all", "--sheet-only"]) == 1
    assert "shape has 7 numbers" in capsys.readouterr().err


def test_the_gaze_ray_follows_the_eyes(previewable: Path, open_head: HeadModel) -> None:
    row = rsat_data.load(previewable, split=None)[0]
    scene = Scene(row, open_head)
    for name in ("rotation", "neck", "eyes"):
        scene.codes[name][:] = 0
    scene.codes["eyes"][1, [1, 4]] = 0.4  # about the head's y axis, which points down
    still, turned = next(scene.posed(64, range(2))).gaze
    sideways = (turned[:, 1] - turned[:, 0]) - (still[:, 1] - still[:, 0])
    assert (sideways[:, 0] < -1).all() and np.abs(sideways[:, 1]).max() < 1, "towards the picture's left"


def test_no_face_is_no_small_error(open_head: HeadModel, tmp_path: Path) -> None:
    """Rows hold 0 for the reprojection of frames in which no face was seen."""
    dataset = make_previewable(tmp_path, open_head)
    row = dict(rsat_data.load(dataset, split=None)[0])
    row["reprojection_px"] = np.where(row["valid"], 1.0, 0.0)
    known = Scene(row, open_head).tracks().reprojection_px  # type: ignore[arg-type]
    assert (np.isnan(known) == ~np.asarray(row["valid"])).all()


def test_curves_leave_gaps_where_nothing_is_known(previewable: Path, open_head: HeadModel) -> None:
    tracks = Scene(rsat_data.load(previewable, split=None)[0], open_head).tracks()
    tracks.reprojection_px[:] = np.nan
    picture, (left, right) = curves(tracks, 400, 100, 25.0, [0, 5])
    assert picture.shape == (100, 400, 3) and 0 < left < right <= 400
    orange = np.abs(picture[30:70, left:right].astype(int) - paint.REPROJECTION).max(axis=-1) < 10
    assert not orange.any()
