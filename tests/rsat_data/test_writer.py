from __future__ import annotations

import errno
import hashlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rsat_data
from rsat_data import writer as writer_module
from rsat_data.errors import DatasetError, DiskFullError, WorkspaceError
from rsat_data.manifest import MANIFEST, MANIFEST_NEXT, format_manifest, parse_manifest, read_manifest, safe_join
from rsat_data.publish import publish
from rsat_data.validate import validate
from rsat_data.writer import ROW_GROUP_BYTES, ROW_GROUP_ROWS, SHARD_BYTES, DatasetWriter, plan_shards
from tests.dataset_factory import ClipSpec, write_part

OLD = [ClipSpec(f"src{n}", f"o{n}", video=False, frames=5) for n in range(4)]
NEW = [*OLD[1:], *(ClipSpec(f"src{n}", f"n{n}", f"m{n}", video=False, frames=6, seed=n) for n in range(7, 12))]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    root = tmp_path_factory.mktemp("parts")
    return {"old": [write_part(root / "old", OLD)], "new": [write_part(root / "new", NEW)]}


def ids(out: Path) -> set[str]:
    return {row["clip_id"] for row in rsat_data.load(out, None, ["clip_id"])}


def tree(out: Path) -> dict[str, str]:
    files = [path for path in out.rglob("*") if path.is_file()]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_manifest_is_the_truth(parts: dict[str, list[Path]], tmp_path: Path) -> None:
    publish(parts["new"], tmp_path)
    entries = read_manifest(tmp_path)
    assert {entry.file for entry in entries} | {MANIFEST} == set(tree(tmp_path))
    for entry in entries:
        path = tmp_path / entry.file
        assert entry.bytes == path.stat().st_size
        assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix == ".parquet":
            assert entry.rows == pq.read_metadata(path).num_rows
        else:
            assert entry.rows is None


class Kill(BaseException):
    """Stands for SIGKILL: nothing may clean up after it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Let the process 'die' at the n-th change of the disk the writer makes (renames, removals, syncs)."""
    count = itertools.count()

    def mortal(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(count) == moment:
                raise Kill
            return function(*args, **kwargs)

        return call

    for name in ("replace", "fsync"):
        monkeypatch.setattr(writer_module.os, name, mortal(getattr(os, name)))
    monkeypatch.setattr(Path, "unlink", mortal(Path.unlink))

    def only_unlock(self: DatasetWriter, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)

    monkeypatch.setattr(DatasetWriter, "__exit__", only_unlock)


def write_state(out: Path, name: str, files: list[str]) -> None:
    with DatasetWriter(out) as writer:
        for file in files:
            writer.write_file(file, f"{name} {file}".encode())
        writer.commit()


def read_state(out: Path) -> str:
    """Name of the state a reader sees; fails if what it sees is a mixture."""
    names = set()
    for entry in read_manifest(out):
        content = (out / entry.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry.sha256
        names.add(content.split()[0].decode())
    (name,) = names
    return name


def test_killed_at_any_moment_a_reader_sees_the_old_state_or_the_new(tmp_path: Path) -> None:
    shards = [f"data/triplets/train-{n:05d}-of-00003.parquet" for n in range(3)]
    old, new = [*shards, "meta/gone.json", "README.md"], [*shards[:2], "meta/info.json", "README.md"]
    write_state(tmp_path / "straight", "new", new)
    wanted = tree(tmp_path / "straight")
    write_state(tmp_path / "old", "old", old)
    seen = []
    for moment in range(1000):
        out = tmp_path / f"out{moment}"
        shutil.copytree(tmp_path / "old", out)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, moment)
            try:
                write_state(out, "new", new)
                break  # no such moment any more: the publication got through
            except Kill:
                pass
        try:
            seen.append(read_state(out))
        except DatasetError as error:
            assert "publication" in str(error) and error.hint and (out / MANIFEST_NEXT).exists()
            seen.append("decided")
        # The same command again finishes, and nothing tells that there was a kill.
        write_state(out, "new", new)
        assert tree(out) == wanted
    # In this order, and never back.
    assert seen == sorted(seen, key=["old", "decided", "new"].index)
    assert set(seen) == {"old", "decided", "new"} and len(seen) > 15


def test_a_decided_publication_is_finished_by_the_next_writer(parts: dict[str, list[Path]], tmp_path: Path) -> None:
    publish(parts["old"], tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatasetWriter, "_finish_interrupted", lambda self: None)
        publish(parts["new"], tmp_path)
    assert (tmp_path / MANIFEST_NEXT).exists() and list(tmp_path.rglob("*.tmp"))
    with DatasetWriter(tmp_path):
        pass
    assert not list(tmp_path.rglob("*.tmp"))
    assert validate(tmp_path).ok
    assert ids(tmp_path) == {spec.clip_id for spec in NEW}


def test_real_kills(parts: dict[str, list[Path]], tmp_path: Path) -> None:
    publish(parts["new"], tmp_path / "straight")
    code = (
        "import sys; from pathlib import Path; from rsat_data.publish import publish\n"
        "print('go', flush=True)\n"
        "while True: publish([Path(sys.argv[1])], Path(sys.argv[3])); publish([Path(sys.argv[2])], Path(sys.argv[3]))\n"
    )
    old, new = str(parts["old"][0]), str(parts["new"][0])
    command = [sys.executable, "-c", code, old, new, str(tmp_path / "out")]
    for seed in range(2):
        root = Path(rsat_data.__file__).parents[1]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root)
        assert process.stdout is not None and process.stdout.readline() == b"go\n"
        time.sleep(0.4 + random.Random(seed).random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    publish(parts["new"], tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "straight")


def test_failure_leaves_the_old_state_and_no_litter(parts: dict[str, list[Path]], tmp_path: Path) -> None:
    publish(parts["old"], tmp_path)
    before = tree(tmp_path)
    with DatasetWriter(tmp_path) as writer:
        writer.write_file("meta/note.txt", b"half")
    assert tree(tmp_path) == before  # left without commit

    def full(*_: Any, **__: Any) -> Iterator[Any]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(DiskFullError, match="no space is left"):
            publish(parts["new"], tmp_path)
    assert tree(tmp_path) == before


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path), pytest.raises(WorkspaceError, match="another process"), DatasetWriter(tmp_path):
        pass
    with DatasetWriter(tmp_path):
        pass


