"""What is around an entity, in SQL: titles of what it relates to, and the `Catalog` of an aggregation's query."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import entities
from domain.candidates import Entity, Reference
from domain.derived import Definitions
from domain.errors import HasDependents
from domain.users import Caller
from store import blueprints
from store.catalog_tables import EntityRelationRow, EntityRow
from store.columns import table
from store.definitions import current
from store.entities import rewrite, to_change

_AT_ONCE: Final = 500
_entities, _relations = table(EntityRow), table(EntityRelationRow)
_TARGETS = (
    sa.select(_relations.c.relation, _relations.c.target_blueprint, _relations.c.target)
    .join(_entities, _entities.c.id == _relations.c.source_id)
    .where(_entities.c.blueprint == sa.bindparam("of"), _entities.c.identifier == sa.bindparam("this"))
)
_SOURCES = (
    sa.select(_relations.c.relation, _entities.c.blueprint, _entities.c.identifier)
    .join(_entities, _entities.c.id == _relations.c.source_id)
    .where(_relations.c.target_blueprint == sa.bindparam("of"), _relations.c.target == sa.bindparam("this"))
)
_Step = tuple[str, Reference]
_Made = TypeVar("_Made")


async def require_free(
    session: AsyncSession, entity: entities.Entity, referrer: entities.Entity, relation: str
) -> None:
    """Nothing, if the entity may go although the other one relates to it.

    Raises:
        HasDependents: that one must relate to something.
    """
    if (await blueprints.get(session, referrer.blueprint)).definition.relations[relation].required:
        who, whom = (f"{one.blueprint} {str(one.identifier)!r}" for one in (referrer, entity))
        raise HasDependents(f"{who} must relate to {whom} (relations.{relation})")


async def titles(
    session: AsyncSession, related: Sequence[entities.Entity]
) -> Mapping[tuple[str, str, str], str | None]:
    """The titles of what the entities relate to, by the blueprint and relation of who relates, and identifier."""
    named: defaultdict[str, dict[str, list[tuple[str, str]]]] = defaultdict(dict)
    definitions = await current(session) if any(entity.relations for entity in related) else Definitions({})
    for entity in related:
        for relation, value in entity.relations.items():
            end = definitions.end(entity.blueprint, [relation])
            for one in (value,) if isinstance(value, str) else value or ():
                if end:
                    named[end[0]].setdefault(one, []).append((entity.blueprint, relation))
    found: dict[tuple[str, str, str], str | None] = {}
    title = _entities.c.document["title"].as_string()
    for blueprint, ends in named.items():
        identifiers = list(ends)
        for start in range(0, len(identifiers), _AT_ONCE):
            some = identifiers[start : start + _AT_ONCE]
            asked = sa.select(_entities.c.identifier, title).where(
                _entities.c.blueprint == blueprint, _entities.c.identifier.in_(some)
            )
            rows: Sequence[tuple[str, str | None]] = (await session.exec(asked)).all()  # type: ignore[call-overload]
            for identifier, text in rows:
                found.update({(of, relation, identifier): text for of, relation in ends[identifier]})
    return found


class Around:
    """The catalog around entities, asked for when a rule wants to know, each only once; there is no caller."""

    def __init__(self, session: Session, definitions: Definitions) -> None:
        self._session, self._definitions = session, definitions
        self._targets: dict[Reference, Sequence[_Step]] = {}
        self._sources: dict[Reference, Sequence[_Step]] = {}

    def targets(
        self, of: Reference, *, relation: str | None = None, required: bool | None = None
    ) -> Iterable[Reference]:
        """See `domain.candidates.Catalog`."""
        steps = _once(self._targets, of, lambda: self._asked(_TARGETS, of))
        return [to for name, to in steps if self._fits(of.blueprint, name, relation, required)]

    def sources(
        self, of: Reference, *, relation: str | None = None, required: bool | None = None
    ) -> Iterable[Reference]:
        """See `domain.candidates.Catalog`."""
        steps = _once(self._sources, of, lambda: self._asked(_SOURCES, of))
        return [source for name, source in steps if self._fits(source.blueprint, name, relation, required)]

    def titles(self, of: Reference, relation: str) -> Mapping[str, str | None]:
        """See `domain.candidates.Catalog`."""
        title = _entities.c.document["title"].as_string()
        found: dict[str, str | None] = {}
        for target in self.targets(of, relation=relation):
            named = sa.select(title).where(
                _entities.c.blueprint == target.blueprint, _entities.c.identifier == target.identifier
            )
            found[target.identifier] = self._session.execute(named).scalar()
        return found

    def user(self, caller: Caller) -> Entity | None:
        """Nobody asks."""
        return None

    def teams(self, caller: Caller) -> Sequence[Entity]:
        """Nobody asks."""
        return ()

    def _asked(self, statement: sa.Select[Any], of: Reference) -> Sequence[_Step]:
        rows = self._session.connection().execute(statement, {"of": of.blueprint, "this": of.identifier})
        return [(name, Reference(blueprint, identifier)) for name, blueprint, identifier in rows]

    def _fits(self, source: str, name: str, relation: str | None, required: bool | None) -> bool:
        if relation not in (None, name):
            return False
        definition = self._definitions.get(source)
        found = definition.relations.get(name) if definition else None
        return required is None or (found is not None and found.required is required)


def _once(known: dict[Reference, _Made], of: Reference, make: Callable[[], _Made]) -> _Made:
    if of not in known:
        known[of] = make()
    return known[of]


async def forget(session: AsyncSession, blueprint: str, relation: str) -> None:
    """Take a relation that the blueprint has no more from all of its entities. Derived: it tells nobody."""
    of_blueprint = sa.select(_entities.c.id).where(_entities.c.blueprint == blueprint)
    named = sa.and_(_relations.c.relation == relation, _relations.c.source_id.in_(of_blueprint))
    async for row_id, document in to_change(session, blueprint):
        entity = entities.Entity.model_validate(document)
        if relation in entity.relations:
            relations = {name: value for name, value in entity.relations.items() if name != relation}
            await rewrite(session, row_id, entity.model_copy(update={"relations": relations}))
    await session.exec(sa.delete(_relations).where(named))
