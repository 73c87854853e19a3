"""The rows of timers: kept in step with every write to an entity, in the transaction that writes it."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.entities import Entity, Kind
from domain.timers import Lifecycle, due_at, warn_at
from store import pending_changes
from store.automation_tables import EntityTimerRow
from store.columns import table
from store.database import execute

TIMERS = table(EntityTimerRow)
_C = TIMERS.c
_KEY = sa.and_(_C.entity_id == bindparam("this"), _C.property == bindparam("named"))
_OF_PROPERTY = sa.and_(_C.blueprint == bindparam("of"), _C.property == bindparam("named"))
_WAITING = sa.and_(~_C.expired, sa.or_(_C.pending.is_(None), _C.pending == "start"))
"""Timers that have still to fire. Of one that has, or that is to be stopped, no workflow is started any more."""

_STOP = sa.update(TIMERS).values(pending="stop", pending_since=bindparam("at"))
_STOP_ONE = _STOP.where(_KEY)
_STOP_ENTITY = _STOP.where(_C.entity_id == bindparam("this"))
_STOP_PROPERTY = _STOP.where(_OF_PROPERTY)
_FORGET_PROPERTY = sa.delete(TIMERS).where(_OF_PROPERTY)


def _restarted(when: Any) -> dict[str, Any]:
    these, at = sa.and_(_WAITING, when), bindparam("at", type_=_C.pending_since.type)
    return {
        "pending": sa.case((these, "start"), else_=_C.pending),
        "pending_since": sa.case((these, at), else_=_C.pending_since),
    }


_FOLLOW = (
    sa.update(TIMERS)
    .where(_KEY)
    .values(value=bindparam("says"), entity=bindparam("called"), **_restarted(_C.entity != bindparam("called")))
)
_RENAME = sa.update(TIMERS).where(_OF_PROPERTY).values(property=bindparam("new"), **_restarted(sa.true()))
_RENAME_BLUEPRINT = (
    sa.update(TIMERS).where(_C.blueprint == bindparam("of")).values(blueprint=bindparam("new"), **_restarted(sa.true()))
)
_WARN = sa.update(TIMERS).where(_KEY, ~_C.warned).values(warn_at=bindparam("warning"), **_restarted(sa.true()))
_UNWARNED = (
    sa.select(_C.entity_id, _C.due_at)
    .where(_OF_PROPERTY, ~_C.warned, ~_C.expired, _C.entity_id > bindparam("after"))
    .order_by(_C.entity_id)
    .limit(500)
)


def _put(insert: Callable[..., Any], where: Any = None) -> Any:
    # What Temporal has been told stays in the row: there may be a workflow to stop.
    statement = insert(TIMERS)
    names = ("blueprint", "entity", "value", "due_at", "warn_at", "warned", "expired", "pending", "pending_since")
    return statement.on_conflict_do_update(
        index_elements=[_C.entity_id, _C.property],
        set_={name: statement.excluded[name] for name in names},
        where=where,
    )


_PUT = {"sqlite": _put(sqlite.insert), "postgresql": _put(postgresql.insert)}
_PUT_MISSING = {
    "sqlite": _put(sqlite.insert, _C.pending == "stop"),
    "postgresql": _put(postgresql.insert, _C.pending == "stop"),
}

Write = tuple[str, Kind, Entity | None, Entity]
"""The row id of an entity, its blueprint, and what it was and is."""


async def keep_all(session: AsyncSession, several: Iterable[Write], *, at: datetime) -> None:
    """Let the timers of the entities be what they hold now.

    A moment that an entity did not hold before is a new timer. The same moment is the same timer, however it is
    written and whatever the entity is called, and has fired if it had. Blueprints without timers cost nothing.
    """
    put: list[dict[str, object]] = []
    followed: list[dict[str, object]] = []
    stopped: list[dict[str, object]] = []
    for row_id, kind, before, after in several:
        for property, lifecycle in kind.definition.timers.items():
            was, says = before.properties.get(property) if before else None, after.properties.get(property)
            if before and was == says and before.identifier == after.identifier:
                continue
            due = due_at(says)
            if due is None:
                if due_at(was) is not None:
                    stopped.append({"this": row_id, "named": property, "at": at})
            elif due != due_at(was):
                put.append(row(row_id, after, property, lifecycle, at=at))
            else:
                called = str(after.identifier)
                followed.append({"this": row_id, "named": property, "says": says, "called": called, "at": at})
    for statement, rows in ((_STOP_ONE, stopped), (_FOLLOW, followed)):
        if rows:
            await execute(session, statement, rows)
    if put:
        await put_all(session, put)
    elif stopped or followed:
        await pending_changes.ring(session)


async def forget(session: AsyncSession, row_id: str, entity: Entity, *, at: datetime) -> None:
    """Stop what the entity, which is being deleted, has of timers. One that holds no moments costs nothing."""
    if any(due_at(value) is not None for value in entity.properties.values()):
        stopped = await execute(session, _STOP_ENTITY, {"this": row_id, "at": at})
        if stopped.rowcount:
            await pending_changes.ring(session)


def row(row_id: str, entity: Entity, property: str, lifecycle: Lifecycle, *, at: datetime) -> dict[str, object]:
    """The row of a timer that begins now; the entity holds a moment in the property."""
    value = entity.properties[property]
    due = due_at(value)
    assert due is not None  # noqa: S101 - whoever asks has looked
    return {
        "entity_id": row_id,
        "property": property,
        "blueprint": entity.blueprint,
        "entity": str(entity.identifier),
        "value": value,
        "due_at": due,
        "warn_at": warn_at(due, lifecycle),
        "warned": False,
        "expired": False,
        "pending": "start",
        "pending_since": at,
    }


async def put_all(session: AsyncSession, rows: Sequence[dict[str, object]], *, only_missing: bool = False) -> None:
    """Begin the timers, each in the place of what its entity had there; `only_missing` leaves those that there are."""
    statements = _PUT_MISSING if only_missing else _PUT
    await execute(session, statements[session.get_bind().dialect.name], rows)
    await pending_changes.ring(session)


async def stop_property(session: AsyncSession, blueprint: str, property: str, *, at: datetime) -> None:
    """Stop the timers of a property that is none any more."""
    await execute(session, _STOP_PROPERTY, {"of": blueprint, "named": property, "at": at})
    await pending_changes.ring(session)


async def rename_property(session: AsyncSession, blueprint: str, old: str, new: str, *, at: datetime) -> None:
    """Let the timers of a property go by its new name. What is left of one that had that name gives way."""
    await execute(session, _FORGET_PROPERTY, {"of": blueprint, "named": new})
    await execute(session, _RENAME, {"of": blueprint, "named": old, "new": new, "at": at})
    await pending_changes.ring(session)


async def rename_blueprint(session: AsyncSession, old: str, new: str, *, at: datetime) -> None:
    """Let the timers of a blueprint's entities go by its new identifier."""
    await execute(session, _RENAME_BLUEPRINT, {"of": old, "new": new, "at": at})
    await pending_changes.ring(session)


async def warn_anew(
    session: AsyncSession, blueprint: str, property: str, lifecycle: Lifecycle, *, at: datetime
) -> None:
    """Let the timers of a property warn as its blueprint says now, unless they have."""
    after = ""
    while rows := (await execute(session, _UNWARNED, {"of": blueprint, "named": property, "after": after})).all():
        await execute(
            session,
            _WARN,
            [{"this": row_id, "named": property, "warning": warn_at(due, lifecycle), "at": at} for row_id, due in rows],
        )
        after = rows[-1][0]
    await pending_changes.ring(session)
