"""What tracking costs the model: the same conversations as truth, and as videos that went through rendering and build.

    python -m benchmarks.train_built --work runs --threads 1

Conversations are rendered by ``synth``, built by ``build`` (profile fast, each person's own sound), and written a
second time with the truth in place of the tracked codes: same rows, splits, sound and speaking, so nothing but the
codes and their validity differs. Stage 1 is trained on either and judged on conversations of other people. Slow parts
are kept in the folder and used again. Needs espeak-ng.

First table: how far the tracked codes are from the truth, over frames that the tracker calls valid. gain is the slope
of tracked against true codes; offset is the distance of their means within a clip, residual what is left without
offset and gain, both in units of the true codes' spread within a clip; jitter is the spread of steps between frames
over the truth's.

Second table: centred errors over those of a face that stands still, and the correlation of the jaw, by what a run was
trained on, what it is shown (the reference, and the partner's motion), and what its prediction is compared with. The
same frames count in all rows. Intervals of 95 % over dyads.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import describe_machine, table
from benchmarks.train import COLUMNS, SPOKEN, judge
from model.evaluate.intervals import Bootstrap, Cells
from model.evaluate.predictors import Others, Predictor, floors
from model.head import load_head
from model.motion.conversation import PERSONS, Conversation, conversations
from model.motion.layout import CODE_OF_GROUP
from model.motion.run import Run, load_run
from pipelines.synth.scene import FRAME_CODES
from pipelines.synth.truth import Truth, read_truth
from rsat_data.cli.train import run_training

SETS = {"learnt": 101, "unseen": 202}
"""Name of a set -> seed of its people, voices, behaviour."""
KINDS = ("truth", "built")
Talks = Mapping[str, Conversation]
"""Clip -> conversation."""


def main(arguments: list[str] | None = None) -> int:
    """Make, build, train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for videos, datasets and runs; used again")
    parser.add_argument("--train", type=int, default=12, help="conversations to learn from")
    parser.add_argument("--test", type=int, default=6, help="conversations to be judged on")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--size", default="960x540", help="of the pictures; faces need 100 px")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a setting of the runs")
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    for name, clips in (("learnt", options.train), ("unseen", options.test)):
        make(options, name, clips)
    runs = {kind: train(options, kind) for kind in KINDS}
    unseen = {kind: by_clip(options.work / f"unseen_{kind}") for kind in KINDS}
    report(by_clip(options.work / "learnt_truth"), by_clip(options.work / "learnt_built"), "learnt")
    report(unseen["truth"], unseen["built"], "unseen")
    compare(runs, unseen)
    return 0


# Datasets ----------------------------------------------------------------------------------------------------------


def make(options: argparse.Namespace, name: str, clips: int) -> None:
    """Videos of a set, their dataset, and the same with the truth in place of what was tracked."""
    videos, built, twin = (options.work / f"{name}_{kind}" for kind in ("videos", *KINDS[::-1]))
    timed(
        "rendering", "synth", "--out", videos, "--clips", clips, "--seconds", options.seconds, "--seed", SETS[name],
        "--source", "spoken", "--size", options.size, "--per-person-audio", "--workers", options.threads,
    )  # fmt: skip
    if not (built / "manifest.jsonl").is_file():
        # No test split: the people to be judged on are another set's.
        timed(
            "building", "build", "--videos", videos, "--out", built, "--workers", options.threads,
            "--set", "flame.profile=fast", "--set", "speech.model=whisper-tiny.en", "--set", "dataset.train=0.84",
            "--set", "dataset.validation=0.16", "--set", "dataset.test=0",
        )  # fmt: skip
    if not (twin / "manifest.jsonl").is_file():
        write_twin(videos, built, twin)


