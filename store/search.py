"""Search of the catalog: SQL selects what a query may find, and the predicate decides what SQL cannot tell."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
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
from domain.query_parts import asks_caller, blueprints_of, is_about, leaves, properties_of
from domain.rule_values import Comparison, PathMatch, Property, Query, Related, RelationEnd, Rule, ScorecardResult
from domain.users import Caller
from store.catalog_tables import EntityRelationRow, ScorecardResultRow
from store.columns import table
from store.database import execute
from store.definitions import current
from store.derived import Completing
from store.entities import Stored
from store.search_around import Around, Names, rows_of
from store.search_columns import Condition, among, unindexed
from store.search_relations import Chains
from store.search_sql import Compiler, Exact, Group, Node, Open, exact_parts, has_open, refuse_large
from store.search_values import ENTITIES, Choice, choices, chosen, told_apart, united_ids

AT_ONCE: Final = 500
"""How many rows are read at a time."""

_SOME: Final = 10_000
"""Up to how many entities are rather told by their ids than by what the query says of them."""
_FEW: Final = 2_500
"""Up to how many are rather read all and sorted than looked for one after another."""
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


@dataclass(frozen=True)
class Page:
    """Some of what a search finds, by blueprint and identifier."""

    found: tuple[Stored, ...]
    next: Place | None
    """Where the next page begins; None if there is no more."""


@dataclass(frozen=True)
class _Few:
    """Entities of which no other can be found."""

    ids: Collection[str]
    condition: Condition | None = None
    """What is still to be asked of them; None: everything."""


@dataclass(frozen=True)
class Search:
    """A query of one caller at one moment, ready to be asked in any session."""

    _node: Node
    _by_document: Callable[[], Node] | None
    """Makes the node that leaves to the predicate what documents tell; None if that can spare nothing."""
    _blueprints: Collection[str] | None
    _by: Operands
    _around: Around
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
        if few is not None and not few.ids:
            return Page((), None)
        if few is not None and len(few.ids) <= limit + _READ and self._by_document is not None:
            # SQL would look up everything else that has a frequent value, to compare these few with it.
            by_key = not self._walks and len(few.ids) <= _IN_PLACE
            among_few = replace(self, _node=self._by_document(), _by_document=None, _by_key=by_key)
            return await among_few._paged(session, after, limit, _Few(few.ids))
        return await self._paged(session, after, limit, few)

    async def _paged(self, session: AsyncSession, after: Place | None, limit: int, few: _Few | None) -> Page:
        found: list[Stored] = []
        here = after
        size = max(AT_ONCE, limit) if has_open(self._node) else limit
        while len(found) <= limit:
            statement = self.statement(after_place(here), size + 1, few)
            rows = (await execute(session, statement, {})).all() if self._by_key else await rows_of(session, statement)
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
        return bool(await self._confirmed(session, await rows_of(session, self.statement(named, 1, alone=True))))

    async def _few(self, session: AsyncSession) -> _Few | None:
        """The ids of all that it finds, and of others, if they are known to be few.

        Then reading these and sorting them is quick, and looking through the whole blueprint in its order is not; of
        what is frequent the first come soon that way. Databases guess which is which, and often wrongly.
        """
        if not (several := self._choices):
            return None
        choice = several[0]  # often it is rare, and then there is no need to count
        ids = await _ids(session, choice, _FEW)
        if ids is None:
            choice = await _rarest(session, several)
            ids = await _ids(session, choice, _SOME)
        return None if ids is None else await self._narrowed(session, choice, ids)

    async def _narrowed(self, session: AsyncSession, by: Choice, ids: Collection[str]) -> _Few:
        """Fewer, where other rules demand something of the ids as well: asked one after another.

        Joined in one statement, a database that guesses wrongly compares each of these with each of those.
        """
        if len(ids) <= _READ:  # they are rather read
            return _Few(ids)
        demanded, others = self._told_apart
        left = [choice for choice in demanded if choice != by]
        for choice in left[:_TRIED]:
            if ids:
                ids = {row[0] for row in await rows_of(session, united_ids(choice, of=ids))}
        if len(left) > _TRIED or by not in demanded:
            return _Few(ids)
        return _Few(ids, sa.and_(sa.true(), *others))

    def statement(
        self, where: Condition, limit: int, few: _Few | None = None, *, alone: bool = False
    ) -> sa.Select[Any]:
        """The rows that it may find, each with what is already known of it; `alone`: there can be only one."""
        known = [part.condition.label(f"known_{number}") for number, part in enumerate(self._parts)]
        found: sa.Select[Any] = sa.select(ENTITIES.id, ENTITIES.document, *known)
        condition = self._condition if alone else self._separately
        if few is not None and few.condition is not None:
            condition = few.condition
        is_read = few is not None and len(few.ids) <= _FEW
        if few is not None:
            where = sa.and_(among(ENTITIES.id if is_read else unindexed(ENTITIES.id), few.ids), where)
        if self._blueprints is not None:
            where = sa.and_(among(unindexed(_BLUEPRINT) if is_read else _BLUEPRINT, self._blueprints), where)
        order: Sequence[sa.ColumnElement[Any]] = (ENTITIES.blueprint, ENTITIES.identifier)
        if is_read:  # they are sorted; SQLite would rather walk through the blueprint, which is in order
            order = [unindexed(column) for column in order]
        return found.where(condition, where).order_by(*order).limit(limit)

    @cached_property
    def _condition(self) -> Condition:
        return self._node.condition

    @cached_property
    def _told_apart(self) -> tuple[Sequence[Choice], Sequence[Condition]]:
        return told_apart(self._condition)

    @cached_property
    def _separately(self) -> Condition:
        """The condition, so that each choice is looked up once, and not for every entity that another one selects.

        PostgreSQL would join them, in an order that depends on its guess of how many rows each has. It guesses that
        what a property has does not depend on which property it is.
        """
        demanded, others = self._told_apart
        return sa.and_(sa.true(), *(chosen(*choice).is_(sa.true()) for choice in demanded), *others)

    @cached_property
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
        for row_id, scorecard, document in await rows_of(session, asked.where(among_these)):
            results.setdefault(row_id, {})[scorecard] = document
        return [replace(one, scorecards=results.get(row.id, {})) for one, row in zip(whole, rows, strict=True)]

    async def _named(self, session: AsyncSession, rows: Sequence[Stored]) -> Names:
        """The titles at the ends of the relations of these entities, if the query asks for any."""
        found: Names = {}
        if not self._asks_titles or not rows:
            return found
        of = {row.id: Reference(row.entity.blueprint, row.entity.identifier) for row in rows}
        leads = sa.and_(ENTITIES.blueprint == _ARROWS.target_blueprint, ENTITIES.identifier == _ARROWS.target)
        asked = sa.select(_ARROWS.source_id, _ARROWS.relation, _ARROWS.target, ENTITIES.title).where(
            leads, among(_ARROWS.source_id, list(of))
        )
        for row_id, relation, identifier, title in await rows_of(session, asked):
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
    around = Around()
    if any(map(asks_caller, rules)):
        around = await Around.of(session, caller, complete, wanted_names)
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


async def _ids(session: AsyncSession, choice: Choice, most: int) -> set[str] | None:
    """What the choice selects; None if that is more than so many."""
    rows = await rows_of(session, united_ids(choice).limit(most + 1))
    return {row[0] for row in rows} if len(rows) <= most else None


async def _rarest(session: AsyncSession, several: Sequence[Choice]) -> Choice:
    """What selects least of these."""
    counted = (united_ids(one).limit(_SOME + 1).subquery() for one in several)
    counts = [sa.select(sa.func.count()).select_from(one).scalar_subquery() for one in counted]
    [numbers] = await rows_of(session, sa.select(*counts))
    return several[min(range(len(several)), key=numbers.__getitem__)]


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


def after_place(place: Place | None) -> Condition:
    """Whether the row comes after the place."""
    if place is None:
        return sa.true()
    return sa.tuple_(ENTITIES.blueprint, ENTITIES.identifier) > sa.tuple_(*map(sa.literal, place))
