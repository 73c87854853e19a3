"""How entities get what is derived of them, for the rules that ask for it."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.entities import Entity
from domain.jq import Evaluator
from store import derived
from store.database import Database
from store.derived import Completing


def completing(evaluate: Evaluator, at: datetime) -> Completing:
    """In the session that reads them."""

    async def complete(
        session: AsyncSession, entities: Sequence[Entity], *, wanted: Callable[[str], bool] = lambda name: True
    ) -> Sequence[candidates.Entity]:
        return await derived.complete(session, entities, evaluate=evaluate, at=at, wanted=wanted)

    return complete


def completing_written(database: Database, evaluate: Evaluator, now: Callable[[], datetime]) -> Completing:
    """How entities that are being written get what is derived from others: as these were committed last.

    What is read in a transaction that may not be committed must not be remembered, so it is asked in a session of its
    own.
    """

    async def complete(
        session: AsyncSession, entities: Sequence[Entity], *, wanted: Callable[[str], bool] = lambda name: True
    ) -> Sequence[candidates.Entity]:
        async with database.beside() as reading:
            return await derived.complete(reading, entities, evaluate=evaluate, at=now(), wanted=wanted)

    return complete
