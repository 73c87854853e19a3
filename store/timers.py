"""Timers in SQL: the row is the fact. It fires once for its moment, and knows what Temporal has still to be told."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.changes import Change, Happening
from domain.entities import Entity
from domain.identifiers import new
from domain.runs import PLATFORM, Source
from domain.timers import Outcome
from store import blueprints, changes
from store.catalog_tables import EntityRow
from store.columns import table
from store.database import execute
from store.timer_rows import TIMERS

LEASE = timedelta(seconds=10)
"""How long whoever tells Temporal about a timer may take before another one does."""

_C, _ENTITIES = TIMERS.c, table(EntityRow).c
_KEY = sa.and_(_C.entity_id == bindparam("this"), _C.property == bindparam("named"))
_COLUMNS = (
    *(_C.entity_id, _C.property, _C.blueprint, _C.entity, _C.value, _C.due_at, _C.warn_at, _C.warned, _C.expired),
    *(_C.workflow_id, _C.workflow_run, _C.pending, _C.pending_since),
)
_ENTITY = sa.select(_ENTITIES.document).where(_ENTITIES.id == bindparam("this")).with_for_update()
_LOCK = sa.select(*_COLUMNS).where(_KEY).with_for_update()
_EXPIRE = sa.update(TIMERS).where(_KEY).values(expired=True)
_WARN = sa.update(TIMERS).where(_KEY).values(warned=True)
_DUE = sa.and_(_C.pending.is_not(None), _C.pending_since <= bindparam("now"))
_IS_PENDING = sa.select(_C.entity_id).where(_DUE).limit(1)
_PENDING = (
    sa.select(*_COLUMNS)
    .where(_DUE)
    .order_by(_C.pending_since)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_LEASE = sa.update(TIMERS).where(_KEY).values(pending_since=bindparam("until"))
_STILL = sa.and_(_KEY, _C.pending == bindparam("what"), _C.pending_since == bindparam("lease"))
_TOLD = (
    sa.update(TIMERS)
    .where(_STILL)
    .values(pending=None, pending_since=None, workflow_id=bindparam("workflow"), workflow_run=bindparam("run"))
)
_GONE = sa.delete(TIMERS).where(_STILL)
_OF_NAME = sa.and_(_C.blueprint == bindparam("of"), _C.property == bindparam("named"), _C.entity == bindparam("called"))
_AGAIN = (
    sa.update(TIMERS)
    .where(sa.or_(_KEY, _OF_NAME), _C.pending.is_(None), ~_C.expired)
    .values(pending="start", pending_since=bindparam("at"))
)
_LOST = (
    sa.update(TIMERS)
    .where(_KEY, _C.workflow_run == bindparam("run"), _C.pending.is_(None), ~_C.expired)
    .values(pending="start", pending_since=bindparam("at"))
)
_WAITING = (
    sa.select(*_COLUMNS)
    .where(
        sa.tuple_(_C.entity_id, _C.property) > sa.tuple_(bindparam("this"), bindparam("named")),
        _C.pending.is_(None),
        ~_C.expired,
    )
    .order_by(_C.entity_id, _C.property)
    .limit(bindparam("most"))
)


@dataclass(frozen=True)
class Timer:
    """A timer as its row has it."""

    entity_id: str
    property: str
    blueprint: str
    entity: str
    value: str
    due_at: datetime
    warn_at: datetime | None
    warned: bool
    expired: bool
    workflow_id: str | None
    workflow_run: str | None
    pending: str | None
    pending_since: datetime | None
    """Of one that is leased: until when it is."""

    def first_at(self) -> datetime:
        """When its workflow has something to do for the first time."""
        return self.due_at if self.warn_at is None or self.warned else min(self.warn_at, self.due_at)


class Answer(NamedTuple):
    """What came of asking a timer to do something."""

    outcome: Outcome
    left: timedelta = timedelta(0)
    """How long it is still too early."""


class Asking(Protocol):
    """`expire` or `warn`."""

    def __call__(
        self, session: AsyncSession, entity_id: str, property: str, due: datetime, *, at: datetime
    ) -> Awaitable[Answer]:
        """Ask the timer of an entity, as it was when it was due at that moment."""
        ...


async def expire(session: AsyncSession, entity_id: str, property: str, due: datetime, *, at: datetime) -> Answer:
    """Let the timer fire, if that is what the entity holds, its time has come, and it has not fired before."""
    found = await _locked(session, entity_id, property)
    if found is None or found[0].due_at != due:
        return Answer(Outcome.STALE)
    timer, entity = found
    if timer.expired:
        return Answer(Outcome.DONE)
    if due > at:
        return Answer(Outcome.EARLY, due - at)
    await execute(session, _EXPIRE, {"this": entity_id, "named": property})
    await changes.append(session, _change(Happening.TIMER_EXPIRED, timer, entity, {}, at=at))
    return Answer(Outcome.DONE)


async def warn(session: AsyncSession, entity_id: str, property: str, due: datetime, *, at: datetime) -> Answer:
    """Let the timer warn that it will expire, if anybody wants that and it has neither warned nor expired before.

    One whose time has come already does not warn any more.
    """
    found = await _locked(session, entity_id, property)
    if found is None or found[0].due_at != due:
        return Answer(Outcome.STALE)
    timer, entity = found
    if timer.warn_at is None or timer.warned or timer.expired or due <= at:
        return Answer(Outcome.DONE)
    if timer.warn_at > at:
        return Answer(Outcome.EARLY, timer.warn_at - at)
    lifecycle = (await blueprints.get(session, timer.blueprint)).definition.timers.get(property)
    extend: dict[str, str | None] = {}
    if lifecycle and lifecycle.extend:
        extend["extendAction"] = str(lifecycle.extend.action)
    await execute(session, _WARN, {"this": entity_id, "named": property})
    await changes.append(session, _change(Happening.TIMER_WARNING, timer, entity, extend, at=at))
    return Answer(Outcome.DONE)


async def pending(session: AsyncSession, *, now: datetime) -> bool:
    """Whether there is a timer that Temporal has to be told about."""
    return (await execute(session, _IS_PENDING, {"now": now})).first() is not None


async def leased(session: AsyncSession, *, now: datetime, limit: int) -> list[Timer]:
    """Timers that Temporal has to be told about, those that wait longest first.

    Several relays may ask at once: each timer goes to one of them, until its lease is over or it changes again.
    """
    found = [Timer(*row) for row in (await execute(session, _PENDING, {"now": now, "most": limit})).all()]
    until = now + LEASE
    if found:
        keys = [{"this": timer.entity_id, "named": timer.property, "until": until} for timer in found]
        await execute(session, _LEASE, keys)
    return [replace(timer, pending_since=until) for timer in found]


class Told(NamedTuple):
    """A timer that Temporal was told about, and the workflow that waits for it now; None when there is none."""

    timer: Timer
    workflow_id: str | None
    workflow_run: str | None


async def told(session: AsyncSession, several: Sequence[Told], *, at: datetime) -> list[Told]:
    """Note what Temporal was told; those of them that were not true any more when it was.

    A workflow that was started too late may have taken the place of one that is right. So whatever timer has a
    workflow of that id is told anew.
    """
    late: list[Told] = []
    for one in several:
        timer = one.timer
        key = {"this": timer.entity_id, "named": timer.property}
        still = {**key, "what": timer.pending, "lease": timer.pending_since}
        if timer.pending == "stop":
            noted = await execute(session, _GONE, still)
        else:
            noted = await execute(session, _TOLD, {**still, "workflow": one.workflow_id, "run": one.workflow_run})
        if not noted.rowcount and one.workflow_run:
            late.append(one)
            await execute(session, _AGAIN, {**key, "of": timer.blueprint, "called": timer.entity, "at": at})
    return late


async def waiting(session: AsyncSession, *, after: tuple[str, str], limit: int) -> list[Timer]:
    """Timers whose workflow should be there, in order of the row of their entity and their property."""
    rows = await execute(session, _WAITING, {"this": after[0], "named": after[1], "most": limit})
    return [Timer(*row) for row in rows.all()]


async def lost(session: AsyncSession, timers: Sequence[Timer], *, at: datetime) -> None:
    """Note that the workflows of these timers are gone and have to be started again."""
    keys = [{"this": timer.entity_id, "named": timer.property, "run": timer.workflow_run, "at": at} for timer in timers]
    await execute(session, _LOST, keys)


async def _locked(session: AsyncSession, entity_id: str, property: str) -> tuple[Timer, Entity] | None:
    """The timer and its entity, which nobody else changes until the transaction ends; None when there is no such.

    The entity comes first, as it does for those who write it.
    """
    document = (await execute(session, _ENTITY, {"this": entity_id})).first()
    row = (await execute(session, _LOCK, {"this": entity_id, "named": property})).first()
    if document is None or row is None:
        return None
    timer = Timer(*row)
    return None if timer.pending == "stop" else (timer, Entity.model_validate(document[0]))


def _change(what: Happening, timer: Timer, entity: Entity, more: dict[str, str | None], *, at: datetime) -> Change:
    context = {
        "blueprint": entity.blueprint,
        "entity": str(entity.identifier),
        "property": timer.property,
        "runId": None,
        **more,
    }
    return Change(
        id=new("event"), resource_type="entity", action=what, at=at, by=PLATFORM, origin=Source.API, context=context,
        before=None, after=entity.document(), subject=timer.entity_id,
    )  # fmt: skip
