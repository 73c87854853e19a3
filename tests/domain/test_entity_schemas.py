"""Entities against their blueprint: values, formats, nulls, defaults, and what hostile ones cannot do."""

import json
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from domain import input_schemas
from domain.blueprints import Definition, parsed
from domain.documents import Document
from domain.entity_schemas import defaults, problems


def definition(properties: dict[str, Any], *required: str) -> Definition:
    return parsed({"identifier": "b", "schema": {"properties": properties, "required": list(required)}})


@pytest.mark.parametrize(
    ("declared", "value", "said"),
    [
        ({"type": "string"}, "", None),
        ({"type": "string"}, 1, "/properties/x must be string"),
        ({"type": "string", "enum": ["a", "b"]}, "c", '/properties/x must be one of "a", "b"'),
        ({"type": "string", "minLength": 2}, "a", "/properties/x must NOT have fewer than 2 characters"),
        ({"type": "string", "maxLength": 1}, "ab", "/properties/x must NOT have more than 1 characters"),
        ({"type": "string", "pattern": "^a+$"}, "b", '/properties/x must match pattern "^a+$"'),
        ({"type": "number"}, 0, None),
        ({"type": "number"}, 1.5, None),
        ({"type": "number"}, "1", "/properties/x must be number"),
        ({"type": "number"}, True, "/properties/x must be number"),
        ({"type": "number", "enum": [1, 2]}, 1.0, None),
        ({"type": "number", "enum": [1, 2]}, 3, "/properties/x must be one of 1, 2"),
        ({"type": "number", "minimum": 1}, 0, "/properties/x must be >= 1"),
        ({"type": "number", "maximum": 1}, 2, "/properties/x must be <= 1"),
        ({"type": "boolean"}, False, None),
        ({"type": "boolean"}, "false", "/properties/x must be boolean"),
        ({"type": "object"}, {"a": None}, None),
        ({"type": "object", "spec": "open-api"}, {"openapi": "3.0.0"}, None),
        ({"type": "object"}, [], "/properties/x must be object"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": 1}, "/properties/x/a must be string"),
        ({"type": "array"}, [1, 2], None),
        ({"type": "array"}, ["a", None, {}], None),
        ({"type": "array"}, "a", "/properties/x must be array"),
        ({"type": "array", "items": {"type": "string"}}, ["a", 1], "/properties/x/1 must be string"),
        ({"type": "array", "items": {"type": "string"}}, ["a", None], "/properties/x/1 must be string"),
        ({"type": "array", "minItems": 1}, [], "/properties/x must NOT have fewer than 1 items"),
        ({"type": "array", "maxItems": 1}, [1, 2], "/properties/x must NOT have more than 1 items"),
        (
            {"type": "string", "x-ours": {"type": "number"}, "dateFormat": "date", "enumColors": {"a": "red"}},
            "a",
            None,
        ),
    ],
)
def test_a_value_is_held_to_its_property(declared: dict[str, Any], value: JsonValue, said: str | None) -> None:
    assert problems(definition({"x": declared}), {"x": value}) == ([said] if said else [])


@pytest.mark.parametrize(
    ("format", "held_to", "good", "bad"),
    [
        (
            "date-time",
            "date-time",
            ["2022-04-18T11:44:15.345Z", "2022-04-18T11:44:15+02:00"],
            ["2022-04-18", "soon", ""],
        ),
        ("timer", "date-time", ["2022-04-18T11:44:15Z"], ["PT1H", "2022-04-18T11:44:15", ""]),
        ("url", "url", ["https://example.org/a?b=c", "http://localhost:1"], ["example.org", "/a", "https://a b", ""]),
        ("uri", "uri", ["https://example.org/a", "urn:a:b"], ["example.org", "https://a b"]),
        ("email", "email", ["kim@example.org"], ["kim", "a b@c.d", ""]),
        ("user", "email", ["kim@example.org"], ["kim", ""]),
        ("idn-email", "idn-email", ["kïm@exämple.org"], ["kïm"]),
        ("ipv4", "ipv4", ["10.0.0.1"], ["10.0.0", "::1"]),
        ("ipv6", "ipv6", ["::1"], ["10.0.0.1", "g::"]),
        ("yaml", None, ["a: [", "", "*b"], []),
        ("markdown", None, ["# a", ""], []),
        ("proto", None, ["message {"], []),
        ("team", None, ["Rocket", "kim@example.org"], []),
        ("blueprints", None, ["service"], []),
    ],
)
def test_formats(format: str, held_to: str | None, good: list[str], bad: list[str]) -> None:
    declared = {"type": "string", "format": format}
    one, many = definition({"x": declared}), definition({"x": {"type": "array", "items": declared}})
    for text in good:
        assert problems(one, {"x": text}) == [], text
        assert problems(many, {"x": [text]}) == [], text
    for text in bad:
        assert problems(one, {"x": text}) == [f'/properties/x must match format "{held_to}"'], text
        assert problems(many, {"x": [text]}) == [f'/properties/x/0 must match format "{held_to}"'], text


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"must": "a"}, []),
        ({"must": "a", "may": None}, []),
        ({"must": ""}, []),
        ({}, ["/properties/must is required"]),
        ({"must": None}, ["/properties/must is required"]),
        ({"must": None, "may": 1}, ["/properties/may must be string", "/properties/must is required"]),
        ({"must": "a", "undeclared": {"a": [1]}, "null": None, "": 1}, []),
    ],
)
def test_what_must_be_there_and_what_may_be_null(sent: dict[str, Any], said: list[str]) -> None:
    kind = definition({"must": {"type": "string"}, "may": {"type": "string"}}, "must")
    assert sorted(problems(kind, sent)) == said


