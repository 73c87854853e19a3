"""User inputs: defaults, validation, the refusals of a form, and what hostile ones cannot do."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.errors import InterlockError, InvalidInputs, InvalidRequest
from domain.inputs import MOST_UNDECLARED, UserInputs, checked, dynamic_parts, refuse_faults, undeclared

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def form(properties: dict[str, Any], **rest: Any) -> UserInputs:
    return UserInputs.model_validate({"properties": properties, **rest})


def problems(properties: dict[str, Any], values: dict[str, Any], **rest: Any) -> tuple[str, ...]:
    try:
        checked(form(properties, **rest), values)
    except InvalidInputs as error:
        return error.problems
    return ()


@pytest.mark.parametrize(
    ("definition", "sent", "kept"),
    [
        ({"type": "number", "default": 3}, {}, {"x": 3}),
        ({"type": "number", "default": 3}, {"x": None}, {"x": 3}),
        ({"type": "number", "default": 3}, {"x": 0}, {"x": 0}),
        ({"type": "string", "default": "a"}, {"x": ""}, {"x": ""}),
        ({"type": "boolean", "default": True}, {"x": False}, {"x": False}),
        ({"type": "boolean", "default": False}, {}, {"x": False}),
        ({"type": "array", "default": ["a"]}, {"x": []}, {"x": []}),
        ({"type": "array", "items": {"type": "number", "default": [1, 2]}}, {}, {"x": [1, 2]}),
        ({"type": "array", "default": [3], "items": {"type": "number", "default": [1]}}, {}, {"x": [3]}),
        ({"type": "array", "items": {"type": "number", "default": 1}}, {}, {}),
        ({"type": "string", "default": "a", "visible": False}, {}, {"x": "a"}),
        ({"type": "string", "default": None}, {}, {}),
        ({"type": "string"}, {"x": None}, {}),
        ({"type": "string"}, {}, {}),
    ],
)
def test_defaults_fill_only_what_was_not_sent(
    definition: dict[str, Any], sent: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert checked(form({"x": definition}), sent) == kept


def test_every_undeclared_input_is_named_where_none_is_kept() -> None:
    declared, sent = form({"a": {"type": "string", "maxLength": 1}}), {f"x{number}": None for number in range(30)}
    with pytest.raises(InvalidInputs) as refusal:
        checked(declared, {"a": "aa", **sent}, keeps_undeclared=False)
    assert refusal.value.problems[:30] == tuple(f"/{name} is not declared" for name in sent)
    assert len(refusal.value.problems) == 31, "and what is wrong with the others"
    assert checked(declared, {"a": "a"}, keeps_undeclared=False) == {"a": "a"}
    many = undeclared(declared, dict.fromkeys(map(str, range(MOST_UNDECLARED + 2))))
    assert (len(many), many[-1]) == (MOST_UNDECLARED + 1, "2 more inputs are not declared")


def test_declared_inputs_come_in_the_order_of_the_form_and_undeclared_ones_after() -> None:
    values: dict[str, Any] = {"text": "t", "b": "2", "number": 1, "a": "1", "nothing": None}
    kept = checked(
        form({"a": {"type": "string"}, "m": {"type": "string", "default": "d"}, "b": {"type": "string"}}), values
    )
    assert list(kept.items()) == [("a", "1"), ("m", "d"), ("b", "2"), ("text", "t"), ("number", 1), ("nothing", None)]


def test_numbers_stay_what_they_were() -> None:
    kept = checked(form({"n": {"type": "number"}}), {"n": 1.0, "m": 2**70})
    assert [repr(value) for value in kept.values()] == ["1.0", repr(2**70)]


@pytest.mark.parametrize(
    ("definition", "value", "said"),
    [
        ({"type": "string", "pattern": "^[a-z-]+$"}, "X", '/x must match pattern "^[a-z-]+$"'),
        ({"type": "string", "pattern": "b"}, "abc", None),
        ({"type": "string", "pattern": r"^(?!x)\w+\/\d$"}, "a/1", None),
        ({"type": "string", "minLength": 3}, "ab", "/x must NOT have fewer than 3 characters"),
        ({"type": "string", "maxLength": 1}, "ab", "/x must NOT have more than 1 characters"),
        ({"type": "string", "enum": ["rabbit", "nats"]}, "kafka", '/x must be one of "rabbit", "nats"'),
        ({"type": "string"}, 1, "/x must be string"),
        ({"type": "number"}, "1", "/x must be number"),
        ({"type": "boolean"}, "true", "/x must be boolean"),
        ({"type": "number"}, True, "/x must be number"),
        ({"type": "number", "enum": [1, 2]}, 1.0, None),
        ({"type": "number", "minimum": 1}, 0, "/x must be >= 1"),
        ({"type": "number", "maximum": 1}, 2, "/x must be <= 1"),
        ({"type": "number", "exclusiveMinimum": 1}, 1, "/x must be > 1"),
        ({"type": "number", "exclusiveMaximum": 1}, 1, "/x must be < 1"),
        ({"type": "number", "multipleOf": 5}, 7, "/x must be a multiple of 5"),
        ({"type": "array", "minItems": 1}, [], "/x must NOT have fewer than 1 items"),
        ({"type": "array", "maxItems": 1}, [1, 2], "/x must NOT have more than 1 items"),
        ({"type": "array", "uniqueItems": True}, [1, 1], "/x must NOT have duplicate items"),
        ({"type": "array", "items": {"type": "string"}}, ["a", 1], "/x/1 must be string"),
        ({"type": "array", "items": {"type": "string", "enum": ["a"]}}, ["b"], '/x/0 must be one of "a"'),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": 1}, "/x/a must be string"),
        ({"type": "object", "required": ["a"]}, {}, "/x/a is required"),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
            {"b": 1},
            "/x/b is not a declared property",
        ),
        ({"type": "object", "patternProperties": {"^n": {"type": "number"}}}, {"no": "a"}, "/x/no must be number"),
        ({"type": "object", "enum": [{"a": 1}]}, {"a": 2}, '/x must be one of {"a": 1}'),
        ({"type": "array", "enum": [[1]]}, [1], None),
        ({"type": "string", "visible": False, "minLength": 3}, "a", "/x must NOT have fewer than 3 characters"),
        ({"type": "string", "disabled": True, "enum": ["a"]}, "b", '/x must be one of "a"'),
        ({"type": "string", "const": None}, "b", "/x must be null"),
        ({"type": "string", "minLength": None, "readOnly": True, "validations": [{"constraint": 1}]}, "", None),
    ],
)
def test_a_value_is_held_to_its_definition(definition: dict[str, Any], value: JsonValue, said: str | None) -> None:
    assert problems({"x": definition}, {"x": value}) == ((said,) if said else ())


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        ("date-time", ["2022-04-18T11:44:15.345Z", "2022-04-18T11:44:15+02:00"], ["2022-04-18", "yesterday", ""]),
        ("email", ["kim@example.org"], ["kim", "a b@c.d", ""]),
        ("ipv4", ["10.0.0.1"], ["10.0.0", "::1"]),
        ("ipv6", ["::1"], ["10.0.0.1", "g::"]),
        (
            "url",
            ["https://example.org/a?b=c#d", "https://exämple.org", "http://localhost:1", "git+ssh://host/x", "urn:a:b"],
            ["example.org", "/a", "https://", "https://a b", "http:foo", "https://x:port", "", "//host/x", "a\n:b"],
        ),
        (
            "yaml",
            ["a: 1", "", "- x\n- y", "{a: [1]}", "a: &b 1\nc: *b"],
            ["a: [", "\t- a", "*b", "\x01", "[" * 500_000],
        ),
        ("entity", ["", "anything"], []),
        ("user", ["anything"], []),
        ("team", ["anything"], []),
        ("proto", ["anything"], []),
        ("markdown", ["anything"], []),
        ("multi-line", ["a\nb"], []),
    ],
)
def test_formats(format: str, good: list[str], bad: list[str]) -> None:
    definition = {"type": "string", "format": format, "blueprint": "b"}
    for text in good:
        assert problems({"x": definition}, {"x": text}) == (), text
        assert problems({"x": {"type": "array", "items": definition}}, {"x": [text]}) == (), text
    for text in bad:
        assert problems({"x": definition}, {"x": text}) == (f'/x must match format "{format}"',), text[:50]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"url": "https://example.org", "displayText": "E"}, ()),
        ({"displayText": "E"}, ("/x/url is required",)),
        ({"url": 1}, ("/x/url must be string",)),
        ("https://example.org", ("/x must be object",)),
    ],
)
def test_a_labeled_url_is_an_object_with_a_url(value: JsonValue, said: tuple[str, ...]) -> None:
    assert problems({"x": {"type": "object", "format": "labeled-url"}}, {"x": value})[:1] == said


def test_every_violation_is_named_at_once() -> None:
    with pytest.raises(InvalidInputs) as caught:
        checked(
            form(
                {
                    "name": {"type": "string", "pattern": "^[a-z-]+$"},
                    "owners": {"type": "array", "minItems": 1},
                    "broker": {"type": "string"},
                },
                required=["broker"],
            ),
            {"name": "X1", "owners": []},
        )
    assert str(caught.value) == (
        '/name must match pattern "^[a-z-]+$", /owners must NOT have fewer than 1 items, /broker is required'
    )


@pytest.mark.parametrize(
    ("definition", "sent", "said"),
    [
        ({"type": "string"}, {}, ("/x is required",)),
        ({"type": "string"}, {"x": None}, ("/x is required",)),
        ({"type": "string"}, {"x": ""}, ()),
        ({"type": "string", "default": "d"}, {}, ()),
        ({"type": "string", "visible": False}, {}, ()),
        ({"type": "string", "visible": True}, {}, ("/x is required",)),
        ({"type": "string", "disabled": True}, {}, ("/x is required",)),
    ],
)
def test_required_inputs(definition: dict[str, Any], sent: dict[str, Any], said: tuple[str, ...]) -> None:
    assert problems({"x": definition}, sent, required=["x"]) == said


def test_what_is_only_on_hidden_pages_is_not_demanded() -> None:
    hidden = {"title": "One", "order": ["x"], "visible": False}
    shown = {"title": "Two", "order": ["x"], "visible": True}
    required: dict[str, Any] = {"properties": {"x": {"type": "string"}}, "values": {}, "required": ["x"]}
    assert problems(**required, steps=[hidden]) == ()
    assert problems(**required, steps=[hidden, shown]) == ("/x is required",)
    assert problems(**required, steps=[{"title": "Three", "visible": False}]) == ("/x is required",)


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        ({"type": "string", "minLength": 30}, "pl4int3xt"),
        ({"type": "string", "enum": ["a"]}, "pl4int3xt"),
        ({"type": "string", "pattern": "^x$"}, "pl4int3xt"),
        ({"type": "string"}, {"pl4int3xt": 1}),
        ({"type": "object", "additionalProperties": False}, {"pl4int3xt": 1}),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, {"pl4int3xt": 1}),
        ({"type": "object", "additionalProperties": {"type": "number"}}, {"pl4int3xt": "pl4int3xt"}),
        ({"type": "object", "additionalProperties": {"required": ["a"]}}, {"pl4int3xt": {}}),
        ({"type": "object", "propertyNames": {"maxLength": 1}}, {"pl4int3xt": 1}),
        ({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"pl4int3xt": 1}),
    ],
)
def test_a_refusal_shows_nothing_of_a_secret(definition: dict[str, Any], value: JsonValue) -> None:
    said = problems({"pw": {**definition, "encryption": "aes256-gcm"}}, {"pw": value})
    assert said
    assert all(problem.startswith("/pw ") for problem in said), said
    assert "pl4int3xt" not in repr(said)


def test_values_the_client_encrypted_are_not_held_to_the_schema_but_have_to_look_encrypted() -> None:
    sealed = {"type": "object", "encryption": {"algorithm": "client-side", "key": "no key"}}
    (said,) = problems({"pw": sealed}, {"pw": {"plain": "text"}})
    assert said == "/pw cannot be accepted: the key in its definition is no RSA public key in PEM"


def test_dynamic_parts_are_found_wherever_they_are() -> None:
    jq = {"jqQuery": "'not jq'"}
    dynamic = form(
        {
            "a": {"type": "string", "enum": jq, "default": jq, "pattern": jq, "visible": jq, "disabled": jq},
            "b": {"type": "array", "minItems": jq, "maxItems": jq, "items": {"type": "string", "enum": jq}},
            "c": {
                "type": "string",
                "format": "entity",
                "blueprint": "b",
                "dataset": {"combinator": "and", "rules": [{"combinator": "or", "rules": [{"value": jq}]}]},
            },
        },
        required=jq,
        titles={"t": {"title": "T", "visible": jq}},
        steps=[{"title": "S", "visible": jq}],
    )
    refuse_faults(dynamic)
    assert dynamic_parts(dynamic) == [
        *(f"properties.a.{key}" for key in ("enum", "default", "pattern", "visible", "disabled")),
        *(f"properties.b.{key}" for key in ("minItems", "maxItems", "items.enum")),
        "properties.c.dataset.rules[0].rules[0].value",
        "required",
        "titles.t.visible",
        "steps[0].visible",
    ]
    with pytest.raises(InvalidInputs, match=r"^properties\.a\.enum is dynamic \(jqQuery\), and this version"):
        checked(dynamic, {})


def test_a_static_form_has_no_dynamic_parts() -> None:
    assert dynamic_parts(form({"a": {"type": "object", "properties": {"jqQuery": {"type": "string"}}}})) == []


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ({"type": "string", "pattern": "("}, "properties.x.pattern is no regular expression that can be run"),
        ({"type": "string", "pattern": "((a{1000}){1000}){100}"}, "properties.x.pattern is no regular expression"),
        ({"type": "array", "items": {"pattern": "("}}, "properties.x.items.pattern is no regular expression"),
        ({"type": "string", "minLength": -1}, "properties.x.minLength is not valid in JSON Schema draft-07"),
        ({"type": "string", "minLength": "3"}, "properties.x.minLength is not valid"),
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "properties.x.properties.a.type is not valid"),
        ({"type": "object", "required": True}, "properties.x.required is not valid"),
        ({"type": "string", "enum": []}, "properties.x.enum must have at least one value"),
        ({"type": "array", "items": {"enum": []}}, "properties.x.items.enum must have at least one value"),
        ({"type": "number", "encryption": "aes256-gcm"}, "properties.x.encryption is possible for strings and objects"),
        ({"type": "string", "encryption": "aes256-gcm", "format": "email"}, "properties.x.format of an encrypted"),
        ({"type": "string", "format": "entity"}, "properties.x.blueprint is required"),
        ({"type": "array", "items": {"format": "entity"}}, "properties.x.items.blueprint is required"),
        ({"type": "string", "$ref": "#"}, "properties.x.$ref is not supported"),
        ({"type": "object", "properties": {"a": {"$ref": "http://h/a"}}}, "properties.x.properties.a.$ref is not"),
        ({"type": "object", "properties": {"a": {"$ref": "file:///etc"}}}, "properties.x.properties.a.$ref is not"),
        ({"type": "object", "allOf": [{"$ref": "#/definitions/a"}]}, "properties.x.allOf[0].$ref is not supported"),
    ],
)
def test_a_form_that_cannot_work_is_refused(definition: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputs) as caught:
        refuse_faults(form({"x": definition}))
    assert caught.value.problems[0].startswith(said), caught.value.problems


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ({"required": ["z"]}, "required names 'z', which is no input"),
        ({"required": ["t"], "titles": {"t": {"title": "T"}}}, "required names 't', which is no input"),
        ({"required": ["x", "x"]}, "required names 'x' twice"),
        ({"order": ["x", "z"]}, "order names 'z', which is no input or title"),
        ({"order": ["x", "x"]}, "order names 'x' twice"),
        ({"steps": [{"title": "S", "order": ["z"]}]}, "steps[0].order names 'z', which is no input or title"),
        ({"steps": [{"title": "S", "order": ["x"]}, {"title": "T", "order": ["x"]}]}, "steps names 'x' twice"),
        ({"titles": {"x": {"title": "T"}}}, "titles.x has the id of an input"),
    ],
)
def test_a_layout_that_cannot_work_is_refused(rest: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputs) as caught:
        refuse_faults(form({"x": {"type": "string"}}, **rest))
    assert caught.value.problems == (said,)


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "string", "format": "user", "enum": ["a@b.c"]},
        {"type": "string", "encryption": "aes256-gcm", "format": "multi-line"},
        {"type": "string", "pattern": {"jqQuery": "'"}, "enum": {"jqQuery": "Test"}, "default": {"jqQuery": "'Test'"}},
        {
            "type": "array",
            "minItems": {"jqQuery": "("},
            "items": {"enum": {"jqQuery": "("}, "dataset": {"any": ["thing"]}},
        },
        {"type": "string", "spec": "embedded-url", "specAuthentication": {"clientId": "x"}, "anything": {"at": "all"}},
        {"type": "string", "$schema": "http://127.0.0.1:9/b", "$id": "c"},
        {"type": "object", "properties": {"$ref": {"type": "string"}}},
        {"type": "string", "jqQuery": None},
    ],
)
def test_a_form_that_is_accepted(definition: dict[str, Any]) -> None:
    refuse_faults(form({"x": definition}))


def test_a_definition_that_no_longer_compiles_lets_nothing_through() -> None:
    assert problems({"x": {"type": "string", "pattern": "("}}, {"x": "a"}) == ("/x cannot be validated",)


def test_references_that_would_double_with_each_level_are_refused_at_once() -> None:
    levels: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/definitions/d{n + 1}"}] * 2} for n in range(40)}
    with pytest.raises(InvalidInputs, match="is not supported"):
        refuse_faults(form({"x": {"type": "string", "definitions": levels, "allOf": [{"$ref": "#/definitions/d0"}]}}))


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|a)*\1$", r"^(?=(a+)+$)b"])
def test_a_pattern_cannot_hang(pattern: str) -> None:
    started = time.monotonic()
    assert problems({"x": {"type": "string", "pattern": pattern}}, {"x": "a" * 100_000 + "!"})
    assert time.monotonic() - started < 2


def test_half_a_million_wrong_items_are_refused_at_once() -> None:
    definition = {"type": "array", "items": {"type": "string"}}
    started = time.monotonic()
    assert problems({"x": definition}, {"x": [1] * 500_000}) == ("/x/0 must be string",)
    assert time.monotonic() - started < 2


def test_a_long_list_of_choices_is_cut_in_the_message() -> None:
    (said,) = problems({"x": {"type": "number", "enum": list(range(50_000))}}, {"x": -1})
    assert said == "/x must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"


def test_no_more_violations_are_named_than_a_message_can_bear() -> None:
    definitions = {f"x{index}": {"type": "string"} for index in range(100)}
    assert len(problems(definitions, dict.fromkeys(definitions, 1))) == 20


def test_values_that_nest_too_deep_are_refused() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidRequest, match="nests deeper"):
        checked(form({"x": {"type": "array"}}), {"x": value})
    while isinstance(value, list):  # Taken apart by hand: some Pythons free nested lists recursively.
        value = value.pop()


KINDS = st.sampled_from(
    [
        {"type": "string", "pattern": "^a", "format": "email"},
        {"type": "number", "minimum": 1},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
        {"type": "array", "items": {"type": "number"}, "uniqueItems": True},
        {"type": "object", "format": "labeled-url"},
        {"type": "string", "encryption": "aes256-gcm", "format": "multi-line"},
    ]
)


@given(KINDS, json_values, st.dictionaries(st.text(max_size=5), json_values, max_size=3))
@settings(deadline=None)
def test_any_values_are_kept_or_refused(definition: dict[str, Any], value: JsonValue, others: dict[str, Any]) -> None:
    sent = {**others, "x": value}
    try:
        kept = checked(form({"x": definition}), sent)
    except InvalidInputs:
        return
    assert kept == {key: item for key, item in sent.items() if key != "x" or item is not None}


@given(
    st.dictionaries(
        st.sampled_from(["type", "enum", "pattern", "items", "format", "properties", "default"]), json_values
    )
)
@settings(deadline=None)
def test_any_definition_is_usable_or_refused(definition: dict[str, Any]) -> None:
    inputs = form({"x": {"type": "string", "schema": definition}})
    inputs.properties["x"].document.update({key: item for key, item in definition.items() if key != "type"})
    try:
        refuse_faults(inputs)
        checked(inputs, {"x": "a"})
    except InterlockError:
        return
