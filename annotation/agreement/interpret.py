"""Figures in words: a sentence per question, and the warnings a reader needs before trusting a figure."""

from __future__ import annotations

from collections.abc import Sequence

from annotation.agreement.bootstrap import FEW_DYADS
from annotation.agreement.report import DISTRUSTED, Anchoring, Annotator, Estimate, QuestionAgreement

#: Krippendorff's advice (Content Analysis, 4th ed., 2018): rely on alpha from 0.8, conclude tentatively from 0.667.
RELIABLE, TENTATIVE = 0.8, 0.667
#: Alpha this much below AC1 calls for an explanation; share of one answer from which prevalence is that explanation.
PARADOX_GAP, PREVALENT = 0.25, 0.8
#: Share of "unsure" worth a warning.
MANY_UNSURE = 0.2

#: What to call a question.
TOPIC = {"kinship": "kinship", "status": "standing", "senior": "who is senior"}


def figure(estimate: Estimate) -> str:
    """A number and its interval, short: 0.71 (0.65-0.77)."""
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return two(estimate.value)
    return f"{two(estimate.value)} ({two(estimate.low)} to {two(estimate.high)})"


def two(value: float) -> str:
    """Two decimals, and no sign before a zero."""
    text = f"{value:.2f}"
    return text.removeprefix("-") if text == "-0.00" else text


def is_paradox(question: QuestionAgreement) -> bool:
    """Whether alpha is far below AC1 because nearly all answers are the same."""
    alpha, ac1 = question.alpha.value, question.ac1.value
    if alpha is None or ac1 is None or not question.num_votes:
        return False
    return ac1 - alpha > PARADOX_GAP and max(question.counts) / question.num_votes >= PREVALENT


def sentence(question: QuestionAgreement) -> str:
    """What the agreement on one question means."""
    topic = TOPIC[question.question]
    if question.alpha.value is None:
        if question.percent.value == 1.0:
            return f"Every vote on {topic} says the same: whether annotators can tell clips apart cannot be known."
        return f"Agreement on {topic} cannot be measured: {question.alpha.reason}."
    value, low = question.alpha.value, question.alpha.low
    if is_paradox(question):
        common = question.answers[max(range(len(question.counts)), key=question.counts.__getitem__)]
        share = max(question.counts) / question.num_votes
        return (
            f"Annotators nearly always agree on {topic}, mostly because {share:.0%} of the answers are {common}; "
            f"the rarer answers are often not confirmed."
        )
    if low is not None and low >= RELIABLE:
        return f"Annotators agree reliably on {topic}."
    if value >= RELIABLE:
        return f"Annotators seem to agree reliably on {topic}, but there are too few votes to be sure."
    if value >= TENTATIVE:
        return f"Annotators agree fairly well on {topic}: good enough for tentative conclusions."
    if question.alpha.high is not None and question.alpha.high >= TENTATIVE:
        return f"Agreement on {topic} may or may not be good enough: more votes would tell."
    if low is not None and low <= 0:
        return f"Annotators agree on {topic} no more than chance would have it: do not use these labels."
    return f"Annotators agree on {topic} beyond chance, but not reliably: look at the guidelines and the split clips."


def anchoring_sentence(anchoring: Anchoring, level: float) -> str:
    """What the comparison with hidden predictions means."""
    if anchoring.reason:
        return f"Whether predictions pull answers cannot be told: {anchoring.reason}."
    pulled = []
    limit = (1 - level) / max(len(anchoring.questions), 1)
    for item in anchoring.questions:
        if item.follows_difference.value is not None:
            if item.p_follows is not None and item.p_follows < limit and item.follows_difference.value > 0:
                gain = 100 * item.follows_difference.value
                pulled.append(f"{TOPIC[item.question]} (follows it {gain:.0f} points more often)")
        elif min(item.p_percent or 1.0, item.p_shares or 1.0) < limit / 2:
            pulled.append(TOPIC[item.question])
    if pulled:
        return f"Predictions pull answers on {', '.join(pulled)}: do not show them, or count such votes apart."
    known = any(item.p_follows is not None for item in anchoring.questions)
    sure = "" if known else " (what was predicted on hidden clips is not known, so a pull could be missed)"
    return f"No sign that predictions pull answers{sure}."


