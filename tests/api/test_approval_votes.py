"""Very many votes on one run, from many clients at once over HTTP: one verdict, and one history of it."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlmodel import col, select
from temporalio.testing import WorkflowEnvironment

from api.app import create_app
from api.serve import api_services, listen
from domain.identifiers import new
from domain.jq import Evaluator
from domain.users import User
from runtime.chat import Chat
from runtime.clock import now
from runtime.tokens import Claims, Tokens
from store import approvals, users
from store.tables import ChangeRow
from tests.api.answers import granted
from tests.support.product import Product, running

VOTES = int(os.environ.get("INTERLOCK_VOTES", "200"))
"""How many votes; two thousand in the longer variant."""
CLIENTS, EACH = 50, 2
"""Each client speaks for so many people, one after the other: the last begin after a quarter of all votes."""


@asynccontextmanager
async def _served(product: Product, evaluate: Evaluator) -> AsyncIterator[str]:
    """The address of the product's API on a socket."""
    given = (product.settings, product.database, product.temporal, product.driver, evaluate, product.organization)
    stop = asyncio.Event()
    async with Chat(product.settings) as chat:
        services = api_services(*given, chat)
        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        serving = asyncio.create_task(listen(create_app(services), product.settings, sockets=[listening], stop=stop))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stop.set()
        await serving
        listening.close()


async def _voters(product: Product) -> list[str]:
    """Tokens of new people who may approve."""
    people = [
        User(id=new("user"), email=f"p{number}@x.io", roles=("Approver",), created_at=now(), updated_at=now())
        for number in range(CLIENTS * EACH)
    ]
    async with product.database.write() as session:
        for user in people:
            await users.create(session, user, client_id=user.id, client_secret=user.id)
    tokens = Tokens(product.settings.keys.token_keys, product.settings.access_token_lifetime)
    return [tokens.issue(Claims(user.id, product.organization.id, machine=False), at=now()) for user in people]


@pytest.mark.timeout(60 + VOTES / 8)
async def test_very_many_votes_from_fifty_clients_are_one_verdict(
    clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str
) -> None:
    async with running(clock, evaluate, database_url) as product, _served(product, evaluate) as address:
        await product.action(requiredApproval=True, interlock={"approval": {"quorum": CLIENTS * EACH}})
        lists = {"approve": {"roles": ["Approver"]}}
        granted(await product.api.patch("/v1/actions/deploy/permissions", json=lists), "permissions")
        voters = await _voters(product)
        run = (await product.start())["id"]
        outcomes: Counter[str] = Counter()
        roots = httpx.create_ssl_context()  # once: to read them takes longer than a vote

        async def vote(tokens: list[str]) -> None:
            async with httpx.AsyncClient(base_url=address, verify=roots, timeout=60) as http:
                early = VOTES // CLIENTS // 4
                for token, times in zip(tokens, (early, VOTES // CLIENTS - early), strict=True):
                    for _ in range(times):
                        headers = {"Authorization": f"Bearer {token}"}
                        said = {"status": "APPROVE"}
                        answer = await http.patch(f"/v1/actions/runs/{run}/approval", json=said, headers=headers)
                        body = answer.json()
                        outcomes[body["run"]["status"] if answer.status_code == 201 else body["error"]] += 1

        await asyncio.gather(*(vote(voters[n * EACH : (n + 1) * EACH]) for n in range(CLIENTS)))

        assert sum(outcomes.values()) == VOTES
        assert outcomes.keys() <= {"WAITING_FOR_APPROVAL", "IN_PROGRESS", "SUCCESS", "run_not_waiting_for_approval"}
        assert outcomes["IN_PROGRESS"] == 1, "one vote released the run"
        assert outcomes["WAITING_FOR_APPROVAL"] >= CLIENTS * EACH - 1
        assert (await product.until(run))["status"] == "SUCCESS"
        assert len(product.backend.calls) == 1
        async with product.database.read() as session:
            said = await approvals.decisions(session, run)
            documents = (
                await session.exec(
                    select(ChangeRow.document).where(ChangeRow.run_id == run).order_by(col(ChangeRow.sequence))
                )
            ).all()
        assert len({one.user_id for one in said}) == len(said) == CLIENTS * EACH
        assert len({one.request for one in said}) == 1
        moves = [(_status(one, "before"), _status(one, "after")) for one in documents]
        assert [move for move in moves if move[0] != move[1]] == [
            (None, "WAITING_FOR_APPROVAL"),
            ("WAITING_FOR_APPROVAL", "IN_PROGRESS"),
            ("IN_PROGRESS", "SUCCESS"),
        ]
        history = await product.temporal.get_workflow_handle(run).fetch_history()
        scheduled = [event.activity_task_scheduled_event_attributes.activity_type.name for event in history.events]
        assert scheduled.count("invoke_backend") == 1


def _status(change: object, when: str) -> object:
    run = change.get(when) if isinstance(change, dict) else None
    return run.get("status") if isinstance(run, dict) else None
