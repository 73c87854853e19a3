"""Upsert entity: create or change an entity of the catalog."""

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from backends.base import EntityWrite, InvocationMethod
from domain.documents import Document
from domain.errors import InvalidInvocation
from domain.models import Written


class EntityMapping(Written):
    """What the entity becomes. Only what is named is touched; null takes it away."""

    identifier: str = Field(default_factory=str)
    title: str | None = None
    icon: str | None = None
    team: str | list[str] | None = None
    properties: dict[str, JsonValue] = Field(default_factory=dict)
    relations: dict[str, str | list[str] | None] = Field(default_factory=dict)


class UpsertEntity(InvocationMethod):
    """Writes the entity that `mapping` describes, and the run ends with that."""

    goes_to: ClassVar[tuple[str, ...]] = ("blueprint_identifier",)

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

    def verify(self) -> None:
        """Refuse an identifier that was given and is empty: another one would be made up in its place.

        Raises:
            InvalidInvocation: it is.
        """
        if "identifier" in self.mapping.model_fields_set and not self.mapping.identifier:
            raise InvalidInvocation("invocationMethod.mapping.identifier: must not be empty once it is rendered")

    def writes(self) -> EntityWrite:
        """The entity, of which only the keys that the mapping names are written."""
        return EntityWrite(self.blueprint_identifier, self.mapping.model_dump(mode="json", exclude_unset=True))


def _identified(value: JsonValue) -> JsonValue:
    match value:
        case {"identifier": identifier}:
            return identifier
        case list():
            return [_identified(item) for item in value]
    return value
