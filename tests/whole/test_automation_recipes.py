"""What people build with automations, each as its author would write it: over the real API, worker and Temporal.

Source: the reference recipes of automations, 1.10 of the contract; a webhook stands for GitHub.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, func, select
from starlette.responses import JSONResponse, Response
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from domain.times import iso
from runtime.clock import now
from store.automation_tables import PendingChangeRow
from store.tables import ChangeRow, RunRow
from tests.support.backend import Call, FakeBackend
from tests.support.processes import eventually
from tests.support.product import Json, Product, running
from worker.timers import TimerRelay

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
async def product(server: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    """The product; its own API can be called at its public address, as backends call it."""
    async with FakeBackend() as door, running(server, evaluate, sqlite_url, public_url=door.url) as product:

        async def forward(call: Call) -> Response:
            headers = {name: call.headers.get(name, "") for name in ("authorization", "content-type", "user-agent")}
            answer = await product.api.request(
                call.method, call.path, params=call.query, content=call.body, headers=headers
            )
            return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])

        door.answer = forward
        timers = asyncio.create_task(
            TimerRelay(product.temporal, product.database, product.settings.task_queue, now).run()
        )
        yield product
        timers.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await timers


def own(product: Product, path: str, method: str, **more: Any) -> Json:
    """A synchronized call of our own API, without credentials: it authenticates itself."""
    url = product.settings.public_url + path
    return {"type": "WEBHOOK", "url": url, "method": method, "synchronized": True, "agent": False, **more}


async def automation(product: Product, event: Json, method: Json, *conditions: str) -> None:
    """A published automation called `watch`."""
    trigger: Json = {"type": "automation", "event": event}
    if conditions:
        trigger["condition"] = {"type": "JQ", "expressions": list(conditions), "combinator": "and"}
    document = {"identifier": "watch", "trigger": trigger, "invocationMethod": method, "publish": True}
    answer = await product.api.post("/v1/actions", json=document)
    assert answer.status_code == 200, answer.text


async def blueprint(product: Product, identifier: str, properties: Json, **relations: Json) -> None:
    """A new blueprint."""
    document = {"identifier": identifier, "schema": {"properties": properties}, "relations": relations}
    answer = await product.api.post("/v1/blueprints", json=document)
    assert answer.status_code == 201, answer.text


async def patch(product: Product, path: str, **entity: Any) -> None:
    """Change an entity."""
    answer = await product.api.patch(f"/v1/blueprints/{path}", json=entity)
    assert answer.status_code == 200, answer.text


async def watched(product: Product, *, still: int = 0) -> list[Json]:
    """The runs of the automation, oldest first, once nothing goes on but `still` runs that are waited for."""

    async def look() -> bool | None:
        async with product.database.read() as session:
            pending = (await session.exec(select(func.count()).select_from(PendingChangeRow))).one()
            going_on = select(func.count()).where(col(RunRow.status).in_(["IN_PROGRESS", "WAITING_FOR_APPROVAL"]))
            return True if not pending and (await session.exec(going_on)).one() == still else None

    await eventually("all changes were asked about, and all runs have ended", look, within=20)
    found = (await product.api.get("/v1/actions/runs", params={"action": "watch", "limit": 1000})).json()["runs"]
    return sorted(found, key=lambda run: str(run["createdAt"]))


async def changes(product: Product, kind: str) -> list[Json]:
    """What was recorded about things of a kind, in order."""
    async with product.database.read() as session:
        rows = await session.exec(
            select(ChangeRow.document).where(ChangeRow.resource_type == kind).order_by(col(ChangeRow.sequence))
        )
        return [dict(row) for row in rows]


async def test_a_status_that_flips_starts_a_workflow(product: Product) -> None:
    await blueprint(product, "service", {"status": {"type": "string"}})
    body = {"workflowInputs": {"service": "{{ .event.context.entityIdentifier }}", "run": "{{ .run.id }}"}}
    await automation(
        product,
        {"type": "ENTITY_UPDATED", "blueprintIdentifier": "service"},
        product.webhook(body=body),
        '.diff.before.properties.status == "Healthy"',
        '.diff.after.properties.status == "Unhealthy"',
    )
    for name in ("cart", "other"):
        await product.entity(name, properties={"status": "Healthy"})
    path = "service/entities/cart"
    await patch(product, path, title="Cart")
    for status in ("Unhealthy", "Unhealthy", "Healthy", "Unhealthy"):
        await patch(product, path, properties={"status": status})
    runs = await watched(product)
    assert [run["status"] for run in runs] == ["SUCCESS", "SUCCESS"]
    calls = [call.json["workflowInputs"] for call in product.backend.calls]
    assert sorted(calls, key=str) == sorted(({"service": "cart", "run": run["id"]} for run in runs), key=str)


async def test_an_environment_is_torn_down_when_its_time_is_over(product: Product) -> None:
    properties = {"ttl": {"type": "string", "format": "timer"}, "keep": {"type": "boolean"}}
    await blueprint(product, "environment", properties)
    await automation(
        product,
        {"type": "TIMER_PROPERTY_EXPIRED", "blueprintIdentifier": "environment", "propertyIdentifier": "ttl"},
        product.webhook(body={"env": "{{ .event.context.entityIdentifier }}", "property": "{{ .event.context }}"}),
        ".diff.after.properties.keep != true",
    )
    soon = datetime.now(UTC) + timedelta(seconds=1)
    for name, more in (("dev-7", {}), ("kept", {"keep": True})):
        await product.entity(name, "environment", properties={"ttl": iso(soon), **more})
    await product.entity("later", "environment", properties={"ttl": iso(soon + timedelta(hours=1))})

    async def expired() -> bool | None:
        found = {one["context"]["entity"] for one in await changes(product, "entity") if one["action"] != "CREATE"}
        return True if found == {"dev-7", "kept"} else None

    await eventually("both timers have fired", expired, within=30)
    [run] = await watched(product)
    assert run["status"] == "SUCCESS"
    [call] = product.backend.calls
    assert call.json["env"] == "dev-7"
    assert call.json["property"]["propertyIdentifier"] == "ttl"


async def test_an_automation_executes_a_self_service_action_as_a_person(product: Product) -> None:
    await product.person("ada@x.io")
    inputs = {"name": {"type": "string"}}
    await product.action(inputs=inputs, invocationMethod=product.webhook(synchronized=False))
    await blueprint(product, "service", {})
    body = {"properties": {"name": "{{ .event.context.entityIdentifier }}"}}
    await automation(
        product,
        {"type": "ENTITY_CREATED", "blueprintIdentifier": "service"},
        own(product, "/v1/actions/deploy/runs?run_as=ada@x.io", "POST", body=body),
    )
    await product.entity("cart")
    await product.backend.called()
    [outer] = await watched(product, still=1)
    assert outer["status"] == "SUCCESS", "it does not wait for the run that it has started"
    inner = await product.get(outer["response"]["run"]["id"])
    ada = (await product.api.get("/v1/users/ada@x.io")).json()["user"]["id"]
    assert (inner["status"], inner["createdBy"]) == ("IN_PROGRESS", ada)
    assert (inner["properties"], inner["impersonatedBy"]) == ({"name": "cart"}, product.organization.client_id)
    assert inner["interlock"]["causes"] == [{"run": outer["id"], "action": "watch"}]
    assert inner["interlock"]["depth"] == outer["interlock"]["depth"] + 1


async def test_what_is_harmless_is_approved_by_an_automation(product: Product) -> None:
    await product.action(inputs={"type": {"type": "string"}}, requiredApproval=True)
    await automation(
        product,
        {"type": "RUN_CREATED", "actionIdentifier": "deploy"},
        own(
            product,
            "/v1/actions/runs/{{ .event.diff.after.id }}/approval",
            "PATCH",
            body={"status": "APPROVE", "description": "Approved"},
        ),
        '.diff.after.properties.type == "small"',
    )
    small, large = [await product.start(properties={"type": size}) for size in ("small", "large")]
    ended = await product.until(small["id"])
    assert (ended["status"], ended["approval"]["state"]) == ("SUCCESS", "APPROVED")
    [run] = await watched(product, still=1)
    assert run["status"] == "SUCCESS"
    assert (await product.get(large["id"]))["status"] == "WAITING_FOR_APPROVAL"

    of_small = [one for one in await changes(product, "run") if one["context"]["runId"] == small["id"]]
    because = [(one["after"]["status"], one["causedBy"], one["depth"]) for one in of_small]
    assert because[0] == ("WAITING_FOR_APPROVAL", small["id"], 1)
    assert because[1] == ("IN_PROGRESS", run["id"], 2), "the automation's run has made it go on"


async def test_somebody_is_told_of_a_run_that_we_ended_ourselves(product: Product) -> None:
    async def answer(call: Call) -> Response:
        return JSONResponse({"path": call.path}, status_code=500 if call.path == "/hook" else 200)

    product.backend.answer = answer
    await product.action()
    secret = {"secretName": "TOKEN", "secretValue": "s3cret"}
    assert (await product.api.post("/v1/organization/secrets", json=secret)).status_code < 300
    body = {
        "text": "{{ .event.diff.after.action.title }} failed",
        "run": "{{ .event.diff.after.id }}",
        "operation": "{{ .event.context.action.trigger.operation }}",
    }
    await automation(
        product,
        {"type": "RUN_UPDATED", "actionIdentifier": "deploy"},
        product.webhook(
            url=f"{product.backend.url}/notify", body=body, headers={"X-Token": "{{ .secrets.TOKEN }}"}
        ),  # rendered again when it is sent
        '.diff.before.status == "IN_PROGRESS"',
        '.diff.after.status == "FAILURE"',
    )
    run = await product.until((await product.start())["id"], "FAILURE")
    [told] = await watched(product)
    assert told["status"] == "SUCCESS"
    assert [call.path for call in product.backend.calls] == ["/hook", "/notify"]
    sent = product.backend.calls[1]
    assert sent.json == {"text": "Deploy failed", "run": run["id"], "operation": "CREATE"}
    assert sent.headers["x-token"] == "s3cret"
    assert "s3cret" not in str(told)


async def test_every_run_is_an_entity_and_a_pie_chart_counts_them(product: Product) -> None:
    statuses = ["SUCCESS", "FAILURE", "IN_PROGRESS", "WAITING_FOR_APPROVAL", "DECLINED"]
    at = {"type": "string", "format": "date-time"}
    status = {"type": "string", "enum": statuses}
    properties = {"status": status, "createdAt": at, "updatedAt": at, "action": {"type": "string"}}
    await blueprint(product, "action_run", properties)
    mapping = {
        "identifier": "{{ .event.diff.after.id }}",
        "title": "{{ .event.diff.after.action.title }} {{ .event.diff.after.id }}",
        "properties": {
            "status": "{{ .event.diff.after.status }}",
            "createdAt": "{{ .event.diff.after.createdAt }}",
            "updatedAt": "{{ .event.diff.after.updatedAt }}",
            "action": "{{ .event.diff.after.action.title }}",
        },
    }
    await automation(
        product,
        {"type": "ANY_RUN_CHANGE", "actionIdentifier": "deploy"},
        {"type": "UPSERT_ENTITY", "blueprintIdentifier": "action_run", "mapping": mapping},
    )

    async def answer(call: Call) -> Response:
        return JSONResponse({}, status_code=500 if call.json["fail"] else 200)

    product.backend.answer = answer
    await product.action(
        inputs={"fail": {"type": "boolean"}}, invocationMethod=product.webhook(body={"fail": "{{ .inputs.fail }}"})
    )
    old = {"status": "SUCCESS", "createdAt": iso(datetime.now(UTC) - timedelta(days=40))}
    await product.entity("old", "action_run", properties=old)
    started = [await product.start(properties={"fail": number % 3 == 0}) for number in range(12)]
    ended = {run["id"]: await product.until(run["id"]) for run in started}
    assert {run["status"] for run in await watched(product)} == {"SUCCESS"}

    for run_id, run in ended.items():
        found = (await product.api.get(f"/v1/blueprints/action_run/entities/{run_id}")).json()["entity"]
        assert found["title"] == f"Deploy {run_id}"
        assert found["properties"] == {
            "status": run["status"], "createdAt": run["createdAt"], "updatedAt": run["updatedAt"], "action": "Deploy",
        }, "whatever ran first, the last change is what stays"  # fmt: skip
    week = {"from": iso(datetime.now(UTC) - timedelta(days=7)), "to": iso(datetime.now(UTC) + timedelta(minutes=1))}
    rules = [
        {"property": "$blueprint", "operator": "=", "value": "action_run"},
        {"property": "createdAt", "operator": "between", "value": week},
    ]
    query = {"combinator": "and", "rules": rules}
    asked = {"func": "countValues", "property": "status", "query": query}
    answer_ = await product.api.post("/v1/entities/aggregate", json=asked)
    assert answer_.json() == {"ok": True, "aggregation": {"SUCCESS": 8, "FAILURE": 4}}


async def test_orphans_are_deleted_but_not_those_whose_namespace_was_deleted(product: Product) -> None:
    await blueprint(product, "namespace", {})
    await blueprint(product, "pod", {}, namespace={"target": "namespace"})
    await automation(
        product,
        {"type": "ENTITY_UPDATED", "blueprintIdentifier": "pod"},
        own(product, "/v1/blueprints/pod/entities/{{ .event.context.entityIdentifier }}", "DELETE"),
        ".diff.after.relations.namespace == null",
        ".diff.before.relations.namespace != null",
    )
    for name in ("prod", "test"):
        await product.entity(name, "namespace")
        await product.entity(f"pod-{name}", "pod", relations={"namespace": name})
    await patch(product, "pod/entities/pod-prod", relations={"namespace": "test"})
    await patch(product, "pod/entities/pod-prod", relations={"namespace": None})
    assert (await product.api.delete("/v1/blueprints/namespace/entities/test")).json() == {"ok": True}
    [run] = await watched(product)
    assert run["status"] == "SUCCESS", run
    left = (await product.api.get("/v1/blueprints/pod/entities")).json()["entities"]
    assert [(pod["identifier"], pod["relations"]) for pod in left] == [("pod-test", {"namespace": None})]
    gone = (await changes(product, "entity"))[-1]
    assert (gone["action"], gone["context"]["entity"]) == ("DELETE", "pod-prod")
    assert (gone["causedBy"], gone["depth"], gone["by"]) == (run["id"], 1, product.organization.client_id)
