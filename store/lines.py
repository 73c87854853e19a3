"""Lines: what is in the way of a run that asks for its turn. Only looked at; who moves in them is in `store.turns`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.backend_rules import Budget
from domain.budgets import Circuit
from store.columns import table
from store.database import execute
from store.run_rows import HELD, WAITING
from store.turn_tables import TurnKeyRow, TurnRow

LAST = 2**63 - 1
"""The place of whoever has not come yet: behind all others."""

_TURNS, _KEYS = table(TurnRow).c, table(TurnKeyRow).c
_THIS: sa.BindParameter[Any] = bindparam("this")
_LINE: sa.BindParameter[Any] = bindparam("line")
_PLACE: sa.BindParameter[Any] = bindparam("at_place")
_AHEAD = (
    sa.select(_KEYS.place)
    .where(_KEYS.key == _LINE, _KEYS.state == WAITING, _KEYS.place < _PLACE)
    .limit(1)
)  # fmt: skip
_HOLDERS = sa.select(sa.func.count()).where(_KEYS.key == _LINE, _KEYS.state == HELD, _KEYS.run_id != _THIS)
_STARTED = (
    sa.select(_KEYS.taken_at)
    .where(_KEYS.key == _LINE, _KEYS.taken_at > bindparam("since"), _KEYS.run_id != _THIS)
    .order_by(_KEYS.taken_at.desc())
    .limit(1)
    .offset(bindparam("number"))
)
_EARLIER = sa.select(_TURNS.place).where(_TURNS.waits_on == _LINE, _TURNS.place < _PLACE).limit(1)


@dataclass(frozen=True)
class Obstacle:
    """What is in the way of a run: the key of a line or the name of a circuit, and until when, if that is known."""

    waits_on: str
    until: datetime | None = None
    behind: bool = False
    """Whether it only has to let somebody go first who came earlier."""


async def in_line(
    session: AsyncSession, run_id: str, place: int, lines: Mapping[str, Iterable[Budget]], at: datetime
) -> Obstacle | None:
    """What is in the way of a run with this place in every line; `lines` has by which budgets each is judged."""
    for line, budgets in lines.items():
        if (await execute(session, _AHEAD, {"line": line, "at_place": place})).first():
            return Obstacle(line, behind=True)
        for budget in budgets:
            if budget.concurrent is not None:
                holders = (await execute(session, _HOLDERS, {"line": line, "this": run_id})).scalar_one()
                if holders >= budget.concurrent:
                    return Obstacle(line)
            if budget.starts is not None and budget.within is not None:
                counted = {"line": line, "this": run_id, "since": at - budget.within, "number": budget.starts - 1}
                started = (await execute(session, _STARTED, counted)).scalar()
                if started is not None:
                    return Obstacle(line, started + budget.within)
    return None


async def at_circuit(
    session: AsyncSession, run_id: str, place: int, name: str, circuit: Circuit, at: datetime
) -> Obstacle | None:
    """Whether the circuit with this name is in the way. None: its backend is called, or this run may try it."""
    if circuit.open_until is None or circuit.probe == run_id:
        return None
    if (await execute(session, _EARLIER, {"line": name, "at_place": place})).first():
        return Obstacle(name, behind=True)
    if circuit.lets(run_id, at=at):
        return None
    return Obstacle(name, circuit.open_until if circuit.open_until > at else None)
