"""The report as one HTML page: nothing is loaded from anywhere, every text is escaped, plots are inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from model.evaluate.intervals import Estimate
from model.evaluate.report import Judged, Report, ShuffleTest
from model.evaluate.shown import html_seen
from model.evaluate.terminal import DUALTALK, POWERS, digits, named, number, short, span

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --dim: #667085; --line: #e3e6ec; --paper: #fff; --wash: #f6f7f9;
  --model: #2563a8; --control: #c2571a; --floor: #98a2b3; --truth: #1a7f4b; --good: #1a7f4b; --bad: #b42318 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ee; --dim: #98a2b3; --line: #2c3340; --paper: #14171d;
  --wash: #1b2028; --model: #6aa9ea; --control: #f0995a; --floor: #667085; --truth: #5fce97; --good: #5fce97;
  --bad: #f97066 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 28px 24px 60px; max-width: 1240px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
h1 { font-size: 26px; margin: 0 0 2px } h2 { font-size: 20px; margin: 42px 0 6px }
h3 { font-size: 15px; margin: 22px 0 6px }
p { margin: 6px 0 10px; max-width: 82ch } .dim { color: var(--dim) }
ul { padding-left: 18px; margin: 6px 0; max-width: 96ch }
.note { border-left: 4px solid var(--control); background: var(--wash); padding: 8px 14px; margin: 16px 0;
  border-radius: 4px }
.verdict { background: var(--wash); border-radius: 8px; padding: 12px 16px; font-size: 17px; margin: 10px 0 }
.verdict.gain { border-left: 4px solid var(--good) } .verdict.harm { border-left: 4px solid var(--bad) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 14px; margin: 4px 0 }
th { text-align: left; font-weight: 600; color: var(--dim); border-bottom: 1px solid var(--line);
  padding: 4px 11px 4px 0; vertical-align: bottom }
td { border-bottom: 1px solid var(--line); padding: 4px 11px 4px 0; vertical-align: top }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th.first, td.first { border-left: 1px solid var(--line); padding-left: 11px }
td.who { white-space: nowrap } tr.control td.who { padding-left: 14px }
tr.model td { font-weight: 600 } tr.truth td { color: var(--truth) } tr.floor td { color: var(--dim) }
.up { color: var(--good) } .down { color: var(--bad) } code { font: 13px ui-monospace, Menlo, Consolas, monospace }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 14px 26px; margin: 10px 0 }
figure { margin: 0 } figcaption { font-weight: 600; font-size: 14px } figcaption small { font-weight: 400;
  color: var(--dim) }
svg { width: 100%; height: auto; display: block } svg text { font-size: 11px; fill: var(--ink) }
svg .tick, svg .value { fill: var(--dim); font-size: 10px } svg .grid { stroke: var(--line) }
svg .zero { stroke: var(--dim); stroke-dasharray: 3 4 }
.model circle { fill: var(--model) } .model line { stroke: var(--model) }
.control circle { fill: var(--control) } .control line { stroke: var(--control) }
.floor circle { fill: var(--floor) } .floor line { stroke: var(--floor) }
.truth circle { fill: var(--truth) } .truth line { stroke: var(--truth) }
svg g line { stroke-width: 3; opacity: .5; stroke-linecap: round }
details { margin: 10px 0 } summary { cursor: pointer; font-weight: 600 }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin: 0 5px 0 14px }
"""

_PLOTS = (
    ("all", "fd", "expression"),
    ("all", "fd_centred", "expression"),
    ("all", "mse_centred", "expression"),
    ("all", "mse", "jaw"),
    ("all", "mse", "pose"),
    ("all", "sid", "expression"),
    ("all", "jaw_correlation", "jaw"),
    ("speaking", "lve_unils", "face"),
    ("speaking", "closure_f1", "face"),
    ("listening", "fdd_unils", "face"),
    ("listening", "nod_f1", "face"),
    ("listening", "nod_rate", "face"),
    ("listening", "nod_response", "face"),
    ("listening", "smile_f1", "face"),
    ("all", "diversity", "expression"),
)
"""What is drawn, in order."""


