"""The report as one HTML page: nothing is loaded from anywhere, every text is escaped, plots are inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from annotation.agreement.interpret import RELIABLE, TENTATIVE, TOPIC, figure
from annotation.agreement.report import AgreementReport, AnchoredQuestion, Annotator, Estimate, QuestionAgreement
from annotation.agreement.svg import Point, Whisker, cells, dots, scatter

#: People above whom matrices of pairs are left to the JSON, and whose confusion matrices are shown.
_PEOPLE = 24

#: Beginnings of cells: HTML of our own, and a name in letters of one width.
_RAW, _ID = "\0", "\1"

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --dim: #667085; --line: #e3e6ec; --paper: #fff; --wash: #f6f7f9;
  --main: #2563a8; --other: #c2571a; --bad: #b42318; --good: #1a7f4b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ee; --dim: #98a2b3; --line: #2c3340; --paper: #14171d;
  --wash: #1b2028; --main: #6aa9ea; --other: #f0995a; --bad: #f97066; --good: #5fce97; } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 28px 24px 60px; max-width: 1080px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; margin: 0 0 2px } h2 { font-size: 19px; margin: 40px 0 6px }
h3 { font-size: 15px; margin: 18px 0 4px }
p { margin: 6px 0 10px; max-width: 78ch } .dim, small { color: var(--dim) }
ul.plain { padding-left: 18px; margin: 6px 0; max-width: 90ch }
.warn { border-left: 4px solid var(--other); background: var(--wash); padding: 8px 14px; margin: 16px 0;
  border-radius: 4px }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 14px; margin: 18px 0 }
.tile { background: var(--wash); border-radius: 8px; padding: 12px 16px }
.tile b.big { font-size: 26px; display: block; line-height: 1.2 } .tile p { margin: 4px 0 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 14px }
th { text-align: left; font-weight: 600; color: var(--dim); border-bottom: 1px solid var(--line);
  padding: 4px 18px 4px 0; vertical-align: bottom }
td { border-bottom: 1px solid var(--line); padding: 4px 18px 4px 0; vertical-align: top }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.id { font: 13px ui-monospace, Menlo, Consolas, monospace; line-height: 1.6; white-space: nowrap }
.tag { border-radius: 9px; padding: 1px 8px; font-size: 13px; border: 1px solid currentColor; white-space: nowrap }
.tag.ok { color: var(--good) } .tag.unclear { color: var(--dim) } .tag.weak { color: var(--other) }
.tag.random, .tag.contrary, .tag.straight, .tag.kept { color: var(--bad) }
svg { width: 100%; height: auto; max-width: 770px; display: block; margin: 6px 0 }
svg text { font-size: 13px; fill: var(--ink) } svg .tick, svg .value { fill: var(--dim); font-size: 12px }
svg .head { font-weight: 600 } svg .name { font-size: 11px; fill: var(--dim) } svg .in { font-size: 12px }
svg .inverse { fill: var(--paper) } svg .grid { stroke: var(--line) }
svg .mark { stroke: var(--dim); stroke-dasharray: 3 4 }
svg .whisker { stroke-width: 3; opacity: .45; stroke-linecap: round } svg .whisker.thin { stroke-width: 1.5 }
svg .whisker.main { stroke: var(--main) } svg .whisker.other { stroke: var(--other) }
svg .dot.main { fill: var(--main) } svg .dot.other { fill: var(--other) } svg .cell { fill: var(--main) }
.people { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 4px 26px }
.people svg { max-width: 100% } details { margin: 8px 0 } summary { cursor: pointer }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin: 0 5px 0 12px }
"""

_VERDICTS = {
    "ok": "agrees beyond chance",
    "weak": "agrees, but clearly less than half as much as the others do",
    "random": "no more agreement than answers without looking would give",
    "contrary": "clearly less agreement than chance: keys mixed up?",
    "straight": "always the same answers where others see differences",
    "unclear": "too few shared votes to tell",
}


