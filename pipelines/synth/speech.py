"""Where the speech of a synthetic conversation comes from.

Three sources, one result (:class:`~pipelines.synth.records.Dialogue`):

* the packaged recording: 30 s of a telephone call, cut into utterances of its two speakers and put together anew, so
  that turns, overlap and loudness follow the clip's relation;
* spoken text (where espeak-ng is installed), arranged the same way, with the time of every word and phoneme;
* the user's own recordings, whose timing is left as it is: one file is a mixture (who speaks when comes from the
  ``.rttm`` file beside it, else from the speaker segmentation network), two files are one person each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from pipelines.synth import espeak
from pipelines.synth.arrange import arrange, at_level, faded
from pipelines.synth.records import (
    FPS,
    PERSONS,
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    Dialogue,
    Turn,
    Utterance,
    partner_of,
    rng_for,
)
from pipelines.synth.relations import Rates
from pipelines.synth.script import BACKCHANNELS, EXCHANGES, LINES
from rsat_data.errors import ModelFileError, UsageError

MIN_PAUSE_S = 0.3
"""Quiet shorter than this does not end an utterance."""
MIN_UTTERANCE_S = 0.2
"""Shorter sounds are not speech."""
BACKCHANNEL_S = 0.7
"""Utterances of a recording up to this long serve as back-channels."""
MAX_UTTERANCE_S = 6.0
"""Longer stretches without a pause are cut where they are quietest."""
_ACTIVE_BELOW_PEAK_DB = 32.0
_HOP = 160
_SPEEDS = (0.92, 0.96, 1.0, 1.04, 1.08)


class SpeechSource(Protocol):
    """Makes the speech of any clip. Equal arguments give equal results."""

    def dialogue(
        self, num_frames: int, rates: dict[str, Rates], seed: int, clip: int, people: tuple[int, int] | None = None
    ) -> Dialogue:
        """The speech of clip number ``clip``: T = ``num_frames`` frames. ``people``: numbers of A and B in a cast."""


def floor(rates: dict[str, Rates], rng: np.random.Generator) -> Iterator[str]:
    """Who holds the floor, utterance by utterance: goes on by ``Rates.hold_probability``, at most twice in a row."""
    person, last = PERSONS[int(rng.integers(2))], ""
    while True:
        yield person
        keeps = rng.random() < rates[person].hold_probability and person != last
        last = person
        person = person if keeps else partner_of(person)


# A recording with known speakers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordingVoices:
    """Utterances of the two speakers of one recording, re-used in shuffled order. See ``arrange.Voices``."""

    utterances: dict[str, tuple[Utterance, ...]]
    source: str
    names: dict[str, str]
    isolation: Literal["channel", "gated"] = "gated"
    language: str | None = None

    def conversation(self, rates: dict[str, Rates], rng: np.random.Generator) -> Iterator[tuple[str, Utterance]]:
        """Every longer utterance of a speaker once, in shuffled order, before one comes again."""
        pools = {p: [u for u in us if u.seconds > BACKCHANNEL_S] or list(us) for p, us in self.utterances.items()}
        queues: dict[str, list[Utterance]] = {p: [] for p in PERSONS}
        for person in floor(rates, rng):
            if not queues[person]:
                queues[person] = [pools[person][int(i)] for i in rng.permutation(len(pools[person]))]
            yield person, queues[person].pop()

    def backchannel(self, person: str, rng: np.random.Generator) -> Utterance | None:
        """One of the speaker's shortest utterances."""
        short = [u for u in self.utterances[person] if u.seconds <= BACKCHANNEL_S]
        return short[int(rng.integers(len(short)))] if short else None


@dataclass(frozen=True, eq=False)
class Speaker:
    """One speaker of a recording; compared by identity."""

    utterances: tuple[Utterance, ...]
    """All that is said, cut at pauses."""


