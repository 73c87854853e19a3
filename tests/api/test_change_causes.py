"""Changes that automations hear of: one for every entity that is written, through whatever door, and who made it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlmodel import col, select

from domain.jq import Evaluator
from runtime.clock import now
from runtime.tokens import Claims, Tokens
from store.tables import ChangeRow
from tests.api.answers import Json, granted
from tests.support.product import Product
from worker.catalog_migrations import CatalogMigrations

AT = "/v1/blueprints"
SERVICES, GROUPS = f"{AT}/service/entities", f"{AT}/group/entities"
HOOK: Json = {
    "identifier": "hook",
    "title": "Hook",
    "enabled": True,
    "mappings": [
        {
            "blueprint": "service",
            "entity": {"identifier": ".body.id", "properties": {"n": ".body.n"}, "relations": {"group": ".body.group"}},
        }
    ],
}
Step = Callable[[], Awaitable[httpx.Response]]


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Services of groups, of which they mirror, calculate and aggregate; pods that must have a service."""
    number = {"type": "number"}
    blueprints: list[Json] = [
        {"identifier": "group", "schema": {"properties": {"n": number}}},
        {
            "identifier": "service",
            "schema": {"properties": {"n": number}},
            "relations": {"group": {"target": "group"}},
            "mirrorProperties": {"of": {"path": "group.n"}},
            "calculationProperties": {"twice": {"type": "number", "calculation": ".properties.n * 2"}},
        },
        {
            "identifier": "pod",
            "schema": {"properties": {}},
            "relations": {"service": {"target": "service", "required": True}},
        },
    ]
    for document in blueprints:
        granted(await product.api.post(AT, json=document), "blueprint", status=201)
    return product


async def recorded(product: Product, kind: str = "entity") -> list[Json]:
    """What was recorded about things of a kind, in order."""
    async with product.database.read() as session:
        rows = await session.exec(
            select(ChangeRow.document).where(ChangeRow.resource_type == kind).order_by(col(ChangeRow.sequence))
        )
        return [dict(row) for row in rows]


def headers(product: Product, run: Json, depth: int) -> dict[str, str]:
    """Those of the backend of a run."""
    organization = product.organization
    claims = Claims(organization.client_id, organization.id, machine=True, run_id=run["id"], depth=depth)
    tokens = Tokens(product.settings.keys.token_keys, product.settings.access_token_lifetime)
    return {"Authorization": f"Bearer {tokens.issue(claims, at=now())}"}


