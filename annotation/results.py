"""From one annotation of the label server to a vote, or to the reasons why it is none.

``required`` and ``visibleWhen`` bind the editor only: the server stores whatever it is sent. So every rule of the form
is checked here, and an annotation that breaks one is refused as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from annotation.form import Form
from annotation.tasks import SCHEMA as TASK_SCHEMA
from annotation.votes import annotator_id, vote_id

#: Questions a prediction may answer.
PREDICTED = ("kinship", "status", "senior")

_SINGLE = ("kinship", "status", "senior")
_OWN = (*_SINGLE, "confidence", "issues", "evidence", "notes")


@dataclass(frozen=True)
class Setting:
    """What has to be known to read annotations of a project."""

    url: str
    """The server, as the store has it."""
    project_id: int
    """The project's number there."""
    form: Form
    """The form the project was made with."""
    round: str = "labelling"
    """Round of the votes."""
    form_hash: str = ""
    """Hash of the form the annotations were made with; the same as the form's if empty."""
    clips: Collection[str] = ()
    """Clips that were pushed or are in the dataset."""
    hidden: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Clip -> the prediction that was made for it and not shown."""
    prediction_version: str | None = None
    """Model version whose predictions the project shows; None for whatever a task has."""


@dataclass(frozen=True)
class Refusal:
    """An annotation that is no vote."""

    clip_id: str
    """The clip; empty where the task names none."""
    task_id: int
    """Number of the task on the server."""
    annotation_id: int
    """Number of the annotation on the server."""
    annotator: str
    """Pseudonym; empty where the annotation is nobody's."""
    updated_at: str
    """Last change of the annotation, as the server says."""
    reasons: tuple[str, ...]
    """What is wrong, one sentence each."""

    def __str__(self) -> str:
        return (
            f"clip {self.clip_id or '(none)'}, task {self.task_id}, annotation {self.annotation_id}, "
            f"{self.annotator or 'nobody'}: {'; '.join(self.reasons)}"
        )


@dataclass(frozen=True)
class Answers:
    """What an annotation says."""

    kinship: str
    """blood, non_blood or unsure."""
    status: str
    """equal, unequal or unsure."""
    senior: str | None
    """A, B or unsure; None unless unequal."""
    confidence: int
    """1 to 5."""
    issues: tuple[str, ...] = ()
    """Problems reported, in the order of the format."""
    evidence: tuple[Mapping[str, Any], ...] = ()
    """label, start, end, text of each marked span; seconds from the clip's start."""
    notes: str = ""
    """Free text."""


def read_annotation(
    annotation: Mapping[str, Any], task: Mapping[str, Any], setting: Setting
) -> dict[str, Any] | Refusal:
    """Turn an annotation into a row of the table of votes.

    Args:
        annotation: as the server's list of tasks holds it.
        task: its task, with ``data`` and ``predictions``.
        setting: the project.

    Returns:
        A row for :func:`annotation.votes.votes_table`, or a refusal that lists every reason.
    """
    data = task.get("data")
    data = data if isinstance(data, Mapping) else {}
    reasons = _task_reasons(data, setting)
    user = person(annotation.get("completed_by"))
    if user is None:
        reasons.append("the account that made it is gone")
    created, updated = moment(annotation.get("created_at")), moment(annotation.get("updated_at"))
    if created is None or updated is None:
        reasons.append("it has no readable time of creation or change")
    answers, wrong = read_answers(annotation.get("result"), data.get("transcript"), setting.form)
    reasons += wrong
    name = "" if user is None else annotator_id(setting.url, user)
    if reasons or answers is None or created is None or updated is None:
        return Refusal(
            clip_id=str(data.get("clip_id") or ""),
            task_id=_number(task.get("id")),
            annotation_id=_number(annotation.get("id")),
            annotator=name,
            updated_at=str(annotation.get("updated_at") or ""),
            reasons=tuple(reasons),
        )
    shown, guess = _prediction(annotation, task, setting, created)
    return {
        "vote_id": vote_id(setting.url, setting.project_id, _number(annotation.get("id")), updated),
        "clip_id": data["clip_id"],
        "annotator": name,
        "kinship": answers.kinship,
        "status": answers.status,
        "senior": answers.senior,
        "confidence": answers.confidence,
        "issues": list(answers.issues),
        "evidence": [dict(span) for span in answers.evidence],
        "notes": answers.notes,
        "prediction_shown": shown,
        "prediction_accepted": accepted(answers, guess),
        "seconds_spent": _seconds(annotation.get("lead_time")),
        "created_at": created,
        "updated_at": max(created, updated),
        "config_hash": setting.form_hash or setting.form.hash,
        "round": setting.round,
        "prediction_version": None if guess is None else str(guess.get("model_version") or "") or None,
        "withdrawn": False,
    }


