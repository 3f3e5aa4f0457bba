"""Every GPU path in one go: right compared with the CPU, then how fast. One table.

    python -m benchmarks.gpu_check                  # on the GPU that torch sees; says so where there is none
    python -m benchmarks.gpu_check --device cpu     # the same table with the same code on the CPU
    python -m benchmarks.gpu_check --only raster    # the checks whose name holds this word

A check runs the path on the device, compares it with the CPU's result within a stated tolerance and then measures both.
``CHECKS`` is the list; a new GPU path is one more function in it. Exit code 1 if any of them fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import gpu_scene as scene
from benchmarks.machine import describe_machine, table
from model.fitting import reference
from model.fitting.backend import solver_for
from model.fitting.config import FitConfig
from model.fitting.fit import FitResult, fit_landmarks
from model.gaussians import one_per_face, to_world, triangle_frames
from model.photometric.config import PhotometricConfig
from model.photometric.refine import Landmarks, refine
from model.raster import Backend, rasterize, shade_lambert
from model.raster.gaussian import rasterize_gaussians
from model.raster.spherical_harmonics import ambient
from rsat_data import registry
from rsat_data.optional import is_installed


class Unavailable(Exception):  # noqa: N818 - no error: a check that cannot run here
    """A check cannot run on this machine; the message says what it lacks."""


@dataclass(frozen=True)
class Setting:
    """What a run is made of."""

    device: str
    """``cuda``, ``cuda:1`` or ``cpu``."""
    frames: int
    """Frames of the larger checks."""
    size: int
    """Side of a picture, pixels."""
    repeats: int
    """A figure is the best of so many."""
    warm_ups: int = 1
    """Calls before them that do not count."""

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def rate(self, work: Callable[[], object], items: int) -> float:
        """Items per second of the best of several calls."""
        best = float("inf")
        for number in range(self.warm_ups + self.repeats):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            if number >= self.warm_ups:
                best = min(best, time.perf_counter() - started)
        return items / best


@dataclass(frozen=True)
class Outcome:
    """What a check found."""

    difference: float
    """Largest difference between device and CPU, in the unit of ``limit``."""
    limit: float
    """The largest that counts as equal."""
    unit: str
    """Of both."""
    cpu: float
    """Items per second of the CPU's path, the one that is used where there is no GPU."""
    device: float
    """Items per second on the device."""
    items: str = "frames"
    """What is counted."""

    @property
    def ok(self) -> bool:
        """Whether the device agrees with the CPU; NaN does not."""
        return self.difference <= self.limit


@dataclass(frozen=True)
class Check:
    """One GPU path."""

    name: str
    run: Callable[[Setting], Outcome]
    """Raises ``Unavailable`` where something that it needs is not installed."""


# The paths -----------------------------------------------------------------------------------------------------------


def check_posing(setting: Setting) -> Outcome:
    """Codes to vertices."""
    here, there = scene.head(), scene.head().to(setting.device)
    codes = scene.codes(setting.frames)
    far = scene.to(codes, setting.device)
    difference = (here.pose(**codes)[0] - there.pose(**far)[0].cpu()).norm(dim=-1).max()
    return Outcome(
        1e3 * float(difference), 1e-3, "mm",
        setting.rate(lambda: here.pose(**codes), setting.frames),
        setting.rate(lambda: there.pose(**far), setting.frames),
    )  # fmt: skip


