"""Properties nobody writes: mirrors of related entities, calculations by jq, aggregations over other entities."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal, NamedTuple

import regex
from pydantic import AfterValidator

from domain import rules
from domain.documents import Document
from domain.errors import InvalidRequest
from domain.property_schemas import TYPES, Colour, Key, Open, Title, Type, format_fault, sized
from domain.rule_readers import below, property_name
from domain.shapes import shortened

MAX_PATH: Final = 15
"""How many relations a path filter may follow."""

MAX_PATH_FILTERS: Final = 10
"""How many path filters an aggregation may have."""

_MIRRORED = r"[A-Za-z0-9@_=\-]+(\.[A-Za-z0-9@_=\-]+)*\.\$?[A-Za-z0-9@_=\-]+"


def _as_mirrored(value: str) -> str:
    if not regex.fullmatch(_MIRRORED, value):
        raise ValueError("must be relations and then a property, with dots between, such as service.tier")
    return value


class Mirror(Open):
    """A property of a related entity, read when somebody asks."""

    title: Title | None = None
    path: Annotated[str, AfterValidator(_as_mirrored)]
    """Relations, then a property or a meta-property: `service.team.$title`."""


class Calculation(Open):
    """What jq makes of the entity; the program is stored unparsed."""

    title: Title | None = None
    description: str | None = None
    icon: str | None = None
    calculation: Annotated[str, sized(1, 10_000)]
    type: Type
    format: str | None = None
    spec: Literal["open-api", "async-api", "embedded-url"] | None = None
    colorized: bool | None = None
    colors: dict[str, Colour] | None = None
    items: Document | None = None

    def faults(self, at: str) -> Iterator[str]:
        """Why its parts do not go together, each as `<path>: <problem>`."""
        yield from format_fault(self.type, self.format, at)
        kind, format = ((self.items or {}).get(key) for key in ("type", "format"))
        if kind is not None and kind not in TYPES:
            yield f"{at}.items.type: must be one of {', '.join(TYPES)}"
        elif not isinstance(format, str | None):
            yield f"{at}.items.format: must be a string"
        else:
            yield from format_fault(kind, format, f"{at}.items")


class CalculationSpec(Open):
    """How the number is made: of how many entities there are, or of a property of theirs."""

    calculation_by: Literal["entities", "property"]
    func: Literal["count", "average", "sum", "min", "max", "median"]
    property: str | None = None
    average_of: Literal["hour", "day", "week", "month", "total"] | None = None
    """The time that one of the averaged amounts stands for."""
    measure_time_by: str | None = None
    """`$createdAt`, `$updatedAt` or a date property. Absent: `$createdAt`."""

    def faults(self, at: str) -> Iterator[str]:
        """Why its parts do not go together, each as `<path>: <problem>`."""
        functions = _FUNCTIONS[self.calculation_by]
        if self.func not in functions:
            yield f"{at}.func: must be one of {', '.join(functions)} where calculationBy is {self.calculation_by}"
        if self.calculation_by == "property" and self.property is None:
            yield f"{at}.property: is required where calculationBy is property"
        if self.func == "average" and self.average_of is None:
            yield f"{at}.averageOf: is required where func is average"
        for key, name in (("property", self.property), ("measureTimeBy", self.measure_time_by)):
            if name is not None:
                try:
                    property_name(name, ())
                except InvalidRequest as refusal:
                    yield below(f"{at}.{key}", refusal)


_FUNCTIONS = {"entities": ("count", "average"), "property": ("sum", "min", "max", "median", "average")}


class PathFilter(Open):
    """The chain of relations by which an entity has to be related."""

    path: list[Key]
    from_blueprint: str | None = None

    def leads_back(self, blueprint: str, target: str) -> bool:
        """Whether it begins at the target and leads to the blueprint's own entity, and not the other way."""
        return self.from_blueprint is not None and (self.from_blueprint != blueprint or target == blueprint)


def _few(value: list[PathFilter]) -> list[PathFilter]:
    if len(value) > MAX_PATH_FILTERS:
        raise ValueError(f"must have at most {MAX_PATH_FILTERS} paths")
    return value


class Way(NamedTuple):
    """The relations that a path filter follows from one blueprint to another."""

    at: str
    """The JSON path of them."""
    names: list[str]
    start: str
    end: str


class Aggregation(Open):
    """A number made of the related entities of another blueprint."""

    title: Title | None = None
    description: str | None = None
    icon: str | None = None
    type: Literal["number"] | None = None
    target: str
    """The blueprint of those entities."""
    calculation_spec: CalculationSpec
    query: Document | None = None
    """Which of them count. Its rules are read by the search."""
    path_filter: Annotated[list[PathFilter], AfterValidator(_few)] | None = None
    """It is enough to be related by one of these. Absent or empty: they count however they are related."""

    def ways(self, at: str, blueprint: str) -> Iterator[Way]:
        """What its path filters follow, for entities of the blueprint."""
        for index, one in enumerate(self.path_filter or ()):
            back = one.leads_back(blueprint, self.target)
            start, end = (self.target, blueprint) if back else (blueprint, self.target)
            yield Way(f"{at}.pathFilter[{index}].path", one.path, start, end)

    def faults(self, at: str, blueprint: str) -> Iterator[str]:
        """Why it cannot be made for entities of the blueprint, each as `<path>: <problem>`."""
        yield from self.calculation_spec.faults(f"{at}.calculationSpec")
        for index, way in enumerate(self.path_filter or ()):
            if not 1 <= len(way.path) <= MAX_PATH:
                yield f"{at}.pathFilter[{index}].path: must name 1 to {MAX_PATH} relations"
            if way.from_blueprint not in (None, blueprint, self.target):
                ends = " or ".join(shortened(one, 80) for one in dict.fromkeys((self.target, blueprint)))
                yield f"{at}.pathFilter[{index}].fromBlueprint: must be {ends}"
        if self.query:
            try:
                rules.parsed(self.query, dialect=rules.SEARCH)
            except InvalidRequest as refusal:
                yield below(f"{at}.query", refusal)
