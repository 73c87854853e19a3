"""Runs in SQL: the row is the fact, and `change` is the only way its status moves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import bindparam, insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.causes import Cause
from domain.changes import Change
from domain.documents import Document
from domain.errors import NotFound
from domain.identifiers import RunId, new
from domain.rulings import Explanation
from domain.runs import LogLine, Run, RunStatus
from store import changes, claims, turns
from store.columns import table
from store.database import execute
from store.run_rows import as_run, queued
from store.tables import ActionRow, ClaimRow, RunLogRow, RunRow

# Statements of every run are made once, with parameters: making one costs as much as running it.
_RUNS, _ACTIONS, _CLAIMS = table(RunRow).c, table(ActionRow).c, table(ClaimRow).c
_LATER = {"restricted", "invoked_at", "queue", "claim_queue", "claimed_until", "look_up_at", "turn"}
_GIVEN = [column for column in _RUNS if column.name not in _LATER]
_INSERT = insert(table(RunRow)).from_select(
    [*(column.name for column in _GIVEN), "restricted"],
    sa.select(*(bindparam(column.name, type_=column.type) for column in _GIVEN), _ACTIONS.restricted)
    .where(_ACTIONS.id == bindparam("action_id"))
    .with_for_update(read=True),
)
"""Who may see a run is for its action to say, as it is when the transaction ends."""
_FIND = (
    sa.select(
        _RUNS.document,
        _ACTIONS.id,
        _CLAIMS.queue,
        _CLAIMS.claimed_until,
        _RUNS.turn,
        _RUNS.action_id,
        _RUNS.restricted,
        _RUNS.delivered,
    )
    .join_from(table(RunRow), table(ActionRow), _ACTIONS.id == _RUNS.action_id, isouter=True)
    .join(table(ClaimRow), _CLAIMS.run_id == _RUNS.id, isouter=True)
    .where(_RUNS.id == bindparam("this"))
)
_LOCK = (
    sa.select(
        _RUNS.document,
        _RUNS.revision,
        _RUNS.pending,
        _RUNS.pending_since,
        _RUNS.delivered,
        _RUNS.queue,
        _RUNS.turn,
    )
    .where(_RUNS.id == bindparam("this"))
    .with_for_update()
)
_UPDATE = update(table(RunRow)).where(_RUNS.id == bindparam("this"))


@dataclass(frozen=True)
class Request:
    """What makes a request to run something repeatable: its key, and a digest of what it asked for."""

    key: str
    digest: str


class KeyTaken(Exception):
    """Another request with the same idempotency key was faster."""


async def create(
    session: AsyncSession, run: Run, *, action_id: str, request: Request | None, explanation: Explanation | None = None
) -> None:
    """Insert the run and its change. Its workflow has still to be started.

    Raises:
        NotFound: the action was deleted meanwhile.
        KeyTaken: the idempotency key has made a run meanwhile.
    """
    document = run.document()
    row = _columns(run, document) | {
        "id": run.id,
        "revision": 0,
        "action_id": action_id,
        "action": run.action.identifier,
        "blueprint": run.blueprint.identifier if run.blueprint else None,
        "entity": run.entity.identifier if run.entity else None,
        "created_by": run.created_by,
        "source": run.source,
        "delivered": False,
        "created_at": run.created_at,
        "pending": None if run.status.is_terminal else "start",  # one that failed before it began has nobody to drive
        "pending_since": None if run.status.is_terminal else run.created_at,
        "idempotency_key": request.key if request else None,
        "request_digest": request.digest if request else None,
        "explanation": explanation.model_dump(mode="json") if explanation else None,
    }
    try:
        inserted = await execute(session, _INSERT, row)
    except IntegrityError:
        if request is None:
            raise
        raise KeyTaken(run.id) from None
    if not inserted.rowcount:
        raise NotFound("Action", run.action.identifier)
    await changes.append(session, Change.of_run(None, document, run, origin=run.source))


@dataclass(frozen=True)
class Found:
    """A run, and what its row knows about its action."""

    run: Run
    action_id: str
    restricted: bool
    """Whether only some may see it."""
    delivered: bool
    """Whether its backend has accepted it and works on it."""
    turn: str | None = None
    """Whether it waits for its turn, or has it."""


async def get(session: AsyncSession, run_id: str) -> Run:
    """The run.

    Raises:
        NotFound: there is none.
    """
    return (await find(session, run_id)).run


async def find(session: AsyncSession, run_id: str) -> Found:
    """The run and what its row knows about its action.

    Raises:
        NotFound: there is no such run.
    """
    found = (await execute(session, _FIND, {"this": run_id})).first()
    if found is None:
        raise NotFound("Run", run_id)
    *stored, action_id, restricted, delivered = found
    return Found(as_run(*stored), action_id, restricted, delivered, found.turn)


async def explanation(session: AsyncSession, run_id: str) -> Explanation:
    """Why the run was let through; empty for one that nobody asked for, or that is older than explanations."""
    found = (await session.exec(select(RunRow.explanation).where(RunRow.id == run_id))).first()
    return Explanation.model_validate(found or {})


async def by_key(session: AsyncSession, key: str) -> tuple[Run, str] | None:
    """The run an idempotency key made, and the digest of the request that made it."""
    found = (await session.exec(select(RunRow.id, RunRow.request_digest).where(RunRow.idempotency_key == key))).first()
    return (await get(session, found[0]), found[1] or "") if found else None


async def change(
    session: AsyncSession,
    run_id: str,
    move: Callable[[Run], Run],
    *,
    origin: str,
    by_driver: bool = False,
    delivered: bool = False,
    wakes: bool = False,
    cause: Cause | None = None,
    waits: Mapping[str, Any] | None = None,
) -> tuple[Run, Run]:
    """Compare and set: the run before and after `move`, and the change that tells of it, in one transaction.

    Nothing is written when `move` gives the same run back. When the move is one the workflow waits for, another status
    or any change that `wakes`, the row says that it has to be woken, unless the workflow itself asked (`by_driver`).
    With `delivered` the row also remembers that the backend has accepted the run, and with `waits`
    (`store.claims.awaited`) what it waits for, if it is in progress now. A `cause` is another run that makes somebody
    change this one.

    Raises:
        NotFound: there is no such run.
        InterlockError: whatever `move` refuses with; nothing is written then.
    """
    row = await locked(session, run_id)
    before, after = row.run, move(row.run)
    # Once: an attempt that comes late offers nobody again what somebody has taken.
    waits = waits if waits and after.status is RunStatus.IN_PROGRESS and row.queue is None else {}
    if after is before and not delivered and not waits and not (by_driver and row.pending):
        return before, after
    document = row.document
    if after is not before:
        document = after.document()
        change = Change.of_run(row.document, document, after, origin=origin)
        if cause and cause.next_depth > change.depth:
            change = change._replace(caused_by=cause.run_id, depth=cause.next_depth)
        await changes.append(session, change)
    pending, since = row.pending, row.pending_since
    if by_driver:
        pending, since = None, None
    elif after.status is not before.status or (wakes and after is not before and not after.status.is_terminal):
        pending, since = "wake", after.updated_at  # which starts it too, if it must be
    values = {
        "this": run_id,
        "revision": row.revision + (after is not before),
        "pending": pending,
        "pending_since": since,
        "delivered": row.delivered or delivered,
    }
    if after.status.is_terminal:
        values["look_up_at"] = None  # nobody is asked about it any more
        if row.queue is not None and await claims.leave(session, run_id):
            values["delivered"] = False  # nobody has taken it
    if row.turn is not None and after.status is not RunStatus.IN_PROGRESS:
        values["turn"] = None
        await turns.leave(session, run_id, at=after.updated_at)
    await execute(session, _UPDATE, {**values, **_columns(after, document), **waits})
    if queue := waits.get("queue"):
        await claims.offer(session, run_id, queue)
    return before, after if row.queue is None else await claims.shown(session, after)


async def waiting_for(session: AsyncSession, action_id: str) -> Sequence[str]:
    """The ids of the runs of an action that wait for approval."""
    rows = await session.exec(
        select(RunRow.id).where(RunRow.action_id == action_id, RunRow.status == RunStatus.WAITING_FOR_APPROVAL)
    )
    return rows.all()


async def log(session: AsyncSession, run_id: str, message: str, *, by: str, at: datetime) -> LogLine:
    """Add a line to the run's log."""
    line = LogLine(id=new("log"), run_id=RunId(run_id), message=message, created_by=by, created_at=at)
    session.add(RunLogRow(run_id=run_id, document=line.model_dump(mode="json")))
    return line


