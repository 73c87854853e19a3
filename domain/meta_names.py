"""Meta-properties that a client writes without their `$`, as one does: `"property": "updatedAt"`.

A name that a blueprint declares is that property. Where none does, a name that only lacks the `$` of a meta-property
stands for it, even for entities that have an undeclared property of this name.
"""

from collections.abc import Container
from dataclasses import replace

from domain.rule_readers import META
from domain.rule_values import Comparison, Property, Query, Rule


def with_dollars(query: Query, declared: Container[str]) -> Query:
    """The query with every meta-property written in full; `declared` are the names that are properties."""
    return Query(query.combinator, tuple(_rule(rule, declared) for rule in query.rules))


def _rule(rule: Rule, declared: Container[str]) -> Rule:
    match rule:
        case Query():
            return with_dollars(rule, declared)
        case Comparison(subject=Property(name)) if name not in declared and f"${name}" in META:
            return replace(rule, subject=Property(f"${name}"))
    return rule
