"""A broker that fails in the ways brokers have: a gate that understands what is asked, and answers some of it itself.

Source: the Kafka protocol guide (Metadata, CreateTopics, Produce, and its error codes).
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.support.kafka_gate import Gate, Refused, _forward, _frame
from tests.support.processes import LOOPBACK

PRODUCE, METADATA, CREATE_TOPICS = 0, 3, 19
_FLEXIBLE = {PRODUCE: 9, METADATA: 9, CREATE_TOPICS: 5}
"""From which version on lengths are written otherwise."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    frame: bytes

    @property
    def key(self) -> int:
        """What is asked for."""
        return int(struct.unpack_from(">h", self.frame)[0])

    @property
    def flexible(self) -> bool:
        """How lengths are written."""
        return int(struct.unpack_from(">h", self.frame, 2)[0]) >= _FLEXIBLE.get(self.key, 99)


Answer = Callable[["Faulty", Asked], Awaitable[bytes | None]]
"""What is answered to a request; None: what the broker says."""


@dataclass
class Faulty(Gate):
    """Who passes is not asked; what is asked may fail."""

    faults: dict[int, Answer] = field(default_factory=dict)
    """By what is asked for."""
    asked: list[int] = field(default_factory=list)
    """What was."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; one request after the other."""
        inner, out = await asyncio.open_connection(LOOPBACK, self.broker.port)
        try:
            while True:
                asked = Asked(await _frame(reader))
                self.asked.append(asked.key)
                answer = await self.faults[asked.key](self, asked) if asked.key in self.faults else None
                if answer is None:
                    await _forward(asked.frame, out)
                    answer = await _frame(inner)
                await _forward(answer, writer)
        except (Refused, OSError, asyncio.IncompleteReadError):
            pass  # it shows as a connection that ends, as it does with a broker
        finally:
            for end in (writer, out):
                end.close()

    async def passed(self, asked: Asked) -> bytes:
        """What the broker says, on a connection of its own."""
        inner, out = await asyncio.open_connection(LOOPBACK, self.broker.port)
        try:
            await _forward(asked.frame, out)
            return await _frame(inner)
        finally:
            out.close()


def topic_is(code: int) -> Answer:
    """The brokers say this of each topic that they are asked for."""

    async def answer(gate: Faulty, asked: Asked) -> bytes:
        said = bytearray(await gate.passed(asked))
        at = said.index(b"org_")
        struct.pack_into(">h", said, at - (3 if asked.flexible else 4), code)
        return bytes(said)

    return answer


def not_made(code: int) -> Answer:
    """The brokers say this to whoever wants to make a topic."""

    async def answer(gate: Faulty, asked: Asked) -> bytes:
        assert not asked.flexible
        said = bytearray(await gate.passed(asked))
        at = said.index(b"org_")
        (length,) = struct.unpack_from(">h", said, at - 2)
        struct.pack_into(">h", said, at + length, code)
        return bytes(said)

    return answer


def not_written(code: int, *, times: int = 1_000_000) -> Answer:
    """The brokers say this to the first messages, and have not written them."""
    left = times

    async def answer(gate: Faulty, asked: Asked) -> bytes | None:
        nonlocal left
        left -= 1
        return _refusal(asked, code) if left >= 0 else None

    return answer


def lost(*, written: bool, times: int = 1_000_000) -> Answer:
    """The connection ends while the first messages are sent, or once they are written."""
    left = times

    async def answer(gate: Faulty, asked: Asked) -> bytes | None:
        nonlocal left
        left -= 1
        if left < 0:
            return None
        if written:
            await gate.passed(asked)
        raise Refused("cut")

    return answer


async def never(gate: Faulty, asked: Asked) -> bytes | None:
    """Nothing is said any more."""
    await asyncio.Event().wait()
    return None


async def killed(gate: Faulty, asked: Asked) -> bytes | None:
    """The broker has the message, and is killed before anybody is told so."""
    await gate.passed(asked)
    await gate.broker.kill()
    raise Refused("killed")


async def nonsense(gate: Faulty, asked: Asked) -> bytes | None:
    """An answer that is none."""
    return asked.frame[4:8] + b"\xff" * 7


def _refusal(asked: Asked, code: int) -> bytes:
    """The answer to a request with one message."""
    name, partition = _where(asked)
    _, version, correlation = struct.unpack_from(">hhi", asked.frame)
    what = struct.pack(">ihq", partition, code, -1)
    what += struct.pack(">q", -1) if version >= 2 else b""
    what += struct.pack(">q", -1) if version >= 5 else b""
    if asked.flexible:
        topic = bytes([2, len(name) + 1]) + name + b"\x02" + what + b"\x01\x00\x00\x00"
        return struct.pack(">i", correlation) + b"\x00" + topic + struct.pack(">i", 0) + b"\x00"
    what += struct.pack(">ih", 0, -1) if version >= 8 else b""
    topic = struct.pack(">ih", 1, len(name)) + name + struct.pack(">i", 1) + what
    return struct.pack(">i", correlation) + topic + struct.pack(">i", 0)


def _where(asked: Asked) -> tuple[bytes, int]:
    """The topic and the partition that the first message is for."""
    at = asked.frame.index(b"org_")
    if asked.flexible:
        length, more = asked.frame[at - 1] - 1, 1
    else:
        length, more = struct.unpack_from(">h", asked.frame, at - 2)[0], 4
    name = asked.frame[at : at + length]
    return name, struct.unpack_from(">i", asked.frame, at + length + more)[0]
