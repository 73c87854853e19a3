"""The relay: tells workflows whatever they have not been told yet, however it came to that."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from domain.runs import PLATFORM, Run
from runtime.driver import RunDriver
from store import audit, claims, runs, wakes
from store.database import Database
from worker.loops import again, every

log = logging.getLogger(__name__)

_GRACE = timedelta(seconds=2)
"""How long the API may take to tell a workflow before the relay does."""
_POLL_SECONDS = 1.0
_BATCH = 200
_AT_ONCE = 16
_SWEEP_SECONDS = 300.0
_MOVE_SECONDS = 10.0
_PURGE_SECONDS = 3600.0
_RETRY_SECONDS = 5.0
_STOPPED = {
    WorkflowExecutionStatus.TERMINATED: "An operator terminated its workflow",
    WorkflowExecutionStatus.FAILED: "Its workflow failed",
    WorkflowExecutionStatus.TIMED_OUT: "Its workflow timed out",
    WorkflowExecutionStatus.CANCELED: "Its workflow was cancelled",
    WorkflowExecutionStatus.COMPLETED: "Its workflow ended without it",
}


class Relay:
    """Starts workflows that were never started and wakes those that were not woken. Several may run at once.

    With a retention it also deletes the audit records that are older.
    """

    def __init__(
        self,
        client: Client,
        database: Database,
        driver: RunDriver,
        now: Callable[[], datetime],
        *,
        retention: timedelta | None = None,
    ) -> None:
        self._client = client
        self._database = database
        self._driver = driver
        self._now = now
        self._retention = retention

    async def run(self) -> None:
        """Work until cancelled. An outage of SQL or Temporal only costs time."""
        # Side by side: a listing that is slow or fails keeps nobody from being told.
        work = [
            again("telling workflows", self._relay_all, every(_POLL_SECONDS), retry=_POLL_SECONDS),
            again("looking for lost workflows", self.sweep, every(_SWEEP_SECONDS), retry=_RETRY_SECONDS),
            again("moving claims", self.move_claims, every(_MOVE_SECONDS), retry=_RETRY_SECONDS),
        ]
        if self._retention is not None:
            work.append(again("purging the audit log", self.purge, every(_PURGE_SECONDS), retry=_RETRY_SECONDS))
        await asyncio.gather(*work)

    async def _relay_all(self) -> None:
        while await self.relay_once():
            pass

    async def relay_once(self) -> bool:
        """Tell the workflows that have been waiting longest; whether there may be more of them."""
        now = self._now()
        async with self._database.read() as session:  # hardly ever is there any, and writers take turns
            if not await wakes.left(session, before=now - _GRACE):
                return False
        async with self._database.write() as session:
            leased = await wakes.leased(session, before=now - _GRACE, now=now, limit=_BATCH)
        if leased:
            log.info("relay tells workflows", extra={"runs": len(leased)})
        told = [await one for one in asyncio.as_completed(self._told(leased))]
        return len(leased) == _BATCH and any(told)

    def _told(self, leased: list[tuple[Run, wakes.Pending]]) -> list[asyncio.Task[bool]]:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def tell(run: Run, what: wakes.Pending) -> bool:
            async with turn:
                return await (self._driver.start(run) if what == "start" else self._driver.wake(run))

        return [asyncio.create_task(tell(run, what)) for run, what in leased]

    async def sweep(self) -> None:
        """Find runs that have not ended but whose workflow is gone, and put each right.

        It happens when Temporal lost its data, or when an operator terminated a workflow. Looking costs one listing,
        because the ids of workflows are the ids of runs.
        """
        running = {one.id async for one in self._client.list_workflows("ExecutionStatus = 'Running'")}
        last = ""
        while True:
            async with self._database.read() as session:
                page = await runs.unfinished(session, after=last, limit=_BATCH)
            if not page:
                return
            last = page[-1]
            for run_id in page:
                if run_id not in running:
                    await self._put_right(run_id)

    async def move_claims(self) -> None:
        """Let runs be claimed that wait where processes of before the table `claims` look for them."""
        while True:
            at = self._now()
            async with self._database.read() as session:  # hardly ever is there any, and writers take turns
                if not await claims.left_behind(session, at=at):
                    return
            moved = await self._database.transact(lambda session: claims.move(session, at=at, limit=_BATCH))  # noqa: B023
            log.info("waiting runs are moved", extra={"runs": moved})
            if moved < _BATCH:
                return

    async def purge(self) -> None:
        """Delete the audit records that are older than the retention; nothing without one."""
        if self._retention is None:
            return
        deleted = await audit.purge(self._database, before=self._now() - self._retention)
        if deleted:
            log.info("old audit records are deleted", extra={"records": deleted})

    async def _put_right(self, run_id: str) -> None:
        now = self._now()
        try:
            status = (await self._client.get_workflow_handle(run_id).describe()).status
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            log.warning("workflow is missing, starts again", extra={"run_id": run_id})
            async with self._database.write() as session:
                await wakes.untold(session, [run_id], now=now - 2 * _GRACE)
            return
        if reason := _STOPPED.get(status) if status else None:
            log.warning("workflow has stopped, ends its run", extra={"run_id": run_id, "cause": reason})
            async with self._database.write() as session:
                await runs.change(
                    session,
                    run_id,
                    lambda run: run.cancelled(reason, at=now, by=PLATFORM),
                    origin="API",
                    by_driver=True,
                )
