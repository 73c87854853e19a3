"""The rule grammar of the catalog's search: what people write, checked and made into the values of a query.

Source: the published schemas of entity search, datasets, conditions and policies. Where they differ, the looser one.
"""

from dataclasses import dataclass
from typing import Final, Literal

from pydantic import JsonValue

from domain.documents import Document
from domain.rule_readers import (
    array,
    chosen,
    closed,
    context,
    fault,
    hops,
    json_object,
    listed,
    orderable,
    period,
    property_name,
    scalar,
    shape,
    text,
)
from domain.rule_values import (
    SPELLINGS,
    Comparison,
    Computed,
    Context,
    Identifiers,
    Operand,
    Operator,
    PathMatch,
    Property,
    Query,
    Related,
    RelationEnd,
    Rule,
    SchemaShape,
    ScorecardResult,
    Subject,
)
from domain.shapes import Path

MAX_RULES: Final = 1_000
"""How many rules and groups a query may have in all."""

MAX_NESTING: Final = 10
"""How many groups may be inside one another, below the outermost."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one place of the API allows beyond the rules that are the same everywhere."""

    typed: bool = False
    """The outermost group says `"type": "SEARCH"`."""
    jq: bool = False
    """A value may be `{"jqQuery": ...}`."""
    templates: bool = False
    """A value may be text with `{{ }}`."""
    of_one_blueprint: bool = False
    """There are rules about relations and scorecards, whose names only one blueprint gives a meaning."""


SEARCH: Final = Dialect()
"""`POST /v1/entities/search`, and the query of an aggregation."""
BLUEPRINT_SEARCH: Final = Dialect(of_one_blueprint=True)
"""`POST /v1/blueprints/{id}/entities/search`."""
DATASET: Final = Dialect(jq=True)
"""Which entities a user input offers."""
CONDITION: Final = Dialect(typed=True)
"""Which entities an action is offered for."""
POLICY: Final = Dialect(templates=True)
"""The queries of dynamic permissions."""

_NO_VALUE: Final = (Operator.IS_EMPTY, Operator.IS_EXPIRED)
_ORDERS: Final = (Operator.ABOVE, Operator.AT_LEAST, Operator.BELOW, Operator.AT_MOST)
_COMPARABLE: Final = frozenset(Operator).difference(_ORDERS, (Operator.BETWEEN, Operator.IS_EXPIRED))
_AND_OR: Final[dict[str, Literal["and", "or"]]] = {"and": "and", "or": "or"}
_DIRECTIONS: Final[dict[str, Literal["upstream", "downstream"]]] = {"upstream": "upstream", "downstream": "downstream"}
_ENDS: Final[dict[str, Literal["$identifier", "$title"]]] = {"$identifier": "$identifier", "$title": "$title"}
_OPERATORS: Final[dict[str, tuple[Operator, bool] | None]] = {**SPELLINGS, "relatedTo": None, "matchAny": None}


def parsed(document: JsonValue, *, dialect: Dialect) -> Query:
    """The query that the document says: a group, `{"combinator": "and", "rules": [...]}`.

    Raises:
        InvalidRequest: the message begins with the path of the first fault, as in `rules[2].value: must be text`.
    """
    parser = _Parser(dialect)
    group = json_object(document, ())
    return parser.group(group, (), 0, *(("type",) if dialect.typed else ()))


