"""The policies of actions, asked about one of their runs: who may execute it, and who may approve it."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.approvals import RequiredApproval
from domain.documents import Document
from domain.dry_runs import sealed
from domain.errors import InvalidRequest, NotFound
from domain.jq import Evaluator
from domain.permissions import Permissions, Policy
from domain.policies import Said, asks_who, of_run
from domain.rulings import Approver, Ruling
from domain.runs import Run
from domain.users import User
from store import blueprints, policies

log = logging.getLogger(__name__)

MOST_JUDGED: Final = 200
"""How many people a policy is asked about one by one: each costs its queries and a trip to a jq process."""
_OVERRUNS: Final = 3
"""For how many of them its queries or conditions may run into a limit, before the others are not asked about."""


@dataclass(frozen=True)
class Policies:
    """How policies are asked in this deployment."""

    evaluate: Evaluator
    fail_closed: bool
    """Whether one says no when a query failed."""

    async def said(
        self, session: AsyncSession, policy: Policy, run: Run, action: Action, user: User, *, at: datetime
    ) -> Said:
        """What the policy says about this person and this run. The session only reads.

        Raises:
            Unavailable: no process could be had to run its templates and conditions.
        """
        seen = of_run(run, action, await _blueprint(session, action), user)
        return await policies.said(
            session,
            policy,
            seen,
            user,
            evaluate=self.evaluate,
            at=at,
            fail_closed=self.fail_closed,
            secrets=sealed(run, action),
        )

    async def approvers(
        self,
        session: AsyncSession,
        permissions: Permissions,
        run: Run,
        action: Action,
        people: Sequence[User],
        *,
        at: datetime,
        warnings: list[str] | None = None,
    ) -> tuple[tuple[Approver, ...], Ruling]:
        """Who is asked to approve the run, and what decided that. The session only reads.

        What differs from person to person is asked for each of them, everything else once. At most `MOST_JUDGED` are
        looked at so, those on the lists first; `warnings` is told of the others, who may decide all the same: then the
        policy is asked about them.

        Raises:
            InvalidRequest: all approvers have to approve, and there are too many people to find out who they are.
            Unavailable: no process could be had to run its templates and conditions.
        """
        people = [user for user in people if user.status == "ACTIVE"]  # others cannot decide, and would be waited for
        policy = permissions.approve.rule
        if policy is None:
            listed = [(user, permissions.approve.admit(user)) for user in people]
            asked = tuple(Approver(user_id=user.id, email=user.email, why=why.reason) for user, why in listed if why)
            return asked, Ruling(rule="approve", allowed=bool(asked), why=_asked(asked, "approve lists"))
        if not people:
            return (), Ruling(rule="approve.policy", allowed=False, why="there are no people")
        if asks_who(policy):
            listed_first = sorted(people, key=lambda user: not permissions.approve.admit(user))
            judged = await self._one_by_one(session, policy, run, action, listed_first[:MOST_JUDGED], at=at)
            if left_out := len(people) - len(judged):
                _tell(run, left_out, warnings)
            people = [user for user in people if user.id in judged]
            answers = [judged[user.id] for user in people]
        else:
            answers = [await self.said(session, policy, run, action, people[0], at=at)] * len(people)
        asked = tuple(_named(zip(people, answers, strict=True)))
        return asked, answers[0].ruling("approve.policy", allowed=bool(asked), why=_asked(asked, "approve policy"))

    async def _one_by_one(
        self, session: AsyncSession, policy: Policy, run: Run, action: Action, people: Sequence[User], *, at: datetime
    ) -> dict[str, Said]:
        """What it says about each, by user id; about fewer where it costs too much.

        One after the other, so that this takes one jq process at a time, and whoever else waits for one comes between.
        """
        answers: dict[str, Said] = {}
        overruns = 0
        for user in people:
            answers[user.id] = said = await self.said(session, policy, run, action, user, at=at)
            overruns += said.overran
            if overruns == _OVERRUNS:
                break
            await asyncio.sleep(0)  # what jq is not needed for would hold the event loop
        return answers


def _tell(run: Run, left_out: int, warnings: list[str] | None) -> None:
    """Say that some people were not looked at.

    Raises:
        InvalidRequest: it matters who they are.
    """
    why = f"the approve policy is about each person, and {left_out} could not be looked at: it takes too much"
    required = run.required_approval
    if isinstance(required, RequiredApproval) and required.type == "ALL":
        raise InvalidRequest(f"requiredApproval: ALL needs to know all approvers: {why}")
    log.warning("people were not asked to approve", extra={"run_id": run.id, "people": left_out})
    if warnings is not None:
        warnings.append(f"{left_out} people were not asked who could decide if the policy names them: {why}")


def _named(answers: Iterable[tuple[User, Said]]) -> Iterable[Approver]:
    for user, said in answers:
        if said.names(user):
            yield Approver(user_id=user.id, email=user.email, why=f"the approve policy names {user.email}")


def _asked(asked: Sequence[Approver], by: str) -> str:
    if not asked:
        return f"the {by} name nobody: only the organization's credentials can approve"
    return f"the {by} name {', '.join(one.email for one in asked)}"


async def _blueprint(session: AsyncSession, action: Action) -> Document | None:
    if action.blueprint is None:
        return None
    try:
        return (await blueprints.get(session, action.blueprint)).echo()
    except NotFound:
        return None
