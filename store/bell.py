"""Bells: whoever has work for others rings, in this process or, on PostgreSQL, in any other."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from weakref import WeakSet

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.engine import make_url

log = logging.getLogger(__name__)

CHANNEL = "interlock_pending"
CLAIMS = "interlock_claims"
TURNS = "interlock_turns"
LISTENER = "interlock listener"
"""How the connection calls itself that listens to them."""
_RETRY_SECONDS = 5.0


class Ear:
    """One of those who hear the bell. What rang while it did not listen is kept until it does."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def hear(self) -> None:
        """Wake whoever waits."""
        self._rung.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until the bell rings, but no longer than this; whether it has."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), seconds)
        rung = self._rung.is_set()
        self._rung.clear()
        return rung


class Bell:
    """Rings without waiting; whoever has an ear for it hears every ring."""

    def __init__(self) -> None:
        self._ears: WeakSet[Ear] = WeakSet()
        self._own = self.ear()

    def ear(self) -> Ear:
        """A new ear, for one who waits again and again; it is there until it is forgotten."""
        ear = Ear()
        self._ears.add(ear)
        return ear

    def ring(self) -> None:
        """Wake whoever waits."""
        for ear in list(self._ears):
            ear.hear()

    async def wait(self, seconds: float) -> None:
        """Wait with the bell's own ear, which one alone may use: every other one needs an ear of their own."""
        await self._own.wait(seconds)


@contextlib.asynccontextmanager
async def across_processes(url: str, bells: Mapping[str, Bell]) -> AsyncIterator[None]:
    """While in it, the bells of these channels also ring when other processes ring theirs: one connection for all.

    On SQLite they are not heard.
    """
    if url.startswith("sqlite"):
        yield
        return
    task = asyncio.create_task(_hear(url, bells))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _hear(url: str, bells: Mapping[str, Bell]) -> None:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)

    def heard(_connection: Any, _pid: int, channel: str, _payload: object) -> None:
        bells[channel].ring()

    while True:
        pause = _RETRY_SECONDS
        try:
            connection = await asyncpg.connect(address, timeout=5, server_settings={"application_name": LISTENER})
            try:
                lost = _loss(connection)
                for channel in bells:
                    await connection.add_listener(channel, heard)
                for bell in bells.values():
                    bell.ring()  # nobody knows what rang before
                listening = time.monotonic()
                await lost.wait()
                if time.monotonic() - listening > _RETRY_SECONDS:
                    pause = 0.0  # it has worked, so it probably does
            finally:
                await connection.close(timeout=1)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Whoever waits for it looks from time to time anyway: it only takes longer.
            log.warning("nobody is heard ringing", extra={"cause": type(error).__name__})
        await asyncio.sleep(pause)


def _loss(connection: Any) -> asyncio.Event:
    """What is set when the connection ends."""
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    return lost
