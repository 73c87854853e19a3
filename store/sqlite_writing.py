"""Who writes next on SQLite, and what several write together.

Committing waits for the disk, and whoever wants to write waits for that. So those who may are committed together with
the writers before them: each has a part of the transaction, undone by itself, and is done when all of it is committed.
"""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

BUSY_MILLISECONDS: Final = 10_000
"""How long a writer waits for those of other processes."""
_MOST: Final = 16
_LONGEST: Final = 0.1
"""How many write in one transaction, and for how many seconds: the first of them waits for the last."""


class WithOthers(Exception):
    """This needs a transaction of one's own: nobody else sees yet what others have written in this one."""


class Turns:
    """Who writes next: first come, first served."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()

    def ask(self, together: bool) -> asyncio.Future[None] | None:
        """What is done when the turn has come; None: it has."""
        if not self._taken:
            self._taken = True
            return None
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, together))
        return turn

    @property
    def next_is_together(self) -> bool:
        """Whether somebody waits, and may write together with those before them."""
        while self._waiting and self._waiting[0][0].done():  # they do not wait any more
            self._waiting.popleft()
        return bool(self._waiting) and self._waiting[0][1]

    def give(self) -> None:
        """Let the next one have the turn."""
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False


@dataclass
class Part:
    """What one of them writes in a transaction."""

    connection: Connection
    shared: bool
    """Whether others have written in it before: they are not committed, and this one sees what they have written."""
    is_open: bool = True
    is_given_up: bool = False
    """Whether it needed a transaction of its own. It is undone, whatever became of the exception that said so."""


class Transaction:
    """A transaction, in which several may write one after the other, or one alone."""

    def __init__(self, engine: Engine, *, together: bool) -> None:
        self._together = together
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fault: Exception | None = sqlite3.OperationalError("it was not committed")
        self._parts = 0
        self._until = 0.0
        self._connection = engine.connect()
        self._connection.begin()
        self._real: Any = self._connection.connection.dbapi_connection

    def begin_at_once(self) -> bool:
        """Begin to write, unless another process does so at the moment.

        A reader that becomes a writer half-way could not wait for its turn, so writers say at once what they are.
        Readers need no transaction, so nothing else begins one.
        """
        try:
            self._real.execute("PRAGMA busy_timeout=0")
            self._real.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        finally:
            self._real.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        return True

    def begin_in_turn(self) -> None:
        """Begin to write when other processes let us. Blocks."""
        self._connection.exec_driver_sql("BEGIN IMMEDIATE")

    @contextmanager
    def part(self) -> Iterator[Part]:
        """For one who writes. What they have written counts if nothing raises."""
        if not self._parts:
            self._until = time.monotonic() + _LONGEST
        part = Part(self._connection, shared=self._parts > 0)
        _writing.set(part)
        try:
            yield part
            self._parts += 1
        finally:
            part.is_open = False
            _writing.set(None)

    @property
    def has_room(self) -> bool:
        """Whether somebody else may write in it."""
        # Where the disk is full, for instance, SQLite undoes all of it, and what follows would be outside of it.
        return self._together and 0 < self._parts < _MOST and time.monotonic() < self._until and self._lasts

    def end(self) -> None:
        """Commit it, or undo it where nobody has written. Blocks; what goes wrong is for `outcome`."""
        try:
            with self._connection:  # which undoes what is not committed
                if self._parts and self._lasts:
                    self._real.commit()  # by itself: SQLAlchemy does not undo what it has tried to commit
                    self._fault = None
        except Exception as fault:
            self._fault = fault

    def tell(self) -> None:
        """Let those who wait for its outcome know it."""
        with self._connection:  # it is closed, unless there was no thread to end it in
            self._ended.set_result(None)

    async def outcome(self) -> None:
        """Wait until all of it is committed.

        Raises:
            sqlalchemy.exc.OperationalError: it cannot be. Each who waits gets their own.
        """
        await asyncio.shield(self._ended)
        if self._fault is not None:
            raise OperationalError("COMMIT", None, self._fault)

    @property
    def _lasts(self) -> bool:
        try:
            return bool(self._real.in_transaction)
        except sqlite3.Error:  # the connection is closed
            return False


_writing: ContextVar[Part | None] = ContextVar("_writing", default=None)
"""The part that this task writes, or did when it began."""


def is_with_others() -> bool:
    """Whether this task writes in a transaction in which others have written before."""
    part = _writing.get()
    return part is not None and part.shared and part.is_open


def own() -> None:
    """Nothing, where this task writes in a transaction of its own or not at all.

    Raises:
        WithOthers: it writes in one with others.
    """
    part = _writing.get()
    if part is not None and is_with_others():
        part.is_given_up = True
        raise WithOthers
