"""Runs over HTTP: asked for, read in both versions, listed, and what is refused before there is one."""

import base64
import hashlib
import hmac
import time
from typing import Any

import pytest
import regex
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from tests.api.answers import INSTANT, Json, granted, refused
from tests.api.conftest import Answering
from tests.support.product import Product, running

POST_RUN = "/v1/actions/deploy/runs"


async def _ask(product: Product, properties: Json | None = None, action: str = "deploy", **how: Any) -> Any:
    return await product.api.post(f"/v1/actions/{action}/runs", json={"properties": properties or {}}, **how)


async def _runs(product: Product, query: str = "", headers: Any = None) -> list[Json]:
    runs: list[Json] = granted(await product.api.get(f"/v1/actions/runs{query}", headers=headers), "runs")
    return runs


async def test_a_new_run_has_every_documented_field(product: Product) -> None:
    await product.action(
        title="Deploy",
        icon="Rocket",
        inputs={"image": {"type": "string"}, "replicas": {"type": "number", "default": 2}},
        invocationMethod=product.webhook(body={"n": "{{ .inputs.replicas }}", "run": "{{ .run.id }}"}),
    )
    asked = granted(await _ask(product, {"image": "v2"}), "run", status=202)
    assert regex.fullmatch("r_[A-Za-z0-9]{16}", asked["id"])
    assert asked["status"] == "IN_PROGRESS"
    assert asked["action"] == {"identifier": "deploy", "title": "Deploy", "icon": "Rocket", "deleted": False}
    assert asked["properties"] == {"image": "v2", "replicas": 2}
    assert asked["rawProperties"] == {"image": "v2"}
    assert asked["requiredApproval"] is False
    assert asked["source"] == "API"
    assert asked["link"] == []
    assert asked["summary"] == ""
    for null in ("statusLabel", "approval", "endedAt"):
        assert null in asked
        assert asked[null] is None
    assert not asked.keys() & {"blueprint", "entity", "impersonatedBy"}
    assert asked["createdBy"] == asked["updatedBy"] == product.organization.client_id
    assert INSTANT.fullmatch(asked["createdAt"])
    assert asked["payload"]["body"] == {"n": 2, "run": asked["id"]}
    assert asked["payload"]["type"] == "WEBHOOK"

    ended = await product.until(asked["id"])
    assert (ended["status"], ended["response"]) == ("SUCCESS", {"done": True})
    assert INSTANT.fullmatch(ended["endedAt"])
    assert asked["createdAt"] <= ended["endedAt"] <= ended["updatedAt"]
    assert {key: ended[key] for key in ("id", "action", "properties", "payload", "createdAt")} == {
        key: asked[key] for key in ("id", "action", "properties", "payload", "createdAt")
    }


@pytest.mark.parametrize("exists", [True, False])
async def test_a_run_that_creates_something_names_its_blueprint(product: Product, exists: bool) -> None:
    if exists:
        body = {"identifier": "service", "title": "A service", "icon": "Server", "schema": {"properties": {}}}
        granted(await product.api.post("/v1/blueprints", json=body), "blueprint", status=201)
    form = {"operation": "CREATE", "blueprintIdentifier": "service", "userInputs": {"properties": {}}}
    await product.action(trigger={"type": "self-service", **form})
    run = granted(await product.api.post(POST_RUN, json={"properties": {}}), "run", status=202)

    title, icon = ("A service", "Server") if exists else (None, None)
    assert run["blueprint"] == {"identifier": "service", "title": title, "icon": icon, "deleted": False}


