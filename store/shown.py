"""Entities as they are shown to people, rules and templates: with what is derived, and what scorecards say."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.documents import Document
from domain.entities import Entity
from domain.jq import Evaluator
from store import definitions, derived, scorecards
from store.found import Found


async def documents(
    session: AsyncSession, entities: Sequence[Entity | Found], *, evaluate: Evaluator, at: datetime
) -> list[Document]:
    """The entities, whole, in their order. The session only reads.

    Raises:
        Unavailable: no process could be had to make the calculations.
    """
    if not entities:
        return []
    known = await definitions.current(session)
    if any(known.derives(blueprint) for blueprint in {entity.blueprint for entity in entities}):
        parsed = [one.entity if isinstance(one, Found) else one for one in entities]
        whole = await derived.complete(session, parsed, evaluate=evaluate, at=at)
        found = [as_document(entity, candidate) for entity, candidate in zip(parsed, whole, strict=True)]
    else:
        found = [entity.document() for entity in entities]
    await attach_scorecards(session, entities, found)
    return found


def as_document(entity: Entity, whole: candidates.Entity) -> Document:
    """One entity with what is derived."""
    return entity.document() | {"team": list(whole.team), "properties": dict(whole.properties)}


async def attach_scorecards(
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
