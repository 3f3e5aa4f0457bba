"""FLAME files: what is in them comes out in our frame, and faults are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.head.import_flame import choose_name, convert, read_flame
from model.head.load import HeadModel, head_from_arrays
from rsat_data.errors import ModelFileError, UnsafeModelFile, UsageError
from tests.model.head.flame_factory import TURN, posed_as_flame_says, tiny_flame, write


def imported(path: Path, name: str = "flame2020") -> HeadModel:
    tensors, metadata = convert(read_flame(path), name, path)
    return head_from_arrays(tensors, metadata, "0" * 64)


@pytest.mark.parametrize(("protocol", "as_chumpy"), [(0, True), (2, True), (2, False), (4, False)])
def test_poses_as_flame_itself_turned_by_half_a_turn_about_x(tmp_path: Path, protocol: int, as_chumpy: bool) -> None:
    model = tiny_flame()
    head = imported(write(tmp_path / "model.pkl", model, protocol, as_chumpy))
    rng = np.random.default_rng(5)
    for _ in range(4):
        shape, expression = rng.normal(size=300), rng.normal(size=100)
        angles, translation = 0.5 * rng.normal(size=(5, 3)), rng.normal(size=3)
        expected = posed_as_flame_says(model, np.concatenate([shape, expression]), angles, translation) * TURN
        ours = angles * TURN
        codes = {
            "rotation": ours[:1],
            "neck": ours[1:2],
            "jaw": ours[2:3],
            "eyes": ours[3:].reshape(1, 6),
            "translation": (translation * TURN)[None],
            "expression": expression[None],
        }
        found, _ = head.pose(
            torch.from_numpy(shape).float(), **{name: torch.from_numpy(code).float() for name, code in codes.items()}
        )
        np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-6)


def test_sizes_names_and_provenance(tmp_path: Path) -> None:
    path = write(tmp_path / "generic_model.pkl", tiny_flame(), as_chumpy=True)
    flame = read_flame(path)
    tensors, metadata = convert(flame, "flame2020", path)
    head = head_from_arrays(tensors, metadata, "0" * 64)
    assert (head.num_shape, head.num_expression, head.posedirs.shape[-1]) == (300, 100, 36)
    assert head.expression_names[0] == "exp_000" and head.expression_names[-1] == "exp_099"
    assert head.name == f"flame2020-{flame.sha256[:8]}" and metadata["source_sha256"] == flame.sha256
    assert str(tmp_path) not in str(metadata)


def test_conversion_is_the_same_every_time_and_differs_between_files(tmp_path: Path) -> None:
    first = read_flame(write(tmp_path / "a.pkl", tiny_flame(0)))
    again, other = read_flame(tmp_path / "a.pkl"), read_flame(write(tmp_path / "b.pkl", tiny_flame(1)))
    one, two = convert(first, "flame2020", tmp_path)[0], convert(again, "flame2020", tmp_path)[0]
    assert all(one[key].tobytes() == two[key].tobytes() for key in one)
    assert first.sha256 != other.sha256


@pytest.mark.parametrize(
    ("name", "as_chumpy", "suggested"),
    [
        ("generic_model.pkl", True, "flame2020"),
        ("FLAME2020.pkl", False, "flame2020"),
        ("flame2023.pkl", False, "flame2023"),
        ("flame2023_Open.pkl", False, "flame2023open"),
        ("model.pkl", False, None),
    ],
)
def test_version_is_told_where_the_file_says_it(
    tmp_path: Path, name: str, as_chumpy: bool, suggested: str | None
) -> None:
    path = write(tmp_path / name, tiny_flame(), as_chumpy=as_chumpy)
    flame = read_flame(path)
    assert flame.suggested == suggested
    assert choose_name(flame, path, "flame2023") == "flame2023"
    if suggested is None:
        with pytest.raises(UsageError, match="2020 or 2023"):
            choose_name(flame, path, None)


def test_npz_gives_the_same_head_as_the_pickle(tmp_path: Path) -> None:
    model = tiny_flame()
    pickled = imported(write(tmp_path / "model.pkl", model))
    dense = {key: value for key, value in model.items() if isinstance(value, np.ndarray)}
    packed = tmp_path / "model.npz"
    dirs = dense.pop("shapedirs")
    arrays = dense | {
        "J_regressor": model["J_regressor"].toarray(),
        "shapedirs": dirs[..., :300],
        "exprdirs": dirs[..., 300:],
    }
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    head = imported(packed)
    for name in ("v_template", "shapedirs", "exprdirs", "posedirs", "J_template", "weights"):
        torch.testing.assert_close(getattr(head, name), getattr(pickled, name))


def test_npz_with_objects_damaged_or_partial(tmp_path: Path) -> None:
    objects = tmp_path / "objects.npz"
    np.savez(objects, v_template=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UnsafeModelFile, match="objects"):
        read_flame(objects)
    cut = tmp_path / "cut.npz"
    np.savez(cut, v_template=np.zeros((100, 3)), f=np.zeros((10, 3)))
    cut.write_bytes(cut.read_bytes()[:700])
    with pytest.raises(ModelFileError, match="truncated"):
        read_flame(cut)
    torch_file = tmp_path / "model.pth"
    torch.save({"a": torch.zeros(2)}, torch_file)
    with pytest.raises(ModelFileError, match="saved by torch"):
        read_flame(torch_file)


def test_the_published_part_of_flame_2023_open_is_told_from_a_whole_model(real_data: Path) -> None:
    with pytest.raises(ModelFileError, match="lacks posedirs, J_regressor, weights"):
        read_flame(real_data / "heads" / "flame2023open_partial" / "flame_basis.npz")


def damage(model: dict[str, Any], fault: str) -> None:
    count = len(model["v_template"])
    if fault == "shape":
        model["weights"] = model["weights"][:-1]
    elif fault == "components":
        model["shapedirs"] = model["shapedirs"][..., :150]
    elif fault == "flat":
        model["v_template"] = model["v_template"].ravel()
    elif fault == "nan":
        model["shapedirs"][3, 1, 2] = np.nan
    elif fault == "faces":
        model["f"] = model["f"] + np.uint32(count)
    elif fault == "smpl":
        model["weights"] = np.full((count, 24), 1 / 24)
    elif fault == "sums":
        model["weights"] = model["weights"] * 2
    elif fault == "regressor":
        model["J_regressor"] = model["J_regressor"] * 3
    elif fault == "tree":
        model["kintree_table"] = np.array([[2**32 - 1, 0, 1, 2, 3], [0, 1, 2, 3, 4]])
    elif fault == "millimetres":
        model["v_template"] = model["v_template"] * 1000


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("shape", "'weights' has shape"),
        ("components", "150 components, it must have 400"),
        ("flat", "'v_template' has shape"),
        ("nan", "'shapedirs' has values that are not finite"),
        ("faces", "'f' names vertices outside"),
        ("smpl", "'weights' has shape"),
        ("sums", "do not sum to 1"),
        ("regressor", "do not sum to 1"),
        ("tree", "hang together"),
        ("millimetres", "a head in metres"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, fault: str, says: str) -> None:
    model = tiny_flame()
    damage(model, fault)
    path = write(tmp_path / "model.pkl", model)
    with pytest.raises(ModelFileError, match=says) as caught:
        convert(read_flame(path), "flame2020", path)
    assert "model.pkl" in caught.value.message


def test_missing_arrays_and_other_contents_are_named(tmp_path: Path) -> None:
    model = tiny_flame()
    del model["weights"], model["posedirs"]
    with pytest.raises(ModelFileError, match="lacks posedirs, weights"):
        read_flame(write(tmp_path / "part.pkl", model))
    with pytest.raises(ModelFileError, match="holds one list"):
        read_flame(write(tmp_path / "list.pkl", [1, 2]))
    with pytest.raises(ModelFileError, match="'shapedirs' cannot be used"):
        read_flame(write(tmp_path / "text.pkl", tiny_flame() | {"shapedirs": "none"}))
