"""Runs jq programs in a few warm processes with limits: the `Evaluator` of everything that serves.

The binding holds the GIL and cannot be interrupted, so a hostile program would stop the process it runs in; here it
stops one that is killed and replaced. `runtime/jq_process.py` says how the two talk.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, to_json

from domain.errors import Unavailable
from domain.jq import Failed, Nothing, Outcome, Overran, Oversized, Value
from domain.jq_reading import followed
from runtime.jq_habits import Habits, encoded
from runtime.settings import Settings

log = logging.getLogger(__name__)

_SCRIPT: Final = Path(__file__).with_name("jq_process.py")
_GUILTY: Final = 3
"""How many programs of one call may cost a process each before the rest of the call is given up."""
_QUICK: Final = 1 / 8
"""Of the time that a call may take, how much it takes at most to be worth joining when it is made again."""
_GRACE: Final = 10.0
"""Seconds that a process has to end itself before it is killed."""
_TRUE, _FALSE = Value(True), Value(False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take. Sizes are in bytes."""

    seconds: float = 5
    """For all programs of a call; again that long for those that are left when one has been stopped."""
    memory: int = 512 * 2**20
    """Address space beyond what an idle process has."""
    output: int = 2**20
    """For each program."""
    total_output: int = 16 * 2**20
    """For all programs of a call."""
    input: int = 8 * 2**20
    """For the document, and for all programs of a call."""
    patience: float = 30
    """How many seconds a call waits for a process when all are busy, or when one is being started."""


