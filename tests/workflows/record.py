"""Record a history of every way a run can go: `python -m tests.workflows.record 0.1.0`, once per release.

Names of ways after the version record those only. What comes before a release has a name like `0.1.0.dev5`.
"""

import asyncio
import gzip
import json
import re
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.approvals import OnTimeLimit, Reminders
from domain.runs import RunStatus
from domain.waiting import Patience
from tests.workflows.conftest import Bench, Row
from workflows.action_run import ActionRun

DAY = timedelta(days=1)
HISTORIES = Path(__file__).parent / "histories"


async def synchronous(bench: Bench) -> str:
    """One activity."""
    handle = await bench.start()
    await handle.result()
    return handle.id


async def reported(bench: Bench) -> str:
    """The backend reports later."""
    bench.row.outcome = None
    handle = await bench.start(run_time_limit=timedelta(days=1))
    while not bench.row.asked["invoke_backend"]:
        await asyncio.sleep(0.01)
    bench.row.status = RunStatus.SUCCESS
    await handle.signal("wake")
    await handle.result()
    return handle.id


async def overdue(bench: Bench) -> str:
    """Nobody reports in time."""
    bench.row.outcome = None
    handle = await bench.start(run_time_limit=timedelta(days=1))
    await handle.result()
    return handle.id


async def approved(bench: Bench) -> str:
    """A wake that means nothing, then an operator approves."""
    handle = await bench.start(waits_for_approval=True, approval_time_limit=timedelta(days=1))
    await handle.signal("wake")
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    await handle.result()
    return handle.id


async def undecided(bench: Bench) -> str:
    """Nobody decides in time."""
    handle = await bench.start(waits_for_approval=True, approval_time_limit=timedelta(days=1))
    await handle.result()
    return handle.id


async def cancelled(bench: Bench) -> str:
    """An operator cancels while the backend works."""
    bench.row.outcome = None
    bench.row.failures["invoke_backend"] = 1_000_000
    handle = await bench.start()
    await handle.signal("cancel", {"by": "ada@example.com", "reason": "wrong cluster"})
    await handle.result()
    return handle.id


async def workflow_cancelled(bench: Bench) -> str:
    """Temporal's own cancellation while the run waits."""
    handle = await bench.start(waits_for_approval=True)
    await handle.cancel()
    await handle.result()
    return handle.id


async def asked(bench: Bench) -> str:
    """The approvers are told at the second attempt, then one of them approves."""
    bench.row.failures["ask_approvers"] = 1
    handle = await bench.start(waits_for_approval=True, approval_time_limit=timedelta(days=1))
    await _until(lambda: bool(bench.row.told), bench)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    await handle.result()
    return handle.id


async def asked_in_vain(bench: Bench) -> str:
    """The approvers cannot be told, and the run is declined at its time limit."""
    bench.row.failures["ask_approvers"] = 1_000_000
    handle = await bench.start(waits_for_approval=True, approval_time_limit=timedelta(days=1))
    await handle.result()
    return handle.id


async def decided_before_asked(bench: Bench) -> str:
    """An operator approves while the approvers have still to be told."""
    bench.row.failures["ask_approvers"] = 1_000_000
    handle = await bench.start(waits_for_approval=True, approval_time_limit=timedelta(days=1))
    await _until(lambda: bench.row.tries > 0, bench)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    await handle.result()
    return handle.id


async def reminded_and_escalated(bench: Bench) -> str:
    """Two reminders and an escalation, a word that decides nothing, then an operator approves."""
    patience = Patience(time_limit=30 * DAY, escalate_after=3 * DAY, reminders=Reminders(every=DAY, most=2))
    handle = await bench.start(waits_for_approval=True, approval_time_limit=30 * DAY, patience=patience)
    await _until(lambda: len(bench.row.happened) == 3, bench, timedelta(hours=1))
    await handle.signal("wake")
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    await handle.result()
    return handle.id


async def escalated_in_vain(bench: Bench) -> str:
    """Those it is escalated to at the time limit do not decide, either."""
    patience = Patience(time_limit=DAY, on_time_limit=OnTimeLimit.ESCALATE)
    handle = await bench.start(waits_for_approval=True, approval_time_limit=DAY, patience=patience)
    await handle.result()
    return handle.id


