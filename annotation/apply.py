"""Agreed labels into the dataset: what votes support is written, and what they support no longer goes away.

The dataset's rows are a function of its votes and of what the owners of the sources said, so applying twice changes
nothing, and applying after more votes gives what applying to all of them at once would have given.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from annotation.agreement.report import ClipInfo
from annotation.consensus import Conflict, Consensus, ConsensusOptions, Item, Relation, agree, enough_for_model
from annotation.votes import current_votes, read_votes
from rsat_data.amend import amend, finish_interrupted
from rsat_data.duplicate import duplicate
from rsat_data.errors import LabelError, UsageError
from rsat_data.labels import BEHIND, RELATION, VOTED, read_record
from rsat_data.manifest import read_manifest

_KEYS = ("clip_id", "dyad_id", "subject_id_a", "subject_id_b", "row_id_a", "row_id_b")
METADATA = ("keep", "replace")


@dataclass(frozen=True)
class ApplyOptions:
    """How labels are agreed on and where they go."""

    out: Path | None = None
    """Folder for a new version of the dataset; the old one is left as it is. None changes it in place."""
    majority: float = 2 / 3
    """Least share of the votes on a clip that must give an answer."""
    posterior: float = 0.8
    """Least probability of that answer given how each annotator votes elsewhere (needs 50 votes of 3 annotators)."""
    min_votes: int = 2
    """Least number of votes on a clip; an adjudicator's word needs one."""
    spread: bool = True
    """Whether what is agreed on two people also goes to their clips without a decision of their own."""
    metadata: str = "keep"
    """Votes against what the owner of the source said: keep it (an adjudicator may overrule it), or replace it."""
    form: str | None = None
    """Where votes were made with several forms: the beginning of the hash of the one whose votes count."""
    dry_run: bool = False
    """Tell what would change, and change nothing."""


@dataclass(frozen=True)
class Change:
    """A clip whose relation changes."""

    clip_id: str
    """The clip."""
    before: Relation
    """What the dataset says."""
    after: Relation
    """What it will say."""


@dataclass(frozen=True)
class Agreed:
    """What the votes of a dataset say together, and what of it the dataset does not say yet."""

    consensus: Consensus
    """The outcome."""
    changes: tuple[Change, ...]
    """Clips to be changed, sorted."""
    rows: Mapping[str, tuple[str, str | None]]
    """Clip -> its rows in triplets, A's and B's."""
    record: Mapping[str, Any] | None
    """For meta/labels.json; None where there is nothing to record."""
    used_model: bool
    """Whether the model of the annotators was asked."""


@dataclass(frozen=True)
class ApplyResult:
    """What was applied."""

    out: Path
    """The dataset that has the labels."""
    changes: tuple[Change, ...]
    """Clips that changed, sorted."""
    shards: int
    """Shards that were written anew."""
    labels: Mapping[str, int]
    """relation_source -> clips, as they are now."""
    decided: int
    """Clips on which votes or an adjudicator decided something."""
    spread: int
    """Clips labelled by other clips of their two people alone."""
    conflicts: tuple[Conflict, ...]
    """Pairs of people of whom clips say different things."""
    to_adjudicate: tuple[Item, ...]
    """Clips that somebody should look at again."""
    gone: Mapping[str, int]
    """Clips that were voted on and are no more in the dataset -> their votes."""
    alone: tuple[str, ...]
    """Clips that were voted on and show one person; these votes label nothing."""
    used_model: bool
    """Whether the model of the annotators had enough votes to be asked."""
    dry_run: bool
    """Whether nothing was written."""
    seconds: float
    """Time it took."""


def apply(
    out: Path | str,
    options: ApplyOptions = ApplyOptions(),  # noqa: B008 (frozen)
    *,
    progress: Callable[[float], None] = lambda share: None,
) -> ApplyResult:
    """Write what votes agree on into a dataset: its clips, both rows of each, and what is said of it as a whole.

    Args:
        out: folder of the dataset.
        options: how.
        progress: called with the done share of the bytes to be written.

    Raises:
        UsageError: an option is out of range.
        LabelError: votes were made with several forms.
        DatasetError, WorkspaceError, DiskFullError: the dataset cannot be read or written.
    """
    start, out = time.monotonic(), Path(out)
    agreed = agree_on(out, options)
    target, shards = out, 0
    if not options.dry_run:
        place = nullcontext(out) if options.out is None else duplicate(out, Path(options.out))
        with place as folder:
            shards = amend(folder, _values(agreed), labels=agreed.record, progress=progress).shards
        target = out if options.out is None else Path(options.out)
    consensus = agreed.consensus
    return ApplyResult(
        out=target,
        changes=agreed.changes,
        shards=shards,
        labels=dict(Counter(relation.relation_source for relation in consensus.labels.values())),
        decided=consensus.decided,
        spread=consensus.spread,
        conflicts=consensus.conflicts,
        to_adjudicate=consensus.items,
        gone=consensus.gone,
        alone=consensus.alone,
        used_model=agreed.used_model,
        dry_run=options.dry_run,
        seconds=time.monotonic() - start,
    )


