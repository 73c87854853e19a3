"""Entities as they are shown to people, rules and templates: with what is derived, and what scorecards say."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint
from domain.documents import Document
from domain.entities import Entity
from domain.jq import Evaluator
from store import scorecards
from store.definitions import about
from store.derived import complete
from store.found import Found


async def documents(
    session: AsyncSession,
    entities: Sequence[Entity | Found],
    *,
    evaluate: Evaluator,
    at: datetime,
    calculated: bool = True,
    wanted: Callable[[str], bool] = lambda name: True,
    known: Collection[Blueprint] = (),
    named_mirrors: bool = False,
    scored: bool = True,
) -> list[Document]:
    """The entities, whole, in their order. The session only reads.

    `scored` is whether there is what scorecards say; the other options are those of `store.derived.complete`.

    Raises:
        Unavailable: no process could be had to make the calculations.
    """
    if not entities:
        return []
    of = {entity.blueprint for entity in entities}
    definitions = await about(session, of, known)
    if any(map(definitions.derives, of)):
        parsed = [one.entity if isinstance(one, Found) else one for one in entities]
        whole = await complete(
            session,
            parsed,
            evaluate=evaluate,
            at=at,
            calculated=calculated,
            wanted=wanted,
            known=known,
            named_mirrors=named_mirrors,
        )
        found = [
            entity.document() | {"team": list(candidate.team), "properties": dict(candidate.properties)}
            for entity, candidate in zip(parsed, whole, strict=True)
        ]
    else:
        found = [entity.document() for entity in entities]
    if scored:
        await _attach_scorecards(session, entities, found)
    return found


async def _attach_scorecards(
    session: AsyncSession, entities: Sequence[Entity | Found], documents: Sequence[Document]
) -> None:
    """What the scorecards say; the key is absent where the blueprint has none."""
    for blueprint in {entity.blueprint for entity in entities}:
        if not await scorecards.defined(session, blueprint):
            continue
        here = {
            entity.identifier: document
            for entity, document in zip(entities, documents, strict=True)
            if entity.blueprint == blueprint
        }
        said = await scorecards.of(session, blueprint, list(here))
        for identifier, document in here.items():
            document["scorecards"] = said.get(identifier, {})
