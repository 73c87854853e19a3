"""Blueprints: what is accepted, what each refusal says, and that documents come back as they were."""

import copy
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.blueprints import Blueprint, BlueprintId, Definition, parsed, patched
from domain.documents import Document
from domain.entity_schemas import defaults, problems
from domain.errors import InvalidRequest
from domain.property_schemas import FORMATS
from domain.system_blueprints import system_blueprints

ENVIRONMENT = """{
  "identifier": "environment", "title": "Environment", "icon": "Environment", "description": "Preview env",
  "schema": {
    "properties": {
      "status": {"type": "string", "title": "Status", "enum": ["up", "down"],
                 "enumColors": {"up": "green", "down": "red"}, "default": "up"},
      "ttl": {"type": "string", "format": "timer", "default": "2026-01-01T00:00:00+02:00"},
      "cost": {"type": "number", "minimum": 0, "default": 1.50},
      "tier": {"type": "number", "enum": [1, 2.5], "enumColors": {"1": "gold", "2.5": "silver"}},
      "owners": {"type": "array", "items": {"type": "string", "format": "user"}, "minItems": 1},
      "ports": {"type": "array", "items": {"type": "number", "default": [80, 443]}},
      "anything": {"type": "array", "default": [1, "a", null]},
      "api": {"type": "object", "spec": "open-api", "format": "whatever", "default": {}},
      "docs": {"type": "string", "format": "yaml", "spec": "async-api"},
      "board": {"type": "string", "format": "url", "spec": "embedded-url", "specAuthentication": {
        "clientId": "c", "authorizationUrl": "https://a", "tokenUrl": "https://t", "authorizationScope": ["openid"]}},
      "createdAt": {"type": "string", "format": "date-time", "dateFormat": "relative", "x-ours": {"b": 1, "a": 2}},
      "on": {"type": "boolean", "default": false, "icon": "Switch", "description": "Whether"}
    },
    "required": ["status"], "x-version": 3
  },
  "relations": {
    "service": {"title": "Service", "target": "service", "required": true, "many": false, "type": "x"},
    "parents": {"target": "environment", "many": true, "description": "Self"},
    "owner": {"target": "_user"}
  },
  "mirrorProperties": {"service_tier": {"title": "Tier", "path": "service.tier"}, "team": {"path": "service.a.$title"}},
  "calculationProperties": {
    "url": {"title": "URL", "type": "string", "format": "url", "calculation": "'https://' + .identifier"},
    "level": {"type": "string", "calculation": "(", "colorized": true, "colors": {"OK": "green"}}
  },
  "aggregationProperties": {
    "n": {"target": "pod", "calculationSpec": {"calculationBy": "entities", "func": "count"}},
    "rate": {"title": "Rate", "type": "number", "target": "deployment",
      "query": {"combinator": "and", "rules": [{"property": "status", "operator": "=", "value": "ok"}]},
      "pathFilter": [{"path": ["service", "parents"], "fromBlueprint": "deployment"}],
      "calculationSpec": {"func": "average", "averageOf": "month", "measureTimeBy": "$createdAt",
                          "calculationBy": "entities"}},
    "sum": {"target": "pod", "calculationSpec": {"calculationBy": "property", "func": "sum", "property": "cpu"}},
    "mean": {"target": "pod", "calculationSpec":
      {"calculationBy": "property", "func": "average", "property": "cpu", "averageOf": "total", "filter": {}}}
  },
  "changelogDestination": {"type": "WEBHOOK", "url": "https://example.org/changes", "agent": true},
  "ownership": {"type": "Inherited", "path": "service.domain", "title": "Owning teams"},
  "teamInheritance": {"path": "service"},
  "includeInGlobalSearch": true, "anything": [1.0, 1, null]
}"""
BARE = """{"identifier": "b", "schema": {"properties": {}}}"""
TERRAFORM = """{
  "identifier": "a/b:c", "title": "T", "schema": {"properties": {}, "required": null},
  "relations": null, "mirrorProperties": null, "calculationProperties": {}, "aggregationProperties": null,
  "ownership": {"type": "Direct", "title": "Owners"}, "changelogDestination": {"type": "KAFKA"}, "icon": null
}"""
EXAMPLES = [ENVIRONMENT, BARE, TERRAFORM]
COUNT = {"calculationBy": "entities", "func": "count"}
AT = datetime(2026, 1, 5, 10, tzinfo=UTC)
ADDED = {"createdAt": "2026-01-05T10:00:00.000Z", "createdBy": "kim"}
ADDED |= {"updatedAt": "2026-01-05T10:00:00.000Z", "updatedBy": "ada"}


