"""Options of the stage `subjects`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rsat_data.errors import ConfigError


@dataclass(frozen=True)
class SubjectsConfig:
    """How people are known again and their clips put together. Options that `flame` has too come from there."""

    match: bool = True
    """Whether people whom nobody named are looked for in other clips; otherwise each is a subject of its own."""
    threshold: float = 0.9
    """Score from which two are taken for the same person, in (0, 1)."""
    review_from: float = 0.2
    """Scores from here up to ``threshold`` go on the review list; lower ones are taken for different people."""
    review: str = ""
    """Path of a review list with answers: a copy of ``meta/subject_review.json`` with ``same`` filled in."""
    max_review: int = 2000
    """At most so many open pairs are listed, those with the highest score."""
    focal: float = 1.6
    """Focal length where a source's clips do not tell; as in `flame`."""
    cameras: Literal["estimate", "fixed"] = "estimate"
    """estimate: one focal length per source, from all its clips; fixed: ``flame.focal`` for all."""

    def __post_init__(self) -> None:
        """Refuse thresholds that cannot be.

        Raises:
            ConfigError: naming the field.
        """
        if not 0 < self.review_from <= self.threshold < 1:
            raise ConfigError(
                f"subjects.review_from ({self.review_from:g}) and subjects.threshold ({self.threshold:g}) must lie "
                "between 0 and 1, the first not above the second."
            )
        if self.focal <= 0 or self.max_review < 0:
            raise ConfigError("subjects.focal must be positive, subjects.max_review not negative.")
