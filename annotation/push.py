"""`push`: clips of a dataset become tasks on the label server, each once, whatever is killed on the way.

What is on the server decides; the journal (``pushed.jsonl``) spares asking. A batch of tasks is one request, which the
server does as a whole or not at all. Before it goes, its clips are noted in ``pushing.json``; afterwards they are
journalled and the note is removed. Where the note is found, or the server holds another number of tasks than the
journal, the server's tasks are listed and matched by clip_id: what is missing in the journal is added, what is missing on
the server is pushed, and a task that is there twice is removed, the one without answers first.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotation.catalogue import Catalogue
from annotation.client import Client, connect
from annotation.gold import GoldAnswer, keep_gold, read_gold
from annotation.media import ClipMedia, ClipSource, media_of, render, sweep
from annotation.predict import as_result, check_predictions, load_lexicons
from annotation.project import check_project
from annotation.sampling import is_hidden, mix_in, sampling_order
from annotation.store import LabelStore, Media, Project, Round, read_json
from annotation.tasks import Addresses, task_data
from rsat_data.content import content_hash
from rsat_data.errors import LabelError, LabelServerError, SkippedClip
from rsat_data.files import write_json

Progress = Callable[[str, int, int], None]
"""Called with what is being done (``media``, ``tasks``), how many clips are done, and of how many."""

_INTENT = "pushing.json"
#: How long the server's number of tasks must stand still before a broken-off request counts as over, seconds.
_SETTLED_S, _SETTLE_AT_MOST_S = 3.0, 60.0
_NAME_LENGTH = 36  # 32 hex digits and .mp4, .wav or .jpg


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
    """Whether annotators may see a machine's guess at all."""
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
    """What `push` did."""

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
    failed: Mapping[str, str]
    """Clip -> why it could not be made for annotators."""
    predicted: int
    """Of those pushed: with a guess the annotators see."""
    hidden: int
    """Of those pushed: with a guess they do not see."""
    gold: int
    """Of those pushed: with a known answer."""
    gold_votes: int
    """Known answers added to the votes."""
    recovered: int
    """Tasks found on the server that a broken-off run had not journalled."""
    lost: int
    """Tasks that were gone from the server (and are pushed again if still wanted)."""
    removed: int
    """Doubled tasks removed from the server."""
    replaced: int
    """Tasks of clips that were built anew and had no answers: replaced."""
    outdated: tuple[str, ...]
    """Clips that were built anew, but have answers: their tasks stay as they were."""
    doubled: tuple[str, ...]
    """Clips with several answered tasks: nothing of them was removed."""
    foreign: int
    """Tasks in the project that are of no clip of this dataset."""
    strata: Mapping[str, int]
    """Language, guess and length class -> clips pushed in this run."""
    requests: int
    """Requests made."""
    seconds: float
    """Time it took."""
    media: str
    """How annotators get the files: local, upload, url."""
    media_bytes: int
    """Dry run: estimated size of the files. Else: size of the files of the clips pushed."""
    notes: tuple[str, ...] = ()
    """What was changed about the project on the server without harm, in words."""

    @property
    def requests_per_clip(self) -> float:
        """Requests for each clip pushed; 0 if none was."""
        return self.requests / self.pushed if self.pushed else 0.0


@dataclass
class _Tally:
    """What is counted on the way."""

    failed: dict[str, str] = field(default_factory=dict)
    pushed: list[str] = field(default_factory=list)
    predicted: int = 0
    hidden: int = 0
    gold: int = 0
    gold_votes: int = 0
    recovered: int = 0
    lost: int = 0
    removed: int = 0
    replaced: int = 0
    outdated: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    foreign: int = 0
    media_bytes: int = 0


