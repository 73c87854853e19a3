"""The relay of timers: starts the workflow of each, ends those that nobody waits for, finds those that are gone."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from domain.timers import workflow_id
from domain.times import iso
from runtime.temporal import search_attributes
from store import timers
from store.database import Database
from store.timers import Timer, Told
from worker.loops import again, every
from workflows.calls import EntityTimerInput
from workflows.entity_timer import EntityTimer

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_SWEEP_SECONDS = 300.0
_RETRY_SECONDS = 5.0
_AT_ONCE = 16
"""How many timers are leased, and told, together: all of them well within their lease."""
_PAGE = 100
"""How many executions one listing asks for by their ids."""
_RPC_TIMEOUT = timedelta(seconds=3)
_TELLING_SECONDS = 8.0
"""How long telling one may take, however often the client tries: less than `timers.LEASE`, or another relay begins."""
_LONGEST_DELAY = timedelta(days=3650)
"""How far ahead a workflow is started at most: servers count only so far. It waits for the rest itself."""
_LONGEST_VALUE = 100


class TimerRelay:
    """Tells Temporal about timers. The rows say what it has still to be told, so several of these may run at once.

    Nothing here decides whether a timer fires: a workflow that is there by mistake, or twice, only asks its row.
    """

    def __init__(self, client: Client, database: Database, task_queue: str, now: Callable[[], datetime]) -> None:
        self._client = client
        self._database = database
        self._task_queue = task_queue
        self._now = now
        self._ear = database.bell.ear()

    async def run(self) -> None:
        """Work until cancelled. An outage of SQL or Temporal only costs time."""
        await asyncio.gather(
            again("telling timers", self._relay_all, lambda: self._ear.wait(_POLL_SECONDS), retry=_RETRY_SECONDS),
            again("looking for lost timers", self.sweep, every(_SWEEP_SECONDS), retry=_RETRY_SECONDS),
        )

    async def _relay_all(self) -> None:
        while await self.relay_once():
            pass

    async def relay_once(self) -> bool:
        """Tell Temporal about the timers that have been waiting longest; whether there may be more of them."""
        now = self._now()
        async with self._database.read() as session:
            if not await timers.pending(session, now=now):
                return False
        leased = await self._database.transact(lambda session: timers.leased(session, now=now, limit=_AT_ONCE))
        answers = await asyncio.gather(*map(self._tell, leased), return_exceptions=True)
        told = [one for one in answers if isinstance(one, Told)]
        late = await self._database.transact(lambda session: timers.told(session, told, at=self._now()))
        for one in late:
            await self._terminate(one.workflow_id, one.workflow_run, "the timer was set to something else meanwhile")
        for answer in answers:
            if isinstance(answer, BaseException):  # not before the others are noted, or they would be told again
                raise answer
        return len(leased) == _AT_ONCE and bool(told)

    async def sweep(self) -> None:
        """Find timers whose workflow is gone, and have it started again.

        It happens when Temporal lost its data, or when an operator terminated a workflow. They are looked for by their
        ids, a page at a time, so that it takes no more memory when there are many.
        """
        after = ("", "")
        while True:
            async with self._database.read() as session:
                page = await timers.waiting(session, after=after, limit=_PAGE)
            if not page:
                return
            after = page[-1].entity_id, page[-1].property
            ids = ", ".join(f"'{timer.workflow_run}'" for timer in page)
            query = f"ExecutionStatus = 'Running' AND RunId IN ({ids})"
            running = {one.run_id async for one in self._client.list_workflows(query)}
            # Listings are written later, so whoever is not in one is asked for.
            lost = [timer for timer in page if timer.workflow_run not in running and await self._is_lost(timer)]
            if lost:
                log.warning("workflows of timers are gone, start again", extra={"timers": len(lost)})
                at = self._now()
                await self._database.transact(lambda session: timers.lost(session, lost, at=at))  # noqa: B023

    async def _is_lost(self, timer: Timer) -> bool:
        handle = self._client.get_workflow_handle(timer.workflow_id or "", run_id=timer.workflow_run)
        try:
            return (await handle.describe(rpc_timeout=_RPC_TIMEOUT)).status is not WorkflowExecutionStatus.RUNNING
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return True

    async def _tell(self, timer: Timer) -> Told | None:
        """Start the workflow of the timer, or end it; None when Temporal does not answer."""
        called = workflow_id(timer.blueprint, timer.entity, timer.property)
        starts = timer.pending == "start" and not timer.expired
        try:
            async with asyncio.timeout(_TELLING_SECONDS):
                if timer.workflow_run and not timer.expired and (not starts or timer.workflow_id != called):
                    await self._terminate(timer.workflow_id, timer.workflow_run, "nobody waits for the timer any more")
                return Told(timer, called, await self._start(timer, called)) if starts else Told(timer, None, None)
        except (RPCError, TimeoutError) as error:
            cause = error.status.name if isinstance(error, RPCError) else "time"
            log.warning("temporal call failed", extra={"call": f"{timer.pending} timer", "cause": cause})
            return None

    async def _start(self, timer: Timer, called: str) -> str | None:
        """Start the workflow in the place of any other of its id; the id of its execution."""
        delay = min(max(timer.first_at() - self._now(), timedelta(0)), _LONGEST_DELAY)
        handle = await self._client.start_workflow(
            EntityTimer.run,
            EntityTimerInput(
                entity_id=timer.entity_id,
                property=timer.property,
                due_at=timer.due_at,
                warn_at=None if timer.warned else timer.warn_at,
                value=timer.value[:_LONGEST_VALUE],
            ),
            id=called,
            task_queue=self._task_queue,
            start_delay=delay or None,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
            static_summary=f"{timer.property} of {timer.entity} at {timer.value[:_LONGEST_VALUE]}"[:200],
            static_details=f"Timer `{timer.property}`, due at {iso(timer.due_at)}. Another value replaces it.",
            search_attributes=search_attributes(blueprint=timer.blueprint, entity=timer.entity, source="TIMER"),
            rpc_timeout=_RPC_TIMEOUT,
        )
        return handle.first_execution_run_id

    async def _terminate(self, called: str | None, run: str | None, reason: str) -> None:
        """End that very execution, if it has not ended; another of its id is left alone."""
        try:
            await self._client.get_workflow_handle(called or "", run_id=run).terminate(
                reason=reason, rpc_timeout=_RPC_TIMEOUT
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
