"""Text that was never said: recognisers fill silence, music and noise with what they read most often.

Four marks, each told as a reason: no voice is heard while the word is said (`silence`); words or phrases come again
and again (`repetition`); more is said than a mouth can say in that time (`rate`); a stretch of its own is a phrase that
ends countless subtitles, and either the voice or the recogniser is unsure of it (`known_phrase`).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.speech.words import Word, joined_text

VOICE_NEEDED = 0.3
"""Some frame within a word must reach this speech probability."""
_MARGIN_S = 0.12
"""Word times may be off by this much."""
_MOST_REPEATS = 4
"""A word or phrase said more often than this in a row is a decoder's loop."""
_LONGEST_PHRASE = 6
"""Words of the longest phrase looked for in loops."""
_FASTEST_WORDS = 9.0
"""Words a second over a stretch of at least :data:`_FAST_COUNT`: auctioneers reach about 7 (alphabetic scripts)."""
_FAST_COUNT = 8
_PAUSE_S = 0.8
"""Words further apart than this are of two stretches."""
_SURE_VOICE, _SURE_SCORE = 0.85, 0.6
"""A known phrase is believed where voice and words are both at least this sure."""

_LISTED = """
    thanks for watching|thank you for watching|thank you so much for watching|thanks for listening|please subscribe
    subscribe to my channel|please subscribe to my channel|like and subscribe|dont forget to subscribe
    see you in the next video|ill see you in the next video|thank you very much for watching
    subtitles by the amara org community|subtitles by|transcription by|captions by|translated by|copyright
    untertitel der amara org community|untertitel im auftrag des zdf|untertitel von|vielen dank fürs zuschauen
    vielen dank für die aufmerksamkeit|bis zum nächsten mal|sous titres réalisés par la communauté d amara org
    sous titrage société radio canada|merci d avoir regardé cette vidéo|abonnez vous
    subtítulos por la comunidad de amara org
    subtítulos realizados por la comunidad de amara org|gracias por ver el video|suscríbete|suscríbete al canal
    sottotitoli creati dalla comunità amara org|sottotitoli e revisione a cura di qtss|grazie per la visione
    legendas pela comunidade amara org|obrigado por assistir|ondertitels ingediend door de amara org gemeenschap
    ondertiteling|napisy stworzone przez społeczność amara org|dziękuję za uwagę|dziękuję za oglądanie
    субтитры сделал dimatorzok|субтитры создавал dimatorzok|продолжение следует|спасибо за просмотр
    ご視聴ありがとうございました|字幕作成者
    最後までご視聴いただきありがとうございました
    請不吝點贊 訂閱 轉發 打賞支持明鏡與點點欄目
    字幕由 amara org 社群提供|谢谢观看|感谢观看|시청해주셔서 감사합니다|구독과 좋아요 부탁드립니다|mbc 뉴스 이덕영입니다
    altyazı m k|izlediğiniz için teşekkürler|music|applause|laughter|музыка|musik|musique|música
"""
_PILE, _INSTANT_S = 4, 0.1
"""So many words that begin within so many seconds were not said."""
KNOWN_PHRASES = frozenset(phrase.strip() for phrase in _LISTED.replace("\n", "|").split("|") if phrase.strip())
"""Phrases that Whisper is known to write over silence and music, in the form of :func:`plain`."""


@dataclass(frozen=True)
class Removed:
    """Text taken out."""

    text: str
    """As it was recognised."""
    start: float
    """Seconds from the clip's start."""
    end: float
    """Seconds."""
    reason: str
    """silence, repetition, rate or known_phrase; echo: the other microphone heard it, louder."""

    def as_dict(self) -> dict[str, Any]:
        """The form in which it is stored."""
        return {"text": self.text, "start": round(self.start, 3), "end": round(self.end, 3), "reason": self.reason}


