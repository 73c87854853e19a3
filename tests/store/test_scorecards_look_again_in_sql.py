"""Scorecards look at all entities again when a blueprint has changed, in portions, whoever is killed or writes."""

import asyncio
from dataclasses import replace as replaced
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprint_renames import Part, Rename
from domain.blueprints import Blueprint
from domain.catalog_migrations import CatalogMigration, MigrationStatus
from domain.documents import Document
from store import blueprint_renames, blueprints, catalog_migrations, scorecards
from store.catalog_tables import CatalogMigrationRow
from store.database import Database
from tests.store.conftest import AT, no_jq
from tests.store.test_scorecards_in_sql import (
    SERVICE,
    complete,
    define,
    log,
    make_blueprint,
    put,
    rule,
    said,
    shown,
    system,  # noqa: F401 - a fixture
    writer,
)
from worker.catalog_migrations import CatalogMigrations

LATER = AT + timedelta(minutes=1)
EXPIRED: Document = {
    "identifier": "fresh",
    "title": "Fresh",
    "rules": [rule("over", "Gold", {"property": "docs", "operator": "isExpired"})],
}
TIMER = {**SERVICE, "schema": {"properties": {"docs": {"type": "string", "format": "timer"}}}}
"""`docs` of the same entities can expire."""


async def changed(database: Database, document: Any, *, at: Any = LATER) -> None:
    """The blueprint is another one, as after a PUT."""

    async def work(session: AsyncSession) -> None:
        before = await blueprints.get(session, "service", to_change=True)
        after: Blueprint = replaced(make_blueprint(document), updated_at=at)
        await blueprints.replace(session, before, after, origin="API")
        await catalog_migrations.evaluate_anew(session, before, after, writer=writer(at))

    await database.transact(work)


async def migrations(database: Database) -> list[CatalogMigration]:
    async with database.read() as session:
        found = await session.exec(select(CatalogMigrationRow.document))
        each = [CatalogMigration.model_validate(document) for document in found]
    return sorted(each, key=lambda one: (one.created_at, one.id))


async def worked(database: Database) -> None:
    while await CatalogMigrations(database, lambda: LATER, no_jq).work_once():  # each as after a kill
        pass


async def levels(database: Database, *names: str) -> list[str]:
    found = await said(database, *names)
    return [found[name]["fresh"]["level"] for name in names]


@pytest.fixture
async def expiring(system: Database, monkeypatch: pytest.MonkeyPatch) -> Database:  # noqa: F811
    """Five entities, of which a scorecard asks what only a timer can answer."""
    monkeypatch.setattr(catalog_migrations, "EVALUATED", 2)
    for name in "abcde":
        await put(system, name, docs="2020-01-01T00:00:00Z")
    await define(system, EXPIRED)
    assert await levels(system, *"abcde") == ["Basic"] * 5
    return system


async def test_all_entities_are_looked_at_again_in_portions(expiring: Database) -> None:
    await changed(expiring, TIMER)
    before = len(await log(expiring))
    worker = CatalogMigrations(expiring, lambda: LATER, no_jq)
    assert await worker.work_once()
    assert await levels(expiring, *"abcde") == ["Gold", "Gold", "Basic", "Basic", "Basic"]
    await worked(expiring)
    [migration] = await migrations(expiring)
    assert (migration.status, migration.success_count) == (MigrationStatus.COMPLETED, 5)
    assert await levels(expiring, *"abcde") == ["Gold"] * 5
    assert len(await log(expiring)) == before + 5, "automations hear of each result once"


async def test_what_conditions_cannot_see_has_nobody_look_again(expiring: Database) -> None:
    schema = {"properties": {"n": {"type": "number", "title": "N"}, "docs": {"type": "string", "enum": ["x"]}}}
    await changed(expiring, {**SERVICE, "title": "Other", "schema": schema})
    assert await migrations(expiring) == []
    await define(expiring)
    await changed(expiring, TIMER)
    assert await migrations(expiring) == [], "without scorecards there is nothing to say"


async def test_results_that_stay_are_not_written_again(expiring: Database) -> None:
    before = len(await log(expiring))
    await changed(expiring, {**SERVICE, "relations": {}})
    await worked(expiring)
    assert [one.status for one in await migrations(expiring)] == [MigrationStatus.COMPLETED]
    assert len(await log(expiring)) == before


