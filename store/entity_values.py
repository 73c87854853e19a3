"""What searches find entities by, in SQL: kept in step with every write to an entity."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.entities import Entity
from domain.indexed_values import Entry, difference, entries
from store.catalog_tables import EntityValueRow
from store.columns import table
from store.database import execute
from store.plain_inserts import PlainInsert, Row, insert_all

_ROWS: Final = table(EntityValueRow)
_INSERT: Final = PlainInsert(_ROWS, *Entry._fields, "entity_id")
_FORGET: Final = sa.delete(_ROWS).where(
    _ROWS.c.name == sa.bindparam("of_name"),
    _ROWS.c.head == sa.bindparam("of_head"),
    _ROWS.c.number == sa.bindparam("of_number"),
    _ROWS.c.entity_id == sa.bindparam("of_entity"),
    _ROWS.c.place == sa.bindparam("of_place"),
)
_BY_NAME: Final = itemgetter(0)
_MANY: Final = 2_000
"""From how many rows on forgetting them is not done in place: other requests would wait."""


async def keep(session: AsyncSession, row_id: str, before: Entity | None, after: Entity | None) -> None:
    """Let the entity be found by what it is now; only what differs is written."""
    await keep_all(session, [(row_id, before, after)])


async def keep_all(session: AsyncSession, several: Iterable[tuple[str, Entity | None, Entity | None]]) -> None:
    """The same for several rows, each once."""
    await insert_all(session, await forgotten(session, several))


async def forgotten(
    session: AsyncSession, several: Iterable[tuple[str, Entity | None, Entity | None]]
) -> tuple[PlainInsert, Sequence[Row]]:
    """Forget what the entities are not found by any more; what has to be inserted, so that they are by all they are."""
    gone: list[dict[str, object]] = []
    found: list[Row] = []
    for row_id, before, after in several:
        old, new = difference(_of(before), _of(after))
        gone += [
            {"of_name": name, "of_head": head, "of_number": number, "of_entity": row_id, "of_place": place}
            for name, head, number, place, *_ in old
        ]
        of_it = (row_id,)
        found += [entry + of_it for entry in new]
    if gone:
        await _run(session, _FORGET, gone)
    found.sort(key=_BY_NAME)  # with which the key begins: what is alike is written side by side
    return _INSERT, found


async def _run(session: AsyncSession, statement: Any, rows: Sequence[Mapping[str, object]]) -> None:
    if len(rows) < _MANY:
        await execute(session, statement, rows)
    else:
        await session.exec(statement, params=rows)


def _of(entity: Entity | None) -> Sequence[Entry]:
    return entries(entity.properties, entity.team) if entity else ()