def warnings(
    questions: Sequence[QuestionAgreement],
    annotators: Sequence[Annotator],
    anchoring: Anchoring,
    *,
    num_votes: int,
    num_dyads: int,
    fast_s: float,
    unknown_clips: Sequence[str],
) -> tuple[str, ...]:
    """What a reader must know."""
    found = []
    if unknown_clips:
        shown = ", ".join(unknown_clips[:3]) + (", ..." if len(unknown_clips) > 3 else "")
        found.append(f"Votes on {len(unknown_clips)} clips that are not in the dataset are left out: {shown}")
    if not num_votes:
        return (*found, "There are no votes to measure. Pull them first: rsat-data label pull OUT")
    if len(annotators) == 1:
        found.append("There is one annotator only: agreement needs two.")
    elif not any(question.num_overlap for question in questions):
        found.append("No clip has two annotators: agreement cannot be measured. Raise the overlap of the project.")
    if num_dyads < FEW_DYADS:
        found.append(f"Only {num_dyads} dyads: intervals from fewer than {FEW_DYADS} are too narrow.")
    for question in questions:
        topic = TOPIC[question.question]
        if is_paradox(question):
            rare = min((n, name) for n, name in zip(question.counts, question.answers, strict=True) if n)[1]
            confirmed = question.confirmed[question.answers.index(rare)].value
            tail = (
                "" if confirmed is None else f" Only {confirmed:.0%} of the votes for {rare} are confirmed by another."
            )
            found.append(
                f"Alpha on {topic} is low ({question.alpha.value:.2f}) though AC1 is high ({question.ac1.value:.2f}): "
                f"nearly all answers are alike, so alpha is decided by the few others (prevalence paradox).{tail}"
            )
        unsure = question.counts[-1] / question.num_votes if question.num_votes else 0.0
        if unsure >= MANY_UNSURE:
            found.append(f"{unsure:.0%} of the answers on {topic} are unsure.")
    found += _about_people(annotators, fast_s)
    left_out = [one.name for one in annotators if one.verdict in DISTRUSTED]
    better = [(question.question, question.alpha_trusted) for question in questions]
    told = [f"{name} {estimate.value:.2f}" for name, estimate in better if estimate.value is not None]
    if left_out and told:
        found.append(f"Without {' and '.join(left_out)}, alpha is {', '.join(told)}.")
    if anchoring.mixed_clips:
        found.append(
            f"{anchoring.mixed_clips} clips were shown both with and without a prediction; "
            "they are left out of the comparison."
        )
    return tuple(found)


def _about_people(annotators: Sequence[Annotator], fast_s: float) -> list[str]:
    texts = {
        "random": "answers at random: no more agreement with the others than chance gives",
        "contrary": "answers the opposite of the others: keys mixed up?",
        "straight": "always gives the same answers",
        "weak": "agrees with the others less than half as much as they do with each other",
    }
    found = []
    for annotator in annotators:
        if annotator.verdict in texts:
            found.append(f"{annotator.name} {texts[annotator.verdict]} (skill {figure(annotator.skill)}).")
        elif annotator.straight:
            found.append(f"{annotator.name} always gives the same answer to {', '.join(annotator.straight)}.")
        if annotator.rubber_stamp:
            share = annotator.accepted.value or 0.0
            found.append(f"{annotator.name} keeps {share:.0%} of the predictions, clearly more than the others.")
        if annotator.fast.value is not None and annotator.fast.value >= 0.5 and annotator.fast.n >= 10:
            found.append(f"{annotator.name} takes less than {fast_s:g} s for {annotator.fast.value:.0%} of the clips.")
    judged = [annotator for annotator in annotators if annotator.skill.value is not None]
    if len(judged) == 2 and (judged[0].skill.value or 0.0) < 0.3:
        found.append(
            "With two annotators who disagree, votes cannot tell which one is right: add a third, or gold items."
        )
    return found