def blueprint(properties: Any = None, /, **rest: Any) -> Document:
    return {"identifier": "b", "schema": {"properties": {} if properties is None else properties}, **rest}


def prop(**keys: Any) -> Document:
    return blueprint({"x": keys})


def aggregation(spec: Any, **rest: Any) -> Document:
    return blueprint(aggregationProperties={"n": {"target": "b", "calculationSpec": spec, **rest}})


def kept(document: Document) -> Blueprint:
    return Blueprint(parsed(document).identifier, document, AT, "kim", AT, "ada")


def refusal(document: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parsed(document)
    return str(caught.value)


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_document_comes_back_as_it_was(text: str) -> None:
    document = json.loads(text)
    definition = parsed(copy.deepcopy(document))
    assert json.dumps(definition.document) == json.dumps(document)
    assert json.dumps(kept(definition.document).echo()) == json.dumps({**document, **ADDED})


@pytest.mark.parametrize("text", EXAMPLES)
def test_what_was_read_can_be_posted_back(text: str) -> None:
    document = json.loads(text)
    read = {"updatedBy": "nobody", "createdAt": 5, **kept(document).echo()}
    assert parsed(read).document == document
    assert json.dumps(kept(read).echo()) == json.dumps({**document, **ADDED})


def test_the_fields_of_a_definition() -> None:
    definition = parsed(json.loads(ENVIRONMENT))
    assert definition.required == ["status"]
    assert definition.inherited_from == "service.domain"
    flags = {key: (each.target, each.required, each.many) for key, each in definition.relations.items()}
    assert flags == {
        "service": ("service", True, False),
        "parents": ("environment", False, True),
        "owner": ("_user", False, False),
    }
    assert definition.aggregation_properties["mean"].calculation_spec.average_of == "total"


@pytest.mark.parametrize(
    ("rest", "path"),
    [
        ({}, None),
        ({"ownership": None}, None),
        ({"teamInheritance": {"path": "a.b"}}, "a.b"),
        ({"ownership": {"type": "Inherited", "path": "a"}}, "a"),
        ({"ownership": {"type": "Direct"}, "teamInheritance": {"path": "a"}}, None),
    ],
)
def test_ownership_is_inherited_along_a_path(rest: dict[str, Any], path: str | None) -> None:
    assert parsed(blueprint(relations={"a": {"target": "b"}}, **rest)).inherited_from == path


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ({"mirrorProperties": {"m": {"path": "b.c.x"}}}, "mirrorProperties.m.path: b has no relation 'b'"),
        ({"teamInheritance": {"path": "x"}}, "teamInheritance.path: b has no relation 'x'"),
        ({"ownership": {"type": "Inherited", "path": "b.a"}}, "ownership.path: b has no relation 'b'"),
    ],
)
def test_a_path_begins_with_a_relation_of_the_blueprint(rest: dict[str, Any], said: str) -> None:
    assert refusal(blueprint(relations={"a": {"target": "b"}}, **rest)) == said


@pytest.mark.parametrize("identifier", ["a", "_user", "Größe", "名前", "a@b.c+d:e-f", "a/b", "a\\b", "...", "x" * 100])
def test_identifiers(identifier: str) -> None:
    assert parsed(blueprint() | {"identifier": identifier}).identifier == BlueprintId(identifier)


@pytest.mark.parametrize("identifier", [".", "..", "", "a b", "a=b", "a\n", "a?", "🚀", "x" * 101, 5, None, ["a"]])
def test_what_is_no_identifier(identifier: JsonValue) -> None:
    assert refusal(blueprint() | {"identifier": identifier}).startswith("identifier: ")
    assert refusal(blueprint(relations={"r": {"target": identifier}})).startswith("relations.r.target: ")


