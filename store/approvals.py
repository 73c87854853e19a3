"""Approvals in SQL: everybody's last word about a run, and what follows from it."""

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.approvals import Decision, tally
from domain.causes import Cause
from domain.runs import Run
from store import runs
from store.tables import DecisionRow


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
