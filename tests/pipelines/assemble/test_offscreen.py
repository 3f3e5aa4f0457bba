"""Rows of people who are not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

import rsat_data
from pipelines.assemble import ids
from pipelines.assemble.stage import STAGE, AssembleConfig
from pipelines.stage import StageContext
from rsat_data.errors import DatasetError
from rsat_data.gates import apply_gates, parse_gates
from rsat_data.publish import publish
from rsat_data.validate import validate
from tests.dataset_factory import flac
from tests.pipelines.assemble.test_rows import SINGLE, Artefacts, T, write_artefacts

HIDDEN = (np.arange(T) >= 40) & (np.arange(T) < 50)
RELATION = {"kinship": "blood", "status": "unequal", "senior": "A"}


def context(root: Path, letter: str, out: str = "out", *, heard: bool = True) -> StageContext:
    """A clip of one person whose partner, ``letter``, is not seen."""
    made = Artefacts(root, "A") if (root / "faces").exists() else write_artefacts(root, "A")
    with np.load(root / "speech" / "speech.npz") as stored:
        arrays = dict(stored)
    np.savez(root / "speech" / "speech.npz", **(arrays | {"speaking_hidden": HIDDEN & heard}))
    if heard:
        (root / "speech" / "hidden.flac").write_bytes(flac(T * 640, 9))
    ctx = made.context(out, relation=RELATION)
    with np.load(root / "flame" / "A.npz") as stored:
        shape = np.full(stored["shape"].shape, 0.25).tolist()
    partner = {"letter": letter, "subject_id": "subj_other", "source": "matched", "score": 0.97, "shape": shape}
    part: dict[str, Any] = {**ctx.parts["subjects"], "partner": partner}
    object.__setattr__(ctx, "parts", {"subjects": part})
    return ctx


def rows_of(ctx: StageContext, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    STAGE.run(ctx, AssembleConfig(**options))
    clip = pq.read_table(ctx.out / "clip.parquet").to_pylist()[0]
    return pq.read_table(ctx.out / "rows.parquet").to_pylist(), clip


@pytest.mark.parametrize("letter", ["A", "B"])
def test_the_partner_is_heard_and_never_valid(tmp_path: Path, letter: str) -> None:
    rows, clip = rows_of(context(tmp_path / "clip", letter))
    assert [row["person"] for row in rows] == ["A", "B"]
    unseen = rows["AB".index(letter)]
    seen = rows["BA".index(letter)]
    assert seen["subject_id"] == SINGLE["A"]["subject_id"] and unseen["subject_id"] == "subj_other"
    assert unseen["subject_source"] == "matched" and unseen["subject_score"] == pytest.approx(0.97)
    assert (seen["partner_row_id"], unseen["partner_row_id"]) == (unseen["row_id"], seen["row_id"])
    assert seen["dyad_id"] == unseen["dyad_id"] == ids.dyad_id(seen["subject_id"], "subj_other")
    assert set(unseen["invalid_reason"]) == {"off_screen"} and not any(unseen["valid"]) and any(seen["valid"])
    assert unseen["speaking"] == HIDDEN.tolist() and unseen["audio_isolation"] == "gated"
    assert unseen["audio"]["bytes"] == flac(T * 640, 9)
    assert [unseen[name] for name in ("image", "video", "matte", "q_face_px", "q_sync")] == [None] * 5
    assert unseen["q_valid"] == 0.0 and clip["q_valid"] == pytest.approx(seen["q_valid"])
    assert set(unseen["shape"]) == {0.25} and not np.any(unseen["expression"]) and not np.any(unseen["rotation"])
    assert unseen["translation"][0][2] > 0  # before the camera
    assert (seen["text"], unseen["text"]) == ("hello there", "hi")
    speakers = [word["speaker"] for word in unseen["words"]]
    assert speakers == [seen["person"], seen["person"], letter] and seen["words"] == unseen["words"]
    assert [turn["person"] for turn in clip["turns"]] == [seen["person"], letter]
    assert (clip["row_id_a"], clip["row_id_b"]) == (rows[0]["row_id"], rows[1]["row_id"])
    assert clip["kinship"] == "blood" and (rows[0]["senior"], rows[1]["senior"]) == ("self", "partner")
    assert clip["turn_taking"]


def test_nobody_hidden_speaks_is_silence(tmp_path: Path) -> None:
    ctx = context(tmp_path / "clip", "B", heard=False)
    rows, _ = rows_of(ctx)
    (tmp_path / "b.flac").write_bytes(rows[1]["audio"]["bytes"])
    samples, rate = sf.read(tmp_path / "b.flac", dtype="int16")
    assert rate == 16000 and len(samples) == T * 640 and not samples.any()
    assert not any(rows[1]["speaking"]) and rows[0]["words"][2]["speaker"] is None


def test_the_option_turns_it_off(tmp_path: Path) -> None:
    rows, clip = rows_of(context(tmp_path / "clip", "A"), off_screen_partner=False)
    assert [row["person"] for row in rows] == ["A"] and rows[0]["partner_row_id"] is None
    assert clip["row_id_b"] is None and clip["kinship"] == "unknown"


def test_a_dataset_with_such_rows_is_sound_and_can_be_read(tmp_path: Path) -> None:
    ctx = context(tmp_path / "clip", "B")
    STAGE.run(ctx, AssembleConfig())
    publish([ctx.out], tmp_path / "ds")
    report = validate(tmp_path / "ds")
    assert report.ok, report.findings
    data = rsat_data.load(tmp_path / "ds", split=None)
    splits = {row["split"] for row in data}
    assert len(data) == 2 and len(splits) == 1

    batch = rsat_data.collate([data[0], data[1]])
    assert not np.asarray(batch["valid"])[1].any()
    (seen, unseen) = [data[0], data[1]] if data[0]["video"] is not None else [data[1], data[0]]
    assert unseen.partner()["row_id"] == seen["row_id"] and len(unseen.audio()) == T * 640
    totals = json.loads((tmp_path / "ds/meta/info.json").read_text())["totals"]
    assert totals["seconds"] == 2 * T / 25 and totals["face_seconds"] == sum(seen["valid"]) / 25
    names = {"src_1": "talk"}
    assert apply_gates(parse_gates(["q_valid>0.5,q_face_px>96"]), [ctx.out], names).kept == (ctx.out,)
    with pytest.raises(DatasetError):
        apply_gates(parse_gates(["q_valid>0.99"]), [ctx.out], names)  # the one who is seen decides
