"""What ``rsat-data import`` does: units of another format in, a dataset of format 1.x out, through the publisher."""

from __future__ import annotations

import hashlib
import json
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from rsat_data.content import content_hash, file_sha256
from rsat_data.dialects import files, register
from rsat_data.dialects.heads import require_head, resolve_head
from rsat_data.dialects.own_splits import Placed, decide, without_ood
from rsat_data.dialects.rows import Assembled, Facts, assemble, write_part
from rsat_data.dialects.track import HeadNeeded, ReadOptions, Recording, Unit, find_model
from rsat_data.errors import EXIT_OK, EXIT_QUARANTINE, HeadMismatch, RsatError, SourceError, StageError, UsageError
from rsat_data.manifest import MANIFEST
from rsat_data.progress import Bars
from rsat_data.publish import Published, publish

EXTRAS_FOLDER = "imported"
"""Folder in ``meta`` with what the dataset has no column for: ``<row_id>.npz``."""
NOTES_SHOWN = 20
"""Notes that are printed; a large data set has one a file."""


@dataclass(frozen=True)
class ImportOptions:
    """Options of the command, as given."""

    paths: Sequence[Path]
    """Files and folders to import."""
    out: Path
    """Folder of the new dataset."""
    format: str
    """Name of a dialect."""
    head: str | None = None
    """Head the codes belong to."""
    fps: float | None = None
    """Frames per second of the files."""
    camera: str | None = None
    """Which camera of a folder with several."""
    axes: str = "flame"
    """Axes of bare vertices."""
    audio: Path | None = None
    """One sound file, for one unit."""
    own_audio: bool = False
    """Whether the sound is the one person's alone."""
    silence: bool = False
    """Write silence where there is no sound."""
    subject: str | None = None
    """Name of the one person in all units."""
    licence: str | None = None
    """Licence, where no sidecar says it."""
    consent: str | None = None
    """Number of the consent, where no sidecar says it."""
    language: str | None = None
    """Language spoken, where no sidecar says it."""
    seed: int = 0
    """Decides the splits."""
    own_splits: bool = False
    """Take the splits from the names of folders."""
    max_failed: str = "5%"
    """Exit with 3 when more units than this failed."""
    replace: bool = False
    """Replace the dataset that OUT holds."""
    dry_run: bool = False
    """Show what would be imported, and stop."""
    as_json: bool = False
    """Print the result as JSON."""
    quiet: bool = False
    """No progress bars."""

    def deciding(self) -> dict[str, Any]:
        """What decides the result of a unit, JSON-able and without names of folders."""
        names = ("format", "head", "fps", "camera", "axes", "own_audio", "silence")
        return {name: getattr(self, name) for name in names}


@dataclass
class Result:
    """What an import did."""

    parts: list[Path] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    extras: dict[str, Path] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    """Head id -> the first unit that has it."""
    given: set[int | None] = field(default_factory=set)
    """Expression codes that files hold, None for as many as the head has."""
    placed: list[Placed] = field(default_factory=list)
    """What decides the split of every clip."""


def run_import(options: ImportOptions) -> int:
    """Import and return the exit code.

    Raises:
        UsageError: nothing to import, or the head cannot be known.
        HeadMismatch: the files hold codes of two heads.
        RsatError: no unit could be imported.
    """
    from rsat_data.long_runs import parse_max_failed
    from rsat_data.siblings import check_siblings

    check_siblings()
    allowed = parse_max_failed(options.max_failed)
    dialect = register.get(options.format)
    found = _find(options, dialect)
    own: Mapping[Path, str] = {}
    result = Result()
    if options.own_splits:
        found, own, result.notes = without_ood(found)
    read_options = _read_options(options, dialect)
    if options.dry_run:
        _show(options, found, read_options.head)
        return EXIT_OK
    if (options.out / MANIFEST).exists() and not options.replace:
        raise UsageError(
            f"{options.out} already holds a dataset.", hint="Name a new folder, or replace it with --replace."
        )
    work = options.out / ".work"
    work.mkdir(parents=True, exist_ok=True)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="import-", dir=work) as scratch,
            Bars(enabled=not options.quiet) as bars,
        ):
            bar = bars.bar("import", float(len(found)), "files")
            seen: dict[str, str] = {}
            for note in result.notes:
                bars.say(f"note: {note}")
            for number, (unit, root) in enumerate(found):
                folder = Path(scratch) / f"{number:06d}"
                _import_unit(unit, root, dialect, read_options, options, folder, seen, result, bars, own)
                bar.advance()
            if not result.parts:
                first = result.quarantine[0]
                raise SourceError(
                    f"None of {len(found)} units could be imported; the first: {first['message']}", hint=first["hint"]
                )
            published = _publish(options, result, bars)
    finally:
        if not any(work.iterdir()):
            work.rmdir()
    _report(options, result, published, len(found))
    return EXIT_OK if allowed(len(result.quarantine), len(found)) else EXIT_QUARANTINE


