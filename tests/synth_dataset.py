"""A small synthetic dataset of conversations from declared truth; the voices are tones, nothing is fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model.head import load_head
from pipelines.synth import driver
from pipelines.synth.driver import SynthConfig, Tools
from pipelines.synth.records import Utterance
from pipelines.synth.relations import RelationEffects
from pipelines.synth.scene import head_facts
from pipelines.synth.simulate import SimulationConfig
from pipelines.synth.speech import RecordingSource, Speaker
from rsat_data.cli.synth import write_dataset
from tests.pipelines.synth.conftest import voice


def synth_dataset(out: Path, *, clips: int = 6, seconds: float = 6.0, seed: int = 5, scale: float = 1.0) -> Path:
    """Make it and name its folder."""
    speakers = [
        Speaker(tuple(Utterance(voice(s, pitch, 10 * number + k)) for k, s in enumerate((0.5, 1.1, 1.8, 2.6))))
        for number, pitch in enumerate((110.0, 190.0))
    ]
    source, head = RecordingSource("test-tones", (speakers[0], speakers[1])), load_head()
    simulation = SimulationConfig(seed=seed, seconds=seconds, effects=RelationEffects().scaled(scale))
    with pytest.MonkeyPatch.context() as patch:
        # The packaged recording would be fetched; everything else is the real path.
        patch.setattr(driver, "open_tools", lambda config: Tools(source, head, head_facts(head)))
        write_dataset(replace(SynthConfig(out, clips=clips), simulation=simulation), quiet=True)
    return out
