"""What a push is asked for, and what it tells in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rsat_data.errors import UsageError


@dataclass(frozen=True)
class PushOptions:
    """Which clips are pushed, and how."""

    url: str | None = None
    """The server; None: LABEL_STUDIO_URL, or the one `init` used."""
    token_file: Path | None = None
    """File with the token; None: LABEL_STUDIO_API_KEY."""
    sample: int | None = None
    """How many clips the project is to have (those pushed before count); None: all."""
    seed: int = 0
    """Decides which clips a sample takes."""
    balance: float = 0.5
    """1: strata get their share of the dataset; 0: all strata the same; see annotation.sampling."""
    gold: Path | None = None
    """CSV with known answers (clip_id,kinship,status,senior[,confidence]): pushed in any case, mixed among the rest."""
    predictions: bool = True
    """Whether annotators may see a machine's guess at all; False is the same as hiding all. Samples use them anyway."""
    hide: float = 0.3
    """Share of clips whose guess is not shown, chosen by hash, so that its influence can be measured."""
    lexicons: tuple[Path, ...] = ()
    """Further lexicons, one a language."""
    relabel: bool = False
    """Push clips, too, whose relation was voted on already."""
    sound_only: bool = False
    """Push clips, too, that hold no picture: annotators hear them, and see a card."""
    media: str = "auto"
    """local, upload, url, or auto: local where the server's folder can be written, else upload."""
    media_root: Path | None = None
    """local: the server's document root, where it is on this machine. url: the folder that is served."""
    media_url: str | None = None
    """url: what comes before a file's name."""
    batch: int = 50
    """Tasks a request."""
    workers: int | None = None
    """Threads that make media; None: one a core, at most 8."""
    dry_run: bool = False
    """Count only: nothing is made, asked or sent."""


@dataclass(frozen=True)
class PushResult:
    """What `push` did; counts of what only a real run can find are 0 after a dry run."""

    url: str
    """Address of the project, to open in a browser; empty after a dry run without a project."""
    clips: int
    """Clips in the dataset."""
    pushed: int
    """Clips that became tasks in this run (dry run: that would)."""
    present: int
    """Clips that were tasks before."""
    left_out: Mapping[str, int]
    """Reason -> clips that were not pushed for it."""
    predicted: int
    """Of those pushed: with a guess the annotators see."""
    hidden: int
    """Of those pushed: with a guess they do not see."""
    gold: int
    """Of those pushed: with a known answer."""
    strata: Mapping[str, int]
    """Language, guess and length class -> clips pushed in this run."""
    seconds: float
    """Time it took."""
    media: str
    """How annotators get the files: local, upload, url."""
    media_bytes: int
    """Dry run: estimated size of the files. Else: size of the files of the clips pushed."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Clip -> why it could not be made for annotators."""
    gold_votes: int = 0
    """Known answers added to the votes."""
    recovered: int = 0
    """Tasks found on the server that a broken-off run had not journalled."""
    lost: int = 0
    """Tasks that were gone from the server (and are pushed again if still wanted)."""
    removed: int = 0
    """Doubled tasks removed from the server."""
    replaced: int = 0
    """Tasks of clips that were built anew and had no answers: replaced."""
    outdated: tuple[str, ...] = ()
    """Clips that were built anew, but have answers: their tasks stay as they were."""
    doubled: tuple[str, ...] = ()
    """Clips with several answered tasks: nothing of them was removed."""
    foreign: int = 0
    """Tasks in the project that are of no clip of this dataset."""
    requests: int = 0
    """Requests made."""
    notes: tuple[str, ...] = ()
    """What was changed about the project on the server without harm, in words."""

    @property
    def requests_per_clip(self) -> float:
        """Requests for each clip pushed; 0 if none was."""
        return self.requests / self.pushed if self.pushed else 0.0


def check_options(options: PushOptions) -> None:
    """Refuse options that no push can go by.

    Raises:
        UsageError: naming what is wrong.
    """
    if options.sample is not None and options.sample < 1:
        raise UsageError(f"A sample needs at least one clip, not {options.sample}.")
    if not 0 <= options.hide <= 1:
        raise UsageError(f"The share of hidden guesses should lie between 0 and 1, not {options.hide}.")
    if options.batch < 1:
        raise UsageError(f"A batch needs at least one task, not {options.batch}.")
    if options.media not in ("auto", "local", "upload", "url"):
        raise UsageError(f"Media go by local, upload, url or auto, not {options.media!r}.")
    if (options.media == "url") != (options.media_url is not None):
        raise UsageError("--media url and --media-url go together.", hint="Give the address before the files' names.")