TO: dict[str, Any] = {"relations": {"to": {"target": "b"}}}
KEYED = [
    ("schema.properties", lambda key: blueprint({key: {"type": "string"}})),
    ("mirrorProperties", lambda key: blueprint(mirrorProperties={key: {"path": "to.b"}}) | TO),
    (
        "calculationProperties",
        lambda key: blueprint(calculationProperties={key: {"type": "string", "calculation": "1"}}),
    ),
    (
        "aggregationProperties",
        lambda key: blueprint(aggregationProperties={key: {"target": "b", "calculationSpec": COUNT}}),
    ),
    ("relations", lambda key: blueprint(relations={key: {"target": "b"}, **TO["relations"]})),
]


@pytest.mark.parametrize(("where", "made"), KEYED)
def test_keys(where: str, made: Any) -> None:
    for good in ("a", "A9", "a@_=-", "x" * 100):
        parsed(made(good))
    for bad in ("", "a.b", "a b", "a/b", "ä", "$title", "a\n", "x" * 101):
        said = refusal(made(bad))
        assert said.startswith((f"{where}.", f"{where}["))
        assert said.endswith(": a key has 1 to 100 letters, digits and @ _ = -")


@pytest.mark.parametrize(("second", "made"), KEYED)
@pytest.mark.parametrize(("first", "also"), KEYED)
def test_a_key_is_used_once(first: str, also: Any, second: str, made: Any) -> None:
    both = made("k") | {key: value for key, value in also("k").items() if key != "schema" or value["properties"]}
    both["relations"] = {**made("k").get("relations", {}), **also("k").get("relations", {})}
    if first == second:
        parsed(both)
    else:
        by, at = sorted((first, second), key=[where for where, _ in KEYED].index)
        assert refusal(both) == f"{at}.k: the key is taken by {by}.k"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (3, "the body: must be an object"),
        ([], "the body: must be an object"),
        ({}, "identifier: is required; schema: is required"),
        ({"identifier": "b", "schema": {}}, "schema.properties: is required"),
        (blueprint([]), "schema.properties: must be an object"),
        (blueprint(title=""), "title: must have 1 to 30 characters"),
        (blueprint(title="x" * 31), "title: must have 1 to 30 characters"),
        (blueprint(title=5), "title: must be a string"),
        (blueprint(description="x" * 201), "description: must have 0 to 200 characters"),
        (blueprint({"x": "string"}), "schema.properties.x: must be an object"),
        (prop(), "schema.properties.x.type: is required"),
        (prop(type="integer"), "schema.properties.x.type: must be one of string, number, boolean, object, array"),
        (prop(type="string", title="x" * 101), "schema.properties.x.title: must have 0 to 100 characters"),
        (prop(type="string", format="date"), f"schema.properties.x.format: must be one of {', '.join(FORMATS)}"),
        (prop(type="string", format=5), "schema.properties.x.format: must be a string"),
        *(
            (prop(type=kind, format="url"), "schema.properties.x.format: is possible for strings and objects only")
            for kind in ("number", "boolean", "array")
        ),
        (
            prop(type="array", items={"type": "number", "format": "url"}),
            "schema.properties.x.items.format: is possible for strings and objects only",
        ),
        (
            prop(type="array", items={"type": "string", "format": "uuid"}),
            f"schema.properties.x.items.format: must be one of {', '.join(FORMATS)}",
        ),
        (prop(type="array", items=[{}]), "schema.properties.x.items: must be an object"),
        (
            prop(type="array", items={"type": "text"}),
            "schema.properties.x.items.type: must be one of string, number, boolean, object, array",
        ),
        (
            prop(type="string", spec="wsdl"),
            "schema.properties.x.spec: must be one of open-api, async-api, embedded-url",
        ),
        (
            prop(type="object", spec="embedded-url"),
            "schema.properties.x.spec: embedded-url needs type string and format url",
        ),
        (
            prop(type="number", spec="open-api"),
            "schema.properties.x.spec: is possible for strings and objects only",
        ),
        (
            prop(type="string", specAuthentication={"clientId": "c", "tokenUrl": "t"}),
            "schema.properties.x.specAuthentication.authorizationUrl: is required",
        ),
        (prop(type="string", enum=[]), "schema.properties.x.enum: must have at least one value"),
        (prop(type="string", enum="a"), "schema.properties.x.enum: must be an array"),
        (prop(type="string", enum=["a", 1]), "schema.properties.x.enum: /1 must be string"),
        (prop(type="number", enum=["1"]), "schema.properties.x.enum: /0 must be number"),
        (
            prop(type="array", items={"type": "number", "enum": ["1"]}),
            "schema.properties.x.items.enum: /0 must be number",
        ),
        (prop(type="string", enumColors={"a": "mauve"}), "schema.properties.x.enumColors.a: must be one of blue, "),
        (prop(type="string", enumColors=["a"]), "schema.properties.x.enumColors: must be an object"),
        (prop(type="string", pattern="("), "schema.properties.x.pattern: is no regular expression that can be run"),
        (
            prop(type="string", pattern="((a{1000}){1000}){100}"),
            "schema.properties.x.pattern: is no regular expression that can be run",
        ),
        (prop(type="string", pattern={"jqQuery": "1"}), "schema.properties.x.pattern: must be a string"),
        (
            prop(type="array", items={"type": "string", "pattern": "("}),
            "schema.properties.x.items.pattern: is no regular expression that can be run",
        ),
        (prop(type="string", minLength="3"), "schema.properties.x.minLength: must be a number"),
        (prop(type="string", minLength=-1), "schema.properties.x.minLength: is not valid in JSON Schema draft-07: "),
        (prop(type="object", required=True), "schema.properties.x.required: is not valid in JSON Schema draft-07: "),
        (
            prop(type="object", properties={"a": {"$ref": "#"}}),
            "schema.properties.x.properties.a.$ref: is not supported",
        ),
        (prop(type="string", default=1), "schema.properties.x.default: must be string"),
        (prop(type="string", enum=["a"], default="b"), 'schema.properties.x.default: must be one of "a"'),
        (
            prop(type="string", format="timer", default="PT1H"),
            'schema.properties.x.default: must match format "date-time"',
        ),
        (prop(type="string", pattern="^a$", default="b"), 'schema.properties.x.default: must match pattern "^a$"'),
        (prop(type="number", maximum=3, default=4), "schema.properties.x.default: must be <= 3"),
        (prop(type="boolean", default="true"), "schema.properties.x.default: must be boolean"),
        (prop(type="object", default=[]), "schema.properties.x.default: must be object"),
        (
            prop(type="array", items={"type": "string"}, default=["a", 1]),
            "schema.properties.x.default: /1 must be string",
        ),
        (
            prop(type="array", items={"type": "number", "default": ["a"]}),
            "schema.properties.x.items.default: /0 must be number",
        ),
        (
            {"identifier": "b", "schema": {"properties": {"x": {"type": "string"}}, "required": ["x", "y"]}},
            "schema.required[1]: names 'y', which is no property",
        ),
        (
            {
                "identifier": "b",
                "schema": {"properties": {}, "required": ["m"]},
                "mirrorProperties": {"m": {"path": "a.b"}},
            },
            "schema.required[0]: names 'm', which is no property",
        ),
        ({"identifier": "b", "schema": {"properties": {}, "required": "x"}}, "schema.required: must be an array"),
        (blueprint(relations={"r": {}}), "relations.r.target: is required"),
        (blueprint(relations={"r": {"target": "b", "many": "no"}}), "relations.r.many: must be true or false"),
        (
            blueprint(relations={"r": {"target": "b", "many": True, "required": True}}),
            "relations.r.required: cannot be true where many is true",
        ),
        (blueprint(mirrorProperties={"m": {}}), "mirrorProperties.m.path: is required"),
        *(
            (blueprint(mirrorProperties={"m": {"path": path}}), "mirrorProperties.m.path: must be relations and then")
            for path in ("tier", "", "a..b", "a.", ".a", "$title", "a.$b.c", "a b.c", "a.b\n")
        ),
        (blueprint(relations={"r": {"target": "b", "type": {"a": 1}}}), "relations.r.type: must be a string"),
        (blueprint(includeInGlobalSearch="yes"), "includeInGlobalSearch: must be true or false"),
        (prop(type="string", dateFormat=[1]), "schema.properties.x.dateFormat: must be a string"),
        *(
            (
                blueprint(calculationProperties={"c": {"calculation": "[]", "type": "array", "items": items}}),
                f"calculationProperties.c.items.{said}",
            )
            for items, said in (
                ({"type": 5}, "type: must be one of string, number"),
                ({"format": 5}, "format: must be a string"),
                ({"type": "string", "format": "date"}, "format: must be one of"),
            )
        ),
        (
            blueprint(calculationProperties={"c": {}}),
            "calculationProperties.c.calculation: is required; calculationProperties.c.type: is required",
        ),
        (
            blueprint(calculationProperties={"c": {"calculation": "", "type": "string"}}),
            "calculationProperties.c.calculation: must have 1 to 10000 characters",
        ),
        (
            blueprint(calculationProperties={"c": {"calculation": "1", "type": "string", "format": "date"}}),
            "calculationProperties.c.format: must be one of ",
        ),
        (
            blueprint(calculationProperties={"c": {"calculation": "1", "type": "number", "format": "date-time"}}),
            "calculationProperties.c.format: is possible for strings and objects only",
        ),
        (
            blueprint(calculationProperties={"c": {"calculation": "1", "type": "string", "colors": {"a": 1}}}),
            "calculationProperties.c.colors.a: must be one of blue, ",
        ),
        (
            blueprint(aggregationProperties={"n": {}}),
            "aggregationProperties.n.target: is required; aggregationProperties.n.calculationSpec: is required",
        ),
        (
            aggregation({}),
            "aggregationProperties.n.calculationSpec.calculationBy: is required; "
            "aggregationProperties.n.calculationSpec.func: is required",
        ),
        (
            aggregation({"calculationBy": "x", "func": "mode"}),
            "aggregationProperties.n.calculationSpec.calculationBy: must be one of entities, property; "
            "aggregationProperties.n.calculationSpec.func: must be one of count, average, sum, min, max, median",
        ),
        (
            aggregation({"calculationBy": "entities", "func": "sum"}),
            "aggregationProperties.n.calculationSpec.func: must be one of count, average where",
        ),
        (
            aggregation({"calculationBy": "property", "func": "count", "property": "p"}),
            "aggregationProperties.n.calculationSpec.func: must be one of sum, min, max, median, average where",
        ),
        (
            aggregation({"calculationBy": "property", "func": "sum"}),
            "aggregationProperties.n.calculationSpec.property: is required where calculationBy is property",
        ),
        *(
            (
                aggregation({"calculationBy": by, "func": "average", "property": "p"}),
                "aggregationProperties.n.calculationSpec.averageOf: is required where func is average",
            )
            for by in ("entities", "property")
        ),
        (
            aggregation({"calculationBy": "entities", "func": "average", "averageOf": "year"}),
            "aggregationProperties.n.calculationSpec.averageOf: must be one of hour, day, week, month, total",
        ),
        (aggregation(COUNT, type="string"), "aggregationProperties.n.type: must be number"),
        (aggregation(COUNT, query=[]), "aggregationProperties.n.query: must be an object"),
        (aggregation(COUNT, pathFilter=[{}]), "aggregationProperties.n.pathFilter[0].path: is required"),
        (aggregation(COUNT, query={"rules": []}), "aggregationProperties.n.query.combinator: is required"),
        (
            aggregation(COUNT, query={"combinator": "and", "rules": [{"property": "x", "operator": "near"}]}),
            "aggregationProperties.n.query.rules[0].operator: must be one of",
        ),
        (
            aggregation(COUNT, query={"combinator": "and", "rules": [{"scorecard": "s", "operator": "isEmpty"}]}),
            "aggregationProperties.n.query.rules[0].scorecard: is only for the search of one blueprint",
        ),
        (
            aggregation({"calculationBy": "property", "func": "sum", "property": "$nothing"}),
            "aggregationProperties.n.calculationSpec.property: must be a property or one of $identifier",
        ),
        (
            aggregation({"calculationBy": "entities", "func": "average", "averageOf": "day", "measureTimeBy": ""}),
            "aggregationProperties.n.calculationSpec.measureTimeBy: must be text that is not empty",
        ),
        (
            aggregation(COUNT, pathFilter=[{"path": ["a"] * 16}]),
            "aggregationProperties.n.pathFilter[0].path: must name 1 to 15 relations",
        ),
        (
            aggregation(COUNT, pathFilter=[{"path": ["a"], "fromBlueprint": "c"}]),
            "aggregationProperties.n.pathFilter[0].fromBlueprint: must be b",
        ),
        (
            aggregation(COUNT, pathFilter=[{"path": ["a"]}, {"path": []}]),
            "aggregationProperties.n.pathFilter[1].path: must name 1 to 15 relations",
        ),
        (
            aggregation(COUNT, pathFilter=[{"path": ["a"]}] * 11),
            "aggregationProperties.n.pathFilter: must have at most 10 paths",
        ),
        (blueprint(ownership={}), "ownership.type: is required"),
        (blueprint(ownership={"type": "Shared"}), "ownership.type: must be one of Direct, Inherited"),
        (blueprint(ownership={"type": "Inherited"}), "ownership.path: is required"),
        (blueprint(ownership={"type": "Inherited", "path": "a."}), "ownership.path: must be relations with dots"),
        (blueprint(ownership={"type": "Direct", "title": "x" * 101}), "ownership.title: must have 0 to 100 characters"),
        (blueprint(teamInheritance={}), "teamInheritance.path: is required"),
        (blueprint(teamInheritance={"path": ""}), "teamInheritance.path: must be relations with dots"),
        (blueprint(changelogDestination={"type": "SQS"}), "changelogDestination.type: must be one of KAFKA, WEBHOOK"),
        (blueprint(changelogDestination={"type": "WEBHOOK"}), "changelogDestination.url: is required"),
        (
            blueprint(changelogDestination={"type": "WEBHOOK", "url": "ftp://a"}),
            "changelogDestination.url: must be an absolute http or https URL",
        ),
    ],
)
def test_refusals_name_the_path(document: Any, said: str) -> None:
    assert refusal(document).startswith(said), refusal(document)


