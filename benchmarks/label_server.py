"""Push and pull against a real label server: seconds, peak memory, requests a clip.

    RSAT_LABEL_SERVER=.venv-label/bin/label-studio python -m benchmarks.label server
    ... python -m benchmarks.label server --clips 200 --voters 2 --data my_dataset

Clips are made by `synth --as-dataset`, and given previews of 640x360 that were encoded beforehand, a few for all: what
a push costs depends on their bytes and frames, not on what they show. The server is Label Studio with SQLite on this
machine, started for the run; it shares the processor with what is measured. Each verb runs in a process of its own,
whose peak memory (mapped Parquet files included) is the largest that the system saw; its own CPU seconds are those of
this process, without the server's. The votes are made through the API by accounts of their own, one
request a vote, before the pull; they agree with the truth nine times out of ten. `push` and `pull` are each run twice:
the second run finds nothing to do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--verb", choices=["push", "pull"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.verb:
        print(json.dumps(run_verb(arguments.verb, arguments.out)))
        return
    print(describe_machine())
    print(report(arguments.clips, arguments.seconds, arguments.voters, arguments.data))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--clips", type=int, default=1000, help="clips pushed")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a clip")
    parser.add_argument("--voters", type=int, default=3, help="votes on each clip")
    parser.add_argument("--data", type=Path, help="a dataset of `synth --as-dataset` to copy, instead of making one")


def run_verb(verb: str, out: Path) -> dict[str, Any]:
    """Run one verb in this process; seconds, requests, peak memory in MB, and what came of it."""
    from annotation import PullOptions, PushOptions, pull, push

    if verb == "push":
        pushed = push(out, PushOptions())
        done, requests = pushed.pushed, pushed.requests
        more: dict[str, Any] = {"media_mb": pushed.media_bytes / 1e6, "failed": len(pushed.failed)}
    else:
        pulled = pull(out, PullOptions())
        done, requests, more = pulled.votes, pulled.requests, {"refused": len(pulled.refused)}
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    return {"done": done, "requests": requests, "peak_mb": used.ru_maxrss / 1e3, "cpu_s": cpu, **more}


def report(clips: int, seconds: float, voters: int, data: Path | None = None) -> str:
    """Do it all in a temporary folder; the table."""
    from annotation import InitOptions, init
    from annotation.client import Client
    from annotation.server import ServeOptions, serve

    with tempfile.TemporaryDirectory(prefix="rsat-label-") as scratch:
        root = Path(scratch)
        out = make_dataset(root / "dataset", clips, seconds, data)
        started = time.perf_counter()
        with serve(out, ServeOptions(port=0, data=root / "server", token_file=root / "token")) as server:
            assert server.account is not None
            start_s = time.perf_counter() - started
            environment = {**os.environ, "LABEL_STUDIO_API_KEY": server.account.token.reveal()}
            environment.pop("LABEL_STUDIO_URL", None)
            owner = Client(server.url, server.account.token, timeout_s=60.0, retries=4)
            began = time.perf_counter()
            init(out, InitOptions(token_file=root / "token", overlap=voters))
            head = ["", "seconds", "own CPU s", "clips or votes", "a second", "requests", "a clip", "peak MB"]
            lines: list[list[Any]] = [head]
            lines.append(["init", f"{time.perf_counter() - began:.1f}", "", "", "", "", "", ""])
            for name in ("push", "push again"):
                lines.append(_line(name, *_timed("push", out, environment), clips))
            began = time.perf_counter()
            votes = vote(owner, out, voters)
            vote_s = time.perf_counter() - began
            lines.append(["votes made by API", f"{vote_s:.1f}", "", votes, f"{votes / vote_s:.0f}", votes, voters, ""])
            for name in ("pull", "pull again"):
                lines.append(_line(name, *_timed("pull", out, environment), clips))
        return f"{table(lines)}\n\nserver's first start (makes its database): {start_s:.0f} s; not counted above"


def _timed(verb: str, out: Path, environment: Mapping[str, str]) -> tuple[float, dict[str, Any]]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.label_server", "--verb", verb, "--out", str(out)]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began, json.loads(done.stdout.splitlines()[-1])


def _line(name: str, seconds: float, found: Mapping[str, Any], clips: int) -> list[Any]:
    done, requests = found["done"], found["requests"]
    rate = f"{done / seconds:.0f}" if done else ""
    cpu, peak = f"{found['cpu_s']:.1f}", f"{found['peak_mb']:.0f}"
    return [name, f"{seconds:.1f}", cpu, done, rate, requests, f"{requests / clips:.3f}", peak]


# Material -----------------------------------------------------------------------------------------------------------


def make_dataset(out: Path, clips: int, seconds: float, data: Path | None) -> Path:
    """A dataset with previews."""
    import shutil

    if data is not None:
        shutil.copytree(data, out, ignore=shutil.ignore_patterns(".work", ".label"))
    else:
        command = [sys.executable, "-m", "rsat_data", "synth", "--out", str(out), "--as-dataset", "--clips", str(clips)]
        command += ["--seconds", str(seconds), "--source", "spoken", "--clips-per-dyad", "5", "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    give_previews(out, round(seconds * 25))
    return out


def give_previews(out: Path, frames: int, kinds: int = 8) -> None:
    """Fill the column ``preview`` of the clips."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rsat_data.writer import OWNED, DatasetWriter
    from schemas.clips import SCHEMA

    previews = [preview(frames, kind) for kind in range(kinds)]
    with DatasetWriter(out) as writer:
        for file in sorted(writer.old):
            if not file.startswith("data/clips/"):
                if file.startswith(OWNED):
                    writer.keep(file)
                continue

            def groups(path: Path = out / file) -> Iterator[pa.Table]:
                with pq.ParquetFile(path) as shard:
                    for group in range(shard.num_row_groups):
                        read = shard.read_row_group(group)
                        cells = [{"bytes": previews[n % kinds], "path": "p.mp4"} for n in range(read.num_rows)]
                        place = SCHEMA.get_field_index("preview")
                        filled = pa.array(cells, type=SCHEMA.field("preview").type)
                        yield read.set_column(place, SCHEMA.field("preview"), filled).cast(SCHEMA)

            writer.write_table(file, SCHEMA.with_metadata(pq.read_schema(out / file).metadata), groups())
        writer.commit()


