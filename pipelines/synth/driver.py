"""Many clips: speech sources by name, worker processes, skipping what is already there."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.synth.simulate import SimulationConfig, clip_name, simulate
from rsat_data.errors import DiskFullError, UsageError, WorkerDied, WorkspaceError

if TYPE_CHECKING:
    from model.head import HeadModel
    from pipelines.synth.scene import Head
    from pipelines.synth.speech import SpeechSource

SourceName = Literal["auto", "recording", "spoken"]
MIN_SECONDS, MAX_SECONDS = 1.0, 300.0
MIN_SIDE, MAX_SIDE = 160, 4096


@dataclass(frozen=True)
class SpeechConfig:
    """Which speech drives the clips."""

    source: SourceName = "auto"
    """recording: the packaged conversation; spoken: espeak-ng; auto: both in turn where espeak-ng is there."""
    files: tuple[Path, ...] = ()
    """The user's own recording instead: one mixture, or one file a person."""
    offline: bool = False
    """Open no network connection."""


@dataclass(frozen=True)
class SynthConfig:
    """A run of the synthesiser."""

    out: Path
    """Folder for the clips."""
    clips: int = 3
    """How many."""
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    """Seed, length, frame, effects."""
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    """What they say."""
    own_audio: bool = False
    """Also write each person's audio, and name it in the sidecar."""
    workers: int = 1
    """Processes."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is started."""
        s = self.simulation
        if self.clips < 1:
            raise UsageError(f"--clips is {self.clips}; it must be at least 1.")
        if not MIN_SECONDS <= s.seconds <= MAX_SECONDS:
            raise UsageError(
                f"--seconds is {s.seconds:g}; it must lie between {MIN_SECONDS:g} and {MAX_SECONDS:g}.",
                hint="Make more clips (--clips) instead of longer ones.",
            )
        for side in (s.width, s.height):
            if not MIN_SIDE <= side <= MAX_SIDE or side % 2:
                raise UsageError(
                    f"--size {s.width}x{s.height}: both sides must be even and between {MIN_SIDE} and {MAX_SIDE}.",
                    hint="For example --size 1280x720.",
                )
        if s.width < s.height:
            raise UsageError(f"--size {s.width}x{s.height}: two people side by side need a frame wider than high.")
        if s.clips_per_dyad < 1:
            raise UsageError(f"--clips-per-dyad is {s.clips_per_dyad}; it must be at least 1.")
        if s.people < 0 or s.people == 1:
            raise UsageError(f"--people is {s.people}; a cast has at least 2.", hint="Leave it out for new people.")
        if s.seed < 0:
            raise UsageError(f"--seed is {s.seed}; it must not be negative.")
        if self.workers < 1:
            raise UsageError(f"--workers is {self.workers}; it must be at least 1.")


def open_speech(config: SpeechConfig) -> SpeechSource:
    """The source that ``config`` names.

    Raises:
        UsageError: a file of the user is missing or unreadable.
        MissingDependencyError: spoken text was asked for and espeak-ng is not installed.
        ModelFileError: the packaged recording is not at hand.
    """
    from pipelines.synth import espeak
    from pipelines.synth.speech import AlternatingSource, SpokenSource, own_source, packaged_source

    if config.files:
        return own_source(config.files)
    if config.source == "spoken":
        espeak.require_library()
        return SpokenSource()
    recording = packaged_source(config.offline)
    if config.source == "auto" and espeak.is_available():
        return AlternatingSource((recording, SpokenSource()))
    return recording


@dataclass(frozen=True)
class Tools:
    """What a process needs for any clip; made once a process."""

    speech: SpeechSource
    head: HeadModel
    facts: Head


def open_tools(config: SpeechConfig) -> Tools:
    """Load the head and the speech."""
    from model.head import load_head
    from pipelines.synth.scene import head_facts

    head = load_head()
    return Tools(open_speech(config), head, head_facts(head))


# One unit of work, in this process or in a worker -------------------------------------------------------------------

_tools: Tools | None = None


def prepare_worker(config: SpeechConfig) -> None:
    """Called once in every worker process."""
    global _tools
    import torch

    torch.set_num_threads(1)
    _tools = open_tools(config)


def tools() -> Tools:
    """Those of this process."""
    if _tools is None:
        raise RuntimeError("prepare_worker was not called in this process")
    return _tools


def make_clip(config: SynthConfig, index: int) -> tuple[str, bool]:
    """Make one clip; name, and whether it had to be made (False: it was there)."""
    from pipelines.synth.clip import is_complete, write_clip

    have = tools()
    truth, dialogue = simulate(config.simulation, index, have.speech, have.facts)
    if is_complete(config.out, truth):
        return truth.name, False
    with disk_errors(config.out):
        write_clip(config.out, truth, dialogue, have.head, own_audio=config.own_audio)
    return truth.name, True


def make_clips(config: SynthConfig, done: Callable[[str, bool], None] = lambda name, made: None) -> list[str]:
    """Make all clips of a run. Clips that are there already, from the same truth, are left alone.

    Args:
        config: the run.
        done: called after every clip with its name and whether it was made now.

    Returns:
        The names, in order.
    """
    prepare_folder(config.out)
    jobs: list[tuple[Any, ...]] = [(config, index) for index in range(config.clips)]
    for name, made in run_jobs(make_clip, jobs, config.workers, config.speech):
        done(name, made)
    return [clip_name(config.simulation, index) for index in range(config.clips)]


def run_jobs(
    work: Callable[..., Any], jobs: list[tuple[Any, ...]], workers: int, speech: SpeechConfig
) -> Iterator[Any]:
    """Results of ``work(*job)`` as they are finished; in this process for one worker, else in several.

    Raises:
        WorkerDied: a worker was killed.
        RsatError: what the first failing job raised; jobs not yet started are dropped.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        prepare_worker(speech)
        for job in jobs:
            yield work(*job)
        return
    # Fetching a model file in every worker at once would be wasteful: do it here first.
    open_speech(speech)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_worker, initargs=(speech,)) as pool:
        pending: set[Future[Any]] = {pool.submit(work, *job) for job in jobs}
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        except BrokenProcessPool as error:
            raise WorkerDied(
                "A worker process was killed, most likely for want of memory.",
                hint="Run the same command with fewer --workers; finished clips are kept.",
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def prepare_folder(folder: Path) -> None:
    """Make the folder.

    Raises:
        WorkspaceError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"{folder} cannot be made: {error.strerror or error}.", path=folder) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise WorkspaceError(f"{folder} may not be written to.", hint="Give another --out.", path=folder)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What the system says about a full or closed disk, as this project's errors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"{folder}: no space is left on the disk.",
                hint="Free some space and run the same command again; finished clips are kept.",
                path=folder,
            ) from error
        raise WorkspaceError(f"{folder} cannot be written: {error}.", path=folder) from error
