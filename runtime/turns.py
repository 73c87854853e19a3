"""Turns: only so many pieces of work of one kind at a time, so that the others find processes and connections free."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.errors import Unavailable


class Turns:
    """`async with turns.one(): ...` waits until it is the caller's turn; who comes first is served first."""

    def __init__(self, several: int, *, patience: float, refusal: str) -> None:
        """`several` at a time; who waits for longer than `patience` seconds is told the `refusal`."""
        self._free = asyncio.Semaphore(several)
        self._patience = patience
        self._refusal = refusal

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A turn, until the block ends, however it ends.

        Raises:
            Unavailable: others take too long.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable(self._refusal) from None
        try:
            yield
        finally:
            self._free.release()
