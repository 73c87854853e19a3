"""Runs in SQL: the row is the fact, and `change` is the only way its status moves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import CursorResult, and_, bindparam, func, insert, or_, true
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.approvals import Decision, tally
from domain.changes import Change
from domain.documents import Document
from domain.errors import NotFound
from domain.identifiers import RunId, new
from domain.runs import LogLine, Run, RunStatus
from store import changes
from store.tables import ActionRow, DecisionRow, RunLogRow, RunRow, table

Pending = Literal["start", "wake"]

_INSERT = insert(table(RunRow))
"""Made once: values given as parameters keep the statement the same, so that it is compiled once, too."""


@dataclass(frozen=True)
class Request:
    """What makes a request to run something repeatable: its key, and a digest of what it asked for."""

    key: str
    digest: str


class KeyTaken(Exception):
    """Another request with the same idempotency key was faster."""


@dataclass(frozen=True)
class Filters:
    """Which runs to list; all that are set must hold."""

    entity: str | None = None
    blueprint: str | None = None
    action: str | None = None
    active: bool | None = None
    user_ids: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    external_run_id: str | None = None
    limit: int = 50
    seen_by: str | None = None
    """Only runs this user may see: their own, those of unrestricted actions, and those of `approvable`."""
    approvable: tuple[str, ...] = ()


async def create(session: AsyncSession, run: Run, *, action_id: str, restricted: bool, request: Request | None) -> None:
    """Insert the run and its change. Its workflow has still to be started.

    Raises:
        KeyTaken: the idempotency key has made a run meanwhile.
    """
    row = _columns(run) | {
        "id": run.id,
        "revision": 0,
        "action_id": action_id,
        "action": run.action.identifier,
        "blueprint": run.blueprint.identifier if run.blueprint else None,
        "entity": run.entity.identifier if run.entity else None,
        "created_by": run.created_by,
        "source": run.source,
        "restricted": restricted,
        "created_at": run.created_at,
        "pending": "start",
        "pending_since": run.created_at,
        "idempotency_key": request.key if request else None,
        "request_digest": request.digest if request else None,
    }
    try:
        await session.exec(_INSERT, params=row)
    except IntegrityError:
        if request is None:
            raise
        raise KeyTaken(run.id) from None
    await changes.append(session, Change.of_run(None, run, origin=run.source))


@dataclass(frozen=True)
class Found:
    """A run, and what its row knows about its action."""

    run: Run
    action_id: str
    restricted: bool
    """Whether only some may see it."""


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
    found = (
        await session.exec(
            select(RunRow.document, RunRow.action_id, RunRow.restricted, ActionRow.id)
            .join(ActionRow, col(ActionRow.id) == col(RunRow.action_id), isouter=True)
            .where(RunRow.id == run_id)
        )
    ).first()
    if found is None:
        raise NotFound("Run", run_id)
    document, action_id, restricted, existing = found
    return Found(_run(cast(Document, document), deleted=existing is None), action_id, restricted)


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
) -> tuple[Run, Run]:
    """Compare and set: the run before and after `move`, and the change that tells of it, in one transaction.

    Nothing is written when `move` gives the same run back. When the move is one the workflow waits for,
    the row says that it has to be woken, unless the workflow itself asked (`by_driver`).

    Raises:
        NotFound: there is no such run.
        InterlockError: whatever `move` refuses with; nothing is written then.
    """
    row = await _locked(session, run_id)
    before, after = row.run, move(row.run)
    if after is before and not (by_driver and row.pending):
        return before, after
    values: dict[str, Any] = {}
    if by_driver:
        values |= {"pending": None, "pending_since": None}
    elif after.status is not before.status:
        values |= {"pending": "wake", "pending_since": after.updated_at}  # which starts it too, if it must be
    if after is not before:
        values |= _columns(after) | {"revision": row.revision + 1}
        await changes.append(session, Change.of_run(before, after, origin=origin))
    runs = table(RunRow)
    await session.exec(update(runs).where(runs.c.id == bindparam("this")), params={"this": run_id, **values})
    return before, after


async def decide(
    session: AsyncSession, run_id: str, decision: Decision, *, origin: str, by_driver: bool = False
) -> Run:
    """Record one person's word, and what follows from all of them.

    Raises:
        NotFound: there is no such run.
        RunNotWaitingForApproval: nobody is asked (any more); the decision is not recorded.
    """
    await _locked(session, run_id)
    said = [one for one in await decisions(session, run_id) if one.user_id != decision.user_id]

    def move(run: Run) -> Run:
        return run.decided(decision, tally(run.required_approval, run.interlock.approvers, [*said, decision]))

    _, after = await change(session, run_id, move, origin=origin, by_driver=by_driver)
    await session.merge(DecisionRow(run_id=run_id, user_id=decision.user_id, document=decision.model_dump(mode="json")))
    return after


async def decisions(session: AsyncSession, run_id: str) -> list[Decision]:
    """Everybody's last word about the run."""
    rows = await session.exec(select(DecisionRow.document).where(DecisionRow.run_id == run_id))
    return sorted((Decision.model_validate(row) for row in rows), key=lambda decision: decision.at)


