"""Aggregations over related entities in SQL, for many entities at a time, and what of them is still known.

A value that was made is kept in this process, with the last change it can know of. It counts as long as no entity of a
blueprint it is made of has changed since, nor any blueprint, and for a minute at most: averages go on with time, and on
PostgreSQL a change can be committed after one with a higher number. Reading writes nothing.

What is read in a transaction that writes may never be committed, so ask in sessions that only read.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from pydantic import JsonValue
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates, matching
from domain.aggregations import Measured, moment, result, timed_by
from domain.computed_properties import MAX_PATH, Aggregation
from domain.derived import Definitions, Node
from domain.entities import Entity
from domain.errors import InvalidRequest
from domain.rule_values import Query
from domain.users import Caller
from store.catalog_tables import EntityRelationRow, EntityRow
from store.columns import table
from store.relations import Around
from store.tables import ChangeRow

_FRESH: Final = timedelta(seconds=60)
_MOST_KEPT: Final = 20_000
_AT_ONCE: Final = 500
_FAR: Final = 5_000
"""How many later changes are looked through before a value is rather made again."""
_NOBODY: Final = Caller(organization="", client="")
"""Aggregations are the same whoever reads them."""

Completed = Callable[[Sequence[Entity], Collection[str]], Awaitable[list[candidates.Entity]]]
"""Entities with these derived values."""

_entities, _relations, _changes = table(EntityRow), table(EntityRelationRow).alias("r"), table(ChangeRow).c
_LATEST = sa.select(sa.func.max(_changes.sequence))


@dataclass(frozen=True, slots=True)
class _Kept:
    stamp: int
    at: datetime
    value: JsonValue


_Key = tuple[str, str, str, str]
_kept: OrderedDict[_Key, _Kept] = OrderedDict()


async def of(
    session: AsyncSession,
    definitions: Definitions,
    node: Node,
    identifiers: Collection[str],
    *,
    at: datetime,
    completed: Completed,
) -> Mapping[str, JsonValue]:
    """The aggregation of each of these entities of its blueprint, by identifier."""
    aggregation = definitions.derived(node.blueprint)[node.name]
    assert isinstance(aggregation, Aggregation)  # noqa: S101 - says so to the type checker
    latest = (await session.exec(_LATEST)).scalar_one() or 0  # type: ignore[call-overload]
    prefix = (definitions.version, *node)
    found = await _known(session, prefix, identifiers, _involved(definitions, node, aggregation), latest, at)
    absent = [one for one in dict.fromkeys(identifiers) if one not in found]
    for start in range(0, len(absent), _AT_ONCE):
        some = absent[start : start + _AT_ONCE]
        made = await _made(session, definitions, node, aggregation, some, at, completed)
        for identifier in some:
            found[identifier] = made[identifier]
            _keep((*prefix, identifier), _Kept(latest, at, made[identifier]))
    return found


async def _known(
    session: AsyncSession,
    prefix: tuple[str, str, str],
    identifiers: Collection[str],
    involved: frozenset[str] | None,
    latest: int,
    at: datetime,
) -> dict[str, JsonValue]:
    kept = {one: value for one in identifiers if (value := _kept.get((*prefix, one))) is not None}
    kept = {
        one: value
        for one, value in kept.items()
        if abs(at - value.at) < _FRESH and latest - _FAR <= value.stamp <= latest
    }
    oldest = min((value.stamp for value in kept.values()), default=latest)
    if oldest < latest:
        changed = sa.select(sa.func.max(_changes.sequence)).where(
            _changes.sequence > oldest, _changes.resource_type == "entity"
        )
        if involved is not None:
            changed = changed.where(_changes.blueprint.in_(sorted(involved)))
        last = (await session.exec(changed)).scalar_one() or 0  # type: ignore[call-overload]
        kept = {one: value for one, value in kept.items() if value.stamp >= last}
    for one, value in kept.items():
        _keep((*prefix, one), _Kept(latest, value.at, value.value))
    return {one: value.value for one, value in kept.items()}


def _keep(key: _Key, kept: _Kept) -> None:
    _kept[key] = kept
    _kept.move_to_end(key)
    if len(_kept) > _MOST_KEPT:
        _kept.popitem(last=False)


def _involved(definitions: Definitions, node: Node, aggregation: Aggregation) -> frozenset[str] | None:
    """The blueprints whose entities the value is made of; None where it could be any."""
    if aggregation.query or definitions.asked(node.blueprint, aggregation, node.name):
        return None
    ways = [
        definitions.leading_to(aggregation.target) & definitions.led_to_by(node.blueprint),
        definitions.led_to_by(aggregation.target) & definitions.leading_to(node.blueprint),
    ]
    return frozenset({node.blueprint, aggregation.target}).union(*ways)


async def _made(
    session: AsyncSession,
    definitions: Definitions,
    node: Node,
    aggregation: Aggregation,
    identifiers: Sequence[str],
    at: datetime,
    completed: Completed,
) -> Mapping[str, JsonValue]:
    spec, asked = aggregation.calculation_spec, definitions.asked(node.blueprint, aggregation, node.name)
    none = result(spec, (), at=at)
    try:
        query = definitions.query(node.blueprint, node.name)
    except InvalidRequest:
        return dict.fromkeys(identifiers)
    related = _related(definitions, node.blueprint, aggregation, identifiers)
    if related is None:
        return dict.fromkeys(identifiers, none)
    if (spec.calculation_by, spec.func) == ("entities", "count") and query is None:
        counted = sa.select(related.c.origin, sa.func.count().label("number")).group_by(related.c.origin)
        counts = {row.origin: row.number for row in await _rows(session, counted)}
        return {one: counts.get(one, 0) for one in identifiers}
    pairs = await _rows(session, sa.select(related.c.origin, related.c.id))
    wanted = sorted({row_id for _, row_id in pairs})
    if query is None and not asked:
        measured = await _measured(session, aggregation, wanted)
    else:
        measured = await _filtered(session, definitions, aggregation, query, asked, wanted, at, completed)
    by_origin: defaultdict[str, list[Measured]] = defaultdict(list)
    for origin, row_id in pairs:
        if row_id in measured:
            by_origin[origin].append(measured[row_id])
    return {one: result(spec, by_origin[one], at=at) if one in by_origin else none for one in identifiers}


async def _measured(session: AsyncSession, aggregation: Aggregation, wanted: Sequence[str]) -> dict[str, Measured]:
    """What is asked of stored properties."""
    spec = aggregation.calculation_spec
    timed = timed_by(spec)
    time = {"$createdAt": _entities.c.created_at, "$updatedAt": _entities.c.updated_at}.get(timed or "")
    # All properties, though one is asked for: SQLite gives a boolean as a number when it is taken out by itself.
    columns = [_entities.c.id, _entities.c.document["properties"], sa.null() if time is None else time]
    found: dict[str, Measured] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        for row_id, properties, at in await _rows(session, sa.select(*columns).where(_entities.c.id.in_(some))):
            amount = properties.get(spec.property) if spec.property else None
            found[row_id] = Measured(amount, at if time is not None or timed is None else moment(properties.get(timed)))
    return found


async def _filtered(
    session: AsyncSession,
    definitions: Definitions,
    aggregation: Aggregation,
    query: Query | None,
    asked: Collection[str],
    wanted: Sequence[str],
    at: datetime,
    completed: Completed,
) -> dict[str, Measured]:
    """What is asked of the entities that the query finds among those of these rows."""
    spec, found = aggregation.calculation_spec, dict[str, Measured]()
    timed = timed_by(spec)
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        rows = await session.exec(select(EntityRow.id, EntityRow.document).where(col(EntityRow.id).in_(some)))
        stored = {row_id: Entity.model_validate(document) for row_id, document in rows}
        whole = await completed(list(stored.values()), asked)
        if query is not None:
            passing = await session.run_sync(_passing, definitions, query, whole, at)
        else:
            passing = [True] * len(whole)
        for row_id, candidate, passes in zip(stored, whole, passing, strict=True):
            if passes:
                amount = candidate.value(spec.property) if spec.property else None
                found[row_id] = Measured(amount, _moment(candidate, timed))
    return found


def _passing(
    session: Any, definitions: Definitions, query: Query, whole: Sequence[candidates.Entity], at: datetime
) -> list[bool]:
    around = Around(session, definitions)
    return [matching.matches(query, one, at=at, caller=_NOBODY, catalog=around) for one in whole]


def _moment(candidate: candidates.Entity, timed: str | None) -> datetime | None:
    match timed:
        case None:
            return None
        case "$createdAt":
            return candidate.created_at
        case "$updatedAt":
            return candidate.updated_at
    return moment(candidate.value(timed))


async def _rows(session: AsyncSession, statement: sa.Select[Any]) -> Sequence[Any]:
    return (await session.exec(statement)).all()  # type: ignore[call-overload, no-any-return]


def _related(
    definitions: Definitions, blueprint: str, aggregation: Aggregation, identifiers: Sequence[str]
) -> sa.Subquery | None:
    """Each entity's related ones: columns `origin`, which is its identifier, and `id`, which is their row."""
    target = aggregation.target
    own = _entities.alias("own")
    origins = sa.select(own.c.identifier.label("origin"), own.c.id).where(
        own.c.blueprint == blueprint, own.c.identifier.in_(identifiers)
    )
    if filters := [one for one in aggregation.path_filter or () if one.path]:
        ways = [
            _of_blueprint(_followed(origins, one.path, backward=one.leads_back(blueprint, target)), target)
            for one in filters
            if len(one.path) <= MAX_PATH and one.from_blueprint in (None, blueprint, target)
        ]
    else:
        ways = [
            _of_blueprint(_walk(origins, allowed, backward=backward), target)
            for backward, allowed in (
                (False, definitions.leading_to(target)),
                (True, definitions.led_to_by(target)),
            )
            if _leads(definitions, blueprint, allowed, backward=backward)
        ]
    if not ways:
        return None
    return (ways[0] if len(ways) == 1 else sa.union(*ways)).subquery("related")


