"""Derived values: what each is made of and where making them ends. They are made when somebody reads them.

A mirror or a calculation may be made of other derived values. Where definitions go in a circle, the mirror or the
aggregation that would close it reads null there, wherever the reading began; inherited teams read none.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from pydantic import JsonValue

from domain import rules
from domain.blueprints import Definition
from domain.computed_properties import Aggregation, Calculation, Mirror
from domain.documents import Document
from domain.errors import InvalidRequest
from domain.jq import Outcome, Value
from domain.meta_names import with_dollars
from domain.rule_values import Comparison, Property, Query, Rule, SchemaShape

MAX_DEPTH: Final = 20
"""How many derived values may be made of one another in a row; beyond, they are null."""

TEAM: Final = "$team"
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,), "number": (int, float), "boolean": (bool,), "object": (dict,), "array": (list,),
}  # fmt: skip


class Node(NamedTuple):
    """A property of the entities of a blueprint, or with `$` what every entity has."""

    blueprint: str
    name: str


class Definitions:
    """All blueprints as they are at one moment, and what their derived properties are made of."""

    def __init__(self, definitions: Mapping[str, Definition], version: str = "") -> None:
        self._definitions, self.version = definitions, version
        self._queries: dict[Node, Query] = {}
        self._schemas: dict[str, Mapping[str, Document]] = {}
        self._needed: dict[Node, frozenset[Node]] = {}

    def get(self, blueprint: str) -> Definition | None:
        """The blueprint's definition, if there is such a blueprint."""
        return self._definitions.get(blueprint)

    @property
    def all(self) -> Mapping[str, Definition]:
        """All of them, by blueprint."""
        return self._definitions

    def derived(self, blueprint: str) -> Mapping[str, Mirror | Calculation | Aggregation]:
        """The derived properties, in the order in which entities have them."""
        definition = self.get(blueprint)
        return derived(definition) if definition else {}

    def derives(self, blueprint: str) -> bool:
        """Whether its entities have anything that is derived; who does not know the blueprint cannot tell."""
        definition = self.get(blueprint)
        return definition is None or bool(derived(definition)) or definition.inherited_from is not None

    def end(self, blueprint: str, relations: Collection[str]) -> tuple[str, bool] | None:
        """The blueprint to which the relations lead, and whether to many; None if there are no such relations."""
        many = False
        for name in relations:
            definition = self.get(blueprint)
            relation = definition.relations.get(name) if definition else None
            if relation is None:
                return None
            blueprint, many = relation.target, many or relation.many
        return blueprint, many

    def query(self, blueprint: str, aggregation: str) -> Query | None:
        """Which of the related entities count; None if all do.

        Raises:
            InvalidRequest: it is no query.
        """
        node = Node(blueprint, aggregation)
        if node not in self._queries:
            definition = self.derived(blueprint)[aggregation]
            if not isinstance(definition, Aggregation) or not definition.query:
                return None
            query = rules.parsed(definition.query, dialect=rules.SEARCH)
            self._queries[node] = with_dollars(query, self._declared(definition.target))
        return self._queries[node]

    def asked(self, blueprint: str, aggregation: Aggregation, name: str) -> frozenset[str]:
        """The derived values of its entities that the aggregation `name` of the blueprint asks for."""
        target = aggregation.target
        try:
            query = self.query(blueprint, name)
        except InvalidRequest:
            return frozenset()
        names = set(_names(query, self.derived(target))) if query else set()
        names |= {one for one in (aggregation.calculation_spec.property, _time(aggregation)) if one}
        return frozenset(one for one in names if self.is_derived(Node(target, one)))

    def is_derived(self, node: Node) -> bool:
        """Whether the value is made when it is read, rather than stored."""
        definition = self.get(node.blueprint)
        if definition and node.name == TEAM:
            return definition.inherited_from is not None
        return node.name in self.derived(node.blueprint)

    def needs(self, node: Node) -> frozenset[Node]:
        """The derived values that the value is made of."""
        if node not in self._needed:
            self._needed[node] = frozenset(one for one in self._parts(node) if self.is_derived(one))
        return self._needed[node]

    def is_circular(self, node: Node, part: Node) -> bool:
        """Whether the part is in the end made of the value that it is a part of."""
        return node in self.closure([part])

    def closure(self, nodes: Collection[Node]) -> set[Node]:
        """These, and every derived value that they are made of."""
        found, waiting = set(nodes), list(nodes)
        while waiting:
            new = self.needs(waiting.pop()) - found
            found |= new
            waiting += new
        return found

    def schemas(self, blueprint: str) -> Mapping[str, Document]:
        """What is said about the values of each property, stored or derived."""
        if blueprint not in self._schemas:
            self._schemas[blueprint] = self._said(blueprint)
        return self._schemas[blueprint]

    def leading_to(self, blueprint: str) -> frozenset[str]:
        """The blueprint, and all from which chains of relations lead to it."""
        return _reached(blueprint, self._sources)

    def led_to_by(self, blueprint: str) -> frozenset[str]:
        """The blueprint, and all to which chains of relations lead from it."""
        return _reached(blueprint, self._targets)

    def steps(self, blueprint: str, *, backward: bool) -> Collection[str]:
        """The blueprints to which one relation leads from this one, or from which one leads here."""
        return (self._sources if backward else self._targets).get(blueprint, set())

    @cached_property
    def _targets(self) -> Mapping[str, set[str]]:
        return {
            name: {str(relation.target) for relation in definition.relations.values()}
            for name, definition in self._definitions.items()
        }

    @cached_property
    def _sources(self) -> Mapping[str, set[str]]:
        sources: dict[str, set[str]] = {}
        for name, targets in self._targets.items():
            for target in targets:
                sources.setdefault(target, set()).add(name)
        return sources

    def _parts(self, node: Node) -> Iterator[Node]:
        blueprint, name = node
        definition = self.get(blueprint)
        if name == TEAM and definition and definition.inherited_from:
            if end := self.end(blueprint, definition.inherited_from.split(".")):
                yield Node(end[0], TEAM)
            return
        match one := self.derived(blueprint).get(name):
            case Mirror():
                relations, last = mirrored(one)
                if end := self.end(blueprint, relations):
                    yield Node(end[0], last)
            case Calculation():
                yield Node(blueprint, TEAM)
                for other, kind in self.derived(blueprint).items():
                    if not isinstance(kind, Calculation):
                        yield Node(blueprint, other)
            case Aggregation():
                for asked in self.asked(blueprint, one, name):
                    yield Node(one.target, asked)

    def _declared(self, blueprint: str) -> set[str]:
        definition = self.get(blueprint)
        return {*definition.properties, *derived(definition)} if definition else set()

    def _said(self, blueprint: str) -> Mapping[str, Document]:
        definition = self.get(blueprint)
        if definition is None:
            return {}
        said: dict[str, Document] = {key: one.document for key, one in definition.properties.items()}
        for key, kind in derived(definition).items():
            match kind:
                case Calculation():
                    items: Document = {} if kind.items is None else {"items": kind.items}
                    said[key] = {"type": kind.type, **({"format": kind.format} if kind.format else {}), **items}
                case Aggregation():
                    said[key] = {"type": "number"}
                case Mirror():
                    relations, last = mirrored(kind)
                    end = self.end(blueprint, relations)
                    there = self.get(end[0]) if end and not end[1] else None
                    if there and last in there.properties:
                        said[key] = there.properties[last].document
        return said


