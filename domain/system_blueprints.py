"""The blueprints every organization begins with: people, teams, scorecards. They can be extended, not deleted."""

import copy
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from pydantic import JsonValue

from domain.documents import Document
from domain.errors import Forbidden, InvalidRequest
from domain.scorecard_blueprints import SCORECARD_BLUEPRINTS
from domain.shapes import MAX_PROBLEMS, json_path
from domain.users import ADMIN, MEMBER

_USER: Final[Document] = {
    "identifier": "_user",
    "title": "User",
    "icon": "User",
    "description": "A person; the identifier is the email address",
    "schema": {
        "properties": {
            "status": {
                "type": "string",
                "title": "Status",
                "enum": ["Active", "Staged", "Invited", "Disabled"],
                "enumColors": {"Active": "green", "Staged": "yellow", "Invited": "blue", "Disabled": "lightGray"},
                "default": "Active",
            },
            "port_role": {
                "type": "string",
                "title": "Role",
                "description": f"{ADMIN}, {MEMBER} or another role of the organization",
                "default": MEMBER,
            },
            "port_type": {
                "type": "string",
                "title": "Type",
                "enum": ["Standard", "Service Account"],
                "enumColors": {"Standard": "blue", "Service Account": "purple"},
                "default": "Standard",
            },
            "port_email": {
                "type": "string",
                "title": "Email",
                "description": "The email address, also where the identifier cannot be it",
            },
        },
        "required": [],
    },
    "mirrorProperties": {},
    "calculationProperties": {},
    "aggregationProperties": {},
    "relations": {"teams": {"title": "Teams", "target": "_team", "required": False, "many": True}},
}

_TEAM: Final[Document] = {
    "identifier": "_team",
    "title": "Team",
    "icon": "Team",
    "description": "People who own things together",
    "schema": {
        "properties": {
            "description": {"type": "string", "title": "Description"},
            "port_name": {
                "type": "string",
                "title": "Name",
                "description": "What the team is called, also where the identifier cannot be it",
            },
        },
        "required": [],
    },
    "mirrorProperties": {},
    "calculationProperties": {},
    "aggregationProperties": {
        "size": {
            "title": "Size",
            "description": "How many people are in it",
            "type": "number",
            "target": "_user",
            "calculationSpec": {"calculationBy": "entities", "func": "count"},
            "pathFilter": [{"path": ["teams"], "fromBlueprint": "_user"}],
        }
    },
    "relations": {},
}


_ABOUT = frozenset({"title", "icon", "description", "enumColors"})
"""What says how a thing looks: everybody may change that."""
_PARTS: Final = (
    ("schema", "properties"),
    ("mirrorProperties",),
    ("calculationProperties",),
    ("aggregationProperties",),
    ("relations",),
)
"""Where a blueprint keeps things by key."""
_REQUIRED = ("schema", "required")


def system_blueprints() -> tuple[Document, ...]:
    """Each of them as it is shipped, a target before those that name it; the caller may change what it gets."""
    return copy.deepcopy((_TEAM, _USER, *SCORECARD_BLUEPRINTS))


_SHIPPED: Final[Mapping[str, Document]] = {str(document["identifier"]): document for document in system_blueprints()}


def is_system(identifier: str) -> bool:
    """Whether the blueprint is one of the system's."""
    return identifier in _SHIPPED


def structure(identifier: str) -> Document | None:
    """The system part of the blueprint, as it is shipped; None of one that has none."""
    return copy.deepcopy(_SHIPPED.get(identifier))


def require_own_name(identifier: str) -> None:
    """Refuse a new blueprint whose name could become one of the system's.

    Raises:
        InvalidRequest: it begins with `_`. One that there is already is found to be taken, as any other.
    """
    if identifier.startswith("_") and not is_system(identifier):
        raise InvalidRequest("identifier: must not begin with _, as those of system blueprints do")


def require_deletable(identifier: str) -> None:
    """Refuse to delete a blueprint of the system.

    Raises:
        Forbidden: it is one.
    """
    if is_system(identifier):
        raise Forbidden(f"{identifier} is a system blueprint: it can be extended, not deleted")


def extended(document: Document) -> Document:
    """The blueprint with all of the system part; the very document when it has it, or is none of the system's.

    What of the system part is absent is put back, so that an extension need not repeat it. Everything may get another
    title, icon, description and other colours. What has not the shape of a blueprint stays, for the parser to refuse.

    Raises:
        InvalidRequest: it would change the system part; the message names each place by its path.
    """
    shipped = _shipped(document)
    faults = list(islice(_faults(document, shipped), MAX_PROBLEMS))
    if faults:
        raise InvalidRequest("; ".join(faults))
    return _completed(document, shipped)


