"""Blueprints: the kinds of thing in the catalog, what an admin writes of each, and what is kept of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Annotated, Literal

import regex
from jsonschema_rs import Draft7Validator
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue

from domain.computed_properties import Aggregation, Calculation, Mirror
from domain.documents import Document, canonical, same
from domain.errors import InvalidRequest
from domain.identifiers import Identifier
from domain.input_schemas import goes_back, is_url, validator
from domain.property_schemas import Key, Keyed, Open, Property, Title, sized
from domain.shapes import MAX_PROBLEMS, Verbatim, json_path, refuse_deep, shortened
from domain.timers import Lifecycle
from domain.times import iso

READ_ONLY = ("createdAt", "createdBy", "updatedAt", "updatedBy")
"""What the server adds. Clients post back what they read, so these are dropped without a word."""

INDISPENSABLE = ("identifier", "schema")
"""What a blueprint cannot be without."""

_BY_IDENTIFIER = ("properties", "relations", "mirrorProperties", "calculationProperties", "aggregationProperties")
"""Objects whose keys are what somebody named."""
_WHOLE = ("default", "query", "calculationSpec", "changelogDestination", "ownership")
"""Objects that mean something only as a whole."""


class BlueprintId(Identifier):
    """Of a blueprint. Those that begin with `_` are the system's."""

    __slots__ = ()
    PATTERN = r"^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/-]{1,100}$"
    KIND = "blueprint identifier"


def _as_path(value: str) -> str:
    if not regex.fullmatch(r"[A-Za-z0-9@_=\-]+(\.[A-Za-z0-9@_=\-]+)*", value):
        raise ValueError("must be relations with dots between, such as service.domain")
    return value


def _as_webhook_url(value: str) -> str:
    if not value.lower().startswith(("http://", "https://")) or not is_url(value):
        raise ValueError("must be an absolute http or https URL")
    return value


RelationPath = Annotated[str, AfterValidator(_as_path)]


class Relation(Open):
    """Which entities of which blueprint an entity can be related to."""

    title: Title | None = None
    description: str | None = None
    target: BlueprintId
    required: bool = False
    many: bool = False


class Direct(Open):
    """Entities name their owning teams themselves."""

    type: Literal["Direct"]
    title: Title | None = None


class Inherited(Open):
    """The owning teams are those of the related entity."""

    type: Literal["Inherited"]
    path: RelationPath
    title: Title | None = None


class TeamInheritance(Open):
    """The older spelling of inherited ownership."""

    path: RelationPath


class ToKafka(Open):
    """Changes go to the organization's topic."""

    type: Literal["KAFKA"]


class ToWebhook(Open):
    """Changes go to an address."""

    type: Literal["WEBHOOK"]
    url: Annotated[str, AfterValidator(_as_webhook_url)]
    agent: bool | None = None


def is_published(destination: Document) -> bool:
    """Whether changes go to this `changelogDestination` by Kafka, also where an agent reads them for a URL.

    >>> is_published({"type": "WEBHOOK", "url": "https://x.test"}), is_published({"type": "KAFKA"})
    (False, True)
    """
    return destination.get("type") == "KAFKA" or destination.get("agent") is True


class Schema(Open):
    """The properties that people and integrations write."""

    properties: dict[Key, Property]
    required: Annotated[list[str], BeforeValidator(lambda value: [] if value is None else value)] = []


class Definition(Verbatim):
    """A blueprint as its author wrote it, and the fields of it. Open: keys we do not know stay as they are."""

    model_config = ConfigDict(extra="allow")

    identifier: BlueprintId
    title: Annotated[str, sized(1, 30)] | None = None
    icon: str | None = None
    description: Annotated[str, sized(0, 200)] | None = None
    structure: Schema = Field(alias="schema")
    relations: Keyed[Relation] = {}
    mirror_properties: Keyed[Mirror] = {}
    calculation_properties: Keyed[Calculation] = {}
    aggregation_properties: Keyed[Aggregation] = {}
    ownership: Annotated[Direct | Inherited, Field(discriminator="type")] | None = None
    team_inheritance: TeamInheritance | None = None
    changelog_destination: Annotated[ToKafka | ToWebhook, Field(discriminator="type")] | None = None

    @property
    def properties(self) -> dict[str, Property]:
        """The properties that entities are written with, in the order of the document."""
        return self.structure.properties

    @property
    def schemas(self) -> dict[str, Document]:
        """The schema of each of those properties."""
        return {key: each.document for key, each in self.properties.items()}

    @property
    def required(self) -> list[str]:
        """The properties that every entity must have."""
        return self.structure.required

    @cached_property
    def inherited_from(self) -> str | None:
        """The relations, with dots between, to the entity whose teams own this one's; None: it has its own."""
        if isinstance(self.ownership, Inherited):
            return self.ownership.path
        return self.team_inheritance.path if self.team_inheritance and not self.ownership else None

    @property
    def paths(self) -> dict[str, list[str]]:
        """The relations that lead to what mirrors show and to who owns, by the JSON path of each."""
        found = {
            json_path(["mirrorProperties", key, "path"]): mirror.path.split(".")[:-1]
            for key, mirror in self.mirror_properties.items()
        }
        if isinstance(self.ownership, Inherited):
            found["ownership.path"] = self.ownership.path.split(".")
        if self.team_inheritance:
            found["teamInheritance.path"] = self.team_inheritance.path.split(".")
        return found

    @cached_property
    def derived(self) -> frozenset[str]:
        """The keys of mirrors, calculations and aggregations: properties that nobody writes."""
        return frozenset({**self.mirror_properties, **self.calculation_properties, **self.aggregation_properties})

    @cached_property
    def timers(self) -> dict[str, Lifecycle]:
        """The properties that are timers, and what happens to each besides that it expires."""
        return {key: each.interlock or Lifecycle() for key, each in self.properties.items() if each.is_timer}

    @cached_property
    def defaults(self) -> Document:
        """The properties of an entity that is created without any."""
        placed = {key: each.placed_default[1] for key, each in self.properties.items()}
        return {key: value for key, value in placed.items() if value is not None}

    @cached_property
    def entity_schema(self) -> Document:
        """The JSON Schema of an entity's properties. Those the blueprint does not declare may be anything."""
        return {
            "type": "object",
            "properties": {key: each.value_schema for key, each in self.properties.items()},
            "required": list[JsonValue](dict.fromkeys(self.required)),
        }

    @cached_property
    def entity_validator(self) -> Draft7Validator:
        """The schema of an entity's properties, compiled when first asked for.

        Raises:
            ValueError: it is no schema, though it was stored as one.
        """
        return validator(self.entity_schema)

    @cached_property
    def goes_back(self) -> bool:
        """Whether the properties have patterns that depend on how long texts are: see `input_schemas.validator`."""
        return goes_back(canonical(self.entity_schema))


