"""Circuits in SQL: which backends have failed lately. Who changes one has its line (see `store.turns`)."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.budgets import Circuit
from store.columns import table
from store.database import execute
from store.turn_tables import CircuitRow

UNSUSPECTED = Circuit()
"""What is known of a backend that nothing is held against: there is no row then."""

_TABLE = table(CircuitRow)
_CIRCUITS = _TABLE.c
_FIND = sa.select(_CIRCUITS.failures, _CIRCUITS.open_until, _CIRCUITS.probe).where(_CIRCUITS.key == bindparam("this"))
_INSERT = sa.insert(_TABLE)
_DELETE = sa.delete(_TABLE).where(_CIRCUITS.key == bindparam("this"))
_TRIED = sa.select(_CIRCUITS.key).where(_CIRCUITS.probe == bindparam("this"))
_ABANDON = sa.update(_TABLE).where(_CIRCUITS.probe == bindparam("this")).values(probe=None)


async def find(session: AsyncSession, circuit: str) -> Circuit:
    """What is known of the backend with this circuit; nothing, as a rule."""
    found = (await execute(session, _FIND, {"this": circuit})).first()
    return Circuit(*found) if found else UNSUSPECTED


async def keep(session: AsyncSession, circuit: str, state: Circuit) -> None:
    """Know this of it from now on."""
    await execute(session, _DELETE, {"this": circuit})
    if state != UNSUSPECTED:
        values = {"failures": state.failures, "open_until": state.open_until, "probe": state.probe}
        await execute(session, _INSERT, {"key": circuit, **values})


async def tried_by(session: AsyncSession, run_id: str) -> Sequence[str]:
    """The circuits of the backends that the run is to try."""
    found: Sequence[str] = (await execute(session, _TRIED, {"this": run_id})).scalars().all()
    return found


async def abandon(session: AsyncSession, run_id: str) -> None:
    """Let others try the backends that the run was to try."""
    await execute(session, _ABANDON, {"this": run_id})
