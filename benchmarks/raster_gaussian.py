"""Gaussian rasteriser on the CPU: ``python -m benchmarks.raster_gaussian [--seconds S] [--no-rival]``.

Scenes: "start" has one Gaussian on each of the 10,240 faces of the open head, as large as its face, opacity 0.1 (how
a fit begins); "fitted" has them half as large with an opacity of 0.8 (how it may end); "random" is a cloud of small
Gaussians of a fixed size in the picture's terms (about 2 pixels at 256x256). The head fills most of the picture. The
background is a picture of its own. Backward is the gradient of a weighted sum of the colours to all five inputs.

Wall clock is the best of as many calls as fit into --seconds. "CPU" is processor time: of ours in a call with one
thread; it hardly depends on what else runs on the machine. The rival in the same run is the plain torch backend
("reference"), judged by the processor time of all its threads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.machine import copy_bandwidth, describe_machine, table
from model.camera import Camera
from model.gaussians import one_per_face, to_world, triangle_frames
from model.head import load_head
from model.raster.gaussian import Splats, numba_backend, rasterize_gaussians
from model.raster.gaussian.simd import fma, load, splat, store
from model.raster.jit import kernel

FORWARD_FLOP, BACKWARD_FLOP = 37, 56
"""Additions and multiplications per pixel of a block and Gaussian (a fused one counts twice), counted in the source."""


@dataclass(frozen=True)
class Scene:
    """What is drawn."""

    name: str
    tensors: tuple[torch.Tensor, ...]
    camera: Camera

    def leaves(self) -> list[torch.Tensor]:
        return [t.clone().requires_grad_() for t in self.tensors]


def head_scene(name: str, size: int, each: int = 1) -> Scene:
    """``each`` Gaussians on every face, spread over it; as large all together as one alone."""
    head = load_head()
    scale, opacity = (1.0, 0.1) if name == "start" else (0.5, 0.8)
    which = torch.arange(len(head.faces)).repeat_interleave(each)
    gaussians = one_per_face(head, which=which, scale=scale / each**0.5, opacity=opacity)
    g = torch.Generator().manual_seed(0)
    if each > 1:
        gaussians.mean[:] = 0.3 * torch.randn(len(which), 3, generator=g) * torch.tensor([1.0, 0.1, 1.0])
    vertices = head.v_template[None] + torch.tensor([0.0, 0.0, 0.7])
    world = to_world(gaussians, triangle_frames(vertices, head.faces))
    colours = torch.rand(len(which), 3, generator=g)
    tensors = (world.means, world.quats, world.scales, world.opacities, colours)
    return Scene(name, tensors, Camera(2.2 * size, 2.2 * size, size / 2, 0.47 * size, size, size))


def random_scene(count: int, size: int) -> Scene:
    """A cloud in front of the camera."""
    g = torch.Generator().manual_seed(0)
    means = torch.rand(1, count, 3, generator=g) * torch.tensor([2.0, 2.0, 0.6]) + torch.tensor([-1.0, -1.0, 1.7])
    scales = torch.exp(torch.randn(1, count, 3, generator=g) * 0.3 - 4.4)
    quats = torch.randn(1, count, 4, generator=g)
    opacities = torch.rand(count, generator=g) * 0.9 + 0.05
    tensors = (means, quats, scales, opacities, torch.rand(count, 3, generator=g))
    return Scene("random", tensors, Camera(0.95 * size, 0.95 * size, size / 2, size / 2, size, size))


class Runner:
    """Draws one scene, forward or both ways."""

    def __init__(self, scene: Scene) -> None:
        g = torch.Generator().manual_seed(1)
        self.scene, self.leaves = scene, scene.leaves()
        shape = (1, scene.camera.height, scene.camera.width, 3)
        self.background, self.weights = torch.rand(shape, generator=g), torch.rand(shape, generator=g)

    def draw(self, backend: str = "numba", threads: int | None = None) -> Splats:
        return rasterize_gaussians(
            *self.leaves, self.scene.camera, background=self.background, backend=backend, threads=threads
        )  # type: ignore[arg-type]

    def forward(self, backend: str = "numba", threads: int | None = None) -> None:
        with torch.no_grad():
            self.draw(backend, threads)

    def both(self, backend: str = "numba", threads: int | None = None) -> None:
        torch.autograd.grad(self.draw(backend, threads).rgb, self.leaves, self.weights)

    def work(self) -> tuple[int, int]:
        """Pairs of a tile and a Gaussian in which something is drawn, and the blocks of 16 pixels in them."""
        kept = self.draw().rgb.grad_fn.kept  # type: ignore[union-attr]
        masks = np.concatenate([p.mask[p.lists[: p.tile_start[-1]]] for p in kept[1]])
        return int((masks != 0).sum()), int(np.unpackbits(masks.view(np.uint8)).sum())


def shortest(
    work: Callable[[], Any], seconds: float, clock: Callable[[], float] = time.perf_counter, least: int = 3
) -> float:
    """Shortest time of a call, of as many as fit into ``seconds`` of wall clock (``least`` at least)."""
    best, calls, until = float("inf"), 0, time.perf_counter() + seconds
    while calls < least or time.perf_counter() < until:
        started = clock()
        work()
        best = min(best, clock() - started)
        calls += 1
    return best


@contextmanager
def stage_times() -> Iterator[dict[str, float]]:
    """Shortest CPU time of each kernel of the numba backend while it runs with one thread."""
    times: dict[str, float] = {}
    run_jobs = numba_backend.run_jobs

    def timed(job: Any, arguments: Any, threads: int | None = None) -> None:
        started = time.thread_time()
        run_jobs(job, arguments, threads)
        times[job.__name__] = min(times.get(job.__name__, float("inf")), time.thread_time() - started)

    numba_backend.run_jobs = timed  # type: ignore[assignment]
    try:
        yield times
    finally:
        numba_backend.run_jobs = run_jobs  # type: ignore[assignment]


@kernel
def _multiply_add(values, rounds):  # type: ignore[no-untyped-def]
    """Ten independent chains of multiply-adds, ``rounds`` long."""
    x, y = splat(np.float32(0.999)), splat(np.float32(0.001))
    a, b, c, d, e = load(values, 0), load(values, 16), load(values, 32), load(values, 48), load(values, 64)
    f, g, h, i, j = load(values, 80), load(values, 96), load(values, 112), load(values, 128), load(values, 144)
    for _ in range(rounds):
        a, b, c, d, e = fma(a, x, y), fma(b, x, y), fma(c, x, y), fma(d, x, y), fma(e, x, y)
        f, g, h, i, j = fma(f, x, y), fma(g, x, y), fma(h, x, y), fma(i, x, y), fma(j, x, y)
    store(values, 0, a + b + c + d + e + f + g + h + i + j)


def peak_flops() -> float:
    """Multiply-adds of float32 vectors a second on one core, times two: nothing in a register does more."""
    values, rounds = np.ones(160, np.float32), 2_000_000
    return 2 * 10 * 16 * rounds / shortest(lambda: _multiply_add(values, rounds), 1.0, time.thread_time)


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of wall clock for each of our figures")
    parser.add_argument("--no-rival", action="store_true", help="leave out plain torch, which takes a minute or two")
    parser.add_argument("--rival-calls", type=int, default=1, help="the rival's figure is the best of so many")
    parser.add_argument("--small", action="store_true", help="the first rows of each table")
    options = parser.parse_args()
    cores = torch.get_num_threads()
    print(describe_machine())

    def figures(runner: Runner) -> tuple[list[float], dict[str, float]]:
        ways = (runner.forward, runner.both)
        wall = [shortest(lambda w=w: w(threads=cores), options.seconds) for w in ways]  # type: ignore[misc]
        with stage_times() as times:
            cpu = [
                shortest(lambda w=w: w(threads=1), options.seconds, time.thread_time)  # type: ignore[misc]
                for w in ways
            ]
        return [*wall, *cpu], times

    print(f"Forward, and forward with backward; {cores} threads\n")
    rows = [["scene", "size", "Gaussians", "forward", "both", "forward, CPU", "both, CPU", "torch, CPU", "ratio"]]
    scenes = [head_scene("start", 256), head_scene("fitted", 256), random_scene(10_000, 256)]
    for scene in scenes[: 1 if options.small else 3]:
        runner = Runner(scene)
        times, _ = figures(runner)
        rival, ratio = "-", "-"
        if not options.no_rival:
            slow = shortest(lambda r=runner: r.both("reference"), 0.0, time.process_time, options.rival_calls)  # type: ignore[misc]
            rival, ratio = f"{slow:.2f} s", f"{slow / times[3]:.0f} x"
        size = f"{scene.camera.width}x{scene.camera.height}"
        rows.append([scene.name, size, str(len(scene.tensors[4])), *map(milliseconds, times), rival, ratio])
    print(table(rows) + "\n")

    peak, bandwidth = peak_flops(), copy_bandwidth()
    print(
        f"Growth, and what limits it. One core makes {peak / 1e9:.0f} GFLOP/s of multiply-adds and copies "
        f"{bandwidth / 1e9:.1f} GB/s.\nBlends: pixels of the blocks in which a Gaussian was drawn. The shares are "
        "those of the blending\nkernels alone, CPU time, one thread; bytes are those that come from beyond the first "
        "cache.\n"
    )
    rows = [["scene", "size", "Gaussians", "blends", "both, CPU", "per blend", "blending"]]
    rows[0] += ["GFLOP/s", "of peak", "GB/s"]
    scenes = [random_scene(count, size) for size in (256, 512) for count in (1_000, 10_000, 30_000, 100_000)]
    scenes += [head_scene("start", 512), head_scene("fitted", 512)]
    for scene in scenes[: 2 if options.small else None]:
        runner = Runner(scene)
        pairs, blocks = runner.work()
        with stage_times() as stages:
            cpu = shortest(lambda r=runner: r.both(threads=1), options.seconds, time.thread_time)  # type: ignore[misc]
        blending = stages["blend"] + stages["blend_backward"]
        flops = 16 * blocks * (FORWARD_FLOP + BACKWARD_FLOP) / blending
        moved = (pairs * (2 * (64 + 12) + 64) + scene.camera.width * scene.camera.height * 60) / blending
        rows.append(
            [
                scene.name,
                f"{scene.camera.width}x{scene.camera.height}",
                f"{len(scene.tensors[4]):,}",
                f"{16 * blocks / 1e6:.2f} M",
                milliseconds(cpu),
                f"{cpu / (16 * blocks) * 1e9:.2f} ns",
                f"{blending / cpu:.0%}",
                f"{flops / 1e9:.1f}",
                f"{flops / peak:.0%}",
                f"{moved / 1e9:.2f}",
            ]
        )
    print(table(rows) + "\n")

    print(f"Forward only at 512x512, {cores} threads: frames a second (posing the head is not in it)\n")
    rows = [["Gaussians", "wall clock", "frames/s", "CPU, one thread"]]
    for each in (1, 2, 3)[: 1 if options.small else 3]:
        runner = Runner(head_scene("fitted", 512, each))
        wall = shortest(lambda r=runner: r.forward(threads=cores), options.seconds)  # type: ignore[misc]
        cpu = shortest(lambda r=runner: r.forward(threads=1), options.seconds, time.thread_time)  # type: ignore[misc]
        rows.append([f"{len(runner.leaves[4]):,}", milliseconds(wall), f"{1 / wall:.0f}", milliseconds(cpu)])
    print(table(rows))


if __name__ == "__main__":
    main()