async def last_logged(session: AsyncSession, run_id: str) -> str | None:
    """The last line of the run's log."""
    rows = select(RunLogRow.document).where(RunLogRow.run_id == run_id).order_by(col(RunLogRow.sequence).desc())
    found = (await session.exec(rows.limit(1))).first()
    return LogLine.model_validate(found).message if found else None


async def logs(session: AsyncSession, run_id: str, *, limit: int, offset: int) -> list[Document]:
    """The lines of the run's log, oldest first."""
    rows = await session.exec(
        select(RunLogRow.document)
        .where(RunLogRow.run_id == run_id)
        .order_by(col(RunLogRow.sequence))
        .limit(limit)
        .offset(offset)
    )
    return cast(list[Document], list(rows))


async def unfinished(session: AsyncSession, *, after: str, limit: int) -> Sequence[str]:
    """The ids of runs that have not ended and whose workflow should be there, in order of id."""
    rows = await session.exec(
        select(RunRow.id)
        .where(
            col(RunRow.status).in_([status for status in RunStatus if not status.is_terminal]),
            col(RunRow.pending).is_(None),
            col(RunRow.id) > after,
        )
        .order_by(col(RunRow.id))
        .limit(limit)
    )
    return rows.all()


@dataclass(frozen=True)
class Locked:
    """A run whose row nobody else changes until the transaction ends."""

    run: Run
    document: Document
    revision: int
    pending: str | None
    pending_since: datetime | None
    delivered: bool
    queue: str | None
    turn: str | None


async def locked(session: AsyncSession, run_id: str) -> Locked:
    """The run, for this transaction alone.

    Raises:
        NotFound: there is none.
    """
    found = (await execute(session, _LOCK, {"this": run_id})).first()
    if found is None:
        raise NotFound("Run", run_id)
    return Locked(queued(Run.model_validate(found[0]), found.turn), *found)


def _columns(run: Run, document: Document) -> dict[str, Any]:
    return {"status": run.status, "external_run_id": run.external_run_id, "document": document}
