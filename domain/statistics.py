"""Statistics of the catalog as they are asked for: over what a query finds, over time, and of the past of an entity.

What the published words leave open is decided here; `docs/statistics.md` has the decisions.
"""

from functools import cached_property
from typing import Any, Literal

from pydantic import Field, JsonValue

from domain.aggregations import Measured, moment, timed_by
from domain.blueprints import Definition
from domain.candidates import Entity
from domain.computed_properties import CalculationSpec
from domain.derived import derived
from domain.errors import InvalidRequest
from domain.models import Written
from domain.rule_readers import META, property_name, text
from domain.rule_values import Comparison, Operator, Property, Query
from domain.shapes import shortened
from domain.timelines import Interval, Timeline, TimeRange


class Aggregate(Written):
    """What is asked of everything that a query finds: a number, or how often each value is there."""

    func: Literal["count", "average", "sum", "min", "max", "median", "countValues"]
    query: dict[str, Any]
    property_: str | None = Field(default=None, alias="property")
    relation: str | None = None
    scorecard: str | None = None
    """Its level; with `rule`, the status of that."""
    rule: str | None = None
    average_of: Literal["hour", "day", "week", "month", "total"] | None = None
    measure_time_by: str | None = None
    """A property that holds a time; by default `$createdAt`."""
    calculation_by: Literal["entities", "property"] | None = None
    """What follows from the other keys; clients say it nevertheless."""

    def check(self) -> None:
        """Nothing, if its keys go together.

        Raises:
            InvalidRequest: they do not; the message names the key.
        """
        for key, name in (("property", self.property_), ("measureTimeBy", self.measure_time_by)):
            if name is not None:
                property_name(name, (key,))
        for key, name in (("relation", self.relation), ("scorecard", self.scorecard), ("rule", self.rule)):
            if name is not None:
                text(name, (key,))
        of = [key for key, name in self._named if name is not None]
        if self.rule is not None and self.scorecard is None:
            raise InvalidRequest("scorecard: is required where rule is there")
        if len(of) > 1:
            raise InvalidRequest(f"{of[1]}: cannot be together with {of[0]}")
        if self.func == "countValues":
            if not of:
                raise InvalidRequest("property: is required where func is countValues, or relation, or scorecard")
        elif of not in ([], ["property"]):
            raise InvalidRequest(f"func: must be countValues where {of[0]} is there")
        elif self.func == "count" and of:
            raise InvalidRequest("func: must not be count where property is there")
        elif self.func not in ("count", "average") and not of:
            raise InvalidRequest(f"property: is required where func is {self.func}")
        elif self.func == "average" and not of and self.average_of is None:
            raise InvalidRequest("averageOf: is required where the average is one of entities")
        if self.calculation_by is not None and self.calculation_by != ("property" if of else "entities"):
            raise InvalidRequest(f"calculationBy: must be {'property' if of else 'entities'}, as the other keys say")

    @property
    def grouped_by(self) -> str:
        """The key that says whose values are counted."""
        return next(key for key, name in self._named if name is not None)

    @property
    def counts_values(self) -> bool:
        """Whether the answer is how often each value is there."""
        return self.func == "countValues"

    @cached_property
    def calculation_spec(self) -> CalculationSpec:
        """The number as aggregation properties define such."""
        return spec(
            self.func,
            by="entities" if self.property_ is None else "property",
            average_of=self.average_of or "total",
            measure_time_by=self.measure_time_by and bare(self.measure_time_by),
        )

    @property
    def names(self) -> frozenset[str]:
        """The properties that have to be known of each entity."""
        timed = None if self.counts_values else timed_by(self.calculation_spec)
        return frozenset(bare(name) for name in (self.property_, timed) if name)

    def measured(self, entity: Entity) -> Measured:
        """What the number asks of the entity."""
        timed = timed_by(self.calculation_spec)
        amount = entity.value(bare(self.property_)) if self.property_ else None
        return Measured(amount, moment(entity.value(timed)) if timed else None)

    def value(self, entity: Entity) -> JsonValue:
        """What is counted of the entity."""
        if self.property_ is not None:
            return entity.value(bare(self.property_))
        if self.relation is not None:
            return entity.relations.get(self.relation)
        said = entity.scorecards.get(self.scorecard or "")
        if not isinstance(said, dict):
            return None
        if self.rule is None:
            return said.get("level")
        rules = said.get("rules")
        for one in rules if isinstance(rules, list) else ():
            if isinstance(one, dict) and one.get("identifier") == self.rule:
                return one.get("status")
        return None

    @property
    def _named(self) -> tuple[tuple[str, str | None], ...]:
        return ("property", self.property_), ("relation", self.relation), ("scorecard", self.scorecard)


