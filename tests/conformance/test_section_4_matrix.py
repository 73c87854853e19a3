"""Section 4 of the specification: which key holds for which type of input, and that elsewhere it says nothing.

Input definitions are open, so a key beside the wrong type is stored and ignored, not refused; only what would leave a
secret in the clear, or an entity without a blueprint, is. What each key says where it holds is in
`tests/domain/test_inputs.py`.
"""

from typing import Any

import pytest

from domain.documents import Document
from tests.conformance.support import action, jq, said, written

ANY: dict[str, Any] = {"string": "zz", "number": 99, "boolean": True, "object": {"z": "z"}, "array": ["z", "z"]}
"""A value of each type, which breaks each key below where that holds."""
KEYS: dict[str, tuple[Any, set[str]]] = {
    "enum": (["a", 1, {}, []], {"string", "number", "object", "array"}),
    "pattern": ("^a$", {"string"}),
    "minLength": (3, {"string"}),
    "maxLength": (1, {"string"}),
    "minimum": (100, {"number"}),
    "maximum": (1, {"number"}),
    "exclusiveMinimum": (99, {"number"}),
    "exclusiveMaximum": (99, {"number"}),
    "minItems": (3, {"array"}),
    "maxItems": (1, {"array"}),
    "uniqueItems": (True, {"array"}),
    "properties": ({"z": {"type": "number"}}, {"object"}),
    "patternProperties": ({"^z": {"type": "number"}}, {"object"}),
    "additionalProperties": (False, {"object"}),
    "required": (["other"], {"object"}),
    "format": ("email", {"string"}),
}
IN_ITEMS: dict[str, tuple[Document, Any]] = {
    "enum": ({"type": "string", "enum": ["a"]}, "b"),
    "pattern": ({"type": "string", "pattern": "^a$"}, "b"),
    "minLength": ({"type": "string", "minLength": 2}, "b"),
    "maxLength": ({"type": "string", "maxLength": 0}, "b"),
    "minimum": ({"type": "number", "minimum": 2}, 1),
    "maximum": ({"type": "number", "maximum": 0}, 1),
    "exclusiveMinimum": ({"type": "number", "exclusiveMinimum": 1}, 1),
    "exclusiveMaximum": ({"type": "number", "exclusiveMaximum": 1}, 1),
    "properties": ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": 1}),
    "patternProperties": ({"type": "object", "patternProperties": {"^a": {"type": "string"}}}, {"a": 1}),
    "additionalProperties": ({"type": "object", "additionalProperties": False}, {"a": 1}),
    "format": ({"type": "string", "format": "email"}, "kim"),
}
"""The keys that lists have by their items."""
EVERYWHERE: Document = {
    "title": "T", "description": "D", "icon": "I", "dependsOn": ["y"], "visible": False, "disabled": True,
}  # fmt: skip
ENCRYPTED: list[tuple[str, str | None, str]] = [
    ("string", None, ""),
    ("object", None, ""),
    ("string", "multi-line", ""),
    ("number", None, "x.encryption is possible for strings and objects only"),
    ("boolean", None, "x.encryption is possible for strings and objects only"),
    ("array", None, "x.encryption is possible for strings and objects only"),
    *(
        ("string", format, "x.format of an encrypted input can only be multi-line")
        for format in ("url", "email", "yaml")
    ),
    ("object", "labeled-url", "x.format of an encrypted input can only be multi-line"),
]
CELLS = [(key, type_) for key in KEYS for type_ in ANY if (key, type_) != ("enum", "boolean")]
"""All but one: the specification has no choices for toggles, and JSON Schema does; we do as JSON Schema does."""


@pytest.mark.parametrize(
    ("key", "type_"),
    CELLS,
    ids=[f"{key} {'holds' if type_ in KEYS[key][1] else 'is idle'} for {type_}" for key, type_ in CELLS],
)
def test_a_key_beside_a_type(key: str, type_: str) -> None:
    setting, held = KEYS[key]
    definition: Document = {"type": type_, key: setting}
    assert written(action({"x": definition})) == "stored"
    assert bool(said(definition, ANY[type_])) is (type_ in held)


@pytest.mark.parametrize(("items", "value"), IN_ITEMS.values(), ids=[f"{key} holds for items" for key in IN_ITEMS])
def test_a_key_of_items(items: Document, value: Any) -> None:
    definition: Document = {"type": "array", "items": items}
    assert written(action({"x": definition})) == "stored"
    assert said(definition, [value]).startswith("/x/0")


@pytest.mark.parametrize("type_", ANY)
def test_what_only_describes_holds_for_every_type_and_refuses_no_value(type_: str) -> None:
    definition: Document = {"type": type_, "default": ANY[type_], **EVERYWHERE}
    assert written(action({"x": definition, "y": {"type": "string"}})) == "stored"
    assert said(definition, ANY[type_]) == ""
    computed = {"default": jq("."), "visible": jq("."), "disabled": jq(".")}
    assert written(action({"x": {"type": type_, **computed}})) == "stored"


@pytest.mark.parametrize(
    ("type_", "format_", "fault"),
    ENCRYPTED,
    ids=[f"{type_} {format_ or ''} {'cannot' if fault else 'can'} be secret" for type_, format_, fault in ENCRYPTED],
)
def test_what_can_be_secret(type_: str, format_: str | None, fault: str) -> None:
    definition: Document = {"type": type_, "encryption": "aes256-gcm", **({"format": format_} if format_ else {})}
    found = written(action({"x": definition}))
    assert found == (f"user_inputs_schema_invalid properties.{fault}" if fault else "stored")
