"""The command line. Commands are imported when they are run, so ``--help`` stays instant."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from rsat_data import __version__
from rsat_data.errors import EXIT_ERROR, EXIT_INTERRUPTED, RsatError

#: name -> (module, attribute, one-line help). Rows appear in ``--help`` in this order.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "doctor": ("rsat_data.cli.doctor", "doctor", "Show packages, hardware, model files, and what is missing for more."),
    "models": ("rsat_data.cli.models", "models", "List, fetch and verify model files; bring in FLAME and ICT heads."),
    "synth": ("rsat_data.cli.synth", "synth", "Make conversations whose truth is known."),
    "build": ("rsat_data.cli.build", "build", "Turn a folder of conversation videos into a dataset."),
    "status": ("rsat_data.cli.status", "status", "Show what of a build is done, running, quarantined."),
    "import": ("rsat_data.cli.import_", "import_", "Turn other tools' tracked codes into a dataset."),
    "export": ("rsat_data.cli.export", "export", "Write rows in other tools' formats, or as vertices."),
    "validate": ("rsat_data.cli.validate", "validate", "Check a dataset: schema, hashes, clocks, codes, splits."),
    "avatar": ("rsat_data.cli.avatar", "avatar", "Fit Gaussian avatars to the people of a dataset; draw with them."),
    "label": ("rsat_data.cli.label", "label", "Label relationships with people: push, pull, agreement, apply."),
    "train-baseline": ("rsat_data.cli.train", "train_baseline", "Train the reference model: speech of two to motion."),
    "evaluate": ("rsat_data.cli.evaluate", "evaluate", "Judge a trained run beside floors, with intervals over dyads."),
    "render": ("rsat_data.cli.render", "render", "Draw talking people: rows, runs driven by sound, codes of a file."),
    "inspect": ("rsat_data.cli.inspect", "inspect", "Draw one clip in time: sound, speakers, words, jaws, turns."),
    "preview": ("rsat_data.cli.preview", "preview", "Draw rows: a video beside its mesh, and a contact sheet."),
}

EPILOG = """\b
Examples:
  rsat-data doctor
  rsat-data build --videos my_videos --out my_dataset
  rsat-data status my_dataset
  rsat-data validate my_dataset
"""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only when it is called."""

    #: name -> (module, attribute, one-line help).
    table: Mapping[str, tuple[str, str, str]] = COMMANDS

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in self.table:
            return None
        module, attribute, _ = self.table[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the table's own help lines, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in self.table.items()])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rsat-data")
def cli() -> None:
    """Videos of conversations to Parquet triplets (speech, head mesh, image) of both people.

    Runs on any machine: no GPU, token or licence form needed.
    """


def print_error(error: RsatError) -> None:
    """Write an error and its hint to standard error."""
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(error.message, err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    with _noting_ctrl_c() as pressed:
        try:
            return _run(arguments)
        except Exception:
            # A library that is interrupted while it is imported may die of something else.
            if pressed:
                return _interrupted(arguments)
            raise


@contextmanager
def _noting_ctrl_c() -> Iterator[list[int]]:
    """A list that is no longer empty once Ctrl-C was pressed; KeyboardInterrupt is raised as ever."""
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(arguments: Sequence[str]) -> int:
    try:
        result = cli.main(args=list(arguments), prog_name="rsat-data", standalone_mode=False)
    except click.exceptions.Abort:
        return _interrupted(arguments)
    except KeyboardInterrupt:
        return _interrupted(arguments)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except RsatError as error:
        print_error(error)
        return error.exit_code
    except BrokenPipeError:
        return EXIT_ERROR
    return result if isinstance(result, int) else 0


def _interrupted(arguments: Sequence[str]) -> int:
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and os.environ.get("RANK", "0") != "0":
        return EXIT_INTERRUPTED  # one of several processes says it
    words, kept = _to_go_on(arguments)
    click.echo(f"\ninterrupted; {kept}. To go on{', with the same launcher' if several else ''}:", err=True)
    click.echo(f"  rsat-data {shlex.join(words)}", err=True)
    return EXIT_INTERRUPTED


def _to_go_on(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The command line that goes on, and what an interruption left."""
    from rsat_data.cli.resumable import Resumable

    name, *rest = arguments or [""]
    try:
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, Resumable):
            return [name, *command.resuming(rest)], command.kept
    except (click.ClickException, RsatError, OSError, ImportError):
        pass  # the same command again is never wrong
    return list(arguments), "nothing is lost"


def main() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))
