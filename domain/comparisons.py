"""How two JSON values compare in the rules of the catalog: what Python, SQLite and PostgreSQL can all do alike.

A value has a type: null, boolean, number, text, instant, array. Values of different types are never equal and have no
order. Text is an instant if it is an ISO 8601 date-time with seconds and an offset (`2026-01-02T03:04:05.678Z`), and
then only the moment counts; other text compares character by character, case and all. Numbers compare as floating point
numbers of 64 bits. Arrays are equal if their elements are, in their order. An object, and an array that holds one or
another array, is equal to nothing, itself included.
"""

import re
from collections.abc import Callable, Hashable
from datetime import datetime
from math import inf
from typing import Any, Final, Literal, TypeAlias

from pydantic import JsonValue

Scalar: TypeAlias = str | int | float | bool | None
"""A JSON value that holds no others."""

Key: TypeAlias = tuple[Literal["null", "boolean", "number", "text", "instant", "array"], Hashable]
"""A type and a value: two JSON values are equal if their keys are."""

_INSTANT: Final = re.compile(
    r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"
)


def instant(value: JsonValue) -> datetime | None:
    """The moment a text names, or None if it names none. What is finer than a microsecond is cut off.

    >>> instant("2026-01-02T03:04:05+01:00") == instant("2026-01-02T02:04:05.000Z")
    True
    """
    if not isinstance(value, str) or value[10:11] != "T" or not _INSTANT.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:  # the 30th of February
        return None


def key(value: JsonValue) -> Key | None:
    """What the value is compared by, or None if it is equal to nothing."""
    if not isinstance(value, list):
        return _scalar_key(value)
    keys = tuple(map(_scalar_key, value))
    return None if None in keys else ("array", keys)


def _scalar_key(value: JsonValue) -> Key | None:
    match value:
        case None:
            return "null", None
        case bool():
            return "boolean", value
        case int() | float():
            return "number", double(value)
        case str():
            at = instant(value)
            return ("text", value) if at is None else ("instant", at)
    return None


def double(number: float) -> float:
    """The number as most readers have it; what is too large for them is infinite."""
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf


def equal(left: JsonValue, right: JsonValue) -> bool:
    """Whether the values are of one type and the same."""
    compared = key(left)
    return compared is not None and compared == key(right)


def equals(wanted: JsonValue) -> Callable[[JsonValue], bool]:
    """Tells of values whether they equal this one, which is looked at once."""
    compared = key(wanted)
    if compared is None:
        return lambda found: False
    if compared[0] == "text":
        return lambda found: isinstance(found, str) and found == wanted
    return lambda found: key(found) == compared


def compares(how: Callable[[Any, Any], bool], wanted: JsonValue) -> Callable[[JsonValue], bool]:
    """Tells of values whether they are so (`operator.gt`, ...) to this one; what has no order to it never is."""
    match key(wanted):
        case ("number", float(number)):
            return lambda found: (
                isinstance(found, int | float) and not isinstance(found, bool) and how(double(found), number)
            )
        case ("instant", datetime() as at):
            return lambda found: (moment := instant(found)) is not None and how(moment, at)
    return lambda found: False


def contains(whole: JsonValue, part: JsonValue) -> bool:
    """Whether the text holds the text, or the array holds an element that is equal."""
    match whole, part:
        case str(), str():
            return part in whole
        case list(), _:
            return any(equal(element, part) for element in whole)
    return False