async def test_version_1_reads_the_action_as_a_word_and_version_2_as_an_object(product: Product) -> None:
    await product.action(
        trigger={
            "type": "self-service",
            "operation": "DAY-2",
            "blueprintIdentifier": "service",
            "userInputs": {"properties": {}},
        }
    )
    await product.entity("cart")
    body = {"properties": {}, "entity": "cart"}
    run = granted(await product.api.post(POST_RUN, json=body), "run", status=202)
    assert run["blueprint"] == {"identifier": "service", "title": "Service", "icon": None, "deleted": False}
    assert run["entity"]["identifier"] == "cart"
    await product.until(run["id"])

    path = f"/v1/actions/runs/{run['id']}"
    for query in ("", "?version=v2", "?version="):
        second = granted(await product.api.get(path + query), "run")
        assert second["action"]["identifier"] == "deploy"
        assert second["entity"]["deleted"] is False
    first = granted(await product.api.get(f"{path}?version=v1"), "run")
    assert first["action"] == "deploy"
    assert first["relatedEntityExists"] is True
    assert first["relatedBlueprintExists"] is True
    assert first["blueprint"].keys() == {"identifier", "title"}
    assert first["id"] == second["id"]
    assert [one["action"] for one in await _runs(product, "?version=v1")] == ["deploy"]
    refused(await product.api.get(f"{path}?version=v3"), 422, "invalid_request", "version")
    refused(await product.api.get("/v1/actions/runs/r_0000000000000000"), 404, "not_found", "r_0000000000000000")
    refused(await product.api.get("/v1/actions/runs/nonsense"), 404, "not_found")


async def test_the_list_is_filtered_by_everything_that_is_asked_and_newest_first(
    product: Product, held: object
) -> None:
    ada = await product.person("ada@example.com")
    on_entity = {
        "type": "self-service",
        "operation": "DAY-2",
        "blueprintIdentifier": "service",
        "userInputs": {"properties": {}},
    }
    await product.action("free", invocationMethod=product.webhook(synchronized=False))
    await product.action("bound", trigger=on_entity, requiredApproval=True)
    await product.entity("cart")
    await product.entity("shop")
    assert await _runs(product, "?external_run_id=ci-1") == [], "no run is no error"

    first = await product.start("free")
    second = await product.start("free", headers=ada)
    third, fourth = [
        granted(
            await product.api.post("/v1/actions/bound/runs", json={"properties": {}, "entity": entity}),
            "run",
            status=202,
        )
        for entity in ("cart", "shop")
    ]
    for run, body in ((first, {"externalRunId": "ci-1", "status": "SUCCESS"}), (second, {"externalRunId": "ci-2"})):
        granted(await product.api.patch(f"/v1/actions/runs/{run['id']}", json=body), "run")
    names = {first["id"]: 1, second["id"]: 2, third["id"]: 3, fourth["id"]: 4}
    ada_id = second["createdBy"]

    for query, expected in {
        "": [4, 3, 2, 1],
        "?limit=2": [4, 3],
        "?limit=1000": [4, 3, 2, 1],
        "?action=free": [2, 1],
        "?action=bound": [4, 3],
        "?action=nothing": [],
        "?blueprint=service": [4, 3],
        "?entity=cart": [3],
        "?entity=cart&blueprint=service&action=bound": [3],
        "?entity=cart&action=free": [],
        "?active=true": [4, 3, 2],
        "?active=false": [4, 3, 2, 1],
        "?active=true&action=free": [2],
        "?user_email=ada@example.com": [2],
        "?user_email=nobody@example.com": [],
        f"?user_id={ada_id}": [2],
        f"?user_id={ada_id}&user_email=ada@example.com": [2],
        f"?user_id={product.organization.client_id}": [4, 3, 1],
        "?source=API": [4, 3, 2, 1],
        "?source=UI": [],
        "?source=UI&source=API": [4, 3, 2, 1],
        "?source=UI,AUTOMATION": [],
        "?external_run_id=ci-1&version=v2": [1],
        "?external_run_id=ci-2": [2],
        "?external_run_id=CI-2": [],
        "?external_run_id=&entity=&blueprint=&active=&source=&limit=&user_email=": [4, 3, 2, 1],
        "?page=service&runId=x&ocean_info_resync_id=1&include=a&include=b": [4, 3, 2, 1],
    }.items():
        found = [names[one["id"]] for one in await _runs(product, query)]
        assert (sorted(found) if query == "?active=false" else found) == (
            sorted(expected) if query == "?active=false" else expected
        ), query
    for query in ("limit=0", "limit=-1", "limit=1001", "limit=many", "active=perhaps", "source=MOON", "version=v9"):
        refused(await product.api.get(f"/v1/actions/runs?{query}"), 422, "invalid_request", query.split("=")[0])


