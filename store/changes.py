"""The change log: it is only ever added to."""

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
            "run_id": change.context.get("runId"),
            "action": change.context.get("action"),
            "pending": False,
            "document": change.document(),
        },
    )
