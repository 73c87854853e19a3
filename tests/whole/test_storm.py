"""A storm: clients start runs while one process after the other is killed; every key makes one run, and it ends."""

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.outcome import Observer, observing
from tests.support.processes import Parts

SECONDS = float(os.environ.get("INTERLOCK_STORM_SECONDS", "10"))
SEED = int(os.environ.get("INTERLOCK_STORM_SEED", "7"))
CLIENTS = 4
VICTIMS = ("api", "worker", "temporal")

pytestmark = [pytest.mark.whole, pytest.mark.timeout(240 + 3 * SECONDS)]


class Storm:
    """Clients and a killer on one stack, until the time is over; the same seed gives the same kills."""

    def __init__(self, stack: Parts, observer: Observer) -> None:
        self._stack, self._observer = stack, observer
        self._until = time.monotonic() + SECONDS
        self.kills: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        """How often a worker may have died during the call of a run."""

    async def rage(self) -> None:
        """Let it all happen."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._killer())
            for client in range(CLIENTS):
                group.create_task(self._client(client))

    def _rages(self) -> bool:
        """Until the time is over, and everybody was killed."""
        return time.monotonic() < self._until or len(self.kills) < len(VICTIMS)

    async def _killer(self) -> None:
        dice = random.Random(SEED)  # noqa: S311 - it shall be predictable
        victims: list[str] = []
        while self._rages():
            victims = victims or dice.sample(VICTIMS, len(VICTIMS))
            await asyncio.sleep(dice.uniform(0.5, 3))
            victim = victims.pop()
            await self._stack.kill(victim)
            self.kills[victim] += 1
            if victim == "worker":
                self.deaths.update(await self._observer.unrecorded())
            await self._stack.start(victim)

    async def _client(self, client: int) -> None:
        dice = random.Random(f"{SEED}/{client}")  # noqa: S311
        number = 0
        while self._rages():
            number += 1
            action = dice.choice(["answered", "reported", "approved"])
            run_id = await self._observer.run(action, key=f"{client}-{number}")
            if action == "approved":
                await self._observer.approve(run_id)
            await self._observer.delivered(run_id)
            if action == "reported":
                await self._observer.report(run_id)


async def test_every_key_makes_one_run_that_ends_whatever_is_killed(tmp_path: Path) -> None:
    async with Parts(tmp_path, log_level="warning") as stack, observing(stack) as observer:
        storm = Storm(stack, observer)
        await storm.rage()
        assert set(storm.kills) == set(VICTIMS)
        await observer.all_is_well(deaths=storm.deaths)
