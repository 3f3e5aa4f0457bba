"""The row of a person who belongs to the conversation but is not seen in the clip: heard, at rest, never valid."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from pipelines.speech.turns import make_turns
from pipelines.speech.words import Word
from schemas.triplets import FPS, FRAME_COLUMNS, SAMPLE_RATE

REASON = "off_screen"
#: Columns that only a face can fill.
_OF_A_FACE = (
    *("photometric", "image", "video", "matte", "q_sync", "q_sync_offset_ms", "q_blur", "q_face_px"),
    *("q_yaw_p95_deg", "q_snr_db", "q_reprojection", "q_photometric", "q_confidence", "q_speaker"),
)


@dataclass(frozen=True)
class Unseen:
    """Who is not seen, as the stage `subjects` says."""

    letter: str
    """A or B; the one who is seen is the other."""
    identity: Mapping[str, Any]
    """subject_id, source, score."""
    shape: np.ndarray
    """(S,) float32."""

    @classmethod
    def from_part(cls, part: Mapping[str, Any] | None) -> Unseen | None:
        """From the clip's part; None where the clip has no such person."""
        if not part:
            return None
        identity = {key: part[key] for key in ("subject_id", "source", "score")}
        return cls(str(part["letter"]), identity, np.asarray(part["shape"], np.float32))


def columns(
    unseen: Unseen, seen: Mapping[str, Any], audio: bytes, isolation: str, speaking: np.ndarray
) -> dict[str, Any]:
    """What in the row of the one not seen differs from that of the one who is.

    Codes are those of a head at rest: no expression, no rotation, where the head of the other one mostly is, so that
    it lies before the camera.

    Args:
        unseen: who.
        seen: the row of the one who is seen.
        audio: FLAC.
        isolation: how the audio was made.
        speaking: (T,) bool.
    """
    frames = len(speaking)
    codes = {name: np.zeros_like(seen[name]) for name in FRAME_COLUMNS}
    known = seen["translation"][seen["valid"]] if seen["valid"].any() else seen["translation"]
    codes["translation"][:] = np.median(known, axis=0)
    return {
        **codes,
        **dict.fromkeys(_OF_A_FACE),
        "shape": unseen.shape,
        "audio": {"bytes": audio, "path": f"{seen['partner_row_id']}.flac"},
        "audio_isolation": isolation,
        "speaking": speaking,
        "valid": np.zeros(frames, bool),
        "invalid_reason": [REASON] * frames,
        "confidence": np.zeros(frames, np.float32),
        "reprojection_px": np.full(frames, np.nan, np.float32),
        "q_valid": 0.0,
    }


def silence(frames: int) -> bytes:
    """FLAC of a clip in which a person says nothing."""
    buffer = io.BytesIO()
    samples = np.zeros(round(frames / FPS * SAMPLE_RATE), np.int16)
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def attribute(
    words: Sequence[Mapping[str, Any]], visible: str, speaking: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Words with letters of the conversation.

    The one who is seen keeps their words; a word of nobody's belongs to the one not seen where that one, and not the
    other, speaks in most of its frames.

    Args:
        words: of the stage `speech`, whose only person is A.
        visible: letter of the one who is seen.
        speaking: both letters -> (T,) bool.
    """
    (hidden,) = set(speaking) - {visible}
    alone = speaking[hidden] & ~speaking[visible]
    out = []
    for word in words:
        first = min(max(int(float(word["start"]) * FPS), 0), len(alone) - 1)
        span = alone[first : max(first + 1, round(float(word["end"]) * FPS))]
        speaker = visible if word.get("speaker") is not None else hidden if span.mean() > 0.5 else None
        out.append({**word, "speaker": speaker})
    return out


def turns(
    stated: Sequence[Mapping[str, Any]],
    words: Sequence[Mapping[str, Any]],
    visible: str,
    hidden: str,
    talks: np.ndarray,
) -> list[dict[str, Any]]:
    """Turns of both, in order of their start.

    Args:
        stated: turns of the stage `speech`, whose only person is A.
        words: from `attribute`.
        visible: letter of the one who is seen.
        hidden: letter of the other one.
        talks: (T,) when that one speaks.
    """
    own = [
        Word(str(w["word"]), float(w["start"]), float(w["end"]), float(w.get("score") or 0.0), hidden)
        for w in words
        if w["speaker"] == hidden
    ]
    made = [turn.as_dict() for turn in make_turns({hidden: talks}, own, fps=FPS)]
    both = [{**turn, "person": visible} for turn in stated] + made
    return sorted(both, key=lambda turn: (turn["start"], turn["person"]))