def page(report: AgreementReport, *, title: str = "votes") -> str:
    """The page as text (UTF-8), about 50 kB; ``title`` names the dataset."""
    body = [
        f"<h1>Agreement: {escape(title)}</h1>",
        f'<p class="dim">{report.num_votes:,} votes of {len(report.annotators)} annotators on {report.num_clips:,} '
        f"clips of {report.num_dyads:,} dyads. Intervals: {report.options.level:.0%}, {report.options.rounds:,} rounds "
        "of the bootstrap over dyads.</p>",
        *_warnings(report.warnings),
    ]
    if report.num_votes:
        body += [*_agreement(report), *_anchoring(report), *_people(report), *_confusions(report), *_pairs(report)]
    body += [*_clips(report), *_how(report)]
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Agreement: {escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _warnings(warnings: Sequence[str]) -> Iterable[str]:
    if warnings:
        items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
        yield f'<div class="warn"><b>Before you trust the figures</b><ul class="plain">{items}</ul></div>'


def _agreement(report: AgreementReport) -> Iterable[str]:
    yield "<h2>Do annotators agree?</h2>"
    yield '<div class="tiles">'
    for question in report.questions:
        yield (
            f'<div class="tile"><span class="dim">{escape(TOPIC[question.question])}: alpha</span>'
            f'<b class="big">{_number(question.alpha)}</b><span class="dim">{_range(question.alpha)}</span>'
            f"<p>{escape(question.sentence)}</p></div>"
        )
    yield "</div>"
    rows = []
    for question in report.questions:
        head = f"{question.question}: {question.num_overlap:,} clips with two votes or more"
        rows.append(Whisker(head, Estimate(None), heading=True))
        rows.append(Whisker("Krippendorff's alpha", question.alpha))
        rows.append(Whisker("alpha, unsure left out", question.alpha_decided))
        rows.append(Whisker("Gwet's AC1", question.ac1, "other"))
        rows.append(Whisker("pairs of votes alike", question.percent, "other"))
    rows.append(Whisker("confidence (1 to 5)", Estimate(None), heading=True))
    rows.append(Whisker("alpha, ordinal", report.confidence))
    yield dots(
        rows,
        low=min(0.0, *(_lowest(row.estimate) for row in rows)),
        high=1.0,
        ticks=(0, 0.2, 0.4, 0.6, 0.8, 1),
        marks=(TENTATIVE, RELIABLE),
        label="Coefficients of agreement with intervals",
    )
    yield (
        '<p class="dim">0 is what chance would give, 1 is perfect. Dashed: 0.667, from where tentative conclusions '
        "are usually drawn, and 0.8, from where labels are usually relied on. AC1 is less moved than alpha when one "
        "answer is rare.</p>"
    )
    yield "<h3>Which answers were given, and confirmed</h3>"
    yield _table(
        ("question", "answer", "votes#", "share#", "confirmed by another vote#"),
        (
            (question.question, answer, f"{count:,}", _percent(count, question.num_votes), _estimate(confirmed))
            for question in report.questions
            for answer, count, confirmed in zip(question.answers, question.counts, question.confirmed, strict=True)
        ),
    )


def _anchoring(report: AgreementReport) -> Iterable[str]:
    anchoring = report.anchoring
    yield "<h2>Do predictions pull answers?</h2>"
    yield f"<p>{escape(anchoring.sentence)}</p>"
    if anchoring.accepted.value is not None:
        yield (
            f"<p>Of {anchoring.accepted.n:,} votes that saw a prediction, {_share(anchoring.accepted)} kept it "
            f"unchanged. {anchoring.votes_hidden:,} votes saw none.</p>"
        )
    if not anchoring.questions:
        return
    rows = []
    for question in anchoring.questions:
        rows.append(Whisker(_tested(question), Estimate(None), heading=True))
        if question.follows_shown.value is not None:
            rows.append(Whisker("same as prediction: shown", question.follows_shown, "other"))
            rows.append(Whisker("same as prediction: hidden", question.follows_hidden))
        rows.append(Whisker("pairs alike: shown", question.percent_shown, "other"))
        rows.append(Whisker("pairs alike: hidden", question.percent_hidden))
    yield (
        '<p class="key dim"><i style="background:var(--other)"></i>prediction shown'
        '<i style="background:var(--main)"></i>prediction hidden</p>'
    )
    yield dots(rows, low=0.0, high=1.0, ticks=(0, 0.25, 0.5, 0.75, 1), label="With and without a prediction")
    limit = (1 - report.options.level) / len(anchoring.questions)
    yield "<h3>Share of each answer</h3>"
    yield _table(
        ("question", "answer", "shown#", "hidden#", "p, all answers together#"),
        (
            (item.question, answer, f"{shown:.1%}", f"{hidden:.1%}", _p(item.p_shares) if not number else "")
            for item in anchoring.questions
            for number, (answer, shown, hidden) in enumerate(
                zip(item.answers, item.shares_shown, item.shares_hidden, strict=True)
            )
        ),
    )
    yield (
        '<p class="dim">p: how often so large a difference comes up when clips change sides at random (permutation '
        f"test). {len(anchoring.questions)} questions are tested at once: below {limit:.3f} is a sign.</p>"
    )


def _tested(question: AnchoredQuestion) -> str:
    follows = "" if question.p_follows is None else f", p (pull) {_p(question.p_follows)}"
    return f"{question.question}: p (pairs alike) {_p(question.p_percent)}{follows}"


def _people(report: AgreementReport) -> Iterable[str]:
    yield "<h2>Annotators</h2>"
    ordered = _by_need(report)
    yield '<div class="wide">'
    yield _table(
        ("annotator", "votes#", "shared#", "skill#", "gold right#", "median s#", "fast#", "kept predictions#", "how"),
        (
            (
                f"{_ID}{one.name}",
                f"{one.num_votes:,}",
                f"{one.num_shared:,}",
                _estimate(one.skill),
                _share(one.gold),
                "-" if one.seconds is None else f"{one.seconds:.1f}",
                _share(one.fast, interval=False),
                _share(one.accepted, interval=False),
                _tags(one),
            )
            for one in ordered
        ),
    )
    yield "</div>"
    kinds = sorted({one.verdict for one in ordered}, key=list(_VERDICTS).index)
    words = "; ".join(f"<b>{kind}</b>: {_VERDICTS[kind]}" for kind in kinds)
    yield (
        '<p class="dim">Skill is agreement with the other annotators on kinship and standing, beyond what the same '
        f"answers on other clips would give: 0 for answers that have nothing to do with the clip. {words}. Fast: below "
        f"{report.options.fast_s:g} s.</p>"
    )
    of, name = "gold", "gold items right"
    if all(one.gold.value is None for one in ordered):
        of = name = "skill"
    shown = [one for one in ordered if one.seconds is not None and getattr(one, of).value is not None]
    if shown:
        yield f"<h3>Pace and {escape(name)}</h3>"
        yield scatter(
            [
                Point(one.seconds or 0.0, getattr(one, of), one.name, one.verdict not in ("ok", "unclear"))
                for one in shown
            ],
            x_label="median seconds a vote",
            y_label=name,
            label=f"Seconds a vote and {name} of each annotator",
        )


def _confusions(report: AgreementReport) -> Iterable[str]:
    yield "<h2>What each annotator answers, given what is probably true</h2>"
    yield (
        '<p class="dim">Rows: the probable truth by the model of Dawid and Skene, with the number of votes behind it. '
        "A good annotator is dark on the diagonal. Rows with few votes lean on what annotators do on average.</p>"
    )
    ordered = _by_need(report)
    for question in report.questions:
        have = [one for one in ordered if question.question in one.confusion]
        if not have:
            continue
        open_now = " open" if question.question == "kinship" else ""
        yield f'<details{open_now}><summary>{escape(TOPIC[question.question])}</summary><div class="people">'
        for one in have[:_PEOPLE]:
            confusion = one.confusion[question.question]
            yield (
                f"<div><h3>{escape(one.name)}</h3>"
                + cells(
                    confusion.matrix,
                    confusion.classes,
                    confusion.answers,
                    label=f"Confusion of {one.name} on {question.question}",
                    notes=[f"n = {weight:.0f}" for weight in confusion.weights],
                    side=62,
                )
                + "</div>"
            )
        yield "</div>"
        if len(have) > _PEOPLE:
            yield f'<p class="dim">{len(have) - _PEOPLE} more are in the JSON.</p>'
        yield "</details>"


def _pairs(report: AgreementReport) -> Iterable[str]:
    yield "<h2>Every two annotators</h2>"
    names = [one.name for one in report.annotators]
    if len(names) < 2:
        yield "<p>There is nobody to compare.</p>"
        return
    if len(names) > _PEOPLE:
        yield f"<p>Cohen's kappa of {len(names)} annotators, pair by pair, is in the JSON (<code>--json</code>).</p>"
        return
    yield '<p class="dim">Cohen\'s kappa on the clips both voted on; intervals and counts are in the JSON.</p>'
    short = [name if len(name) <= 9 else f"{name[:4]}..{name[-3:]}" for name in names]
    for question in report.questions:
        summary = f"<summary>{escape(TOPIC[question.question])}</summary>"
        yield f"<details>{summary}{_kappas(question, names, short)}</details>"


def _kappas(question: QuestionAgreement, names: Sequence[str], short: Sequence[str]) -> str:
    number = {name: index for index, name in enumerate(names)}
    matrix: list[list[float | None]] = [[None] * len(names) for _ in names]
    for pair in question.pairs:
        i, j = number[pair.first], number[pair.second]
        matrix[i][j] = matrix[j][i] = pair.kappa.value
    label = f"Cohen's kappa on {question.question}"
    return cells(matrix, names, short, label=label, side=64, left=128, percent=False)


def _clips(report: AgreementReport) -> Iterable[str]:
    yield "<h2>Clips to look at</h2>"
    if not report.clips:
        yield "<p>None: every answer is clear.</p>"
        return
    more = report.num_clips_to_look_at - len(report.clips)
    yield (
        f"<p>{report.num_clips_to_look_at:,} answers, least clear first{f'; {more:,} are not listed' if more else ''}. "
        "<code>rsat-data label adjudicate</code> sends them to a second project.</p>"
    )
    yield '<div class="wide">'
    yield _table(
        ("clip", "dyad", "question", "votes", "probability#", "why"),
        (
            (
                f"{_ID}{item.clip_id}",
                f"{_ID}{item.dyad_id}",
                item.question,
                ", ".join(f"{name} {count}" for name, count in item.votes.items()),
                "-" if item.posterior is None else f"{item.posterior:.2f}",
                item.reason + (f"; reported: {', '.join(item.issues)}" if item.issues else ""),
            )
            for item in report.clips
        ),
    )
    yield "</div>"


def _how(report: AgreementReport) -> Iterable[str]:
    options = report.options
    yield "<h2>How this was measured</h2>"
    facts = [
        "A vote is the last one of an annotator on a clip; adjudicators' votes and gold answers are no opinions "
        f"({report.other_rounds:,} votes of other rounds, {report.superseded:,} replaced or taken back).",
        "senior is asked where a vote says unequal, and compared as a person, not as left or right: first is the one "
        "of the two whose subject id sorts first.",
        "Pairs alike: mean over clips of the share of pairs of votes that are the same. alpha: Krippendorff 2011, "
        "nominal (confidence: ordinal). AC1: Gwet 2008 and 2014, all answers of the form counted. kappa: Cohen 1960.",
        f"Intervals: {options.level:.0%}, BCa bootstrap over dyads ({options.rounds:,} rounds, seed {options.seed}), "
        "percentiles for kappa and skill, Wilson's for shares of one annotator's votes.",
        "Probability of an answer: Dawid and Skene 1979, unsure as an answer that is never true, each annotator's "
        "matrix drawn a little towards everybody's.",
        f"Annotators are judged with at most {options.false_alarms:.0%} false alarms (Benjamini and Hochberg).",
    ]
    yield '<ul class="plain dim">' + "".join(f"<li>{escape(fact)}</li>" for fact in facts) + "</ul>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a head that ends in # is a number's. Cells are escaped, but for those that begin with ``_RAW``."""
    numbers = [name.endswith("#") for name in head]
    parts = ["<table><thead><tr>"]
    for name, is_number in zip(head, numbers, strict=True):
        parts.append(f"<th{' class=n' if is_number else ''}>{escape(name.rstrip('#'))}</th>")
    parts.append("</tr></thead><tbody>")
    for row in rows:
        parts.append("<tr>")
        for cell, is_number in zip(row, numbers, strict=True):
            kind = " class=n" if is_number else " class=id" if cell.startswith(_ID) else ""
            text = cell.removeprefix(_RAW) if cell.startswith(_RAW) else escape(cell.removeprefix(_ID))
            parts.append(f"<td{kind}>{text}</td>")
        parts.append("</tr>")
    parts.append("</tbody></table>")
    return "".join(parts)


def _by_need(report: AgreementReport) -> list[Annotator]:
    """Those that need a look first, else by name."""
    return sorted(
        report.annotators, key=lambda one: (one.verdict in ("ok", "unclear") and not one.rubber_stamp, one.name)
    )


def _tags(one: Annotator) -> str:
    tags = [(one.verdict, one.verdict)]
    if one.straight and one.verdict != "straight":
        tags.append(("weak", f"one answer to {', '.join(one.straight)}"))
    if one.rubber_stamp:
        tags.append(("kept", "keeps predictions"))
    return _RAW + " ".join(f'<span class="tag {kind}">{escape(words)}</span>' for kind, words in tags)


def _number(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{estimate.value:.2f}"


def _range(estimate: Estimate) -> str:
    if estimate.value is not None and estimate.low is not None and estimate.high is not None:
        return f"{estimate.low:.2f} to {estimate.high:.2f}, {estimate.n:,} clips"
    return escape(estimate.reason)


def _estimate(estimate: Estimate) -> str:
    return figure(estimate)


def _share(estimate: Estimate, *, interval: bool = True) -> str:
    if estimate.value is None:
        return "-"
    if not interval or estimate.low is None or estimate.high is None:
        return f"{estimate.value:.0%}"
    return f"{estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


def _percent(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "-"


def _p(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _lowest(estimate: Estimate) -> float:
    ends = [end for end in (estimate.value, estimate.low) if end is not None]
    return min(ends, default=0.0)
