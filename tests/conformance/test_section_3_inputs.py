"""Section 3 of the specification: the fields of an input, and the kinds of inputs with what they take.

Covered elsewhere, as directly: keywords, defaults, formats and what each says, `tests/domain/test_inputs.py`; unknown
types, jqQuery with company, encryption, sort and datasets of a wrong shape, `tests/domain/test_actions.py`; that whole
definitions are echoed, there and in `tests/api/test_action_routes.py`.
"""

from typing import Any

import pytest

from domain.documents import Document
from tests.conformance.support import action, jq, said, written

TEXT: Document = {"type": "string"}
ENTITY: Document = {**TEXT, "format": "entity", "blueprint": "cluster"}
PEM = "-----BEGIN PUBLIC KEY-----\nMIIB...\n-----END PUBLIC KEY-----"
RULE: Document = {"property": "$team", "operator": "=", "value": "sre"}

# Section 3.1: what may be written in each field of an input.
FIELDS: dict[str, Document] = {
    "type is string": TEXT,
    "type is number": {"type": "number"},
    "type is boolean": {"type": "boolean"},
    "type is object": {"type": "object"},
    "type is array": {"type": "array"},
    "title, description and icon are texts": {**TEXT, "title": "T", "description": "D", "icon": "I"},
    "they may be empty": {**TEXT, "title": "", "description": "", "icon": ""},
    "default is a text": {**TEXT, "default": ""},
    "default is a number": {"type": "number", "default": 0},
    "default is a boolean": {"type": "boolean", "default": False},
    "default is an object": {"type": "object", "default": {}},
    "default is an array": {"type": "array", "default": []},
    "default is jq": {**TEXT, "default": jq(".x")},
    **{
        f"format is {name}": {**TEXT, "format": name}
        for name in (
            "date-time", "url", "email", "ipv4", "ipv6", "yaml", "user", "team", "proto", "markdown", "multi-line",
        )
    },
    "format is entity": ENTITY,
    "format is labeled-url": {"type": "object", "format": "labeled-url"},
    "the format of items is not one of the list": {"type": "array", "items": {**TEXT, "format": "colour"}},
    "enum is of texts": {**TEXT, "enum": ["a", "b"]},
    "enum is of numbers": {"type": "number", "enum": [1, 2.5]},
    "enum is of objects": {"type": "object", "enum": [{"a": 1}]},
    "enum is of arrays": {"type": "array", "enum": [["a"], []]},
    "enum is jq": {**TEXT, "enum": jq(".x")},
    "enumColors is by value": {**TEXT, "enum": ["a"], "enumColors": {"a": "lightGray"}},
    "enumColors of numbers is by their text": {"type": "number", "enum": [1], "enumColors": {"1": "red"}},
    "dependsOn is a list": {**TEXT, "dependsOn": ["y"]},
    "dependsOn is empty": {**TEXT, "dependsOn": []},
    "visible is a boolean": {**TEXT, "visible": False},
    "visible is jq": {**TEXT, "visible": jq(".x")},
    "disabled is a boolean": {**TEXT, "disabled": True},
    "disabled is jq": {**TEXT, "disabled": jq(".x")},
    "encryption is aes256-gcm": {**TEXT, "encryption": "aes256-gcm"},
    "encryption is by the client": {**TEXT, "encryption": {"algorithm": "client-side", "key": PEM}},
    "dataset without rules": {**ENTITY, "dataset": {"combinator": "and", "rules": []}},
    "dataset with jq": {**ENTITY, "dataset": {"combinator": "or", "rules": [{**RULE, "value": jq("'")}]}},
    "dataset with a constant, which stays one": {**ENTITY, "dataset": {"combinator": "and", "rules": [RULE]}},
    "dataset with a group": {
        **ENTITY, "dataset": {"combinator": "and", "rules": [{"combinator": "or", "rules": [RULE]}]},
    },
    "dataset in items": {"type": "array", "items": {**ENTITY, "dataset": {"combinator": "and", "rules": [RULE]}}},
    "sort upwards": {**ENTITY, "sort": {"property": "$updatedAt", "order": "ASC"}},
    "sort downwards": {**ENTITY, "sort": {"property": "size", "order": "DESC"}},
    "sort on the list, not in its items": {
        "type": "array", "items": ENTITY, "sort": {"property": "$title", "order": "ASC"},
    },
    "pattern is jq": {**TEXT, "pattern": jq(".x")},
    "minItems and maxItems are jq": {"type": "array", "minItems": jq("1"), "maxItems": jq("2")},
    "choices with colours in items": {
        "type": "array", "items": {**TEXT, "enum": ["a"], "enumColors": {"a": "green"}},
    },
    "a default in items": {"type": "array", "items": {"type": "number", "default": [1]}},
    "an embedded page": {**TEXT, "format": "url", "spec": "embedded-url", "specAuthentication": {"clientId": "c"}},
    "keys of newer forms": {**TEXT, "readOnly": True, "validations": [{"constraint": "x", "message": "m"}]},
    "jqQuery is null": {**TEXT, "jqQuery": None},
}  # fmt: skip

