"""The audit log in SQL: the changes that pass filters and that the caller may see, and an end to old ones."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import ColumnElement, and_, or_, true
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.audit import FOR_EVERYBODY, Resource
from domain.changes import Outcome
from domain.documents import Document
from domain.runs import RunStatus
from store import timer_names
from store.automation_tables import AutomationWriteRow, ChangeDeliveryRow, FiringRow, HeldChangeRow, PendingChangeRow
from store.database import Database
from store.run_visibility import Viewer, visible_to
from store.tables import ChangeRow, RunRow

_BATCH = 500


@dataclass(frozen=True)
class Filters:
    """Which changes to list; all that are set must hold, an empty tuple is not set."""

    identifier: str | None = None
    entity: str | None = None
    blueprint: str | None = None
    run_id: str | None = None
    webhook_id: str | None = None
    webhook_event_id: str | None = None
    installation_id: str | None = None
    origins: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    """The last moment; to the millisecond, which is as much as clients are told."""
    action: str | None = None
    status: str | None = None
    limit: int = 100
    viewer: Viewer | None = None
    """Only what this person may see. None sees everything."""


async def listed(session: AsyncSession, filters: Filters) -> list[Document]:
    """The changes that pass every filter, newest first."""
    equal: tuple[tuple[Any, str | None], ...] = (
        (col(ChangeRow.id), filters.identifier),
        (col(ChangeRow.entity), filters.entity),
        (col(ChangeRow.blueprint), filters.blueprint),
        (col(ChangeRow.run_id), filters.run_id),
        (col(ChangeRow.webhook_id), filters.webhook_id),
        (col(ChangeRow.webhook_event_id), filters.webhook_event_id),
        (col(ChangeRow.installation_id), filters.installation_id),
        (col(ChangeRow.happening), filters.action),
    )
    conditions: list[ColumnElement[bool]] = [column == wanted for column, wanted in equal if wanted is not None]
    if filters.origins:
        conditions.append(col(ChangeRow.origin).in_(filters.origins))
    if filters.resources:
        conditions.append(col(ChangeRow.resource_type).in_(filters.resources))
    if filters.since is not None:
        conditions.append(col(ChangeRow.at) >= filters.since)
    if filters.until is not None:
        whole = filters.until.replace(microsecond=filters.until.microsecond // 1000 * 1000 + 999)
        conditions.append(col(ChangeRow.at) <= whole)
    if filters.status is not None:
        # As a literal, which the index of failures is found by.
        conditions.append(col(ChangeRow.status) == sa.literal(filters.status, literal_execute=True))
    if filters.viewer is not None:
        conditions.append(_seen(filters.viewer))
    rows = await session.exec(
        select(ChangeRow.document)
        .where(and_(true(), *conditions))
        .order_by(col(ChangeRow.at).desc(), col(ChangeRow.sequence).desc())
        .limit(filters.limit)
    )
    return cast(list[Document], list(rows))


async def purge(database: Database, *, before: datetime) -> int:
    """Delete what was recorded before a moment and nobody waits for, a little at a time; how much it was."""
    old = (
        sa.select(col(ChangeRow.sequence))
        .where(col(ChangeRow.at) < before, ~_awaited())
        .order_by(col(ChangeRow.at))
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    total = 0
    while True:
        async with database.write() as session:
            both = col(ChangeRow.id), col(ChangeRow.sequence)
            purged = delete(ChangeRow).where(col(ChangeRow.sequence).in_(old)).returning(*both)
            deleted = [(change_id, sequence) for change_id, sequence in await session.exec(purged)]
            ids, sequences = [one for one, _ in deleted], [one for _, one in deleted]
            await session.exec(delete(FiringRow).where(col(FiringRow.change_id).in_(ids)))
            await session.exec(delete(AutomationWriteRow).where(col(AutomationWriteRow.sequence).in_(sequences)))
            await timer_names.forget(session)
        total += len(deleted)
        if len(deleted) < _BATCH:
            return total


def _awaited() -> ColumnElement[bool]:
    """Whether automations have still to be asked about it, or it is being delivered, or a run it started goes on."""
    this, unfinished = col(ChangeRow.id), [status for status in RunStatus if not status.is_terminal]
    return or_(
        sa.exists().where(col(PendingChangeRow.change_id) == this),
        sa.exists().where(col(HeldChangeRow.change_id) == this),
        sa.exists().where(col(ChangeDeliveryRow.change_id) == this),
        sa.exists().where(
            col(FiringRow.change_id) == this,
            col(FiringRow.run_id) == col(RunRow.id),
            col(RunRow.status).in_(unfinished),
        ),
    )


def _seen(viewer: Viewer) -> ColumnElement[bool]:
    visible = sa.exists().where(col(RunRow.id) == col(ChangeRow.run_id), visible_to(viewer))
    return and_(
        col(ChangeRow.status) == Outcome.SUCCESS,
        or_(
            col(ChangeRow.resource_type).in_(FOR_EVERYBODY),
            and_(col(ChangeRow.resource_type) == Resource.RUN, visible),
        ),
    )
