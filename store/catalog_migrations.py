"""Work on all entities of a blueprint, in SQL: portions that each are one transaction, so it goes on where it was."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import bindparam, insert, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprint_identifiers import NewName
from domain.blueprints import Blueprint
from domain.catalog_migrations import UNFINISHED, CatalogMigration
from domain.causes import Cause
from domain.entities import Author
from domain.errors import HasDependents, NotFound
from domain.identifiers import new
from domain.scorecards import seen_by_conditions
from store import blueprints, catalog, entities, people_lock, scorecards
from store.catalog_tables import CatalogMigrationRow, EntityRow
from store.columns import table
from store.database import execute
from store.derived import Completing
from store.entities import Stored, Writer

PORTION = 200
"""How many entities one transaction deletes."""

EVALUATED = 50
"""How many entities one transaction evaluates; others who write wait for it on SQLite."""

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
    """What will delete the entities of the blueprint, which was read `to_change`: this, or what does so already."""
    for document in await session.exec(select(CatalogMigrationRow.document).where(_UNFINISHED)):
        found = CatalogMigration.model_validate(document)
        if found.delete_entities and found.source_blueprint == migration.source_blueprint:
            # It may come to its end at this moment; then what is asked now is another one.
            locked = await get(session, found.id, to_change=True)
            if locked.status in UNFINISHED:
                wanted = locked.wanted(delete_blueprint=migration.delete_blueprint)
                if wanted is not locked:
                    await put(session, wanted)
                return wanted
    await _insert(session, migration)
    return migration


async def evaluate_anew(session: AsyncSession, before: Blueprint, after: Blueprint, *, writer: Writer) -> None:
    """Have scorecards look at all entities again, if they can see that `before` became `after`.

    The blueprint was read `to_change` in this transaction. Nothing is locked that those who work on it hold: what they
    still do by the definition before, they find superseded and leave.
    """
    if seen_by_conditions(before.definition) == seen_by_conditions(after.definition):
        return
    await _evaluate(session, after, writer)


async def rename_blueprint(session: AsyncSession, blueprint: Blueprint, what: NewName, *, writer: Writer) -> None:
    """Let the work go on under the blueprint's new identifier, which jq programs that scorecards ask for may see."""
    for document in (await session.exec(select(CatalogMigrationRow.document).where(_UNFINISHED))).all():
        found = CatalogMigration.model_validate(document)
        if found.source_blueprint == what.old:
            locked = await get(session, found.id, to_change=True)
            await put(session, locked.model_copy(update={"source_blueprint": what.new}))
    await _evaluate(session, blueprint, writer)


async def _evaluate(session: AsyncSession, after: Blueprint, writer: Writer) -> None:
    if await scorecards.defined(session, after.identifier):
        migration = CatalogMigration(
            id=new("migration"),
            actor=writer.author.id,
            source_blueprint=after.identifier,
            delete_entities=False,
            origin=writer.origin,
            datasource=writer.author.datasource,
            created_at=writer.author.at,
        )
        await _insert(session, migration)


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


async def advance(
    session: AsyncSession, migration: CatalogMigration, *, at: datetime, complete: Completing
) -> CatalogMigration:
    """The work after another portion, or at its end. It was `taken` in this transaction.

    Raises:
        store.database.Raced: the transaction has to be done again.
        Unavailable: it cannot be done now.
    """
    author = Author(migration.actor, at, migration.datasource)
    cause = Cause(migration.caused_by, migration.depth)
    writer = Writer(author, migration.origin, migration.run_id, cause=cause)
    if migration.delete_entities:
        after = await _deleted(session, migration, writer)
    else:
        after = await _evaluated(session, migration, writer, complete)
    await put(session, after)
    return after


async def _deleted(session: AsyncSession, migration: CatalogMigration, writer: Writer) -> CatalogMigration:
    names = await _portion(session, migration)
    if not names:
        return await _ended(session, migration, writer)
    deleted, refusals = await _delete(session, migration.source_blueprint, names, writer)
    return migration.advanced(names[-1], done=deleted, failed=len(refusals), reason=refusals[0] if refusals else None)


async def _evaluated(
    session: AsyncSession, migration: CatalogMigration, writer: Writer, complete: Completing
) -> CatalogMigration:
    for document in await session.exec(select(CatalogMigrationRow.document).where(_UNFINISHED)):
        other = CatalogMigration.model_validate(document)
        if other.does_again(migration):
            return migration.superseded()
    try:
        blueprint = await blueprints.get(session, migration.source_blueprint, to_use=True)
    except NotFound:
        return migration.completed()  # somebody has deleted it, and its scorecards with it
    names = await scorecards.settle_portion(
        session, blueprint, after=migration.done_to, limit=EVALUATED, writer=writer, complete=complete
    )
    return migration.advanced(names[-1], done=len(names)) if names else migration.completed()


async def _insert(session: AsyncSession, migration: CatalogMigration) -> None:
    row = {"id": migration.id, "created_at": migration.created_at, **_columns(migration)}
    await execute(session, _INSERT, row)


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
    await people_lock.take_for(session, blueprint)
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