# What may not, and the field that the refusal names.
FAULTS: dict[str, tuple[Document, str]] = {
    "type is null": ({"type": None}, "x.type"),
    "type is a list": ({"type": ["string", "number"]}, "x.type"),
    "type is jq": ({"type": jq('"string"')}, "x.type"),
    "title is no text": ({**TEXT, "title": 5}, "x.title"),
    "title is jq": ({**TEXT, "title": jq("1")}, "x.title"),
    "description is no text": ({**TEXT, "description": []}, "x.description"),
    "icon is no text": ({**TEXT, "icon": {}}, "x.icon"),
    "format is not in the list": ({**TEXT, "format": "colour"}, "x.format"),
    "format is jq": ({**TEXT, "format": jq('"url"')}, "x.format"),
    "blueprint is no text": ({**TEXT, "format": "entity", "blueprint": 1}, "x.blueprint"),
    "blueprint of an entity is missing": ({**TEXT, "format": "entity"}, "x.blueprint"),
    "enum is no list": ({**TEXT, "enum": "a"}, "x.enum"),
    "enum is empty": ({**TEXT, "enum": []}, "x.enum"),
    "enum is an object": ({**TEXT, "enum": {"a": 1}}, "x.enum"),
    "enumColors is a list": ({**TEXT, "enumColors": ["red"]}, "x.enumColors"),
    "dependsOn is a text": ({**TEXT, "dependsOn": "y"}, "x.dependsOn"),
    "dependsOn is of numbers": ({**TEXT, "dependsOn": [1]}, "x.dependsOn"),
    "visible is a text": ({**TEXT, "visible": "true"}, "x.visible"),
    "visible is a number": ({**TEXT, "visible": 1}, "x.visible"),
    "disabled is a text": ({**TEXT, "disabled": "false"}, "x.disabled"),
    "jqQuery is no text": ({**TEXT, "visible": {"jqQuery": True}}, "x.visible"),
    "dataset without a combinator": ({**ENTITY, "dataset": {"rules": []}}, "x.dataset.combinator"),
    "dataset without rules": ({**ENTITY, "dataset": {"combinator": "and"}}, "x.dataset.rules"),
    "dataset with another key": ({**ENTITY, "dataset": {"combinator": "and", "rules": [], "limit": 1}}, "x.dataset"),
    "dataset with another combinator": ({**ENTITY, "dataset": {"combinator": "xor", "rules": []}}, "combinator"),
    "sort without a property": ({**ENTITY, "sort": {"order": "ASC"}}, "x.sort.property"),
    "sort without an order": ({**ENTITY, "sort": {"property": "$title"}}, "x.sort.order"),
    "minLength is negative": ({**TEXT, "minLength": -1}, "x.minLength"),
    "maxLength is no whole number": ({**TEXT, "maxLength": 1.5}, "x.maxLength"),
    "minimum is a text": ({"type": "number", "minimum": "1"}, "x.minimum"),
    "exclusiveMinimum is of draft 4": ({"type": "number", "exclusiveMinimum": True}, "x.exclusiveMinimum"),
    "minItems is a text": ({"type": "array", "minItems": "1"}, "x.minItems"),
    "uniqueItems is a text": ({"type": "array", "uniqueItems": "yes"}, "x.uniqueItems"),
    "additionalProperties is a text": ({"type": "object", "additionalProperties": "no"}, "x.additionalProperties"),
    "the whole input is jq": (jq("."), "x.type"),
}  # fmt: skip