class AggregateOverTime(Written):
    """What is asked of the entities of a blueprint for each interval of a period."""

    blueprint: str
    time_range: TimeRange
    time_interval: Interval
    query: dict[str, Any]
    measure_time_by: str
    """The property that says to which interval an entity belongs: `$createdAt`, `$updatedAt` or one that is a time."""
    aggregation_type: Literal["aggregatePropertiesValues", "countEntities"]
    func: Literal["average", "sum", "min", "max", "median", "last", "count"]
    properties: list[str] | None = Field(default=None, min_length=1, max_length=50)
    """For `aggregatePropertiesValues`: whose values make the numbers, `x` or `properties.x`."""
    breakdown_property: str | None = None
    """For `countEntities`: each value of it is counted for itself."""

    def check(self, definition: Definition) -> None:
        """Nothing, if its keys go together and name properties of the blueprint.

        Raises:
            InvalidRequest: they do not; the message names the key.
        """
        of_values = self.aggregation_type == "aggregatePropertiesValues"
        if of_values and self.properties is None:
            raise InvalidRequest("properties: is required where aggregationType is aggregatePropertiesValues")
        foreign, written = (
            ("breakdownProperty", self.breakdown_property) if of_values else ("properties", self.properties)
        )
        if written is not None:
            raise InvalidRequest(f"{foreign}: cannot be there where aggregationType is {self.aggregation_type}")
        if of_values and self.func == "count":
            raise InvalidRequest("func: must not be count where aggregationType is aggregatePropertiesValues")
        if not of_values and self.func not in ("count", "average"):
            raise InvalidRequest("func: must be one of count, average where aggregationType is countEntities")
        named = {f"properties[{index}]": name for index, name in enumerate(self.properties or ())}
        named |= {"measureTimeBy": self.measure_time_by}
        named |= {"breakdownProperty": self.breakdown_property} if self.breakdown_property is not None else {}
        for key, name in named.items():
            is_meta = full(name, definition) in META and not key.startswith("properties")
            if not (_known(name, definition) or is_meta):
                raise InvalidRequest(f"{key}: {definition.identifier} has no property {shortened(name, 80)!r}")

    def timed(self, definition: Definition) -> str:
        """The property that is the time."""
        return full(self.measure_time_by, definition)

    def narrowed(self, query: Query | None, timeline: Timeline, definition: Definition) -> Query:
        """The query, for entities of the period only."""
        within = Comparison(Property(self.timed(definition)), Operator.BETWEEN, timeline.period)
        return Query("and", (within, query) if query else (within,))


class PropertiesHistory(Written):
    """What is asked of the past of one entity."""

    blueprint_identifier: str
    entity_identifier: str
    property_names: list[str] = Field(min_length=1, max_length=50)
    time_interval: Interval = "day"
    time_range: TimeRange = TimeRange(preset="lastMonth")

    def check(self, definition: Definition) -> None:
        """Nothing, if the properties are ones that are stored, or were: the blueprint may have lost them.

        Raises:
            InvalidRequest: they are not; the message names the key.
        """
        for index, name in enumerate(self.property_names):
            key = f"propertyNames[{index}]"
            if bare(name) in derived(definition):
                raise InvalidRequest(f"{key}: {shortened(name, 80)!r} is made when somebody reads it, and not kept")
            property_name(name, ("propertyNames", index))


def bare(name: str) -> str:
    """The property without `properties.`, with which clients may write it."""
    return name.removeprefix("properties.")


def full(name: str, definition: Definition) -> str:
    """The property, or with `$` what every entity has, also where it is written without."""
    return f"${name}" if not _known(name, definition) and f"${name}" in META else bare(name)


def spec(
    func: str, *, by: Literal["entities", "property"], average_of: str = "total", measure_time_by: str | None = None
) -> CalculationSpec:
    """The number as aggregation properties define such."""
    return CalculationSpec.model_validate(
        {"calculationBy": by, "func": func, "averageOf": average_of, "measureTimeBy": measure_time_by}
    )


def _known(name: str, definition: Definition) -> bool:
    return bare(name) in definition.properties or bare(name) in derived(definition)
