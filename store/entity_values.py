"""What searches find entities by, in SQL: kept in step with every write to an entity."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.entities import Entity
from domain.indexed_values import Entry, difference, entries
from store.catalog_tables import EntityValueRow
from store.columns import table
from store.database import PlainInsert, execute, plainly

_ROWS: Final = table(EntityValueRow)
_INSERT: Final = PlainInsert(_ROWS, "name", "head", "number", "entity_id", "place", "kind", "whole", "moment")
_FORGET: Final = sa.delete(_ROWS).where(
    _ROWS.c.name == sa.bindparam("of_name"),
    _ROWS.c.head == sa.bindparam("of_head"),
    _ROWS.c.number == sa.bindparam("of_number"),
    _ROWS.c.entity_id == sa.bindparam("of_entity"),
    _ROWS.c.place == sa.bindparam("of_place"),
)
_MANY: Final = 2_000
"""From how many rows on writing them is not done in place: other requests would wait."""


async def keep(session: AsyncSession, row_id: str, before: Entity | None, after: Entity | None) -> None:
    """Let the entity be found by what it is now; only what differs is written."""
    await keep_all(session, [(row_id, before, after)])


async def keep_all(session: AsyncSession, several: Iterable[tuple[str, Entity | None, Entity | None]]) -> None:
    """The same for several rows, each once."""
    forgotten: list[dict[str, object]] = []
    found: list[tuple[object, ...]] = []
    for row_id, before, after in several:
        gone, new = difference(_of(before), _of(after))
        forgotten += [
            {"of_name": name, "of_head": head, "of_number": number, "of_entity": row_id, "of_place": place}
            for name, head, number, place, *_ in gone
        ]
        found += [
            (name, head, number, row_id, place, kind, whole, moment)
            for name, head, number, place, kind, whole, moment in new
        ]
    if forgotten:
        await _run(session, _FORGET, forgotten)
    if found:
        found.sort()  # by the key, with which rows begin: neighbours are on one page
        await plainly(session, _INSERT, found, in_place=len(found) < _MANY)


async def _run(session: AsyncSession, statement: Any, rows: Sequence[Mapping[str, object]]) -> None:
    if len(rows) < _MANY:
        await execute(session, statement, rows)
    else:
        await session.exec(statement, params=rows)


def _of(entity: Entity | None) -> Sequence[Entry]:
    return entries(entity.properties, entity.team) if entity else ()
