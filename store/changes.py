"""The change log: what happened is added to it, and never changed."""

from collections.abc import Sequence

from sqlalchemy import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.changes import Change
from store.columns import table
from store.database import execute
from store.tables import ChangeRow

_INSERT = insert(table(ChangeRow))


async def append(session: AsyncSession, change: Change) -> None:
    """Record the change in the transaction of what it tells about."""
    await append_all(session, [change])


async def append_all(session: AsyncSession, several: Sequence[Change]) -> None:
    """The same for several, in this order."""
    if several:
        await execute(session, _INSERT, [_row(change) for change in several])


def _row(change: Change) -> dict[str, object]:
    return {
        "id": change.id,
        "at": change.at,
        "resource_type": change.resource_type,
        "happening": change.action,
        "status": change.outcome,
        "origin": change.origin,
        "run_id": change.context.get("runId"),
        "action": change.context.get("action"),
        "blueprint": change.context.get("blueprint"),
        "entity": change.context.get("entity"),
        "webhook_id": change.context.get("webhookId"),
        "webhook_event_id": change.context.get("webhookEventId"),
        "installation_id": change.context.get("installationId"),
        "pending": False,
        "document": change.document(),
    }
