"""The picture of a clip in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402 (after the choice of what draws)
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

from rsat_data.inspection.timeline import ENVELOPE_S, Person, Timeline  # noqa: E402

COLOURS = {"A": "#0072B2", "B": "#D55E00", None: "#777777"}
"""Blue and vermilion of Okabe and Ito, which people with any kind of colour blindness tell apart."""
_KINDS = {
    "first": "",
    "hold": "",
    "change": "",
    "interruption": "interrupts",
    "attempt": "attempt",
    "backchannel": "back-channel",
}
_INK, _FAINT = "#222222", "#999999"
_ABOVE: Mapping[str, Any] = {
    "loc": "lower right", "bbox_to_anchor": (1.0, 0.96), "fontsize": 7, "frameon": False, "borderpad": 0.0,
}  # fmt: skip
"""Legends stand above their curves, never on them."""
_LANES = 3
_DPI = 100
_LETTER_PT = 8.0
_WIDTH_PER_LETTER = 0.62
"""Width of a letter of the words, in their size: an upper bound of the font's mean."""


def draw(timeline: Timeline, path: Path, *, width_px: int = 1600) -> None:
    """Write the picture as PNG.

    Args:
        timeline: the clip.
        path: file to write.
        width_px: its width; its height follows from what there is to show.
    """
    persons = timeline.persons
    heights = [1.1, *[0.9 + 0.5 * bool(person.witnesses) for person in persons], 1.2, 1.5, 0.9]
    figure, axes = plt.subplots(
        len(heights),
        1,
        sharex=True,
        figsize=(width_px / _DPI, 1.15 * sum(heights) + 1.0),
        dpi=_DPI,
        gridspec_kw={"height_ratios": heights, "hspace": 0.24},
    )
    try:
        _waveform(axes[0], timeline)
        for axis, person in zip(axes[1:], persons, strict=False):
            _activity(axis, person, timeline)
        _words(axes[-3], timeline, width_px)
        _jaws(axes[-2], timeline)
        _floor(axes[-1], timeline)
        for axis in axes:
            axis.set_xlim(0, timeline.seconds)
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=8)
            axis.grid(axis="x", color="#e6e6e6", linewidth=0.6)
            axis.set_axisbelow(True)
        axes[-1].set_xlabel("seconds from the clip's start", fontsize=9)
        _title(figure, timeline)
        figure.subplots_adjust(left=0.085, right=0.99, top=1 - 0.75 / figure.get_figheight(), bottom=0.06)
        figure.savefig(path, format="png", metadata={"Software": "rsat-data"})
    finally:
        plt.close(figure)


def _title(figure: Any, timeline: Timeline) -> None:
    facts = [f"{timeline.clip_id}", f"{timeline.seconds:.1f} s", str(timeline.facts.get("language") or "no language")]
    for name, label in (("q_assignment", "assignment"), ("q_overlap", "overlap"), ("gap_share", "gaps")):
        value = timeline.facts.get(name)
        if value is not None:
            facts.append(f"{label} {float(value):.2f}")
    figure.text(0.012, 1 - 0.22 / figure.get_figheight(), "   ".join(facts), fontsize=11, weight="bold", color=_INK)
    for number, person in enumerate(timeline.persons):
        words = [f"{person.letter}:"]
        words += [f"{name[2:]} {value:.3g}" for name, value in person.scores.items() if value is not None]
        place = 0.012 + 0.5 * number
        height = 1 - 0.45 / figure.get_figheight()
        figure.text(place, height, "  ".join(words), fontsize=8.5, color=COLOURS[person.letter])


def _label(axis: Axes, text: str, colour: str = _INK) -> None:
    axis.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9, color=colour, labelpad=10)


def _waveform(axis: Axes, timeline: Timeline) -> None:
    times = (np.arange(len(timeline.envelope)) + 0.5) * ENVELOPE_S
    axis.fill_between(times, timeline.envelope[:, 0], timeline.envelope[:, 1], color="#555555", linewidth=0)
    top = max(0.05, float(np.abs(timeline.envelope).max(initial=0.0)) * 1.05)
    axis.set_ylim(-top, top)
    axis.set_yticks([])
    _label(axis, "sound")


def _activity(axis: Axes, person: Person, timeline: Timeline) -> None:
    """Where the person speaks, and what lips, network and both together say for it."""
    colour = COLOURS[person.letter]
    edges = _spans(person.speaking)
    bars = [(a / timeline.fps, (b - a) / timeline.fps) for a, b in edges]
    axis.broken_barh(bars, (0.0, 1.0), color=colour, alpha=0.28, linewidth=0)
    times = (np.arange(len(person.speaking)) + 0.5) / timeline.fps
    axis.set_ylim(-0.04, 1.04)
    axis.set_yticks([0, 1])
    styles = {"posterior": ("-", 1.6, "probability"), "lips": (":", 1.0, "lips"), "asd": ("--", 1.0, "network (ASD)")}
    for name, (style, width, label) in styles.items():
        track = person.witnesses.get(name)
        if track is not None:
            shown = track if name == "posterior" else 1 / (1 + np.exp(-_measured(name, track)))
            axis.plot(times, shown, style, color=colour if name == "posterior" else _INK, linewidth=width, label=label)
    if person.witnesses:
        axis.legend(**_ABOVE, ncols=3)
    elif timeline.missing:
        axis.text(0.995, 0.5, f"no scores: {timeline.missing}", transform=axis.transAxes, ha="right", va="center",
                  fontsize=7, color=_FAINT)  # fmt: skip
    _label(axis, f"{person.letter} speaks\n{100 * person.speaking.mean():.0f} %", colour)


