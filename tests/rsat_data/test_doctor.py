"""What `doctor` finds, also where almost nothing works."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rsat_data import doctor, machine, packages, registry
from rsat_data.cli.doctor import doctor as doctor_command
from rsat_data.cli.doctor import render
from rsat_data.packages import Package

CORE = [
    "torch",
    "mediapipe",
    "opencv-python",
    "faster-whisper",
    "av",
    "numba",
    "scenedetect",
    "soundfile",
    "safetensors",
]
ALL_STATES = st.sampled_from(["works", "installed", "missing", "broken"])


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.HOME_VARIABLE, str(tmp_path / "home"))


def package(name: str, state: packages.PackageState = "works", extra: str | None = None) -> Package:
    return Package(
        name, ">=1", extra, None if state == "missing" else "1.0", state, "boom" if state == "broken" else None
    )


def test_this_machine_can_build() -> None:
    report = doctor.examine(imports=False)
    assert report.problems == []
    assert report.ready
    names = {found.name for found in report.packages if found.extra is None}
    assert {"torch", "mediapipe", "pyarrow", "av"} <= names
    assert all(job.backend for job in report.jobs)
    assert report.hardware["cores"] >= 1 and report.hardware["memory_bytes"] > 1e8
    assert any(item.command == "rsat-data models fetch" for item in report.advice)


def test_json_and_text_hold_the_same(tmp_path: Path) -> None:
    result = CliRunner().invoke(doctor_command, ["--json", "--quick"], standalone_mode=False)
    found = json.loads(result.output)
    assert found["ready"] is True and result.return_value == 0
    text = CliRunner().invoke(doctor_command, ["--quick"], standalone_mode=False).output
    for row in [*found["packages"], *found["models"]]:
        assert row["name"] in text
    for job in found["jobs"]:
        assert job["job"] in text and job["backend"] in text


def test_choices_follow_what_is_here() -> None:
    installed = [package(name) for name in CORE]

    def backend(job: str, found: list[Package], hardware: dict[str, object]) -> str | None:
        return next(row.backend for row in doctor.choose(found, [], hardware) if row.job == job)

    assert backend("speech to text", installed, {}) == "faster-whisper"
    assert backend("speech to text", [*installed, package("whisperx", extra="speech")], {}) == "whisperx"
    assert backend("mesh rasteriser", installed, {"gpus": []}) == "numba"
    assert backend("faces", [row for row in installed if row.name != "mediapipe"], {}) is None


def test_where_speech_runs_needs_a_gpu_that_each_engine_sees() -> None:
    installed = [package(name) for name in CORE]
    gpus = [{"name": "G", "memory_bytes": 1}]

    def reasons(hardware: dict[str, object]) -> tuple[str, str]:
        found = {row.job: row.why for row in doctor.choose(installed, [], hardware)}
        return found["speech to text"][-3:], found["who spoke when"][-3:]

    assert reasons({"gpus": gpus, "speech_gpus": 1}) == ("GPU", "GPU")
    assert reasons({"gpus": [], "speech_gpus": 1}) == ("GPU", "CPU")
    assert reasons({"gpus": gpus, "speech_gpus": 0}) == ("CPU", "CPU")


def test_the_choice_of_recogniser_is_the_speech_stages_own() -> None:
    from pipelines.speech.backends import choose_backend

    chosen = {row.job: row.backend for row in doctor.examine(imports=False).jobs}
    assert chosen["speech to text"] == choose_backend("auto")


@given(
    states=st.lists(ALL_STATES, min_size=len(CORE) + 1, max_size=len(CORE) + 1),
    gpu=st.booleans(),
    driver=st.booleans(),
    model_states=st.lists(st.sampled_from(["present", "missing", "damaged"]), min_size=2, max_size=2),
)
def test_any_machine_gets_a_choice_or_a_reason(
    states: list[packages.PackageState], gpu: bool, driver: bool, model_states: list[str]
) -> None:
    found = [package(name, state) for name, state in zip([*CORE, "whisperx"], states, strict=True)]
    hardware = {"gpus": [{"name": "G", "memory_bytes": 1}] if gpu else [], "nvidia_driver": driver, "programs": {}}
    models = [
        {"name": name, "state": state, "by_default": True, "bytes": 1, "needed_for": []}
        for name, state in zip(["face_landmarker", "whisper-base"], model_states, strict=True)
    ]
    for job in doctor.choose(found, models, hardware):
        assert job.why and (job.backend or job.needs)
    advice = doctor.advise(found, models, hardware)
    broken = [row.name for row in found if row.extra is None and row.state in ("missing", "broken")]
    assert [item.what.split()[0] for item in advice if item.required][: len(broken)] == broken
    assert all(item.command for item in advice)


def test_missing_core_package_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "mediapipe":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    report = doctor.examine(imports=False)
    assert not report.ready
    assert "mediapipe is missing" in render(report) and "CANNOT" in render(report)
    result = CliRunner().invoke(doctor_command, ["--quick"], standalone_mode=False)
    assert result.return_value == 1


def test_when_every_examination_fails_there_is_still_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such luck")

    for name in ("requirements", "look_at_hardware", "look_at_gpu", "look_at_models", "choose", "advise"):
        monkeypatch.setattr(doctor, name, fail)
    report = doctor.examine(imports=False)
    assert len(report.problems) == 6
    assert "no such luck" in render(report)
    json.dumps(report.as_dict())


def test_a_crash_is_charged_to_the_module_that_crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {
        "good_a": "print('noise')\nprint('{\"start\": 3')",
        "raises": "raise ImportError('lib.so: cannot open')",
        "dies": "import os\nos._exit(3)",
        "good_b": "",
        "hangs": "import time\ntime.sleep(60)",
        "good_c": "",
    }
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(packages, "IMPORT_TIMEOUT_S", 3.0)
    found = packages.probe_imports([*modules, "no_such_module_here"])
    errors = {name: row["error"] for name, row in found.items()}
    assert [name for name, error in errors.items() if error is None] == ["good_a", "good_b", "good_c"]
    assert "cannot open" in errors["raises"]
    assert "code 3" in errors["dies"]
    assert "within 3 s" in errors["hangs"]
    assert "ModuleNotFoundError" in errors["no_such_module_here"]
    assert packages.with_probe(package("raises", "installed"), found["raises"]).state == "broken"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("torch<2.14,>=2.8", ("torch", "<2.14,>=2.8", None)),
        ('whisperx<3.9,>=3.8.6; extra == "speech"', ("whisperx", "<3.9,>=3.8.6", "speech")),
        ("ray[default]>=2 ; extra == 'cluster'", ("ray", ">=2", "cluster")),
        ('rsat-data[dev]; extra == "all"', None),
        ('pandas-stubs; extra == "dev"', ("pandas-stubs", "", "dev")),
    ],
)
def test_parse_requirement(line: str, expected: object) -> None:
    assert packages.parse_requirement(line) == expected


def test_opencv_packages_of_different_versions_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"opencv-python": "4.12.0.88", "opencv-python-headless": "4.11.0.86"}

    def version(name: str) -> str:
        if name in versions:
            return versions[name]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    (advice,) = doctor.check_opencv()
    assert advice.required and "4.11.0.86" in advice.what and "opencv-python-headless" in advice.command
    versions["opencv-python-headless"] = "4.12.0.88"
    assert doctor.check_opencv() == []


def test_gpu_reasons() -> None:
    assert doctor.look_at_gpu(None)["gpus"] == []
    assert "CPU build" in doctor.look_at_gpu({"error": None, "cuda_build": None, "gpus": []})["gpu_why"]
    assert "no device" in doctor.look_at_gpu({"error": None, "cuda_build": "12.8", "gpus": []})["gpu_why"]
    seen = doctor.look_at_gpu({"error": None, "cuda_build": "12.8", "gpus": [{"name": "G", "memory_bytes": 2}]})
    assert seen["gpus"][0]["name"] == "G"


def test_memory_and_disk_of_this_machine(tmp_path: Path) -> None:
    total, free = machine.memory()
    assert total is not None and total > 1e8
    assert free is None or 0 <= free <= total
    assert machine.free_disk(tmp_path / "not" / "there" / "yet") == pytest.approx(machine.free_disk(tmp_path), rel=0.2)
    assert machine.cpu_name()


def test_every_core_distribution_is_looked_for_under_its_module() -> None:
    core = [name for name, _, extra in packages.requirements() if extra is None]
    assert len(core) > 10
    for name in core:
        assert importlib.util.find_spec(packages.module_of(name)) is not None, name
