"""Approvals in SQL: everybody's last word about a run, and what follows from it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.approvals import Decision, Gate, People, Verdict, tally
from domain.causes import Cause
from domain.deciders import Standing, is_barred, named, narrowed
from domain.errors import RequestChanged
from domain.permissions import Denied
from domain.runs import PLATFORM, Run, RunStatus
from domain.users import Caller
from store import runs, users
from store.action_policies import Policies
from store.database import Database
from store.deciders import judged, require_waiting
from store.fingerprints import Fingerprints
from store.tables import DecisionRow

NOBODY: Final[Mapping[str, Standing | Denied]] = MappingProxyType({})
"""Of nobody it is known whether they may still decide."""


class Outdated(Exception):
    """A message says nothing any more, because the person has said `last` since, or just that."""

    def __init__(self, last: Decision) -> None:
        super().__init__(f"{last.name} has spoken since")
        self.last = last


class Unjudged(Exception):
    """The verdict depends on what others have said, and nobody has looked whether those may still decide."""

    def __init__(self, user_ids: Collection[str]) -> None:
        super().__init__(", ".join(sorted(user_ids)))
        self.user_ids = user_ids


async def speak(
    database: Database,
    policies: Policies,
    fingerprints: Fingerprints,
    run_id: str,
    caller: Caller,
    decision: Decision,
    *,
    origin: str,
    expected: Collection[str] = (),
    by_driver: bool = False,
    cause: Cause | None = None,
) -> Run:
    """Record the word of a caller who may decide, by whichever door it came; the run afterwards.

    The person is judged as they are now, by a policy that is asked anew, and so is everybody who left it to them. If
    the word would complete the approval, so are those who have spoken before. All of it is the same when the word is
    recorded: if something has changed meanwhile, everything is asked again.

    Args:
        database: where the run is.
        policies: how policies are asked.
        fingerprints: how it is told what would be sent.
        run_id: of the run.
        caller: who speaks.
        decision: what they say; on what it stands is added here.
        origin: by which door, for the audit log.
        expected: fingerprints, one of which what would be sent has to have; empty: whatever it is.
        by_driver: whether the run's own workflow records it.
        cause: another run that makes them say it.

    Raises:
        NotFound: there is no such run.
        Forbidden: the caller may not decide; says which lists were looked at, or what the policy said.
        RunNotWaitingForApproval: nobody is asked (any more); the decision is not recorded.
        RequestChanged: something else would be sent than was expected; the decision is not recorded.
        Outdated: it is a message, and not younger than the caller's last word; it is not recorded.
        Unavailable: no process could be had to ask the policy, or to render what would be sent.
    """
    others: set[str] = set()
    while True:
        async with database.read() as session:
            found = await judged(session, policies, run_id, caller, at=decision.at, others=others)
        require_waiting(found.run)
        request = await fingerprints.of(database, found.run, found.action)
        if expected and request not in expected:
            raise RequestChanged(f"what run {run_id} would send has changed: look at it again, and decide about that")
        decided = found.standing.put_into(decision, request)
        try:
            async with database.write() as session:
                row = await runs.locked(session, run_id)
                if await found.still_holds(session, row.run):
                    by = found.others
                    return await decide(
                        session, run_id, decided, others=by, origin=origin, by_driver=by_driver, cause=cause
                    )
        except Unjudged as unjudged:
            others.update(unjudged.user_ids)


async def decide(
    session: AsyncSession,
    run_id: str,
    decision: Decision,
    *,
    others: Mapping[str, Standing | Denied] = NOBODY,
    origin: str,
    by_driver: bool = False,
    cause: Cause | None = None,
) -> Run:
    """Record one person's word, and what follows from all of them. A `cause` is another run that makes them say it.

    Earlier decisions about something else than this one is about are void from now on. If this one completes the
    approval, so are those of people who may not decide any more: `others` says by user id on what their words stand.

    Raises:
        NotFound: there is no such run.
        RunNotWaitingForApproval: nobody is asked (any more); the decision is not recorded.
        Outdated: it is a message, and not younger than the person's last word; it is not recorded.
        Unjudged: the verdict depends on people who are not in `others`; the decision is not recorded.
    """
    row = await runs.locked(session, run_id)
    known = await decisions(session, run_id)
    if last := next((one for one in known if one.user_id == decision.user_id and decision.outdated_by(one)), None):
        raise Outdated(last)
    require_waiting(row.run)
    before = [one for one in known if one.user_id != decision.user_id]
    void = await _make_void(session, run_id, before, request=decision.request, at=decision.at)
    said = [*await _heard_again(session, row.run, decision, before, others), decision]

    def move(run: Run) -> Run:
        gate = run.interlock.gate
        verdict = tally(run.required_approval, run.interlock.approvers, said, gate, decision.request)
        after = run.decided(decision, verdict)
        return _voided(after, decision.at) if void and verdict is Verdict.PENDING else after

    _, after = await runs.change(session, run_id, move, origin=origin, by_driver=by_driver, wakes=void, cause=cause)
    await _keep(session, run_id, decision)
    return after


async def reopen(session: AsyncSession, run_id: str, *, request: str | None, at: datetime) -> Run:
    """Let an approved run wait for approval again, because something else would be sent than was approved.

    Nothing happens to a run that has ended, or of which something may have been sent. `request` is the fingerprint of
    what would be sent now.

    Raises:
        NotFound: there is no such run.
    """
    row = await runs.locked(session, run_id)
    if row.delivered:
        return row.run

    def move(run: Run) -> Run:
        after = run.reopened(request=request, at=at)
        return run if after is run else _voided(after, at)

    before, after = await runs.change(session, run_id, move, origin="API", by_driver=True)
    if after is not before:
        line = "What would be sent has changed since the run was approved, so it waits for approval again"
        await runs.log(session, run_id, line, by=PLATFORM, at=at)
        await _make_void(session, run_id, await decisions(session, run_id), request=None, at=at, every=True)
    return after


async def escalate(session: AsyncSession, run_id: str, user_ids: Iterable[str], *, at: datetime) -> Run:
    """Let others decide, too; the very same run if it waits no more, or it was done already.

    Who asked for the run is left out where they may not decide about it.

    Raises:
        NotFound: there is no such run.
    """
    given = tuple(dict.fromkeys(user_ids))

    def move(run: Run) -> Run:
        gate = run.interlock.gate
        if run.status is not RunStatus.WAITING_FOR_APPROVAL or (gate and gate.escalated_at):
            return run
        return run.escalated(tuple(one for one in given if not is_barred(run, one)), at=at)

    _, after = await runs.change(session, run_id, move, origin="API", by_driver=True)
    return after


async def people_of(session: AsyncSession, people: People) -> list[str]:
    """The user ids of the active people named, by email address."""
    everybody = await users.everybody(session)
    return [user.id for user in everybody if user.status == "ACTIVE" and named(people, user)]


async def decisions(session: AsyncSession, run_id: str) -> list[Decision]:
    """Everybody's last word about the run; void ones are among them."""
    rows = await session.exec(select(DecisionRow.document).where(DecisionRow.run_id == run_id))
    return sorted((Decision.model_validate(row) for row in rows), key=lambda decision: decision.at)


