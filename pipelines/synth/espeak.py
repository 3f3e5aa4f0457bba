"""Spoken text with the time of every phoneme and word, where libespeak-ng is installed. The only place that uses it.

The library (GPL-3.0-or-later) is neither shipped nor required: it runs in a process of its own, if the system has it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from pipelines.synth.records import SAMPLE_RATE, Span, Utterance
from rsat_data.errors import MissingDependencyError, StageError

_WORKER = Path(__file__).with_name("espeak_worker.py")
_NO_LIBRARY = 3
_TIMEOUT_S = 300
_QUIET = 300 / 32768
"""Samples below this at both ends are not speech."""


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng, chosen among accents, timbres, pitches and rates."""

    voice: str = "en-us+m3"
    """Language and variant."""
    pitch: int = 50
    """0 to 99; 50 is the variant's own."""
    rate: int = 165
    """Words a minute."""

    @property
    def name(self) -> str:
        """For the truth file."""
        return f"espeak-ng:{self.voice},pitch={self.pitch},rate={self.rate}"


@cache
def is_available() -> bool:
    """Whether libespeak-ng can be loaded here."""
    run = subprocess.run([sys.executable, "-I", str(_WORKER), "--probe"], capture_output=True, timeout=60, check=False)
    return run.returncode == 0


def require_library() -> None:
    """Raise MissingDependencyError unless libespeak-ng can be loaded."""
    if not is_available():
        raise _missing()


def _missing() -> MissingDependencyError:
    return MissingDependencyError(
        "Spoken text needs the library espeak-ng, which cannot be loaded here.",
        hint="Install it with your system's packages (Debian, Ubuntu: apt-get install espeak-ng), "
        "or use --source recording.",
    )


def speak(lines: list[tuple[Voice, str]]) -> list[Utterance]:
    """Speak lines. Equal lists give equal samples.

    Returns:
        One utterance a line, with words and phonemes (IPA, stress marks and length marks kept, pauses left out).

    Raises:
        MissingDependencyError: libespeak-ng is not installed.
        StageError: it failed on these lines.
    """
    request = json.dumps([{**asdict(voice), "text": text} for voice, text in lines])
    command = [sys.executable, "-I", str(_WORKER)]
    run = subprocess.run(command, input=request.encode(), capture_output=True, timeout=_TIMEOUT_S, check=False)
    if run.returncode == _NO_LIBRARY:
        raise _missing()
    if run.returncode != 0:
        detail = run.stderr.decode(errors="replace")[-300:]
        raise StageError(f"espeak-ng failed (status {run.returncode}) {detail}", hint="Try --source recording.")
    result, data, at = [], run.stdout, 0
    for _, text in lines:
        end = data.index(b"\n", at)
        header = json.loads(data[at:end])
        at = end + 1 + 2 * header["samples"]
        result.append(_utterance(np.frombuffer(data[end + 1 : at], "<i2"), header, text))
    return result


def _utterance(samples: np.ndarray, header: dict[str, object], text: str) -> Utterance:
    rate = int(header["rate"])  # type: ignore[call-overload]
    audio = samples.astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(audio) > _QUIET)
    first, last = (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, len(audio))
    offset, length = first / rate, (last - first) / rate
    phonemes = _spans(header["phonemes"], rate, offset, length)
    words = _spans(header["words"], rate, offset, length)
    # A word ends where its last phoneme does: the pause that follows belongs to nobody.
    spoken = [p for p in phonemes if p.label]
    trimmed = []
    for word in words:
        inside = [p.end for p in spoken if word.start <= (p.start + p.end) / 2 < word.end]
        if inside:
            trimmed.append(Span(word.label, word.start, min(word.end, max(inside))))
    audio16 = resample_poly(audio[first:last], SAMPLE_RATE, rate).astype(np.float32)
    return Utterance(audio16, text, tuple(trimmed), tuple(spoken))


def _spans(raw: object, rate: int, offset: float, length: float) -> list[Span]:
    """Labels with start samples -> spans that last to the next start, clipped to the trimmed audio."""
    items = [(str(label), at / rate - offset) for label, at in raw]  # type: ignore[attr-defined]
    ends = [at for _, at in items[1:]] + [length]
    result = []
    for (label, start), end in zip(items, ends, strict=True):
        start, end = max(start, 0.0), min(end, length)
        if end > start:
            result.append(Span(label, round(start, 4), round(end, 4)))
    return result
