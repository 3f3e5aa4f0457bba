"""Ingest of a conversation recorded one file a person: one timeline, one channel a voice, clips in which both are seen.

The timeline is that of A's video: A's own time is the shared time. docs/recordings.md says what is estimated and how.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.faces.nets import FaceDetector, FaceLandmarker
from pipelines.ingest import records
from pipelines.ingest.align import Alignment, align
from pipelines.ingest.both_seen import both_seen
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.media import MediaInfo, probe
from pipelines.ingest.scan import Scan, scan_video
from pipelines.ingest.timeline import Clock
from pipelines.ingest.voices import SEPARATION_DB, Voice, channel_facts, read_voice, write_voices
from pipelines.stage import StageContext
from rsat_data.errors import NoAudioTrack, OffsetUnknown, RecordingsError, SourceError

DRIFT_NOTE_PPM = 20.0
"""Drift from which the owner is told: clocks of ordinary devices keep within it."""
CONTRADICTION_S = 0.1
"""How far a given offset may be from what the sound says without a word about it."""


@dataclass
class Recording:
    """One person's files, and what was found in them."""

    person: str
    """A or B."""
    line: int
    """Line of the table."""
    video: Path
    """The video."""
    audio: Path | None
    """The sound file that replaces the video's sound, where one was named."""
    given_s: float | None
    """The offset as given."""
    info: MediaInfo
    """What the video's header says."""
    scan: Scan
    """Shots and faces, on the recording's own time."""
    sounds: list[Voice] = field(default_factory=list)
    """What can be heard, on the video's own time: the video's sound first, then the sound file."""
    clock: Clock = Clock()
    """When the video ran on the shared timeline."""
    notes: list[str] = field(default_factory=list)
    """What its owner should know."""
    facts: dict[str, Any] = field(default_factory=dict)
    """How the clock was found, for recordings.json."""

    @property
    def voice(self) -> Voice:
        """The person's sound on the shared timeline: that of the sound file where there is one."""
        own = self.sounds[-1]
        return Voice(own.samples, self.clock.after(own.clock))


def run(context: StageContext, config: IngestConfig) -> Mapping[str, Any]:
    """Look through both recordings; write what `pipelines.ingest.run` writes, and recordings.json.

    Returns:
        {"clips", "skipped", "notes"}: clips and skipped as in clips.json; a clip's boxes are in the order A, B, each in
        its own video, and ``offsets`` {P: s} say how far P's video lies behind the shared timeline during the clip.

    Raises:
        SourceError: a recording cannot be used; the message names the conversation and the line of the table.
        OffsetUnknown: the sounds do not say when the recordings ran, and no offset was given.
        RecordingsError: the offset leaves no overlap.
        SkippedSource: there is no span in which both are seen.
    """
    name = str(context.unit["name"])
    with (
        FaceDetector(context.model("face_landmarker"), min_confidence=config.min_face_score) as detector,
        FaceLandmarker(context.model("face_landmarker")) as landmarker,
    ):
        people = [
            _look_through(context, config, person, stated, (detector, landmarker), 0.46 * at)
            for at, (person, stated) in enumerate(sorted(context.metadata["recordings"].items()))
        ]
    scratch = [context.out / f".{kind}-{one.person}.pcm" for one in people for kind in ("video", "audio")]
    try:
        for one in people:
            _listen(context, config, name, one)
        context.progress(0.95)
        put_on_one_timeline(name, people)
        low, high = overlap(people)
        if high - low < config.min_clip_s:
            raise no_overlap(name, people, config.min_clip_s)
        written = write_voices(context.out, [one.voice for one in people], high, from_s=low)
    finally:
        for one in people:
            one.sounds.clear()
        for path in scratch:
            path.unlink(missing_ok=True)
    seen = {one.person: (one.scan, one.clock) for one in people}
    clips, skipped = both_seen(seen, (low, high), written.loudness, config)
    for clip in clips:
        middle = 0.5 * (clip["start_s"] + clip["end_s"])
        clip["offsets"] = {one.person: round(one.clock.offset_near(middle), 6) for one in people}
    result = {"clips": clips, "skipped": [records.rounded(asdict(span)) for span in skipped]}
    shots = [[round(one.clock.shared(t), 6) for t in shot] for one in people for shot in one.scan.shots]
    own = [one.person for one in people]
    if written.separation_db < SEPARATION_DB and not all(one.audio for one in people):
        own = []
        (context.out / "channels.flac").unlink()
        people[0].notes.append(
            f"both recordings hear both voices almost alike ({written.separation_db:.0f} dB of separation, "
            f"{SEPARATION_DB:g} needed), so each person's audio is cut out of the mixture"
        )
    channels = own and channel_facts(own, written)
    records.write_json(context.out / "source.json", _source_record(context, people, channels))
    records.write_json(context.out / "recordings.json", {one.person: _record(one) for one in people})
    records.write_json(context.out / "shots.json", sorted(shots))
    records.write_json(context.out / "clips.json", result)
    if not clips:
        raise records.no_clip(Path(name), skipped, config)
    context.progress(1.0)
    return result | {"notes": [f"{one.person}: {note}" for one in people for note in one.notes]}