def page(report: Report) -> str:
    """The page as text (UTF-8)."""
    title = f"Evaluation: {report.run['name']} on {report.dataset}" if report.run else f"Floors of {report.dataset}"
    body = [f"<h1>{escape(title)}</h1>", *_summary(report)]
    for size in report.sizes:
        body += _split(report, size.split)
    body += [*html_seen(report), *_all_figures(report), *_how(report)]
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _summary(report: Report) -> Iterator[str]:
    for size in report.sizes:
        frames = size.frames
        yield (
            f'<p class="dim">{escape(size.split)}: {size.conversations:,} conversations of {size.dyads:,} dyads, '
            f"{frames['all']:,} frames count ({frames['speaking']:,} speaking, {frames['listening']:,} listening). "
            f"Codes of {escape(report.head_model)}.</p>"
        )
    if report.warnings:
        items = "".join(f"<li>{escape(warning)}</li>" for warning in report.warnings)
        yield f'<div class="note"><b>Before you trust the figures</b><ul>{items}</ul></div>'


def _split(report: Report, split: str) -> Iterator[str]:
    yield f"<h2>{escape(split)}</h2>"
    for test in report.shuffles:
        if test.split == split:
            yield from _shuffle(test)
    yield "<h3>DualTalk's measures</h3>"
    yield from _dualtalk(report, split)
    yield from _against(report, split)
    yield "<h3>Measure by measure</h3>"
    kinds = (("model", "the model"), ("control", "with an input shuffled"), ("floor", "floors"), ("truth", "the truth"))
    here = {one.kind for one in report.predictors}
    marks = [f'<i style="background:var(--{kind})"></i>{words}' for kind, words in kinds if kind in here]
    yield f'<p class="key dim">{"".join(marks)}</p><div class="plots">'
    for role, metric, group in _PLOTS:
        yield from _plot(report, split, role, metric, group)
    yield "</div>"


def _dualtalk(report: Report, split: str) -> Iterator[str]:
    blocks = [[c for c in block if any(m.id == c.metric for m in report.measures)] for block in DUALTALK]
    blocks = [block for block in blocks if block]
    if not blocks:
        return
    parts = ['<div class="wide"><table><thead><tr><th></th>']
    for block in blocks:
        name = block[0].head.split("\n")[0]
        parts.append(f'<th class="first" colspan="{len(block)}">{escape(name)}</th>')
    parts.append("</tr><tr><th></th>")
    for block in blocks:
        for i, column in enumerate(block):
            head = column.head.split("\n")[1]
            parts.append(f'<th class="n{" first" if i == 0 else ""}">{escape(head)}</th>')
    parts.append("</tr></thead><tbody>")
    for one in report.predictors:
        parts.append(
            f'<tr class="{escape(one.kind)}"><td class="who" title="{escape(one.note)}">{escape(short(one.title))}</td>'
        )
        for block in blocks:
            for i, column in enumerate(block):
                estimate = report.figure(split, "all", one.name, column.metric, column.group)
                hint = f' title="{escape(span(estimate, column.power))}"' if estimate is not None else ""
                first = " first" if i == 0 else ""
                parts.append(f'<td class="n{first}"{hint}>{escape(number(estimate, column.power))}</td>')
        parts.append("</tr>")
    parts.append("</tbody></table></div>")
    yield "".join(parts)
    yield '<p class="dim">jaw e-3: its figures are in thousandths. For intervals, point at a figure.</p>'


def _against(report: Report, split: str) -> Iterator[str]:
    rivals = {one.name: one for one in report.predictors}
    titles = {m.id: m.title for m in report.measures}
    for model in report.of_kind("model"):
        rows = []
        for role, metric, group in _PLOTS:
            for one in report.headline_rivals(split, role, metric, group, model.name):
                rows.append(
                    f"<tr><td>{escape(_name(named(titles[metric], metric, group), role))}</td>"
                    f"<td>{escape(short(rivals[one.against].title))}</td>"
                    f"{_gain(one.gain, POWERS.get((metric, group), 0))}</tr>"
                )
        if rows:
            yield f"<h3>How much better {escape(model.title)} is</h3>"
            yield (
                '<div class="wide"><table><thead><tr><th>measure</th><th>better than</th><th class="n">by, with its '
                f"interval, paired over dyads</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
                '<p class="dim">The nearest floor, and the same model with an input shuffled. Oracles are left out. '
                "Coloured where the interval lies apart from zero.</p>"
            )


