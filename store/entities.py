"""Entities in SQL: each is its document; what it relates to has rows of its own, to be found from the other end."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprint_permissions import Judge
from domain.causes import NO_RUN, Cause
from domain.changes import Change, Happening
from domain.documents import Document
from domain.entities import Author, Entity, Kind, Target, targets, without
from domain.errors import NotFound
from domain.identifiers import successive
from domain.times import not_before
from domain.users import Caller
from store import changes, entity_values, pending_changes, timer_rows
from store.catalog_tables import EntityRelationRow, EntityRow
from store.columns import JsonText, table
from store.database import Raced, execute, json_text
from store.found import Found
from store.plain_inserts import PlainInsert, Row, insert_all
from store.search_columns import among_given

_ENTITIES, _RELATIONS = table(EntityRow).c, table(EntityRelationRow).c
_FIND = sa.select(_ENTITIES.id, _ENTITIES.document).where(
    _ENTITIES.blueprint == bindparam("of"), _ENTITIES.identifier == bindparam("this")
)
_TO_CHANGE = _FIND.with_for_update()
_THESE = sa.and_(_ENTITIES.blueprint == bindparam("of"), among_given(_ENTITIES.identifier, "these"))
# As foreign keys lock: those who change entities do not wait for those who only need them to exist.
_FIND_ALL = (
    sa.select(_ENTITIES.id, _ENTITIES.document)
    .where(_THESE)
    .order_by(_ENTITIES.identifier)
    .with_for_update(key_share=True)
)
_WHICH = (
    sa.select(_ENTITIES.identifier)
    .where(_THESE)
    .order_by(_ENTITIES.identifier)
    .with_for_update(read=True, key_share=True)
)
_COLUMNS = ("blueprint", "identifier", "title", "updated_at", "datasource", "document")
_INSERT = PlainInsert(table(EntityRow), "id", "created_at", *_COLUMNS)
_UPDATE = update(table(EntityRow)).where(_ENTITIES.id == bindparam("this"))
_RELATE = PlainInsert(table(EntityRelationRow), "source_id", "relation", "target_blueprint", "target")
_UNRELATE = sa.delete(table(EntityRelationRow)).where(_RELATIONS.source_id == bindparam("this"))
_AT_ONCE = 500
"""How many identifiers one statement asks for, and how many rows are read at a time."""


class Stored(NamedTuple):
    """An entity, and the id of its row, which stays when the entity gets another identifier."""

    id: str
    entity: Entity


@dataclass(frozen=True)
class Writer:
    """On whose behalf the catalog changes: goes into every change record."""

    author: Author
    origin: str
    run_id: str | None = None
    caller: Caller | None = None
    """Whose permissions decide. None: the product itself, which may do everything."""
    webhook: tuple[str, str] | None = None
    """The incoming webhook and its event, by their ids, when it is they who write."""
    cause: Cause = NO_RUN
    """The run that makes them write."""
    judge: Judge | None = None
    """Decides the policies among those permissions. None: they let nobody through."""

    def because_of(self, cause: Cause) -> "Writer":
        """The same, made to write by the run too: what counts is the longer chain."""
        return replaced(self, cause=cause) if cause.next_depth > self.cause.next_depth else self


async def find(session: AsyncSession, blueprint: str, identifier: str, *, to_change: bool = False) -> Stored | None:
    """The entity, if there is one; `to_change` keeps others from changing it until the transaction ends."""
    statement = _TO_CHANGE if to_change else _FIND
    found = (await execute(session, statement, {"of": blueprint, "this": identifier})).first()
    return Stored(found[0], Entity.model_validate(found[1])) if found else None


async def find_all(session: AsyncSession, blueprint: str, identifiers: Collection[str]) -> list[Stored]:
    """Those of the entities that there are. Nobody else changes them until the transaction ends."""
    names = sorted(identifiers)  # in one order for everybody, so that nobody waits in a circle
    found: list[Stored] = []
    for start in range(0, len(names), _AT_ONCE):
        some = {"of": blueprint, "these": names[start : start + _AT_ONCE]}
        rows = await execute(session, _FIND_ALL, some)
        found += [Stored(row_id, Entity.model_validate(document)) for row_id, document in rows]
    return found


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
            there = {row[0] for row in await execute(session, _WHICH, {"of": blueprint, "these": some})}
            absent += [named[identifier] for identifier in some if identifier not in there]
    return absent


async def create(session: AsyncSession, kind: Kind, entity: Entity, *, writer: Writer) -> None:
    """Insert the entity, what it relates to, and the change.

    Raises:
        Raced: somebody else has just created it.
    """
    rows = EntityRows(writer)
    rows.create(kind, entity)
    await rows.write(session)


async def replace(session: AsyncSession, kind: Kind, before: Stored, after: Entity, *, writer: Writer) -> None:
    """Write the entity as it is now, unless it is as it was; who relates to it follows its name silently.

    Raises:
        Raced: somebody else has just taken its new identifier.
    """
    if after is before.entity:
        return
    if after.identifier != before.entity.identifier:
        await _follow(session, before.entity, after.identifier)
    rows = EntityRows(writer)
    rows.replace(kind, before, after)
    await rows.write(session)


class EntityRows:
    """The rows of several writes, collected and then written together: as few statements as for one."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._inserts: list[Row] = []
        self._updates: list[dict[str, object]] = []
        self._unrelated: list[dict[str, object]] = []
        self._related: list[Row] = []
        self._found_by: list[tuple[str, Entity | None, Entity | None]] = []
        self._timed: list[timer_rows.Write] = []
        self._changes: list[tuple[Change, str | None]] = []

    def create(self, kind: Kind, entity: Entity) -> Stored:
        """An entity that is new."""
        row_id, told = successive("ent", entity.created_at), entity.document()
        self._inserts.append((row_id, entity.created_at, *_columns(entity, text := json_text(told))))
        self._relate(row_id, kind, entity)
        self._keep(row_id, kind, None, entity, (told, text))
        return Stored(row_id, entity)

    def replace(self, kind: Kind, before: Stored, after: Entity) -> Stored:
        """An entity that was here before these writes; nobody relates to it by another name."""
        told = after.document()
        self._updates.append(_updated(before.id, after, text := json_text(told)))
        if after.relations != before.entity.relations:
            self._unrelated.append({"this": before.id})
            self._relate(before.id, kind, after)
        self._keep(before.id, kind, before.entity, after, (told, text))
        return Stored(before.id, after)

    async def write(self, session: AsyncSession) -> None:
        """Write all of them, each with its change.

        Raises:
            Raced: somebody else has just taken an identifier.
        """
        try:
            for statement, rows in ((_UPDATE, self._updates), (_UNRELATE, self._unrelated)):
                if rows:
                    await execute(session, statement, rows)
            values = await entity_values.forgotten(session, self._found_by)
            of_changes = changes.rows(self._changes)
            await insert_all(session, (_INSERT, self._inserts), (_RELATE, self._related), values, of_changes)
        except IntegrityError as error:
            raise Raced("others write the same entities all the time; ask again") from error
        await timer_rows.keep_all(session, self._timed, at=self._writer.author.at)
        await pending_changes.note(session, [change for change, _ in self._changes])

    def _keep(self, row_id: str, kind: Kind, before: Entity | None, after: Entity, told: tuple[Document, str]) -> None:
        self._found_by.append((row_id, before, after))
        self._timed.append((row_id, kind, before, after))
        self._changes.append((_change(row_id, before, after, told[0], self._writer), told[1]))

    def _relate(self, row_id: str, kind: Kind, entity: Entity) -> None:
        if entity.relations:
            self._related += [
                (row_id, target.relation, target.blueprint, str(target.identifier)) for target in targets(kind, entity)
            ]


