"""Starts the workflows that send changes to where blueprints say: an address, or a topic of Kafka."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from domain.blueprints import is_published
from domain.documents import Document
from runtime.settings import Settings
from workflows.calls import ChangeDeliveryInput
from workflows.change_delivery import ChangeDelivery

PREFIX = "changelog:"

_RPC_TIMEOUT = timedelta(seconds=3)
_AT_ONCE = 16


class ChangeDeliveries:
    """Has changes delivered, by one workflow each."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._task_queue = settings.task_queue
        self._time_limit = settings.webhook_timeout
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._publishes = bool(settings.kafka_brokers)

    def reaches(self, destination: Document) -> bool:
        """Whether this deployment can send there at all; where it cannot, no workflow has to find that out."""
        return self._publishes or not is_published(destination)

    async def start(self, change_ids: Sequence[str]) -> None:
        """Have these changes delivered; those that are under way, or were delivered already, stay alone.

        Raises:
            temporalio.service.RPCError: Temporal does not take one of them. Those that it took are not sent again.
        """
        answers = await asyncio.gather(*map(self._start, change_ids), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _start(self, change_id: str) -> None:
        async with self._turn:
            with contextlib.suppress(WorkflowAlreadyStartedError):  # it has ended already
                await self._client.start_workflow(
                    ChangeDelivery.run,
                    ChangeDeliveryInput(change_id=change_id, delivery_time_limit=self._time_limit),
                    id=f"{PREFIX}{change_id}",
                    task_queue=self._task_queue,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    rpc_timeout=_RPC_TIMEOUT,
                )
