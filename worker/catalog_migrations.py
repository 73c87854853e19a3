"""Works on all entities of a blueprint, a portion at a time: deletes them, or has scorecards look at them again."""

import logging
from collections.abc import Callable
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.catalog_migrations import CatalogMigration
from domain.errors import Unavailable
from domain.jq import Evaluator
from store import catalog_migrations
from store.completing import completing_written
from store.database import Database
from worker.loops import again, every

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_RETRY_SECONDS = 5.0


class CatalogMigrations:
    """Deletes the entities of blueprints whose owners asked for it, and evaluates those of blueprints that changed.

    Several may run at once. How far it has come is written in the transaction of each portion, so nothing is done twice
    or left out, whenever the process is killed.
    """

    def __init__(self, database: Database, now: Callable[[], datetime], evaluate: Evaluator) -> None:
        self._database = database
        self._now = now
        self._complete = completing_written(database, evaluate, now)

    async def run(self) -> None:
        """Work until cancelled. An outage of SQL only costs time."""
        await again("work on entities", self._work_all, every(_POLL_SECONDS), retry=_RETRY_SECONDS)

    async def _work_all(self) -> None:
        while await self.work_once():
            pass

    async def work_once(self) -> bool:
        """Do one portion of what was asked for first; whether there may be more."""
        async with self._database.read() as session:
            if not await catalog_migrations.waiting(session):
                return False
        taken: CatalogMigration | None = None

        async def work(session: AsyncSession) -> CatalogMigration | None:
            nonlocal taken
            taken = await catalog_migrations.taken(session)
            if taken is None:
                return None
            return await catalog_migrations.advance(session, taken, at=self._now(), complete=self._complete)

        try:
            after = await self._database.transact(work)
        except Unavailable:
            raise
        except Exception:
            if taken is None:
                raise
            # It would fail again, and keep the others waiting: whoever asked is told, and we are.
            log.exception("work on entities failed", extra={"migration": taken.id})
            await self._give_up(taken.id)
            return True
        if after and after.status.is_terminal:
            log.info("work on entities ended", extra={"migration": after.id, "status": after.status.value})
        return after is not None

    async def _give_up(self, identifier: str) -> None:
        async def work(session: AsyncSession) -> None:
            migration = await catalog_migrations.get(session, identifier, to_change=True)
            await catalog_migrations.put(session, migration.failed("something went wrong on our side"))

        await self._database.transact(work)