async def test_every_door_tells_of_each_entity_it_writes_and_of_nothing_else(
    catalog: Product, evaluate: Evaluator
) -> None:
    api = catalog.api
    webhook = granted(await api.post("/v1/webhooks", json=HOOK), "integration", status=201)["url"]
    mapping = {"identifier": "u", "properties": {"n": 1}}
    method = {"type": "UPSERT_ENTITY", "blueprintIdentifier": "service", "mapping": mapping}
    await catalog.action("put", invocationMethod=method)
    upsert, missing = {"upsert": True, "merge": True}, {"create_missing_related_entities": True}

    async def run() -> httpx.Response:
        await catalog.until((await catalog.start("put"))["id"], "SUCCESS")
        return await api.get(f"{SERVICES}/u")

    async def emptied(blueprint: str) -> httpx.Response:
        answer = await api.delete(f"{AT}/{blueprint}/all-entities")
        working = CatalogMigrations(catalog.database, now, evaluate)
        while await working.work_once():
            pass
        return answer

    async def without_groups() -> httpx.Response:
        document = granted(await api.get(f"{AT}/service"), "blueprint")
        gone: Json = {"relations": {}, "mirrorProperties": {}, "calculationProperties": {}}
        return await api.put(f"{AT}/service", json={**document, **gone})

    bulk = {"entities": [{"identifier": "a"}, {"identifier": "b", "properties": {"n": 5}}, {"identifier": "c"}]}
    sent = {"id": "w", "n": 1, "group": "g"}
    steps: list[tuple[str, Step, list[str]]] = [
        ("create", lambda: api.post(SERVICES, json={"identifier": "a"}), ["CREATE service a"]),
        ("a no-op", lambda: api.post(SERVICES, json={"identifier": "a"}, params=upsert), []),
        ("upsert", lambda: api.post(SERVICES, json={"identifier": "a", "icon": "X"}, params=upsert),
         ["UPDATE service a"]),
        ("validation only", lambda: api.post(SERVICES, json={"identifier": "z"}, params={"validation_only": True}), []),
        ("created, with what it relates to", lambda: api.post(
            SERVICES, json={"identifier": "b", "relations": {"group": "g"}}, params=missing
        ), ["CREATE group g", "CREATE service b"]),
        ("bulk", lambda: api.post(f"{SERVICES}/bulk", json=bulk, params=upsert),
         ["UPDATE service b", "CREATE service c"]),
        ("the same bulk", lambda: api.post(f"{SERVICES}/bulk", json=bulk, params=upsert), []),
        ("patch", lambda: api.patch(f"{SERVICES}/a", json={"relations": {"group": "g"}}), ["UPDATE service a"]),
        ("mirrored elsewhere", lambda: api.patch(f"{GROUPS}/g", json={"properties": {"n": 7}}), ["UPDATE group g"]),
        ("rename", lambda: api.patch(f"{GROUPS}/g", json={"identifier": "h"}), ["UPDATE group h"]),
        ("what others relate to goes", lambda: api.delete(f"{GROUPS}/h"), ["DELETE group h"]),
        ("incoming webhook", lambda: api.post(webhook, json=sent), ["CREATE group g", "CREATE service w"]),
        ("the same event", lambda: api.post(webhook, json=sent), []),
        ("upsert by a run", run, ["CREATE service u"]),
        ("the same run", run, []),
        ("pod", lambda: api.post(f"{AT}/pod/entities", json={"identifier": "p", "relations": {"service": "u"}}),
         ["CREATE pod p"]),
        ("refused", lambda: api.delete(f"{SERVICES}/u"), []),
        ("delete with dependents", lambda: api.delete(f"{SERVICES}/u", params={"delete_dependents": True}),
         ["DELETE pod p", "DELETE service u"]),
        ("bulk delete", lambda: api.request("DELETE", f"{AT}/service/bulk/entities", json={"entities": ["c", "no"]}),
         ["DELETE service c"]),
        ("a relation of the blueprint goes", without_groups, []),
        ("all entities", lambda: emptied("service"), ["DELETE service a", "DELETE service b", "DELETE service w"]),
    ]  # fmt: skip
    told = len(await recorded(catalog))
    for door, step, expected in steps:
        answer = await step()
        assert answer.status_code < 500, (door, answer.text)
        since = (await recorded(catalog))[told:]
        told += len(since)
        happened = [(one["action"], one["context"]) for one in since if one["status"] == "SUCCESS"]
        said = [f"{action} {context['blueprint']} {context['entity']}" for action, context in happened]
        assert sorted(said) == sorted(expected), (door, answer.text)


async def test_the_changes_of_an_entity_have_one_subject_whatever_it_is_called(catalog: Product) -> None:
    for identifier in ("a", "b"):
        granted(await catalog.api.post(SERVICES, json={"identifier": identifier}), "entity", status=201)
    granted(await catalog.api.patch(f"{SERVICES}/a", json={"identifier": "c"}), "entity")
    assert (await catalog.api.delete(f"{SERVICES}/c")).status_code == 200
    subjects = [(one["context"]["entity"], one["subject"]) for one in await recorded(catalog)]
    assert [name for name, _ in subjects] == ["a", "b", "c", "c"]
    assert len({subject for name, subject in subjects if name != "b"}) == 1
    assert all(subject.startswith("ent_") for _, subject in subjects)


async def test_what_a_backend_writes_says_which_run_made_it_do_so(catalog: Product, held: asyncio.Event) -> None:
    await catalog.action()
    run, other = await catalog.start(), await catalog.start()
    of_run = headers(catalog, run, depth=4)
    webhook = granted(await catalog.api.post("/v1/webhooks", json=HOOK), "integration", status=201)["url"]

    async def cause(answer: httpx.Response) -> tuple[str | None, int, str | None]:
        assert answer.status_code < 300, answer.text
        change = (await recorded(catalog))[-1]
        return change["causedBy"], change["depth"], change["context"].get("runId")

    def put(name: str, **how: Any) -> Awaitable[httpx.Response]:
        return catalog.api.post(SERVICES, json={"identifier": name}, **how)

    assert await cause(await put("alone")) == (None, 0, None)
    assert await cause(await put("tied", params={"run_id": other["id"]})) == (other["id"], 1, other["id"])
    assert await cause(await put("called", headers=of_run)) == (run["id"], 5, None)
    both = await put("both", headers=of_run, params={"run_id": other["id"]})
    assert await cause(both) == (run["id"], 5, other["id"]), "the longer chain counts"
    shallow = await put("shallow", headers=headers(catalog, run, depth=0), params={"run_id": other["id"]})
    assert await cause(shallow) == (run["id"], 1, other["id"])
    deleted = await catalog.api.delete(f"{SERVICES}/tied", headers=of_run)
    assert await cause(deleted) == (run["id"], 5, None)
    answer = await catalog.api.post(webhook, headers=of_run, json={"id": "w", "n": 1})
    assert await cause(answer) == (run["id"], 5, None)
    somebody = {"Authorization": "Bearer nonsense"}
    assert await cause(await catalog.api.post(webhook, headers=somebody, json={"id": "w", "n": 2})) == (None, 0, None)
    held.set()


