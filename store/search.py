"""Search of the catalog: SQL selects what a query may find, and the predicate decides what SQL cannot tell."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.candidates import Reference
from domain.derived import derived
from domain.entities import Entity
from domain.matching import Operands, looking_at
from domain.meta_names import with_dollars
from domain.people_entities import identifier_of
from domain.query_parts import asks_caller, blueprints_of, is_about, leaves, properties_of
from domain.rule_values import Comparison, PathMatch, Property, Query, Related, RelationEnd, Rule, ScorecardResult
from domain.users import Caller
from store import entities
from store.catalog_tables import EntityRelationRow, ScorecardResultRow
from store.columns import table
from store.database import execute
from store.definitions import current
from store.derived import Completing
from store.entities import Stored
from store.search_columns import Condition, among, unindexed
from store.search_relations import Chains
from store.search_sql import Compiler, Exact, Group, Node, Open, exact_parts, has_open, refuse_large
from store.search_values import ENTITIES, Choice, choices

AT_ONCE: Final = 500
"""How many rows are read at a time."""

_FEW: Final = 2_500
"""Up to how many entities are rather read all and sorted than looked for one after another."""
_TRIED: Final = 4
"""How many parts of a query are tried for being so few."""
_UNITED: Final = 100
"""Of how many statements one of these may consist."""

_READ: Final = 100
"""How many entities more than there may be on a page are rather read and looked at than selected by SQL."""

_IN_PLACE: Final = 100
"""Up to how many entities are read by their ids without a trip to a thread."""

_QUICK: Final = 100
"""Up to how many rules SQL is made of in place."""

_BLUEPRINT: Final = ENTITIES.blueprint
_EVERYTHING: Final = Query("and", ())
_ARROWS: Final = table(EntityRelationRow).c
_RESULTS: Final = table(ScorecardResultRow).c


class Place(NamedTuple):
    """Where a page ends: the last entity on it, whether or not that still exists when the next one is asked for."""

    blueprint: str
    identifier: str


_Names = dict[tuple[Reference, str], dict[str, str | None]]
"""Titles by entity and relation, and then by identifier."""


@dataclass(frozen=True)
class Page:
    """Some of what a search finds, by blueprint and identifier."""

    found: tuple[Stored, ...]
    next: Place | None
    """Where the next page begins; None if there is no more."""


@dataclass(frozen=True)
class Search:
    """A query of one caller at one moment, ready to be asked in any session."""

    _node: Node
    _by_document: Callable[[], Node] | None
    """Makes the node that leaves to the predicate what documents tell; None if that can spare nothing."""
    _blueprints: Collection[str] | None
    _by: Operands
    _around: "_Around"
    _complete: Completing
    _wanted: Callable[[str], bool]
    _asks_scorecards: bool
    _asks_titles: bool
    _walks: bool
    """Whether it follows relations from entity to entity."""
    _by_key: bool = False
    """Whether only few entities are read, each by its id: that is done in place."""

    async def page(self, session: AsyncSession, *, after: Place | None = None, limit: int = AT_ONCE) -> Page:
        """The first entities that it finds, or the first after a place."""
        few = await self._few(session)
        if few is not None and not few:
            return Page((), None)
        if few is not None and len(few) <= limit + _READ and self._by_document is not None:
            # SQL would look up everything else that has a frequent value, to compare these few with it.
            by_key = not self._walks and len(few) <= _IN_PLACE
            among_few = replace(self, _node=self._by_document(), _by_document=None, _by_key=by_key)
            return await among_few._paged(session, after, limit, few)
        return await self._paged(session, after, limit, few)

    async def _paged(self, session: AsyncSession, after: Place | None, limit: int, few: Collection[str] | None) -> Page:
        found: list[Stored] = []
        here = after
        size = max(AT_ONCE, limit) if has_open(self._node) else limit
        while len(found) <= limit:
            statement = self.statement(after_place(here), size + 1, few)
            rows = (await execute(session, statement, {})).all() if self._by_key else await _all(session, statement)
            found += await self._confirmed(session, rows)
            if len(rows) <= size:
                break
            last = rows[-1][1]
            here = Place(last["blueprint"], last["identifier"])
        kept = tuple(found[:limit])
        last_one = kept[-1].entity if len(found) > limit else None
        return Page(kept, Place(last_one.blueprint, last_one.identifier) if last_one else None)

    async def holds(self, session: AsyncSession, blueprint: str, identifier: str) -> bool:
        """Whether it finds this one entity."""
        named = sa.and_(ENTITIES.blueprint == blueprint, ENTITIES.identifier == identifier)
        return bool(await self._confirmed(session, await _all(session, self.statement(named, 1))))

    async def _few(self, session: AsyncSession) -> Collection[str] | None:
        """The ids of all that it finds, and of others, if they are known to be few.

        Then reading these and sorting them is quick, and looking through the whole blueprint in its order is not; of
        what is frequent the first come soon that way. Databases guess which is which, and often wrongly.
        """
        for choice in self._choices:
            asked: Any = sa.union_all(*choice) if len(choice) > 1 else choice[0]
            rows = await _all(session, asked.limit(_FEW + 1))
            if len(rows) <= _FEW:
                return {row[0] for row in rows}
        return None

    def statement(self, where: Condition, limit: int, few: Collection[str] | None = None) -> sa.Select[Any]:
        """The rows that it may find, each with what is already known of it; `few` are ids if no other can be found."""
        known = [part.condition.label(f"known_{number}") for number, part in enumerate(self._parts)]
        found: sa.Select[Any] = sa.select(ENTITIES.id, ENTITIES.document, *known)
        if few is not None:
            where = sa.and_(among(ENTITIES.id, few), where)
        if self._blueprints is not None:
            where = sa.and_(among(_BLUEPRINT if few is None else unindexed(_BLUEPRINT), self._blueprints), where)
        order: Sequence[sa.ColumnElement[Any]] = (ENTITIES.blueprint, ENTITIES.identifier)
        if few is not None:  # they are sorted; SQLite would rather walk through the blueprint, which is in order
            order = [unindexed(column) for column in order]
        return found.where(self._condition, where).order_by(*order).limit(limit)

    @cached_property
    def _condition(self) -> Condition:
        return self._node.condition

    @property
    def _choices(self) -> Sequence[Choice]:
        return [one for one in choices(self._condition) if len(one) <= _UNITED][:_TRIED]

    @cached_property
    def _parts(self) -> Sequence[Exact]:
        return tuple(exact_parts(self._node)) if has_open(self._node) else ()

    async def _confirmed(self, session: AsyncSession, rows: Sequence[Any]) -> list[Stored]:
        stored = [Stored(row[0], Entity.model_validate(row[1])) for row in rows]
        if not has_open(self._node):
            return stored
        places = [id(part) for part in self._parts]
        known = [dict(zip(places, map(bool, row[2:]), strict=True)) for row in rows]
        # Most rows know the same, and what that says of the whole is found out once.
        said = {tuple(each.values()): _truth(self._node, each) for each in known}
        truths = [said[tuple(each.values())] for each in known]
        doubtful = [number for number, truth in enumerate(truths) if truth is None]
        whole = await self._completed(session, [stored[number] for number in doubtful])
        around = replace(self._around, names=await self._named(session, [stored[number] for number in doubtful]))
        for number, candidate in zip(doubtful, whole, strict=True):
            holds = looking_at(candidate, at=self._by.at, caller=self._by.caller, catalog=around)
            truths[number] = _truth(self._node, known[number], holds)
        return [one for one, truth in zip(stored, truths, strict=True) if truth]

    async def _completed(self, session: AsyncSession, rows: Sequence[Stored]) -> Sequence[candidates.Entity]:
        if not rows:
            return ()
        whole = await self._complete(session, [row.entity for row in rows], wanted=self._wanted)
        if not self._asks_scorecards:
            return whole
        results: dict[str, dict[str, JsonValue]] = {}
        asked = sa.select(_RESULTS.entity_id, _RESULTS.scorecard, _RESULTS.document)
        among_these = among(_RESULTS.entity_id, [row.id for row in rows])
        for row_id, scorecard, document in await _all(session, asked.where(among_these)):
            results.setdefault(row_id, {})[scorecard] = document
        return [replace(one, scorecards=results.get(row.id, {})) for one, row in zip(whole, rows, strict=True)]

    async def _named(self, session: AsyncSession, rows: Sequence[Stored]) -> _Names:
        """The titles at the ends of the relations of these entities, if the query asks for any."""
        found: _Names = {}
        if not self._asks_titles or not rows:
            return found
        of = {row.id: Reference(row.entity.blueprint, row.entity.identifier) for row in rows}
        leads = sa.and_(ENTITIES.blueprint == _ARROWS.target_blueprint, ENTITIES.identifier == _ARROWS.target)
        asked = sa.select(_ARROWS.source_id, _ARROWS.relation, _ARROWS.target, ENTITIES.title).where(
            leads, among(_ARROWS.source_id, list(of))
        )
        for row_id, relation, identifier, title in await _all(session, asked):
            found.setdefault((of[row_id], relation), {})[identifier] = title
        return found


async def prepared(
    session: AsyncSession,
    query: Query | None,
    *,
    at: datetime,
    caller: Caller,
    complete: Completing,
    blueprint: str | None = None,
) -> Search:
    """The search for what the query finds, of one blueprint or of all; without a query that is everything.

    Raises:
        InvalidRequest: the database would not take so much at once.
        Unavailable: no process could be had to make what is derived of the caller's own entity.
    """
    query = query or _EVERYTHING
    definitions = await current(session)
    known = definitions.all
    wanted = {blueprint} if blueprint is not None else blueprints_of(query)
    asked = known if wanted is None else {name: known[name] for name in wanted if name in known}
    declared = {name for one in asked.values() for name in (*one.properties, *derived(one))}
    query = with_dollars(query, declared)
    wanted_names, rules = properties_of(query), leaves(query)
    around = _Around()
    if any(map(asks_caller, rules)):
        around = await _Around.of(session, caller, complete, wanted_names)
    by = Operands(at, caller, around)
    compiler = Compiler(definitions, asked, by, Chains(known, by))
    read = replace(compiler, chains=Chains(known, by), by_document=True)
    # Thousands of rules take seconds, and others want to be served meanwhile.
    node = compiler.compiled(query) if len(rules) <= _QUICK else await asyncio.to_thread(compiler.compiled, query)
    search = Search(
        _node=node,
        _by_document=partial(read.compiled, query) if 1 < len(rules) <= _QUICK else None,
        _blueprints=wanted,
        _by=by,
        _around=around,
        _complete=complete,
        _wanted=wanted_names,
        _asks_scorecards=any(is_about(ScorecardResult, rule) for rule in rules),
        _asks_titles=any(is_about(RelationEnd, rule) for rule in rules),
        _walks=any(isinstance(rule, Related | PathMatch) for rule in rules),
    )
    if len(rules) > _QUICK:
        await asyncio.to_thread(refuse_large, search.statement(sa.true(), AT_ONCE))
    elif not all(map(_is_short, rules)):
        refuse_large(search.statement(sa.true(), AT_ONCE))
    return search


def _is_short(rule: Rule) -> bool:
    """Whether the rule compares one property with one plain value: a hundred of those make no large statement."""
    match rule:
        case Comparison(subject=Property(), value=None | bool() | int() | float() | str()):
            return True
    return False


@dataclass(frozen=True)
class _Around:
    """What the predicate asks beyond one entity. Chains of relations are SQL's, so nobody follows them here."""

    me: candidates.Entity | None = None
    mine: Sequence[candidates.Entity] = ()
    names: _Names = field(default_factory=dict)

    @classmethod
    async def of(
        cls, session: AsyncSession, caller: Caller, complete: Completing, wanted: Callable[[str], bool]
    ) -> "_Around":
        """The caller's own entity and those of the caller's teams, as far as there are such."""
        if caller.user is None:
            return cls()
        me = await entities.find(session, "_user", identifier_of(caller.user.email))
        names = [str(identifier_of(name)) for name in caller.user.teams]
        named = sa.and_(ENTITIES.blueprint == "_team", among(ENTITIES.identifier, names))
        rows = await _all(session, sa.select(ENTITIES.document).where(named))
        teams = {str(entity.identifier): entity for entity in (Entity.model_validate(row[0]) for row in rows)}
        mine = [teams[name] for name in names if name in teams]
        whole = await complete(session, [*([me.entity] if me else []), *mine], wanted=wanted)
        return cls(whole[0], whole[1:]) if me else cls(None, whole)

    def targets(self, of: Reference, *, relation: str | None = None, required: bool | None = None) -> Sequence[Any]:
        return ()

    def sources(self, of: Reference, *, relation: str | None = None, required: bool | None = None) -> Sequence[Any]:
        return ()

    def titles(self, of: Reference, relation: str) -> Mapping[str, str | None]:
        return self.names.get((of, relation), {})

    def user(self, caller: Caller) -> candidates.Entity | None:
        return self.me

    def teams(self, caller: Caller) -> Sequence[candidates.Entity]:
        return self.mine


def _truth(node: Node, known: Mapping[int, bool], holds: Callable[[Rule], bool] | None = None) -> bool | None:
    """Whether the node holds; None if that takes the predicate, and it is not there."""
    match node:
        case Exact():
            return known[id(node)]
        case Open(rule):
            return holds(rule) if holds else None
        case Group(combinator, parts):
            decisive = combinator == "or"
            open_parts = False
            for part in parts:
                truth = _truth(part, known, holds)
                if truth is decisive:
                    return decisive
                open_parts |= truth is None
            return None if open_parts else not decisive


async def _all(session: AsyncSession, statement: sa.Select[Any]) -> Sequence[Any]:
    rows: Sequence[Any] = (await session.exec(statement)).all()  # type: ignore[call-overload]
    return rows


def after_place(place: Place | None) -> Condition:
    """Whether the row comes after the place."""
    if place is None:
        return sa.true()
    return sa.tuple_(ENTITIES.blueprint, ENTITIES.identifier) > sa.tuple_(*map(sa.literal, place))
