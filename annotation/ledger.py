"""Which clips are tasks: the journal of `push`, kept true to what the server holds.

What is on the server decides; the journal (``pushed.jsonl``) spares asking. A batch of tasks is one request, which the
server does as a whole or not at all. Before it goes, its clips are noted in ``pushing.json``; afterwards they are
journalled, and the note is removed. Where the note is found, or the server holds another number of tasks than the
journal, the server's tasks are listed and matched by clip_id: what the journal lacks is added, what the server lacks is
struck out (and pushed again), and of a task that is there twice the one without answers is removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from annotation.client import Client
from annotation.store import Project, Round, read_json
from rsat_data.content import content_hash
from rsat_data.errors import LabelServerError
from rsat_data.files import write_json

_INTENT, _FOREIGN = "pushing.json", "foreign.json"
#: How long the server's number of tasks must stand still before a broken-off request counts as over, seconds.
SETTLED_S = 3.0
_SETTLE_AT_MOST_S = 60.0
_PAGE = 500
_NAME_LENGTH = 36  # 32 hex digits and .mp4, .wav or .jpg


@dataclass
class Found:
    """What bringing journal and server together came upon."""

    recovered: int = 0
    """Tasks on the server that a broken-off run had not journalled."""
    lost: int = 0
    """Tasks gone from the server."""
    removed: int = 0
    """Doubled tasks removed."""
    doubled: list[str] = field(default_factory=list)
    """Clips with several answered tasks: left as they are."""
    foreign: int = 0
    """Tasks of no clip of this dataset."""


class Ledger:
    """The journal of one project."""

    def __init__(
        self,
        client: Client,
        round_: Round,
        project: Project,
        is_ours: Callable[[str], bool],
        describe: Callable[[str], Mapping[str, Any]],
    ) -> None:
        """``is_ours`` tells whether a clip is of this dataset, ``describe`` what the journal is to say of it beyond
        task, media and content.
        """
        self.journal = round_.pushed()
        self.found = Found()
        self._client, self._round, self._project = client, round_, project
        self._is_ours, self._describe = is_ours, describe

    def record(
        self, clip_id: str, transcript: Sequence[Mapping[str, Any]], media: Sequence[str], source: str
    ) -> dict[str, Any]:
        """The journal's line of a clip, as yet without the task's number.

        Args:
            clip_id: the clip.
            transcript: the task's paragraphs.
            media: names of its files.
            source: hash of what the clip was built from; empty where not known.
        """
        return {
            "clip_id": clip_id,
            "task_id": None,
            "media": list(media),
            **self._describe(clip_id),
            "source": source,
            "content": content_hash([list(map(dict, transcript)), list(media)], length=16),
            "pushed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def send(self, tasks: Sequence[Mapping[str, Any]], records: Sequence[dict[str, Any]]) -> None:
        """Import tasks in one request and journal them.

        Raises:
            LabelServerError: the server refused, or cannot be reached and does not hold the tasks.
        """
        note = self._round.root / _INTENT
        clip_ids = [record["clip_id"] for record in records]
        write_json(note, {"clip_ids": clip_ids})
        try:
            numbers = self._client.import_tasks(self._project.project_id, tasks)
        except LabelServerError as error:
            if getattr(error, "status", None) is not None:
                note.unlink()  # The server answered: it took nothing.
                raise
            # The answer is lost, not necessarily the tasks: if they are there, all is well.
            self.reconcile(ask=True)
            if not all(clip_id in self.journal for clip_id in clip_ids):
                raise
            return
        for record, number in zip(records, numbers, strict=True):
            record["task_id"] = number
        self.note(records)
        note.unlink()

    def note(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Journal tasks; on disk when this returns."""
        self._round.append_pushed(records)
        self.journal.update({record["clip_id"]: dict(record) for record in records})

    def has_answers(self, task_id: int) -> bool:
        """Whether somebody worked on a task; also a draft is work."""
        task = self._client.task(task_id)
        return bool(task.get("annotations") or task.get("drafts"))

    # Journal and server --------------------------------------------------------------------------------------------

    def reconcile(self, *, ask: bool = False) -> None:
        """Bring journal and server together; the tasks are asked for only where something may differ, or with ``ask``.

        Raises:
            LabelServerError: the server cannot be reached.
        """
        note = self._round.root / _INTENT
        broken_off = ask or read_json(note) is not None
        if broken_off:
            self._settle()
        self.found.foreign = int((read_json(self._round.root / _FOREIGN) or {}).get("tasks", 0))
        if not broken_off and self._count() == len(self.journal) + self.found.foreign:
            return
        there = self._there()
        gone = [clip_id for clip_id in self.journal if clip_id not in there]
        for clip_id in gone:
            del self.journal[clip_id]
        new = [
            self._recovered(clip_id, task)
            for clip_id, task in there.items()
            if self.journal.get(clip_id, {}).get("task_id") != task["id"]
        ]
        self.note(new)
        if gone:
            # Struck out, or a later run would count them as there.
            self._round.replace("pushed", self.journal.values())
        self.found.lost += len(gone)
        self.found.recovered += len(new)
        note.unlink(missing_ok=True)

    def _count(self) -> Any:
        return self._client.project(self._project.project_id).get("task_number")

    def _settle(self) -> None:
        """Wait until the server is done with what a broken-off request may have left running."""
        began = since = time.monotonic()
        last = None
        while time.monotonic() - began < _SETTLE_AT_MOST_S:
            number, now = self._count(), time.monotonic()
            if number != last:
                last, since = number, now
            elif now - since >= SETTLED_S:
                return
            time.sleep(min(0.5, SETTLED_S / 4))

    def _there(self) -> dict[str, dict[str, Any]]:
        """clip_id -> its task on the server, without doubles; its data only where the journal does not know it."""
        found: dict[str, list[dict[str, Any]]] = {}
        foreign = 0
        for task in self._client.tasks(self._project.project_id, fields="task_only", page_size=_PAGE):
            data = task.get("data")
            clip_id = data.get("clip_id") if isinstance(data, dict) else None
            if not isinstance(clip_id, str) or not (self._is_ours(clip_id) or clip_id in self.journal):
                foreign += 1
                continue
            known = self.journal.get(clip_id, {}).get("task_id") == task["id"]
            # Kept is only what is looked at below: there may be many tasks.
            shown = bool(task.get("total_predictions"))
            found.setdefault(clip_id, []).append({"id": task["id"], "shown": shown, "data": None if known else data})
        self.found.foreign = foreign
        write_json(self._round.root / _FOREIGN, {"tasks": foreign})
        return {
            clip_id: tasks[0] if len(tasks) == 1 else self._without_doubles(clip_id, tasks)
            for clip_id, tasks in found.items()
        }

    def _without_doubles(self, clip_id: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
        """The task to keep: the oldest one with answers, else the oldest. Others without answers are removed."""
        tasks = sorted(tasks, key=lambda task: task["id"])
        answered = [task for task in tasks if self.has_answers(task["id"])]
        if len(answered) > 1:
            self.found.doubled.append(clip_id)
        kept = answered or tasks[:1]
        for task in tasks:
            if task not in kept:
                self._client.delete_task(task["id"])
                self.found.removed += 1
        return kept[0]

    def _recovered(self, clip_id: str, task: Mapping[str, Any]) -> dict[str, Any]:
        """The journal's line of a task, from what its data say."""
        if not self._is_ours(clip_id):
            return {**self.journal[clip_id], "task_id": task["id"]}
        data = task["data"] or {}
        media = [str(data.get(name, ""))[-_NAME_LENGTH:] for name in ("video", "audio", "face_a", "face_b")]
        transcript = data.get("transcript")
        # What it was built from is not known: the next run compares the content.
        record = self.record(clip_id, transcript if isinstance(transcript, list) else [], media, "")
        # Options may have been others then: whether the guess is shown is seen from the task.
        hidden = record.get("prediction") is not None and not task["shown"]
        return {**record, "task_id": task["id"], "prediction_hidden": hidden}
