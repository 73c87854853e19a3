"""Scorecards in SQL: results follow entities and definitions in their transactions, whoever writes at once."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.blueprints import Blueprint, BlueprintId
from domain.candidates import as_stored
from domain.documents import Document
from domain.entities import Author, Entity, EntityRequest, Kind, Writing, changed, created
from domain.errors import IdentifierTaken, InterlockError, NotFound
from domain.identifiers import new
from domain.scorecard_blueprints import SCORECARD_BLUEPRINTS, named
from domain.scorecards import Scorecard, ScorecardId, evaluated, parsed, revised
from store import blueprints, entities, scorecards
from store.catalog_tables import ScorecardResultRow, ScorecardRow
from store.database import Database
from store.entities import Writer
from store.tables import ChangeRow
from tests.store.conftest import AT, never

SERVICE: Document = {
    "identifier": "service",
    "schema": {"properties": {"n": {"type": "number"}, "docs": {"type": "string"}}},
    "mirrorProperties": {"tier": {"path": "of.n"}},
    "relations": {"of": {"target": "service"}},
}


def make_blueprint(document: Document) -> Blueprint:
    return Blueprint(BlueprintId(str(document["identifier"])), document, AT, "user_1", AT, "user_1")


BLUEPRINT = make_blueprint(SERVICE)
KIND = Kind("service", BLUEPRINT.definition)


def writer(at: datetime = AT) -> Writer:
    return Writer(Author("user_1", at, "port-ocean/github/1.0/x/exporter"), "API")


def rule(identifier: str, level: str, *conditions: Document, title: str = "") -> Document:
    return {
        "identifier": identifier,
        "title": title or identifier,
        "level": level,
        "query": {"combinator": "and", "conditions": list(conditions)},
    }


POSITIVE: Document = {"property": "n", "operator": ">", "value": 0}
DOCUMENTED: Document = {"property": "docs", "operator": "isNotEmpty"}
READINESS: Document = {
    "identifier": "readiness",
    "title": "Readiness",
    "rules": [rule("positive", "Bronze", POSITIVE), rule("documented", "Gold", DOCUMENTED)],
}


def make_scorecard(document: Document = READINESS) -> Scorecard:
    definition = parsed(document, blueprint="service")
    return Scorecard(new("scorecard"), "service", definition.identifier, document, AT, "user_1", AT, "user_1")


async def complete(_: AsyncSession, found: Sequence[Entity]) -> list[candidates.Entity]:
    """As if everything were related to something of tier 1."""
    whole = [as_stored(one, schemas=BLUEPRINT.definition.schemas) for one in found]
    return [replace(one, properties={**one.properties, "tier": 1}) for one in whole]


@pytest.fixture
async def system(database: Database) -> Database:
    """A database with the blueprints, those of scorecards among them."""
    async with database.write() as session:
        for document in (*SCORECARD_BLUEPRINTS, SERVICE):
            await blueprints.create(session, make_blueprint(document), origin="API")
    return database


async def put(
    database: Database, identifier: str, *, renamed: str | None = None, at: datetime = AT, **properties: Any
) -> None:
    """Create the entity or replace it, and let the scorecards say what they have to."""
    request = EntityRequest(identifier=renamed or identifier, properties=properties)

    async def work(session: AsyncSession) -> None:
        found = await blueprints.get(session, "service", to_use=True)
        before = await entities.find(session, "service", identifier, to_change=True)
        if before:
            after = changed(KIND, before.entity, request, how=Writing.REPLACE, author=writer(at).author)
            if after is before.entity:
                return
            if after.identifier != identifier and await entities.find(session, "service", after.identifier):
                raise IdentifierTaken("Entity", after.identifier)
            await entities.replace(session, KIND, before, after, writer=writer(at))
        else:
            after = created(KIND, request, generated="", author=writer(at).author)
            await entities.create(session, KIND, after, writer=writer(at))
        await scorecards.settle(session, found, before, after, writer=writer(at), complete=never)

    await database.transact(work)


async def delete(database: Database, identifier: str) -> None:
    async def work(session: AsyncSession) -> None:
        before = await entities.get(session, "service", identifier, to_change=True)
        await entities.remove(session, before, writer=writer())
        await scorecards.forget(session, before, writer=writer())

    await database.transact(work)


async def define(database: Database, *documents: Document, at: datetime = AT, complete: Any = never) -> None:
    """Make these the scorecards of the blueprint."""

    async def work(session: AsyncSession) -> None:
        found = await blueprints.get(session, "service", to_change=True)
        there = {one.identifier: one for one in await scorecards.listed(session, "service")}
        wanted = [
            revised(before, parsed(one, blueprint="service"), at=at, by="user_1")
            if (before := there.get(ScorecardId(str(one["identifier"]))))
            else make_scorecard(one)
            for one in documents
        ]
        await scorecards.replace_all(session, found, wanted, writer=writer(at), complete=complete)

    await database.transact(work)


async def said(database: Database, *identifiers: str) -> dict[str, Any]:
    async with database.read() as session:
        return await scorecards.of(session, "service", identifiers)


async def shown(database: Database, blueprint: str = "_rule_result") -> dict[str, Entity]:
    async with database.read() as session:
        return {
            one.identifier: one.entity for one in await entities.portion(session, blueprint, after="", limit=10_000)
        }


async def log(database: Database, *, kind: str = "entity", blueprint: str = "_rule_result") -> list[Any]:
    """What happened to entities of the blueprint, or to its scorecards: the changes in order."""
    async with database.read() as session:
        rows = await session.exec(
            select(ChangeRow.document)
            .where(ChangeRow.resource_type == kind, ChangeRow.blueprint == blueprint)
            .order_by(col(ChangeRow.sequence))
        )
        return list(rows)


def result(level: str, positive: bool, documented: bool) -> Document:
    statuses = (("positive", positive, "Bronze"), ("documented", documented, "Gold"))
    return {
        "level": level,
        "rules": [
            {"identifier": name, "status": "SUCCESS" if ok else "FAILURE", "level": of} for name, ok, of in statuses
        ],
    }


async def test_an_entity_is_evaluated_as_it_is_written_and_automations_hear_of_what_changed(system: Database) -> None:
    await define(system, READINESS)
    await put(system, "cart", n=1)
    assert await said(system, "cart", "none") == {"cart": {"readiness": result("Bronze", True, False)}}
    found = (await shown(system))["service:readiness:positive:cart"]
    assert found.properties == {
        "result": "Passed", "status": "SUCCESS", "level": "Bronze", "rule": "positive", "ruleTitle": "positive",
        "scorecard": "readiness", "scorecardTitle": "Readiness", "blueprint": "service", "entity": "cart",
        "entityTitle": "cart", "result_last_change": "2026-01-02T03:04:05.678Z",
        "resultLastChange": "2026-01-02T03:04:05.678Z",
    }  # fmt: skip
    assert found.relations == {"rule": "service:readiness:positive"}
    assert not found.datasource.startswith("port-ocean/"), "an integration that clears away must not find it"
    first = await log(system)
    assert [change["action"] for change in first] == ["CREATE", "CREATE"]

    await put(system, "cart", n=2, at=AT + timedelta(hours=1))
    assert await log(system) == first, "another value, the same results: nothing happened to them"
    await put(system, "cart", n=2, docs="x", at=AT + timedelta(hours=2))
    assert await said(system, "cart") == {"cart": {"readiness": result("Gold", True, True)}}
    (change,) = (await log(system))[2:]
    assert (change["action"], change["context"]["entity"]) == ("UPDATE", "service:readiness:documented:cart")
    assert change["before"]["properties"]["result"] == "Not passed"
    assert change["after"]["properties"]["result"] == "Passed"
    assert change["after"]["properties"]["resultLastChange"] == "2026-01-02T05:04:05.678Z"


async def test_results_follow_a_rename_and_go_with_the_entity(system: Database) -> None:
    await define(system, READINESS)
    await put(system, "cart", n=1)
    await put(system, "cart", renamed="basket", n=1, at=AT + timedelta(hours=1))
    assert await said(system, "basket", "cart") == {"basket": {"readiness": result("Bronze", True, False)}}
    names = {named("service", "readiness", name, "basket") for name in ("positive", "documented")}
    now = await shown(system)
    assert now.keys() == names
    for one in now.values():
        assert one.properties["entity"] == "basket"
        assert one.properties["resultLastChange"] == "2026-01-02T03:04:05.678Z", "the result has not changed"
    await delete(system, "basket")
    assert await said(system, "basket") == {}
    assert await shown(system) == {}
    assert [change["action"] for change in await log(system)] == ["CREATE"] * 2 + ["UPDATE"] * 2 + ["DELETE"] * 2
    async with system.read() as session:
        assert (await session.exec(select(ScorecardResultRow))).all() == []


async def test_a_definition_evaluates_what_is_there_and_takes_back_what_it_said(system: Database) -> None:
    for number in range(3):
        await put(system, f"s{number}", n=number)
    assert await said(system, "s0") == {}
    await define(system, READINESS)
    levels = {name: one["readiness"]["level"] for name, one in (await said(system, "s0", "s1", "s2")).items()}
    assert levels == {"s0": "Basic", "s1": "Bronze", "s2": "Bronze"}
    assert len(await shown(system)) == 6
    assert (await shown(system, "_scorecard")).keys() == {"service:readiness"}
    rules = await shown(system, "_rule")
    assert rules["service:readiness:positive"].relations == {"scorecard": "service:readiness"}

    positive = rule("positive", "Silver", {**POSITIVE, "value": 1}, title="Above one")
    only_some: Document = {"combinator": "and", "conditions": [{"property": "n", "operator": "!=", "value": 0}]}
    await define(system, {**READINESS, "filter": only_some, "rules": [positive]}, at=AT + timedelta(hours=1))
    found = await said(system, "s0", "s1", "s2")
    assert {name: one["readiness"]["level"] for name, one in found.items()} == {"s1": "Basic", "s2": "Silver"}
    results = await shown(system)
    assert {name: one.properties["result"] for name, one in results.items()} == {
        "service:readiness:positive:s1": "Not passed",
        "service:readiness:positive:s2": "Passed",
    }
    assert {one.properties["ruleTitle"] for one in results.values()} == {"Above one"}
    assert (await shown(system, "_rule")).keys() == {"service:readiness:positive"}

    before = await log(system)
    await define(system, {**READINESS, "filter": only_some, "rules": [positive]}, at=AT + timedelta(hours=2))
    assert await log(system) == before, "a definition that says the same changes nothing"
    await define(system)
    for blueprint in ("_scorecard", "_rule", "_rule_result"):
        assert await shown(system, blueprint) == {}
    assert await said(system, "s1") == {}
    changes = await log(system, kind="scorecard", blueprint="service")
    assert [change["action"] for change in changes] == ["CREATE", "UPDATE", "DELETE"]
    assert changes[1]["context"] == {"blueprint": "service", "scorecard": "readiness"}
    assert changes[1]["after"]["rules"] == [positive]


async def test_more_entities_than_one_portion_are_evaluated(system: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorecards, "_AT_ONCE", 2)
    names = [f"s{number}" for number in range(5)]
    for name in names:
        await put(system, name, n=1)
    await define(system, READINESS)
    assert (await said(system, *names)).keys() == set(names)
    assert len(await shown(system)) == 10


async def test_a_renamed_scorecard_speaks_under_its_new_name(system: Database) -> None:
    await put(system, "cart", n=1)
    await define(system, READINESS, {**READINESS, "identifier": "other"})

    async def rename(session: AsyncSession, name: str) -> None:
        found = await blueprints.get(session, "service", to_change=True)
        before = await scorecards.get(session, "service", "readiness")
        definition = parsed({**READINESS, "identifier": name}, blueprint="service")
        after = revised(before, definition, at=AT, by="user_1")
        await scorecards.replace(session, found, before, after, writer=writer(), complete=never)

    with pytest.raises(IdentifierTaken):
        await system.transact(lambda session: rename(session, "other"))
    await system.transact(lambda session: rename(session, "better"))
    assert (await said(system, "cart"))["cart"].keys() == {"better", "other"}
    assert {one.properties["scorecard"] for one in (await shown(system)).values()} == {"better", "other"}
    assert (await shown(system, "_scorecard")).keys() == {"service:better", "service:other"}
    async with system.read() as session:
        with pytest.raises(NotFound):
            await scorecards.get(session, "service", "readiness")


async def test_identifiers_are_unique_within_a_blueprint(system: Database) -> None:
    async def create(session: AsyncSession) -> None:
        found = await blueprints.get(session, "service", to_change=True)
        await scorecards.create(session, found, make_scorecard(), writer=writer(), complete=never)

    await system.transact(create)
    with pytest.raises(IdentifierTaken):
        await system.transact(create)
    async with system.read() as session:
        assert len((await session.exec(select(ScorecardRow))).all()) == 1


async def test_what_people_added_to_a_result_stays(system: Database) -> None:
    await define(system, READINESS)
    await put(system, "cart", n=1)
    name = "service:readiness:positive:cart"
    async with system.write() as session:
        kind = Kind("_rule_result", (await blueprints.get(session, "_rule_result")).definition)
        before = await entities.get(session, "_rule_result", name)
        extended = before.entity.model_copy(update={"properties": {**before.entity.properties, "due": "soon"}})
        await entities.replace(session, kind, before, extended, writer=writer())
    await put(system, "cart", n=0)
    found = (await shown(system))[name].properties
    assert (found["result"], found["due"]) == ("Not passed", "soon")


async def test_a_result_is_told_where_somebody_has_written_an_entity_of_its_name(system: Database) -> None:
    await define(system, READINESS)
    await put(system, "cart", n=1)
    async with system.write() as session:
        kind = Kind("_rule_result", (await blueprints.get(session, "_rule_result")).definition)
        mine = (await shown(system))["service:readiness:positive:cart"]
        stray = mine.model_copy(update={"identifier": "service:readiness:positive:basket", "title": "Mine"})
        await entities.create(session, kind, stray, writer=writer())
    await put(system, "cart", renamed="basket", n=1)
    found = await shown(system)
    assert found.keys() == {named("service", "readiness", name, "basket") for name in ("positive", "documented")}
    assert found["service:readiness:positive:basket"].title == "basket: positive"


async def test_without_the_blueprints_results_are_stored_all_the_same(database: Database) -> None:
    async with database.write() as session:
        await blueprints.create(session, BLUEPRINT, origin="API")
    await put(database, "cart", n=1)
    await define(database, READINESS)
    await put(database, "cart", n=0)
    assert await said(database, "cart") == {"cart": {"readiness": result("Basic", False, False)}}
    await delete(database, "cart")
    await define(database)
    async with database.read() as session:
        assert (await session.exec(select(ScorecardResultRow))).all() == []


async def test_what_is_derived_is_asked_for_where_a_rule_names_it(system: Database) -> None:
    await put(system, "cart", n=1)
    tier: Document = {"property": "tier", "operator": "=", "value": 1}
    await define(system, {**READINESS, "rules": [rule("tier", "Gold", tier)]}, complete=complete)
    assert (await said(system, "cart"))["cart"]["readiness"]["level"] == "Gold"


async def test_a_blueprint_without_scorecards_costs_one_statement(system: Database) -> None:
    await put(system, "cart", n=1)
    asked: list[str] = []
    async with system.write() as session:
        before = await entities.get(session, "service", "cart")
        after = before.entity.model_copy(update={"title": "Cart"})
        connection = await session.run_sync(lambda sync: sync.connection())

        def count(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            asked.append(statement)

        event.listen(connection, "before_cursor_execute", count)
        await scorecards.settle(session, BLUEPRINT, before, after, writer=writer(), complete=never)
        assert len(asked) == 1
        await scorecards.settle(session, BLUEPRINT, None, after, writer=writer(), complete=never)
        assert len(asked) == 2
        await scorecards.forget(session, before, writer=writer())
        assert len(asked) == 3
        event.remove(connection, "before_cursor_execute", count)
        assert not await scorecards.defined(session, "service")
    await define(system, READINESS)
    async with system.read() as session:
        assert await scorecards.defined(session, "service")


@pytest.mark.parametrize("seed", [1, 2])
async def test_results_are_those_of_the_entities_and_definitions_whoever_writes_at_once(
    system: Database, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret

    async def step(chance: random.Random) -> None:
        name, what = f"s{chance.randrange(6)}", chance.randrange(10)
        try:
            if what < 5:
                more: Any = {"docs": "x"} if chance.randrange(2) else {}
                await put(system, name, n=chance.randrange(2), **more)
            elif what < 6:
                await put(system, name, renamed=f"s{chance.randrange(6)}", n=1)
            elif what < 8:
                await delete(system, name)
            else:
                wanted = [{**READINESS, "title": str(chance.random())}, {**READINESS, "identifier": "other"}]
                await define(system, *wanted[: chance.randrange(3)])
        except InterlockError:
            return

    for _ in range(4):
        await asyncio.gather(*(step(random.Random(chance.random())) for _ in range(8)))  # noqa: S311

    found = await shown(system, "service")
    async with system.read() as session:
        cards = await scorecards.listed(session)
    expected: dict[str, Any] = {
        name: {
            card.identifier: evaluated(card, as_stored(entity, schemas=BLUEPRINT.definition.schemas), at=AT)
            for card in cards
        }
        for name, entity in found.items()
        if cards
    }
    assert await said(system, *found) == expected
    assert {name: one.properties["result"] for name, one in (await shown(system)).items()} == {
        named("service", card, one["identifier"], name): "Passed" if one["status"] == "SUCCESS" else "Not passed"
        for name, results in expected.items()
        for card, outcome in results.items()
        for one in outcome["rules"]
    }
    async with system.read() as session:
        assert len((await session.exec(select(ScorecardResultRow))).all()) == len(found) * len(cards)