async def approved_by_time(bench: Bench) -> str:
    """Nobody decides in time, which approves it."""
    bench.row.on_time_limit = RunStatus.IN_PROGRESS
    patience = Patience(time_limit=DAY, on_time_limit=OnTimeLimit.APPROVE)
    handle = await bench.start(waits_for_approval=True, approval_time_limit=DAY, patience=patience)
    await handle.result()
    return handle.id


async def not_before(bench: Bench) -> str:
    """Approved with a signal that says by whom; a wake that means nothing, and months later the backend is called."""
    bench.row.starts_at = await bench.environment.get_current_time() + 90 * DAY
    handle = await bench.start(waits_for_approval=True)
    await bench.quiet(handle)
    bench.row.status = RunStatus.IN_PROGRESS
    await handle.signal("wake", {"approval": {"by": "ada@example.com", "state": "APPROVED", "channel": "API"}})
    await _until(lambda: bench.row.asked["close_approval"] > 0, bench)
    await handle.signal("wake")
    await handle.result()
    return handle.id


async def withdrawn_before_its_time(bench: Bench) -> str:
    """Approved, and withdrawn before its time comes."""
    bench.row.starts_at = await bench.environment.get_current_time() + 90 * DAY
    handle = await bench.start(waits_for_approval=True)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    await _until(lambda: bench.row.asked["close_approval"] > 0, bench)
    bench.row.status = RunStatus.FAILURE
    await handle.signal("wake")
    await handle.result()
    return handle.id


async def cancelled_before_its_time(bench: Bench) -> str:
    """Approved, and cancelled by Temporal before its time comes."""
    bench.row.starts_at = await bench.environment.get_current_time() + 90 * DAY
    handle = await bench.start(waits_for_approval=True)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    await _until(lambda: bench.row.asked["close_approval"] > 0, bench)
    await handle.cancel()
    await handle.result()
    return handle.id


async def reopened(bench: Bench) -> str:
    """Something else was approved than would be sent, so it waits again, and is approved again."""
    bench.row.changed = 1
    handle = await bench.start(waits_for_approval=True, approval_time_limit=DAY)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    await _until(lambda: bench.row.asked["invoke_backend"] > 0, bench)
    await _until(lambda: len(bench.row.told) > 1 or not bench.row.untold, bench)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    await handle.result()
    return handle.id


async def stopped(bench: Bench) -> str:
    """An operator cancels while the backend works, which is told so."""
    bench.row.outcome, bench.row.stops = None, True
    handle = await bench.start()
    await _until(lambda: bench.row.asked["invoke_backend"] > 0, bench)
    await handle.signal("cancel", {"by": "ada@example.com"})
    await handle.result()
    return handle.id


async def stopped_while_called(bench: Bench) -> str:
    """Temporal cancels while the backend is called; what it answers is waited for, and the second try stops it."""
    bench.row.stops = bench.row.invoking = True
    bench.row.failures["cancel_backend"] = 1
    handle = await bench.start()
    while not bench.row.asked["invoke_backend"]:
        await asyncio.sleep(0.01)
    await handle.cancel()
    while not bench.row.words:
        await asyncio.sleep(0.01)
    bench.row.invoking = False
    await handle.result()
    return handle.id


async def stopped_in_vain(bench: Bench) -> str:
    """Nobody reports in time, and the backend cannot be told."""
    bench.row.outcome, bench.row.stops = None, True
    bench.row.failures["cancel_backend"] = 1_000_000
    handle = await bench.start(run_time_limit=DAY)
    await handle.result()
    return handle.id


async def queued(bench: Bench) -> str:
    """It waits for its turn, looks by itself, is called while it looks again, and its backend reports."""
    bench.row.outcome, bench.row.lines = None, [DAY, DAY, DAY]
    handle = await bench.start(run_time_limit=DAY)
    await _until(lambda: bench.row.asked["invoke_backend"] > 0, bench)
    await _until(lambda: bench.row.asked["invoke_backend"] > 1, bench, timedelta(hours=1))
    bench.row.invoking = True
    await handle.signal("wake")
    while bench.row.asked["invoke_backend"] < 3:
        await asyncio.sleep(0.01)
    await handle.signal("wake")
    while not bench.row.asked["close_run"]:
        await asyncio.sleep(0.01)
    bench.row.invoking = False
    while bench.row.asked["invoke_backend"] < 4:
        await asyncio.sleep(0.01)
    bench.row.status = RunStatus.SUCCESS
    await handle.signal("wake")
    await handle.result()
    return handle.id


