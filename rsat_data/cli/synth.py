"""``rsat-data synth``: conversations whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsat_data.errors import UsageError

if TYPE_CHECKING:
    from pipelines.synth.driver import SynthConfig

EPILOG = """\b
Examples:
  rsat-data synth --out talks --clips 4 --seconds 10 --seed 1
  rsat-data build --videos talks --out talks_dataset
  rsat-data synth --out talks --speech interview.wav
  rsat-data synth --out talks --speech anna.wav --speech ben.wav
  rsat-data synth --out hard --clips 1 --seconds 15 --hard all
  rsat-data synth --out dataset --as-dataset --rows 2000 --seconds 8

\b
Beside each <name>.mp4 lie <name>.yaml (what build reads about it) and the truth:
<name>.truth.json and <name>.truth.npz. docs/synthetic.md says what is in them.
"""


@click.command(epilog=EPILOG)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder; made if missing.")
@click.option("--clips", type=int, help="How many clips.  [default: 3]")
@click.option("--rows", type=int, help="With --as-dataset, instead of --clips: how many rows (two a clip).")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="Length of a clip.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides everything that is drawn.")
@click.option(
    "--speech",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Your own recording: once for a mixture, twice for one file a person.",
)
@click.option(
    "--source",
    type=click.Choice(["auto", "recording", "spoken"]),
    default="auto",
    show_default=True,
    help="Speech otherwise: the packaged recording, text spoken by espeak-ng, or (auto) both in turn.",
)
@click.option("--size", default="1280x720", show_default=True, metavar="WxH", help="Frame, pixels.")
@click.option(
    "--focal",
    type=float,
    default=1.6,
    show_default=True,
    help="Focal length of the cameras, in units of the frame's longer side; each lies within 5 % of it.",
)
@click.option(
    "--effect-scale",
    type=float,
    default=1.0,
    show_default=True,
    help="How much the relation changes behaviour: 0 not at all, 1 as documented.",
)
@click.option("--clips-per-dyad", type=int, default=1, show_default=True, help="Clips that show the same two people.")
@click.option(
    "--people",
    type=int,
    default=0,
    metavar="N",
    help="A cast of N people who appear in several clips, in changing pairs.  [default: new people in every dyad]",
)
@click.option(
    "--hard",
    metavar="KINDS",
    help="Hard moments for trackers, of: hand, sunglasses, outside, profile, blur; occlusion; all.",
)
@click.option("--per-person-audio", is_flag=True, help="Also write each person's audio, for build to use.")
@click.option("--as-dataset", is_flag=True, help="Write a dataset straight from the truth, without pictures.")
@click.option("--workers", type=int, help="Processes.  [default: one a core]")
@click.option("--offline", is_flag=True, help="Open no network connection; the packaged recording must be there.")
@click.option("--dry-run", is_flag=True, help="Show what would be made, with estimated time and disk, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def synth(**options: Any) -> int:
    """Make conversations whose truth is known.

    Two different heads talk in one frame; mouths follow real or spoken speech; turns, overlap, nods, gaze and smiles
    depend on their relation by documented effect sizes. The same seed gives the same truth, byte by byte. Clips that
    are there already are not made again.
    """
    from rsat_data.siblings import check_siblings

    check_siblings()
    config = make_config(options)
    if options["dry_run"]:
        result = estimated(config, as_dataset=options["as_dataset"])
    elif options["as_dataset"]:
        result = write_dataset(config, quiet=options["quiet"])
    else:
        result = write_videos(config, quiet=options["quiet"])
    if options["as_json"]:
        click.echo(json.dumps(result, indent=2))
    else:
        click.echo(told(result))
    return 0


def make_config(options: dict[str, Any]) -> SynthConfig:
    """Options of the command line to a configuration.

    Raises:
        UsageError: they contradict each other or lie out of range.
    """
    from pipelines.synth.driver import SpeechConfig, SynthConfig
    from pipelines.synth.hard import parse_kinds
    from pipelines.synth.relations import RelationEffects
    from pipelines.synth.simulate import SimulationConfig
    from rsat_data.machine import usable_cores

    clips, rows = options["clips"], options["rows"]
    if rows is not None:
        if not options["as_dataset"]:
            raise UsageError("--rows goes with --as-dataset.", hint="For videos, say how many with --clips.")
        if clips is not None:
            raise UsageError("--rows and --clips exclude each other.", hint="A clip makes two rows.")
        clips = (rows + 1) // 2
    if options["speech"] and options["source"] != "auto":
        raise UsageError("--speech and --source exclude each other.", hint="Leave --source out to use your recording.")
    if options["as_dataset"] and options["per_person_audio"]:
        raise UsageError("--per-person-audio goes with videos; a dataset always holds each person's audio.")
    if not 0.0 <= options["effect_scale"] <= 3.0:
        raise UsageError(f"--effect-scale is {options['effect_scale']:g}; it must lie between 0 and 3.")
    if not 0.7 <= options["focal"] <= 6.0:
        raise UsageError(f"--focal is {options['focal']:g}; it must lie between 0.7 and 6.")
    if options["out"].exists() and not options["out"].is_dir():
        raise UsageError(f"--out {options['out']} is a file.", hint="Name a folder.", path=options["out"])
    width, height = parse_size(options["size"])
    clips = 3 if clips is None else clips
    hard = parse_kinds(options["hard"] or "")
    if hard and options["as_dataset"]:
        raise UsageError("--hard goes with videos; a dataset written from the truth shows nothing.")
    simulation = SimulationConfig(
        seed=options["seed"],
        seconds=options["seconds"],
        width=width,
        height=height,
        lens=options["focal"],
        clips_per_dyad=options["clips_per_dyad"],
        hard=hard,
        people=options["people"],
        effects=RelationEffects().scaled(options["effect_scale"]),
    )
    return SynthConfig(
        out=options["out"],
        clips=clips,
        simulation=simulation,
        speech=SpeechConfig(options["source"], tuple(options["speech"]), options["offline"]),
        own_audio=options["per_person_audio"],
        workers=min(usable_cores(), max(clips, 1)) if options["workers"] is None else options["workers"],
    )


def parse_size(text: str) -> tuple[int, int]:
    """``1280x720`` to (1280, 720)."""
    width, separator, height = text.lower().partition("x")
    if not separator or not width.isdecimal() or not height.isdecimal():
        raise UsageError(f"--size is {text!r}; it should look like 1280x720.")
    return int(width), int(height)


def write_videos(config: SynthConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Make the clips and tell what was made."""
    from pipelines.synth.driver import make_clips
    from rsat_data.progress import progress

    made: list[str] = []
    with progress("clips", config.clips, "clips", enabled=not quiet) as bar:

        def done(name: str, new: bool) -> None:
            if new:
                made.append(name)
            bar.advance()

        names = make_clips(config, done)
    return {"out": str(config.out), "clips": names, "made": len(made), "kept": len(names) - len(made)}