def _find(options: ImportOptions, dialect: register.Dialect) -> list[tuple[Unit, Path]]:
    """Units and the folder each lies in, in a stable order."""
    module = dialect.load()
    found: dict[Path, tuple[Unit, Path]] = {}
    for path in options.paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist.", hint="Name files or folders to import.")
        units = module.find(path.resolve())
        if not units:
            raise UsageError(
                f"{path} holds nothing of the format {dialect.name} ({dialect.about}).",
                hint=f"Is it the right folder and format? Formats: {', '.join(register.DIALECTS)}.",
            )
        root = path.resolve() if path.is_dir() else path.resolve().parent
        for unit in units:
            found.setdefault(unit.path, (unit, root))
    if options.audio is not None:
        if not options.audio.is_file():
            raise UsageError(f"{options.audio} is not a file.")
        if len(found) > 1:
            raise UsageError(
                f"--audio names one file, and there are {len(found)} units.",
                hint="Put <name>.wav beside each, or name the sound in a sidecar <name>.yaml.",
            )
    return list(found.values())


def _show(options: ImportOptions, found: Sequence[tuple[Unit, Path]], head: str) -> None:
    """What a run would read. Nothing is opened, so what is wrong with a file does not show."""
    units = [
        {"name": unit.name, "files": len(unit.files), "bytes": sum(file.stat().st_size for file in unit.files)}
        for unit, _ in found
    ]
    if options.as_json:
        click.echo(json.dumps({"format": options.format, "head": head or None, "units": units}, indent=1))
        return
    for unit in units:
        click.echo(f"{unit['name']}: {unit['files']} files")
    click.echo(f"{len(units)} units of the format {options.format}, head {head or 'as the files say'}")


def _read_options(options: ImportOptions, dialect: register.Dialect) -> ReadOptions:
    stated = options.head or dialect.head
    head, model = ("", None) if stated is None else resolve_head(stated)
    return ReadOptions(
        head=head,
        model=model,
        told=options.head is not None,
        fps=options.fps,
        camera=options.camera,
        axes=options.axes,
    )


