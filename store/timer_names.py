"""What timer properties were called before: noted when one is renamed, for changes that were made before."""

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.changes import Happening
from domain.documents import Document
from domain.timer_names import Span, TimerRename, known_as, names_since, spans
from store import listeners
from store.automation_tables import TimerRenameRow
from store.columns import table
from store.database import execute
from store.listeners import Listening
from store.tables import ChangeRow

_ROWS, _CHANGES = table(TimerRenameRow), table(ChangeRow).c
_LAST = sa.select(sa.func.coalesce(sa.func.max(_CHANGES.sequence), 0)).scalar_subquery()
_NOTE = sa.insert(_ROWS).values(
    blueprint=sa.bindparam("of"), old=sa.bindparam("was"), new=sa.bindparam("is_now"), upto=_LAST
)
_OF_BLUEPRINT = (
    sa.select(_ROWS.c.old, _ROWS.c.new, _ROWS.c.upto)
    .where(_ROWS.c.blueprint == sa.bindparam("of"))
    .order_by(_ROWS.c.id)
)
_SEQUENCE = sa.select(_CHANGES.sequence).where(_CHANGES.id == sa.bindparam("this"))
_FORGET = sa.delete(_ROWS).where(~sa.exists().where(_CHANGES.sequence <= _ROWS.c.upto))


async def note(session: AsyncSession, blueprint: str, old: str, new: str) -> None:
    """Note that a timer property is renamed; its timers are already, so that nobody records it by the old name."""
    await listeners.changed(session)
    await execute(session, _NOTE, {"of": blueprint, "was": old, "is_now": new})


async def forget(session: AsyncSession) -> None:
    """Forget the renames that no change is left from before of."""
    await execute(session, _FORGET, {})


async def by_present_name(session: AsyncSession, listening: Listening, change: Document) -> Document:
    """The change as those who listen find it: its timer property by its present name. Any other one as it is."""
    names = await _names(session, listening, change)
    return known_as(change, names[-1:]) if len(names) > 1 else change


async def by_any_name(session: AsyncSession, listening: Listening, change: Document) -> Document:
    """The same for versions of automations of any time since: they may know it by any of its names."""
    names = await _names(session, listening, change)
    return known_as(change, names) if len(names) > 1 else change


async def when(session: AsyncSession, event: Document) -> list[Span]:
    """By which names changes have the timer property that the event of a definition names; none for other events."""
    name = event.get("propertyIdentifier")
    if name is None:
        return []
    rows = await execute(session, _OF_BLUEPRINT, {"of": event.get("blueprintIdentifier")})
    return spans(str(name), [TimerRename(*row) for row in rows.all()])


async def _names(session: AsyncSession, listening: Listening, change: Document) -> list[str | None]:
    context = change["context"]
    if change["action"] not in (Happening.TIMER_EXPIRED, Happening.TIMER_WARNING) or not isinstance(context, dict):
        return []
    renames = listening.timer_renames.get(str(context.get("blueprint")), ())
    if not renames:
        return []
    sequence = (await execute(session, _SEQUENCE, {"this": change["id"]})).scalar_one_or_none() or 0
    return names_since(str(context.get("property")), (one for one in renames if one.upto >= sequence))
