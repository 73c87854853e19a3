"""Starts the workflows that send changes to where blueprints say: an address, or a topic of Kafka."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.blueprints import is_published
from domain.documents import Document
from runtime.settings import Settings
from store import change_deliveries
from store.database import Database
from worker.loops import again, every
from workflows.calls import DELIVER_TIME_LIMIT, ChangeDeliveryInput
from workflows.change_delivery import ChangeDelivery

PREFIX = "changelog:"

_RPC_TIMEOUT = timedelta(seconds=3)
_AT_ONCE = 16
_BATCH = 200
_SWEEP_SECONDS = 3600.0
_RETRY_SECONDS = 5.0


class ChangeDeliveries:
    """Has changes delivered, by one workflow each, which finds them however old they are: see `store.audit.purge`."""

    def __init__(self, client: Client, database: Database, settings: Settings, now: Callable[[], datetime]) -> None:
        self._client = client
        self._database = database
        self._now = now
        self._task_queue = settings.task_queue
        self._time_limit = settings.webhook_timeout
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._publishes = bool(settings.kafka_brokers)

    def reaches(self, destination: Document) -> bool:
        """Whether this deployment can send there at all; where it cannot, no workflow has to find that out."""
        return self._publishes or not is_published(destination)

    async def start(self, change_ids: Sequence[str]) -> None:
        """Have these changes delivered; those that are under way, or were delivered already, stay alone.

        Until it has ended, nobody purges what it delivers.

        Raises:
            domain.errors.Unavailable: SQL does not answer. None of them was begun.
            temporalio.service.RPCError: Temporal does not take one of them. Those that it took are not sent again.
        """
        if not change_ids:
            return
        at = self._now()
        await self._database.transact(lambda session: change_deliveries.begin(session, change_ids, at=at))
        answers = await asyncio.gather(*map(self._start, change_ids), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def run(self) -> None:
        """Work until cancelled. An outage of SQL or Temporal only costs time."""
        await again("looking for deliveries given up", self.sweep, every(_SWEEP_SECONDS), retry=_RETRY_SECONDS)

    async def sweep(self) -> None:
        """Let those be purged whose delivery is over though nobody said so: given up, cancelled, or never begun.

        Only Temporal knows which these are: a worker that was down has the whole time before it when it comes back.
        """
        before, last = self._now() - DELIVER_TIME_LIMIT, ""
        while True:
            async with self._database.read() as session:
                page = await change_deliveries.long_under_way(session, before=before, after=last, limit=_BATCH)
            if not page:
                return
            last = page[-1]
            over = await asyncio.gather(*map(self._is_over, page))
            ended = [change_id for change_id, is_over in zip(page, over, strict=True) if is_over]
            if ended:
                await self._database.transact(
                    lambda session: change_deliveries.forget(session, ended, before=before)  # noqa: B023
                )

    async def _is_over(self, change_id: str) -> bool:
        handle = self._client.get_workflow_handle(f"{PREFIX}{change_id}")
        async with self._turn:
            try:
                return (await handle.describe(rpc_timeout=_RPC_TIMEOUT)).close_time is not None
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return True
                raise

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