def test_a_required_property_with_a_default_must_still_be_there() -> None:
    kind = definition({"x": {"type": "string", "default": "d"}}, "x", "x")
    assert problems(kind, {}) == ["/properties/x is required"]
    assert problems(kind, defaults(kind)) == []


def test_computed_properties_are_not_looked_at() -> None:
    document: dict[str, Any] = {"identifier": "b", "schema": {"properties": {}}}
    document["calculationProperties"] = {"c": {"type": "number", "calculation": "1"}}
    assert problems(parsed(document), {"c": "not a number"}) == []


@given(st.from_regex(input_schemas._COMMON_URL.pattern, fullmatch=True))
def test_what_looks_like_a_common_url_is_one(text: str) -> None:
    parts = urlsplit(text)
    assert parts.scheme in ("http", "https")
    assert parts.hostname
    assert parts.port is None
    assert not input_schemas._NOT_IN_URLS.search(text)


def test_defaults_come_in_the_order_of_the_blueprint_and_as_written() -> None:
    kind = definition(
        {
            "b": {"type": "boolean", "default": False},
            "none": {"type": "string"},
            "null": {"type": "string", "default": None},
            "a": {"type": "number", "default": 1.0},
            "empty": {"type": "string", "default": ""},
            "list": {"type": "array", "default": [1], "items": {"type": "number", "default": [2]}},
            "inner": {"type": "array", "items": {"type": "number", "default": [2]}},
            "each": {"type": "array", "items": {"type": "number", "default": 2}},
            "object": {"type": "object", "default": {"z": 1, "a": 2}},
        }
    )
    assert json.dumps(defaults(kind)) == json.dumps(
        {"b": False, "a": 1.0, "empty": "", "list": [1], "inner": [2], "object": {"z": 1, "a": 2}}
    )