async def test_people_follow_a_team_because_of_the_run_that_its_entity_was_written_for(
    catalog: Product, held: asyncio.Event
) -> None:
    await catalog.action()
    run = await catalog.start()
    team: Json = {"name": "sre", "description": "d", "users": ["m@x.io", "n@x.io"]}
    for email in team["users"]:
        await catalog.person(email)
    granted(await catalog.api.post("/v1/teams", json=team), "team")
    told = len(await recorded(catalog))
    at, tied = f"{AT}/_team/entities/sre", {"run_id": run["id"]}
    granted(await catalog.api.patch(at, json={"identifier": "ops"}, params=tied), "entity")
    assert (await catalog.api.delete(f"{AT}/_team/entities/ops", params=tied)).status_code == 200
    since = (await recorded(catalog))[told:]
    named = sorted((one["action"], one["context"]["entity"]) for one in since)
    assert named == [
        ("DELETE", "ops"), ("UPDATE", "m@x.io"), ("UPDATE", "m@x.io"), ("UPDATE", "n@x.io"), ("UPDATE", "n@x.io"),
        ("UPDATE", "ops"),
    ]  # fmt: skip
    assert {(one["causedBy"], one["depth"]) for one in since} == {(run["id"], 1)}
    held.set()


async def test_all_entities_go_because_of_the_run_that_it_was_asked_for(
    catalog: Product, evaluate: Evaluator, held: asyncio.Event
) -> None:
    await catalog.action()
    run = await catalog.start()
    granted(await catalog.api.post(SERVICES, json={"identifier": "a"}), "entity", status=201)
    answer = await catalog.api.delete(f"{AT}/service/all-entities", params={"run_id": run["id"]})
    migration = granted(answer, "migrationId")
    working = CatalogMigrations(catalog.database, now, evaluate)
    while await working.work_once():
        pass
    gone = (await recorded(catalog))[-1]
    assert (gone["action"], gone["causedBy"], gone["depth"]) == ("DELETE", run["id"], 1)
    shown = granted(await catalog.api.get(f"/v1/migrations/{migration}"), "migration")
    assert not {"causedBy", "depth", "runId"} & shown.keys()
    held.set()


async def test_a_run_that_another_changes_says_so_and_one_that_reports_about_itself_does_not(catalog: Product) -> None:
    await catalog.action(invocationMethod=catalog.webhook(synchronized=False))
    await catalog.action("asked", requiredApproval=True)
    run, other = await catalog.start(), await catalog.start()
    of_run, asked = headers(catalog, run, depth=2), await catalog.start("asked")
    at = "/v1/actions/runs"

    async def cause(answer: httpx.Response) -> tuple[str, str, int]:
        assert answer.status_code < 300, answer.text
        change = (await recorded(catalog, "run"))[-1]
        return change["context"]["runId"], change["causedBy"], change["depth"]

    async def patch(path: str, body: Json, **how: Any) -> httpx.Response:
        return await catalog.api.patch(f"{at}/{path}", json=body, **how)

    await catalog.backend.called(2)
    alone = await patch(other["id"], {"summary": "1"})
    assert await cause(alone) == (other["id"], other["id"], 1)
    assert await cause(await patch(other["id"], {"summary": "2"}, headers=of_run)) == (other["id"], run["id"], 3)
    own = await patch(run["id"], {"summary": "3"}, headers=headers(catalog, run, depth=0))
    assert await cause(own) == (run["id"], run["id"], 1)
    response = await patch(f"{other['id']}/response", {"response": 1}, headers=of_run)
    assert await cause(response) == (other["id"], run["id"], 3)
    last = {"message": "done", "terminationStatus": "SUCCESS"}
    ended = await catalog.api.post(f"{at}/{other['id']}/logs", json=last, headers=of_run)
    assert await cause(ended) == (other["id"], run["id"], 3)
    approved = await patch(f"{asked['id']}/approval", {"status": "DECLINE"}, headers=of_run)
    assert await cause(approved) == (asked["id"], run["id"], 3)
