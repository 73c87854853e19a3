"""The change log: what happened is added to it, and never changed."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.changes import Change
from domain.documents import Document
from store import pending_changes
from store.columns import JsonText, table
from store.database import execute, json_text
from store.plain_inserts import PlainInsert, Row, insert_all
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
        await insert_all(session, rows((change, None) for change in several))
        await pending_changes.note(session, several)


def rows(several: Iterable[tuple[Change, str | None]]) -> tuple[PlainInsert, Sequence[Row]]:
    """What has to be inserted of changes; a text is what there is now, as JSON, for who has that already.

    Whoever inserts it notes the changes, too: see `store.pending_changes`.
    """
    return _INSERT, [_row(change, after) for change, after in several]


async def get(session: AsyncSession, change_id: str) -> Document | None:
    """The change, unless it was purged."""
    found = (await execute(session, _GET, {"this": change_id})).first()
    return found[0] if found else None


def _row(change: Change, after: str | None) -> Row:
    says = change.context.get
    return (
        change.id, change.at, str(change.resource_type), str(change.action), str(change.outcome), str(change.origin),
        says("runId"), says("action"), says("blueprint"), says("entity"), says("webhookId"), says("webhookEventId"),
        says("installationId"), False, change.document() if after is None else _written(change, after),
    )  # fmt: skip


def _written(change: Change, after: str) -> JsonText:
    """The document of the change; what there is now is much of it, and not written again."""
    return JsonText(f'{json_text(change.around())[:-1]},"after":{after}}}')
