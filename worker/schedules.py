"""The relay of schedules: tells Temporal which automations the clock starts, and when."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from domain.cron import most_a_day
from domain.runs import Source
from runtime.temporal import search_attributes
from store import schedules
from store.database import Database
from store.schedules import Wish
from worker.loops import again, every
from workflows.calls import ScheduledRunInput
from workflows.scheduled_run import ScheduledRun

log = logging.getLogger(__name__)

PREFIX = "schedule:"
RUN_PREFIX = "scheduled:"
CATCH_UP = timedelta(days=1)
"""How far back times are made up for that passed while Temporal did not work, or did not know the schedule."""
OFTEN = 900
CATCH_UP_OFTEN = timedelta(minutes=OFTEN)
"""The same for those that come so often a day: what Temporal finds to have passed while it was away, it holds at once,
and of more than 1,000 it would drop the newest ones without a word. A backfill it takes a few at a time."""

_POLL_SECONDS = 5.0
_SWEEP_SECONDS = 300.0
_RETRY_SECONDS = 5.0
_RPC_TIMEOUT = timedelta(seconds=5)
_BATCH = 200
_AT_ONCE = 8


class Schedules:
    """Makes, changes and deletes the schedules of Temporal until they are as SQL says. Several may run at once.

    Telling twice changes nothing, and neither does a time that comes twice. So whatever dies in between is repeated.
    """

    def __init__(self, client: Client, database: Database, now: Callable[[], datetime], *, task_queue: str) -> None:
        self._client = client
        self._database = database
        self._now = now
        self._task_queue = task_queue
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._bell = database.bell.ear()
        self._renewed = False

    async def run(self) -> None:
        """Work until cancelled. An outage of SQL or Temporal only costs time."""
        await asyncio.gather(
            again("telling schedules", self._relay_all, lambda: self._bell.wait(_POLL_SECONDS), retry=_RETRY_SECONDS),
            again("looking for lost schedules", self.sweep, every(_SWEEP_SECONDS), retry=_RETRY_SECONDS),
        )

    async def _relay_all(self) -> None:
        while await self.relay_once():
            pass

    async def relay_once(self) -> bool:
        """Tell those that have been waiting longest; whether there may be more of them.

        Raises:
            temporalio.service.RPCError: Temporal does not answer.
        """
        async with self._database.read() as session:
            wishes = await schedules.pending(session, limit=_BATCH)
        await self._tell_all(wishes, missed=True)
        return len(wishes) == _BATCH

    async def sweep(self) -> None:
        """Find schedules that Temporal has lost, or has otherwise than they should be, and put each right.

        The first sweep of a process tells all of them: so they are on its task queue, and encrypted with its newest
        key, which Temporal would otherwise keep to for as long as they exist.

        Raises:
            temporalio.service.RPCError: Temporal does not answer.
        """
        known = {}
        async for found in await self._client.list_schedules():
            if found.id.startswith(PREFIX) and found.schedule:
                known[found.id.removeprefix(PREFIX)] = found.schedule.state
        last = ""
        while True:
            async with self._database.read() as session:
                page = await schedules.wanted(session, after=last, limit=_BATCH)
            if not page:
                break
            last = page[-1].action_id
            if not self._renewed:
                await self._tell_all([wish for wish in page if wish.action_id in known], missed=False)
            lost = [
                wish.action_id
                for wish in page
                if (state := known.get(wish.action_id)) is None or not (state.paused or state.note == _note(wish))
            ]
            if lost:
                log.warning("schedules are missing or differ, and are told again", extra={"schedules": len(lost)})
                async with self._database.write() as session:
                    await schedules.untold(session, lost, at=self._now())
        self._renewed = True

    async def _tell_all(self, wishes: Sequence[Wish], *, missed: bool) -> None:
        answers = await asyncio.gather(*(self._tell(wish, missed=missed) for wish in wishes), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _tell(self, wish: Wish, *, missed: bool) -> None:
        async with self._turn:
            handle = self._client.get_schedule_handle(f"{PREFIX}{wish.action_id}")
            try:
                if wish.wanted:
                    await self._put(handle, wish, missed=missed)
                else:
                    await self._delete(handle)
            except ScheduleAlreadyRunningError:
                return  # another relay has just made it; it is told again, as long as it is pending
            except RPCError as error:
                if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                    raise
                # It would be refused again: the next sweep tries, and says so again.
                log.error("temporal refuses a schedule", extra={"automation": wish.identifier, "cause": error.message})
            async with self._database.write() as session:
                await schedules.told(session, wish, at=self._now())

    async def _put(self, handle: ScheduleHandle, wish: Wish, *, missed: bool) -> None:
        """Make the schedule, or make it what it should be; and make up for the times that passed in between."""
        at = self._now()

        def changed(found: ScheduleUpdateInput) -> ScheduleUpdate:
            state = found.description.schedule.state
            # Who paused it in Temporal wants it paused.
            return ScheduleUpdate(self._schedule(wish, state if state.paused else ScheduleState(note=_note(wish))))

        try:
            await handle.update(changed, rpc_timeout=_RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await self._client.create_schedule(
                handle.id,
                self._schedule(wish, ScheduleState(note=_note(wish))),
                backfill=[_between(wish.since, at)],
                rpc_timeout=_RPC_TIMEOUT,
            )
            return
        if missed:
            await handle.backfill(_between(max(wish.since, wish.pending_since), at), rpc_timeout=_RPC_TIMEOUT)

    async def _delete(self, handle: ScheduleHandle) -> None:
        try:
            await handle.delete(rpc_timeout=_RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    def _schedule(self, wish: Wish, state: ScheduleState) -> Schedule:
        return Schedule(
            action=ScheduleActionStartWorkflow(
                ScheduledRun.run,
                ScheduledRunInput(action_id=wish.action_id, cron=wish.cron, timezone=wish.timezone),
                id=f"{RUN_PREFIX}{wish.action_id}",
                task_queue=self._task_queue,
                typed_search_attributes=search_attributes(action=wish.identifier, source=Source.AUTOMATION),
                static_summary=f"{wish.identifier} at {wish.cron} {wish.timezone}"[:200],
            ),
            spec=ScheduleSpec(cron_expressions=[wish.cron], time_zone_name=wish.timezone),
            policy=SchedulePolicy(
                # What it starts ends at once, unless no worker is there: then every time has to wait, none is skipped.
                overlap=ScheduleOverlapPolicy.ALLOW_ALL,
                catchup_window=_catch_up(wish.cron),
            ),
            state=state,
        )


def _catch_up(cron: str) -> timedelta:
    try:
        return CATCH_UP if most_a_day(cron) <= OFTEN else CATCH_UP_OFTEN
    except ValueError:  # an older version took it: Temporal says what it thinks of it
        return CATCH_UP_OFTEN


def _note(wish: Wish) -> str:
    """What operators read beside the schedule, and what a sweep knows it by."""
    return f"{wish.identifier}: {wish.cron} {wish.timezone}"


def _between(since: datetime, at: datetime) -> ScheduleBackfill:
    return ScheduleBackfill(max(since, at - CATCH_UP), at, ScheduleOverlapPolicy.ALLOW_ALL)
