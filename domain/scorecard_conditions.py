"""Conditions of scorecards: the rule grammar of the catalog's search, as far as one entity alone can answer it.

What a condition says must not depend on who asks, nor on what the entity is related to; only the identifiers at the
other end of its relations are its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import JsonValue, model_validator

from domain import rules
from domain.candidates import Entity, Reference
from domain.comparisons import key
from domain.errors import InvalidRequest
from domain.matching import MY_TEAMS
from domain.rule_readers import chosen, closed, fault
from domain.rule_values import (
    Comparison,
    Context,
    Listed,
    PathMatch,
    Property,
    Query,
    Related,
    RelationEnd,
    Rule,
    ScorecardResult,
)
from domain.shapes import Closed, Path, json_path
from domain.users import Caller

NOBODY: Final = Caller(organization="", client="")
"""Who asks a scorecard."""

_AND_OR: Final[dict[str, Literal["and", "or"]]] = {"and": "and", "or": "or"}
_CALLER: Final = "depends on who asks, and nobody asks a scorecard"


class Conditions(Closed):
    """A group of conditions: comparisons as in a catalog search, and groups of them."""

    combinator: Literal["and", "or"]
    conditions: list[JsonValue]

    @model_validator(mode="before")
    @classmethod
    def _without_conditions(cls, data: JsonValue) -> JsonValue:
        # Terraform's provider drops empty lists: `"conditions": []` arrives as no key at all. Null is no list, though.
        return {**data, "conditions": []} if isinstance(data, dict) and "conditions" not in data else data


def read(query: Conditions, path: Path) -> Query:
    """The query that the conditions say.

    Raises:
        InvalidRequest: names the path of the first fault, from the root of the scorecard.
    """
    return _Reader().group(query.combinator, query.conditions, (*path, "conditions"), 0)


@dataclass(slots=True)
class _Reader:
    """One reading of a group, which counts as it goes."""

    rules: int = 0

    def group(self, combinator: Literal["and", "or"], conditions: JsonValue, path: Path, depth: int) -> Query:
        if depth > rules.MAX_NESTING:
            raise fault(path, f"groups nest deeper than {rules.MAX_NESTING} levels")
        if not isinstance(conditions, list):
            raise fault(path, "must be an array")
        self.rules += len(conditions)
        if self.rules > rules.MAX_RULES:
            raise fault(path, f"the query has more than {rules.MAX_RULES} conditions")
        return Query(combinator, tuple(self._rule(one, (*path, place), depth) for place, one in enumerate(conditions)))

    def _rule(self, condition: JsonValue, path: Path, depth: int) -> Rule:
        if isinstance(condition, dict) and not {"combinator", "conditions", "rules"}.isdisjoint(condition):
            listed = "rules" if "rules" in condition else "conditions"
            closed(condition, path, "combinator", listed)
            combinator = chosen(condition["combinator"], (*path, "combinator"), _AND_OR)
            return self.group(combinator, condition[listed], (*path, listed), depth + 1)
        try:
            (rule,) = rules.parsed({"combinator": "and", "rules": [condition]}, dialect=rules.BLUEPRINT_SEARCH).rules
        except InvalidRequest as refusal:
            raise InvalidRequest(json_path(path) + str(refusal).removeprefix("rules[0]")) from None
        if unknown := _unknown(rule):
            place, why = unknown
            raise fault((*path, place), why)
        return rule


def _unknown(rule: Rule) -> tuple[str, str] | None:
    """The key of the rule that asks for more than the entity alone can say, and why that is refused."""
    match rule:
        case Related() | PathMatch():
            return "operator", "must not ask for related entities: a scorecard sees the entity alone"
        case Comparison(subject=Context() | Property("$owned_by_team")):
            return "property", _CALLER
        case Comparison(value=Context()):
            return "value", _CALLER
        case Comparison(subject=Property("$team"), value=Listed(keys=keys)) if not keys.isdisjoint(map(key, MY_TEAMS)):
            return "value", _CALLER
        case Comparison(subject=RelationEnd(target_property="$title")):
            return "targetProperty", "must be $identifier: a scorecard sees the entity alone"
        case Comparison(subject=ScorecardResult(rule=part)):
            return "scorecardRule" if part else "scorecard", "a scorecard cannot depend on scorecards"
    return None


def comparisons(rule: Rule) -> Iterator[Comparison]:
    """Everything in the rule that compares something."""
    match rule:
        case Query(_, parts):
            for part in parts:
                yield from comparisons(part)
        case Comparison():
            yield rule


class _Alone:
    """A catalog in which nothing is related to anything."""

    def targets(
        self, of: Reference, *, relation: str | None = None, required: bool | None = None
    ) -> Iterable[Reference]:
        return ()

    def sources(
        self, of: Reference, *, relation: str | None = None, required: bool | None = None
    ) -> Iterable[Reference]:
        return ()

    def titles(self, of: Reference, relation: str) -> Mapping[str, str | None]:
        return {}

    def user(self, caller: Caller) -> Entity | None:
        return None

    def teams(self, caller: Caller) -> Sequence[Entity]:
        return ()


ALONE: Final = _Alone()
"""The catalog that scorecards see."""
