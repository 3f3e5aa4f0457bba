"""One synthetic conversation as files: video, sidecar and truth; on request each person's audio."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.synth.hard import OPEN_SHUTTER, PROPS
from pipelines.synth.props import Mesh, draw, make_hand, make_sunglasses, place_hand, place_sunglasses
from pipelines.synth.records import PERSONS, SAMPLE_RATE, Dialogue
from pipelines.synth.scene import FRAME_CODES
from pipelines.synth.truth import Truth, truth_bytes, truth_paths, write_truth
from rsat_data.content import canonical_json

if TYPE_CHECKING:
    from model.head import HeadModel
    from pipelines.synth.render import HeadAppearance, SceneRenderer

CONSENT = "synthetic"
"""Nobody was filmed: said in place of a consent."""
_BATCH = 25
_CRF = 18


def sidecar(truth: Truth, *, own_audio: bool) -> dict[str, Any]:
    """What the owner of a video would say about it: the content of ``<name>.yaml``.

    Args:
        truth: of the clip.
        own_audio: name a sound file for each person.
    """
    recorded = not truth.audio_source.startswith("espeak-ng")
    content: dict[str, Any] = {
        "subjects": dict(truth.subjects),
        "relation": asdict(truth.relation),
        "consent_id": CONSENT,
    }
    if (licence := licence_of(truth)) is not None:
        content["licence"] = licence
    if recorded:
        content["pii"] = ["voice"]
    if truth.language is not None:
        content["language"] = truth.language
    if own_audio:
        content["audio"] = {p: f"{truth.name}.{p}.flac" for p in PERSONS}
    return content


def licence_of(truth: Truth) -> str | None:
    """SPDX expression for the clip: the pictures are CC0, the packaged recording is MIT; None with the user's audio."""
    if truth.audio_source.startswith("own:"):
        return None
    return "CC0-1.0" if truth.audio_source.startswith("espeak-ng") else "CC0-1.0 AND MIT"


def is_complete(folder: Path, truth: Truth) -> bool:
    """Whether the clip's files are there and were made from this very truth."""
    paths = truth_paths(folder, truth.name)
    if not (folder / f"{truth.name}.mp4").is_file() or not all(path.is_file() for path in paths):
        return False
    return all(path.read_bytes() == content for path, content in zip(paths, truth_bytes(truth), strict=True))


