"""Writes of people, teams and secrets that wait for others are recorded after them, with times that go forward."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from domain.blueprints import parsed
from domain.entities import Author, Kind
from domain.jq import Evaluator
from domain.runs import Source
from runtime.clock import now
from store import entities, secrets, teams, users
from store.entities import Writer
from tests.api.answers import Json, granted
from tests.support.product import Product, running

ADA, USER, TEAM = "ada@x.io", "/v1/users/ada@x.io", "/v1/teams/sre"
SECRET = "/v1/organization/secrets/TOKEN"
Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


def _ok(answer: httpx.Response) -> Json:
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


async def _while_somebody_writes(product: Product, ask: Ask) -> httpx.Response:
    """The answer to a request that came before somebody else changed the person, the team and the secret."""
    async with product.database.write() as session:
        person = await users.by_email(session, ADA, to_change=True)
        team = await teams.get(session, "sre", to_change=True)
        secret = await secrets.get(session, "TOKEN", to_change=True)
        asked = asyncio.ensure_future(ask(product.api))
        await asyncio.wait([asked], timeout=0.2)  # it waits for its turn, unless it has not even begun
        assert not asked.done()
        at, by = now(), product.organization.client_id
        renamed = team.model_copy(update={"description": "first"})
        await users.replace(session, person, person.revised(at=at, first_name="Ada"), by=by, origin=Source.API)
        await teams.replace(session, team, renamed, None, at=at, by=by, origin=Source.API)
        told = secret.model_copy(update={"description": "first", "updated_at": at})
        await secrets.replace(session, told, None, by=by, origin=Source.API)
    return await asked


@pytest.mark.parametrize(
    ("resource", "ask"),
    [
        pytest.param("user", lambda api: api.patch(USER, json={"roles": ["Admin"]}), id="user patched"),
        pytest.param("user", lambda api: api.post("/v1/rotate-credentials/ada@x.io"), id="credentials rotated"),
        pytest.param("user", lambda api: api.delete(USER), id="user deleted"),
        pytest.param("team", lambda api: api.patch(TEAM, json={"description": "then"}), id="team patched"),
        pytest.param("team", lambda api: api.put(TEAM, json={"name": "sre"}), id="team replaced"),
        pytest.param("team", lambda api: api.delete(TEAM), id="team deleted"),
        pytest.param("secret", lambda api: api.patch(SECRET, json={"secretValue": "2"}), id="secret patched"),
        pytest.param("secret", lambda api: api.delete(SECRET), id="secret deleted"),
    ],
)
async def test_the_newest_record_is_of_the_last_write(product: Product, resource: str, ask: Ask) -> None:
    _ok(await product.api.post("/v1/users/invite", json={"invitee": {"email": ADA}}))
    _ok(await product.api.post("/v1/teams", json={"name": "sre"}))
    made: Json = {"secretName": "TOKEN", "secretValue": "1"}
    _ok(await product.api.post("/v1/organization/secrets", json=made))
    _ok(await _while_somebody_writes(product, ask))
    asked = {"resources": resource, "status": "SUCCESS", "origin": "API"}
    found: list[Json] = granted(await product.api.get("/v1/audit-log", params=asked), "audits")
    for newer, older in pairwise(found):
        assert newer["diff"]["before"] == older["diff"]["after"]
    assert len(found) == 3
    last = found[0]["diff"]["after"]
    assert last is None or last["updatedAt"] >= found[1]["diff"]["after"]["updatedAt"]


@pytest.mark.parametrize(
    ("path", "body", "read"),
    [
        ("/v1/users/invite", {"invitee": {"email": "eve@x.io"}}, "/v1/users/eve@x.io"),
        ("/v1/teams", {"name": "web"}, "/v1/teams/web"),
        ("/v1/organization/secrets", {"secretName": "OTHER", "secretValue": "1"}, "/v1/organization/secrets/OTHER"),
    ],
)
async def test_what_is_made_was_not_there_before_its_turn(product: Product, path: str, body: Json, read: str) -> None:
    async with product.database.write():
        asked = asyncio.ensure_future(product.api.post(path, json=body))
        await asyncio.wait([asked], timeout=0.2)
        turn = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    _ok(await asked)
    answer: Json = _ok(await product.api.get(read))
    [made] = [part for key, part in answer.items() if key != "ok"]
    assert made["createdAt"] >= turn


PLACE = "/v1/blueprints/service/entities/a"


@pytest.fixture
async def stored(clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str) -> AsyncIterator[Product]:
    """A product on each database: on PostgreSQL whoever waits for a row has begun before."""
    async with running(clock, evaluate, database_url, worker=False) as product:
        yield product


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda api: api.patch(PLACE, json={"title": "then"}), id="patched"),
        pytest.param(
            lambda api: api.post(
                "/v1/blueprints/service/entities/bulk?upsert=true",
                json={"entities": [{"identifier": "a", "title": "then"}]},
            ),
            id="upserted",
        ),
        pytest.param(lambda api: api.delete(PLACE), id="deleted"),
    ],
)
async def test_an_entity_that_somebody_else_holds_is_written_after_them(stored: Product, ask: Ask) -> None:
    made: Json = {"identifier": "service", "title": "Service", "schema": {"properties": {}}}
    assert (await stored.api.post("/v1/blueprints", json=made)).status_code == 201
    created = await stored.api.post("/v1/blueprints/service/entities", json={"identifier": "a"})
    assert created.status_code == 201
    async with stored.database.write() as session:
        before = await entities.get(session, "service", "a", to_change=True)
        asked = asyncio.ensure_future(ask(stored.api))
        await asyncio.wait([asked], timeout=0.2)  # PostgreSQL lets it begin, and then wait for the row
        assert not asked.done()
        author = Author("somebody", now(), "tests")
        kind = Kind("service", parsed(made))
        after = before.entity.model_copy(update={"title": "first", "updated_at": author.at})
        await entities.replace(session, kind, before, after, writer=Writer(author, Source.API))
    _ok(await asked)
    found: list[Json] = granted(await stored.api.get("/v1/audit-log", params={"resources": "entity"}), "audits")
    for newer, older in pairwise(found):
        assert newer["diff"]["before"] == older["diff"]["after"]
        assert newer["trigger"]["at"] >= older["trigger"]["at"]
    assert [one["diff"]["before"]["title"] for one in found if one["diff"]["before"]] == ["first", "a"]
    written = [one["diff"]["after"]["updatedAt"] for one in found if one["diff"]["after"]]
    assert written == sorted(written, reverse=True)
