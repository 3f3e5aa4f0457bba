"""Projects on the label server: made once, found again, and recognised when somebody changed or removed them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotation.client import Client, connect
from annotation.form import GUIDELINES_PATH, Form, differences, form_hash, load_form
from annotation.store import LABELLING, LabelStore, Media, Project, Round
from rsat_data.errors import LabelError, LabelProjectError, LabelServerError, UsageError
from rsat_data.files import write_json
from rsat_data.optional import require

PREDICTION_VERSION = "rsat-rel-0.1"
MAX_OVERLAP = 20


@dataclass(frozen=True)
class InitOptions:
    """How the project of a dataset is made."""

    url: str | None = None
    """Address of the server; None: LABEL_STUDIO_URL, or what ``serve`` noted."""
    token_file: Path | None = None
    """File with the token; None: LABEL_STUDIO_API_KEY."""
    title: str | None = None
    """Title of the project, at most 50 characters; None: one with the dataset folder's name."""
    overlap: int = 3
    """How many people answer each clip."""
    prediction_version: str = PREDICTION_VERSION
    """Model version of the predictions that are shown."""
    form: Path | None = None
    """A form of one's own (it may ask more, not less); None: the shipped one."""
    guidelines: Path | None = None
    """Instruction for annotators, Markdown; None: the shipped one."""
    again: bool = False
    """Make a new project where the noted one was deleted on the server; what was noted of the old is put aside."""


@dataclass(frozen=True)
class InitResult:
    """The project of a dataset."""

    project: Project
    """As noted in the store."""
    created: bool
    """False where it was there already."""
    address: str
    """Where to look at it in a browser."""
    notes: tuple[str, ...]
    """What differs from what was asked for, in words."""


@dataclass(frozen=True)
class Checked:
    """A project that is still what it was made to be."""

    project: Project
    """As noted in the store."""
    server: Mapping[str, Any]
    """As the server tells of it."""
    notes: tuple[str, ...]
    """What was changed there without harm (title, overlap, looks), in words."""


def init(out: Path, options: InitOptions | None = None) -> InitResult:
    """Make the labelling project of the dataset in ``out``, or say that it exists.

    Raises:
        UsageError: an option is out of range.
        LabelError: no server, no token, a form that asks too little.
        LabelProjectError: the noted project is gone (see ``again``), or was edited by hand.
    """
    options = options or InitOptions()
    out = Path(out)
    form = load_form(options.form)
    validate_form(form)
    if not 1 <= options.overlap <= MAX_OVERLAP:
        raise UsageError(f"An overlap of {options.overlap} is not possible.", hint=f"Give 1 to {MAX_OVERLAP}.")
    if not options.prediction_version.strip():
        raise UsageError("The prediction version is empty.", hint=f"Leave it out, or name one: {PREDICTION_VERSION}.")
    title = project_title(out) if options.title is None else options.title.strip()
    if not 3 <= len(title) <= 50:
        raise UsageError(
            f"A project title has 3 to 50 characters, this one {len(title)}.", hint="Give another --title."
        )
    instruction = instruction_html(options.guidelines or GUIDELINES_PATH)
    store = LabelStore(out)
    store.make()
    with store.lock(), connect(options.url, options.token_file, stored_url=store.url) as client:
        settings = {"expert_instruction": instruction, "show_instruction": True}
        result = make_project(
            client,
            store.round(LABELLING),
            form,
            title=title,
            overlap=options.overlap,
            prediction_version=options.prediction_version,
            again=options.again,
            **settings,
        )
        _note_server(store, client.url)
        return result


def _note_server(store: LabelStore, url: str) -> None:
    """Note the address, and the document root where it is that of this user's own server."""
    from annotation.server.run import state

    own = state()
    if own is not None and _host(own.url) == _host(url):
        store.write_server(url=url, media_root=str(own.media_root))
    elif store.read_server().get("url") != url:
        store.write_server(url=url, media_root=None)


