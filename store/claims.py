"""Runs that wait for somebody to claim them, or to be looked up: columns beside the document, so nothing is recorded.

Source: claim-pending and ack of the runs API, as the execution agent and Ocean use them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.documents import Document
from domain.errors import NotFound, RunTaken
from domain.runs import Run
from store import reservations
from store.bell import CLAIMS
from store.columns import table
from store.database import RINGS_CLAIMS, execute
from store.tables import RunRow

_TABLE = table(RunRow)
_RUNS = _TABLE.c
_FREE = (_RUNS.claim_queue == bindparam("queue")) & (
    _RUNS.claimed_until.is_(None) | (_RUNS.claimed_until <= bindparam("at"))
)
_THESE = _RUNS.id.in_(bindparam("ids", expanding=True))
_OTHERS = _RUNS.action.not_in(bindparam("exclude", expanding=True))
_CLAIM = (
    sa.select(_RUNS.id, _RUNS.document, _RUNS.action_id)
    .where(_FREE)
    .order_by(_RUNS.created_at, _RUNS.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_CLAIM_BUT = _CLAIM.where(_OTHERS)
_ANY = sa.select(_RUNS.id).where(_FREE).limit(1)
_ANY_BUT = _ANY.where(_OTHERS)
_TAKE = sa.update(_TABLE).where(_THESE).values(claimed_until=bindparam("until"))
_RELEASE = sa.update(_TABLE).where(_THESE, _RUNS.claimed_until == bindparam("until")).values(claimed_until=None)
_CLAIMED = (
    sa.select(_RUNS.id)
    .where(_THESE, _RUNS.claim_queue.is_not(None), _RUNS.claimed_until.is_not(None))
    .order_by(_RUNS.id)
    .with_for_update()
)
_ACKNOWLEDGE = sa.update(_TABLE).where(_THESE).values(claim_queue=None, claimed_until=None)
_EXISTS = sa.select(_RUNS.id).where(_RUNS.id == bindparam("this"))
_WAIT = sa.update(_TABLE).where(_RUNS.id == bindparam("this"))
_DUE = (
    sa.select(_RUNS.document, _RUNS.action_id, _RUNS.invoked_at)
    .where(_RUNS.look_up_at <= bindparam("at"))
    .order_by(_RUNS.look_up_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_LOOK_AT = sa.update(_TABLE).where(_THESE, _RUNS.look_up_at.is_not(None)).values(look_up_at=bindparam("next"))
_HANDED = sa.select(_RUNS.document, _RUNS.action_id, _RUNS.delivered, _RUNS.invoked_at, _RUNS.external_run_id).where(
    _RUNS.id == bindparam("this")
)
_LATE = (
    sa.update(_TABLE)
    .where(_RUNS.id == bindparam("this"))
    .values(
        external_run_id=sa.func.coalesce(_RUNS.external_run_id, bindparam("external")),
        invoked_at=sa.func.coalesce(_RUNS.invoked_at, bindparam("at", type_=_RUNS.invoked_at.type)),
    )
)
_NOTIFY = sa.text(f"SELECT pg_notify('{CLAIMS}', '')")


@dataclass(frozen=True)
class Claimed:
    """A run that is the claimer's for a while."""

    id: str
    document: Document
    action_id: str


@dataclass(frozen=True)
class Due:
    """A run whose backend is to be asked what became of it."""

    run: Run
    action_id: str
    invoked_at: datetime


@dataclass(frozen=True)
class Handed:
    """A run that its backend has accepted, or that somebody has taken."""

    run: Run
    action_id: str
    invoked_at: datetime
    external_run_id: str | None
    """Also if it was known only when the run had ended."""


async def wait(
    session: AsyncSession, run_id: str, *, queue: str | None, look_up_at: datetime | None, at: datetime
) -> None:
    """Let the run wait to be claimed, to be looked up, or both, since now. It must not have ended."""
    values = {"this": run_id, "claim_queue": queue, "claimed_until": None, "look_up_at": look_up_at, "invoked_at": at}
    await execute(session, _WAIT, values | {"delivered": True})
    if queue is not None:
        session.info[RINGS_CLAIMS] = True
        if session.get_bind().dialect.name == "postgresql":
            await execute(session, _NOTIFY, {})


