"""Timelines of runs, on both databases: everything that is known of a run, in order, page by page."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import delete
from sqlmodel import col

from domain.approvals import Channel, Decision, DecisionState, Verdict
from domain.attempts import Attempt, Kind, Outcome, Try
from domain.driving import Asked
from domain.run_timelines import Attempted, Decided, Ended, Entry, Logged, Lost, Recorded, Reported
from domain.runs import PLATFORM, Report, Run, RunStatus
from store import attempts, run_timelines, runs
from store.database import Database
from store.tables import ChangeRow, DecisionRow
from tests.store.conftest import AT, make_run
from tests.store.test_runs_in_sql import recorded


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def made(
    at: datetime, kind: Kind = Kind.INVOKE, outcome: Outcome = Outcome.ACCEPTED, said: str | None = None
) -> Attempt:
    return Attempt(kind=kind, started_at=at, ended_at=at, outcome=outcome, said=said)


def decision(user: str, state: DecisionState, at: datetime) -> Decision:
    return Decision(user_id=user, name=f"{user}@example.com", state=state, channel=Channel.SLACK, at=at)


async def changed(database: Database, run: Run, *moves: Callable[[Run], Run]) -> Run:
    for move in moves:
        async with database.write() as session:
            _, run = await runs.change(session, run.id, move, origin="API")
    return run


async def shown(database: Database, run: Run, limit: int = 100, offset: int = 0) -> list[Entry]:
    async with database.read() as session:
        return list(await run_timelines.page(session, run, limit=limit, offset=offset))


def kinds(entries: list[Entry]) -> list[str]:
    return [entry.kind for entry in entries]


async def a_long_story(database: Database) -> Run:
    """A run that waited, was approved, called its backend four times of which one left no record, and was reported."""
    waits = make_run(status=RunStatus.WAITING_FOR_APPROVAL, required_approval=True)
    run = await recorded(database, waits)
    approve = decision("user_2", DecisionState.APPROVED, after(2))
    run = await changed(
        database,
        run,
        lambda one: one.told(Asked(user_ids=("user_2",), channel="email", at=after(1))),
        lambda one: one.decided(approve, Verdict.APPROVED),
        lambda one: one.begun({"type": "WEBHOOK"}, synchronous=False, at=after(3)),
    )
    async with database.write() as session:
        session.add(DecisionRow(run_id=run.id, user_id="user_2", document=approve.model_dump(mode="json")))
        failed = made(after(4), outcome=Outcome.UNREACHABLE, said="Connection refused")
        await attempts.record(session, run.id, failed, Try(activity="5"))
        await attempts.record(session, run.id, made(after(6)), Try(activity="5", first=3, last=4))
        await attempts.record(session, run.id, made(after(7), Kind.LOOK_UP))
        await runs.log(session, run.id, "half way", by="user_3", at=after(8))
        await attempts.record(session, make_run().id, made(after(8)))
    report = Report(status_label="half", external_run_id="7")
    end = Report(status=RunStatus.SUCCESS, summary="done")
    return await changed(
        database,
        run,
        lambda one: one.reported(report, at=after(9), by="user_3"),
        lambda one: one.reported(end, at=after(10), by="user_3"),
    )


STORY = [
    "RECORDED", "APPROVAL_ASKED", "APPROVAL_DECIDED", "BEGUN", "ATTEMPT", "ATTEMPT_LOST", "ATTEMPT", "ATTEMPT",
    "LOGGED", "REPORTED", "ENDED",
]  # fmt: skip


async def test_everything_that_happened_is_told_in_order(database: Database) -> None:
    run = await a_long_story(database)
    told = await shown(database, run)
    assert kinds(told) == STORY
    assert [entry.at for entry in told] == sorted(entry.at for entry in told)
    first, _, decided, _, failed, lost, done, looked, line, reported, ended = told
    assert isinstance(first, Recorded)
    assert (first.by, first.status) == ("user_1", RunStatus.WAITING_FOR_APPROVAL)
    assert isinstance(decided, Decided)
    assert (decided.by, decided.status, decided.state) == ("user_2", RunStatus.IN_PROGRESS, "APPROVED")
    assert decided.channel is Channel.SLACK
    assert isinstance(failed, Attempted)
    assert isinstance(done, Attempted)
    assert isinstance(looked, Attempted)
    assert isinstance(lost, Lost)
    assert [failed.number, lost.number, done.number, looked.number] == [1, 2, 3, 1]
    assert (failed.attempt.said, looked.attempt.kind) == ("Connection refused", Kind.LOOK_UP)
    assert isinstance(line, Logged)
    assert (line.by, line.message) == ("user_3", "half way")
    assert isinstance(reported, Reported)
    assert (reported.status_label, reported.external_run_id, reported.summary) == ("half", "7", None)
    assert reported.changed == ("statusLabel", "externalRunId")
    assert isinstance(ended, Ended)
    assert (ended.by, ended.status, ended.summary) == ("user_3", RunStatus.SUCCESS, "done")


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_pages_are_parts_of_the_whole(database: Database, limit: int) -> None:
    run = await a_long_story(database)
    pages = [await shown(database, run, limit, offset) for offset in range(0, len(STORY) + limit, limit)]
    assert [entry for page in pages for entry in page] == await shown(database, run)


async def test_what_the_audit_log_has_no_more_is_told_as_far_as_the_run_knows_it(database: Database) -> None:
    run = await a_long_story(database)
    async with database.write() as session:
        await session.exec(delete(ChangeRow).where(col(ChangeRow.run_id) == run.id))
    told = await shown(database, run)
    gone = {"APPROVAL_ASKED", "BEGUN", "REPORTED"}
    assert kinds(told) == [kind for kind in STORY if kind not in gone]
    assert (told[0].by, told[1].by, told[-1].at) == ("user_1", "user_2", after(10))


async def test_a_decision_that_ends_the_run_is_told_and_so_is_the_end(database: Database) -> None:
    run = await recorded(database, make_run(status=RunStatus.WAITING_FOR_APPROVAL))
    decline = decision("user_2", DecisionState.DECLINED, after(1))
    run = await changed(database, run, lambda one: one.decided(decline, Verdict.DECLINED))
    assert kinds(await shown(database, run)) == ["RECORDED", "APPROVAL_DECIDED", "ENDED"]


async def test_a_time_limit_that_ends_the_run_is_its_end(database: Database) -> None:
    run = await recorded(database, make_run(status=RunStatus.WAITING_FOR_APPROVAL))
    run = await changed(database, run, lambda one: one.undecided(at=after(1), by=PLATFORM))
    told = await shown(database, run)
    assert kinds(told) == ["RECORDED", "ENDED"]
    assert told[1].by == PLATFORM


async def test_a_run_that_waits_again_says_so(database: Database) -> None:
    run = await recorded(database, make_run())
    run = await changed(database, run, lambda one: one.reopened(request="x", at=after(1)))
    assert kinds(await shown(database, run)) == ["RECORDED", "APPROVAL_REOPENED"]


async def test_failures_are_counted_by_activity(database: Database) -> None:
    run = make_run()
    outcomes = [Outcome.UNREACHABLE, Outcome.BUSY, Outcome.REFUSED, Outcome.BUSY, Outcome.BUSY]
    async with database.write() as session:
        for number, outcome in enumerate(outcomes, 1):
            tried = Try(activity="5", first=number, last=number)
            await attempts.record(session, run.id, made(AT, outcome=outcome), tried)
        await attempts.record(session, run.id, made(AT, outcome=Outcome.REFUSED), Try(activity="6"))
        await attempts.record(session, make_run().id, made(AT, outcome=Outcome.REFUSED), Try(activity="5"))
    async with database.read() as session:
        before = await attempts.before(session, run.id, "5")
    assert before == attempts.Before(failures=2, refusals=3, latest=made(AT, outcome=Outcome.BUSY))


async def test_the_same_news_is_kept_once(database: Database) -> None:
    run = make_run()
    said = ["down", "down", "up", "down"]
    async with database.write() as session:
        for number, word in enumerate(said):
            look = made(after(number), Kind.LOOK_UP, Outcome.REFUSED, word)
            await attempts.record_news(session, run.id, look)
    told = [entry for entry in await shown(database, run) if isinstance(entry, Attempted)]
    assert [entry.attempt.said for entry in told] == ["down", "up", "down"]
