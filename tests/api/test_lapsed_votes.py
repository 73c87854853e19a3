"""Votes of people who may not decide any more when the verdict is reached: they do not count, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from domain.users import User
from runtime.clock import now
from store import users
from tests.api.answers import Json, granted, refused
from tests.api.test_approval_rules import _action, _approval, _leave, _lines, _people, _say, _status, _take_back
from tests.api.test_policies import policy, query
from tests.support.product import Product, running

PERMISSIONS = "/v1/actions/deploy/permissions"


@pytest.fixture
async def stored(clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str) -> AsyncIterator[Product]:
    """The product over each of the databases; its runs wait."""
    async with running(clock, evaluate, database_url, worker=False) as product:
        yield product


async def _become(product: Product, name: str, **what: Any) -> None:
    """Something else is true of the person now."""
    async with product.database.write() as session:
        user = await users.by_email(session, f"{name}@x.io")
        await users.replace(session, user, user.revised(at=now(), **what), by="test", origin="TEST")


async def _delete(product: Product, name: str) -> None:
    async with product.database.write() as session:
        user = await users.by_email(session, f"{name}@x.io")
        await users.remove(session, user, at=now(), by="test", origin="TEST")


async def _permit(product: Product, **approve: Any) -> None:
    granted(await product.api.patch(PERMISSIONS, json={"approve": approve}), "permissions")


async def _shown(product: Product, run: str) -> tuple[dict[str, bool], str]:
    """Whose decisions count, and what is missing."""
    shown = await _approval(product, run)
    return {one["name"].removesuffix("@x.io"): one["valid"] for one in shown["decisions"]}, shown["missing"]


@pytest.mark.parametrize("loses", ["active", "role", "account"])
async def test_who_has_lost_the_right_does_not_count_towards_a_quorum(stored: Product, loses: str) -> None:
    await _action(stored, {"quorum": 2})
    ada, bob, eve = await _people(stored, "ada", "bob", "eve")
    run = (await stored.start())["id"]
    assert await _status(stored, run, "APPROVE", ada) == "WAITING_FOR_APPROVAL"
    match loses:
        case "active":
            await _become(stored, "ada", status="DISABLED")
        case "role":
            await _become(stored, "ada", roles=("Member",))
        case "account":
            await _delete(stored, "ada")
    assert await _shown(stored, run) == ({"ada": False}, "2 more people to approve"), "whoever looks is told"

    assert await _status(stored, run, "APPROVE", bob) == "WAITING_FOR_APPROVAL"
    [line] = await _lines(stored, run)
    assert line.startswith("The decision of ada@x.io is void, as they may not decide any more: ")
    assert {"active": "not active", "role": "is in none of", "account": "only active people"}[loses] in line
    assert await _shown(stored, run) == ({"ada": False, "bob": True}, "one more person to approve")
    listed = granted(await stored.api.get(f"/v1/actions/runs/{run}/approvers"), "approvers")
    assert [one["state"] for one in listed] == ["APPROVED"], "that of bob"
    votes = granted(await stored.api.get(f"/v1/actions/runs/{run}/explain"), "explanation")["votes"]
    assert [one["lapsed"] is not None for one in votes] == [True, False]

    assert await _status(stored, run, "APPROVE", eve) == "IN_PROGRESS"
    assert len(await _lines(stored, run)) == 1


async def test_who_gets_the_right_back_speaks_again(stored: Product) -> None:
    await _action(stored, {"quorum": 2})
    ada, bob = await _people(stored, "ada", "bob")
    run = (await stored.start())["id"]
    await _status(stored, run, "APPROVE", ada)
    await _permit(stored, roles=[], users=["bob@x.io"])
    assert await _status(stored, run, "APPROVE", bob) == "WAITING_FOR_APPROVAL"
    await _permit(stored, roles=["Approver"])
    assert await _status(stored, run, "APPROVE", bob) == "WAITING_FOR_APPROVAL", "what is void stays void"
    assert await _status(stored, run, "APPROVE", ada) == "IN_PROGRESS"


async def test_a_right_that_is_back_before_the_verdict_was_never_lost(stored: Product) -> None:
    await _action(stored, {"quorum": 2})
    ada, bob = await _people(stored, "ada", "bob")
    run = (await stored.start())["id"]
    await _status(stored, run, "APPROVE", ada)
    await _become(stored, "ada", status="DISABLED")
    await _become(stored, "ada", status="ACTIVE")
    assert await _status(stored, run, "APPROVE", bob) == "IN_PROGRESS"


async def test_one_who_is_enough_does_not_depend_on_others(stored: Product) -> None:
    await _action(stored, {"quorum": 2})
    [ada] = await _people(stored, "ada")
    for word, status in (("APPROVE", "IN_PROGRESS"), ("DECLINE", "DECLINED")):
        run = (await stored.start())["id"]
        await _become(stored, "ada", status="ACTIVE")
        await _status(stored, run, "APPROVE", ada)
        await _become(stored, "ada", status="DISABLED")
        assert await _status(stored, run, word) == status, "the organization decides for everyone"
        assert [line for line in await _lines(stored, run) if "void" in line] == []


async def test_all_means_everybody_who_was_asked_also_who_has_left_since(stored: Product) -> None:
    await _action(stored, requiredApproval={"type": "ALL"})
    ada, bob = await _people(stored, "ada", "bob")
    run = (await stored.start())["id"]
    await _status(stored, run, "APPROVE", ada)
    await _become(stored, "ada", status="DISABLED")
    assert await _status(stored, run, "APPROVE", bob) == "WAITING_FOR_APPROVAL"
    assert (await _shown(stored, run))[1] == "ada@x.io to approve"
    assert await _status(stored, run, "APPROVE") == "IN_PROGRESS"


@pytest.mark.parametrize("personal", [False, True])
async def test_whom_the_policy_names_no_more_does_not_count(stored: Product, personal: bool) -> None:
    await _action(stored, {"quorum": 2})
    ada, bob, eve = await _people(stored, "ada", "bob", "eve")
    for name in ("ada", "bob", "eve"):
        await stored.entity(name, "lead")
    names = '[.results.leads.entities[].identifier + "@x.io"]'
    named = f"{names} | map(select(. == $u.user.email))" if personal else names
    await _permit(stored, policy=policy(f". as $u | {named}", leads=query("lead")))
    run = (await stored.start())["id"]
    await _status(stored, run, "APPROVE", ada)
    assert (await stored.api.delete("/v1/blueprints/lead/entities/ada")).status_code == 200
    assert (await _shown(stored, run))[0] == {"ada": False}
    assert await _status(stored, run, "APPROVE", bob) == "WAITING_FOR_APPROVAL"
    assert "the approve policy does not name ada@x.io" in (await _lines(stored, run))[0]
    assert await _status(stored, run, "APPROVE", eve) == "IN_PROGRESS"


async def test_a_policy_that_cannot_say_whether_somebody_still_may_decides_nothing(stored: Product) -> None:
    await _action(stored, {"quorum": 2})
    ada, bob = await _people(stored, "ada", "bob")
    await stored.entity("one", "service")
    await _permit(stored, policy=policy("[.user.email]"))
    run = (await stored.start())["id"]
    await _status(stored, run, "APPROVE", ada)
    slow = 'if .user.email == "ada@x.io" then [range(1e9)] | map(tostring) else [.user.email] end'
    await _permit(stored, policy=policy(slow))
    refused(await _say(stored, run, "APPROVE", bob), 503, "service_unavailable", "ada@x.io")
    assert await _shown(stored, run) == ({"ada": True}, "one more person to approve"), "nothing was recorded"
    await _permit(stored, policy=policy("[.user.email]"))
    assert await _status(stored, run, "APPROVE", bob) == "IN_PROGRESS"


async def test_what_somebody_said_for_another_goes_with_the_right_of_the_other(stored: Product) -> None:
    every = {"approve": {"users": ["ada@x.io", "bob@x.io", "eve@x.io"], "roles": []}}
    await _action(stored, {"delegation": True}, every, requiredApproval={"type": "ALL"})
    ada, bob, eve = await _people(stored, "ada", "bob", "eve")
    run = (await stored.start())["id"]
    granted(await _leave(stored, run, "bob@x.io", ada), "run", status=201)
    assert await _status(stored, run, "APPROVE", bob) == "WAITING_FOR_APPROVAL"
    await _permit(stored, users=["bob@x.io", "eve@x.io"])
    assert (await _shown(stored, run))[1] == "ada@x.io, eve@x.io to approve"
    assert await _status(stored, run, "APPROVE", eve) == "WAITING_FOR_APPROVAL"
    assert (await _lines(stored, run))[1:] == [
        "The decision of bob@x.io counts for less than when it was made. By now: users names bob@x.io"
    ]
    assert await _shown(stored, run) == ({"bob": True, "eve": True}, "ada@x.io to approve")
    await _permit(stored, users=["ada@x.io", "bob@x.io", "eve@x.io"])
    assert await _status(stored, run, "APPROVE", eve) == "WAITING_FOR_APPROVAL", "what is lost is not got back"
    assert await _status(stored, run, "APPROVE", bob) == "IN_PROGRESS"


async def test_a_delegate_to_whom_it_is_left_no_more_is_void(stored: Product) -> None:
    await _action(stored, {"delegation": True, "quorum": 2})
    ada, bob = await _people(stored, "ada", "bob")
    eve = await stored.person("eve@x.io")
    run = (await stored.start())["id"]
    granted(await _leave(stored, run, "eve@x.io", ada), "run", status=201)
    await _status(stored, run, "APPROVE", eve)
    granted(await _take_back(stored, run, ada), "run")
    assert await _status(stored, run, "APPROVE", bob) == "WAITING_FOR_APPROVAL"
    assert await _status(stored, run, "APPROVE", ada) == "IN_PROGRESS"


async def test_who_has_left_a_team_is_not_its_voice_any_more(stored: Product) -> None:
    both = {"approve": {"roles": [], "teams": ["sre", "web"]}}
    await _action(stored, {"onePerTeam": True}, both)
    [ada], [bob] = await _people(stored, "ada", teams=("sre",)), await _people(stored, "bob", teams=("web",))
    run = (await stored.start())["id"]
    await _status(stored, run, "APPROVE", ada)
    await _become(stored, "ada", teams=("web",))
    assert await _status(stored, run, "APPROVE", bob) == "WAITING_FOR_APPROVAL"
    assert await _shown(stored, run) == (
        {"ada": True, "bob": True},
        "somebody of each of these teams to approve: sre",
    )


async def test_who_loses_the_right_while_the_verdict_is_made_does_not_count(
    stored: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _action(stored, {"quorum": 2})
    ada, bob = await _people(stored, "ada", "bob")
    run = (await stored.start())["id"]
    await _status(stored, run, "APPROVE", ada)
    several, looked = users.several, 0

    async def meddled(session: Any, user_ids: Any) -> dict[str, User]:
        nonlocal looked
        found = await several(session, user_ids)
        looked += bool(user_ids)
        if looked == 1 and user_ids:
            await _become(stored, "ada", status="DISABLED")
        return found

    monkeypatch.setattr(users, "several", meddled)
    assert await _status(stored, run, "APPROVE", bob) == "WAITING_FOR_APPROVAL"
    assert looked > 2, "it was judged, had changed when it was recorded, and was judged again"


async def test_the_last_words_of_many_at_once_are_one_verdict_without_the_one_who_left(stored: Product) -> None:
    names = [f"p{number}" for number in range(6)]
    await _action(stored, {"quorum": 6})
    ada, *others = await _people(stored, "ada", *names)
    run = (await stored.start())["id"]
    await _status(stored, run, "APPROVE", ada)
    await _become(stored, "ada", roles=("Member",))
    said: list[httpx.Response] = await asyncio.gather(*(_say(stored, run, "APPROVE", who) for who in others))
    statuses: list[Json] = [granted(answer, "run", status=201)["status"] for answer in said]
    assert sorted(map(str, statuses)) == ["IN_PROGRESS", *["WAITING_FOR_APPROVAL"] * 5]
    assert len([line for line in await _lines(stored, run) if "ada@x.io is void" in line]) == 1
