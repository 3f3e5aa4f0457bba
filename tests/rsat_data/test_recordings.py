"""The table of recordings: what it may look like, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.ingest.stage import STAGE
from rsat_data.config import as_mapping
from rsat_data.errors import RecordingsError, SourceError, UnreadableSource, UnsafeSource, UsageError
from rsat_data.plan import Recipe, source_unit, unit_key
from rsat_data.recordings import find_recordings, named_files, read_table, source_sha256
from rsat_data.run_build import BuildOptions, all_sources
from rsat_data.sources import SourceFile
from rsat_data.workspace import Workspace

HEAD = "conversation,person,video,audio,offset_s,subject_id\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4", "a.wav"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "recordings.csv"
    path.write_bytes(text.encode(encoding))
    return path


def only(path: Path) -> SourceFile:
    (source,) = find_recordings(path)
    return source


def test_a_conversation_is_one_source(folder: Path) -> None:
    source = only(table(folder, HEAD + "talk,A,a.mp4,a.wav,,anna\ntalk,B,b.mp4,,-3.5,ben\n"))
    assert source.error is None and source.name == "talk" and source.path == folder / "a.mp4"
    assert source.metadata == {
        "subjects": {"A": "anna", "B": "ben"},
        "recordings": {
            "A": {"video": str(folder / "a.mp4"), "audio": str(folder / "a.wav"), "offset_s": None, "line": 2},
            "B": {"video": str(folder / "b.mp4"), "audio": None, "offset_s": -3.5, "line": 3},
        },
    }
    assert source.files == [folder / "a.mp4", folder / "a.wav", folder / "b.mp4"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_spreadsheets_write(folder: Path, encoding: str, newline: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "größe; klein.mp4").write_bytes(b"x")
    lines = [
        "Person;Conversation;offset_s;Video;Licence;consent_id;kinship;senior;pii",
        'b;Gespräch 1;0,25;"sub/größe; klein.mp4";CC-BY-4.0;;;;',
        "",
        'A;Gespräch 1;;a.mp4;;"form ""7""";blood;A;face, voice',
        ";;;;;;;;",
    ]
    source = only(table(folder, newline.join(lines), encoding))
    assert source.error is None and source.name == "Gespräch 1"
    assert source.metadata["recordings"]["B"]["offset_s"] == 0.25
    assert source.metadata["licence"] == "CC-BY-4.0" and source.metadata["consent_id"] == 'form "7"'
    assert source.metadata["relation"] == {"kinship": "blood", "status": "unknown", "senior": "A"}
    assert source.metadata["pii"] == ["face", "voice"]


WRONG = {
    "t,A,a.mp4,,,\nt,B,gone.mp4,,,\n": (UnreadableSource, r"'t', line 3.*gone\.mp4 does not exist"),
    "t,A,a.mp4,,,\nt,A,b.mp4,,,\n": (RecordingsError, "line 3: person A is there a second time, after line 2"),
    "t,B,a.mp4,,,\n": (RecordingsError, "line 2: person B is alone"),
    "t,A,a.mp4,,,\nt,B,b.mp4,,,\nt,C,d.mp4,,,\n": (RecordingsError, "line 4: person is 'C'"),
    "t,A,a.mp4,,,\nt,B,b.mp4,,soon,\n": (RecordingsError, "line 3: offset_s is 'soon', not a number"),
    "t,A,a.mp4,,,\nt,B,b.mp4,,nan,\n": (RecordingsError, "not a number"),
    "t,A,a.mp4,,,\nt,B,b.mp4,,1e99,\n": (RecordingsError, "no recording lasts"),
    "t,A,a.mp4,,,\nt,B,a.mp4,,,\n": (RecordingsError, "line 3: a.mp4 is named a second time.*line 2"),
    "t,A,a.mp4,b.mp4,,\nt,B,b.mp4,,,\n": (RecordingsError, "line 3: b.mp4 is named a second time"),
    "t,A,a.mp4,,,\nt,B,../x.mp4,,,\n": (UnsafeSource, "line 3.*outside the table's folder"),
    "t,A,a.mp4,,,\nt,B,/etc/passwd,,,\n": (UnsafeSource, "line 3.*outside the table's folder"),
    "t,A,a.mp4,,,\nt,B,,,,\n": (RecordingsError, "line 3: it names no video"),
    "t,A,a.mp4,,,\nt,B,b.mp4,,,,x\n": (RecordingsError, "line 3: it has 7 cells"),
    "t,A,a.mp4,,,\nt,,b.mp4,,,\n": (RecordingsError, "line 3: it names no person"),
    "t,A,a.mp4,,,ann\nt,B,b.mp4,,,ann\n": (RecordingsError, "same subject_id"),
    ",A,a.mp4,,,\n": (RecordingsError, "line 2: it names no conversation"),
    "t,A,a.mp4,,,\nt,B,.,,,\n": (UnreadableSource, "not a regular file"),
    f"t,A,a.mp4,,,\nt,B,{'x' * 5000},,,\n": (RecordingsError, "more than 4096 characters"),
    f"t,A,a.mp4,,,\nt,B,{'x' * 3000},,,\n": (UnreadableSource, "cannot be read: File name too long"),
}


@pytest.mark.parametrize("rows", WRONG)
def test_a_wrong_row_stops_its_own_conversation_only(folder: Path, rows: str) -> None:
    kind, says = WRONG[rows]
    path = table(folder, HEAD + rows + "fine,B,d.mp4,,,\nfine,A,c.mp4,,,\n")
    good, bad = sorted(find_recordings(path), key=lambda source: source.error is not None)
    assert good.name == "fine" and good.error is None
    assert type(bad.error) is kind
    with pytest.raises(kind, match=says) as caught:
        raise bad.error
    assert caught.value.hint


