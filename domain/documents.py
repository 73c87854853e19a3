"""JSON documents: what comes in is checked once, what goes out has one form.

What users write (definitions, inputs) is kept exactly as it was received: key order, numbers, absent keys.
"""

import json
from math import isinf
from typing import TypeAlias
from urllib.parse import parse_qs

from pydantic import JsonValue
from pydantic_core import from_json

from domain.errors import InvalidRequest

Document: TypeAlias = dict[str, JsonValue]
"""A JSON object."""

MAX_DEPTH = 100
"""How deeply arrays and objects may nest."""

FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 100
_MAX_BITS = 1024
"""Integers beyond have no counterpart among floating point numbers, which is what most readers have."""


def parse(data: bytes) -> JsonValue:
    """The JSON value in `data`.

    Raises:
        InvalidRequest: it is no JSON, or JSON that cannot be stored and sent on faithfully: NaN, infinite
            numbers, NUL characters, half surrogate pairs, nesting beyond `MAX_DEPTH`.
    """
    try:
        value: JsonValue = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    refuse_unfaithful(value, 0)
    return value


def canonical(value: JsonValue) -> str:
    """The value as JavaScript's `JSON.stringify` writes it: no spaces, non-ASCII as it is, 5.0 as 5."""
    return json.dumps(_integral(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def same(left: JsonValue, right: JsonValue) -> bool:
    """Whether both are one JSON value; the order of keys does not matter, and true is not 1.

    >>> same({"a": 1, "b": 2}, {"b": 2.0, "a": 1}), same([1], [True])
    (True, False)
    """
    match left, right:
        case dict(), dict():
            return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
        case list(), list():
            return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) is isinstance(right, bool) and left == right


def _integral(value: JsonValue) -> JsonValue:
    match value:
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
        case dict():
            return {key: _integral(item) for key, item in value.items()}
        case list():
            return [_integral(item) for item in value]
    return value


def refuse_unfaithful(value: JsonValue, depth: int = 0) -> None:
    """Refuse a value that cannot be stored and sent on faithfully.

    Raises:
        InvalidRequest: says what is in it.
    """
    level = [value]
    while level:  # level by level, because a call for each value costs more than all the rest of reading a body
        texts: list[str] = []
        inner: list[JsonValue] = []
        nests = False
        for item in level:
            if isinstance(item, str):
                texts.append(item)
            elif isinstance(item, dict):
                nests = True
                texts += item
                inner += item.values()
            elif isinstance(item, list):
                nests = True
                inner += item
            elif isinstance(item, float):
                if isinf(item):
                    raise InvalidRequest("the body holds a number that is too large")
            elif isinstance(item, int) and item.bit_length() > _MAX_BITS:
                raise InvalidRequest("the body holds a number that is too large")
        if "\x00" in "".join(texts):
            raise InvalidRequest("the body holds a NUL character, which no text may contain")
        if nests and depth >= MAX_DEPTH:
            raise InvalidRequest(f"the body nests deeper than {MAX_DEPTH} levels")
        level, depth = inner, depth + 1


def posted(body: bytes, content_type: str) -> JsonValue:
    """The JSON that a webhook sends, as such or in the field `payload` of a form.

    Raises:
        InvalidRequest: there is none.
    """
    if content_type.partition(";")[0].strip().lower() != FORM:
        return parse(body)
    try:
        payload = parse_qs(body.decode(), max_num_fields=_MOST_FIELDS, errors="strict").get("payload")
    except ValueError as fault:
        raise InvalidRequest(f"the body is no form in UTF-8: {fault}") from None
    if not payload:
        raise InvalidRequest("payload: is required in a form, and must be JSON")
    return parse(payload[0].encode())