def _measured(name: str, track: np.ndarray) -> np.ndarray:
    """Log-odds to show: the network's from the face's own threshold, as the speech stage takes them."""
    if name != "asd":
        return track
    from pipelines.speech.active_speaker import calibrate

    return calibrate(track, np.isfinite(track))


def _words(axis: Axes, timeline: Timeline, width_px: int) -> None:
    """Every word where it begins, in as many lanes as keep them apart; those without room are dots."""
    axis.set_ylim(-_LANES * 2 - 0.2, 0.2)
    axis.set_yticks([])
    px_per_s = 0.9 * width_px / max(timeline.seconds, 1e-6)
    letter_s = _LETTER_PT * _DPI / 72 * _WIDTH_PER_LETTER / px_per_s
    free: dict[tuple[Any, int], float] = {}
    shown = [person.letter for person in timeline.persons]
    for word in timeline.words:
        speaker = word["speaker"] if word["speaker"] in shown else None
        base = -shown.index(speaker) * _LANES if speaker is not None else -_LANES * (len(shown) - 0.5)
        start, text = float(word["start"]), str(word["word"]).strip()
        needed = letter_s * (len(text) + 1)
        lane = next((k for k in range(_LANES) if free.get((speaker, k), -1.0) <= start), None)
        colour = COLOURS[speaker]
        if lane is None or start + needed > timeline.seconds + 6 * letter_s:
            axis.plot([start], [base - 0.5], ".", color=colour, markersize=3)
            continue
        free[speaker, lane] = start + needed
        y = base - 0.5 - 0.9 * lane
        axis.plot([start, max(float(word["end"]), start)], [y - 0.38, y - 0.38], color=colour, linewidth=1.2)
        axis.text(start, y, text, fontsize=_LETTER_PT, color=colour, va="center", ha="left", clip_on=True)
    nobody = any(word["speaker"] not in shown for word in timeline.words)
    _label(axis, "words\n(grey: of nobody\nin sight)" if nobody else "words")


def _jaws(axis: Axes, timeline: Timeline) -> None:
    for person in timeline.persons:
        times = (np.arange(len(person.jaw_deg)) + 0.5) / timeline.fps
        axis.plot(times, person.jaw_deg, color=COLOURS[person.letter], linewidth=1.1, label=person.letter)
        for start, stop in _spans(~person.valid):
            place = 0.0 if person.letter == "A" else 0.06
            colour = COLOURS[person.letter]
            axis.axvspan(start / timeline.fps, stop / timeline.fps, place, place + 0.05, color=colour, linewidth=0)
    _label(axis, "jaw opening\n(degrees)")
    if any(not person.valid.all() for person in timeline.persons):
        axis.text(0.995, 0.9, "bars below: codes not valid", transform=axis.transAxes, ha="right", fontsize=7,
                  color=_FAINT)  # fmt: skip


def _floor(axis: Axes, timeline: Timeline) -> None:
    """Who holds the floor, and what stretches of speech do to it."""
    axis.set_yticks([])
    axis.set_ylim(-0.1, 2.1)
    _label(axis, "turns")
    stretches: Sequence[Mapping[str, Any]] = timeline.turn_taking
    if not stretches:
        axis.text(0.5, 0.5, "one person: no turns" if len(timeline.persons) < 2 else "no turns known",
                  transform=axis.transAxes, ha="center", va="center", fontsize=8, color=_FAINT)  # fmt: skip
        return
    for one in stretches:
        start, length = float(one["start"]), float(one["end"]) - float(one["start"])
        row = 1.1 if one["person"] == "A" else 0.1
        takes = one["kind"] in ("first", "hold", "change", "interruption")
        axis.broken_barh([(start, length)], (row, 0.8), facecolor=COLOURS[one["person"]], alpha=0.85 if takes else 0.3,
                         hatch=None if takes else "////", edgecolor="white", linewidth=0.8)  # fmt: skip
        words = [_KINDS.get(str(one["kind"]), str(one["kind"]))]
        if one["offset_s"] is not None:
            words.append(f"{float(one['offset_s']):+.2f} s")
        axis.text(start + 0.02, row + 0.4, " ".join(filter(None, words)), fontsize=7, va="center",
                  color="white" if takes else _INK, clip_on=True)  # fmt: skip
    holds = Patch(color=_INK, alpha=0.85, label="holds the floor")
    axis.legend(handles=[holds, Patch(facecolor=_FAINT, hatch="////", label="does not take it")], **_ABOVE, ncols=2)


def _spans(track: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], track, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
