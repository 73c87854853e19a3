"""Approve policies that are asked about each person: bounded, and others are served between."""

from typing import Any

import pytest
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.approvals import RequiredApproval
from domain.documents import Document
from domain.errors import InvalidRequest
from domain.jq import Evaluator, Overran, Value
from domain.permissions import ApproveLists, Permissions
from domain.runs import RunStatus
from domain.users import User
from store import action_policies
from store.action_policies import Policies
from store.database import Database
from tests.store.conftest import AT, make_action, make_run

QUERY: Document = {"combinator": "and", "rules": [{"property": "$identifier", "operator": "=", "value": "none"}]}
EVERYBODY = Permissions(
    approve=ApproveLists(roles=("Lead",), policy={"queries": {"q": QUERY}, "conditions": ["[.user.email, 1]"]})
)


def people(number: int, *roles: str) -> list[User]:
    return [
        User(id=f"user_{place:03}", email=f"p{place:03}@x.io", created_at=AT, updated_at=AT, roles=roles or ("Member",))
        for place in range(number)
    ]


async def asked(
    session: AsyncSession, evaluate: Evaluator, everybody: list[User], **run: Any
) -> tuple[list[str], list[str]]:
    """Whom the policy names, and what was warned about."""
    warnings: list[str] = []
    found, _ = await Policies(evaluate, fail_closed=False).approvers(
        session, EVERYBODY, make_run(**run), make_action(), everybody, at=AT, warnings=warnings
    )
    return [one.user_id for one in found], warnings


async def test_more_people_than_can_be_looked_at_are_a_warning_and_who_is_listed_comes_first(
    database: Database, evaluate: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(action_policies, "MOST_JUDGED", 3)
    everybody = people(5)
    everybody[4] = everybody[4].model_copy(update={"roles": ("Lead",)})
    async with database.read() as session:
        assert await asked(session, evaluate, everybody[:3]) == (["user_000", "user_001", "user_002"], [])
        names, warnings = await asked(session, evaluate, everybody)
    assert names == ["user_000", "user_001", "user_004"]
    assert len(warnings) == 1
    assert "2 people were not asked" in warnings[0]


async def test_where_all_have_to_approve_too_many_people_are_refused(
    database: Database, evaluate: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(action_policies, "MOST_JUDGED", 3)
    how: dict[str, Any] = {"required_approval": RequiredApproval(type="ALL"), "status": RunStatus.WAITING_FOR_APPROVAL}
    async with database.read() as session:
        assert len((await asked(session, evaluate, people(3), **how))[0]) == 3
        with pytest.raises(InvalidRequest, match="ALL needs to know all approvers"):
            await asked(session, evaluate, people(4), **how)


async def test_a_condition_that_overruns_is_not_asked_about_everybody(database: Database) -> None:
    calls = 0

    async def overruns(programs: Any, document: Any, *, now: Any = None) -> Any:
        nonlocal calls
        calls += 1
        return [Overran("too long") for _ in programs]

    async with database.read() as session:
        names, warnings = await asked(session, overruns, people(50))
    assert (names, calls, len(warnings)) == ([], 3, 1)


async def test_one_call_at_a_time_goes_to_jq(database: Database, evaluate: Evaluator) -> None:
    now_running = most = 0

    async def counted(programs: Any, document: Any, *, now: Any = None) -> Any:
        nonlocal now_running, most
        now_running += 1
        most = max(most, now_running)
        try:
            return await evaluate(programs, document, now=now)
        finally:
            now_running -= 1

    async with database.read() as session:
        names, _ = await asked(session, counted, people(10))
    assert (len(names), most) == (10, 1)


async def test_a_template_of_a_query_that_overruns_is_not_asked_about_everybody(database: Database) -> None:
    calls = 0

    async def overruns(programs: Any, document: Any, *, now: Any = None) -> Any:
        nonlocal calls
        calls += any("until" in program for program in programs)
        return [Overran("too long") if "until" in program else Value(None) for program in programs]

    rule: Document = {"property": "$identifier", "operator": "=", "value": "{{ .user.email | until(false; .) }}"}
    query: Document = {"combinator": "and", "rules": [rule]}
    policy: Document = {"queries": {"q": query}, "conditions": ["[.user.email, 1]"]}
    permissions = Permissions(approve=ApproveLists(policy=policy))
    warnings: list[str] = []
    async with database.read() as session:
        found, _ = await Policies(overruns, fail_closed=False).approvers(
            session, permissions, make_run(), make_action(), people(50), at=AT, warnings=warnings
        )
    assert (found, calls, len(warnings)) == ((), 3, 1)
