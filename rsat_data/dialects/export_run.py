"""What ``rsat-data export`` does: rows of a dataset to another format, one folder a row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rsat_data.dialects import register
from rsat_data.dialects.heads import fits, resolve_head
from rsat_data.dialects.import_run import read_extras
from rsat_data.dialects.track import FLAME_FAMILIES, FRAME_CODES, HeadNeeded, Track, family, find_model, make_track
from rsat_data.errors import EXIT_OK, EXIT_QUARANTINE, DatasetError, HeadMismatch, RsatError, UsageError
from rsat_data.progress import Bars
from rsat_data.reader import Row, load

if TYPE_CHECKING:
    from model.head import HeadModel


@dataclass(frozen=True)
class ExportOptions:
    """Options of the command, as given."""

    out: Path
    """Folder of the dataset."""
    dest: Path
    """New folder to write to."""
    format: str
    """Name of a dialect."""
    rows: Sequence[str] = ()
    """Row ids; empty for all."""
    split: str | None = None
    """Only rows of this split."""
    head: str | None = None
    """Head to convert codes to."""
    own_codes: bool = False
    """Write the codes as they are, marked with their head."""
    keep_crop: bool = False
    """Leave pictures as they are, principal point off the middle (vhap)."""
    as_json: bool = False
    """Print the result as JSON."""
    quiet: bool = False
    """No progress bars."""


@dataclass
class Export:
    """One row on its way out: what a dialect's ``write`` is handed."""

    row: Row
    """The row of the dataset."""
    track: Track
    """Its codes, converted if that was asked for."""
    model: HeadModel | None
    """The head of ``track``, if it is on this machine."""
    own_codes: bool = False
    """Whether the codes are of a head that the format does not expect: files then name it under ``head_model``."""
    keep_crop: bool = False
    """Whether pictures are to stay as they are, wherever the principal point lies."""
    notes: list[str] = field(default_factory=list)
    """What conversion lost."""

    @property
    def row_id(self) -> str:
        """Id of the row."""
        return str(self.row["row_id"])

    @property
    def name(self) -> str:
        """What to call the row in messages."""
        return f"row {self.row_id}"

    @property
    def clip_id(self) -> str:
        """Id of the conversation."""
        return str(self.row["clip_id"])

    @property
    def person(self) -> str:
        """A or B."""
        return str(self.row["person"])

    @property
    def num_valid(self) -> int:
        """Frames whose codes can be trusted."""
        return self.track.num_frames if self.track.valid is None else int(self.track.valid.sum())

    @property
    def has_video(self) -> bool:
        """Whether the row has pictures."""
        cell = self.row["video"]
        return cell is not None and cell["bytes"] is not None

    def audio(self) -> np.ndarray:
        """(T * 640,) float32 at 16 kHz."""
        sound: np.ndarray = self.row.audio()
        return sound

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Picture (H, W, 3) RGB and matte (H, W), 255 where the person is, of each frame; one pair in memory at a time.

        A row without matte gives 255 everywhere.

        Raises:
            DatasetError: a video is damaged or too short.
        """
        cell = self.row["matte"]
        mattes = None if cell is None or cell["bytes"] is None else decoded(self.row, "matte")
        count = self.track.num_frames
        for picture in decoded(self.row, "video"):
            mask = np.full(picture.shape[:2], 255, np.uint8) if mattes is None else next(mattes)[..., 0]
            yield picture, mask
            count -= 1
            if count == 0:
                return
        raise DatasetError(f"{self.name}: its video ends {count} frames too early.")

    def head_needed(self, why: str) -> HeadNeeded:
        """The error for a head that is not on this machine."""
        return HeadNeeded(
            f"{self.name}: {why}; the head {self.track.head} is not on this machine.",
            hint=f"Import it once: rsat-data models import-flame FILE --name {family(self.track.head)}",
        )


def decoded(row: Row, column: str) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 RGB of a row's video or matte, one at a time.

    Raises:
        DatasetError: it cannot be decoded.
    """
    import io

    import av

    data = row[column]["bytes"]
    try:
        with av.open(io.BytesIO(data), "r") as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            for frame in container.decode(stream):
                yield frame.to_ndarray(format="rgb24")
    except av.FFmpegError as error:
        raise DatasetError(f"{row!r}: {column} cannot be decoded ({error.strerror}).") from error


