"""Who listens to what, automations and addresses: read once for each number of `ListeningRow`, and never stale."""

from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from pydantic import JsonValue
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.automations import keys_of_event
from domain.changes import Happening, Key
from domain.condition_index import ConditionIndex
from domain.documents import Document
from domain.identifiers import new
from domain.timer_names import TimerRename
from store.automation_tables import ListeningRow, TimerRenameRow
from store.catalog_tables import BlueprintRow
from store.columns import table
from store.database import execute
from store.tables import ActionRow

_LISTENING = table(ListeningRow).c
_NUMBER = sa.select(_LISTENING.number, _LISTENING.token)
_BUMP = update(table(ListeningRow)).values(number=_LISTENING.number + 1, token=sa.bindparam("new_token"))
_MOST_KNOWN = 20
_CHANGING = "changes who listens"
_TOLD = (Happening.CREATE, Happening.UPDATE, Happening.DELETE, Happening.TIMER_EXPIRED)
"""What is sent to destinations: all that the contract has."""
_DESTINATION = table(BlueprintRow).c.document[("document", "changelogDestination")]
_DESTINATIONS = sa.select(table(BlueprintRow).c.identifier, _DESTINATION).where(
    table(BlueprintRow).c.document[("document", "changelogDestination", "type")].as_string().in_(("KAFKA", "WEBHOOK"))
)

_RENAMED = table(TimerRenameRow).c
_TIMER_RENAMES = sa.select(_RENAMED.blueprint, _RENAMED.old, _RENAMED.new, _RENAMED.upto).order_by(_RENAMED.id)


@dataclass(frozen=True)
class Listener:
    """An automation that is published and not paused, in the version that is current."""

    action_id: str
    version: int
    since: int
    """Changes that were written before this number are none of its business."""


@dataclass(frozen=True)
class Listening:
    """All of them, by what they listen to."""

    number: int
    by_key: Mapping[Key, Sequence[Listener]]
    by_action: Mapping[str, Listener]
    conditions: Mapping[str, JsonValue]
    """Of each of them, by the id of its action."""
    destinations: Mapping[str, Document]
    """The `changelogDestination` of each blueprint that has one."""
    timer_renames: Mapping[str, Sequence[TimerRename]] = field(default_factory=dict)
    """What timer properties of a blueprint were called, as far as there are changes of then."""
    _by_value: dict[Key, ConditionIndex[Listener]] = field(default_factory=dict, compare=False)

    def possible(self, key: Key, event: Document) -> Sequence[Listener]:
        """Those who listen to such changes and whose condition may hold for the event; those of all others do not."""
        index = self._by_value.get(key)
        if index is None:  # only who asks needs it, and nobody needs all
            found = self.by_key.get(key, ())
            index = self._by_value[key] = ConditionIndex((one, self.conditions.get(one.action_id)) for one in found)
        return index.possible(event)

    def hears(self, key: Key) -> bool:
        """Whether anybody has to be asked, or told, about such a change."""
        return key in self.by_key or self._tells(*key)

    def destination(self, change: Document) -> Document | None:
        """Where the change goes to; None: it is none that is told, or its blueprint has no destination."""
        context = change["context"]
        blueprint = str(context.get("blueprint")) if isinstance(context, dict) else ""
        told = self._tells(str(change["resourceType"]), str(change["action"]), blueprint)
        return self.destinations[blueprint] if told else None

    def _tells(self, kind: str, happening: str, of: str) -> bool:
        return kind == "entity" and of in self.destinations and happening in _TOLD


_known: OrderedDict[str, Listening] = OrderedDict()


async def current(session: AsyncSession) -> Listening:
    """Who listens, as it is in the transaction of the session."""
    if _CHANGING in session.info:  # what this transaction sees is nobody else's yet
        mine: Listening | None = session.info[_CHANGING]
        session.info[_CHANGING] = mine = mine or await _read(session, await _number(session))
        return mine
    while True:
        number, token = (await execute(session, _NUMBER, {})).one()
        if found := _known.get(token):
            return found
        found = await _read(session, number)
        if await _number(session) == number:  # or parts of it are of another moment
            _known[token] = found
            while len(_known) > _MOST_KNOWN:
                _known.popitem(last=False)
            return found


async def changed(session: AsyncSession) -> int:
    """Note that somebody listens differently from this transaction on; the number of it.

    Others that change who listens wait until the transaction ends.
    """
    session.info[_CHANGING] = None
    await execute(session, _BUMP, {"new_token": new("listening")})
    return await _number(session)


async def _number(session: AsyncSession) -> int:
    number: int = (await execute(session, _NUMBER, {})).one()[0]
    return number


async def begin_anew(session: AsyncSession, action_id: str) -> None:
    """Let the automation, if it listens, be asked about what happens from now on only: its event means other things."""
    number = await changed(session)
    listens = sa.and_(col(ActionRow.id) == action_id, col(ActionRow.listening_since).is_not(None))
    await session.exec(update(ActionRow).where(listens).values(listening_since=number))


async def _read(session: AsyncSession, number: int) -> Listening:
    rows = await session.exec(
        select(ActionRow.id, ActionRow.version, ActionRow.listening_since, ActionRow.document)
        .where(col(ActionRow.listening_since).is_not(None), col(ActionRow.paused).is_(None))
        .order_by(col(ActionRow.identifier))
    )
    by_key: defaultdict[Key, list[Listener]] = defaultdict(list)
    conditions: dict[str, JsonValue] = {}
    by_action: dict[str, Listener] = {}
    for action_id, version, since, document in rows:
        by_action[action_id] = Listener(action_id, version, since or 0)
        trigger = document["document"]["trigger"]
        conditions[action_id] = trigger.get("condition")
        for key in keys_of_event(trigger["event"]):
            by_key[key].append(by_action[action_id])
    destinations = {name: where for name, where in (await execute(session, _DESTINATIONS, {})).all() if where}
    renames: defaultdict[str, list[TimerRename]] = defaultdict(list)
    for blueprint, *rename in (await execute(session, _TIMER_RENAMES, {})).all():
        renames[blueprint].append(TimerRename(*rename))
    return Listening(number, dict(by_key), by_action, conditions, destinations, dict(renames))
