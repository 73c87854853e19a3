"""Upsert entity: create or change an entity of the catalog."""

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from backends.base import InvocationMethod
from domain.documents import Document
from domain.models import Written


class EntityMapping(Written):
    """What the entity becomes. Only what is named is touched."""

    identifier: str = Field(default_factory=str)
    title: str = Field(default_factory=str)
    icon: str = Field(default_factory=str)
    team: str | list[str] = Field(default_factory=list)
    properties: dict[str, JsonValue] = Field(default_factory=dict)
    relations: dict[str, str | list[str] | None] = Field(default_factory=dict)


class UpsertEntity(InvocationMethod):
    """Writes the entity that `mapping` describes, and the run ends with that."""

    available: ClassVar[bool] = False

    type: Literal["UPSERT_ENTITY"]
    blueprint_identifier: str
    mapping: EntityMapping

    @classmethod
    def settled(cls, document: Document) -> Document:
        """The rendered document in the shape of the class: entities stand for their identifiers."""
        settled = super().settled(document)
        if isinstance(mapping := settled.get("mapping"), dict):
            mapping = dict(mapping)
            for name in ("identifier", "team"):
                if name in mapping:
                    mapping[name] = _identified(mapping[name])
            if isinstance(relations := mapping.get("relations"), dict):
                mapping["relations"] = {name: _identified(target) for name, target in relations.items()}
            settled["mapping"] = mapping
        return settled

    def synchronous(self) -> bool:
        """True: the catalog answers at once."""
        return True


def _identified(value: JsonValue) -> JsonValue:
    match value:
        case {"identifier": identifier}:
            return identifier
        case list():
            return [_identified(item) for item in value]
    return value
