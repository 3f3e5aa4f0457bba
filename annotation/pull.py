"""From the label server into the table of votes: everything that changed since the last time, once.

The server tells when a task changed, and a task changes with each annotation that is made, changed, skipped or deleted
on it (a draft alone does not change it). So each pull asks for tasks changed since the last one, less an overlap, and
leaves out what is in the table by ``vote_id``. Votes are written first and the cursor last: a pull killed at any moment
is repeated by the next, and doubles nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from annotation.client import Client, connect
from annotation.form import parse_form
from annotation.project import check_project
from annotation.results import Refusal, Setting, as_prediction, moment, person, read_annotation
from annotation.store import LABELLING, ROUNDS, LabelStore, Project, Round
from annotation.votes import annotator_id, append_votes, read_votes, votes_table
from rsat_data.amend import finish_interrupted
from rsat_data.errors import LabelError

#: A pull looks back by this much: a change is stamped before it can be seen.
OVERLAP = timedelta(seconds=120)
#: Votes in memory before they are written.
BATCH = 5000

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class PullOptions:
    """How votes are pulled."""

    url: str | None = None
    """Address of the server; else LABEL_STUDIO_URL, else what the dataset's store knows."""
    token_file: Path | None = None
    """File with the token; else LABEL_STUDIO_API_KEY."""
    round: str = LABELLING
    """labelling or adjudication."""
    full: bool = False
    """Read everything again, and report annotations that were deleted on the server."""
    withdraw_deleted: bool = False
    """Let votes go whose annotation was deleted on the server; else they are reported and still count."""


@dataclass(frozen=True)
class PullResult:
    """What a pull brought."""

    round: str
    """Which round."""
    votes: int
    """New votes, changed ones included."""
    withdrawn: int
    """Votes that count no more, because they were skipped, became invalid, or (if asked for) were deleted."""
    tasks: int
    """Tasks that had changed."""
    annotations: int
    """Annotations on these."""
    refused: tuple[Refusal, ...]
    """Annotations on these that are no votes."""
    cancelled: int
    """Annotations on these that were skipped."""
    drafts: int
    """Drafts on these; drafts of other tasks are found by a full pull."""
    deleted: tuple[str, ...]
    """Annotations that were deleted on the server and whose votes still count, one sentence each."""
    gone: Mapping[str, int]
    """Clips that are no more in the dataset -> their new votes; these were kept."""
    warnings: tuple[str, ...]
    """What somebody should look into, one sentence each."""
    total: int
    """Votes in the table now, all rounds and earlier versions included."""
    requests: int
    """Requests made."""
    seconds: float
    """Time it took."""


def pull(
    out: Path | str,
    options: PullOptions = PullOptions(),  # noqa: B008 (frozen)
    *,
    client: Client | None = None,
    progress: Callable[[int], None] = lambda tasks: None,
) -> PullResult:
    """Bring annotations into the dataset's table of votes.

    Args:
        out: folder of the dataset.
        options: how.
        client: a server that is connected already.
        progress: called with the number of tasks read.

    Raises:
        LabelError: there is no project yet, or another label command is at work.
        LabelProjectError: the project is gone, or its form was edited by hand; the differences are listed.
        LabelServerError, LabelAuthError: the server cannot be asked. What was read before is in the table.
        DatasetError, WorkspaceError: the dataset cannot be read or written.
    """
    start, store = time.monotonic(), LabelStore(Path(out))
    if options.round not in ROUNDS:
        raise LabelError(f"There is no round {options.round!r}.", hint=f"Rounds are {', '.join(ROUNDS)}.")
    finish_interrupted(Path(out))
    read_votes(out)  # a folder without a dataset is told of before anything is made in it
    with store.lock():
        state = store.round(options.round)
        with connected(client, options.url, options.token_file, store) as server:
            asked = server.requests
            checked = check_project(server, store, round_name=options.round)
            project = checked.project
            work = _Pull(Path(out), state, project, options)
            work.warnings += [f"project {project.project_id}: {note}." for note in checked.notes]
            try:
                since = None if options.full else state.cursor().get("updated_after")
                for task in server.tasks(project.project_id, updated_after=since):
                    work.take(task)
                    progress(work.tasks)
            finally:
                # Also when the server fails half-way: what was read is kept, and read again next time.
                work.flush()
            work.finish(time.monotonic() - start)
            return work.result(server.requests - asked, time.monotonic() - start)


@contextmanager
def connected(client: Client | None, url: str | None, token_file: Path | None, store: LabelStore) -> Iterator[Client]:
    """A client that is there already, or a new one that is closed at the end."""
    if client is not None:
        yield client
        return
    with connect(url, token_file, stored_url=store.url) as made:
        yield made


@dataclass
class _Standing:
    """What counts of a person on a clip, as far as the table knows."""

    vote_id: str
    updated_at: datetime
    withdrawn: bool
    row: int | dict[str, Any]
    """The row, or its number in the table."""


