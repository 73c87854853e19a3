"""Actions over HTTP: stored and echoed as written, found by every filter, replaced, renamed and deleted."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.answers import INSTANT, Json, granted, refused
from tests.api.examples import DROP_DB, MOVE_WORKLOAD, NEW_QUEUE, PECULIAR
from tests.support.product import Product

SERVER_FIELDS = {"id", "createdAt", "createdBy", "updatedAt", "updatedBy"}
JSON = {"Content-Type": "application/json"}
SEARCH = {"type": "SEARCH", "combinator": "and", "rules": []}


def _written(action: Json) -> str:
    """The author's part of an action as text, which tells 1 from 1.0 and one order of keys from another."""
    return json.dumps({key: value for key, value in action.items() if key not in SERVER_FIELDS})


def _document(
    identifier: str = "deploy", *, inputs: Json | None = None, trigger: Json | None = None, **more: Any
) -> Json:
    return {
        "identifier": identifier,
        "trigger": {
            "type": "self-service",
            "operation": "CREATE",
            "userInputs": inputs or {"properties": {}},
            **(trigger or {}),
        },
        "invocationMethod": {"type": "KAFKA"},
        **more,
    }


def _automation(identifier: str, event: Json | None = None, **more: Any) -> Json:
    event = event or {"type": "ENTITY_CREATED", "blueprintIdentifier": "service"}
    return {
        "identifier": identifier,
        "trigger": {"type": "automation", "event": event},
        "invocationMethod": {"type": "KAFKA"},
        **more,
    }


@pytest.mark.parametrize("text", [NEW_QUEUE, MOVE_WORKLOAD, DROP_DB, PECULIAR], ids=["E1", "E2", "E3", "peculiar"])
async def test_a_definition_is_echoed_exactly_as_it_was_written(product: Product, text: str) -> None:
    sent = json.dumps(json.loads(text))
    identifier = json.loads(text)["identifier"]
    path = f"/v1/actions/{quote(identifier, safe='')}"

    created = await product.api.post("/v1/actions", content=text.encode(), headers=JSON)
    assert created.status_code in (200, 201), created.text
    assert _written(created.json()["action"]) == sent
    assert created.json()["action"].keys() - json.loads(text).keys() == SERVER_FIELDS
    assert _written(granted(await product.api.get(path), "action")) == sent
    # Clients that name actions take nothing from a list in which one has no title.
    titled = json.dumps({**(document := json.loads(text)), "title": document.get("title", identifier)})
    assert [_written(one) for one in granted(await product.api.get("/v1/actions"), "actions")] == [titled]

    other = json.dumps({**json.loads(text), "title": "Another"})
    replaced = granted(await product.api.put(path, content=other.encode(), headers=JSON), "action")
    assert _written(replaced) == other
    granted(await product.api.put(path, content=text.encode(), headers=JSON), "action")
    assert _written(granted(await product.api.get(path), "action")) == sent


async def test_the_server_adds_its_fields_and_takes_them_back_without_a_word(product: Product) -> None:
    created = granted(await product.api.post("/v1/actions", json=_document(title="Deploy")), "action")
    assert isinstance(created["id"], str)
    assert created["createdBy"] == created["updatedBy"] == product.organization.client_id
    assert INSTANT.fullmatch(created["createdAt"])
    assert INSTANT.fullmatch(created["updatedAt"])
    assert created["title"] == "Deploy"

    again = granted(await product.api.put("/v1/actions/deploy", json=created), "action")
    assert {key: again[key] for key in ("id", "createdAt", "createdBy")} == {
        key: created[key] for key in ("id", "createdAt", "createdBy")
    }
    assert again["updatedAt"] >= created["updatedAt"]
    assert _written(again) == _written(created)


