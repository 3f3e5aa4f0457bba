"""DualTalk from its files to a judged run, on the two conversations of its demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rsat_data.cli import run
from tests.rsat_data.test_cli_train import SMALL

DUALTALK = ("fd", "pfd", "mse", "sid", "reverse_sid", "rpcc", "sts", "diversity", "variance")


@pytest.fixture(scope="module")
def demo(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSAT_DATA_HOME", str(out.parent / "no-home"))
        folder = str(real_data / "dualtalk_demo")
        assert run(["import", "--format", "dualtalk", "--head", "flame2020", folder, "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture(autouse=True)
def no_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSAT_DATA_HOME", str(tmp_path / "no-home"))


def judged(report: dict[str, Any], predictor: str, metric: str, group: str = "expression") -> Any:
    found = [
        f["estimate"]
        for f in report["figures"]
        if (f["predictor"], f["metric"], f["group"], f["role"]) == (predictor, metric, group, "all")
    ]
    assert len(found) == 1
    return found[0]


def test_floors_are_those_measured_on_the_files(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Means of the figures that tests/model/metrics/motion/test_dualtalk_demo.py takes of the npz files."""
    metrics = [word for name in DUALTALK for word in ("--metric", name)]
    arguments = ["--split", "train", "--floors-only", "--reference-s", "0", "--rounds", "100", "--json", *metrics]
    assert run(["evaluate", "--dataset", str(demo), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    # 748 frames of 750: the sound ends earlier.
    assert judged(report, "own_mean", "fd")["value"] == pytest.approx((16.65 + 9.37) / 2, abs=0.05)
    assert judged(report, "own_mean", "mse")["value"] == pytest.approx((0.332 + 0.187) / 2, abs=0.001)
    assert judged(report, "zero", "mse")["value"] == pytest.approx((1.43 + 1.32) / 2, abs=0.006)
    assert judged(report, "half_split", "fd")["value"] == pytest.approx((6.6 + 1.8) / 2, abs=0.06)
    for metric in DUALTALK:
        for group in ("expression", "jaw", "pose"):
            found = judged(report, "own_mean", metric, group)
            if metric in ("pfd", "rpcc"):  # the demo has the codes of one speaker of each conversation
                assert found["value"] is None and found["reason"]
            else:
                assert found["value"] is not None
    assert judged(report, "copy_partner", "mse")["value"] is None
    told = " ".join(report["warnings"])
    assert "first 50 expression codes" in told and "flame2020 of these codes is not on this machine" in told


def test_the_baseline_trains_on_it_unchanged(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    train = ["train-baseline", "--dataset", str(demo), "--run", str(folder), "--device", "cpu", "--quiet", *settings]
    assert run([*train, "--stage", "1"]) == 0
    assert "stage 1: 4 steps" in capsys.readouterr().out
    assert run([*train, "--stage", "3"]) == 1
    assert "no conversation of the training split has a relation" in capsys.readouterr().err
    evaluate = ["evaluate", "--dataset", str(demo), "--run", str(folder), "--quiet", "--rounds", "100"]
    assert run(evaluate) == 1
    assert "--split train" in capsys.readouterr().err
    assert run([*evaluate, "--split", "train", "--metric", "mse", "--metric", "fd"]) == 0
    assert "trained on these very conversations" in capsys.readouterr().out
    report = json.loads((folder / "evaluation" / "report.json").read_text())
    assert judged(report, "model", "mse")["value"] > 0
    assert run([*evaluate, "--split", "train", "--metric", "lve_unils"]) == 1
    assert "models import-flame" in capsys.readouterr().err
