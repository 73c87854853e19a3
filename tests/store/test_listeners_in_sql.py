"""Who is told of changes: the addresses of blueprints, from the transaction on that names them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from domain.blueprints import Blueprint, BlueprintId
from domain.changes import Change, Happening
from store import blueprints, changes, listeners
from store.automation_tables import PendingChangeRow
from store.database import Database
from tests.store.conftest import AT

WEBHOOK = {"type": "WEBHOOK", "url": "https://example.com/changes"}


def make_blueprint(**more: Any) -> Blueprint:
    document = {"identifier": "service", "schema": {"properties": {}}, **more}
    return Blueprint(BlueprintId("service"), document, AT, "user_1", AT, "user_1")


async def created(database: Database, **more: Any) -> Blueprint:
    blueprint = make_blueprint(**more)
    async with database.write() as session:
        await blueprints.create(session, blueprint, origin="API")
    return blueprint


def of_entity(happening: Happening = Happening.UPDATE, kind: str = "entity", blueprint: str = "service") -> Change:
    context: dict[str, str | None] = {"blueprint": blueprint, "entity": "cart"}
    change = Change.of(kind, {}, {}, context=context, at=AT, by="user_1", origin="API")
    return change._replace(action=happening, subject="e_1")


async def noted(database: Database, *several: Change) -> list[str]:
    """The ids of those that somebody has to be told of."""
    async with database.write() as session:
        await changes.append_all(session, several)
    async with database.read() as session:
        return list(await session.exec(select(PendingChangeRow.change_id).order_by(col(PendingChangeRow.id))))


async def number(database: Database) -> int:
    async with database.read() as session:
        return (await listeners.current(session)).number


async def test_changes_of_a_blueprint_with_an_address_are_noted(database: Database) -> None:
    await created(database, changelogDestination=WEBHOOK)
    told = [
        of_entity(happening)
        for happening in (Happening.CREATE, Happening.UPDATE, Happening.DELETE, Happening.TIMER_EXPIRED)
    ]
    others = [of_entity(Happening.TIMER_WARNING), of_entity(blueprint="other"), of_entity(kind="scorecard")]
    assert await noted(database, *told, *others) == [change.id for change in told]
    async with database.read() as session:
        listening = await listeners.current(session)
    assert listening.destinations == {"service": WEBHOOK}
    assert [listening.destination(change.document()) for change in (*told, *others)] == [WEBHOOK] * 4 + [None] * 3


@pytest.mark.parametrize("destination", [{"type": "KAFKA"}, {**WEBHOOK, "agent": True}], ids=["kafka", "agent"])
async def test_changes_that_go_by_kafka_are_noted_too(database: Database, destination: object) -> None:
    await created(database, changelogDestination=destination)
    change = of_entity()
    assert await noted(database, change) == [change.id]
    async with database.read() as session:
        assert (await listeners.current(session)).destination(change.document()) == destination


@pytest.mark.parametrize("destination", [{}, {"changelogDestination": None}], ids=["none", "null"])
async def test_changes_that_go_nowhere_are_not_noted(database: Database, destination: dict[str, Any]) -> None:
    await created(database, **destination)
    assert await noted(database, of_entity()) == []


async def test_an_address_counts_from_its_transaction_on_until_it_goes(database: Database) -> None:
    before = await created(database)
    unheard, heard, late = of_entity(), of_entity(), of_entity()
    assert await noted(database, unheard) == []
    after = replace(make_blueprint(changelogDestination=WEBHOOK), updated_at=AT + timedelta(minutes=1))
    async with database.write() as session:
        await blueprints.replace(session, before, after, origin="API")
        await changes.append(session, heard)
    assert await noted(database) == [heard.id]
    async with database.write() as session:
        await blueprints.remove(session, after, by="user_1", at=AT, origin="API")
    assert await noted(database, late) == [heard.id]


async def test_edits_that_leave_the_address_alone_disturb_nobody(database: Database) -> None:
    before = await created(database, changelogDestination=WEBHOOK)
    known = await number(database)
    after = make_blueprint(changelogDestination={"url": WEBHOOK["url"], "type": "WEBHOOK"}, title="Services")
    async with database.write() as session:
        await blueprints.replace(session, before, after, origin="API")
    assert await number(database) == known
