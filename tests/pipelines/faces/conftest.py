"""One run of ingest and faces on the first two seconds of the real interview, shared by all tests here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.faces.stage import STAGE as FACES
from pipelines.ingest.stage import STAGE as INGEST
from tests.pipelines.ingest.helpers import first_seconds, run_stage

SECONDS = 2.0


@dataclass(frozen=True)
class Run:
    """A source and what the two stages made of it."""

    source: Path
    clip: dict[str, Any]
    ingest: Path
    faces: Path
    result: dict[str, Any]


@pytest.fixture(scope="session")
def interview_run(real_data, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("interview")
    source = first_seconds(real_data / "clips" / "two_interview.mp4", folder / "start.mp4", SECONDS)
    clip = run_stage(INGEST, source, folder / "ingest", min_clip_s=1.0)["clips"][0]
    result = run_stage(FACES, source, folder / "faces", unit=clip, inputs={"ingest": folder / "ingest"})
    return Run(source, clip, folder / "ingest", folder / "faces", dict(result))
