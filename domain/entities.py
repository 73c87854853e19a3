"""Entities: what a request makes of one, and what it must fulfil; whether what they relate to exists the store says."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictStr, ValidationError

from domain.blueprints import Definition
from domain.documents import Document, same
from domain.entity_schemas import defaults, own, problems
from domain.errors import (
    BlueprintSchemaMismatch,
    InvalidRequest,
    NotFound,
    RelationManyViolation,
    RequiredRelation,
    TeamInheritanceEnabled,
)
from domain.identifiers import Identifier, new
from domain.models import Kept
from domain.shapes import refused
from domain.times import Instant, iso, not_before

RELATED_AT_MOST = 5_000
"""How many entities one relation may name."""
_LONGEST_BYTES = 2_000


class EntityId(Identifier):
    """Of an entity, unique within its blueprint."""

    __slots__ = ()
    PATTERN = r"^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/=-]{1,1000}$"
    KIND = "entity identifier"

    def __new__(cls, value: str) -> Self:
        """The identifier, if it fits the pattern, and the indexes of a database."""
        if len(value) * 4 > _LONGEST_BYTES and len(value.encode(errors="surrogatepass")) > _LONGEST_BYTES:
            raise ValueError(f"{value[:80]}... is no entity identifier: over {_LONGEST_BYTES} bytes in UTF-8")
        return super().__new__(cls, value)


_known = lru_cache(maxsize=1024)(EntityId)  # the same are read again and again

Related = str | tuple[str, ...] | None
"""What a relation holds: an identifier or none, or several."""


class Entity(Kept):
    """An entity as it is stored. What is derived from others (mirrors, calculations) is not part of it."""

    identifier: EntityId
    title: str
    icon: str | None = None
    blueprint: str
    team: tuple[str, ...] = ()
    properties: Document
    relations: dict[str, Related]
    created_at: Instant
    created_by: str
    updated_at: Instant
    updated_by: str
    datasource: str = ""
    """The user agent of its last writer."""

    def document(self) -> Document:
        """The entity as the API tells it. What is in it belongs to the entity, so nobody changes it."""
        return {  # by hand, and of JSON's own types, because imports write many
            "identifier": str(self.identifier),
            "title": str(self.title),
            "icon": self.icon,
            "blueprint": str(self.blueprint),
            "team": [*self.team],
            "properties": self.properties,
            "relations": {
                name: [str(one) for one in value] if isinstance(value, tuple) else value and str(value)
                for name, value in self.relations.items()
            }
            if self.relations
            else {},
            "createdAt": iso(self.created_at),
            "createdBy": self.created_by,
            "updatedAt": iso(self.updated_at),
            "updatedBy": self.updated_by,
        }

    def says_the_same(self, other: "Entity") -> bool:
        """Whether both differ in nothing but who wrote them and when."""
        names = ("identifier", "title", "icon", "blueprint", "team", "properties", "relations")
        return all(getattr(self, name) == getattr(other, name) for name in names) and same(
            self.properties, other.properties
        )


class EntityRequest(BaseModel):
    """What a client sends of an entity. Keys we do not know are ignored: integrations send what they have."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    identifier: StrictStr | Document | None = None
    title: StrictStr | None = None
    icon: StrictStr | None = None
    team: StrictStr | list[StrictStr] | Document | None = None
    properties: dict[str, Any] = Field(default_factory=dict)
    relations: dict[str, StrictStr | list[StrictStr] | Document | None] = Field(default_factory=dict)

    @property
    def searches(self) -> bool:
        """Whether a search query stands for an identifier in it."""
        if isinstance(self.identifier, dict) or isinstance(self.team, dict):
            return True
        return bool(self.relations) and any(isinstance(value, dict) for value in self.relations.values())

    @property
    def named(self) -> EntityId | None:
        """The identifier it gives, if it gives one.

        Raises:
            InvalidRequest: it is none that an entity can have.
        """
        if isinstance(self.identifier, dict):
            raise InvalidRequest("identifier: a search query cannot name the entity here")
        return _identifier("identifier", self.identifier) if self.identifier is not None else None


