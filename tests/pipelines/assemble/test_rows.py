"""The assemble stage on artefacts written as the stages before it write them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

import schemas
from pipelines.assemble import ids
from pipelines.assemble.clocks import audio_length, video_length
from pipelines.assemble.rows import parse_relation
from pipelines.assemble.stage import STAGE, AssembleConfig
from pipelines.stage import StageContext
from rsat_data.errors import StageError, UnsupportedSource
from rsat_data.publish import publish
from rsat_data.validate import validate
from schemas.validators import row_problems, schema_problems
from tests.dataset_factory import HEAD, flac, jpeg, mp4, smooth

T = 50
START = 1.0
RNG = np.random.default_rng(0)
SINGLE = {p: {"subject_id": ids.unnamed_subject_id("clip_1", p), "source": "single", "score": None} for p in "AB"}


@dataclass
class Artefacts:
    """Folders of the four stages before."""

    root: Path
    persons: str

    def context(self, out: str = "out", identity: dict[str, Any] | None = None, **metadata: Any) -> StageContext:
        folder = self.root / out
        folder.mkdir()
        return StageContext(
            source=self.root / "video.mp4",
            unit={
                "source_id": "src_1",
                "clip_id": "clip_1",
                "start_s": START,
                "end_s": START + T / 25,
                "num_frames": T,
            },
            inputs={name: self.root / name for name in STAGE.inputs if name != "subjects"},
            parts={"subjects": {"identity": identity or {person: SINGLE[person] for person in self.persons}}},
            out=folder,
            model=lambda name: Path(name),
            metadata=metadata,
            provenance={"version": "0.1.0", "config_hash": "abc", "model_hashes": {"b": "22", "a": "11"}},
        )

    def json(self, name: str, change: dict[str, Any]) -> None:
        path = self.root / name
        path.write_text(json.dumps(json.loads(path.read_text()) | change))


def write_artefacts(root: Path, persons: str) -> Artefacts:
    for stage in STAGE.inputs:
        (root / stage).mkdir(parents=True)
    mixture = np.arange(5 * 16000, dtype=np.int16)
    sf.write(root / "ingest" / "mixture.flac", mixture, 16000, subtype="PCM_16")
    faces = {
        "persons": [
            {"person": p, "crop": {"x0": 0, "y0": 0, "side": 256, "size": 512}, "face_px": 120.5} for p in persons
        ]
    }
    (root / "faces" / "faces.json").write_text(json.dumps(faces))
    (root / "faces" / "preview.mp4").write_bytes(mp4(T))
    speech: dict[str, Any] = {
        "language": "en",
        "text": "hello there hi",
        "isolation": "gated",
        "words": [
            {"word": "hello", "start": -0.01, "end": 0.3, "score": 0.9, "speaker": "A"},
            {"word": "there", "start": 0.3, "end": 0.5, "score": 0.8, "speaker": "A"},
            {"word": "hi", "start": 1.8, "end": 2.03, "score": 0.7, "speaker": None},
        ],
        "turns": [{"person": "A", "start": 0.0, "end": 0.5, "text": "hello there"}],
        "persons": {
            p: {"isolation": "gated", "snr_db": 20.0, "sync_score": 0.4, "sync_offset_ms": 40.0} for p in persons
        },
        "assignment": {"confidence": 0.8},
    }
    if "B" in persons:
        speech["persons"]["B"]["snr_db"] = None
    (root / "speech" / "speech.json").write_text(json.dumps(speech))
    talk = {"A": np.arange(T) < 20, "B": (np.arange(T) >= 15) & (np.arange(T) < 25)}
    np.savez(root / "speech" / "speech.npz", **{f"speaking_{p}": talk[p] for p in persons})
    flame = {"head_model": HEAD, "persons": {}}
    for p in persons:
        valid = np.arange(T) >= 2
        np.savez(
            root / "faces" / f"{p}.npz",
            valid=np.arange(T) != T - 1,
            blur=np.full(T, 50.0, np.float32),
            yaw_deg=np.linspace(-40, 40, T, dtype=np.float32),
        )
        (root / "faces" / f"{p}.mp4").write_bytes(mp4(T))
        (root / "faces" / f"{p}_matte.mp4").write_bytes(mp4(T, 3))
        (root / "faces" / f"{p}.jpg").write_bytes(jpeg(1))
        (root / "speech" / f"{p}.flac").write_bytes(flac(T * 640, 1))
        np.savez(
            root / "flame" / f"{p}.npz",
            shape=np.zeros(8, np.float32),
            expression=np.abs(smooth(RNG, T, 52, 1.0)),
            jaw=smooth(RNG, T, 3, 0.2),
            neck=np.zeros((T, 3), np.float32),
            eyes=smooth(RNG, T, 6, 0.2),
            rotation=smooth(RNG, T, 3, 0.4),
            translation=np.tile(np.float32([0, 0, 0.8]), (T, 1)),
            valid=valid,
            reprojection_px=np.where(valid, 1.0, np.nan).astype(np.float32),
            reason=np.where(valid, 0, 4).astype(np.int8),
            confidence=np.where(valid, 0.75, 0.25).astype(np.float32),
        )
        camera = {"fx": 900.0, "fy": 900.0, "cx": 256.0, "cy": 256.0, "width": 512, "height": 512}
        flame["persons"][p] = {"camera": camera, "reprojection": 0.016, "valid_fraction": 0.96}
    (root / "flame" / "flame.json").write_text(json.dumps(flame))
    return Artefacts(root, persons)


@pytest.fixture
def pair(tmp_path: Path) -> Artefacts:
    return write_artefacts(tmp_path / "clip", "AB")


@pytest.fixture
def single(tmp_path: Path) -> Artefacts:
    return write_artefacts(tmp_path / "clip", "A")


def run(artefacts: Artefacts, out: str = "out", **metadata: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    context = artefacts.context(out, **metadata)
    STAGE.run(context, AssembleConfig())
    for name, table in (("rows.parquet", "triplets"), ("clip.parquet", "clips")):
        found = pq.read_table(context.out / name)
        spec = schemas.TABLES[table]
        assert schema_problems(found.schema, spec) == row_problems(found, spec) == []
    return pq.read_table(context.out / "rows.parquet").to_pylist(), pq.read_table(
        context.out / "clip.parquet"
    ).to_pylist()[0]


def test_two_persons(pair: Artefacts) -> None:
    relation = {"kinship": "non_blood", "senior": "B"}
    identity = {
        "A": {"subject_id": "subj_ann", "source": "given", "score": None},
        "B": {"subject_id": "subj_bob", "source": "matched", "score": 0.75},
    }
    (a, b), clip = run(pair, relation=relation, identity=identity, licence="CC0-1.0", pii=["name"])
    assert (a["person"], b["person"]) == ("A", "B")
    assert (a["partner_row_id"], b["partner_row_id"]) == (b["row_id"], a["row_id"])
    assert (clip["row_id_a"], clip["row_id_b"]) == (a["row_id"], b["row_id"])
    assert a["subject_id"] == b["partner_subject_id"] == clip["subject_id_a"] == "subj_ann"
    assert (a["subject_source"], a["subject_score"]) == ("given", None)
    assert (b["subject_source"], b["subject_score"]) == ("matched", 0.75)
    assert a["dyad_id"] == clip["dyad_id"] == ids.dyad_id("subj_ann", "subj_bob")
    assert (a["kinship"], a["status"], a["senior"], b["senior"]) == ("non_blood", "unequal", "partner", "self")
    assert (clip["senior"], clip["relation_source"], a["relation_confidence"]) == ("B", "metadata", 1.0)
    assert a["pii"] == ["face", "name", "voice"]
    # Valid where both the faces and the flame stage say so: T - 1 frames, less the first two.
    assert sum(a["valid"]) == T - 3
    assert a["q_valid"] == pytest.approx((T - 3) / T)
    assert a["q_face_px"] == 120.5 and a["q_blur"] == 50.0 and a["q_snr_db"] == 20.0 and b["q_snr_db"] is None
    assert a["q_reprojection"] == pytest.approx(0.016) and a["q_sync_offset_ms"] == 40.0
    assert clip["q_overlap"] == pytest.approx(5 / T) and clip["q_speech"] == pytest.approx(25 / T)
    assert a["text"] == "hello there" and b["text"] == ""
    assert [word["speaker"] for word in a["words"]] == ["A", "A", None]
    # Times are cut to the clip.
    assert a["words"][0]["start"] == 0.0 and a["words"][2]["end"] == T / 25
    assert [entry["name"] for entry in a["provenance"]["model_hashes"]] == ["a", "b"]


def test_mixture_is_the_clips_part_of_the_source(pair: Artefacts) -> None:
    _, clip = run(pair)
    sound, _ = sf.read(io.BytesIO(clip["audio"]["bytes"]), dtype="int16")
    np.testing.assert_array_equal(sound, np.arange(16000, 16000 + T * 640, dtype=np.int16))


def test_mixture_is_silent_after_the_source_has_ended(pair: Artefacts) -> None:
    sf.write(pair.root / "ingest" / "mixture.flac", np.ones(20000, np.int16), 16000, subtype="PCM_16")
    _, clip = run(pair)
    sound, _ = sf.read(io.BytesIO(clip["audio"]["bytes"]), dtype="int16")
    assert len(sound) == T * 640 and sound[:4000].all() and not sound[4000:].any()


def test_one_person(single: Artefacts) -> None:
    (row,), clip = run(single, relation={"kinship": "blood"})
    assert row["partner_row_id"] is None and row["partner_subject_id"] is None and clip["row_id_b"] is None
    assert row["subject_id"] == ids.unnamed_subject_id("clip_1", "A") and row["subject_source"] == "single"
    # A relation needs two.
    assert (row["kinship"], row["relation_source"], row["relation_confidence"]) == ("unknown", "unlabelled", None)


def test_subjects_of_other_people_are_refused(single: Artefacts) -> None:
    with pytest.raises(StageError, match="subjects knows"):
        run(single, identity={"B": SINGLE["B"]})


def test_names_count_only_where_it_is_clear_who_is_seen() -> None:
    both = {"subjects": {"A": "Ann", "B": "Bob"}}
    assert ids.given_subjects(("A", "B"), both) == {p: ids.named_subject_id(n) for p, n in both["subjects"].items()}
    assert ids.given_subjects(("A",), both) == {}  # one face, two names
    assert ids.given_subjects(("A",), {"subjects": {"A": "Ann"}}) == {"A": ids.named_subject_id("Ann")}
    assert ids.given_subjects(("A", "B"), {"subjects": {"B": ""}}) == ids.given_subjects(("A", "B"), {}) == {}


def test_same_artefacts_same_bytes(pair: Artefacts) -> None:
    run(pair, "first")
    run(pair, "second")
    for name in ("rows.parquet", "clip.parquet"):
        assert (pair.root / "first" / name).read_bytes() == (pair.root / "second" / name).read_bytes()


def test_rows_become_a_sound_dataset(pair: Artefacts, tmp_path: Path) -> None:
    run(pair)
    publish([pair.root / "out"], tmp_path / "dataset")
    report = validate(tmp_path / "dataset")
    assert report.ok, report.findings
    assert report.checked["clocks"] == 10


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: (a.root / "speech" / "A.flac").write_bytes(flac(T * 640 - 700, 0)), "audio lasts 1.956 s"),
        (lambda a: (a.root / "faces" / "B.mp4").write_bytes(mp4(T - 1)), "video holds 49 frames, num_frames is 50"),
        (lambda a: (a.root / "faces" / "B.jpg").write_bytes(jpeg(0)[:-9]), "image is not a whole JPEG"),
        (lambda a: (a.root / "faces" / "A.mp4").write_bytes(b"junk"), "video is not a readable video"),
        (lambda a: (a.root / "flame" / "A.npz").unlink(), "the stage flame left no A.npz"),
        (lambda a: (a.root / "flame" / "A.npz").write_bytes(b"PK"), "not a readable array file"),
        (lambda a: (a.root / "flame" / "flame.json").write_text("{"), "is not JSON"),
        (lambda a: a.json("faces/faces.json", {"persons": [{"person": "B"}]}), r"found persons \('B',\)"),
        (lambda a: np.savez(a.root / "speech" / "speech.npz", speaking_A=np.ones(T, bool)), "left no array speaking_B"),
        (
            lambda a: np.savez(a.root / "speech" / "speech.npz", speaking_A=np.ones(T - 1, bool)),
            "the clip has 50 frames",
        ),
    ],
)
def test_what_does_not_fit_is_refused(pair: Artefacts, spoil: Any, message: str) -> None:
    spoil(pair)
    with pytest.raises(StageError, match=message):
        run(pair)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (None, ("unknown", "unknown", "unknown")),
        ({"status": "equal"}, ("unknown", "equal", "none")),
        ({"senior": "A"}, ("unknown", "unequal", "A")),
        ({"senior": "none", "kinship": "blood"}, ("blood", "equal", "none")),
        ({"status": "unequal"}, ("unknown", "unequal", "unknown")),
    ],
)
def test_relation_is_completed(stated: dict[str, str] | None, expected: tuple[str, str, str]) -> None:
    relation = parse_relation(stated)
    assert (relation.kinship, relation.status, relation.senior) == expected


@pytest.mark.parametrize(
    "stated", [{"kinship": "cousins"}, {"status": "equal", "senior": "A"}, {"status": "unequal", "senior": "none"}]
)
def test_relation_that_cannot_be_is_refused(stated: dict[str, str]) -> None:
    with pytest.raises(UnsupportedSource, match="sidecar's relation"):
        parse_relation(stated)


def test_clocks_read_real_containers() -> None:
    sound = audio_length(flac(12345, 0))
    assert (sound.samples, sound.sample_rate, sound.channels, sound.format) == (12345, 16000, 1, "FLAC")
    video = video_length(mp4(37))
    assert (video.frames, video.fps, video.width, video.height) == (37, 25.0, 32, 32)
    for read in (audio_length, video_length):
        with pytest.raises(ValueError, match="not a readable"):
            read(b"neither")