def plain(text: str) -> str:
    """Text for comparison: lower case, letters and digits alone, single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("\u2019", "")
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())


def remove(words: Sequence[Word], voice: np.ndarray, *, fps: float = 25.0) -> tuple[list[Word], list[Removed]]:
    """Words that were said, and what was taken out and why.

    Args:
        words: cleaned, in order.
        voice: (T,) speech probability of each frame, silence already at 0.
        fps: frames a second of ``voice``.
    """
    reasons: list[str] = [""] * len(words)
    for index, word in enumerate(words):
        heard = _during(voice, word.start - _MARGIN_S, word.end + _MARGIN_S, fps)
        if not heard.size or float(heard.max()) < VOICE_NEEDED:
            reasons[index] = "silence"
    for index in _loops([plain(word.word) for word in words]):
        reasons[index] = reasons[index] or "repetition"
    for index in _piles(words):
        reasons[index] = reasons[index] or "rate"
    left = [index for index, reason in enumerate(reasons) if not reason]
    for stretch in _stretches(words, left):
        said = [words[index] for index in stretch]
        reason = _judge(said, voice, fps)
        for index in stretch if reason else ():
            reasons[index] = reason
    kept = [word for word, reason in zip(words, reasons, strict=True) if not reason]
    return kept, _joined(words, reasons)


def counted(removed: Sequence[Removed]) -> Counter[str]:
    """Reason -> words taken out."""
    found: Counter[str] = Counter()
    for one in removed:
        found[one.reason] += len(one.text.split())
    return found


def _during(voice: np.ndarray, start: float, end: float, fps: float) -> np.ndarray:
    first = max(0, int(np.floor(start * fps)))
    return voice[first : max(first + 1, int(np.ceil(end * fps)))]


def _loops(texts: Sequence[str]) -> set[int]:
    """Numbers of the words of phrases said too often in a row, all but the first of them."""
    found: set[int] = set()
    for size in range(1, _LONGEST_PHRASE + 1):
        first = 0
        while first + size <= len(texts):
            phrase = texts[first : first + size]
            stop = first + size
            while texts[stop : stop + size] == phrase:
                stop += size
            if (stop - first) // size > _MOST_REPEATS and any(phrase):
                found.update(range(first + size * _MOST_REPEATS, stop))
                first = stop
            else:
                first += 1
    return found


def _piles(words: Sequence[Word]) -> set[int]:
    """Numbers of words of which several begin at one instant: text beyond the end of the sound, with no time left."""
    found: set[int] = set()
    for first, word in enumerate(words):
        stop = first
        while stop < len(words) and words[stop].start - word.start <= _INSTANT_S:
            stop += 1
        if stop - first >= _PILE:
            found.update(range(first, stop))
    return found


def _stretches(words: Sequence[Word], left: Sequence[int]) -> list[list[int]]:
    """Numbers of words without a pause between them."""
    found: list[list[int]] = []
    for index in left:
        if found and words[index].start - words[found[-1][-1]].end <= _PAUSE_S:
            found[-1].append(index)
        else:
            found.append([index])
    return found


def _judge(said: Sequence[Word], voice: np.ndarray, fps: float) -> str:
    """Why a stretch was not said; empty where it may have been."""
    start, end = said[0].start, said[-1].end
    if len(said) >= _FAST_COUNT and len(said) / max(end - start, 0.1) > _FASTEST_WORDS:
        return "rate"
    text = plain(joined_text(said))
    if text in KNOWN_PHRASES:
        sure = float(_during(voice, start, end, fps).mean()) >= _SURE_VOICE
        if not sure or float(np.mean([word.score for word in said])) < _SURE_SCORE:
            return "known_phrase"
    return ""


def _joined(words: Sequence[Word], reasons: Sequence[str]) -> list[Removed]:
    """What was taken out, neighbours of one reason together."""
    found: list[Removed] = []
    before = ""
    for word, reason in zip(words, reasons, strict=True):
        if reason and reason == before:
            last = found[-1]
            found[-1] = Removed(f"{last.text} {word.word}", last.start, word.end, reason)
        elif reason:
            found.append(Removed(word.word, word.start, word.end, reason))
        before = reason
    return found
