"""Bells: whoever has work for others rings, in this process or, on PostgreSQL, in any other."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakSet

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.engine import make_url

log = logging.getLogger(__name__)

CHANNEL = "interlock_pending"
CLAIMS = "interlock_claims"
TURNS = "interlock_turns"
_RETRY_SECONDS = 5.0


class Ear:
    """One of those who hear the bell. What rang while it did not listen is kept until it does."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def hear(self) -> None:
        """Wake whoever waits."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Wait until the bell rings, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), seconds)
        self._rung.clear()


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
async def across_processes(url: str, bell: Bell, channel: str = CHANNEL) -> AsyncIterator[None]:
    """While in it, the bell also rings when other processes ring theirs. On SQLite they are not heard."""
    if url.startswith("sqlite"):
        yield
        return
    task = asyncio.create_task(_hear(url, bell, channel))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _hear(url: str, bell: Bell, channel: str) -> None:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)

    def heard(*_: Any) -> None:
        bell.ring()

    while True:
        try:
            connection = await asyncpg.connect(address, timeout=5)
            try:
                lost = _loss(connection)
                await connection.add_listener(channel, heard)
                await lost.wait()
            finally:
                await connection.close(timeout=1)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Whoever waits for it looks from time to time anyway: it only takes longer.
            log.warning("nobody is heard ringing", extra={"cause": type(error).__name__})
        await asyncio.sleep(_RETRY_SECONDS)


def _loss(connection: Any) -> asyncio.Event:
    """What is set when the connection ends."""
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    return lost
