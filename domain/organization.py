"""The organization as people see it: its name and settings, and what may be said about them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict

from domain.documents import Document
from domain.property_schemas import sized
from domain.shapes import Closed, Verbatim

Streamer = Literal["KAFKA", "POLLING"]
"""How runs come to the execution agent: it reads a topic, or asks for them."""


class OrganizationSettings(Verbatim):
    """The settings. Open: clients keep some of their own here."""

    model_config = ConfigDict(extra="allow")

    port_agent_streamer_name: Streamer | None = None
    """Said by the agent when it starts."""


class OrganizationPatch(Closed):
    """The body of PUT and PATCH `/v1/organization`."""

    name: Annotated[str, sized(1, 100)] = ""
    settings: OrganizationSettings = OrganizationSettings()


@dataclass(frozen=True)
class Described:
    """What is told about the organization."""

    name: str
    settings: Document

    @property
    def streamer(self) -> Streamer | None:
        """How runs come to the execution agent; None before one has said so."""
        match self.settings.get("portAgentStreamerName"):
            case "KAFKA":
                return "KAFKA"
            case "POLLING":
                return "POLLING"
        return None

    def changed(self, said: OrganizationPatch, *, merge: bool) -> "Described":
        """With what was said. `merge` keeps the settings that it does not name, and null removes one."""
        fields = said.model_fields_set
        name = said.name if "name" in fields else self.name
        if "settings" not in fields:
            return Described(name, self.settings)
        wanted = said.settings.document
        settings = self.settings | wanted if merge else wanted
        return Described(name, {key: value for key, value in settings.items() if value is not None})