async def test_a_run_that_cannot_be_is_refused_with_the_reason_and_not_recorded(product: Product) -> None:
    def bound(operation: str, **more: Any) -> Json:
        return {
            "type": "self-service",
            "operation": operation,
            "blueprintIdentifier": "service",
            "userInputs": {"properties": {}},
            **more,
        }

    condition = {
        "type": "SEARCH",
        "combinator": "and",
        "rules": [{"property": "frozen", "operator": "!=", "value": True}],
    }
    automation = {"type": "automation", "event": {"type": "ENTITY_CREATED", "blueprintIdentifier": "service"}}
    jq_form = {"properties": {"a": {"type": "string"}}, "required": {"jqQuery": "true"}}
    await product.entity("cart", properties={"frozen": True})
    await product.action("auto", trigger=automation)
    await product.action("scale", trigger=bound("DAY-2"))
    await product.action("drop", trigger=bound("DELETE"))
    await product.action("picky", trigger=bound("DAY-2", condition=condition))
    await product.action("dynamic", trigger={"type": "self-service", "operation": "CREATE", "userInputs": jq_form})
    await product.action()

    for action, body, status, code in (
        ("nothing", {"properties": {}}, 404, "not_found"),
        ("auto", {"properties": {}}, 422, "run_non_self_service_error"),
        ("scale", {"properties": {}}, 422, "missing_self_service_action_entity"),
        ("drop", {"properties": {}}, 422, "missing_self_service_action_entity"),
        ("picky", {"properties": {}}, 422, "missing_self_service_action_entity"),
        ("picky", {"properties": {}, "entity": "cart"}, 422, "entity_does_not_pass_condition"),
        ("scale", {"properties": {}, "entity": "none"}, 404, "not_found"),
        ("dynamic", {"properties": {}}, 422, "user_inputs_schema_invalid"),
        ("deploy", {}, 422, "invalid_request"),
        ("deploy", {"properties": None}, 422, "invalid_request"),
        ("deploy", {"properties": []}, 422, "invalid_request"),
        ("deploy", {"properties": {}, "colour": 1}, 422, "invalid_request"),
        ("deploy", {"properties": {}, "entity": 1}, 422, "invalid_request"),
        ("deploy", [], 422, "invalid_request"),
    ):
        answer = await product.api.post(f"/v1/actions/{action}/runs", json=body)
        assert answer.status_code == status, f"{action} {body}: {answer.text}"
        refused(answer, status, code)
    assert await _runs(product) == []

    for action, entity in (("scale", "cart"), ("drop", "cart"), ("deploy", None)):
        target = {"entity": entity} if entity else {}
        answer = await product.api.post(f"/v1/actions/{action}/runs", json={"properties": {}, **target})
        run = granted(answer, "run", status=202)
        assert run.get("entity", {}).get("identifier") == entity
        assert (await product.until(run["id"]))["status"] == "SUCCESS"