async def test_an_identifier_can_be_used_once(product: Product) -> None:
    granted(await product.api.post("/v1/actions", json=_document("one", title="First")), "action")
    granted(await product.api.post("/v1/actions", json=_document("two")), "action")

    refused(await product.api.post("/v1/actions", json=_document("one")), 409, "identifier_taken", "one")
    refused(await product.api.post("/v1/actions", json=_automation("one")), 409, "identifier_taken")
    refused(await product.api.put("/v1/actions/two", json=_document("one")), 409, "identifier_taken", "one")
    assert granted(await product.api.get("/v1/actions/one"), "action")["title"] == "First"
    assert granted(await product.api.get("/v1/actions/two"), "action")["identifier"] == "two"


async def test_put_replaces_the_whole_definition(product: Product) -> None:
    granted(await product.api.post("/v1/actions", json=_document(title="T", icon="I", description="D")), "action")
    granted(await product.api.put("/v1/actions/deploy", json=_document(icon="J")), "action")

    action = granted(await product.api.get("/v1/actions/deploy"), "action")
    assert action["icon"] == "J"
    assert not action.keys() & {"title", "description", "requiredApproval", "publish"}

    refused(await product.api.put("/v1/actions/nothing", json=_document("nothing")), 404, "not_found", "nothing")
    refused(await product.api.put("/v1/actions/deploy", json={"identifier": "deploy"}), 422, "invalid_request")
    assert granted(await product.api.get("/v1/actions/deploy"), "action")["icon"] == "J"


async def test_put_with_another_identifier_renames_and_permissions_and_history_follow(product: Product) -> None:
    await product.action("old")
    granted(await product.api.patch("/v1/actions/old/permissions", json={"execute": {"teams": ["sre"]}}), "permissions")
    run = await product.start("old")
    await product.until(run["id"])

    renamed = _document("new", invocationMethod=product.webhook())
    assert granted(await product.api.put("/v1/actions/old", json=renamed), "action")["identifier"] == "new"

    refused(await product.api.get("/v1/actions/old"), 404, "not_found")
    refused(await product.api.post("/v1/actions/old/runs", json={"properties": {}}), 404, "not_found")
    permissions = granted(await product.api.get("/v1/actions/new/permissions"), "permissions")
    assert permissions["execute"]["teams"] == ["sre"]
    history = granted(await product.api.get("/v1/actions/runs", params={"action": "new"}), "runs")
    assert [one["id"] for one in history] == [run["id"]]
    assert (await product.get(run["id"]))["action"]["deleted"] is False
    assert (await product.until((await product.start("new"))["id"]))["status"] == "SUCCESS"
    granted(await product.api.post("/v1/actions", json=_document("old")), "action")


async def test_a_run_executes_the_version_it_was_created_with(product: Product) -> None:
    await product.action(requiredApproval=True, invocationMethod=product.webhook(body={"version": 1}))
    first = await product.start()
    second_version = _document(requiredApproval=True, invocationMethod=product.webhook(body={"version": 2}))
    granted(await product.api.put("/v1/actions/deploy", json=second_version), "action")
    second = await product.start()

    for run, version in ((first, 1), (second, 2)):
        granted(
            await product.api.patch(f"/v1/actions/runs/{run['id']}/approval", json={"status": "APPROVE"}),
            "run",
            status=201,
        )
        assert (await product.until(run["id"]))["payload"]["body"] == {"version": version}
        assert product.backend.calls[-1].json == {"version": version}


