"""What must hold once everything is over, whatever was killed meanwhile; and the clients and backend that find out."""

import asyncio
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlmodel import col, func, select
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, Response
from temporalio.client import WorkflowExecutionStatus

from cli.processes import credentials
from store.database import Database
from store.tables import ChangeRow, RunRow
from tests.support.backend import Call, FakeBackend
from tests.support.processes import Stack, eventually

Json = dict[str, Any]

TERMINAL = ("SUCCESS", "FAILURE", "DECLINED")
ANSWERED = ("IN_PROGRESS", "SUCCESS")
"""The statuses of a run that needs no approval."""
APPROVED = ("WAITING_FOR_APPROVAL", "IN_PROGRESS", "SUCCESS")
"""The statuses of a run that was approved."""
NOBODY: Mapping[str, int] = {}
_LOOKS_EVERY = 0.3
"""Seconds between two looks at all runs, which cost those who shall end them more than a moment."""


@dataclass
class Gates:
    """Holds back the backend's answers: a call that names a closed gate in its body waits until it is opened."""

    _events: dict[str, asyncio.Event] = field(default_factory=dict)
    _entered: Counter[str] = field(default_factory=Counter)
    _answered: Counter[str] = field(default_factory=Counter)

    def close(self, gate: str) -> None:
        """From now on calls wait here."""
        self._events[gate] = asyncio.Event()

    def open(self, gate: str) -> None:
        """Let those who wait go, and whoever comes later."""
        self._events[gate].set()

    async def entered(self, gate: str, calls: int) -> None:
        """Wait until the backend has that many requests that name the gate."""
        await eventually(f"{calls} calls are at gate {gate!r}", lambda: _reached(self._entered[gate], calls))

    async def answered(self, gate: str, calls: int) -> None:
        """Wait until the backend has written the answers to that many of them."""
        await eventually(f"{calls} answers left gate {gate!r}", lambda: _reached(self._answered[gate], calls))

    async def answer(self, call: Call) -> Response:
        """What the backend answers, when it may."""
        gate: str = call.json["gate"]
        self._entered[gate] += 1
        if gate in self._events:
            await self._events[gate].wait()

        async def left() -> None:
            self._answered[gate] += 1

        return JSONResponse({"done": True}, background=BackgroundTask(left))


async def _reached(number: int, wanted: int) -> bool | None:
    return True if number >= wanted else None


