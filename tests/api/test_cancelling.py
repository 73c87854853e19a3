"""Cancelling runs by a request: who may, and what it does to a run wherever that stands."""

import asyncio
from typing import Any

import pytest

from tests.api.answers import Json, granted, refused
from tests.support.product import Product


async def cancel(product: Product, run_id: str, **how: Any) -> Any:
    return await product.api.post(f"/v1/actions/runs/{run_id}/cancel", **how)


async def ends(product: Product, run_id: str) -> Json:
    """The run, once its workflow has ended, too."""
    handle = product.temporal.get_workflow_handle(run_id)
    assert await asyncio.wait_for(handle.result(), 20) == "FAILURE"
    return await product.get(run_id)


@pytest.mark.parametrize(
    "action",
    [
        {"requiredApproval": True},
        {"invocationMethod": {"type": "WEBHOOK", "url": "{url}", "synchronized": False}},
        {"invocationMethod": {"type": "WEBHOOK", "url": "{url}", "agent": True}},
    ],
    ids=["waits for approval", "waits for its report", "waits to be claimed"],
)
async def test_a_run_that_waits_ends_at_once(product: Product, action: Json) -> None:
    if method := action.get("invocationMethod"):
        action = {"invocationMethod": {**method, "url": f"{product.backend.url}/hook"}}
    await product.action(**action)
    run = await product.start()
    if "requiredApproval" not in action:
        await product.temporal.get_workflow_handle(run["id"]).describe()
    answer = await cancel(product, run["id"], json={"reason": "wrong cluster"})
    said = granted(answer, "run")
    by = product.organization.client_id
    assert (said["status"], said["summary"]) == ("FAILURE", f"Cancelled by {by}: wrong cluster")
    assert said["updatedBy"] == by
    assert said["endedAt"]
    assert await ends(product, run["id"]) == said


async def test_a_call_that_is_answered_later_changes_nothing_any_more(product: Product, held: asyncio.Event) -> None:
    await product.action()
    run = await product.start()
    await product.backend.called()
    said = granted(await cancel(product, run["id"]), "run")
    assert said["summary"] == f"Cancelled by {product.organization.client_id}"
    held.set()
    assert await ends(product, run["id"]) == said
    assert await product.logs(run["id"]) == []


async def test_what_has_ended_cannot_be_cancelled(product: Product) -> None:
    await product.action()
    run = await product.start()
    ended = await product.until(run["id"])
    assert "has ended with SUCCESS" in refused(await cancel(product, run["id"], json={}), 422, "run_exhausted")
    assert await product.get(run["id"]) == ended


@pytest.mark.parametrize(("body", "path"), [({"why": "x"}, "why"), ({"reason": 5}, "reason"), ([], "body")])
async def test_a_body_that_is_no_cancellation_is_refused(product: Product, body: Any, path: str) -> None:
    await product.action(requiredApproval=True)
    run = await product.start()
    assert path in refused(await cancel(product, run["id"], json=body), 422, "invalid_request")
    assert (await product.get(run["id"]))["status"] == "WAITING_FOR_APPROVAL"


async def test_the_requester_and_admins_may_cancel_and_nobody_else(product: Product) -> None:
    await product.action(requiredApproval=True)
    member, other = await product.person("m@example.com"), await product.person("o@example.com")
    admin = await product.person("a@example.com", "Admin")
    first, second = [await product.start(headers=member) for _ in range(2)]
    message = refused(await cancel(product, first["id"], headers=other), 403, "missing_permissions")
    assert message == (
        "only the organization's credentials, Admins and the requester may cancel "
        f"run {first['id']}, and o@example.com is none of them"
    )
    said = granted(await cancel(product, first["id"], headers=member), "run")
    assert said["summary"] == "Cancelled by m@example.com"
    said = granted(await cancel(product, second["id"], headers=admin), "run")
    assert said["summary"] == "Cancelled by a@example.com"
    refused(await cancel(product, "r_0000000000000000"), 404, "not_found")


async def test_who_may_not_see_a_run_does_not_learn_of_it_by_cancelling(product: Product) -> None:
    await product.action(requiredApproval=True, allowAnyoneToViewRuns=False)
    run = await product.start()
    stranger = await product.person("s@example.com")
    refused(await cancel(product, run["id"], headers=stranger), 404, "not_found")


async def test_of_many_at_once_one_cancels(product: Product) -> None:
    await product.action(requiredApproval=True)
    run = await product.start()
    answers = await asyncio.gather(*(cancel(product, run["id"]) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200, *[422] * 9]