def push(
    out: Path | str, options: PushOptions = PushOptions(), *, progress: Progress = lambda step, done, total: None
) -> PushResult:
    """Render a dataset's clips for annotators and make them tasks of its project.

    Running it again changes nothing; killed at any moment, running it again finishes what it began.

    Raises:
        LabelProjectError: there is no project (run `init`), it is gone, or its form was changed by hand.
        LabelServerError, LabelAuthError: the server cannot be reached, or does not accept the token.
        LabelError: the gold file is wrong, or clips cannot be told apart.
        ConfigError: a lexicon is wrong.
        DatasetError: the dataset cannot be read.
    """
    started = time.monotonic()
    out = Path(out)
    _check(options)
    store = LabelStore(out)
    lexicons = load_lexicons(options.lexicons) if options.predictions else {}
    catalogue = Catalogue(out, lexicons, relabel=options.relabel, sound_only=options.sound_only)
    answers = {} if options.gold is None else read_gold(options.gold)
    _check_gold(answers, catalogue, options.gold)
    if options.dry_run:
        return _dry_run(store, catalogue, answers, options, started)
    with store.lock():
        with connect(options.url, options.token_file, stored_url=store.url) as client:
            checked = check_project(client, store)
            run = _Push(catalogue, store.round(), checked.project, client, options, answers, progress)
            run.go()
            return _result(run, catalogue, checked.notes, started)


def _result(run: _Push, catalogue: Catalogue, notes: tuple[str, ...], started: float) -> PushResult:
    tally, wanted = run.tally, set(run.tally.pushed)
    strata = Counter(_stratum(catalogue, clip_id) for clip_id in tally.pushed)
    return PushResult(
        url=f"{run.project.url}/projects/{run.project.project_id}/data",
        clips=len(catalogue.entries),
        pushed=len(tally.pushed),
        present=len(run.journal.keys() & catalogue.entries.keys() - wanted),
        left_out=_left_out(catalogue, run.journal.keys() | tally.failed.keys()),
        failed=tally.failed,
        predicted=tally.predicted,
        hidden=tally.hidden,
        gold=tally.gold,
        gold_votes=tally.gold_votes,
        recovered=tally.recovered,
        lost=tally.lost,
        removed=tally.removed,
        replaced=tally.replaced,
        outdated=tuple(tally.outdated),
        doubled=tuple(tally.doubled),
        foreign=tally.foreign,
        strata=dict(sorted(strata.items())),
        requests=run.client.requests,
        seconds=time.monotonic() - started,
        media=run.media.mode,
        media_bytes=tally.media_bytes,
        notes=notes,
    )


def _check(options: PushOptions) -> None:
    from rsat_data.errors import UsageError

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


def _check_gold(answers: Mapping[str, GoldAnswer], catalogue: Catalogue, path: Path | None) -> None:
    for clip_id in answers:
        entry = catalogue.entries.get(clip_id)
        if entry is None:
            raise LabelError(
                f"{path}: the dataset holds no clip {clip_id}.",
                hint="Take the line out, or give the dataset it is of.",
                path=path,
            )
        if entry.left_out and not catalogue.is_labelled(clip_id):
            raise LabelError(
                f"{path}: {clip_id} {entry.left_out}, so annotators cannot be asked about it.",
                hint="Take the line out.",
                path=path,
            )


def _stratum(catalogue: Catalogue, clip_id: str) -> str:
    language, guess, length = catalogue.entries[clip_id].candidate.stratum
    names = ("under 5 s", "5 to 10 s", "10 to 20 s", "20 s and more")
    return f"{language or 'no language'}, {guess or 'no guess'}, {names[length]}"


def _left_out(catalogue: Catalogue, but: Iterable[str]) -> dict[str, int]:
    """Reason -> clips that are neither in the project nor damaged."""
    others = catalogue.entries.keys() - set(but)
    return dict(Counter(catalogue.entries[clip_id].left_out or "not in the sample" for clip_id in others))


