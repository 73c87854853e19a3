"""What users may write as an invocation method, and what templates may make of it."""

import copy
import json

import pytest
from pydantic import JsonValue

import backends
from domain.documents import Document
from domain.errors import BackendRefused, InvalidInvocation, InvalidRequest

JSON: Document = {"{{ spreadValue() }}": "{{ .inputs }}", "n": 1.0, "deep": [{"x": None}]}
TEMPLATE = "{{ .inputs.flag }}"
HTTP: dict[str, list[JsonValue]] = {
    "agent": [False, True, TEMPLATE],
    "synchronized": [False, True, TEMPLATE],
    "method": ["POST", "get", "{{ .inputs.method }}"],
    "headers": [{}, {"{{ .inputs.name }}": "Bearer {{ .secrets.X }}"}],
    "body": [{}, JSON, [], ["{{ .run.id }}"], "{{ .inputs }}"],
}
REQUIRED: dict[str, Document] = {
    "KAFKA": {},
    "WEBHOOK": {"url": "{{ .secrets.URL }}"},
    "GITHUB": {"org": "acme", "repo": "infra", "workflow": "deploy.yml"},
    "GITLAB": {"projectName": "infra", "groupName": "acme/platform"},
    "AZURE_DEVOPS": {"webhook": "port_trigger", "org": "acme"},
    "UPSERT_ENTITY": {"blueprintIdentifier": "service", "mapping": {}},
    "INTEGRATION_ACTION": {
        "installationId": "my-ocean",
        "integrationActionType": "dispatch_workflow",
        "integrationActionExecutionProperties": {"org": "acme", "any": ["{{ .inputs.x }}"]},
    },
    "SLACK": {"url": "https://hooks.slack.com/services/x"},
}
OPTIONAL: dict[str, dict[str, list[JsonValue]]] = {
    "KAFKA": {"payload": [{}, JSON, [], "{{ . }}"]},
    "WEBHOOK": HTTP,
    "GITHUB": {"workflowInputs": [{}, JSON], "reportWorkflowStatus": [True, False, TEMPLATE]},
    "GITLAB": {"defaultRef": ["main", "{{ .inputs.ref }}"], "pipelineVariables": [{}, JSON]},
    "AZURE_DEVOPS": {"payload": [{}, JSON, [], "{{ . }}"]},
    "UPSERT_ENTITY": {
        "mapping": [
            {"identifier": "{{ .inputs.name }}", "title": "T", "icon": "Microservice"},
            {"team": "{{ .inputs.teams }}"},
            {"team": ["plat"], "properties": JSON, "relations": {"a": "x", "b": ["y"], "c": None}},
        ]
    },
    "INTEGRATION_ACTION": {},
    "SLACK": HTTP,
}
EVERY = sorted(REQUIRED)


def test_the_table_has_every_method() -> None:
    assert set(backends.METHODS) == set(REQUIRED) == set(OPTIONAL)


@pytest.mark.parametrize("name", EVERY)
def test_minimal_and_full_definitions_are_accepted_and_left_as_they_are(name: str) -> None:
    minimal: Document = {"type": name, **REQUIRED[name]}
    definitions = [minimal]
    definitions += [{**minimal, field: value} for field, values in OPTIONAL[name].items() for value in values]
    definitions.append({**minimal, **{field: values[-1] for field, values in OPTIONAL[name].items()}})
    definitions.append({**minimal, "omitPayload": True, "omitUserInputs": False})
    for definition in definitions:
        before = copy.deepcopy(definition)
        assert backends.parse(definition).type == name
        assert json.dumps(definition) == json.dumps(before)


@pytest.mark.parametrize("name", EVERY)
def test_a_missing_field_and_an_unknown_one_are_named(name: str) -> None:
    minimal: Document = {"type": name, **REQUIRED[name]}
    for field in REQUIRED[name]:
        with pytest.raises(InvalidRequest, match=rf"^invocationMethod\.{field}: is required$"):
            backends.parse({key: value for key, value in minimal.items() if key != field})
    for unknown in ("inputs", "Type", "omit_payload", *(field.upper() for field in REQUIRED[name])):
        with pytest.raises(InvalidRequest, match=rf"^invocationMethod\.{unknown}: is not a field of {name}$"):
            backends.parse({**minimal, unknown: 1})


