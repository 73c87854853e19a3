"""What searches find: entities as their rows have them, of which nothing is checked again that nobody asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from domain import candidates
from domain.documents import Document
from domain.entities import Entity

_KEPT: Final = frozenset(str(field.alias) for field in Entity.model_fields.values())
_UNTOLD: Final = "datasource"


@dataclass(frozen=True)
class Found:
    """A row of an entity."""

    id: str
    kept: Document
    """The entity as it is kept."""

    @property
    def blueprint(self) -> str:
        """The blueprint of the entity."""
        return str(self.kept["blueprint"])

    @property
    def identifier(self) -> str:
        """The identifier of the entity."""
        return str(self.kept["identifier"])

    @cached_property
    def entity(self) -> Entity:
        """The entity itself."""
        return Entity.model_validate(self.kept)

    def document(self) -> Document:
        """What `entity.document()` gives."""
        if self.kept.keys() != _KEPT:  # a version with other keys has written it
            return self.entity.document()
        return {name: value for name, value in self.kept.items() if name != _UNTOLD}

    def candidate(self, schemas: Mapping[str, Document]) -> candidates.Entity:
        """What rules can ask of it, where nothing is derived; `schemas` are those of its blueprint."""
        if self.kept.keys() != _KEPT:
            return candidates.as_stored(self.entity, schemas=schemas)
        return candidates.as_kept(self.kept, schemas=schemas)


class Place(NamedTuple):
    """Where a page ends: the last entity on it, whether or not that still exists when the next one is asked for."""

    blueprint: str
    identifier: str


@dataclass(frozen=True)
class Page:
    """Some of what a search finds, by blueprint and identifier."""

    found: tuple[Found, ...]
    next: Place | None
    """Where the next page begins; None if there is no more."""
