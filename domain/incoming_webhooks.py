"""Incoming webhooks: what an admin writes of one, what is told of it, and whether an event is its sender's.

What an event then does to the catalog is in `domain/incoming_events.py`.
"""

import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from domain.blueprints import BlueprintId
from domain.documents import Document
from domain.errors import InvalidRequest, Unauthenticated
from domain.identifiers import Identifier
from domain.property_schemas import Keyed, sized
from domain.rule_readers import array, closed, fault, json_object, text
from domain.rules import MAX_NESTING
from domain.shapes import MAX_PROBLEMS, Closed, Either, Path, Verbatim, json_path, refuse_deep
from domain.times import iso

READ_ONLY = ("webhookKey", "url", "createdAt", "createdBy", "updatedAt", "updatedBy")
"""What the server adds. Clients post back what they read, so these are dropped without a word."""

MAX_PROGRAMS = 1_000
"""How many jq programs the mappings of one webhook may have: all of them can be asked for each event."""

_INDISPENSABLE = ("title",)
_OF_RELATIONS = ("blueprint", "direction", "required")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")


class WebhookId(Identifier):
    """Of an incoming webhook."""

    __slots__ = ()
    PATTERN = r"^(?!\.{1,2}$)[\p{L}0-9@_.+:=-]{1,30}$"
    KIND = "webhook identifier"


def _as_program(value: str) -> str:
    if not value.strip():
        raise ValueError("must be a jq program")
    return value


