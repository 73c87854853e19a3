"""Policies of actions in SQL: what queries find, who is asked, and why a run was let through."""

from datetime import datetime
from typing import Any

import pytest
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.approvals import Decision, DecisionState
from domain.documents import Document
from domain.errors import Forbidden
from domain.jq import Evaluator
from domain.permissions import ApproveLists, Permissions, Policy
from domain.policies import Said
from domain.rulings import Explanation, QueryAnswer, Ruling
from domain.runs import Run, RunStatus
from domain.users import Caller, User
from store import actions, approvals, runs, users
from store.action_policies import Policies
from store.database import Database
from store.fingerprints import Fingerprints
from tests.store.conftest import AT, make_action, make_run

QUERY: Document = {"combinator": "and", "rules": [{"property": "$identifier", "operator": "=", "value": "none"}]}


def policy(*conditions: str) -> Any:
    return {"queries": {"q": QUERY}, "conditions": list(conditions)}


def person(name: str) -> User:
    return User(id=f"user_{name}", email=f"{name}@x.io", created_at=AT, updated_at=AT)


PEOPLE = [person(name) for name in ("ada", "bob", "eve")]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('["ada@x.io", "EVE@x.io", "nobody@x.io"]', ["user_ada", "user_eve"]),
        ('if .user.email < "c" then [.user.email] else [] end', ["user_ada", "user_bob"]),
        (".results.q.entities | map(.identifier)", []),
        ("true", []),
    ],
)
async def test_who_is_asked(database: Database, evaluate: Evaluator, condition: str, expected: list[str]) -> None:
    permissions = Permissions(approve=ApproveLists(policy=policy(condition)))
    async with database.read() as session:
        asked, ruling = await Policies(evaluate, fail_closed=False).approvers(
            session, permissions, make_run(), make_action(), PEOPLE, at=AT
        )
    assert [one.user_id for one in asked] == expected
    assert (ruling.rule, ruling.allowed) == ("approve.policy", bool(expected))
    assert ruling.queries == (QueryAnswer(query="q", found=0),)


async def test_an_explanation_reads_back_and_is_in_no_change(database: Database) -> None:
    ruling = Ruling(rule="execute", allowed=True, why="ö", queries=(QueryAnswer(query="q", found=3),))
    explanation, (run, other) = Explanation(decisions=(ruling,)), (make_run(), make_run())
    async with database.write() as session:
        action = make_action()
        await actions.create(session, action, origin="API")
        await runs.create(session, run, action_id=action.id, request=None, explanation=explanation)
        await runs.create(session, other, action_id=action.id, request=None)
    async with database.read() as session:
        assert await runs.explanation(session, run.id) == explanation
        assert await runs.explanation(session, other.id) == Explanation()
        assert await runs.get(session, run.id) == run


async def test_a_policy_that_changes_while_somebody_decides_is_asked_again(
    database: Database, evaluate: Evaluator
) -> None:
    action, run = make_action(requiredApproval=True), make_run(status=RunStatus.WAITING_FOR_APPROVAL)
    everybody, nobody = (Permissions(approve=ApproveLists(policy=policy(one))) for one in ('["ada@x.io"]', "[]"))
    async with database.write() as session:
        await actions.create(session, action, origin="API")
        await actions.put_permissions(session, action, Permissions(), everybody, by="x", at=AT, origin="API")
        await runs.create(session, run, action_id=action.id, request=None)

    class Slow(Policies):
        """Somebody changes the policy after it was asked, the first time."""

        asked = 0

        async def said(
            self, session: AsyncSession, policy: Policy, run: Run, action: Action, user: User, *, at: datetime
        ) -> Said:
            found = await super().said(session, policy, run, action, user, at=at)
            Slow.asked += 1
            if Slow.asked == 1:
                async with database.write() as other:
                    await actions.put_permissions(other, action, everybody, nobody, by="x", at=AT, origin="API")
            return found

    ada = PEOPLE[0]
    async with database.write() as session:
        await users.create(session, ada, client_id="ada", client_secret="s")
    fingerprints = Fingerprints(evaluate, lambda closed: closed, b"key")
    decision = Decision(user_id=ada.id, name=ada.email, state=DecisionState.APPROVED, at=AT)
    caller = Caller("org", ada.id, user=ada)
    slow = Slow(evaluate, fail_closed=False)
    with pytest.raises(Forbidden, match="does not name ada"):
        await approvals.speak(database, slow, fingerprints, run.id, caller, decision, origin="API")
    assert Slow.asked == 2
    async with database.read() as session:
        assert (await runs.get(session, run.id)).status is RunStatus.WAITING_FOR_APPROVAL
        assert await approvals.decisions(session, run.id) == []
