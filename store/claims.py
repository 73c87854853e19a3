"""Runs that wait for somebody to claim them, or to be looked up: beside the document, so nothing is recorded.

Who waits to be claimed has a row of its own, so that a claim writes as little as it says. The order of locks, for
PostgreSQL: the row of the run, then that row; who claims or acknowledges locks no row of a run.

Source: claim-pending and ack of the runs API, as the execution agent and Ocean use them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.documents import Document
from domain.errors import NotFound, RunTaken
from domain.runs import Run, RunStatus
from store import reservations
from store.bell import CLAIMS
from store.columns import table
from store.database import RINGS_CLAIMS, execute
from store.run_rows import as_claimed
from store.tables import ClaimRow, RunRow

_RUN_TABLE, _TABLE = table(RunRow), table(ClaimRow)
_RUNS, _CLAIMS = _RUN_TABLE.c, _TABLE.c
_THIS: sa.BindParameter[Any] = bindparam("this")
_THESE: sa.BindParameter[Any] = bindparam("ids", expanding=True)
_UNTIL: sa.BindParameter[Any] = bindparam("until", type_=_CLAIMS.claimed_until.type)
_FREE = (_CLAIMS.queue == bindparam("of")) & (
    _CLAIMS.claimed_until.is_(None) | (_CLAIMS.claimed_until <= bindparam("at"))
)
_OTHERS = _CLAIMS.action.not_in(bindparam("exclude", expanding=True))
_ANY = sa.select(_CLAIMS.run_id).where(_FREE).limit(1)
_ANY_BUT = _ANY.where(_OTHERS)
_OLDEST = sa.select(_CLAIMS.run_id).where(_FREE).order_by(_CLAIMS.created_at, _CLAIMS.run_id).limit(bindparam("most"))
_OLDEST_BUT = _OLDEST.where(_OTHERS)
_GIVEN = (_RUNS.id, _RUNS.document, _RUNS.action_id, _RUNS.status)
_READ = (
    sa.select(*_GIVEN)
    .join_from(_TABLE, _RUN_TABLE, _RUNS.id == _CLAIMS.run_id)
    .where(_FREE)
    .order_by(_CLAIMS.created_at, _CLAIMS.run_id)
    .limit(bindparam("most"))
)
_READ_BUT = _READ.where(_OTHERS)
_TAKE, _TAKE_BUT = (
    sa.update(_TABLE).where(_CLAIMS.run_id.in_(oldest)).values(claimed_until=_UNTIL)
    for oldest in (_OLDEST, _OLDEST_BUT)
)
"""Those that were read: on SQLite nobody else writes meanwhile."""
_RELEASE = (
    sa.update(_TABLE).where(_CLAIMS.run_id.in_(_THESE), _CLAIMS.claimed_until == _UNTIL).values(claimed_until=None)
)
_CLAIMED = (
    sa.select(_CLAIMS.run_id)
    .where(_CLAIMS.run_id.in_(_THESE), _CLAIMS.claimed_until.is_not(None))
    .order_by(_CLAIMS.run_id)
    .with_for_update()
)
_REMOVE = sa.delete(_TABLE).where(_CLAIMS.run_id.in_(_THESE))
_LEAVE = sa.delete(_TABLE).where(_CLAIMS.run_id == _THIS)
_SHOWN = sa.select(_CLAIMS.queue, _CLAIMS.claimed_until).where(_CLAIMS.run_id == _THIS)
_EXISTS = sa.select(_RUNS.id).where(_RUNS.id == _THIS)
_OF_RUN = sa.select(_RUNS.id, bindparam("of", type_=sa.String()), _RUNS.action, _RUNS.created_at).where(
    _RUNS.id == _THIS
)
_COLUMNS = ["run_id", "queue", "action", "created_at"]
_OFFERS: dict[str, Any] = {
    "sqlite": sqlite.insert(_TABLE).from_select(_COLUMNS, _OF_RUN),
    # Who claims is told when the transaction ends.
    "postgresql": postgresql.insert(_TABLE)
    .from_select(_COLUMNS, _OF_RUN)
    .returning(sa.func.pg_notify(CLAIMS, "", type_=sa.String())),
}
_FOLLOW = (
    sa.update(_TABLE)
    .where(_CLAIMS.run_id.in_(sa.select(_RUNS.id).where(_RUNS.action_id == _THIS)))
    .values(action=bindparam("called"))
)
_IS_LEFT_BEHIND = sa.and_(
    _RUNS.claim_queue.is_not(None), _RUNS.claimed_until.is_(None) | (_RUNS.claimed_until <= bindparam("at"))
)
_ANY_LEFT_BEHIND = sa.select(_RUNS.id).where(_IS_LEFT_BEHIND).limit(1)
_LEFT_BEHIND = (
    sa.select(_RUNS.id, _RUNS.claim_queue, _RUNS.action, _RUNS.created_at, _RUNS.status)
    .where(_IS_LEFT_BEHIND)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_MOVED = (
    sa.update(_RUN_TABLE)
    .where(_RUNS.id.in_(_THESE))
    .values(queue=_RUNS.claim_queue, claim_queue=None, claimed_until=None)
)
_DUE = (
    sa.select(_RUNS.document, _RUNS.action_id, _RUNS.invoked_at)
    .where(_RUNS.look_up_at <= bindparam("at"))
    .order_by(_RUNS.look_up_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_LOOK_AT = (
    sa.update(_RUN_TABLE)
    .where(_RUNS.id.in_(_THESE), _RUNS.look_up_at.is_not(None))
    .values(look_up_at=bindparam("next"))
)  # fmt: skip
_HANDED = sa.select(_RUNS.document, _RUNS.action_id, _RUNS.delivered, _RUNS.invoked_at, _RUNS.external_run_id).where(
    _RUNS.id == _THIS
)
_LATE = (
    sa.update(_RUN_TABLE)
    .where(_RUNS.id == _THIS)
    .values(
        external_run_id=sa.func.coalesce(_RUNS.external_run_id, bindparam("external")),
        invoked_at=sa.func.coalesce(_RUNS.invoked_at, bindparam("at", type_=_RUNS.invoked_at.type)),
    )
)


def _at_once(oldest: sa.Select[Any]) -> sa.Select[Any]:
    """Claim and read in one statement, which PostgreSQL can."""
    mine = oldest.with_for_update(skip_locked=True).cte("mine")
    taken = (
        sa.update(_TABLE)
        .where(_CLAIMS.run_id == mine.c.run_id)
        .values(claimed_until=_UNTIL)
        .returning(_CLAIMS.run_id, _CLAIMS.created_at)
        .cte("taken")
    )
    return (
        sa.select(*_GIVEN)
        .join_from(taken, _RUN_TABLE, _RUNS.id == taken.c.run_id)
        .order_by(taken.c.created_at, taken.c.run_id)
    )


_CLAIM, _CLAIM_BUT = _at_once(_OLDEST), _at_once(_OLDEST_BUT)
_FEW = 100
"""How many documents SQLite reads in the event loop: a thread is worth its while for more."""


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


def awaited(*, queue: str | None, look_up_at: datetime | None, at: datetime) -> Mapping[str, Any]:
    """What the row of a run has when it waits to be claimed, to be looked up, or both, since now."""
    return {"queue": queue, "look_up_at": look_up_at, "invoked_at": at, "delivered": True}


async def offer(session: AsyncSession, run_id: str, queue: str) -> None:
    """Let the run be claimed, which is `awaited` since this transaction; its row is locked by it."""
    await execute(session, _OFFERS[session.get_bind().dialect.name], {"this": run_id, "of": queue})
    session.info[RINGS_CLAIMS] = True


async def leave(session: AsyncSession, run_id: str) -> bool:
    """Let nobody claim the run any more, which ends; whether nobody has taken it."""
    return bool((await execute(session, _LEAVE, {"this": run_id})).rowcount)


async def shown(session: AsyncSession, run: Run) -> Run:
    """The run with whether somebody has to claim it, and has."""
    if run.status.is_terminal:
        return run
    found = (await execute(session, _SHOWN, {"this": run.id})).first()
    return as_claimed(run, *found) if found else run


async def follow(session: AsyncSession, action_id: str, identifier: str) -> None:
    """The action of these runs is called otherwise now."""
    await execute(session, _FOLLOW, {"this": action_id, "called": identifier})


async def waiting(session: AsyncSession, queue: str, *, at: datetime, exclude: Collection[str] = ()) -> bool:
    """Whether there is anything to claim."""
    asked = {"of": queue, "at": at}
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
    asked = {"of": queue, "at": at, "most": limit} | ({"exclude": list(exclude)} if exclude else {})
    if session.get_bind().dialect.name == "postgresql":
        claimed = await execute(session, _CLAIM_BUT if exclude else _CLAIM, {**asked, "until": until})
    elif limit <= _FEW:
        claimed = await execute(session, _READ_BUT if exclude else _READ, asked)
    else:
        claimed = await session.exec(_READ_BUT if exclude else _READ, params=asked)  # type: ignore[call-overload]
    rows = claimed.all()
    if rows and session.get_bind().dialect.name == "sqlite":
        await execute(session, _TAKE_BUT if exclude else _TAKE, {**asked, "until": until})
    # A process of before `claims` ends runs without taking them out.
    ended = [row.id for row in rows if RunStatus(row.status).is_terminal]
    if ended:
        await execute(session, _REMOVE, {"ids": ended})
    return [Claimed(row.id, row.document, row.action_id) for row in rows if row.id not in ended]


async def release(session: AsyncSession, run_ids: Collection[str], *, until: datetime) -> None:
    """Offer again, at once, those of these that are still claimed until that moment."""
    await execute(session, _RELEASE, {"ids": list(run_ids), "until": until})


async def acknowledge(session: AsyncSession, run_ids: Collection[str]) -> int:
    """Take these out of their queues for good; how many of them were claimed and nobody had taken yet."""
    free = (await execute(session, _CLAIMED, {"ids": sorted(set(run_ids))})).scalars().all()
    if free:
        await execute(session, _REMOVE, {"ids": list(free)})
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


async def left_behind(session: AsyncSession, *, at: datetime) -> bool:
    """Whether there is anything to `move`."""
    return (await execute(session, _ANY_LEFT_BEHIND, {"at": at})).first() is not None


async def move(session: AsyncSession, *, at: datetime, limit: int) -> int:
    """Give a row to runs that a process of before `claims` lets wait; how many there were. Nobody has them now."""
    found = (await execute(session, _LEFT_BEHIND, {"at": at, "most": limit})).all()
    rows = [
        {"run_id": run_id, "queue": queue, "action": action, "created_at": created_at}
        for run_id, queue, action, created_at, status in found
        if status == RunStatus.IN_PROGRESS
    ]
    if found:
        await execute(session, _MOVED, {"ids": [row.id for row in found]})
    if rows:
        await execute(session, sa.insert(_TABLE), rows)
        session.info[RINGS_CLAIMS] = True
    return len(found)


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
