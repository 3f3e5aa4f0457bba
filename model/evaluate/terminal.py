"""The report for a terminal: DualTalk's table first, then what else was measured, then what the figures mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model.evaluate.intervals import Estimate
from model.evaluate.report import Report, ShuffleTest


@dataclass(frozen=True)
class Column:
    """A column of DualTalk's table."""

    metric: str
    """Id."""
    group: str
    """Of codes."""
    head: str
    """What stands above it."""
    power: int = 0
    """Figures are shown divided by ten to this power."""


def _three(metric: str, title: str, *powers: int) -> list[Column]:
    names = (("expression", "exp"), ("jaw", "jaw"), ("pose", "pose"))
    return [
        Column(metric, group, f"{title if i == 0 else ''}\n{short}{f' e{power}' if power else ''}", power)
        for i, ((group, short), power) in enumerate(zip(names, powers, strict=True))
    ]


DUALTALK = [
    _three("fd", "FD", 0, -3, -2),
    _three("pfd", "P-FD", 0, -3, -2),
    _three("mse", "MSE", -1, -3, -2),
    _three("sid", "SID", 0, 0, 0),
    _three("rpcc", "rPCC", -2, -1, -1),
]
"""Columns in the order and with the powers of ten in which they are published."""
FACE = [
    Column("fd_centred", "expression", "FD exp\ncentred"),
    Column("mse_centred", "expression", "MSE exp\ncentred e-1", -1),
    Column("lve_codetalker", "face", "LVE\nmm^2"),
    Column("mve", "face", "MVE\nmm"),
    Column("fdd_codetalker", "face", "FDD\nmm^2"),
    Column("jaw_correlation", "jaw", "jaw\ncorr"),
]
SPEAKING = [
    Column("fd", "expression", "FD\nexp"),
    Column("mse_centred", "expression", "MSE exp\ncentred e-1", -1),
    Column("lve_unils", "face", "LVE\n(UniLS) mm"),
    Column("closure_f1", "face", "closure\nF1"),
    Column("jaw_correlation", "jaw", "jaw\ncorr"),
]
LISTENING = [
    Column("fd", "expression", "FD\nexp"),
    Column("fdd_unils", "face", "FDD\n(UniLS)"),
    Column("nod_f1", "face", "nod\nF1"),
    Column("nod_rate", "face", "nods\n/min"),
    Column("nod_response", "face", "nod\nresponse"),
    Column("smile_f1", "face", "smile\nF1"),
    Column("smile_response", "face", "smile\nresponse"),
]
POWERS = {(column.metric, column.group): column.power for block in DUALTALK for column in block if column.power}
POWERS |= {("mse_centred", group): power for (metric, group), power in POWERS.items() if metric == "mse"}
POWERS |= {("fd_centred", group): power for (metric, group), power in POWERS.items() if metric == "fd"}
"""Powers of ten in which figures are shown, where not in their own."""
WIDE = 150
"""Terminals at least this wide get DualTalk's table in one piece."""


def render(report: Report, width: int = 100) -> RenderableType:
    """The report as something rich prints on a terminal of ``width`` columns."""
    return Group(*_parts(report, width))


def _parts(report: Report, width: int) -> Iterator[RenderableType]:
    for size in report.sizes:
        frames = size.frames
        yield Text(
            f"{size.split}: {size.conversations:,} conversations, {size.dyads:,} dyads, {frames['all']:,} frames count "
            f"({frames['speaking']:,} speaking, {frames['listening']:,} listening)"
        )
    level = f"{report.options.get('level', 0.95):.0%}"
    for size in report.sizes:
        blocks = [sum(DUALTALK, [])] if width >= WIDE else [sum(DUALTALK[:3], []), sum(DUALTALK[3:], [])]
        for number, columns in enumerate(blocks):
            more = " (continued)" if number else ""
            yield from _table(report, size.split, "all", columns, f"{size.split}: DualTalk's measures{more}")
        yield from _table(report, size.split, "all", FACE, f"{size.split}: face and motion")
        yield from _table(report, size.split, "speaking", SPEAKING, f"{size.split}: while speaking")
        yield from _table(report, size.split, "listening", LISTENING, f"{size.split}: while listening")
        yield from _against(report, size.split, level)
    for test in report.shuffles:
        yield Text()
        yield from _shuffle(test, level)
    if report.warnings:
        yield Text()
        for warning in report.warnings:
            yield Text.assemble(("! ", "bold yellow"), warning)


def _table(report: Report, split: str, role: str, columns: Sequence[Column], title: str) -> Iterator[RenderableType]:
    shown = [c for c in columns if any(m.id == c.metric for m in report.measures)]
    if not shown:
        return
    table = _titled(title)
    table.add_column("")
    for column in shown:
        table.add_column(column.head, justify="right", no_wrap=True)
    best = {column: _best(report, split, role, column) for column in shown}
    for one in report.predictors:
        cells = []
        for column in shown:
            estimate = report.figure(split, role, one.name, column.metric, column.group)
            style = "bold" if one.name == best[column] else ""
            cells.append(Text(number(estimate, column.power), style=style))
        table.add_row(
            Text(("  " if one.kind == "control" else "") + short(one.title), style=_STYLES.get(one.kind, "")), *cells
        )
    yield Text()
    yield table


