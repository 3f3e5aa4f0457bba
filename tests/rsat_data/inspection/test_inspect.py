"""One clip in time: the numbers are those of the dataset, the picture shows them, what is missing is said."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import schemas
from rsat_data.cli.inspect import inspect
from rsat_data.errors import DatasetError, UsageError
from rsat_data.inspection.timeline import as_json, envelope, read_timeline
from schemas.version import VERSION_KEY
from tests.dataset_factory import ClipSpec, make_dataset
from tests.rsat_data.test_reader import change_manifest

SPECS = (
    ClipSpec("src0", "anna", "ben", frames=75),
    ClipSpec("src1", "eve", frames=50, seed=4),
    ClipSpec("src2", "carl", "dora", frames=60, seed=7),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose first clip still has what the speech stage left."""
    out, _ = make_dataset(tmp_path_factory.mktemp("inspected"), SPECS)
    folder = out / ".work" / "units" / "speech" / "ab" / "abc"
    folder.mkdir(parents=True)
    (folder / "done.json").write_text(json.dumps({"unit": {"clip_id": SPECS[0].clip_id}}))
    tracks = {f"{name}_{p}": np.linspace(-2, 2, 75) for name in ("lips_log_odds", "asd") for p in "AB"}
    np.savez(folder / "speech.npz", **tracks, posterior_A=np.linspace(0, 1, 75), posterior_B=np.linspace(1, 0, 75))
    return out


def test_the_numbers_are_those_of_the_dataset(dataset: Path) -> None:
    found = read_timeline(dataset, SPECS[0].clip_id)
    assert [person.letter for person in found.persons] == ["A", "B"] and found.seconds == 3.0
    assert set(found.persons[0].witnesses) == {"posterior", "lips", "asd"} and not found.missing
    assert len(found.envelope) == 300 and (found.envelope[:, 0] <= found.envelope[:, 1]).all()
    record = json.loads(json.dumps(as_json(found)))
    assert len(record["persons"]["B"]["jaw_deg"]) == 75
    assert record["persons"]["A"]["scores"]["q_speaker"] == 0.8125
    assert {one["kind"] for one in record["turn_taking"]} <= {
        "first", "hold", "change", "interruption", "attempt", "backchannel",
    }  # fmt: skip
    invalid = np.isnan(found.persons[0].jaw_deg)
    assert np.array_equal(invalid, ~found.persons[0].valid)


def test_letters_of_the_recording_are_not_those_of_the_stage(tmp_path: Path) -> None:
    spec = ClipSpec("src0", "anna", "ben", frames=75, unseen="A")
    out, _ = make_dataset(tmp_path, [spec])
    folder = out / ".work" / "units" / "speech" / "ab" / "abc"
    folder.mkdir(parents=True)
    (folder / "done.json").write_text(json.dumps({"unit": {"clip_id": spec.clip_id}}))
    seen, hidden = np.linspace(0, 1, 75), np.linspace(1, 0, 75)
    np.savez(folder / "speech.npz", posterior_A=seen, lips_log_odds_A=seen, hidden=hidden)
    anna, ben = read_timeline(out, spec.clip_id).persons
    assert set(anna.witnesses) == {"posterior"}
    np.testing.assert_array_equal(anna.witnesses["posterior"], hidden)
    assert set(ben.witnesses) == {"posterior", "lips"}
    np.testing.assert_array_equal(ben.witnesses["posterior"], seen)


def test_clips_by_number_and_beginning(dataset: Path) -> None:
    names = {read_timeline(dataset, str(number)).clip_id for number in range(3)}
    assert names == {spec.clip_id for spec in SPECS}
    assert read_timeline(dataset, "src1").clip_id == SPECS[1].clip_id
    with pytest.raises(DatasetError, match="No clip"):
        read_timeline(dataset, "9")


def test_what_is_missing_is_said(dataset: Path) -> None:
    alone = read_timeline(dataset, "src1")
    assert "no speech of this clip" in alone.missing and not alone.persons[0].witnesses
    assert len(alone.persons) == 1 and alone.turn_taking == ()


def test_datasets_older_than_the_columns_are_shown(tmp_path: Path) -> None:
    out, _ = make_dataset(tmp_path, SPECS[:1])
    for path in sorted((out / "data").glob("*/*.parquet")):
        table = schemas.TABLES[path.parent.name]
        young = [column.name for column in table if column.since == "1.3"]
        assert young
        old = pq.read_table(path).drop_columns(young)
        pq.write_table(old.replace_schema_metadata({**old.schema.metadata, VERSION_KEY: b"1.2"}), path)
    change_manifest(out, lambda entry: entry | {"bytes": (out / entry["file"]).stat().st_size})
    found = read_timeline(out, "0")
    assert found.turn_taking == () and [person.scores["q_speaker"] for person in found.persons] == [None, None]
    assert len(found.persons[1].speaking) == 75
    result = CliRunner().invoke(inspect, [str(out), "--clip", "0", "--out", str(tmp_path / "old.png")])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("clip", ["src0", "src1", "src2"])
def test_the_picture_has_every_curve(dataset: Path, clip: str, tmp_path: Path) -> None:
    path = tmp_path / "made" / "clip.png"
    result = CliRunner().invoke(inspect, [str(dataset), "--clip", clip, "--out", str(path), "--width", "900"])
    assert result.exit_code == 0, result.output
    picture = cv2.imread(str(path))
    assert picture.shape[1] == 900 and picture.shape[0] > 400
    blue = (np.abs(picture.astype(int) - [0xB2, 0x72, 0x00]).max(axis=2) < 12).sum()
    red = (np.abs(picture.astype(int) - [0x00, 0x5E, 0xD5]).max(axis=2) < 12).sum()
    assert blue > 300 and (red > 300) == (clip != "src1")


def test_json_and_bad_input(dataset: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(inspect, [str(dataset), "--clip", "0", "--json"])
    assert json.loads(result.output)["fps"] == 25.0
    for words, error in (
        (["--clip", "0", "--out", "clip.jpg"], UsageError),
        (["--clip", "nobody"], DatasetError),
    ):
        result = CliRunner().invoke(inspect, [str(dataset), *words])
        assert isinstance(result.exception, error)
    assert isinstance(CliRunner().invoke(inspect, [str(tmp_path), "--clip", "0"]).exception, DatasetError)


def test_envelopes_hold_the_loudest() -> None:
    sound = np.zeros(1000, np.float32)
    sound[170], sound[171], sound[999] = 0.5, -0.25, 1.0
    found = envelope(sound, 16000)
    assert found.shape == (7, 2) and found[1].tolist() == [-0.25, 0.5] and found[6, 1] == 1.0
