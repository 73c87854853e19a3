"""What can be said of a query without asking it: which blueprints, properties and people it is about."""

from collections.abc import Callable

from domain.comparisons import instant
from domain.rule_values import (
    Comparison,
    Context,
    Listed,
    Operator,
    PathMatch,
    Property,
    Query,
    Related,
    RelationEnd,
    Rule,
    SchemaShape,
    ScorecardResult,
)


def blueprints_of(query: Query) -> set[str] | None:
    """The blueprints that everything the query finds is of, if it says so; None: of any."""
    found: set[str] | None = None
    for rule in query.rules if query.combinator == "and" or len(query.rules) == 1 else ():
        here: set[str] | None = None
        match rule:
            case Query():
                here = blueprints_of(rule)
            case Comparison(Property("$blueprint"), Operator.EQUALS, str(name), negated=False):
                here = None if instant(name) else {name}
            case Comparison(Property("$blueprint"), Operator.IN, Listed(names), negated=False):
                here = None if any(map(instant, names)) else {name for name in names if isinstance(name, str)}
        if here is not None:
            found = here if found is None else found & here
    return found


def leaves(query: Query) -> list[Rule]:
    """The rules of the query and of its groups."""
    found: list[Rule] = []
    for rule in query.rules:
        found += leaves(rule) if isinstance(rule, Query) else [rule]
    return found


def properties_of(query: Query) -> Callable[[str], bool]:
    """Which properties the query asks for."""
    names: set[str] = set()
    for rule in leaves(query):
        if isinstance(rule, Comparison) and isinstance(rule.subject, SchemaShape):
            return lambda name: True
        match rule:
            case Related(identifiers=Context(property=name)) | PathMatch(identifiers=Context(property=name)):
                names.add(name)
            case Comparison(subject, _, value):
                names |= {one.name for one in (subject,) if isinstance(one, Property)}
                names |= {one.property for one in (subject, value) if isinstance(one, Context)}
    if "$owned_by_team" in names:
        names.add("$team")
    return names.__contains__


def asks_caller(rule: Rule) -> bool:
    """Whether the rule is about who asks."""
    match rule:
        case Comparison(subject, _, value):
            return isinstance(subject, Context) or isinstance(value, Context)
        case Related(identifiers=identifiers) | PathMatch(identifiers=identifiers):
            return isinstance(identifiers, Context)
    return False


def is_about(kind: type[ScorecardResult | RelationEnd], rule: Rule) -> bool:
    """Whether the rule compares such a subject."""
    return isinstance(rule, Comparison) and isinstance(rule.subject, kind)
