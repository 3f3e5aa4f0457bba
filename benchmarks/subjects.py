"""Are people known again, and is a shape over all clips nearer the truth than one of a single clip?

    rsat-data synth --out talks --clips 14 --people 7 --seconds 3.2 --seed 77 --source spoken --size 960x540
    (take `subjects` out of the sidecars, or nobody has to be known again)
    rsat-data build --videos talks --out talks_dataset
    python -m benchmarks.subjects --truth talks --dataset talks_dataset

Reads the artefacts of the stage `shape` and runs the stage `subjects` on them in several ways. Prints pairs found,
missed and wrong; the error of the neutral head (face region, mean vertex distance after rigid alignment, mm); the
error of the focal length per source.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from pipelines.stage import Member, StageContext
from pipelines.subjects.config import SubjectsConfig
from pipelines.subjects.run import run
from pipelines.synth.truth import Truth, read_truth


@dataclass(frozen=True)
class Result:
    """What one way of joining the clips gives."""

    found: int
    """Pairs of rows of one person that share a subject."""
    missed: int
    """Pairs of one person that do not."""
    wrong: int
    """Pairs of two people that share a subject."""
    open_pairs: int
    """Length of the review list."""
    vertex_mm: float
    """Mean over rows of the mean distance of face vertices."""
    focal_error: float
    """Mean over sources of |focal / truth - 1|."""


def members_of(dataset: Path) -> list[Member]:
    """The clips of a built dataset, with the artefacts of the stage `shape`; nobody is named."""
    from rsat_data.workspace import WORK_DIR

    found = {}
    for path in sorted((dataset / WORK_DIR / "units/shape").rglob("done.json"), key=lambda path: path.stat().st_mtime):
        unit = json.loads(path.read_text(encoding="utf-8"))["unit"]
        found[unit["clip_id"]] = Member(unit, {"shape": path.parent})
    return [found[clip] for clip in sorted(found)]


def truths_of(dataset: Path, truth: Path) -> dict[str, Truth]:
    """source_id -> truth, for sources that have one."""
    import pyarrow.parquet as pq

    rows = pq.read_table(dataset / "meta/sources.parquet", columns=["source_id", "name"]).to_pylist()
    names = {row["source_id"]: Path(row["name"]).stem for row in rows}
    return {key: read_truth(truth, stem) for key, stem in names.items() if (truth / f"{stem}.truth.json").is_file()}


def face_error_mm(shape: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of the neutral heads' face vertices after the best rotation and shift, millimetres."""
    from model.head.load import load_head

    head = load_head("open")
    group = head.groups["face"].numpy()
    template, directions = head.v_template.numpy()[group], head.shapedirs.numpy()[group]
    one, other = (template + directions @ code.astype(np.float32) for code in (shape, truth))
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    u, _, vt = np.linalg.svd(one.T @ other)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return 1000 * float(np.linalg.norm(one @ turn - other, axis=1).mean())


def measure(members: list[Member], truths: Mapping[str, Truth], config: SubjectsConfig) -> Result:
    """Join the clips and compare with the truth."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run(StageContext(Path(), {}, {}, out, model=Path, members=members), config)
        parts: dict[str, Any] = json.loads((out / "parts.json").read_text(encoding="utf-8"))
        open_pairs = len(json.loads((out / "subject_review.json").read_text(encoding="utf-8"))["pairs"])
    rows, errors, focals = [], [], {}
    for member in members:
        truth = truths.get(member.unit["source_id"])
        if truth is None:
            continue
        part = parts[member.unit["clip_id"]]
        focals[truth.name] = part["fit"]["focal"] * truth.camera.width / truth.camera.fx - 1
        for person, shape in part["fit"]["shapes"].items():
            rows.append((truth.subjects[person], part["identity"][person]["subject_id"]))
            errors.append(face_error_mm(np.array(shape), truth.codes[person].shape))
    same = [(a[0] == b[0], a[1] == b[1]) for a, b in combinations(rows, 2)]
    return Result(
        found=sum(true and said for true, said in same),
        missed=sum(true and not said for true, said in same),
        wrong=sum(said and not true for true, said in same),
        open_pairs=open_pairs,
        vertex_mm=float(np.mean(errors)),
        focal_error=float(np.mean(np.abs(list(focals.values())))),
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    arguments = parser.parse_args()
    members, truths = members_of(arguments.dataset), truths_of(arguments.dataset, arguments.truth)
    print(describe_machine())
    print(f"{len(members)} clips, {len(truths)} with a truth")
    print(f"{'shape of':<12} {'cameras':<10} {'found':>6} {'missed':>7} {'wrong':>6} {'open':>5} {'mm':>6} focal")
    base = SubjectsConfig()
    for name, matched in (("each clip", False), ("the subject", True)):
        for cameras in ("fixed", "estimate"):
            config = replace(base, match=matched, cameras=cameras)
            r = measure(members, truths, config)
            print(
                f"{name:<12} {cameras:<10} {r.found:>6} {r.missed:>7} {r.wrong:>6} {r.open_pairs:>5} "
                f"{r.vertex_mm:>6.2f} {100 * r.focal_error:>6.1f}%"
            )


if __name__ == "__main__":
    main()
