"""Runs in SQL: compare and set, what is told to workflows, lists."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlmodel import col, select

from domain.approvals import Decision, DecisionState, RequiredApproval
from domain.deciders import Standing
from domain.errors import InvalidRequest, NotFound, RunExhausted, RunNotWaitingForApproval
from domain.runs import Driving, Report, Run, RunStatus
from store import actions, approvals, run_lists, runs, wakes
from store.database import Database
from store.run_visibility import Viewer
from store.tables import ChangeRow, RunRow
from tests.store.conftest import make_action, make_run


async def recorded(database: Database, run: Run) -> Run:
    async with database.write() as session:
        action = make_action(f"of_{run.id}")
        await actions.create(session, action, origin="API")
        await runs.create(session, run, action_id=action.id, request=None)
    return run


async def history(database: Database, run: Run) -> list[tuple[str | None, str]]:
    async with database.read() as session:
        rows = (
            await session.exec(select(ChangeRow).where(ChangeRow.run_id == run.id).order_by(col(ChangeRow.sequence)))
        ).all()
    statuses = []
    for row in rows:
        before, after = row.document["before"], row.document["after"]
        assert isinstance(after, dict)
        statuses.append((before["status"] if isinstance(before, dict) else None, after["status"]))
    return statuses  # type: ignore[return-value]


async def pending(database: Database, run: Run) -> str | None:
    async with database.read() as session:
        row = await session.get(RunRow, run.id)
        assert row
        return row.pending


async def test_a_run_reads_back_as_it_was_written(database: Database) -> None:
    run = await recorded(database, make_run(properties={"z": 1, "a": {"ö": [1.5, None]}}, link=("x",)))
    async with database.read() as session:
        found = await runs.get(session, run.id)
    assert found == run
    assert list(found.properties) == ["z", "a"], "documents keep the order of their keys"
    assert await history(database, run) == [(None, "IN_PROGRESS")]
    assert await pending(database, run) == "start"


async def test_a_run_that_is_not_there_is_not_found(database: Database) -> None:
    async with database.read() as session:
        with pytest.raises(NotFound, match="r_0000000000000000"):
            await runs.get(session, "r_0000000000000000")
    with pytest.raises(NotFound):
        async with database.write() as session:
            await runs.change(session, "r_0000000000000000", lambda run: run, origin="API")


async def test_a_text_that_cannot_be_stored_is_refused_or_matches_nothing(database: Database) -> None:
    async def look() -> list[Run]:
        async with database.read() as session:
            return await run_lists.listed(session, run_lists.Filters(entity="a\x00b"))

    if database.is_sqlite:
        assert await look() == []
    else:
        with pytest.raises(InvalidRequest, match="NUL"):
            await look()


async def test_of_many_racing_reports_exactly_one_settles_the_run(database: Database, at: datetime) -> None:
    run = await recorded(database, make_run())

    async def report(number: int) -> bool:
        said = Report(status=RunStatus.SUCCESS if number % 2 else RunStatus.FAILURE, summary=str(number))
        try:
            async with database.write() as session:
                await runs.change(session, run.id, lambda now: now.reported(said, at=at, by="x"), origin="API")
        except RunExhausted:
            return False
        return True

    assert sum(await asyncio.gather(*(report(number) for number in range(20)))) == 1
    assert len(await history(database, run)) == 2, "one creation, one settlement"


async def test_a_move_that_changes_nothing_writes_nothing(database: Database, at: datetime) -> None:
    run = await recorded(database, make_run(summary="same"))
    async with database.write() as session:
        before, after = await runs.change(
            session, run.id, lambda now: now.reported(Report(summary="same"), at=at, by="x"), origin="API"
        )
    assert before is after
    assert await history(database, run) == [(None, "IN_PROGRESS")]


async def test_a_move_that_raises_leaves_nothing_behind(database: Database, at: datetime) -> None:
    run = await recorded(database, make_run())

    async def fail_half_way() -> None:
        async with database.write() as session:
            await runs.log(session, run.id, "half", by="x", at=at)
            await runs.change(session, run.id, lambda now: now.cancelled("x", at=at, by="x"), origin="API")
            raise RuntimeError("the process fails before its transaction ends")

    with pytest.raises(RuntimeError):
        await fail_half_way()
    async with database.read() as session:
        assert (await runs.get(session, run.id)).status is RunStatus.IN_PROGRESS
        assert await runs.logs(session, run.id, limit=50, offset=0) == []
    assert await history(database, run) == [(None, "IN_PROGRESS")]


async def test_a_workflow_has_to_be_woken_until_it_was_told(database: Database, at: datetime) -> None:
    run = await recorded(database, make_run())
    async with database.write() as session:
        assert await wakes.told(session, [run.id], "start", RunStatus.IN_PROGRESS) == 1
        await runs.change(session, run.id, lambda now: now.changed(at=at, by="x", summary="half way"), origin="API")
    assert await pending(database, run) is None, "what does not move the run wakes nobody"
    async with database.write() as session:
        await runs.change(session, run.id, lambda now: now.cancelled("x", at=at, by="x"), origin="API")
    assert await pending(database, run) == "wake"
    async with database.write() as session:
        assert await wakes.told(session, [run.id], "start", RunStatus.IN_PROGRESS) == 0, (
            "a late word that it was started takes nothing back"
        )
        assert await wakes.told(session, [run.id], "wake", RunStatus.FAILURE) == 1
    assert await pending(database, run) is None


async def test_what_the_workflow_itself_asks_for_needs_no_wake(database: Database, at: datetime) -> None:
    run = await recorded(database, make_run())
    async with database.write() as session:
        await runs.change(session, run.id, lambda now: now.cancelled("x", at=at, by="x"), origin="API", by_driver=True)
    assert await pending(database, run) is None


async def test_overdue_runs_are_leased_to_one_relay_at_a_time(database: Database, at: datetime) -> None:
    made = [await recorded(database, make_run()) for _ in range(10)]
    later = at + timedelta(seconds=10)

    async def lease() -> list[str]:
        async with database.write() as session:
            return [run.id for run, _ in await wakes.leased(session, before=later, now=later, limit=4)]

    async def left(before: datetime) -> bool:
        async with database.read() as session:
            return await wakes.left(session, before=before)

    assert (await left(made[0].created_at), await left(later)) == (False, True)
    leased = [run_id for batch in await asyncio.gather(*(lease() for _ in range(5))) for run_id in batch]
    assert sorted(leased) == sorted(run.id for run in made), "each once"
    assert (await lease(), await left(later)) == ([], False)
    async with database.write() as session:
        again = await wakes.leased(session, before=later + timedelta(seconds=1), now=later, limit=100)
    assert len(again) == 10, "a lease that was not used runs out"


async def test_a_key_makes_one_run(database: Database) -> None:
    request = runs.Request("key", "digest")
    async with database.write() as session:
        action, first = make_action(), make_run()
        await actions.create(session, action, origin="API")
        await runs.create(session, first, action_id=action.id, request=request)
    with pytest.raises(runs.KeyTaken):
        async with database.write() as session:
            await runs.create(session, make_run(), action_id=action.id, request=request)
    async with database.read() as session:
        known = await runs.by_key(session, "key")
        assert known
        assert (known[0].id, known[1]) == (first.id, "digest")
        assert await runs.by_key(session, "other") is None


async def test_an_action_that_was_deleted_makes_no_run(database: Database) -> None:
    with pytest.raises(NotFound, match="deploy"):
        async with database.write() as session:
            await runs.create(session, make_run(), action_id="gone", request=None)
    async with database.read() as session:
        assert not (await session.exec(select(RunRow.id))).all()
        assert not (await session.exec(select(ChangeRow.id))).all()


class TestDecisions:
    def waiting(self, **values: object) -> Run:
        return make_run(
            status=RunStatus.WAITING_FOR_APPROVAL,
            required_approval=RequiredApproval(type="ALL"),
            interlock=Driving(approvers=("ada", "grace")),
            **values,
        )

    def word(self, who: str, at: datetime, state: DecisionState = DecisionState.APPROVED) -> Decision:
        return Decision(user_id=who, name=who, state=state, at=at)

    async def test_all_have_to_approve(self, database: Database, at: datetime) -> None:
        run = await recorded(database, self.waiting())
        async with database.write() as session:
            assert (await approvals.decide(session, run.id, self.word("ada", at), origin="API")).status is run.status
            assert (await approvals.decide(session, run.id, self.word("ada", at), origin="API")).status is run.status
        async with database.write() as session:
            still = {"ada": Standing("a list")}
            after = await approvals.decide(session, run.id, self.word("grace", at), others=still, origin="API")
        assert after.status is RunStatus.IN_PROGRESS
        assert await pending(database, run) == "wake"
        async with database.read() as session:
            assert {one.user_id for one in await approvals.decisions(session, run.id)} == {"ada", "grace"}

    async def test_a_decision_that_comes_too_late_is_not_recorded(self, database: Database, at: datetime) -> None:
        run = await recorded(database, self.waiting())
        async with database.write() as session:
            await approvals.decide(session, run.id, self.word("ada", at, DecisionState.DECLINED), origin="API")
        with pytest.raises(RunNotWaitingForApproval):
            async with database.write() as session:
                await approvals.decide(session, run.id, self.word("grace", at), origin="API")
        async with database.read() as session:
            assert [one.user_id for one in await approvals.decisions(session, run.id)] == ["ada"]

    async def test_fifty_words_at_once_end_in_one_verdict(self, database: Database, at: datetime) -> None:
        run = await recorded(database, self.waiting().model_copy(update={"required_approval": True}))

        async def say(number: int) -> bool:
            state = DecisionState.APPROVED if number % 2 else DecisionState.DECLINED
            try:
                async with database.write() as session:
                    await approvals.decide(session, run.id, self.word(f"user_{number}", at, state), origin="API")
            except RunNotWaitingForApproval:
                return False
            return True

        assert sum(await asyncio.gather(*(say(number) for number in range(50)))) == 1
        assert len(await history(database, run)) == 2


async def test_lists_are_newest_first_and_every_filter_holds(database: Database, at: datetime) -> None:
    async with database.write() as session:
        action, restricted = make_action(), make_action("restricted", allowAnyoneToViewRuns=False)
        await actions.create(session, action, origin="API")
        await actions.create(session, restricted, origin="API")
        for number in range(4):
            run = make_run(
                created_at=at + timedelta(seconds=number),
                created_by=f"user_{number % 2}",
                external_run_id=f"ext_{number}",
                status=RunStatus.SUCCESS if number == 3 else RunStatus.IN_PROGRESS,
                interlock=Driving(approvers=("asked_0", "asked_1")),
            )
            await runs.create(session, run, action_id=(action if number else restricted).id, request=None)

    async def numbers(filters: run_lists.Filters) -> list[str]:
        async with database.read() as session:
            return [(run.external_run_id or "")[-1] for run in await run_lists.listed(session, filters)]

    every = run_lists.Filters()
    assert await numbers(every) == ["3", "2", "1", "0"]
    assert await numbers(replace(every, limit=1)) == ["3"]
    assert await numbers(replace(every, active=True)) == ["2", "1", "0"]
    assert await numbers(replace(every, active=False)) == ["3", "2", "1", "0"]
    assert await numbers(replace(every, user_ids=("user_1",))) == ["3", "1"]
    assert await numbers(replace(every, user_ids=())) == []
    assert await numbers(replace(every, external_run_id="ext_2")) == ["2"]
    assert await numbers(replace(every, action="deploy")) == ["3", "2", "1", "0"]
    assert await numbers(replace(every, action="other")) == []
    assert await numbers(replace(every, sources=("UI",))) == []
    all_but_the_first = ["3", "2", "1"]

    async def seen(viewer: Viewer) -> list[str]:
        return await numbers(replace(every, viewer=viewer))

    assert await seen(Viewer("user_9", ())) == all_but_the_first, "0 is restricted"
    assert await seen(Viewer("user_0", ())) == [*all_but_the_first, "0"], "0 is theirs"
    assert await seen(Viewer("user_9", (restricted.id,))) == [*all_but_the_first, "0"]
    assert await seen(Viewer("asked_1", (), (restricted.id,))) == [*all_but_the_first, "0"], "they were asked"
    assert await seen(Viewer("asked_1", ())) == all_but_the_first, "the lists decide there"
    for other in ("asked", "sked_1", "asked%1", "asked_", '"', "%"):
        assert await seen(Viewer(other, (), (restricted.id,))) == all_but_the_first, other


async def test_runs_follow_the_name_of_their_action_and_outlive_it(database: Database, at: datetime) -> None:
    action = make_action()
    waiting = make_run(status=RunStatus.WAITING_FOR_APPROVAL)
    async with database.write() as session:
        await actions.create(session, action, origin="API")
        await runs.create(session, waiting, action_id=action.id, request=None)
    renamed = replace(action, identifier="release", version=2, document={**action.document, "identifier": "release"})  # type: ignore[arg-type]
    async with database.write() as session:
        await actions.replace(session, action, renamed, origin="API")
    async with database.read() as session:
        assert [run.id for run in await run_lists.listed(session, run_lists.Filters(action="release"))] == [waiting.id]
        assert (await actions.version(session, action.id, 1)).identifier == "deploy"
    async with database.write() as session:
        [ended] = await actions.remove(session, renamed, by="x", at=at, origin="API")
    assert (ended.id, ended.status) == (waiting.id, RunStatus.FAILURE)
    async with database.read() as session:
        found = await runs.get(session, waiting.id)
        assert found.action.deleted
        assert (await actions.version(session, action.id, 2)).identifier == "release"


async def test_changes_are_written_with_what_they_tell_of(database: Database, run: Run) -> None:
    await recorded(database, run)
    async with database.read() as session:
        [row] = (await session.exec(select(ChangeRow).where(ChangeRow.run_id == run.id))).all()
    assert row.document["after"] == run.document()
    assert row.document["before"] is None