def make_project(
    client: Client,
    place: Round,
    form: Form,
    *,
    title: str,
    overlap: int,
    prediction_version: str,
    again: bool = False,
    **settings: Any,
) -> InitResult:
    """Make a round's project on the server, or find the one that was made; noted in the store when this returns.

    A run that was broken off between the server's answer and the note finds its project again by a mark in the
    project's description. ``settings`` go to the server as they are. The caller holds the store's lock.

    Raises:
        LabelProjectError: the noted project lies on another server, is gone (unless ``again``), or was edited by hand.
    """
    noted = place.project()
    if noted is not None:
        try:
            checked = check_project(client, place.store, form, place.name)
        except LabelProjectError as error:
            if not (again and getattr(error, "gone", False)):
                raise
            place.forget()
        else:
            notes = list(checked.notes)
            if noted.overlap != overlap:
                notes.append(f"its overlap is {noted.overlap}, and stays so")
            if noted.title != title:
                notes.append(f"its title is '{noted.title}', and stays so")
            return InitResult(noted, False, _address(client, noted.project_id), tuple(notes))
    mark = _mark(place)
    found = next((project for project in client.projects() if mark in str(project.get("description"))), None)
    body = {
        "description": f"Made by rsat-data. {mark}",
        "maximum_annotations": overlap,
        "model_version": prediction_version,
        "show_collab_predictions": True,
        # In this order all people come by the same clips first, so that agreement can be measured early.
        "sampling": "Sequential sampling",
        # An annotator sees nobody else's answers, and cannot send an empty form.
        "show_annotation_history": False,
        "enable_empty_annotation": False,
        "show_skip_button": True,
        **settings,
    }
    answer = found if found is not None else client.create_project(title, form.xml, **body)
    record = Project(
        url=client.url,
        project_id=int(answer["id"]),
        title=title,
        form_hash=form.hash,
        form_xml=form.xml,
        overlap=overlap,
        prediction_version=prediction_version,
        media=Media(),
        round=place.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    place.write_project(record)
    if found is not None:
        client.update_project(record.project_id, title=title, label_config=form.xml, **body)
    return InitResult(record, found is None, _address(client, record.project_id), ())


def check_project(client: Client, store: LabelStore, form: Form | None = None, round_name: str = LABELLING) -> Checked:
    """Make sure that a round's project is still there and still asks what it asked when it was made.

    Args:
        client: of the server.
        store: the dataset's store.
        form: what it must ask; None: the form it was made with.
        round_name: labelling or adjudication.

    Raises:
        LabelError: no project was made yet.
        LabelProjectError: it is gone (``gone`` is set on the error), lies on another server, or its questions were
            changed by hand; the message lists every change.
    """
    noted = store.round(round_name).project()
    if noted is None:
        raise LabelError(
            f"{store.out} has no {round_name} project yet.",
            hint=f"Make it: rsat-data label {'init' if round_name == LABELLING else 'adjudicate'} {store.out}",
            path=store.out,
        )
    if _host(noted.url) != _host(client.url):
        raise LabelProjectError(
            f"The project of {store.out} lies on {noted.url}, and this is {client.url}.",
            hint="Leave out --url and LABEL_STUDIO_URL, or take another copy of the dataset for another server.",
        )
    try:
        server = client.project(noted.project_id)
    except LabelServerError as error:
        if error.status != 404:
            raise
        gone = LabelProjectError(
            f"Project {noted.project_id} ('{noted.title}') is not on {client.url}: deleted, or not this user's to see.",
            hint=f"If it was deleted: rsat-data label init {store.out} --again makes a new one, to which push sends "
            "all clips once more. Votes that were pulled are kept.",
        )
        gone.gone = True
        raise gone from None
    changes = differences(form.xml if form is not None else noted.form_xml, str(server.get("label_config") or ""))
    if changes:
        raise LabelProjectError(
            f"The questions of project {noted.project_id} ('{noted.title}') were changed on the server: "
            + "; ".join(changes[:8])
            + (f"; and {len(changes) - 8} more" if len(changes) > 8 else "")
            + ".",
            hint=f"Undo it at {_address(client, noted.project_id)}/settings/labeling: votes of two forms must not mix.",
        )
    return Checked(noted, server, tuple(_notes(noted, server)))


def same_look(noted: Project, server: Mapping[str, Any]) -> bool:
    """Whether the server's form is the noted one to the last colour."""
    try:
        return form_hash(str(server.get("label_config"))) == noted.form_hash
    except LabelError:
        return False


def validate_form(form: Form) -> None:
    """Have the SDK judge a form by the server's own rules.

    Raises:
        LabelError: it would be refused; says why.
    """
    interface = require("label_studio_sdk.label_interface", needed_for="checking a labelling form")
    try:
        interface.LabelInterface(form.xml).validate()
    except Exception as error:  # The SDK raises errors of its own, of lxml and of jsonschema.
        raise LabelError(
            f"The labelling form is not one the server takes: {' '.join(str(error).split())[:400]}",
            hint="Compare it with the shipped one, annotation/label_config.xml.",
        ) from error


def instruction_html(path: Path) -> str:
    """Guidelines as the HTML that the server shows; HTML in them is shown as it is typed, and not run.

    Raises:
        LabelError: the file cannot be read.
    """
    from markdown_it import MarkdownIt

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(
            f"The guidelines {path} cannot be read: {error}.", hint="Give a file of Markdown, UTF-8.", path=path
        ) from error
    html = str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))
    return _spelled_out(html)


