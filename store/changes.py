"""The change log: what happened is added to it, and never changed."""

from sqlalchemy import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.changes import Change
from store.database import execute
from store.tables import ChangeRow, table

_INSERT = insert(table(ChangeRow))


async def append(session: AsyncSession, change: Change) -> None:
    """Record the change in the transaction of what it tells about."""
    await execute(
        session,
        _INSERT,
        {
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
        },
    )
