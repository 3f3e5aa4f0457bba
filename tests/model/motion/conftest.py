"""Conversations that the tests of the motion model share."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.motion.conversation import Conversations, conversations
from tests.synth_dataset import synth_dataset


@pytest.fixture(scope="session")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth_dataset(tmp_path_factory.mktemp("talks") / "set", clips=6, seconds=6.0)


@pytest.fixture(scope="session")
def spoken(talks: Path) -> Conversations:
    return conversations(talks, None)