async def remove(session: AsyncSession, stored: Stored, *, writer: Writer) -> None:
    """Delete the entity. Who relates to it forgets it silently; whether that may be is for the caller to see."""
    await _follow(session, stored.entity, None)
    await execute(session, _UNRELATE, {"this": stored.id})
    await session.exec(delete(EntityRow).where(col(EntityRow.id) == stored.id))
    await entity_values.keep(session, stored.id, stored.entity, None)
    await timer_rows.forget(session, stored.id, stored.entity, at=writer.author.at)
    await changes.append(session, _change(stored.id, stored.entity, None, None, writer))


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


async def portion(session: AsyncSession, blueprint: str, *, after: str, limit: int = _AT_ONCE) -> list[Found]:
    """The next entities of the blueprint by identifier, beginning after one."""
    rows = await session.exec(
        select(EntityRow.id, EntityRow.document)
        .where(EntityRow.blueprint == blueprint, col(EntityRow.identifier) > after)
        .order_by(col(EntityRow.identifier))
        .limit(limit)
    )
    return [Found(row_id, dict(document)) for row_id, document in rows]


async def to_change(session: AsyncSession, blueprint: str) -> AsyncIterator[tuple[str, Document]]:
    """The row ids and documents of all entities of the blueprint, which nobody else changes from then on."""
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
        for row_id, after, document in rows:  # noqa: B007 - the last one is where the next portion begins
            yield row_id, dict(document)
        if len(rows) < _AT_ONCE:
            return


