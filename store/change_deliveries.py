"""Which changes are on their way to where their blueprint says: they are not purged before they have arrived."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel.ext.asyncio.session import AsyncSession

from store.automation_tables import ChangeDeliveryRow
from store.columns import table
from store.database import execute

_TABLE = table(ChangeDeliveryRow)
_ROW = _TABLE.c


def _begin(insert: Any) -> Any:
    statement = insert(_TABLE)
    return statement.on_conflict_do_update(index_elements=[_ROW.change_id], set_={"since": statement.excluded.since})


_BEGIN = {"sqlite": _begin(sqlite.insert), "postgresql": _begin(postgresql.insert)}
_END = sa.delete(_TABLE).where(_ROW.change_id == bindparam("this"))
_LONG = (
    sa.select(_ROW.change_id)
    .where(_ROW.since < bindparam("before"), _ROW.change_id > bindparam("after"))
    .order_by(_ROW.change_id)
    .limit(bindparam("most"))
)
_FORGET = sa.delete(_TABLE).where(
    _ROW.change_id.in_(bindparam("these", expanding=True)), _ROW.since < bindparam("before")
)


async def begin(session: AsyncSession, change_ids: Collection[str], *, at: datetime) -> None:
    """Note that these are about to be delivered; of those that were before, too, only this moment counts."""
    # In one order, as others may do it for some of them.
    rows = [{"change_id": change_id, "since": at} for change_id in sorted(change_ids)]
    if rows:
        await execute(session, _BEGIN[session.get_bind().dialect.name], rows)


async def end(session: AsyncSession, change_id: str) -> None:
    """Note that nobody delivers it any more."""
    await execute(session, _END, {"this": change_id})


async def long_under_way(session: AsyncSession, *, before: datetime, after: str, limit: int) -> list[str]:
    """Those that have been since before a moment, in order of their ids, of which the first comes `after` another."""
    return list((await execute(session, _LONG, {"before": before, "after": after, "most": limit})).scalars())


async def forget(session: AsyncSession, change_ids: Collection[str], *, before: datetime) -> None:
    """The same as `end` for several, but for those that somebody has begun to deliver again since the moment."""
    await execute(session, _FORGET, {"these": list(change_ids), "before": before})
