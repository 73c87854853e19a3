"""The form of a `port_action`: between its attributes and `userInputs`."""

from dataclasses import dataclass
from typing import Any

from tests.clients import go
from tests.clients.go import ANY, INTEGER, NUMBER, STRING, Json, Map

_RULE: Json = {"blueprint": STRING, "property": STRING, "operator": STRING, "value": ANY, "combinator": STRING}
_RULE["rules"] = [_RULE]

_PROPERTY: Json = {
    "type": STRING,
    "title": STRING,
    "items": Map(ANY),
    "default": ANY,
    "icon": STRING,
    "format": STRING,
    "maxLength": INTEGER,
    "minLength": INTEGER,
    "maxItems": ANY,
    "minItems": ANY,
    "maximum": NUMBER,
    "minimum": NUMBER,
    "description": STRING,
    "blueprint": STRING,
    "pattern": ANY,
    "enum": ANY,
    "enumColors": Map(STRING),
    "dependsOn": [STRING],
    "dataset": {"combinator": STRING, "rules": [_RULE]},
    "encryption": ANY,
    "visible": ANY,
    "disabled": ANY,
    "sort": {"property": STRING, "order": STRING},
}

USER_INPUTS: Json = {
    "properties": Map(_PROPERTY),
    "required": ANY,
    "order": [STRING],
    "steps": [{"title": STRING, "order": [STRING], "visible": ANY}],
    "titles": Map({"title": STRING, "description": STRING, "visible": ANY}),
}

_COMMON = {"title": "title", "icon": "icon", "description": "description", "depends_on": "dependsOn"}
_SWITCHES = {"visible": "visible", "disabled": "disabled"}


@dataclass(frozen=True)
class _Inputs:
    """The inputs of one type: attributes as they are, and those that a program may compute instead."""

    type: str
    plain: dict[str, str]
    computed: dict[str, str]


_KINDS = {
    "string_props": _Inputs(
        "string",
        {
            "format": "format",
            "blueprint": "blueprint",
            "min_length": "minLength",
            "max_length": "maxLength",
            "enum_colors": "enumColors",
            "sort": "sort",
        },
        {"default": "default", "enum": "enum", "pattern": "pattern"},
    ),
    "number_props": _Inputs(
        "number", {"minimum": "minimum", "maximum": "maximum"}, {"default": "default", "enum": "enum"}
    ),
    "boolean_props": _Inputs("boolean", {}, {"default": "default"}),
    "object_props": _Inputs("object", {}, {"default": "default"}),
    "array_props": _Inputs(
        "array", {"sort": "sort"}, {"default": "default", "min_items": "minItems", "max_items": "maxItems"}
    ),
}
_BY_TYPE = {inputs.type: name for name, inputs in _KINDS.items()}
_ITEMS = ("string", "number", "boolean", "object")


def _program(value: Any) -> str | None:
    return value["jqQuery"] if isinstance(value, dict) and isinstance(value.get("jqQuery"), str) else None


def _write(attributes: Json, names: dict[str, str]) -> Json:
    """Attributes that may be computed, as values or programs."""
    written: Json = {}
    for name, key in names.items():
        if (program := attributes.get(f"{name}_jq_query")) is not None:
            written[key] = {"jqQuery": program}
        elif attributes.get(name) is not None:
            written[key] = attributes[name]
    return written


def _read(found: Json, names: dict[str, str]) -> Json:
    attributes: Json = {}
    for name, key in names.items():
        program = _program(found.get(key))
        attributes[name if program is None else f"{name}_jq_query"] = found.get(key) if program is None else program
    return attributes


def _rule_written(rule: Json) -> Json:
    if rule.get("combinator"):
        return {"combinator": rule["combinator"], "rules": [_rule_written(one) for one in rule["rules"]]}
    value = rule.get("value")
    written = {key: rule.get(key) for key in ("blueprint", "property", "operator")}
    return go.without_empty({**written, "value": value and {"jqQuery": value["jq_query"]}})


def _rule_read(rule: Json) -> Json:
    if rule.get("combinator"):
        return {"combinator": rule["combinator"], "rules": [_rule_read(one) for one in rule["rules"]]}
    attributes = {key: rule.get(key) for key in ("blueprint", "property", "operator")}
    value = rule.get("value")
    if value is None:
        return attributes
    program = _program(value)  # a bare constant would turn up as if it were a program
    return {**attributes, "value": {"jq_query": go.text(value) if program is None else program}}


