"""Search of the catalog: SQL selects what a query may find, and the predicate decides what SQL cannot tell."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import sqlalchemy as sa
from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.candidates import Reference
from domain.derived import derived
from domain.matching import Operands, Tests, looking_at
from domain.meta_names import with_dollars
from domain.query_parts import asks_caller, blueprints_of, is_about, leaves, properties_of
from domain.rule_values import PathMatch, Query, Related, RelationEnd, ScorecardResult
from domain.users import Caller
from store.catalog_tables import EntityRelationRow, ScorecardResultRow
from store.columns import table
from store.database import execute
from store.definitions import current
from store.derived import Completing
from store.found import Found, Page, Place
from store.search_around import Around, Names, rows_of
from store.search_columns import Condition, among, among_given, among_ids, told, unindexed
from store.search_ids import ids_among, ids_of, rarest
from store.search_relations import Chains
from store.search_sql import Compiler, Exact, Node, Open, exact_parts, has_open, is_short, refuse_large, truth
from store.search_values import ENTITIES, Choice, choices, chosen, told_apart

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
_IN_ORDER: Final = (unindexed(_BLUEPRINT), unindexed(ENTITIES.identifier))
"""By blueprint and identifier: rows are sorted; SQLite would rather walk through the blueprint, which is in order."""
_BY_ID: Final = sa.select(ENTITIES.id, ENTITIES.document).where(among_given(ENTITIES.id, "these")).order_by(*_IN_ORDER)


@dataclass(frozen=True)
class _Few:
    """Entities of which no other can be found."""

    ids: Collection[str]
    condition: Condition | None = None
    """What is still to be asked of them; None: everything."""


@dataclass(frozen=True)
class Search:
    """A query of one caller at one moment, ready to be asked in any session."""

    _query: Query
    _compiler: Compiler
    _blueprints: Collection[str] | None
    _by: Operands
    _around: Around
    _complete: Completing
    _wanted: Callable[[str], bool]
    _asks_scorecards: bool
    _asks_titles: bool
    _walks: bool
    """Whether it follows relations from entity to entity."""
    _reads: bool
    """Whether few entities are rather read, and the predicate asked, than selected by SQL."""
    _of_few: Node | None = None
    """What is asked of few entities, once they are known."""
    _by_key: bool = False
    """Whether these are read each by its id: that is done in place."""

    async def page(self, session: AsyncSession, *, after: Place | None = None, limit: int = AT_ONCE) -> Page:
        """The first entities that it finds, or the first after a place."""
        few = await self._few(session)
        if few is not None and not few.ids:
            return Page((), None)
        if few is not None and len(few.ids) <= limit + _READ and self._reads:
            # SQL would look up everything else that has a frequent value, to compare these few with it.
            by_key = not self._walks and after is None and len(few.ids) <= _IN_PLACE
            among_few = replace(self, _of_few=self._read, _by_key=by_key)
            return await among_few._paged(session, after, limit, _Few(few.ids))
        return await self._paged(session, after, limit, few)

    def refuse_large(self) -> None:
        """Refuse what the database would not take.

        Raises:
            InvalidRequest: the query asks for too much at once.
        """
        refuse_large(self.statement(sa.true(), AT_ONCE))

    @property
    def _read(self) -> Node:
        """What is asked of few entities: the predicate, except for what SQL alone can walk to."""
        if self._walks:
            chains = Chains(self._compiler.definitions.all, self._by)
            return replace(self._compiler, chains=chains, by_document=True).compiled(self._query)
        return Open(self._query, sa.true())

    async def _paged(self, session: AsyncSession, after: Place | None, limit: int, few: _Few | None) -> Page:
        found: list[Found] = []
        here = after
        size = max(AT_ONCE, limit) if has_open(self._node) else limit
        while len(found) <= limit:
            if few is not None and self._by_key:
                rows = await self._by_ids(session, few.ids)
            else:
                rows = await rows_of(session, self.statement(after_place(here), size + 1, few))
            found += await self._confirmed(session, rows)
            if len(rows) <= size:
                break
            last = rows[-1][1]
            here = Place(last["blueprint"], last["identifier"])
        kept = tuple(found[:limit])
        last_one = kept[-1] if len(found) > limit else None
        return Page(kept, Place(last_one.blueprint, last_one.identifier) if last_one else None)

    async def _by_ids(self, session: AsyncSession, ids: Collection[str]) -> Sequence[Any]:
        """Those of the rows that are of its blueprints, by a statement that was made beforehand."""
        rows = (await execute(session, _BY_ID, {"these": sorted(ids)})).all()
        return [row for row in rows if self._blueprints is None or row[1]["blueprint"] in self._blueprints]

    async def holds(self, session: AsyncSession, blueprint: str, identifier: str) -> bool:
        """Whether it finds this one entity."""
        named = sa.and_(ENTITIES.blueprint == blueprint, ENTITIES.identifier == identifier)
        return bool(await self._confirmed(session, await rows_of(session, self.statement(named, 1, alone=True))))

    async def _few(self, session: AsyncSession) -> _Few | None:
        """The ids of all that it finds, and of others, if they are known to be few.

        Then reading these and sorting them is quick, and looking through the whole blueprint in its order is not; of
        what is frequent the first come soon that way. Databases guess which is which, and often wrongly.
        """
        rules = self._query.rules if self._query.combinator == "and" else (self._query,)
        equal = next(filter(None, map(self._compiler.equality, rules)), None)  # needs no other rule to become SQL
        first = equal or self._first
        if first is None:
            return None
        # Often it is rare, and then there is no need to count.
        if (ids := await ids_of(session, first, _FEW)) is not None:
            return await self._narrowed(session, None if equal else self._first, ids)
        by = await rarest(session, self._choices, _SOME)
        ids = await ids_of(session, by, _SOME)
        return None if ids is None else await self._narrowed(session, by, ids)

    async def _narrowed(self, session: AsyncSession, by: Choice | None, ids: Collection[str]) -> _Few:
        """Fewer, where other rules than the one that selected these demand something as well: asked one after another.

        Joined in one statement, a database that guesses wrongly compares each of these with each of those.
        """
        if len(ids) <= _READ:  # they are rather read
            return _Few(ids)
        demanded, others = self._told_apart
        left = [choice for choice in demanded if choice != by]
        for choice in left[:_TRIED]:
            if ids:
                ids = await ids_among(session, choice, ids)
        if len(left) > _TRIED or (by is not None and by not in demanded):
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
            where = sa.and_(among_ids(ENTITIES.id if is_read else unindexed(ENTITIES.id), few.ids), where)
        if self._blueprints is not None:
            where = sa.and_(among(told(_BLUEPRINT) if is_read else _BLUEPRINT, self._blueprints), where)
        order = _IN_ORDER if is_read else (_BLUEPRINT, ENTITIES.identifier)
        return found.where(condition, where).order_by(*order).limit(limit)

    @cached_property
    def _node(self) -> Node:
        return self._of_few or self._compiler.compiled(self._query)

    @cached_property
    def _first(self) -> Choice | None:
        """What the first rule selects that selects anything.

        The rules behind it need not become SQL for that.
        """
        rules = self._query.rules if self._query.combinator == "and" else (self._query,)
        found = (one for rule in rules for one in choices(self._compiler.compiled(rule).condition))
        return next((one for one in found if len(one) <= _UNITED), None)

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
        found = [one for one in choices(self._condition) if len(one) <= _UNITED][:_TRIED]
        return found or [one for one in (self._first,) if one]  # many rules are joined in a way that does not show them

    @cached_property
    def _parts(self) -> Sequence[Exact]:
        return tuple(exact_parts(self._node)) if has_open(self._node) else ()

    async def _confirmed(self, session: AsyncSession, rows: Sequence[Any]) -> list[Found]:
        stored = [Found(row[0], row[1]) for row in rows]
        if not has_open(self._node):
            return stored
        places = [id(part) for part in self._parts]
        known = [dict(zip(places, map(bool, row[2:]), strict=True)) for row in rows]
        # Most rows know the same, and what that says of the whole is found out once.
        said = {tuple(each.values()): truth(self._node, each) for each in known}
        truths = [said[tuple(each.values())] for each in known]
        doubtful = [number for number, truth in enumerate(truths) if truth is None]
        whole = await self._completed(session, [stored[number] for number in doubtful])
        around = replace(self._around, names=await self._named(session, [stored[number] for number in doubtful]))
        tests: Tests = {}
        for number, candidate in zip(doubtful, whole, strict=True):
            holds = looking_at(candidate, at=self._by.at, caller=self._by.caller, catalog=around, tests=tests)
            truths[number] = truth(self._node, known[number], holds)
        return [one for one, truth in zip(stored, truths, strict=True) if truth]

    async def _completed(self, session: AsyncSession, rows: Sequence[Found]) -> Sequence[candidates.Entity]:
        if not rows:
            return ()
        known = self._compiler.definitions
        if not any(map(known.derives, {row.blueprint for row in rows})):
            whole: Sequence[candidates.Entity] = [row.candidate(known.schemas(row.blueprint)) for row in rows]
        else:
            whole = await self._complete(session, [row.entity for row in rows], wanted=self._wanted)
        if not self._asks_scorecards:
            return whole
        results: dict[str, dict[str, JsonValue]] = {}
        asked = sa.select(_RESULTS.entity_id, _RESULTS.scorecard, _RESULTS.document)
        among_these = among(_RESULTS.entity_id, [row.id for row in rows])
        for row_id, scorecard, document in await rows_of(session, asked.where(among_these)):
            results.setdefault(row_id, {})[scorecard] = document
        return [replace(one, scorecards=results.get(row.id, {})) for one, row in zip(whole, rows, strict=True)]

    async def _named(self, session: AsyncSession, rows: Sequence[Found]) -> Names:
        """The titles at the ends of the relations of these entities, if the query asks for any."""
        found: Names = {}
        if not self._asks_titles or not rows:
            return found
        of = {row.id: Reference(row.blueprint, row.identifier) for row in rows}
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
    search = Search(
        _query=query,
        _compiler=Compiler(definitions, asked, by, Chains(known, by)),
        _blueprints=wanted,
        _by=by,
        _around=around,
        _complete=complete,
        _wanted=wanted_names,
        _asks_scorecards=any(is_about(ScorecardResult, rule) for rule in rules),
        _asks_titles=any(is_about(RelationEnd, rule) for rule in rules),
        _walks=any(isinstance(rule, Related | PathMatch) for rule in rules),
        _reads=1 < len(rules) <= _QUICK,
    )
    if len(rules) > _QUICK:
        # Thousands of rules take seconds to become SQL, and others want to be served meanwhile.
        await asyncio.to_thread(search.refuse_large)
    elif not all(map(is_short, rules)):
        search.refuse_large()
    return search


def after_place(place: Place | None) -> Condition:
    """Whether the row comes after the place."""
    if place is None:
        return sa.true()
    return sa.tuple_(ENTITIES.blueprint, ENTITIES.identifier) > sa.tuple_(*map(sa.literal, place))