def write_clip(
    folder: Path,
    truth: Truth,
    dialogue: Dialogue,
    head: HeadModel,
    *,
    own_audio: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Render a clip and write its files. The video comes last and by a rename, so where it is, all is.

    Args:
        folder: where; must exist.
        truth: what to show.
        dialogue: what to say.
        head: the model that the truth's codes belong to.
        own_audio: also write ``<name>.A.flac`` and ``<name>.B.flac`` and name them in the sidecar.
        progress: called with the done share for every frame.
    """
    from pipelines.ingest.encode import write_video

    video = folder / f"{truth.name}.mp4"
    video.unlink(missing_ok=True)
    write_truth(folder, truth)
    if own_audio:
        import soundfile

        for person in PERSONS:
            soundfile.write(
                folder / f"{truth.name}.{person}.flac", dialogue.audio[person], SAMPLE_RATE, subtype="PCM_16"
            )
    # JSON is YAML: nothing here needs another writer, and the bytes are canonical.
    (folder / f"{truth.name}.yaml").write_text(_yaml(sidecar(truth, own_audio=own_audio)), encoding="utf-8")
    tmp = video.with_name(video.name + ".tmp")
    try:
        write_video(tmp, _counted(frames(truth, head), truth.num_frames, progress), crf=_CRF, audio=dialogue.mixture())
        os.replace(tmp, video)
    finally:
        tmp.unlink(missing_ok=True)


def frames(truth: Truth, head: HeadModel, span: range | None = None) -> Iterator[np.ndarray]:
    """Rendered frames of a clip.

    Args:
        truth: what to show.
        head: the model that its codes belong to.
        span: frames to render; all of them by default.

    Yields:
        (H, W, 3) uint8 RGB.
    """
    from pipelines.synth.render import SceneRenderer, make_appearance

    looks = [make_appearance(head, truth.appearance[p]) for p in PERSONS]
    renderer = SceneRenderer(head, looks, truth.camera, truth.appearance["A"] ^ truth.appearance["B"])
    props = _Props(truth, renderer, looks)
    wanted = list(range(truth.num_frames) if span is None else span)
    for first in range(0, len(wanted), _BATCH):
        chunk = wanted[first : first + _BATCH]
        posed = [posed_vertices(truth, person, head, chunk) for person in PERSONS]
        for number, frame in enumerate(chunk):
            vertices = [each[number] for each in posed]
            image = _exposed(truth, renderer, head, frame) if props.blurred(frame) else renderer.render(vertices)
            props.draw(image, vertices, frame)
            yield image


_EXPOSURES = 5
_DECODE = np.where(
    np.arange(256) / 255 <= 0.04045, np.arange(256) / 255 / 12.92, ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4
)


def _exposed(truth: Truth, renderer: SceneRenderer, head: HeadModel, frame: int) -> np.ndarray:
    """A frame as a camera with an open shutter sees it: the mean light of several moments about its time."""
    near = [min(max(frame + step, 0), truth.num_frames - 1) for step in (-1, 0, 1)]
    posed = [posed_vertices(truth, person, head, near) for person in PERSONS]
    light = np.zeros((truth.camera.height, truth.camera.width, 3))
    for moment in np.linspace(-0.5 * OPEN_SHUTTER, 0.5 * OPEN_SHUTTER, _EXPOSURES):
        other, share = (0 if moment < 0 else 2), abs(moment)
        light += _DECODE[renderer.render([(1 - share) * each[1] + share * each[other] for each in posed])]
    mean = light / _EXPOSURES
    encoded = np.where(mean <= 0.0031308, 12.92 * mean, 1.055 * mean ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).clip(0, 255).astype(np.uint8)


class _Props:
    """What the hard moments of a clip put before faces, and when frames are exposed for longer."""

    def __init__(self, truth: Truth, renderer: SceneRenderer, looks: list[HeadAppearance]) -> None:
        self._camera, self._renderer = truth.camera, renderer
        self._strength = [(case, case.strength(truth.num_frames)) for case in truth.hard]
        self._things: dict[tuple[str, str], Mesh] = {}
        for case in truth.hard:
            if case.kind == "hand":
                skin = looks[PERSONS.index(case.person)].traits.skin
                self._things[case.person, case.kind] = make_hand(skin, -1.0 if case.person == "A" else 1.0)
            elif case.kind == "sunglasses":
                self._things[case.person, case.kind] = make_sunglasses()

    def blurred(self, frame: int) -> bool:
        """Whether somebody shakes the head in this frame."""
        return any(case.kind == "blur" and strength[frame] > 0 for case, strength in self._strength)

    def draw(self, image: np.ndarray, vertices: list[np.ndarray], frame: int) -> None:
        """Put into a picture (H, W, 3), in place, what lies before the faces (V, 3) of A and B."""
        layout, light = self._renderer.layout, self._renderer.lighting
        for case, strength in self._strength:
            if case.kind not in PROPS or strength[frame] <= 0:
                continue
            head = vertices[PERSONS.index(case.person)].astype(np.float64)
            thing = self._things[case.person, case.kind]
            place = place_hand if case.kind == "hand" else place_sunglasses
            points = place(thing, layout, head, float(strength[frame]))
            draw(
                image, thing, points, head, layout.faces, self._camera, light.sh, light.direction, light.colour,
                self._renderer.table,
            )  # fmt: skip


def posed_vertices(truth: Truth, person: str, head: HeadModel, chosen: list[int]) -> np.ndarray:
    """(len(chosen), V, 3) float32 camera-frame vertices of a person at the chosen frames."""
    import torch

    if head.id != truth.head_model:
        raise ValueError(f"the truth is for {truth.head_model}, not for {head.id}")
    codes = truth.codes[person]
    moving = {name: torch.from_numpy(np.ascontiguousarray(getattr(codes, name)[chosen])) for name in FRAME_CODES}
    with torch.inference_mode():
        vertices, _ = head.pose(torch.from_numpy(codes.shape), **moving)
    return vertices.numpy()


def _counted(images: Iterator[np.ndarray], total: int, progress: Callable[[float], None]) -> Iterator[np.ndarray]:
    for number, image in enumerate(images):
        yield image
        progress((number + 1) / total)


def _yaml(content: dict[str, Any]) -> str:
    """One line a field, each value in YAML's flow style (canonical JSON)."""
    return "".join(f"{key}: {canonical_json(value)}\n" for key, value in content.items())
