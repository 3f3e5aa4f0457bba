"""Options of ``rsat-data render``, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.motion.conversation import Relation
from rsat_data.errors import UsageError
from rsat_data.rendering.relation import mirrored, parse_relation

Mode = Literal["rows", "talk", "codes"]
STDIN = Path("-")


@dataclass(frozen=True)
class RenderOptions:
    """Options of the command, as given."""

    target: Path
    dataset: Path | None = None
    row: str | None = None
    clip: str | None = None
    run: Path | None = None
    stage: str | None = None
    audio: tuple[Path, ...] = ()
    avatars: tuple[Path, ...] = ()
    subjects: tuple[str, ...] = ()
    codes: Path | None = None
    relations: tuple[str, ...] = ()
    compare: bool = False
    stream: bool = False
    mean: bool = False
    seed: int = 0
    see_partner: bool = False
    sound: str = "stereo"
    size: int = 512
    background: str = "white"
    device: str = "auto"
    as_json: bool = False
    quiet: bool = False

    @property
    def draw(self) -> int | None:
        """Seed of the draw; None for the mean."""
        return None if self.mean else self.seed

    def mode(self) -> Mode:
        """What is to be drawn.

        Raises:
            UsageError: options that do not go together, or none that says what to draw.
        """
        asked = [name for name, given in (
            ("--row or --clip", self.row is not None or self.clip is not None),
            ("--codes", self.codes is not None),
        ) if given]  # fmt: skip
        if len(asked) > 1:
            raise UsageError(f"{' and '.join(asked)} are different things to draw: give one.")
        if self.row is not None and self.clip is not None:
            raise UsageError("--row draws one person, --clip both: give one of them.")
        if self.target.suffix.lower() != ".mp4":
            raise UsageError(f"--out {self.target} is no file .mp4.", hint="For example --out talk.mp4")
        if self.size % 2 or not 64 <= self.size <= 2048:
            raise UsageError(f"--size must be an even number from 64 to 2048, it is {self.size}.")
        if self.seed < 0:
            raise UsageError(f"--seed must not be negative, it is {self.seed}.")
        mode: Mode = "codes" if self.codes is not None else "rows" if asked else "talk"
        {"rows": self._check_rows, "talk": self._check_talk, "codes": self._check_codes}[mode]()
        if self.stream and mode != "talk":
            raise UsageError("--stream draws while sound arrives: it goes with --run and --audio.")
        return mode

    def _check_rows(self) -> None:
        if self.dataset is None:
            raise UsageError("Which dataset? --row and --clip are found in one.", hint="rsat-data render DATASET ...")
        self._refuse("--row and --clip", audio=self.audio, avatars=self.avatars, subjects=self.subjects)
        if self.run is None:
            self._refuse("rows without --run", relation=self.relations, compare=self.compare, mean=self.mean)

    def _check_codes(self) -> None:
        self._refuse("--codes", run=self.run, relation=self.relations, compare=self.compare, mean=self.mean)
        if len(self.audio) > 1 or self.audio == (STDIN,):
            raise UsageError("With --codes, --audio takes one file: the sound that goes with them.")
        if len(self.avatars) + len(self.subjects) > 1:
            raise UsageError("--codes move one person: give one --avatars folder, or one of --subjects.")
        self._check_people()

    def _check_talk(self) -> None:
        if self.run is None and not self.audio:
            raise UsageError(
                "What should be drawn? A row (DATASET --row ID), both people of a clip (DATASET --clip ID), a run that "
                "is driven by sound (--run RUN --audio a.wav b.wav), or --codes FILE.",
                hint="rsat-data render --help shows an example of each.",
            )
        if self.run is None:
            raise UsageError("--audio needs a run that turns sound into motion: --run RUN.",
                             hint="Train one: rsat-data train-baseline --dataset my_dataset --run my_run")  # fmt: skip
        if not self.audio:
            raise UsageError("--run needs something to hear: --audio a.wav b.wav, or a row or clip of a DATASET.")
        if len(self.audio) > 2:
            raise UsageError("--audio takes a file of each of the two people, or one stereo file.")
        if STDIN in self.audio and (len(self.audio) > 1 or not self.stream):
            raise UsageError("--audio - reads both people from standard input: alone, and with --stream.")
        for name, given in (("--avatars", self.avatars), ("--subjects", self.subjects)):
            if len(given) not in (0, 2):
                raise UsageError(f"{name} names two people, A and then B; here it names {len(given)}.")
        if self.stream and (self.compare or len(self.relations) > 1):
            raise UsageError("--stream draws one relation; --compare is for sound that is there already.")
        self._check_people()

    def _check_people(self) -> None:
        if self.avatars and self.subjects:
            raise UsageError("Say who is drawn by --avatars or by --subjects, not both.")
        if self.subjects and self.dataset is None:
            raise UsageError("Which dataset? --subjects are found in one.", hint="rsat-data render DATASET ...")
        if self.dataset is not None and not self.subjects:
            raise UsageError(f"What of {self.dataset}? Give --row, --clip or --subjects A B.")

    def _refuse(self, what: str, **given: object) -> None:
        for name, value in given.items():
            if value:
                raise UsageError(f"--{name} does not go with {what}.")

    def chosen_relations(self) -> tuple[Relation, ...] | None:
        """One relation, or two to compare; None where none was named.

        Raises:
            UsageError: wrong words, or nothing to compare.
        """
        found = tuple(parse_relation(text) for text in self.relations)
        if len(found) > 2 or (len(found) == 2 and not self.compare):
            raise UsageError("Two relations are compared with --compare; more are not." if len(found) == 2 else
                             f"--relation was given {len(found)} times, at most two are compared.")  # fmt: skip
        if not self.compare:
            return found or None
        if not found:
            raise UsageError("What should be compared? Give --relation, such as --relation unequal,senior=A --compare")
        pair = found if len(found) == 2 else (found[0], mirrored(found[0]))
        if pair[0] == pair[1]:
            raise UsageError(f"Both relations are the same ({self.relations[0]}): there is nothing to compare.")
        return pair
