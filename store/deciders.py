"""Who may decide about a run, asked in SQL: people as they are now, and those who left it to them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.approvals import Decision, Gate
from domain.deciders import Standing, narrowed, own_say, refusal, requesters, standing
from domain.errors import RunNotWaitingForApproval, Unavailable
from domain.permissions import Answer, Denied, Permissions, Policy
from domain.policies import Said, asks_who
from domain.runs import Run, RunStatus, Source
from domain.users import Caller, User
from store import actions, runs, users
from store.action_policies import Policies


@dataclass(frozen=True)
class Judged:
    """Somebody who may decide about a run, and everything that this was judged by."""

    run: Run
    action: Action
    action_id: str
    permissions: Permissions
    standing: Standing
    others: Mapping[str, Standing | Denied] = field(default_factory=dict)
    """The same of others who have spoken, by user id, or why they may not decide any more."""
    people: Mapping[str, User] = field(default_factory=dict)
    """Everybody who was looked at for that."""

    async def still_holds(self, session: AsyncSession, run: Run) -> bool:
        """Whether nothing that it was judged by has changed; `run` is the row as it is locked now."""
        current = await actions.permissions(session, self.action_id) or Permissions()
        if current.approve != self.permissions.approve or not _same_people(self.run, run):
            return False
        people = [user for user in (self.standing.user, *self.standing.behalf) if user is not None]
        if not all([await users.get(session, user.id) == user for user in people]):
            return False
        looked_at = {*self.others, *(by for user_id in self.others for by in _lenders(run, user_id))}
        return await users.several(session, looked_at) == self.people


async def judged(
    session: AsyncSession,
    policies: Policies,
    run_id: str,
    caller: Caller,
    *,
    at: datetime,
    waiting: bool = True,
    others: Collection[str] = (),
) -> Judged:
    """On what the caller's word about the run would stand. The session only reads.

    With `waiting` a policy is not asked about a run that does not wait. `others` are the user ids of people who have
    spoken before and are judged as well.

    Raises:
        NotFound: there is no such run.
        Forbidden: the caller may not decide; says which lists were looked at, or what the policy said.
        RunNotWaitingForApproval: nobody is asked (any more).
        Unavailable: no process could be had to ask the policy, or it ran into a limit about one of the others.
    """
    found = await runs.find(session, run_id)
    run = found.run
    permissions = await actions.permissions(session, found.action_id) or Permissions()
    action = await actions.version(session, found.action_id, run.interlock.action_version)
    if waiting and permissions.approve.policy is not None and caller.user is not None:
        require_waiting(run)
    judge = _Judge(session, policies, run, action, permissions, at)
    if caller.user is None:
        behind = await instigators(session, caller.run_id) if caller.run_id else ()
        own, user = own_say(permissions, run, caller, behind=behind), None
    else:
        user = await users.get(session, caller.user.id)
        own = await judge.may(user)
        if user is None or user.status != "ACTIVE":
            raise refusal(own.reason)
    lenders = [await users.get(session, by) for by in _lenders(run, caller.id)]
    behalf = [(lender, await judge.may(lender)) for lender in lenders if lender is not None]
    stands = standing(user, own, behalf)
    if isinstance(stands, Denied):
        raise refusal(stands.reason)
    now, people = await judge.electorate(others)
    for user_id in judge.unsure.intersection(people):
        raise Unavailable(f"whether {people[user_id].email} may still approve could not be found out: try again")
    return Judged(run, action, found.action_id, permissions, stands, now, people)


async def as_of_now(
    session: AsyncSession, policies: Policies, run_id: str, said: Sequence[Decision], *, at: datetime
) -> list[Decision]:
    """The decisions about a run that waits, as far as who made them may decide now. The session only reads.

    Raises:
        NotFound: there is no such run.
        Unavailable: no process could be had to ask the policy.
    """
    found = await runs.find(session, run_id)
    permissions = await actions.permissions(session, found.action_id) or Permissions()
    action = await actions.version(session, found.action_id, found.run.interlock.action_version)
    judge = _Judge(session, policies, found.run, action, permissions, at)
    voters = [one.user_id for one in said if one.void_at is None and not one.machine]
    now, _ = await judge.electorate(voters)
    known = {user_id: stands for user_id, stands in now.items() if user_id not in judge.unsure}
    return [narrowed(one, known[one.user_id], at=at) if one.user_id in known else one for one in said]


class _Judge:
    """Judges people about one run, by its action's permissions; each once."""

    def __init__(
        self,
        session: AsyncSession,
        policies: Policies,
        run: Run,
        action: Action,
        permissions: Permissions,
        at: datetime,
    ) -> None:
        self._session, self._policies, self._at = session, policies, at
        self._run, self._action, self._permissions = run, action, permissions
        self._policy = permissions.approve.rule
        self._says_the_same: Said | None = None
        self._answers: dict[str, Answer] = {}
        self.unsure: set[str] = set()
        """The ids of those about whom the policy ran into a limit, so that its no means nothing."""

    async def may(self, user: User | None) -> Answer:
        """Whether the person may decide by their own right."""
        if user is None or user.status != "ACTIVE":
            return Denied("only active people decide" if user is None else f"{user.email} is not active")
        if user.id not in self._answers:
            one = Caller(organization="", client=user.id, user=user)
            said = await self._said(self._policy, user) if self._policy else None
            self._answers[user.id] = answer = own_say(self._permissions, self._run, one, said)
            if said is not None and said.overran and not answer:
                self.unsure.add(user.id)
        return self._answers[user.id]

    async def electorate(self, user_ids: Collection[str]) -> tuple[dict[str, Standing | Denied], dict[str, User]]:
        """On what the words of these people stand now, or why on nothing; and everybody who was looked at."""
        left = {user_id: _lenders(self._run, user_id) for user_id in user_ids}
        people = await users.several(self._session, {*left, *(by for lenders in left.values() for by in lenders)})
        found: dict[str, Standing | Denied] = {}
        for user_id, lenders in left.items():
            user = people.get(user_id)
            own = await self.may(user)
            if user is None or user.status != "ACTIVE":
                found[user_id] = Denied(own.reason)
                continue
            behalf = [(people[by], await self.may(people[by])) for by in lenders if by in people]
            found[user_id] = standing(user, own, behalf)
        return found, people

    async def _said(self, policy: Policy, user: User) -> Said:
        if self._says_the_same is not None:
            return self._says_the_same
        said = await self._policies.said(self._session, policy, self._run, self._action, user, at=self._at)
        if not asks_who(policy):
            self._says_the_same = said
        return said