def _as_program_or_query(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return _as_program(value)
        case {"combinator": str(), "rules": list()}:
            return value
    raise ValueError("must be a jq program, or a search query with combinator and rules")


def _as_header(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError("must be the name of a header")
    return value


Program = Annotated[str, AfterValidator(_as_program)]
"""jq over `{body, headers, queryParams, item}`, without braces around it."""
ProgramOrQuery = Annotated[JsonValue, AfterValidator(_as_program_or_query)]
"""The same, or a search query each of whose texts is a program."""


class Operation(Closed):
    """What happens to the entity, in the longer spelling."""

    type: Literal["create", "delete"]
    delete_dependents: bool | None = None


class EntityPrograms(Closed):
    """How the parts of an entity are found in an event."""

    identifier: ProgramOrQuery
    title: Program | None = None
    icon: Program | None = None
    team: ProgramOrQuery | None = None
    properties: Keyed[Program] = {}
    relations: Keyed[ProgramOrQuery] = {}


class EventMapping(Closed):
    """What an event means for entities of one blueprint."""

    blueprint: BlueprintId
    """Need not exist yet: an event that comes too early is refused then, on record."""
    filter: Program | None = None
    """The event counts if this is `true`; absent, every event does."""
    items_to_parse: Program | None = None
    """An array: there is one entity for each of its elements, which programs find in `.item`."""
    operation: Either[Literal["create", "delete"] | None, Operation] = None
    entity: EntityPrograms

    @property
    def deletes(self) -> bool:
        """Whether the entity goes; otherwise it is created or changed."""
        return (self.operation.type if isinstance(self.operation, Operation) else self.operation) == "delete"

    @property
    def deletes_dependents(self) -> bool:
        """Whether entities that relate to a deleted one go, too."""
        return isinstance(self.operation, Operation) and bool(self.operation.delete_dependents)


class Security(Closed):
    """How an event proves where it comes from. Without a secret nothing is checked."""

    secret: Annotated[str, sized(1, 500)] | None = Field(default=None, repr=False)
    signature_header_name: Annotated[str, AfterValidator(_as_header)] | None = None
    signature_algorithm: Literal["sha1", "sha256", "plain"] | None = None
    """`sha256` if absent."""
    signature_prefix: Annotated[str, sized(0, 100)] | None = None
    request_identifier_path: str | None = None
    """jq that gives the id of an event. One that cannot be evaluated only costs the event its own id."""

    def require(self, secret: str, headers: Mapping[str, str], body: bytes) -> None:
        """Nothing, if these headers (by lower case name) sign exactly these bytes.

        Raises:
            Unauthenticated: they do not; the message names the header.
        """
        name = self.signature_header_name or ""
        given = headers.get(name.lower())
        if given is None:
            raise Unauthenticated(f"the event is not signed: it has no header {name}")
        prefix = self.signature_prefix or ""
        signature = given.removeprefix(prefix)
        if self.signature_algorithm == "plain":
            expected = secret
        else:
            expected = hmac.digest(secret.encode(), body, self.signature_algorithm or "sha256").hex()
            signature = signature.lower()
        same = hmac.compare_digest(expected.encode(), signature.encode(errors="surrogateescape"))
        if not (given.startswith(prefix) and same):
            raise Unauthenticated(f"the event is not signed with the secret of this webhook: see its header {name}")


class Definition(Verbatim):
    """An incoming webhook as its author wrote it, and the fields of it."""

    identifier: WebhookId | None = None
    title: Annotated[str, sized(1, 30)]
    description: Annotated[str, sized(0, 200)] | None = None
    icon: str | None = None
    enabled: bool = True
    mappings: list[EventMapping] = []
    security: Security | None = None
    integration_type: Literal["custom"] | None = None


@dataclass(frozen=True)
class IncomingWebhook:
    """A definition with its history, its address and its secret."""

    id: str
    identifier: WebhookId
    key: str = field(repr=False)
    """The part of its address that nobody can guess."""
    document: Document
    """The definition as received, without the secret."""
    sealed: str | None = field(repr=False)
    """The secret, encrypted."""
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str

    @cached_property
    def definition(self) -> Definition:
        """The fields of the document, parsed when first asked for.

        Raises:
            InvalidRequest: the document is no webhook, though it was stored as one.
        """
        return Definition.stored(self.document)

    def echo(self) -> Document:
        """What everybody may know: the document as received, and what the server adds.

        `security` is always there, because a client breaks without it; its secret never is.
        """
        security = self.document.get("security") or {}
        return {
            "identifier": self.identifier,
            **self.document,
            "security": security,
            "createdAt": iso(self.created_at),
            "createdBy": self.created_by,
            "updatedAt": iso(self.updated_at),
            "updatedBy": self.updated_by,
        }


@dataclass(frozen=True)
class Secret:
    """What a request says about the secret: a new value, none any more, or that it stays."""

    value: str | None = field(default=None, repr=False)
    stays: bool = False


def parsed(document: JsonValue) -> Definition:
    """The definition in the document. Whether its blueprints exist and its programs compile is not asked here.

    Raises:
        InvalidRequest: it is no webhook, or one that cannot work; the message names each fault by its JSON path.
    """
    refuse_deep(document)
    definition = Definition.stored(written(document) if isinstance(document, dict) else document)
    if faults := list(islice(_faults(definition), MAX_PROBLEMS)):
        raise InvalidRequest("; ".join(faults))
    return definition


def written(document: Document) -> Document:
    """The document without what the server adds."""
    return {key: value for key, value in document.items() if key not in READ_ONLY}


def patched(document: Document, patch: Document) -> Document:
    """The document with the top-level keys of the patch in place of its own: each as a whole; null removes it.

    A key that no webhook can be without stays null, so that parsing the result refuses it by name.
    """
    changed = written(document) | written(patch)
    return {key: value for key, value in changed.items() if patch.get(key, ...) is not None or key in _INDISPENSABLE}


def separated(document: Document) -> tuple[Document, Secret]:
    """The document without its secret, and what it says about that.

    A secret stays if the document goes on to say by which header events are signed: who writes back what they have
    read, which has no secret, must not open the door. `"secret": null` removes it, and so does no such header.
    """
    security = document.get("security")
    if not isinstance(security, dict):
        return document, Secret()
    told = {key: value for key, value in security.items() if key != "secret"}
    given = security.get("secret")
    stays = "secret" not in security and bool(security.get("signatureHeaderName"))
    return {**document, "security": told}, Secret(given if isinstance(given, str) else None, stays)


def programs(definition: Definition) -> Iterator[tuple[str, str]]:
    """Every jq program of the mappings after its JSON path."""
    for index, mapping in enumerate(definition.mappings):
        at: list[str | int] = ["mappings", index]
        entity = mapping.entity
        for key, program in (("filter", mapping.filter), ("itemsToParse", mapping.items_to_parse)):
            if program is not None:
                yield json_path([*at, key]), program
        for name, value in (("identifier", entity.identifier), ("title", entity.title), ("icon", entity.icon)):
            yield from texts(value, [*at, "entity", name])
        yield from texts(entity.team, [*at, "entity", "team"])
        for name, program in entity.properties.items():
            yield json_path([*at, "entity", "properties", name]), program
        for name, value in entity.relations.items():
            yield from texts(value, [*at, "entity", "relations", name])


def texts(value: JsonValue, at: list[str | int]) -> Iterator[tuple[str, str]]:
    """Every text in the value after its JSON path: in a search query all of them are programs."""
    match value:
        case str():
            yield json_path(at), value
        case list():
            for index, item in enumerate(value):
                yield from texts(item, [*at, index])
        case dict():
            for key, item in value.items():
                yield from texts(item, [*at, key])


def _faults(definition: Definition) -> Iterator[str]:
    security = definition.security
    if security and security.secret is not None and security.signature_header_name is None:
        yield "security.signatureHeaderName: is required where there is a secret"
    named = list(programs(definition))
    for path, program in named:
        if not program.strip():
            yield f"{path}: must be a jq program"
    if len(named) > MAX_PROGRAMS:
        yield f"mappings: must not have more than {MAX_PROGRAMS} jq programs"
    for place, query in _queries(definition):
        try:
            _require_query(query, place)
        except InvalidRequest as refusal:
            yield str(refusal)


def _queries(definition: Definition) -> Iterator[tuple[Path, JsonValue]]:
    for index, mapping in enumerate(definition.mappings):
        at, entity = ("mappings", index, "entity"), mapping.entity
        for key, value in (("identifier", entity.identifier), ("team", entity.team)):
            if isinstance(value, dict):
                yield (*at, key), value
        yield from (
            ((*at, "relations", name), value) for name, value in entity.relations.items() if isinstance(value, dict)
        )


def _require_query(group: JsonValue, path: Path, depth: int = 0) -> None:
    """Nothing, if the group has the shape of one. What its programs make of an event is held to the rest then."""
    known = json_object(group, path)
    if depth > MAX_NESTING:
        raise fault(path, f"groups nest deeper than {MAX_NESTING} levels")
    closed(known, path, "combinator", "rules")
    text(known["combinator"], (*path, "combinator"))
    for place, rule in enumerate(array(known["rules"], (*path, "rules"))):
        here = (*path, "rules", place)
        written = json_object(rule, here)
        if "rules" in written or "combinator" in written:
            _require_query(written, here, depth + 1)
            continue
        closed(written, here, "operator", optional=("property", "propertySchema", "value", *_OF_RELATIONS))
        for key in ("operator", "blueprint", "direction"):
            if key in written:
                text(written[key], (*here, key))
        if not isinstance(written.get("property", ""), str | dict):
            raise fault((*here, "property"), "must be a jq program, or an object")
