"""Clips that votes do not settle go to a second project, whose tasks show the votes.

An adjudicator answers the same form. Each task's title tells who said what, and why the clip is there; its prediction
is what most people said, so that an answer may be kept or changed. `pull` of round adjudication brings the answers,
which go before votes. Running it again sends what has come to be unsettled since, and nothing twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation.apply import ApplyOptions, agree_on
from annotation.client import Client
from annotation.consensus import Item
from annotation.form import parse_form
from annotation.project import check_project, make_project
from annotation.pull import connected
from annotation.store import ADJUDICATION, LabelStore
from annotation.tasks import neutral_title
from annotation.votes import current_votes, read_votes
from rsat_data.errors import LabelError, LabelServerError

#: Model version of the predictions that sum up votes.
VOTES_VERSION = "votes-1"
#: Tasks a request.
BATCH = 50
_TITLE = 50
_INSTRUCTION = (
    "<p>Annotators did not agree on these conversations, or reported a problem. The line below the notes shows "
    "why the task is here, and their votes under pseudonyms; the answers that most of them gave are filled in. Watch "
    "the conversation, then keep or change each answer. Yours is final. Where it really cannot be told, choose "
    "unsure.</p>"
)


@dataclass(frozen=True)
class AdjudicateOptions:
    """What is adjudicated and where."""

    url: str | None = None
    """Address of the server; else LABEL_STUDIO_URL, else what the dataset's store knows."""
    token_file: Path | None = None
    """File with the token; else LABEL_STUDIO_API_KEY."""
    title: str | None = None
    """Title of the second project, at most 50 characters; None: that of the first, with a word more."""
    majority: float = 2 / 3
    """A clip goes there if no answer has this share of the votes."""
    posterior: float = 0.8
    """Or if that answer's probability, given how each annotator votes elsewhere, is below this."""
    min_votes: int = 2
    """Least number of votes on a clip; with fewer it waits."""
    metadata: str = "keep"
    """keep: also where votes contradict the owner of the source; replace: not for that."""
    form: str | None = None
    """Where votes were made with several forms: the beginning of the hash of the one whose votes count."""
    dry_run: bool = False
    """List the clips and the reasons, and ask no server."""


@dataclass(frozen=True)
class AdjudicateResult:
    """What goes to the adjudicators."""

    items: tuple[Item, ...]
    """Clips that are not settled, with the reasons."""
    pushed: tuple[str, ...]
    """Of these, clips that were sent now."""
    present: tuple[str, ...]
    """Clips that were in the second project already."""
    missing: tuple[str, ...]
    """Clips that have no task in the first project, whose media could be shown."""
    project_id: int | None
    """The second project; None where there is none."""
    address: str
    """Where to look at it in a browser; empty where there is none."""
    requests: int
    """Requests made."""
    dry_run: bool
    """Whether nothing was sent."""
    seconds: float
    """Time it took."""


