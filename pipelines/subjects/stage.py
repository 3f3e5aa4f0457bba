"""Declaration of the stage `subjects`; cheap to import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.stage import Resources, Stage, StageContext
from pipelines.subjects.config import SubjectsConfig


def key_material(config: SubjectsConfig) -> Mapping[str, str]:
    """The answers of the user, not the name of their file, decide.

    Raises:
        ConfigError: the file cannot be used.
    """
    if not config.review:
        return {}
    from pipelines.subjects.review import read_answers
    from rsat_data.content import content_hash

    answers = read_answers(Path(config.review))
    return {"answers": content_hash([sorted(answers.same), sorted(answers.different)])}


def run(context: StageContext, config: SubjectsConfig) -> Mapping[str, Any]:
    """See `pipelines.subjects.run.run`."""
    from pipelines.subjects.run import run as work

    return work(context, config)


STAGE: Stage[SubjectsConfig] = Stage(
    name="subjects",
    version="3",
    unit="dataset",
    config=SubjectsConfig,
    run=run,
    inputs=("shape",),
    key_material=key_material,
    options_of="flame",
    metadata_fields=("subjects",),
    resources=Resources(cpu=1.0, memory_gb=3.0, timeout_s=4 * 3600.0),
)