@contextmanager
def naming(conversation: str, line: int) -> Any:
    """Errors of a file get the conversation and the line of the table put in front."""
    try:
        yield
    except SourceError as error:
        raise type(error)(
            f"Conversation {conversation!r}, line {line}: {error.message}", hint=error.hint, path=error.path
        ) from error


def _look_through(
    context: StageContext,
    config: IngestConfig,
    person: str,
    stated: Mapping[str, Any],
    networks: tuple[FaceDetector, FaceLandmarker],
    done: float,
) -> Recording:
    video, line = Path(stated["video"]), int(stated["line"])
    with naming(str(context.unit["name"]), line):
        info = records.check_bounds(video, probe(video, first_frame=False), config, need_audio=False)
        info = records.check_bounds(video, probe(video), config, need_audio=False)
        if info.audio is None and not stated["audio"]:
            raise NoAudioTrack(
                f"{video.name!r} has no audio track, and no sound file is named for {person}",
                hint="Name the person's sound file in the column audio.",
                path=video,
            )
        scan = scan_video(video, info, config, *networks, lambda x: context.progress(done + 0.46 * x))
    audio = Path(stated["audio"]) if stated["audio"] else None
    return Recording(person, line, video, audio, stated["offset_s"], info, scan)


def _listen(context: StageContext, config: IngestConfig, name: str, one: Recording) -> None:
    """Read a person's sounds; find when the sound file ran on the video's own time."""
    with naming(name, one.line):
        if one.info.audio is not None:
            scratch = context.out / f".video-{one.person}.pcm"
            one.sounds.append(Voice(read_voice(one.video, scratch, config.max_duration_s)))
        if one.audio is None:
            return
        samples = read_voice(one.audio, context.out / f".audio-{one.person}.pcm", config.max_duration_s)
    clock, found = Clock(), None
    if one.sounds:
        found = align(one.sounds[0].samples, samples)
        if found is not None and found.sure:
            clock = found.clock
        else:
            one.notes.append(
                f"the sound of {one.video.name} could not be found in {one.audio.name}, which was taken to start with "
                "the video"
            )
    one.facts["audio"] = _sureness(found) | {
        "offset_s": round(clock.offset_s, 6),
        "drift_ppm": round(clock.drift_ppm, 3),
    }
    if abs(clock.drift_ppm) > DRIFT_NOTE_PPM:
        one.notes.append(f"{one.audio.name} drifts by {clock.drift_ppm:+.0f} ppm against {one.video.name}; corrected")
    one.sounds.append(Voice(samples, clock))


