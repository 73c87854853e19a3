"""The least that a run costs with this stack: no login, no rules, no guarantees. What is ours is what is above it.

FastAPI takes the request, SQLite keeps a row as durably as ours, a workflow with one activity is started eagerly, the
activity reads the row, posts to the backend and settles the row.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import JSON, Column, MetaData, String, Table, create_engine, event, insert, select, update
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import GrpcCompression
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.product import durable

RUNS = Table("runs", MetaData(), Column("id", String, primary_key=True), Column("status", String), Column("body", JSON))


@workflow.defn
class Prototype:
    """One activity."""

    @workflow.run
    async def run(self, run_id: str) -> None:
        """Run it."""
        await workflow.execute_activity("deliver", run_id, start_to_close_timeout=timedelta(seconds=30))


@asynccontextmanager
async def prototype(address: str, directory: Path, url: str) -> AsyncIterator[str]:
    """Serve in another process, with that Temporal and that backend; the base URL."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.prototype", address, str(directory / "prototype.db"), url),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert child.stdout
        yield f"http://127.0.0.1:{int(await child.stdout.readline())}"
    finally:
        child.terminate()
        await child.wait()


async def serve(address: str, file: str, url: str) -> None:
    """Serve until ended; the port is printed."""
    engine = create_engine(f"sqlite:///{file}")
    event.listen(engine, "connect", durable)
    RUNS.metadata.create_all(engine)
    client = await Client.connect(
        address, data_converter=pydantic_data_converter, grpc_compression=GrpcCompression.NONE
    )
    peer, queue, app = httpx.AsyncClient(), uuid4().hex, FastAPI()

    @activity.defn
    async def deliver(run_id: str) -> None:
        with engine.begin() as connection:
            body = connection.execute(select(RUNS.c.body).where(RUNS.c.id == run_id)).scalar_one()
        answer = await peer.post(url, json=body, headers={"Idempotency-Key": run_id})
        status = "SUCCESS" if answer.is_success else "FAILURE"
        with engine.begin() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(status=status))

    @app.post("/runs", status_code=202)
    async def trigger(body: dict[str, Any]) -> dict[str, Any]:
        run_id = uuid4().hex
        with engine.begin() as connection:
            connection.execute(insert(RUNS).values(id=run_id, status="IN_PROGRESS", body=body))
        await client.start_workflow(Prototype.run, run_id, id=run_id, task_queue=queue, request_eager_start=True)
        return {"run": {"id": run_id}}

    @app.get("/active")
    async def active() -> list[str]:
        with engine.begin() as connection:
            return list(connection.execute(select(RUNS.c.id).where(RUNS.c.status == "IN_PROGRESS").limit(1)).scalars())

    runner = UnsandboxedWorkflowRunner()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_keep_alive=600))
    async with Worker(client, task_queue=queue, workflows=[Prototype], activities=[deliver], workflow_runner=runner):
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        sys.stdout.write(f"{server.servers[0].sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await serving


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