def test_every_fault_is_named_at_once_but_no_more_than_a_message_can_bear() -> None:
    two = blueprint({"x": {"type": "string", "pattern": "("}}, relations={"x": {"target": "b"}})
    assert refusal(two) == (
        "schema.properties.x.pattern: is no regular expression that can be run; "
        "relations.x: the key is taken by schema.properties.x"
    )
    assert refusal(blueprint({f"x{n}": {"type": "string", "default": 1} for n in range(1000)})).count("; ") == 19


@pytest.mark.parametrize("format", [*FORMATS, None])
def test_formats_of_strings(format: str | None) -> None:
    parsed(prop(type="string", format=format))
    parsed(prop(type="array", items={"type": "string", "format": format}))


def test_what_stands_as_it_stood_is_not_looked_at() -> None:
    number: Document = {"type": "number", "format": "url", "default": 1}
    stored = blueprint(
        {"x": number},
        calculationProperties={"c": {"calculation": "1", "type": "number", "format": "url"}},
    )
    before = Definition.stored(stored)
    assert parsed({**stored, "title": "Other"}, before).title == "Other"
    with pytest.raises(InvalidRequest, match=r"schema\.properties\.x\.format: .*; schema\.properties\.x\.default: "):
        parsed(blueprint({"x": {**number, "default": True}}), before)
    with pytest.raises(InvalidRequest, match=r"calculationProperties\.c\.format: "):
        parsed(blueprint(calculationProperties={"c": {"calculation": "2", "type": "number", "format": "url"}}), before)


