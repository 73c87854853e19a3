"""What becomes of the timers of entities when their blueprint changes."""

from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Definition
from domain.entities import Entity
from domain.timers import due_at
from store import entities, timer_rows

_AT_ONCE = 500


async def follow(session: AsyncSession, before: Definition, after: Definition, *, at: datetime) -> None:
    """Stop the timers of properties that are none any more, begin those of properties that have become one.

    Blueprints whose timers stay as they are cost nothing. `before` is nobody's any more from this transaction on.
    """
    blueprint = str(before.identifier)
    for property in before.timers.keys() - after.timers.keys():
        await timer_rows.stop_property(session, blueprint, property, at=at)
    for property in before.timers.keys() & after.timers.keys():
        if before.timers[property].warn != after.timers[property].warn:
            await timer_rows.warn_anew(session, blueprint, property, after.timers[property], at=at)
    if added := [property for property in after.timers if property not in before.timers]:
        await _begin(session, after, added, at=at)


async def rename(
    session: AsyncSession, before: Definition, after: Definition, old: str, new: str, *, at: datetime
) -> None:
    """Let timers follow a property that has got another name, in the blueprint and in its entities."""
    if old in before.timers:
        await timer_rows.rename_property(session, str(before.identifier), old, new, at=at)
        # Some may have held the new one before the blueprint knew it.
        await _begin(session, after, [new], at=at, only_missing=True)


async def _begin(
    session: AsyncSession, definition: Definition, properties: list[str], *, at: datetime, only_missing: bool = False
) -> None:
    rows: list[dict[str, object]] = []
    async for row_id, document in entities.to_change(session, definition.identifier):
        entity = Entity.model_validate(document)
        rows += [
            timer_rows.row(row_id, entity, property, definition.timers[property], at=at)
            for property in properties
            if due_at(entity.properties.get(property)) is not None
        ]
        if len(rows) >= _AT_ONCE:
            await timer_rows.put_all(session, rows, only_missing=only_missing)
            rows = []
    if rows:
        await timer_rows.put_all(session, rows, only_missing=only_missing)
