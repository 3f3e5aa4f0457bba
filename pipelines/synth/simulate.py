"""One synthetic conversation, from a seed and a number: speech, relation, behaviour, scene, truth. No rendering."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.synth.behaviour import behave
from pipelines.synth.hard import acted, schedule
from pipelines.synth.records import FPS, PERSONS, Dialogue, rng_for
from pipelines.synth.relations import RelationEffects, relation_of
from pipelines.synth.scene import SHAPE_LIMIT, Head, draw_shapes, make_codes, make_scene
from pipelines.synth.speech import SpeechSource
from pipelines.synth.truth import Truth
from pipelines.synth.visemes import drive_mouth


@dataclass(frozen=True)
class SimulationConfig:
    """What decides a synthetic conversation besides its number and its speech."""

    seed: int = 0
    """Decides everything that is drawn."""
    seconds: float = 10.0
    """Length of a clip; rounded to whole frames."""
    width: int = 1280
    """Width of the frame, pixels."""
    height: int = 720
    """Height of the frame, pixels."""
    lens: float = 1.6
    """Focal length in units of the longer side of the frame; each clip's lies within 5 % of it."""
    clips_per_dyad: int = 1
    """How many clips in a row show the same two people in the same relation."""
    people: int = 0
    """Size of the cast: every dyad is two of so many people, none of them relatives. 0: new people in every dyad."""
    hard: tuple[str, ...] = ()
    """Kinds of hard moments that both people go through, of ``pipelines.synth.hard.KINDS``."""
    effects: RelationEffects = field(default_factory=RelationEffects)
    """What the relation does to behaviour."""

    @property
    def num_frames(self) -> int:
        """T."""
        return round(self.seconds * FPS)


def clip_name(config: SimulationConfig, index: int) -> str:
    """Name of clip number ``index``."""
    return f"synth-{config.seed}-{index:05d}"


def dyad_of_cast(config: SimulationConfig, dyad: int) -> tuple[int, int] | None:
    """Numbers of A and B of a dyad within the cast; None where every dyad is new people.

    A round of ``people`` dyads shows everybody twice, as far as that can be: neighbours in a shuffled circle.
    """
    if config.people == 0:
        return None
    turn, place = divmod(dyad, config.people)
    order = rng_for(config.seed, "cast", turn).permutation(config.people)
    pair = int(order[place]), int(order[(place + 1) % config.people])
    return pair if rng_for(config.seed, "cast seats", dyad).random() < 0.5 else pair[::-1]


def cast_shape(seed: int, number: int, num_shape: int) -> np.ndarray:
    """(S,) float32 identity code of member ``number`` of a cast, within ``SHAPE_LIMIT``."""
    code = rng_for(seed, "cast shape", number).standard_normal(num_shape)
    return np.clip(code, -SHAPE_LIMIT, SHAPE_LIMIT).astype(np.float32)


def simulate(config: SimulationConfig, index: int, speech: SpeechSource, head: Head) -> tuple[Truth, Dialogue]:
    """Act out clip number ``index``. The same arguments give the same result, whatever was simulated before.

    Args:
        config: seed, length, frame, effects.
        index: number of the clip, from 0.
        speech: source of the dialogue.
        head: facts of the head model that the codes are for.
    """
    dyad = index // config.clips_per_dyad
    clip_seed = int(rng_for(config.seed, "clip", index).integers(2**31))
    dyad_seed = int(rng_for(config.seed, "dyad", dyad).integers(2**31))
    relation = relation_of(config.seed, dyad)
    cast = dyad_of_cast(config, dyad)
    if cast is not None:
        relation = replace(relation, kinship="non_blood")
    rates = {p: config.effects.rates(relation, p) for p in PERSONS}
    dialogue = speech.dialogue(config.num_frames, rates, config.seed, index, cast)
    mouths = {p: drive_mouth(dialogue, p, articulation=rates[p].articulation) for p in PERSONS}
    motion = behave(dialogue, mouths, rates, clip_seed)
    scene = make_scene(config.width, config.height, clip_seed, config.lens)
    shapes = draw_shapes(head.num_shape, relation, config.effects, dyad_seed)
    base = f"synth-{config.seed}-d{dyad:05d}"
    looks = rng_for(dyad_seed, "appearance").choice(2**20, size=2, replace=False)
    names = {p: f"{base}-{p}" for p in PERSONS}
    families = {p: base if relation.kinship == "blood" else names[p] for p in PERSONS}
    if cast is not None:
        members = dict(zip(PERSONS, cast, strict=True))
        shapes = {p: cast_shape(config.seed, members[p], head.num_shape) for p in PERSONS}
        looks = rng_for(config.seed, "cast", "appearance").choice(2**20, size=config.people, replace=False)[list(cast)]
        names = families = {p: f"synth-{config.seed}-p{members[p]:05d}" for p in PERSONS}
    cases = schedule(config.hard, config.num_frames, clip_seed)
    if cases:
        motion = {p: acted(motion[p], cases, p, scene.places[p], scene.camera) for p in PERSONS}
    codes = {p: make_codes(motion[p], p, scene.places[p], shapes[p], head) for p in PERSONS}
    truth = Truth(
        name=clip_name(config, index),
        seed=config.seed,
        index=index,
        num_frames=config.num_frames,
        head_model=head.id,
        expression_names=head.expression_names,
        camera=scene.camera,
        subjects=names,
        family=families,
        appearance={p: int(looks[number]) for number, p in enumerate(PERSONS)},
        relation=relation,
        effects=config.effects,
        rates=rates,
        codes=codes,
        speaking={p: dialogue.speaking(p) for p in PERSONS},
        turns=dialogue.turns,
        words=dialogue.words,
        phonemes=dialogue.phonemes,
        events={p: motion[p].events for p in PERSONS},
        audio_source=dialogue.source,
        audio_isolation=dialogue.isolation,
        audio_arranged=dialogue.arranged,
        voices=dialogue.voices,
        language=dialogue.language,
        hard=cases,
    )
    return truth, dialogue