def test_writer_keeps_to_its_own_files(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path) as writer:
        for file in ("../out.txt", "other/file", "data/../../x", "meta/../../x"):
            with pytest.raises(DatasetError):
                writer.write_file(file, b"")
        writer.write_file("meta/once", b"")
        with pytest.raises(DatasetError, match="twice"):
            writer.write_file("meta/once", b"")
    assert tree(tmp_path) == {}


def test_files_of_others_stay_in_the_manifest(parts: dict[str, list[Path]], tmp_path: Path) -> None:
    publish(parts["old"], tmp_path)
    with DatasetWriter(tmp_path, owned=("notes/",)) as writer:
        writer.write_file("notes/review.json", b"{}")
        writer.commit()
    publish(parts["new"], tmp_path)
    assert "notes/review.json" in {entry.file for entry in read_manifest(tmp_path)}
    assert validate(tmp_path).ok


@given(st.lists(st.integers(0, 80 << 20), max_size=250))
def test_plan_covers_every_row_once_and_keeps_the_limits(sizes: list[int]) -> None:
    shards = plan_shards(sizes)
    assert [number for shard in shards for group in shard for number in group] == list(range(len(sizes)))
    for shard in shards:
        assert shard
        if len(shard) > 1:
            assert sum(sizes[number] for group in shard for number in group) <= SHARD_BYTES
        for group in shard:
            assert 0 < len(group) <= ROW_GROUP_ROWS
            assert len(group) == 1 or sum(sizes[number] for number in group) <= ROW_GROUP_BYTES


@pytest.mark.parametrize("file", ["/etc/passwd", "../x", "a/../../x", "", "a\\b", "C:/x", "a\0b", "http://x"])
def test_unsafe_paths_are_refused(file: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        safe_join(tmp_path, file)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="leads outside"):
        safe_join(tmp_path / "out", "data/x")


def test_manifest_survives_text_and_back(parts: dict[str, list[Path]], tmp_path: Path) -> None:
    publish(parts["old"], tmp_path)
    entries = read_manifest(tmp_path)
    text = format_manifest(entries)
    assert parse_manifest(text, tmp_path) == entries
    for broken, message in (
        (text[:-20], "is not a manifest entry"),
        (text + text.splitlines()[0] + "\n", "a second time"),
        ("[1]\n", "is not a manifest entry"),
    ):
        with pytest.raises(DatasetError, match=message):
            parse_manifest(broken, tmp_path)
