"""The first pass of a publication: the keys of every row, and what they decide: splits, order, labels that stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data.errors import DatasetError
from rsat_data.labels import RELATION, Labels, carry_labels
from rsat_data.parts import Ref

if TYPE_CHECKING:
    from pipelines.assemble.splits import Splits

#: Names of the two files that the assemble stage leaves for a clip; one file may also hold the rows of many clips.
ROWS_FILE, CLIPS_FILE = "rows.parquet", "clip.parquet"

_ROW_KEYS = (
    "row_id",
    "clip_id",
    "dyad_id",
    "subject_id",
    "partner_row_id",
    "partner_subject_id",
    "source_id",
    "person",
    "fps",
    "num_frames",
    "head_model",
    "kinship",
    "licence",
    "consent_id",
    "language",
    "avatar_id",
    "audio_isolation",
    "pii",
)
_CLIP_KEYS = ("clip_id", "dyad_id", "source_id", "row_id_a", "row_id_b", "subject_id_a", *RELATION)


@dataclass
class PublicationPlan:
    """Everything decided in the first pass."""

    rows: list[Ref]
    clips: list[Ref]
    splits: Splits
    repeated: list[str] = field(default_factory=list)
    labels: Labels = field(default_factory=Labels)

    def split_of_row(self, ref: Ref) -> str:
        """Its subject's."""
        return self.splits.split_of[ref.keys["subject_id"]]

    def split_of_clip(self, ref: Ref) -> str:
        """That of the subject on the left; the other one's is the same."""
        return self.splits.split_of[ref.keys["subject_id_a"]]


def make_plan(
    folders: Sequence[Path],
    seed: int,
    ratios: Mapping[str, float] | None,
    keep: Mapping[str, str] | None,
    old: Labels,
) -> PublicationPlan:
    """Read the keys of all rows and decide.

    Args:
        folders: parts, in the order their numbers in :class:`~rsat_data.parts.Ref` count them.
        seed: of the splits.
        ratios: share of each split; None for the default.
        keep: subject_id -> split that must not change.
        old: labels of the dataset that is replaced.

    Raises:
        DatasetError: a part is not of this format, or the parts do not fit together.
    """
    from pipelines.assemble.splits import RowKeys, assign_splits
    from schemas.vocabulary import SPLITS

    clips: dict[str, Ref] = {}
    repeated = []
    for ref in _index(folders, CLIPS_FILE, "clips", _CLIP_KEYS):
        if ref.keys["clip_id"] in clips:
            repeated.append(ref.keys["clip_id"])
        else:
            clips[ref.keys["clip_id"]] = ref
    rows: dict[str, Ref] = {}
    for ref in _index(folders, ROWS_FILE, "triplets", _ROW_KEYS):
        clip = clips.get(ref.keys["clip_id"])
        if clip is None:
            raise DatasetError(
                f"{folders[ref.part]}: row {ref.keys['row_id']} belongs to clip {ref.keys['clip_id']}, "
                f"which no {CLIPS_FILE} holds.",
                path=folders[ref.part],
            )
        if clip.part == ref.part:  # rows of a repeated clip are left out with it
            if ref.keys["row_id"] in rows:
                raise DatasetError(f"{folders[ref.part]}: row {ref.keys['row_id']} is there twice.")
            rows[ref.keys["row_id"]] = ref
    _check_plan(folders, rows, clips)
    labels = carry_labels(old, (clip.keys for clip in clips.values()))
    # A blood relation joins a family: what is carried over counts before splits and families are made.
    rows = {name: _with_keys(ref, labels.rows.get(name)) for name, ref in rows.items()}
    clips = {name: _with_keys(ref, labels.clips.get(name)) for name, ref in clips.items()}
    keys = [
        RowKeys(
            subject_id=ref.keys["subject_id"],
            partner_subject_id=ref.keys["partner_subject_id"],
            source_id=ref.keys["source_id"],
            dyad_id=ref.keys["dyad_id"],
            kinship=ref.keys["kinship"],
            weight=ref.keys["num_frames"],
        )
        for ref in rows.values()
    ]
    try:
        splits = assign_splits(keys, seed=seed, ratios=ratios, pinned=keep)
    except ValueError as error:
        raise DatasetError(f"{error}.") from error
    plan = PublicationPlan([], [], splits, sorted(set(repeated)), labels)
    rank = {name: number for number, name in enumerate(SPLITS)}
    # By subject inside a split: an avatar is fitted to one subject's rows, which then lie together.
    plan.rows = sorted(
        rows.values(),
        key=lambda ref: (
            rank[plan.split_of_row(ref)],
            ref.keys["subject_id"],
            ref.keys["clip_id"],
            ref.keys["person"],
        ),
    )
    plan.clips = sorted(
        clips.values(),
        key=lambda ref: (rank[plan.split_of_clip(ref)], ref.keys["dyad_id"], ref.keys["clip_id"]),
    )
    return plan


def _with_keys(ref: Ref, values: Mapping[str, Any] | None) -> Ref:
    if values is None:
        return ref
    return replace(ref, keys={**ref.keys, **{name: value for name, value in values.items() if name in ref.keys}})


def _index(folders: Sequence[Path], name: str, table: str, columns: Sequence[str]) -> Iterator[Ref]:
    """Keys and place of every row. Sizes are uncompressed bytes as the part's own footer has them."""
    import schemas
    from schemas.validators import schema_problems

    spec = schemas.TABLES[table]
    for number, folder in enumerate(folders):
        path = folder / name
        try:
            with pq.ParquetFile(path) as file:
                problems = schema_problems(file.schema_arrow, spec)
                if problems:
                    first = problems[0]
                    raise DatasetError(
                        f"{path}: {first.column or 'file'}: {first.message}.",
                        hint="It was written by another version; build the dataset into a new folder.",
                        path=path,
                    )
                for group in range(file.num_row_groups):
                    footer = file.metadata.row_group(group)
                    size = footer.total_byte_size // max(footer.num_rows, 1)
                    for index, keys in enumerate(file.read_row_group(group, columns=list(columns)).to_pylist()):
                        yield Ref(number, group, index, size, keys)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(
                f"{path} is not a readable Parquet file: {error}.",
                hint="Remove its folder and run the same command again to make it anew.",
                path=path,
            ) from error


def _check_plan(folders: Sequence[Path], rows: Mapping[str, Ref], clips: Mapping[str, Ref]) -> None:
    heads = {ref.keys["head_model"] for ref in rows.values()}
    if len(heads) > 1:
        raise DatasetError(
            f"The rows hold codes of {len(heads)} head models ({', '.join(sorted(heads))}); one dataset has one.",
            hint="Build every clip with the same head model, or into separate folders.",
        )
    for clip in clips.values():
        wanted = {clip.keys["row_id_a"], clip.keys["row_id_b"]} - {None}
        missing = sorted(wanted - rows.keys())
        if missing:
            raise DatasetError(
                f"{folders[clip.part]}: clip {clip.keys['clip_id']} lacks its row {missing[0]}.",
                path=folders[clip.part],
            )
    for ref in rows.values():
        partner = ref.keys["partner_row_id"]
        clip = clips[ref.keys["clip_id"]]
        if ref.keys["row_id"] not in (clip.keys["row_id_a"], clip.keys["row_id_b"]):
            raise DatasetError(f"{folders[ref.part]}: row {ref.keys['row_id']} is not one of its clip's rows.")
        if partner is not None and partner not in rows:
            raise DatasetError(f"{folders[ref.part]}: row {ref.keys['row_id']} lacks its partner {partner}.")
