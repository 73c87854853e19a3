"""The change log: what happened is added to it, and never changed."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.changes import Change
from domain.documents import Document
from store import pending_changes
from store.columns import table
from store.database import PlainInsert, execute, plainly
from store.tables import ChangeRow

_INSERT = PlainInsert(
    table(ChangeRow),
    "id", "at", "resource_type", "happening", "status", "origin", "run_id", "action", "blueprint", "entity",
    "webhook_id", "webhook_event_id", "installation_id", "pending", "document",
)  # fmt: skip
_GET = sa.select(table(ChangeRow).c.document).where(table(ChangeRow).c.id == sa.bindparam("this"))


async def append(session: AsyncSession, change: Change) -> None:
    """Record the change in the transaction of what it tells about."""
    await append_all(session, [change])


async def append_all(session: AsyncSession, several: Sequence[Change]) -> None:
    """The same for several, in this order."""
    if several:
        await plainly(session, _INSERT, [_row(change) for change in several], in_place=True)
        await pending_changes.note(session, several)


async def get(session: AsyncSession, change_id: str) -> Document | None:
    """The change, unless it was purged."""
    found = (await execute(session, _GET, {"this": change_id})).first()
    return found[0] if found else None


def _row(change: Change) -> tuple[object, ...]:
    says = change.context.get
    return (
        change.id, change.at, str(change.resource_type), str(change.action), str(change.outcome), str(change.origin),
        says("runId"), says("action"), says("blueprint"), says("entity"), says("webhookId"), says("webhookEventId"),
        says("installationId"), False, change.document(),
    )  # fmt: skip
