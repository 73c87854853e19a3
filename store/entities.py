"""Entities in SQL: each is its document; what it relates to has rows of its own, to be found from the other end."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import bindparam, insert, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.changes import Change
from domain.entities import Author, Entity, Kind, Target, targets, without
from domain.errors import NotFound
from domain.identifiers import new
from store import changes
from store.database import Raced, execute
from store.tables import EntityRelationRow, EntityRow, table

_ENTITIES, _RELATIONS = table(EntityRow).c, table(EntityRelationRow).c
_FIND = sa.select(_ENTITIES.id, _ENTITIES.document).where(
    _ENTITIES.blueprint == bindparam("of"), _ENTITIES.identifier == bindparam("this")
)
_TO_CHANGE = _FIND.with_for_update()
_INSERT = insert(table(EntityRow))
_UPDATE = update(table(EntityRow)).where(_ENTITIES.id == bindparam("this"))
_RELATE = insert(table(EntityRelationRow))
_AT_ONCE = 500
"""How many identifiers one statement asks for, and how many rows are read at a time."""


@dataclass(frozen=True)
class Stored:
    """An entity, and the id of its row, which stays when the entity gets another identifier."""

    id: str
    entity: Entity


@dataclass(frozen=True)
class Writer:
    """On whose behalf the catalog changes: goes into every change record."""

    author: Author
    origin: str
    run_id: str | None = None


async def find(session: AsyncSession, blueprint: str, identifier: str, *, to_change: bool = False) -> Stored | None:
    """The entity, if there is one; `to_change` keeps others from changing it until the transaction ends."""
    statement = _TO_CHANGE if to_change else _FIND
    found = (await execute(session, statement, {"of": blueprint, "this": identifier})).first()
    return Stored(found[0], Entity.model_validate(found[1])) if found else None


async def get(session: AsyncSession, blueprint: str, identifier: str, *, to_change: bool = False) -> Stored:
    """The entity.

    Raises:
        NotFound: there is none.
    """
    found = await find(session, blueprint, identifier, to_change=to_change)
    if found is None:
        raise NotFound("Entity", identifier)
    return found


async def missing(session: AsyncSession, wanted: Iterable[Target]) -> list[Target]:
    """Those of the targets that do not exist. Nobody deletes the others until the transaction ends."""
    by_blueprint: defaultdict[str, dict[str, Target]] = defaultdict(dict)
    for target in wanted:
        by_blueprint[target.blueprint][target.identifier] = target
    absent: list[Target] = []
    for blueprint, named in by_blueprint.items():
        identifiers = sorted(named)  # in one order for everybody, so that nobody waits in a circle
        for start in range(0, len(identifiers), _AT_ONCE):
            some = identifiers[start : start + _AT_ONCE]
            there = await session.exec(
                select(EntityRow.identifier)
                .where(EntityRow.blueprint == blueprint, col(EntityRow.identifier).in_(some))
                .order_by(col(EntityRow.identifier))
                .with_for_update(read=True)
            )
            absent += [named[identifier] for identifier in set(some) - set(there)]
    return absent


async def create(session: AsyncSession, kind: Kind, entity: Entity, *, writer: Writer) -> None:
    """Insert the entity, what it relates to, and the change.

    Raises:
        Raced: somebody else has just created it.
    """
    row_id = new("ent")
    try:
        await execute(session, _INSERT, {"id": row_id, **_columns(entity), "created_at": entity.created_at})
    except IntegrityError:
        raise Raced(f"others write {entity.identifier!r} all the time; ask again") from None
    await _relate(session, row_id, kind, entity)
    await _record(session, None, entity, writer)


async def replace(session: AsyncSession, kind: Kind, before: Stored, after: Entity, *, writer: Writer) -> None:
    """Write the entity as it is now, unless it is as it was; who relates to it follows its name silently.

    Raises:
        Raced: somebody else has just taken its new identifier.
    """
    if after is before.entity:
        return
    try:
        await execute(session, _UPDATE, {"this": before.id, **_columns(after)})
    except IntegrityError:
        raise Raced(f"others write {after.identifier!r} all the time; ask again") from None
    if after.relations != before.entity.relations:
        await session.exec(delete(EntityRelationRow).where(col(EntityRelationRow.source_id) == before.id))
        await _relate(session, before.id, kind, after)
    if after.identifier != before.entity.identifier:
        await _follow(session, before.entity, after.identifier)
    await _record(session, before.entity, after, writer)


async def remove(session: AsyncSession, stored: Stored, *, writer: Writer) -> None:
    """Delete the entity. Who relates to it forgets it silently; whether that may be is for the caller to see."""
    await _follow(session, stored.entity, None)
    await session.exec(delete(EntityRelationRow).where(col(EntityRelationRow.source_id) == stored.id))
    await session.exec(delete(EntityRow).where(col(EntityRow.id) == stored.id))
    await _record(session, stored.entity, None, writer)


async def referrers(session: AsyncSession, entity: Entity) -> Sequence[tuple[Stored, str]]:
    """The entities that relate to this one, itself excepted, and by which relation.

    Nobody else changes them until the transaction ends.
    """
    rows = await session.exec(
        select(EntityRow.id, EntityRow.document, EntityRelationRow.relation)
        .join(EntityRelationRow, col(EntityRelationRow.source_id) == col(EntityRow.id))
        .where(EntityRelationRow.target_blueprint == entity.blueprint, EntityRelationRow.target == entity.identifier)
        .order_by(col(EntityRow.id))
        .with_for_update(of=table(EntityRow))
    )
    found = [(Stored(row_id, Entity.model_validate(document)), relation) for row_id, document, relation in rows]
    same = entity.blueprint, entity.identifier
    return [one for one in found if (one[0].entity.blueprint, one[0].entity.identifier) != same]


async def related_by(session: AsyncSession, blueprint: str, relation: str) -> int:
    """How many entities of the blueprint have something in the relation."""
    counted = (
        select(sa.func.count(sa.distinct(col(EntityRelationRow.source_id))))
        .join(EntityRow, col(EntityRow.id) == col(EntityRelationRow.source_id))
        .where(EntityRow.blueprint == blueprint, EntityRelationRow.relation == relation)
    )
    return (await session.exec(counted)).one()


async def portion(session: AsyncSession, blueprint: str, *, after: str, limit: int = _AT_ONCE) -> list[Entity]:
    """The next entities of the blueprint by identifier, beginning after one."""
    rows = await session.exec(
        select(EntityRow.document)
        .where(EntityRow.blueprint == blueprint, col(EntityRow.identifier) > after)
        .order_by(col(EntityRow.identifier))
        .limit(limit)
    )
    return [Entity.model_validate(document) for document in rows]


async def forget_relation(session: AsyncSession, blueprint: str, relation: str) -> None:
    """Take a relation that the blueprint has no more from all of its entities. Derived: it tells nobody."""
    of_blueprint = select(EntityRow.id).where(EntityRow.blueprint == blueprint)
    named = sa.and_(col(EntityRelationRow.relation) == relation, col(EntityRelationRow.source_id).in_(of_blueprint))
    after = ""
    while True:
        rows = (
            await session.exec(
                select(EntityRow.id, EntityRow.identifier, EntityRow.document)
                .where(EntityRow.blueprint == blueprint, col(EntityRow.identifier) > after)
                .order_by(col(EntityRow.identifier))
                .limit(_AT_ONCE)
                .with_for_update()
            )
        ).all()
        for row_id, identifier, document in rows:
            after, entity = identifier, Entity.model_validate(document)
            if relation in entity.relations:
                relations = {name: value for name, value in entity.relations.items() if name != relation}
                changed = entity.model_copy(update={"relations": relations})
                await execute(session, _UPDATE, {"this": row_id, **_columns(changed)})
        if len(rows) < _AT_ONCE:
            break
    await session.exec(delete(EntityRelationRow).where(named))


def _columns(entity: Entity) -> dict[str, object]:
    return {
        "blueprint": entity.blueprint,
        "identifier": entity.identifier,
        "updated_at": entity.updated_at,
        "datasource": entity.datasource,
        "document": entity.model_dump(mode="json"),
    }


async def _relate(session: AsyncSession, row_id: str, kind: Kind, entity: Entity) -> None:
    for target in targets(kind, entity):
        await execute(
            session,
            _RELATE,
            {
                "source_id": row_id,
                "relation": target.relation,
                "target_blueprint": target.blueprint,
                "target": target.identifier,
            },
        )


async def _follow(session: AsyncSession, entity: Entity, renamed: str | None) -> None:
    """Let who relates to the entity know its new name, or that it has gone. Derived: it tells nobody (no change)."""
    by_source: defaultdict[str, list[str]] = defaultdict(list)
    documents: dict[str, Entity] = {}
    for stored, relation in await referrers(session, entity):
        by_source[stored.id].append(relation)
        documents[stored.id] = stored.entity
    for row_id, relations in by_source.items():
        after = without(documents[row_id], relations, entity.identifier, renamed)
        await execute(session, _UPDATE, {"this": row_id, **_columns(after)})
    named = sa.and_(
        col(EntityRelationRow.target_blueprint) == entity.blueprint,
        col(EntityRelationRow.target) == entity.identifier,
    )
    change = delete(EntityRelationRow) if renamed is None else update(EntityRelationRow).values(target=renamed)
    await session.exec(change.where(named))


async def _record(session: AsyncSession, before: Entity | None, after: Entity | None, writer: Writer) -> None:
    known = after or before
    at: datetime = writer.author.at
    change = Change.of(
        "entity",
        before.document() if before else None,
        after.document() if after else None,
        context={
            "blueprint": known.blueprint if known else None,
            "entity": known.identifier if known else None,
            "runId": writer.run_id,
        },
        at=at,
        by=writer.author.id,
        origin=writer.origin,
    )
    await changes.append(session, change)
