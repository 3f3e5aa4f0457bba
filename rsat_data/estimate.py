"""What a build would do, how long it would take and how much disk it would need, before anything is started."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rsat_data.errors import RsatError
from rsat_data.sources import SourceFile
from rsat_data.workspace import DONE, Workspace

#: Processor seconds per second of video, where this workspace has no measurement of its own: what
#: ``python -m benchmarks.build`` printed for three real clips with one or two people; see docs/benchmarks.md. That of
#: shape is from clips of 8 s (docs/subjects.md): it does not grow with a clip's length.
DEFAULT_COST = {"ingest": 0.467, "faces": 3.232, "speech": 1.410, "shape": 1.3, "flame": 0.296, "assemble": 0.022}
#: The same for the stage `flame` with the profile `full`; see docs/photometric.md.
FULL_COST = 8.0

#: Bytes on disk per second of video with two persons, workspace and dataset together: 15.3 MB for 20 s, measured.
BYTES_PER_SECOND = 765_000


@dataclass(frozen=True)
class Estimate:
    """The plan of a build, in numbers."""

    sources: int
    """Videos that would be read."""
    refused: int
    """Files refused already, with the reason in ``problems``."""
    video_s: float
    """Their length, seconds."""
    compute_s: float
    """Computing time of one process for all stages, seconds; finished units are not taken off."""
    wall_s: float
    """Time on the clock with the workers given."""
    disk_bytes: int
    """Space needed for workspace and dataset."""
    finished_units: int
    """Units that are done already and would not be run again."""
    measured: bool
    """Whether the cost was measured in this workspace rather than assumed."""
    problems: tuple[str, ...]
    """One line a file that cannot be read."""
    conversations: int = 0
    """How many of the sources are conversations with one recording a person."""

    def describe(self) -> str:
        """Lines for people."""
        kind = "as measured in this workspace" if self.measured else "as in docs/benchmarks.md, one or two people"
        read = counted(self.sources, self.conversations)
        lines = [
            f"{read}, {self.video_s:.0f} s in all; {self.finished_units} units are done already",
            f"computing time {_clock(self.compute_s)} ({kind}), about {_clock(self.wall_s)} on the clock",
            f"disk {self.disk_bytes / 1e6:.0f} MB",
        ]
        return "\n".join([*lines, *(f"refused: {problem}" for problem in self.problems)])

    def as_json(self) -> str:
        """The numbers as JSON."""
        return json.dumps(asdict(self), indent=1)


def counted(sources: int, conversations: int) -> str:
    """How many sources there are, in words; ``conversations`` of them with one recording a person."""
    videos = f"{sources - conversations} videos"
    if not conversations:
        return videos
    talks = f"{conversations} conversation{'s' if conversations > 1 else ''} with one recording a person"
    return talks if sources == conversations else f"{videos} and {talks}"


def _finished(root: Path) -> Iterator[Path]:
    """The records of finished units; a build may be at work below ``root``, so folders may go while they are listed."""
    for place, _, names in os.walk(root / "units"):
        if DONE in names:
            yield Path(place, DONE)


def measured_cost(root: Path, profile: str = "fast") -> dict[str, float]:
    """Stage -> computing seconds per second of video, from finished units; empty if there are none.

    Units of the stage `flame` count where they were made with this profile.
    """
    spent: dict[str, list[float]] = {}
    for path in _finished(root):
        try:
            done = json.loads(path.read_text(encoding="utf-8"))
            if done["summary"].get("profile", profile) != profile:
                continue
            clips = done["summary"].get("clips")
            unit = done["unit"]
            length = (
                sum(c["end_s"] - c["start_s"] for c in clips) if clips is not None else unit["end_s"] - unit["start_s"]
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        entry = spent.setdefault(done["stage"], [0.0, 0.0])
        entry[0] += done["cpu_seconds"]
        entry[1] += length
    return {stage: seconds / length for stage, (seconds, length) in spent.items() if length > 0}


def estimate(sources: Sequence[SourceFile], workspace: Workspace, workers: int, profile: str = "fast") -> Estimate:
    """Estimate a build of ``sources`` by reading only the headers of the files; ``profile`` of the stage `flame`."""
    from pipelines.ingest.media import probe

    problems, lengths = [], []
    conversations = 0
    for source in sources:
        if source.error is not None:
            problems.append(str(source.error.message))
            continue
        own = source.metadata.get("recordings")
        videos = [Path(recording["video"]) for recording in own.values()] if own else [source.path]
        try:
            # What one person's recording has more than the other's is no conversation.
            lengths.append(min(probe(path, first_frame=False).duration_s or 0.0 for path in videos))
            conversations += own is not None
        except RsatError as error:
            problems.append(error.message)
    measured = measured_cost(workspace.root, profile)
    cost: Mapping[str, float] = DEFAULT_COST | ({"flame": FULL_COST} if profile == "full" else {}) | measured
    video_s = sum(lengths)
    compute_s = video_s * sum(cost.values())
    finished = sum(1 for _ in _finished(workspace.root))
    return Estimate(
        sources=len(lengths),
        refused=len(problems),
        video_s=video_s,
        compute_s=compute_s,
        wall_s=compute_s / max(1, min(workers, len(lengths) or 1)),
        disk_bytes=int(video_s * BYTES_PER_SECOND),
        finished_units=finished,
        measured=bool(measured),
        problems=tuple(problems),
        conversations=conversations,
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
