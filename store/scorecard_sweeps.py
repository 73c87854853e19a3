"""Evaluates many entities of a blueprint by its scorecards in SQL, one after another by identifier."""

from collections.abc import Sequence
from typing import Final

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint
from domain.entities import Entity
from domain.scorecards import Scorecard
from store import scorecard_results
from store.catalog_tables import EntityRow
from store.derived import Completing
from store.entities import Writer
from store.scorecard_results import Outcome

_AT_ONCE: Final = 500


async def every(
    session: AsyncSession,
    blueprint: Blueprint,
    names: Sequence[str],
    scorecards: Sequence[Scorecard],
    *,
    writer: Writer,
    complete: Completing,
) -> None:
    """Evaluate all entities of the blueprint by these scorecards; what others of the names said goes.

    Nobody writes the entities meanwhile, and those who delete one wait for the end, or are waited for.
    """
    start = ""
    while True:
        done = await some(
            session, blueprint, names, scorecards,
            after=start, limit=_AT_ONCE, retold=True, writer=writer, complete=complete,
        )  # fmt: skip
        if len(done) < _AT_ONCE:
            return
        start = done[-1]


async def retell(
    session: AsyncSession, blueprint: Blueprint, known_in: str, scorecards: Sequence[Scorecard], *, writer: Writer
) -> None:
    """Let what shows the results about all entities name the blueprint, which was called otherwise, as it is now."""
    names = [one.identifier for one in scorecards]
    start = ""
    while names:
        rows = await _next(session, blueprint, start, _AT_ONCE)
        said = await scorecard_results.of_entities(session, [row_id for row_id, _ in rows], names)
        outcomes = [
            Outcome(
                row_id, entity, entity.identifier, before=said[row_id], after=said[row_id],
                known_in=known_in, retold=True,
            )
            for row_id, entity in rows
        ]  # fmt: skip
        await scorecard_results.write(session, outcomes, {one.identifier: one for one in scorecards}, writer=writer)
        if len(rows) < _AT_ONCE:
            return
        start = rows[-1][1].identifier


async def some(
    session: AsyncSession,
    blueprint: Blueprint,
    names: Sequence[str],
    scorecards: Sequence[Scorecard],
    *,
    after: str,
    limit: int,
    retold: bool,
    writer: Writer,
    complete: Completing,
) -> list[str]:
    """Evaluate the next entities after one, which nobody writes until the transaction ends; which they were.

    With `retold` also what shows the results is written again, as where titles of rules have changed.
    """
    rows = await _next(session, blueprint, after, limit)
    found = [entity for _, entity in rows]
    said = await scorecard_results.of_entities(session, [row_id for row_id, _ in rows], names)
    says = await scorecard_results.evaluate(session, blueprint, scorecards, found, writer, complete)
    outcomes = [
        Outcome(row_id, entity, entity.identifier, before=said[row_id], after=results, retold=retold)
        for (row_id, _), entity, results in zip(rows, found, says, strict=True)
    ]
    await scorecard_results.write(session, outcomes, {one.identifier: one for one in scorecards}, writer=writer)
    return [entity.identifier for entity in found]


async def _next(session: AsyncSession, blueprint: Blueprint, after: str, limit: int) -> list[tuple[str, Entity]]:
    rows = await session.exec(
        select(EntityRow.id, EntityRow.document)
        .where(EntityRow.blueprint == blueprint.identifier, col(EntityRow.identifier) > after)
        .order_by(col(EntityRow.identifier))
        .limit(limit)
        .with_for_update(read=True)
    )
    return [(row_id, Entity.model_validate(document)) for row_id, document in rows]
