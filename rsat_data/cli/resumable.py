"""Commands that go on with other words than they were started with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click


class Resumable(click.Command):
    """A command that is stopped and goes on; ``to_resume`` tells which words its command line needs then.

    Args:
        to_resume: from the values of the options to words that are appended where they are missing.
        kept: what an interruption leaves, as a sentence without its full stop.
    """

    def __init__(
        self, *args: Any, to_resume: Callable[[Mapping[str, Any]], Sequence[str]], kept: str, **rest: Any
    ) -> None:
        super().__init__(*args, **rest)
        self.to_resume, self.kept = to_resume, kept

    def resuming(self, arguments: Sequence[str]) -> list[str]:
        """The command's own arguments as they have to be to go on."""
        context = self.make_context(self.name or "", list(arguments), resilient_parsing=True)
        return [*arguments, *(word for word in self.to_resume(context.params) if word not in arguments)]
