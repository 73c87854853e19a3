"""The relay: whatever workflows were not told, and those that are gone, on a real Temporal server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from backends import open_transport
from domain.jq import Evaluator
from runtime.clock import now
from store import wakes
from tests.support.processes import eventually
from tests.support.product import Product, running
from tests.support.sandbox import Sandbox
from worker.main import services, working
from worker.relay import Relay


@pytest.fixture
async def product(server: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    """The product without a worker, on a server that can list its workflows."""
    async with running(server, evaluate, sqlite_url, worker=False) as product:
        yield product


async def lose(product: Product, run_id: str) -> None:
    """Delete the workflow of the run, as if Temporal had lost its data."""
    request = DeleteWorkflowExecutionRequest(
        namespace="default", workflow_execution=WorkflowExecution(workflow_id=run_id)
    )
    await product.temporal.workflow_service.delete_workflow_execution(request)

    async def gone() -> bool | None:
        try:
            await product.temporal.get_workflow_handle(run_id).describe()
        except RPCError:
            # The list, which the sweep goes by, is written later.
            return (await product.temporal.count_workflows(f"WorkflowId = '{run_id}'")).count == 0 or None
        return None

    await eventually("the workflow is gone", gone)


async def told(product: Product) -> None:
    """Wait until the driver has noted everything it told."""

    async def all_told() -> bool | None:
        async with product.database.write() as session:
            return None if await wakes.leased(session, before=now(), now=now(), limit=10) else True

    await eventually("everything is told", all_told)


@pytest.mark.parametrize("approved", [False, True])
async def test_a_run_whose_workflow_is_lost_goes_on(product: Product, evaluate: Evaluator, approved: bool) -> None:
    await product.action(requiredApproval=True)
    run_id = (await product.start())["id"]
    if approved:
        await product.api.patch(f"/v1/actions/runs/{run_id}/approval", json={"status": "APPROVE"})
    await told(product)
    await lose(product, run_id)

    relay: Relay = product.relay
    await relay.sweep()
    await relay.relay_once()
    async with open_transport() as http:
        given = services(product.settings, product.database, evaluate, product.organization, http)
        async with working(product.settings, product.temporal, given, workflow_runner=Sandbox()):
            if not approved:
                assert (await product.get(run_id))["status"] == "WAITING_FOR_APPROVAL"
                await product.api.patch(f"/v1/actions/runs/{run_id}/approval", json={"status": "APPROVE"})
            assert (await product.until(run_id))["status"] == "SUCCESS"
    assert len(product.backend.calls) == 1


async def test_a_run_whose_workflow_was_terminated_says_so(product: Product) -> None:
    await product.action()
    run_id = (await product.start())["id"]
    await told(product)
    await product.temporal.get_workflow_handle(run_id).terminate("an operator had enough")

    async def swept() -> bool | None:
        await product.relay.sweep()
        return (await product.get(run_id))["status"] == "FAILURE" or None

    await eventually("the sweep has seen it", swept)
    assert (await product.get(run_id))["summary"] == "An operator terminated its workflow"


async def test_a_run_that_waits_is_not_woken_for_ever_when_its_workflow_is_gone(product: Product) -> None:
    await product.action(requiredApproval=True, interlock={"approval": {"delegation": True}})
    ada, _ = [await product.person(f"{name}@x.io", "Admin") for name in ("ada", "bob")]
    run_id = (await product.start())["id"]
    await told(product)
    await product.temporal.get_workflow_handle(run_id).terminate("an operator had enough")
    path = f"/v1/actions/runs/{run_id}/approval/delegation"
    assert (await product.api.post(path, json={"to": "bob@x.io"}, headers=ada)).status_code == 201
    await told(product)

    async def swept() -> bool | None:
        await product.relay.sweep()
        return (await product.get(run_id))["status"] == "FAILURE" or None

    await eventually("the sweep has seen it", swept)


async def test_a_sweep_leaves_runs_alone_whose_workflows_are_there(product: Product) -> None:
    await product.action()
    run_id = (await product.start())["id"]
    await told(product)
    await product.relay.sweep()
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"
    assert not await product.relay.relay_once()


@pytest.mark.parametrize(("retention", "left"), [(None, 1), (timedelta(days=2), 1), (timedelta(hours=23), 0)])
async def test_audit_records_are_kept_as_long_as_was_asked_for(
    product: Product, retention: timedelta | None, left: int
) -> None:
    await product.action()
    tomorrow = now() + timedelta(days=1)
    relay = Relay(product.temporal, product.database, product.driver, lambda: tomorrow, retention=retention)
    working = asyncio.create_task(relay.run())

    async def audits() -> int:
        return len((await product.api.get("/v1/audit-log?resources=action")).json()["audits"])

    async def purged() -> bool | None:
        return await audits() == left or None

    try:
        await eventually("the relay has purged what it should", purged)
        await asyncio.sleep(0.2)
        assert await audits() == left
    finally:
        working.cancel()
