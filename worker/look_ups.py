"""Asks backends, from time to time, about runs that nobody has reported about."""

from activities.look_ups import LookUpWork
from runtime.driver import RunDriver
from worker.loops import again, every

_POLL_SECONDS = 2.0
_RETRY_SECONDS = 5.0


class LookUps:
    """Looks up runs that are due, and wakes the workflows of those that have ended. Several may run at once."""

    def __init__(self, work: LookUpWork, driver: RunDriver) -> None:
        self._work = work
        self._driver = driver

    async def run(self) -> None:
        """Work until cancelled."""
        await again("looking up runs", self.look_up_all, every(_POLL_SECONDS), retry=_RETRY_SECONDS)

    async def look_up_all(self) -> None:
        """Ask about all that are due."""
        more = True
        while more:
            ended, more = await self._work.look_up()
            for run in ended:
                await self._driver.try_wake(run)  # the relay wakes those that this cannot
