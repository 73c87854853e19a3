"""Turns in SQL: a run gets all that it needs at once or waits for all of it, first come first served in every line.

The order of locks, for PostgreSQL: the row of the run itself, then its lines (advisory locks, in order of their
numbers), then rows of turns. Nobody who has a line waits for the row of a run, so nobody waits in a circle. Who looks
into a line or leaves it has it to himself until the transaction ends, so two never take the same place.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.backend_rules import LONGEST_WINDOW
from domain.budgets import Circuit, Wanted, in_words, look_again
from domain.runs import Run, RunStatus
from store import circuits
from store.bell import TURNS
from store.columns import table
from store.database import RINGS_TURNS, execute
from store.lines import Obstacle, at_circuit, in_line
from store.run_rows import HELD, WAITING
from store.tables import RunRow
from store.turn_tables import TurnKeyRow, TurnRow

OVER = "over"
_ASKED_AGAIN = timedelta(seconds=10)
"""How long a workflow that was called may take to look before it is called again."""

_RUN_TABLE, _TURN_TABLE, _KEY_TABLE = table(RunRow), table(TurnRow), table(TurnKeyRow)
_RUNS, _TURNS, _KEYS = _RUN_TABLE.c, _TURN_TABLE.c, _KEY_TABLE.c
_THIS: sa.BindParameter[Any] = bindparam("this")
_LINE: sa.BindParameter[Any] = bindparam("line")
_PLACE: sa.BindParameter[Any] = bindparam("at_place")

_LOCK_RUN = sa.select(_RUNS.status).where(_RUNS.id == _THIS).with_for_update()
_FLAG = sa.update(_RUN_TABLE).where(_RUNS.id == _THIS).values(turn=bindparam("state"))
_LOCK_LINE = sa.text("SELECT pg_advisory_xact_lock(:number)")
_NOTIFY = sa.text(f"SELECT pg_notify('{TURNS}', '')")
_MINE = sa.select(_TURNS.place, _TURNS.state, _TURNS.since, _TURNS.waits_on).where(_TURNS.run_id == _THIS)
_MY_LINES = sa.select(_KEYS.key).where(_KEYS.run_id == _THIS, _KEYS.state != OVER)
_COME = (
    sa.insert(_TURN_TABLE)
    .values(run_id=_THIS, state=WAITING, since=bindparam("came_at"))
    .returning(_TURNS.place)
)  # fmt: skip
_STAND = sa.insert(_KEY_TABLE).values(run_id=_THIS, key=_LINE, place=_PLACE, state=WAITING)
_STAND_NO_MORE = sa.delete(_KEY_TABLE).where(_KEYS.run_id == _THIS, _KEYS.key == _LINE)
_SET = sa.update(_TURN_TABLE).where(_TURNS.run_id == _THIS)
_SET_LINES = sa.update(_KEY_TABLE).where(_KEYS.run_id == _THIS, _KEYS.state != OVER)
_COUNT_START = sa.update(_KEY_TABLE).where(_KEYS.run_id == _THIS, _KEYS.key == _LINE)
_GO = sa.delete(_TURN_TABLE).where(_TURNS.run_id == _THIS)
_FORGET = sa.delete(_KEY_TABLE).where(_KEYS.run_id == _THIS, _KEYS.taken_at.is_(None))
_FIRST = sa.select(sa.func.min(_TURNS.place)).where(_TURNS.waits_on == _LINE).scalar_subquery()
_CALL = (
    sa.update(_TURN_TABLE)
    .where(_TURNS.place == _FIRST, sa.or_(_TURNS.call_at.is_(None), _TURNS.call_at > bindparam("when")))
    .values(call_at=bindparam("when"))
)
_CALL_ALL = sa.update(_TURN_TABLE).where(_TURNS.waits_on == _LINE).values(call_at=bindparam("when"))
_DUE = (
    sa.select(_TURNS.run_id, _RUNS.document)
    .join(_RUN_TABLE, _RUNS.id == _TURNS.run_id)
    .where(_TURNS.call_at <= bindparam("when"))
    .order_by(_TURNS.call_at, _TURNS.place)
    .limit(bindparam("most"))
    .with_for_update(of=_TURN_TABLE, skip_locked=True)
)
_ANY_DUE = sa.select(_TURNS.place).where(_TURNS.call_at <= bindparam("when")).limit(1)
_CALLED = (
    sa.update(_TURN_TABLE)
    .where(_TURNS.run_id.in_(bindparam("ids", expanding=True)))
    .values(call_at=bindparam("again"))
)  # fmt: skip
_WAITING = (
    sa.select(_TURNS.run_id, _TURNS.waits_on)
    .where(_TURNS.run_id.in_(bindparam("ids", expanding=True)), _TURNS.waits_on.is_not(None))
    .subquery()
)
_LINES = (
    sa.select(
        _KEYS.run_id,
        _KEYS.key,
        sa.func.row_number().over(partition_by=_KEYS.key, order_by=_KEYS.place).label("position"),
    )
    .where(_KEYS.state == WAITING, _KEYS.key.in_(sa.select(_WAITING.c.waits_on)))
    .subquery()
)
_POSITIONS = sa.select(_WAITING.c.run_id, _WAITING.c.waits_on, sa.func.coalesce(_LINES.c.position, 0)).join(
    _LINES, (_LINES.c.run_id == _WAITING.c.run_id) & (_LINES.c.key == _WAITING.c.waits_on), isouter=True
)
_LEFT_BEHIND = (
    sa.select(_TURNS.run_id)
    .join(_RUN_TABLE, _RUNS.id == _TURNS.run_id)
    .where(_RUNS.status != RunStatus.IN_PROGRESS)
    .order_by(_TURNS.place)
    .limit(bindparam("most"))
)
_PURGE = sa.delete(_KEY_TABLE).where(_KEYS.state == OVER, _KEYS.taken_at < bindparam("before"))


@dataclass(frozen=True)
class Turn:
    """What came of asking for a turn."""

    granted: bool
    obstacle: Obstacle | None = None
    """Why not. None and not granted: the run is not in progress any more."""
    look_at: datetime | None = None
    """When to look again, although the workflow is called."""
    is_news: bool = False
    """Whether it has just begun to wait; or, if it is granted, has waited until now."""
    waited: timedelta = timedelta(0)


async def take(session: AsyncSession, run_id: str, wanted: Wanted, *, at: datetime) -> Turn:
    """Ask for the turn of a run: all that it needs, or none of it and a place in every line.

    Whoever has its turn keeps it when it asks again, unless the circuit of its backend has opened meanwhile: then it
    gives everything back and waits, with the place it had.
    """
    if (await execute(session, _LOCK_RUN, {"this": run_id})).scalar() != RunStatus.IN_PROGRESS:
        return Turn(granted=False)
    mine = (await execute(session, _MINE, {"this": run_id})).first()
    known = set((await execute(session, _MY_LINES, {"this": run_id})).scalars()) if mine else set[str]()
    lines = {str(key): budgets for key, budgets in wanted.budgets.items()}
    waited_on = {mine.waits_on} if mine and mine.waits_on else set[str]()
    tries = set(await circuits.tried_by(session, run_id)) - {wanted.circuit} if mine else set[str]()
    await lock(session, {*known, *lines, *waited_on, *tries, *filter(None, [wanted.circuit])})
    if tries:  # it does not go there any more
        await circuits.abandon(session, run_id)
        await _call(session, tries, at)
    if mine is None:
        place = (await execute(session, _COME, {"this": run_id, "came_at": at})).scalar_one()
        state, since = "", at
    else:
        place, state, since = mine.place, mine.state, mine.since
    await _stand(session, run_id, place, known, set(lines))
    stays = state == HELD and known == set(lines)
    obstacle = None if stays else await in_line(session, run_id, place, lines, at)
    if obstacle is None:
        obstacle = await _circuit(session, run_id, place, wanted, at)
    if obstacle is None and stays:
        return Turn(granted=True)
    now = WAITING if obstacle else HELD
    await execute(
        session,
        _SET,
        {
            "this": run_id,
            "state": now,
            "waits_on": obstacle.waits_on if obstacle else None,
            "call_at": obstacle.until if obstacle else None,
        },
    )
    await execute(session, _SET_LINES, {"this": run_id, "state": now})
    await execute(session, _FLAG, {"this": run_id, "state": now})
    if obstacle is None:
        for line, budgets in lines.items():
            if any(budget.starts for budget in budgets):
                await execute(session, _COUNT_START, {"this": run_id, "line": line, "taken_at": at})
    # Those behind it may fit in beside it, or wait for nobody where it does not stand any more.
    await _call(session, {*known, *waited_on} - ({obstacle.waits_on} if obstacle else set()), at)
    if obstacle is None:
        return Turn(granted=True, is_news=state == WAITING, waited=at - since)
    look_at = look_again(since, at=at, until=obstacle.until)
    return Turn(granted=False, obstacle=obstacle, look_at=look_at, is_news=state != WAITING)


async def leave(session: AsyncSession, run_id: str, *, at: datetime) -> None:
    """Give back whatever the run has, and call whoever is next; the row of the run must be locked already."""
    mine = (await execute(session, _MINE, {"this": run_id})).first()
    lines = set((await execute(session, _MY_LINES, {"this": run_id})).scalars())
    lines |= {mine.waits_on} if mine and mine.waits_on else set()
    lines |= set(await circuits.tried_by(session, run_id))
    await lock(session, lines)
    await execute(session, _GO, {"this": run_id})
    await execute(session, _FORGET, {"this": run_id})
    await execute(session, _SET_LINES, {"this": run_id, "state": OVER})
    await circuits.abandon(session, run_id)
    await _call(session, lines, at)


async def heard_of(
    session: AsyncSession, run_id: str, wanted: Wanted, *, worked: bool | None, at: datetime
) -> Circuit | None:
    """Note how the backend has taken a call, and call those who wait for that; its circuit, if it opens or closes.

    `worked` is None where the run did not call it: then another one tries it, if it was this one's part.
    """
    if wanted.breaker is None or wanted.circuit is None:
        return None
    await lock(session, {wanted.circuit})
    before = await circuits.find(session, wanted.circuit)
    if worked is None:
        after = before.abandoned(run_id)
    else:
        after = before.worked() if worked else before.failed(run_id, wanted.breaker, at=at)
    if after == before:
        return None
    await circuits.keep(session, wanted.circuit, after)
    if before.open_until is None and after.open_until is None:
        return None
    if after.open_until is None:
        result = await execute(session, _CALL_ALL, {"line": wanted.circuit, "when": at})
        await _ring(session, result.rowcount)
    else:
        await _call(session, {wanted.circuit}, max(at, after.open_until))
    return None if after.open_until == before.open_until else after


async def labelled(session: AsyncSession, listed: Sequence[Run]) -> list[Run]:
    """The runs; those that wait for their turn say what they wait for."""
    waiting = [run.id for run in listed if run.queued and not run.status.is_terminal]
    if not waiting:
        return list(listed)
    found = await session.exec(_POSITIONS, params={"ids": waiting})  # type: ignore[call-overload]
    told = {run_id: (waits_on, position) for run_id, waits_on, position in found}
    return [
        run.model_copy(update={"status_label": in_words(run, *told[run.id])}) if run.id in told else run
        for run in listed
    ]


async def any_due(session: AsyncSession, *, at: datetime) -> bool:
    """Whether the workflow of any run is to be called by now."""
    return (await execute(session, _ANY_DUE, {"when": at})).first() is not None


async def due(session: AsyncSession, *, at: datetime, limit: int) -> list[Run]:
    """The runs whose workflows are to be called by now; each is given to one caller, and again if it does not look."""
    found = list(await session.exec(_DUE, params={"when": at, "most": limit}))  # type: ignore[call-overload]
    if found:
        await execute(session, _CALLED, {"ids": [row.run_id for row in found], "again": at + _ASKED_AGAIN})
    return [Run.model_validate(row.document) for row in found]


async def left_behind(session: AsyncSession, *, limit: int) -> Sequence[str]:
    """Runs that have ended and have not given back their turn: a process of an older version has ended them."""
    found: Sequence[str] = (await execute(session, _LEFT_BEHIND, {"most": limit})).scalars().all()
    return found


async def give_back(session: AsyncSession, run_id: str, *, at: datetime) -> None:
    """Do for the run what whoever has ended it has not done."""
    if (await execute(session, _LOCK_RUN, {"this": run_id})).scalar() != RunStatus.IN_PROGRESS:
        await leave(session, run_id, at=at)
        await execute(session, _FLAG, {"this": run_id, "state": None})


async def purge(session: AsyncSession, *, at: datetime) -> int:
    """Forget starts that no budget counts any more; how many."""
    forgotten: int = (await execute(session, _PURGE, {"before": at - LONGEST_WINDOW})).rowcount
    return forgotten


async def lock(session: AsyncSession, lines: Iterable[str]) -> None:
    """Have these lines for this transaction alone. Nothing to do on SQLite, where only one writes."""
    if session.get_bind().dialect.name != "postgresql":
        return
    for number in sorted({_number(line) for line in lines}):
        await execute(session, _LOCK_LINE, {"number": number})


def _number(line: str) -> int:
    return int.from_bytes(hashlib.sha256(f"line {line}".encode()).digest()[:8], signed=True)


async def _stand(session: AsyncSession, run_id: str, place: int, known: set[str], lines: set[str]) -> None:
    """Let the run stand in these lines: others than before, if its delivery goes to another backend by now."""
    for line in sorted(known - lines):
        await execute(session, _STAND_NO_MORE, {"this": run_id, "line": line})
    for line in sorted(lines - known):
        await execute(session, _STAND_NO_MORE, {"this": run_id, "line": line})  # what is left of an earlier time
        await execute(session, _STAND, {"this": run_id, "line": line, "at_place": place})


async def _circuit(session: AsyncSession, run_id: str, place: int, wanted: Wanted, at: datetime) -> Obstacle | None:
    if wanted.circuit is None:
        return None
    circuit = await circuits.find(session, wanted.circuit)
    obstacle = await at_circuit(session, run_id, place, wanted.circuit, circuit, at)
    if obstacle is None and circuit.open_until is not None and circuit.probe != run_id:
        await circuits.keep(session, wanted.circuit, circuit.tried(run_id))
    elif obstacle and obstacle.behind and circuit.open_until is not None:
        await _call(session, {wanted.circuit}, max(at, circuit.open_until))  # it tries, or is called when it may
    return obstacle


async def _call(session: AsyncSession, lines: Iterable[str], at: datetime) -> None:
    called = 0
    for line in sorted(lines):
        called += (await execute(session, _CALL, {"line": line, "when": at})).rowcount
    await _ring(session, called)


async def _ring(session: AsyncSession, called: int) -> None:
    if called and not session.info.get(RINGS_TURNS):
        session.info[RINGS_TURNS] = True
        if session.get_bind().dialect.name == "postgresql":
            await execute(session, _NOTIFY, {})