def adjudicate(
    out: Path | str,
    options: AdjudicateOptions = AdjudicateOptions(),  # noqa: B008 (frozen)
    *,
    client: Client | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AdjudicateResult:
    """Send the clips that votes do not settle to a second project, each once.

    Args:
        out: folder of the dataset.
        options: what and where.
        client: a server that is connected already.
        progress: called with the number of clips sent, and of those to be sent.

    Raises:
        UsageError, LabelError: an option is out of range; there is no labelling project.
        LabelProjectError: a project is gone, or its form was edited by hand.
        LabelServerError, LabelAuthError: the server cannot be asked. Running it again goes on.
    """
    start, out = time.monotonic(), Path(out)
    rules = ApplyOptions(
        majority=options.majority,
        posterior=options.posterior,
        min_votes=options.min_votes,
        metadata=options.metadata,
        form=options.form,
    )
    items = agree_on(out, rules).consensus.items
    store = LabelStore(out)
    noted = store.round(ADJUDICATION).project()
    if options.dry_run or (not items and noted is None):
        known = store.round(ADJUDICATION).pushed()
        return AdjudicateResult(
            items,
            (),
            tuple(item.clip_id for item in items if item.clip_id in known),
            (),
            noted.project_id if noted else None,
            f"{noted.url}/projects/{noted.project_id}" if noted else "",
            0,
            options.dry_run,
            time.monotonic() - start,
        )
    with store.lock(), connected(client, options.url, options.token_file, store) as server:
        asked = server.requests
        work = _Adjudication(out, store, server, options)
        pushed, present, missing = work.send(items, progress)
        return AdjudicateResult(
            items,
            tuple(pushed),
            tuple(present),
            tuple(missing),
            work.project.project_id,
            f"{server.url}/projects/{work.project.project_id}",
            server.requests - asked,
            False,
            time.monotonic() - start,
        )


class _Adjudication:
    """One run against the server."""

    def __init__(self, out: Path, store: LabelStore, client: Client, options: AdjudicateOptions) -> None:
        self.client, self.place = client, store.round(ADJUDICATION)
        self.first = check_project(client, store).project
        self.tasks = store.round().pushed()
        made = make_project(
            client,
            self.place,
            parse_form(self.first.form_xml, "the project's form"),
            title=_title(self.first.title) if options.title is None else options.title.strip(),
            overlap=1,
            prediction_version=VOTES_VERSION,
            expert_instruction=_INSTRUCTION,
            show_instruction=True,
        )
        self.project = made.project
        # What the first project may show, the second must be allowed to show too.
        for storage in client.local_storages(self.first.project_id):
            if storage.get("path"):
                client.add_local_storage(self.project.project_id, Path(str(storage["path"])))
        self.votes: dict[str, list[dict[str, Any]]] = {}
        for vote in current_votes(read_votes(out)).to_pylist():
            if vote["round"] != "gold":
                self.votes.setdefault(vote["clip_id"], []).append(vote)

    def send(
        self, items: Sequence[Item], progress: Callable[[int, int], None]
    ) -> tuple[list[str], list[str], list[str]]:
        """Send what is not there yet. Returns the clips sent, those that were there, those that have no task."""
        there = self._there()
        present = [item.clip_id for item in items if item.clip_id in there]
        pushed: list[str] = []
        missing: list[str] = []
        batch: list[tuple[Item, dict[str, Any]]] = []
        wanted = [item for item in items if item.clip_id not in there]
        for item in wanted:
            task = self._task(item)
            if task is None:
                missing.append(item.clip_id)
                continue
            batch.append((item, task))
            if len(batch) >= BATCH:
                pushed += self._import(batch)
                batch = []
            progress(len(pushed) + len(missing), len(wanted))
        pushed += self._import(batch)
        progress(len(wanted), len(wanted))
        return pushed, present, missing

    def _there(self) -> set[str]:
        """Clips that are in the project; those a run that was broken off did not note are noted now."""
        noted = self.place.pushed()
        found: dict[str, int] = {}
        for task in self.client.tasks(self.project.project_id, fields="task_only", page_size=500):
            data = task.get("data")
            clip = data.get("clip_id") if isinstance(data, Mapping) else None
            if isinstance(clip, str):
                found.setdefault(clip, int(task["id"]))
        self.place.append_pushed(
            _record(clip, task) for clip, task in found.items() if noted.get(clip, {}).get("task_id") != task
        )
        return set(found)

    def _task(self, item: Item) -> dict[str, Any] | None:
        """The clip's task of the first project, with the votes; None where it has none any more."""
        record = self.tasks.get(item.clip_id)
        if record is None or record.get("task_id") is None:
            return None
        try:
            data = self.client.task(int(record["task_id"])).get("data")
        except LabelServerError as error:
            if getattr(error, "status", None) == 404:
                return None
            raise
        if not isinstance(data, Mapping) or data.get("clip_id") != item.clip_id:
            return None
        votes = self.votes.get(item.clip_id, [])
        return {"data": {**data, "title": told(item, votes)}, "predictions": majority_prediction(votes)}

    def _import(self, batch: Sequence[tuple[Item, Mapping[str, Any]]]) -> list[str]:
        if not batch:
            return []
        numbers = self.client.import_tasks(self.project.project_id, [task for _, task in batch])
        if len(numbers) != len(batch):
            raise LabelError(f"The label server took {len(numbers)} of {len(batch)} tasks.", hint="Run it again.")
        clips = [item.clip_id for item, _ in batch]
        self.place.append_pushed(_record(clip, task) for clip, task in zip(clips, numbers, strict=True))
        return clips


def _record(clip: str, task: int) -> dict[str, Any]:
    return {"clip_id": clip, "task_id": task, "media": [], "prediction_hidden": False, "gold": False}


def _title(first: str) -> str:
    word = ", adjudication"
    return first[: _TITLE - len(word)] + word


def told(item: Item, votes: Sequence[Mapping[str, Any]]) -> str:
    """The votes on a clip and why it is to be settled, in one line."""
    parts = []
    for vote in votes:
        status = str(vote["status"])
        if vote["senior"] is not None:
            status += ", senior unsure" if vote["senior"] == "unsure" else f", {vote['senior']} senior"
        text = f"{vote['annotator']}: {vote['kinship']}, {status} (certainty {vote['confidence']}/5)"
        if vote["issues"]:
            text += f" [{', '.join(vote['issues'])}]"
        parts.append(text)
    return f"{neutral_title(item.clip_id)} | Why: {'; '.join(item.reasons)} | Votes: {'; '.join(parts)}"


def majority_prediction(votes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What most people said, as a prediction; questions without one most frequent answer are left open."""
    result, shares = [], []
    status: str | None = None
    for question in ("kinship", "status", "senior"):
        if question == "senior":
            values = [vote["senior"] for vote in votes if vote["status"] == "unequal"] if status == "unequal" else []
        else:
            values = [vote[question] for vote in votes]
        ranked = Counter(values).most_common(2)
        if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
            continue
        value, count = ranked[0]
        status = value if question == "status" else status
        shares.append(count / len(values))
        result.append(
            {
                "id": f"votes-{question}",
                "from_name": question,
                "to_name": "video",
                "type": "choices",
                "value": {"choices": [value]},
            }
        )
    if not result:
        return []
    return [{"model_version": VOTES_VERSION, "score": round(min(shares), 4), "result": result}]
