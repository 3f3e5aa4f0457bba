"""Pictures, lip sync and speed of a report, for a terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model.evaluate.lips import LipSync
from model.evaluate.pictures import FIGURES, PictureFigure, Pictures
from model.evaluate.report import Report
from model.evaluate.terminal import number, span


def render_seen(report: Report) -> RenderableType:
    """Pictures, lip sync and speed as something rich prints; empty where the report has none."""
    parts: list[RenderableType] = []
    for lips in report.lips:
        parts += [Text(), *_lips(lips)]
    for pictures in report.pictures:
        parts += [Text(), *_pictures(pictures)]
    speeds = speed_lines(report)
    if speeds and (report.lips or report.pictures):
        parts += [Text(), *(Text(line) for line in speeds)]
    return Group(*parts)


def speed_lines(report: Report) -> list[str]:
    """How fast models predict and avatars are drawn."""
    lines = [
        f"{one.title} predicts {one.frames_per_second:,.0f} frames/s (one person, decoding of sound included)"
        for one in report.of_kind("model")
        if one.frames_per_second is not None
    ]
    drawn = [one for one in report.pictures if one.draws_per_second is not None]
    return lines + [
        f"{one.split}: avatars are drawn at {one.draws_per_second:.1f} frames/s, {one.size}"
        for one in drawn
    ]


def about_pictures(pictures: Pictures) -> str:
    """What was compared, in a sentence."""
    if not pictures.figures:
        return f"{pictures.split}: no pictures were judged: {pictures.note}"
    pose = "as tracked" if pictures.pose == "tracked" else "as predicted"
    words = (
        f"{pictures.split}: pictures of {pictures.sittings} of {pictures.people} persons in clips, {pictures.frames} "
        f"frames, {pictures.size}; avatars of {' and '.join(pictures.sources)}; "
        f"the head stands {pose}"
    )
    return f"{words}; {pictures.note}" if pictures.note else words


def about_lips(lips: LipSync) -> str:
    """What was compared, in a sentence."""
    if lips.note:
        return f"{lips.split}: no lip sync: {lips.note}"
    return f"{lips.split}: lip sync by the clip's own sound (lip_sync: best correlation of lips and loudness)"


def _pictures(pictures: Pictures) -> Iterator[RenderableType]:
    yield Text(about_pictures(pictures), style="bold" if pictures.figures else "")
    if not pictures.figures:
        return
    table = _table()
    shown = figures_of(pictures)
    table.add_column("")
    for figure in shown:
        title, unit, _ = FIGURES[figure]
        table.add_column(f"{title}\n{unit if unit != '1' else ''}", justify="right", no_wrap=True)
    for row in rows_of(pictures):
        cells = [number(next((f.estimate for f in row if f.figure == figure), None)) for figure in shown]
        style = {"model": "bold", "truth": "dim italic"}.get(row[0].kind, "dim")
        table.add_row(Text(row[0].title, style=style), *cells)
    yield table
    for model, figure, gain in pictures.gains:
        if figure in ("psnr_mouth", "st_lpips_head"):
            name = title_of(pictures, model)
            yield Text(f"  {name}, {FIGURES[figure][0]}: better than the static mean by {span(gain)}")


def _lips(lips: LipSync) -> Iterator[RenderableType]:
    yield Text(about_lips(lips), style="" if lips.note else "bold")
    if lips.note:
        return
    table = _table()
    table.add_column("")
    for head in ("score", "sound after lips, ms"):
        table.add_column(head, justify="right")
    for one in lips.scores:
        style = {"model": "bold", "control": ""}.get(one.kind, "dim")
        table.add_row(Text(one.title, style=style), span(one.score), number(one.offset_ms))
    yield table
    for model, gain in lips.gains.items():
        yield Text(f"  {spoken(lips, model)}: better than with someone else's speech by {span(gain)}")


def figures_of(pictures: Pictures) -> list[str]:
    """Figures there are, in the order of :data:`FIGURES`."""
    there = {one.figure for one in pictures.figures}
    return [figure for figure in FIGURES if figure in there]


def rows_of(pictures: Pictures) -> list[list[PictureFigure]]:
    """Figures of each method, in order."""
    methods = dict.fromkeys(one.method for one in pictures.figures)
    return [[one for one in pictures.figures if one.method == method] for method in methods]


def title_of(pictures: Pictures, method: str) -> str:
    """What people read of a method."""
    return next(one.title for one in pictures.figures if one.method == method)


def spoken(lips: LipSync, name: str) -> str:
    """What people read of a row."""
    return next(one.title for one in lips.scores if one.name == name)


def _table() -> Table:
    return Table(box=None, pad_edge=False, collapse_padding=True, padding=(0, 1), header_style="dim")


def html_seen(report: Report) -> Iterator[str]:
    """The same as parts of a page; nothing where the report has none."""
    if not report.pictures and not report.lips:
        return
    yield "<h2>Lips and pictures</h2>"
    for lips in report.lips:
        yield f"<p>{escape(about_lips(lips))}</p>"
        if lips.note:
            continue
        yield '<table><thead><tr><th></th><th class="n">score</th><th class="n">sound after lips, ms</th></tr></thead>'
        for one in lips.scores:
            yield (
                f'<tr class="{escape(one.kind)}"><td class="who">{escape(one.title)}</td>'
                f'<td class="n">{escape(span(one.score))}</td><td class="n">{escape(number(one.offset_ms))}</td></tr>'
            )
        yield "</table>"
        for model, gain in lips.gains.items():
            words = f"{spoken(lips, model)}: better than with someone else's speech by {span(gain)}"
            yield f"<p>{escape(words)}</p>"
    for pictures in report.pictures:
        yield f"<p>{escape(about_pictures(pictures))}</p>"
        yield from _html_pictures(pictures)
    lines = "".join(f"<li>{escape(line)}</li>" for line in speed_lines(report))
    yield f'<ul class="dim">{lines}</ul>' if lines else ""


def _html_pictures(pictures: Pictures) -> Iterator[str]:
    shown = figures_of(pictures)
    if not shown:
        return
    heads = "".join(f'<th class="n">{escape(FIGURES[f][0])} {escape(FIGURES[f][1].strip("1"))}</th>' for f in shown)
    yield f'<div class="wide"><table><thead><tr><th></th>{heads}</tr></thead>'
    for row in rows_of(pictures):
        by_figure = {one.figure: one.estimate for one in row}
        cells = "".join(
            f'<td class="n">{escape(span(by_figure[f]) if f in by_figure else "-")}</td>' for f in shown
        )
        yield f'<tr class="{escape(row[0].kind)}"><td class="who">{escape(row[0].title)}</td>{cells}</tr>'
    yield "</table></div>"
    for model, figure, gain in pictures.gains:
        words = f"{title_of(pictures, model)}, {FIGURES[figure][0]}: better than the static mean by {span(gain)}"
        yield f'<p class="dim">{escape(words)}</p>'
