"""The readers of the parts of a rule: each gives the value that JSON says, or refuses it by its path.

Every function here takes what was written and its path, and raises InvalidRequest, `<path>: <problem>`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, TypeVar

from pydantic import JsonValue

from domain.comparisons import Scalar, instant
from domain.documents import Document
from domain.errors import InvalidRequest
from domain.rule_values import Context, Hop, Listed, Period, Preset, SchemaShape
from domain.shapes import Path, json_path, shortened

WHOLE: Final = "the query"
"""The path of the document itself."""

MAX_VALUES: Final = 10_000
"""How many values one array may have."""

MAX_PATH: Final = 20
"""How many relations a path may name."""

MAX_HOPS: Final = 15
"""How often one relation of a path may be followed."""

META: Final = (
    *("$identifier", "$title", "$team", "$icon", "$blueprint", "$datasource", "$owned_by_team"),
    *("$createdAt", "$updatedAt", "$createdBy", "$updatedBy"),
)
"""What every entity has."""

Choice = TypeVar("Choice")

_LONGEST: Final = 600
_DATE_TIME: Final = "a date-time such as 2026-01-02T03:04:05Z"
_WHOSE: Final[dict[str, Literal["user", "userTeams"]]] = {"user": "user", "userTeams": "userTeams"}
_TYPES: Final = {name: name for name in ("string", "number", "boolean", "object", "array")}
_PRESETS: Final = {preset.value: preset for preset in Preset}


def hops(written: JsonValue, path: Path) -> tuple[Hop, ...]:
    """A path of one to `MAX_PATH` relations."""
    steps = array(written, path)
    if not 1 <= len(steps) <= MAX_PATH:
        raise fault(path, f"must name 1 to {MAX_PATH} relations")
    found: list[Hop] = []
    has_max_hops = False
    for place, step in enumerate(steps):
        here = (*path, place)
        if isinstance(step, str):
            found.append(Hop(text(step, here)))
            continue
        if not isinstance(step, dict):
            raise fault(here, "must be text or an object")
        hop = step
        closed(hop, here, "relation", optional=("maxHops",))
        most = hop.get("maxHops", 1)
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= MAX_HOPS:
            raise fault((*here, "maxHops"), f"must be an integer from 1 to {MAX_HOPS}")
        if "maxHops" in hop and has_max_hops:
            raise fault((*here, "maxHops"), "may be there only once in a path")
        has_max_hops |= "maxHops" in hop
        found.append(Hop(text(hop["relation"], (*here, "relation")), most))
    return tuple(found)


def shape(written: JsonValue, path: Path) -> SchemaShape:
    """What `propertySchema` says."""
    schema = json_object(written, path)
    closed(schema, path, "type", optional=("format", "items"))
    items, place = json_object(schema.get("items", {}), (*path, "items")), (*path, "items")
    closed(items, place, optional=("type", "format"))
    return SchemaShape(
        chosen(schema["type"], (*path, "type"), _TYPES),
        text(schema["format"], (*path, "format")) if "format" in schema else None,
        chosen(items["type"], (*place, "type"), _TYPES) if "type" in items else None,
        text(items["format"], (*place, "format")) if "format" in items else None,
    )


def context(written: Document, path: Path) -> Context:
    """A contextual operand, `{"context": "user", "property": "$identifier"}`."""
    closed(written, path, "context", "property")
    whose = chosen(written["context"], (*path, "context"), _WHOSE)
    return Context(whose, property_name(written["property"], (*path, "property")))


def period(value: JsonValue, path: Path) -> Period | Preset:
    """`{"from": ..., "to": ...}` or `{"preset": ...}`."""
    if not isinstance(value, dict):
        raise fault(path, 'must be {"from": ..., "to": ...} or {"preset": ...}')
    if "preset" in value:
        closed(value, path, "preset")
        return chosen(value["preset"], (*path, "preset"), _PRESETS)
    closed(value, path, "from", "to")
    return Period(moment(value["from"], (*path, "from")), moment(value["to"], (*path, "to")))


def moment(value: JsonValue, path: Path) -> datetime:
    """An instant."""
    if (at := instant(value)) is None:
        raise fault(path, f"must be {_DATE_TIME}")
    return at


def orderable(value: JsonValue, path: Path) -> Scalar:
    """What has more and less: a number or an instant, as it is written."""
    if isinstance(value, bool) or not (isinstance(value, int | float) or instant(value)):
        raise fault(path, f"must be a number or {_DATE_TIME}")
    return scalar(value, path)


def listed(value: JsonValue, path: Path) -> Listed:
    """An array of plain values."""
    return Listed.of(*(scalar(one, (*path, place)) for place, one in enumerate(array(value, path))))


def scalar(value: JsonValue, path: Path) -> Scalar:
    """A plain value."""
    if isinstance(value, dict | list):
        raise fault(path, "must be text, a number, a boolean or null")
    return value


def property_name(value: JsonValue, path: Path) -> str:
    """A property, or with `$` what every entity has."""
    name = text(value, path)
    if name.startswith("$") and name not in META:
        raise fault(path, f"must be a property or one of {', '.join(META)}")
    return name


def text(value: JsonValue, path: Path) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise fault(path, "must be text that is not empty")
    return value


def array(value: JsonValue, path: Path) -> list[JsonValue]:
    """An array of at most `MAX_VALUES`."""
    if not isinstance(value, list):
        raise fault(path, "must be an array")
    if len(value) > MAX_VALUES:
        raise fault(path, f"must have at most {MAX_VALUES} values")
    return value


def json_object(value: JsonValue, path: Path) -> Document:
    """An object."""
    if not isinstance(value, dict):
        raise fault(path, "must be an object")
    return value


def chosen(value: JsonValue, path: Path, choices: Mapping[str, Choice]) -> Choice:
    """What the word stands for among the choices."""
    if not isinstance(value, str) or value not in choices:
        raise fault(path, f"must be {'one of ' if len(choices) > 1 else ''}{', '.join(choices)}")
    return choices[value]


def closed(value: Document, path: Path, *required: str, optional: tuple[str, ...] = ()) -> None:
    """Refuse an object with other keys than these, or without one it needs."""
    for name in value:
        if name not in required and name not in optional:
            raise fault((*path, name), "unknown key")
    for name in required:
        if name not in value:
            raise fault((*path, name), "is required")


def fault(path: Path, problem: str) -> InvalidRequest:
    """The error that names the path and the problem."""
    return InvalidRequest(f"{json_path(path) or WHOLE}: {shortened(problem, _LONGEST)}")


def below(at: str, refusal: InvalidRequest) -> str:
    """What the refusal of a query says, if the query is at this JSON path of what was sent.

    >>> below("filter", fault(("rules", 0), "must be an object")), below("filter", fault((), "must be an object"))
    ('filter.rules[0]: must be an object', 'filter: must be an object')
    """
    said = str(refusal)
    if said.startswith(f"{WHOLE}:"):
        return at + said.removeprefix(WHOLE)
    return f"{at}{said}" if said.startswith("[") else f"{at}.{said}"
