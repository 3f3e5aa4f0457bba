from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from rich.console import Console

from annotation.agreement import AgreementOptions, AgreementReport, ClipInfo, measure
from annotation.agreement.page import page
from annotation.agreement.terminal import render
from annotation.votes import votes_table
from benchmarks.simulated_votes import Simulation, name, simulate
from tests.annotation.votes_factory import make_vote

NASTY = '<script>alert("1")</script>&[red]'


@pytest.fixture(scope="module")
def report() -> AgreementReport:
    made = simulate(Simulation(dyads=60, annotators=7, random=(1,), stamps=(2,), straight=(3,)))
    return measure(made.votes, made.clips, AgreementOptions(rounds=200), predictions=made.predictions)


class Parser(HTMLParser):
    """Every tag is closed in order; collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "circle", "line", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("circle",):
            return
        assert self.open.pop() == tag


def parsed(text: str) -> Parser:
    parser = Parser()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def test_one_page_that_needs_nothing_from_elsewhere(report: AgreementReport) -> None:
    text = page(report, title="talks")
    parser = parsed(text)
    names = {tag for tag, _ in parser.tags}
    assert {"svg", "table", "details"} <= names
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & names
    assert not any(key in ("src", "href", "xlink:href") or key.startswith("on") for _, at in parser.tags for key in at)
    assert not re.search(r"url\(|@import|https?:", text)
    assert any(at.get("content", "").startswith("default-src 'none'") for tag, at in parser.tags if tag == "meta")
    for question in report.questions:
        assert question.sentence in text
    for one in report.annotators:
        assert one.name in text


def test_plots_are_well_formed_and_keep_inside_their_box(report: AgreementReport) -> None:
    plots = re.findall(r"<svg.*?</svg>", page(report), re.S)
    assert len(plots) >= 5
    for plot in plots:
        tree = ElementTree.fromstring(plot)
        _, _, width, height = (float(x) for x in tree.attrib["viewBox"].split())
        for node in tree.iter():
            for key in ("x", "x1", "x2", "cx"):
                assert 0 <= float(node.attrib.get(key, 0)) <= width
            for key in ("y", "y1", "y2", "cy"):
                assert 0 <= float(node.attrib.get(key, 0)) <= height


def test_texts_are_escaped() -> None:
    clips = {NASTY: ClipInfo(NASTY, f"a{NASTY}", f"b{NASTY}")}
    rows = [
        make_vote(NASTY, f"{who}{NASTY}", status="unequal", senior=side, issues=[NASTY])
        for who, side in (("a", "A"), ("b", "B"))
    ]
    nasty = measure(votes_table([*rows, make_vote(f"gone{NASTY}", "ann-a")]), clips)
    assert nasty.clips[0].question == "senior" and nasty.unknown_clips
    text = page(nasty, title=NASTY)
    parsed(text)
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "[red]" in printed(nasty)


def printed(report: AgreementReport, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False).print(render(report))
    return stream.getvalue()


def test_eighty_columns_are_enough(report: AgreementReport) -> None:
    text = printed(report)
    assert "…" not in text and max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for word in ("kinship", "confidence", "alpha", "random", "straight", "keeps predictions", name(1)):
        assert word in text
    first = text.index(name(1))
    assert first < text.index(name(0)), "those that need a look come first"


def test_a_terminal_of_plain_letters(report: AgreementReport) -> None:
    stream = io.StringIO()
    Console(file=stream, width=80).print(render(report, ascii_only=True))
    assert stream.getvalue().isascii()


def test_a_report_of_nothing_is_drawn_too() -> None:
    empty = measure(votes_table([]), {})
    parsed(page(empty))
    assert "no votes to measure" in printed(empty)


@pytest.mark.parametrize("people", [1, 2, 40])
def test_any_number_of_people(people: int) -> None:
    made = simulate(Simulation(dyads=30, annotators=people, votes_per_clip=min(people, 3), predicted=False, gold=0.0))
    report = measure(made.votes, made.clips, AgreementOptions(rounds=100))
    parsed(page(report))
    assert ("and 10 more" in printed(report)) == (people == 40)
