"""The register of model files and the ways to fetch them, against a real HTTP server on this machine and a real pip."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rsat_data import carriers, fetch, registry
from rsat_data.cli.models import models as models_command
from rsat_data.errors import DiskFullError, ModelFileError, OfflineError, UsageError
from rsat_data.registry import Model, parse_register

ALPHA = bytes(range(256)) * 900
BETA = b"second file " * 500


class Publisher:
    """A small publisher's server: what it serves, how it behaves, and what it was asked."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {"/alpha.bin": ALPHA, "/beta.txt": BETA}
        self.ranges = True
        self.cut_after: int | None = None
        self.asked: list[tuple[str, str | None]] = []
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                publisher.asked.append((self.path, wanted))
                if self.path == "/elsewhere":
                    self.send_response(302)
                    self.send_header("Location", "ftp://127.0.0.1/alpha.bin")
                    self.end_headers()
                    return
                content = publisher.content.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                start = 0
                if wanted and publisher.ranges:
                    start = int(wanted.removeprefix("bytes=").rstrip("-"))
                    self.send_response(206)
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                end = len(content) if publisher.cut_after is None else start + publisher.cut_after
                self.wfile.write(content[start:end])

            def log_message(self, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setattr(fetch, "ALLOWED_SCHEMES", ("https", "http"))
    monkeypatch.setattr(fetch, "_unreachable", set())
    server = Publisher()
    yield server
    server.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv(registry.HOME_VARIABLE, str(folder))
    monkeypatch.delenv(registry.OFFLINE_VARIABLE, raising=False)
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is the whole package index for pip."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Any attempt to open a connection or to resolve a name is an error, and is written down."""
    opened: list[tuple[Any, ...]] = []

    def refuse(*args: Any, **kwargs: Any) -> None:
        opened.append(args)
        raise AssertionError(f"a connection was attempted: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(carriers.subprocess, "Popen", refuse)
    return opened


def write_wheel(folder: Path, name: str, members: dict[str, bytes], version: str = "1.0") -> Path:
    """A wheel that pip accepts, with ``members`` in it."""
    spelled = name.replace("-", "_").replace(".", "_")
    path = folder / f"{spelled}-{version}-py3-none-any.whl"
    info = f"{spelled}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def file_row(name: str, content: bytes, official: str, carriers: list[list[str]]) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"name": name, "bytes": len(content), "sha256": digest, "official": official, "carriers": carriers}


def register(url: str) -> dict[str, Model]:
    """A register of one single-file model and one folder model, whose big file comes in two parts."""
    common = {"version": "1", "publisher": "p", "licence": "MIT", "about": "a", "needed_for": ["tests"]}
    return parse_register(
        {
            "carrier": [{"name": n, "version": "1.0", "bytes": 1000} for n in ("car-one", "car.two", "car-three")],
            "model": [
                {
                    **common,
                    "name": "single",
                    "by_default": True,
                    "file": [
                        file_row("alpha.bin", ALPHA, f"{url}/alpha.bin", [["car-one:pkg/a.bin"], ["car-three:x/a.bin"]])
                    ],
                },
                {
                    **common,
                    "name": "several",
                    "by_default": False,
                    "folder": True,
                    "file": [
                        file_row("alpha.bin", ALPHA, f"{url}/alpha.bin", [["car-one:pkg/a.1", "car.two:pkg/a.2"]]),
                        file_row("beta.txt", BETA, f"{url}/beta.txt", [["car-one:pkg/b.txt"]]),
                    ],
                },
            ],
        }
    )


@pytest.fixture
def known(publisher: Publisher, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    entries = register(publisher.url)
    monkeypatch.setattr(registry, "models", lambda: entries)
    return entries


# --- the register -----------------------------------------------------------------------------------------------------


def test_the_projects_register_is_complete() -> None:
    entries = registry.models()
    assert {"face_landmarker", "selfie_segmenter", "whisper-base", "whisper-tiny.en", "pyannote-segmentation"} <= set(
        entries
    )
    for model in entries.values():
        assert model.licence and model.publisher and model.needed_for
        for file in model.files:
            assert file.official.startswith("https://")
            assert file.size > 0
            if model.name != "light-asd":  # no package carries it: fetched by name, or the user's own file
                assert file.carriers, f"{model.name}/{file.name} cannot be had where only a package index is in reach"
    assert not registry.get("light-asd").by_default


def test_a_folder_models_hash_depends_on_each_file() -> None:
    model = register("https://example.org")["several"]
    changed = parse_register(
        {
            "carrier": [],
            "model": [
                {
                    **{"name": "several", "version": "1", "publisher": "p", "licence": "MIT", "about": "a"},
                    **{"needed_for": [], "by_default": False, "folder": True},
                    "file": [file_row("alpha.bin", ALPHA, "", []), file_row("beta.txt", BETA + b"!", "", [])],
                }
            ],
        }
    )["several"]
    assert model.sha256 != changed.sha256
    assert model.directory != changed.directory
    assert registry.model_hash("face_landmarker") == registry.get("face_landmarker").files[0].sha256


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("name", "../escape"),
        ("name", ".hidden"),
        ("sha256", "abc"),
        ("carriers", [["car:/etc/passwd"]]),
        ("carriers", [["car:a/../../b"]]),
        ("carriers", [["car:"]]),
    ],
)
def test_a_register_with_unsafe_entries_is_refused(where: str, value: object) -> None:
    row = file_row("good.bin", b"x", "https://example.org/x", [["car:a/b"]])
    row[where] = value
    model = {"name": "m", "version": "1", "publisher": "p", "licence": "MIT", "about": "", "needed_for": []}
    with pytest.raises(ValueError):
        parse_register(
            {
                "carrier": [{"name": "car", "version": "1", "bytes": 1}],
                "model": [{**model, "by_default": False, "file": [row]}],
            }
        )


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ModelFileError, match="face_landmarker"):
        registry.model_path("face-landmarker")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x/cache"}, "/x/cache/rsat-data"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/h/.cache/rsat-data"),
        ("linux", {}, "/h/.cache/rsat-data"),
        ("darwin", {}, "/h/Library/Caches/rsat-data"),
        ("linux", {"RSAT_DATA_HOME": "/mine"}, "/mine"),
    ],
)
def test_home(platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RSAT_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/h")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(registry.sys, "platform", platform)
    assert str(registry.home()) == expected


# --- the publisher's address ------------------------------------------------------------------------------------------


def test_fetches_from_the_publisher_and_only_once(known: dict[str, Model], publisher: Publisher, home: Path) -> None:
    path = registry.model_path("single")
    assert path.read_bytes() == ALPHA
    assert path.is_relative_to(home)
    folder = registry.model_path("several")
    assert (folder / "beta.txt").read_bytes() == BETA
    assert [asked for asked, _ in publisher.asked] == ["/alpha.bin", "/alpha.bin", "/beta.txt"]
    assert registry.model_path("single") == path
    assert len(publisher.asked) == 3
    assert not list(home.rglob("*.part"))


def test_goes_on_where_a_broken_download_stopped(known: dict[str, Model], publisher: Publisher) -> None:
    publisher.cut_after = 100_000
    with pytest.raises(ModelFileError, match="sent 100000 bytes"):
        fetch.fetch([known["single"]], sources=["official"])
    assert not known["single"].path.exists()
    publisher.cut_after = None
    fetch.fetch([known["single"]], sources=["official"])
    assert publisher.asked[-1] == ("/alpha.bin", "bytes=100000-")
    assert known["single"].path.read_bytes() == ALPHA


def test_a_server_without_ranges_is_read_from_the_start(known: dict[str, Model], publisher: Publisher) -> None:
    publisher.ranges, publisher.cut_after = False, 5000
    with pytest.raises(ModelFileError):
        fetch.fetch([known["single"]], sources=["official"])
    publisher.cut_after = None
    fetch.fetch([known["single"]], sources=["official"])
    assert known["single"].path.read_bytes() == ALPHA


def test_a_first_piece_of_another_version_is_thrown_away(known: dict[str, Model], publisher: Publisher) -> None:
    model = known["single"]
    model.directory.mkdir(parents=True)
    (model.directory / "alpha.bin.part").write_bytes(b"old version" * 100)
    fetch.fetch([model], sources=["official"])
    assert [wanted for _, wanted in publisher.asked] == ["bytes=1100-", None]
    assert model.path.read_bytes() == ALPHA


@pytest.mark.parametrize("served", [ALPHA[:-1] + b"?", ALPHA[:-1], ALPHA + b"more"])
def test_wrong_bytes_are_named_and_not_kept(served: bytes, known: dict[str, Model], publisher: Publisher) -> None:
    publisher.content["/alpha.bin"] = served
    with pytest.raises(ModelFileError) as caught:
        fetch.fetch([known["single"]], sources=["official"])
    text = str(caught.value)
    assert "alpha.bin" in text and known["single"].sha256 in text and "models fetch single" in text
    if len(served) == len(ALPHA):
        assert hashlib.sha256(served).hexdigest() in text
    assert not known["single"].path.exists()


def test_a_redirection_to_another_scheme_is_refused(known: dict[str, Model], publisher: Publisher) -> None:
    row = {**vars(known["single"].files[0]), "official": f"{publisher.url}/elsewhere"}
    model = registry.Model(**{**vars(known["single"]), "files": (registry.ModelFile(**row),)})
    with pytest.raises(ModelFileError, match="refused an address"):
        fetch.fetch([model], sources=["official"])


def test_only_https_is_allowed_by_default(publisher: Publisher, known: dict[str, Model], monkeypatch: Any) -> None:
    monkeypatch.setattr(fetch, "ALLOWED_SCHEMES", ("https",))
    with pytest.raises(ModelFileError, match="refused an address that is not https"):
        fetch.fetch([known["single"]], sources=["official"])
    assert publisher.asked == []


def test_an_unreachable_host_is_tried_once(known: dict[str, Model], publisher: Publisher) -> None:
    publisher.close()
    with pytest.raises(ModelFileError, match="out of reach"):
        fetch.fetch([known["single"]], sources=["official"])
    with pytest.raises(ModelFileError, match="a moment ago"):
        fetch.fetch([known["several"]], sources=["official"])


def test_two_at_once_fetch_once(known: dict[str, Model], publisher: Publisher) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(registry.model_path("single"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [known["single"].path] * 4
    assert len(publisher.asked) == 1


# --- carriers ---------------------------------------------------------------------------------------------------------


def test_measures_a_folder_that_is_being_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running pip removes temporary folders between one look at them and the next."""
    for name in ("kept", "cleared"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "piece").write_bytes(b"0123456789")
    scandir = os.scandir

    def scan(path: Any = ".") -> Any:
        if not isinstance(path, int) and Path(path).name == "cleared" and Path(path).exists():
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert carriers._tree_size(tmp_path) == 10


def test_takes_files_out_of_carriers_with_pip(known: dict[str, Model], publisher: Publisher, index: Path) -> None:
    publisher.content.clear()
    half = len(ALPHA) // 2
    write_wheel(index, "car-one", {"pkg/__init__.py": b"raise SystemExit", "pkg/a.1": ALPHA[:half], "pkg/b.txt": BETA})
    write_wheel(index, "car.two", {"pkg/a.2": ALPHA[half:]})
    folder = registry.model_path("several")
    assert (folder / "alpha.bin").read_bytes() == ALPHA
    assert (folder / "beta.txt").read_bytes() == BETA
    assert not any(registry.home().joinpath("tmp").iterdir())
    assert importlib.util.find_spec("pkg") is None


def test_the_next_carrier_is_tried(known: dict[str, Model], publisher: Publisher, index: Path) -> None:
    publisher.content["/alpha.bin"] = b"no longer this"
    write_wheel(index, "car-three", {"x/a.bin": ALPHA})
    assert registry.model_path("single").read_bytes() == ALPHA


def test_when_nothing_helps_the_error_says_what_was_tried(
    known: dict[str, Model], publisher: Publisher, index: Path
) -> None:
    publisher.content.clear()
    write_wheel(index, "car-one", {"pkg/a.bin": ALPHA[:-1] + b"?"})
    with pytest.raises(ModelFileError) as caught:
        registry.model_path("single")
    text = str(caught.value)
    assert "404" in text and "got " in text and "car-three" in text and "--from-dir" in text


def member_of_kind(folder: Path, mode: int) -> Path:
    path = folder / "odd.whl"
    info = zipfile.ZipInfo("pkg/a.bin")
    info.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, b"/etc/passwd")
    return path


def test_members_that_are_links_or_too_large_are_refused(tmp_path: Path) -> None:
    link = member_of_kind(tmp_path, stat.S_IFLNK | 0o777)
    target = tmp_path / "out"
    with target.open("wb") as out, pytest.raises(carriers.SourceFailed, match="not a plain file"):
        carriers.copy_member(link, "pkg/a.bin", out, 100)
    bomb = tmp_path / "bomb.whl"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big", bytes(10_000_000))
    with target.open("wb") as out, pytest.raises(carriers.SourceFailed, match="larger than"):
        carriers.copy_member(bomb, "big", out, 1000)
    with target.open("wb") as out, pytest.raises(carriers.SourceFailed, match="holds no"):
        carriers.copy_member(bomb, "absent", out, 1000)
    bomb.write_bytes(b"PK not a zip")
    with target.open("wb") as out, pytest.raises(carriers.SourceFailed, match="damaged"):
        carriers.copy_member(bomb, "big", out, 1000)
    assert target.stat().st_size == 0


@given(content=st.binary(max_size=4000), limit=st.integers(0, 4000))
def test_a_member_is_copied_whole_or_not_at_all(
    content: bytes, limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    with zipfile.ZipFile(folder / "a.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m", content)
    with (folder / "out").open("wb") as out:
        if len(content) > limit:
            with pytest.raises(carriers.SourceFailed):
                carriers.copy_member(folder / "a.whl", "m", out, limit)
        else:
            assert carriers.copy_member(folder / "a.whl", "m", out, limit) == len(content)
    if len(content) <= limit:
        assert (folder / "out").read_bytes() == content


def test_without_pip_the_error_says_how_to_get_it(
    known: dict[str, Model], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.content.clear()
    monkeypatch.setattr(carriers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match="ensurepip"):
        registry.model_path("single")


def test_pip_may_never_build_a_source_distribution(known: dict[str, Model], publisher: Publisher, index: Path) -> None:
    publisher.content.clear()
    (index / "car-one-1.0.tar.gz").write_bytes(b"whatever")
    with pytest.raises(ModelFileError, match="car-one"):
        registry.model_path("single")
    command = carriers.pip_command(known["single"].files[0].carriers[0][0].carrier, Path("/x"))
    assert command[command.index("--only-binary") + 1] == ":all:" and "--no-deps" in command


# --- a folder that was brought ----------------------------------------------------------------------------------------


def test_from_a_folder_of_files(known: dict[str, Model], no_sockets: list[Any], tmp_path: Path) -> None:
    brought = tmp_path / "stick"
    (brought / "several").mkdir(parents=True)
    (brought / "several" / "alpha.bin").write_bytes(ALPHA[:-1] + b"?")
    (brought / "deep" / "er").mkdir(parents=True)
    (brought / "deep" / "er" / "renamed").write_bytes(ALPHA)
    (brought / "beta.txt").write_bytes(BETA)
    fetch.fetch(list(known.values()), from_dir=brought)
    assert registry.state(known["single"]) == registry.state(known["several"]) == "present"
    assert no_sockets == []


def test_from_a_folder_of_carrier_wheels(known: dict[str, Model], no_sockets: list[Any], tmp_path: Path) -> None:
    half = len(ALPHA) // 2
    write_wheel(tmp_path, "car-one", {"pkg/a.1": ALPHA[:half], "pkg/b.txt": BETA})
    write_wheel(tmp_path, "car.two", {"pkg/a.2": ALPHA[half:]})
    fetch.fetch([known["several"]], from_dir=tmp_path)
    assert (known["several"].path / "alpha.bin").read_bytes() == ALPHA


def test_from_a_folder_with_the_wrong_file(known: dict[str, Model], tmp_path: Path) -> None:
    (tmp_path / "alpha.bin").write_bytes(ALPHA[:-1] + b"?")
    with pytest.raises(ModelFileError) as caught:
        fetch.fetch([known["single"]], from_dir=tmp_path)
    assert known["single"].sha256 in str(caught.value)
    assert hashlib.sha256(ALPHA[:-1] + b"?").hexdigest() in str(caught.value)


# --- offline, damage, locks, disks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_variable", [False, True])
def test_offline_opens_no_connection(
    by_variable: bool, known: dict[str, Model], no_sockets: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_variable:
        monkeypatch.setenv(registry.OFFLINE_VARIABLE, "1")
    with pytest.raises(OfflineError, match="single"):
        registry.model_path("single", offline=not by_variable)
    known["single"].directory.mkdir(parents=True)
    known["single"].path.write_bytes(ALPHA)
    assert registry.model_path("single", offline=True).read_bytes() == ALPHA
    assert no_sockets == []


def test_a_damaged_file_is_seen_and_fetched_again(known: dict[str, Model], publisher: Publisher) -> None:
    path = registry.model_path("single")
    path.write_bytes(ALPHA[:-1] + b"?")
    assert registry.state(known["single"]) == "damaged"
    with pytest.raises(OfflineError):
        registry.model_path("single", offline=True)
    assert registry.model_path("single").read_bytes() == ALPHA


def test_verify_hashes_even_when_size_and_time_are_unchanged(known: dict[str, Model], publisher: Publisher) -> None:
    path = registry.model_path("single")
    before = path.stat()
    path.write_bytes(ALPHA[:-1] + b"?")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ModelFileError, match="expected sha256"):
        registry.verify(known["single"])


def test_a_read_only_cache_that_is_complete_works(
    known: dict[str, Model], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = registry.model_path("single")
    (path.parent / ".verified.json").unlink()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "read-only")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert registry.model_path("single") == path


def test_no_space_left(known: dict[str, Model], publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch.os, "fsync", full)
    with pytest.raises(DiskFullError, match="RSAT_DATA_HOME"):
        registry.model_path("single")


# --- the command ------------------------------------------------------------------------------------------------------


def test_list(known: dict[str, Model], publisher: Publisher) -> None:
    registry.model_path("single")
    result = CliRunner().invoke(models_command, ["list"])
    assert result.exit_code == 0
    single, several = (line for line in result.output.splitlines() if line.startswith(("single", "several")))
    assert " yes " in single and " no " in several
    rows = json.loads(CliRunner().invoke(models_command, ["list", "--json"]).output)["models"]
    assert [row["state"] for row in rows] == ["present", "missing"]
    assert rows[1]["files"][0]["carriers"] == [["car-one==1.0:pkg/a.1", "car.two==1.0:pkg/a.2"]]


def test_fetch_and_verify_commands(known: dict[str, Model], publisher: Publisher) -> None:
    runner = CliRunner()
    result = runner.invoke(models_command, ["fetch"], catch_exceptions=False)
    assert "single: fetched" in result.output and "several" not in result.output
    result = runner.invoke(models_command, ["fetch", "--all"], catch_exceptions=False)
    assert "single: already here" in result.output and "several: fetched" in result.output
    assert runner.invoke(models_command, ["verify"]).output.count("right") == 2
    (known["several"].path / "beta.txt").unlink()
    result = runner.invoke(models_command, ["verify", "several"])
    assert isinstance(result.exception, ModelFileError) and "missing" in result.output


def test_fetch_command_offline_and_misuse(known: dict[str, Model], no_sockets: list[Any]) -> None:
    runner = CliRunner()
    assert isinstance(runner.invoke(models_command, ["fetch", "--offline"]).exception, OfflineError)
    assert isinstance(runner.invoke(models_command, ["fetch", "single", "--all"]).exception, UsageError)
    assert isinstance(runner.invoke(models_command, ["fetch", "nothing"]).exception, ModelFileError)
    assert no_sockets == []