@dataclass(frozen=True)
class RecordingSource:
    """A mono recording of two people with who-spoke-when, cut up and arranged anew for every clip."""

    name: str
    """For the truth file."""
    speakers: tuple[Speaker, Speaker]
    """Who is heard."""

    def dialogue(
        self, num_frames: int, rates: dict[str, Rates], seed: int, clip: int, people: tuple[int, int] | None = None
    ) -> Dialogue:
        """Which speaker is A, and how fast each one's tape runs, is drawn for every clip."""
        rng = rng_for(seed, "recording", clip)
        first = int(rng.integers(2))
        pools, names = {}, {}
        for index, person in enumerate(PERSONS):
            speaker = (first + index) % 2
            speed = _SPEEDS[int(rng.integers(len(_SPEEDS)))]
            pools[person] = _at_speed(self.speakers[speaker], speed)
            names[person] = f"{self.name}#{speaker + 1},speed={speed}"
        voices = RecordingVoices(pools, f"recording:{self.name}", names)
        return arrange(voices, num_frames, rates, rng)


def recording_source(wav: Path, rttm: Path, name: str) -> RecordingSource:
    """Cut a recording into the utterances of its two speakers, leaving out where both talk.

    Raises:
        UsageError: the files cannot be read, or do not hold speech of two people.
    """
    audio = read_wav(wav)
    speakers = read_rttm(rttm)
    if len(speakers) != 2:
        raise UsageError(f"{rttm} names {len(speakers)} speakers; a conversation of two is needed.", path=rttm)
    step = 0.01
    count = int(len(audio) / SAMPLE_RATE / step)
    grid = np.zeros((2, count), bool)
    for row, spans in zip(grid, speakers.values(), strict=True):
        for start, end in spans:
            row[round(start / step) : round(end / step)] = True
    alone = grid & ~grid[::-1]
    speakers_found = []
    for index in range(2):
        found = []
        for start, end in _runs(alone[index]):
            found += split_at_pauses(audio[round(start * step * SAMPLE_RATE) : round(end * step * SAMPLE_RATE)])
        if not found:
            raise UsageError(f"{wav}: no speech of speaker {index + 1} alone was found.", path=wav)
        speakers_found.append(Speaker(tuple(Utterance(part) for part in found)))
    return RecordingSource(name, (speakers_found[0], speakers_found[1]))


def packaged_source(offline: bool = False) -> RecordingSource:
    """The packaged real conversation, fetched into the user's cache when it is not there yet."""
    from rsat_data.registry import model_path

    folder = model_path("sample-conversation", offline=offline)
    return _packaged(folder)


@lru_cache(maxsize=2)
def _packaged(folder: Path) -> RecordingSource:
    return recording_source(folder / "sample.wav", folder / "sample.rttm", "sample-conversation")


# Spoken text --------------------------------------------------------------------------------------------------------

VOICE_BANKS: tuple[tuple[espeak.Voice, ...], tuple[espeak.Voice, ...]] = (
    (
        espeak.Voice("en-us+m3", 46, 160),
        espeak.Voice("en-gb-x-rp+m1", 42, 165),
        espeak.Voice("en-us+m7", 38, 152),
        espeak.Voice("en-gb-scotland+m2", 50, 170),
        espeak.Voice("en-us-nyc+m4", 44, 172),
    ),
    (
        espeak.Voice("en-us+f3", 52, 165),
        espeak.Voice("en-gb-x-rp+f2", 58, 160),
        espeak.Voice("en-us+f4", 48, 155),
        espeak.Voice("en-us-nyc+f5", 54, 172),
        espeak.Voice("en-gb-x-gbclan+f1", 56, 162),
    ),
)
"""Low and high voices."""


@lru_cache(maxsize=16)
def voice_bank(voice: espeak.Voice) -> dict[str, Utterance]:
    """Every line of the script in one voice; about half a second of work, once a process."""
    return dict(zip(LINES, espeak.speak([(voice, line) for line in LINES]), strict=True))