def preview(frames: int, seed: int) -> bytes:
    """A moving picture of 640x360 with sound, written as the stage `faces` writes previews."""
    from rsat_data.mp4 import write_video

    rng = np.random.default_rng(seed)
    scene = np.kron(rng.integers(0, 255, (24, 54, 3), dtype=np.uint8), np.ones((20, 20, 1), np.uint8))
    sound = rng.normal(0, 0.05, frames * 640).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "preview.mp4"
        moving = (np.roll(scene, 3 * n, axis=1)[60:420, 200:840] for n in range(frames))
        write_video(path, moving, 25.0, 28, audio=sound)
        return path.read_bytes()


def vote(owner: Any, out: Path, voters: int) -> int:
    """Every voter answers every clip; returns the number of votes."""
    from annotation.server import add_account
    from annotation.store import LabelStore
    from rsat_data import load

    truth = {row["clip_id"]: row for row in load(out, None, ["clip_id", "kinship", "status", "senior"], table="clips")}
    journal = LabelStore(out).round().pushed()

    def answer_all(number: int) -> int:
        account = add_account(owner, f"voter{number}@example.org")
        rng = random.Random(number)
        with type(owner)(owner.url, account.token, timeout_s=60.0, retries=4) as client:
            for clip_id, record in journal.items():
                client.create_annotation(record["task_id"], answer(truth[clip_id], rng), lead_time_s=12.5)
        return len(journal)

    # One after the other on the server's single writer; a few at once keep it busy.
    with ThreadPoolExecutor(voters) as pool:
        return sum(pool.map(answer_all, range(voters)))


def answer(clip: Mapping[str, Any], rng: random.Random) -> list[dict[str, Any]]:
    """One filled form: the truth nine times out of ten."""
    kinship = clip["kinship"] if rng.random() < 0.9 else rng.choice(["blood", "non_blood", "unsure"])
    status = clip["status"] if rng.random() < 0.9 else rng.choice(["equal", "unequal", "unsure"])
    said = {
        "kinship": kinship if kinship != "unknown" else "unsure",
        "status": status if status != "unknown" else "unsure",
    }
    if status == "unequal":
        said["senior"] = clip["senior"] if clip["senior"] in ("A", "B") else "unsure"
    chosen = [
        {"from_name": name, "to_name": "video", "type": "choices", "value": {"choices": [value]}}
        for name, value in said.items()
    ]
    rating = {"from_name": "confidence", "to_name": "video", "type": "rating", "value": {"rating": rng.randint(1, 5)}}
    return [*chosen, rating]


if __name__ == "__main__":
    main()
