"""What routes that answer with entities have in common: the options of the query, and entities as they are shown."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BeforeValidator, JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from api.services import ApiServices, words
from domain.blueprints import Blueprint
from domain.derived import TEAM
from domain.documents import Document
from domain.entities import Entity
from domain.entity_projection import projected
from store import relations
from store.found import Found
from store.shown import documents as whole

# Clients send options without a value, which says nothing.
_Flag = Annotated[bool, BeforeValidator(lambda value: False if value == "" else value)]


@dataclass(frozen=True)
class Reading:
    """How entities are shown; what is not asked for is not made."""

    include: tuple[str, ...] = ()
    """Names of keys, properties and relations, as `domain.entities.projected` has them. None: all."""
    exclude: tuple[str, ...] = ()
    exclude_calculated_properties: bool = False
    """Without mirrors, calculations and aggregations."""
    attach_title_to_relation: bool = False
    """Relations are `{"identifier", "title"}`."""
    attach_identifier_to_title_mirror_properties: bool = False
    """What mirrors a `$title` is `{"identifier", "title"}`."""
    compact: bool = False
    """Without properties and relations that are null."""

    def wants(self, key: str, name: str | None = None) -> bool:
        """Whether the key, or this part of it, can be in the answer."""
        asked: Document = {key: None if name is None else {name: None}}
        shown = projected(asked, self.include, self.exclude).get(key, ...)
        return shown is not ... and (name is None or bool(shown))


async def _reading(
    include: Annotated[list[str] | None, Query()] = None,
    exclude: Annotated[list[str] | None, Query()] = None,
    include_too: Annotated[list[str] | None, Query(alias="include[]", include_in_schema=False)] = None,
    exclude_too: Annotated[list[str] | None, Query(alias="exclude[]", include_in_schema=False)] = None,
    exclude_calculated_properties: _Flag = False,
    attach_title_to_relation: _Flag = False,
    attach_identifier_to_title_mirror_properties: _Flag = False,
    compact: _Flag = False,
) -> Reading:
    return Reading(
        words(include) + words(include_too),
        words(exclude) + words(exclude_too),
        exclude_calculated_properties,
        attach_title_to_relation,
        attach_identifier_to_title_mirror_properties,
        compact,
    )


ReadingOptions = Annotated[Reading, Depends(_reading)]
"""The options as a route takes them from the query."""


async def shown(
    services: ApiServices,
    session: AsyncSession,
    entities: Sequence[Entity | Found],
    reading: Reading | None = None,
    *,
    known: Collection[Blueprint] = (),
) -> list[Document]:
    """The entities as the API tells them, in their order, with what is derived.

    The session only reads: after a write, ask in a new one. `known` are blueprints that were read already; those that
    derive nothing cost no statement then.

    Raises:
        Unavailable: no process could be had to make the calculations.
    """
    reading = reading or Reading()
    documents = await whole(
        session,
        entities,
        evaluate=services.evaluate,
        at=services.now(),
        calculated=not reading.exclude_calculated_properties,
        wanted=lambda name: reading.wants("team") if name == TEAM else reading.wants("properties", name),
        known=known,
        named_mirrors=reading.attach_identifier_to_title_mirror_properties,
        scored=reading.wants("scorecards"),
    )
    documents = [projected(document, reading.include, reading.exclude) for document in documents]
    if reading.attach_title_to_relation:
        await _attach_titles(session, entities, documents)
    return [_compacted(document) for document in documents] if reading.compact else documents


def _compacted(document: Document) -> Document:
    def filled(value: JsonValue) -> JsonValue:
        return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value

    return {key: filled(value) if key in ("properties", "relations") else value for key, value in document.items()}


async def _attach_titles(session: AsyncSession, found: Sequence[Entity | Found], documents: Sequence[Document]) -> None:
    entities = [one.entity if isinstance(one, Found) else one for one in found]
    titles = await relations.titles(session, entities)

    def titled(entity: Entity, name: str, value: JsonValue) -> JsonValue:
        if isinstance(value, list):
            return [titled(entity, name, one) for one in value]
        if not isinstance(value, str):
            return value
        return {"identifier": value, "title": titles.get((entity.blueprint, name, value))}

    for entity, document in zip(entities, documents, strict=True):
        if isinstance(named := document.get("relations"), dict):
            document["relations"] = {name: titled(entity, name, value) for name, value in named.items()}