def _lenders(run: Run, user_id: str) -> tuple[str, ...]:
    """The user ids of those who have left their say about the run to the person."""
    return (run.interlock.gate or Gate()).left_to(user_id)


async def instigators(session: AsyncSession, run_id: str) -> tuple[str, ...]:
    """The ids of everybody who asked for the run, or for one whose backend asked for it, and so on.

    Nobody asked for what an automation does: whoever made the change that started it may not even know.
    """
    found: dict[str, None] = {}
    run: Run | None = (await runs.find(session, run_id)).run
    while run is not None and run.source is not Source.AUTOMATION:
        found |= dict.fromkeys(sorted(requesters(run)))
        causes = run.interlock.causes
        run = (await runs.find(session, causes[-1].run)).run if causes else None
    return tuple(found)


def require_waiting(run: Run) -> None:
    """Nothing, if the run waits for approval.

    Raises:
        RunNotWaitingForApproval: it does not.
    """
    if run.status is not RunStatus.WAITING_FOR_APPROVAL:
        raise RunNotWaitingForApproval(f"run {run.id} is {run.status}, not waiting for approval")


def _same_people(before: Run, after: Run) -> bool:
    """Whether the same people may decide about the run, beside those whom the permissions let."""
    was, now = before.interlock.gate or Gate(), after.interlock.gate or Gate()
    return was.delegations == now.delegations and was.escalated_to == now.escalated_to