def test_defaults_of_one_entity_are_not_those_of_the_next() -> None:
    kind = definition({"x": {"type": "array", "default": []}})
    first = defaults(kind)["x"]
    assert isinstance(first, list)
    first.append("mine")
    assert defaults(kind) == {"x": []}


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|a)*\1$", r"^(?=(a+)+$)b"])
def test_a_pattern_cannot_hang(pattern: str) -> None:
    kind = definition({"x": {"type": "string", "pattern": pattern}})
    started = time.monotonic()
    assert problems(kind, {"x": "a" * 100_000 + "!"})
    assert time.monotonic() - started < 2


TOO_MANY = ["/properties/x cannot be matched against its pattern: that takes too many steps"]


@pytest.mark.parametrize(
    ("pattern", "text", "said"),
    [
        (r"(?=(a+))\1b", "a" * 500, ['/properties/x must match pattern "(?=(a+))\\1b"']),
        # Each step back looks at all of the text: within as many of them as short texts have, it takes seconds.
        (r"(?=(a+))\1b", "a" * 40_000, TOO_MANY),
        (r"(?=(a+))\1b", ["a" * 40_000], None),
        ("^(?:(?!foo).)*$", "a" * 4_000, []),
        ("^(?:(?!foo).)*$", "a" * 4_000 + "foo", ['/properties/x must match pattern "^(?:(?!foo).)*$"']),
        ("^a*$", "a" * 500_000, []),
    ],
)
def test_the_longer_a_text_is_the_less_a_pattern_may_go_back(
    pattern: str, text: JsonValue, said: list[str] | None
) -> None:
    declared: Document = {"type": "string", "pattern": pattern}
    if said is None:  # what is in an array counts, too
        declared, said = {"type": "array", "items": declared}, [TOO_MANY[0].replace("/x ", "/x/0 ")]
    assert problems(definition({"x": declared}), {"x": text}) == said


def test_a_long_text_leaves_patterns_of_short_ones_what_they_need() -> None:
    name = {"type": "string", "pattern": r"^(?!-)(?!.*--)[a-z-]{1,63}(?<!-)$"}
    kind = definition({"name": name, "readme": {"type": "string", "format": "markdown"}})
    assert problems(kind, {"name": "a-b" * 20, "readme": "x" * 900_000}) == []
    assert problems(kind, {"name": "a--b", "readme": "x" * 900_000}) != []


def test_half_a_million_wrong_items_are_refused_at_once() -> None:
    kind = definition({"x": {"type": "array", "items": {"type": "string"}}})
    started = time.monotonic()
    assert problems(kind, {"x": [1] * 500_000}) == ["/properties/x/0 must be string"]
    assert time.monotonic() - started < 2


def test_no_more_problems_are_named_than_a_message_can_bear() -> None:
    declared = {f"x{index}": {"type": "string"} for index in range(100)}
    assert len(problems(definition(declared), dict.fromkeys(declared, 1))) == 20


def test_a_stored_blueprint_that_no_longer_compiles_lets_nothing_through() -> None:
    document: Document = {"identifier": "b", "schema": {"properties": {"x": {"type": "string", "pattern": "("}}}}
    assert problems(Definition.stored(document), {"x": "a"}) == ["/properties cannot be validated"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KIND = definition(
    {
        "text": {"type": "string", "pattern": "^a", "format": "email", "enum": ["a@b.c"]},
        "number": {"type": "number", "minimum": 1},
        "list": {"type": "array", "items": {"type": "number"}, "uniqueItems": True},
    }
)


@given(st.dictionaries(st.sampled_from(["text", "number", "list", "other"]), json_values))
@settings(deadline=None)
def test_any_values_have_named_problems_or_none(sent: dict[str, Any]) -> None:
    before = json.dumps(sent)
    found = problems(KIND, sent)
    named = {problem.split("/")[2].split(" ")[0] for problem in found}
    assert named <= {key for key, value in sent.items() if value is not None} - {"other"}
    for key, right in (("text", str), ("number", int | float), ("list", list)):
        if sent.get(key) is not None and not isinstance(sent[key], right):
            assert key in named
    assert json.dumps(sent) == before
