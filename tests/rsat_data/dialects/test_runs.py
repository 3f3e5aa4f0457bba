"""The two commands: what they refuse, what they leave alone, what they convert."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.assemble import ids
from rsat_data.cli import run
from rsat_data.dialects.register import DIALECTS
from rsat_data.dialects.rows import speaking_of
from rsat_data.dialects.track import family
from rsat_data.reader import Row, load
from tests.dataset_factory import ClipSpec, make_dataset
from tests.rsat_data.dialects.conftest import vhap_folder, wav
from tests.rsat_data.dialects.test_vhap_npz import FRAMES, tracked


@pytest.mark.parametrize("command", ["import", "export"])
def test_help_imports_no_dialect(command: str) -> None:
    code = (
        f"import sys\nfrom rsat_data.cli import run\nassert run(['{command}', '--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'cv2', 'pyarrow', 'rich', 'pydantic', 'model', 'schemas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in DIALECTS)


def test_every_dialect_has_its_functions() -> None:
    for dialect in DIALECTS.values():
        module = dialect.load()
        assert callable(module.find) and callable(module.read) and callable(module.write)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("flame2020", "flame2020"),
        ("flame2020-1@0123456789ab", "flame2020"),
        ("flame2023open-1@0123456789ab", "flame2023open"),
        ("flame2023-1@0123456789ab", "flame2023"),
        ("open-head-1.0@4ab5945a4670", "open-head-1.0"),
    ],
)
def test_family_of_a_head(head: str, name: str) -> None:
    assert family(head) == name


@pytest.mark.parametrize("name", list(DIALECTS))
def test_an_empty_folder_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    command = ["import", "--format", name, str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    assert run(command) == 2
    assert "holds nothing of the format" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_wrong_usage_of_import(tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = tracked(tmp_path / "in")
    base = ["import", "--format", "vhap-npz", "--out", str(tmp_path / "out")]
    for more, code, words in (
        ([str(tmp_path / "none")], 2, "does not exist"),
        ([str(path), "--head", "nobody"], 1, "no head called 'nobody'"),
        ([str(path), "--audio", str(tmp_path / "no.wav")], 2, "is not a file"),
        ([str(path)], 1, "no sound for person A"),
    ):
        assert run([*base, *more]) == code
        assert words in capsys.readouterr().err
    assert run([*base, str(path), "--dry-run"]) == 0
    assert "1 units of the format vhap-npz, head flame2023" in capsys.readouterr().out
    assert not (tmp_path / "out/manifest.jsonl").exists()
    assert run([*base, str(path), "--silence", "--quiet"]) == 0
    assert run([*base, str(path), "--silence"]) == 2
    assert "--replace" in capsys.readouterr().err
    assert run([*base, str(path), "--silence", "--replace", "--quiet"]) == 0
    assert not (tmp_path / "out/.work").exists()


def test_the_same_file_twice_is_taken_once(tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = tracked(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / path.name).write_bytes(path.read_bytes())
    command = ["import", "--format", "vhap-npz", str(tmp_path), "--silence", "--out", str(tmp_path / "out")]
    assert run([*command, "--max-failed", "1"]) == 0
    assert "holds the same as" in capsys.readouterr().err
    assert len(load(tmp_path / "out", None)) == 1


def test_the_same_import_gives_the_same_bytes(tmp_path: Path, no_heads: None) -> None:
    vhap_folder(tmp_path / "seq")
    manifests = []
    for name in ("a", "b"):
        out = tmp_path / name / "set"
        assert (
            run(["import", "--format", "vhap", str(tmp_path / "seq"), "--silence", "--out", str(out), "--quiet"]) == 0
        )
        manifests.append((out / "manifest.jsonl").read_text())
    assert manifests[0] == manifests[1]


def test_sidecar_sound_and_facts(tmp_path: Path, no_heads: None, importing: Callable[..., list[Row]]) -> None:
    path = tracked(tmp_path / "in")
    wav(tmp_path / "in/voice.wav", FRAMES)
    path.with_suffix(".yaml").write_text(
        "subjects: {A: anna}\nlicence: CC-BY-4.0\nconsent_id: c-17\nlanguage: de\naudio: {A: voice.wav}\n"
    )
    (row,) = importing("--format", "vhap-npz", tmp_path / "in", "--licence", "other")
    assert (row["licence"], row["consent_id"], row["language"]) == ("CC-BY-4.0", "c-17", "de")
    assert row["audio_isolation"] == "channel" and row["speaking"].any()
    (again,) = importing("--format", "vhap-npz", path, "--subject", "Anna ", name="again")
    assert again["subject_id"] == row["subject_id"]


def test_a_mixture_does_not_tell_who_speaks(
    tmp_path: Path, no_heads: None, importing: Callable[..., list[Row]]
) -> None:
    path = tracked(tmp_path / "in")
    (row,) = importing("--format", "vhap-npz", path, "--audio", wav(tmp_path / "all.wav", FRAMES))
    assert row["audio_isolation"] == "mixture" and not row["speaking"].any()


def test_speaking_follows_the_voice() -> None:
    rng = np.random.default_rng(0)
    frames = np.zeros(100, bool)
    frames[20:50] = frames[60:80] = True
    frames[30] = False  # a pause within a word
    sound = np.repeat(np.where(frames, 0.1, 0.0005), 640) * rng.normal(size=64_000)
    expected = frames.copy()
    expected[30] = True
    assert (speaking_of(sound.astype(np.float32)) == expected).mean() > 0.98
    assert not speaking_of(np.zeros(64_000, np.float32)).any()


def test_export_refuses_and_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = make_dataset(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    head = "the dataset's belong to test-head-1.0@0123456789ab"
    for words, code, text in (
        (["--format", "vhap", str(out), str(tmp_path / "x")], 1, head),
        (["--format", "metrical", "--head", "nobody", str(out), str(tmp_path / "x")], 1, "no head called"),
        (["--format", "vhap", "--own-codes", "--head", "open", str(out), str(tmp_path / "x")], 2, "exclude each other"),
        (["--format", "vertices", "--head", "open", str(out), str(tmp_path / "x")], 1, "both heads have to be"),
        (["--vertices", str(out), str(tmp_path / "x")], 1, "is not on this machine"),
        (["--vertices", str(out), str(tmp_path / "full")], 2, "not empty"),
        (["--vertices", str(out), str(out / "x")], 2, "must not lie in the dataset"),
        (["--vertices", str(out), str(tmp_path / "x"), "--row", "row_none"], 2, "has no row 'row_none'"),
        (["--vertices", "--format", "vhap", str(out), str(tmp_path / "x")], 2, "give one of them"),
        ([str(out), str(tmp_path / "x")], 2, "Which format"),
    ):
        assert run(["export", *words, "--quiet"]) == code, words
        assert text in capsys.readouterr().err
    assert (tmp_path / "full/mine.txt").read_text() == "mine" and not (out / "x").exists()


def test_export_of_chosen_rows_with_a_video(tmp_path: Path) -> None:
    """Rows without a video are named, those with one are written."""
    out, _ = make_dataset(tmp_path)
    rows = load(out, None)[:2]
    command = ["export", "--format", "vhap", "--own-codes", str(out), str(tmp_path / "x"), "--quiet"]
    for row in rows:
        command += ["--row", row["row_id"]]
    assert run(command) == 0
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == sorted(row["row_id"] for row in rows)
    assert len(list((tmp_path / "x" / rows[0]["row_id"] / "images").iterdir())) == rows[0]["num_frames"]


def test_export_names_rows_it_cannot_write(tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Codes without pictures make no VHAP folder; a second row that has some is written all the same."""
    vhap_folder(tmp_path / "in/seq", frames=FRAMES)
    vhap_folder(tmp_path / "in/bare", frames=FRAMES, seed=3)
    for name in ("images", "fg_masks"):
        for path in (tmp_path / "in/bare" / name).iterdir():
            path.unlink()
    out = str(tmp_path / "out")
    assert run(["import", "--format", "vhap", str(tmp_path / "in"), "--silence", "--out", out, "--quiet"]) == 0
    assert run(["export", "--format", "vhap", out, str(tmp_path / "x")]) == 3
    assert "has no video" in capsys.readouterr().err
    assert len(list((tmp_path / "x").iterdir())) == 1