async def test_a_deleted_action_leaves_its_runs_and_fails_those_that_wait_for_approval(product: Product) -> None:
    await product.action(title="Deploy")
    done = await product.until((await product.start())["id"])
    assert done["action"] == {"identifier": "deploy", "title": "Deploy", "icon": None, "deleted": False}
    granted(
        await product.api.put("/v1/actions/deploy", json=_document(requiredApproval=True, title="Deploy")), "action"
    )
    waiting = await product.start()
    granted(
        await product.api.patch("/v1/actions/deploy/permissions", json={"execute": {"teams": ["sre"]}}), "permissions"
    )

    answer = await product.api.delete("/v1/actions/deploy")
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    for method, path in (
        ("GET", "/v1/actions/deploy"),
        ("DELETE", "/v1/actions/deploy"),
        ("GET", "/v1/actions/deploy/permissions"),
    ):
        refused(await product.api.request(method, path), 404, "not_found", "deploy")
    refused(await product.api.put("/v1/actions/deploy", json=_document()), 404, "not_found")
    refused(await product.api.patch("/v1/actions/deploy/permissions", json={}), 404, "not_found")
    refused(await product.api.post("/v1/actions/deploy/runs", json={"properties": {}}), 404, "not_found")
    assert granted(await product.api.get("/v1/actions"), "actions") == []

    assert (await product.get(done["id"]))["action"]["deleted"] is True
    assert (await product.get(done["id"]))["status"] == "SUCCESS"
    ended = await product.until(waiting["id"])
    assert ended["status"] == "FAILURE"
    assert ended["endedAt"]
    approval = await product.api.patch(f"/v1/actions/runs/{waiting['id']}/approval", json={"status": "APPROVE"})
    refused(approval, 422, "run_not_waiting_for_approval")
    assert [one["action"]["deleted"] for one in granted(await product.api.get("/v1/actions/runs"), "runs")] == [
        True
    ] * 2

    granted(await product.api.post("/v1/actions", json=_document()), "action")
    permissions = granted(await product.api.get("/v1/actions/deploy/permissions"), "permissions")
    assert permissions["execute"]["teams"] == [], "a new action with an old identifier starts afresh"
    assert (await product.get(done["id"]))["action"]["deleted"] is True, "and has no old runs"


async def test_a_run_whose_action_is_deleted_while_it_works_can_still_be_reported(product: Product) -> None:
    await product.action(invocationMethod=product.webhook(synchronized=False))
    run = await product.start()
    await product.backend.called()
    assert (await product.api.delete("/v1/actions/deploy")).json() == {"ok": True}

    ended = granted(await product.api.patch(f"/v1/actions/runs/{run['id']}", json={"status": "SUCCESS"}), "run")
    assert ended["status"] == "SUCCESS"
    assert (await product.get(run["id"]))["action"]["deleted"] is True


async def test_lists_are_filtered_by_everything_that_is_asked(product: Product) -> None:
    entities = {"type": "ENTITY_CREATED", "blueprintIdentifier": "service"}
    run_changes = {"type": "ANY_RUN_CHANGE", "actionIdentifier": "create_service"}
    for document in (
        _document("create_service", trigger={"blueprintIdentifier": "service"}),
        _document("drop_service", trigger={"blueprintIdentifier": "service", "operation": "DELETE"}),
        _document("scale_db", trigger={"blueprintIdentifier": "db", "operation": "DAY-2"}),
        _document("free"),
        _automation("on_create", entities, publish=True),
        _automation("on_run", run_changes, publish=False),
    ):
        granted(await product.api.post("/v1/actions", json=document), "action")

    async def found(query: str) -> set[str]:
        return {one["identifier"] for one in granted(await product.api.get(f"/v1/actions{query}"), "actions")}

    self_service = {"create_service", "drop_service", "scale_db", "free"}
    for query, expected in {
        "": self_service | {"on_create", "on_run"},
        "?trigger_type=self-service": self_service,
        "?trigger_type=automation": {"on_create", "on_run"},
        "?action_identifier=free": {"free"},
        "?action_identifier=free&action_identifier=scale_db": {"free", "scale_db"},
        "?action_identifier=free,scale_db": {"free", "scale_db"},
        "?action_identifier=free,scale_db&action_identifier=on_run": {"free", "scale_db", "on_run"},
        "?action_identifier=nothing": set(),
        "?blueprint_identifier=service&trigger_type=self-service": {"create_service", "drop_service"},
        "?blueprint_identifier=service,db&trigger_type=self-service": {"create_service", "drop_service", "scale_db"},
        "?operation=DAY-2": {"scale_db"},
        "?operation=DAY-2,DELETE": {"scale_db", "drop_service"},
        "?operation=CREATE&operation=DELETE": {"create_service", "free", "drop_service"},
        "?operation=CREATE&blueprint_identifier=service": {"create_service"},
        "?operation=DAY-2&blueprint_identifier=service": set(),
        "?trigger_type=automation&published=true": {"on_create"},
        "?trigger_type=automation&published=false": {"on_run"},
        "?trigger_event=ENTITY_CREATED": {"on_create"},
        "?trigger_event=ENTITY_CREATED&trigger_event=ANY_RUN_CHANGE": {"on_create", "on_run"},
        "?trigger_event=ENTITY_CREATED,ANY_RUN_CHANGE": {"on_create", "on_run"},
        "?trigger_event_action_identifier=create_service": {"on_run"},
        "?version=v2": self_service | {"on_create", "on_run"},
        "?version=v2&trigger_type=self-service&ocean_info_x=1&page=free&compact=": self_service,
        "?action_identifier=&operation=&published=&trigger_type=&run_id=": self_service | {"on_create", "on_run"},
    }.items():
        assert await found(query) == expected, query
    for query in ("?trigger_type=nonsense", "?published=perhaps"):
        refused(await product.api.get(f"/v1/actions{query}"), 422, "invalid_request")


