"""Integrations: programs that bring other systems into the catalog; how they describe themselves, what they report."""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue

from domain.blueprints import ToKafka, ToWebhook
from domain.documents import Document
from domain.errors import InvalidRequest
from domain.identifiers import Identifier
from domain.property_schemas import Open, sized
from domain.shapes import Closed, Verbatim, shortened
from domain.times import iso

READ_ONLY = (
    *("_id", "identifier", "createdAt", "createdBy", "updatedAt", "updatedBy", "resyncState"),
    *("logAttributes", "metricAttributes", "ingestAttributes"),
)
"""What the server adds. Clients post back what they read, so these are dropped without a word."""

MAX_RECORD = 32 * 1024
"""Characters that one record may have as JSON; of a longer one only the short texts and numbers are kept."""

EXAMPLE = "example:"
"""What sorts of examples begin with."""

_MOST_PARTS, _LONGEST_NAME, _LONGEST_TEXT = 16, 100, 1900


class InstallationId(Identifier):
    """What an integration calls itself, and its name in paths. `provision-enabled` is a route and therefore taken."""

    __slots__ = ()
    PATTERN = r"^(?!\.{1,2}$)(?!provision-enabled$)[\p{L}0-9@_.+:=-]{1,255}$"
    KIND = "installation id"


class Reported(StrEnum):
    """The sorts of what an integration reports. Examples are kept by kind of resource, see `example`."""

    LOG = "log"
    METRIC = "metric"
    DATA = "data"


KEPT: dict[Reported, int] = {Reported.LOG: 10_000, Reported.METRIC: 10_000, Reported.DATA: 100}
"""How many records of each sort an integration has: the newest."""

EXAMPLES_KEPT, ALL_EXAMPLES_KEPT = 20, 1_000
"""How many examples an integration has of one kind of resource, and of all: the newest."""


Kind = Annotated[str, sized(1, 255)]
"""A kind of resource, as the integration calls it: `repository`, `/api/v1/users`."""


class Definition(Verbatim):
    """An integration as it describes itself. Open: keys we do not know stay as they are."""

    model_config = ConfigDict(extra="allow")

    installation_id: InstallationId
    installation_app_type: Annotated[str, sized(0, 255)] | None = None
    title: Annotated[str, sized(0, 255)] | None = None
    version: Annotated[str, sized(0, 255)] | None = None
    config: Document | None = None
    """Its mapping. Ours to keep, not to understand."""
    changelog_destination: Annotated[
        Annotated[ToKafka | ToWebhook, Field(discriminator="type")] | None,
        # Those that ask for changes themselves say `{}`.
        BeforeValidator(lambda value: None if value == {} else value),
    ] = None
    actions_processing_enabled: bool | None = None
    """Whether it asks for runs of its actions."""
    spec: Document | None = None


class ConfigPatch(Closed):
    """The body of PATCH `/v1/integration/{identifier}/config`."""

    config: Document


class ResyncState(Open):
    """The body of PATCH `/v1/integration/{identifier}/resync-state`: how far the integration is. Open."""

    status: Annotated[str, sized(1, 100)] | None = None
    last_resync_start: Annotated[str, sized(0, 100)] | None = None
    last_resync_end: Annotated[str, sized(0, 100)] | None = None
    next_resync: Annotated[str, sized(0, 100)] | None = None
    interval_in_minuets: float | None = None
    """Spelled as clients spell it."""


class Logs(Open):
    """What is sent to the address of logs."""

    logs: list[Document]


class SyncMetrics(Open):
    """What is sent to the address of measurements: several at once."""

    sync_kinds_metrics: list[Document]


class SyncMetric(Open):
    """What is sent to the address of measurements: one."""

    sync_kind_metrics: Document


class Examples(Open):
    """The body of POST `/v1/integration/{identifier}/kinds/{kind}/examples`."""

    examples: list[Document]


@dataclass(frozen=True)
class Integration:
    """A definition with its history, and how far it is."""

    identifier: InstallationId
    document: Document
    """The definition as received, without what the server adds."""
    created_at: datetime
    created_by: str
    updated_at: datetime
    """Moves when the definition changes or somebody asks for a resync; integrations resync when it has moved."""
    updated_by: str
    resync_state: Document | None = None
    resync_request: Document | None = None
    """Who asked for a resync that has not begun, and when."""

    def echo(self) -> Document:
        """What is told about it: the document as it was received, and what the server adds."""
        known: Document = {
            **self.document,
            "identifier": self.identifier,
            "createdAt": iso(self.created_at),
            "createdBy": self.created_by,
            "updatedAt": iso(self.updated_at),
            "updatedBy": self.updated_by,
        }
        known.setdefault("config", {})  # clients look into it
        return known if self.resync_state is None else {**known, "resyncState": self.resync_state}

    def changed(self, document: Document, *, at: datetime, by: str) -> "Integration":
        """With this definition; itself when it is the same, to the order of keys.

        Raises:
            InvalidRequest: it is no definition, or one of another integration; the message names each fault.
        """
        if parsed(document).installation_id != self.identifier:
            raise InvalidRequest("installationId: an integration keeps its installation id")
        if json.dumps(document) == json.dumps(self.document):
            return self
        return replace(self, document=document, updated_at=at, updated_by=by)

    def patched(self, patch: Document, *, at: datetime, by: str) -> "Integration":
        """With each top-level key that the patch names replaced as a whole; null removes it.

        Raises:
            InvalidRequest: as `changed`.
        """
        said = written(patch)
        document = {
            key: value
            for key, value in (self.document | said).items()
            if said.get(key, ...) is not None or key == "installationId"
        }
        return self.changed(document, at=at, by=by)

    def asked_to_resync(self, *, at: datetime, by: str) -> "Integration":
        """With a request for a resync."""
        request: Document = {"requestedAt": iso(at), "requestedBy": by}
        return replace(self, updated_at=at, updated_by=by, resync_request=request)

    def resynced(self, said: Document, *, at: datetime) -> "Integration":
        """With what was said about its state merged into it; a resync that runs has answered the request.

        It is how far the integration is, not what it is: `updated_at` stays, or each resync would begin the next.
        """
        before = {key: value for key, value in (self.resync_state or {}).items() if key != "updatedAt"}
        state = before | {key: value for key, value in said.items() if key != "updatedAt"}
        running = str(said.get("status")).lower() == "running"
        if self.resync_state is not None and state == before and not (running and self.resync_request):
            return self
        request = None if running else self.resync_request
        return replace(self, resync_state={**state, "updatedAt": iso(at)}, resync_request=request)


def written(document: Document) -> Document:
    """The document without what the server adds."""
    return {key: value for key, value in document.items() if key not in READ_ONLY}


def parsed(document: JsonValue) -> Definition:
    """The definition in the document.

    Raises:
        InvalidRequest: it is none; the message names each fault by its JSON path.
    """
    return Definition.stored(document)


def example(kind: str) -> str:
    """The sort of records that are examples of a kind of resource."""
    return f"{EXAMPLE}{kind}"


def bounded(record: Document) -> Document:
    """The record, or when it is too long some of its short parts and `truncated`.

    >>> bounded({"message": "x" * 40_000})["truncated"]
    True
    """
    if len(json.dumps(record, ensure_ascii=False)) <= MAX_RECORD:
        return record
    plain = [
        (name, shortened(value, _LONGEST_TEXT) if isinstance(value, str) else value)
        for name, value in record.items()
        if len(name) <= _LONGEST_NAME and isinstance(value, str | bool | float | int | None)
    ]
    return {**dict(plain[:_MOST_PARTS]), "truncated": True}
