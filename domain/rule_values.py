"""The values of a catalog query: groups, rules, and what rules compare with (`domain/rules.py` reads them).

A negative operator (`!=`, `notIn`, `isNotEmpty`, ...) is its positive one with `negated`: it holds exactly where the
positive one does not, so it also holds for null and for values of another type.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Final, Literal, Self, TypeAlias

from domain.comparisons import Key, Scalar, key


class Operator(StrEnum):
    """The positive operators of comparisons, as they are written."""

    EQUALS = "="
    ABOVE = ">"
    AT_LEAST = ">="
    BELOW = "<"
    AT_MOST = "<="
    CONTAINS = "contains"
    CONTAINS_ANY = "containsAny"
    BEGINS_WITH = "beginsWith"
    ENDS_WITH = "endsWith"
    IN = "in"
    BETWEEN = "between"
    IS_EMPTY = "isEmpty"
    IS_EXPIRED = "isExpired"


SPELLINGS: Final[dict[str, tuple[Operator, bool]]] = {str(operator): (operator, False) for operator in Operator} | {
    "!=": (Operator.EQUALS, True),
    "doesNotContain": (Operator.CONTAINS, True),
    "doesNotContains": (Operator.CONTAINS, True),
    "doesNotBeginWith": (Operator.BEGINS_WITH, True),
    "doesNotBeginsWith": (Operator.BEGINS_WITH, True),
    "doesNotEndWith": (Operator.ENDS_WITH, True),
    "doesNotEndsWith": (Operator.ENDS_WITH, True),
    "notIn": (Operator.IN, True),
    "notBetween": (Operator.BETWEEN, True),
    "isNotEmpty": (Operator.IS_EMPTY, True),
    "isNotExpired": (Operator.IS_EXPIRED, True),
}
"""Every operator of a comparison as it may be written, and whether it is a negation."""


class Preset(Enum):
    """A period with a name. Days are those of UTC; a month has 30 days and a year 365, and they end now."""

    TODAY = "today"
    TOMORROW = "tomorrow"
    YESTERDAY = "yesterday"
    LAST_DAY = "lastDay"
    LAST_WEEK = "lastWeek"
    LAST_2_WEEKS = "last2Weeks"
    LAST_MONTH = "lastMonth"
    LAST_3_MONTHS = "last3Months"
    LAST_6_MONTHS = "last6Months"
    LAST_12_MONTHS = "last12Months"
    LAST_2_YEARS = "last2Years"
    LAST_3_YEARS = "last3Years"

    def at(self, now: datetime) -> "Period":
        """The period seen from now."""
        if self in _OFFSETS:
            midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            start = midnight + timedelta(days=_OFFSETS[self])
            return Period(start, start + timedelta(days=1) - timedelta(microseconds=1))
        return Period(now - timedelta(days=_DAYS[self]), now)


_OFFSETS: Final = {Preset.YESTERDAY: -1, Preset.TODAY: 0, Preset.TOMORROW: 1}
_DAYS: Final = {
    Preset.LAST_DAY: 1,
    Preset.LAST_WEEK: 7,
    Preset.LAST_2_WEEKS: 14,
    Preset.LAST_MONTH: 30,
    Preset.LAST_3_MONTHS: 90,
    Preset.LAST_6_MONTHS: 180,
    Preset.LAST_12_MONTHS: 365,
    Preset.LAST_2_YEARS: 730,
    Preset.LAST_3_YEARS: 1095,
}


@dataclass(frozen=True, slots=True)
class Period:
    """From one instant to another, both included. One that ends before it starts is empty."""

    start: datetime
    end: datetime

    def holds(self, moment: datetime) -> bool:
        """Whether the moment is in it."""
        return self.start <= moment <= self.end


@dataclass(frozen=True, slots=True)
class Listed:
    """An array of constants."""

    values: tuple[Scalar, ...]
    keys: frozenset[Key | None] = field(repr=False, compare=False)
    """What each is compared by, made once: a list has thousands of values, and a catalog thousands of entities."""

    @classmethod
    def of(cls, *values: Scalar) -> Self:
        """The array of these."""
        return cls(values, frozenset(map(key, values)))


@dataclass(frozen=True, slots=True)
class Context:
    """A property of the caller's own entity (`user`), or of the entities of the caller's teams, as an array."""

    whose: Literal["user", "userTeams"]
    property: str


@dataclass(frozen=True, slots=True)
class Computed:
    """A value that is known only later: the jq of a dataset, or the template of a policy.

    Whoever knows it puts it into the document and reads that again; until then the rule holds nowhere.
    """

    source: str


Operand: TypeAlias = Scalar | Listed | Period | Preset | Context | Computed
"""What a subject is compared with."""

Identifiers: TypeAlias = frozenset[str] | Context | Computed
"""The entities that a rule about relations asks for."""


@dataclass(frozen=True, slots=True)
class Property:
    """A property, or with `$` something every entity has. One that the entity does not have is null."""

    name: str


@dataclass(frozen=True, slots=True)
class SchemaShape:
    """Every property of the entity whose schema says the same; what is None here may be anything there."""

    type: str
    format: str | None = None
    items_type: str | None = None
    items_format: str | None = None


@dataclass(frozen=True, slots=True)
class RelationEnd:
    """The identifier or title at the other end of a relation; an array if there can be many."""

    relation: str
    target_property: Literal["$identifier", "$title"] = "$identifier"


@dataclass(frozen=True, slots=True)
class ScorecardResult:
    """The level of a scorecard, or the status of one of its rules."""

    scorecard: str
    rule: str | None = None


Subject: TypeAlias = Property | Context | SchemaShape | RelationEnd | ScorecardResult
"""What a comparison is about."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares a subject with a value."""

    subject: Subject
    operator: Operator
    value: Operand = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Related:
    """Holds for what a chain of relations of any length, and of at least one, connects with one of some entities."""

    blueprint: str
    """Of the entities that `identifiers` names."""
    identifiers: Identifiers
    direction: Literal["upstream", "downstream"] | None = None
    """`upstream`: what they depend on. `downstream`: what depends on them. None: either of the two."""
    required: bool | None = None
    """Whether only relations that are required count, or only those that are not. None: all."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One relation of a path, to be followed at least once and at most `most` times."""

    relation: str
    most: int = 1


@dataclass(frozen=True, slots=True)
class PathMatch:
    """Holds if exactly this path leads from the candidate to one of some entities."""

    path: tuple[Hop, ...]
    identifiers: Identifiers
    from_blueprint: str | None = None
    """If given, the path leads from the named entities, which are of this blueprint, to the candidate."""


@dataclass(frozen=True, slots=True)
class Query:
    """A group: all of the rules hold, or any of them. A group without rules holds everywhere."""

    combinator: Literal["and", "or"]
    rules: tuple["Rule", ...]


Rule: TypeAlias = Query | Comparison | Related | PathMatch
"""What a group consists of."""
