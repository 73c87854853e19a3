"""Calls the workflows of runs whose turn may have come, and tidies up behind those that have ended."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from domain.runs import Run
from runtime.driver import RunDriver
from store import turns
from store.database import Database
from worker.loops import again, every

_POLL_SECONDS = 1.0
_TIDY_SECONDS = 60.0
_RETRY_SECONDS = 2.0
_BATCH = 200
_AT_ONCE = 16


class TurnCalls:
    """Wakes the workflows of runs that are first in line. Several may run at once; each run is called by one.

    What was freed is noted in the transaction that frees it, so whoever dies before the call has only delayed it. A
    workflow that was called and did not look is called again. Wakes at once where the bell is heard, else every second.
    """

    def __init__(self, database: Database, driver: RunDriver, now: Callable[[], datetime]) -> None:
        self._database = database
        self._driver = driver
        self._now = now

    async def run(self) -> None:
        """Work until cancelled."""
        await asyncio.gather(
            again("calling runs whose turn it is", self.call_all, self._until_rung, retry=_RETRY_SECONDS),
            again("giving back turns", self.tidy, every(_TIDY_SECONDS), retry=_RETRY_SECONDS),
        )

    async def call_all(self) -> None:
        """Call all that are due."""
        while await self.call_once() == _BATCH:
            pass

    async def call_once(self) -> int:
        """Call some of those that are due; how many."""
        at = self._now()
        async with self._database.read() as session:
            if not await turns.any_due(session, at=at):
                return 0
        async with self._database.write() as session:
            due = await turns.due(session, at=at, limit=_BATCH)
        room = asyncio.Semaphore(_AT_ONCE)

        async def call(one: Run) -> None:
            async with room:
                await self._driver.wake(one)

        await asyncio.gather(*map(call, due))
        return len(due)

    async def tidy(self) -> None:
        """Give back the turns of runs that processes of older versions have ended, and forget starts of long ago."""
        async with self._database.read() as session:
            left = await turns.left_behind(session, limit=_BATCH)
        for run_id in left:
            async with self._database.write() as session:
                await turns.give_back(session, run_id, at=self._now())
        async with self._database.write() as session:
            await turns.purge(session, at=self._now())

    async def _until_rung(self) -> None:
        await self._database.turns.wait(_POLL_SECONDS)
