"""What statistics are made of in SQL: all that a search finds, a portion at a time, and how an entity came to be."""

from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.changes import Outcome
from domain.documents import Document
from domain.entities import Entity
from store import scorecard_results
from store.columns import table
from store.database import Database, execute
from store.derived import Completing
from store.search import Search
from store.tables import ChangeRow

_AT_ONCE: Final = 500
_CHANGES = table(ChangeRow).c
_BEFORE = (
    sa.select(_CHANGES.at, _CHANGES.sequence, _CHANGES.document["before"].label("before"))
    .where(
        _CHANGES.entity == bindparam("this"),
        _CHANGES.blueprint == bindparam("of"),
        _CHANGES.resource_type == "entity",
        _CHANGES.status == Outcome.SUCCESS.value,
        _CHANGES.at >= bindparam("since"),
        sa.tuple_(_CHANGES.at, _CHANGES.sequence)
        < sa.tuple_(bindparam("at", type_=_CHANGES.at.type), bindparam("sequence", type_=_CHANGES.sequence.type)),
    )
    # As the index of changes by entity has them.
    .order_by(_CHANGES.at.desc(), _CHANGES.sequence.desc())
    .limit(_AT_ONCE)
)
_END: Final = (datetime(9999, 12, 31, tzinfo=UTC), 2**63 - 1)


class Step(NamedTuple):
    """One change of an entity."""

    at: datetime
    before: Document | None
    """The entity until then; None: there was none."""


async def found(
    database: Database,
    search: Search,
    *,
    complete: Completing,
    names: Collection[str],
    scorecard: str | None = None,
) -> AsyncIterator[candidates.Entity]:
    """Everything that the search finds, one by one, with these properties and what this scorecard says.

    Each portion is read in a session of its own, so nobody holds one while the entities are looked at.

    Raises:
        Unavailable: the database does not answer, or no process could be had to make what is derived.
    """
    after = None
    while True:
        async with database.read() as session:
            page = await search.page(session, after=after)
            seen = await complete(session, [one.entity for one in page.found], wanted=names.__contains__)
            if scorecard is not None:
                said = await scorecard_results.of_entities(session, [one.id for one in page.found], [scorecard])
                seen = [
                    replace(entity, scorecards=dict(said[one.id])) for one, entity in zip(page.found, seen, strict=True)
                ]
        for entity in seen:
            yield entity
        if page.next is None:
            return
        after = page.next


async def steps(session: AsyncSession, entity: Entity, *, since: datetime) -> AsyncIterator[Step]:
    """The changes of the entity since a moment, the last first, until the one that made it.

    They are followed through other names that it had. Those that were purged are missing.
    """
    this = str(entity.identifier)
    at, sequence = _END
    while True:
        asked = {"of": entity.blueprint, "this": this, "since": since, "at": at, "sequence": sequence}
        rows = (await execute(session, _BEFORE, asked)).all()
        called = this
        for row in rows:
            yield Step(row.at, row.before)
            if row.before is None:
                return
            at, sequence, this = row.at, row.sequence, row.before["identifier"]
            if this != called:
                break
        if this == called and len(rows) < _AT_ONCE:
            return
