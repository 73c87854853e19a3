"""Where a run stands: its place in each line, who has what it waits for, and the circuit of its backend."""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.backend_rules import Per
from domain.budgets import Circuit, Key, backend_of, circuit_of
from store import circuits
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


async def standing(session: AsyncSession, run_id: str, viewer: Viewer | None) -> Standing:
    """Where the run stands, for somebody who may see it; `viewer` is None for those who see all runs."""
    turn = (await session.exec(select(TurnRow).where(col(TurnRow.run_id) == run_id))).first()
    if turn is None:
        return Standing()
    keys = (await session.exec(select(TurnKeyRow).where(col(TurnKeyRow.run_id) == run_id))).all()
    lines = [await _line(session, row, viewer) for row in sorted(keys, key=lambda row: row.key)]
    circuit = turn.waits_on if turn.waits_on and backend_of(turn.waits_on) is not None else None
    if circuit is None:
        circuit = next((circuit_of(line.key.of) for line in lines if line.key.per is Per.BACKEND), None)
    known = await circuits.find(session, circuit) if circuit else circuits.UNSUSPECTED
    return Standing(
        waiting=turn.state == WAITING,
        since=turn.since,
        lines=tuple(lines),
        circuit=known if known != circuits.UNSUSPECTED else None,
    )


async def _line(session: AsyncSession, row: TurnKeyRow, viewer: Viewer | None) -> Line:
    position = None
    if row.state == WAITING:
        ahead = select(func.count()).where(
            col(TurnKeyRow.key) == row.key, col(TurnKeyRow.state) == WAITING, col(TurnKeyRow.place) < row.place
        )
        position = int((await session.exec(ahead)).one()) + 1
    holders = (
        select(col(RunRow.id))
        .join(TurnKeyRow, col(TurnKeyRow.run_id) == col(RunRow.id))
        .where(col(TurnKeyRow.key) == row.key, col(TurnKeyRow.state) == HELD)
        .order_by(col(TurnKeyRow.place))
        .limit(_MOST_HOLDERS)
    )
    if viewer:
        holders = holders.where(visible_to(viewer))
    return Line(Key.read(row.key), position, tuple(await session.exec(holders)))