def _task_reasons(data: Mapping[str, Any], setting: Setting) -> list[str]:
    reasons = []
    clip = data.get("clip_id")
    if not isinstance(clip, str) or not clip:
        reasons.append("its task names no clip")
    elif clip not in setting.clips:
        reasons.append(f"clip {clip} was never pushed and is not in the dataset")
    if data.get("schema") != TASK_SCHEMA:
        reasons.append(f"its task is of schema {data.get('schema')!r}, not {TASK_SCHEMA!r}")
    if setting.form_hash and setting.form_hash != setting.form.hash:
        reasons.append(f"it was made with another form ({setting.form_hash[:12]}, not {setting.form.hash[:12]})")
    return reasons


# Answers -----------------------------------------------------------------------------------------------------------


def read_answers(result: Any, transcript: Any, form: Form) -> tuple[Answers | None, list[str]]:
    """Read a list of results against the form. Returns the answers, or None and every reason why there are none.

    Args:
        result: the annotation's ``result``.
        transcript: the task's transcript: a list of {"speaker", "text", "start", "end"}.
        form: the form the annotation was made with.
    """
    if not isinstance(result, Sequence) or isinstance(result, (str, bytes)):
        return None, ["its result is not a list"]
    reasons: list[str] = []
    given: dict[str, list[Mapping[str, Any]]] = {}
    for item in result:
        if not isinstance(item, Mapping) or not isinstance(item.get("value", {}), Mapping):
            reasons.append("its result holds something that is no region")
            continue
        if item.get("type") == "relation":
            continue  # an arrow between two marked spans: nothing that is asked for
        name = item.get("from_name")
        if name not in form.questions:
            reasons.append(f"it answers {name!r}, which the form does not ask")
        elif name in _OWN:
            given.setdefault(str(name), []).append(item.get("value", {}))
    chosen = {name: _single(name, given.get(name, []), form, reasons) for name in _SINGLE}
    for name in ("kinship", "status"):
        if chosen[name] is None and name not in given:
            reasons.append(f"{name} is not answered")
    if chosen["status"] == "unequal":
        if "senior" not in given:
            reasons.append("status is unequal, and senior is not answered")
    elif "senior" in given and chosen["status"] is not None:
        reasons.append(f"senior is answered though status is {chosen['status']}")
    confidence = _rating(given.get("confidence", []), form, reasons)
    issues = _issues(given.get("issues", []), form, reasons)
    evidence = [_span(value, transcript, form, reasons) for value in given.get("evidence", [])]
    notes = _notes(given.get("notes", []), reasons)
    if reasons:
        return None, list(dict.fromkeys(reasons))
    assert chosen["kinship"] is not None and chosen["status"] is not None and confidence is not None
    spans = sorted((span for span in evidence if span), key=lambda span: (span["start"], span["end"], span["label"]))
    answers = Answers(
        chosen["kinship"], chosen["status"], chosen["senior"], confidence, tuple(issues), tuple(spans), notes
    )
    return answers, []


def _choices(value: Mapping[str, Any]) -> list[Any]:
    found = value.get("choices")
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _single(name: str, values: Sequence[Mapping[str, Any]], form: Form, reasons: list[str]) -> str | None:
    found: list[Any] = []
    for value in values:
        found += [choice for choice in _choices(value) if choice not in found]
    unknown = [choice for choice in found if choice not in form.questions[name]]
    reasons += [f"{name} is {choice!r}, which is no choice of the form" for choice in unknown]
    if len(found) > 1:
        reasons.append(f"{name} has several answers ({', '.join(map(str, found))})")
    elif values and not found:
        reasons.append(f"{name} is answered with nothing")
    return found[0] if len(found) == 1 and not unknown else None


def _rating(values: Sequence[Mapping[str, Any]], form: Form, reasons: list[str]) -> int | None:
    found = []
    for value in values:
        rating = value.get("rating")
        if isinstance(rating, bool) or not isinstance(rating, (int, float)) or rating != rating or rating % 1:
            reasons.append(f"confidence is {rating!r}, not a whole number")
        elif str(int(rating)) not in form.questions["confidence"] or not 1 <= rating <= 5:
            reasons.append(f"confidence is {rating:g}, not one from 1 to 5")
        elif int(rating) not in found:
            found.append(int(rating))
    if not values:
        reasons.append("confidence is not answered")
    if len(found) > 1:
        reasons.append(f"confidence has several answers ({', '.join(map(str, found))})")
    return found[0] if len(found) == 1 else None


def _issues(values: Sequence[Mapping[str, Any]], form: Form, reasons: list[str]) -> list[str]:
    from schemas.votes import ISSUES

    found = [choice for value in values for choice in _choices(value)]
    for issue in found:
        if issue not in ISSUES or issue not in form.questions.get("issues", ()):
            reasons.append(f"issues holds {issue!r}, which is no choice of the form")
    return [issue for issue in ISSUES if issue in found]


def _notes(values: Sequence[Mapping[str, Any]], reasons: list[str]) -> str:
    lines: list[str] = []
    for value in values:
        text = value.get("text")
        parts: Sequence[Any] = text if isinstance(text, (list, tuple)) else [text]
        if not all(isinstance(part, str) for part in parts):
            reasons.append("notes hold something that is no text")
            continue
        lines += [_writable(part) for part in parts if part.strip()]
    return "\n".join(lines)