# Section 3.2: each kind of input, with values on the wire that it takes and values that it does not.
KINDS: dict[str, tuple[Document, list[Any], list[Any]]] = {
    "a text": ({**TEXT, "minLength": 1, "maxLength": 3, "pattern": "^[ab]+$"}, ["a", "abb"], ["", "abba", "c", 1, []]),
    "a length counts characters": ({**TEXT, "maxLength": 1}, ["ä", "🚀"], ["ab"]),
    "a text with choices": ({**TEXT, "enum": ["a", "b"]}, ["a"], ["c", "A", ""]),
    "a text of several lines": ({**TEXT, "format": "multi-line", "maxLength": 5}, ["a\nb", "\r\n"], ["a\nb\nc\n"]),
    "a number": ({"type": "number", "minimum": 1, "exclusiveMaximum": 3}, [1, 2.5], [0, 3, "2", True, [2]]),
    "a number with choices": ({"type": "number", "enum": [1, 2.5]}, [1, 1.0, 2.5], [2, "1"]),
    "a toggle": ({"type": "boolean"}, [True, False], [0, 1, "true", "", {}]),
    "an object": ({"type": "object"}, [{}, {"a": [1]}], [[], "{}", 1]),
    "an object with properties": (
        {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"], "additionalProperties": False},
        [{"a": 1}],
        [{}, {"a": "1"}, {"a": 1, "b": 2}],
    ),
    "an object with a schema for the rest": (
        {"type": "object", "additionalProperties": {"type": "number"}, "patternProperties": {"^x-": {}}},
        [{"a": 1, "x-b": "t"}],
        [{"a": "1"}],
    ),
    "an object with choices": (
        {"type": "object", "enum": [{"a": 1}, {}]}, [{"a": 1.0}, {}], [{"a": 2}, {"a": 1, "b": 1}],
    ),
    "a list": (
        {"type": "array", "minItems": 1, "maxItems": 2, "uniqueItems": True, "items": TEXT},
        [["a"], ["a", "b"]],
        [[], ["a", "b", "c"], ["a", "a"], [1], "a", {}],
    ),
    "a list of anything": ({"type": "array"}, [[], [1, "a", None, {}]], [{}]),
    "a list with choices": ({"type": "array", "enum": [["a"], []]}, [["a"], []], [["b"], ["a", "a"]]),
    "several of a list of choices": (
        {"type": "array", "items": {**TEXT, "enum": ["a", "b"], "enumColors": {"a": "red"}}},
        [[], ["b", "a"]],
        [["c"], ["a", "c"]],
    ),
    "a list of objects": ({"type": "array", "items": {"type": "object", "required": ["a"]}}, [[{"a": 1}]], [[{}], [1]]),
    "a list of toggles": ({"type": "array", "items": {"type": "boolean"}}, [[True]], [["true"], [1]]),
    "an entity": (ENTITY, ["eu-1"], [1, {"identifier": "eu-1"}, ["eu-1"]]),
    "several entities": (
        {"type": "array", "items": ENTITY, "minItems": 1, "maxItems": 2},
        [["eu-1"], ["eu-1", "us-1"]],
        [[], "eu-1", [{"identifier": "eu-1"}], ["a", "b", "c"]],
    ),
    "a user": ({**TEXT, "format": "user"}, ["kim@example.org"], [1, {"email": "kim@example.org"}]),
    "several users": ({"type": "array", "items": {**TEXT, "format": "user"}}, [["a@x.io", "b@x.io"]], ["a@x.io", [1]]),
    "a team": ({**TEXT, "format": "team"}, ["payments", "Platform & SRE"], [1]),
    "several teams": ({"type": "array", "items": {**TEXT, "format": "team"}}, [["payments"]], [[None], [1]]),
    "a URL": ({**TEXT, "format": "url"}, ["https://example.org"], ["example.org", "/path"]),
    "a URL with choices": ({**TEXT, "format": "url", "enum": ["https://a.io"]}, ["https://a.io"], ["https://b.io"]),
    "an email address": ({**TEXT, "format": "email"}, ["kim@example.org"], ["kim"]),
    "an email address with choices": ({**TEXT, "format": "email", "enum": ["a@x.io"]}, ["a@x.io"], ["b@x.io"]),
    "a date with a time": ({**TEXT, "format": "date-time"}, ["2022-04-18T11:44:15.345Z"], ["2022-04-18", 1650282255]),
    "YAML, which stays text": ({**TEXT, "format": "yaml"}, ["a: [1]\n", "{}"], ["a: [", {"a": 1}]),
    "an IPv4 address": ({**TEXT, "format": "ipv4"}, ["192.0.2.1"], ["192.0.2.256", "2001:db8::1"]),
    "an IPv6 address": ({**TEXT, "format": "ipv6"}, ["2001:db8::1"], ["192.0.2.1"]),
    "markdown": ({**TEXT, "format": "markdown"}, ["# A\n<b>"], [1]),
    "proto": ({**TEXT, "format": "proto"}, ['syntax = "proto3";'], [1]),
    "a URL with a label": (
        {"type": "object", "format": "labeled-url"},
        [{"url": "https://x.io", "displayText": "E"}, {"url": "https://x.io"}, {"url": "x", "displayText": None}],
        [{}, {"displayText": "E"}, {"url": 1}, {"url": "https://example.org", "displayText": 1}, "https://example.org"],
    ),
    "a secret text": ({**TEXT, "encryption": "aes256-gcm", "minLength": 3}, ["hunter2"], ["h", {"a": 1}]),
    "a secret text of several lines": ({**TEXT, "encryption": "aes256-gcm", "format": "multi-line"}, ["a\nb"], [1]),
    "a secret object": ({"type": "object", "encryption": "aes256-gcm", "required": ["a"]}, [{"a": 1}], [{}, "a"]),
}  # fmt: skip

# Section 3.2, last column: the parts that jq may compute in each kind.
COMPUTED: dict[str, tuple[Document, tuple[str, ...]]] = {
    "a text": (TEXT, ("default", "enum", "pattern", "visible", "disabled")),
    "a text of several lines": (
        {**TEXT, "format": "multi-line"},
        ("default", "enum", "pattern", "visible", "disabled"),
    ),
    "a number": ({"type": "number"}, ("default", "enum", "visible", "disabled")),
    "a toggle": ({"type": "boolean"}, ("default", "visible", "disabled")),
    "an object": ({"type": "object"}, ("default", "visible", "disabled")),
    "a list": ({"type": "array"}, ("default", "minItems", "maxItems", "visible", "disabled")),
    "an entity": (ENTITY, ("default", "visible", "disabled")),
}


@pytest.mark.parametrize("definition", FIELDS.values(), ids=FIELDS)
def test_a_field_that_may_be_written(definition: Document) -> None:
    assert written(action({"x": definition, "y": TEXT})) == "stored"


@pytest.mark.parametrize(("definition", "field"), FAULTS.values(), ids=FAULTS)
def test_a_field_that_may_not_be_written(definition: Document, field: str) -> None:
    refusal = written(action({"x": definition, "y": TEXT}))
    assert refusal.split()[0] in ("invalid_request", "user_inputs_schema_invalid"), refusal
    assert field in refusal


@pytest.mark.parametrize(("definition", "good", "bad"), KINDS.values(), ids=KINDS)
def test_a_kind_of_input(definition: Document, good: list[Any], bad: list[Any]) -> None:
    assert written(action({"x": definition})) == "stored"
    assert [value for value in good if said(definition, value)] == []
    assert [value for value in bad if not said(definition, value).startswith("/x")] == []


@pytest.mark.parametrize(("definition", "parts"), COMPUTED.values(), ids=COMPUTED)
def test_what_jq_computes_in_a_kind(definition: Document, parts: tuple[str, ...]) -> None:
    assert written(action({"x": {**definition, **{part: jq("'") for part in parts}}})) == "stored"
