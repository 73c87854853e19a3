"""GitHub's own description of its API: what a request differs from it in, and the least that an answer is."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import regex
from jsonschema_rs import Draft202012Validator

Json = dict[str, Any]

DESCRIPTION: Json = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "github_openapi.json").read_text(encoding="utf-8")
)
_SAMPLES = {"date-time": "2026-01-01T00:00:00Z", "uri": "https://example.test", "email": "o@example.test"}


@cache
def _validator(schema: str) -> Draft202012Validator:
    document = {**json.loads(schema), "definitions": DESCRIPTION["definitions"]}
    return Draft202012Validator(document, validate_formats=True)


def problems(schema: Json, value: Any) -> list[str]:
    """How the value differs from the schema."""
    return [f"{error.instance_path}: {error.message}" for error in _validator(json.dumps(schema)).iter_errors(value)]


def sample(schema: Json, *, null: bool = True) -> Any:
    """The least that the schema takes; `null` as well, unless that does not do."""
    if "$ref" in schema:
        return sample(DESCRIPTION["definitions"][schema["$ref"].rsplit("/", 1)[-1]], null=null)
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return sample(schema[several][0])
    if "allOf" in schema:
        return {name: value for part in schema["allOf"] for name, value in sample(part).items()}
    if "enum" in schema:
        return schema["enum"][0]
    kinds = schema.get("type", "object")
    match kinds if isinstance(kinds, str) else ("null" if null and "null" in kinds else kinds[0]):
        case "object":
            return {name: sample(schema.get("properties", {}).get(name, {})) for name in schema.get("required", ())}
        case "array":
            return []
        case "integer" | "number":
            return 1
        case "boolean":
            return False
        case "null":
            return None
    return _SAMPLES.get(schema.get("format", ""), "x")


def filled(schema: Json, **values: Any) -> Any:
    """The least that the schema takes, with other values."""
    return {**sample(schema, null=False), **values}


def nested(schema: Json, name: str) -> Any:
    """The least that the schema takes as a member."""
    return sample(schema)[name]


def operation_of(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Which operation a request is for, and the values in its path."""
    for operation in DESCRIPTION["operations"]:
        its_method, _, template = operation.partition(" ")
        found = regex.fullmatch(regex.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template), path)
        if its_method == method and found:
            return operation, found.groupdict()
    return None


def wrong_parameters(described: Json, values: dict[str, str], query: dict[str, str]) -> Iterator[str]:
    """What the operation does not take in the path and the query."""
    given = {("path", name): value for name, value in values.items()} | {
        ("query", name): v for name, v in query.items()
    }
    for one in described["parameters"]:
        place = (one["in"], one["name"])
        if place not in given:
            if one["required"]:
                yield f"{place} is missing"
            continue
        text = given.pop(place)
        if one["name"] == "created":  # a range, in the syntax of searches
            text = text.removeprefix(">=")
        value: Any = int(text) if text.isdigit() else {"true": True, "false": False}.get(text, unquote(text))
        if not all(problems(one["schema"], way) for way in (value, unquote(text))):
            continue
        yield f"{place} is {text!r}, which is not {one['schema']}"
    for place in given:
        yield f"{place} is not known"


def wrong_headers(headers: dict[str, str], body: bytes) -> Iterator[str]:
    """What GitHub asks of headers that these do not have."""
    wanted = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
    if body:
        wanted["content-type"] = "application/json"
    for name, value in wanted.items():
        if headers.get(name) != value:
            yield f"{name} is {headers.get(name)}"
    if not headers.get("user-agent", "").startswith("interlock"):
        yield "GitHub refuses requests without a user agent"


def wrong_body(described: Json, document: Any) -> Iterator[str]:
    """What the operation does not take as a body."""
    body = described.get("body")
    if body is None or document is None:
        if document is not None:
            yield "takes no body"
        if body and body["required"]:
            yield "needs a body"
        return
    yield from problems(body["schema"], document)
    yield from (f"{name} is not known" for name in document.keys() - body["schema"]["properties"].keys())
    permissions = DESCRIPTION["definitions"]["app-permissions-whole"]["properties"]
    yield from (f"{name} is no permission" for name in document.get("permissions", {}).keys() - permissions.keys())
