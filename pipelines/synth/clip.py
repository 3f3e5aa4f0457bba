"""One synthetic conversation as files: video, sidecar and truth; on request each person's audio."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.synth.records import PERSONS, SAMPLE_RATE, Dialogue
from pipelines.synth.scene import FRAME_CODES
from pipelines.synth.truth import Truth, truth_bytes, truth_paths, write_truth
from rsat_data.content import canonical_json

if TYPE_CHECKING:
    from model.head import HeadModel

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
    wanted = list(range(truth.num_frames) if span is None else span)
    for first in range(0, len(wanted), _BATCH):
        chunk = wanted[first : first + _BATCH]
        posed = [posed_vertices(truth, person, head, chunk) for person in PERSONS]
        for number in range(len(chunk)):
            yield renderer.render([vertices[number] for vertices in posed])


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
