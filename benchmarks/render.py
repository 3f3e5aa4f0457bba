"""How fast conversations are drawn: each part alone, both people together with sound, and the latency of streams.

    python -m benchmarks.render
    python -m benchmarks.render --run my_run --avatars out/avatars/subj_1 out/avatars/subj_2
    python -m benchmarks.render --device cuda

Without --run a causal network of the default size with random weights makes the motion; without --avatars two avatars
with a Gaussian on every face of the open head are drawn. Parts: frames a second of two people's motion (network), of
pictures of one person (avatar, mesh), of pages of two (encoding); what the whole makes, drawn by one thread after the
other and by all of them; and the rivals: the mesh by the plain torch rasteriser, the portrait it imitates. The limit is
what the slowest part alone would allow on all threads. CPU seconds stand beside: other jobs stretch the clock.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe_machine, table
from model.avatar.avatar import Avatar
from model.gaussians import one_per_face
from model.head import load_head
from model.head.portrait import painted, portrait
from model.motion.config import NetworkConfig
from model.motion.conversation import PERSONS, SAMPLES_PER_FRAME, UNKNOWN
from model.motion.layout import MotionLayout
from model.motion.network import MotionNetwork
from model.motion.run import Run, load_run
from model.motion.speech import LogMel
from model.motion.stream import Stream
from model.motion.voice import VoiceActivity
from model.raster import rasterize
from model.render.figure import AvatarFigure, MeshFigure, predicted_codes, standing_at_rest
from rsat_data.rendering.live import Paced, stream_talk
from rsat_data.rendering.offline import cells_of, pictures_of, write_scene
from rsat_data.rendering.people import Person, Studio, from_folder
from rsat_data.rendering.scenes import Scene, conversation_from
from rsat_data.rendering.sound import Tracks


def main(arguments: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a causal run; default: random weights")
    parser.add_argument("--avatars", type=Path, nargs=2, help="two folders; default: a Gaussian on every face")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--stream-size", type=int, action="append", help="sizes streamed; default 512 and 256")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # drawing has threads of its own
    run = random_run(options.device) if options.run is None else load_run(options.run, options.device)
    people = {"avatar": _avatars(options, run), "mesh": dict.fromkeys(PERSONS, _mesh(run))}
    tracks = _sound(options.frames)
    print(describe_machine())
    motion, rows = _network(run, tracks)
    rows = [["part", "frames/s", "frames a CPU second", "threads"], *rows]
    for kind, who in people.items():
        scene = Scene(who, [("", {p: predicted_codes(motion[p], who[p].figure.stand) for p in PERSONS})],
                      _speaking(tracks), tracks.stereo())  # fmt: skip
        rows += _drawing(kind, scene, options)
    rows += _rivals(motion["A"], options)
    print(table(rows))
    print("\nFrames of the network and of the whole show two people; those of a picture one.\n")
    lines: list[list[Any]] = [["stream", "drawn", "network ms", "drawing ms", "total ms", "total p95", "kept up"]]
    for size in options.stream_size or (512, 256):
        for kind, who in people.items():
            lines.append(_stream(run, tracks, who, f"{kind} {size}", size, options.threads))
    print(table(lines))
    if not options.device.startswith("cuda"):
        print("\nnot run on a GPU")
    return 0


def random_run(device: str) -> Run:
    """A causal network of the default size, social module included, that nobody trained."""
    torch.manual_seed(0)
    head, ear = load_head(), LogMel()
    layout = MotionLayout(head.num_expression)
    network = MotionNetwork(NetworkConfig(causal=True), ear.channels, ear.per_frame, layout.size, social=True)
    network.fit_scale(torch.zeros(layout.size), torch.full((layout.size,), 0.05))
    return Run(network.to(device).eval(), ear, layout, None, "", head.id, 3, True, torch.device(device))


def _sound(count: int) -> Tracks:
    rng = np.random.default_rng(0)
    audio = {}
    for index, person in enumerate(PERSONS):
        loud = (np.arange(count) // 20) % 2 == index
        noise = rng.normal(0, 0.1, count * SAMPLES_PER_FRAME) * np.repeat(loud, SAMPLES_PER_FRAME)
        audio[person] = noise.astype(np.float32)
    return Tracks(audio)


def _speaking(tracks: Tracks) -> dict[str, np.ndarray]:
    return {person: VoiceActivity().push(tracks.audio[person]) for person in PERSONS}


def _mesh(run: Run) -> Person:
    head = load_head()
    shape = np.zeros(head.num_shape, np.float32)
    return Person("mesh", MeshFigure(shape, head, standing_at_rest(head, shape)), head.id)


def _avatars(options: argparse.Namespace, run: Run) -> dict[str, Person]:
    studio = Studio(device=options.device)
    if options.avatars:
        return {p: from_folder(folder, studio) for p, folder in zip(PERSONS, options.avatars, strict=True)}
    head = load_head()
    gaussians = one_per_face(head, colours=painted(head), opacity=0.95, scale=0.6)
    avatar = Avatar(gaussians, head.id, len(head.faces), torch.zeros(head.num_shape)).to(options.device)
    stand = standing_at_rest(head, np.zeros(head.num_shape, np.float32))
    return dict.fromkeys(PERSONS, Person("plain", AvatarFigure(avatar, head.to(options.device), stand), head.id))


def _measured(work: Callable[[], Any], count: int) -> tuple[Any, str, str]:
    """Result, frames a second of the clock, and of CPU time."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    return result, f"{count / clock:.1f}", f"{count / max(cpu, 1e-9):.1f}"