def run_export(options: ExportOptions) -> int:
    """Export and return the exit code: 3 where some rows could not be written.

    Raises:
        UsageError: DEST is not empty, a row is unknown, or nothing is left to export.
        HeadMismatch: the format wants codes of another head.
    """
    from rsat_data.siblings import check_siblings

    check_siblings()
    dialect = register.get(options.format)
    if not dialect.writes:
        raise UsageError(f"The format {dialect.name} can be read only.")
    rows, unseen = _chosen(options, conversations=dialect.name == "dualtalk")
    dest = options.dest.resolve()
    if dest.is_relative_to(options.out.resolve()) or options.out.resolve().is_relative_to(dest):
        raise UsageError("DEST must not lie in the dataset, nor the dataset in it.", hint="Name another folder.")
    if options.dest.exists() and (not options.dest.is_dir() or any(options.dest.iterdir())):
        raise UsageError(f"{options.dest} is there and not empty; nothing is overwritten.", hint="Name a new folder.")
    converter = Converter(dialect, options, str(rows[0]["head_model"]))
    flat = dialect.name == "dualtalk"
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    options.dest.mkdir(parents=True, exist_ok=True)
    with Bars(enabled=not options.quiet) as bars:
        bar = bars.bar("export", float(len(rows)), "rows")
        for row in rows:
            name = str(row["row_id"])
            temporary = options.dest / f".{name}.tmp"
            try:
                export = converter.export(row)
                notes = [*export.notes, *dialect.load().write(export, options.dest if flat else temporary)]
                if not flat:
                    temporary.rename(options.dest / name)
                done.append({"row_id": name, "notes": notes})
                for note in notes:
                    bars.say(f"note: {name}: {note}")
            except (UsageError, HeadMismatch, HeadNeeded):
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            except RsatError as error:
                shutil.rmtree(temporary, ignore_errors=True)
                failed.append({"row_id": name, "error": type(error).__name__, "message": error.message})
                bars.say(f"failed: {name}: {error.message} {error.hint}".rstrip())
            bar.advance()
    if not done:
        raise DatasetError(
            f"None of {len(rows)} rows could be exported; the first: {failed[0]['message']}",
            hint="Formats differ in what they need: see rsat-data export --help.",
        )
    facts = {
        "without_valid_frames": unseen,
        "dest": str(options.dest),
        "format": dialect.name,
        "head": converter.target,
        "rows": done,
        "failed": failed,
    }
    if options.as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        click.echo(f"{len(done)} rows in {options.dest}, codes of {converter.target}")
        if unseen:
            click.echo(
                f"{len(unseen)} rows without one valid frame are left out (people heard and not seen, faces never"
                " tracked); --row ID writes them all the same."
            )
    return EXIT_QUARANTINE if failed else EXIT_OK


def _chosen(options: ExportOptions, *, conversations: bool) -> tuple[list[Row], list[str]]:
    """Rows to write, and ids of those left out because nobody was ever seen in them, their codes at rest.

    Args:
        options: name rows or a split.
        conversations: the format holds both people of a clip, and the sound of one who is not seen.
    """
    data = load(options.out, options.split, None)  # type: ignore[arg-type]
    if not options.rows:
        if not len(data):
            raise UsageError(f"{options.out} has no rows" + (f" in {options.split}." if options.split else "."))
        everything = list(data)
        if conversations:
            return everything, []
        unseen = [str(row["row_id"]) for row in everything if not np.any(row["valid"])]
        if len(unseen) == len(everything):
            raise UsageError(
                f"None of the {len(everything)} rows of {options.out} has a valid frame.", hint="Name some by --row."
            )
        return [row for row in everything if str(row["row_id"]) not in unseen], unseen
    rows = []
    for name in dict.fromkeys(options.rows):
        try:
            rows.append(data.by_id(name))
        except KeyError as error:
            raise UsageError(
                f"{options.out} has no row {name!r}.",
                hint="Row ids: [row['row_id'] for row in rsat_data.load('OUT', None)]",
            ) from error
    return rows, []


