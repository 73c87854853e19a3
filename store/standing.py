"""Where a run stands, or would: its place in each line, who has what it waits for, and the circuit of its backend."""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.backend_rules import Per
from domain.budgets import Circuit, Key, Wanted, backend_of, circuit_of
from store import circuits
from store.lines import LAST, Obstacle, at_circuit, in_line
from store.run_rows import HELD, WAITING
from store.run_visibility import Viewer, visible_to
from store.tables import RunRow
from store.turn_tables import TurnKeyRow, TurnRow

_MOST_HOLDERS = 100


@dataclass(frozen=True)
class Line:
    """One of the lines that a run stands in."""

    key: Key
    position: int | None
    """1 is the first. None: it waits no more."""
    holders: tuple[str, ...]
    """The runs that have their turn, as far as the viewer may see them; those that have had it longest."""


@dataclass(frozen=True)
class Standing:
    """All of it."""

    waiting: bool = False
    since: datetime | None = None
    """When it came. None: it needs no turn, has not asked for it yet, or has ended."""
    lines: tuple[Line, ...] = ()
    circuit: Circuit | None = None
    """None: nothing is held against its backend."""
    obstacle: Obstacle | None = None
    """What would be in the way of a run that has not come yet; told of no other one."""


async def standing(session: AsyncSession, run_id: str, viewer: Viewer | None) -> Standing:
    """Where the run stands, for somebody who may see it; `viewer` is None for those who see all runs."""
    turn = (await session.exec(select(TurnRow).where(col(TurnRow.run_id) == run_id))).first()
    if turn is None:
        return Standing()
    keys = (await session.exec(select(TurnKeyRow).where(col(TurnKeyRow.run_id) == run_id))).all()
    lines = [
        await _line(session, Key.read(row.key), row.place if row.state == WAITING else None, viewer)
        for row in sorted(keys, key=lambda row: row.key)
    ]
    circuit = turn.waits_on if turn.waits_on and backend_of(turn.waits_on) is not None else None
    if circuit is None:
        circuit = next((circuit_of(line.key.of) for line in lines if line.key.per is Per.BACKEND), None)
    return Standing(
        waiting=turn.state == WAITING,
        since=turn.since,
        lines=tuple(lines),
        circuit=await _suspected(session, circuit),
    )


async def foreseen(
    session: AsyncSession, run_id: str, wanted: Wanted, viewer: Viewer | None, *, at: datetime
) -> Standing:
    """Where a run that is not there would stand if it asked for its turn now. Nothing is changed.

    It may come otherwise: others can come before it.
    """
    budgets = {str(key): budgets for key, budgets in wanted.budgets.items()}
    obstacle = await in_line(session, run_id, LAST, budgets, at)
    circuit = await _suspected(session, wanted.circuit)
    if obstacle is None and wanted.circuit and circuit:
        obstacle = await at_circuit(session, run_id, LAST, wanted.circuit, circuit, at)
    place = LAST if obstacle else None
    lines = [await _line(session, key, place, viewer) for key in wanted.budgets]
    return Standing(waiting=obstacle is not None, lines=tuple(lines), circuit=circuit, obstacle=obstacle)


async def _suspected(session: AsyncSession, circuit: str | None) -> Circuit | None:
    known = await circuits.find(session, circuit) if circuit else circuits.UNSUSPECTED
    return known if known != circuits.UNSUSPECTED else None


async def _line(session: AsyncSession, key: Key, place: int | None, viewer: Viewer | None) -> Line:
    """A line, as seen by who waits at this place of it; None: nobody does."""
    position = None
    if place is not None:
        ahead = select(func.count()).where(
            col(TurnKeyRow.key) == str(key), col(TurnKeyRow.state) == WAITING, col(TurnKeyRow.place) < place
        )
        position = int((await session.exec(ahead)).one()) + 1
    holders = (
        select(col(RunRow.id))
        .join(TurnKeyRow, col(TurnKeyRow.run_id) == col(RunRow.id))
        .where(col(TurnKeyRow.key) == str(key), col(TurnKeyRow.state) == HELD)
        .order_by(col(TurnKeyRow.place))
        .limit(_MOST_HOLDERS)
    )
    if viewer:
        holders = holders.where(visible_to(viewer))
    return Line(key, position, tuple(await session.exec(holders)))