def choose(
    catalogue: Catalogue, present: Iterable[str], gold: Iterable[str], options: PushOptions
) -> tuple[list[str], list[str]]:
    """The clips to push, in the order of labelling; and those of them with known answers.

    Clips with known answers are pushed in any case and count as part of the sample.
    """
    there = set(present) & catalogue.entries.keys()
    known = [clip_id for clip_id in gold if clip_id not in there]
    left = [
        entry.candidate
        for clip_id, entry in catalogue.entries.items()
        if not entry.left_out and clip_id not in there and clip_id not in known
    ]
    # All clips are put in order, not only those left: what was pushed already must not change who comes next.
    order = sampling_order(
        (entry.candidate for entry in catalogue.entries.values()), seed=options.seed, balance=options.balance
    )
    allowed = {candidate.clip_id for candidate in left}
    rest = [clip_id for clip_id in order if clip_id in allowed]
    if options.sample is not None:
        rest = rest[: max(0, options.sample - len(there) - len(known))]
    known_order = [clip_id for clip_id in order if clip_id in set(known)]
    return mix_in(rest, known_order, seed=options.seed), known_order


def _dry_run(
    store: LabelStore,
    catalogue: Catalogue,
    answers: Mapping[str, GoldAnswer],
    options: PushOptions,
    started: float,
) -> PushResult:
    round_ = store.round()
    project = round_.project()
    journal = round_.pushed()
    chosen, known = choose(catalogue, journal, answers, options)
    guessed = [clip_id for clip_id in chosen if catalogue.entries[clip_id].candidate.guess]
    key = _project_key(project) if project else ""
    hidden = sum(is_hidden(clip_id, key, options.hide) for clip_id in guessed)
    return PushResult(
        url=f"{project.url}/projects/{project.project_id}/data" if project else "",
        clips=len(catalogue.entries),
        pushed=len(chosen),
        present=len(journal.keys() & catalogue.entries.keys()),
        left_out=_left_out(catalogue, [*journal, *chosen]),
        failed={},
        predicted=len(guessed) - hidden,
        hidden=hidden,
        gold=len(known),
        gold_votes=0,
        recovered=0,
        lost=0,
        removed=0,
        replaced=0,
        outdated=(),
        doubled=(),
        foreign=0,
        strata=dict(sorted(Counter(_stratum(catalogue, clip_id) for clip_id in chosen).items())),
        requests=0,
        seconds=time.monotonic() - started,
        media=project.media.mode if project and options.media == "auto" else options.media,
        media_bytes=round(len(chosen) * catalogue.media_bytes()),
    )


def _project_key(project: Project) -> str:
    return f"{project.url}#{project.project_id}"


