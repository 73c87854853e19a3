"""Delegations in SQL: a person who may decide about a run leaves it to another, and takes it back."""

from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.approvals import Delegation, Gate
from domain.causes import Cause
from domain.deciders import DELEGATION, SELF_APPROVAL, delegated, is_barred, refusal, taken_back
from domain.errors import Forbidden, InvalidRequest, NotFound
from domain.runs import PLATFORM, Run
from domain.users import Caller, User
from store import runs, users
from store.action_policies import Policies
from store.database import Database
from store.deciders import judged, require_waiting


async def leave(
    database: Database,
    policies: Policies,
    run_id: str,
    caller: Caller,
    *,
    to: str,
    description: str | None,
    at: datetime,
    origin: str,
    cause: Cause | None = None,
) -> Run:
    """Let somebody else, by email address, decide about the run in the place of the caller; the run afterwards.

    It replaces what the caller has left to another before.

    Raises:
        NotFound: there is no such run.
        Forbidden: the action has no delegation, the caller may not decide by their own right, or the other asked for
            the run and may not decide about it.
        InvalidRequest: the other is nobody, not active, or the caller.
        RunNotWaitingForApproval: nobody is asked (any more).
        Unavailable: no process could be had to ask the policy.
    """
    while True:
        async with database.read() as session:
            _require_delegation(await runs.get(session, run_id))
            found = await judged(session, policies, run_id, caller, at=at)
            require_waiting(found.run)
            if found.standing.user is None:
                raise refusal("only people leave the decision to others")
            if not found.standing.own:
                raise refusal(f"what others left to {caller.name} is not passed on further")
            other = await _other(session, to, found.run, found.standing.user)
        delegation = Delegation(by=found.standing.user.id, to=other.id, description=description, at=at)
        why = f": {description}" if description else ""
        async with database.write() as session:
            row = await runs.locked(session, run_id)
            require_waiting(row.run)
            if await found.still_holds(session, row.run) and await users.get(session, other.id) == other:
                gate = delegated(row.run.interlock.gate or Gate(), delegation)
                line = f"{caller.name} leaves the decision to {other.email}{why}"
                return await _gated(session, row.run, gate, line, by=delegation.by, at=at, origin=origin, cause=cause)


async def take_back(
    database: Database, run_id: str, caller: Caller, *, at: datetime, origin: str, cause: Cause | None = None
) -> Run:
    """Let nobody else decide about the run in the place of the caller any more; what they said for them counts no more.

    Raises:
        NotFound: there is no such run.
        Forbidden: the action has no delegation.
        RunNotWaitingForApproval: nobody is asked (any more).
    """
    async with database.write() as session:
        run = (await runs.locked(session, run_id)).run
        _require_delegation(run)
        require_waiting(run)
        gate = taken_back(run.interlock.gate or Gate(), caller.id)
        if gate is run.interlock.gate:
            return run
        line = f"{caller.name} takes back the decision"
        return await _gated(session, run, gate, line, by=caller.id, at=at, origin=origin, cause=cause)


async def _gated(
    session: AsyncSession,
    run: Run,
    gate: Gate,
    line: str,
    *,
    by: str,
    at: datetime,
    origin: str,
    cause: Cause | None,
) -> Run:
    """The run, whose workflow is woken: somebody may have to be told."""

    def move(current: Run) -> Run:
        driving = current.interlock.model_copy(update={"gate": gate})
        return current.changed(at=at, by=by, interlock=driving)

    _, after = await runs.change(session, run.id, move, origin=origin, wakes=True, cause=cause)
    await runs.log(session, run.id, line, by=PLATFORM, at=at)
    return after


async def _other(session: AsyncSession, email: str, run: Run, caller: User) -> User:
    try:
        other = await users.by_email(session, email)
    except NotFound:
        raise InvalidRequest(f"to: there is no user {email!r}") from None
    if other.status != "ACTIVE":
        raise InvalidRequest(f"to: {other.email} is not active")
    if other.id == caller.id:
        raise InvalidRequest("to: this is you")
    if is_barred(run, other.id):
        raise Forbidden(f"to: {SELF_APPROVAL} is off, and {other.email} asked for the run")
    return other


def _require_delegation(run: Run) -> None:
    if run.interlock.gate is None or not run.interlock.gate.delegation:
        raise Forbidden(f"{DELEGATION} is off for this run, so nobody leaves the decision to others")
