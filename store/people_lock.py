"""One lock for whoever writes people, teams or entities of theirs: on PostgreSQL, too, they come one after the other.

A write of one of them writes others: a team its members, each of these an entity. Some begin with the entity and others
with the person or the team, so two of them would wait in a circle. They take this lock before any of these rows. Who
only reads these, gets a token, or relates to an entity that is there, takes no notice of it. On SQLite one writes at a
time in any case.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.entities import Target
from domain.people_entities import MIRRORED
from store.catalog_tables import EntityRow
from store.columns import table
from store.database import execute
from store.search_columns import among_given

_TAKE: Final = sa.text("SELECT pg_advisory_xact_lock(1, 1)")  # two numbers: those of lines and migrations are one
_TAKEN: Final = "people_lock"
_ENTITIES = table(EntityRow).c
_WHICH = sa.select(_ENTITIES.identifier).where(
    _ENTITIES.blueprint == bindparam("of"), among_given(_ENTITIES.identifier, "these")
)


async def take(session: AsyncSession) -> None:
    """Wait for others who write people or teams; nobody else does until the transaction ends."""
    if session.get_bind().dialect.name != "postgresql" or _TAKEN in session.info:
        return
    await execute(session, _TAKE, {})
    if not session.in_nested_transaction():  # it goes with the savepoint after which it was taken
        session.info[_TAKEN] = True


async def take_for(session: AsyncSession, blueprint: str) -> None:
    """The same where entities of the blueprint are people or teams; to be called before one of them is locked."""
    if blueprint in MIRRORED:
        await take(session)


async def take_to_invite(session: AsyncSession, targets: Iterable[Target]) -> None:
    """The same where one of these is a person or a team that does not exist: it is to be created.

    Who is there is only read, so somebody may go meanwhile: then whoever creates them takes the lock later.
    """
    named: defaultdict[str, set[str]] = defaultdict(set)
    for target in targets:
        if target.blueprint in MIRRORED:
            named[target.blueprint].add(str(target.identifier))
    if not named or session.get_bind().dialect.name != "postgresql":
        return
    for blueprint, identifiers in named.items():
        found = await execute(session, _WHICH, {"of": blueprint, "these": sorted(identifiers)})
        if identifiers - set(found.scalars()):
            await take(session)
            return
