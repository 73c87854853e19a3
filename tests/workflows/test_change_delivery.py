"""`ChangeDelivery` on a real Temporal: it goes on for a day, and then it is given up."""

import logging
import uuid
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from workflows.calls import DELIVER_TIME_LIMIT, ChangeDeliveryInput
from workflows.change_delivery import GIVEN_UP, ChangeDelivery


class Receiver:
    """Fails as often as it is told."""

    def __init__(self, failures: float) -> None:
        self.failures = failures
        self.asked: list[str] = []

    @activity.defn
    async def deliver_change(self, change_id: str) -> str:
        """Fail, or deliver."""
        self.asked.append(change_id)
        if len(self.asked) <= self.failures:
            raise ApplicationError("the receiver answered 503")
        return "delivered"


async def start(clock: WorkflowEnvironment, queue: str) -> WorkflowHandle[ChangeDelivery, str]:
    return await clock.client.start_workflow(
        ChangeDelivery.run, ChangeDeliveryInput(change_id="event_1"), id="changelog:event_1", task_queue=queue
    )


@pytest.mark.parametrize(("failures", "end"), [(3, "delivered"), (float("inf"), GIVEN_UP)])
async def test_it_is_tried_for_a_day(
    clock: WorkflowEnvironment, caplog: pytest.LogCaptureFixture, failures: float, end: str
) -> None:
    receiver, queue = Receiver(failures), uuid.uuid4().hex
    with caplog.at_level(logging.WARNING):
        async with Worker(
            clock.client, task_queue=queue, workflows=[ChangeDelivery], activities=[receiver.deliver_change]
        ):
            began = await clock.get_current_time()
            handle = await start(clock, queue)
            assert await handle.result() == end
            took = await clock.get_current_time() - began
    given_up = end == GIVEN_UP
    if given_up:  # otherwise the clock may skip ahead while an attempt is under way
        assert timedelta(hours=23) < took <= DELIVER_TIME_LIMIT + timedelta(minutes=1)
    assert (len(receiver.asked) > 90) is given_up
    assert ("given up" in caplog.text) is given_up
    assert set(receiver.asked) == {"event_1"}
    await Replayer(workflows=[ChangeDelivery], data_converter=pydantic_data_converter).replay_workflow(
        await handle.fetch_history()
    )


async def test_an_operator_can_cancel_it(clock: WorkflowEnvironment) -> None:
    receiver, queue = Receiver(float("inf")), uuid.uuid4().hex
    async with Worker(clock.client, task_queue=queue, workflows=[ChangeDelivery], activities=[receiver.deliver_change]):
        handle = await start(clock, queue)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
