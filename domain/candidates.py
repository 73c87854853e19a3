"""What rules can ask: one entity, and the catalog around it for what one entity does not know."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from pydantic import JsonValue

from domain import entities
from domain.documents import Document
from domain.times import iso
from domain.users import Caller


class Reference(NamedTuple):
    """An entity by name."""

    blueprint: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Entity:
    """What rules can ask of one entity."""

    identifier: str
    blueprint: str
    created_at: datetime
    updated_at: datetime
    title: str | None = None
    icon: str | None = None
    team: Sequence[str] = ()
    properties: Mapping[str, JsonValue] = field(default_factory=dict)
    """With those that are mirrored, calculated and aggregated."""
    relations: Mapping[str, JsonValue] = field(default_factory=dict)
    """An identifier, an array of them, or null, by relation."""
    scorecards: Mapping[str, JsonValue] = field(default_factory=dict)
    """`{"level": ..., "rules": [{"identifier": ..., "status": ...}]}` by scorecard."""
    created_by: str | None = None
    updated_by: str | None = None
    datasource: str | None = None
    schemas: Mapping[str, Document] = field(default_factory=dict)
    """The schema of each property of its blueprint."""

    def meta(self, name: str) -> JsonValue:
        """What `$name` is; null where there is nothing of that name."""
        match name:
            case "$identifier" | "$title" | "$icon" | "$blueprint" | "$datasource":
                value: str | None = getattr(self, name[1:])
                return value
            case "$team":
                return list(self.team) or None
            case "$createdAt":
                return iso(self.created_at)
            case "$updatedAt":
                return iso(self.updated_at)
            case "$createdBy":
                return self.created_by
            case "$updatedBy":
                return self.updated_by
        return None

    def value(self, name: str) -> JsonValue:
        """The property, or with `$` what every entity has."""
        return self.meta(name) if name.startswith("$") else self.properties.get(name)


def as_stored(entity: entities.Entity, *, schemas: Mapping[str, Document] | None = None) -> Entity:
    """What rules can ask of an entity without what is derived; `schemas` are those of its blueprint."""
    return Entity(
        identifier=entity.identifier,
        blueprint=entity.blueprint,
        created_at=entity.created_at,
        updated_at=entity.updated_at,
        title=entity.title,
        icon=entity.icon,
        team=entity.team,
        properties=entity.properties,
        relations={name: list(one) if isinstance(one, tuple) else one for name, one in entity.relations.items()},
        created_by=entity.created_by,
        updated_by=entity.updated_by,
        datasource=entity.datasource,
        schemas=schemas or {},
    )


def as_kept(document: Mapping[str, Any], *, schemas: Mapping[str, Document]) -> Entity:
    """The same of an entity that is given as the document which is kept of it, with all of its keys."""
    return Entity(
        identifier=document["identifier"],
        blueprint=document["blueprint"],
        created_at=datetime.fromisoformat(document["createdAt"]),
        updated_at=datetime.fromisoformat(document["updatedAt"]),
        title=document["title"],
        icon=document["icon"],
        team=document["team"],
        properties=document["properties"],
        relations=document["relations"],
        created_by=document["createdBy"],
        updated_by=document["updatedBy"],
        datasource=document["datasource"],
        schemas=schemas,
    )


class Catalog(Protocol):
    """What one entity does not know."""

    def targets(
        self, of: Reference, *, relation: str | None = None, required: bool | None = None
    ) -> Iterable[Reference]:
        """Whatever the entity has a relation to: by this relation, or by any that is (not) required."""

    def sources(
        self, of: Reference, *, relation: str | None = None, required: bool | None = None
    ) -> Iterable[Reference]:
        """Whatever has a relation to the entity: by this relation, or by any that is (not) required."""

    def titles(self, of: Reference, relation: str) -> Mapping[str, str | None]:
        """The titles of what the entity has this relation to, by identifier."""

    def user(self, caller: Caller) -> Entity | None:
        """The `_user` entity of the caller."""

    def teams(self, caller: Caller) -> Sequence[Entity]:
        """The entities of the teams of the caller."""
