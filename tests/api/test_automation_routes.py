"""Automations over HTTP: what is refused and warned of, pausing, simulating, explaining and replaying."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select
from temporalio.testing import WorkflowEnvironment

from domain.automations import Outcome, run_id_of
from domain.changes import Change, Happening
from domain.jq import Evaluator
from domain.runs import PLATFORM, Source
from runtime.clock import now
from runtime.jq_pool import JqPool, Limits
from store import actions, changes
from store.automation_tables import FiringRow, PendingChangeRow
from store.tables import ActionRow
from tests.api.answers import INSTANT, Json, granted, refused
from tests.support.product import Product, running

SERVICE: Json = {"type": "ANY_ENTITY_CHANGE", "blueprintIdentifier": "service"}
LONG_AGO = "2020-01-01T00:00:00Z"


def automation(product: Product, *expressions: str, event: Json | None = None, **more: Any) -> Json:
    """A published automation that calls the backend; it listens to entities of `service` unless told otherwise."""
    condition = {"condition": {"type": "JQ", "expressions": list(expressions)}} if expressions else {}
    return {
        "identifier": "notify",
        "trigger": {"type": "automation", "event": event or SERVICE, **condition},
        "invocationMethod": product.webhook(body={"name": "{{ .event.diff.after.identifier }}"}),
        "publish": True,
        **more,
    }


async def created(product: Product, document: Json) -> Json:
    action: Json = granted(await product.api.post("/v1/actions", json=document), "action")
    return action


async def events_of(product: Product, query: str = "resources=entity&blueprint=service") -> list[str]:
    """The ids of changes, oldest first."""
    audits = granted(await product.api.get(f"/v1/audit-log?{query}"), "audits")
    return [one["identifier"] for one in audits][::-1]


async def simulated(product: Product, identifier: str = "notify", **body: Any) -> Json:
    answer = await product.api.post(f"/v1/actions/{identifier}/simulate", json=body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert found.pop("ok") is True
    return found


async def explained(product: Product, event: str, **how: Any) -> list[Json]:
    answer = await product.api.get(f"/v1/audit-log/{event}/automations", **how)
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["automations"]
    return found


async def firings(product: Product) -> list[FiringRow]:
    async with product.database.read() as session:
        return list(await session.exec(select(FiringRow).order_by(col(FiringRow.at))))


async def pending(product: Product) -> list[PendingChangeRow]:
    async with product.database.read() as session:
        return list(await session.exec(select(PendingChangeRow).order_by(col(PendingChangeRow.id))))


async def settled(product: Product, count: int) -> list[FiringRow]:
    """The firings, once there are as many and nothing is pending."""
    async with asyncio.timeout(20):
        while len(found := await firings(product)) < count or await pending(product):
            await asyncio.sleep(0.02)
    return found


async def paused(product: Product, action_id: str, reason: str = "too much") -> Json:
    told = {"reason": reason, "at": "2026-01-02T03:04:05.678Z", "runId": None}
    async with product.database.write() as session:
        assert await actions.pause(session, action_id, dict(told))
    return told


@pytest.fixture
async def quiet(clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    """The product without workers: changes stay pending."""
    async with running(clock, evaluate, sqlite_url, worker=False) as product:
        yield product


# Conditions


@pytest.mark.parametrize(
    "fault", ["(", "", ".a |", "nothing(.)", "$unknown", ". as [", "def f: 1;", ") | (", '"', "if . then", "env |"]
)
async def test_a_condition_that_does_not_compile_is_refused_by_name(product: Product, fault: str) -> None:
    document = automation(product, ".diff.after != null", fault)
    words = ("trigger.condition.expressions[1]", "does not compile")
    message = refused(await product.api.post("/v1/actions", json=document), 422, "invalid_request", *words)
    assert "expressions[0]" not in message
    await created(product, automation(product))
    refused(await product.api.put("/v1/actions/notify", json=document), 422, "invalid_request", *words)
    assert granted(await product.api.get("/v1/actions/notify"), "action")["trigger"] == automation(product)["trigger"]


@pytest.mark.parametrize(
    "expression",
    [
        ".diff.after.properties.a | length > keys[0]",
        'error("the program does not compile: no")',
        "[recurse(.)] | last",
        "def f: f; f",
        ".a # a comment",
        "def f: .a; f == 1",
        ".a as $x | $x, 1",
        "null | keys",
        "empty",
    ],
)
async def test_what_a_condition_makes_of_an_event_is_not_asked_when_it_is_written(
    product: Product, expression: str
) -> None:
    action = await created(product, automation(product, expression))
    assert action["trigger"]["condition"]["expressions"] == [expression]


async def test_many_faults_are_told_up_to_a_number(product: Product) -> None:
    message = refused(
        await product.api.post("/v1/actions", json=automation(product, *["("] * 50)), 422, "invalid_request"
    )
    assert "expressions[19]" in message
    assert "expressions[20]" not in message
    assert message.endswith("and 30 more")


# Cycles


async def test_publishing_what_can_trigger_itself_answers_with_the_cycle(product: Product) -> None:
    method = {"type": "UPSERT_ENTITY", "blueprintIdentifier": "service", "mapping": {"identifier": "x"}}
    draft = automation(product, invocationMethod=method, publish=False)
    await created(product, draft)
    answer = await product.api.put("/v1/actions/notify", json=draft | {"publish": True})
    assert answer.status_code == 200
    assert answer.json()["warnings"] == [
        "this automation can trigger itself, unless a condition stops it: "
        "notify -> writes service -> ANY_ENTITY_CHANGE -> notify"
    ]
    await product.action("deploy", invocationMethod=product.webhook(url="http://interlock.test/v1/actions/more/runs"))
    await product.action("more", invocationMethod=method | {"blueprintIdentifier": "team"})
    starts = automation(
        product,
        identifier="starts",
        event={"type": "ENTITY_CREATED", "blueprintIdentifier": "team"},
        invocationMethod=product.webhook(url="http://interlock.test/v1/actions/deploy/runs"),
    )
    answer = await product.api.post("/v1/actions", json=starts)
    [warning] = answer.json()["warnings"]
    assert warning.endswith(": starts -> starts -> deploy -> starts -> more -> writes team -> ENTITY_CREATED -> starts")
    assert "warnings" not in (await product.api.put("/v1/actions/starts", json=starts | {"publish": False})).json()


# Pausing


async def test_a_paused_automation_says_so_until_it_is_resumed(product: Product) -> None:
    action = await created(product, automation(product))
    assert "paused" not in action
    told = await paused(product, action["id"])
    async with product.database.write() as session:
        assert not await actions.pause(session, action["id"], {**told, "reason": "another"})
    assert granted(await product.api.get("/v1/actions/notify"), "action") == {**action, "paused": told}
    listed = {**action, "title": "notify", "paused": told}  # lists title all actions
    assert granted(await product.api.get("/v1/actions"), "actions") == [listed]

    again = granted(await product.api.put("/v1/actions/notify", json=action | {"paused": told, "title": "N"}), "action")
    assert (again["paused"], again["title"]) == (told, "N"), "a PUT does not resume it"
    await product.entity("unheard")

    resumed = granted(await product.api.post("/v1/actions/notify/resume"), "action")
    assert "paused" not in resumed
    assert granted(await product.api.get("/v1/actions/notify"), "action") == resumed
    assert granted(await product.api.post("/v1/actions/notify/resume"), "action") == resumed, "that changes nothing"

    audits = granted(await product.api.get("/v1/audit-log?resources=action&action=UPDATE"), "audits")
    of_pauses = [[one["diff"][side].get("paused") for side in ("before", "after")] for one in audits]
    assert of_pauses == [[told, None], [told, told], [None, told]]
    assert [one["trigger"]["origin"] for one in audits] == ["API", "API", "AUTOMATION"]
    assert audits[2]["trigger"]["at"] == told["at"]

    await product.entity("heard")
    [fired] = await settled(product, 1)
    assert (await product.until(fired.run_id or ""))["payload"]["body"] == {"name": "heard"}


async def test_only_automations_resume_and_only_admins_do_it(product: Product) -> None:
    await product.action()
    refused(await product.api.post("/v1/actions/deploy/resume"), 422, "invalid_request", "self-service")
    refused(await product.api.post("/v1/actions/none/resume"), 404, "not_found")
    member = await product.person("ada@example.com")
    for path, body in (("resume", None), ("simulate", {}), ("replay", {"from": LONG_AGO})):
        answer = await product.api.post(f"/v1/actions/deploy/{path}", json=body, headers=member)
        refused(answer, 403, "missing_permissions", "Admins")
    failures = granted(await product.api.get("/v1/audit-log?status=FAILURE&resources=action"), "audits")
    assert [one["context"] for one in failures] == [{"action": name} for name in ("deploy", "deploy", "none", "deploy")]


# Simulating


async def test_a_simulation_says_what_would_fire_and_what_would_be_sent_without_any_effect(product: Product) -> None:
    await product.entity("cart", properties={})
    await product.entity("till", title="Till")
    await product.entity("rocket", blueprint="other")
    created_cart, created_till = await events_of(product)
    draft = automation(product, '.diff.after.identifier == "till"', "1 / .nothing", publish=False)
    draft["trigger"]["condition"]["combinator"] = "or"
    draft["invocationMethod"]["headers"] = {"key": "{{ .secrets.KEY }}"}
    found = await simulated(product, "not-saved", definition=draft | {"identifier": "not-saved"})
    assert {key: found[key] for key in ("fired", "examined")} == {"fired": 1, "examined": 2}
    till, cart = found["results"]
    assert INSTANT.fullmatch(till["at"])
    assert {key: till[key] for key in ("event", "resourceType", "action", "context", "fires", "warnings")} == {
        "event": created_till,
        "resourceType": "entity",
        "action": "CREATE",
        "context": {"blueprint": "service", "entity": "till", "runId": None},
        "fires": True,
        "warnings": [],
    }
    assert till["payload"]["body"] == {"name": "till"}
    assert till["payload"]["headers"] == {"key": "********"}
    assert till["expressions"][0] == {
        "expression": '.diff.after.identifier == "till"', "value": True, "error": None, "holds": True
    }  # fmt: skip
    assert "cannot be divided" in till["expressions"][1]["error"]
    assert (cart["event"], cart["fires"], "payload" in cart) == (created_cart, False, False)
    assert "is false" in cart["why"]

    refused(await product.api.get("/v1/actions/not-saved"), 404, "not_found")
    assert product.backend.calls == []
    assert granted(await product.api.get("/v1/actions/runs"), "runs") == []
    assert await firings(product) == []
    assert await pending(product) == []


async def test_a_simulation_can_be_of_a_span_of_some_events_or_of_few(product: Product) -> None:
    await created(product, automation(product, publish=False))
    for name in ("a", "b", "c"):
        await product.entity(name)
    await product.entity("x", blueprint="other")
    ids = await events_of(product)
    [other] = await events_of(product, "resources=entity&blueprint=other")

    async def told(**body: Any) -> list[str]:
        return [one["event"] for one in (await simulated(product, **body))["results"]]

    assert await told() == ids[::-1]
    assert await told(limit=1) == ids[2:]
    assert await told(events=[ids[0], ids[2]]) == [ids[2], ids[0]]
    assert await told(**{"to": LONG_AGO}) == []
    at = (await simulated(product, events=[ids[1]]))["results"][0]["at"]
    assert ids[1] in await told(**{"from": at, "to": at})
    [elsewhere] = (await simulated(product, events=[other]))["results"]
    assert elsewhere["fires"] is False
    assert "does not mean this change" in elsewhere["why"]


async def test_what_cannot_be_sent_is_told_instead(product: Product) -> None:
    await product.entity()
    method = product.webhook(body={"a": "{{ .event | }}"}, headers={})
    broken = automation(product, invocationMethod=method)
    [result] = (await simulated(product, definition=broken))["results"]
    assert result["payload"]["body"] == {"a": None}
    assert "does not compile" in result["warnings"][0]
    endless = automation(product, invocationMethod=product.webhook(url="{{ .event.context }}"))
    [result] = (await simulated(product, definition=endless))["results"]
    assert "invocationMethod.url" in result["error"]
    assert "payload" not in result


async def test_run_events_are_simulated_with_the_definition_that_ran(product: Product) -> None:
    await product.action(title="Deploy it")
    run = await product.start()
    await product.until(run["id"])
    event = {"type": "RUN_CREATED", "actionIdentifier": "deploy"}
    body = {"title": "{{ .event.context.action.title }}", "status": "{{ .event.diff.after.status }}"}
    listens = automation(product, event=event, invocationMethod=product.webhook(body=body))
    [result] = (await simulated(product, definition=listens))["results"]
    assert result["resourceType"] == "run"
    assert result["payload"]["body"] == {"title": "Deploy it", "status": "IN_PROGRESS"}


async def test_timers_are_simulated_by_their_property(product: Product) -> None:
    expired = Change(
        id="event_1",
        resource_type="entity",
        action=Happening.TIMER_EXPIRED,
        at=now(),
        by=PLATFORM,
        origin=Source.API,
        context={"blueprint": "service", "entity": "cart", "property": "ttl"},
        before=None,
        after={"identifier": "cart", "properties": {"ttl": "2020-01-01T00:00:00+02:00"}},
        subject="entity_1",
    )
    async with product.database.write() as session:
        await changes.append(session, expired)
    event = {"type": "TIMER_PROPERTY_EXPIRED", "blueprintIdentifier": "service", "propertyIdentifier": "ttl"}
    [result] = (await simulated(product, definition=automation(product, event=event)))["results"]
    assert (result["action"], result["fires"]) == ("TIMER_EXPIRED", True)
    other = automation(product, event=event | {"propertyIdentifier": "other"})
    assert (await simulated(product, definition=other))["results"] == []


async def test_a_simulation_ends_when_its_condition_overruns_again_and_again(
    clock: WorkflowEnvironment, sqlite_url: str
) -> None:
    async with (
        JqPool(size=1, limits=Limits(seconds=0.3)) as impatient,
        running(clock, impatient, sqlite_url, worker=False) as product,
    ):
        for i in range(5):
            await product.entity(f"e{i}")
        endless = automation(product, "def f: f; f")
        found = await simulated(product, definition=endless)
    assert found["examined"] == 3
    assert found["fired"] == 0
    assert "3 times in a row" in found["stopped"]
    assert "has no value" in found["results"][0]["why"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"limit": 0}, ("limit",)),
        ({"limit": 501}, ("limit",)),
        ({"limit": "5"}, ("limit",)),
        ({"from": "yesterday"}, ("from",)),
        ({"since": LONG_AGO}, ("since",)),
        ({"events": ["x"] * 501}, ("events",)),
        ({"definition": {"identifier": "x"}}, ("trigger",)),
    ],
)
async def test_what_cannot_be_simulated_is_refused_by_name(product: Product, body: Json, words: tuple[str]) -> None:
    await created(product, automation(product))
    refused(await product.api.post("/v1/actions/notify/simulate", json=body), 422, "invalid_request", *words)


async def test_only_what_listens_to_changes_is_simulated_or_replayed(product: Product) -> None:
    await product.action()
    await created(product, automation(product, event={"type": "SCHEDULE", "cron": "0 8 * * 1-5"}, identifier="daily"))
    for path, body in (("simulate", {}), ("replay", {"from": LONG_AGO})):
        for identifier, word in (("deploy", "self-service"), ("daily", "SCHEDULE")):
            answer = await product.api.post(f"/v1/actions/{identifier}/{path}", json=body)
            refused(answer, 422, "invalid_request", word)
        refused(await product.api.post(f"/v1/actions/none/{path}", json=body), 404, "not_found")
    missing = await product.api.post(
        "/v1/actions/daily/simulate", json={"definition": automation(product), "events": ["event_x"]}
    )
    refused(missing, 404, "not_found", "event_x")


# Explaining


async def test_an_explanation_has_everybody_who_listens_and_why(product: Product) -> None:
    action = await created(product, automation(product, '.diff.after.identifier == "cart"'))
    await created(product, automation(product, '.action == "DELETE"', identifier="later"))
    await created(product, automation(product, identifier="draft", publish=False))
    await created(product, automation(product, identifier="elsewhere", event=SERVICE | {"blueprintIdentifier": "b"}))
    await product.entity()
    [fired] = await settled(product, 1)
    [event] = await events_of(product)
    await created(product, automation(product, identifier="young"))

    answer = (await product.api.get(f"/v1/audit-log/{event}/automations")).json()
    assert (answer["ok"], answer["event"]["id"]) == (True, event)
    assert answer["event"]["context"]["entityIdentifier"] == "cart"
    draft, later, notify, young = answer["automations"]
    assert notify == {
        "identifier": "notify",
        "version": 1,
        "outcome": "run",
        "runId": run_id_of(event, action["id"]),
        "fired": True,
        "why": notify["why"],
        "expressions": [
            {"expression": '.diff.after.identifier == "cart"', "value": True, "error": None, "holds": True}
        ],
        "publishedThen": True,
    }
    assert fired.run_id == notify["runId"]
    assert "is true" in notify["why"]
    assert (later["fired"], later["outcome"], later["publishedThen"]) == (False, None, True)
    assert later["expressions"][0]["value"] is False
    assert "is false" in later["why"]
    for one in (draft, young):
        assert (one["fired"], one["publishedThen"], one["runId"]) == (False, False, None)
        assert "did not listen when this happened" in one["why"]


async def test_the_version_that_listened_then_is_the_one_that_is_judged(product: Product) -> None:
    first = automation(product, '.action == "DELETE"')
    await created(product, first)
    await product.entity()
    [event] = await events_of(product)
    async with asyncio.timeout(20):
        while await pending(product):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.002)
    granted(await product.api.put("/v1/actions/notify", json=automation(product)), "action")
    [told] = await explained(product, event)
    assert (told["version"], told["fired"]) == (1, False)
    assert "DELETE" in told["why"]


async def test_what_is_pending_or_paused_is_said(quiet: Product) -> None:
    action = await created(quiet, automation(quiet))
    await quiet.entity()
    [event] = await events_of(quiet)
    [told] = await explained(quiet, event)
    assert (told["fired"], told["why"]) == (False, "It has still to be asked")
    reason = await paused(quiet, action["id"])
    async with quiet.database.write() as session:
        for row in await session.exec(select(PendingChangeRow)):
            await session.delete(row)
    [told] = await explained(quiet, event)
    assert told["paused"] == reason
    assert "paused" in told["why"]


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.RUN])
async def test_every_outcome_has_its_words(quiet: Product, outcome: Outcome) -> None:
    action = await created(quiet, automation(quiet))
    await quiet.entity()
    [event] = await events_of(quiet)
    async with quiet.database.write() as session:
        for replay in ("", "replay_1"):
            session.add(
                FiringRow(
                    change_id=event, action_id=action["id"], replay=replay, outcome=outcome, subject="s", at=now()
                )
            )
    told, again = await explained(quiet, event)
    assert (told["outcome"], told["fired"], told["version"]) == (outcome, False, 1)
    assert told["why"] != "It ran"
    assert {**told, "replay": "replay_1"} == again
    granted_answer = await quiet.api.delete("/v1/actions/notify")
    assert granted_answer.status_code == 200
    gone, _ = await explained(quiet, event)
    assert (gone["identifier"], gone["outcome"]) == ("notify", outcome)


async def test_nobody_learns_of_what_they_may_not_see(product: Product) -> None:
    refused(await product.api.get("/v1/audit-log/event_none/automations"), 404, "not_found")
    await created(product, automation(product, identifier="open"))
    await created(product, automation(product, identifier="closed", allowAnyoneToViewRuns=False))
    await created(product, automation(product, '.action == "DELETE"', identifier="shut", allowAnyoneToViewRuns=False))
    await product.entity()
    await settled(product, 2)
    [event] = await events_of(product)
    secret = granted(
        await product.api.post("/v1/organization/secrets", json={"secretName": "K", "secretValue": "x"}), "secret"
    )
    assert secret["secretName"] == "K"
    [hidden] = await events_of(product, "resources=secret")
    member = await product.person("ada@example.com")
    assert [one["identifier"] for one in await explained(product, event)] == ["closed", "open", "shut"]
    assert [one["identifier"] for one in await explained(product, event, headers=member)] == ["open"]
    assert await explained(product, hidden) == []
    refused(await product.api.get(f"/v1/audit-log/{hidden}/automations", headers=member), 404, "not_found")


# Replaying


async def replayed(product: Product, **body: Any) -> Json:
    found: Json = granted(
        await product.api.post("/v1/actions/notify/replay", json={"from": LONG_AGO, **body}), "replay", status=202
    )
    return found


async def test_a_replay_makes_the_runs_that_were_missed_and_no_other(product: Product) -> None:
    await product.entity("early")
    action = await created(product, automation(product, '.diff.after.identifier != "other"'))
    await product.entity("late")
    await product.entity("other")
    first, second, _ = await events_of(product)
    await settled(product, 1)

    replay = await replayed(product)
    assert replay["changes"] == 2, "one has fired already"
    assert replay["id"].startswith("replay_")
    rows = await settled(product, 2)
    assert {row.run_id for row in rows} == {run_id_of(event, action["id"]) for event in (first, second)}
    assert {row.replay for row in rows} == {""}

    audits = granted(await product.api.get("/v1/audit-log?resources=action&action=UPDATE"), "audits")
    [record] = [one for one in audits if one["diff"]["before"] is None]
    told = record["diff"]["after"]["replay"]
    assert told == {
        "id": replay["id"],
        "from": "2020-01-01T00:00:00.000Z",
        "to": told["to"],
        "again": False,
        "changes": 2,
    }
    assert record["context"] == {"action": "notify"}

    again = await replayed(product, again=True)
    assert again["changes"] == 3
    rows = [row for row in await settled(product, 4) if row.replay]
    assert {row.replay for row in rows} == {again["id"]}
    assert {row.run_id for row in rows} == {run_id_of(event, action["id"], again["id"]) for event in (first, second)}
    for row in await firings(product):
        assert (await product.until(row.run_id or ""))["status"] == "SUCCESS"
    assert [one["fired"] for one in await explained(product, first)] == [True, True]


async def test_a_replay_keeps_the_order_and_the_subject_of_changes(quiet: Product) -> None:
    action = await created(quiet, automation(quiet))
    for name in ("a", "b"):
        await quiet.entity(name)
    assert (await quiet.api.patch("/v1/blueprints/service/entities/a", json={"title": "A"})).status_code == 200
    before = await pending(quiet)
    assert len(before) == 3
    assert (await replayed(quiet))["changes"] == 3
    rows = [row for row in await pending(quiet) if row.action_id]
    assert [(row.change_id, row.subject) for row in rows] == [(row.change_id, row.subject) for row in before]
    assert {(row.action_id, row.replay) for row in rows} == {(action["id"], "")}
    assert (await replayed(quiet))["changes"] == 0, "they are pending already"
    assert (await replayed(quiet, again=True))["changes"] == 3

    at = (await simulated(quiet, events=[before[1].change_id]))["results"][0]["at"]
    assert (await replayed(quiet, again=True, **{"from": at}))["changes"] >= 2
    assert (await replayed(quiet, again=True, to=LONG_AGO))["changes"] == 0


async def test_a_replay_of_runs_is_by_their_action(quiet: Product) -> None:
    await quiet.action()
    run = await quiet.start()
    await created(quiet, automation(quiet, event={"type": "ANY_RUN_CHANGE", "actionIdentifier": "deploy"}))
    assert (await replayed(quiet))["changes"] == 1
    [row] = await pending(quiet)
    assert row.subject == run["id"]


async def test_what_does_not_listen_is_not_replayed(quiet: Product) -> None:
    action = await created(quiet, automation(quiet, publish=False))
    path = "/v1/actions/notify/replay"
    refused(await quiet.api.post(path, json={"from": LONG_AGO}), 422, "invalid_request", "not published")
    granted(await quiet.api.put("/v1/actions/notify", json=automation(quiet)), "action")
    await paused(quiet, action["id"])
    refused(await quiet.api.post(path, json={"from": LONG_AGO}), 422, "invalid_request", "paused", "resume")
    granted(await quiet.api.post("/v1/actions/notify/resume"), "action")
    for body, word in (
        ({}, "from"),
        ({"from": "2999-01-01T00:00:00Z"}, "from"),
        ({"from": LONG_AGO, "to": "2019-01-01T00:00:00Z"}, "from"),
        ({"from": LONG_AGO, "again": "maybe"}, "again"),
        ({"from": LONG_AGO, "limit": 1}, "limit"),
    ):
        refused(await quiet.api.post(path, json=body), 422, "invalid_request", word)
    assert await pending(quiet) == []


# Since when an automation listens


async def test_an_automation_listens_from_when_it_is_published_until_its_event_changes(quiet: Product) -> None:
    async def since() -> int | None:
        async with quiet.database.read() as session:
            return (await session.exec(select(ActionRow.listening_since))).one()

    async def put(document: Json) -> None:
        granted(await quiet.api.put("/v1/actions/notify", json=document), "action")

    listens = automation(quiet)
    await created(quiet, listens | {"publish": False})
    assert await since() is None
    await put(listens)
    first = await since()
    assert first is not None
    await put(listens | {"title": "Another"})
    assert await since() == first, "it listens to the same as before"
    await put(automation(quiet, event={"type": "ENTITY_CREATED", "blueprintIdentifier": "service"}))
    second = await since()
    assert second is not None
    assert second > first + 1, "the version in between was noticed by others, too"
    await put(listens | {"publish": False})
    assert await since() is None
    await put(listens)
    third = await since()
    assert third is not None
    assert third > second
    async with quiet.database.write() as session:
        action, _ = await actions.get(session, "notify")
        assert await actions.pause(session, action.id, {"reason": "x", "at": "2026-01-02T03:04:05Z", "runId": None})
        assert await actions.resume(session, action.id, by="x", at=now() + timedelta(0), origin=Source.API)
    resumed = await since()
    assert resumed is not None
    assert resumed > third, "what happened while it was paused is none of its business"
