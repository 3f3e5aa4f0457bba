"""What `push` needs to know of a dataset's clips: read in one pass, without media, and kept small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rsat_data
from annotation.media import ClipSource
from annotation.predict import Lexicon, Prediction, predict
from annotation.sampling import Candidate
from annotation.tasks import LONGEST, make_transcript
from rsat_data.content import content_hash
from rsat_data.errors import LabelError

_LIGHT = (
    "clip_id",
    "dyad_id",
    "source_id",
    "row_id_a",
    "row_id_b",
    "num_frames",
    "fps",
    "language",
    "turns",
    "kinship",
    "status",
    "senior",
    "relation_source",
    "provenance",
)
_CACHE_BYTES = 64 << 20
#: Why a clip is left out.
ONE_PERSON, LABELLED, NO_PICTURE = "shows one person", "is labelled already", "has no picture"


@dataclass(frozen=True)
class Entry:
    """One clip of the dataset."""

    candidate: Candidate
    """For sampling."""
    left_out: str
    """Why it cannot be pushed; empty where it can."""
    source: str
    """Changes whenever the clip was built anew with other settings, models or turns."""


class Catalogue:
    """The clips of a dataset, and what a task is made of, clip by clip.

    Raises:
        DatasetError: there is no dataset, or it cannot be read.
        LabelError: it has no clips, or two of one name.
    """

    def __init__(self, out: Path, lexicons: Mapping[str, Lexicon], *, relabel: bool, sound_only: bool) -> None:
        self._lexicons = lexicons
        self.clips = rsat_data.load(out, None, _LIGHT, table="clips", cache_bytes=_CACHE_BYTES)
        self._out = out
        self.entries: dict[str, Entry] = {}
        self._people = rsat_data.load(out, None, ["row_id", "words"], cache_bytes=_CACHE_BYTES)
        with_preview = {clip_id for clip_id, there in _present(out, "clips", "clip_id", "preview") if there}
        crops: set[str] | None = None
        seen: Counter[str] = Counter()
        for row in self.clips:
            clip_id = row["clip_id"]
            seen[clip_id] += 1
            left_out = ""
            if row["row_id_b"] is None:
                left_out = ONE_PERSON
            elif not relabel and row["relation_source"] in ("votes", "adjudicated"):
                left_out = LABELLED
            elif not sound_only and clip_id not in with_preview:
                if crops is None:
                    crops = {row_id for row_id, there in _present(out, "triplets", "row_id", "video") if there}
                if not {row["row_id_a"], row["row_id_b"]} <= crops:
                    left_out = NO_PICTURE
            self.entries[clip_id] = Entry(self._candidate(row), left_out, _source(row))
        if not seen:
            raise LabelError(
                f"{out} holds no clips.", hint="Give the folder of a dataset with conversations.", path=out
            )
        twice = sorted(clip_id for clip_id, count in seen.items() if count > 1)
        if twice:
            raise LabelError(
                f"{out}: {len(twice)} clip ids are there more than once, such as {twice[0]}. Votes could not be told "
                "apart.",
                hint="`rsat-data validate` lists them; build the dataset again.",
                path=out,
            )

    def _candidate(self, row: Mapping[str, Any]) -> Candidate:
        guess = self.prediction(row, self.transcript(row))
        return Candidate(
            clip_id=row["clip_id"],
            dyad_id=row["dyad_id"],
            source_id=row["source_id"],
            language=row["language"],
            seconds=_seconds(row),
            guess=guess.label if guess else "",
        )

    def transcript(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The paragraphs of a clip's task."""
        words: list[Mapping[str, Any]] = []
        if any(len(turn["text"]) > LONGEST for turn in row["turns"]):
            words = self._people.by_id(row["row_id_a"])["words"]
        return make_transcript(row["turns"], _seconds(row), words)

    def prediction(self, row: Mapping[str, Any], transcript: list[dict[str, Any]]) -> Prediction | None:
        """The guess about a clip."""
        lexicon = self._lexicons.get(row["language"].partition("-")[0].lower())
        given = {name: row[name] for name in ("kinship", "status", "senior")}
        return predict(transcript, lexicon, given if row["relation_source"] == "metadata" else None)

    def is_labelled(self, clip_id: str) -> bool:
        """Whether a clip would be left out for the sole reason that it has been voted on."""
        return self.entries[clip_id].left_out == LABELLED

    def row(self, clip_id: str) -> Mapping[str, Any]:
        """The clip's row, without media."""
        return self.clips.by_id(clip_id)

    def sources(self, wanted: set[str]) -> Iterator[ClipSource]:
        """The media of clips, in the order of the files: each row group is read once, one at a time."""
        from rsat_data.errors import DatasetError

        people = rsat_data.load(self._out, None, ["row_id"], cache_bytes=_CACHE_BYTES)
        for row in rsat_data.load(self._out, None, ["clip_id"], table="clips", cache_bytes=_CACHE_BYTES):
            if row["clip_id"] not in wanted:
                continue
            names = (row["row_id_a"], row["row_id_b"])
            preview = _bytes(row["preview"])
            try:
                persons = [None if name is None else people.by_id(name) for name in names]
            except KeyError as error:
                raise DatasetError(
                    f"{self._out}: the clip {row['clip_id']} names the row {error}, which is not there.",
                    hint="`rsat-data validate` tells more.",
                    path=self._out,
                ) from None
            images = [None if person is None else _bytes(person["image"]) for person in persons]
            # Head crops are large, and looked at only where something else is absent.
            crops = [
                _bytes(person["video"]) if person is not None and (preview is None or image is None) else None
                for person, image in zip(persons, images, strict=True)
            ]
            yield ClipSource(
                clip_id=row["clip_id"],
                num_frames=row["num_frames"],
                audio=_bytes(row["audio"]) or b"",
                preview=preview,
                images=(images[0], images[1]),
                crops=(crops[0], crops[1]),
            )

    def media_bytes(self) -> float:
        """Rough size of an average clip's files for annotators, from the files' own indexes."""
        import pyarrow.parquet as pq

        from rsat_data.manifest import read_manifest, safe_join

        total, rows = 0, 0
        for entry in read_manifest(self._out):
            if entry.file.startswith("data/clips/"):
                footer = pq.read_metadata(safe_join(self._out, entry.file))
                rows += footer.num_rows
                for group in map(footer.row_group, range(footer.num_row_groups)):
                    for column in map(group.column, range(group.num_columns)):
                        if column.path_in_schema == "preview.bytes":
                            total += column.total_compressed_size
        seconds = sum(entry.candidate.seconds for entry in self.entries.values())
        # The waveform's 32 kB a second, and two pictures.
        return (total + 32_000 * seconds) / max(rows, 1) + 30_000


def _present(out: Path, table: str, key: str, column: str) -> Iterator[tuple[str, bool]]:
    """(key, whether the row holds a file in ``column``) for all rows; the files themselves are not read."""
    import pyarrow.parquet as pq

    from rsat_data.manifest import read_manifest, safe_join

    for entry in read_manifest(out):
        if not entry.file.startswith(f"data/{table}/"):
            continue
        with pq.ParquetFile(safe_join(out, entry.file)) as shard:
            for group in range(shard.num_row_groups):
                # The leaf next to the bytes is null with them.
                found = shard.read_row_group(group, columns=[key, f"{column}.path"])
                yield from zip(found[key].to_pylist(), found[column].is_valid().to_pylist(), strict=True)


def _seconds(row: Mapping[str, Any]) -> float:
    return float(row["num_frames"] / row["fps"])


def _source(row: Mapping[str, Any]) -> str:
    return content_hash([row["provenance"], row["num_frames"], row["turns"]], length=16)


def _bytes(cell: Mapping[str, Any] | None) -> bytes | None:
    return None if cell is None else cell["bytes"]