def _import_unit(
    unit: Unit,
    root: Path,
    dialect: register.Dialect,
    read_options: ReadOptions,
    options: ImportOptions,
    folder: Path,
    seen: dict[str, str],
    result: Result,
    bars: Bars,
    own: Mapping[Path, str],
) -> None:
    """Import one unit, or note why it cannot be."""
    scratch = folder.with_name(f"{folder.name}-media")
    try:
        for file in unit.files:
            files.own_file(file, root)
        recording: Recording = dialect.load().read(unit, read_options)
        heads = {track.head for track in recording.tracks.values()}
        require_head(heads, unit, dialect.name)
        head = next(iter(heads))
        _one_head(result.heads, head, unit)
        facts = _facts(unit, root, recording, options, head)
        if facts.sha256 in seen:
            raise SourceError(f"{unit.name} holds the same as {seen[facts.sha256]}.", hint="One of them is enough.")
        seen[facts.sha256] = unit.name
        scratch.mkdir()
        assembled = assemble(unit, recording, facts, scratch)
        write_part(folder, assembled)
    except (UsageError, HeadMismatch, HeadNeeded):
        raise  # not the file's fault, and the same for all
    except (SourceError, StageError) as error:
        _refuse(unit, root, error, type(error).__name__, "", result, bars)
        return
    except (MemoryError, OSError, ValueError, TypeError, KeyError, IndexError, ArithmeticError) as error:
        trace = traceback.format_exc()
        shown = StageError(f"{unit.name} could not be imported: {type(error).__name__}: {error}")
        _refuse(unit, root, shown, type(error).__name__, trace, result, bars)
        return
    result.heads.setdefault(head, unit.name)
    result.parts.append(folder)
    new = [note for note in assembled.notes if note not in result.notes]
    for note in new[: max(NOTES_SHOWN - len(result.notes), 0)]:
        bars.say(f"note: {note}")
    if len(result.notes) < NOTES_SHOWN <= len(result.notes) + len(new):
        bars.say("note: further notes are in meta/import.json")
    result.notes += new
    result.extras |= _save_extras(assembled, folder)
    result.sources.append(_source(unit, facts, assembled))
    result.given |= {track.given for track in recording.tracks.values()}
    result.placed.append(_placed(unit, assembled, own.get(unit.path, "")))


def _placed(unit: Unit, assembled: Assembled, own: str) -> Placed:
    """What decides the split of an imported unit."""
    clip = assembled.clip
    subjects = tuple(row["subject_id"] for row in assembled.rows)
    source = unit.recording or clip["source_id"]
    return Placed(unit.name, subjects, clip["dyad_id"], source, clip["kinship"], clip["num_frames"], own)


def _one_head(heads: Mapping[str, str], head: str, unit: Unit) -> None:
    for other, name in heads.items():
        if other != head:
            raise HeadMismatch(
                f"{name} holds codes of the head {other}, {unit.name} of {head}: their numbers do not mean the same.",
                hint="Import them into separate datasets; to join them, retarget one: "
                "rsat-data export --vertices, then rsat-data import --format vertices --head NAME.",
            )


def _facts(unit: Unit, root: Path, recording: Recording, options: ImportOptions, head: str) -> Facts:
    from rsat_data.sources import read_sidecar

    home = root.parent if unit.path == root else root  # a sidecar lies beside a folder, not in it
    metadata = read_sidecar(unit.path, unit.name, home)
    given = {"licence": options.licence, "consent_id": options.consent, "language": options.language}
    metadata = {**{name: value for name, value in given.items() if value}, **metadata}
    if options.subject and "subjects" not in metadata:
        metadata["subjects"] = {"A": options.subject}
    audio = options.audio
    if audio is None and not recording.audio and "audio" not in metadata:
        beside = [unit.path.with_name(f"{unit.path.name}.wav"), unit.path.with_suffix(".wav"), unit.path / "audio.wav"]
        audio = next((files.own_file(each, home) for each in beside if each.is_file()), None)
    material = [*unit.files, *recording.audio.values(), *([audio] if audio else [])]
    material += [Path(path) for path in (metadata.get("audio") or {}).values()]
    for track in recording.tracks.values():
        material += [*track.pictures, *track.masks]
    return Facts(
        sha256=_hash(material, unit),
        metadata=metadata,
        audio=audio,
        own_audio=options.own_audio,
        silence=options.silence,
        config_hash=content_hash(options.deciding(), length=16),
        head_sha256="" if (model := find_model(head)) is None else model.sha256,
    )