class Converter:
    """Decides once which head is written, and converts row by row."""

    def __init__(self, dialect: register.Dialect, options: ExportOptions, source: str) -> None:
        self.options, self.source_id = options, source
        self.source = find_model(source)
        self.target, self.model = source, self.source
        self.marked = options.own_codes and not (dialect.flame and fits(source, dialect.head))
        if options.head is not None and options.own_codes:
            raise UsageError("--head converts codes, --own-codes keeps them: they exclude each other.")
        if options.head is not None:
            target, model = resolve_head(options.head)
            same = target == source or (target == options.head and family(source) == target)
            if not same:
                self._check_target(dialect, target, model)
                self.target, self.model = target, model
            wanted = dialect.flame and not fits(self.target, dialect.head)
        else:
            wanted = dialect.flame and not options.own_codes and not fits(source, dialect.head)
        if wanted:
            expects = dialect.head or " or ".join(FLAME_FAMILIES)
            raise HeadMismatch(
                f"The format {dialect.name} holds codes of {expects}, the dataset's belong to {self.target}.",
                hint=f"--head {dialect.head or FLAME_FAMILIES[1]} converts them, through vertices, once that head is "
                "imported (rsat-data models import-flame FILE); --own-codes writes them as they are, and their head.",
            )

    def _check_target(self, dialect: register.Dialect, target: str, model: HeadModel | None) -> None:
        for name, head in ((self.source_id, self.source), (target, model)):
            if head is None:
                raise HeadNeeded(
                    f"To convert codes of {self.source_id} to {target}, both heads have to be on this machine; "
                    f"{name} is not.",
                    hint=f"Import it once: rsat-data models import-flame FILE --name {family(name)}",
                )

    def export(self, row: Row) -> Export:
        """One row, its codes converted if need be."""
        track = _track(row)
        if self.target == self.source_id:
            extras = read_extras(self.options.out, str(row["row_id"]))
            track = track.replace(extras=extras)
            return Export(row, track, self.model, self.marked, self.options.keep_crop)
        track, note = self._retargeted(track)
        return Export(row, track, self.model, False, self.options.keep_crop, [note])

    def _retargeted(self, track: Track) -> tuple[Track, str]:
        import torch

        from model.head.retarget import retarget

        assert self.source is not None and self.model is not None
        codes = {name: torch.from_numpy(np.array(getattr(track, name))) for name in ("shape", *FRAME_CODES)}
        found = retarget(codes, self.source, self.model, head_model=self.source_id)
        arrays = {name: value.numpy() for name, value in found.codes.codes().items()}
        residual = found.codes.residual_mm.numpy()
        note = (
            f"codes of {self.source_id} became codes of {self.target}: vertices differ by {residual.mean():.2f} mm in "
            f"the mean, {residual.max():.2f} mm in the worst frame"
        )
        return track.replace(head=self.target, **arrays), note


def _track(row: Row) -> Track:
    from model.camera import Camera

    camera = row["camera"]
    return make_track(
        {name: np.array(row[name], np.float32) for name in ("shape", *FRAME_CODES)},
        head=str(row["head_model"]),
        camera=Camera(**{name: camera[name] for name in ("fx", "fy", "cx", "cy", "width", "height")}),
        fps=float(row["fps"]),
        valid=np.array(row["valid"], bool),
    )
