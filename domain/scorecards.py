"""Scorecards: the rules and levels that entities of a blueprint are held to, and what one of them comes out at."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, JsonValue

from domain import blueprints
from domain.candidates import Entity
from domain.documents import Document
from domain.errors import InvalidRequest
from domain.identifiers import Identifier
from domain.matching import matches
from domain.property_schemas import Colour
from domain.rule_readers import closed, fault
from domain.rule_values import Property, Query, SchemaShape
from domain.scorecard_conditions import ALONE, NOBODY, Conditions, comparisons, read
from domain.shapes import MAX_PROBLEMS, Closed, Path, Verbatim, json_path, refuse_deep, shortened
from domain.times import iso

READ_ONLY = ("id", "blueprint", "createdAt", "createdBy", "updatedAt", "updatedBy")
"""What the server adds. Clients post back what they read, so these are dropped without a word."""

MAX_RULES = 500
"""How many rules a scorecard may have."""

Result: TypeAlias = Document
"""`{"level": "Gold", "rules": [{"identifier": ..., "status": "SUCCESS" | "FAILURE", "level": ...}]}`."""

_NAMES = {"title", "description", "icon"}
_IDENTIFIER = r"^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/=-]{1,100}$"


class ScorecardId(Identifier):
    """Of a scorecard, unique within its blueprint."""

    __slots__ = ()
    PATTERN = _IDENTIFIER
    KIND = "scorecard identifier"


class RuleId(Identifier):
    """Of a rule, unique within its scorecard."""

    __slots__ = ()
    PATTERN = _IDENTIFIER
    KIND = "rule identifier"


class Level(Closed):
    """How far an entity can come."""

    title: str
    color: Colour


class ScorecardRule(Closed):
    """What an entity has to fulfil for a level."""

    identifier: RuleId
    title: str
    description: str | None = None
    level: str
    query: Conditions


DEFAULT_LEVELS: Final = (
    Level(title="Basic", color="paleBlue"),
    Level(title="Bronze", color="bronze"),
    Level(title="Silver", color="silver"),
    Level(title="Gold", color="gold"),
)


class Definition(Verbatim):
    """A scorecard as its author wrote it, and the fields of it."""

    identifier: ScorecardId
    title: str
    levels: Annotated[list[Level], BeforeValidator(lambda value: [] if value is None else value)] = []
    filter: Conditions | None = None
    rules: list[ScorecardRule]

    @property
    def ladder(self) -> Sequence[Level]:
        """The levels, the lowest first: that of entities that pass nothing."""
        return self.levels or DEFAULT_LEVELS

    @cached_property
    def applies_to(self) -> Query | None:
        """Which entities it is about; None: all."""
        return read(self.filter, ("filter",)) if self.filter else None

    @cached_property
    def queries(self) -> tuple[Query, ...]:
        """What each rule asks for."""
        return tuple(read(rule.query, _place(index)) for index, rule in enumerate(self.rules))

    def asks_for_derived(self, kind: blueprints.Definition) -> bool:
        """Whether a rule or the filter names something of the entity that is derived from others."""
        derived = {*kind.mirror_properties, *kind.calculation_properties, *kind.aggregation_properties}
        names = derived | {"$team"} if kind.inherited_from else derived
        return bool(names) and any(
            comparison.subject.name in names if isinstance(comparison.subject, Property) else bool(derived)
            for query in (self.applies_to, *self.queries)
            if query
            for comparison in comparisons(query)
            if isinstance(comparison.subject, Property | SchemaShape)
        )


@dataclass(frozen=True)
class Scorecard:
    """A definition with its history."""

    id: str
    blueprint: str
    identifier: ScorecardId
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
            InvalidRequest: the document is no scorecard, though it was stored as one.
        """
        return Definition.stored(written(self.document))

    def echo(self) -> Document:
        """What clients read: the document as it was received, and what the server adds."""
        return {
            **written(self.document),
            "id": self.id,
            "blueprint": self.blueprint,
            "createdAt": iso(self.created_at),
            "createdBy": self.created_by,
            "updatedAt": iso(self.updated_at),
            "updatedBy": self.updated_by,
        }


def written(document: Document) -> Document:
    """The document without what the server adds."""
    return {name: value for name, value in document.items() if name not in READ_ONLY}


def parsed(document: JsonValue, *, blueprint: str, path: Path = ()) -> Definition:
    """The definition in the document, ready to be stored as a scorecard of the blueprint.

    `path` is where the document stands in what was sent.

    Raises:
        InvalidRequest: it is no scorecard, or one that cannot work; the message names each fault by its JSON path.
    """
    refuse_deep(document, path)
    if isinstance(document, dict) and document.get("blueprint", blueprint) != blueprint:
        raise fault((*path, "blueprint"), f"must be {blueprint}, as in the path")
    definition = Definition.stored(written(document) if isinstance(document, dict) else document, path)
    if faults := list(islice(_faults(definition, path), MAX_PROBLEMS)):
        raise InvalidRequest("; ".join(faults))
    return definition


