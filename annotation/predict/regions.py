"""A guess in Label Studio's own form: one prediction, all its regions in one result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from annotation.predict.relation import Prediction
from rsat_data.errors import LabelError
from rsat_data.optional import require

_LABELS = {"kinship": "Kinship cue", "authority": "Authority cue"}


def as_result(prediction: Prediction, transcript: Sequence[Mapping[str, Any]], version: str) -> dict[str, Any]:
    """The prediction of a task: ``{"model_version", "score", "result"}``.

    Args:
        prediction: the guess.
        transcript: the task's paragraphs that its evidence points into.
        version: the model version the project shows.

    Offsets are counted as a browser counts: in UTF-16 units.
    """
    result: list[dict[str, Any]] = []
    for name, guess in prediction.guesses.items():
        value = {"choices": [guess.value]}
        result.append(_region(name, "video", "choices", value, guess.score))
    for cue in prediction.evidence:
        text = str(transcript[cue.paragraph]["text"])
        value_ = {
            "start": str(cue.paragraph),
            "end": str(cue.paragraph),
            "startOffset": utf16_length(text[: cue.start]),
            "endOffset": utf16_length(text[: cue.end]),
            "text": cue.text,
            "paragraphlabels": [_LABELS[cue.term.label]],
        }
        score = cue.trust * max(cue.term.kinship_score, cue.term.status_score)
        result.append(_region("evidence", "transcript", "paragraphlabels", value_, score))
    return {"model_version": version, "score": round(prediction.score, 4), "result": result}


def utf16_length(text: str) -> int:
    """Length of a text in UTF-16 units; a character beyond the first 65,536 counts twice."""
    return len(text) + sum(ord(character) > 0xFFFF for character in text)


def _region(control: str, about: str, kind: str, value: Mapping[str, Any], score: float) -> dict[str, Any]:
    # Made from the content: the same guess has the same regions.
    name = hashlib.sha256(repr((control, sorted(value.items()))).encode()).hexdigest()[:10]
    return {
        "id": name,
        "from_name": control,
        "to_name": about,
        "type": kind,
        "value": dict(value),
        "score": round(score, 4),
    }


def check_predictions(form_xml: str, predictions: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Check predictions against the form before they go: the server would take any.

    Args:
        form_xml: the project's form.
        predictions: (clip_id, prediction).

    Raises:
        LabelError: one does not fit; names the clip and what is wrong.
        MissingDependencyError: label-studio-sdk is not installed.
    """
    predictions = list(predictions)
    if not predictions:
        return
    interface = require("label_studio_sdk.label_interface", needed_for="Checking predictions").LabelInterface(form_xml)
    for clip_id, prediction in predictions:
        errors = interface.validate_prediction(dict(prediction), return_errors=True)
        if errors:
            raise LabelError(
                f"The prediction for {clip_id} does not fit the project's form: {errors[0]}.",
                hint="Was the form edited by hand? `rsat-data label doctor` tells; --no-predictions pushes without.",
            )