async def rewrite(session: AsyncSession, row_id: str, entity: Entity) -> None:
    """Keep what has become of an entity because something else has changed; that tells nobody."""
    await execute(session, _UPDATE, _updated(row_id, entity, json_text(entity.document())))


def _columns(entity: Entity, text: str) -> tuple[object, ...]:
    """The values of `_COLUMNS`; the text is the entity as the API tells it, as JSON."""
    return (
        str(entity.blueprint),  # drivers look long at what only inherits from a string
        str(entity.identifier),
        str(entity.title),
        entity.updated_at,
        entity.datasource,
        JsonText(f'{text[:-1]},"datasource":{json_text(entity.datasource)}}}'),  # as `Entity` is kept
    )


def _updated(row_id: str, entity: Entity, text: str) -> dict[str, object]:
    return {"this": row_id, **dict(zip(_COLUMNS, _columns(entity, text), strict=True))}


async def _follow(session: AsyncSession, entity: Entity, renamed: str | None) -> None:
    """Let who relates to the entity know its new name, or that it has gone. Derived: it tells nobody (no change)."""
    by_source: defaultdict[str, list[str]] = defaultdict(list)
    documents: dict[str, Entity] = {}
    for stored, relation in await referrers(session, entity):
        by_source[stored.id].append(relation)
        documents[stored.id] = stored.entity
    for row_id, relations in by_source.items():
        after = without(documents[row_id], relations, entity.identifier, renamed)
        await rewrite(session, row_id, after)
    named = sa.and_(
        col(EntityRelationRow.target_blueprint) == entity.blueprint,
        col(EntityRelationRow.target) == entity.identifier,
    )
    change = delete(EntityRelationRow) if renamed is None else update(EntityRelationRow).values(target=renamed)
    await session.exec(change.where(named))


def _change(
    row_id: str, before: Entity | None, after: Entity | None, document: Document | None, writer: Writer
) -> Change:
    """The change of an entity, which as the API tells it is `document` now."""
    known = after or before
    at = not_before(writer.author.at, before.updated_at) if before else writer.author.at
    return Change(
        id=successive("event", at),
        resource_type="entity",
        action=Happening.CREATE if before is None else Happening.DELETE if after is None else Happening.UPDATE,
        before=before.document() if before else None,
        after=document,
        context={
            "blueprint": str(known.blueprint) if known else None,
            "entity": str(known.identifier) if known else None,
            "runId": writer.run_id,
            **(dict(zip(("webhookId", "webhookEventId"), writer.webhook, strict=True)) if writer.webhook else {}),
        },
        at=at,
        by=writer.author.id,
        origin=writer.origin,
        subject=row_id,
        depth=writer.cause.next_depth,
        caused_by=writer.cause.run_id,
    )
