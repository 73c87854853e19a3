"""Who may decide about a run, asked in SQL: people as they are now, and those who left it to them."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.approvals import Gate
from domain.deciders import Standing, own_say, refusal, requesters, standing
from domain.errors import RunNotWaitingForApproval
from domain.permissions import Answer, Denied, Permissions
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

    async def still_holds(self, session: AsyncSession, run: Run) -> bool:
        """Whether nothing that it was judged by has changed; `run` is the row as it is locked now."""
        current = await actions.permissions(session, self.action_id) or Permissions()
        if current.approve != self.permissions.approve or not _same_people(self.run, run):
            return False
        people = [user for user in (self.standing.user, *self.standing.behalf) if user is not None]
        return all([await users.get(session, user.id) == user for user in people])


async def judged(
    session: AsyncSession, policies: Policies, run_id: str, caller: Caller, *, at: datetime, waiting: bool = True
) -> Judged:
    """On what the caller's word about the run would stand. The session only reads.

    With `waiting` a policy is not asked about a run that does not wait.

    Raises:
        NotFound: there is no such run.
        Forbidden: the caller may not decide; says which lists were looked at, or what the policy said.
        RunNotWaitingForApproval: nobody is asked (any more).
        Unavailable: no process could be had to ask the policy.
    """
    found = await runs.find(session, run_id)
    run = found.run
    permissions = await actions.permissions(session, found.action_id) or Permissions()
    action = await actions.version(session, found.action_id, run.interlock.action_version)
    if waiting and permissions.approve.policy is not None and caller.user is not None:
        require_waiting(run)

    async def may(user: User | None) -> Answer:
        if user is None or user.status != "ACTIVE":
            return Denied("only active people decide" if user is None else f"{user.email} is not active")
        one = replace(caller, client=user.id, user=user)
        policy = permissions.approve.rule
        said = await policies.said(session, policy, run, action, user, at=at) if policy else None
        return own_say(permissions, run, one, said)

    if caller.user is None:
        behind = await instigators(session, caller.run_id) if caller.run_id else ()
        own, user = own_say(permissions, run, caller, behind=behind), None
    else:
        user = await users.get(session, caller.user.id)
        own = await may(user)
        if user is None or user.status != "ACTIVE":
            raise refusal(own.reason)
    lenders = [await users.get(session, by) for by in (run.interlock.gate or Gate()).left_to(caller.id)]
    behalf = [(lender, await may(lender)) for lender in lenders if lender is not None]
    return Judged(run, action, found.action_id, permissions, standing(user, own, behalf))


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
