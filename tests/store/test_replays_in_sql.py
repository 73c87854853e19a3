"""Automations in SQL: since when they listen, what they listened to, and changes that become pending again."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from domain.actions import Action
from domain.changes import Change, Happening
from domain.documents import Document
from domain.errors import IdentifierTaken, NotFound
from store import actions, changes, explanations, listeners, replays
from store.automation_tables import FiringRow, PendingChangeRow
from store.database import Database
from store.tables import ChangeRow
from tests.store.conftest import AT, make_action

SERVICE: Document = {"type": "ANY_ENTITY_CHANGE", "blueprintIdentifier": "service"}
REASON: Document = {"reason": "too much", "at": "2026-01-02T03:04:05.678Z", "runId": None}


def automation(identifier: str = "notify", *, event: Document = SERVICE, publish: bool = True) -> Action:
    return make_action(identifier, trigger={"type": "automation", "event": event}, publish=publish)


def later(action: Action, **more: Any) -> Action:
    """The next version, a minute later."""
    at = action.updated_at + timedelta(minutes=1)
    return replace(action, version=action.version + 1, updated_at=at, document={**action.document, **more})


def of_entity(number: int, *, subject: str = "entity_1", **more: Any) -> Change:
    values: dict[str, Any] = {
        "context": {"blueprint": "service", "entity": "cart", "runId": "r_1"},
        "at": AT + timedelta(seconds=number),
        "by": "user_1",
        "origin": "API",
        **more,
    }
    return Change.of("entity", None, {"identifier": "cart"}, **values)._replace(subject=subject)


async def written(database: Database, *several: Action | Change) -> None:
    async with database.write() as session:
        for one in several:
            if isinstance(one, Action):
                await actions.create(session, one, origin="API")
            else:
                await changes.append(session, one)


async def pending(database: Database) -> list[PendingChangeRow]:
    async with database.read() as session:
        return list(await session.exec(select(PendingChangeRow).order_by(col(PendingChangeRow.id))))


async def replayed(database: Database, action: Action, *, again: bool = False, **span: Any) -> replays.Replay:
    event: Any = action.document["trigger"]
    span = {"since": AT, "until": AT + timedelta(hours=1), **span}
    async with database.write() as session:
        wish = replays.Wish(action, event["event"], again=again, **span)
        return await replays.start(session, wish, by="user_1", at=AT, origin="API")


async def heard(database: Database) -> dict[Any, list[tuple[str, int]]]:
    """Who is asked about what, and in which version."""
    async with database.write() as session:
        listening = await listeners.current(session)
        return {
            key: [(one.action_id, one.version) for one in found] for key, found in listening.by_key.items() if found
        }


async def test_who_listens_is_known_at_once_however_it_came_about(database: Database) -> None:
    action = automation(event={"type": "ENTITY_CREATED", "blueprintIdentifier": "service"})
    key = ("entity", "CREATE", "service")
    assert await heard(database) == {}
    await written(database, action, automation("draft", publish=False), make_action("deploy"))
    assert await heard(database) == {key: [(action.id, 1)]}

    second = later(action, title="Another")
    async with database.write() as session:
        await actions.replace(session, action, second, origin="API")
        assert (await listeners.current(session)).by_key[key][0].version == 2, "also within the transaction"
    assert await heard(database) == {key: [(action.id, 2)]}

    async with database.write() as session:
        assert await actions.pause(session, action.id, REASON)
        assert not (await listeners.current(session)).by_key
    assert await heard(database) == {}
    async with database.write() as session:
        assert await actions.resume(session, action.id, by="user_1", at=AT, origin="API")
    assert await heard(database) == {key: [(action.id, 2)]}

    async with database.write() as session:
        await actions.remove(session, second, by="user_1", at=AT, origin="API")
    assert await heard(database) == {}
    async with database.write() as session:
        assert not await actions.pause(session, action.id, REASON)
        assert not await actions.resume(session, action.id, by="user_1", at=AT, origin="API")


async def test_a_publication_that_fails_changes_nothing(database: Database) -> None:
    action, other = automation(), automation("other", publish=False)
    await written(database, action, other)
    before = await heard(database)
    async with database.read() as session:
        number = (await listeners.current(session)).number
    with pytest.raises(IdentifierTaken):
        await written(database, automation())
    taken = replace(later(other, publish=True), identifier=action.identifier)

    async def rename() -> None:
        async with database.write() as session:
            await actions.replace(session, other, taken, origin="API")

    with pytest.raises(IdentifierTaken):
        await rename()
    async with database.read() as session:
        assert (await listeners.current(session)).number == number
    assert await heard(database) == before


async def test_a_paused_automation_stays_so_through_versions_and_is_told_with_its_reason(database: Database) -> None:
    action = automation()
    await written(database, action)
    async with database.write() as session:
        assert await actions.pause(session, action.id, REASON)
        assert not await actions.pause(session, action.id, {**REASON, "reason": "another"})
        second = later(action, publish=False)
        await actions.replace(session, action, second, origin="API")
        await actions.replace(session, second, later(second, publish=True), origin="API")
        assert await actions.paused(session, action) == {action.id: REASON}
        assert await actions.paused(session, action, make_action()) == {action.id: REASON}
        assert await actions.paused(session, make_action()) == await actions.paused(session) == {}
    assert await heard(database) == {}


async def test_a_replay_has_the_changes_of_the_span_in_their_order_and_by_their_subject(database: Database) -> None:
    action = automation(publish=True)
    several = [of_entity(2, subject="entity_2"), of_entity(1), of_entity(9), of_entity(3)]
    await written(database, *several, of_entity(1, context={"blueprint": "team"}), action)
    replay = await replayed(database, action, until=AT + timedelta(seconds=3))
    assert replay.changes == 3
    rows = await pending(database)
    wanted = [several[0], several[1], several[3]]
    assert [(row.change_id, row.subject) for row in rows] == [(one.id, one.subject) for one in wanted]
    assert {(row.action_id, row.replay, row.lease) for row in rows} == {(action.id, "", None)}

    assert (await replayed(database, action, until=AT + timedelta(seconds=3))).changes == 0
    again = await replayed(database, action, again=True, since=AT + timedelta(seconds=9))
    assert again.changes == 1
    assert (await pending(database))[-1].replay == again.id


async def test_what_fired_is_left_out_unless_it_shall_fire_again(database: Database) -> None:
    action = automation()
    fired, other = of_entity(1), of_entity(2)
    await written(database, fired, other, action)
    async with database.write() as session:
        for action_id, change in ((action.id, fired), ("action_other", other)):
            row = FiringRow(change_id=change.id, action_id=action_id, outcome="run", subject="s", at=AT)
            session.add(row)
    assert (await replayed(database, action)).changes == 1
    assert [row.change_id for row in await pending(database)] == [other.id]
    assert (await replayed(database, action, again=True)).changes == 2


async def test_what_a_pause_cost_its_run_is_asked_about_and_what_was_recorded_as_a_failure_is_not(
    database: Database,
) -> None:
    action = automation()
    lost, failed = of_entity(1), of_entity(2)
    await written(database, lost, failed, action)
    async with database.write() as session:
        for change, run_id in ((lost, None), (failed, "r_1")):
            session.add(
                FiringRow(
                    change_id=change.id, action_id=action.id, outcome="stopped", run_id=run_id, subject="s", at=AT
                )
            )
    assert (await replayed(database, action, until=AT)).changes == 0, "neither is of this span"
    assert (await replayed(database, action)).changes == 1
    assert [row.change_id for row in await pending(database)] == [lost.id]
    async with database.read() as session:
        assert [fate.run_id for fate in await explanations.fates(session, failed.id)] == ["r_1"]
        assert await explanations.fates(session, lost.id) == []


async def test_changes_of_before_automations_have_the_next_best_subject(database: Database) -> None:
    action = automation()
    of_runs = automation("of_runs", event={"type": "RUN_CREATED", "actionIdentifier": "deploy"})
    run = Change.of(
        "run", None, {}, context={"runId": "r_1", "action": "deploy", "blueprint": "service", "entity": "cart"},
        at=AT, by="user_1", origin="API",
    )  # fmt: skip
    await written(database, of_entity(1, subject=""), run, action, of_runs)
    async with database.write() as session:
        for row in await session.exec(select(ChangeRow).where(col(ChangeRow.resource_type).in_(["entity", "run"]))):
            row.document = {key: value for key, value in row.document.items() if key != "subject"}
            session.add(row)
    await replayed(database, action)
    await replayed(database, of_runs)
    assert [row.subject for row in await pending(database)] == ["service/cart", "r_1"]


async def test_timers_are_found_by_their_property(database: Database) -> None:
    def expired(name: str) -> Change:
        context: dict[str, str | None] = {"blueprint": "service", "entity": "cart", "property": name}
        return of_entity(1, context=context)._replace(action=Happening.TIMER_EXPIRED)

    ttl = expired("ttl")
    event: Document = {
        "type": "TIMER_PROPERTY_EXPIRED",
        "blueprintIdentifier": "service",
        "propertyIdentifier": "ttl",
    }
    action = automation(event=event)
    await written(database, ttl, expired("other"), of_entity(1), action)
    await replayed(database, action)
    assert [row.change_id for row in await pending(database)] == [ttl.id]
    async with database.read() as session:
        found = await explanations.past(session, event, since=None, until=None, limit=9)
        assert [one["id"] for one in found] == [ttl.id]
        schedule: Document = {"type": "SCHEDULE", "cron": "* * * * *"}
        assert await explanations.past(session, schedule, since=None, until=None, limit=9) == []


async def test_past_changes_are_newest_first_and_named_ones_must_be_there(database: Database) -> None:
    several = [of_entity(i) for i in range(4)]
    await written(database, *several)
    ids = [one.id for one in several]
    async with database.read() as session:
        span = {"since": AT + timedelta(seconds=1), "until": AT + timedelta(seconds=3)}
        found = await explanations.past(session, SERVICE, **span, limit=2)
        assert [one["id"] for one in found] == [ids[3], ids[2]]
        assert [one["id"] for one in await explanations.named(session, ids[:2])] == [ids[1], ids[0]]
        assert await explanations.named(session, []) == []
        with pytest.raises(NotFound, match="event_none"):
            await explanations.named(session, [ids[0], "event_none"])


async def test_who_listens_is_told_with_the_version_of_then(database: Database) -> None:
    action, draft = automation(), automation("draft", publish=False)
    await written(database, action, draft, automation("elsewhere", event=SERVICE | {"blueprintIdentifier": "b"}))
    second = later(action, publish=False)
    async with database.write() as session:
        await actions.replace(session, action, second, origin="API")
    for minutes, version in ((-1, None), (0, 1), (0.9, 1), (1, 2), (5, 2)):
        change = of_entity(0, at=AT + timedelta(minutes=minutes)).document()
        async with database.read() as session:
            first, last = await explanations.listeners_of(session, change)
        assert (first.action.identifier, last.action.version) == ("draft", 2)
        assert (last.then.version if last.then else None) == version, minutes
        assert last.paused is None


async def test_the_clock_concerns_the_automation_that_it_starts(database: Database) -> None:
    action = automation(event={"type": "SCHEDULE", "cron": "* * * * *"})
    await written(database, action, automation("other"))
    fired = Change(
        id="event_1", resource_type="schedule", action=Happening.FIRED, at=AT, by="interlock", origin="API",
        context={"action": action.identifier}, before=None, after={}, subject=action.id,
    )  # fmt: skip
    async with database.read() as session:
        [listener] = await explanations.listeners_of(session, fired.document())
        assert listener.action.id == action.id
        of_a_team = fired._replace(resource_type="team").document()
        assert await explanations.listeners_of(session, of_a_team) == []


async def test_fates_are_told_also_of_automations_that_are_gone(database: Database) -> None:
    action, change = automation(), of_entity(1)
    await written(database, action, change)
    async with database.write() as session:
        session.add(FiringRow(change_id=change.id, action_id=action.id, outcome="held", subject="s", at=AT))
        session.add(FiringRow(change_id=change.id, action_id="action_x", outcome="held", subject="s", at=AT))
    async with database.read() as session:
        one, gone = sorted(await explanations.fates(session, change.id), key=lambda fate: fate.action is None)
        assert (one.action, one.restricted, one.run_id) == (action, False, None)
        assert (gone.action, gone.restricted, gone.outcome) == (None, True, "held")
        assert await explanations.pending_for(session, change.id) == {""}
