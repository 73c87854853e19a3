"""Section 11 of the specification: which runs wait, who releases them, what is answered and listed.

Covered elsewhere, as directly: verdicts and their independence of the order of votes, `tests/domain/test_approvals.py`;
signals, time limits, votes at once and malformed decisions, `tests/api/test_approval_routes.py`; policies (11.2),
`tests/api/test_policies.py`; what notifications hold (11.4), `tests/domain/test_notifications.py`; notifications of a
wrong shape, `tests/domain/test_actions.py`.
"""

from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.identifiers import new
from tests.api.answers import Json, granted, refused
from tests.conformance.support import action, written
from tests.support.product import Product

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL, ANY = {"type": "ALL"}, {"type": "ANY"}
HOOK: Json = {"type": "webhook", "url": "https://hooks.example.org/x"}

# Section 11.4.
NOTIFICATIONS: dict[str, tuple[Json, str]] = {
    "by email": ({"type": "email"}, "stored"),
    "by webhook": (HOOK, "stored"),
    "as JSON": ({**HOOK, "format": "json"}, "stored"),
    "as Slack takes it": ({**HOOK, "format": "slack"}, "stored"),
    "of another type": ({"type": "slack", "url": "https://x.io"}, "approvalNotification.type"),
    "in another format": ({**HOOK, "format": "xml"}, "approvalNotification.format"),
    "without an address": ({"type": "webhook", "format": "slack"}, "approvalNotification.url"),
    "with another key": ({"type": "email", "to": "x"}, "approvalNotification.to"),
    "as a list": ([{"type": "email"}], "approvalNotification"),  # type: ignore[dict-item] # that is the point
}

# Section 11.1: whether a run waits.
REQUIRED: dict[str, tuple[Json, str]] = {
    "not said": ({}, "IN_PROGRESS"),
    "false": ({"requiredApproval": False}, "IN_PROGRESS"),
    "true": ({"requiredApproval": True}, "WAITING_FOR_APPROVAL"),
    "ANY": ({"requiredApproval": ANY}, "WAITING_FOR_APPROVAL"),
    "ALL": ({"requiredApproval": ALL}, "WAITING_FOR_APPROVAL"),
}