@pytest.mark.parametrize("minutes", [2, 0], ids=["in order", "by a clock that is behind"])
async def test_a_change_on_the_way_is_seen_by_those_that_were_looked_at_before(
    expiring: Database, minutes: int
) -> None:
    await changed(expiring, TIMER)
    assert await CatalogMigrations(expiring, lambda: LATER, no_jq).work_once()
    assert await levels(expiring, *"abcde") == ["Gold", "Gold", "Basic", "Basic", "Basic"]
    again = AT + timedelta(minutes=minutes)
    await changed(expiring, SERVICE, at=again)
    await worked(expiring)
    assert await levels(expiring, *"abcde") == ["Basic"] * 5
    [second] = [one for one in await migrations(expiring) if one.created_at == again]
    assert (second.status, second.success_count) == (MigrationStatus.COMPLETED, 5)


async def test_changes_that_nobody_has_looked_at_yet_are_one(expiring: Database) -> None:
    for document in (TIMER, SERVICE, TIMER):
        await changed(expiring, document)
    await worked(expiring)
    found = [one.status for one in await migrations(expiring)]
    assert sorted(found) == [MigrationStatus.CANCELLED, MigrationStatus.CANCELLED, MigrationStatus.COMPLETED]
    assert await levels(expiring, *"abcde") == ["Gold"] * 5


async def test_a_blueprint_that_is_gone_ends_the_work(expiring: Database) -> None:
    await changed(expiring, TIMER)
    async with expiring.write() as session:
        document = (await session.exec(select(CatalogMigrationRow.document))).one()
        gone = CatalogMigration.model_validate({**document, "sourceBlueprint": "nothing"})
        await catalog_migrations.put(session, gone)
    await worked(expiring)
    assert [one.status for one in await migrations(expiring)] == [MigrationStatus.COMPLETED]


async def test_several_workers_and_writers_come_to_the_same(expiring: Database) -> None:
    names = [f"n{number:02}" for number in range(12)]
    for name in names:
        await put(expiring, name, docs="2020-01-01T00:00:00Z")

    async def work() -> None:
        async with asyncio.timeout(20):
            while any(not one.status.is_terminal for one in await migrations(expiring)):
                if not await CatalogMigrations(expiring, lambda: LATER, no_jq).work_once():
                    await asyncio.sleep(0.01)

    await changed(expiring, TIMER)
    writing = (put(expiring, name, at=LATER, docs="2999-01-01T00:00:00Z") for name in names[::2])
    await asyncio.gather(work(), work(), *writing, changed(expiring, {**TIMER, "relations": {}}))
    await worked(expiring)
    assert await levels(expiring, *names) == ["Basic", "Gold"] * 6


@pytest.mark.parametrize(
    ("part", "old"), [(Part.PROPERTY, "docs"), (Part.RELATION, "of"), (Part.MIRROR, "tier")], ids=str
)
async def test_scorecards_follow_a_key_that_is_renamed(system: Database, part: Part, old: str) -> None:  # noqa: F811
    await put(system, "a", docs="x", other="undeclared")
    about = "relation" if part is Part.RELATION else "property"
    group: Document = {"combinator": "or", "rules": [{about: old, "operator": "isNotEmpty"}]}
    empty: Document = {"property": "n", "operator": "isEmpty"}
    query: Document = {"combinator": "and", "conditions": [empty, group]}
    scorecard: Document = {"identifier": "s", "title": "S", "filter": query, "rules": [rule("r", "Gold", group)]}
    untouched: Document = {"identifier": "t", "title": old, "rules": [rule(old, "Gold", empty)]}
    await define(system, scorecard, untouched, complete=complete)
    before = await said(system, "a")

    async def work(session: AsyncSession) -> None:
        await blueprint_renames.rename(
            session, "service", Rename(part, old, "renamed"), by="user_2", at=LATER, origin="API"
        )

    await system.transact(work)
    async with system.read() as session:
        one, other = await scorecards.listed(session, "service")
    renamed: Document = {"combinator": "or", "rules": [{about: "renamed", "operator": "isNotEmpty"}]}
    assert one.document["rules"] == [rule("r", "Gold", renamed)]
    assert one.document["filter"] == {"combinator": "and", "conditions": [empty, renamed]}
    assert (one.updated_at, one.updated_by, other.updated_by) == (LATER, "user_2", "user_1")
    assert other.document == untouched
    kinds = [
        (change["action"], change["context"]["scorecard"])
        for change in await log(system, kind="scorecard", blueprint="service")
    ]
    assert kinds[-1] == ("UPDATE", "s")
    assert len(kinds) == 3
    told = (await shown(system, "_rule"))["service:s:r"].properties["query"]
    assert told == {"combinator": "and", "conditions": [renamed]}
    if part is not Part.MIRROR:  # of which `complete` told tales
        await worked(system)
        assert await said(system, "a") == before
