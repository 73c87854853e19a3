"""The system blueprints in SQL: put there when missing or of an earlier version, people and teams with them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint, BlueprintId
from domain.documents import Document
from domain.errors import IdentifierTaken, NotFound
from domain.people_entities import TEAM, USER
from domain.system_blueprints import system_blueprints, upgraded
from store import blueprints, people_lock, people_mirror, teams, users
from store.catalog_tables import EntityRow
from store.tables import TeamRow, UserRow

log = logging.getLogger(__name__)

_BY, _ORIGIN = "interlock", "INTERLOCK"


async def complete(session: AsyncSession) -> bool:
    """Whether every system blueprint is there as this version has it, and all people and teams have entities."""
    for shipped in system_blueprints():
        found = await _found(session, shipped)
        if found is None or upgraded(found.document) is not found.document:
            return False
    return not (await _lacks(session, USER, UserRow) or await _lacks(session, TEAM, TeamRow))


async def ensure(session: AsyncSession, *, at: datetime) -> None:
    """Make it so. What extensions have added stays.

    Raises:
        IdentifierTaken: another process has just made one of the blueprints.
        store.database.Raced: another process has just made one of the entities.
    """
    await people_lock.take(session)
    for shipped in system_blueprints():
        before = await _found(session, shipped, to_change=True)
        if before is None:
            identifier = BlueprintId(str(shipped["identifier"]))
            made = Blueprint(identifier, shipped, created_at=at, created_by=_BY, updated_at=at, updated_by=_BY)
            await blueprints.create(session, made, origin=_ORIGIN)
        elif (document := upgraded(before.document)) is not before.document:
            after = replace(before, document=document, updated_at=at, updated_by=_BY)
            await blueprints.replace(session, before, after, origin=_ORIGIN)
    writer = people_mirror.writer(at=at, by=_BY, origin=_ORIGIN)
    for team in await teams.listed(session):
        with _unless_taken():
            await people_mirror.put_team(session, team, team, writer=writer)
    for user in await users.everybody(session, to_change=True):
        with _unless_taken():
            await people_mirror.put_user(session, user, writer=writer)


@contextmanager
def _unless_taken() -> Iterator[None]:
    """Goes on without the entity of somebody whose identifier another one has: that must not keep us from starting."""
    try:
        yield
    except IdentifierTaken as taken:
        log.warning("no entity", extra={"cause": str(taken)})


async def _found(session: AsyncSession, shipped: Document, *, to_change: bool = False) -> Blueprint | None:
    try:
        return await blueprints.get(session, str(shipped["identifier"]), to_change=to_change)
    except NotFound:
        return None


async def _lacks(session: AsyncSession, blueprint: str, row: type[UserRow] | type[TeamRow]) -> bool:
    """Whether fewer entities are there than there should be, because an earlier version wrote some of them."""
    entities = select(func.count()).select_from(EntityRow).where(col(EntityRow.blueprint) == blueprint)
    there = (await session.exec(entities)).one()
    return bool(there < (await session.exec(select(func.count()).select_from(row))).one())