def _hash(material: Sequence[Path], unit: Unit) -> str:
    """One hash of all files of a unit, by content and by name inside it."""
    digest = hashlib.sha256()
    for path in sorted(dict.fromkeys(material)):
        name = path.relative_to(unit.path.parent).as_posix() if path.is_relative_to(unit.path.parent) else path.name
        digest.update(f"{name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _save_extras(assembled: Assembled, folder: Path) -> dict[str, Path]:
    saved = {}
    for row, arrays in assembled.extras.items():
        saved[f"{EXTRAS_FOLDER}/{row}.npz"] = folder / f"{row}.npz"
        files.save_npz(folder / f"{row}.npz", arrays)
    return saved


def _source(unit: Unit, facts: Facts, assembled: Assembled) -> dict[str, Any]:
    clip = assembled.clip
    return {
        "source_id": clip["source_id"],
        "sha256": facts.sha256,
        "name": unit.name,
        "bytes": sum(file.stat().st_size for file in unit.files),
        "duration_s": clip["end_s"],
        "num_frames": clip["num_frames"],
        "licence": clip["licence"],
        "consent_id": clip["consent_id"],
    }


def _refuse(unit: Unit, root: Path, error: RsatError, kind: str, trace: str, result: Result, bars: Bars) -> None:
    """A line for the user and a record for the dataset, the latter without folders of this machine."""
    bars.say(f"failed: {unit.name}: {error.message}" + (f" {error.hint}" if error.hint else ""))

    def plain(text: str) -> str:
        return text.replace(f"{root}/", "").replace(str(root), unit.name)

    result.quarantine.append(
        {
            "key": content_hash([unit.name, kind, plain(error.message)]),
            "source_name": unit.name,
            "stage": "import",
            "error": kind,
            "message": plain(error.message),
            "hint": plain(error.hint),
            "traceback_hash": content_hash(trace, length=12) if trace else "",
            "detail": "",
        }
    )


class _Lazy(Mapping[str, bytes]):
    """Files as bytes, each read when it is asked for."""

    def __init__(self, paths: Mapping[str, Path], more: Mapping[str, bytes]) -> None:
        self._paths, self._more = paths, more

    def __getitem__(self, name: str) -> bytes:
        return self._more[name] if name in self._more else self._paths[name].read_bytes()

    def __iter__(self) -> Iterator[str]:
        yield from sorted({*self._paths, *self._more})

    def __len__(self) -> int:
        return len({*self._paths, *self._more})


def _publish(options: ImportOptions, result: Result, bars: Bars) -> Published:
    from rsat_data.card import DatasetInfo

    keep, notes = decide(result.placed, options.seed)
    for note in notes:
        bars.say(f"note: {note}")
    result.notes += notes
    about: dict[str, Any] = {"options": options.deciding(), "heads": sorted(result.heads), "notes": result.notes}
    if result.given and (given := max((count or 0 for count in result.given), default=0)) and None not in result.given:
        about["expression_codes"] = given  # the others were filled up with zeros: evaluation leaves them out
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    bar = bars.bar("publish", 1.0, "datasets")
    return publish(
        result.parts,
        options.out,
        seed=options.seed,
        keep_splits=keep,
        sources=result.sources,
        quarantine=result.quarantine,
        info=DatasetInfo(
            name=options.out.resolve().name or "imported", description=f"Imported from the format {options.format}."
        ),
        extra_files=_Lazy(result.extras, {"import.json": text.encode()}),
        progress=bar.set,
    )


def _report(options: ImportOptions, result: Result, published: Published, units: int) -> None:
    rows = sum(published.rows.values())
    facts = {
        "out": str(options.out),
        "units": units,
        "rows": rows,
        "splits": dict(published.rows),
        "clips": published.clips,
        "head_model": next(iter(result.heads)),
        "quarantined": [_told(record) for record in result.quarantine],
        "notes": result.notes,
    }
    if options.as_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    splits = ", ".join(f"{name} {count}" for name, count in published.rows.items())
    click.echo(f"{rows} rows of {published.clips} clips in {options.out} ({splits}), head {facts['head_model']}")
    if result.quarantine:
        click.echo(f"{len(result.quarantine)} of {units} units could not be imported; see meta/quarantine.parquet")
    click.echo(f"Next: rsat-data validate {options.out}")


def _told(record: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a quarantine record that a script wants."""
    return {name: record[name] for name in ("source_name", "error", "message", "hint")}


def read_extras(out: Path, row_id: str) -> dict[str, np.ndarray]:
    """What an import kept beside a row; empty for none."""
    path = out / "meta" / EXTRAS_FOLDER / f"{row_id}.npz"
    return files.read_npz(path) if path.is_file() else {}
