"""Makes the organization's topics of Kafka as soon as a broker answers: who subscribes before that looks again late.

The execution agent subscribes to both when it starts, and asks only every five minutes whether they exist by now.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from domain.errors import BackendRefused, BackendUnavailable

log = logging.getLogger(__name__)

_FIRST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(minutes=1)


class Preparing(Protocol):
    """Who can make topics."""

    async def prepare(self, topic: str) -> None:
        """Make the topic if it is missing.

        Raises:
            BackendUnavailable: not now.
            BackendRefused: never.
        """


class Topics:
    """What consumers subscribe to."""

    def __init__(self, kafka: Preparing | None, names: Sequence[str], *, first_wait: timedelta = _FIRST_WAIT) -> None:
        self._kafka = kafka
        self._names = names
        self._first_wait = first_wait

    async def run(self) -> None:
        """Make what is missing, and try again until each is there or refused. Without Kafka there is nothing to do."""
        if self._kafka is None:
            return
        kafka = self._kafka
        await asyncio.gather(*(self._make(kafka, name) for name in self._names))

    async def _make(self, kafka: Preparing, name: str) -> None:
        wait = self._first_wait
        while True:
            try:
                await kafka.prepare(name)
            except BackendRefused as fault:  # whoever publishes there is told the same
                log.warning("topic is not there", extra={"topic": name, "cause": str(fault)})
                return
            except BackendUnavailable as fault:
                log.info("topic is not there yet", extra={"topic": name, "cause": str(fault)})
                await asyncio.sleep(wait.total_seconds())
                wait = min(2 * wait, _LONGEST_WAIT)
            else:
                return
