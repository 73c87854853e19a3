"""People and teams written by their own routes and as entities, all at once on PostgreSQL: nobody waits in a circle."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from store import people_lock
from store.catalog_tables import EntityRow
from store.database import Database, Raced
from store.tables import TeamRow, UserRow
from tests.api.answers import Json, granted
from tests.support.product import Product, running

PEOPLE = [f"{name}@x.io" for name in ("ada", "bob", "cyd", "dan", "eve", "fay")]
TEAMS = ["api", "data", "ops", "sre", "web"]
USERS, OF_TEAMS, SERVICES = (f"/v1/blueprints/{name}/entities" for name in ("_user", "_team", "service"))
UPSERT = {"upsert": "true", "merge": "true"}
AT_ONCE, WRITES = 12, 48

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

Ask = tuple[str, str, Json, dict[str, str]]
"""Method, path, body and query."""


@pytest.fixture
async def product(clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str) -> AsyncIterator[Product]:
    """The product with people, teams, and services that they own."""
    async with running(clock, evaluate, database_url, worker=False) as product:
        for name in TEAMS:
            granted(await product.api.post("/v1/teams", json={"name": name}), "team")
        for number, email in enumerate(PEOPLE):
            invitee = {"email": email, "teams": [TEAMS[number % len(TEAMS)]]}
            assert (await product.api.post("/v1/users/invite", json={"invitee": invitee})).status_code == 200
        service: Json = {
            "identifier": "service",
            "schema": {"properties": {}},
            "relations": {"owner": {"target": "_user"}, "by": {"target": "_team", "many": True}},
        }
        assert (await product.api.post("/v1/blueprints", json=service)).status_code == 201
        yield product


@pytest.fixture
def raced(monkeypatch: pytest.MonkeyPatch) -> list[Raced]:
    """Each time that a transaction had to be done again, because of a deadlock for instance."""
    seen: list[Raced] = []
    write = Database.write

    @asynccontextmanager
    async def watched(self: Database, **how: bool) -> AsyncIterator[AsyncSession]:
        try:
            async with write(self, **how) as session:
                yield session
        except Raced as again:
            seen.append(again)
            raise

    monkeypatch.setattr(Database, "write", watched)
    return seen


def _writes() -> Iterator[Ask]:
    """Writes from both sides, each time of another person and another team."""
    for turn in itertools.count():
        email, team = PEOPLE[turn % len(PEOPLE)], TEAMS[turn % len(TEAMS)]
        other = TEAMS[(turn * 3 + 1) % len(TEAMS)]
        yield "PATCH", f"/v1/users/{email}", {"teams": [team, other]}, {}
        yield "POST", OF_TEAMS, {"identifier": team, "properties": {"description": f"as an entity {turn}"}}, UPSERT
        yield "PUT", f"/v1/teams/{team}", {"name": team, "users": PEOPLE[turn % 3 :]}, {}
        yield "POST", USERS, {"identifier": email, "title": f"N {turn}", "relations": {"teams": [other]}}, UPSERT
        yield "PATCH", f"/v1/teams/{team}", {"description": f"as a team {turn}"}, {}
        related: Json = {"owner": f"new{turn}@x.io", "by": [team, f"new{turn}"]}
        missing = {**UPSERT, "create_missing_related_entities": "true"}
        yield "POST", SERVICES, {"identifier": f"s{turn}", "relations": related}, missing


async def _all(api: httpx.AsyncClient, asked: Sequence[Ask], raced: list[Raced]) -> list[httpx.Response]:
    """The answers, to so many at once, unless one had to be done again."""
    few = asyncio.Semaphore(AT_ONCE)

    async def ask(method: str, path: str, body: Json, query: dict[str, str]) -> httpx.Response:
        async with few:
            assert raced == []
            return await api.request(method, path, json=body, params=query)

    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(ask(*one)) for one in asked]
    return [one.result() for one in answers]


async def _teams_of_people(api: httpx.AsyncClient) -> dict[str, set[str]]:
    users: list[Json] = granted(await api.get("/v1/users"), "users")
    return {user["email"]: set(user["teams"]) for user in users}


async def test_writers_of_both_sides_do_not_wait_in_a_circle(product: Product, raced: list[Raced]) -> None:
    answers = await _all(product.api, list(itertools.islice(_writes(), WRITES)), raced)
    assert [(one.status_code, one.text) for one in answers if one.status_code not in (200, 201)] == []
    assert raced == []
    of_people = await _teams_of_people(product.api)
    told: list[Json] = granted(await product.api.get(USERS), "entities")
    assert {one["identifier"]: set(one["relations"]["teams"] or ()) for one in told} == of_people
    assert len(of_people) == len(PEOPLE) + WRITES // 6


def _changes_and_deletions() -> Iterator[Ask]:
    """The same by the routes of one entity, which people and teams may leave in the meantime."""
    for turn, first in enumerate(_writes()):
        email, team = PEOPLE[turn % len(PEOPLE)], TEAMS[turn % len(TEAMS)]
        other = TEAMS[(turn * 3 + 1) % len(TEAMS)]
        yield first
        yield "PATCH", f"{USERS}/{email}", {"title": f"P {turn}", "relations": {"teams": [other]}}, {}
        yield "PATCH", f"{OF_TEAMS}/{team}", {"properties": {"description": f"patched {turn}"}}, {}
        if turn % 4 == 3:
            yield "DELETE", f"{OF_TEAMS}/{team}", {}, {}
            yield "POST", "/v1/teams", {"name": team, "users": PEOPLE[:3]}, {}
        if turn % 4 == 1:
            yield "DELETE", f"{USERS}/{email}", {}, {}
            yield "POST", "/v1/users/invite", {"invitee": {"email": email}}, {}


async def test_changes_and_deletions_of_entities_do_not_wait_in_a_circle(product: Product, raced: list[Raced]) -> None:
    answers = await _all(product.api, list(itertools.islice(_changes_and_deletions(), WRITES)), raced)
    # Somebody is gone, or has been invited again already.
    unexpected = [one for one in answers if one.status_code not in (200, 201, 404, 409)]
    assert [(one.status_code, one.text) for one in unexpected] == []
    assert raced == []
    of_people = await _teams_of_people(product.api)
    told: list[Json] = granted(await product.api.get(USERS), "entities")
    assert {one["identifier"]: set(one["relations"]["teams"] or ()) for one in told} == of_people


async def test_who_only_reads_or_relates_to_people_waits_for_nobody(product: Product) -> None:
    related: Json = {"owner": PEOPLE[0], "by": TEAMS}
    missing = {**UPSERT, "create_missing_related_entities": "true"}
    async with product.database.write() as session:
        await people_lock.take(session)
        assert (await product.api.get("/v1/users")).status_code == 200
        assert (await product.api.get(USERS)).status_code == 200
        assert await product.token(product.organization.client_id, product.organization.client_secret)
        service = await product.api.post(SERVICES, json={"identifier": "cart", "relations": related}, params=missing)
        assert service.status_code == 201, service.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", f"/v1/users/{PEOPLE[0]}", {"roles": ["Admin"]}),
        ("POST", f"/v1/rotate-credentials/{PEOPLE[0]}", {}),
        ("PUT", f"/v1/teams/{TEAMS[0]}", {"name": TEAMS[0]}),
        ("POST", USERS, {"identifier": PEOPLE[0], "title": "Ada"}),
        ("POST", OF_TEAMS, {"identifier": "new"}),
        ("POST", SERVICES, {"identifier": "cart", "relations": {"owner": "new@x.io"}}),
    ],
)
async def test_who_writes_people_waits_before_there_is_a_row_to_wait_for(
    product: Product, raced: list[Raced], method: str, path: str, body: Json
) -> None:
    query = {**UPSERT, "create_missing_related_entities": "true"} if path.endswith("/entities") else {}
    async with product.database.write() as session:
        await people_lock.take(session)
        asked = asyncio.ensure_future(product.api.request(method, path, json=body, params=query))
        await asyncio.wait([asked], timeout=0.2)  # it waits for its turn, unless it has not even begun
        assert not asked.done()
        for rows in (EntityRow, UserRow, TeamRow):
            await session.exec(select(rows.id).with_for_update(nowait=True))
    answer = await asked
    assert answer.status_code in (200, 201), answer.text
    assert raced == []