@dataclass
class Observer:
    """A client of the product with three actions, which knows what it was promised.

    `answered` ends with the backend's answer, `reported` with a report, `approved` with the answer after an approval.
    """

    stack: Stack
    backend: FakeBackend
    gates: Gates
    http: httpx.AsyncClient
    promised: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The runs that were accepted, and the statuses each must have had in the end, in order."""

    async def call(self, method: str, path: str, **what: Any) -> httpx.Response:
        """One request."""
        return await self.http.request(method, self.stack.url + path, **what)

    async def until_answered(self, method: str, path: str, **what: Any) -> httpx.Response:
        """The first answer that is none of an outage; the request is repeated until then."""

        async def asked() -> httpx.Response | None:
            answer = await self.call(method, path, **what)
            return answer if answer.status_code < 500 else None

        return await eventually(f"{method} {path} is answered", asked)

    async def run(self, action: str = "answered", gate: str = "", key: str = "") -> str:
        """A new run; it must be accepted at the first try, or with a key, some time."""
        what: Json = {"json": {"properties": {"gate": gate}}}
        if key:
            what["headers"] = {"Idempotency-Key": key}
            answer = await self.until_answered("POST", f"/v1/actions/{action}/runs", **what)
        else:
            answer = await self.call("POST", f"/v1/actions/{action}/runs", **what)
        assert answer.status_code == 202, answer.text
        run_id: str = answer.json()["run"]["id"]
        assert run_id not in self.promised, f"two requests made the run {run_id}"
        self.promised[run_id] = APPROVED if action == "approved" else ANSWERED
        return run_id

    async def approve(self, run_id: str) -> None:
        """Approve the run; an earlier try may have been heard although its answer was lost."""
        answer = await self.until_answered("PATCH", f"/v1/actions/runs/{run_id}/approval", json={"status": "APPROVE"})
        assert answer.status_code == 201 or "not waiting for approval" in answer.text, answer.text

    async def report(self, run_id: str) -> None:
        """Report success, as a backend does; an earlier try may have been heard although its answer was lost."""
        answer = await self.until_answered("PATCH", f"/v1/actions/runs/{run_id}", json={"status": "SUCCESS"})
        assert answer.status_code == 200 or "has ended with SUCCESS" in answer.text, answer.text

    def deliveries(self, run_id: str) -> list[Call]:
        """What the backend was sent for the run."""
        return [call for call in self.backend.calls if call.headers["idempotency-key"] == run_id]

    async def delivered(self, run_id: str, *, within: float = 60) -> None:
        """Wait until the backend has the run's request."""
        await eventually(f"{run_id} is delivered", lambda: _reached(len(self.deliveries(run_id)), 1), within=within)

    async def first(self) -> str | None:
        """The first run that was accepted, if there is one."""
        return next(iter(self.promised), None)

    async def statuses(self) -> dict[str, str]:
        """The status of every run there is."""
        answer = await self.until_answered("GET", "/v1/actions/runs", params={"limit": 1000})
        assert answer.status_code == 200, answer.text
        return {run["id"]: run["status"] for run in answer.json()["runs"]}

    async def ended(self, *, within: float = 90) -> None:
        """Wait until every run has ended."""
        deadline = time.monotonic() + within
        while open_runs := {k: v for k, v in (await self.statuses()).items() if v not in TERMINAL}:
            assert time.monotonic() < deadline, f"not ended within {within:g} s: {open_runs}"
            await asyncio.sleep(_LOOKS_EVERY)

    async def all_is_well(self, *, deaths: Mapping[str, int] = NOBODY, within: float = 90) -> None:
        """Every promise was kept, and nothing happened that was not promised.

        Args:
            deaths: how often a worker may have died during the call of a run, the one reason to deliver it again.
            within: seconds until everything must have ended.
        """
        await self.all_ended_once(within=within)
        self.deliveries_are_right(deaths)

    async def all_ended_once(self, *, within: float = 90) -> None:
        """Every run and its workflow ended as it was promised, by the statuses that were promised and no others."""
        await self.ended(within=within)
        assert await self.statuses() == {run_id: path[-1] for run_id, path in self.promised.items()}
        assert await self._histories() == self.promised
        await eventually("every workflow knows everything", self._nothing_pending)
        workflows = await eventually("every workflow has ended", self._closed_workflows)
        assert workflows == {run_id: ["COMPLETED"] for run_id in self.promised}

    def deliveries_are_right(self, deaths: Mapping[str, int] = NOBODY) -> None:
        """Each run was delivered once, and at most once more for each death; always the very same."""
        by_run: defaultdict[str, list[bytes]] = defaultdict(list)
        for call in self.backend.calls:
            by_run[call.headers["idempotency-key"]].append(call.body)
        assert set(by_run) == set(self.promised)
        excess = {run_id: len(bodies) for run_id, bodies in by_run.items() if len(bodies) > 1 + deaths.get(run_id, 0)}
        assert not excess, f"delivered too often: {excess}"
        differing = [run_id for run_id, bodies in by_run.items() if len(set(bodies)) > 1]
        assert not differing, f"repeated deliveries differ from the first: {differing}"

    async def unrecorded(self) -> set[str]:
        """The runs whose backend was called, and of which SQL does not know it."""
        called = {call.headers["idempotency-key"] for call in self.backend.calls}
        async with Database(self.stack.database_url) as database, database.read() as session:
            begun = select(RunRow.id).where(RunRow.status == "IN_PROGRESS", ~col(RunRow.delivered))
            found = await session.exec(begun)
            return called & set(found)

    @contextmanager
    def sql_locked(self) -> Iterator[None]:
        """Nobody can write to the SQLite file meanwhile."""
        file = self.stack.database_url.partition(":///")[2]
        with closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    async def _histories(self) -> dict[str, tuple[str, ...]]:
        """The statuses every run has had, in order, as the change log tells them."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        async with Database(self.stack.database_url) as database, database.read() as session:
            happened = select(ChangeRow).where(ChangeRow.resource_type == "run", ChangeRow.status == "SUCCESS")
            query = happened.order_by(col(ChangeRow.sequence))
            for row in await session.exec(query):
                before, after = (row.document[name] for name in ("before", "after"))
                assert isinstance(after, dict)
                was = before["status"] if isinstance(before, dict) else None
                if after["status"] != was:
                    assert found[str(row.run_id)][-1:] == ([was] if was else []), f"{row.run_id} was {was} twice"
                    found[str(row.run_id)].append(str(after["status"]))
        return {run_id: tuple(path) for run_id, path in found.items()}

    async def _nothing_pending(self) -> bool | None:
        async with Database(self.stack.database_url) as database, database.read() as session:
            waiting = (await session.exec(select(func.count()).where(col(RunRow.pending).is_not(None)))).one()
        return True if waiting == 0 else None

    async def _closed_workflows(self) -> dict[str, list[str]] | None:
        """The statuses of all executions by workflow id, once none of them runs and as many as runs are listed."""
        client = await self.stack.temporal()
        found: defaultdict[str, list[str]] = defaultdict(list)
        async for one in client.list_workflows("WorkflowType = 'ActionRun'"):
            if one.status is WorkflowExecutionStatus.RUNNING:
                return None
            found[one.id].append(one.status.name if one.status else "")
        return dict(found) if len(found) >= len(self.promised) else None


@asynccontextmanager
async def observing(stack: Stack) -> AsyncIterator[Observer]:
    """A client of a running stack, with its actions defined."""
    gates = Gates()
    # No connection is kept: a kill would cut it, and the next request would seem to fail.
    limits, timeout = httpx.Limits(max_keepalive_connections=0), httpx.Timeout(20)
    async with FakeBackend(answer=gates.answer) as backend, httpx.AsyncClient(limits=limits, timeout=timeout) as http:
        observer = Observer(stack, backend, gates, http)
        client_id, client_secret = await credentials(stack.settings)
        answer = await observer.call(
            "POST", "/v1/auth/access_token", json={"clientId": client_id, "clientSecret": client_secret}
        )
        http.headers["Authorization"] = f"Bearer {answer.json()['accessToken']}"
        for identifier in ("answered", "reported", "approved"):
            answer = await observer.call("POST", "/v1/actions", json=_action(identifier, backend.url))
            assert answer.status_code == 200, answer.text
        yield observer


def _action(identifier: str, backend_url: str) -> Json:
    return {
        "identifier": identifier,
        "trigger": {
            "type": "self-service",
            "operation": "CREATE",
            "userInputs": {"properties": {"gate": {"type": "string", "default": ""}}, "required": []},
        },
        "invocationMethod": {
            "type": "WEBHOOK",
            "url": f"{backend_url}/{identifier}",
            "synchronized": identifier != "reported",
            "body": {"run": "{{ .run.id }}", "gate": "{{ .inputs.gate }}"},
        },
        "requiredApproval": identifier == "approved",
    }