INVALID: dict[str, tuple[Json, str]] = {
    "an unknown key": (_document(colour="red"), "colour"),
    "version 1: blueprint at the top": (_document(blueprint="service"), "blueprint"),
    "version 1: userInputs at the top": (_document(userInputs={"properties": {}}), "userInputs"),
    "version 1: trigger as a word": (_document() | {"trigger": "CREATE"}, "trigger"),
    "no identifier": ({key: value for key, value in _document().items() if key != "identifier"}, "identifier"),
    "no trigger": ({key: value for key, value in _document().items() if key != "trigger"}, "trigger"),
    "no invocationMethod": (
        {key: value for key, value in _document().items() if key != "invocationMethod"},
        "invocationMethod",
    ),
    "an identifier with a space": (_document("a b"), "identifier"),
    "an identifier with a slash": (_document("a/b"), "identifier"),
    "an empty identifier": (_document(""), "identifier"),
    "the identifier .": (_document("."), "identifier"),
    "the identifier ..": (_document(".."), "identifier"),
    "an identifier with a newline": (_document("deploy\n"), "identifier"),
    "an identifier that is a route": (_document("runs"), "identifier"),
    "an identifier that is no string": (_document() | {"identifier": 1}, "identifier"),
    "a title that is no string": (_document(title=1), "title"),
    "an unknown trigger type": (_document(trigger={"type": "cron"}), "trigger"),
    "an unknown operation": (_document(trigger={"operation": "UPDATE"}), "operation"),
    "an unknown key of the trigger": (_document(trigger={"colour": 1}), "colour"),
    "no userInputs": (
        _document() | {"trigger": {"type": "self-service", "operation": "CREATE"}},
        "userInputs",
    ),
    "a condition on CREATE": (_document(trigger={"blueprintIdentifier": "b", "condition": SEARCH}), "condition"),
    "a condition without a blueprint": (_document(trigger={"operation": "DAY-2", "condition": SEARCH}), "blueprint"),
    "a button text that is too long": (_document(trigger={"actionCardButtonText": "x" * 16}), "actionCardButtonText"),
    "a button text with white space": (
        _document(trigger={"executeActionButtonText": " go"}),
        "executeActionButtonText",
    ),
    "order and steps": (_document(inputs={"properties": {}, "order": [], "steps": []}), "userInputs"),
    "an unknown key of userInputs": (_document(inputs={"properties": {}, "colour": 1}), "colour"),
    "an input without a type": (_document(inputs={"properties": {"a": {}}}), "type"),
    "an input of an unknown type": (_document(inputs={"properties": {"a": {"type": "integer"}}}), "type"),
    "an input of an unknown format": (
        _document(inputs={"properties": {"a": {"type": "string", "format": "colour"}}}),
        "format",
    ),
    "an input id with a dot": (_document(inputs={"properties": {"a.b": {"type": "string"}}}), "a.b"),
    "a jqQuery with company": (
        _document(
            inputs={"properties": {"a": {"type": "string", "default": None, "visible": {"jqQuery": "1", "b": 2}}}}
        ),
        "visible",
    ),
    "approval as a word": (_document(requiredApproval="ANY"), "requiredApproval"),
    "an unknown kind of approval": (_document(requiredApproval={"type": "SOME"}), "requiredApproval"),
    "approval with an unknown key": (_document(requiredApproval={"type": "ANY", "of": 2}), "requiredApproval"),
    "a notification without an address": (_document(approvalNotification={"type": "webhook"}), "url"),
    "a notification by slack": (_document(approvalNotification={"type": "slack"}), "approvalNotification"),
    "allowAnyoneToViewRuns as a word": (_document(allowAnyoneToViewRuns="no"), "allowAnyoneToViewRuns"),
    "an unknown backend": (_document(invocationMethod={"type": "PIGEON"}), "invocationMethod"),
    "a backend without a type": (_document(invocationMethod={}), "type"),
    "a webhook without a url": (_document(invocationMethod={"type": "WEBHOOK"}), "url"),
    "a webhook with an unknown key": (
        _document(invocationMethod={"type": "WEBHOOK", "url": "https://x.example", "colour": 1}),
        "colour",
    ),
    "a webhook with an unknown method": (
        _document(invocationMethod={"type": "WEBHOOK", "url": "https://x.example", "method": "FETCH"}),
        "method",
    ),
    "an automation with an unknown event": (_automation("a", {"type": "SUNRISE"}), "event"),
}