def _network(run: Run, tracks: Tracks) -> tuple[Mapping[str, Any], list[list[Any]]]:
    talk = conversation_from(run, tracks, _speaking(tracks))

    def predicted() -> dict[str, dict[str, np.ndarray]]:
        return {
            person: run.predict(talk, person, relation=UNKNOWN, partner_motion=False, audio=tracks.audio, draw=0)
            for person in PERSONS
        }

    predicted()
    motion, clock, cpu = _measured(predicted, tracks.num_frames)
    return motion, [["network, a draw of two people", clock, cpu, torch.get_num_threads()]]


def _drawing(kind: str, scene: Scene, options: argparse.Namespace) -> list[list[Any]]:
    count, rows = scene.num_frames, []
    cells, _, _ = cells_of(scene)
    alone = cells[:1]
    list(pictures_of(alone, 8, options.size, 1))
    _, clock, cpu = _measured(lambda: list(pictures_of(alone, count, options.size, 1)), count)
    rows.append([f"{kind}, a picture", clock, cpu, 1])
    for threads in dict.fromkeys((1, options.threads)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.mp4"
            (_, seconds), clock, cpu = _measured(partial(write_scene, path, scene, options.size, threads), count)
        rows.append([f"{kind}, the whole: two people with sound", clock, cpu, threads])
    rows.append([f"{kind}, pages and encoding", f"{count / seconds.encoding:.1f}", "", 1])
    return rows


def _rivals(motion: Mapping[str, np.ndarray], options: argparse.Namespace) -> list[list[Any]]:
    head, count = load_head(), 4
    shape = np.zeros(head.num_shape, np.float32)
    stand = standing_at_rest(head, shape)
    codes = {name: torch.from_numpy(value[:count]) for name, value in predicted_codes(motion, stand).items()}
    vertices, _ = head.pose(torch.from_numpy(shape), **codes)
    camera = stand.camera.scaled(options.size, options.size)
    rows: list[list[Any]] = []
    for name, work in (
        ("rival: the mesh by model.head.portrait, one sample a pixel", lambda: portrait(head, vertices, camera, 1)),
        ("rival: its rasteriser alone, plain torch", lambda: rasterize(vertices, head.faces, camera, "torch")),
    ):
        work()
        _, clock, cpu = _measured(work, count)
        rows.append([name, clock, cpu, 1])
    return rows


def _stream(run: Run, tracks: Tracks, people: Mapping[str, Person], name: str, size: int, threads: int) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        latency = stream_talk(Path(folder) / "x.mp4", Stream(run, seed=0), Paced(tracks), people, size, threads, "")
    facts = latency.summary()
    parts = [facts[f"{part}_ms"]["median"] for part in ("network", "drawing", "total")]
    kept = "yes" if facts["kept_up"] else "no"
    return [name, f"{facts['drawn']} of {round(tracks.num_frames)}", *parts, facts["total_ms"]["p95"], kept]


if __name__ == "__main__":
    raise SystemExit(main())
