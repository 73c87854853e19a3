"""Who sees the runs of an action that does not let anyone view them."""

from typing import Any

import httpx
import pytest

from tests.api.answers import granted, refused
from tests.support.product import Product


async def _listed(product: Product, headers: Any, query: str = "") -> set[str]:
    runs = granted(await product.api.get(f"/v1/actions/runs{query}", headers=headers), "runs")
    return {run["id"] for run in runs}


async def _sees(product: Product, headers: Any, run: str) -> bool:
    """Whether the caller sees the run; every way of looking must agree."""
    found = set()
    for path in ("", "?version=v1", "/logs", "/timeline", "/approvers", "/approvers?include_pending_approvers=true"):
        answer = await product.api.get(f"/v1/actions/runs/{run}{path}", headers=headers)
        if answer.status_code != 200:
            refused(answer, 404, "not_found", run)
        found.add(answer.status_code == 200)
    found |= {run in await _listed(product, headers, query) for query in ("", "?action=deploy", "?limit=1000")}
    assert len(found) == 1, "the ways of looking disagree"
    return found.pop()


async def _cast(product: Product) -> dict[str, httpx.Headers]:
    return {
        "requester": await product.person("requester@example.com"),
        "other": await product.person("other@example.com"),
        "approver": await product.person("approver@example.com", "Approver"),
        "admin": await product.person("admin@example.com", "admin"),
        "machine": httpx.Headers({"Authorization": product.api.headers["Authorization"]}),
    }


@pytest.mark.parametrize("setting", [None, True, False])
async def test_a_hidden_run_is_seen_by_admins_approvers_and_who_asked_for_it(
    product: Product, setting: bool | None
) -> None:
    more: dict[str, Any] = {} if setting is None else {"allowAnyoneToViewRuns": setting}
    await product.action(requiredApproval=True, **more)
    body = {"approve": {"roles": ["Approver"]}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=body), "permissions")
    people = await _cast(product)
    run = (await product.start(headers=people["requester"]))["id"]

    seeing = {name for name, headers in people.items() if await _sees(product, headers, run)}
    everyone = set(people)
    assert seeing == (everyone - {"other"} if setting is False else everyone)


async def test_a_hidden_run_cannot_be_reported_or_decided_by_who_cannot_see_it(product: Product) -> None:
    await product.action(requiredApproval=True, allowAnyoneToViewRuns=False)
    people = await _cast(product)
    run = (await product.start(headers=people["requester"]))["id"]
    path = f"/v1/actions/runs/{run}"
    for method, where, body in (
        ("PATCH", path, {"status": "FAILURE"}),
        ("PATCH", path, {"summary": "x"}),
        ("POST", f"{path}/logs", {"message": "x"}),
        ("PATCH", f"{path}/response", {"response": 1}),
        ("PATCH", f"{path}/approval", {"status": "APPROVE"}),
    ):
        refused(await product.api.request(method, where, json=body, headers=people["other"]), 404, "not_found", run)
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"
    refused(
        await product.api.patch(f"{path}/approval", json={"status": "APPROVE"}, headers=people["requester"]),
        403,
        "missing_permissions",
    )
    answer = await product.api.patch(f"{path}/approval", json={"status": "APPROVE"}, headers=people["admin"])
    granted(answer, "run", status=201)


async def test_who_lists_runs_gets_as_many_as_asked_for_though_others_are_hidden(product: Product) -> None:
    await product.action("open")
    await product.action("hidden", allowAnyoneToViewRuns=False)
    people = await _cast(product)
    shown = [(await product.start("open"))["id"] for _ in range(2)]
    own = (await product.start("hidden", headers=people["other"]))["id"]
    hidden = [(await product.start("hidden"))["id"] for _ in range(3)]

    assert await _listed(product, people["other"], "?limit=3") == {*shown, own}
    assert await _listed(product, people["other"], "?action=hidden") == {own}
    assert await _listed(product, people["requester"], "?limit=3") == set(shown)
    assert await _listed(product, people["admin"]) == {*shown, own, *hidden}
    assert await _listed(product, people["machine"]) == {*shown, own, *hidden}


async def test_a_run_made_for_somebody_is_theirs(product: Product) -> None:
    await product.action(allowAnyoneToViewRuns=False)
    people = await _cast(product)
    run = (await product.start(params={"run_as": "requester@example.com"}))["id"]
    await product.until(run)
    assert (await product.api.get(f"/v1/actions/runs/{run}", headers=people["requester"])).status_code == 200
    refused(await product.api.get(f"/v1/actions/runs/{run}", headers=people["other"]), 404, "not_found")


async def test_hiding_and_showing_an_action_s_runs_is_decided_by_the_action_as_it_is_now(product: Product) -> None:
    action = await product.action()
    people = await _cast(product)
    run = (await product.start())["id"]
    await product.until(run)
    assert await _sees(product, people["other"], run)
    for allow in (False, True):
        document = {**action, "allowAnyoneToViewRuns": allow}
        granted(await product.api.put("/v1/actions/deploy", json=document), "action")
        assert await _sees(product, people["other"], run) is allow


async def test_hidden_runs_of_a_deleted_action_stay_hidden(product: Product) -> None:
    await product.action(allowAnyoneToViewRuns=False)
    people = await _cast(product)
    run = (await product.start(headers=people["requester"]))["id"]
    await product.until(run)
    assert (await product.api.delete("/v1/actions/deploy")).status_code == 200
    assert await _sees(product, people["admin"], run)
    assert await _sees(product, people["requester"], run)
    assert not await _sees(product, people["other"], run)