def _gain(gain: Estimate, power: int = 0) -> str:
    kind = ""
    if gain.low is not None and gain.high is not None:
        kind = " up" if gain.low > 0 else " down" if gain.high < 0 else ""
    return f'<td class="n{kind}">{escape(span(gain, power))}</td>'


def _name(words: str, role: str) -> str:
    return words if role == "all" else f"{words}, {role}"


def _shuffle(test: ShuffleTest) -> Iterator[str]:
    yield "<h3>Does the relation help?</h3>"
    yield f'<div class="verdict {escape(test.verdict)}">{escape(test.sentence)}</div>'
    if not test.outcomes:
        return
    counts = ", ".join(f"{escape(name)} {count}" for name, count in test.relations.items())
    yield f'<p class="dim">{test.conversations:,} conversations with a known relation: {counts}.</p>'
    yield (
        '<div class="wide"><table><thead><tr><th>measure</th><th class="n">true</th><th class="n">permuted</th>'
        '<th class="n">unknown</th><th class="n">true better than permuted by</th>'
        '<th class="n">true better than unknown by</th><th class="n">p (Holm)</th></tr></thead><tbody>'
    )
    for one in test.outcomes:
        power = POWERS.get((one.metric, one.group), 0)
        three = (one.true, one.permuted, one.unknown)
        values = "".join(f'<td class="n">{escape(number(value, power))}</td>' for value in three)
        p = "" if one.p_adjusted is None else f"{one.p_adjusted:.3f}"
        mark = "" if one.primary else ' class="dim"'
        name = escape(named(one.metric, one.metric, one.group)) + (" *" if one.primary else "")
        yield (
            f"<tr{mark}><td>{name}</td>{values}"
            f'{_gain(one.over_permuted, power)}{_gain(one.over_unknown, power)}<td class="n">{p}</td></tr>'
        )
    yield (
        '</tbody></table></div><p class="dim">* The verdict rests on these, fixed before anything is seen, with p '
        "corrected for their number. The others are not corrected: one in twenty is apart from zero by chance.</p>"
    )


def _plot(report: Report, split: str, role: str, metric: str, group: str) -> Iterator[str]:
    measure = next((m for m in report.measures if m.id == metric), None)
    if measure is None:
        return
    rows = [(one, report.figure(split, role, one.name, metric, group)) for one in report.predictors]
    shown = [(one, e) for one, e in rows if e is not None and e.value is not None]
    if not shown:
        reason = next((e.reason for _, e in rows if e is not None and e.reason), "no figure")
        yield (
            f"<figure><figcaption>{escape(_name(_title(measure.title, group), role))}</figcaption>"
            f'<p class="dim">{escape(reason)}</p></figure>'
        )
        return
    better = {"lower": "lower is better", "higher": "higher is better", "closer": "closer to the truth is better"}
    yield (
        f"<figure><figcaption>{escape(_name(_title(measure.title, group), role))} "
        f"<small>{escape(measure.unit)}, {better[measure.better]}</small></figcaption>{dots(shown)}</figure>"
    )


def dots(rows: Sequence[tuple[Judged, Estimate]]) -> str:
    """Dots with intervals on a common scale, as SVG; a scale that ends where figures do, not where intervals may."""
    values = [e.value for _, e in rows if e.value is not None]
    low, high = min(0.0, *values), max(0.0, *values)
    reach = max(high - low, 1e-12)
    ends = [end for _, e in rows for end in (e.low, e.high) if end is not None]
    low = max(min([low, *ends]), low - 0.25 * reach)
    high = min(max([high, *ends]), high + 0.25 * reach)
    left, width, right, step = 132, 190, 62, 19
    bottom = len(rows) * step + 6

    def x(value: float) -> float:
        return left + width * (min(max(value, low), high) - low) / max(high - low, 1e-12)

    parts = [f'<svg viewBox="0 0 {left + width + right} {bottom + 16}" role="img">']
    for tick in (low, (low + high) / 2, high):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" y1="2" x2="{x(tick):.1f}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x(tick):.1f}" y="{bottom + 11}" text-anchor="middle">{digits(tick)}</text>'
        )
    if low < 0 < high:
        parts.append(f'<line class="zero" x1="{x(0):.1f}" y1="2" x2="{x(0):.1f}" y2="{bottom}"/>')
    for index, (one, estimate) in enumerate(rows):
        y = index * step + step / 2 + 2
        parts.append(f'<text x="0" y="{y + 4:.1f}">{escape(_short(one.title))}</text><g class="{escape(one.kind)}">')
        if estimate.low is not None and estimate.high is not None:
            parts.append(f'<line x1="{x(estimate.low):.1f}" y1="{y}" x2="{x(estimate.high):.1f}" y2="{y}"/>')
        assert estimate.value is not None
        parts.append(f'<circle cx="{x(estimate.value):.1f}" cy="{y}" r="4"/></g>')
        parts.append(
            f'<text class="value" x="{left + width + 8}" y="{y + 4:.1f}">{escape(digits(estimate.value))}</text>'
        )
    parts.append("</svg>")
    return "".join(parts)


