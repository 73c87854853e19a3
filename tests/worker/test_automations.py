"""The relay of automations over the real product: one run for each change that one wants, and why others have none."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, func, select
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from domain.requests import MAX_DEPTH
from runtime.clock import now
from runtime.jq_pool import JqPool, Limits
from store import actions
from store.automation_tables import FiringRow, PendingChangeRow
from store.tables import ActionVersionRow, RunRow
from tests.support.processes import eventually
from tests.support.product import Json, Product, running
from worker.judging import Fired, Judging, Question


async def automation(product: Product, identifier: str = "told", *, publish: bool = True, **more: Any) -> Json:
    """A new automation that calls the backend for every change of a service."""
    trigger = {
        "type": "automation",
        "event": more.pop("event", {"type": "ANY_ENTITY_CHANGE", "blueprintIdentifier": "service"}),
    }
    if conditions := more.pop("conditions", None):
        trigger["condition"] = {"type": "JQ", "expressions": conditions}
    body = {"event": "{{ .event }}", "run": "{{ .run.id }}"}
    document = {
        "identifier": identifier,
        "trigger": trigger,
        "invocationMethod": product.webhook(body=body),
        "publish": publish,
        **more,
    }
    answer = await product.api.post("/v1/actions", json=document)
    assert answer.status_code == 200, answer.text
    made: Json = answer.json()["action"]
    return made


async def settled(product: Product) -> None:
    """Wait until nothing is pending and every run has ended."""

    async def look() -> bool | None:
        async with product.database.read() as session:
            for query in (
                select(func.count()).select_from(PendingChangeRow),
                select(func.count()).where(col(RunRow.status).in_(["IN_PROGRESS", "WAITING_FOR_APPROVAL"])),
            ):
                if (await session.exec(query)).one():
                    return None
        return True

    await eventually("every change was asked about and every run has ended", look, within=20)


async def of(product: Product, identifier: str = "told") -> list[Json]:
    """The runs of an automation, oldest first."""
    await settled(product)
    found = (await product.api.get("/v1/actions/runs", params={"action": identifier, "limit": 1000})).json()["runs"]
    return list(reversed(found))


async def outcomes(product: Product) -> list[str]:
    async with product.database.read() as session:
        return list(await session.exec(select(FiringRow.outcome).order_by(col(FiringRow.at))))


async def test_a_change_makes_one_run_of_each_automation_whose_condition_holds(product: Product) -> None:
    await product.entity("first")
    await automation(product, conditions=['.action == "CREATE"'])
    await automation(product, "not_told", conditions=['.action == "CREATE"', ".diff.after == null"])
    await automation(product, "draft", publish=False)
    await product.entity("cart")
    [run] = await of(product)
    assert run["status"] == "SUCCESS"
    assert (run["source"], run["properties"]) == ("AUTOMATION", {})
    assert "entity" not in run
    [call] = product.backend.calls
    event = call.json["event"]
    assert event["context"] == {
        "blueprintIdentifier": "service",
        "entityIdentifier": "cart",
        "propertyIdentifier": None,
    }
    assert event["diff"]["before"] is None
    assert event["diff"]["after"]["identifier"] == "cart"
    assert call.json["run"] == run["id"]


async def test_changes_of_one_entity_are_answered_in_their_order(product: Product) -> None:
    await product.entity()
    await automation(product)
    for number in range(5):
        await product.api.patch("/v1/blueprints/service/entities/cart", json={"title": str(number)})
    found = await of(product)
    titles = [run["payload"]["body"]["event"]["diff"]["after"]["title"] for run in found]
    assert titles == ["0", "1", "2", "3", "4"]


async def test_what_is_written_as_it_was_makes_no_run(product: Product) -> None:
    await product.entity(title="Cart")
    await automation(product)
    for _ in range(2):
        answer = await product.api.patch("/v1/blueprints/service/entities/cart", json={"title": "Cart"})
        assert answer.status_code == 200
    assert await of(product) == []


async def test_what_happened_before_it_was_published_is_none_of_its_business(product: Product) -> None:
    await product.entity("first")
    document = {**await automation(product, publish=False)}
    await product.entity("second")
    answer = await product.api.put("/v1/actions/told", json={**document, "publish": True})
    assert answer.status_code == 200, answer.text
    await product.entity("third")
    [run] = await of(product)
    assert run["payload"]["body"]["event"]["context"]["entityIdentifier"] == "third"


async def test_a_template_that_cannot_be_rendered_is_a_failed_run_that_says_why(product: Product) -> None:
    await product.entity("first")
    await automation(product, invocationMethod=product.webhook(url="{{ .event.nothing }}"))
    await product.entity("second")
    [run] = await of(product)
    assert run["status"] == "FAILURE"
    assert "invocationMethod.url" in run["summary"]
    assert product.backend.calls == []


async def test_an_automation_that_triggers_itself_is_stopped_and_paused(product: Product) -> None:
    await product.entity("first")
    mapping = {"identifier": "{{ .run.id }}"}
    writes = {"type": "UPSERT_ENTITY", "blueprintIdentifier": "service", "mapping": mapping}
    await automation(product, invocationMethod=writes)
    await product.entity("second")

    async def stopped() -> Json | None:
        found = await of(product)
        return found[-1] if found and found[-1]["status"] == "FAILURE" else None

    last = await eventually("the chain is stopped", stopped)
    assert len(await of(product)) == MAX_DEPTH + 2
    assert last["interlock"]["depth"] == MAX_DEPTH + 1
    assert len(last["interlock"]["causes"]) == MAX_DEPTH + 1
    assert last["summary"].startswith("It would be number 22 of a chain of runs that cause each other: told (r_")
    action = (await product.api.get("/v1/actions/told")).json()["action"]
    assert action["paused"]["runId"] == last["id"]

    await product.entity("third")
    assert len(await of(product)) == MAX_DEPTH + 2, "it was asked although it is paused"
    answer = await product.api.post("/v1/actions/told/resume")
    assert answer.status_code == 200, answer.text
    assert "paused" not in answer.json()["action"]


@pytest.mark.parametrize("limit", ["automation_runs_per_minute", "automation_recurrences_per_minute"])
async def test_too_many_runs_in_a_minute_pause_the_automation(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, limit: str
) -> None:
    settings: Any = {limit: "3"}
    async with running(clock, evaluate, sqlite_url, **settings) as product:
        await product.entity()
        await automation(product)
        for number in range(8):
            await product.api.patch("/v1/blueprints/service/entities/cart", json={"title": str(number)})
        found = await of(product)
        assert sorted(run["status"] for run in found) == ["FAILURE"] + ["SUCCESS"] * 3
        [stopped] = [run for run in found if run["status"] == "FAILURE"]
        assert "3 times within a minute" in stopped["summary"]
        assert "paused" in (await product.api.get("/v1/actions/told")).json()["action"]
        assert set(await outcomes(product)) == {"run", "stopped"}


async def test_many_runs_for_many_entities_are_no_loop(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    settings: Any = {"automation_recurrences_per_minute": "3"}
    async with running(clock, evaluate, sqlite_url, **settings) as product:
        await product.entity("first")
        await automation(product)
        for number in range(6):
            await product.entity(f"e{number}")
            await product.api.patch(f"/v1/blueprints/service/entities/e{number}", json={"title": "again"})
        assert [run["status"] for run in await of(product)] == ["SUCCESS"] * 12


async def test_debounce_makes_one_run_of_the_last_change(product: Product) -> None:
    await product.entity("cart")
    await automation(product, interlock={"debounce": {"quiet": "PT1S"}})
    for number in range(3):
        await product.api.patch("/v1/blueprints/service/entities/cart", json={"title": str(number)})

    async def one() -> Json | None:
        return next(iter(await of(product)), None)

    run = await eventually("the entity has calmed down", one, within=10)
    assert run["payload"]["body"]["event"]["diff"]["after"]["title"] == "2"
    assert sorted(await outcomes(product)) == ["merged", "merged", "run"]


async def test_a_change_that_was_held_is_for_the_automation_as_it_is_then(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    async with running(clock, evaluate, sqlite_url, worker=False) as product:
        await product.entity("cart")
        document = await automation(product, interlock={"debounce": {"quiet": "PT0.2S"}})
        relay = product.automations(evaluate)
        await product.api.patch("/v1/blueprints/service/entities/cart", json={"title": "new"})
        await relay.once()
        assert await outcomes(product) == ["held"]
        trigger = {"type": "automation", "event": {"type": "ENTITY_DELETED", "blueprintIdentifier": "other"}}
        answer = await product.api.put("/v1/actions/told", json={**document, "trigger": trigger})
        assert answer.status_code == 200, answer.text
        await asyncio.sleep(0.3)
        await relay.let_go()
        assert await outcomes(product) == ["stopped"]
        assert (await product.api.get("/v1/actions/runs")).json()["runs"] == []


async def test_a_change_that_cannot_be_answered_holds_up_those_of_its_entity_and_no_others(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(clock, evaluate, sqlite_url, worker=False) as product:
        for name in ("cart", "other"):
            await product.entity(name)
        await automation(product)
        for title in ("0", "1"):
            for name in ("cart", "other"):
                await product.api.patch(f"/v1/blueprints/service/entities/{name}", json={"title": title})
        relay, answer = product.automations(evaluate), Judging.answer
        at = [now()]
        monkeypatch.setattr(relay, "_now", lambda: at[0])

        async def fails(self: Judging, question: Question) -> list[Fired]:
            after: Any = question.change["after"]
            if (after["identifier"], after["title"]) == ("cart", "0"):
                raise KeyError("a fault of ours")
            return await answer(self, question)

        monkeypatch.setattr(Judging, "answer", fails)
        while await relay.once():
            pass
        assert await titles(product) == ["other 0", "other 1"]
        monkeypatch.setattr(Judging, "answer", answer)
        while await relay.once():
            pass
        assert await titles(product) == ["other 0", "other 1"], "nobody else takes it before its lease is over"
        at[0] += timedelta(minutes=2)
        while await relay.once():
            pass
        assert sorted(await titles(product)) == ["cart 0", "cart 1", "other 0", "other 1"]


async def titles(product: Product) -> list[str]:
    """What the runs there are are about, oldest first."""
    found = (await product.api.get("/v1/actions/runs", params={"action": "told", "limit": 1000})).json()["runs"]
    events = [run["payload"]["body"]["event"]["diff"]["after"] for run in reversed(found)]
    return [f"{event['identifier']} {event['title']}" for event in events]


async def test_throttle_leaves_out_what_comes_too_soon(product: Product) -> None:
    await product.entity("cart")
    await automation(product, interlock={"throttle": {"runs": 2, "per": "PT1H"}})
    for number in range(4):
        await product.api.patch("/v1/blueprints/service/entities/cart", json={"title": str(number)})
    assert len(await of(product)) == 2
    assert sorted(await outcomes(product)) == ["run", "run", "throttled", "throttled"]


@pytest.mark.parametrize("condition", ["def f: f; f", "[range(1e9)] | length == 0"])
async def test_a_condition_that_never_ends_pauses_its_automation_and_no_other(
    clock: WorkflowEnvironment, sqlite_url: str, condition: str
) -> None:
    async with (
        JqPool(size=1, limits=Limits(seconds=0.5)) as impatient,
        running(clock, impatient, sqlite_url) as product,
    ):
        await _endless(product, condition)


async def _endless(product: Product, condition: str) -> None:
    await product.entity("first")
    await automation(product, "endless", conditions=[condition])
    await automation(product)
    for number in range(4):
        await product.entity(f"e{number}")
    assert len(await of(product)) == 4
    assert await of(product, "endless") == []
    paused = (await product.api.get("/v1/actions/endless")).json()["action"]["paused"]
    assert "times in a row" in paused["reason"]


async def test_a_template_that_never_ends_pauses_its_automation(clock: WorkflowEnvironment, sqlite_url: str) -> None:
    async with (
        JqPool(size=1, limits=Limits(seconds=0.5)) as impatient,
        running(clock, impatient, sqlite_url) as product,
    ):
        method = product.webhook(body={"endless": "{{ def f: f; f }}"})
        await automation(product, "endless", conditions=[".action == .action"], invocationMethod=method)
        for number in range(4):
            await product.entity(f"e{number}")
        assert len(await of(product, "endless")) <= 4
        paused = (await product.api.get("/v1/actions/endless")).json()["action"]["paused"]
        assert "times in a row" in paused["reason"]


async def test_what_happened_to_a_blueprint_that_is_gone_is_still_answered(product: Product) -> None:
    await product.entity()
    await automation(product, event={"type": "ENTITY_DELETED", "blueprintIdentifier": "service"})
    for path in ("/v1/blueprints/service/entities/cart", "/v1/blueprints/service"):
        assert (await product.api.delete(path)).status_code == 200
    [run] = await of(product)
    assert run["status"] == "SUCCESS"
    assert run["payload"]["body"]["event"]["diff"]["before"]["identifier"] == "cart"


async def test_an_automation_on_an_action_that_is_not_there_waits_for_one(product: Product) -> None:
    await automation(product, event={"type": "RUN_CREATED", "actionIdentifier": "deploy"})
    await product.action("deploy")
    started = await product.start("deploy")
    [run] = await of(product)
    event = run["payload"]["body"]["event"]
    assert event["diff"]["after"]["id"] == started["id"]
    assert event["context"]["action"]["identifier"] == "deploy"
    assert "interlock" not in event["diff"]["after"]


async def test_a_run_executes_the_version_that_it_was_made_of(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    async with running(clock, evaluate, sqlite_url, worker=False) as product:
        relay = product.automations(evaluate)
        await product.entity("first")
        document = await automation(product)
        await product.entity("second")
        while await relay.once():
            pass
        method = {**document["invocationMethod"], "url": f"{product.backend.url}/other"}
        answer = await product.api.put("/v1/actions/told", json={**document, "invocationMethod": method})
        assert answer.status_code == 200, answer.text
        await product.entity("third")
        while await relay.once():
            pass
        found = (await product.api.get("/v1/actions/runs", params={"action": "told"})).json()["runs"]
        told = {run["payload"]["body"]["event"]["context"]["entityIdentifier"]: run for run in found}
        assert {name: run["interlock"]["actionVersion"] for name, run in told.items()} == {"second": 1, "third": 2}
        assert told["second"]["payload"]["url"].endswith("/hook")
        async with running(clock, evaluate, sqlite_url) as working:
            for run in found:
                assert (await working.until(run["id"]))["status"] == "SUCCESS"
        called = {call.json["event"]["context"]["entityIdentifier"]: call.path for call in product.backend.calls}
        assert called == {"second": "/hook", "third": "/other"}, "it waited for a worker while it was replaced"


async def test_a_definition_that_cannot_be_read_any_more_stops_no_other(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    async with running(clock, evaluate, sqlite_url, worker=False) as product:
        await product.entity("first")
        broken = await automation(product, "broken")
        await automation(product)
        async with product.database.write() as session:
            row = await session.get(ActionVersionRow, (broken["id"], 1))
            assert row is not None
            document: Any = row.document
            row.document = {**document, "document": {**document["document"], "trigger": {"type": "of old"}}}
            session.add(row)
        actions._versions.clear()
        await product.entity("second")
        relay = product.automations(evaluate)
        while await relay.once():
            pass
        async with product.database.read() as session:
            assert len(list(await session.exec(select(FiringRow.run_id)))) == 1
