"""What is expected where a value is wrong, in words: for every kind of fault that pydantic tells of."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import regex
from pydantic import TypeAdapter
from pydantic_core import ErrorDetails

_OBJECT: Final = ("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type")
_ARRAY: Final = ("list_type", "tuple_type", "set_type", "frozen_set_type", "deque_type", "iterable_type")
_BOOLEAN: Final = ("bool_type", "bool_parsing")
_INTEGER: Final = ("int_type", "int_parsing", "int_parsing_size", "int_from_float")
_NUMBER: Final = ("float_type", "float_parsing", "finite_number", "decimal_type", "decimal_parsing")
_DATE: Final = ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact")
_DATE_TIME: Final = ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "datetime_object_invalid")
_DURATION: Final = ("time_delta_type", "time_delta_parsing")

_PLAIN: Final = {
    "missing": "is required",
    "union_tag_not_found": "is required",
    "extra_forbidden": "unknown key",
    "none_required": "must be absent",
    "string_type": "must be a string",
    "string_unicode": "must be a string of Unicode characters",
    "bytes_type": "must be a string",
    "timezone_aware": "must have a time zone, as 2026-01-02T03:04:05Z has",
    **dict.fromkeys(_OBJECT, "must be an object"),
    **dict.fromkeys(_ARRAY, "must be an array"),
    **dict.fromkeys(_BOOLEAN, "must be true or false"),
    **dict.fromkeys(_INTEGER, "must be an integer"),
    **dict.fromkeys(_NUMBER, "must be a number"),
    **dict.fromkeys(_DATE, "must be a date such as 2026-01-02"),
    **dict.fromkeys(_DATE_TIME, "must be a date-time such as 2026-01-02T03:04:05Z"),
    **dict.fromkeys(_DURATION, "must be an ISO 8601 duration such as PT30M or P1D"),
}
_BOUNDS: Final = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "greater than or equal to"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "less than or equal to"),
    "multiple_of": ("multiple_of", "a multiple of"),
}
_ISO: Final = TypeAdapter(timedelta)
_LENGTH: Final = regex.compile(
    r"datetime\.timedelta\((0|(days=(?P<days>-?\d+))?,? ?(seconds=(?P<seconds>\d+))?(, )?(microseconds=\d+)?)\)"
)
_UNKNOWN: Final = "is not valid"
"""Of what is in no table: what pydantic says of it are words for programmers."""


def expected(fault: ErrorDetails) -> str:
    """What the place must be that the fault is about, to follow its path and a colon.

    What a validator of ours says is repeated as it is.
    """
    context = fault.get("ctx", {})
    match fault["type"]:
        case "literal_error" | "enum":
            return _choice(context["expected"])
        case "union_tag_invalid":
            return _choice(context["expected_tags"])
        case "value_error" | "assertion_error":
            return str(context["error"])
        case "json_invalid":
            return f"must be JSON: {context['error']}"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}"
        case kind if kind.endswith(("too_short", "too_long")) and not kind.startswith("url"):
            return _size(kind, context)
        case kind if kind in _BOUNDS:
            key, relation = _BOUNDS[kind]
            return f"must be {relation} {_shown(context[key])}"
        case kind:
            return _PLAIN.get(kind, _UNKNOWN)


def either(texts: list[str]) -> str:
    """What is expected where values of several kinds may stand.

    >>> either(["must be a string", "must be an array"])
    'must be a string or an array'
    """
    first, *others = texts
    return " or ".join([first, *(text.removeprefix("must be ") for text in others)])


def _size(kind: str, context: Mapping[str, Any]) -> str:
    unit = "character" if kind.startswith(("string", "bytes")) else "value"
    if context.get("field_type") == "Dictionary":
        unit = "key"
    most = context.get("max_length")
    if most is not None:
        return f"must have at most {_counted(most, unit)}"
    least = context["min_length"]
    return "must not be empty" if least == 1 else f"must have at least {_counted(least, unit)}"


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _choice(quoted: str) -> str:
    words = regex.findall(r"'([^']*)'", quoted) or [quoted]
    return f"must be one of {', '.join(words)}" if len(words) > 1 else f"must be {words[0]}"


def _shown(bound: Any) -> str:
    """The bound as users write it; pydantic tells that of a duration as Python."""
    if length := _LENGTH.fullmatch(str(bound)):
        parts = {unit: int(number) for unit, number in length.groupdict().items() if number}
        bound = _ISO.dump_python(timedelta(**parts), mode="json")
    return str(bound)
