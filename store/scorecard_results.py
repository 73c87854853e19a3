"""What scorecards say about entities in SQL: a row for each result, and the entities that show it to automations."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint
from domain.candidates import as_stored
from domain.entities import Entity, EntityId, Kind
from domain.errors import NotFound
from domain.scorecard_blueprints import (
    RULE,
    RULE_RESULT,
    SCORECARD,
    named,
    of_result,
    of_rule,
    of_rules,
    of_scorecard,
    results_named,
)
from domain.scorecards import Result, Scorecard, evaluated
from store import blueprints, entities
from store.catalog_tables import EntityRow, ScorecardResultRow
from store.columns import table
from store.database import execute
from store.derived import Completing
from store.entities import Stored, Writer

_ROWS = table(ScorecardResultRow).c
_OF = sa.select(_ROWS.scorecard, _ROWS.document).where(_ROWS.entity_id == bindparam("of"))
_THIS = sa.and_(_ROWS.entity_id == bindparam("of"), _ROWS.scorecard == bindparam("this"))
_INSERT = sa.insert(table(ScorecardResultRow))
_UPDATE = sa.update(table(ScorecardResultRow)).where(_THIS)
_DELETE = sa.delete(table(ScorecardResultRow)).where(_THIS)
_AT_ONCE = 500
"""How many entities one statement asks for."""


@dataclass(frozen=True)
class Outcome:
    """What scorecards say about one entity, by scorecard, as it was stored and as it is."""

    row_id: str
    entity: Entity
    """As it is; one that goes, as it was."""
    known_as: str
    """The identifier it had when the results were stored."""
    before: Mapping[str, Result]
    after: Mapping[str, Result]
    known_in: str | None = None
    """What its blueprint was called then; None: as it is now."""
    retold: bool = False
    """Whether something besides the results has changed that the entities for them show, such as a title."""


@dataclass(frozen=True)
class _Telling:
    """One rule of one outcome: which entity says it, and which one said it before."""

    outcome: Outcome
    scorecard: str
    rule: str
    was: EntityId | None
    now: EntityId | None


async def of_entity(session: AsyncSession, row_id: str) -> dict[str, Result]:
    """What is stored about one entity."""
    rows = await execute(session, _OF, {"of": row_id})
    return dict[str, Result](rows.all())


async def of_entities(
    session: AsyncSession, row_ids: Sequence[str], scorecards: Collection[str]
) -> defaultdict[str, dict[str, Result]]:
    """What these scorecards said about the entities, by row id."""
    found: defaultdict[str, dict[str, Result]] = defaultdict(dict)
    rows = await session.exec(
        select(ScorecardResultRow.entity_id, ScorecardResultRow.scorecard, ScorecardResultRow.document).where(
            col(ScorecardResultRow.entity_id).in_(row_ids), col(ScorecardResultRow.scorecard).in_(scorecards)
        )
    )
    for row_id, scorecard, document in rows:
        found[row_id][scorecard] = dict(document)
    return found


async def evaluate(
    session: AsyncSession,
    blueprint: Blueprint,
    scorecards: Sequence[Scorecard],
    found: Sequence[Entity],
    writer: Writer,
    complete: Completing,
) -> list[dict[str, Result]]:
    """What the scorecards say about these entities of the blueprint, in their order, by scorecard."""
    kind, at = blueprint.definition, writer.author.at
    if found and any(scorecard.definition.asks_for_derived(kind) for scorecard in scorecards):
        seen = await complete(session, found)
    else:
        schemas = kind.schemas
        seen = [as_stored(entity, schemas=schemas) for entity in found]
    return [
        {
            scorecard.identifier: result
            for scorecard in scorecards
            if (result := evaluated(scorecard, entity, at=at)) is not None
        }
        for entity in seen
    ]


async def write(
    session: AsyncSession, outcomes: Sequence[Outcome], scorecards: Mapping[str, Scorecard], *, writer: Writer
) -> None:
    """Store what has changed, and let the `_rule_result` entities say it, where there is such a blueprint.

    `scorecards` holds those that say something now. Nobody else stores results of the same entities meanwhile.

    Raises:
        store.database.Raced: the transaction has to be done again.
    """
    for outcome in outcomes:
        await _store(session, outcome)
    tellings = [telling for outcome in outcomes for telling in _tellings(outcome)]
    kind = await _kind(session, RULE_RESULT) if tellings else None
    if kind is None:
        return
    names = {name for telling in tellings for name in (telling.was, telling.now) if name}
    existing = await _existing(session, RULE_RESULT, names)
    for telling in tellings:
        await _tell(session, kind, telling, existing, scorecards, _ours(writer))


async def show(session: AsyncSession, scorecards: Sequence[Scorecard], *, writer: Writer) -> None:
    """Let the `_scorecard` and `_rule` entities say what the scorecards are, where there are such blueprints."""
    writer = _ours(writer)
    kind = await _kind(session, SCORECARD)
    if kind is None:
        return
    names = {named(one.blueprint, one.identifier): one for one in scorecards}
    existing = await _existing(session, SCORECARD, names)
    for name, scorecard in names.items():
        stored = existing.get(name)
        after = of_scorecard(kind, scorecard, stored.entity if stored else None, writer.author)
        await _put(session, kind, stored, after, writer)
    kind = await _kind(session, RULE)
    if kind is None:
        return
    rules = {name: (scorecard, rule) for scorecard in scorecards for name, rule in of_rules(scorecard)}
    existing = await _existing(session, RULE, rules)
    for name, (scorecard, rule) in rules.items():
        stored = existing.get(name)
        after = of_rule(kind, scorecard, name, rule, stored.entity if stored else None, writer.author)
        await _put(session, kind, stored, after, writer)


async def rename(session: AsyncSession, pairs: Sequence[tuple[Scorecard, Scorecard]], *, writer: Writer) -> None:
    """Let the `_scorecard` and `_rule` entities go by what the scorecards, each as it was and is, are called now.

    Their rules have the identifiers they had. What people added to the entities stays.
    """
    names = {
        SCORECARD: {named(now.blueprint, now.identifier): named(was.blueprint, was.identifier) for was, now in pairs},
        RULE: {
            name: old for was, now in pairs for (old, _), (name, _) in zip(of_rules(was), of_rules(now), strict=True)
        },
    }
    for blueprint, renamed in names.items():
        kind = await _kind(session, blueprint)
        for stored in (await _existing(session, blueprint, renamed.values())).values() if kind else ():
            [name] = [now for now, old in renamed.items() if old == stored.entity.identifier]
            if kind and name != stored.entity.identifier:
                after = stored.entity.model_copy(update={"identifier": name})
                await entities.replace(session, kind, stored, after, writer=_ours(writer))
    await show(session, [now for _, now in pairs], writer=writer)


async def unshow(
    session: AsyncSession, before: Sequence[Scorecard], after: Sequence[Scorecard], *, writer: Writer
) -> None:
    """Delete the `_rule` and `_scorecard` entities of what was there before and is no more."""
    for blueprint, gone in (
        (RULE, _rules_named(before) - _rules_named(after)),
        (SCORECARD, _scorecards_named(before) - _scorecards_named(after)),
    ):
        for stored in (await _existing(session, blueprint, gone)).values():
            await entities.remove(session, stored, writer=_ours(writer))


async def _store(session: AsyncSession, outcome: Outcome) -> None:
    for name in sorted({*outcome.before, *outcome.after}):
        before, after = outcome.before.get(name), outcome.after.get(name)
        if before == after:
            continue
        if after is None:
            await execute(session, _DELETE, {"of": outcome.row_id, "this": name})
        elif before is None:
            await execute(session, _INSERT, {"entity_id": outcome.row_id, "scorecard": name, "document": after})
        else:
            await execute(session, _UPDATE, {"of": outcome.row_id, "this": name, "document": after})


def _tellings(outcome: Outcome) -> Iterator[_Telling]:
    of = outcome.entity
    known_in = outcome.known_in or of.blueprint
    for name in sorted({*outcome.before, *outcome.after}):
        before, after = outcome.before.get(name), outcome.after.get(name)
        if before == after and not outcome.retold:
            continue
        was = results_named(known_in, name, outcome.known_as, before) if before else {}
        now = results_named(of.blueprint, name, of.identifier, after) if after else {}
        for rule in {**was, **now}:
            yield _Telling(outcome, name, rule, was.get(rule), now.get(rule))


async def _tell(
    session: AsyncSession,
    kind: Kind,
    telling: _Telling,
    existing: Mapping[str, Stored],
    scorecards: Mapping[str, Scorecard],
    writer: Writer,
) -> None:
    old = existing.get(telling.was) if telling.was else None
    new = existing.get(telling.now) if telling.now else None
    if old and (telling.now is None or (new and new.id != old.id)):
        await entities.remove(session, old, writer=writer)
        old = None
    if telling.now is None:
        return
    stored = new or old
    of, result = telling.outcome.entity, telling.outcome.after[telling.scorecard]
    before = stored.entity if stored else None
    after = of_result(kind, scorecards[telling.scorecard], of, result, telling.rule, before, writer.author)
    await _put(session, kind, stored, after, writer)


async def _put(session: AsyncSession, kind: Kind, stored: Stored | None, after: Entity, writer: Writer) -> None:
    if stored:
        await entities.replace(session, kind, stored, after, writer=writer)
    else:
        await entities.create(session, kind, after, writer=writer)


async def _kind(session: AsyncSession, identifier: str) -> Kind | None:
    try:
        blueprint = await blueprints.get(session, identifier, to_use=True)
    except NotFound:
        return None
    return Kind(blueprint.identifier, blueprint.definition)


async def _existing(session: AsyncSession, blueprint: str, names: Collection[str]) -> dict[str, Stored]:
    """The entities of these names that there are; nobody else changes them until the transaction ends."""
    found: dict[str, Stored] = {}
    in_order = sorted(names)  # for everybody, so that nobody waits in a circle
    for start in range(0, len(in_order), _AT_ONCE):
        rows = await session.exec(
            select(EntityRow.id, EntityRow.identifier, EntityRow.document)
            .where(EntityRow.blueprint == blueprint, col(EntityRow.identifier).in_(in_order[start : start + _AT_ONCE]))
            .order_by(col(EntityRow.identifier))
            .with_for_update()
        )
        found |= {name: Stored(row_id, Entity.model_validate(document)) for row_id, name, document in rows}
    return found


def _scorecards_named(scorecards: Sequence[Scorecard]) -> set[EntityId]:
    return {named(one.blueprint, one.identifier) for one in scorecards}


def _rules_named(scorecards: Sequence[Scorecard]) -> set[EntityId]:
    return {name for scorecard in scorecards for name, _ in of_rules(scorecard)}


def _ours(writer: Writer) -> Writer:
    # Whoever may write an entity may make its scorecards say something else of it.
    return replace(writer, caller=None)
