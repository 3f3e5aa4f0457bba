"""How well annotators agree, who they are to be trusted with, and what the votes say together.

:func:`measure` makes a report of a table of votes, :func:`posteriors` the probability of each answer. Both are pure.
"""

from __future__ import annotations

from annotation.agreement.consensus import posteriors
from annotation.agreement.measure import measure
from annotation.agreement.report import (
    ANSWERS,
    QUESTIONS,
    AgreementOptions,
    AgreementReport,
    Anchoring,
    Annotator,
    ClipInfo,
    Estimate,
    QuestionAgreement,
)
from annotation.agreement.verb import agreement, clip_infos

__all__ = [
    "ANSWERS",
    "QUESTIONS",
    "AgreementOptions",
    "AgreementReport",
    "Anchoring",
    "Annotator",
    "ClipInfo",
    "Estimate",
    "QuestionAgreement",
    "agreement",
    "clip_infos",
    "measure",
    "posteriors",
]
