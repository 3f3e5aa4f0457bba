"""The report for a terminal: what a tired person needs first, and no more than a screen of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from annotation.agreement.interpret import two
from annotation.agreement.report import AgreementReport, Annotator, Estimate

#: Rows shown of long lists; the page and the JSON have all.
_PEOPLE, _CLIPS = 30, 5
_COLOURS = {"ok": "green", "unclear": "dim", "weak": "yellow"}


def render(report: AgreementReport, *, ascii_only: bool = False) -> RenderableType:
    """The report as something rich prints; ``ascii_only`` for a terminal that knows no other letters."""
    return Group(*_parts(report, "+-" if ascii_only else "±"))


def _parts(report: AgreementReport, plus_minus: str) -> Iterator[RenderableType]:
    people = len(report.annotators)
    yield Text(
        f"{report.num_votes:,} votes of {people} annotator{'' if people == 1 else 's'} on {report.num_clips:,} clips "
        f"of {report.num_dyads:,} dyads"
    )
    if report.num_votes:
        yield Text()
        yield _questions(report)
        yield Text()
        lines = [(question.question, question.sentence) for question in report.questions]
        yield _hanging([*lines, ("predictions", report.anchoring.sentence)], "bold")
        yield Text()
        yield _annotators(report, plus_minus)
    if report.clips:
        yield Text()
        yield from _clips(report)
    if report.warnings:
        yield Text()
        yield _hanging([("!", warning) for warning in report.warnings], "bold yellow")


def _hanging(lines: Iterable[tuple[str, str]], style: str) -> Table:
    """Words, and what is said of them beside, so that long sentences stay apart."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style=style, no_wrap=True)
    table.add_column()
    for word, sentence in lines:
        table.add_row(Text(word), Text(sentence))
    return table


def _questions(report: AgreementReport) -> Table:
    level = f"{report.options.level:.0%}"
    table = _titled(f"Agreement, with {level} intervals over dyads")
    table.add_column("question", no_wrap=True)
    for name in ("clips", "unsure"):
        table.add_column(name, justify="right")
    for name in ("alike", "alpha", "alpha of\ndecided", "AC1"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in report.questions:
        unsure = item.counts[-1] / item.num_votes if item.num_votes else 0.0
        table.add_row(
            Text(item.question),
            f"{item.num_overlap:,}",
            f"{unsure:.0%}",
            *(_stacked(value) for value in (item.percent, item.alpha, item.alpha_decided, item.ac1)),
        )
    graded = report.confidence
    table.add_row("confidence", f"{graded.n:,}", "", "", _stacked(graded), "", "")
    return table


def _annotators(report: AgreementReport, plus_minus: str) -> Table:
    table = _titled("Annotators")
    table.add_column("who", no_wrap=True)
    for name in ("votes", "skill", "gold", "s", f"<{report.options.fast_s:g} s", "kept"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("how")
    # Those that need a look first, else by name.
    ordered = sorted(report.annotators, key=lambda one: (not _suspect(one), one.name))
    for one in ordered[:_PEOPLE]:
        table.add_row(
            Text(one.name),
            f"{one.num_votes:,}",
            _half_width(one.skill, plus_minus),
            _share(one.gold),
            "-" if one.seconds is None else f"{one.seconds:.0f}",
            _share(one.fast),
            _share(one.accepted),
            _how(one),
        )
    if len(ordered) > _PEOPLE:
        table.add_row(f"... and {len(ordered) - _PEOPLE} more", *[""] * 7)
    return table


def _suspect(one: Annotator) -> bool:
    return one.verdict not in ("ok", "unclear") or one.rubber_stamp or bool(one.straight)


def _how(one: Annotator) -> Text:
    words = Text(one.verdict, style=_COLOURS.get(one.verdict, "bold red"))
    if one.straight and one.verdict != "straight":
        words.append(f", one answer to {', '.join(one.straight)}", style="yellow")
    if one.rubber_stamp:
        words.append(", keeps predictions", style="yellow")
    return words


def _titled(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        collapse_padding=True,
        header_style="dim",
    )


def _stacked(estimate: Estimate) -> Text:
    """A figure above its interval."""
    if estimate.value is None:
        return Text("-", style="dim")
    text = Text(two(estimate.value))
    if estimate.low is not None and estimate.high is not None:
        text.append(f"\n{two(estimate.low)} to {two(estimate.high)}", style="dim")
    return text


def _half_width(estimate: Estimate, plus_minus: str) -> Text:
    """A figure and half of its interval's width."""
    if estimate.value is None:
        return Text("-", style="dim")
    text = Text(two(estimate.value))
    if estimate.low is not None and estimate.high is not None:
        text.append(f" {plus_minus}{(estimate.high - estimate.low) / 2:.2f}", style="dim")
    return text


def _share(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{estimate.value:.0%}"


def _clips(report: AgreementReport) -> Iterator[RenderableType]:
    yield Text(f"{report.num_clips_to_look_at:,} answers to look at, least clear first:")
    for item in report.clips[:_CLIPS]:
        votes = ", ".join(f"{name} {count}" for name, count in item.votes.items())
        issues = f"; reported: {', '.join(item.issues)}" if item.issues else ""
        yield Text(
            f"  {item.clip_id}  {item.question or 'clip'}: {item.reason}{f' ({votes})' if votes else ''}{issues}"
        )
    if report.num_clips_to_look_at > _CLIPS:
        yield Text("  ...  `label adjudicate` sends them to a second project", style="dim")