def parsed_all(documents: JsonValue, *, blueprint: str) -> list[Definition]:
    """The definitions in an array, or in `{"scorecards": [...]}`, ready to be stored as those of the blueprint.

    Raises:
        InvalidRequest: one is no scorecard, or two have one identifier; the message names the fault by its JSON path.
    """
    root: Path = ()
    if isinstance(documents, dict):
        closed(documents, (), "scorecards")
        root, documents = ("scorecards",), documents["scorecards"]
    if not isinstance(documents, list):
        raise InvalidRequest(f"{json_path(root) or 'the body'}: must be an array")
    found = [parsed(one, blueprint=blueprint, path=(*root, index)) for index, one in enumerate(documents)]
    if repeated := next(_repeated([one.identifier for one in found], root, "identifier"), None):
        raise InvalidRequest(repeated)
    return found


def revised(before: Scorecard, definition: Definition, *, at: datetime, by: str) -> Scorecard:
    """The scorecard with that definition; the very same when it says what was said before, in the same order."""
    if json.dumps(definition.document) == json.dumps(written(before.document)):
        return before
    return replace(before, identifier=definition.identifier, document=definition.document, updated_at=at, updated_by=by)


def evaluated(scorecard: Scorecard, entity: Entity, *, at: datetime) -> Result | None:
    """What the scorecard says about the entity at that moment; None if it is not about it."""

    def holds(query: Query) -> bool:
        return matches(query, entity, at=at, caller=NOBODY, catalog=ALONE)

    definition = scorecard.definition
    if definition.applies_to and not holds(definition.applies_to):
        return None
    passed = [holds(query) for query in definition.queries]
    return {
        "level": _level(definition, passed),
        "rules": [
            {"identifier": rule.identifier, "status": "SUCCESS" if ok else "FAILURE", "level": rule.level}
            for rule, ok in zip(definition.rules, passed, strict=True)
        ],
    }


def seen_by_conditions(kind: blueprints.Definition) -> Sequence[object]:
    """What conditions can see of a blueprint: while this stays, so does what they say about its entities."""
    return (
        {key: _shape(schema) for key, schema in kind.schemas.items()},
        {key: mirror.path for key, mirror in kind.mirror_properties.items()},
        {key: calculation.model_dump(exclude=_NAMES) for key, calculation in kind.calculation_properties.items()},
        {key: aggregation.model_dump(exclude=_NAMES) for key, aggregation in kind.aggregation_properties.items()},
        {key: (relation.target, relation.many) for key, relation in kind.relations.items()},
        kind.inherited_from,
    )


def _shape(schema: Document) -> Document:
    items = schema.get("items")
    said = {name: items.get(name) for name in ("type", "format")} if isinstance(items, dict) else {}
    return {"type": schema.get("type"), "format": schema.get("format"), "items": said}


def _level(definition: Definition, passed: Sequence[bool]) -> str:
    """The highest level that has rules, all of which the entity passes, as it passes all those of the levels below."""
    lowest, *others = (level.title for level in definition.ladder)
    reached = lowest
    for title in others:
        needed = [ok for rule, ok in zip(definition.rules, passed, strict=True) if rule.level == title]
        if not all(needed):
            break
        reached = title if needed else reached
    return reached


def _faults(definition: Definition, path: Path) -> Iterator[str]:
    titles = [level.title for level in definition.ladder]
    yield from _repeated(titles, (*path, "levels"), "title")
    lowest, *others = titles
    if len(definition.rules) > MAX_RULES:
        yield f"{json_path([*path, 'rules'])}: a scorecard has at most {MAX_RULES}"
        return
    yield from _repeated([rule.identifier for rule in definition.rules], (*path, "rules"), "identifier")
    if definition.filter:
        yield from _unreadable(definition.filter, (*path, "filter"))
    for index, rule in enumerate(definition.rules):
        if rule.level not in others:
            above = shortened(", ".join(others) or "(there is none)")
            said = f"{json_path([*path, 'rules', index, 'level'])}: must be a level above {shortened(lowest, 80)}"
            yield f"{said}, which needs no rule: {above}"
        yield from _unreadable(rule.query, (*path, *_place(index)))


def _repeated(names: Iterable[str], path: Path, name: str) -> Iterator[str]:
    first: dict[str, int] = {}
    for index, value in enumerate(names):
        if (other := first.setdefault(value, index)) != index:
            yield f"{json_path([*path, index, name])}: {shortened(value, 80)!r} is that of {json_path([*path, other])}"


def _unreadable(query: Conditions, path: Path) -> Iterator[str]:
    try:
        read(query, path)
    except InvalidRequest as refusal:
        yield str(refusal)


def _place(index: int) -> Path:
    return ("rules", index, "query")