async def waiting(session: AsyncSession, queue: str, *, at: datetime, exclude: Collection[str] = ()) -> bool:
    """Whether there is anything to claim."""
    asked = {"queue": queue, "at": at}
    statement, asked = (_ANY_BUT, {**asked, "exclude": list(exclude)}) if exclude else (_ANY, asked)
    return (await execute(session, statement, asked)).first() is not None


async def claim(
    session: AsyncSession,
    queue: str,
    *,
    at: datetime,
    until: datetime,
    limit: int,
    exclude: Collection[str] = (),
) -> list[Claimed]:
    """The runs that have waited longest and that nobody has; until a moment they are the caller's.

    Several may ask at once: nobody waits, and no run goes to two of them.

    Args:
        session: that writes.
        queue: where they wait.
        at: now: who was to have a run only until then has it no more.
        until: how long they are the caller's.
        limit: how many at most.
        exclude: identifiers of actions whose runs are not wanted.
    """
    asked = {"queue": queue, "at": at, "most": limit}
    statement, asked = (_CLAIM_BUT, {**asked, "exclude": list(exclude)}) if exclude else (_CLAIM, asked)
    found = await session.exec(statement, params=asked)  # type: ignore[call-overload]
    claimed = [Claimed(*row) for row in found]
    if claimed:
        await execute(session, _TAKE, {"ids": [one.id for one in claimed], "until": until})
    return claimed


async def release(session: AsyncSession, run_ids: Collection[str], *, until: datetime) -> None:
    """Offer again, at once, those of these that are still claimed until that moment."""
    await execute(session, _RELEASE, {"ids": list(run_ids), "until": until})


async def acknowledge(session: AsyncSession, run_ids: Collection[str]) -> int:
    """Take these out of their queues for good; how many of them were claimed and nobody had taken yet."""
    free = (await execute(session, _CLAIMED, {"ids": sorted(set(run_ids))})).scalars().all()
    if free:
        await execute(session, _ACKNOWLEDGE, {"ids": list(free)})
    return len(free)


async def acknowledge_one(session: AsyncSession, run_id: str) -> None:
    """The same for one run.

    Raises:
        RunTaken: it is somebody else's by now, has ended, or nobody has claimed it.
        NotFound: there is no such run.
    """
    if await acknowledge(session, [run_id]):
        return
    if (await execute(session, _EXISTS, {"this": run_id})).first() is None:
        raise NotFound("Run", run_id)
    raise RunTaken(f"run {run_id} is not to be had: it was acknowledged before, has ended, or was not claimed")


async def due(session: AsyncSession, *, at: datetime, leased_until: datetime, limit: int) -> Sequence[Due]:
    """The runs whose backends are to be asked by now; nobody else asks until the lease ends."""
    found = await session.exec(_DUE, params={"at": at, "most": limit})  # type: ignore[call-overload]
    runs = [Due(Run.model_validate(document), action_id, invoked_at or at) for document, action_id, invoked_at in found]
    if runs:
        await look_at(session, [one.run.id for one in runs], leased_until)
    return runs


async def handed_over(session: AsyncSession, run_id: str, external_run_id: str | None, *, at: datetime) -> None:
    """Note what a backend has answered for a run that had ended by then; the run itself does not change any more."""
    await execute(session, _LATE, {"this": run_id, "external": external_run_id, "at": at})


async def handed(session: AsyncSession, run_id: str) -> Handed | None:
    """The run and by what its backend knows it; None: no backend has it.

    Raises:
        NotFound: there is no such run.
    """
    found = (await execute(session, _HANDED, {"this": run_id})).first()
    if found is None:
        raise NotFound("Run", run_id)
    document, action_id, delivered, invoked_at, external_run_id = found
    run = Run.model_validate(document)
    # Who died between sending and recording has left a note that it was about to send.
    since = invoked_at or run.updated_at if delivered else await reservations.begun(session, run.id)
    return Handed(run, action_id, since, external_run_id) if since else None


async def look_at(session: AsyncSession, run_ids: Sequence[str], moment: datetime) -> None:
    """Have the backends of these asked then, unless nobody asks about them any more."""
    await execute(session, _LOOK_AT, {"ids": list(run_ids), "next": moment})
