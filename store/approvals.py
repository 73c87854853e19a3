"""Approvals in SQL: who may decide, everybody's last word about a run, and what follows from it."""

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.approvals import Decision, tally
from domain.causes import Cause
from domain.errors import RunNotWaitingForApproval
from domain.permissions import Permissions
from domain.runs import Run, RunStatus
from domain.users import Caller
from store import actions, runs
from store.action_policies import Policies
from store.database import Database
from store.tables import DecisionRow


async def speak(
    database: Database,
    policies: Policies,
    run_id: str,
    caller: Caller,
    decision: Decision,
    *,
    origin: str,
    by_driver: bool = False,
    cause: Cause | None = None,
) -> Run:
    """Record the word of a caller who may decide, by whichever door it came; the run afterwards.

    A policy is asked anew, about this person and at this moment. Its permissions are the same when the word is
    recorded: if they have changed meanwhile, everything is asked again.

    Raises:
        NotFound: there is no such run.
        Forbidden: the caller may not decide; says which lists were looked at, or what the policy said.
        RunNotWaitingForApproval: nobody is asked (any more); the decision is not recorded.
        Unavailable: no process could be had to ask the policy.
    """
    while True:
        async with database.read() as session:
            found = await runs.find(session, run_id)
            permissions = await actions.permissions(session, found.action_id) or Permissions()
            said, policy = None, permissions.approve.rule
            if policy is not None and caller.user is not None:
                if found.run.status is not RunStatus.WAITING_FOR_APPROVAL:
                    raise RunNotWaitingForApproval(f"run {run_id} is {found.run.status}, not waiting for approval")
                action = await actions.version(session, found.action_id, found.run.interlock.action_version)
                said = await policies.said(session, policy, found.run, action, caller.user, at=decision.at)
        allowed = permissions.require_approve(caller, said)
        decided = decision.model_copy(update={"allowed_by": allowed.reason})
        async with database.write() as session:
            current = await actions.permissions(session, found.action_id) or Permissions()
            if current.approve == permissions.approve:
                return await decide(session, run_id, decided, origin=origin, by_driver=by_driver, cause=cause)


async def decide(
    session: AsyncSession,
    run_id: str,
    decision: Decision,
    *,
    origin: str,
    by_driver: bool = False,
    cause: Cause | None = None,
) -> Run:
    """Record one person's word, and what follows from all of them. A `cause` is another run that makes them say it.

    Raises:
        NotFound: there is no such run.
        RunNotWaitingForApproval: nobody is asked (any more); the decision is not recorded.
    """
    await runs.locked(session, run_id)
    said = [one for one in await decisions(session, run_id) if one.user_id != decision.user_id]

    def move(run: Run) -> Run:
        return run.decided(decision, tally(run.required_approval, run.interlock.approvers, [*said, decision]))

    _, after = await runs.change(session, run_id, move, origin=origin, by_driver=by_driver, cause=cause)
    await session.merge(DecisionRow(run_id=run_id, user_id=decision.user_id, document=decision.model_dump(mode="json")))
    return after


async def decisions(session: AsyncSession, run_id: str) -> list[Decision]:
    """Everybody's last word about the run."""
    rows = await session.exec(select(DecisionRow.document).where(DecisionRow.run_id == run_id))
    return sorted((Decision.model_validate(row) for row in rows), key=lambda decision: decision.at)
