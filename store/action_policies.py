"""The policies of actions, asked about one of their runs: who may execute it, and who may approve it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.documents import Document
from domain.dry_runs import sealed
from domain.errors import NotFound
from domain.jq import Evaluator
from domain.permissions import Permissions, Policy
from domain.policies import Said, asks_who, of_run
from domain.rulings import Approver, Ruling
from domain.runs import Run
from domain.users import User
from store import blueprints, policies


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
    ) -> tuple[tuple[Approver, ...], Ruling]:
        """Who is asked to approve the run, and what decided that. The session only reads.

        What differs from person to person is asked for each of them, everything else once.

        Raises:
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
            answers = [await self.said(session, policy, run, action, user, at=at) for user in people]
        else:
            answers = [await self.said(session, policy, run, action, people[0], at=at)] * len(people)
        asked = tuple(_named(zip(people, answers, strict=True)))
        return asked, answers[0].ruling("approve.policy", allowed=bool(asked), why=_asked(asked, "approve policy"))


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
