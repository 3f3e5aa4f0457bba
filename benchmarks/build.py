"""Cost of a build, by stage: seconds of computing per second of video and person.

    python -m benchmarks.build --videos DIR     your own videos
    python -m benchmarks.build                  two synthetic conversations, made first

One worker with one thread, so that processor time and wall clock mean the same. The limit printed is what nothing can
go below here: decoding every frame once with the same decoder in the same run. Rivals publish only seconds a frame of
the face tracking alone, on large GPUs; their figures stand beside ours for the same part of the work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, table

#: What others publish for tracking one face in one frame, seconds.
RIVALS = {
    "flame-head-tracker 4.1, landmarks, RTX 4090 (its README)": 0.9,
    "flame-head-tracker 4.1, photometric, RTX 4090 (its README)": 1.9,
}
FPS = 25.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder of videos; synthetic ones are made when absent")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        videos = arguments.videos or _synthetic(Path(scratch, "videos"))
        out = Path(scratch, "out")
        started = time.monotonic()
        _run("build", "--videos", str(videos), "--out", str(out), "--workers", "1", "--quiet", "--max-failed", "100%")
        wall = time.monotonic() - started
        records = [json.loads(path.read_text(encoding="utf-8")) for path in (out / ".work/units").rglob("done.json")]
        clips = [clip for record in records for clip in record["summary"].get("clips", [])]
        video_s = sum(clip["end_s"] - clip["start_s"] for clip in clips)
        person_s = sum((clip["end_s"] - clip["start_s"]) * clip["num_faces"] for clip in clips)
        decode = _decode_seconds(videos, records)
        disk = sum(path.stat().st_size for path in (out / "data").rglob("*.parquet"))
    print(describe_machine())
    print(f"{len(clips)} clips, {video_s:.1f} s of video, {person_s:.1f} s of persons; wall clock {wall:.1f} s\n")
    cpu: dict[str, float] = {}
    for record in records:
        cpu[record["stage"]] = cpu.get(record["stage"], 0.0) + record["cpu_seconds"]
    rows: list[list[Any]] = [["stage", "cpu s / video s", "cpu s / person s", "share"]]
    total = sum(cpu.values())
    for stage, seconds in [*cpu.items(), ("all stages", total), ("limit: decode once", decode)]:
        rows.append([stage, f"{seconds / video_s:.3f}", f"{seconds / person_s:.3f}", f"{seconds / total:.0%}"])
    print(table(rows))
    frame = (cpu["faces"] + cpu["flame"]) / (person_s * FPS)
    print(f"\ntracking (faces + flame), one person: {frame:.4f} s a frame on one core of this machine")
    for name, seconds in RIVALS.items():
        print(f"  {name}: {seconds} s a frame, {seconds / frame:.0f} times ours")
    print(f"disk: {disk / person_s / 1e3:.0f} kB of Parquet per second and person")


def _synthetic(folder: Path) -> Path:
    _run("synth", "--out", str(folder), "--clips", "2", "--seconds", "8", "--seed", "5")
    return folder


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "rsat_data", *arguments], check=True, stdout=subprocess.DEVNULL)


def _decode_seconds(videos: Path, records: list[dict[str, Any]]) -> float:
    from pipelines.ingest.media import iter_frames
    from rsat_data.content import file_sha256

    paths = {file_sha256(path): path for path in videos.rglob("*") if path.is_file()}
    started = time.process_time()
    for record in records:
        for clip in record["summary"].get("clips", []):
            for _ in iter_frames(paths[record["unit"]["sha256"]], clip["start_s"], clip["num_frames"], FPS):
                pass
    return time.process_time() - started


if __name__ == "__main__":
    main()