@dataclass(slots=True)
class _Parser:
    """One reading of a document, which counts as it goes."""

    dialect: Dialect
    rules: int = 0

    def group(self, group: Document, path: Path, depth: int, *more: str) -> Query:
        if depth > MAX_NESTING:
            raise fault(path, f"groups nest deeper than {MAX_NESTING} levels")
        closed(group, path, "combinator", "rules", *more)
        if more:
            chosen(group["type"], (*path, "type"), {"SEARCH": None})
        combinator = chosen(group["combinator"], (*path, "combinator"), _AND_OR)
        if not isinstance(rules := group["rules"], list):
            raise fault((*path, "rules"), "must be an array")
        self.rules += len(rules)
        if self.rules > MAX_RULES:
            raise fault((*path, "rules"), f"the query has more than {MAX_RULES} rules")
        return Query(
            combinator, tuple(self._rule(rule, (*path, "rules", place), depth) for place, rule in enumerate(rules))
        )

    def _rule(self, written: JsonValue, path: Path, depth: int) -> Rule:
        rule = json_object(written, path)
        if "combinator" in rule or "rules" in rule:
            return self.group(rule, path, depth + 1)
        if "operator" not in rule:
            raise fault((*path, "operator"), "is required")
        spelled = rule["operator"]
        operator = chosen(spelled, (*path, "operator"), _OPERATORS)
        if operator is not None:
            return self._comparison(rule, path, *operator)
        return self._related(rule, path) if spelled == "relatedTo" else self._path_match(rule, path)

    def _comparison(self, rule: Document, path: Path, operator: Operator, negated: bool) -> Comparison:
        if operator is Operator.EQUALS and isinstance(value := rule.get("value"), dict):
            operator = Operator.EQUALS if negated or {"context", "jqQuery"} & value.keys() else Operator.BETWEEN
        subject = self._subject(rule, path, operator, negated)
        if operator in _NO_VALUE:
            return Comparison(subject, operator, negated=negated)
        return Comparison(subject, operator, self._value(subject, operator, rule["value"], (*path, "value")), negated)

    def _subject(self, rule: Document, path: Path, operator: Operator, negated: bool) -> Subject:
        """What the rule is about. Refuses what is not allowed together with it."""
        kind = next((kind for kind in ("propertySchema", "relation", "scorecard", "scorecardRule") if kind in rule), "")
        kind = "scorecard" if kind == "scorecardRule" else kind or "property"
        if kind in ("relation", "scorecard") and not self.dialect.of_one_blueprint:
            raise fault((*path, kind), "is only for the search of one blueprint's entities")
        if operator in _NO_VALUE:
            if "value" in rule:
                raise fault((*path, "value"), f"{rule['operator']} takes no value")
            needed: tuple[str, ...] = (kind, "operator")
        else:
            needed = (kind, "operator", "value")
        extra = {"relation": "targetProperty", "scorecard": "scorecardRule"}.get(kind)
        closed(rule, path, *needed, optional=(extra,) if extra else ())
        about, place = rule[kind], (*path, kind)
        if kind == "property":
            return self._property(about, place, operator)
        allowed = _COMPARABLE
        if kind == "propertySchema":
            allowed = frozenset({Operator.EQUALS} if negated else {Operator.EQUALS, Operator.CONTAINS})
        if operator not in allowed:
            raise fault((*path, "operator"), f"{rule['operator']} of such a value cannot be used with {kind}")
        if kind == "propertySchema":
            return shape(about, place)
        if kind == "relation":
            end = chosen(rule.get("targetProperty", "$identifier"), (*path, "targetProperty"), _ENDS)
            return RelationEnd(text(about, place), end)
        part = text(rule[extra], (*path, extra)) if extra in rule else None
        return ScorecardResult(text(about, place), part)

    def _property(self, written: JsonValue, path: Path, operator: Operator) -> Property | Context:
        if isinstance(written, dict) and operator is not Operator.IS_EXPIRED:
            if "path" in written:
                raise fault((*path[:-1], "operator"), "must be matchAny where the property is a path")
            return context(written, path)
        return Property(property_name(written, path))

    def _value(self, subject: Subject, operator: Operator, value: JsonValue, path: Path) -> Operand:
        if (later := self._later(value, path)) is not None:
            return later
        match operator:
            case Operator.BETWEEN:
                return period(value, path)
            case Operator.IN | Operator.CONTAINS_ANY:
                return listed(value, path)
            case Operator.BEGINS_WITH | Operator.ENDS_WITH if not isinstance(value, str):
                raise fault(path, "must be text")
            case Operator.EQUALS if isinstance(value, list) and not isinstance(subject, SchemaShape):
                return listed(value, path)
            case Operator.CONTAINS if value is None:
                raise fault(path, "must be text, a number or a boolean")
            case Operator.EQUALS if subject == Property("$owned_by_team") and value in ("true", "false"):
                return value == "true"  # a published sample writes it as text
            case _ if operator in _ORDERS:
                return orderable(value, path)
        return scalar(value, path)

    def _later(self, value: JsonValue, path: Path) -> Context | Computed | None:
        """The value, if it is known only when the query is asked."""
        if isinstance(value, dict) and "context" in value:
            return context(value, path)
        if isinstance(value, dict) and "jqQuery" in value:
            if not self.dialect.jq:
                raise fault((*path, "jqQuery"), "is only for the datasets of user inputs")
            closed(value, path, "jqQuery")
            return Computed(text(value["jqQuery"], (*path, "jqQuery")))
        if isinstance(value, str) and self.dialect.templates and "{{" in value:
            return Computed(value)
        return None

    def _related(self, rule: Document, path: Path) -> Related:
        closed(rule, path, "operator", "blueprint", "value", optional=("direction", "required"))
        required = rule.get("required")
        if "required" in rule and not isinstance(required, bool):
            raise fault((*path, "required"), "must be true or false")
        direction = chosen(rule["direction"], (*path, "direction"), _DIRECTIONS) if "direction" in rule else None
        return Related(
            text(rule["blueprint"], (*path, "blueprint")),
            self._identifiers(rule["value"], (*path, "value")),
            direction,
            required if isinstance(required, bool) else None,
        )

    def _path_match(self, rule: Document, path: Path) -> PathMatch:
        closed(rule, path, "property", "operator", "value")
        place = (*path, "property")
        chain = json_object(rule["property"], place)
        closed(chain, place, "path", optional=("fromBlueprint",))
        origin = text(chain["fromBlueprint"], (*place, "fromBlueprint")) if "fromBlueprint" in chain else None
        return PathMatch(
            hops(chain["path"], (*place, "path")), self._identifiers(rule["value"], (*path, "value")), origin
        )

    def _identifiers(self, value: JsonValue, path: Path) -> Identifiers:
        if (later := self._later(value, path)) is not None:
            return later
        if isinstance(value, list):
            return frozenset(text(one, (*path, place)) for place, one in enumerate(array(value, path)))
        if isinstance(value, str) and value:
            return frozenset({value})
        raise fault(path, "must be an identifier or an array of identifiers")