def _input_written(inputs: _Inputs, attributes: Json) -> Json:
    body: Json = {"type": inputs.type}
    body |= {key: attributes.get(name) for name, key in (_COMMON | inputs.plain).items()}
    body |= _write(attributes, _SWITCHES | inputs.computed)
    if inputs.type == "object" and isinstance(body.get("default"), str):
        body["default"] = go.parsed(body["default"])
    body["encryption"] = attributes.get("client_side_encryption") or attributes.get("encryption")
    if dataset := attributes.get("dataset"):
        body["dataset"] = {**dataset, "rules": [_rule_written(rule) for rule in dataset["rules"]]}
    for kind in _ITEMS:
        if (items := attributes.get(f"{kind}_items")) is not None:
            body |= _items_written(kind, items)
    return {key: value for key, value in body.items() if value is not None}


def _items_written(kind: str, attributes: Json) -> Json:
    """The `items`, and the default of the whole where it is not kept in them."""
    items: Json = {"type": kind, **_write(attributes, {"enum": "enum"})}
    items |= go.without_empty({key: attributes.get(key) for key in ("format", "blueprint")})
    if attributes.get("dataset") is not None:
        items["dataset"] = go.parsed(attributes["dataset"])
    default = attributes.get("default")
    if default is None:
        return {"items": items}
    if kind in ("string", "object"):
        return {"items": items, "default": default}
    return {"items": {**items, "default": default}}


def _input_read(inputs: _Inputs, found: Json, before: Json) -> Json:
    attributes = {name: found.get(key) for name, key in (_COMMON | inputs.plain).items()}
    attributes |= _read(found, _SWITCHES | inputs.computed)
    encryption = found.get("encryption")
    attributes["client_side_encryption" if isinstance(encryption, dict) else "encryption"] = encryption
    if "dataset" in found:
        attributes["dataset"] = {**found["dataset"], "rules": [_rule_read(one) for one in found["dataset"]["rules"]]}
    if inputs.type == "object" and attributes.get("default") is not None:
        attributes["default"] = go.encoded(attributes["default"], before=before.get("default"))
    if inputs.type == "array":
        default = attributes.pop("default", None)
        items = found.get("items") or {}
        if items.get("type"):
            name = f"{items['type']}_items"
            attributes[name] = _items_read(items, default, before.get(name) or {})
    return attributes


def _items_read(items: Json, default: Any, before: Json) -> Json:
    attributes = {**_read(items, {"enum": "enum"}), "default": default}
    if items["type"] == "string":
        attributes |= {key: items.get(key) for key in ("format", "blueprint")}
        attributes["dataset"] = go.encoded(items.get("dataset"), before=before.get("dataset"))
    return attributes


def written(trigger: Json) -> Json:
    """The `userInputs` of a self-service trigger."""
    properties: Json = {}
    required: list[str] = []
    for name, inputs in _KINDS.items():
        for identifier, attributes in ((trigger.get("user_properties") or {}).get(name) or {}).items():
            properties[identifier] = _input_written(inputs, attributes)
            required += [identifier] if attributes.get("required") else []
    body: Json = {"properties": properties, "order": trigger.get("order_properties") or None}
    if (program := trigger.get("required_jq_query")) is not None:
        body["required"] = {"jqQuery": program}
    elif required:
        body["required"] = required
    body["titles"] = {
        identifier: go.without_empty({**{key: title.get(key) for key in ("title", "description")}})
        | _write(title, {"visible": "visible"})
        for identifier, title in (trigger.get("titles") or {}).items()
    } or None
    body["steps"] = [
        {"title": step["title"], "order": step["order"], **_write(step, {"visible": "visible"})}
        for step in trigger.get("steps") or ()
    ] or None
    return {key: value for key, value in body.items() if value is not None}


def attributes(found: Json, before: Json) -> Json:
    """The attributes of a trigger that its `userInputs` give; `before` is what the state had."""
    had: Json = before.get("user_properties") or {}
    required = found.get("required")
    listed = required if isinstance(required, list) else []
    properties: Json = {}
    for identifier, definition in found["properties"].items():
        name = _BY_TYPE[definition["type"]]
        old = (had.get(name) or {}).get(identifier) or {}
        one = _input_read(_KINDS[name], definition, old)
        properties.setdefault(name, {})[identifier] = one | {"required": True if identifier in listed else None}
    configured = before.get("user_properties") is not None
    titles = found.get("titles")
    return {
        "user_properties": properties if properties or configured else None,
        "required_jq_query": _program(required),
        "order_properties": found.get("order") or None,
        "titles": titles
        and {
            identifier: {"title": title["title"], "description": title.get("description")}
            | _read(title, {"visible": "visible"})
            for identifier, title in titles.items()
        },
        "steps": [
            {"title": step["title"], "order": step["order"], **_read(step, {"visible": "visible"})}
            for step in found.get("steps") or ()
        ]
        or None,
    }