def test_empty_files_links_and_contradictions(folder: Path) -> None:
    (folder / "none.mp4").touch()
    outside = folder.parent / f"{folder.name}-outside.mp4"
    outside.write_bytes(b"x")
    (folder / "link.mp4").symlink_to(outside)
    text = "conversation,person,video,licence,kinship\n"
    text += "1,A,a.mp4,,\n1,B,none.mp4,,\n2,A,b.mp4,,\n2,B,link.mp4,,\n"
    text += "3,A,c.mp4,MIT,\n3,B,d.mp4,CC0,\n4,A,a.wav,,cousins\n4,B,recordings.csv,,\n"
    errors = {source.name: source.error for source in find_recordings(table(folder, text))}
    assert isinstance(errors["1"], UnreadableSource) and "0 bytes" in str(errors["1"])
    assert isinstance(errors["2"], UnsafeSource)
    assert isinstance(errors["3"], RecordingsError) and "licence is 'CC0', but 'MIT' in line 6" in str(errors["3"])
    assert isinstance(errors["4"], RecordingsError) and "cousins" in str(errors["4"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (HEAD.encode(), "names no recording"),
        (b"conversation,video\nt,a.mp4\n", "no column person"),
        (HEAD.replace("offset_s", "offset").encode() + b"t,A,a.mp4,,,\n", "column 'offset' that is not known"),
        (b"conversation,person,video,video\n", "two columns video"),
        (HEAD.encode("utf-16"), "not UTF-8"),
        (HEAD.encode() + b't,A,"a.mp4,,,\n', "line 2"),
        (HEAD.encode() + b"t,A,a" + b"x" * 200_000 + b",,,\n", "field larger than field limit"),
    ],
)
def test_a_table_that_cannot_be_read(folder: Path, content: bytes, says: str) -> None:
    path = folder / "recordings.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=says):
        find_recordings(path)


def test_no_table_and_a_huge_one(folder: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        find_recordings(folder / "none.csv")
    with pytest.raises(UsageError, match="is a folder"):
        find_recordings(folder)
    with (folder / "big.csv").open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(UsageError, match="16 MiB"):
        find_recordings(folder / "big.csv")


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = folder / "recordings.csv"
    path.write_bytes((HEAD + text).encode("utf-8", "surrogatepass"))
    try:
        sources = find_recordings(path)
    except UsageError:
        return
    assert len(sources) >= 1 and len(read_table(path)) >= 1
    assert all(isinstance(source.error, SourceError) and source.name.isprintable() for source in sources)


def test_videos_of_the_table_are_no_videos_of_their_own(folder: Path) -> None:
    # A conversation that cannot be used keeps its videos to itself all the same.
    path = table(folder, HEAD + "talk,A,a.mp4,,,\ntalk,B,b.mp4,,soon,\n")
    assert named_files(path) == {folder / "a.mp4", folder / "b.mp4"}
    found = all_sources(BuildOptions(folder, folder / "out", path))
    assert [(source.name, source.error is None) for source in found] == [
        ("c.mp4", True),
        ("d.mp4", True),
        ("talk", False),
    ]
    assert [source.name for source in all_sources(BuildOptions(None, folder / "out", path))] == ["talk"]
    with pytest.raises(UsageError, match="Nothing to build from"):
        all_sources(BuildOptions(None, folder / "out"))
    with pytest.raises(UsageError, match="another folder than that of --manifest"):
        all_sources(BuildOptions(None, folder, path))
    words = BuildOptions(None, Path("out"), path).command()
    assert f"--manifest {path}" in words and "--videos" not in words


def test_content_decides_what_is_done_again(folder: Path) -> None:
    workspace = Workspace(folder / "out")
    recipe = Recipe({}, {"ingest": STAGE}, {"ingest": STAGE.config()}, {}, {"face_landmarker": "0"}, "1")
    assert as_mapping(recipe.configs["ingest"])

    def key(rows: str) -> tuple[str, str]:
        source = only(table(folder, HEAD + rows))
        unit = source_unit(source, source_sha256(source, workspace.source_sha256))
        return unit.fields["sha256"], unit_key(recipe, unit, STAGE)

    first = key("t,A,a.mp4,,,\nt,B,b.mp4,,,\n")
    assert len(first[0]) == 64
    assert key("t,B,b.mp4,,,ben\nt,A,a.mp4,,,\n") == first  # order and names do not matter to ingest
    (folder / "other.mp4").write_bytes(b"a.mp4")
    assert key("t,A,other.mp4,,,\nt,B,b.mp4,,,\n") == first  # nor does what a file is called
    moved = key("t,A,a.mp4,,,\nt,B,b.mp4,,1.5,\n")
    assert moved[0] == first[0] and moved[1] != first[1]
    others = ["t,A,b.mp4,,,\nt,B,a.mp4,,,\n", "t,A,a.mp4,a.wav,,\nt,B,b.mp4,,,\n", "t,A,a.mp4,,,\nt,B,c.mp4,,,\n"]
    assert len({first[0], *(key(rows)[0] for rows in others)}) == 4
    with pytest.raises(RecordingsError, match="the same bytes"):
        key("t,A,a.mp4,,,\nt,B,other.mp4,,,\n")
