"""The open head, and MediaPipe's landmarker where its file can be had."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.head import HeadModel, load_head
from rsat_data.errors import ModelFileError
from rsat_data.registry import model_path


@pytest.fixture(scope="session")
def head() -> HeadModel:
    return load_head("open")


@pytest.fixture(scope="session")
def codes(head: HeadModel) -> dict[str, torch.Tensor]:
    """Three frames of one person in ordinary, asymmetric poses."""
    generator = torch.Generator().manual_seed(3)

    def normal(*size: int, scale: float) -> torch.Tensor:
        return scale * torch.randn(*size, generator=generator)

    return {
        "shape": normal(head.num_shape, scale=0.7),
        "expression": normal(3, head.num_expression, scale=0.2).abs(),
        "jaw": normal(3, 3, scale=0.1),
        "neck": normal(3, 3, scale=0.1),
        "eyes": normal(3, 6, scale=0.15),
        "rotation": normal(3, 3, scale=0.4),
        "translation": normal(3, 3, scale=0.1) + torch.tensor([0.0, 0.0, 0.8]),
    }


@pytest.fixture(scope="session")
def landmarker_file() -> Path:
    try:
        return model_path("face_landmarker")
    except ModelFileError as error:
        pytest.skip(f"the face landmarker's file cannot be had here: {error.message}")