def test_sound_that_is_longer_than_the_codes_is_refused(
    tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tracked(tmp_path / "in")
    sound = tmp_path / "long.wav"
    soundfile.write(sound, np.zeros(16_000 * 2), 16_000)
    command = ["import", "--format", "vhap-npz", str(path), "--audio", str(sound), "--out", str(tmp_path / "out")]
    assert run(command) == 1
    assert "the codes last 20 frames (0.80 s), the sound long.wav 50.0 frames" in capsys.readouterr().err


def test_rows_of_people_who_are_not_seen_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specs = [ClipSpec("src0", "anna", "ben", unseen="B"), ClipSpec("src1", "anna", "carl", seed=3)]
    out, _ = make_dataset(tmp_path, specs)
    unseen = ids.row_id(specs[0].clip_id, "B")
    assert run(["export", "--format", "vhap-npz", "--own-codes", str(out), str(tmp_path / "all"), "--quiet"]) == 0
    assert "1 rows without one valid frame" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "all").iterdir()}
    assert len(written) == 3 and unseen not in written
    named = ["export", "--format", "vhap-npz", "--own-codes", "--row", unseen, "--quiet"]
    assert run([*named, str(out), str(tmp_path / "one")]) == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == [unseen]
    assert run(["export", "--format", "dualtalk", "--own-codes", str(out), str(tmp_path / "talk"), "--quiet"]) == 0
    talk = {path.name for path in (tmp_path / "talk").iterdir()}
    assert f"{specs[0].clip_id}_speaker2.wav" in talk and f"{specs[0].clip_id}_speaker2.npz" not in talk