# Sections 11.2 and 11.3: who says what, what each is answered (201, or the code of a refusal), and how it ends.
OK, LATE, NOT = "ok", "run_not_waiting_for_approval", "missing_permissions"
VOTES: dict[str, tuple[Any, Json, list[tuple[str, str, str]], str, dict[str, str]]] = {
    "one of two releases under ANY": (
        ANY, {"users": ["ada@x.io", "bob@x.io"]}, [("ada", "APPROVE", OK), ("bob", "DECLINE", LATE)], "IN_PROGRESS",
        {"ada": "APPROVED", "bob": "PENDING"},
    ),
    "true is ANY": (
        True, {"users": ["ada@x.io", "bob@x.io"]}, [("bob", "APPROVE", OK)], "IN_PROGRESS",
        {"ada": "PENDING", "bob": "APPROVED"},
    ),
    "one of two does not under ALL": (
        ALL, {"users": ["ada@x.io", "bob@x.io"]}, [("ada", "APPROVE", OK)], "WAITING_FOR_APPROVAL",
        {"ada": "APPROVED", "bob": "PENDING"},
    ),
    "both do": (
        ALL, {"users": ["ada@x.io", "bob@x.io"]}, [("ada", "APPROVE", OK), ("bob", "APPROVE", OK)], "IN_PROGRESS",
        {"ada": "APPROVED", "bob": "APPROVED"},
    ),
    "the first refusal declines under ANY": (
        ANY, {"users": ["ada@x.io", "bob@x.io"]}, [("ada", "DECLINE", OK), ("bob", "APPROVE", LATE)], "DECLINED",
        {"ada": "DECLINED", "bob": "PENDING"},
    ),
    "a refusal declines under ALL, whoever approved": (
        ALL, {"users": ["ada@x.io", "bob@x.io"]}, [("ada", "APPROVE", OK), ("bob", "DECLINE", OK)], "DECLINED",
        {"ada": "APPROVED", "bob": "DECLINED"},
    ),
    "a vote can be changed as long as the run waits": (
        ALL, {"users": ["ada@x.io", "bob@x.io"]}, [("ada", "APPROVE", OK), ("ada", "DECLINE", OK)], "DECLINED",
        {"ada": "DECLINED", "bob": "PENDING"},
    ),
    "the same vote twice counts once": (
        ALL, {"users": ["ada@x.io", "bob@x.io"]}, [("ada", "APPROVE", OK), ("ada", "APPROVE", OK)],
        "WAITING_FOR_APPROVAL", {"ada": "APPROVED", "bob": "PENDING"},
    ),
    "members of a team, and all of them under ALL": (
        ALL, {"teams": ["sre"]}, [("bob", "APPROVE", OK), ("cid", "APPROVE", OK)], "IN_PROGRESS",
        {"bob": "APPROVED", "cid": "APPROVED"},
    ),
    "one member of a team under ANY": (
        ANY, {"teams": ["sre"]}, [("cid", "APPROVE", OK)], "IN_PROGRESS", {"bob": "PENDING", "cid": "APPROVED"},
    ),
    "holders of a role": (ANY, {"roles": ["lead"]}, [("ada", "APPROVE", OK)], "IN_PROGRESS", {"ada": "APPROVED"}),
    "whoever is in several lists speaks once": (
        ALL, {"users": ["bob@x.io"], "roles": ["Lead"], "teams": ["sre"]},
        [("ada", "APPROVE", OK), ("bob", "APPROVE", OK), ("cid", "APPROVE", OK)], "IN_PROGRESS",
        {"ada": "APPROVED", "bob": "APPROVED", "cid": "APPROVED"},
    ),
    "who is in no list": (
        ANY, {"users": ["ada@x.io"]}, [("bob", "APPROVE", NOT), ("bob", "DECLINE", NOT)], "WAITING_FOR_APPROVAL",
        {"ada": "PENDING"},
    ),
    "an admin is not implied": (
        ANY, {"users": ["ada@x.io"]}, [("root", "APPROVE", NOT)], "WAITING_FOR_APPROVAL", {"ada": "PENDING"},
    ),
    "who asked may approve if the lists say so": (
        ANY, {"users": ["kim@x.io"]}, [("kim", "APPROVE", OK)], "IN_PROGRESS", {"kim": "APPROVED"},
    ),
    "who asked may not by that alone": (
        ANY, {"users": ["ada@x.io"]}, [("kim", "APPROVE", NOT)], "WAITING_FOR_APPROVAL", {"ada": "PENDING"},
    ),
    "with nobody on the lists it waits for ever": (
        ALL, {}, [("ada", "APPROVE", NOT), ("root", "APPROVE", NOT)], "WAITING_FOR_APPROVAL", {},
    ),
    "the requester takes it back": (
        ANY, {"users": ["ada@x.io"]}, [("kim", "withdraw", OK), ("ada", "APPROVE", LATE)], "FAILURE",
        {"ada": "PENDING"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("notification", "outcome"), NOTIFICATIONS.values(), ids=NOTIFICATIONS)
async def test_a_notification(notification: Json, outcome: str) -> None:
    assert outcome in written(action({}, requiredApproval=True, approvalNotification=notification))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(product: Product) -> dict[str, httpx.Headers]:
    """Who votes: Bob and Cid are of a team, Ada has a role, Kim asks."""
    return {
        "ada": await product.person("ada@x.io", "Lead"),
        "bob": await product.person("bob@x.io", teams=("sre",)),
        "cid": await product.person("cid@x.io", teams=("sre",)),
        "kim": await product.person("kim@x.io"),
        "root": await product.person("root@x.io", "Admin"),
    }


@pytest.mark.parametrize(("required", "status"), REQUIRED.values(), ids=REQUIRED)
async def test_whether_a_run_waits(product: Product, required: Json, status: str) -> None:
    name = new("a")
    await product.action(name, **required)
    run = await product.start(name)
    assert (run["status"], run["requiredApproval"]) == (status, required.get("requiredApproval", False))
    assert run["approval"] is None


async def _votes(product: Product, run: str, who: httpx.Headers, word: str) -> httpx.Response:
    path = f"/v1/actions/runs/{run}"
    if word == "withdraw":
        return await product.api.patch(path, json={"status": "FAILURE"}, headers=who)
    return await product.api.patch(f"{path}/approval", json={"status": word, "description": f"{word}!"}, headers=who)


@pytest.mark.parametrize(("required", "lists", "votes", "status", "states"), VOTES.values(), ids=VOTES)
async def test_votes(
    product: Product, people: dict[str, httpx.Headers], required: Any, lists: Json,
    votes: list[tuple[str, str, str]], status: str, states: dict[str, str],
) -> None:  # fmt: skip
    name = new("a")
    await product.action(name, requiredApproval=required)
    nobody: Json = {"users": [], "roles": [], "teams": []}
    path = f"/v1/actions/{name}/permissions"
    granted(await product.api.patch(path, json={"approve": {**nobody, **lists}}), "permissions")
    run = (await product.start(name, headers=people["kim"]))["id"]
    for who, word, outcome in votes:
        answer = await _votes(product, run, people[who], word)
        if outcome is not OK:
            refused(answer, 422 if outcome == LATE else 403, outcome)
        else:
            after = granted(answer, "run", status=200 if word == "withdraw" else 201)
            if word != "withdraw":
                assert (after["approval"]["state"], after["approval"]["description"]) == (f"{word}D", f"{word}!")
    found = await product.get(run)
    assert (found["status"], found["endedAt"] is None) == (status, status not in ("DECLINED", "FAILURE"))

    known = {one["email"]: one["id"] for one in granted(await product.api.get("/v1/users"), "users")}
    ids = {who: known[f"{who}@x.io"] for who in people}
    for query, wanted in (
        ("?include_pending_approvers=true", states),
        ("", {who: state for who, state in states.items() if state != "PENDING"}),
        ("?include_pending_approvers=false", {who: state for who, state in states.items() if state != "PENDING"}),
    ):
        listed = granted(await product.api.get(f"/v1/actions/runs/{run}/approvers{query}"), "approvers")
        assert {one["userId"]: one["state"] for one in listed} == {ids[who]: state for who, state in wanted.items()}
        assert all(one.keys() == {"userId", "state", "description"} for one in listed)
        assert all((one["description"] is None) is (one["state"] == "PENDING") for one in listed)