def test_an_aggregation_that_stands_as_it_stood_is_not_looked_at() -> None:
    stored = aggregation(COUNT, query={"rules": "none"})
    before = Definition.stored(stored)
    assert parsed({**stored, "title": "Other"}, before).title == "Other"
    with pytest.raises(InvalidRequest, match=r"aggregationProperties\.n\.query\."):
        parsed(aggregation(COUNT, query={"rules": "nothing"}), before)
    assert parsed(aggregation(COUNT, query={}), before).aggregation_properties["n"].query == {}


def test_a_document_that_nests_too_deep_is_refused() -> None:
    value: Any = {}
    for _ in range(150):
        value = {"items": value}
    assert "nests deeper" in refusal(prop(type="array", items=value))


def test_a_body_full_of_choices_is_examined_in_time() -> None:
    started = time.process_time()
    assert refusal(prop(type="string", enum=[1] * 300_000)).startswith("schema.properties.x.enum: ")
    parsed(prop(type="string", enum=[str(n) for n in range(100_000)]))
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("patch", "changes"),
    [
        ({}, {}),
        ({"x-new": {"r": {"target": "b", "gone": None}}}, {"x-new": {"r": {"target": "b"}}}),
        ({"title": None, "absent": None}, {"title": ...}),
        ({"new": 1, "createdAt": "x", "updatedBy": None}, {"new": 1}),
        ({"identifier": None}, {"identifier": None}),
        ({"schema": {"properties": {}}}, {}),
    ],
)
def test_a_patch_changes_the_keys_it_names(patch: dict[str, Any], changes: dict[str, Any]) -> None:
    document = json.loads(ENVIRONMENT) | {"createdBy": "kim", "empty": None}
    before = json.dumps([document, patch])
    expected = {key: value for key, value in {**document, **changes}.items() if value is not ... and key != "createdBy"}
    assert json.dumps(patched(document, patch)) == json.dumps(expected)
    assert json.dumps([document, patch]) == before


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({"relations": {"a": {"target": "b"}}}, {"relations": {"c": {"target": "b"}}},
         {"relations": {"a": {"target": "b"}, "c": {"target": "b"}}}),
        ({"relations": {"a": {"target": "b", "title": "A"}}}, {"relations": {"a": {"many": True}}},
         {"relations": {"a": {"target": "b", "title": "A", "many": True}}}),
        ({"relations": {"a": {"target": "b"}, "c": {"target": "b"}}}, {"relations": {"a": None, "ghost": None}},
         {"relations": {"c": {"target": "b"}}}),
        ({}, {"relations": {"a": {"target": "b", "title": None}}}, {"relations": {"a": {"target": "b"}}}),
        ({"x-list": [{"a": 1}, 2]}, {"x-list": [{"b": None}]}, {"x-list": [{"b": None}]}),
        ({"x-of": {"a": {"b": 1}}}, {"x-of": {"a": 2}}, {"x-of": {"a": 2}}),
        ({"x-of": 2}, {"x-of": {"a": {"b": None}}}, {"x-of": {"a": {}}}),
        ({"changelogDestination": {"type": "WEBHOOK", "url": "https://a"}}, {"changelogDestination": {"type": "KAFKA"}},
         {"changelogDestination": {"type": "KAFKA"}}),
    ],
)  # fmt: skip
def test_a_patch_is_laid_over_the_blueprint(before: Document, patch: Document, after: Document) -> None:
    assert patched(before, patch) == after