def agree_on(out: Path, options: ApplyOptions) -> Agreed:
    """Work out what the dataset's votes agree on and what follows for its rows; nothing is written.

    Raises:
        UsageError, LabelError, DatasetError: as of :func:`apply`.
    """
    import rsat_data

    rules = _rules(options)
    finish_interrupted(out)
    entries = {entry.file: entry for entry in read_manifest(out)}
    votes, form_hash = _votes(out, options.form)
    columns = [*_KEYS, *RELATION, *BEHIND]
    clips = {row["clip_id"]: dict(row) for row in rsat_data.load(out, None, columns, table="clips")}
    infos = {
        name: ClipInfo(clip["dyad_id"], clip["subject_id_a"], clip["subject_id_b"]) for name, clip in clips.items()
    }
    old = read_record(out, entries)
    metadata = _metadata(clips, (old or {}).get("metadata", {}))
    used_model = enough_for_model(votes, rules)
    beliefs = None
    if used_model:
        from annotation.agreement import posteriors

        beliefs = posteriors(votes, infos)
    consensus = agree(votes, infos, metadata=metadata, posteriors=beliefs, options=rules)
    changes = []
    for name in sorted(clips):
        before, after = _relation(clips[name], behind=True), consensus.labels[name]
        if _stored(after) != _stored(before):
            changes.append(Change(name, before, after))
    stated = {
        name: {column: getattr(relation, column) for column in RELATION}
        for name, relation in sorted(metadata.items())
        if consensus.labels[name].relation_source in VOTED
    }
    record = None
    if old is not None or consensus.decided:
        record = {
            "form_hash": form_hash,
            "options": {**asdict(rules), "model": used_model},
            "counts": {
                "votes": _counted(votes),
                "decided": consensus.decided,
                "spread": consensus.spread,
                "conflicts": sum(not conflict.settled for conflict in consensus.conflicts),
                "to_adjudicate": len(consensus.items),
            },
            "metadata": stated,
        }
    rows = {name: (clip["row_id_a"], clip["row_id_b"]) for name, clip in clips.items()}
    return Agreed(consensus, tuple(changes), rows, record, used_model)


def _rules(options: ApplyOptions) -> ConsensusOptions:
    if not 0.5 <= options.majority <= 1.0:
        raise UsageError(f"A majority of {options.majority:g} is not possible.", hint="Give 0.5 to 1.")
    if not 0.0 <= options.posterior <= 1.0:
        raise UsageError(f"A probability of {options.posterior:g} is not possible.", hint="Give 0 to 1.")
    if options.min_votes < 1:
        raise UsageError(f"{options.min_votes} votes are not possible.", hint="Give 1 or more.")
    if options.metadata not in METADATA:
        raise UsageError(f"metadata cannot be {options.metadata!r}.", hint=f"Give {' or '.join(METADATA)}.")
    return ConsensusOptions(
        majority=options.majority,
        posterior=options.posterior,
        min_votes=options.min_votes,
        spread=options.spread,
        metadata=options.metadata,
    )


def _votes(out: Path, form: str | None) -> tuple[pa.Table, str]:
    """The votes that may count together, and the hash of their form ("" without votes)."""
    votes = read_votes(out)
    counting = current_votes(votes)
    counting = counting.filter(pc.not_equal(counting["round"], "gold"))
    hashes = Counter(counting["config_hash"].to_pylist())
    if form is not None:
        chosen = [name for name in hashes if name.startswith(form)]
        if len(chosen) != 1:
            found = ", ".join(f"{name[:12]} ({count})" for name, count in sorted(hashes.items())) or "none"
            raise LabelError(f"{len(chosen)} forms begin with {form!r}.", hint=f"Forms of the votes: {found}.")
        return votes.filter(pc.equal(votes["config_hash"], chosen[0])), chosen[0]
    if len(hashes) > 1:
        found = ", ".join(f"{name[:12]} ({count} votes)" for name, count in hashes.most_common())
        raise LabelError(
            f"The votes of {out} were made with {len(hashes)} forms: {found}.",
            hint="Answers to different forms do not mix. Choose the votes that count with --form.",
        )
    return votes, next(iter(hashes), "")


def _counted(votes: pa.Table) -> int:
    counting = current_votes(votes)
    return int(counting.filter(pc.not_equal(counting["round"], "gold")).num_rows)


def _relation(row: Mapping[str, Any], *, behind: bool = False) -> Relation:
    columns = (*RELATION, *BEHIND) if behind else RELATION
    return Relation(**{name: row[name] for name in columns})


def _metadata(clips: Mapping[str, Mapping[str, Any]], replaced: Mapping[str, Mapping[str, Any]]) -> dict[str, Relation]:
    """What the owners of the sources said: what the rows say, or said before votes changed it."""
    found = {}
    for name, clip in clips.items():
        if clip["relation_source"] == "metadata":
            found[name] = _relation(clip)
        elif name in replaced:
            found[name] = _relation(replaced[name])
    return found


def _stored(relation: Relation) -> tuple[Any, ...]:
    """A relation as it is read back: float32 rounds."""
    return tuple(
        pa.scalar(value, pa.float32()).as_py() if isinstance(value, float) else value
        for value in (getattr(relation, name) for name in (*RELATION, *BEHIND))
    )


def _values(agreed: Agreed) -> dict[str, dict[str, dict[str, Any]]]:
    """New values of clips, and of the rows of both people."""
    from schemas.vocabulary import PERSONS, senior_of_person

    clips: dict[str, dict[str, Any]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for change in agreed.changes:
        clips[change.clip_id] = {name: getattr(change.after, name) for name in (*RELATION, *BEHIND)}
        for person, row in zip(PERSONS, agreed.rows[change.clip_id], strict=True):
            if row is not None:
                relation = {name: getattr(change.after, name) for name in RELATION}
                rows[row] = {**relation, "senior": senior_of_person(change.after.senior, person)}
    return {"triplets": rows, "clips": clips}