class _Push:
    """One run."""

    def __init__(
        self,
        catalogue: Catalogue,
        round_: Round,
        project: Project,
        client: Client,
        options: PushOptions,
        answers: Mapping[str, GoldAnswer],
        progress: Progress,
    ) -> None:
        self.catalogue, self.round, self.project, self.client = catalogue, round_, project, client
        self.options, self.answers, self.progress = options, answers, progress
        self.tally = _Tally()
        self.journal = round_.pushed()
        self.media = self._decide_media()
        self.folder = self._media_folder()
        self._uploaded = {record["name"]: record["url"] for record in round_.read("uploads")}

    def go(self) -> None:
        """The whole run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        if self.media.mode == "local":
            self.client.add_local_storage(self.project.project_id, self.folder, "rsat-data clips")
        if self.media != self.project.media:
            self.project = replace(self.project, media=self.media)
            self.round.write_project(self.project)
        self._reconcile(always=False)
        if self.answers:
            self.tally.gold_votes = keep_gold(self.round.store.out, self.answers, self.project.form_hash)
        changed = [
            clip_id
            for clip_id, record in self.journal.items()
            if clip_id in self.catalogue.entries and record.get("source") != self.catalogue.entries[clip_id].source
        ]
        chosen, _ = choose(self.catalogue, self.journal, self.answers, self.options)
        media = self._render({*chosen, *changed})
        again = self._replace_changed([clip_id for clip_id in changed if clip_id in media], media)
        ready = [clip_id for clip_id in [*again, *chosen] if clip_id in media]
        self.progress("tasks", 0, len(ready))
        size = self.options.batch
        for start in range(0, len(ready), size):
            self._send([(clip_id, media[clip_id]) for clip_id in ready[start : start + size]])
            self.progress("tasks", min(start + size, len(ready)), len(ready))
        if ready:
            self._reconcile(always=False)

    # Media -----------------------------------------------------------------------------------------------------

    def _decide_media(self) -> Media:
        options, before = self.options, self.project.media
        if options.media == "url":
            root = options.media_root or self.round.store.root / "media"
            return Media("url", str(Path(root).resolve()), (options.media_url or "").rstrip("/") + "/")
        if options.media == "auto" and before.mode != "auto" and options.media_root is None:
            return before
        server = self.round.store.read_server()
        known = server.get("media_root") if server.get("url") == self.project.url else None
        root = options.media_root or (Path(before.root) if before.root else None) or (Path(known) if known else None)
        if options.media == "upload" or (options.media == "auto" and root is None):
            return Media("upload")
        if root is None:
            raise LabelError(
                "Where the server's document root is, is not known.",
                hint="Give it with --media-root, or send files through the server with --media upload.",
            )
        root = Path(root).resolve()
        if not root.is_dir() or not os.access(root, os.W_OK):
            if options.media == "auto" and options.media_root is None:
                return Media("upload")
            raise LabelError(
                f"{root} is not a folder that can be written to.",
                hint="Give the server's document root on this machine, or send files with --media upload.",
                path=root,
            )
        return Media("local", str(root))

    def _media_folder(self) -> Path:
        if self.media.mode == "local":
            # The server refuses its document root itself as a folder of a project.
            return Path(self.media.root) / f"clips-{self.project.project_id}"
        if self.media.mode == "url":
            return Path(self.media.root)
        return self.round.store.root / "media"

    def _render(self, wanted: set[str]) -> dict[str, ClipMedia]:
        """Make the files of clips; damaged clips are noted and left out."""
        found: dict[str, ClipMedia] = {}
        workers = self.options.workers or min(8, os.cpu_count() or 1)
        self.progress("media", 0, len(wanted))

        def settle(future: Future[ClipMedia], clip_id: str) -> None:
            try:
                found[clip_id] = future.result()
            except SkippedClip as error:
                self.tally.failed[clip_id] = error.message
            self.progress("media", len(found) + len(self.tally.failed), len(wanted))

        if not wanted:
            return found
        pool = ThreadPoolExecutor(workers)
        try:
            # Few at a time: clips are read no faster than they are made.
            waiting: list[tuple[Future[ClipMedia], str]] = []
            for source in self.catalogue.sources(wanted):
                waiting.append((pool.submit(self._make, source), source.clip_id))
                if len(waiting) >= 2 * workers:
                    settle(*waiting.pop(0))
            for future, clip_id in waiting:
                settle(future, clip_id)
        finally:
            pool.shutdown(cancel_futures=True)
        return found

    def _make(self, source: ClipSource) -> ClipMedia:
        names = media_of(source)
        if self.media.mode == "upload" and all(name in self._uploaded for name in names.names):
            return names
        return render(source, self.folder)

    def _addresses(self, media: ClipMedia) -> Addresses:
        return Addresses(*(self._address(name) for name in media.names))

    def _address(self, name: str) -> str:
        if self.media.mode == "url":
            return self.media.prefix + name
        if self.media.mode == "local":
            return f"/data/local-files/?d={self.folder.name}/{name}"
        if name not in self._uploaded:
            url = self.client.upload(self.project.project_id, self.folder / name)
            self.round.append("uploads", [{"name": name, "url": url}])
            self._uploaded[name] = url
        return self._uploaded[name]

    # Tasks -----------------------------------------------------------------------------------------------------

    def _send(self, batch: Sequence[tuple[str, ClipMedia]]) -> None:
        """Make tasks of some clips: one request."""
        tasks, records = [], []
        for clip_id, media in batch:
            task, record = self._task(clip_id, media)
            tasks.append(task)
            records.append(record)
        check_predictions(
            self.project.form_xml,
            [(task["data"]["clip_id"], prediction) for task in tasks for prediction in task["predictions"]],
        )
        note = self.round.root / _INTENT
        write_json(note, {"clip_ids": [clip_id for clip_id, _ in batch]})
        try:
            numbers = self.client.import_tasks(self.project.project_id, tasks)
        except LabelServerError as error:
            if getattr(error, "status", None) is not None:
                note.unlink()  # The server answered: it took nothing.
                raise
            # The answer is lost, not necessarily the tasks. Reconciling tells; if they are not there, the error stands.
            self._reconcile(always=True)
            if not all(clip_id in self.journal for clip_id, _ in batch):
                raise
            self._count(records)
            return
        for record, number in zip(records, numbers, strict=True):
            record["task_id"] = number
        self._journal(records)
        note.unlink()
        self._count(records)

    def _count(self, records: Sequence[Mapping[str, Any]]) -> None:
        tally = self.tally
        for record in records:
            tally.pushed.append(record["clip_id"])
            tally.gold += record["gold"]
            tally.hidden += record["prediction_hidden"]
            tally.predicted += record["prediction"] is not None and not record["prediction_hidden"]
            for name in record["media"]:
                path = self.folder / name
                tally.media_bytes += path.stat().st_size if path.exists() else 0
            if self.media.mode == "upload":
                for name in record["media"]:
                    (self.folder / name).unlink(missing_ok=True)

    def _journal(self, records: Sequence[Mapping[str, Any]]) -> None:
        self.round.append_pushed(records)
        self.journal.update({record["clip_id"]: dict(record) for record in records})

    def _task(self, clip_id: str, media: ClipMedia) -> tuple[dict[str, Any], dict[str, Any]]:
        """A clip's task, and its line for the journal, which lacks the task's number."""
        row = self.catalogue.row(clip_id)
        transcript = self.catalogue.transcript(row)
        record = self._record(clip_id, transcript, media.names, self.catalogue.entries[clip_id].source)
        predictions = []
        guess = self.catalogue.prediction(row, transcript)
        if guess is not None and not record["prediction_hidden"]:
            predictions.append(as_result(guess, transcript, self.project.prediction_version))
        return {"data": task_data(clip_id, transcript, self._addresses(media)), "predictions": predictions}, record

    def _record(
        self, clip_id: str, transcript: Sequence[Mapping[str, Any]], media: Sequence[str], source: str
    ) -> dict[str, Any]:
        guess = self.catalogue.entries[clip_id].candidate.guess or None
        return {
            "clip_id": clip_id,
            "task_id": None,
            "media": list(media),
            "prediction": guess,
            "prediction_hidden": guess is not None
            and is_hidden(clip_id, _project_key(self.project), self.options.hide),
            "gold": clip_id in self.answers,
            "source": source,
            "content": content_hash([list(map(dict, transcript)), list(media)], length=16),
            "pushed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    # What is there already -------------------------------------------------------------------------------------

    def _reconcile(self, *, always: bool) -> None:
        """Bring journal and server together; asks for the tasks only where something may differ."""
        note = self.round.root / _INTENT
        broken_off = always or read_json(note) is not None
        if broken_off:
            self._settle()
        number = self.client.project(self.project.project_id).get("task_number")
        self.tally.foreign = self._known_foreign()
        if not broken_off and number == len(self.journal) + self.tally.foreign:
            return
        found: dict[str, list[dict[str, Any]]] = {}
        foreign = 0
        for task in self.client.tasks(self.project.project_id, fields="task_only", page_size=500):
            data = task.get("data") if isinstance(task.get("data"), dict) else {}
            clip_id = data.get("clip_id")
            if not isinstance(clip_id, str) or (
                clip_id not in self.catalogue.entries and clip_id not in self.journal
            ):
                foreign += 1
                continue
            # Of the task only what is looked at below.
            known = self.journal.get(clip_id, {}).get("task_id") == task["id"]
            found.setdefault(clip_id, []).append({"id": task["id"], "data": None if known else data})
        self.tally.foreign = foreign
        write_json(self.round.root / "foreign.json", {"tasks": foreign})
        for clip_id, tasks in found.items():
            if len(tasks) > 1:
                found[clip_id] = self._without_doubles(clip_id, tasks)
        gone = [clip_id for clip_id in self.journal if clip_id not in found]
        for clip_id in gone:
            del self.journal[clip_id]
        self.tally.lost += len(gone)
        new = [
            self._recovered(clip_id, tasks[0])
            for clip_id, tasks in found.items()
            if self.journal.get(clip_id, {}).get("task_id") != tasks[0]["id"]
        ]
        self._journal(new)
        self.tally.recovered += len(new)
        if gone:
            # Else a later run would count them as there.
            self.round.replace("pushed", self.journal.values())
        note.unlink(missing_ok=True)

    def _known_foreign(self) -> int:
        return int((read_json(self.round.root / "foreign.json") or {}).get("tasks", 0))

    def _settle(self) -> None:
        """Wait until the server is done with what a broken-off request may have left running."""
        began = since = time.monotonic()
        last = None
        while time.monotonic() - began < _SETTLE_AT_MOST_S:
            number = self.client.project(self.project.project_id).get("task_number")
            now = time.monotonic()
            if number != last:
                last, since = number, now
            elif now - since >= _SETTLED_S:
                return
            time.sleep(0.5)

    def _without_doubles(self, clip_id: str, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The task to keep first: one with answers, else the oldest. Others without answers are removed."""
        answered = [task for task in tasks if self._has_answers(task["id"])]
        if len(answered) > 1:
            self.tally.doubled.append(clip_id)
        kept = answered or [min(tasks, key=lambda task: task["id"])]
        for task in tasks:
            if task not in kept:
                self.client.delete_task(task["id"])
                self.tally.removed += 1
        return sorted(kept, key=lambda task: task["id"])

    def _has_answers(self, task_id: int) -> bool:
        task = self.client.task(task_id)
        return bool(task.get("annotations") or task.get("drafts"))

    def _recovered(self, clip_id: str, task: Mapping[str, Any]) -> dict[str, Any]:
        """The journal's line of a task that is on the server: from what its data say."""
        data = task["data"] or {}
        media = [str(data.get(name, ""))[-_NAME_LENGTH:] for name in ("video", "audio", "face_a", "face_b")]
        if clip_id not in self.catalogue.entries:
            return {**self.journal[clip_id], "task_id": task["id"]}
        transcript = data.get("transcript")
        # Its source is not known: the next run compares the content.
        record = self._record(clip_id, transcript if isinstance(transcript, list) else [], media, "")
        return {**record, "task_id": task["id"]}

    def _replace_changed(self, changed: Sequence[str], media: Mapping[str, ClipMedia]) -> list[str]:
        """Of clips built anew: those whose task differs and has no answers lose it, and are returned."""
        again, same = [], []
        for clip_id in changed:
            row = self.catalogue.row(clip_id)
            old, names = self.journal[clip_id], media[clip_id].names
            source = self.catalogue.entries[clip_id].source
            new = self._record(clip_id, self.catalogue.transcript(row), names, source)
            if new["content"] == old.get("content"):
                same.append({**old, "source": source})
            elif self._has_answers(old["task_id"]):
                self.tally.outdated.append(clip_id)
            else:
                again.append(clip_id)
                self.client.delete_task(old["task_id"])
                self.tally.replaced += 1
        self._journal(same)
        return again

