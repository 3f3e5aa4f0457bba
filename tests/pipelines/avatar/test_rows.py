from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rsat_data
from model.avatar.config import AvatarConfig
from model.avatar.footage import Footage, Video
from model.avatar.silhouette import with_silhouettes
from model.head import load_head
from pipelines.avatar import rows as rows_module
from pipelines.avatar.judge import spread
from pipelines.avatar.rows import Material, collect
from pipelines.avatar.run import check_frames, held_out
from pipelines.avatar.warm import beginning, warm_up
from rsat_data.avatars.drive import close_gaps, drive_of
from rsat_data.errors import DatasetError, HeadMismatch, SkippedSubject
from rsat_data.reader import Row
from tests.avatar_factory import make_avatar_dataset


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_avatar_dataset(tmp_path_factory.mktemp("rows"))


def rows_of(out: Path, subject: str) -> list[Row]:
    return sorted((r for r in rsat_data.load(out, None) if r["subject_id"] == subject), key=lambda r: r["start_s"])


def material(out: Path, subject: str) -> Material:
    return collect(out, [row["row_id"] for row in rows_of(out, subject)], subject)


def test_footage_is_what_the_rows_hold(out: Path) -> None:
    found, rows = material(out, "ann"), rows_of(out, "ann")
    assert [f.row_id for f in found.footage] == [row["row_id"] for row in rows] and found.left_out == ()
    for footage, row in zip(found.footage, rows, strict=True):
        assert np.array_equal(footage.codes["jaw"], row["jaw"]) and np.array_equal(footage.valid, row["valid"])
        assert np.array_equal(footage.frames(3, 9), row.frames(range(3, 9)))
        assert footage.mattes is not None
        assert np.abs(footage.mattes(3, 9).astype(int) - row.matte(range(3, 9))).max() <= 2
        assert np.array_equal(footage.frames(0, 4), row.frames(range(4)))  # back again


def test_few_videos_are_open_at_a_time(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_OPEN", 1)
    made: list[str] = []
    plain = Video.__init__

    def counted(self: Video, *arguments: object, **options: object) -> None:
        made.append(str(arguments[2]))
        plain(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Video, "__init__", counted)
    first, second = material(out, "ann").footage
    assert first.mattes is not None
    assert np.array_equal(first.frames(0, 5)[2], rows_of(out, "ann")[0].frames([2])[0])
    first.mattes(0, 5), second.frames(0, 5), first.frames(5, 10)
    assert len(made) == 4  # each time the one before was let go
    second.frames(0, len(second)), second.frames(0, 5)
    assert len(made) == 6  # a video that was read to its end is let go, too


def test_rows_without_a_matte_take_the_outline_of_the_mesh(out: Path) -> None:
    bare = material(out, "bare").footage
    assert [row.mattes for row in bare] == [None]
    head = load_head()
    outlined = with_silhouettes(head, bare[0])
    assert outlined.matte == "mesh" and outlined.mattes is not None and with_silhouettes(head, outlined) is outlined
    # The factory's people are their mesh: its outline is about their matte.
    (row,), whole = rows_of(out, "bare"), outlined.mattes(0, 20)
    painted = np.abs(row.frames(range(20)).astype(int) - 102).max(-1) > 12
    assert whole.shape == painted.shape and not whole[5].any() and whole[4].any()  # 5 and 6 are not valid
    inside = whole[8] > 127
    assert (inside & painted[8]).sum() > 0.9 * inside.sum() and (inside & painted[8]).sum() > 0.7 * painted[8].sum()
    assert np.array_equal(outlined.mattes(7, 9), whole[7:9])


def test_rows_with_and_without_mattes_are_not_mixed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (row["row_id"] for row in rows_of(out, "ann"))
    plain = rows_module.footage_of

    def one_bare(row: Row, shelf: rows_module.Shelf) -> Footage:
        footage = plain(row, shelf)
        return replace(footage, mattes=None) if row["row_id"] == first else footage

    monkeypatch.setattr(rows_module, "footage_of", one_bare)
    found = material(out, "ann")
    assert [row.row_id for row in found.footage] == [second]
    assert found.left_out == ((first, "no matte, and other rows have one"),)


def test_twelve_frames_are_a_skip(out: Path) -> None:
    with pytest.raises(SkippedSubject, match="few: Too few frames for an avatar: 5 are valid"):
        check_frames(material(out, "few"), AvatarConfig(), "few")


def test_the_end_of_the_time_is_held_out(out: Path) -> None:
    found = material(out, "ann")
    spans = held_out(found, check_frames(found, AvatarConfig(), "ann"))
    ((row, (first, last)),) = spans.items()
    assert row == found.footage[1].row_id and 0 < first < last == len(found.footage[1]) - 1


def test_gaps_are_closed_between_neighbours_and_held_at_the_ends() -> None:
    values = np.array([[9.0], [1.0], [9.0], [9.0], [4.0], [9.0]], np.float32)
    usable = np.array([False, True, False, False, True, False])
    assert close_gaps(values, usable)[:, 0].tolist() == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    assert close_gaps(values, np.ones(6, bool)) is values


def test_a_drive_is_finite_and_of_the_avatars_head(out: Path) -> None:
    row = rows_of(out, "ann")[0]
    drive = drive_of(row, row["head_model"], row["expression"].shape[1])
    assert len(drive) == 30 and drive.usable.sum() == 28
    assert all(np.isfinite(values).all() and len(values) == 30 for values in drive.codes.values())
    with pytest.raises(HeadMismatch, match="the avatar rides on other-head"):
        drive_of(row, "other-head", 3)
    with pytest.raises(DatasetError, match="3"):
        drive_of(row, row["head_model"], 3)


def test_spread_takes_all_of_few_and_some_of_many() -> None:
    assert spread(np.array([4, 7]), 5) == [4, 7]
    assert spread(np.arange(100), 4) == [12, 37, 62, 87]
    assert spread(np.zeros(0, int), 4) == []


def test_kernels_are_warmed_up_on_the_beginning_of_a_row(out: Path) -> None:
    footage = material(out, "ann").footage
    short = beginning(footage[0])
    assert short is not None and int(short.usable().sum()) == 16 and len(short) == 18
    assert all(len(values) == 18 for values in short.codes.values())
    assert beginning(material(out, "few").footage[0]) is None
    head = load_head()
    assert warm_up(head, footage, AvatarConfig(), 1)
    assert not warm_up(head, material(out, "few").footage, AvatarConfig(), 1)
