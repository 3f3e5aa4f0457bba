"""Clips whose answer is not clear: what an adjudicator, or a tired researcher, should look at first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from annotation.agreement.consensus import Belief
from annotation.agreement.ratings import Votes
from annotation.agreement.report import QUESTIONS, AgreementOptions, ClipToLookAt


def clips_to_look_at(
    votes: Votes, beliefs: Mapping[str, Belief | None], options: AgreementOptions
) -> tuple[tuple[ClipToLookAt, ...], int]:
    """The least clear clips, least clear first, at most ``options.clips_listed``; and how many there are in all.

    A clip is listed once per question where its most frequent answer has less than ``options.majority`` of the votes,
    its most probable one a posterior below ``options.posterior``, or nobody decided; and where problems were reported.
    ``senior`` counts where more than half of the clip's votes say "unequal".
    """
    found: list[tuple[float, int, int, ClipToLookAt]] = []
    total = 0
    equal = votes.ratings("status").counts()
    mostly_unequal = np.zeros(len(votes.clip_ids), bool)
    mostly_unequal[votes.ratings("status").clips] = 2 * equal[:, 1] > equal.sum(axis=1)
    for order, question in enumerate(QUESTIONS):
        ratings = votes.ratings(question)
        counts = ratings.counts()
        share = counts.max(axis=1, initial=0) / np.maximum(counts.sum(axis=1), 1)
        best = np.full(len(votes.clip_ids), np.nan)
        belief = beliefs[question]
        if belief is not None:
            best[belief.clips] = belief.posterior.max(axis=1)
        posterior = best[ratings.clips]
        nobody = counts[:, :-1].sum(axis=1) == 0
        split, unsure = share < options.majority - 1e-9, posterior < options.posterior
        listed = nobody | split | unsure
        if question == "senior":
            listed &= mostly_unequal[ratings.clips]
        total += int(listed.sum())
        worst = np.where(nobody, 0.0, np.minimum(share, np.where(np.isnan(posterior), 0.0, posterior)))
        rows = np.flatnonzero(listed)
        rows = rows[np.argsort(worst[rows], kind="stable")][: options.clips_listed]
        for row in rows.tolist():
            clip = int(ratings.clips[row])
            names = _names(votes, question, clip, ratings.answers)
            reason = "nobody decided" if nobody[row] else "votes are split" if split[row] else "the votes are weak"
            item = ClipToLookAt(
                clip_id=votes.clip_ids[clip],
                dyad_id=votes.dyad_ids[votes.dyad_of_clip[clip]],
                question=question,
                votes={name: int(n) for name, n in zip(names, counts[row], strict=True) if n},
                posterior=None if np.isnan(posterior[row]) else float(posterior[row]),
                issues=votes.issues.get(clip, ()),
                reason=reason,
            )
            found.append((float(worst[row]), clip, order, item))
    already = {item.clip_id for _, _, _, item in found}
    for clip, issues in votes.issues.items():
        total += 1
        if votes.clip_ids[clip] not in already:
            dyad = votes.dyad_ids[votes.dyad_of_clip[clip]]
            item = ClipToLookAt(votes.clip_ids[clip], dyad, "", {}, None, issues, "problems were reported")
            found.append((1.0, clip, len(QUESTIONS), item))
    found.sort(key=lambda entry: entry[:3])
    return tuple(item for *_, item in found[: options.clips_listed]), total


def _names(votes: Votes, question: str, clip: int, answers: tuple[str, ...]) -> tuple[str, ...]:
    if question != "senior":
        return answers
    first, second = votes.subjects[clip]
    return first, str(second), answers[-1]
