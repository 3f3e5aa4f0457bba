"""``rsat-data label serve``, ``init`` and ``doctor``: from nothing to a project that can be labelled."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rsat_data.errors import EXIT_ERROR, EXIT_OK, UsageError

_PATH = click.Path(path_type=Path)

SERVE_EPILOG = """\b
Examples:
  rsat-data label serve my_dataset
  rsat-data label serve my_dataset --port 8081 --token-file ~/.label-token
  rsat-data label serve my_dataset --background
  rsat-data label serve --stop

\b
The first time, the server is installed into an environment of its own (1 GB, about two minutes) and makes its database
(one to two minutes). It listens on 127.0.0.1 alone, shows files of one folder of its own, and asks nothing of the
internet. Password and token are printed once: keep them. Ctrl-C stops it; everything is kept for the next start.
"""


@click.command(epilog=SERVE_EPILOG)
@click.argument("out", type=_PATH, required=False)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="0 takes a free one.  [default: that of the last start, or 8080]"
)
@click.option("--data", type=_PATH, metavar="DIR", help="Folder for database and media.  [default: one per user]")
@click.option(
    "--server-executable",
    "executable",
    type=_PATH,
    metavar="FILE",
    help="label-studio of an environment that exists; also RSAT_LABEL_SERVER.",
)
@click.option("--token-file", type=_PATH, metavar="FILE", help="Write the token there instead of printing it.")
@click.option("--new-token", is_flag=True, help="Make a new password and token; the earlier ones stop working.")
@click.option("--background", is_flag=True, help="Return when the server answers, and leave it running.")
@click.option("--stop", "stopping", is_flag=True, help="End the server that runs, and stop there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
def serve(out: Path | None, background: bool, stopping: bool, as_json: bool, **options: Any) -> int:
    """Start a label server on this machine, for this machine only.

    OUT is a dataset, which then knows where its server is.
    """
    from annotation.server import ServeOptions
    from annotation.server import serve as start
    from annotation.server import stop as end

    if out is not None and not out.is_dir():
        raise UsageError(f"{out} is not a folder.", hint="Give the folder of a dataset, or nothing.", path=out)
    wanted = ServeOptions(**options)
    if stopping:
        ended = end(wanted)
        if as_json:
            click.echo(json.dumps({"stopped": ended.url if ended else None}))
        else:
            click.echo(f"stopped the server at {ended.url}" if ended else "no server runs")
        return EXIT_OK
    begun = time.monotonic()

    def progress(text: str) -> None:
        click.echo(f"[{time.monotonic() - begun:4.0f} s] {text}", err=True)

    with _ended_by_signals():
        server = start(out, wanted, progress)
        left_running = False
        try:
            _tell(server, out, wanted.token_file, background, as_json)
            left_running = background
            if background:
                return EXIT_OK
            code = server.wait()
        except KeyboardInterrupt:
            code = 0
        finally:
            # Before a word is said: with the terminal gone, saying it fails.
            if not left_running:
                server.stop()
    # Zero and these signals are what Ctrl-C here or --stop elsewhere come to.
    if code in (0, -signal.SIGINT, -signal.SIGTERM):
        click.echo("\nstopped the server", err=True)
        return EXIT_OK
    click.echo(f"the server ended by itself with exit code {code}; see {server.state.log}", err=True)
    return EXIT_ERROR


def _tell(server: Any, out: Path | None, token_file: Path | None, background: bool, as_json: bool) -> None:
    account, state = server.account, server.state
    if as_json:
        record = {"url": state.url, "pid": state.pid, "media_root": str(state.media_root), "log": str(state.log)}
        if account is not None:
            record |= {"email": account.email, "password": account.password}
            record |= {"token_file": str(token_file)} if token_file else {"token": account.token.reveal()}
        click.echo(json.dumps(record))
        return
    lines = [f"The label server runs at {state.url}"]
    if account is not None:
        lines += ["", "Shown this once, keep it:"]
        lines += [f"  sign in as  {account.email}", f"  password    {account.password}"]
        lines += ["", "For the other label commands, in another terminal:"]
        if token_file is not None:
            lines += [f'  export LABEL_STUDIO_API_KEY="$(cat {token_file})"     (only you can read this file)']
        else:
            lines += [f"  export LABEL_STUDIO_API_KEY={account.token.reveal()}"]
    else:
        lines += ["", "Password and token are those of its first start. Lost? rsat-data label serve --new-token"]
    lines += ["", "Next:", f"  rsat-data label init {out or 'my_dataset'}"]
    end = "rsat-data label serve --stop ends it" if background else "Ctrl-C ends it; everything is kept"
    click.echo("\n".join([*lines, "", end]))


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let the end of a session or a service manager end the server as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    names = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(name, interrupt) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


INIT_EPILOG = """\b
Examples:
  rsat-data label init my_dataset
  rsat-data label init my_dataset --overlap 2 --title "Family dinners"
  rsat-data label init my_dataset --url https://labels.example.org --token-file ~/.label-token
  rsat-data label init my_dataset --again
