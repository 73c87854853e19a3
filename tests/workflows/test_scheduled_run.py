"""`ScheduledRun` on a real Temporal: it records the time that was meant, and how often that takes."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from temporalio import activity
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from tests.support.processes import eventually
from workflows.calls import ScheduledRunInput, ScheduledTime
from workflows.scheduled_run import ScheduledRun

START = ScheduledRunInput(action_id="action_1", cron="0 8 * * *", timezone="Europe/Berlin")


@dataclass
class Times:
    """What was recorded."""

    client: Client
    queue: str
    failures: int = 0
    """How often recording fails before it works."""
    recorded: list[ScheduledTime] = field(default_factory=list)

    @activity.defn
    async def fire_schedule(self, time: ScheduledTime) -> bool:
        """Remember it."""
        if self.failures:
            self.failures -= 1
            raise ApplicationError("out of order")
        self.recorded.append(time)
        return True


@pytest.fixture
async def times(server: WorkflowEnvironment) -> AsyncIterator[Times]:
    """A worker on a Temporal that has schedules."""
    times = Times(server.client, uuid.uuid4().hex)
    async with Worker(
        server.client, task_queue=times.queue, workflows=[ScheduledRun], activities=[times.fire_schedule]
    ):
        yield times


async def test_times_that_passed_are_recorded_as_they_were_meant(times: Times) -> None:
    winter, summer = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC)
    every = ScheduleOverlapPolicy.ALLOW_ALL
    await times.client.create_schedule(
        "schedule:action_1",
        Schedule(
            action=ScheduleActionStartWorkflow(
                ScheduledRun.run, START, id="scheduled:action_1", task_queue=times.queue
            ),
            spec=ScheduleSpec(cron_expressions=[START.cron], time_zone_name=START.timezone),
            state=ScheduleState(paused=True),
        ),
        backfill=[ScheduleBackfill(day, day + timedelta(days=1), every) for day in (winter, summer)],
    )

    async def both() -> bool | None:
        return len(times.recorded) == 2 or None

    await eventually("both are recorded", both)
    assert {time.scheduled_at for time in times.recorded} == {
        winter + timedelta(hours=7),
        summer + timedelta(hours=6),
    }
    assert {time.action_id for time in times.recorded} == {"action_1"}


async def test_who_starts_it_by_hand_means_now_and_recording_is_tried_until_it_works(times: Times) -> None:
    times.failures = 2
    began = datetime.now(UTC)
    handle = await times.client.start_workflow(ScheduledRun.run, START, id="scheduled:by-hand", task_queue=times.queue)
    assert await handle.result()
    (time,) = times.recorded
    assert abs(time.scheduled_at - began) < timedelta(seconds=10)
    assert (time.cron, time.timezone) == (START.cron, START.timezone)

    replayer = Replayer(workflows=[ScheduledRun], data_converter=pydantic_data_converter)
    await replayer.replay_workflow(await handle.fetch_history())