async def _make_void(
    session: AsyncSession,
    run_id: str,
    said: Sequence[Decision],
    *,
    request: str | None,
    at: datetime,
    every: bool = False,
) -> bool:
    """Void the decisions that are about something else, with a line in the run's log; whether there were any."""
    stale = [one for one in said if one.void_at is None and (every or not one.counts(request))]
    for one in stale:
        await _keep(session, run_id, one.model_copy(update={"void_at": at}))
        line = f"The decision of {one.name} is void: what would be sent has changed"
        await runs.log(session, run_id, line, by=PLATFORM, at=at)
    return bool(stale)


async def _heard_again(
    session: AsyncSession,
    run: Run,
    decision: Decision,
    before: Sequence[Decision],
    others: Mapping[str, Standing | Denied],
) -> list[Decision]:
    """What others have said before, as far as it still counts where the decision completes the approval with it.

    Raises:
        Unjudged: some of them are not in `others`.
    """

    def completes(*said: Decision) -> bool:
        gate, request = run.interlock.gate, decision.request
        return tally(run.required_approval, run.interlock.approvers, said, gate, request) is Verdict.APPROVED

    if completes(decision) or not completes(*before, decision):
        return list(before)
    voters = [one for one in before if one.counts(decision.request) and not one.machine]
    if unjudged := {one.user_id for one in voters} - others.keys():
        raise Unjudged(unjudged)
    left = {one.user_id: narrowed(one, others[one.user_id], at=decision.at) for one in voters}
    for one in voters:
        now, why = left[one.user_id], others[one.user_id]
        if now is one:
            continue
        await _keep(session, run.id, now)
        line = f"The decision of {one.name} is void, as they may not decide any more: {now.lapsed}"
        if now.lapsed is None and isinstance(why, Standing):
            line = f"The decision of {one.name} counts for less than when it was made. By now: {why.allowed_by}"
        await runs.log(session, run.id, line, by=PLATFORM, at=decision.at)
    return [left.get(one.user_id, one) for one in before]


async def _keep(session: AsyncSession, run_id: str, decision: Decision) -> None:
    await session.merge(DecisionRow(run_id=run_id, user_id=decision.user_id, document=decision.model_dump(mode="json")))


def _voided(run: Run, at: datetime) -> Run:
    gate = (run.interlock.gate or Gate()).model_copy(update={"voided_at": at})
    return run.model_copy(update={"interlock": run.interlock.model_copy(update={"gate": gate})})