"""


@click.command(epilog=INIT_EPILOG)
@click.argument("out", type=_PATH)
@click.option("--url", metavar="URL", help="The label server; also LABEL_STUDIO_URL.  [default: what `serve` noted]")
@click.option("--token-file", type=_PATH, metavar="FILE", help="File with the token; also LABEL_STUDIO_API_KEY.")
@click.option("--title", metavar="TEXT", help="Title of the project.  [default: from the folder's name]")
@click.option("--overlap", default=3, show_default=True, metavar="N", type=int, help="People who answer each clip.")
@click.option("--prediction-version", metavar="TEXT", help="Version of the predictions that are shown.")
@click.option("--form", type=_PATH, metavar="FILE", help="A form of your own (XML): it may ask more, not less.")
@click.option("--guidelines", type=_PATH, metavar="FILE", help="Instruction for annotators (Markdown).")
@click.option("--again", is_flag=True, help="Make a new project where the old one was deleted on the server.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
def init(out: Path, as_json: bool, prediction_version: str | None, **options: Any) -> int:
    """Make the labelling project of the dataset in OUT, or say that it exists."""
    from rsat_data.siblings import check_siblings

    check_siblings()
    from annotation.project import InitOptions
    from annotation.project import init as make

    if prediction_version is not None:
        options["prediction_version"] = prediction_version
    result = make(out, InitOptions(**options))
    project = result.project
    if as_json:
        record = asdict(project)
        del record["form_xml"]
        click.echo(json.dumps({**record, "created": result.created, "address": result.address, "notes": result.notes}))
        return EXIT_OK
    verb = "made" if result.created else "exists already:"
    click.echo(f"{verb} project {project.project_id}, '{project.title}', {project.overlap} answers a clip")
    click.echo(f"  {result.address}")
    for note in result.notes:
        click.echo(f"  note: {note}")
    click.echo(f"Next: rsat-data label push {out}")
    return EXIT_OK


DOCTOR_EPILOG = """\b
Examples:
  rsat-data label doctor
  rsat-data label doctor my_dataset
  rsat-data label doctor my_dataset --json

\b
Exit codes: 0 no problem, 1 at least one. The token is described and never shown.
"""


@click.command(epilog=DOCTOR_EPILOG)
@click.argument("out", type=_PATH, required=False)
@click.option(
    "--url", metavar="URL", help="The label server; also LABEL_STUDIO_URL.  [default: what the dataset noted]"
)
@click.option("--token-file", type=_PATH, metavar="FILE", help="File with the token; also LABEL_STUDIO_API_KEY.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def doctor(out: Path | None, as_json: bool, **options: Any) -> int:
    """Check token, server, versions, project, and what the server may show of its machine."""
    from rsat_data.siblings import check_siblings

    check_siblings()
    from annotation.doctor import DoctorOptions
    from annotation.doctor import doctor as examine

    report = examine(out, DoctorOptions(**options))
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
        return EXIT_OK if report.healthy else EXIT_ERROR
    marks = {
        "ok": ("ok", "green"),
        "problem": ("PROBLEM", "red"),
        "note": ("note", "yellow"),
        "skipped": ("-", "white"),
    }
    for check in report.checks:
        mark, colour = marks[check.state]
        click.secho(f"{mark:<8}", fg=colour, nl=False)
        click.echo(f"{check.name}: {check.text}")
        if check.fix:
            click.echo(f"{'':8}  {check.fix}")
    return EXIT_OK if report.healthy else EXIT_ERROR
