"""The entities that programs of some kind wrote last, as integrations ask for what they have brought in before."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.rule_values import Comparison, Operator, Property
from store.found import Found, Page, Place
from store.search import AT_ONCE, after_place
from store.search_columns import begins, ends
from store.search_values import ENTITIES


@dataclass(frozen=True)
class Datasource:
    """A search for entities by the user agent of their last writer."""

    prefix: str
    suffix: str
    before: datetime | None = None
    """Only those that were updated before."""

    @property
    def rules(self) -> tuple[Comparison, ...]:
        """The same as rules of a search."""
        about = Property("$datasource")
        found = [
            Comparison(about, operator, part)
            for operator, part in ((Operator.BEGINS_WITH, self.prefix), (Operator.ENDS_WITH, self.suffix))
            if part
        ]
        if self.before is not None:
            found.append(
                Comparison(Property("$updatedAt"), Operator.BELOW, self.before.isoformat(timespec="microseconds"))
            )
        return tuple(found)

    async def page(self, session: AsyncSession, *, after: Place | None = None, limit: int = AT_ONCE) -> Page:
        """The first of them, or the first after a place."""
        asked: sa.Select[Any] = sa.select(ENTITIES.id, ENTITIES.document).where(
            begins(ENTITIES.datasource, self.prefix), ends(ENTITIES.datasource, self.suffix), after_place(after)
        )
        if self.before is not None:
            asked = asked.where(ENTITIES.updated_at < self.before)
        ordered = asked.order_by(ENTITIES.blueprint, ENTITIES.identifier).limit(limit + 1)
        rows = (await session.exec(ordered)).all()  # type: ignore[call-overload]
        found = tuple(Found(row_id, document) for row_id, document in rows)
        last = found[limit - 1] if len(found) > limit else None
        return Page(found[:limit], Place(last.blueprint, last.identifier) if last else None)