def test_a_patch_of_properties_keeps_the_others_and_replaces_what_is_one_value() -> None:
    held: Document = {"type": "object", "title": "Q", "default": {"a": 1}}
    document = blueprint(schema={"properties": {"default": held, "b": {"type": "string"}}, "required": ["b"]})
    more: Document = {"default": {"icon": "I", "default": {"b": None}}, "c": {"type": "number"}}
    assert patched(document, {"schema": {"properties": more}})["schema"] == {
        "properties": {
            "default": {**held, "icon": "I", "default": {"b": None}},
            "b": {"type": "string"},
            "c": {"type": "number"},
        },
        "required": ["b"],
    }
    gone: Document = {"schema": {"properties": {"b": None}, "required": []}}
    assert patched(document, gone)["schema"] == {"properties": {"default": held}, "required": []}


def test_a_patch_nests_no_deeper_than_a_blueprint() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"x": deep}
    with pytest.raises(InvalidRequest, match="nests deeper"):
        patched(blueprint(), deep)


def test_the_default_of_a_person_may_be_no_address_but_the_value_of_an_entity_may_not() -> None:
    one = parsed(prop(type="string", format="user", enum=["kim", "sam"], default="kim"))
    assert problems(one, defaults(one)) == ['/properties/x must match format "email"']
    assert refusal(prop(type="string", format="user", enum=["kim"], default="sam")) == (
        'schema.properties.x.default: must be one of "kim"'
    )


