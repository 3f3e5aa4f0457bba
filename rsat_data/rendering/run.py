"""What ``rsat-data render`` does, from options to a finished file and a summary."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click
import numpy as np

from model.motion.conversation import PERSONS, UNKNOWN
from model.motion.run import Run, load_run
from model.motion.stream import Stream, require_causal
from model.render.figure import MeshFigure, Stand, standing_at_rest
from rsat_data.avatars.find import open_dataset
from rsat_data.avatars.jobs import Places, find_places
from rsat_data.avatars.render import parse_colour
from rsat_data.errors import EXIT_OK
from rsat_data.progress import Bars
from rsat_data.rendering.codes import FileCodes, read_codes, require_expressions
from rsat_data.rendering.live import Paced, RawInput, stream_talk
from rsat_data.rendering.offline import FPS, write_scene
from rsat_data.rendering.options import STDIN, RenderOptions
from rsat_data.rendering.output import whole_file
from rsat_data.rendering.people import Person, Studio, from_folder, nobody, own_head, require_head, subject
from rsat_data.rendering.relation import named
from rsat_data.rendering.scenes import Scene, find_rows, of_rows, of_talk, with_prediction
from rsat_data.rendering.sound import read_one, read_tracks, turns_of


def run_render(options: RenderOptions) -> int:
    """Draw, write, tell, and return the exit code.

    Raises:
        RsatError: nothing was written; a file that was there is untouched.
    """
    mode = options.mode()
    relations = options.chosen_relations()
    place = find_places(options.device, 1, 1)
    studio = Studio(parse_colour(options.background), place.devices[0])
    run = None if options.run is None else load_run(
        options.run, place.devices[0], stage=None if options.stage is None else int(options.stage)
    )  # fmt: skip
    if run is not None and options.draw is not None:
        run.require_draws()
    if options.stream:
        assert run is not None
        return _stream(options, run, studio, place)
    if mode == "rows":
        data = open_dataset(options.dataset, needed=True)
        assert data is not None
        rows = find_rows(data, options.row, options.clip)
        scene = of_rows(data, rows, studio)
        if run is not None:
            scene = with_prediction(scene, run, rows, relations, options.draw)
    elif mode == "codes":
        scene = _of_codes(options, studio)
    else:
        assert run is not None
        tracks = read_tracks(options.audio)
        people = _people(options, run, studio)
        scene = of_talk(
            run, tracks, people, relations or (UNKNOWN,), options.draw, see_partner=options.see_partner
        )
        scene = replace(scene, notes=(*scene.notes, *_notes(people), *_deaf(run, options)))
    if options.sound == "mixed" and scene.audio is not None and scene.audio.ndim == 2:
        scene = replace(scene, audio=scene.audio.sum(axis=0).clip(-1, 1))
    return _offline(options, scene, place)


def _offline(options: RenderOptions, scene: Scene, place: Places) -> int:
    started = time.perf_counter()
    with Bars(enabled=not options.quiet and not options.as_json) as bars:
        bar = bars.bar("render", float(scene.num_frames), "frames")
        with whole_file(options.target) as path:
            count, seconds = write_scene(path, scene, options.size, place.threads, bar.advance)
    took = time.perf_counter() - started
    facts: dict[str, Any] = {
        "out": str(options.target),
        "frames": count,
        "seconds_of_video": round(count / FPS, 2),
        "size": options.size,
        "people": {person: {"name": who.name, "drawn_as": who.drawn_as} for person, who in scene.people.items()},
        "versions": [title for title, _ in scene.versions],
        "caption": scene.caption,
        "turns": turns_of(scene.speaking),
        **scene.facts,
        "notes": list(scene.notes),
        "seconds": round(took, 2),
        "frames_per_s": round(count / took, 1),
        "pictures_per_s_and_thread": seconds.rates(),
        "encoding_s": round(seconds.encoding, 2),
    }
    return _tell(options, facts, scene.notes, [
        f"{options.target}: {count} frames in {took:.1f} s ({facts['frames_per_s']} a second)",
    ])  # fmt: skip


def _stream(options: RenderOptions, run: Run, studio: Studio, place: Places) -> int:
    require_causal(run)
    relation = (options.chosen_relations() or (UNKNOWN,))[0]
    tracks = None if options.audio == (STDIN,) else read_tracks(options.audio)
    people = _people(options, run, studio)
    for person in PERSONS:
        require_head(people[person], run.head_model, "the run")
    references = {person: people[person].reference for person in PERSONS}
    stream = Stream(
        run, relation, references, options.draw, partner="predicted" if options.see_partner else "unknown"
    )
    notes = [*(tracks.notes if tracks is not None else ()), *_notes(people), *_deaf(run, options)]
    with Bars(enabled=not options.quiet and not options.as_json) as bars:
        bar = bars.bar("stream", None if tracks is None else float(tracks.num_frames), "frames")
        with whole_file(options.target) as path:
            latency = stream_talk(
                path, stream, RawInput() if tracks is None else Paced(tracks), people, options.size, place.threads,
                named(relation), mixed=options.sound == "mixed", progress=bar.advance,
            )  # fmt: skip
    facts: dict[str, Any] = {
        "out": str(options.target),
        "size": options.size,
        "people": {person: {"name": who.name, "drawn_as": who.drawn_as} for person, who in people.items()},
        "caption": named(relation),
        "notes": notes,
        **latency.summary(),
    }
    return _tell(options, facts, notes, [f"{options.target}: {latency.frames} frames", *latency.lines()])


def _tell(options: RenderOptions, facts: Mapping[str, Any], notes: Sequence[str], lines: Sequence[str]) -> int:
    if options.as_json:
        click.echo(json.dumps(facts, indent=1))
        return EXIT_OK
    for line in lines:
        click.echo(line)
    for note in notes:
        click.echo(note, err=True)
    return EXIT_OK


def _people(options: RenderOptions, run: Run, studio: Studio) -> dict[str, Person]:
    if options.avatars:
        found = [from_folder(folder, studio) for folder in options.avatars]
    elif options.subjects:
        data = open_dataset(options.dataset, needed=True)
        assert data is not None
        found = [subject(data, name, studio) for name in options.subjects]
    else:
        found = [nobody(run.head_model, studio)] * 2
    return dict(zip(PERSONS, found, strict=True))


def _notes(people: Mapping[str, Person]) -> list[str]:
    return list(dict.fromkeys(note for who in people.values() for note in who.notes))


def _deaf(run: Run, options: RenderOptions) -> list[str]:
    """Said where a relation is named to a run that hears of none."""
    if run.network.social is not None or not options.relations or options.compare:
        return []
    return ["this run has no social module (it ended with stage 1): the relation makes no difference"]


def _of_codes(options: RenderOptions, studio: Studio) -> Scene:
    assert options.codes is not None
    found = read_codes(options.codes)
    who = _one_person(options, found, studio)
    head = own_head(who)
    require_expressions(found, head, options.codes)
    codes, stand = _stood(found, who.figure.stand)
    widths = {"expression": head.num_expression, "jaw": 3, "neck": 3, "eyes": 6, "rotation": 3, "translation": 3}
    count = len(codes["translation"])
    whole = {name: codes.get(name, np.zeros((count, width), np.float32)) for name, width in widths.items()}
    who = replace(who, figure=replace(who.figure, stand=stand))
    notes = list(who.notes)
    if found.lost:
        notes.append(f"{found.lost} frames are not valid: they are drawn between their neighbours")
    audio = read_one(options.audio[0]) if options.audio else found.audio
    if audio is not None:
        length = round(count / FPS * 16_000)
        if abs(len(audio) - length) > 640:
            longer = "shorter" if len(audio) < length else "longer"
            notes.append(f"the sound is {abs(len(audio) - length) / 16_000:.2f} s {longer} than the {count} frames")
        audio = np.pad(audio, (0, max(length - len(audio), 0)))[:length]
    return Scene({"A": who}, [(options.codes.name, {"A": whole})], {}, audio, "", tuple(notes))


def _one_person(options: RenderOptions, found: FileCodes, studio: Studio) -> Person:
    if options.avatars:
        return from_folder(options.avatars[0], studio)
    if options.subjects:
        data = open_dataset(options.dataset, needed=True)
        assert data is not None
        return subject(data, options.subjects[0], studio)
    who = nobody(found.head_model or "open", studio)
    assert isinstance(who.figure, MeshFigure)
    if found.shape is None or len(found.shape) != who.figure.head.num_shape:
        return who
    stand = standing_at_rest(who.figure.head, found.shape)
    return replace(who, name="the file's shape", figure=replace(who.figure, shape=found.shape, stand=stand))


def _stood(found: FileCodes, stand: Stand) -> tuple[dict[str, np.ndarray], Stand]:
    """Codes with a translation, and where the head stands.

    With a camera of its own the file says where the head is. Without, it moves about the figure's place.
    """
    codes = dict(found.codes)
    count = len(next(iter(codes.values())))
    rotation = codes["rotation"].mean(axis=0) if "rotation" in codes else np.zeros(3, np.float32)
    moved = codes.get("translation", np.zeros((count, 3), np.float32))
    if found.camera is not None and "translation" in codes:
        return codes, Stand(found.camera, moved.mean(axis=0), rotation)
    codes["translation"] = (moved - moved.mean(axis=0) + stand.translation).astype(np.float32)
    return codes, Stand(stand.camera, stand.translation, rotation)

