"""Configuration: defaults, file, --set; every mistake names the option."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from rsat_data.config import as_mapping, from_mapping, parse_sets, read_yaml, resolve
from rsat_data.errors import ConfigError


@dataclass(frozen=True)
class Section:
    rate: float = 1.0
    steps: int = 3
    mode: Literal["fast", "full"] = "fast"
    sizes: tuple[int, ...] = (1, 2)
    name: str | None = None


@dataclass(frozen=True)
class Outer:
    """Options with a group of options among them."""

    size: int = 1
    inner: Section = field(default_factory=Section)


def test_groups_of_options_are_reached_by_dots(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("a: {size: 2, inner: {rate: 2, mode: full}}\n", encoding="utf-8")
    configs = resolve({"a": Outer}, file, ["a.inner.rate=3.5", "a.inner.steps=7"])
    assert configs["a"] == Outer(2, Section(rate=3.5, steps=7, mode="full"))
    assert from_mapping(Outer, as_mapping(configs["a"]), where="a") == configs["a"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("a.inner.rat=1", "no option a.inner.rat"),
        ("a.inner.rate=quick", "a.inner.rate"),
        ("a.inner=3", "a.inner"),
        ("a.size.x=3", "a.size"),
    ],
)
def test_mistakes_in_groups_name_the_option(setting: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve({"a": Outer}, None, [setting])


def test_group_and_value_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="a.inner"):
        resolve({"a": Outer}, None, ["a.inner=3", "a.inner.rate=1"])


def test_layers_defaults_file_settings(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("a: {rate: 2, mode: full}\n", encoding="utf-8")
    configs = resolve({"a": Section, "b": Section}, file, ["a.rate=3.5", "b.sizes=[4, 5, 6]", "b.name=x"])
    assert configs["a"] == Section(rate=3.5, mode="full")
    assert configs["b"] == Section(sizes=(4, 5, 6), name="x")
    assert from_mapping(Section, as_mapping(configs["b"]), where="b") == configs["b"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("a.rat=1", "no option a.rat"),
        ("c.rate=1", "section 'c'"),
        ("a.rate=quick", "a.rate"),
        ("a.steps=1.5", "a.steps"),
        ("a.mode=slow", "a.mode"),
        ("rate=1", "section.key=value"),
        ("a.rate", "section.key=value"),
        ("a.name=[", "YAML"),
    ],
)
def test_mistakes_name_the_option(setting: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve({"a": Section}, None, [setting])


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml", what="configuration file")
    for name, text in [("list", "[1]"), ("tag", "!!python/object/apply:os.getcwd []"), ("broken", "a: [")]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError):
            read_yaml(tmp_path / name, what="configuration file")
    with pytest.raises(ConfigError, match="must hold a mapping"):
        (tmp_path / "flat").write_text("a: 3", encoding="utf-8")
        resolve({"a": Section}, tmp_path / "flat", [])


def test_settings_are_yaml_values() -> None:
    assert parse_sets(["a.x=true", "a.y=1e-3", "b.z=text"]) == {"a": {"x": True, "y": "1e-3"}, "b": {"z": "text"}}