def test_what_a_blueprint_cannot_be_without_is_not_patched_away() -> None:
    assert refusal(patched(blueprint(), {"identifier": None})) == "identifier: must be a string"
    assert refusal(patched(blueprint(), {"schema": None})) == "schema: must be an object"


def test_the_definition_is_parsed_once_and_follows_its_document() -> None:
    one = kept(blueprint(title="One"))
    assert one.definition is one.definition
    assert one.definition.entity_validator is one.definition.entity_validator
    assert replace(one, document=blueprint(title="Two")).definition.title == "Two"
    assert one == kept(blueprint(title="One"))


def test_the_system_blueprints_are_blueprints() -> None:
    made = {document["identifier"]: parsed(document) for document in system_blueprints()}
    assert list(made)[:2] == ["_team", "_user"]
    assert (made["_user"].relations["teams"].target, made["_user"].relations["teams"].many) == ("_team", True)
    assert list(made["_user"].properties) == ["status", "port_role", "port_type", "port_email"]


def test_the_system_blueprints_cannot_be_changed_by_who_asks() -> None:
    system_blueprints()[0].clear()
    assert system_blueprints()[0]["identifier"] == "_team"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
EXTRAS = st.dictionaries(st.text(max_size=8).map(lambda key: f"x-{key}"), json_values, max_size=3)
NAMES = st.text("abcxyz019@_=-", min_size=1, max_size=6)
PROPERTIES = st.dictionaries(
    NAMES,
    st.builds(
        lambda kind, before, after: {**before, "type": kind, **after},
        st.sampled_from(["string", "number", "boolean", "object", "array"]),
        EXTRAS,
        EXTRAS,
    ),
    max_size=4,
)
DOCUMENTS = st.builds(
    lambda properties, before, after, within: {
        **before,
        "schema": {"properties": properties, **within},
        "relations": {"r-r": {**within, "target": "b"}},
        "identifier": "b",
        **after,
    },
    PROPERTIES,
    EXTRAS,
    EXTRAS,
    EXTRAS,
)


