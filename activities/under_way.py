"""Invocations under way in this process: each is made once, and whoever asks for it again waits for the same one."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any
from uuid import uuid4

from temporalio import activity

from domain.attempts import Try
from workflows.calls import Progress


class UnderWay:
    """Those of one worker."""

    def __init__(self) -> None:
        self.worker = uuid4().hex
        """Its name: another one each time that a process starts."""
        self._tasks: dict[str, asyncio.Task[Progress]] = {}
        self._tries: dict[str, Try] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def joined(self, run_id: str, begin: Callable[[], Coroutine[Any, Any, Progress]]) -> asyncio.Task[Progress]:
        """What is under way for the run, begun now if it was not, by the activity that asks."""
        info = activity.info()
        task = self._tasks.get(run_id)
        if task is None:
            self._tries[run_id] = Try(activity=info.activity_id, first=info.attempt, last=info.attempt)
            task = self._tasks[run_id] = asyncio.create_task(begin())
            task.add_done_callback(lambda done: self._ended(run_id, done))
        elif self._tries[run_id].activity == info.activity_id:
            self._tries[run_id] = self._tries[run_id].model_copy(update={"last": info.attempt})
        return task

    def tried(self, run_id: str) -> Try:
        """Which of Temporal's attempts it is for."""
        return self._tries[run_id]

    async def ended(self, within: timedelta) -> None:
        """Wait until nothing is under way, so long at most: what was sent is to be recorded before the process ends."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=within.total_seconds())

    def _ended(self, run_id: str, task: asyncio.Task[Progress]) -> None:
        del self._tasks[run_id], self._tries[run_id]
        if not task.cancelled():
            task.exception()  # seen, even if the attempt that waited for it was given up