async def test_inputs_are_checked_and_every_violation_is_named(product: Product) -> None:
    inputs = {
        "name": {"type": "string", "pattern": "^[a-z-]+$", "minLength": 3},
        "size": {"type": "number", "minimum": 1, "maximum": 5},
        "tier": {"type": "string", "enum": ["gold", "silver"]},
        "owners": {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        "spec": {"type": "object", "properties": {"cpu": {"type": "number"}}, "required": ["cpu"]},
        "dry": {"type": "boolean"},
        "mail": {"type": "string", "format": "email"},
        "page": {"type": "string", "format": "url"},
        "when": {"type": "string", "format": "date-time"},
        "four": {"type": "string", "format": "ipv4"},
        "six": {"type": "string", "format": "ipv6"},
        "yaml": {"type": "string", "format": "yaml"},
        "site": {"type": "object", "format": "labeled-url"},
        "whose": {"type": "string", "format": "user"},
    }
    await product.action(
        trigger={
            "type": "self-service",
            "operation": "CREATE",
            "userInputs": {"properties": inputs, "required": ["name"]},
        }
    )
    good = {
        "name": "cart",
        "size": 5,
        "tier": "gold",
        "owners": ["a", "b"],
        "spec": {"cpu": 1.5, "more": None},
        "dry": False,
        "mail": "a@example.com",
        "page": "https://example.com/x",
        "when": "2022-04-18T11:44:15.345Z",
        "four": "10.0.0.1",
        "six": "::1",
        "yaml": "a: [1, 2]",
        "site": {"url": "https://example.com", "displayText": "x"},
        "whose": "anything at all",
    }
    granted(await _ask(product, good), "run", status=202)
    granted(await _ask(product, {"name": "cart", "size": None}), "run", status=202)
    for name, value in {
        "name": "Cart!",
        "size": 6,
        "tier": "bronze",
        "owners": ["a", "a"],
        "spec": {"cpu": "one"},
        "dry": "true",
        "mail": "nobody",
        "page": "example.com",
        "when": "tomorrow",
        "four": "::1",
        "six": "10.0.0.1",
        "yaml": "a: [1, 2",
        "site": {"displayText": "x"},
        "whose": 1,
    }.items():
        answer = await _ask(product, {**good, name: value})
        assert answer.status_code == 422, f"{name}: {answer.text}"
        refused(answer, 422, "user_inputs_schema_invalid", name)
    refused(
        await _ask(product, {"size": "5", "owners": []}),
        422,
        "user_inputs_schema_invalid",
        "name",
        "size",
        "owners",
        ", ",
    )
    refused(await _ask(product, {"name": None}), 422, "user_inputs_schema_invalid", "name")
    assert len(await _runs(product)) == 2


async def test_defaults_fill_what_was_not_sent_and_nothing_else(product: Product) -> None:
    inputs = {
        "text": {"type": "string", "default": "x"},
        "number": {"type": "number", "default": 3},
        "flag": {"type": "boolean", "default": True},
        "list": {"type": "array", "items": {"type": "number", "default": [1]}},
        "hidden": {"type": "string", "default": "h", "visible": False},
    }
    await product.action(inputs=inputs, invocationMethod=product.webhook(body="{{ .inputs }}"))
    run = await product.start()
    assert run["properties"] == {"text": "x", "number": 3, "flag": True, "list": [1], "hidden": "h"}
    falsy: Json = {"text": "", "number": 0, "flag": False, "list": [], "hidden": ""}
    run = await product.start(properties=falsy)
    assert run["properties"] == falsy
    await product.until(run["id"])
    assert falsy in [call.json for call in product.backend.calls]


async def test_undeclared_inputs_are_accepted_and_reach_the_backend(product: Product) -> None:
    await product.action(invocationMethod=product.webhook(body="{{ .inputs }}"))
    sent = {"text": "t", "number": 1, "boolean": True, "float": 1.5, "nested": {"a": [None, {}]}}
    run = await product.start(properties=sent)
    assert run["properties"] == sent
    await product.until(run["id"])
    assert product.backend.calls[0].json == sent


async def test_templates_that_cannot_be_rendered_are_refused_and_nothing_is_recorded(product: Product) -> None:
    hook = product.webhook()["url"]
    faults: dict[str, tuple[Json, str]] = {
        "unbalanced": ({"body": {"a": "{{ .inputs"}}, "evaluate_invocation_method_error"),
        "spread": ({"body": {"{{ spreadValue() }}": "{{ 1 }}"}}, "evaluate_invocation_method_error"),
        "numkey": ({"body": {"{{ 1 }}": "x"}}, "evaluate_invocation_method_error"),
        "nourl": ({"url": "{{ .inputs.where }}"}, "invalid_evaluated_invocation_method"),
        "badurl": ({"url": "nowhere {{ 1 }}"}, "invalid_evaluated_invocation_method"),
        "badmethod": ({"synchronized": "{{ [1] }}"}, "invalid_evaluated_invocation_method"),
        "ftp": ({"url": "{{ 'ftp://example.com' }}"}, "invalid_evaluated_invocation_method"),
    }
    for name, (method, code) in faults.items():
        await product.action(name, invocationMethod=product.webhook(**method))
        answer = await _ask(product, action=name)
        assert answer.status_code == 422, f"{name}: {answer.text}"
        assert answer.json()["error"] == code, f"{name}: {answer.text}"
        refused(answer, 422, code)
    assert await _runs(product) == []

    await product.action(
        invocationMethod=product.webhook(url="{{ .inputs.where }}", body={"failed": "{{ .a.b | error }}"})
    )
    run = await product.start(properties={"where": hook})
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    assert product.backend.calls[0].json == {"failed": None}, "jq that fails is null"


async def test_templates_of_a_run_that_waits_are_rendered_when_it_is_approved(product: Product) -> None:
    await product.action(requiredApproval=True, invocationMethod=product.webhook(body={"a": "{{ .inputs"}))
    run = await product.start()
    assert run["status"] == "WAITING_FOR_APPROVAL"
    assert run["payload"] is None
    granted(
        await product.api.patch(f"/v1/actions/runs/{run['id']}/approval", json={"status": "APPROVE"}), "run", status=201
    )
    ended = await product.until(run["id"])
    assert ended["status"] == "FAILURE"
    assert ended["summary"]
    assert product.backend.calls == []


async def test_types_survive_templates_and_the_environment_does_not_show(product: Product) -> None:
    body = {
        "number": "{{ .inputs.n }}",
        "text": "n is {{ .inputs.n }} of {{ .inputs.o }}, {{ .inputs.nothing }}",
        "object": "{{ .inputs.o }}",
        "gone": "{{ empty }}",
        "{{ .inputs.key }}": 1,
        "{{ .inputs.nothing }}": 2,
        "quoted": "{{ 'single' }}",
        "env": "{{ env }}",
        "ENV": "{{ $ENV }}",
        "{{ spreadValue() }}": "{{ .inputs.o }}",
        "trigger": "{{ .trigger.origin }}",
        "action": "{{ .action.identifier }}",
    }
    await product.action(invocationMethod=product.webhook(body=body))
    run = await product.start(properties={"n": 1.5, "o": {"a": [1, "ä"]}, "key": "k"})
    await product.until(run["id"])
    assert product.backend.calls[0].json == {
        "number": 1.5,
        "text": 'n is 1.5 of {"a":[1,"ä"]}, null',
        "object": {"a": [1, "ä"]},
        "k": 1,
        "quoted": "single",
        "env": {},
        "ENV": {},
        "a": [1, "ä"],
        "trigger": "API",
        "action": "deploy",
    }


async def test_a_machine_can_run_as_a_person_and_a_person_cannot(product: Product) -> None:
    await product.action()
    ada = await product.person("ada@example.com")
    eve = await product.person("eve@example.com")
    own = granted(await _ask(product, headers=ada), "run", status=202)
    run = granted(await _ask(product, params={"run_as": "ada@example.com"}), "run", status=202)
    assert run["createdBy"] == own["createdBy"]
    assert product.organization.client_id in run["impersonatedBy"]
    assert run["impersonatedUserId"] == run["createdBy"]
    assert not {"impersonatedBy", "impersonatedUserId"} & own.keys()
    assert {one["id"] for one in await _runs(product, "?user_email=ada@example.com")} == {run["id"], own["id"]}

    for person in (eve, ada):
        answer = await _ask(product, params={"run_as": "ada@example.com"}, headers=person)
        refused(answer, 403, "missing_permissions", "run_as")
    refused(await _ask(product, params={"run_as": "nobody@example.com"}), 404, "not_found", "nobody@example.com")
    granted(await _ask(product, params={"run_as": ""}), "run", status=202)

    granted(
        await product.api.patch("/v1/actions/deploy/permissions", json={"execute": {"roles": ["Admin"]}}), "permissions"
    )
    refused(await _ask(product, params={"run_as": "ada@example.com"}), 403, "missing_permissions", "ada@example.com")


async def test_private_destinations_are_refused_where_they_are_not_allowed(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    async with running(clock, evaluate, sqlite_url, allow_private_destinations="false") as product:
        await product.action(invocationMethod=product.webhook(url="{{ .inputs.where }}"))
        for url in (
            product.backend.url,
            "http://localhost:1",
            "http://[::1]/",
            "http://10.1.2.3",
            "http://2130706433/",
        ):
            answer = await _ask(product, {"where": url})
            assert answer.status_code == 403, f"{url}: {answer.text}"
            refused(answer, 403, "private_destination")
        refused(await _ask(product, {"where": "http://nowhere.invalid"}), 403, "not_resolvable_destination")
        assert await _runs(product) == []
        assert product.backend.calls == []

        await product.action("waits", requiredApproval=True, invocationMethod=product.webhook())
        run = await product.start("waits")
        approval = f"/v1/actions/runs/{run['id']}/approval"
        granted(await product.api.patch(approval, json={"status": "APPROVE"}), "run", status=201)
        assert (await product.until(run["id"]))["status"] == "FAILURE"
        assert product.backend.calls == []


async def test_a_webhook_is_signed_with_the_client_secret(product: Product) -> None:
    body = {"text": "ä \U0001f680", "inputs": "{{ .inputs }}"}
    headers = {"X-Custom": "run {{ .run.id }}", "Content-Type": "application/json"}
    await product.action(invocationMethod=product.webhook(method="PUT", headers=headers, body=body))
    run = await product.start(properties={"a": 1})
    await product.until(run["id"])

    call = product.backend.calls[0]
    assert call.method == "PUT"
    assert call.json == {"text": "ä \U0001f680", "inputs": {"a": 1}}
    assert call.headers["x-custom"] == f"run {run['id']}"
    stamp = call.headers["x-port-timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    secret = product.organization.client_secret.encode()
    signature = hmac.new(secret, stamp.encode() + b"." + call.body, hashlib.sha256).digest()
    assert call.headers["x-port-signature"] == "v1," + base64.b64encode(signature).decode()


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_a_synchronized_run_succeeds_with_any_2xx(product: Product, answering: Answering, status: int) -> None:
    answering(status, {"status": status})
    await product.action()
    ended = await product.until((await product.start())["id"])
    assert ended["status"] == "SUCCESS"


async def test_a_synchronized_run_fails_with_anything_else_and_keeps_the_answer(
    product: Product, answering: Answering
) -> None:
    await product.action()
    for status in (400, 404, 500, 302):
        answering(status, {"reason": f"r{status}"})
        ended = await product.until((await product.start())["id"])
        assert ended["status"] == "FAILURE", status
        assert str(status) in ended["summary"]
        assert ended["response"] == {"reason": f"r{status}"}
        assert ended["endedAt"]
    assert len(product.backend.calls) == 4, "an answer, even a bad one, is not asked for again"


async def test_backends_without_what_they_need_end_their_runs_with_a_clear_failure(product: Product) -> None:
    for number, (method, words) in enumerate(
        (
            ({"type": "GITLAB", "projectName": "p", "groupName": "g"}, "no credentials for GitLab"),
            ({"type": "GITHUB", "org": "o", "repo": "r", "workflow": "w"}, "no credentials for GitHub"),
            ({"type": "KAFKA"}, "No Kafka broker is configured"),
        )
    ):
        await product.action(f"a{number}", invocationMethod=method)
        ended = await product.until((await product.start(f"a{number}"))["id"])
        assert ended["status"] == "FAILURE", method
        assert words in ended["summary"], f"{method}: {ended['summary']}"
    assert product.backend.calls == []


@pytest.mark.parametrize("program", ["[range(1e12)] | length", "def f: f; f", "[range(1e8)]", '"x" * 3000000'])
async def test_a_template_that_never_ends_or_prints_too_much_is_refused(product: Product, program: str) -> None:
    await product.action(invocationMethod=product.webhook(body={"x": f"{{{{ {program} }}}}"}))
    answer = await product.api.post("/v1/actions/deploy/runs", json={"properties": {}})
    assert (answer.status_code, answer.json()["error"]) == (422, "evaluate_invocation_method_error")
    assert program in answer.json()["message"]
    assert not (await product.api.get("/v1/actions/runs")).json()["runs"]


async def test_a_template_that_fails_is_null_and_says_so_in_the_log(product: Product) -> None:
    await product.action(invocationMethod=product.webhook(body={"x": "{{ .inputs.name + 1 | nonsense }}"}))
    run = await product.until((await product.start())["id"])
    assert product.backend.calls[0].json == {"x": None}
    [line] = await product.logs(run["id"])
    assert "nonsense" in line