def _title(title: str, group: str) -> str:
    return title if group == "face" else f"{title} {group}"


def _short(title: str) -> str:
    """What fits beside a dot."""
    words = short(title)
    return words if len(words) <= 20 else words[:19] + "\N{HORIZONTAL ELLIPSIS}"


def _all_figures(report: Report) -> Iterator[str]:
    yield "<h2>All figures</h2>"
    for size in report.sizes:
        yield f"<details><summary>{escape(size.split)}: every measure of every predictor</summary>"
        heads = "".join(f'<th class="n">{escape(one.title)}</th>' for one in report.predictors)
        yield f'<div class="wide"><table><thead><tr><th>measure</th><th>unit</th>{heads}</tr></thead><tbody>'
        for measure in report.measures:
            for group in measure.groups:
                for role in measure.roles:
                    cells = []
                    for one in report.predictors:
                        estimate = report.figure(size.split, role, one.name, measure.id, group)
                        why = "" if estimate is None else escape(estimate.reason or span(estimate))
                        cells.append(f'<td class="n" title="{why}">{escape(number(estimate))}</td>')
                    name = " ".join((measure.id, group, role))
                    first = f"<td><code>{escape(name)}</code></td><td>{escape(measure.unit)}</td>"
                    yield f"<tr>{first}{''.join(cells)}</tr>"
        yield "</tbody></table></div></details>"


def _how(report: Report) -> Iterable[str]:
    options = report.options
    yield "<h2>What the figures are</h2>"
    rows = []
    for measure in report.measures:
        vertices = f"{measure.vertex_set}, {measure.vertex_count:,} vertices, {measure.vertex_sha256[:12]}"
        rows.append(
            f"<tr><td><code>{escape(measure.id)}</code></td><td>{escape(measure.formula)}</td>"
            f"<td>{escape(measure.unit)}</td><td>{escape(measure.aggregation)}</td><td>{escape(measure.source)}</td>"
            f"<td>{escape(vertices) if measure.vertex_set else ''}</td></tr>"
        )
    body = f"<tbody>{''.join(rows)}</tbody>"
    yield (
        '<details><summary>Every measure: formula, unit, source, vertices</summary><div class="wide"><table>'
        "<thead><tr><th>id</th><th>formula (x prediction, y truth, a partner)</th><th>unit</th><th>averaged</th>"
        f"<th>definition from</th><th>vertex set</th></tr></thead>{body}</table></div></details>"
    )
    facts = [
        f"{one.title}: {one.note}."
        + (f" {one.frames_per_second:,.0f} frames/s." if one.frames_per_second is not None else "")
        for one in report.predictors
        if one.note
    ]
    facts += [
        f"The first {options['reference_s']:g} s of each clip are the reference that predictors are given; they never "
        "count. Frames whose codes cannot be trusted never count either.",
        f"Intervals: {options['level']:.0%}, studentised bootstrap over dyads ({options['rounds']:,} rounds, seed "
        f"{options['seed']}); Student's t below 8 dyads. Differences are paired: both predictors see the same dyads.",
    ]
    yield '<ul class="dim">' + "".join(f"<li>{escape(fact)}</li>" for fact in facts) + "</ul>"