class EntityPatch(EntityRequest):
    """The same for a change of some keys; closed, because a key with a typing error would change nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Writing(StrEnum):
    """What happens to keys that a request does not name."""

    REPLACE = "replace"
    """They go."""
    MERGE = "merge"
    """They stay."""


class Author(NamedTuple):
    """Who writes, when, and with what program."""

    id: str
    at: datetime
    datasource: str


class Target(NamedTuple):
    """An entity that another names in a relation."""

    relation: str
    blueprint: str
    identifier: str


@dataclass(frozen=True)
class Kind:
    """A blueprint as entities see it."""

    identifier: str
    definition: Definition


def parsed_request(document: JsonValue, shape: type[EntityRequest] = EntityRequest) -> EntityRequest:
    """The request in a JSON value, such as one of a bulk.

    Raises:
        InvalidRequest: it has not the shape of an entity; the text names each key.
    """
    try:
        return shape.model_validate(document)
    except ValidationError as faults:
        if not isinstance(document, dict):
            raise InvalidRequest("an entity must be an object") from None
        raise refused(faults, document) from None


def created(kind: Kind, request: EntityRequest, *, generated: str | None = None, author: Author) -> Entity:
    """A new entity; if the request does not name it, it is called `generated`, or as nothing else is.

    Raises:
        InvalidRequest, NotFound, RelationManyViolation, RequiredRelation, BlueprintSchemaMismatch: see `checked`.
        TeamInheritanceEnabled: it names teams, and those of another entity own it.
    """
    identifier = request.named or EntityId(generated or new("e"))
    return checked(
        kind,
        _of_checked_parts(
            identifier=identifier,
            title=request.title if request.title is not None else identifier,
            icon=request.icon,
            blueprint=kind.identifier,
            team=_team(kind, request),
            properties={**defaults(kind.definition), **own(kind.definition, request.properties)},
            relations=_relations(kind, request),
            created_at=author.at,
            created_by=author.id,
            updated_at=author.at,
            updated_by=author.id,
            datasource=author.datasource,
        ),
    )


def changed(kind: Kind, before: Entity, request: EntityRequest, *, how: Writing, author: Author) -> Entity:
    """The entity as the request makes it; the very same when that says nothing new.

    Raises:
        InvalidRequest, NotFound, RelationManyViolation, RequiredRelation, BlueprintSchemaMismatch: see `checked`.
        TeamInheritanceEnabled: it names teams, and those of another entity own it.
    """
    keeps = how is Writing.MERGE
    sent = request.model_fields_set
    identifier = request.named or before.identifier
    title = before.title if keeps and "title" not in sent else request.title
    properties, relations = own(kind.definition, request.properties), _relations(kind, request)
    after = before.model_copy(
        update={
            "identifier": identifier,
            "title": title if title is not None else identifier,
            "icon": before.icon if keeps and "icon" not in sent else request.icon,
            "team": before.team if keeps and "team" not in sent else _team(kind, request),
            "properties": {**before.properties, **properties} if keeps else properties,
            "relations": {**before.relations, **relations} if keeps else relations,
            "updated_at": not_before(author.at, before.updated_at),
            "updated_by": author.id,
            "datasource": author.datasource,
        }
    )
    if identifier != before.identifier:  # it may relate to itself
        after = without(after, _own_relations(kind), before.identifier, identifier)
    return before if after.says_the_same(before) else checked(kind, after)


def bare(blueprint: str, identifier: str, *, author: Author) -> Entity:
    """An entity of which only its name is known, because another one relates to it."""
    return Entity(
        identifier=_identifier("relations", identifier), title=identifier, blueprint=blueprint, properties={},
        relations={}, created_at=author.at, created_by=author.id, updated_at=author.at, updated_by=author.id,
        datasource=author.datasource,
    )  # fmt: skip


def targets(kind: Kind, entity: Entity) -> Iterator[Target]:
    """Every entity that the entity names in a relation its blueprint has."""
    for name, value in entity.relations.items():
        relation = kind.definition.relations.get(name)
        if relation is None:
            continue
        for identifier in (value,) if isinstance(value, str) else value or ():
            yield Target(name, relation.target, identifier)


def named_targets(kind: Kind, request: EntityRequest) -> Iterator[Target]:
    """Every entity that the request names in a relation its blueprint has."""
    for name, value in request.relations.items():
        relation = kind.definition.relations.get(name)
        if relation is not None:
            several = value if isinstance(value, list) else [value]
            yield from (Target(name, relation.target, one) for one in several if isinstance(one, str))


def without(entity: Entity, relations: Collection[str], identifier: str, renamed: str | None) -> Entity:
    """The entity once another one, which some of its relations name, has gone or has another name.

    `relations` are those that may name it, `identifier` is what it was called, and `renamed` what it is called now:
    None when it has gone.
    """

    def follow(value: Related) -> Related:
        if isinstance(value, tuple):
            names = (renamed if one == identifier else one for one in value)
            return tuple(dict.fromkeys(name for name in names if name is not None))
        return renamed if value == identifier else value

    followed = {name: follow(value) if name in relations else value for name, value in entity.relations.items()}
    return entity.model_copy(update={"relations": followed})


def _of_checked_parts(**parts: Any) -> Entity:
    """An entity of all its fields. Imports make very many: `model_construct` takes several times as long."""
    entity = Entity.__new__(Entity)
    state = {"__dict__": parts, "__pydantic_fields_set__": set(parts), "__pydantic_extra__": None}
    entity.__setstate__({**state, "__pydantic_private__": None})
    return entity


def checked(kind: Kind, entity: Entity) -> Entity:
    """The entity, if it is one of its blueprint.

    Raises:
        RequiredRelation: a relation it must have is missing.
        BlueprintSchemaMismatch: its properties are not what the blueprint says; the text names each.
    """
    for name, relation in kind.definition.relations.items():
        if relation.required and not entity.relations.get(name):
            raise RequiredRelation(f"relations.{name}: {kind.identifier} must relate to a {relation.target}")
    if found := problems(kind.definition, entity.properties):
        raise BlueprintSchemaMismatch(", ".join(found))
    return entity


def _relations(kind: Kind, request: EntityRequest) -> dict[str, Related]:
    found: dict[str, Related] = {}
    for name, value in request.relations.items():
        relation = kind.definition.relations.get(name)
        if relation is None:
            raise NotFound(f"Relation of {kind.identifier}", name)
        if isinstance(value, dict):
            raise InvalidRequest(f"relations.{name}: a search query cannot name entities here")
        if isinstance(value, list) and not relation.many:
            raise RelationManyViolation(f"relations.{name}: relates to one {relation.target}, not to several")
        if isinstance(value, list) and len(value) > RELATED_AT_MOST:
            raise InvalidRequest(f"relations.{name}: more than {RELATED_AT_MOST} entities")
        several = value if isinstance(value, list) else [value] if value is not None else []
        names = tuple(dict.fromkeys(_identifier(f"relations.{name}", one) for one in several))
        found[name] = names if relation.many else names[0] if names else None
    return found


def _own_relations(kind: Kind) -> list[str]:
    return [name for name, relation in kind.definition.relations.items() if relation.target == kind.identifier]


def _team(kind: Kind, request: EntityRequest) -> tuple[str, ...]:
    if request.team and kind.definition.inherited_from:
        path = kind.definition.inherited_from
        raise TeamInheritanceEnabled(f"team: the teams of a {kind.identifier} are those of its {path}")
    if isinstance(request.team, list):
        return tuple(dict.fromkeys(request.team))
    if isinstance(request.team, dict):
        raise InvalidRequest("team: a search query cannot name teams here")
    return (request.team,) if request.team else ()


def _identifier(where: str, value: str) -> EntityId:
    try:
        return _known(value)
    except ValueError as fault:
        raise InvalidRequest(f"{where}: {fault}") from None
