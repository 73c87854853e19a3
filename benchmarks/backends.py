"""`python -m benchmarks.backends`: what it costs to claim runs, and how soon one is claimed by who waits for it.

The claims are those of an execution agent, over HTTP, out of as many waiting runs as are asked for; each is
acknowledged, as agents do.
"""

import argparse
import asyncio
import copy
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import insert, text
from sqlmodel import col, select

from benchmarks.product import databases, product, say, signed_in
from benchmarks.wire import Connection, percentile
from domain.identifiers import new
from runtime.settings import Settings
from store.columns import table
from store.database import Database, execute
from store.tables import ClaimRow, RunRow

AGENT = {"installationId": "_PORT_EXEC_AGENT", "limit": 100, "invocationMethod": "WEBHOOK"}
BULK = 2000


async def action(connection: Connection) -> None:
    """Make the action that is run."""
    body = {"name": "{{ .inputs.name }}", "port_context": {"runId": "{{ .run.id }}"}}
    method = {"type": "WEBHOOK", "url": "http://10.0.0.5/hook", "agent": True, "body": body}
    trigger = {
        "type": "self-service",
        "operation": "CREATE",
        "userInputs": {"properties": {"name": {"type": "string"}}},
    }
    status, answer = await connection.call(
        "POST", "/v1/actions", {"identifier": "bench", "trigger": trigger, "invocationMethod": method}
    )
    assert status == 200, answer


async def start(connection: Connection) -> str:
    """Start a run."""
    status, answer = await connection.call("POST", "/v1/actions/bench/runs", {"properties": {"name": "x"}})
    assert status == 202, answer
    run_id: str = answer["run"]["id"]
    return run_id


async def claim(connection: Connection, **more: Any) -> tuple[list[str], float]:
    """The ids that were claimed, and how many milliseconds it took."""
    began = time.perf_counter()
    status, answer = await connection.call("POST", "/v1/actions/runs/claim-pending", {**AGENT, **more})
    took = time.perf_counter() - began
    assert status == 200, answer
    return [run["id"] for run in answer["runs"]], 1000 * took


async def acknowledge(connection: Connection, run_ids: list[str]) -> None:
    """Take the runs."""
    status, answer = await connection.call("PATCH", "/v1/actions/runs/ack", {"runIds": run_ids})
    assert (status, answer["ackedCount"]) == (200, len(run_ids)), answer


async def fill(url: str, like: str, number: int) -> None:
    """Have so many runs wait that are like one that was acknowledged."""
    async with Database(url) as database:
        async with database.read() as session:
            row = (await session.exec(select(RunRow).where(col(RunRow.id) == like))).one()
        values = {name: getattr(row, name) for name in table(RunRow).c.keys()}  # noqa: SIM118 - columns, not names
        values |= {"pending": None, "pending_since": None}
        for begin in range(0, number, BULK):
            rows = []
            for place in range(begin, min(begin + BULK, number)):
                document = copy.deepcopy(row.document) | {"id": new("r")}
                at = row.created_at + timedelta(milliseconds=place)
                rows.append({**values, "id": document["id"], "document": document, "created_at": at})
            claims = [
                {"run_id": one["id"], "queue": one["queue"], "action": one["action"], "created_at": one["created_at"]}
                for one in rows
            ]
            async with database.write() as session:
                await execute(session, insert(table(RunRow)), rows)
                await execute(session, insert(table(ClaimRow)), claims)
        if not database.is_sqlite:  # which it does by itself within a minute
            async with database.write() as session:
                await execute(session, text("ANALYZE claims"), {})


async def claims(connection: Connection, times: int) -> list[float]:
    """How many milliseconds each claim of a hundred took."""
    found = []
    for _ in range(times):
        run_ids, took = await claim(connection)
        assert len(run_ids) == AGENT["limit"]
        await acknowledge(connection, run_ids)
        found.append(took)
    return found


async def trigger_to_claim(connection: Connection, waiting: Connection, times: int) -> list[float]:
    """How many milliseconds pass between the request for a run and the answer to a claim that waits for it."""
    found = []
    for _ in range(times):
        asked = asyncio.create_task(claim(waiting, waitSeconds=20))
        await asyncio.sleep(0.05)  # it waits by now
        began = time.perf_counter()
        starting = asyncio.create_task(start(connection))
        run_ids, _ = await asked
        found.append(1000 * (time.perf_counter() - began))
        assert run_ids == [await starting]
        await acknowledge(waiting, run_ids)
    return found


async def measure(url: str, number: int, times: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        more = {"INTERLOCK_DATABASE_URL": url} if url else {}
        address = url or f"sqlite:///{directory / 'interlock.db'}"
        async with product(directory, **more) as made, Connection(made.environment["BASE_URL"]) as connection:
            await signed_in(made, connection)
            async with Connection(made.environment["BASE_URL"], made.token) as waiting:
                await action(connection)
                soon = await trigger_to_claim(connection, waiting, times + 10)
                say("trigger to claim under long polling, p50", median(soon[10:]), "ms")
                say("  p99", percentile(soon[10:], 0.99), "ms")
                like = await start(connection)
                await acknowledge(waiting, (await claim(waiting, waitSeconds=20))[0])
                settings = Settings.from_environment({"INTERLOCK_DATABASE_URL": address})
                await fill(settings.database_url, like, number)
                took = await claims(connection, min(times, number // 100))
                say(f"claim of 100 runs out of {number} waiting, p50", median(took), "ms")
                say("  p99", percentile(took, 0.99), "ms")


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--databases", nargs="+", default=["sqlite"], choices=["sqlite", "postgresql"])
    parser.add_argument("--waiting", type=int, default=100_000, help="how many runs wait")
    parser.add_argument("--times", type=int, default=100, help="how often each is measured")
    given = parser.parse_args()
    for name, address in databases(given.databases):
        print(f"\n{name}")
        asyncio.run(measure(address, given.waiting, given.times))


if __name__ == "__main__":
    main()
