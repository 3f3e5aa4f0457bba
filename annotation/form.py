"""The labelling form: the questions annotators answer, as XML of Label Studio, and whether two forms ask the same.

Every export carries the form's hash. A server lets anybody rename a choice that votes already use, so a changed
form must be noticed before its votes are mixed with others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

from rsat_data.errors import LabelError

FORM_PATH = Path(__file__).with_name("label_config.xml")
GUIDELINES_PATH = Path(__file__).with_name("guidelines.md")

#: Questions every project of this loop must ask, with the answers it must offer.
REQUIRED = MappingProxyType(
    {
        "kinship": ("blood", "non_blood", "unsure"),
        "status": ("equal", "unequal", "unsure"),
        "senior": ("A", "B", "unsure"),
        "confidence": ("1", "2", "3", "4", "5"),
    }
)

_CONTROLS = {
    "Choices": "Choice",
    "Labels": "Label",
    "ParagraphLabels": "Label",
    "TimelineLabels": "Label",
    "Rating": "",
    "TextArea": "",
}
_MAX_XML = 200_000


@dataclass(frozen=True)
class Question:
    """One control of the form."""

    name: str
    """Its name, which results carry as ``from_name``."""
    kind: str
    """Tag, such as ``Choices``."""
    about: str
    """Name of the object it belongs to (``to_name``)."""
    choices: tuple[str, ...]
    """Values in their order; empty for free text."""
    multiple: bool
    """Whether several values may be chosen."""
    required: bool
    """Whether the editor insists on an answer."""
    visible_when: tuple[tuple[str, str], ...]
    """Conditions (question, value) under which the editor shows it."""


@dataclass(frozen=True)
class Form:
    """A labelling form."""

    xml: str
    """As the server takes it."""
    hash: str
    """:func:`form_hash` of ``xml``."""
    questions: Mapping[str, tuple[str, ...]]
    """Name of a question -> its values; empty for free text."""
    controls: Mapping[str, Question] = field(repr=False)
    """The same questions in full."""
    objects: Mapping[str, tuple[str, str]] = field(repr=False)
    """Name of an object (video, transcript, ...) -> its tag and the task field it shows, such as ``$video``."""


def load_form(path: Path | None = None) -> Form:
    """Read a form; the shipped one without ``path``.

    Raises:
        LabelError: the file cannot be read, is no XML, or lacks a question of :data:`REQUIRED`.
    """
    path = FORM_PATH if path is None else path
    try:
        xml = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(
            f"The labelling form {path} cannot be read: {error}.", hint="Give a file of UTF-8 XML.", path=path
        ) from error
    form = parse_form(xml, name=str(path))
    lacking = missing_questions(form)
    if lacking:
        raise LabelError(
            f"The labelling form {path} cannot be used: {'; '.join(lacking)}.",
            hint=f"Start from {FORM_PATH}; questions may be added, not taken away.",
            path=path,
        )
    return form


@cache
def parse_form(xml: str, name: str = "the form") -> Form:
    """Take a form apart.

    Raises:
        LabelError: it is no XML, or two controls have one name.
    """
    root = _parse(xml, name)
    controls: dict[str, Question] = {}
    objects: dict[str, tuple[str, str]] = {}
    for element, conditions in _walk(root, ()):
        own = element.get("name")
        if not own:
            continue
        if own in controls or own in objects:
            raise LabelError(f"{name} has two controls named '{own}'.", hint="Give each control a name of its own.")
        if element.tag in _CONTROLS:
            controls[own] = _question(element, own, conditions)
        elif element.get("value"):
            objects[own] = (element.tag, element.get("value", ""))
    questions = {key: question.choices for key, question in controls.items()}
    return Form(xml, form_hash(xml), MappingProxyType(questions), MappingProxyType(controls), MappingProxyType(objects))


def form_hash(xml: str) -> str:
    """sha256 of the form in canonical XML (C14N 2.0, no comments, no white space around text), 64 hex digits.

    Order of attributes, indentation and comments do not change it; everything else does, looks included.
    """
    _parse(xml, "the form")
    return hashlib.sha256(ElementTree.canonicalize(xml, strip_text=True).encode("utf-8")).hexdigest()


def missing_questions(form: Form) -> list[str]:
    """What of :data:`REQUIRED` a form does not ask, in words."""
    lacking = []
    for name, wanted in REQUIRED.items():
        have = form.questions.get(name)
        if have is None:
            lacking.append(f"it has no question '{name}'")
        elif absent := [value for value in wanted if value not in have]:
            lacking.append(f"{name} has no choice {', '.join(repr(value) for value in absent)}")
    return lacking


def differences(ours: str | Form, theirs: str | Form) -> list[str]:
    """What another form asks differently, one readable line each; empty where only looks differ.

    Compared are questions, their values, kinds, objects, and when they are shown; never titles, colours or hotkeys.
    """
    mine = ours if isinstance(ours, Form) else parse_form(ours, "our form")
    if not isinstance(theirs, Form):
        try:
            theirs = parse_form(theirs, "the project's form")
        except LabelError as error:
            return [error.message]
    found = []
    for name, question in mine.controls.items():
        other = theirs.controls.get(name)
        if other is None:
            found.append(f"{name}: the question is gone")
            continue
        found += _compare(question, other)
    found += [f"{name}: a question that is not ours" for name in theirs.controls if name not in mine.controls]
    for name, (tag, value) in mine.objects.items():
        there = theirs.objects.get(name)
        if there is None:
            found.append(f"{name}: the {tag} is gone")
        elif there != (tag, value):
            found.append(f"{name}: {tag} of {value} is now {there[0]} of {there[1]}")
    return found


def _compare(ours: Question, theirs: Question) -> Iterator[str]:
    name = ours.name
    gone = [value for value in ours.choices if value not in theirs.choices]
    new = [value for value in theirs.choices if value not in ours.choices]
    # As many gone as new, at the same places: renamed.
    if gone and len(ours.choices) == len(theirs.choices):
        pairs = [(a, b) for a, b in zip(ours.choices, theirs.choices, strict=True) if a in gone and b in new]
        for before, after in pairs:
            yield f"{name}: choice '{before}' is now '{after}'"
        gone = [value for value in gone if value not in {a for a, _ in pairs}]
        new = [value for value in new if value not in {b for _, b in pairs}]
    for value in gone:
        yield f"{name}: choice '{value}' is gone"
    for value in new:
        yield f"{name}: choice '{value}' is new"
    if ours.kind != theirs.kind:
        yield f"{name}: {ours.kind} is now {theirs.kind}"
    if ours.about != theirs.about:
        yield f"{name}: it was about '{ours.about}' and is now about '{theirs.about}'"
    if ours.multiple != theirs.multiple:
        yield f"{name}: {'one value' if theirs.multiple is False else 'several values'} may be chosen now"
    if ours.required != theirs.required:
        yield f"{name}: an answer is {'required' if theirs.required else 'not required any more'}"
    if ours.visible_when != theirs.visible_when:
        yield f"{name}: it is shown {_condition(theirs.visible_when)}, not {_condition(ours.visible_when)}"


def _condition(conditions: tuple[tuple[str, str], ...]) -> str:
    return "when " + " and ".join(f"{name} is {value}" for name, value in conditions) if conditions else "always"


def _parse(xml: str, name: str) -> ElementTree.Element:
    # A declared entity can be made to grow without bound, and no form needs one.
    if len(xml) > _MAX_XML or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise LabelError(f"{name} is too long or declares a document type.", hint="Give plain XML without DOCTYPE.")
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise LabelError(f"{name} is no well-formed XML: {error}.", hint="Correct it there.") from error


def _walk(
    element: ElementTree.Element, conditions: tuple[tuple[str, str], ...]
) -> Iterator[tuple[ElementTree.Element, tuple[tuple[str, str], ...]]]:
    if element.get("visibleWhen") == "choice-selected":
        conditions = (*conditions, (element.get("whenTagName", ""), element.get("whenChoiceValue", "")))
    yield element, conditions
    for child in element:
        yield from _walk(child, conditions)


def _question(element: ElementTree.Element, name: str, conditions: tuple[tuple[str, str], ...]) -> Question:
    inner = _CONTROLS[element.tag]
    if element.tag == "Rating":
        choices = tuple(str(value) for value in range(1, int(element.get("maxRating", "5")) + 1))
    else:
        # An alias is what results carry where it is given.
        children = list(element.iter(inner)) if inner else []
        found = [child.get("alias") or child.get("value") or "" for child in children]
        choices = tuple(found)
    return Question(
        name=name,
        kind=element.tag,
        about=element.get("toName", ""),
        choices=choices,
        multiple=element.get("choice") == "multiple",
        required=element.get("required", "false").lower() == "true",
        visible_when=conditions,
    )
