"""How a client written in Go reads and writes JSON: into typed fields, with keys left out where a value is empty."""

import json
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]

STRING: Literal["string"] = "string"
INTEGER: Literal["integer"] = "integer"
NUMBER: Literal["number"] = "number"
BOOLEAN: Literal["boolean"] = "boolean"
ANY: Literal["any"] = "any"


@dataclass(frozen=True)
class Map:
    """An object with any keys, and values of one shape."""

    of: Any


Shape = str | Map | dict[str, Any] | list[Any]
"""A kind, a `Map`, the fields of a struct by their keys, or a list with the one shape of its elements."""

_KINDS: dict[str, tuple[type, ...]] = {STRING: (str,), INTEGER: (int,), NUMBER: (int, float), BOOLEAN: (bool,)}


class WrongKindError(AssertionError):
    """A value that the client cannot read into its field: it stops there with an error."""


def read(shape: Shape, value: Any, path: str = "$") -> Any:
    """The value as it arrives in fields of this shape: unknown keys are dropped, null is like an absent key.

    Raises:
        WrongKindError: names the path of the first value of another kind.
    """
    if value is None or shape == ANY:
        return value
    if isinstance(shape, str):
        if not isinstance(value, _KINDS[shape]) or isinstance(value, bool) != (shape == BOOLEAN):
            raise WrongKindError(f"{path}: {value!r} is no {shape}")
        return value
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise WrongKindError(f"{path}: {value!r} is no list")
        return [read(shape[0], one, f"{path}[{place}]") for place, one in enumerate(value)]
    if not isinstance(value, dict):
        raise WrongKindError(f"{path}: {value!r} is no object")
    if isinstance(shape, Map):
        return {key: read(shape.of, one, f"{path}.{key}") for key, one in value.items()}
    known = {key: read(shape[key], one, f"{path}.{key}") for key, one in value.items() if key in shape}
    return {key: one for key, one in known.items() if one is not None}


def plain(value: Any) -> Any:
    """The value with numbers as Go writes them: 1.0 is 1."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def text(value: Any) -> str:
    """The value as JSON with sorted keys, which is also what `jsonencode` of Terraform gives."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parsed(encoded: str | None) -> Any:
    """What an attribute holds that is JSON in a string; None if it is not set."""
    return None if encoded is None else plain(json.loads(encoded))


def encoded(value: Any, *, before: str | None = None) -> str | None:
    """The attribute for a value: the text that was there before, if it says the same."""
    if value is None:
        return None
    return before if before is not None and text(json.loads(before)) == text(value) else text(value)


def without_empty(fields: Json) -> Json:
    """The fields that are written: all but those that hold nothing."""
    return {key: value for key, value in fields.items() if value is not None and value not in ("", {})}