def upgraded(document: Document) -> Document:
    """A stored blueprint with the system part of this version; the very document when it has it.

    A key that an extension has taken and that is the system's now is the system's from here on.
    """
    shipped = _shipped(document)
    after = _completed(_yielding(document, shipped), shipped)
    return document if after == document else after


def _shipped(document: Document) -> Document:
    identifier = document.get("identifier")
    return _SHIPPED.get(identifier, {}) if isinstance(identifier, str) else {}


def _keyed(document: Document, path: tuple[str, ...]) -> JsonValue:
    """What the document has there; null counts as empty."""
    value: JsonValue = document
    for key in path:
        value = value.get(key) if isinstance(value, dict) else value
    return {} if value is None else value


def _parts(document: Document, shipped: Document) -> Iterator[tuple[tuple[str, ...], str, JsonValue, Document]]:
    """Each part of the system's that the document has, too: where, its key, what it is there, and as it is shipped."""
    for path in _PARTS:
        ours, given = _keyed(shipped, path), _keyed(document, path)
        if isinstance(ours, dict) and isinstance(given, dict):
            for key, part in ours.items():
                if key in given and isinstance(part, dict):
                    yield path, key, given[key], part


def _faults(document: Document, shipped: Document) -> Iterator[str]:
    for path, key, given, part in _parts(document, shipped):
        if not isinstance(given, dict):
            yield f"{json_path([*path, key])}: is a part of the system blueprint and cannot go"
            continue
        for name in _differing(given, part):
            yield f"{json_path([*path, key, name])}: is a part of the system blueprint and cannot change"


def _differing(given: Document, part: Document) -> Iterator[str]:
    for name, value in given.items():
        if name not in _ABOUT and (value != part[name] if name in part else bool(value)):
            yield name


def _completed(document: Document, shipped: Document) -> Document:
    after = {**document, **{key: copy.deepcopy(value) for key, value in shipped.items() if document.get(key) is None}}
    for path in _PARTS:
        ours, given = _keyed(shipped, path), _keyed(after, path)
        if isinstance(ours, dict) and ours and isinstance(given, dict):
            whole = {key: _filled(value, ours[key]) if key in ours else value for key, value in given.items()}
            _put(after, path, {**whole, **{key: copy.deepcopy(ours[key]) for key in ours if key not in whole}})
    ours, given = _keyed(shipped, _REQUIRED), _keyed(after, _REQUIRED) or []
    if isinstance(after.get("schema"), dict) and isinstance(ours, list) and isinstance(given, list):
        missing = [key for key in ours if key not in given]
        if missing:
            _put(after, _REQUIRED, [*given, *missing])
    return document if after == document else after


def _filled(given: JsonValue, part: JsonValue) -> JsonValue:
    if not (isinstance(given, dict) and isinstance(part, dict)):
        return given
    return {**given, **{name: copy.deepcopy(value) for name, value in part.items() if name not in given}}


def _put(document: Document, path: tuple[str, ...], value: JsonValue) -> None:
    """Place the value in a document of which only the top level may be changed."""
    if len(path) == 1:
        document[path[0]] = value
        return
    inner = document.get(path[0])
    document[path[0]] = {**(inner if isinstance(inner, dict) else {}), path[1]: value}


def _yielding(document: Document, shipped: Document) -> Document:
    """The document without what an extension has under a key of the system's, besides how that looks."""
    after = dict(document)
    for path, key, given, part in _parts(document, shipped):
        if not isinstance(given, dict) or any(_differing(given, part)):
            looks = {name: value for name, value in given.items() if name in _ABOUT} if isinstance(given, dict) else {}
            _put(after, path, {**_dict(_keyed(after, path)), key: {**copy.deepcopy(part), **looks}})
    taken = {path: set(_dict(_keyed(shipped, path))) for path in _PARTS}
    for path in _PARTS:
        given = _dict(_keyed(after, path))
        elsewhere = set[str]().union(*(keys for other, keys in taken.items() if other != path))
        if doomed := elsewhere & set(given):
            _put(after, path, {key: value for key, value in given.items() if key not in doomed})
    return after


def _dict(value: JsonValue) -> Document:
    return value if isinstance(value, dict) else {}