def _span(value: Mapping[str, Any], transcript: Any, form: Form, reasons: list[str]) -> Mapping[str, Any] | None:
    """A marked span of the transcript with its times: within a turn, time is taken to pass evenly over its letters."""
    labels = value.get("paragraphlabels")
    label = labels[0] if isinstance(labels, (list, tuple)) and len(labels) == 1 else None
    if not isinstance(label, str) or label not in form.questions.get("evidence", ()):
        reasons.append(f"evidence has the label {labels!r}, which is not one of the form")
        return None
    turns = transcript if isinstance(transcript, (list, tuple)) else []
    try:
        first, last = int(value["start"]), int(value["end"])
        start, end = int(value["startOffset"]), int(value["endOffset"])
        if not 0 <= first <= last < len(turns) or start < 0 or end < 0:
            raise ValueError
        head, tail = turns[first], turns[last]
        start_s, end_s = _time_at(head, start), _time_at(tail, end)
        if (first, start) > (last, end) or not 0 <= start_s <= end_s or not math.isfinite(end_s):
            raise ValueError
        texts = [str(turn["text"]) for turn in turns[first : last + 1]]
    except (KeyError, TypeError, ValueError, OverflowError):
        reasons.append("evidence marks no span of the transcript")
        return None
    if first == last:
        text = _cut(texts[0], start, end)
    else:
        text = " ".join([_cut(texts[0], start, None), *texts[1:-1], _cut(texts[-1], 0, end)])
    return {"label": label, "start": start_s, "end": end_s, "text": _writable(text)}


def _writable(text: str) -> str:
    """Text that UTF-8 can hold: JSON may carry halves of a pair."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _units(text: str) -> int:
    """Length as a browser counts: in units of UTF-16."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut(text: str, start: int, end: int | None) -> str:
    """A piece of a text by a browser's offsets."""
    data = text.encode("utf-16-le", "surrogatepass")
    return data[2 * start : None if end is None else 2 * end].decode("utf-16-le", "ignore")


def _time_at(turn: Mapping[str, Any], offset: int) -> float:
    start, end = float(turn["start"]), float(turn["end"])
    length = _units(str(turn["text"]))
    return start + (end - start) * min(offset / length if length else 0.0, 1.0)


# Predictions -------------------------------------------------------------------------------------------------------


def _prediction(
    annotation: Mapping[str, Any], task: Mapping[str, Any], setting: Setting, created: datetime
) -> tuple[bool, Mapping[str, Any] | None]:
    """Whether a prediction was in sight, and the prediction, shown or not.

    The server keeps with an annotation the prediction that was there when it was made, and tells it in exports. In
    lists of tasks it is left out: then it is the task's last prediction that is older than the annotation.
    """
    clip = task["data"]["clip_id"]
    if clip in setting.hidden:
        return False, setting.hidden[clip]
    snapshot = annotation.get("prediction")
    if isinstance(snapshot, Mapping):
        guess = snapshot if snapshot.get("result") else None
        return guess is not None, guess
    older = []
    for guess in task.get("predictions") or ():
        if not isinstance(guess, Mapping):
            continue
        made = moment(guess.get("created_at"))
        if made is not None and made <= created and setting.prediction_version in (None, guess.get("model_version")):
            older.append((made, guess))
    if not older:
        return False, None
    return True, max(older, key=lambda pair: pair[0])[1]


def as_prediction(values: Mapping[str, Any], version: str) -> dict[str, Any]:
    """A guess, question -> value, in the server's form."""
    result = [{"from_name": name, "value": {"choices": [value]}} for name, value in values.items() if value is not None]
    return {"model_version": version, "result": result}


def predicted(prediction: Mapping[str, Any]) -> dict[str, str]:
    """Question -> value of a prediction in the server's form; questions it says nothing about are absent."""
    found = {}
    for item in prediction.get("result") or ():
        if isinstance(item, Mapping) and item.get("from_name") in PREDICTED and isinstance(item.get("value"), Mapping):
            choices = _choices(item["value"])
            if len(choices) == 1 and isinstance(choices[0], str):
                found[str(item["from_name"])] = choices[0]
    return found


def accepted(answers: Answers, prediction: Mapping[str, Any] | None) -> bool | None:
    """Whether the answers are those of a prediction, in every question it answers; None where it answers none."""
    guess = {} if prediction is None else predicted(prediction)
    if not guess:
        return None
    return all(getattr(answers, name) == value for name, value in guess.items())


# Values of the server ----------------------------------------------------------------------------------------------


def person(value: Any) -> int | None:
    """Number of an account: a number, or an object with one; None for nobody."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def moment(value: Any) -> datetime | None:
    """A time of the server, ISO 8601 or a datetime, in UTC; None where it is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return None
    return float(value)