class JqPool:
    """`async with JqPool() as evaluate: outcomes = await evaluate([".a"], {"a": 1})`.

    Calls are served in the order they come when all processes are busy. Those whose programs ran into a limit when they
    were evaluated last wait for each other: they leave one of the processes to everybody else.
    """

    def __init__(self, size: int = 2, limits: Limits | None = None) -> None:
        self._size, self._limits = size, limits or Limits()
        self._turns = asyncio.Semaphore(size)
        self._turns_of_suspects = asyncio.Semaphore(max(1, size - 1))
        self._processes: set[_Process] = set()
        self._idle: list[_Process] = []
        self._ending: list[_Process] = []
        self._open = False
        self._habits = Habits()

    async def __aenter__(self) -> Self:
        """Start the processes.

        Raises:
            Unavailable: they do not start.
        """
        self._open = True
        try:
            self._idle += await asyncio.gather(*(self._started() for _ in range(self._size)))
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the processes. Calls under way fail with `Unavailable`."""
        self._open = False
        self._idle.clear()
        for process in tuple(self._processes):
            self._end(process)
        while self._ending:
            await self._ending.pop().ended()

    async def __call__(
        self, programs: Sequence[str], document: JsonValue, *, now: datetime | None = None
    ) -> list[Outcome]:
        """See `domain.jq.Evaluator`."""
        answers = followed(programs, document)
        left = [program for program, answer in zip(programs, answers, strict=True) if answer is None]
        rest = iter(await self._evaluated(left, document, now) if left else ())
        return [next(rest) if answer is None else answer for answer in answers]

    async def _evaluated(self, programs: Sequence[str], document: JsonValue, now: datetime | None) -> list[Outcome]:
        given = _json([time.time() if now is None else now.timestamp(), document])
        if max(len(given), sum(map(len, programs))) > self._limits.input:
            reason = f"the document or its programs are larger than {self._limits.input} bytes"
            return [Oversized(reason)] * len(programs)
        outcomes: list[Outcome] = []
        guilty = 0
        asked = tuple(programs)
        async with self._turn(asked):
            began = time.monotonic()
            process = self._idle.pop() if self._idle else None
            joined = together = self._habits.joined(asked)
            while len(outcomes) < len(programs) and guilty < _GUILTY:
                failed = await self._attempt(process, asked, given, outcomes, together)
                process = together = None
                if failed is not None:
                    guilty += 1
                    outcomes.append(failed)
            if joined is None and guilty:
                self._habits.went_wrong(asked)
            elif joined is None and time.monotonic() - began < self._limits.seconds * _QUICK:
                self._habits.went_well(asked)
        rest = Overran("it was not evaluated: too many of the programs before it ran into a limit")
        return outcomes + [rest] * (len(programs) - len(outcomes))

    @contextlib.asynccontextmanager
    async def _turn(self, programs: tuple[str, ...]) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                waits = self._turns.locked() or self._habits.overran(programs)
                async with asyncio.timeout(self._limits.patience if waits else None):
                    if not self._habits.overran(programs):
                        await stack.enter_async_context(self._turns)
                    if self._habits.overran(programs):  # perhaps it has turned out meanwhile
                        await stack.aclose()
                        await stack.enter_async_context(self._turns_of_suspects)
                        await stack.enter_async_context(self._turns)
            except TimeoutError:
                raise Unavailable("every jq process has been busy for too long") from None
            yield

    async def _attempt(
        self,
        used: "_Process | None",
        programs: tuple[str, ...],
        given: bytes,
        outcomes: list[Outcome],
        together: bytes | None,
    ) -> Failed | None:
        """Add to the outcomes those that the process knows, then what became of the program it ended at, if it did.

        A process that has been used may end for older reasons; that is nobody's fault, and ends nothing but this
        attempt: the next one has a fresh process. Nobody knows either who ended one that evaluated them `together`.
        """
        process = used or await self._started()
        try:
            async with asyncio.timeout(self._limits.seconds + _GRACE):
                if together is None:
                    goes_on = await process.ask(programs[len(outcomes) :], given, outcomes)
                else:
                    goes_on = await process.ask_together(together, len(programs), given, outcomes)
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            self._end(process)
            overran = isinstance(error, TimeoutError) or await process.ended() in (signal.SIGALRM, signal.SIGXCPU)
            if not self._open:
                raise Unavailable("the jq pool is closed") from None
            log.warning("jq process replaced", extra={"jq_pid": process.pid, "cause": "time" if overran else "died"})
            if len(outcomes) == len(programs):
                return None  # the time was over between the last answer and the word that it was the last
            if together is not None:
                self._habits.went_wrong(programs)
                return None
            if overran:
                return Overran(f"the program took longer than {self._limits.seconds:g} s")
            return Overran("the program needed more memory than it may have, or broke jq") if used is None else None
        except BaseException:
            # It is in the middle of an answer that nobody waits for.
            self._end(process)
            log.warning("jq process replaced", extra={"jq_pid": process.pid, "cause": "cancelled"})
            raise
        if goes_on and self._open:
            self._idle.append(process)
        else:
            self._end(process)
        return None

    async def _started(self) -> "_Process":
        if not self._open:
            raise Unavailable("the jq pool is closed")
        process = _Process(self._limits)
        self._processes.add(process)
        try:
            async with asyncio.timeout(self._limits.patience):
                await process.ready()
        except (OSError, EOFError):
            self._end(process)
            raise Unavailable("a jq process does not start") from None
        except BaseException:
            self._end(process)
            raise
        return process

    def _end(self, process: "_Process") -> None:
        process.kill()
        self._processes.discard(process)
        # Waiting for the kernel to clean up would hold the event loop; it is asked again next time.
        self._ending = [other for other in self._ending if other.is_running()] + [process]


def jq_pool(settings: Settings) -> JqPool:
    """The pool as it is configured."""
    return JqPool(settings.jq_processes, Limits(seconds=settings.jq_time_limit.total_seconds()))


class _Process:
    """One child, and the socket to it."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    def __init__(self, limits: Limits) -> None:
        self._socket, theirs = socket.socketpair()
        self._connected = False
        numbers = (limits.seconds, limits.memory, limits.output, limits.total_output)
        with theirs:
            try:
                self._child = subprocess.Popen(  # noqa: S603 (our own file)
                    [sys.executable, "-I", str(_SCRIPT), *map(str, numbers)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                )
            except OSError:
                self._socket.close()
                raise Unavailable("a jq process does not start") from None
        self.pid = self._child.pid

    async def ready(self) -> None:
        """Wait until it can be asked."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        self._connected = True
        await self._reader.readexactly(1)

    async def ask(self, programs: Sequence[str], given: bytes, outcomes: list[Outcome]) -> bool:
        """Add the outcomes as they come; whether it can be asked again.

        Raises:
            OSError, EOFError: it ended.
        """
        await self._send(b"1", encoded(programs), given)
        return await self._told(len(programs), outcomes)

    async def ask_together(self, texts: bytes, number: int, given: bytes, outcomes: list[Outcome]) -> bool:
        """The same for so many programs, which are joined where that changes nothing.

        Raises:
            OSError, EOFError: it ended.
        """
        await self._send(b"J", texts, given)
        (length,) = struct.unpack(">I", await self._reader.readexactly(4))
        if not length:
            return await self._told(number, outcomes)
        outcomes += map(_unjoined, json.loads(await self._reader.readexactly(length)))
        return await self._told(0, outcomes)

    async def _send(self, how: bytes, texts: bytes, given: bytes) -> None:
        self._writer.writelines((struct.pack(">cII", how, len(texts), len(given)), texts, given))
        await self._writer.drain()

    async def _told(self, number: int, outcomes: list[Outcome]) -> bool:
        for _ in range(number):
            kind, length = struct.unpack(">cI", await self._reader.readexactly(5))
            outcomes.append(_outcome(kind, await self._reader.readexactly(length)))
        return await self._reader.readexactly(1) == b"."

    def kill(self) -> None:
        """Now, whatever it does; harmless when it has ended."""
        self._child.kill()
        if self._connected:
            self._writer.transport.abort()
        else:
            self._socket.close()

    def is_running(self) -> bool:
        """Whether the kernel still has it."""
        return self._child.poll() is None

    async def ended(self) -> int:
        """The signal that ended it, or 0."""
        code: int = await asyncio.to_thread(self._child.wait)
        return max(0, -code)


def _json(value: JsonValue) -> bytes:
    try:
        return to_json(value, inf_nan_mode="constants")  # writes what the other does, in a third of the time
    except PydanticSerializationError:  # it nests deeper than 250 levels, or has half a surrogate pair
        return json.dumps(value, separators=(",", ":")).encode()


def _outcome(kind: bytes, data: bytes) -> Outcome:
    match kind:
        case b"V":
            return Value(json.loads(data))
        case b"N":
            return Nothing()
        case b"O":
            return Overran(data.decode())
    return Failed(data.decode())


def _unjoined(item: JsonValue) -> Outcome:
    match item:
        case bool():
            return _TRUE if item else _FALSE
        case str():
            return Failed(item)
        case [value]:
            return Value(value)
        case [[str(reason)], None]:
            return Overran(reason)
    return Nothing()


def _environment() -> dict[str, str]:
    """Nothing that programs could be curious about; time zones are not theirs to depend on."""
    needed = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"TZ": "UTC", **needed}
