"""Record a history of every way a timer can go: `python -m tests.workflows.record_timers 0.1.0`, once per release."""

import asyncio
import json
import sys
import uuid
from pathlib import Path

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.workflows.test_entity_timer import DAY, TimerBench, TimerRow
from workflows.entity_timer import EntityTimer

HISTORIES = Path(__file__).parent / "histories" / "entity_timer"


async def expired(bench: TimerBench) -> str:
    """Nothing but the moment."""
    handle = await bench.start(await bench.now() + 30 * DAY)
    await handle.result()
    return handle.id


async def warned(bench: TimerBench) -> str:
    """A warning before."""
    now = await bench.now()
    handle = await bench.start(now + 30 * DAY, now + 20 * DAY)
    await handle.result()
    return handle.id


async def behind(bench: TimerBench) -> str:
    """Our clock is behind, twice."""
    bench.row.behind = DAY / 4
    return await warned(bench)


async def stale(bench: TimerBench) -> str:
    """The entity holds another value when it should warn."""
    bench.row.stale = True
    return await warned(bench)


WAYS = (expired, warned, behind, stale)


async def record(version: str) -> None:
    """Write the histories of a version."""
    server = Path(sys.prefix, "bin", "temporal-test-server")
    HISTORIES.mkdir(exist_ok=True)
    for way in WAYS:
        async with await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=str(server), data_converter=pydantic_data_converter
        ) as environment:
            row, queue = TimerRow(environment), uuid.uuid4().hex
            activities = [row.warn_of_timer, row.expire_timer]
            async with Worker(environment.client, task_queue=queue, workflows=[EntityTimer], activities=activities):
                workflow_id = await way(TimerBench(environment, row, queue))
            history = await environment.client.get_workflow_handle(workflow_id).fetch_history()
        document = json.dumps(history.to_json_dict(), indent=1)
        (HISTORIES / f"{version}-{way.__name__}.json").write_text(document + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1]))
