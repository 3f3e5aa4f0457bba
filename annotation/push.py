"""`push`: clips of a dataset become tasks on the label server, each once, whatever is killed on the way.

Files are made in the order of the dataset (:mod:`annotation.delivery`), tasks in the order in which they are to be
labelled (:mod:`annotation.sampling`); :mod:`annotation.ledger` sees to it that nothing is doubled or lost.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from annotation.catalogue import Catalogue
from annotation.client import Client, connect
from annotation.delivery import Delivery, decide_media
from annotation.gold import GoldAnswer, keep_gold, read_gold
from annotation.ledger import Ledger
from annotation.media import ClipMedia
from annotation.predict import as_result, check_predictions, load_lexicons
from annotation.predict.relation import values_of
from annotation.project import check_project
from annotation.push_report import PushOptions, PushResult, check_options
from annotation.sampling import is_hidden, mix_in, sampling_order
from annotation.store import LabelStore, Project, Round
from annotation.tasks import task_data
from rsat_data.errors import LabelError

Progress = Callable[[str, int, int], None]
"""Called with what is being done (``media``, ``tasks``), how many clips are done, and of how many."""


@dataclass
class _Tally:
    """What is counted on the way."""

    failed: dict[str, str] = field(default_factory=dict)
    pushed: list[str] = field(default_factory=list)
    predicted: int = 0
    hidden: int = 0
    gold: int = 0
    gold_votes: int = 0
    replaced: int = 0
    outdated: list[str] = field(default_factory=list)
    media_bytes: int = 0


def push(
    out: Path | str,
    options: PushOptions = PushOptions(),  # noqa: B008 (frozen)
    *,
    progress: Progress = lambda step, done, total: None,
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
    check_options(options)
    store = LabelStore(out)
    if not options.predictions:
        options = replace(options, hide=1.0)
    lexicons = load_lexicons(options.lexicons)
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
    tally, found, new = run.tally, run.ledger.found, set(run.tally.pushed)
    strata = Counter(_stratum(catalogue, clip_id) for clip_id in tally.pushed)
    return PushResult(
        url=f"{run.project.url}/projects/{run.project.project_id}/data",
        clips=len(catalogue.entries),
        pushed=len(tally.pushed),
        present=len(run.journal.keys() & catalogue.entries.keys() - new),
        left_out=_left_out(catalogue, run.journal.keys() | tally.failed.keys()),
        failed=tally.failed,
        predicted=tally.predicted,
        hidden=tally.hidden,
        gold=tally.gold,
        gold_votes=tally.gold_votes,
        recovered=found.recovered,
        lost=found.lost,
        removed=found.removed,
        replaced=tally.replaced,
        outdated=tuple(tally.outdated),
        doubled=tuple(found.doubled),
        foreign=found.foreign,
        strata=dict(sorted(strata.items())),
        requests=run.client.requests,
        seconds=time.monotonic() - started,
        media=run.delivery.media.mode,
        media_bytes=tally.media_bytes,
        notes=notes,
    )


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
    catalogue: Catalogue,
    present: Iterable[str],
    gold: Iterable[str],
    options: PushOptions,
    damaged: Iterable[str] = (),
) -> tuple[list[str], list[str]]:
    """The clips to push, in the order of labelling; and those of them with known answers.

    Clips with known answers are pushed in any case and count as part of the sample. In the place of damaged clips the
    next ones are taken.
    """
    there = set(present) & catalogue.entries.keys()
    settled = there | set(damaged)
    known = set(gold) - settled
    allowed = {name for name, entry in catalogue.entries.items() if not entry.left_out} - settled - known
    # All clips are put in order, not only those left: what was pushed already must not change who comes next.
    order = sampling_order(
        (entry.candidate for entry in catalogue.entries.values()), seed=options.seed, balance=options.balance
    )
    rest = [clip_id for clip_id in order if clip_id in allowed]
    if options.sample is not None:
        rest = rest[: max(0, options.sample - len(there) - len(known))]
    known_order = [clip_id for clip_id in order if clip_id in known]
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
        predicted=len(guessed) - hidden,
        hidden=hidden,
        gold=len(known),
        strata=dict(sorted(Counter(_stratum(catalogue, clip_id) for clip_id in chosen).items())),
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
        media = decide_media(
            options.media,
            options.media_root,
            options.media_url,
            project,
            round_.store.read_server(),
            round_.store.root,
        )
        self.delivery = Delivery(client, round_, project, media)
        self.ledger = Ledger(client, round_, project, catalogue.entries.__contains__, self._describe)

    @property
    def journal(self) -> Mapping[str, Mapping[str, Any]]:
        """clip_id -> what is noted of its task."""
        return self.ledger.journal

    def go(self) -> None:
        """The whole run."""
        self.delivery.prepare()
        if self.delivery.media != self.project.media:
            self.project = replace(self.project, media=self.delivery.media)
            self.round.write_project(self.project)
        self.ledger.reconcile()
        if self.answers:
            self.tally.gold_votes = keep_gold(self.round.store.out, self.answers, self.project.form_hash)
        entries = self.catalogue.entries
        changed = [
            clip_id
            for clip_id, record in self.journal.items()
            if clip_id in entries and record.get("source") != entries[clip_id].source
        ]
        chosen, media = self._make_media(changed)
        again = self._replace_changed([clip_id for clip_id in changed if clip_id in media], media)
        ready = [clip_id for clip_id in [*again, *chosen] if clip_id in media]
        self.progress("tasks", 0, len(ready))
        for start in range(0, len(ready), self.options.batch):
            batch = ready[start : start + self.options.batch]
            self._send([(clip_id, media[clip_id]) for clip_id in batch])
            self.progress("tasks", start + len(batch), len(ready))
        if ready:
            # A request that broke off, and that the server did after all, would show here.
            self.ledger.reconcile()

    def _make_media(self, changed: Sequence[str]) -> tuple[list[str], dict[str, ClipMedia]]:
        """The clips to push, and the files of these and of changed ones; damaged clips are replaced by the next."""
        media: dict[str, ClipMedia] = {}
        failed = self.tally.failed
        while True:
            chosen, _ = choose(self.catalogue, self.journal, self.answers, self.options, failed)
            wanted = {*chosen, *changed} - media.keys() - failed.keys()
            before = len(media) + len(failed)
            made, damaged = self.delivery.make(
                self.catalogue,
                wanted,
                workers=self.options.workers,
                progress=lambda done, total, before=before: self.progress(  # type: ignore[misc]
                    "media", before + done, before + total
                ),
            )
            media.update(made)
            failed.update(damaged)
            if not damaged:
                return chosen, media

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
        self.ledger.send(tasks, records)
        tally = self.tally
        for record in records:
            tally.pushed.append(record["clip_id"])
            tally.gold += record["gold"]
            tally.hidden += record["prediction_hidden"]
            tally.predicted += record["prediction"] is not None and not record["prediction_hidden"]
            tally.media_bytes += self.delivery.size(record["media"])
            self.delivery.done_with(record["media"])

    def _task(self, clip_id: str, media: ClipMedia) -> tuple[dict[str, Any], dict[str, Any]]:
        """A clip's task, and its line for the journal."""
        row = self.catalogue.row(clip_id)
        transcript = self.catalogue.transcript(row)
        record = self.ledger.record(clip_id, transcript, media.names, self.catalogue.entries[clip_id].source)
        predictions = []
        guess = self.catalogue.prediction(row, transcript)
        if guess is not None and not record["prediction_hidden"]:
            predictions.append(as_result(guess, transcript, self.project.prediction_version))
        data = task_data(clip_id, transcript, self.delivery.addresses(media))
        return {"data": data, "predictions": predictions}, record

    def _describe(self, clip_id: str) -> dict[str, Any]:
        """What the journal says of a clip besides its task: what is guessed, whether annotators see it, gold."""
        guess = values_of(self.catalogue.entries[clip_id].candidate.guess) or None
        hidden = guess is not None and is_hidden(clip_id, _project_key(self.project), self.options.hide)
        return {"prediction": guess, "prediction_hidden": hidden, "gold": clip_id in self.answers}

    def _replace_changed(self, changed: Sequence[str], media: Mapping[str, ClipMedia]) -> list[str]:
        """Of clips built anew: those whose task differs and has no answers lose it, and are returned."""
        again, same = [], []
        for clip_id in changed:
            old, source = self.journal[clip_id], self.catalogue.entries[clip_id].source
            transcript = self.catalogue.transcript(self.catalogue.row(clip_id))
            new = self.ledger.record(clip_id, transcript, media[clip_id].names, source)
            if new["content"] == old.get("content"):
                same.append({**old, "source": source})
            elif self.ledger.has_answers(old["task_id"]):
                # People saw what it was; what they said stays with what they saw.
                self.tally.outdated.append(clip_id)
            else:
                again.append(clip_id)
                self.client.delete_task(old["task_id"])
                self.tally.replaced += 1
        self.ledger.note(same)
        return again