async def test_a_definition_of_the_wrong_shape_is_refused_and_the_wrong_field_is_named(product: Product) -> None:
    for case, (document, field) in INVALID.items():
        answer = await product.api.post("/v1/actions", json=document)
        assert answer.status_code == 422, f"{case}: {answer.text}"
        message = refused(answer, 422, "invalid_request")
        assert field in message, f"{case}: {message}"
    bodies: list[Any] = [[], "deploy", 1, None, True]
    for body in bodies:
        refused(await product.api.post("/v1/actions", json=body), 422, "invalid_request")
    assert granted(await product.api.get("/v1/actions"), "actions") == []
    granted(await product.api.post("/v1/actions", json=_document()), "action")


async def test_a_form_that_cannot_work_is_refused(product: Product) -> None:
    faults: dict[str, tuple[Json, str]] = {
        "a pattern that does not compile": ({"properties": {"a": {"type": "string", "pattern": "["}}}, "a"),
        "an empty enum": ({"properties": {"a": {"type": "string", "enum": []}}}, "enum"),
        "a required input that is not there": ({"properties": {}, "required": ["ghost"]}, "ghost"),
        "an order that names nothing": ({"properties": {}, "order": ["ghost"]}, "ghost"),
        "a step that names nothing": ({"properties": {}, "steps": [{"title": "T", "order": ["ghost"]}]}, "ghost"),
        "an input laid out twice": ({"properties": {"a": {"type": "string"}}, "order": ["a", "a"]}, "a"),
        "a secret number": ({"properties": {"a": {"type": "number", "encryption": "aes256-gcm"}}}, "encryption"),
        "a secret url": (
            {"properties": {"a": {"type": "string", "format": "url", "encryption": "aes256-gcm"}}},
            "a",
        ),
        "an entity of no blueprint": ({"properties": {"a": {"type": "string", "format": "entity"}}}, "blueprint"),
    }
    for case, (inputs, word) in faults.items():
        answer = await product.api.post("/v1/actions", json=_document(inputs=inputs))
        assert answer.status_code == 422, f"{case}: {answer.text}"
        message = refused(answer, 422, "user_inputs_schema_invalid")
        assert word in message, f"{case}: {message}"
    assert granted(await product.api.get("/v1/actions"), "actions") == []