async def listed(session: AsyncSession, filters: Filters) -> list[Run]:
    """The runs that pass every filter, newest first."""
    of_action = select(ActionRow.id).where(ActionRow.identifier == filters.action)
    conditions = [
        filters.entity is None or col(RunRow.entity) == filters.entity,
        filters.blueprint is None or col(RunRow.blueprint) == filters.blueprint,
        filters.action is None or or_(col(RunRow.action) == filters.action, col(RunRow.action_id).in_(of_action)),
        not filters.active or col(RunRow.status).in_([status for status in RunStatus if not status.is_terminal]),
        filters.user_ids is None or col(RunRow.created_by).in_(filters.user_ids),
        filters.sources is None or col(RunRow.source).in_(filters.sources),
        filters.external_run_id is None or col(RunRow.external_run_id) == filters.external_run_id,
        filters.seen_by is None
        or or_(
            col(RunRow.created_by) == filters.seen_by,
            col(RunRow.action_id).in_(filters.approvable),
            ~col(RunRow.restricted),
        ),
    ]
    rows = await session.exec(
        select(RunRow.document, ActionRow.id)
        .join(ActionRow, col(ActionRow.id) == col(RunRow.action_id), isouter=True)
        .where(and_(true(), *(condition for condition in conditions if condition is not True)))
        .order_by(col(RunRow.created_at).desc(), col(RunRow.id))
        .limit(filters.limit)
    )
    return [_run(cast(Document, document), deleted=action is None) for document, action in rows]


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


async def leased(session: AsyncSession, *, before: datetime, now: datetime, limit: int) -> list[tuple[Run, Pending]]:
    """Runs whose workflow has been kept waiting since before a moment; they count as just asked for from now on.

    Several relays may ask at once: each row goes to one of them until it is overdue again.
    """
    rows = (
        await session.exec(
            select(RunRow)
            .where(col(RunRow.pending).is_not(None), col(RunRow.pending_since) < before)
            .order_by(col(RunRow.pending_since))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ).all()
    await session.exec(update(RunRow).where(col(RunRow.id).in_([row.id for row in rows])).values(pending_since=now))
    return [(Run.model_validate(row.document), cast(Pending, row.pending)) for row in rows]


async def told(session: AsyncSession, run_ids: Sequence[str], what: Pending) -> int:
    """Note that the workflows of these runs have been started or woken; how many had been waiting for it."""
    result = await session.exec(
        update(RunRow)
        .where(col(RunRow.id).in_(run_ids), col(RunRow.pending) == what)
        .values(pending=None, pending_since=None)
    )
    return cast("CursorResult[Any]", result).rowcount


async def untold(session: AsyncSession, run_ids: Sequence[str], *, now: datetime) -> None:
    """Note that the workflows of these runs have to be started (again)."""
    await session.exec(
        update(RunRow)
        .where(col(RunRow.id).in_(run_ids), col(RunRow.pending).is_(None))
        .values(pending="start", pending_since=now)
    )


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


async def count_pending(session: AsyncSession) -> int:
    """How many workflows have still to be told something."""
    return (await session.exec(select(func.count()).where(col(RunRow.pending).is_not(None)))).one()


@dataclass(frozen=True)
class _Locked:
    run: Run
    revision: int
    pending: str | None


async def _locked(session: AsyncSession, run_id: str) -> _Locked:
    found = (
        await session.exec(
            select(RunRow.document, RunRow.revision, RunRow.pending).where(RunRow.id == run_id).with_for_update()
        )
    ).first()
    if found is None:
        raise NotFound("Run", run_id)
    document, revision, pending = found
    return _Locked(Run.model_validate(document), revision, pending)


def _columns(run: Run) -> dict[str, Any]:
    return {"status": run.status, "external_run_id": run.external_run_id, "document": run.document()}


def _run(document: Document, *, deleted: bool) -> Run:
    run = Run.model_validate(document)
    return run.model_copy(update={"action": run.action.model_copy(update={"deleted": True})}) if deleted else run