@dataclass(frozen=True)
class SpokenVoices:
    """Exchanges of the script in two voices. See ``arrange.Voices``."""

    voices: dict[str, espeak.Voice]
    source: str = "espeak-ng"
    isolation: Literal["channel", "gated"] = "channel"
    language: str | None = "en"

    @property
    def names(self) -> dict[str, str]:
        """A and B -> name of the voice."""
        return {person: voice.name for person, voice in self.voices.items()}

    def conversation(self, rates: dict[str, Rates], rng: np.random.Generator) -> Iterator[tuple[str, Utterance]]:
        """Exchanges in shuffled order. Who holds the floor answers the own question or opens the next subject."""
        holder = floor(rates, rng)
        while True:
            for index in rng.permutation(len(EXCHANGES)):
                for line in EXCHANGES[int(index)]:
                    person = next(holder)
                    yield person, voice_bank(self.voices[person])[line]

    def backchannel(self, person: str, rng: np.random.Generator) -> Utterance | None:
        """One of the script's listener sounds."""
        return voice_bank(self.voices[person])[BACKCHANNELS[int(rng.integers(len(BACKCHANNELS)))]]


def voice_of(number: int) -> espeak.Voice:
    """The voice of member ``number`` of a cast: low and high in turn; the banks again at another pitch after that."""
    bank = VOICE_BANKS[number % 2]
    again, index = divmod(number // 2, len(bank))
    voice = bank[index]
    return espeak.Voice(voice.voice, (voice.pitch + 13 * again) % 100, voice.rate)


@dataclass(frozen=True)
class SpokenSource:
    """Text spoken by espeak-ng."""

    def dialogue(
        self, num_frames: int, rates: dict[str, Rates], seed: int, clip: int, people: tuple[int, int] | None = None
    ) -> Dialogue:
        """Two different voices, drawn for every clip, one low and one high three times out of four.

        Members of a cast keep their own voices in all clips.
        """
        rng = rng_for(seed, "spoken", clip)
        first = int(rng.integers(2))
        second = 1 - first if rng.random() < 0.75 else first
        a = VOICE_BANKS[first][int(rng.integers(len(VOICE_BANKS[first])))]
        others = [voice for voice in VOICE_BANKS[second] if voice != a]
        b = others[int(rng.integers(len(others)))]
        if people is not None:
            a, b = (voice_of(number) for number in people)
        return arrange(SpokenVoices({"A": a, "B": b}), num_frames, rates, rng)


@dataclass(frozen=True)
class AlternatingSource:
    """Several sources in turn: clip number i takes source i modulo their number."""

    sources: tuple[SpeechSource, ...]

    def dialogue(
        self, num_frames: int, rates: dict[str, Rates], seed: int, clip: int, people: tuple[int, int] | None = None
    ) -> Dialogue:
        """Ask the clip's source."""
        return self.sources[clip % len(self.sources)].dialogue(num_frames, rates, seed, clip, people)


# The user's own recordings ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnSource:
    """The user's recording, cut at random places; its own timing and loudness stay."""

    name: str
    """For the truth file."""
    audio: dict[str, np.ndarray]
    """A and B -> (N,) float32: each person alone."""
    spans: dict[str, tuple[tuple[float, float], ...]]
    """A and B -> when the person speaks, seconds."""
    isolation: Literal["channel", "gated"]
    """Two files, or one that was gated."""

    def dialogue(
        self, num_frames: int, rates: dict[str, Rates], seed: int, clip: int, people: tuple[int, int] | None = None
    ) -> Dialogue:
        """Cut a window of T frames. ``rates`` acts on behaviour only, not on this audio.

        Raises:
            UsageError: the recording is shorter than the clip.
        """
        total = num_frames * SAMPLES_PER_FRAME
        spare = len(self.audio["A"]) - total
        if spare < 0:
            raise UsageError(
                f"{self.name} lasts {len(self.audio['A']) / SAMPLE_RATE:.2f} s, "
                f"but a clip was to last {num_frames / FPS:.2f} s.",
                hint="Give a longer recording, or fewer --seconds.",
            )
        rng = rng_for(seed, "own", clip)
        first = int(rng.integers(spare // SAMPLES_PER_FRAME + 1)) * SAMPLES_PER_FRAME
        offset, seconds = first / SAMPLE_RATE, num_frames / FPS
        turns = []
        for person in PERSONS:
            for start, end in self.spans[person]:
                start, end = max(start - offset, 0.0), min(end - offset, seconds)
                if end - start >= 0.04:
                    turns.append(Turn(person, round(start, 6), round(end, 6)))
        return Dialogue(
            num_frames=num_frames,
            audio={p: self.audio[p][first : first + total].copy() for p in PERSONS},
            turns=tuple(sorted(turns, key=lambda t: (t.start, t.person))),
            words={p: None for p in PERSONS},
            phonemes={p: None for p in PERSONS},
            source=f"own:{self.name}@{offset:.2f}",
            isolation=self.isolation,
            arranged=False,
            voices={p: self.name for p in PERSONS},
        )


def own_source(files: tuple[Path, ...]) -> OwnSource:
    """One mixture, or one file a person (A, then B).

    Raises:
        UsageError: a file is missing or unreadable, or there are more than two.
        ModelFileError: who-spoke-when is not given and the segmentation network is not at hand.
    """
    if not 1 <= len(files) <= 2:
        raise UsageError(f"--speech takes one mixture or two files, one a person; {len(files)} were given.")
    loud = [at_level(read_wav(path), -24.0) for path in files]
    name = "+".join(path.name for path in files)
    if len(files) == 2:
        length = max(len(audio) for audio in loud)
        audio = {p: np.pad(a, (0, length - len(a))) for p, a in zip(PERSONS, loud, strict=True)}
        spans = {p: tuple(active_spans(audio[p])) for p in PERSONS}
        return OwnSource(name, audio, spans, "channel")
    rttm = files[0].with_suffix(".rttm")
    if rttm.is_file():
        speakers = read_rttm(rttm)
        if len(speakers) > 2:
            raise UsageError(f"{rttm} names {len(speakers)} speakers; at most two can be shown.", path=rttm)
        found = [tuple(spans) for spans in speakers.values()] + [(), ()]
    else:
        found = list(_diarise(loud[0]))
    spans = dict(zip(PERSONS, found, strict=False))
    return OwnSource(name, {p: gated(loud[0], spans[p]) for p in PERSONS}, spans, "gated")


def _diarise(audio: np.ndarray) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Who speaks when in a mixture of two, by the segmentation network that the speech stage uses."""
    try:
        from rsat_data.registry import model_path

        weights = model_path("pyannote-segmentation")
    except ModelFileError as error:
        raise ModelFileError(
            f"Who speaks when in the recording is not known: {error.message}",
            hint="Put an .rttm file beside the recording, or give two files, one a person.",
        ) from error
    from model.speech.pyannet import load_pyannet
    from pipelines.speech.diarise import stitch
    from pipelines.speech.segmentation import GRID_STEP_S, segment

    active = stitch(segment(load_pyannet(weights, "cpu"), audio)) > 0.5
    result = []
    for column in active.T:
        spans = _merged([(a * GRID_STEP_S, b * GRID_STEP_S) for a, b in _runs(column)])
        result.append(tuple(span for span in spans if span[1] - span[0] >= MIN_UTTERANCE_S))
    return tuple(result)


# Reading and cutting ------------------------------------------------------------------------------------------------


def read_wav(path: Path) -> np.ndarray:
    """Any sound file libsndfile reads -> (N,) float32 mono at ``SAMPLE_RATE``.

    Raises:
        UsageError: it is missing, unreadable, or shorter than half a second.
    """
    import soundfile

    if not path.is_file():
        raise UsageError(f"The speech file {path} does not exist.", hint="Check --speech.", path=path)
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise UsageError(
            f"The speech file {path} cannot be read: {error}.", hint="Give a WAV, FLAC, OGG or MP3 file.", path=path
        ) from error
    mono = samples.mean(axis=1)
    if len(mono) < rate / 2 or not np.isfinite(mono).all():
        raise UsageError(f"The speech file {path} is shorter than half a second or holds no numbers.", path=path)
    return mono if rate == SAMPLE_RATE else _resampled(mono, SAMPLE_RATE, rate)


def read_rttm(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Speaker -> spans in seconds, speakers in order of appearance, spans of one speaker merged where they touch.

    Raises:
        UsageError: a SPEAKER line is malformed, or there is none.
    """
    result: dict[str, list[tuple[float, float]]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            parts = line.split()
            if parts and parts[0] == "SPEAKER":
                start = float(parts[3])
                result.setdefault(parts[7], []).append((start, start + float(parts[4])))
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        raise UsageError(f"{path} is not a readable RTTM file: {error}.", path=path) from error
    if not result:
        raise UsageError(f"{path} holds no SPEAKER line.", path=path)
    return {speaker: _merged(sorted(spans), 0.01) for speaker, spans in result.items()}


def active_spans(audio: np.ndarray) -> list[tuple[float, float]]:
    """Where a single voice is heard, by energy: spans in seconds, pauses under ``MIN_PAUSE_S`` bridged."""
    level = level_db(audio)
    floor = max(float(np.percentile(level, 98)) - _ACTIVE_BELOW_PEAK_DB, -70.0)
    step = _HOP / SAMPLE_RATE
    spans = _merged([(a * step, b * step) for a, b in _runs(level > floor)])
    return [span for span in spans if span[1] - span[0] >= MIN_UTTERANCE_S]


def split_at_pauses(audio: np.ndarray) -> list[np.ndarray]:
    """Utterances of one speaker's stretch of audio: cut at pauses, and where it is quietest if still too long."""
    pieces = []
    for start, end in active_spans(audio):
        pieces += _shortened(audio[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)])
    return [faded(piece) for piece in pieces if len(piece) >= MIN_UTTERANCE_S * SAMPLE_RATE]


def gated(audio: np.ndarray, spans: tuple[tuple[float, float], ...]) -> np.ndarray:
    """(N,) float32: the audio inside the spans (seconds), faded at their ends, silence elsewhere."""
    result = np.zeros_like(audio)
    for start, end in spans:
        first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        result[first:last] = faded(audio[first:last])
    return result


def level_db(audio: np.ndarray) -> np.ndarray:
    """RMS of every 10 ms, smoothed over 30 ms, dB of full scale, at least -100."""
    frames = audio[: len(audio) // _HOP * _HOP].reshape(-1, _HOP).astype(np.float64)
    power = np.convolve((frames**2).mean(axis=1), np.ones(3) / 3, mode="same") if len(frames) else np.zeros(0)
    return 10 * np.log10(np.maximum(power, 1e-10))


def _shortened(audio: np.ndarray) -> list[np.ndarray]:
    if len(audio) <= MAX_UTTERANCE_S * SAMPLE_RATE:
        return [audio]
    level = level_db(audio)
    third = len(level) // 3
    cut = (third + int(np.argmin(level[third : 2 * third]))) * _HOP
    return [*_shortened(audio[:cut]), *_shortened(audio[cut:])]


def _runs(active: np.ndarray) -> list[tuple[int, int]]:
    """[start, end) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _merged(spans: list[tuple[float, float]], gap: float = MIN_PAUSE_S) -> list[tuple[float, float]]:
    result: list[tuple[float, float]] = []
    for start, end in spans:
        if result and start - result[-1][1] <= gap:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


@lru_cache(maxsize=16)
def _at_speed(speaker: Speaker, speed: float) -> tuple[Utterance, ...]:
    """A speaker's utterances from a tape that runs ``speed`` times as fast; kept, as every clip asks for one of few."""
    if speed == 1.0:
        return speaker.utterances
    return tuple(Utterance(_resampled(u.audio, 100, round(100 * speed))) for u in speaker.utterances)


def _resampled(audio: np.ndarray, up: int, down: int) -> np.ndarray:
    from scipy.signal import resample_poly

    return resample_poly(audio, up, down).astype(np.float32)
