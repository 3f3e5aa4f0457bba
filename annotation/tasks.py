"""A clip as a task of the label server: what the form shows of it, and nothing that gives the answer away.

The transcript is shown as it is typed: the editor puts paragraphs on the page as text, so ``<b>`` needs no escaping,
and escaping it would show ``&lt;b&gt;`` and shift every offset. What does need care, and gets it here:

* white space of any kind becomes single spaces, or offsets into the text and what a browser shows would part;
* control and direction characters go, and text that runs right to left is wrapped in one pair of isolates, so that its
  marks stand where they belong without turning over what is around it;
* the editor sorts paragraphs by start, and puts a start of 0 last: paragraphs come sorted, and none starts at 0;
* the editor fails on an empty list: a clip without words has one paragraph that says so;
* a turn of minutes is cut between sentences or words, because a paragraph is what is played and scrolled to.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA = "rsat/1"
#: Speaker of a paragraph that nobody says.
NOBODY = "-"
NO_WORDS = "(no words were recognised)"
#: Longest paragraph, characters.
LONGEST = 400
#: Earliest start, seconds: the editor takes 0 for "no time".
EARLIEST_S = 0.01
_LEFT_TO_RIGHT, _RIGHT_TO_LEFT, _POP = "\u2066", "\u2067", "\u2069"


@dataclass(frozen=True)
class Addresses:
    """Where the browser gets a clip's files."""

    video: str
    """MP4."""
    audio: str
    """WAV."""
    face_a: str
    """JPEG of A, the left one."""
    face_b: str
    """JPEG of B."""


def task_data(clip_id: str, transcript: Sequence[Mapping[str, Any]], media: Addresses) -> dict[str, Any]:
    """The ``data`` of a task."""
    return {
        "clip_id": clip_id,
        "video": media.video,
        "audio": media.audio,
        "face_a": media.face_a,
        "face_b": media.face_b,
        "transcript": [dict(paragraph) for paragraph in transcript],
        "title": neutral_title(clip_id),
        "schema": SCHEMA,
    }


def neutral_title(clip_id: str) -> str:
    """A short name to talk about a task; made by hashing, because a clip's own name may tell who is in it."""
    return f"Conversation {hashlib.sha256(f'title {clip_id}'.encode()).hexdigest()[:8]}"


def make_transcript(
    turns: Iterable[Mapping[str, Any]], seconds: float, words: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The paragraphs of a task: speaker, text, start, end.

    Args:
        turns: the clip's turns (person, start, end, text), seconds from its start.
        seconds: length of the clip.
        words: the clip's words (word, start, end, speaker), which tell where a long turn can be cut; without them a
            cut's time is that of its share of the characters.

    Turns without words are left out. Never empty; sorted by start, then end; starts lie in [EARLIEST_S, seconds].
    """
    found: list[dict[str, Any]] = []
    for turn in turns:
        text = clean_text(turn["text"])
        if not text or turn["person"] not in ("A", "B"):
            continue
        start = min(max(float(turn["start"]), 0.0), seconds)
        end = min(max(float(turn["end"]), start), seconds)
        for piece, begin, stop in _cut(text, start, end, turn["person"], words):
            found.append(_paragraph(turn["person"], piece, begin, stop, seconds))
    if not found:
        found.append(_paragraph(NOBODY, NO_WORDS, 0.0, seconds, seconds))
    return sorted(found, key=lambda paragraph: (paragraph["start"], paragraph["end"]))


def clean_text(text: str) -> str:
    """Text as it can be shown in one line: single spaces, nothing invisible that moves other text about."""
    spaced = "".join(" " if character.isspace() else character for character in unicodedata.normalize("NFC", text))
    # Cc: control; Cs: half of a pair, which is no valid UTF-8; Cf: joiners are needed by scripts and by emoji.
    kept = [c for c in spaced if unicodedata.category(c) not in ("Cc", "Cs", "Cn", "Co") and not _moves_text(c)]
    line = " ".join("".join(kept).split())
    return f"{_RIGHT_TO_LEFT}{line}{_POP}" if _runs_right_to_left(line) else line


def _moves_text(character: str) -> bool:
    return unicodedata.category(character) == "Cf" and character not in "\u200c\u200d"


def _runs_right_to_left(line: str) -> bool:
    """By the first letter with a direction, as in UAX #9, P2 and P3."""
    for character in line:
        direction = unicodedata.bidirectional(character)
        if direction in ("L", "R", "AL"):
            return direction != "L"
    return False


def _paragraph(speaker: str, text: str, start: float, end: float, seconds: float) -> dict[str, Any]:
    begin = round(min(max(start, EARLIEST_S), seconds), 3)
    return {"speaker": speaker, "text": text, "start": begin, "end": round(max(end, begin), 3)}


def _cut(
    text: str, start: float, end: float, person: str, words: Sequence[Mapping[str, Any]]
) -> list[tuple[str, float, float]]:
    """Pieces of a turn, none longer than LONGEST, with their times; one piece for an ordinary turn."""
    if len(text) <= LONGEST:
        return [(text, start, end)]
    wrapped = text[0] == _RIGHT_TO_LEFT
    pieces = _pieces(text.strip(_RIGHT_TO_LEFT + _POP), LONGEST - 2 if wrapped else LONGEST)
    own = [w for w in words if w["speaker"] == person and w["start"] >= start - 0.05 and w["end"] <= end + 0.05]
    exact = len(own) == sum(len(piece.split()) for piece in pieces)
    found, begin, seen, total = [], start, 0, sum(map(len, pieces))
    count = 0
    for number, piece in enumerate(pieces):
        seen += len(piece)
        count += len(piece.split())
        if number == len(pieces) - 1:
            stop = end
        elif exact:
            stop = float(own[count]["start"])
        else:
            stop = start + (end - start) * seen / total
        stop = min(max(stop, begin), end)
        found.append((f"{_RIGHT_TO_LEFT}{piece}{_POP}" if wrapped else piece, begin, stop))
        begin = stop
    return found


def _pieces(text: str, longest: int) -> list[str]:
    """Cut after the last sentence that fits, else between words, else anywhere."""
    pieces = []
    while len(text) > longest:
        head = text[: longest + 1]
        at = max((head.rfind(mark + " ") + 1 for mark in ".?!…"), default=0)
        if at < longest // 3:
            at = head.rfind(" ")
        if at <= 0:
            at = longest
        pieces.append(text[:at].strip())
        text = text[at:].strip()
    return [*pieces, text] if text else pieces