@pytest.mark.parametrize("name", EVERY)
def test_a_field_of_the_wrong_kind_is_named(name: str) -> None:
    for field in {**REQUIRED[name], **OPTIONAL[name]}:
        for wrong in (5, None):
            with pytest.raises(InvalidRequest, match=rf"^invocationMethod\.{field}: must be "):
                backends.parse({"type": name, **REQUIRED[name], field: wrong})


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({}, "type: is required, and must be one of AZURE_DEVOPS, GITHUB, GITLAB"),
        ({"type": "MOCK"}, "type: must be one of AZURE_DEVOPS, GITHUB, GITLAB"),
        ({"type": ["KAFKA"]}, "type: must be one of"),
        ({"type": "AZURE-DEVOPS", "org": "a", "webhook": "b"}, "type: must be one of"),
        ({"type": "WEBHOOK", "url": "x", "method": "TRACE"}, "method: must be one of POST, PUT, PATCH, DELETE, GET"),
        ({"type": "WEBHOOK", "url": "x", "agent": 1}, "agent: must be true or false or a string"),
        ({"type": "WEBHOOK", "url": "x", "body": 1}, "body: must be an object or an array or a string"),
        ({"type": "WEBHOOK", "url": "x", "headers": {"A": 1}}, "headers.A: must be a string"),
        ({"type": "WEBHOOK", "url": 1, "x": 2}, "url: must be a string, invocationMethod.x: is not a field of WEBHOOK"),
        ({"type": "KAFKA", "agent": True}, "agent: is not a field of KAFKA"),
        (
            {"type": "UPSERT_ENTITY", "blueprintIdentifier": "b", "mapping": {"teams": []}},
            "mapping.teams: is not a field of UPSERT_ENTITY",
        ),
    ],
)
def test_what_is_wrong_is_said(definition: Document, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        backends.parse(definition)
    assert str(refused.value).startswith(f"invocationMethod.{message}")


def test_leftovers_of_version_1_are_tolerated_where_they_were() -> None:
    backends.parse({"type": "GITLAB", **REQUIRED["GITLAB"], "agent": True})
    backends.parse({"type": "GITHUB", **REQUIRED["GITHUB"], "branch": "main"})
    with pytest.raises(InvalidRequest):
        backends.parse({"type": "GITHUB", **REQUIRED["GITHUB"], "agent": True})


def test_templates_are_not_read_when_they_are_saved() -> None:
    backends.parse({"type": "WEBHOOK", "url": "{{run.id}} }} {{", "headers": {"a b": "\n"}, "agent": "{{ nonsense"})


@pytest.mark.parametrize(
    ("rendered", "synchronous"),
    [
        ({}, False),
        ({"synchronized": True}, True),
        ({"synchronized": "true"}, True),
        ({"synchronized": "false"}, False),
        ({"synchronized": None}, False),
        ({"type": "SLACK"}, True),
        ({"type": "SLACK", "synchronized": None}, True),
        ({"type": "SLACK", "synchronized": "false"}, False),
    ],
)
def test_switches_are_booleans_once_rendered(rendered: Document, synchronous: bool) -> None:
    document: Document = {"type": "WEBHOOK", "url": "https://x.test", **rendered}
    assert backends.parse_rendered(document).synchronous() is synchronous


@pytest.mark.parametrize(
    ("rendered", "field"),
    [
        ({"synchronized": "yes"}, "synchronized"),
        ({"agent": 1}, "agent"),
        ({"agent": ""}, "agent"),
        ({"url": None}, "url"),
        ({"url": "null/x"}, "url"),
        ({"url": "ftp://x"}, "url"),
        ({"method": None}, "method"),
        ({"method": "TRACE"}, "method"),
        ({"method": "{{"}, "method"),
        ({"body": None}, "body"),
        ({"body": 5}, "body"),
        ({"headers": {"X-A": "1\r\n2"}}, "headers.X-A"),
        ({"headers": "text"}, "headers"),
        ({"type": "MOCK"}, "type"),
    ],
)
def test_what_is_rendered_to_something_else_is_named(rendered: Document, field: str) -> None:
    with pytest.raises(InvalidInvocation, match=rf"^invocationMethod\.{field}: "):
        backends.parse_rendered({"type": "WEBHOOK", "url": "https://x.test", **rendered})


def test_the_masked_copy_is_a_rendered_method() -> None:
    """A request is checked on the copy without secrets: what it hides is left for the delivery."""
    copies: list[Document] = [{"url": "********"}, {"method": "********"}, {"headers": {"********": "********"}}]
    for masked in copies:
        backends.parse_rendered({"type": "WEBHOOK", "url": "https://x.test", **masked})


def test_entities_stand_for_their_identifiers_once_rendered() -> None:
    entity: Document = {"identifier": "pay", "title": "Payments"}
    mapping: Document = {
        "identifier": entity,
        "team": [entity],
        "relations": {"a": entity, "b": [entity, "x"], "c": None},
    }
    method = backends.parse_rendered({"type": "UPSERT_ENTITY", "blueprintIdentifier": "b", "mapping": mapping})
    assert method.model_dump(exclude_unset=True)["mapping"] == {
        "identifier": "pay",
        "team": ["pay"],
        "relations": {"a": "pay", "b": ["pay", "x"], "c": None},
    }


@pytest.mark.parametrize("name", EVERY)
def test_every_method_is_available(name: str) -> None:
    assert backends.METHODS[name].available


async def test_what_is_not_available_says_so() -> None:
    method = backends.InvocationMethod.model_validate({"type": "LATER"})
    with pytest.raises(BackendRefused, match=r"^LATER backends are not available in this version yet$"):
        await method.invoke(backends.Delivery("r_1", {}), backends.Resources(signing_secret="s"))


def test_the_destination_is_what_we_would_call_ourselves() -> None:
    url = "https://x.test/?a=b"
    assert backends.parse_rendered({"type": "WEBHOOK", "url": url}).destination() == url
    assert backends.parse_rendered({"type": "WEBHOOK", "url": url, "agent": True}).destination() is None
    assert backends.parse_rendered({"type": "KAFKA"}).destination() is None


def test_openapi_has_an_arm_for_each_method() -> None:
    schema, components = backends.schema(), backends.components()
    assert set(schema["discriminator"]["mapping"]) == set(REQUIRED)
    for name, reference in schema["discriminator"]["mapping"].items():
        assert {"$ref": reference} in schema["oneOf"]
        arm = components[reference.removeprefix("#/components/schemas/")]
        assert arm["properties"]["type"]["const"] == name
        assert set(arm["required"]) == {"type", *REQUIRED[name]}
        assert set(arm["properties"]) == {"type", *REQUIRED[name], *OPTIONAL[name]}
        assert arm["additionalProperties"] is False
    assert "#/$defs" not in json.dumps(components)


def test_resources_do_not_show_their_secrets() -> None:
    shown = repr(backends.Resources(signing_secret="s3cret", access_token=lambda: "t0ken"))
    assert "Resources" in shown
    assert "s3cret" not in shown
    assert "t0ken" not in shown