@given(DOCUMENTS)
@settings(deadline=None)
def test_any_valid_document_is_kept_verbatim(document: Document) -> None:
    before = json.dumps(document)
    definition = parsed(document)
    assert json.dumps(definition.document) == before
    assert json.dumps(kept(definition.document).echo()) == before[:-1] + ", " + json.dumps(ADDED)[1:]


@given(DOCUMENTS, st.dictionaries(st.sampled_from(["title", "icon", "relations", "x-", "x-a"]), json_values))
@settings(deadline=None)
def test_any_patch_changes_what_it_names_only(document: Document, patch: Document) -> None:
    result = patched(document, patch)
    assert {key: value for key, value in result.items() if key not in patch} == {
        key: value for key, value in document.items() if key not in patch
    }
    assert patched(result, patch) == result
    for key, value in patch.items():
        if value is None:
            assert key not in result
        elif not isinstance(value, dict):
            assert result[key] == value


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, item in items for deeper in _paths(item, (*path, key)))]


TOP_LEVEL = tuple(json.loads(ENVIRONMENT))


@given(st.sampled_from([path for path in _paths(json.loads(ENVIRONMENT)) if path]), json_values)
@settings(deadline=None, max_examples=400)
def test_any_value_anywhere_is_accepted_or_refused_by_path(path: tuple[Any, ...], value: JsonValue) -> None:
    document = here = json.loads(ENVIRONMENT)
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    before = json.dumps(document)
    try:
        definition = parsed(document)
    except InvalidRequest as error:
        said: str | None = str(error)
    else:
        said = None
        assert json.dumps(definition.document) == before
        assert not definition.entity_validator.is_valid([])
    assert said is None or said.startswith(TOP_LEVEL), said