_STYLES = {"model": "bold", "control": "", "floor": "dim", "truth": "dim italic"}


def _best(report: Report, split: str, role: str, column: Column) -> str:
    """The best of models, controls and floors that know nothing of what they are judged on; empty where none is."""
    better = next(m.better for m in report.measures if m.id == column.metric)
    if better == "closer":
        return ""
    found = []
    for one in report.predictors:
        estimate = report.figure(split, role, one.name, column.metric, column.group)
        if (
            one.kind != "truth"
            and one.name not in ("own_mean", "half_split")
            and estimate
            and estimate.value is not None
        ):
            found.append((estimate.value, one.name))
    if not found:
        return ""
    return min(found)[1] if better == "lower" else max(found)[1]


def number(estimate: Estimate | None, power: int = 0) -> str:
    """A figure divided by ten to a power, with three digits."""
    if estimate is None or estimate.value is None:
        return "-"
    return digits(estimate.value / 10.0**power)


def digits(value: float) -> str:
    """About three digits, never in powers unless nothing else would show it."""
    size = abs(value)
    if size < 1e-9:
        return "0"
    if size < 0.001 or size >= 1e5:
        return f"{value:.1e}"
    return (
        f"{value:.0f}"
        if size >= 1000
        else f"{value:.1f}"
        if size >= 100
        else f"{value:.2f}"
        if size >= 1
        else f"{value:.3f}"
    )


def span(estimate: Estimate, power: int = 0) -> str:
    """A figure and its interval."""
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return number(estimate, power)
    scale = 10.0**power
    return f"{number(estimate, power)} ({digits(estimate.low / scale)} to {digits(estimate.high / scale)})"


_HEADLINES = (
    ("all", "fd_centred", "expression"),
    ("all", "mse_centred", "expression"),
    ("all", "mse", "expression"),
    ("all", "fd", "pose"),
    ("all", "jaw_correlation", "jaw"),
    ("speaking", "closure_f1", "face"),
    ("listening", "nod_f1", "face"),
)


def _against(report: Report, split: str, level: str) -> Iterator[RenderableType]:
    """Each model against the floor that comes nearest to it, and against its controls."""
    titles = {m.id: m.title for m in report.measures}
    rivals = {one.name: one for one in report.predictors}
    for model in report.of_kind("model"):
        table = _titled(f"{split}: how much better {model.title} is, paired over dyads, {level} intervals")
        for name in ("measure", "better than", "by"):
            table.add_column(name)
        for role, metric, group in _HEADLINES:
            for one in report.headline_rivals(split, role, metric, group, model.name):
                name = named(titles[metric], metric, group) + ("" if role == "all" else f", {role}")
                table.add_row(name, short(rivals[one.against].title), _judged(one.gain, POWERS.get((metric, group), 0)))
        if table.row_count:
            yield Text()
            yield table


def named(title: str, metric: str, group: str) -> str:
    """A measure of a group, and the power of ten its figures are shown in."""
    power = POWERS.get((metric, group), 0)
    words = title if group == "face" else f"{title} {group}"
    return f"{words} e{power}" if power else words


def short(title: str) -> str:
    """Of a control, what was shuffled; other titles as they are."""
    return title.split(", ")[-1] if ", shuffled" in title else title


def _judged(gain: Estimate, power: int = 0) -> Text:
    clear = gain.low is not None and gain.high is not None and (gain.low > 0 or gain.high < 0)
    return Text(span(gain, power), style=("green" if (gain.value or 0) > 0 else "red") if clear else "")


def _shuffle(test: ShuffleTest, level: str) -> Iterator[RenderableType]:
    colour = {"gain": "green", "harm": "red", "mixed": "yellow"}.get(test.verdict, "")
    yield Text.assemble((f"{test.split}: relation-shuffle test. ", "bold"), (test.sentence, colour))
    if not test.outcomes:
        return
    table = _titled(f"{test.conversations:,} conversations; how much better the true relation is, {level} intervals")
    table.add_column("measure", no_wrap=True)
    for name in ("true", "permuted", "unknown"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("than permuted", "than unknown"):
        table.add_column(name)
    table.add_column("p\n(Holm)", justify="right")
    for one in test.outcomes:
        mark = "*" if one.primary else " "
        power = POWERS.get((one.metric, one.group), 0)
        table.add_row(
            Text(mark + named(one.metric, one.metric, one.group)),
            *(number(value, power) for value in (one.true, one.permuted, one.unknown)),
            _judged(one.over_permuted, power),
            _judged(one.over_unknown, power),
            "" if one.p_adjusted is None else f"{one.p_adjusted:.3f}",
        )
    yield table
    yield Text("* the verdict rests on these; the others are not corrected for their number", style="dim")


def _titled(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        collapse_padding=True,
        padding=(0, 1),
        header_style="dim",
    )