def _raster(setting: Setting, backend: Backend) -> Outcome:
    """Share of pixels whose face differs from numba's by more than a tie, then pictures per second."""
    frames = max(1, setting.frames // 8)
    vertices = scene.head().pose(**scene.codes(frames))[0]
    faces, camera = scene.head().faces, scene.camera(setting.size)
    points, triangles = vertices.to(setting.device), faces.to(setting.device)
    slow, fast = rasterize(vertices, faces, camera, "numba"), rasterize(points, triangles, camera, backend)
    other = (slow.face_id != fast.face_id.cpu()) & ~((slow.depth - fast.depth.cpu()).abs() < 1e-6)
    return Outcome(
        100 * float(other.float().mean()), 0.05, "% of pixels",
        setting.rate(lambda: rasterize(vertices, faces, camera, "numba"), frames),
        setting.rate(lambda: rasterize(points, triangles, camera, backend), frames),
    )  # fmt: skip


def check_raster_torch(setting: Setting) -> Outcome:
    """Triangles to pixels by plain torch."""
    return _raster(setting, "torch")


def check_raster_pytorch3d(setting: Setting) -> Outcome:
    """Triangles to pixels by pytorch3d."""
    if not is_installed("pytorch3d"):
        raise Unavailable("pytorch3d is not installed (docs/gpu.md)")
    return _raster(setting, "pytorch3d")


def check_shading(setting: Setting) -> Outcome:
    """A shaded picture, and gradients of its difference from another to vertices and colours."""
    frames = max(1, setting.frames // 16)
    head, camera = scene.head(), scene.camera(setting.size)
    vertices = head.pose(**scene.codes(frames))[0]
    colours = torch.rand(1, head.num_vertices, 3, generator=torch.Generator().manual_seed(0))
    light = ambient(torch.tensor([0.8, 0.7, 0.6]))
    # The same faces on both sides: what a pixel shows is compared by the raster checks.
    wanted = torch.rand(frames, camera.height, camera.width, 3, generator=torch.Generator().manual_seed(1))

    def work(device: str, backend: Backend) -> torch.Tensor:
        points = vertices.to(device).requires_grad_()
        paint = colours.to(device).requires_grad_()
        faces = head.faces.to(device)
        fragments = rasterize(points, faces, camera, backend)
        picture = shade_lambert(fragments, faces, points, paint, light.to(device))
        (picture - wanted.to(device)).square().mean().backward()
        assert points.grad is not None and paint.grad is not None
        return torch.cat(
            [points.grad.flatten() / points.grad.abs().max(), paint.grad.flatten() / paint.grad.abs().max()]
        )

    there: Backend = "torch" if setting.device == "cpu" else "auto"
    first, second = work("cpu", "numba"), work(setting.device, there).cpu()
    return Outcome(
        100 * float((first - second).norm() / first.norm()), 1.0, "% of the gradient",
        setting.rate(lambda: work("cpu", "numba"), frames), setting.rate(lambda: work(setting.device, there), frames),
    )  # fmt: skip


def check_gaussians(setting: Setting) -> Outcome:
    """Largest difference of a colour, and of gradients as a part of their norm; pictures per second, both ways."""
    if not (setting.device.startswith("cuda") and is_installed("gsplat")):
        raise Unavailable("gsplat draws on CUDA, where it is installed")
    frames, camera = max(1, setting.frames // 32), scene.camera(setting.size)
    head = scene.head()
    frames_of = triangle_frames(head.pose(**scene.codes(frames))[0], head.faces)
    world = to_world(one_per_face(head, opacity=0.8, scale=0.5), frames_of)
    colours = torch.rand(len(head.faces), 3, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(frames, setting.size, setting.size, 3, generator=torch.Generator().manual_seed(1))

    def run(device: str) -> list[torch.Tensor]:
        leaves = [
            t.detach().to(device).requires_grad_()
            for t in (world.means, world.quats, world.scales, world.opacities, colours)
        ]
        means, quats, scales, opacities, paint = leaves
        rgb = rasterize_gaussians(means, quats, scales, opacities, paint, camera).rgb
        return [rgb.detach(), *torch.autograd.grad(rgb, leaves, weights.to(device))]

    slow, fast = run("cpu"), [t.cpu() for t in run(setting.device)]
    apart = [float((slow[0] - fast[0]).abs().max())]
    apart += [float((a - b).norm() / a.norm().clamp_min(1e-12)) for a, b in zip(slow[1:], fast[1:], strict=True)]
    # A Gaussian's edge, where alpha is 1/255, may fall on either side of a pixel.
    return Outcome(
        max(apart), 0.01, "of 1", setting.rate(lambda: run("cpu"), frames),
        setting.rate(lambda: run(setting.device), frames), "pictures",
    )  # fmt: skip


def check_landmark_fit(setting: Setting) -> Outcome:
    """Landmarks to codes, the shape known: largest difference of a landmark's place between both fits."""
    size = 512
    marks, shape = scene.landmarks(setting.frames, size)
    valid = np.ones(len(marks), bool)
    config = FitConfig()

    def work(device: str, config: FitConfig) -> FitResult:
        solve = solver_for(device)
        return fit_landmarks(scene.model(), marks, valid, scene.camera(size), config=config, shape=shape, solve=solve)

    there = "torch" if setting.device == "cpu" else setting.device
    far = replace(config, tolerance=1e-7, iterations=max(config.iterations, 14))  # to the end on both sides
    points = []
    for device in ("cpu", there):
        found = work(device, far)
        codes = torch.as_tensor(found.codes).float()
        points.append(reference.landmarks(scene.head(), torch.as_tensor(found.shape), codes, scene.camera(size)))
    return Outcome(
        float((points[0] - points[1]).norm(dim=-1).max()), 0.05, "px",
        setting.rate(lambda: work("cpu", config), len(marks)), setting.rate(lambda: work(there, config), len(marks)),
    )  # fmt: skip


def check_photometric(setting: Setting) -> Outcome:
    """The profile `full`: codes of the landmark fit refined by pictures in memory; largest distance between vertices.

    Landmarks are a pixel off, the shape is known. The rates are those of the refinement alone, upload included.
    """
    config = PhotometricConfig()
    if setting.device == "cpu":  # torch on the CPU is slow
        config = PhotometricConfig(
            size=64, samples=500, texel_m=0.006, keyframes=4, rounds=1, coarse_rounds=0, iterations=3, window=16,
            overlap=4,
        )  # fmt: skip
    size = max(setting.size, config.size)
    marks, shape = scene.landmarks(setting.frames, size)
    given, camera, fit = Landmarks(marks, np.ones(len(marks), bool)), scene.camera(size), FitConfig()
    fast = fit_landmarks(scene.model(), given.points, given.valid, camera, config=fit, shape=shape)
    pictures = scene.filmed(setting.frames, size, config)
    threads = torch.get_num_threads()
    there = "torch" if setting.device == "cpu" else setting.device

    found: dict[str, FitResult] = {}

    def work(device: str) -> None:
        found[device] = refine(
            scene.head(), fast, given, lambda first, last: pictures[first:last], None, camera, fit=fit, config=config,
            device=device, threads=threads,
        ).codes  # fmt: skip

    def face(result: FitResult) -> torch.Tensor:
        names = ("expression", "jaw", "neck", "eyes", "rotation", "translation")
        codes = [torch.as_tensor(getattr(result, name)) for name in names]
        return scene.head().pose(torch.as_tensor(result.shape), *codes)[0][:, scene.head().groups["face"]]

    few = replace(setting, repeats=min(setting.repeats, 2))
    rates = [few.rate(partial(work, device), len(marks)) for device in ("cpu", there)]
    apart = (face(found["cpu"]) - face(found[there])).norm(dim=-1)
    return Outcome(1e3 * float(apart.max()), 0.1, "mm", rates[0], rates[1])


def check_voices(setting: Setting) -> Outcome:
    """The network that tells voices apart, on ten windows of noise."""
    from model.speech.pyannet import WINDOW_SAMPLES, load_pyannet

    folder = _model_file("pyannote-segmentation")
    here, there = load_pyannet(folder), load_pyannet(folder, setting.device)
    windows = 2 if setting.frames < 100 else 10
    sound = 0.1 * torch.randn(windows, WINDOW_SAMPLES, generator=torch.Generator().manual_seed(0))
    far = sound.to(setting.device)
    with torch.inference_mode():
        difference = (here(sound) - there(far).cpu()).abs().max()
        cpu = setting.rate(lambda: here(sound), windows)
        return Outcome(
            float(difference), 2e-3, "probability", cpu, setting.rate(lambda: there(far), windows), "windows"
        )


def check_words(setting: Setting) -> Outcome:
    """Whisper by CTranslate2 on eight seconds of a recording, in float32: share of words that differ."""
    import soundfile

    from pipelines.speech.asr_faster_whisper import load_whisper, resolve_device

    kind = "cpu" if setting.device == "cpu" else "cuda"
    if kind == "cuda" and resolve_device("auto") != "cuda":
        raise Unavailable("CTranslate2 sees no CUDA GPU (it needs cuBLAS and cuDNN of its own)")
    folder = _model_file("whisper-tiny.en")
    sound, rate = soundfile.read(_model_file("sample-conversation") / "sample.wav", dtype="float32")
    clip = sound[7 * rate : 15 * rate]

    def words(device: str) -> list[str]:
        model = load_whisper(folder, device, "float32", 1)
        segments, _ = model.transcribe(clip, language="en", beam_size=1, temperature=0.0)
        return " ".join(segment.text for segment in segments).split()

    first, second = words("cpu"), words(kind)
    different = sum(a != b for a, b in zip(first, second, strict=False)) + abs(len(first) - len(second))
    seconds = len(clip) / rate
    return Outcome(
        100 * different / max(len(first), 1), 10.0, "% of words",
        setting.rate(lambda: words("cpu"), 1) * seconds, setting.rate(lambda: words(kind), 1) * seconds, "seconds",
    )  # fmt: skip


def _model_file(name: str) -> Path:
    if registry.state(registry.get(name)) != "present":
        raise Unavailable(f"the model file is not here: rsat-data models fetch {name}")
    return registry.model_path(name, offline=True)


CHECKS: tuple[Check, ...] = (
    Check("head posing", check_posing),
    Check("raster, torch", check_raster_torch),
    Check("raster, pytorch3d", check_raster_pytorch3d),
    Check("shading and gradients", check_shading),
    Check("raster of Gaussians, gsplat", check_gaussians),
    Check("landmark fit", check_landmark_fit),
    Check("photometric refinement", check_photometric),
    Check("voices (PyanNet)", check_voices),
    Check("words (Whisper)", check_words),
)
"""Every path that can use a GPU, in the order of the table."""

CPU_ONLY = (
    "faces, landmarks and mattes (MediaPipe)",
    "the shape from a clip's telling frames (numba)",
    "encoding and decoding of video (x264, FFmpeg)",
)
"""What has no GPU path, for the table to be read rightly."""


def run_checks(setting: Setting, checks: Sequence[Check], say: Callable[[str], None]) -> tuple[list[list[str]], bool]:
    """Rows of the table and whether nothing failed. A check that breaks is a row like any other: the rest still run."""
    rows, good = [], True
    for check in checks:
        say(f"{check.name} ...")
        memory = "-"
        if setting.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(setting.device)
        try:
            outcome = check.run(setting)
        except Unavailable as reason:
            rows.append([check.name, f"not run: {reason}", "-", "-", "-", "-", "-"])
            continue
        except Exception as error:  # noqa: BLE001 - one broken path must not hide the others
            good = False
            rows.append([check.name, f"FAILED: {type(error).__name__}: {str(error).splitlines()[0]}", *"-----"])
            continue
        if setting.device.startswith("cuda"):
            memory = f"{torch.cuda.max_memory_allocated(setting.device) / 2**20:.0f} MiB"
        good &= outcome.ok
        rows.append(
            [
                check.name,
                "same" if outcome.ok else "DIFFERS",
                f"{outcome.difference:.2g} of {outcome.limit:g} {outcome.unit}",
                f"{outcome.cpu:.4g} {outcome.items}/s",
                f"{outcome.device:.4g} {outcome.items}/s",
                f"{outcome.device / outcome.cpu:.2g} x",
                memory,
            ]
        )
    return rows, good


def describe_device(device: str) -> str:
    """The device in words."""
    if not device.startswith("cuda"):
        return f"device: {device}. No GPU was used: no figure in this table is one of a GPU."
    found = torch.cuda.get_device_properties(device)
    return (
        f"device: {found.name}, {found.total_memory / 2**30:.0f} GiB, {found.multi_processor_count} multiprocessors, "
        f"compute {found.major}.{found.minor}; CUDA {torch.version.cuda}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto (the GPU that torch sees), cuda, cuda:1 or cpu")
    parser.add_argument("--only", default="", metavar="WORD", help="only the checks whose name holds this word")
    parser.add_argument(
        "--small", action="store_true", help="few frames and small pictures: for tests, not for figures"
    )
    options = parser.parse_args(arguments)
    device = options.device
    if device == "auto":
        if not torch.cuda.is_available():
            why = (
                "this torch is built without CUDA" if torch.version.cuda is None else "no CUDA GPU is visible to torch"
            )
            print(f"No GPU here ({why}): nothing was checked. The same table on the CPU: --device cpu")
            return 0
        device = "cuda"
    if device.startswith("cuda") and not torch.cuda.is_available():
        print(f"--device {device}: torch sees no CUDA GPU on this machine.", file=sys.stderr)
        return 2
    chosen = [check for check in CHECKS if options.only in check.name]
    if not chosen:
        print(f"No check is called {options.only!r}: {', '.join(check.name for check in CHECKS)}.", file=sys.stderr)
        return 2
    setting = Setting(device, 256, 512, 5)
    if device == "cpu":  # the torch paths are made for GPUs: on a CPU they are slow
        setting = Setting(device, 32, 256, 1)
    if options.small:
        setting = Setting(device, 8, 64, 1, warm_ups=0)
    rows, good = run_checks(setting, chosen, lambda words: print(words, file=sys.stderr, flush=True))
    print(describe_machine())
    print(describe_device(device))
    print(
        f"{setting.frames} frames, pictures of {setting.size}x{setting.size}, each rate the best of {setting.repeats}\n"
    )
    print(table([["path", "result", "largest difference", "CPU path", "device", "ratio", "memory"], *rows]))
    print(f"\nWithout a GPU path: {'; '.join(CPU_ONLY)}.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
