"""DualTalk: conversations as ``<id>_speaker1`` and ``<id>_speaker2``, each a wav of that speaker's voice and an npz.

The npz has the names of DECA's family: shape (T, 100), exp (T, 50), pose (T, 6) = head and jaw, cam (T, 3), tex, light,
25 frames a second. Speaker 1 becomes person A. A speaker with a voice and no codes stays in the conversation, with
codes at rest that are marked invalid in every frame. ``<id>`` is ``<video>_sub_video_<number>``: clips of one video may
show the same people.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rsat_data.dialects import deca, files
from rsat_data.dialects.track import BadDialectFile, ReadOptions, Recording, Unit

if TYPE_CHECKING:
    from rsat_data.dialects.export_run import Export

FPS = 25.0
_NAME = re.compile(r"(?P<clip>.+)_speaker(?P<number>[12])")
_PERSON = {"1": "A", "2": "B"}


def find(path: Path) -> list[Unit]:
    """Conversations below a folder: files that share what comes before ``_speaker``. A file stands for its own."""
    if path.is_file():
        match = _NAME.fullmatch(path.stem)
        root, pattern = path.parent, f"{match['clip']}_speaker*" if match else path.name
        found = [each for each in files.walk(root, pattern) if each.parent == root] if match else []
    else:
        found = files.walk(path, "*_speaker[12].*")
    groups: dict[Path, list[Path]] = {}
    for file in found:
        match = _NAME.fullmatch(file.stem)
        if match and file.suffix in (".npz", ".wav"):
            groups.setdefault(file.parent / match["clip"], []).append(file)
    return [
        Unit(stem.name, stem, tuple(members), recording=stem.name.split("_sub_video_")[0])
        for stem, members in sorted(groups.items())
    ]


def read(unit: Unit, options: ReadOptions) -> Recording:
    """Read one conversation.

    Raises:
        BadDialectFile: no speaker has codes, one with codes has no voice, or a file is not as the format promises.
    """
    tracks, audio, notes = {}, {}, []
    for file in unit.files:
        match = _NAME.fullmatch(file.stem)
        assert match is not None
        person = _PERSON[match["number"]]
        if file.suffix == ".wav":
            audio[person] = files.own_file(file, file.parent)
        else:
            arrays = files.read_npz(file)
            tracks[person] = deca.to_track(arrays, file, options, fps=options.fps or FPS)
    if not tracks:
        raise BadDialectFile(f"{unit.name}: no speaker has an npz with codes.", path=unit.path)
    silent = sorted(set(tracks) - set(audio))
    if silent:
        raise BadDialectFile(f"{unit.name}: speaker {'AB'.index(silent[0]) + 1} has codes and no wav.", path=unit.path)
    lengths = {person: track.num_frames for person, track in tracks.items()}
    if len(set(lengths.values())) > 1:
        raise BadDialectFile(
            f"{unit.name}: speaker 1 has {lengths['A']} frames, speaker 2 has {lengths['B']}.",
            hint="Both must cover the same time.",
            path=unit.path,
        )
    for person in sorted(set(audio) - set(tracks)):
        number = "AB".index(person) + 1
        notes.append(f"{unit.name}: speaker {number} has no npz: the row holds the voice, and codes that are not valid")
    return Recording(tracks, audio, tuple(notes))


def write(export: Export, folder: Path) -> list[str]:
    """Write one row as ``<clip_id>_speaker1`` or ``2`` with its voice; rows of one clip share the folder."""
    import soundfile

    arrays, notes = deca.from_track(export)
    number = "AB".index(export.person) + 1
    stem = folder / f"{export.clip_id}_speaker{number}"
    folder.mkdir(parents=True, exist_ok=True)
    if not export.num_valid:
        notes = ["no frame has valid codes: only the voice is written"]
    else:
        files.save_npz(stem.with_suffix(".npz"), arrays)
    temporary = stem.with_suffix(".wav.tmp")
    soundfile.write(temporary, export.audio(), 16_000, format="WAV", subtype="PCM_16")
    shutil.move(temporary, stem.with_suffix(".wav"))
    return notes
