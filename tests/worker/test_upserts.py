"""Runs that write to the catalog: the entity and the end of the run are one transaction, on both databases."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import col, select

from activities.services import Services
from activities.upserts import upsert
from backends.base import EntityWrite, Resources
from domain.automations import Outcome
from domain.blueprints import Blueprint, BlueprintId
from domain.documents import Document
from domain.errors import NotFound
from domain.runs import PLATFORM, Driving, Run, RunStatus, Source
from domain.users import Caller
from store import actions, automation_writes, blueprints, entities, firings, runs
from store.automation_tables import AutomationWriteRow
from store.database import Database
from store.tables import ChangeRow
from tests.store.conftest import AT, make_action, make_run, no_jq

WRITE = EntityWrite("service", {"identifier": "cart", "properties": {"n": 1}})


@pytest.fixture
async def services(database: Database) -> Services:
    """What activities work with, over a catalog of one blueprint."""
    document: Document = {"identifier": "service", "schema": {"properties": {"n": {"type": "number"}}}}
    async with database.write() as session:
        made = Blueprint(BlueprintId("service"), document, AT, "user_1", AT, "user_1")
        await blueprints.create(session, made, origin="API")
    return Services(
        database=database,
        evaluate=no_jq,
        resources=Resources(signing_secret="s"),
        decrypt=lambda closed: closed,
        access_token=lambda run_id, depth: "",
        credentials=Caller("org_1", "client_1", machine=True),
        attempts=1,
        now=lambda: datetime.now(UTC),
        request_key=b"key",
    )


async def recorded(services: Services, run: Run) -> Run:
    """The run, in SQL."""
    async with services.database.write() as session:
        action = make_action(f"of_{run.id}")
        await actions.create(session, action, origin="API")
        await runs.create(session, run, action_id=action.id, request=None)
    return run


async def changes(services: Services, kind: str) -> list[Document]:
    """What was recorded about things of a kind, in order."""
    async with services.database.read() as session:
        rows = await session.exec(
            select(ChangeRow.document).where(ChangeRow.resource_type == kind).order_by(col(ChangeRow.sequence))
        )
        return list(rows.all())  # type: ignore[arg-type]


async def test_however_often_it_is_tried_it_is_written_once(services: Services) -> None:
    run = await recorded(services, make_run())
    ended = await asyncio.gather(*(upsert(services, run, WRITE, lines=("a line",)) for _ in range(8)))
    assert {one.status for one in ended} == {RunStatus.SUCCESS}
    assert {one.summary for one in ended} == {"Created service 'cart'"}
    await upsert(services, run, EntityWrite("service", {"identifier": "cart", "properties": {"n": 2}}))
    [written] = await changes(services, "entity")
    assert written["after"]["properties"] == {"n": 1}  # type: ignore[index, call-overload]
    assert len(await changes(services, "run")) == 2, "it was made, and it ended"
    async with services.database.read() as session:
        assert [line["message"] for line in await runs.logs(session, run.id, limit=9, offset=0)] == ["a line"]


async def test_a_run_that_has_ended_writes_nothing(services: Services) -> None:
    run = await recorded(services, make_run())
    async with services.database.write() as session:
        await runs.change(session, run.id, lambda now: now.cancelled("Stopped", at=AT, by="x"), origin="API")
    ended = await upsert(services, run, WRITE)
    assert (ended.status, ended.summary) == (RunStatus.FAILURE, "Stopped")
    assert await changes(services, "entity") == []


async def test_what_cannot_be_written_leaves_the_run_as_it_is(services: Services) -> None:
    run = await recorded(services, make_run())
    with pytest.raises(NotFound, match="nothing"):
        await upsert(services, run, EntityWrite("nothing", {"identifier": "cart"}))
    async with services.database.read() as session:
        assert await runs.get(session, run.id) == run
    assert await changes(services, "entity") == []


async def test_an_identifier_that_others_have_meanwhile_is_still_the_runs(services: Services) -> None:
    run, other = await recorded(services, make_run()), await recorded(services, make_run())
    name = f"e_{run.id.removeprefix('r_')}"
    await upsert(services, other, EntityWrite("service", {"identifier": name, "title": "Other"}))
    ended = await upsert(services, run, EntityWrite("service", {"properties": {"n": 3}}))
    assert ended.summary == f"Updated service '{name}'"
    async with services.database.read() as session:
        found = (await entities.get(session, "service", name)).entity
    assert (found.title, found.properties) == ("Other", {"n": 3})


@pytest.mark.parametrize(
    ("source", "by", "author", "origin"),
    [
        (Source.API, "user_1", "user_1", "API"),
        (Source.UI, "user_1", "user_1", "API"),
        (Source.AUTOMATION, PLATFORM, "client_1", "AUTOMATION"),
    ],
)
async def test_the_change_says_who_wrote_it_and_which_run_made_them(
    services: Services, source: Source, by: str, author: str, origin: str
) -> None:
    run = await recorded(services, make_run(source=source, created_by=by, interlock=Driving(depth=3)))
    await upsert(services, run, WRITE)
    [change] = await changes(services, "entity")
    assert (change["by"], change["origin"], change["causedBy"], change["depth"]) == (author, origin, run.id, 4)
    assert change["context"] == {"blueprint": "service", "entity": "cart", "runId": run.id}


async def say(services: Services, run: Run, summary: str) -> None:
    """Change the run."""
    async with services.database.write() as session:
        await runs.change(session, run.id, lambda now: now.changed(at=AT, by="x", summary=summary), origin="API")


async def fired(services: Services, subject: Run, *, times: int) -> list[Run]:
    """Runs of one automation, for so many changes of a subject, one after the other."""
    automation = make_action("mirror")
    async with services.database.write() as session:
        await actions.create(session, automation, origin="API")
    made = []
    for number in range(times):
        await say(services, subject, str(number))
        cause = str((await changes(services, "run"))[-1]["id"])
        run = make_run(source=Source.AUTOMATION, created_by=PLATFORM, interlock=Driving(cause=cause))
        async with services.database.write() as session:
            await runs.create(session, run, action_id=automation.id, request=None)
            firing = firings.Firing(cause, automation.id, subject.id, Outcome.RUN, AT, run_id=run.id)
            await firings.record(session, firing)
        made.append(run)
    return made


async def test_an_automation_that_comes_too_late_leaves_what_a_later_change_wrote(services: Services) -> None:
    subject, other = await recorded(services, make_run()), await recorded(services, make_run())
    first, second, third = await fired(services, subject, times=3)

    def mirror(number: int) -> EntityWrite:
        return EntityWrite("service", {"identifier": "cart", "properties": {"n": number}})

    await upsert(services, second, mirror(2))
    late = await upsert(services, first, mirror(1))
    assert (late.status, late.summary) == (
        RunStatus.SUCCESS,
        f"Left service 'cart' as run {second.id} wrote it for a later change",
    )
    assert [one["after"]["properties"] for one in await changes(services, "entity")] == [{"n": 2}]  # type: ignore[index, call-overload]
    assert (await upsert(services, third, mirror(3))).summary == "Updated service 'cart'"
    await upsert(services, other, mirror(4))
    assert len(await changes(services, "entity")) == 3, "who is no run of that automation writes as ever"


async def test_what_each_change_of_a_subject_writes_by_itself_is_all_written(services: Services) -> None:
    made = await fired(services, await recorded(services, make_run()), times=3)
    for run in reversed(made):
        assert (await upsert(services, run, EntityWrite("service", {}))).status is RunStatus.SUCCESS
    assert len(await changes(services, "entity")) == 3


async def test_of_automations_at_the_same_time_the_last_change_stays(services: Services) -> None:
    made = await fired(services, await recorded(services, make_run()), times=6)
    writes = [EntityWrite("service", {"identifier": "cart", "properties": {"n": number}}) for number in range(6)]
    ended = await asyncio.gather(*(upsert(services, run, write) for run, write in zip(made, writes, strict=True)))
    assert {run.status for run in ended} == {RunStatus.SUCCESS}
    async with services.database.read() as session:
        assert (await entities.get(session, "service", "cart")).entity.properties == {"n": 5}


async def test_who_wrote_last_is_found_by_key_however_much_was_written_before(services: Services) -> None:
    subject = await recorded(services, make_run())
    first, second, third = await fired(services, subject, times=3)
    write = EntityWrite("service", {"identifier": "cart"})
    for run in (third, second):
        await upsert(services, run, write)
    async with services.database.read() as session:
        [row] = await session.exec(select(AutomationWriteRow))
        assert (row.run_id, row.subject, row.blueprint, row.identifier) == (third.id, subject.id, "service", "cart")
        asked: list[Any] = []
        connection = session.sync_session.connection()
        event.listen(connection, "before_execute", lambda _, statement, *__: asked.append(statement))
        written: Document = {"blueprint": "service", "identifier": "cart"}
        assert await automation_writes.later(session, first, written) == third.id
        if services.database.is_sqlite:
            for statement in asked[:]:
                values = dict.fromkeys(statement.compile().params, "x")
                sql = statement.params(**values).compile(connection, compile_kwargs={"literal_binds": True})
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}").all()
                assert all(step[-1].startswith("SEARCH") for step in plan), plan
        assert len(asked) == 2