@dataclass
class _Pull:
    """One pull at work."""

    out: Path
    state: Round
    project: Project
    options: PullOptions
    tasks: int = 0
    annotations: int = 0
    new: int = 0
    withdrawn: int = 0
    newest: datetime | None = None
    refused: list[Refusal] = field(default_factory=list)
    cancelled: list[dict[str, Any]] = field(default_factory=list)
    drafts: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    gone: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        from rsat_data import load

        pushed = self.state.pushed()
        self.dataset = {row["clip_id"] for row in load(self.out, None, ["clip_id"])}
        hidden = {
            clip: as_prediction(record["prediction"], self.project.prediction_version)
            for clip, record in pushed.items()
            if record.get("prediction_hidden") and isinstance(record.get("prediction"), Mapping)
        }
        form = parse_form(self.project.form_xml, "the project's form")
        self.setting = Setting(
            url=self.project.url,
            project_id=self.project.project_id,
            form=form,
            round=self.options.round,
            clips=self.dataset | pushed.keys(),
            hidden=hidden,
            prediction_version=self.project.prediction_version or None,
        )
        self.table = read_votes(self.out)
        self.known = set(self.table["vote_id"].to_pylist())
        self.total = self.table.num_rows
        self.standing: dict[tuple[str, str], _Standing] = {}
        columns = self.table.select(["vote_id", "clip_id", "annotator", "round", "updated_at", "withdrawn"])
        for number, row in enumerate(columns.to_pylist()):
            if row["round"] == self.options.round:
                self._stand(row["clip_id"], row["annotator"], row, number)
        # annotation -> names of its votes; task -> its annotations that became votes.
        self.ledger: dict[int, dict[str, dict[str, Any]]] = {}
        self.of_task: dict[int, set[int]] = {}
        for entry in self.state.read("pulled"):
            self._note(entry)
        self.rows: list[dict[str, Any]] = []
        self.entries: list[dict[str, Any]] = []
        self.seen: set[int] = set()

    def _stand(self, clip: str, annotator: str, row: Mapping[str, Any], place: int | dict[str, Any]) -> None:
        held = self.standing.get((clip, annotator))
        if held is None or row["updated_at"] >= held.updated_at:
            self.standing[clip, annotator] = _Standing(row["vote_id"], row["updated_at"], row["withdrawn"], place)

    def _note(self, entry: dict[str, Any]) -> None:
        self.ledger.setdefault(entry["annotation"], {})[entry["vote_id"]] = entry
        self.of_task.setdefault(entry["task"], set()).add(entry["annotation"])

    # Reading -------------------------------------------------------------------------------------------------------

    def take(self, task: Mapping[str, Any]) -> None:
        """Read one task with everything on it."""
        number = int(task["id"])
        self.tasks += 1
        self.seen.add(number)
        changed = moment(task.get("updated_at"))
        if changed is not None:
            self.newest = changed if self.newest is None else max(self.newest, changed)
        data = task.get("data") if isinstance(task.get("data"), Mapping) else {}
        where = {"task_id": number, "clip_id": str((data or {}).get("clip_id") or "")}
        for draft in task.get("drafts") or ():
            # The server gives the author's mail address and no number: it is left out.
            self.drafts.append(
                {**where, "draft_id": draft.get("id"), "updated_at": draft.get("updated_at")}
                | {"result": draft.get("result")}
            )
        valid: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        present = set()
        for annotation in task.get("annotations") or ():
            name = int(annotation["id"])
            present.add(name)
            self.annotations += 1
            if annotation.get("was_cancelled"):
                self._cancel(annotation, where)
                continue
            found = read_annotation(annotation, task, self.setting)
            if isinstance(found, Refusal):
                self.refused.append(found)
                continue
            self._warn_of_editing(annotation, found, number)
            valid.setdefault(found["annotator"], []).append((name, found))
        for annotator, votes in valid.items():
            votes.sort(key=lambda vote: (vote[1]["updated_at"], vote[0]))
            if len(votes) > 1:
                self.warnings.append(
                    f"clip {where['clip_id']}, task {number}: {annotator} answered {len(votes)} times; the last counts."
                )
            for name, row in votes:
                self._add(row, {"annotation": name, "task": number, "clip_id": row["clip_id"]})
        self._take_back(number, present, {who: votes[-1] for who, votes in valid.items()}, valid)
        if len(self.rows) >= BATCH:
            self.flush()

    def _cancel(self, annotation: Mapping[str, Any], where: Mapping[str, Any]) -> None:
        user = person(annotation.get("completed_by"))
        name = "" if user is None else annotator_id(self.project.url, user)
        self.cancelled.append(
            {**where, "annotation_id": annotation.get("id"), "annotator": name}
            | {"updated_at": annotation.get("updated_at"), "result": annotation.get("result")}
        )

    def _warn_of_editing(self, annotation: Mapping[str, Any], row: Mapping[str, Any], task: int) -> None:
        editor = person(annotation.get("updated_by"))
        if editor is None or editor == person(annotation.get("completed_by")):
            return
        other = annotator_id(self.project.url, editor)
        self.warnings.append(
            f"clip {row['clip_id']}, task {task}: the answer of {row['annotator']} was last changed by {other}."
        )

    def _add(self, row: dict[str, Any], entry: dict[str, Any]) -> bool:
        """Take a row in unless the table has it, and note where it comes from unless that is noted."""
        name = row["vote_id"]
        if name not in self.ledger.get(entry["annotation"], {}):
            entry = {**entry, "vote_id": name, "annotator": row["annotator"]}
            self._note(entry)
            self.entries.append(entry)
        if name in self.known:
            return False
        self.known.add(name)
        self.rows.append(row)
        self.total += 1
        self._stand(row["clip_id"], row["annotator"], row, row)
        if row["withdrawn"]:
            self.withdrawn += 1
        else:
            self.new += 1
            if row["clip_id"] not in self.dataset:
                self.gone[row["clip_id"]] = self.gone.get(row["clip_id"], 0) + 1
        return True

    # Taking back ---------------------------------------------------------------------------------------------------

    def _take_back(
        self,
        task: int,
        present: set[int],
        last: Mapping[str, tuple[int, dict[str, Any]]],
        valid: Mapping[str, list[tuple[int, dict[str, Any]]]],
    ) -> None:
        """Where an annotation that was a vote is none any more: let the person's last valid one count, or none."""
        standing = {name for votes in valid.values() for name, _ in votes}
        for annotation in sorted(self.of_task.get(task, set()) - standing):
            is_deleted = annotation not in present
            for name, entry in list(self.ledger[annotation].items()):
                held = self.standing.get((entry["clip_id"], entry["annotator"]))
                if held is None or held.vote_id != name or held.withdrawn:
                    continue
                if is_deleted and not self.options.withdraw_deleted:
                    self.deleted.append(
                        f"clip {entry['clip_id']}, task {task}, annotation {annotation}: deleted on the server; "
                        f"the vote of {entry['annotator']} still counts."
                    )
                    continue
                other = last.get(entry["annotator"])
                row = self._row(held) if other is None else other[1]
                row = {
                    **row,
                    "vote_id": hashlib.sha256(f"{name}\n{row['vote_id']}\nafter".encode()).hexdigest()[:16],
                    "updated_at": held.updated_at + _TICK,
                    "withdrawn": other is None,
                }
                origin = annotation if other is None else other[0]
                self._add(row, {"annotation": origin, "task": task, "clip_id": row["clip_id"]})

    def _row(self, held: _Standing) -> dict[str, Any]:
        if isinstance(held.row, int):
            row: dict[str, Any] = self.table.slice(held.row, 1).to_pylist()[0]
            return row
        return held.row

    # Writing -------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was read so far: where votes come from, then the votes.

        In this order, because a note without its vote does no harm, and the vote comes with the next pull; a vote
        without its note could not be taken back.
        """
        self.state.append("pulled", self.entries)
        self.entries = []
        if self.rows:
            append_votes(self.out, votes_table(self.rows))
            self.rows = []

    def finish(self, elapsed_s: float) -> None:
        """After the last task: deleted tasks, the files of what is no vote, the cursor."""
        if self.options.full:
            for task in sorted(self.of_task.keys() - self.seen):
                self._take_back(task, set(), {}, {})
            self.flush()
        self._keep("drafts", self.drafts)
        self._keep("cancelled", self.cancelled)
        self._keep("refused", [_record(refusal) for refusal in self.refused])
        if self.newest is None:
            return
        # Tasks may have changed behind the reader's back while it read. What changed before it began is safe to pass
        # over: that moment was, by the server's own clock, at least the reading time before the newest stamp seen.
        cursor = self.newest - timedelta(seconds=elapsed_s) - OVERLAP
        before = self.state.cursor()
        seen = moment(before.get("newest"))
        if seen is None or self.newest > seen:  # else nothing changed, here neither
            after = max(cursor, moment(before.get("updated_after")) or cursor)
            self.state.write_cursor({"updated_after": _stamp(after), "newest": _stamp(self.newest)})

    def _keep(self, name: str, records: list[dict[str, Any]]) -> None:
        """Replace what a file says of the tasks that were read."""
        old = self.state.read(name)
        kept = [] if self.options.full else [record for record in old if record["task_id"] not in self.seen]
        if [*kept, *records] != old:
            self.state.replace(name, [*kept, *records])

    def result(self, requests: int, seconds: float) -> PullResult:
        """What came of it."""
        return PullResult(
            round=self.options.round,
            votes=self.new,
            withdrawn=self.withdrawn,
            tasks=self.tasks,
            annotations=self.annotations,
            refused=tuple(self.refused),
            cancelled=len(self.cancelled),
            drafts=len(self.drafts),
            deleted=tuple(self.deleted),
            gone=dict(sorted(self.gone.items())),
            warnings=tuple(self.warnings),
            total=self.total,
            requests=requests,
            seconds=seconds,
        )


def _record(refusal: Refusal) -> dict[str, Any]:
    return {
        "task_id": refusal.task_id,
        "clip_id": refusal.clip_id,
        "annotation_id": refusal.annotation_id,
        "annotator": refusal.annotator,
        "updated_at": refusal.updated_at,
        "reasons": list(refusal.reasons),
    }


def _stamp(value: datetime) -> str:
    """A time as the server wants it in a filter."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