async def test_what_the_live_api_accepts_is_accepted(product: Product) -> None:
    text = {"type": "string"}
    for number, (case, document) in enumerate(
        {
            "jq that does not parse": _document(
                inputs={"properties": {"a": {**text, "default": {"jqQuery": "'Test'"}}}}
            ),
            "jq in a dataset that calls nothing": _document(
                inputs={
                    "properties": {
                        "a": {
                            **text,
                            "format": "entity",
                            "blueprint": "b",
                            "dataset": {
                                "combinator": "and",
                                "rules": [{"property": "$team", "operator": "=", "value": {"jqQuery": "Test"}}],
                            },
                        }
                    }
                }
            ),
            "enum beside a format": _document(inputs={"properties": {"a": {**text, "format": "user", "enum": ["x"]}}}),
            "titles only": _document(inputs={"properties": {}, "titles": {"t": {"title": "T"}}, "order": ["t"]}),
            "steps that are visible by jq": _document(
                inputs={
                    "properties": {"a": text},
                    "steps": [
                        {"title": "S", "order": ["a"], "visible": {"jqQuery": "true"}},
                        {"title": "T", "order": []},
                    ],
                }
            ),
            "DAY-2 without a blueprint": _document(trigger={"operation": "DAY-2"}),
            "DAY-2 with a condition": _document(
                trigger={"operation": "DAY-2", "blueprintIdentifier": "b", "condition": SEARCH}
            ),
            "switches as templates": _document(
                invocationMethod={
                    "type": "WEBHOOK",
                    "url": "https://x.example",
                    "agent": "{{ .inputs.a }}",
                    "synchronized": "{{ true }}",
                }
            ),
            "a github workflow": _document(
                invocationMethod={
                    "type": "GITHUB",
                    "org": "o",
                    "repo": "r",
                    "workflow": "w.yml",
                    "reportWorkflowStatus": "{{ true }}",
                }
            ),
            "an upsert": _document(
                invocationMethod={
                    "type": "UPSERT_ENTITY",
                    "blueprintIdentifier": "b",
                    "mapping": {"identifier": "x", "properties": {}, "relations": {"r": None}},
                }
            ),
            "an integration action": _document(
                invocationMethod={
                    "type": "INTEGRATION_ACTION",
                    "installationId": "i",
                    "integrationActionType": "t",
                    "integrationActionExecutionProperties": {},
                }
            ),
            "gitlab": _document(invocationMethod={"type": "GITLAB", "projectName": "p", "groupName": "g"}),
            "azure": _document(invocationMethod={"type": "AZURE_DEVOPS", "webhook": "w", "org": "o"}),
            "approval by all": _document(requiredApproval={"type": "ALL"}, approvalNotification={"type": "email"}),
            "visible by jq, a fixed default": _document(
                inputs={"properties": {"a": {"type": "boolean", "visible": {"jqQuery": ".x"}, "default": False}}}
            ),
        }.items()
    ):
        answer = await product.api.post("/v1/actions", json={**document, "identifier": f"a{number}"})
        assert answer.status_code in (200, 201), f"{case}: {answer.text}"


async def test_only_admins_and_machines_write_definitions(product: Product) -> None:
    member, admin = await product.person("m@example.com"), await product.person("a@example.com", "Admin")
    refused(await product.api.post("/v1/actions", json=_document(), headers=member), 403, "missing_permissions")
    granted(await product.api.post("/v1/actions", json=_document(), headers=admin), "action")

    refused(await product.api.put("/v1/actions/deploy", json=_document(), headers=member), 403, "missing_permissions")
    refused(await product.api.delete("/v1/actions/deploy", headers=member), 403, "missing_permissions")
    granted(await product.api.get("/v1/actions/deploy", headers=member), "action")
    assert (await product.api.delete("/v1/actions/deploy", headers=admin)).json() == {"ok": True}
