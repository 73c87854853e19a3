"""Blueprints in SQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy import bindparam
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint, BlueprintId, Definition
from domain.changes import Change
from domain.documents import same
from domain.errors import HasDependents, IdentifierTaken, InvalidRequest, NotFound
from domain.identifiers import new
from domain.shapes import json_path, shortened
from store import blueprint_permissions, blueprint_timers, changes, listeners
from store.catalog_tables import BlueprintRow, EntityRow
from store.columns import table
from store.database import execute

_COLUMNS = table(BlueprintRow).c
_FIND = sa.select(_COLUMNS.id, _COLUMNS.revision, _COLUMNS.document).where(_COLUMNS.identifier == bindparam("this"))
_TO_USE = _FIND.with_for_update(read=True)
_TO_CHANGE = _FIND.with_for_update()

_BLUEPRINT = TypeAdapter(Blueprint)
_MOST_KEPT = 1_000
_known: dict[tuple[str, int, object], Blueprint] = {}
"""Revisions read before: one never changes, so what is here is never stale, and is parsed only once."""


async def create(session: AsyncSession, blueprint: Blueprint, *, origin: str) -> None:
    """Insert the blueprint.

    Raises:
        IdentifierTaken: another one has the identifier.
    """
    document = _BLUEPRINT.dump_python(blueprint, mode="json")
    session.add(BlueprintRow(id=new("blueprint"), identifier=blueprint.identifier, revision=0, document=document))
    try:
        await session.flush()
    except IntegrityError:
        raise IdentifierTaken("Blueprint", blueprint.identifier) from None
    await _record(session, None, blueprint, by=blueprint.created_by, at=blueprint.created_at, origin=origin)


async def replace(
    session: AsyncSession, before: Blueprint, after: Blueprint, *, origin: str, renames: bool = False
) -> None:
    """Make `after` of the blueprint. `before` was read `to_change` in this transaction.

    Timers follow, unless it or a key of it only gets another name: then they follow that.

    Raises:
        IdentifierTaken: it has another identifier, which another one has.
    """
    document = _BLUEPRINT.dump_python(after, mode="json")
    try:
        await session.exec(
            sa.update(table(BlueprintRow))
            .where(_COLUMNS.identifier == before.identifier)
            .values(identifier=after.identifier, revision=_COLUMNS.revision + 1, document=document)
        )
    except IntegrityError:
        raise IdentifierTaken("Blueprint", after.identifier) from None
    await _record(session, before, after, by=after.updated_by, at=after.updated_at, origin=origin)
    if not renames:
        await blueprint_timers.follow(session, before.definition, after.definition, at=after.updated_at)


async def remove(session: AsyncSession, blueprint: Blueprint, *, by: str, at: datetime, origin: str) -> None:
    """Delete the blueprint, which was read `to_change` in this transaction.

    Raises:
        HasDependents: there are entities of it, or other blueprints relate to it.
    """
    if number := await count(session, blueprint.identifier):
        raise HasDependents(f"Blueprint {blueprint.identifier!r} has {number} entities; delete them first")
    related = [
        f"{other.identifier}.{name}"
        for other in await listed(session)
        for name, relation in other.definition.relations.items()
        if relation.target == blueprint.identifier and other.identifier != blueprint.identifier
    ]
    if related:
        raise HasDependents(f"Blueprint {blueprint.identifier!r} is the target of {', '.join(related)}")
    await session.exec(delete(BlueprintRow).where(col(BlueprintRow.identifier) == blueprint.identifier))
    await blueprint_permissions.forget(session, blueprint.identifier)
    await _record(session, blueprint, None, by=by, at=at, origin=origin)


async def get(session: AsyncSession, identifier: str, *, to_use: bool = False, to_change: bool = False) -> Blueprint:
    """The blueprint. Until the transaction ends nobody changes one that was read `to_use`, or reads one `to_change`.

    Raises:
        NotFound: there is none.
    """
    statement = _TO_CHANGE if to_change else _TO_USE if to_use else _FIND
    found = (await execute(session, statement, {"this": identifier})).first()
    if found is None:
        raise NotFound("Blueprint", identifier)
    return _read(*found)


async def require_references(session: AsyncSession, definition: Definition, before: Definition | None = None) -> None:
    """Nothing, if blueprints it relates to or aggregates are there, and its paths follow relations of theirs.

    Of what is at the end of a path only an aggregation's blueprint is looked at: blueprints may show and count one
    another's properties, and one of the two is written first.

    Paths and aggregations that stand as they stood before are not looked at. Nobody changes what was found until the
    transaction ends.

    Raises:
        NotFound: a relation or an aggregation has no target.
        InvalidRequest: a path leads nowhere; the message names it.
    """
    known: dict[str, Definition] = {definition.identifier: definition}

    async def target(identifier: str, at: str) -> Definition:
        if identifier not in known:
            try:
                known[identifier] = (await get(session, identifier, to_use=True)).definition
            except NotFound:
                raise NotFound(f"{at}: Blueprint", identifier) from None
        return known[identifier]

    async def end(at: str, names: Sequence[str], start: Definition = definition) -> BlueprintId:
        here = start
        for name in names:
            if name not in here.relations:
                raise InvalidRequest(f"{at}: {here.identifier} has no relation {shortened(name, 80)!r}")
            here = await target(here.relations[name].target, at)
        return here.identifier

    for name, relation in definition.relations.items():
        await target(relation.target, f"{json_path(['relations', name])}.target")
    stood = before.paths if before else {}
    for at, names in definition.paths.items():
        if stood.get(at) != names:
            await end(at, names)
    for key, aggregation in definition.aggregation_properties.items():
        if before is None or before.aggregation_properties.get(key) != aggregation:
            here = json_path(["aggregationProperties", key])
            await target(aggregation.target, f"{here}.target")
            for way in aggregation.ways(here, definition.identifier):
                reached = await end(way.at, way.names, known[way.start])
                if reached != way.end:
                    raise InvalidRequest(f"{way.at}: leads from {way.start} to {reached}, and not to {way.end}")


async def listed(session: AsyncSession) -> Sequence[Blueprint]:
    """All blueprints, by identifier."""
    rows = await session.exec(
        select(BlueprintRow.id, BlueprintRow.revision, BlueprintRow.document).order_by(col(BlueprintRow.identifier))
    )
    return [_read(*row) for row in rows]


async def count(session: AsyncSession, identifier: str) -> int:
    """How many entities the blueprint has."""
    counted = select(func.count()).select_from(EntityRow).where(EntityRow.blueprint == identifier)
    return (await session.exec(counted)).one()


def _read(row_id: str, revision: int, document: Mapping[str, Any]) -> Blueprint:
    # The time tells apart what was written twice under one number, of which one was taken back.
    key = row_id, revision, document.get("updated_at")
    if blueprint := _known.get(key):
        return blueprint
    blueprint = _BLUEPRINT.validate_python(document)
    if len(_known) >= _MOST_KEPT:
        _known.clear()
    _known[key] = blueprint
    return blueprint


async def _record(
    session: AsyncSession, before: Blueprint | None, after: Blueprint | None, *, by: str, at: datetime, origin: str
) -> None:
    known = after or before
    was, is_now = (each.document.get("changelogDestination") if each else None for each in (before, after))
    if not same(was, is_now):
        await listeners.changed(session)
    change = Change.of(
        "blueprint",
        before.echo() if before else None,
        after.echo() if after else None,
        context={"blueprint": known.identifier if known else None},
        at=at,
        by=by,
        origin=origin,
    )
    await changes.append(session, change)