def _leads(definitions: Definitions, blueprint: str, allowed: frozenset[str], *, backward: bool) -> bool:
    """Whether one step from the blueprint gets to one of those allowed."""
    return not allowed.isdisjoint(definitions.steps(blueprint, backward=backward))


def _followed(origins: sa.Select[Any], path: Sequence[str], *, backward: bool) -> sa.CTE:
    """Everything that the path leads to, or where it begins if it leads to the origins."""
    here = origins.cte()
    for hop in reversed(path) if backward else path:
        here = _step(here, backward=backward, relation=hop).distinct().cte()
    return here


def _walk(origins: sa.Select[Any], allowed: frozenset[str], *, backward: bool) -> sa.CTE:
    """Everything that chains of relations in one direction lead to, through blueprints that are on a way."""
    prefix = "sources" if backward else "targets"
    walk = _step(origins.cte(f"{prefix}_of"), backward=backward, through=allowed).cte(prefix, recursive=True)
    return walk.union(_step(walk, backward=backward, through=allowed))  # what is known already ends a circle


def _step(
    here: Any, *, backward: bool, relation: str | None = None, through: frozenset[str] | None = None
) -> sa.Select[Any]:
    """One relation further from each row of `here`."""
    there = _entities.alias()
    if backward:
        at = _entities.alias()
        joined = (
            sa.select(here.c.origin, there.c.id)
            .select_from(here)
            .join(at, at.c.id == here.c.id)
            .join(
                _relations,
                sa.and_(_relations.c.target_blueprint == at.c.blueprint, _relations.c.target == at.c.identifier),
            )
            .join(there, there.c.id == _relations.c.source_id)
        )
    else:
        joined = (
            sa.select(here.c.origin, there.c.id)
            .select_from(here)
            .join(_relations, _relations.c.source_id == here.c.id)
            .join(
                there,
                sa.and_(there.c.blueprint == _relations.c.target_blueprint, there.c.identifier == _relations.c.target),
            )
        )
    if relation is not None:
        joined = joined.where(_relations.c.relation == relation)
    if through is not None:
        joined = joined.where(there.c.blueprint.in_(sorted(through)))
    return joined


def _of_blueprint(here: Any, target: str) -> sa.Select[Any]:
    there = _entities.alias()
    return (
        sa.select(here.c.origin, here.c.id)
        .select_from(here)
        .join(there, there.c.id == here.c.id)
        .where(there.c.blueprint == target)
    )
