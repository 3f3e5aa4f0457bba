"""The program behind `make gpu-check`, with the device that every machine has."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import CHECKS, Check, Outcome, Setting, Unavailable


def rows(printed: str) -> dict[str, list[str]]:
    """Cells of the table by the name of the check."""
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells[2:]}


@pytest.mark.parametrize("word", ["posing", "raster", "shading", "landmark", "photometric"])
def test_paths_agree_with_the_cpu(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main(["--device", "cpu", "--small", "--only", word]) == 0
    printed = capsys.readouterr().out
    assert "No GPU was used" in printed and "usable cores" in printed
    found = rows(printed)
    assert list(found) == [check.name for check in CHECKS if word in check.name]
    for name, cells in found.items():
        assert cells[0] == "same" or cells[0].startswith("not run: "), name


def test_where_there_is_no_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([]) == 0
    assert "nothing was checked" in capsys.readouterr().out
    assert gpu_check.main(["--device", "cuda"]) == 2
    assert gpu_check.main(["--device", "cpu", "--only", "teleport"]) == 2


def test_a_difference_a_failure_and_a_missing_package_are_told_apart() -> None:
    def broken(_: Setting) -> Outcome:
        raise RuntimeError("no kernel image is available\nand more")

    def absent(_: Setting) -> Outcome:
        raise Unavailable("it is not installed")

    def outcome(difference: float) -> Outcome:
        return Outcome(difference, 0.1, "mm", 10.0, 30.0)

    checks = [
        Check("good", lambda _: outcome(0.1)),
        Check("absent", absent),
        Check("wrong", lambda _: outcome(0.2)),
        Check("nan", lambda _: outcome(float("nan"))),
        Check("broken", broken),
    ]
    setting = Setting("cpu", 1, 8, 1)
    table, good = gpu_check.run_checks(setting, checks, lambda _: None)
    assert not good
    found = [row[1] for row in table]
    assert found[:4] == ["same", "not run: it is not installed", "DIFFERS", "DIFFERS"]
    assert found[4] == "FAILED: RuntimeError: no kernel image is available"
    assert len({len(row) for row in table}) == 1 and table[0][5] == "3 x"
    assert gpu_check.run_checks(setting, checks[:2], lambda _: None)[1], "what is not installed is no failure"


@pytest.mark.gpu
def test_every_path_on_the_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    assert gpu_check.main(["--device", "cuda", "--small"]) == 0
    assert "CUDA" in capsys.readouterr().out
