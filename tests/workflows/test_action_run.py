"""`ActionRun`: what it asks for, and when."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from domain.approvals import ASK_ATTEMPTS
from domain.runs import RunStatus
from tests.workflows.conftest import Bench
from workflows.calls import CANCEL_ATTEMPTS


async def test_a_run_whose_backend_answers_at_once_is_one_task(bench: Bench) -> None:
    handle = await bench.start()
    assert await handle.result() is RunStatus.SUCCESS
    assert bench.row.asked == {"invoke_backend": 1}
    events = [event async for event in handle.fetch_history_events()]
    assert len(events) == 6, "its start and end, three of the task, and what it was told in it"


async def test_a_run_whose_backend_may_not_be_called_at_once_is_one_activity(bench: Bench) -> None:
    handle = await bench.start(in_task=False)
    assert await handle.result() is RunStatus.SUCCESS
    assert bench.row.asked == {"invoke_backend": 1}
    events = [event async for event in handle.fetch_history_events()]
    assert len(events) == 11, "the least an activity can have"


async def test_what_was_begun_at_once_is_told_to_whoever_goes_on_with_it(bench: Bench) -> None:
    bench.row.failures["invoke_backend"] = 1
    handle = await bench.start()
    assert await handle.result() is RunStatus.SUCCESS
    assert [begun.by for begun in bench.row.begun if begun] == ["this worker", "this worker"]
    events = (await handle.fetch_history()).events
    (scheduled,) = [
        event.activity_task_scheduled_event_attributes
        for event in events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert scheduled.activity_id == "0/1", "the same as of what was begun: attempts are counted by it"


@pytest.mark.parametrize("in_task", [True, False])
async def test_a_run_waits_for_its_report(bench: Bench, in_task: bool) -> None:
    bench.row.outcome = None
    handle = await bench.start(in_task=in_task)
    while not bench.row.asked["invoke_backend"]:
        await asyncio.sleep(0.01)
    bench.row.status = RunStatus.SUCCESS
    await handle.signal("wake")
    assert await handle.result() is RunStatus.SUCCESS


async def test_a_wake_that_means_nothing_changes_nothing(bench: Bench) -> None:
    bench.row.outcome = None
    handle = await bench.start()
    for _ in range(3):
        await handle.signal("wake")
    await asyncio.sleep(0.3)
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    bench.row.status = RunStatus.FAILURE
    await handle.signal("wake")
    assert await handle.result() is RunStatus.FAILURE
    assert bench.row.asked["invoke_backend"] == 1


async def test_a_run_that_nobody_reports_fails_at_its_time_limit(bench: Bench) -> None:
    bench.row.outcome = None
    before = await bench.environment.get_current_time()
    handle = await bench.start(run_time_limit=timedelta(days=30))
    assert await handle.result() is RunStatus.FAILURE
    assert await bench.environment.get_current_time() - before >= timedelta(days=30)


async def test_the_backend_is_not_invoked_before_the_verdict(bench: Bench) -> None:
    handle = await bench.start(waits_for_approval=True)
    await asyncio.sleep(0.2)
    assert not bench.row.asked
    await bench.quiet(handle)
    bench.row.status = RunStatus.IN_PROGRESS
    await handle.signal("wake")
    assert await handle.result() is RunStatus.SUCCESS
    assert bench.row.asked == {"close_approval": 1, "invoke_backend": 1}


async def test_a_declined_run_invokes_nothing(bench: Bench) -> None:
    handle = await bench.start(waits_for_approval=True)
    await bench.quiet(handle)
    bench.row.status = RunStatus.DECLINED
    await handle.signal("wake")
    assert await handle.result() is RunStatus.DECLINED
    assert bench.row.asked == {"close_approval": 1}


async def test_a_run_that_nobody_decides_about_is_declined_at_its_time_limit(bench: Bench) -> None:
    handle = await bench.start(waits_for_approval=True, approval_time_limit=timedelta(hours=4))
    assert await handle.result() is RunStatus.DECLINED
    assert not bench.row.asked["invoke_backend"]


async def test_an_approver_who_is_only_one_of_all_does_not_extend_the_limit(bench: Bench) -> None:
    handle = await bench.start(waits_for_approval=True, approval_time_limit=timedelta(hours=4))
    await handle.signal("wake")  # somebody has said something, but the row still waits
    assert await handle.result() is RunStatus.DECLINED
    ended = await handle.describe()  # its own times: the clock of the server goes on by itself
    assert ended.close_time
    assert ended.close_time - ended.start_time < timedelta(hours=4, minutes=1)


@pytest.mark.parametrize(("word", "ends"), [("APPROVE", RunStatus.SUCCESS), ("DECLINE", RunStatus.DECLINED)])
async def test_an_operator_decides_with_a_signal(bench: Bench, word: str, ends: RunStatus) -> None:
    handle = await bench.start(waits_for_approval=True)
    await bench.quiet(handle)
    await handle.signal("decide", {"by": "ada@example.com", "status": word})
    assert await handle.result() is ends
    assert bench.row.words == [("decide", {"by": "ada@example.com", "status": word})]


async def test_a_wake_while_the_backend_works_does_not_hide_its_answer(bench: Bench) -> None:
    bench.row.failures["invoke_backend"] = 2  # it takes a while
    handle = await bench.start(waits_for_approval=True)
    await handle.signal("wake")
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    await handle.signal("wake")
    assert await handle.result() is RunStatus.SUCCESS


async def test_an_operator_cancels_with_a_signal(bench: Bench) -> None:
    bench.row.outcome = None
    handle = await bench.start()
    await handle.signal("cancel", {"by": "ada@example.com"})
    assert await handle.result() is RunStatus.FAILURE


async def test_cancelling_the_workflow_ends_the_run(bench: Bench) -> None:
    handle = await bench.start(waits_for_approval=True)
    await handle.cancel()
    assert await handle.result() is RunStatus.FAILURE
    assert bench.row.words[0][0] == "cancel"


@pytest.mark.parametrize("said", ["APPROVE", None, 17, ["x"], {"status": "MAYBE"}, {}])
async def test_a_signal_that_makes_no_sense_does_not_break_the_run(bench: Bench, said: object) -> None:
    handle = await bench.start()
    await handle.signal("cancel" if said is None else "nonsense", said)
    assert await handle.result() in (RunStatus.SUCCESS, RunStatus.FAILURE)


async def test_a_run_cancelled_while_its_backend_works_does_not_wait_for_it(bench: Bench) -> None:
    bench.row.outcome = None
    bench.row.failures["invoke_backend"] = 1_000_000
    handle = await bench.start()
    await handle.signal("cancel")
    assert await handle.result() is RunStatus.FAILURE


@pytest.mark.parametrize("unlucky", ["invoke_backend", "close_approval", "close_run", "hear_operator"])
async def test_the_run_still_ends_when_an_activity_fails_at_first(bench: Bench, unlucky: str) -> None:
    bench.row.failures[unlucky] = 2
    bench.row.outcome = None
    handle = await bench.start(waits_for_approval=True, run_time_limit=timedelta(hours=1))
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    assert await handle.result() is RunStatus.FAILURE, "the time limit"
    assert bench.row.asked[unlucky] >= 3


async def test_who_may_approve_is_told_once_while_the_run_waits(bench: Bench) -> None:
    handle = await bench.start(waits_for_approval=True, approval_time_limit=timedelta(days=2))
    assert await handle.result() is RunStatus.DECLINED
    assert bench.row.told == [handle.id]


async def test_a_run_that_needs_no_approval_tells_nobody(bench: Bench) -> None:
    handle = await bench.start()
    await handle.result()
    assert not bench.row.tries


async def test_telling_is_tried_again_some_minutes_long(bench: Bench) -> None:
    bench.row.failures["ask_approvers"] = 2
    began = await bench.environment.get_current_time()
    handle = await bench.start(waits_for_approval=True)
    while not bench.row.told:
        await bench.environment.sleep(timedelta(seconds=5))
    assert timedelta(minutes=2) < await bench.environment.get_current_time() - began < timedelta(minutes=5)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    assert await handle.result() is RunStatus.SUCCESS


async def test_a_run_goes_on_when_nobody_could_be_told(bench: Bench) -> None:
    bench.row.failures["ask_approvers"] = 1_000_000
    handle = await bench.start(waits_for_approval=True, approval_time_limit=timedelta(days=2))
    assert await handle.result() is RunStatus.DECLINED
    assert bench.row.tries == ASK_ATTEMPTS


@pytest.mark.parametrize("word", ["APPROVE", "DECLINE"])
async def test_a_run_that_was_decided_is_not_told_about(bench: Bench, word: str) -> None:
    bench.row.failures["ask_approvers"] = 1
    bench.row.outcome = None
    handle = await bench.start(waits_for_approval=True, run_time_limit=timedelta(days=1))
    while not bench.row.tries:
        await asyncio.sleep(0.01)
    await handle.signal("decide", {"by": "ada@example.com", "status": word})
    await handle.result()  # a day later, or at once
    assert not bench.row.told


async def test_the_backend_of_a_run_that_is_stopped_is_told(bench: Bench) -> None:
    bench.row.outcome, bench.row.stops = None, True
    handle = await bench.start()
    while not bench.row.asked["invoke_backend"]:
        await asyncio.sleep(0.01)
    await handle.signal("cancel", {"by": "ada@example.com"})
    assert await handle.result() is RunStatus.FAILURE
    assert bench.row.asked == {"invoke_backend": 1, "hear_operator": 1, "close_run": 1, "cancel_backend": 1}


async def test_the_backend_of_a_run_that_others_stop_is_told(bench: Bench) -> None:
    bench.row.outcome, bench.row.stops = None, True
    handle = await bench.start()
    while not bench.row.asked["invoke_backend"]:
        await asyncio.sleep(0.01)
    bench.row.status = RunStatus.FAILURE
    await handle.signal("wake")
    assert await handle.result() is RunStatus.FAILURE
    assert bench.row.asked["cancel_backend"] == 1


@pytest.mark.parametrize("how", ["signal", "wake", "temporal"])
async def test_what_is_being_sent_when_the_run_is_stopped_is_stopped_once_it_was_sent(bench: Bench, how: str) -> None:
    bench.row.outcome = None
    bench.row.stops = bench.row.invoking = True
    handle = await bench.start()
    while not bench.row.asked["invoke_backend"]:
        await asyncio.sleep(0.01)
    match how:
        case "signal":
            await handle.signal("cancel")
        case "wake":
            bench.row.status = RunStatus.FAILURE
            await handle.signal("wake")
        case "temporal":
            await handle.cancel()
    while not (bench.row.asked["hear_operator"] or bench.row.asked["close_run"]):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert bench.row.stopped == []
    bench.row.invoking = False
    assert await handle.result() is RunStatus.FAILURE
    assert bench.row.stopped == [False]


async def test_a_backend_that_answers_as_its_run_is_stopped_is_told_too(bench: Bench) -> None:
    bench.row.stops = bench.row.invoking = True
    handle = await bench.start()
    while not bench.row.asked["invoke_backend"]:
        await asyncio.sleep(0.01)
    bench.row.status, bench.row.invoking = RunStatus.FAILURE, False  # and the workflow is not woken
    assert await handle.result() is RunStatus.FAILURE
    assert bench.row.asked == {"invoke_backend": 1, "cancel_backend": 1}


async def test_a_call_that_does_not_end_is_not_waited_for_for_ever(bench: Bench) -> None:
    bench.row.outcome, bench.row.stops = None, True
    bench.row.failures["invoke_backend"] = 1_000_000
    handle = await bench.start()
    await handle.signal("cancel")
    assert await handle.result() is RunStatus.FAILURE
    assert len(bench.row.stopped) == 1
    ended = await handle.describe()
    assert ended.close_time
    assert ended.close_time - ended.start_time < timedelta(minutes=5)


async def test_a_backend_that_cannot_be_told_holds_up_nothing_for_ever(bench: Bench) -> None:
    bench.row.outcome, bench.row.stops = None, True
    bench.row.failures["cancel_backend"] = 1_000_000
    handle = await bench.start(run_time_limit=timedelta(hours=1))
    assert await handle.result() is RunStatus.FAILURE
    assert bench.row.asked["cancel_backend"] == 2 * CANCEL_ATTEMPTS
