"""The least Temporal can do: a workflow with one activity, started eagerly. What our runs are compared with."""

import asyncio
import json
import os
import sys
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import GrpcCompression
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

begun: dict[str, float] = {}
"""When the activity of each workflow began."""


@activity.defn
async def nothing(run_id: str) -> str:
    """Remember when it was asked."""
    begun[run_id] = time.perf_counter()
    return run_id


@workflow.defn
class Bare:
    """One activity."""

    @workflow.run
    async def run(self, run_id: str) -> str:
        """Run it."""
        return await workflow.execute_activity(nothing, run_id, start_to_close_timeout=timedelta(seconds=30))


async def measure(address: str, times: int, clients: int, idle: int) -> dict[str, Any]:
    """Workflows per second, CPU milliseconds per workflow of this process, milliseconds to each activity when idle."""
    client = await Client.connect(
        address, data_converter=pydantic_data_converter, grpc_compression=GrpcCompression.NONE
    )
    queue = uuid4().hex
    runner = UnsandboxedWorkflowRunner()  # as ours
    async with Worker(client, task_queue=queue, workflows=[Bare], activities=[nothing], workflow_runner=runner):

        async def once() -> float:
            run_id, asked = uuid4().hex, time.perf_counter()
            handle = await client.start_workflow(
                Bare.run, run_id, id=run_id, task_queue=queue, request_eager_start=True
            )
            await handle.result()
            return (begun.pop(run_id) - asked) * 1000

        numbers = iter(range(times))

        async def one() -> None:
            for _ in numbers:
                await once()

        reached = []
        for _ in range(idle):
            reached.append(await once())
            await asyncio.sleep(0.1)
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one() for _ in range(clients)))
        seconds = time.perf_counter() - began
        found = {
            "per_second": times / seconds,
            "cpu_ms": (time.process_time() - cpu) / times * 1000,
            "reached_ms": reached,
        }
    await asyncio.sleep(0.5)  # the SDK's threads have their last calls: to end Python meanwhile is fatal
    return found


if __name__ == "__main__":
    numbers = [int(number) for number in sys.argv[2:]]
    sys.stdout.write(json.dumps(asyncio.run(measure(sys.argv[1], *numbers))) + os.linesep)