def timed(what: str, *arguments: object) -> None:
    """Run a command of rsat-data, and say how long it took."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "rsat_data", *map(str, arguments), "--quiet"], check=True)
    print(f"{what}: {time.perf_counter() - started:.0f} s", flush=True)


def write_twin(videos: Path, built: Path, out: Path) -> None:
    """The built dataset with true codes, every frame valid: all else, and every split, as it is."""
    import schemas
    from rsat_data.publish import CLIPS_FILE, ROWS_FILE, publish
    from schemas.arrow import table_from_rows

    spec = schemas.TABLES["triplets"]
    names = {row["source_id"]: Path(row["name"]).stem for row in read_rows(built, "meta/sources.parquet")}
    rows = read_rows(built, "data/triplets/*.parquet")
    for row in rows:
        truth = read_truth(videos, names[row["source_id"]])
        row.update(true_columns(truth, row))
        for column in spec:
            if column.is_frames:
                row[column.name] = np.asarray(row[column.name])
    part = out.with_name(f"{out.name}_part")
    part.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_from_rows(spec, rows), part / ROWS_FILE, row_group_size=10)
    clips = pa.concat_tables([pq.read_table(file) for file in sorted((built / "data/clips").glob("*.parquet"))])
    pq.write_table(clips, part / CLIPS_FILE, row_group_size=10)
    publish([part], out, keep_splits={row["subject_id"]: row["split"] for row in rows})


def read_rows(dataset: Path, pattern: str) -> list[dict[str, Any]]:
    """Rows of all files of a pattern."""
    return [row for file in sorted(dataset.glob(pattern)) for row in pq.read_table(file).to_pylist()]


def true_columns(truth: Truth, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the truth says in place of a row's tracked columns."""
    first, frames = round(row["start_s"] * 25), row["num_frames"]
    span = slice(first, first + frames)
    codes = truth.codes[row["person"]]
    if truth.head_model != row["head_model"]:
        raise SystemExit(f"{row['row_id']}: tracked with {row['head_model']}, made with {truth.head_model}")
    return {
        "shape": codes.shape,
        **{name: getattr(codes, name)[span] for name in FRAME_CODES},
        "valid": np.ones(frames, bool),
        "reprojection_px": np.zeros(frames, np.float32),
        "invalid_reason": np.full(frames, ""),
        "confidence": np.ones(frames, np.float32),
        "q_valid": 1.0,
        "q_reprojection": None,
    }


def by_clip(dataset: Path) -> Talks:
    """All conversations of a dataset by clip."""
    return {talk.clip_id: talk for talk in conversations(dataset, None)}


# Training and judging ----------------------------------------------------------------------------------------------


def train(options: argparse.Namespace, kind: str) -> Run:
    """The run on one kind of codes, trained if it is not there."""
    folder = options.work / f"run_{kind}"
    if not (folder / "stage1" / "last.safetensors").is_file():
        started = time.perf_counter()
        # The mean is judged, so no head that draws is trained.
        own = (f"train.steps={options.steps}", f"train.threads={options.threads}", "train.draw_steps=0")
        settings = (*own, *options.settings)
        found = run_training(
            dataset=options.work / f"learnt_{kind}", folder=folder, stage="1", file=None, settings=settings,
            device="cpu", resume=False, quiet=True,
        )  # fmt: skip
        stage = found["stages"]["1"]
        print(
            f"trained on {kind}: {stage['steps']} steps in {time.perf_counter() - started:.0f} s, best at "
            f"{stage['best_step']}, validation loss {stage['best']:.3f}",
            flush=True,
        )
    return load_run(folder, stage=1)


def report(truth: Talks, built: Talks, name: str) -> None:
    """How far tracked codes are from the truth, group by group."""
    lines = [["", "gain", "offset", "residual", "jitter", "correlation"]]
    valid = np.concatenate([talk.valid[p] for talk in built.values() for p in PERSONS])
    for group, code in CODE_OF_GROUP.items():
        found: list[list[float]] = []
        for clip, talk in built.items():
            for person in PERSONS:
                mask = talk.valid[person]
                x, y = (one.codes[person][code].astype(np.float64) for one in (talk, truth[clip]))
                found.append(distance(x, y, mask))
        means = np.nanmean(np.array(found), axis=0)
        lines.append([group, *(f"{value:.2f}" for value in means)])
    both = [talk.valid["A"] & talk.valid["B"] for talk in built.values()]
    share = f"{valid.mean():.1%} of a person's frames valid, {np.concatenate(both).mean():.1%} of both people's"
    print(f"\n{name}: {len(built)} conversations, {share}")
    print(table(lines))