async def cancelled_in_the_queue(bench: Bench) -> str:
    """An operator cancels it while it waits for its turn."""
    bench.row.lines = [DAY]
    handle = await bench.start()
    await _until(lambda: bench.row.asked["invoke_backend"] > 0, bench)
    await handle.signal("cancel", {"by": "ada@example.com", "reason": "too late"})
    await handle.result()
    return handle.id


async def stopped_at_its_time_limit(bench: Bench) -> str:
    """Nobody reports in time, and the backend is told to stop."""
    bench.row.outcome, bench.row.stops = None, True
    handle = await bench.start(run_time_limit=DAY)
    await handle.result()
    return handle.id


async def retried(bench: Bench) -> str:
    """The backend is called three times, by Temporal's retries, before it answers."""
    bench.row.failures["invoke_backend"] = 2
    handle = await bench.start(run_time_limit=DAY)
    await handle.result()
    return handle.id


async def delegated(bench: Bench) -> str:
    """One of the approvers leaves it to another, who is told then, and approves."""
    handle = await bench.start(waits_for_approval=True, approval_time_limit=DAY)
    await bench.quiet(handle)
    bench.row.untold = True
    await handle.signal("wake")
    await _until(lambda: len(bench.row.told) > 1, bench)
    bench.row.status = RunStatus.IN_PROGRESS
    await handle.signal("wake", {"approval": {"by": "bob@example.com", "state": "APPROVED", "channel": "API"}})
    await handle.result()
    return handle.id


async def queued_for_long(bench: Bench) -> str:
    """It was approved, and waits for its turn until its history is long; it goes on in a new one, to its end."""
    bench.row.lines = 400 * [timedelta(minutes=1)]
    handle = await bench.start(waits_for_approval=True, approval_time_limit=DAY, run_time_limit=DAY)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    await handle.result()
    return handle.id


async def _until(happened: Callable[[], bool], bench: Bench, step: timedelta = timedelta(seconds=1)) -> None:
    while not happened():
        await bench.environment.sleep(step)


WAYS = (
    synchronous, reported, overdue, approved, undecided, cancelled, workflow_cancelled, asked, asked_in_vain,
    decided_before_asked, reminded_and_escalated, escalated_in_vain, approved_by_time, not_before,
    withdrawn_before_its_time, cancelled_before_its_time, reopened, stopped, stopped_while_called, stopped_in_vain,
    queued, cancelled_in_the_queue, stopped_at_its_time_limit, retried, delegated, queued_for_long,
)  # fmt: skip


async def record(version: str, *names: str) -> None:
    """Write the histories of a version: of the ways that are named, or of all."""
    server = Path(sys.prefix, "bin", "temporal-test-server")
    for way in [way for way in WAYS if not names or way.__name__ in names]:
        async with await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=str(server), data_converter=pydantic_data_converter
        ) as environment:
            row, queue = Row(), uuid.uuid4().hex
            async with Worker(environment.client, task_queue=queue, workflows=[ActionRun], activities=row.activities):
                run_id = await way(Bench(environment, row, queue))
            histories = [history async for history in _histories(environment, run_id)]
        for number, history in enumerate(reversed(histories), start=1):
            part = f".{number}" if len(histories) > 1 else ""
            _write(HISTORIES / f"{version}-{way.__name__}{part}.json", history)


async def _histories(environment: WorkflowEnvironment, workflow_id: str) -> AsyncIterator[WorkflowHistory]:
    """Those of a workflow that has continued as new, the last one first."""
    run_id = None
    while run_id != "":
        history = await environment.client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        yield history
        run_id = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id


def _write(file: Path, history: WorkflowHistory) -> None:
    # Stack traces name places of the machine that recorded them, and no replay reads them.
    document = re.sub(
        r'"stackTrace": "(?:[^"\\]|\\.)*"', '"stackTrace": ""', json.dumps(history.to_json_dict(), indent=1)
    )
    if len(document) > 100_000:  # kept compressed
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(document.encode(), mtime=0))
    else:
        file.write_text(document + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(record(*sys.argv[1:]))
