"""Work on all entities of a blueprint, in SQL: portions that each are one transaction, so it goes on where it was."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import bindparam, insert, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.catalog_migrations import UNFINISHED, CatalogMigration
from domain.entities import Author
from domain.errors import HasDependents, NotFound
from store import blueprints, catalog, entities, scorecards
from store.catalog_tables import CatalogMigrationRow, EntityRow
from store.columns import table
from store.database import execute
from store.entities import Stored, Writer

PORTION = 200
"""How many entities one transaction looks at."""

_COLUMNS = table(CatalogMigrationRow).c
_UNFINISHED = _COLUMNS.status.in_(UNFINISHED)
_FIND = sa.select(_COLUMNS.document).where(_COLUMNS.id == bindparam("this"))
_TO_CHANGE = _FIND.with_for_update()
_WAITING = sa.select(_COLUMNS.id).where(_UNFINISHED).limit(1)
_TAKE = (
    sa.select(_COLUMNS.document)
    .where(_UNFINISHED)
    .order_by(_COLUMNS.created_at, _COLUMNS.id)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_INSERT = insert(table(CatalogMigrationRow))
_UPDATE = update(table(CatalogMigrationRow)).where(_COLUMNS.id == bindparam("this"))


async def start(session: AsyncSession, migration: CatalogMigration) -> CatalogMigration:
    """What will work on the blueprint, which was read `to_change`: this one, or the one that does so already."""
    for document in await session.exec(select(CatalogMigrationRow.document).where(_UNFINISHED)):
        found = CatalogMigration.model_validate(document)
        if found.source_blueprint == migration.source_blueprint:
            # It may come to its end at this moment; then what is asked now is another one.
            locked = await get(session, found.id, to_change=True)
            if locked.status in UNFINISHED:
                wanted = locked.wanted(delete_blueprint=migration.delete_blueprint)
                if wanted is not locked:
                    await put(session, wanted)
                return wanted
    row = {"id": migration.id, "created_at": migration.created_at, **_columns(migration)}
    await execute(session, _INSERT, row)
    return migration


async def get(session: AsyncSession, identifier: str, *, to_change: bool = False) -> CatalogMigration:
    """The work, and how far it has come.

    Raises:
        NotFound: nobody asked for it.
    """
    found = (await execute(session, _TO_CHANGE if to_change else _FIND, {"this": identifier})).first()
    if found is None:
        raise NotFound("Migration", identifier)
    return CatalogMigration.model_validate(found[0])


async def waiting(session: AsyncSession) -> bool:
    """Whether there is something to work on."""
    return (await execute(session, _WAITING, {})).first() is not None


async def taken(session: AsyncSession) -> CatalogMigration | None:
    """The oldest that nobody else works on; nobody takes it until the transaction ends."""
    found = (await execute(session, _TAKE, {})).first()
    return CatalogMigration.model_validate(found[0]) if found else None


async def put(session: AsyncSession, migration: CatalogMigration) -> None:
    """Keep how far it has come."""
    await execute(session, _UPDATE, {"this": migration.id, **_columns(migration)})


async def advance(session: AsyncSession, migration: CatalogMigration, *, at: datetime) -> CatalogMigration:
    """The work after another portion, or at its end. It was `taken` in this transaction."""
    writer = Writer(Author(migration.actor, at, migration.datasource), migration.origin, migration.run_id)
    names = await _portion(session, migration)
    if names:
        deleted, refusals = await _delete(session, migration.source_blueprint, names, writer)
        after = migration.advanced(
            names[-1], deleted=deleted, failed=len(refusals), reason=refusals[0] if refusals else None
        )
    else:
        after = await _ended(session, migration, writer)
    await put(session, after)
    return after


async def _portion(session: AsyncSession, migration: CatalogMigration) -> Sequence[str]:
    names = await session.exec(
        select(EntityRow.identifier)
        .where(EntityRow.blueprint == migration.source_blueprint, col(EntityRow.identifier) > migration.done_to)
        .order_by(col(EntityRow.identifier))
        .limit(PORTION)
    )
    return names.all()


async def _delete(session: AsyncSession, blueprint: str, names: Sequence[str], writer: Writer) -> tuple[int, list[str]]:
    """How many are deleted, and why each of the others is not."""
    deleted, refusals = 0, []
    for name in names:
        first = await entities.find(session, blueprint, name, to_change=True)
        if first is None:
            continue  # it went with another one
        try:
            doomed = await _with_dependents(session, first)
        except HasDependents as refusal:
            refusals.append(str(refusal))
            continue
        for stored in reversed(doomed):
            found = await entities.find(session, blueprint, stored.entity.identifier)
            if found:
                await catalog.take_out(session, found, writer=writer)
                deleted += 1
    return deleted, refusals


async def _with_dependents(session: AsyncSession, first: Stored) -> list[Stored]:
    """The entity, and those of its blueprint that must relate to it, however indirectly: they go together or not.

    Raises:
        HasDependents: one of another blueprint must relate to one of them.
    """
    blueprint = first.entity.blueprint
    doomed: dict[str, Stored] = {}
    unseen = [first]
    while unseen:
        stored = unseen.pop()
        if stored.id in doomed:
            continue
        doomed[stored.id] = stored
        for referrer, relation in await entities.referrers(session, stored.entity):
            source = referrer.entity
            if not (await blueprints.get(session, source.blueprint)).definition.relations[relation].required:
                continue
            if source.blueprint != blueprint:
                raise HasDependents(
                    f"{source.blueprint} {source.identifier!r} must relate to {blueprint} "
                    f"{stored.entity.identifier!r} (relations.{relation})"
                )
            unseen.append(referrer)
    return list(doomed.values())


async def _ended(session: AsyncSession, migration: CatalogMigration, writer: Writer) -> CatalogMigration:
    if migration.failure_count or not migration.delete_blueprint:
        return migration.completed()
    try:
        blueprint = await blueprints.get(session, migration.source_blueprint, to_change=True)
        if await blueprints.count(session, blueprint.identifier):
            return migration.from_the_start()
        await blueprints.remove(session, blueprint, by=writer.author.id, at=writer.author.at, origin=writer.origin)
        await scorecards.forget_all(session, blueprint, writer=writer)
    except HasDependents as refusal:
        return migration.failed(str(refusal))
    except NotFound:
        return migration.completed()  # somebody else has deleted it
    return migration.completed()


def _columns(migration: CatalogMigration) -> dict[str, object]:
    return {"status": migration.status.value, "document": migration.model_dump(mode="json")}