def put_on_one_timeline(name: str, people: list[Recording]) -> None:
    """Set the clocks: A's is the shared timeline, B's from the offsets given, else from the sounds.

    An offset given for one of the two is against the other; given for both, their difference counts.

    Raises:
        OffsetUnknown: none was given, and the sounds do not say.
    """
    first, second = people
    heard, clock = _between(first, second)
    low = max(0.0, clock.offset_s)
    given = None
    if first.given_s is not None or second.given_s is not None:
        given = (second.given_s or 0.0) - (first.given_s or 0.0)
    sure = heard is not None and heard.sure
    if given is None and not sure:
        score = "nothing can be heard" if heard is None else f"correlation {heard.correlation:.2f}, 2 is needed"
        raise OffsetUnknown(
            f"Conversation {name!r}, lines {first.line} and {second.line}: the offset between {first.video.name} and "
            f"{second.video.name} cannot be estimated from their sounds ({score}).",
            hint="Give offset_s for B: when B's video starts, in seconds on the timeline of A's.",
        )
    first.facts |= {"offset_from": "reference", "correlation": None}
    second.facts |= {"offset_from": "sound" if given is None else "given"} | _sureness(heard)
    if given is None:
        second.clock = clock
    else:
        said = clock.offset_near(low + 1.0)
        agrees = sure and abs(said - given) <= CONTRADICTION_S
        second.clock = Clock(given, clock.drift_ppm if agrees else 0.0)
        if heard is not None:
            second.facts["heard_offset_s"] = round(clock.offset_s, 6)
        if sure and not agrees:
            second.notes.append(
                f"offset_s puts {second.video.name} at {given:.3f} s, their sounds at {said:.3f} s; the given offset "
                "was used, check it"
            )
    if abs(second.clock.drift_ppm) > DRIFT_NOTE_PPM:
        second.notes.append(
            f"the clock of {second.video.name} drifts by {second.clock.drift_ppm:+.0f} ppm against that of "
            f"{first.video.name} ({second.clock.drift_ppm * 0.06:+.1f} ms a minute); corrected clip by clip"
        )


def _between(first: Recording, second: Recording) -> tuple[Alignment | None, Clock]:
    """What the sounds say, and the clock of the second video on the first's time by it.

    The videos' own sounds come first: a camera hears both better than a microphone at somebody's collar does.
    """
    best: tuple[Alignment | None, Clock] = (None, Clock())
    for ours in first.sounds:
        for theirs in second.sounds:
            found = align(ours.samples, theirs.samples)
            if found is None or (best[0] is not None and best[0].correlation >= found.correlation):
                continue
            # Own time of their sound from the shared time, and back to the time of their video.
            heard = ours.clock.after(found.clock)
            best = found, heard.after(theirs.clock.inverse())
            if found.sure and found.correlation >= 3.0:
                return best
    return best


def _sureness(found: Alignment | None) -> dict[str, Any]:
    if found is None:
        return {"correlation": None, "windows": 0, "drift_se_ppm": None}
    error = round(found.drift_se_ppm, 3) if np.isfinite(found.drift_se_ppm) else None
    return {"correlation": round(found.correlation, 3), "windows": found.windows, "drift_se_ppm": error}


def overlap(people: list[Recording]) -> tuple[float, float]:
    """When both videos ran, seconds on the shared timeline."""
    low = max(one.clock.shared(one.scan.start_s) for one in people)
    return low, min(one.clock.shared(one.scan.end_s) for one in people)


def no_overlap(name: str, people: list[Recording], needed: float) -> RecordingsError:
    """The error of recordings that hardly ran together."""
    ends = [(one.clock.shared(one.scan.start_s), one.clock.shared(one.scan.end_s)) for one in people]
    spans = [
        f"{one.video.name} runs from {start:.2f} to {end:.2f} s"
        for one, (start, end) in zip(people, ends, strict=True)
    ]
    given = any(one.given_s is not None for one in people)
    return RecordingsError(
        f"Conversation {name!r}, lines {people[0].line} and {people[1].line}: "
        + ("with this offset_s " if given else "")
        + f"{spans[0]}, {spans[1]}: less than {needed:g} s in common.",
        hint="Correct offset_s (seconds at which B's video starts on the timeline of A's), or leave it empty."
        if given
        else "Check that the two files belong to one conversation.",
    )


def _record(one: Recording) -> dict[str, Any]:
    video = one.info.video
    assert video is not None
    return {
        "offset_s": round(one.clock.offset_s, 6),
        "drift_ppm": round(one.clock.drift_ppm, 3),
        **one.facts,
        "width": one.scan.upright.width,
        "height": one.scan.upright.height,
        "fps": round(video.fps, 6),
        "num_frames": one.scan.num_frames,
        "start_s": round(one.scan.start_s, 6),
        "end_s": round(one.scan.end_s, 6),
        "notes": one.notes,
    }


def _source_record(context: StageContext, people: list[Recording], channels: Any) -> dict[str, Any]:
    """source.json: facts of A's recording, the bytes of all files, and whose voice each channel holds."""
    first = people[0]
    record = records.source_record(first.video, context, first.info, first.scan)
    files = [path for one in people for path in (one.video, one.audio) if path is not None]
    record["bytes"] = sum(path.stat().st_size for path in files)
    if channels:
        record["audio"] = {**(record["audio"] or {}), **channels}
    return record