def write_dataset(
    config: SynthConfig, *, quiet: bool = False, ratios: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Make the rows, publish them (``ratios``: shares of the splits), and tell what was written."""
    import shutil
    import tempfile

    from pipelines.synth.dataset import described, make_parts
    from pipelines.synth.driver import prepare_folder
    from rsat_data.card import DatasetInfo
    from rsat_data.progress import Bars
    from rsat_data.publish import publish

    info = DatasetInfo(
        name="Synthetic conversations",
        description=(
            "Conversations of open heads acted out by `rsat-data synth --as-dataset`: mesh codes, speech, turns and "
            "relations are the truth itself. Nothing was filmed or rendered, so there are no pictures. Behaviour "
            "depends on the relation by the effect sizes in meta/synth.json, which are a construction, not a finding "
            "about people."
        ),
    )
    prepare_folder(config.out)
    parts = Path(tempfile.mkdtemp(prefix=".synth-", dir=config.out))
    try:
        with Bars(enabled=not quiet) as bars:
            acting = bars.bar("conversations", config.clips, "clips")
            folders, sources = make_parts(config, parts, acting.advance)
            writing = bars.bar("writing", 1.0)
            published = publish(
                folders,
                config.out,
                seed=config.simulation.seed,
                ratios=ratios,
                sources=sources,
                info=info,
                extra_files={"synth.json": (json.dumps(described(config), indent=1, sort_keys=True) + "\n").encode()},
                progress=writing.set,
            )
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return {"out": str(config.out), "rows": dict(published.rows), "conversations": published.clips}


#: Rough figures for one core, for --dry-run only: an order of magnitude, not a promise.
_RENDER_S_PER_MEGAPIXEL_FRAME, _START_S_PER_CLIP, _ROW_S_PER_SECOND = 0.13, 12.0, 0.004
_VIDEO_BYTES_PER_S, _ROW_BYTES_PER_S = 160_000, 45_000


def estimated(config: SynthConfig, *, as_dataset: bool) -> dict[str, Any]:
    """What a run would take: nothing is written."""
    from pipelines.synth.records import FPS

    s = config.simulation
    seconds = config.clips * s.seconds
    if as_dataset:
        work, disk = seconds * _ROW_S_PER_SECOND * 2, seconds * _ROW_BYTES_PER_S * 2
    else:
        frame = _RENDER_S_PER_MEGAPIXEL_FRAME * s.width * s.height / 1e6
        work, disk = config.clips * _START_S_PER_CLIP + seconds * FPS * frame, seconds * _VIDEO_BYTES_PER_S
    return {
        "out": str(config.out),
        "would_make": config.clips,
        "rows": 2 * config.clips if as_dataset else None,
        "minutes": round(work / 60 / min(config.workers, config.clips), 2),
        "megabytes": round(disk / 1e6, 1),
        "workers": config.workers,
    }


def told(result: dict[str, Any]) -> str:
    """The result in a sentence or two."""
    if "would_make" in result:
        what = f"{result['rows']} rows" if result["rows"] else f"{result['would_make']} clips"
        return (
            f"would make {what} in {result['out']}: about {result['minutes']:.1f} minutes with "
            f"{result['workers']} workers, {result['megabytes']:.0f} MB"
        )
    if "made" in result:
        return (
            f"{result['made']} clips made, {result['kept']} already there, in {result['out']}\n"
            f"next: rsat-data build --videos {result['out']} --out {result['out']}_dataset"
        )
    rows = ", ".join(f"{split} {count}" for split, count in result["rows"].items())
    return f"{sum(result['rows'].values())} rows ({rows}) in {result['out']}"