@dataclass(frozen=True)
class Blueprint:
    """A definition with its history."""

    identifier: BlueprintId
    document: Document
    """The definition exactly as received."""
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str

    @cached_property
    def definition(self) -> Definition:
        """The fields of the document, parsed when first asked for.

        Raises:
            InvalidRequest: the document is no blueprint, though it was stored as one.
        """
        return Definition.stored(written(self.document))

    def echo(self) -> Document:
        """What clients read: the document as it was received, and what the server adds."""
        return {
            **written(self.document),
            "createdAt": iso(self.created_at),
            "createdBy": self.created_by,
            "updatedAt": iso(self.updated_at),
            "updatedBy": self.updated_by,
        }


def written(document: Document) -> Document:
    """The document without what the server adds."""
    return {key: value for key, value in document.items() if key not in READ_ONLY}


def parsed(document: JsonValue, before: Definition | None = None) -> Definition:
    """The definition in the document, ready to be stored. Whether its targets exist is not asked here.

    Properties, calculations and aggregations that stand as they stood before are not looked at: an earlier version may
    have let them in.

    Raises:
        InvalidRequest: it is no blueprint, or one that cannot work; the message names each fault by its JSON path.
    """
    refuse_deep(document)
    definition = Definition.stored(written(document) if isinstance(document, dict) else document)
    if faults := list(islice(_faults(definition, before), MAX_PROBLEMS)):
        raise InvalidRequest("; ".join(faults))
    return definition


def patched(document: Document, patch: Document) -> Document:
    """The document with the patch laid over it, objects key by key at every depth; null removes a key.

    Lists are replaced as wholes, and so is what means something only as one. A key that no blueprint can be without
    stays null, so that parsing the result refuses it by name.

    Raises:
        InvalidRequest: the patch is nested too deeply.
    """
    refuse_deep(patch)
    laid = written(patch)
    nulls = {key: laid.pop(key) for key in INDISPENSABLE if key in laid and laid[key] is None}
    return _laid_over(written(document), laid) | nulls


def _laid_over(document: Document, patch: Document, *, named: bool = False) -> Document:
    """`named`: the keys are what somebody named, and mean nothing to us."""
    changed = dict(document)
    for key, value in patch.items():
        before = changed.get(key)
        if value is None:
            changed.pop(key, None)
        elif not isinstance(value, dict) or (key in _WHOLE and not named):
            changed[key] = value
        else:
            under = before if isinstance(before, dict) else {}
            changed[key] = _laid_over(under, value, named=not named and key in _BY_IDENTIFIER)
    return changed


def _faults(definition: Definition, before: Definition | None) -> Iterator[str]:
    stood = before.properties if before else {}
    for key, each in definition.properties.items():
        if key not in stood or not same(each.document, stood[key].document):
            yield from each.faults(json_path(["schema", "properties", key]))
    for index, key in enumerate(definition.required):
        if key not in definition.properties:
            yield f"schema.required[{index}]: names {shortened(key, 80)!r}, which is no property"
    if not isinstance((definition.model_extra or {}).get("includeInGlobalSearch"), bool | None):
        yield "includeInGlobalSearch: must be true or false"
    for key, relation in definition.relations.items():
        if relation.required and relation.many:
            yield f"{json_path(['relations', key])}.required: cannot be true where many is true"
        if not isinstance((relation.model_extra or {}).get("type"), str | None):
            yield f"{json_path(['relations', key])}.type: must be a string"
    calculated = before.calculation_properties if before else {}
    for key, calculation in definition.calculation_properties.items():
        if calculation != calculated.get(key):
            yield from calculation.faults(json_path(["calculationProperties", key]))
    aggregated = before.aggregation_properties if before else {}
    for key, aggregation in definition.aggregation_properties.items():
        if aggregation != aggregated.get(key):
            yield from aggregation.faults(json_path(["aggregationProperties", key]), definition.identifier)
    for at, (first, *_) in definition.paths.items():
        if first not in definition.relations:
            yield f"{at}: {shortened(definition.identifier, 80)} has no relation {shortened(first, 80)!r}"
    yield from _shared_keys(definition)


def _shared_keys(definition: Definition) -> Iterator[str]:
    first: dict[str, str] = {}
    for path, keys in (
        (["schema", "properties"], definition.properties),
        (["mirrorProperties"], definition.mirror_properties),
        (["calculationProperties"], definition.calculation_properties),
        (["aggregationProperties"], definition.aggregation_properties),
        (["relations"], definition.relations),
    ):
        for key in keys:
            at = json_path([*path, key])
            if key in first:
                yield f"{at}: the key is taken by {first[key]}"
            else:
                first[key] = at