def derived(definition: Definition) -> Mapping[str, Mirror | Calculation | Aggregation]:
    """The derived properties of the blueprint, in the order in which its entities have them."""
    return {**definition.mirror_properties, **definition.calculation_properties, **definition.aggregation_properties}


def mirrored(mirror: Mirror) -> tuple[tuple[str, ...], str]:
    """The relations of the mirror's path, and what is mirrored at its end."""
    *relations, name = mirror.path.split(".")
    return tuple(relations), name


def typed(calculation: Calculation, outcome: Outcome) -> JsonValue:
    """What the calculation gives; null where it fails, has no output, or has one of another type than it declares."""
    if not isinstance(outcome, Value) or not isinstance(outcome.value, _TYPES[calculation.type]):
        return None
    return None if calculation.type == "number" and isinstance(outcome.value, bool) else outcome.value


@lru_cache(maxsize=4096)
def program(calculation: str) -> str:
    r"""The calculation in jq's own words: 'text' and .'key' become "text" and ."key".

    Outside of text jq knows no single quotes, so every program that jq takes stays as it is.

    >>> program("'https://' + .properties.'a-b'")
    '"https://" + .properties."a-b"'
    """
    written: list[str] = []
    within: list[str] = []  # quotes and the parentheses of \( ) that are open, innermost last
    place = 0
    while place < len(calculation):
        character = calculation[place]
        inside = within[-1] if within and within[-1] in "\"'" else ""
        place += 1
        if inside and character == "\\" and place < len(calculation):
            escaped = calculation[place]
            place += 1
            if escaped == "(":
                within.append("(")
            written.append("'" if escaped == "'" else character + escaped)
        elif inside:
            if character == inside:
                within.pop()
                written.append('"')
            else:
                written.append('\\"' if character == '"' else character)
        elif character in "\"'":
            within.append(character)
            written.append('"')
        elif character == "#":
            end = calculation.find("\n", place)
            end = len(calculation) if end < 0 else end
            written.append(calculation[place - 1 : end])
            place = end
        else:
            if character == "(" and within:
                within.append("(")
            elif character == ")" and within:
                within.pop()
            written.append(character)
    return "".join(written)


def _names(rule: Rule, derived: Collection[str]) -> Iterator[str]:
    match rule:
        case Query(_, parts):
            for part in parts:
                yield from _names(part, derived)
        case Comparison(subject=Property("$owned_by_team")):
            yield TEAM
        case Comparison(subject=Property(name)):
            yield name
        case Comparison(subject=SchemaShape()):
            yield from derived


def _time(aggregation: Aggregation) -> str | None:
    return aggregation.calculation_spec.measure_time_by


def _reached(start: str, steps: Mapping[str, set[str]]) -> frozenset[str]:
    found, waiting = {start}, [start]
    while waiting:
        new = steps.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return frozenset(found)
