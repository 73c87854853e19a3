"""The change log in SQL: what the audit log is asked, who sees what, what is purged."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import col, select

from domain.automations import Outcome
from domain.changes import Change, Happening
from domain.documents import Document
from store import actions, audit, changes, firings, runs
from store.audit import Filters
from store.automation_tables import AutomationWriteRow, ChangeDeliveryRow, HeldChangeRow, PendingChangeRow
from store.database import Database
from store.explanations import meant_by
from store.firings import Firing
from store.run_visibility import Viewer
from store.tables import ChangeRow
from tests.store.conftest import AT, make_action, make_run


def of_entity(number: int = 0, **more: Any) -> Change:
    """A change that an upsert made, `number` seconds after the first."""
    values = {
        "context": {"blueprint": "service", "entity": "cart", "runId": "r_1"},
        "at": AT + timedelta(seconds=number),
        "by": "user_1",
        "origin": "API",
        **more,
    }
    return Change.of("entity", None, {"identifier": "cart"}, **values)


def refused(**more: Any) -> Change:
    values = {"context": {"action": "deploy"}, "at": AT, "by": "user_1", "origin": "API", **more}
    return Change.refused("run", Happening.CREATE, "because", **values)


async def recorded(database: Database, *all_of_them: Change) -> list[str]:
    async with database.write() as session:
        for change in all_of_them:
            await changes.append(session, change)
    return [change.id for change in all_of_them]


async def listed(database: Database, **filters: Any) -> list[Document]:
    async with database.read() as session:
        return await audit.listed(session, Filters(**filters))


async def ids(database: Database, **filters: Any) -> list[object]:
    return [one["id"] for one in await listed(database, **filters)]


async def test_changes_read_back_newest_first_and_those_of_one_moment_in_reverse(database: Database) -> None:
    late, one, two, early = await recorded(database, of_entity(9), of_entity(5), of_entity(5), of_entity(1))
    assert await ids(database) == [late, two, one, early]
    assert await ids(database, limit=2) == [late, two]


async def test_of_holds_what_happened() -> None:
    before: Document = {"a": 1}
    after: Document = {"a": 2}
    given: dict[str, Any] = {"context": {"entity": "e"}, "at": AT, "by": "u", "origin": "UI"}
    for was, is_now, action in ((None, after, "CREATE"), (before, after, "UPDATE"), (before, None, "DELETE")):
        document = Change.of("entity", was, is_now, **given).document()
        assert (document["action"], document["before"], document["after"]) == (action, was, is_now)
        assert (document["status"], document["message"]) == ("SUCCESS", None)


@pytest.mark.parametrize(
    ("filters", "more"),
    [
        ({"entity": "other"}, {"context": {"entity": "other"}}),
        ({"blueprint": "other"}, {"context": {"blueprint": "other"}}),
        ({"run_id": "r_2"}, {"context": {"runId": "r_2"}}),
        ({"webhook_id": "w"}, {"context": {"webhookId": "w"}}),
        ({"webhook_event_id": "v"}, {"context": {"webhookEventId": "v"}}),
        ({"installation_id": "i"}, {"context": {"installationId": "i"}}),
        ({"origins": ("UI", "port-ocean")}, {"origin": "UI"}),
        ({"until": AT}, {"at": AT}),
        ({"until": AT - timedelta(milliseconds=1)}, {"at": AT - timedelta(microseconds=400)}),
        ({"since": AT + timedelta(hours=1)}, {"at": AT + timedelta(hours=1)}),
        ({"since": AT, "until": AT, "entity": "cart"}, {"at": AT}),
    ],
    ids=str,
)
async def test_each_filter_finds_what_it_names_and_nothing_else(
    database: Database, filters: dict[str, Any], more: dict[str, Any]
) -> None:
    _, wanted = await recorded(database, of_entity(60), of_entity(60, **more))
    assert await ids(database, **filters) == [wanted]
    assert len(await ids(database)) == 2


async def test_kinds_actions_and_outcomes_are_filters_too_and_all_must_hold(database: Database) -> None:
    created, refusal = await recorded(database, of_entity(), refused())
    [deleted] = await recorded(
        database,
        Change.of("action", {"a": 1}, None, context={"action": "deploy"}, at=AT, by="user_1", origin="API"),
    )
    assert await ids(database, resources=("action", "run")) == [deleted, refusal]
    assert await ids(database, action="DELETE") == [deleted]
    assert await ids(database, status="FAILURE") == [refusal]
    assert await ids(database, status="SUCCESS") == [deleted, created]
    assert await ids(database, identifier=created) == [created]
    assert await ids(database, identifier=created, status="FAILURE") == []
    assert await ids(database, resources=("run",), status="FAILURE", action="CREATE") == [refusal]


async def test_a_member_sees_runs_that_show_and_neither_secrets_nor_refusals(database: Database) -> None:
    hidden, shown = make_action("hidden", allowAnyoneToViewRuns=False), make_action("shown")
    theirs, mine, open_one = make_run(created_by="other"), make_run(created_by="me"), make_run(created_by="other")
    async with database.write() as session:
        for action in (hidden, shown):
            await actions.create(session, action, origin="API")
        for run, action in ((theirs, hidden), (mine, hidden), (open_one, shown)):
            await runs.create(session, run, action_id=action.id, request=None)
    given: dict[str, Any] = {"at": AT, "by": "user_1", "origin": "API"}
    nothing = [
        refused(context={"runId": mine.id}),
        *(Change.of(kind, None, {}, context={}, **given) for kind in ("secret", "user", "run", "webhook")),
        Change.of("run", None, {}, context={"runId": "r_none"}, **given),
    ]
    await recorded(database, of_entity(context={"entity": "cart", "runId": theirs.id}), *nothing)

    async def seen(viewer: Viewer | None) -> list[str]:
        found = await listed(database, viewer=viewer)
        return sorted(f"{one['resourceType']} of {_run_id(one)}" for one in found)

    always = ["action of None", "action of None", f"entity of {theirs.id}"]
    shows = [f"run of {one.id}" for one in (mine, open_one)]
    assert await seen(Viewer("me", ())) == sorted(always + shows)
    assert await seen(Viewer("me", (hidden.id,))) == sorted([*always, *shows, f"run of {theirs.id}"])
    assert await seen(Viewer("somebody", ())) == sorted([*always, f"run of {open_one.id}"])
    assert len(await seen(None)) == len(always) + 3 + len(nothing)


def _run_id(change: Document) -> object:
    context = change["context"]
    assert isinstance(context, dict)
    return context.get("runId")


async def test_the_log_is_purged_in_batches_but_for_what_is_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_BATCH", 2)
    old = await recorded(database, *(of_entity(number) for number in range(7)))
    kept = await recorded(database, of_entity(7), of_entity(8))
    action, run = make_action(), make_run()
    async with database.write() as session:
        await actions.create(session, action, origin="API")
        await runs.create(session, run, action_id=action.id, request=None)
        session.add(PendingChangeRow(change_id=old[1], subject="s", listening=0))
        session.add(HeldChangeRow(action_id="a", subject="s", change_id=old[2], due_at=AT))
        session.add(ChangeDeliveryRow(change_id=old[6], since=AT))
        sequences = await session.exec(
            select(ChangeRow.sequence).where(ChangeRow.resource_type == "entity").order_by(col(ChangeRow.sequence))
        )
        for name, sequence in zip(["gone", *"abcdef", "kept"], sequences, strict=False):
            written = {"action_id": "a", "subject": "s", "blueprint": "b", "identifier": name, "run_id": "r"}
            session.add(AutomationWriteRow(**written, sequence=sequence or 0))
        for change_id, run_id in ((old[3], run.id), (old[4], "r_gone")):
            await firings.record(session, Firing(change_id, "a", "s", Outcome.RUN, AT, run_id=run_id))
    before = AT + timedelta(seconds=7)

    async def left() -> list[str]:
        async with database.read() as session:
            query = select(ChangeRow.id).where(ChangeRow.resource_type == "entity").order_by(col(ChangeRow.sequence))
            return list(await session.exec(query))

    await audit.purge(database, before=before)
    assert await left() == [*old[1:4], old[6], *kept]
    async with database.write() as session:
        await runs.change(session, run.id, lambda one: one.cancelled("enough", at=AT, by="ada"), origin="API")
    await audit.purge(database, before=before)
    assert await left() == [*old[1:3], old[6], *kept]
    async with database.read() as session:
        assert sorted(await session.exec(select(AutomationWriteRow.identifier))) == ["a", "b", "f", "kept"]


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "ix_changes_newest"),
        ({"since": AT}, "ix_changes_newest"),
        ({"entity": "cart"}, "ix_changes_entity"),
        ({"blueprint": "service"}, "ix_changes_blueprint"),
        ({"run_id": "r_1"}, "ix_changes_run_id"),
        ({"webhook_id": "w"}, "ix_changes_webhook"),
        ({"installation_id": "i"}, "ix_changes_installation"),
        ({"origins": ("UI",)}, "ix_changes_origin"),
        ({"resources": ("run",), "action": "CREATE"}, "ix_changes_kind"),
        ({"status": "FAILURE"}, "ix_changes_failures"),
    ],
    ids=str,
)
async def test_no_filter_reads_the_whole_log(sqlite_url: str, filters: dict[str, Any], index: str) -> None:
    async with Database(sqlite_url) as database:
        asked: list[Any] = []
        async with database.read() as session:
            connection = session.sync_session.connection()
            event.listen(connection, "before_execute", lambda _, statement, *__: asked.append(statement))
            await audit.listed(session, Filters(**filters))
            plan = connection.exec_driver_sql(
                "EXPLAIN QUERY PLAN " + str(asked[0].compile(connection, compile_kwargs={"literal_binds": True}))
            ).all()
    assert index in " ".join(step[-1] for step in plan)


@pytest.mark.parametrize("kind", ["RUN_CREATED", "RUN_UPDATED", "ANY_RUN_CHANGE"])
async def test_changes_of_one_action_are_found_by_it(sqlite_url: str, kind: str) -> None:
    query = (
        select(ChangeRow.id)
        .where(meant_by({"type": kind, "actionIdentifier": "deploy"}))
        .order_by(col(ChangeRow.at).desc(), col(ChangeRow.sequence).desc())
    )
    async with Database(sqlite_url) as database, database.read() as session:
        connection = session.sync_session.connection()
        asked = query.compile(connection, compile_kwargs={"literal_binds": True})
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}").all()
    assert "ix_changes_action" in " ".join(step[-1] for step in plan)
