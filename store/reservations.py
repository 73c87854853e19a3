"""What backends have reserved: which run something elsewhere belongs to, and what must not begin again."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.documents import Document
from store.columns import table
from store.database import Database, execute
from store.tables import ReservationRow, RunRow

_TABLE, _RUNS = table(ReservationRow), table(RunRow).c
_ROWS = _TABLE.c
_INSERTS: dict[str, Any] = {
    "sqlite": sqlite.insert(_TABLE).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(_TABLE).on_conflict_do_nothing(),
}
_FIND = sa.select(_ROWS.run_id, _ROWS.since).where(_ROWS.name == bindparam("this"))
_FORGET = sa.delete(_TABLE).where(_ROWS.name == bindparam("this"))
_KNOWN = sa.select(_RUNS.id, _RUNS.document).where(
    (_RUNS.external_run_id == bindparam("external")) | (_RUNS.id == bindparam("of"))
)


class SqlReservations:
    """`backends.base.Reservations`, for as many processes as there are: each name is the key of one row."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, external_run_id: str, run_id: str) -> bool:
        """Whether what has this external id is the run's: it is no other run's, and will be none's from now on.

        Runs of other backends do not count: some number what they start from 1 on.
        """

        async def work(session: AsyncSession) -> bool:
            asked = {"external": external_run_id, "of": run_id}
            known = {row.id: _backend(row.document) for row in await execute(session, _KNOWN, asked)}
            backend = known.pop(run_id, "")
            if backend in known.values():
                return False
            name = f"external {backend} {external_run_id}"
            await _insert(session, name, run_id, None)
            found = await execute(session, _FIND, {"this": name})
            return bool(found.one().run_id == run_id)

        return await self._database.transact(work)

    async def begin(self, run_id: str, at: datetime) -> datetime | None:
        """Note that something is about to be sent for the run; when it had begun before, if it had."""

        async def work(session: AsyncSession) -> datetime | None:
            if await _insert(session, _dispatch(run_id), run_id, at):
                return None
            since: datetime = (await execute(session, _FIND, {"this": _dispatch(run_id)})).one().since
            return since

        return await self._database.transact(work)

    async def undo(self, run_id: str) -> None:
        """What had begun has provably had no effect: it may begin again."""

        async def work(session: AsyncSession) -> None:
            await execute(session, _FORGET, {"this": _dispatch(run_id)})

        await self._database.transact(work)


async def begun(session: AsyncSession, run_id: str) -> datetime | None:
    """When something was about to be sent for the run, unless that provably had no effect."""
    found = (await execute(session, _FIND, {"this": _dispatch(run_id)})).first()
    return found.since if found else None


async def _insert(session: AsyncSession, name: str, run_id: str, since: datetime | None) -> bool:
    """Whether nobody had the name. Of several at once, all but one wait until it is that one's."""
    statement = _INSERTS[session.get_bind().dialect.name]
    inserted = await execute(session, statement, {"name": name, "run_id": run_id, "since": since})
    return bool(inserted.rowcount)


def _backend(run: Document) -> str:
    payload = run.get("payload")
    return str(payload.get("type")) if isinstance(payload, dict) else ""


def _dispatch(run_id: str) -> str:
    return f"dispatch {run_id}"