def distance(x: np.ndarray, y: np.ndarray, mask: np.ndarray) -> list[float]:
    """gain, offset, residual, jitter, correlation of tracked x (T, d) and true y (T, d) codes; NaN if y is still."""
    steps = mask[1:] & mask[:-1]
    dx, dy = np.diff(x, axis=0)[steps], np.diff(y, axis=0)[steps]
    x, y = x[mask], y[mask]
    a, b = x - x.mean(0), y - y.mean(0)
    power = (b * b).sum()
    if power < 1e-12:
        return [np.nan] * 5
    gain = float((a * b).sum() / power)
    spread = float(np.sqrt((b * b).sum(1).mean()))
    offset = float(np.linalg.norm(x.mean(0) - y.mean(0))) / spread
    residual = float(np.sqrt(((a - gain * b) ** 2).sum(1).mean())) / spread
    jitter = float(np.sqrt((dx * dx).sum() / max((dy * dy).sum(), 1e-12)))
    return [gain, offset, residual, jitter, float((a * b).sum() / np.sqrt(power * max((a * a).sum(), 1e-12)))]


def compare(runs: Mapping[str, Run], unseen: Mapping[str, Talks]) -> None:
    """Both runs, shown and compared with either kind of codes, beside tracking itself and still faces."""
    names = load_head().expression_names
    spoken = np.array([any(word in name for word in SPOKEN) for name in names])
    lids = np.array(["eyeBlink" in name for name in names])
    reference_s = next(iter(runs.values())).reference_s
    clips = [clip for clip in unseen["built"] if clip in unseen["truth"]]

    def counts(talk: Conversation, person: str) -> np.ndarray:
        """Frames that count in every row: valid for the tracker."""
        return next(iter(runs.values())).evaluated(unseen["built"][talk.clip_id], person)

    def still(shown: str) -> Predictor:
        others = Others([], [])
        mean = next(one for one in floors(others, reference_s) if one.name == "static_mean")
        return Predictor("still", "", "floor", lambda talk, person: mean.predict(unseen[shown][talk.clip_id], person))

    def model(run: Run, shown: str) -> Predictor:
        return Predictor("model", "", "model", lambda talk, person: run.predict(unseen[shown][talk.clip_id], person))

    def tracked(talk: Conversation, person: str) -> dict[str, np.ndarray]:
        codes = unseen["built"][talk.clip_id].codes[person]
        return {group: codes[code] for group, code in CODE_OF_GROUP.items()}

    rows = [
        (trained, shown, judged, model(runs[trained], shown))
        for trained in KINDS
        for shown, judged in (("truth", "truth"), ("built", "built"), ("built", "truth"))
    ]
    rows.append(("(tracking itself)", "", "truth", Predictor("tracked", "", "floor", tracked)))
    bootstrap = Bootstrap()
    lines: list[list[str]] = [["trained on", "shown", "compared with", *COLUMNS, "FD", "r of the jaw"]]
    base = {kind: judge([unseen[kind][c] for c in clips], still(kind), counts, spoken, lids) for kind in KINDS}
    for trained, shown, judged, one in rows:
        talks = [unseen[judged][clip] for clip in clips]
        found = judge(talks, one, counts, spoken, lids)
        dyads = np.unique([talk.dyad_id for talk in talks for _ in PERSONS], return_inverse=True)[1]
        ratios = [found[name] / np.mean(base[judged][name]) for name in (*COLUMNS, "fd")]
        cells = [cell(values, dyads, bootstrap) for values in (*ratios, found["r"])]
        lines.append([trained, shown, judged, *cells])
    print(f"\n{len(clips)} conversations of unseen people; a still face is 1")
    print(table(lines))


def cell(values: np.ndarray, dyads: np.ndarray, bootstrap: Bootstrap) -> str:
    """A figure with its interval."""
    estimate = bootstrap.figure(Cells(values, np.isfinite(values).astype(float)), dyads)
    if estimate.value is None:
        return "-"
    span = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.2f}{span}"


if __name__ == "__main__":
    raise SystemExit(main())
