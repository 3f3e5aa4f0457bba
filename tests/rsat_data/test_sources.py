"""Finding videos and reading sidecars."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rsat_data.errors import SourceError, UnreadableSource, UnsafeSource, UsageError
from rsat_data.sources import find_sources, printable


def test_missing_empty_and_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        find_sources(tmp_path / "nothing")
    with pytest.raises(UsageError, match="holds no video"):
        find_sources(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match="not a folder"):
        find_sources(tmp_path / "a.mp4")


def test_odd_names_are_found_and_printable(tmp_path: Path) -> None:
    names = ["with space.mp4", "quo'te\".MP4", "new\nline.mkv", "ünïcode.webm", "sub/deep.mov"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".hidden.mp4").write_bytes(b"x")
    (tmp_path / "notes.txt").write_bytes(b"x")
    broken = os.fsencode(tmp_path) + b"/bro\xffken.mp4"
    with open(broken, "wb") as stream:
        stream.write(b"x")
    found = find_sources(tmp_path)
    assert len(found) == 6 and all(source.error is None for source in found)
    assert {"new\\nline.mkv", "sub/deep.mov", "bro\\xffken.mp4"} <= {source.name for source in found}
    assert all(source.name.isprintable() for source in found)
    assert found == sorted(found, key=lambda source: source.name)
    assert all(source.path.read_bytes() == b"x" for source in found)


def test_links_out_of_the_folder_dead_links_and_empty_files_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"x")
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "real.mp4").write_bytes(b"y")
    (folder / "inside.mp4").symlink_to(folder / "real.mp4")
    (folder / "out.mp4").symlink_to(outside)
    (folder / "dead.mp4").symlink_to(folder / "gone.mp4")
    (folder / "empty.mp4").write_bytes(b"")
    errors = {source.name: source.error for source in find_sources(folder)}
    assert errors["real.mp4"] is None and errors["inside.mp4"] is None
    assert isinstance(errors["out.mp4"], UnsafeSource)
    assert isinstance(errors["dead.mp4"], UnreadableSource)
    assert isinstance(errors["empty.mp4"], UnreadableSource) and "0 bytes" in str(errors["empty.mp4"])


def test_sidecar_is_read_and_bad_ones_name_the_fault(tmp_path: Path) -> None:
    def sidecar(text: str) -> tuple[SourceError | None, dict[str, object]]:
        (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
        source = find_sources(tmp_path)[0]
        return source.error, dict(source.metadata)

    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "left.wav").write_bytes(b"x")
    error, metadata = sidecar(
        "subjects: {A: anna, B: ben}\nrelation: {kinship: blood, status: unequal, senior: A}\nlicence: CC0-1.0\n"
        "consent_id: c7\npii: [face, voice]\naudio: {A: left.wav}\n"
    )
    assert error is None
    assert metadata["relation"] == {"kinship": "blood", "status": "unequal", "senior": "A"}
    assert metadata["audio"] == {"A": str((tmp_path / "left.wav").resolve())}
    for text, words in [
        ("relation: {kinship: cousin}", "kinship"),
        ("relations: {}", "no option"),
        ("audio: {A: ../left.wav}", "not a file inside"),
        ("audio: {C: left.wav}", "audio"),
        ("[1, 2]", "mapping"),
        ("a: &x [*x, !!python/object:os.system {}]", "YAML"),
    ]:
        error, _ = sidecar(text)
        assert isinstance(error, SourceError) and words in str(error), text


def test_printable_escapes_control_characters() -> None:
    assert printable(Path("a\tb\x1b[31m.mp4")) == "a\\tb\\x1b[31m.mp4"


def test_a_pipe_is_refused_without_waiting_on_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    error = find_sources(tmp_path)[0].error
    assert isinstance(error, UnreadableSource) and "not a regular file" in str(error)


def test_a_file_that_may_not_be_read_is_named() -> None:
    # In a program of its own, which gives up root's right to read everything (CAP_DAC_OVERRIDE and
    # CAP_DAC_READ_SEARCH, numbers 1 and 2) where the suite runs as root.
    code = (
        "import ctypes, os, sys, pathlib\nfrom rsat_data.sources import find_sources\nimport rsat_data.config, yaml\n"
        "header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\n"
        "if os.geteuid() == 0:\n"
        "    libc = ctypes.CDLL(None)\n"
        "    assert libc.capget(header, sets) == 0\n"
        "    sets[0] &= ~0b110\n"
        "    assert libc.capset(header, sets) == 0\n"
        "source, = find_sources(pathlib.Path(sys.argv[1]))\n"
        "print(type(source.error).__name__, source.error)"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        locked = Path(folder, "locked.mp4")
        locked.write_bytes(b"x")
        locked.chmod(0)
        result = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("UnreadableSource locked.mp4 cannot be read: Permission denied")
