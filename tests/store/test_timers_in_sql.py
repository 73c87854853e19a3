"""Timers in SQL: what becomes of them when entities and blueprints change, and that each moment fires once."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import JsonValue
from sqlalchemy import Engine, event
from sqlmodel import col, select

from domain.blueprint_renames import Part, Rename
from domain.blueprints import Blueprint
from domain.changes import Happening
from domain.documents import Document
from domain.entities import Author, Writing, parsed_request
from domain.identifiers import new
from domain.timers import Outcome, due_at
from store import blueprint_renames, blueprints, catalog, entities, migrate, timers
from store.automation_tables import EntityTimerRow
from store.database import Database
from store.entities import Writer
from store.entity_batches import PutOptions
from store.tables import ChangeRow
from store.timers import Timer, Told
from tests.store.conftest import AT, never
from tests.store.test_blueprint_changes_in_sql import blueprint as make_blueprint
from tests.store.test_migrations import _ask, _move

WRITER = Writer(Author("user_1", AT, "tests"), "API")
TIMER: Document = {"type": "string", "format": "timer"}
WARNING: Document = {**TIMER, "interlock": {"warn": {"before": "P1D"}, "extend": {"action": "more-time"}}}
SOON, LATER = "2026-01-03T03:04:05+02:00", "2026-02-03T03:04:05.5-08:00"
PAST = "2025-01-01T00:00:00Z"


async def made(database: Database, **properties: JsonValue) -> Blueprint:
    """The blueprint `env`; a timer `ttl` by default."""
    blueprint = make_blueprint("env", properties=properties or {"ttl": TIMER})
    async with database.write() as session:
        await blueprints.create(session, blueprint, origin="API")
    return blueprint


async def changed(database: Database, **properties: JsonValue) -> None:
    """Give the blueprint these properties."""
    async with database.write() as session:
        before = await blueprints.get(session, "env", to_change=True)
        after = replace(before, document={**before.document, "schema": {"properties": properties}})
        await blueprints.replace(session, before, after, origin="API")


async def renamed(database: Database, old: str, new: str) -> None:
    """Give a property another name."""
    await database.transact(
        lambda session: blueprint_renames.rename(
            session, "env", Rename(Part.PROPERTY, old, new), by="user_1", at=AT, origin="API"
        )
    )


async def put(database: Database, identifier: str = "dev", called: str | None = None, **properties: JsonValue) -> None:
    """Write the entity, merging; `called` gives it another identifier."""
    request = parsed_request({"identifier": called or identifier, "properties": properties})

    async def work(session: Any) -> None:
        kind = await blueprints.get(session, "env", to_use=True)
        if called:
            await catalog.change(
                session, kind, identifier, request, how=Writing.MERGE, writer=WRITER, complete=never,
            )  # fmt: skip
        else:
            options = PutOptions(upsert=True, merge=True)
            await catalog.put(session, kind, request, options, generated=new("e"), writer=WRITER, complete=never)

    await database.transact(work)


async def removed(database: Database, identifier: str = "dev") -> None:
    await database.transact(
        lambda session: catalog.remove(session, "env", identifier, delete_dependents=False, writer=WRITER)
    )


async def rows(database: Database) -> dict[tuple[str, str], EntityTimerRow]:
    """The rows of all timers that are not about to go, by entity and property."""
    async with database.read() as session:
        found = (
            await session.exec(select(EntityTimerRow).where(col(EntityTimerRow.pending).is_distinct_from("stop")))
        ).all()
    return {(row.entity, row.property): row for row in found}


async def the_row(database: Database) -> EntityTimerRow:
    """The row of the only timer."""
    (row,) = (await rows(database)).values()
    return row


async def tell(database: Database, now: datetime = AT + timedelta(hours=1)) -> list[tuple[str | None, str, str]]:
    """Do as a relay does; what Temporal was told."""
    leased = await database.transact(lambda session: timers.leased(session, now=now, limit=100))
    told = [
        Told(one, f"id of {one.entity}", new("run")) if one.pending == "start" else Told(one, None, None)
        for one in leased
    ]
    assert not await database.transact(lambda session: timers.told(session, told, at=now))
    return sorted((one.pending, one.entity, one.value) for one in leased)


async def asked(
    database: Database, ask: timers.Asking, value: str, at: datetime, *, entity_id: str = "", named: str = "ttl"
) -> timers.Answer:
    """What comes of asking the (only) timer, as it was with that value."""
    of = entity_id or (await the_row(database)).entity_id
    due = due_at(value)
    assert due
    return await database.transact(lambda session: ask(session, of, named, due, at=at))


async def fired(database: Database, what: Happening = Happening.TIMER_EXPIRED) -> list[Document]:
    """The changes that timers made."""
    async with database.read() as session:
        found = await session.exec(select(ChangeRow.document).order_by(col(ChangeRow.sequence)))
    return [dict(one) for one in found if one["action"] == what]


AFTER = AT + timedelta(days=400)


async def test_a_value_is_a_timer_from_the_transaction_on_that_writes_it(database: Database) -> None:
    await made(database)
    await put(database, ttl=LATER)
    row = await the_row(database)
    assert (row.value, row.due_at) == (LATER, datetime(2026, 2, 3, 11, 4, 5, 500_000, tzinfo=UTC))
    assert (row.entity, row.blueprint, row.warn_at, row.expired, row.pending) == ("dev", "env", None, False, "start")
    assert await tell(database) == [("start", "dev", LATER)]
    assert await tell(database) == [], "it knows"


async def test_writing_the_same_again_changes_nothing(database: Database) -> None:
    await made(database, ttl=TIMER, n={"type": "number"})
    await put(database, ttl=SOON)
    await tell(database)
    before = await the_row(database)
    await put(database, ttl=SOON)
    await put(database, n=1)
    assert await the_row(database) == before


async def test_a_timer_fires_once_and_tells_it_in_full(database: Database) -> None:
    await made(database)
    await put(database, ttl=SOON)
    row = await the_row(database)
    assert await asked(database, timers.expire, SOON, row.due_at) == (Outcome.DONE, timedelta(0))
    assert (await asked(database, timers.expire, SOON, AFTER)).outcome is Outcome.DONE
    (change,) = await fired(database)
    assert change["context"] == {"blueprint": "env", "entity": "dev", "property": "ttl", "runId": None}
    assert (change["resourceType"], change["by"], change["origin"]) == ("entity", "interlock", "API")
    assert (change["before"], change["depth"], change["at"]) == (None, 0, "2026-01-03T01:04:05.000Z")
    async with database.read() as session:
        stored = await entities.get(session, "env", "dev")
    assert change["after"] == stored.entity.document()


async def test_a_clock_that_is_behind_says_how_long_it_is_still_too_early(database: Database) -> None:
    await made(database)
    await put(database, ttl=SOON)
    due = (await the_row(database)).due_at
    answer = await asked(database, timers.expire, SOON, due - timedelta(minutes=3))
    assert answer == (Outcome.EARLY, timedelta(minutes=3))
    assert not await fired(database)


async def test_the_moment_counts_and_not_how_it_is_written(database: Database) -> None:
    await made(database)
    await put(database, ttl=SOON)
    await tell(database)
    await asked(database, timers.expire, SOON, AFTER)
    same = "2026-01-03T01:04:05.000Z"
    await put(database, ttl=same)
    row = await the_row(database)
    assert (row.value, row.expired, row.pending) == (same, True, None)
    await asked(database, timers.expire, SOON, AFTER)
    assert len(await fired(database)) == 1


async def test_a_value_that_was_moved_never_fires(database: Database) -> None:
    await made(database)
    await put(database, ttl=SOON)
    await tell(database)
    await put(database, ttl=LATER)
    assert await tell(database) == [("start", "dev", LATER)]
    assert (await asked(database, timers.expire, SOON, AFTER)).outcome is Outcome.STALE
    assert not await fired(database)
    assert (await asked(database, timers.expire, LATER, AFTER)).outcome is Outcome.DONE
    assert len(await fired(database)) == 1


async def test_a_moment_that_comes_back_is_a_new_timer(database: Database) -> None:
    await made(database)
    for value in (PAST, LATER, PAST):
        await put(database, ttl=value)
        await asked(database, timers.expire, value, AFTER)
    assert len(await fired(database)) == 3


@pytest.mark.parametrize("end", ["cleared", "deleted", "no timer any more", "no property any more"])
async def test_a_timer_that_nobody_waits_for_is_stopped(database: Database, end: str) -> None:
    await made(database)
    await put(database, ttl=SOON)
    await tell(database)
    entity_id = (await the_row(database)).entity_id
    match end:
        case "cleared":
            await put(database, ttl=None)
        case "deleted":
            await removed(database)
        case "no timer any more":
            await changed(database, ttl={"type": "string", "format": "date-time"})
        case _:
            await changed(database, other=TIMER)
    assert (await asked(database, timers.expire, SOON, AFTER, entity_id=entity_id)).outcome is Outcome.STALE
    assert await tell(database) == [("stop", "dev", SOON)]
    async with database.read() as session:
        assert not (await session.exec(select(EntityTimerRow))).all()
    assert not await fired(database)


async def test_a_timer_that_was_cleared_and_set_again_is_new(database: Database) -> None:
    await made(database)
    await put(database, ttl=PAST)
    await asked(database, timers.expire, PAST, AFTER)
    await put(database, ttl=None)
    await put(database, ttl=PAST)
    assert await tell(database) == [("start", "dev", PAST)]
    await asked(database, timers.expire, PAST, AFTER)
    assert len(await fired(database)) == 2


async def test_a_timer_follows_its_entity_to_another_name(database: Database) -> None:
    await made(database)
    await put(database, ttl=SOON)
    await tell(database)
    before = await the_row(database)
    await put(database, called="new/dev")
    row = await the_row(database)
    assert (row.entity, row.value, row.pending, row.workflow_run) == ("new/dev", SOON, "start", before.workflow_run)
    await asked(database, timers.expire, SOON, AFTER)
    (change,) = await fired(database)
    assert change["context"]["entity"] == "new/dev"  # type: ignore[index, call-overload]


async def test_a_timer_that_has_fired_does_not_fire_again_under_another_name(database: Database) -> None:
    await made(database)
    await put(database, ttl=PAST)
    await tell(database)
    await asked(database, timers.expire, PAST, AFTER)
    await put(database, called="dev2")
    assert await tell(database) == []
    assert (await the_row(database)).entity == "dev2"
    await asked(database, timers.expire, PAST, AFTER)
    assert len(await fired(database)) == 1


async def test_a_timer_follows_its_property_to_another_name(database: Database) -> None:
    await made(database, ttl=TIMER, gone=TIMER)
    await put(database, ttl=SOON, gone=LATER)
    await put(database, "past", ttl=PAST)
    await put(database, "odd", end=LATER)
    past = (await rows(database))["past", "ttl"].entity_id
    await asked(database, timers.expire, PAST, AFTER, entity_id=past)
    await tell(database)
    await renamed(database, "ttl", "end")
    found = await rows(database)
    assert {key: row.value for key, row in found.items()} == {
        ("dev", "end"): SOON, ("dev", "gone"): LATER, ("past", "end"): PAST, ("odd", "end"): LATER,
    }  # fmt: skip
    assert found["past", "end"].expired
    assert await tell(database) == [("start", "dev", SOON), ("start", "odd", LATER)]


async def test_values_that_are_there_become_timers_with_their_property(database: Database) -> None:
    await made(database, ttl={"type": "string"})
    for number in range(3):
        await put(database, f"dev{number}", ttl=SOON, other=PAST)
    await put(database, "none", ttl="tomorrow")
    assert not await rows(database)
    await changed(database, ttl=TIMER, other=TIMER)
    assert set(await rows(database)) == {(f"dev{n}", p) for n in range(3) for p in ("ttl", "other")}


async def test_a_timer_warns_once_before_it_expires(database: Database) -> None:
    await made(database, ttl=WARNING)
    await put(database, ttl=SOON)
    row = await the_row(database)
    assert row.warn_at
    assert row.due_at - row.warn_at == timedelta(days=1)
    early = await asked(database, timers.warn, SOON, row.warn_at - timedelta(seconds=1))
    assert early == (Outcome.EARLY, timedelta(seconds=1))
    for _ in range(2):
        assert (await asked(database, timers.warn, SOON, row.warn_at)).outcome is Outcome.DONE
    (change,) = await fired(database, Happening.TIMER_WARNING)
    assert change["context"] == {
        "blueprint": "env", "entity": "dev", "property": "ttl", "runId": None, "extendAction": "more-time",
    }  # fmt: skip
    assert not await fired(database)
    await put(database, ttl=LATER)  # what the action does
    later = await the_row(database)
    assert (later.warned, later.pending) == (False, "start")
    assert (await asked(database, timers.warn, SOON, AFTER)).outcome is Outcome.STALE


async def test_a_timer_that_has_come_to_its_time_does_not_warn_any_more(database: Database) -> None:
    await made(database, ttl=WARNING)
    await put(database, ttl=PAST)
    assert (await asked(database, timers.warn, PAST, AT)).outcome is Outcome.DONE
    assert not await fired(database, Happening.TIMER_WARNING)


async def test_a_blueprint_that_warns_earlier_warns_of_what_is_there(database: Database) -> None:
    await made(database)
    await put(database, ttl=SOON)
    await put(database, "past", ttl=PAST)
    past = (await rows(database))["past", "ttl"].entity_id
    await asked(database, timers.expire, PAST, AFTER, entity_id=past)
    await tell(database)
    await changed(database, ttl=WARNING)
    found = await rows(database)
    assert found["dev", "ttl"].warn_at == found["dev", "ttl"].due_at - timedelta(days=1)
    assert await tell(database) == [("start", "dev", SOON)]
    await changed(database, ttl=TIMER)
    assert (await rows(database))["dev", "ttl"].warn_at is None
    assert (
        await asked(database, timers.warn, SOON, AT, entity_id=found["dev", "ttl"].entity_id)
    ).outcome is Outcome.DONE
    assert not await fired(database, Happening.TIMER_WARNING)


async def test_blueprints_without_timers_cost_nothing(database: Database) -> None:
    await made(database, n={"type": "number"}, at={"type": "string"})
    await put(database, "warm")
    statements: list[str] = []

    def count(*words: Any) -> None:
        statements.append(words[2])

    event.listen(Engine, "before_cursor_execute", count)
    await put(database, n=1)
    await put(database, n=2)
    await put(database, called="dev2")
    await removed(database, "dev2")
    event.remove(Engine, "before_cursor_execute", count)
    assert any(" INTO entities " in text for text in statements)
    assert not [text for text in statements if "entity_timers" in text]


async def test_what_changes_while_temporal_is_told_is_told_again(database: Database) -> None:
    await made(database)
    await put(database, ttl=SOON)
    now = AT + timedelta(minutes=1)

    async def lease() -> list[Timer]:
        return await database.transact(lambda session: timers.leased(session, now=now, limit=10))

    (slow,) = await lease()
    assert not await lease(), "it is leased"
    await put(database, ttl=LATER)
    assert await tell(database) == [("start", "dev", LATER)]
    assert (await the_row(database)).pending is None
    late = Told(slow, "id of dev", "too late")
    assert await database.transact(lambda session: timers.told(session, [late], at=now)) == [late]
    assert (await the_row(database)).workflow_run != "too late"
    assert await tell(database) == [("start", "dev", LATER)], "the slow one may have replaced the right workflow"


async def test_a_late_start_under_a_name_that_another_entity_has_now_is_repaired(database: Database) -> None:
    await made(database)
    await put(database, ttl=SOON)
    now = AT + timedelta(minutes=1)
    (slow,) = await database.transact(lambda session: timers.leased(session, now=now, limit=10))
    await put(database, called="old")
    await put(database, "dev", ttl=LATER)
    await tell(database)
    await database.transact(lambda session: timers.told(session, [Told(slow, "id of dev", "too late")], at=now))
    assert await tell(database) == [("start", "dev", LATER), ("start", "old", SOON)]


async def test_a_lease_ends(database: Database) -> None:
    await made(database)
    await put(database, ttl=SOON)
    for now in (AT, AT + timers.LEASE, AT + 2 * timers.LEASE):
        async with database.read() as session:
            assert await timers.pending(session, now=now)
        taken = await database.transact(partial(timers.leased, now=now, limit=10))
        assert len(taken) == 1
        async with database.read() as session:
            assert not await timers.pending(session, now=now)


async def test_timers_whose_workflow_is_lost_are_started_again(database: Database) -> None:
    await made(database)
    for number in range(5):
        await put(database, f"dev{number}", ttl=SOON)
    await put(database, "past", ttl=PAST)
    past = (await rows(database))["past", "ttl"].entity_id
    await asked(database, timers.expire, PAST, AFTER, entity_id=past)
    await tell(database)
    found: list[Timer] = []
    after = ("", "")
    while True:
        async with database.read() as session:
            page = await timers.waiting(session, after=after, limit=2)
        if not page:
            break
        found += page
        after = page[-1].entity_id, page[-1].property
    assert {one.entity for one in found} == {f"dev{number}" for number in range(5)}
    await put(database, "dev0", ttl=LATER)
    await tell(database)
    async with database.write() as session:
        await timers.lost(session, found, at=AT)
    assert len(await tell(database)) == 4, "the first has another workflow by now"


async def test_odd_moments_are_kept_by_every_database(database: Database) -> None:
    await made(database)
    for value in (
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:60-23:59",
        "2016-12-31t23:59:60.999999999z",
        "2026-01-01T00:00:00-00:00",
    ):
        if value.startswith("9999"):
            value = "9999-12-31T23:59:59.9999999-23:59"
        await put(database, ttl=value)
        assert (await the_row(database)).due_at == due_at(value)


def test_timers_of_before_the_upgrade_fire_when_they_are_due(database_url: str) -> None:
    _move(database_url, "downgrade", "0009")
    try:
        document = {
            "document": {"identifier": "env", "schema": {"properties": {"ttl": TIMER, "n": {"type": "number"}}}}
        }
        _ask(
            database_url,
            "INSERT INTO blueprints (id, identifier, revision, document) VALUES ('b', 'env', 0, :document)",
            document=json.dumps(document),
        )
        for row_id, value in (
            ("ent_1", "2999-01-01T00:00:00+01:00"),
            ("ent_2", PAST),
            ("ent_3", "never"),
            ("ent_4", None),
        ):
            _ask(
                database_url,
                "INSERT INTO entities (id, blueprint, identifier, title, created_at, updated_at, datasource, document)"
                " VALUES (:row_id, 'env', :row_id, '', '2026-01-02 03:04:05', '2026-01-02 03:04:05', '', :document)",
                row_id=row_id,
                document=json.dumps({"properties": {"ttl": value} if value else {}, "team": []}),
            )
    finally:
        migrate.upgrade(database_url)
    columns = "entity_id, property, blueprint, entity, value, warned, expired, pending"
    assert _ask(database_url, f"SELECT {columns} FROM entity_timers ORDER BY entity_id") == [  # noqa: S608 - our own names
        ("ent_1", "ttl", "env", "ent_1", "2999-01-01T00:00:00+01:00", False, False, "start"),
        ("ent_2", "ttl", "env", "ent_2", PAST, False, True, None),
    ]
