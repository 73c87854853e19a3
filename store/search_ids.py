"""The ids that a rule selects, and how many: by that a search decides how to go about it."""

from collections.abc import Collection, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.comparisons import key
from domain.indexed_values import HEAD
from store.catalog_tables import EntityValueRow
from store.columns import table
from store.search_around import rows_of
from store.search_columns import gathered
from store.search_values import Choice, united_ids

_VALUES: Final = table(EntityValueRow).c


def _ids(selected: sa.Select[Any] | sa.CompoundSelect[Any]) -> sa.Select[Any]:
    """The ids that the statement selects, in one row."""
    return sa.select(gathered(next(iter(selected.subquery().c))))


_OF_PROPERTY: Final = (
    sa.select(_VALUES.entity_id)
    .where(_VALUES.name == sa.bindparam("name"), _VALUES.kind == sa.bindparam("kind"), _VALUES.place == 0)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_OF_TEXT: Final = _ids(
    _OF_PROPERTY.where(_VALUES.number == 0.0, _VALUES.whole.is_(None), _VALUES.head == sa.bindparam("value"))
)
_OF_NUMBER: Final = _ids(_OF_PROPERTY.where(_VALUES.head == "", _VALUES.number == sa.bindparam("value")))

Equality: TypeAlias = tuple[sa.Select[Any], dict[str, Any]]
"""A statement that was made beforehand, and what it is given: selects whatever has a value as one of its properties."""


def equality(name: str, wanted: JsonValue) -> Equality | None:
    """What selects the entities whose property is this; None for what is kept in another way."""
    match key(wanted):
        case "text" as kind, str(text) if len(text) <= HEAD:
            return _OF_TEXT, {"name": name, "kind": kind, "value": text}
        case ("number" | "boolean") as kind, (bool() | float()) as value:
            return _OF_NUMBER, {"name": name, "kind": kind, "value": float(value)}
    return None


async def ids_of(session: AsyncSession, by: Choice | Equality, most: int) -> set[str] | None:
    """What the choice selects; None if that is more than so many."""
    match by:
        case sa.Select() as statement, dict() as given:
            [[found]] = await rows_of(session, statement, given | {"most": most + 1})
        case _:
            [[found]] = await rows_of(session, _ids(united_ids(by).limit(most + 1)))
    return set(found) if len(found) <= most else None


async def ids_among(session: AsyncSession, by: Choice, ids: Collection[str]) -> set[str]:
    """Those of the ids that the choice selects."""
    [[found]] = await rows_of(session, _ids(united_ids(by, of=ids)))
    return set(found)


async def rarest(session: AsyncSession, several: Sequence[Choice], most: int) -> Choice:
    """What selects least of these; they are counted up to so many."""
    counted = (united_ids(one).limit(most + 1).subquery() for one in several)
    counts = [sa.select(sa.func.count()).select_from(one).scalar_subquery() for one in counted]
    [numbers] = await rows_of(session, sa.select(*counts))
    return several[min(range(len(several)), key=numbers.__getitem__)]
