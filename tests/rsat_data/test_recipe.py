"""From options to a recipe: options that several stages share, model files that one can do without."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.line import load_line
from rsat_data import registry
from rsat_data.errors import ConfigError, OfflineError
from rsat_data.plan import Recipe
from rsat_data.run_build import BuildOptions, make_recipe, with_models


def recipe(*settings: str) -> Recipe:
    return make_recipe(BuildOptions(Path("videos"), Path("out"), settings=settings))[0]


def test_stages_that_follow_take_the_leaders_options() -> None:
    configs = recipe("flame.shape_frames=7", "flame.focal=2.0", "shape.face_frames=5").configs
    assert (configs["shape"].shape_frames, configs["shape"].focal, configs["shape"].face_frames) == (7, 2.0, 5)
    assert configs["subjects"].focal == configs["flame"].focal == 2.0
    for name in ("shape", "subjects"):  # what a stage leads, no other follows
        assert load_line()[name].options_of == "flame"


def test_an_option_set_against_the_leader_is_named() -> None:
    with pytest.raises(ConfigError, match=r"shape\.shape_frames is 9, but flame\.shape_frames is 7") as error:
        recipe("flame.shape_frames=7", "shape.shape_frames=9")
    assert "flame.shape_frames" in (error.value.hint or "")
    assert recipe("flame.shape_frames=9", "shape.shape_frames=9").configs["shape"].shape_frames == 9


def test_a_model_file_one_can_do_without_is_left_out_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "ensure", lambda names, offline=False: [Path(name) for name in names])

    def missing(name: str, offline: bool = False) -> Path:
        raise OfflineError(f"Model file missing on this machine: {name}.", hint="Fetch it.")

    shape = load_line()["shape"]
    monkeypatch.setattr(registry, "model_path", missing)
    without = with_models(recipe(), offline=True)
    assert "speaker-embedding" not in without.models_of(shape)
    assert "going on without speaker-embedding" in capsys.readouterr().err
    monkeypatch.setattr(registry, "model_path", lambda name, offline=False: Path(name))
    assert with_models(recipe(), offline=True).models_of(shape) == ["speaker-embedding"]
    assert with_models(recipe("shape.voice=none"), offline=True).models_of(shape) == []