def _spelled_out(html: str) -> str:
    """The same HTML with bullets, numbers and space in it: the server's pages take these from lists and headings."""
    counts: list[int | None] = []

    def replace(match: re.Match[str]) -> str:
        tag = match[0]
        if tag in ("<ul>", "<ol>"):
            counts.append(0 if tag == "<ol>" else None)
        elif tag in ("</ul>", "</ol>"):
            counts.pop()
        elif tag == "<li>" and counts:
            number = counts[-1]
            if number is not None:
                counts[-1] = number + 1
            indent = "&nbsp;" * 4 * (len(counts) - 1)
            return f"{tag}{indent}{'•' if number is None else f'{number + 1}.'} "
        elif tag == "<h2>":
            return f"<br>{tag}"
        return tag

    return re.sub(r"</?(?:ul|ol|li|h2)>", replace, html).removeprefix("<br>")


def project_title(out: Path) -> str:
    """A title for the dataset's project."""
    name = out.resolve().name.strip() or "dataset"
    return f"{name[:30]}: relationships"


def _mark(place: Round) -> str:
    path = place.store.root / f"{place.name}.mark.json"
    from annotation.store import read_json

    record = read_json(path)
    generation = sum(1 for _ in place.root.parent.glob(f"{place.name}.old-*"))
    if record is None or record.get("generation") != generation:
        record = {"mark": f"rsat-{place.name}-{secrets.token_hex(8)}", "generation": generation}
        place.store.make()
        write_json(path, record)
    return str(record["mark"])


def _notes(noted: Project, server: Mapping[str, Any]) -> list[str]:
    notes = []
    if server.get("title") != noted.title:
        notes.append(f"its title is now '{server.get('title')}'")
    if server.get("maximum_annotations") != noted.overlap:
        notes.append(f"its overlap was {noted.overlap} and is now {server.get('maximum_annotations')}")
    if server.get("model_version") != noted.prediction_version:
        notes.append(
            f"it shows predictions of version '{server.get('model_version')}' and not of '{noted.prediction_version}': "
            "annotators see none of ours"
        )
    if not same_look(noted, server):
        notes.append("the form looks different, and asks the same")
    if server.get("show_annotation_history"):
        notes.append("annotators may see each other's answers (annotation history is on)")
    return notes


def _address(client: Client, project: int) -> str:
    return f"{client.url}/projects/{project}"


def _host(url: str) -> str:
    """An address without the two names of this machine."""
    return url.replace("://localhost", "://127.0.0.1").rstrip("/")
