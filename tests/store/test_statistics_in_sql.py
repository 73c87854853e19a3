"""Statistics in SQL: everything is found over several portions, and changes lead back through other names."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.blueprints import Blueprint
from domain.entities import Entity, EntityPatch, Writing, parsed_request
from domain.jq import Evaluator
from store import catalog, derived, entities, search, statistics
from store.database import Database
from tests.store.conftest import AT, never
from tests.store.test_derived_in_sql import WRITER, define, put, statements
from tests.support.search_catalog import ADA

LONG_AGO = AT - timedelta(days=400)


async def change(database: Database, of: Blueprint, name: str, *, days: float, **document: JsonValue) -> None:
    """A change of some keys."""
    request = parsed_request(document, EntityPatch)
    writer = replace(WRITER, author=WRITER.author._replace(at=AT + timedelta(days=days)))
    await database.transact(
        lambda session: catalog.change(session, of, name, request, how=Writing.MERGE, writer=writer, complete=never)
    )


async def past(database: Database, identifier: str, since: datetime = LONG_AGO) -> list[tuple[int, object]]:
    """The days of the changes, and what was there before."""
    async with database.read() as session:
        entity = (await entities.get(session, "service", identifier)).entity
        found = [step async for step in statistics.steps(session, entity, since=since)]
    return [
        ((step.at - AT).days, step.before and (step.before["identifier"], step.before["properties"])) for step in found
    ]


async def test_changes_lead_back_through_other_names_to_the_beginning(database: Database) -> None:
    service = await define(database, "service")
    await put(database, service, "a", days=0, properties={"n": 1, "yes": True})
    await change(database, service, "a", days=1, properties={"n": 2})
    await change(database, service, "a", days=2, identifier="b")
    await put(database, service, "a", days=3, properties={"n": 10})
    await change(database, service, "b", days=4, properties={"n": 3})
    await change(database, service, "b", days=5, identifier="c", properties={"n": 4})
    assert await past(database, "c") == [
        (5, ("b", {"n": 3, "yes": True})),
        (4, ("b", {"n": 2, "yes": True})),
        (2, ("a", {"n": 2, "yes": True})),
        (1, ("a", {"n": 1, "yes": True})),
        (0, None),
    ]
    assert await past(database, "c", AT + timedelta(days=2)) == (await past(database, "c"))[:3]
    assert await past(database, "a") == [(3, None)]


async def test_more_changes_than_are_read_at_once_are_all_there(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_AT_ONCE", 2)
    monkeypatch.setattr(statistics, "_BEFORE", statistics._BEFORE.limit(2))
    service = await define(database, "service")
    await put(database, service, "a", properties={"n": 0})
    for number in range(1, 6):  # all at one moment
        await change(database, service, "a", days=1, properties={"n": number})
    assert [before for _, before in await past(database, "a")] == [
        *(("a", {"n": number}) for number in (4, 3, 2, 1, 0)), None,
    ]  # fmt: skip


async def test_everything_is_found_in_portions(
    database: Database, evaluate: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    calculation = {"twice": {"type": "number", "calculation": ".properties.n * 2"}}
    service = await define(database, "service", calculationProperties=calculation)
    for number in range(5):
        await put(database, service, f"s{number}", properties={"n": number})

    async def complete(
        session: AsyncSession, entities: Sequence[Entity], *, wanted: Callable[[str], bool] = bool
    ) -> Sequence[candidates.Entity]:
        return await derived.complete(session, entities, evaluate=evaluate, at=AT, wanted=wanted)

    async with database.read() as session:
        asked = await search.prepared(session, None, at=AT, caller=ADA, complete=complete)
    whole = type(asked).page
    monkeypatch.setattr(type(asked), "page", lambda *args, **how: whole(*args, **how, limit=2))
    with statements() as seen:
        found = [
            one async for one in statistics.found(database, asked, complete=complete, names={"twice"}, scorecard="no")
        ]
    assert [one.properties["twice"] for one in found] == [0, 2, 4, 6, 8]
    assert len([one for one in seen if "FROM entities" in one and "LIMIT" in one]) == 3
    bare = [one async for one in statistics.found(database, asked, complete=complete, names=())]
    assert [one.properties for one in bare] == [{"n": number} for number in range(5)]
