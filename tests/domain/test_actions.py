"""Definitions of actions: what is accepted, what each refusal says, and that documents come back as they were."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.actions import Action, Debounce, Definition, Limits, Throttle
from domain.documents import Document
from domain.errors import InterlockError, InvalidInputs, InvalidRequest
from domain.shapes import MAX_PROBLEMS

WEBHOOK: Document = {"type": "WEBHOOK", "url": "https://example.org"}
PEM = "-----BEGIN PUBLIC KEY-----\nMIIB...\n-----END PUBLIC KEY-----"
SEARCH = {"type": "SEARCH", "combinator": "and", "rules": [{"property": "frozen", "operator": "!=", "value": True}]}
JQ = {"jqQuery": "'Test'"}

NEW_QUEUE = """{
  "identifier": "new_queue", "title": "Create queue", "icon": "Queue",
  "trigger": {
    "type": "self-service", "operation": "CREATE", "actionCardButtonText": "Order",
    "userInputs": {
      "properties": {
        "broker": {"type": "string", "title": "Broker", "enum": ["rabbit", "nats"],
                   "enumColors": {"rabbit": "yellow", "nats": "blue"}},
        "flavour": {"type": "string", "dependsOn": ["broker"],
          "enum": {"jqQuery": "if .form.broker == \\"rabbit\\" then [\\"quorum\\"] else [\\"jetstream\\"] end"}},
        "name": {"type": "string", "minLength": 3, "maxLength": 40,
                 "pattern": {"jqQuery": "if .form.broker == \\"nats\\" then \\"^[a-z.]+$\\" else \\"^[a-z-]+$\\" end"}},
        "replicas": {"type": "number", "minimum": 1, "maximum": 5, "default": 3},
        "owners": {"type": "array", "items": {"type": "string", "format": "user"}, "minItems": 1,
                   "maxItems": {"jqQuery": "if .form.broker == \\"nats\\" then 2 else 4 end"}}
      },
      "titles": {"sec-people": {"title": "People", "description": "Who answers the pager",
                                "visible": {"jqQuery": ".form.broker != \\"\\""}}},
      "required": ["broker", "name"],
      "order": ["broker", "flavour", "name", "replicas", "sec-people", "owners"]
    }
  },
  "invocationMethod": {"type": "WEBHOOK", "url": "https://hooks.example.org/queues", "method": "POST",
                       "body": {"in": "{{ .inputs }}", "run": "{{ .run.id }}"}}
}"""
MOVE_WORKLOAD = """{
  "identifier": "move_workload",
  "trigger": {
    "type": "self-service", "operation": "DAY-2", "blueprintIdentifier": "workload",
    "condition": {"type": "SEARCH", "combinator": "and",
                  "rules": [{"property": "frozen", "operator": "!=", "value": true}]},
    "userInputs": {
      "properties": {
        "cluster": {"type": "string", "format": "entity", "blueprint": "cluster",
                    "sort": {"property": "$title", "order": "ASC"}},
        "namespace": {
          "type": "string", "format": "entity", "blueprint": "namespace", "dependsOn": ["cluster"],
          "dataset": {"combinator": "and", "rules": [
            {"operator": "relatedTo", "blueprint": "cluster", "value": {"jqQuery": ".form.cluster.identifier"}},
            {"combinator": "or", "rules": [
              {"property": "$team", "operator": "containsAny",
               "value": {"context": "userTeams", "property": "$identifier"}},
              {"property": "shared", "operator": "=", "value": true}
            ]}
          ]}
        },
        "reason": {"type": "string", "format": "multi-line",
                   "visible": {"jqQuery": ".entity.properties.tier == \\"gold\\""}},
        "labels": {"type": "array", "disabled": true, "default": {"jqQuery": ".entity.properties.labels"},
                   "items": {"type": "string"}}
      },
      "required": {"jqQuery": "if .entity.properties.tier == \\"gold\\" then [\\"cluster\\"] else [] end"},
      "steps": [
        {"title": "Target", "order": ["cluster", "namespace"]},
        {"title": "Details", "order": ["reason", "labels"], "visible": {"jqQuery": ".form.namespace != null"}}
      ]
    }
  },
  "requiredApproval": {"type": "ALL"},
  "approvalNotification": {"type": "webhook", "format": "slack", "url": "https://hooks.slack.example/T0/B0/x"},
  "allowAnyoneToViewRuns": false,
  "invocationMethod": {"type": "KAFKA", "payload": {"run": "{{ .run.id }}", "to": "{{ .inputs.namespace }}"}}
}"""
DROP_DB = """{
  "identifier": "drop_db",
  "trigger": {
    "type": "self-service", "operation": "DELETE", "blueprintIdentifier": "database",
    "userInputs": {
      "properties": {
        "confirm": {"type": "boolean", "default": false},
        "admin_pw": {"type": "string", "encryption": "aes256-gcm"},
        "break_glass": {"type": "object", "encryption": {"algorithm": "client-side",
          "key": "-----BEGIN PUBLIC KEY-----\\nMIIB...\\n-----END PUBLIC KEY-----"}}
      },
      "required": ["confirm", "admin_pw"]
    }
  },
  "requiredApproval": true,
  "invocationMethod": {"type": "WEBHOOK", "url": "https://ops.example.org/db", "agent": true, "synchronized": false}
}"""
TTL = """{
  "identifier": "ttl_cleanup", "title": "Destroy env on TTL", "icon": "Clock", "description": "Calls the teardown",
  "trigger": {
    "type": "automation",
    "event": {"type": "TIMER_PROPERTY_EXPIRED", "blueprintIdentifier": "environment", "propertyIdentifier": "ttl"},
    "condition": {"type": "JQ", "expressions": [".diff.after.properties.keep != true"], "combinator": "and"}
  },
  "invocationMethod": {"type": "WEBHOOK", "url": "https://teardown.example.com/envs", "headers": {}},
  "publish": true
}"""
EXAMPLES = [NEW_QUEUE, MOVE_WORKLOAD, DROP_DB, TTL]


def self_service(inputs: Any = None, /, operation: str = "CREATE", **trigger: Any) -> dict[str, Any]:
    form = {"properties": {}} if inputs is None else inputs
    return {
        "identifier": "a",
        "trigger": {"type": "self-service", "operation": operation, "userInputs": form, **trigger},
        "invocationMethod": WEBHOOK,
    }


def automation(event: Any, **trigger: Any) -> dict[str, Any]:
    return {
        "identifier": "a",
        "trigger": {"type": "automation", "event": event, **trigger},
        "invocationMethod": WEBHOOK,
    }


def refusal(document: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        Definition.parse(document)
    return str(caught.value)


def kept(document: Document) -> Action:
    at = datetime(2026, 1, 5, 10, tzinfo=UTC)
    return Action("action_1", Definition.parse(document).identifier, 1, document, at, "kim", at, "ada")


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_document_comes_back_as_it_was(text: str) -> None:
    document = json.loads(text)
    definition = Definition.parse(copy.deepcopy(document))
    assert json.dumps(definition.document) == json.dumps(document)
    echo = kept(definition.document).echo()
    added = {"id": "action_1", "createdAt": "2026-01-05T10:00:00.000Z", "createdBy": "kim"}
    added |= {"updatedAt": "2026-01-05T10:00:00.000Z", "updatedBy": "ada"}
    assert json.dumps(echo) == json.dumps({**document, **added})


@pytest.mark.parametrize("text", EXAMPLES)
def test_what_was_read_can_be_posted_back(text: str) -> None:
    document = json.loads(text)
    assert Definition.parse(kept(document).echo()).document == document


@pytest.mark.parametrize(
    ("identifier", "accepted"),
    [
        *((good, True) for good in ("a", "new_queue", "Größe", "名前", "a@b.c+d:e=f-g", "...", ".a", "runs2", "9")),
        *((bad, False) for bad in (".", "..", "", "a/b", "a b", "a\\b", "runs", "a\n", "a?", "🚀", 5, None, ["a"])),
    ],
)
def test_identifiers(identifier: JsonValue, accepted: bool) -> None:
    document = self_service() | {"identifier": identifier}
    if accepted:
        assert Definition.parse(document).identifier == identifier
    else:
        assert refusal(document).startswith("identifier: ")


@pytest.mark.parametrize(
    ("input_id", "accepted"),
    [
        *((good, True) for good in ("a", "A9", "a@_=-", "back\\slash")),
        *((bad, False) for bad in ("", "a.b", "a/b", "a b", "ä", ".", "..", "a\n")),
    ],
)
def test_input_ids(input_id: str, accepted: bool) -> None:
    for form in (
        {"properties": {input_id: {"type": "string"}}},
        {"properties": {}, "titles": {input_id: {"title": "T"}}},
    ):
        if accepted:
            Definition.parse(self_service(form))
        else:
            assert "an id has only letters, digits" in refusal(self_service(form))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (3, "the body: must be an object"),
        ([], "the body: must be an object"),
        ({}, "identifier: is required; trigger: is required; invocationMethod: is required"),
        (self_service() | {"foo": 1}, "foo: unknown key"),
        (self_service() | {"a.b": 1}, '["a.b"]: unknown key'),
        (self_service() | {"blueprint": "b", "userInputs": {}}, "blueprint: unknown key; userInputs: unknown key"),
        (self_service() | {"trigger": "CREATE"}, "trigger: must be an object"),
        (self_service() | {"trigger": {}}, "trigger.type: is required"),
        (self_service() | {"trigger": {"type": "cron"}}, "trigger.type: must be one of self-service, automation"),
        (self_service(operation="UPDATE"), "trigger.operation: must be one of CREATE, DAY-2, DELETE"),
        (self_service() | {"trigger": {"type": "self-service"}}, "trigger.operation: is required"),
        (self_service(foo=1), "trigger.foo: unknown key"),
        (self_service(permissions={}), "trigger.permissions: unknown key"),
        (self_service(condition=SEARCH), "trigger.condition: unknown key"),
        (self_service(event={}), "trigger.event: unknown key"),
        (self_service(operation="DAY-2", condition=SEARCH), "trigger.condition: needs blueprintIdentifier beside it"),
        (self_service() | {"invocationMethod": "WEBHOOK"}, "invocationMethod: must be an object"),
        (self_service() | {"title": 5}, "title: must be a string"),
        (self_service() | {"publish": "true"}, "publish: must be true or false"),
        (self_service() | {"allowAnyoneToViewRuns": 1}, "allowAnyoneToViewRuns: must be true or false"),
        (self_service() | {"requiredApproval": "ANY"}, "requiredApproval: must be true or false, or an object"),
        (self_service() | {"requiredApproval": {"type": "TWO"}}, "requiredApproval.type: must be one of ANY, ALL"),
        (self_service() | {"requiredApproval": {"type": "ANY", "x": 1}}, "requiredApproval.x: unknown key"),
        (
            self_service() | {"approvalNotification": {"type": "slack"}},
            "approvalNotification.type: must be one of email, webhook",
        ),
        (self_service() | {"approvalNotification": {"type": "webhook"}}, "approvalNotification.url: is required"),
        (
            self_service() | {"approvalNotification": {"type": "webhook", "url": "ftp://x"}},
            "approvalNotification.url: must be an absolute http or https URL",
        ),
        (
            self_service() | {"approvalNotification": {"type": "webhook", "url": "https://x", "format": "teams"}},
            "approvalNotification.format: must be one of json, slack",
        ),
        (
            self_service() | {"approvalNotification": {"type": "email", "url": "https://x"}},
            "approvalNotification.url: unknown key",
        ),
        (self_service({}), "trigger.userInputs.properties: is required"),
        (self_service([]), "trigger.userInputs: must be an object"),
        (
            self_service({"properties": {}, "order": [], "steps": []}),
            "trigger.userInputs: must have either order or steps, not both",
        ),
        (self_service({"properties": {}, "layout": []}), "trigger.userInputs.layout: unknown key"),
        (
            self_service({"properties": {"a": {"type": "integer"}}}),
            "trigger.userInputs.properties.a.type: must be one of string, number, boolean, object, array",
        ),
        (self_service({"properties": {"a": {}}}), "trigger.userInputs.properties.a.type: is required"),
        (self_service({"properties": {"a": "string"}}), "trigger.userInputs.properties.a: must be an object"),
        (
            self_service({"properties": {"a": {"type": "string", "jqQuery": "x"}}}),
            "trigger.userInputs.properties.a.jqQuery: must be absent",
        ),
        (
            self_service({"properties": {"a": {"type": "string", "visible": "yes"}}}),
            "trigger.userInputs.properties.a.visible: must be true or false, or an object",
        ),
        (
            self_service({"properties": {"a": {"type": "string", "pattern": {"jqQuery": "x", "y": 1}}}}),
            "trigger.userInputs.properties.a.pattern.y: unknown key",
        ),
        (
            self_service({"properties": {"a": {"type": "string", "encryption": "fernet"}}}),
            "trigger.userInputs.properties.a.encryption: must be aes256-gcm, or an object",
        ),
        (
            self_service({"properties": {"a": {"type": "string", "encryption": {"algorithm": "client-side"}}}}),
            "trigger.userInputs.properties.a.encryption.key: is required",
        ),
        (
            self_service({"properties": {"a": {"type": "string", "dataset": {"rules": [1]}}}}),
            "trigger.userInputs.properties.a.dataset.combinator: is required; "
            "trigger.userInputs.properties.a.dataset.rules[0]: must be an object",
        ),
        (
            self_service({"properties": {"a": {"type": "string", "sort": {"property": "x", "order": "UP"}}}}),
            "trigger.userInputs.properties.a.sort.order: must be one of ASC, DESC",
        ),
        (
            self_service({"properties": {}, "steps": [{"order": []}]}),
            "trigger.userInputs.steps[0].title: is required",
        ),
        (
            self_service({"properties": {}, "titles": {"t": {"title": ""}}}),
            "trigger.userInputs.titles.t.title: must have 1 to 140 characters",
        ),
        (
            self_service({"properties": {}, "titles": {"t": {"title": "x", "description": "x" * 1001}}}),
            "trigger.userInputs.titles.t.description: must have 0 to 1000 characters",
        ),
        (automation({"type": "CRON"}), None),
        (
            automation({"type": "ENTITY_CREATED", "actionIdentifier": "x"}),
            "trigger.event.blueprintIdentifier: is required; trigger.event.actionIdentifier: unknown key",
        ),
        (
            automation({"type": "TIMER_PROPERTY_EXPIRED", "blueprintIdentifier": "b"}),
            "trigger.event.propertyIdentifier: is required",
        ),
        (automation({"type": "RUN_CREATED"}), "trigger.event.actionIdentifier: is required"),
        (
            automation({"type": "TIMER_PROPERTY_WARNING", "blueprintIdentifier": "b"}),
            "trigger.event.propertyIdentifier: is required",
        ),
        (automation({"type": "SCHEDULE"}), "trigger.event.cron: is required"),
        (automation({"type": "SCHEDULE", "cron": 5}), "trigger.event.cron: must be a string"),
        (
            automation({"type": "SCHEDULE", "cron": "0 8 * *", "every": "day"}),
            "trigger.event.cron: must have five fields: minute, hour, day of month, month and day of week; "
            "trigger.event.every: unknown key",
        ),
        (
            automation({"type": "SCHEDULE", "cron": "0 8 * * *", "timezone": "Berlin"}),
            "trigger.event.timezone: must be a time zone such as Europe/Berlin or UTC",
        ),
        (
            automation({"type": "RUN_CREATED", "actionIdentifier": "x"}, userInputs={"properties": {}}),
            "trigger.userInputs: unknown key",
        ),
        (
            automation({"type": "RUN_CREATED", "actionIdentifier": "x"}, condition=SEARCH),
            "trigger.condition.type: must be JQ; trigger.condition.expressions: is required; "
            "trigger.condition.rules: unknown key",
        ),
    ],
)
def test_a_refusal_names_every_wrong_field(document: Any, said: str | None) -> None:
    text = refusal(document)
    if said is not None:
        assert text == said
    for word in ("Input should", "function", "Written", "[type=", "value_error"):
        assert word not in text


def test_all_events() -> None:
    blueprint = {"blueprintIdentifier": "b"}
    events: list[dict[str, Any]] = [
        *({"type": kind, **blueprint} for kind in ("ENTITY_CREATED", "ENTITY_UPDATED", "ENTITY_DELETED")),
        {"type": "ANY_ENTITY_CHANGE", **blueprint},
        {"type": "TIMER_PROPERTY_EXPIRED", **blueprint, "propertyIdentifier": "ttl"},
        {"type": "TIMER_PROPERTY_WARNING", **blueprint, "propertyIdentifier": "ttl"},
        *({"type": kind, "actionIdentifier": "x"} for kind in ("RUN_CREATED", "RUN_UPDATED", "ANY_RUN_CHANGE")),
        {"type": "SCHEDULE", "cron": "0 8 * * 1-5", "timezone": "Europe/Berlin"},
    ]
    for event in events:
        action = kept(automation(event, condition={"type": "JQ", "expressions": []}))
        assert not action.is_self_service
        assert action.blueprint == event.get("blueprintIdentifier")
        assert (action.operation, action.needs_entity, action.encrypted_inputs) == (None, False, {})
    text = refusal(automation({"type": "CRON"}))
    assert text == f"trigger.event.type: must be one of {', '.join(str(event['type']) for event in events)}"


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("Ok", True),
        ("Order now", True),
        ("x" * 15, True),
        *((bad, False) for bad in ("", "x", " x", "x ", "x" * 16, "a\nb")),
    ],
)
def test_button_texts(text: str, accepted: bool) -> None:
    for key in ("actionCardButtonText", "executeActionButtonText"):
        if accepted:
            Definition.parse(self_service(**{key: text}))
        else:
            assert refusal(self_service(**{key: text})).startswith(f"trigger.{key}: must have 2 to 15 characters")


@pytest.mark.parametrize(
    ("operation", "blueprint", "needs_entity"),
    [
        ("CREATE", "b", False),
        ("CREATE", None, False),
        ("DAY-2", "b", True),
        ("DAY-2", None, False),
        ("DELETE", "b", True),
        ("DELETE", None, False),
    ],
)
def test_who_needs_an_entity(operation: str, blueprint: str | None, needs_entity: bool) -> None:
    tied = {"blueprintIdentifier": blueprint} if blueprint else {}
    action = kept(self_service(operation=operation, **tied))
    assert action.is_self_service
    assert (action.operation, action.blueprint, action.needs_entity) == (operation, blueprint, needs_entity)


def test_a_condition_is_stored_where_there_is_a_blueprint() -> None:
    for operation in ("DAY-2", "DELETE"):
        trigger = Definition.parse(self_service(operation=operation, blueprintIdentifier="b", condition=SEARCH)).trigger
        assert trigger.condition is not None  # type: ignore[union-attr]


INPUTS_OF_TERRAFORM: list[dict[str, Any]] = [
    {"properties": {}},
    {"properties": {}, "titles": {"8a-t": {"title": "T"}}, "order": ["8a-t"]},
    {"properties": {"a": {"type": "string"}}, "steps": [{"title": "S", "order": ["a"], "visible": True}]},
    {"properties": {"a": {"type": "string"}}, "steps": [{"title": "S", "order": [], "visible": False}]},
    {"properties": {"a": {"type": "string"}}, "steps": [{"title": "S", "visible": JQ}]},
    {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "order": ["a"]},
    {"properties": {"a": {"type": "string", "default": JQ, "enum": JQ, "pattern": JQ, "visible": JQ, "disabled": JQ}}},
    {"properties": {"a": {"type": "string", "default": "x", "enum": ["x"], "pattern": "x", "visible": False}}},
    {"properties": {"a": {"type": "array", "minItems": JQ, "maxItems": JQ}}, "required": JQ},
    {"properties": {"a": {"type": "array", "minItems": 1, "maxItems": 2.0}}, "required": ["a"]},
    {"properties": {"a": {"type": "string", "format": "user", "enum": ["a@b.c"]}}},
    {"properties": {"a": {"type": "number", "default": 1, "enum": [1, 2.5]}}, "required": []},
    {"properties": {"a": {"type": "string", "encryption": "aes256-gcm"}}},
    {"properties": {"a": {"type": "object", "encryption": {"algorithm": "client-side", "key": PEM}}}},
    {"properties": {"a": {"type": "string", "dataset": {"combinator": "and", "rules": [SEARCH, {"value": JQ}]}}}},
    {
        "properties": {
            "a": {
                "type": "array",
                "items": {"type": "string", "format": "entity", "blueprint": "b", "dataset": {"any": [1.0]}},
                "sort": {"property": "$updatedAt", "order": "DESC"},
            }
        }
    },
    {"properties": {"a": {"type": "array", "items": {"type": "boolean", "default": [True]}, "anything": None}}},
]


@pytest.mark.parametrize("inputs", INPUTS_OF_TERRAFORM)
def test_what_terraform_writes_is_accepted_and_echoed(inputs: dict[str, Any]) -> None:
    document = self_service(inputs, operation="DAY-2") | {
        "publish": True,
        "requiredApproval": False,
        "invocationMethod": {"type": "WEBHOOK", "url": "https://x", "headers": {}, "agent": "{{ true }}"},
    }
    assert json.dumps(Definition.parse(document).document) == json.dumps(document)


def test_a_form_that_cannot_work_is_another_error_than_a_wrong_shape() -> None:
    with pytest.raises(InvalidInputs, match=r"^properties\.a\.pattern is no regular expression"):
        Definition.parse(self_service({"properties": {"a": {"type": "string", "pattern": "("}}}))


def test_secrets_cannot_go_to_an_integration() -> None:
    document = self_service({"properties": {"a": {"type": "string", "encryption": "aes256-gcm"}}})
    Definition.parse(document)
    assert "INTEGRATION_ACTION" in refusal(document | {"invocationMethod": {"type": "INTEGRATION_ACTION"}})


def test_encrypted_inputs_are_named() -> None:
    encrypted = kept(json.loads(DROP_DB)).encrypted_inputs
    assert list(encrypted) == ["admin_pw", "break_glass"]
    assert encrypted["admin_pw"] == "aes256-gcm"


@pytest.mark.parametrize(
    ("limit", "length"),
    [("PT4H", timedelta(hours=4)), ("P1D", timedelta(days=1)), ("PT0.5S", timedelta(seconds=0.5)), ("P10Y", None)],
)
def test_time_limits(limit: str, length: timedelta | None) -> None:
    section = {"approval": {"timeLimit": limit}, "run": {"timeLimit": limit}}
    definition = Definition.parse(self_service() | {"interlock": section})
    assert definition.document["interlock"] == section
    assert definition.approval_time_limit == definition.run_time_limit
    assert definition.run_time_limit == (length or timedelta(days=3650))


def test_without_limits_a_run_may_take_for_ever() -> None:
    sections: list[dict[str, Any]] = [{}, {"interlock": {}}, {"interlock": {"run": None}}]
    for section in sections:
        definition = Definition.parse(self_service() | section)
        assert (definition.approval_time_limit, definition.run_time_limit) == (None, None)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"approval": {"timeLimit": 5}}, "interlock.approval.timeLimit: must be an ISO 8601 duration"),
        ({"approval": {"timeLimit": "4 hours"}}, "interlock.approval.timeLimit: must be an ISO 8601 duration"),
        ({"run": {"timeLimit": "Pxyz"}}, "interlock.run.timeLimit: must be an ISO 8601 duration"),
        ({"run": {"timeLimit": "P" + "9" * 30 + "D"}}, "interlock.run.timeLimit: must be"),
        ({"run": {"timeLimit": "PT0S"}}, "interlock.run.timeLimit: must be longer than nothing"),
        ({"run": {"timeLimit": "P11Y"}}, "interlock.run.timeLimit: must be longer than nothing and at most ten years"),
        ({"run": {}}, "interlock.run.timeLimit: is required"),
        ({"run": {"timeLimit": "P1D", "x": 1}}, "interlock.run.x: unknown key"),
        ({"escalation": {}}, "interlock.escalation: unknown key"),
        ({"debounce": {"quiet": "PT5M"}}, "interlock.debounce: only automations can have it"),
        ({"throttle": {"runs": 1, "per": "PT1H"}}, "interlock.throttle: only automations can have it"),
    ],
)
def test_impossible_time_limits(section: JsonValue, said: str) -> None:
    assert refusal(self_service() | {"interlock": section}).startswith(said)


SCHEDULE = {"type": "SCHEDULE", "cron": "0 8 * * *"}


def test_an_automation_may_wait_and_run_less_often() -> None:
    section = {"debounce": {"quiet": "PT5M"}, "throttle": {"runs": 2, "per": "P30D"}}
    action = kept(automation(SCHEDULE) | {"interlock": section})
    assert action.document["interlock"] == section
    assert action.definition.interlock == Limits(
        debounce=Debounce(quiet=timedelta(minutes=5)), throttle=Throttle(runs=2, per=timedelta(days=30))
    )
    assert kept(automation(SCHEDULE) | {"interlock": {}}).definition.interlock == Limits()


def test_a_time_limit_of_the_approval_that_automations_never_wait_for_does_no_harm() -> None:
    section = {"approval": {"timeLimit": "P1D"}, "debounce": None}
    assert kept(automation(SCHEDULE) | {"interlock": section}).definition.approval_time_limit == timedelta(days=1)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"debounce": {}}, "interlock.debounce.quiet: is required"),
        ({"debounce": {"quiet": "PT0S"}}, "interlock.debounce.quiet: must be longer than nothing and at most 30 days"),
        ({"debounce": {"quiet": "P31D"}}, "interlock.debounce.quiet: must be longer than nothing and at most 30 days"),
        ({"debounce": {"quiet": 5}}, "interlock.debounce.quiet: must be an ISO 8601 duration such as PT30M or P1D"),
        ({"debounce": {"quiet": "PT1S", "of": 1}}, "interlock.debounce.of: unknown key"),
        ({"throttle": {"runs": 1}}, "interlock.throttle.per: is required"),
        ({"throttle": {"per": "PT1H"}}, "interlock.throttle.runs: is required"),
        ({"throttle": {"runs": 0, "per": "PT1H"}}, "interlock.throttle.runs: must be greater than or equal to 1"),
        ({"throttle": {"runs": "1", "per": "PT1H"}}, "interlock.throttle.runs: must be an integer"),
        ({"throttle": {"runs": True, "per": "PT1H"}}, "interlock.throttle.runs: must be an integer"),
        (
            {"throttle": {"runs": 10**7, "per": "PT1H"}},
            "interlock.throttle.runs: must be less than or equal to 1000000",
        ),
        ({"throttle": {"runs": 1, "per": "-PT1H"}}, "interlock.throttle.per: must be an ISO 8601 duration"),
    ],
)
def test_impossible_limits_of_automations(section: JsonValue, said: str) -> None:
    assert refusal(automation(SCHEDULE) | {"interlock": section}).startswith(said)


def test_another_document_means_another_definition() -> None:
    action = kept(self_service())
    assert action.definition is action.definition
    assert replace(action, document=self_service(blueprintIdentifier="b")).blueprint == "b"
    assert action.blueprint is None
    assert action == kept(self_service())


def test_a_body_of_unknown_keys_is_refused_in_a_short_message() -> None:
    text = refusal(self_service() | {f"key{index}": 1 for index in range(10_000)} | {"x" * 100_000: 1})
    assert len(text) < 1000
    assert text.endswith("; and 9981 more")


def test_a_document_that_nests_too_deep_is_refused() -> None:
    value: Any = {}
    for _ in range(150):
        value = {"a": value}
    assert "nests deeper" in refusal(self_service({"properties": {"a": {"type": "object", "properties": value}}}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text("abcxyz019@_=-", min_size=1, max_size=6)
OPEN_KEYS = st.text(max_size=8).map(lambda key: f"x-{key}")
DEFINITIONS = st.builds(
    lambda inputs, title, body: (
        self_service({"properties": {name: {**extra, "type": kind} for name, (kind, extra) in inputs.items()}})
        | {"title": title, "invocationMethod": body}
    ),
    st.dictionaries(
        NAMES,
        st.tuples(
            st.sampled_from(["string", "number", "boolean", "object", "array"]),
            st.dictionaries(OPEN_KEYS, json_values, max_size=3),
        ),
        max_size=4,
    ),
    st.text(),
    st.dictionaries(st.text(max_size=8), json_values, max_size=3),
)


@given(DEFINITIONS)
@settings(deadline=None)
def test_any_valid_document_is_kept_verbatim(document: Document) -> None:
    before = json.dumps(document)
    assert json.dumps(Definition.parse(document).document) == before


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, item in items for deeper in _paths(item, (*path, key)))]


PLACES = [(text, path) for text in EXAMPLES for path in _paths(json.loads(text)) if path]


@given(st.sampled_from(PLACES), json_values)
@settings(deadline=None, max_examples=400)
def test_any_value_anywhere_is_accepted_or_refused(place: tuple[str, tuple[Any, ...]], value: JsonValue) -> None:
    text, path = place
    document = here = json.loads(text)
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    before = json.dumps(document)
    try:
        definition = Definition.parse(document)
    except InterlockError:
        return
    assert json.dumps(definition.document) == before


NESTED: Document = {"combinator": "and", "rules": [{"combinator": "or"}]}
CLUSTER: Document = {"type": "string", "format": "entity", "blueprint": "cluster"}
CLUSTERS: Document = {"type": "array", "items": CLUSTER}


def offering(dataset: Any, *, in_items: bool = False) -> Document:
    """A form whose input `v` names entities, and offers these."""
    each: Document = {**CLUSTER, "dataset": dataset}
    return {"properties": {"v": {"type": "array", "items": each} if in_items else each}}


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (NESTED, "rules[0].rules: is required"),
        ({"combinator": "or", "rules": [SEARCH["rules"][0], NESTED]}, "rules[1].rules[0].rules: is required"),
        ({"combinator": "and", "rules": [{"rules": []}]}, "rules[0].combinator: is required"),
        ({"combinator": "and", "rules": [{"property": "p", "value": JQ}]}, "rules[0].operator: is required"),
        ({"combinator": "and", "rules": [{"property": "p", "operator": ">", "value": [1]}]}, "rules[0].value: "),
    ],
)
def test_a_dataset_that_no_run_could_read_is_refused_when_it_is_written(
    dataset: Document, said: str, many: bool
) -> None:
    form: Any = {"properties": {"v": {**(CLUSTERS if many else CLUSTER), "dataset": dataset}}}
    with pytest.raises(InvalidInputs) as refusal:
        Definition.parse(self_service(form))
    assert str(refusal.value).startswith(f"properties.v.dataset.{said}")
    left_to_the_form: Document = {"form": {"enforceDataset": False}}
    Definition.parse(self_service(form) | {"interlock": left_to_the_form})
    assert Definition.stored(self_service(form)), "what was accepted before can still be read"


def test_every_dataset_that_cannot_be_read_is_named_and_not_very_many() -> None:
    form: Any = {"properties": {f"v{number}": {**CLUSTER, "dataset": NESTED} for number in range(99)}}
    with pytest.raises(InvalidInputs) as refusal:
        Definition.parse(self_service(form))
    assert refusal.value.problems[:2] == tuple(f"properties.v{n}.dataset.rules[0].rules: is required" for n in (0, 1))
    assert len(refusal.value.problems) == MAX_PROBLEMS


@pytest.mark.parametrize(
    "form",
    [
        offering({"combinator": "and", "rules": []}),
        offering({"combinator": "and", "rules": [{"combinator": "or", "rules": []}]}),
        offering({"combinator": "and", "rules": [{"property": "p", "operator": "=", "value": JQ}]}),
        offering({"combinator": "and", "rules": [{"property": "p", "operator": "between", "value": JQ}]}),
        offering({"combinator": "and", "rules": [{"property": "p", "operator": "containsAny", "value": JQ}]}),
        offering({"combinator": "and", "rules": [{"blueprint": "b", "operator": "relatedTo", "value": JQ}]}),
        offering({"any": [1]}, in_items=True),
        offering(NESTED, in_items=True),
        {"properties": {"v": {"type": "string", "dataset": NESTED}}},
    ],
    ids=[
        "no rules",
        "a group without rules",
        "=",
        "between",
        "containsAny",
        "relatedTo",
        "items",
        "their groups",
        "no entities",
    ],
)
def test_what_a_run_may_make_something_of_is_kept(form: Document) -> None:
    assert json.dumps(Definition.parse(self_service(form)).document) == json.dumps(self_service(form))
