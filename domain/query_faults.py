"""What a query names that is not there: a blueprint, a property, a relation that nobody has declared.

A search finds nothing then. For a rule that decides about people a typo must not look like an answer.
"""

from collections.abc import Collection, Iterator, Mapping

from domain.blueprints import Definition
from domain.derived import derived
from domain.meta_names import with_dollars
from domain.query_parts import blueprints_of, leaves
from domain.rule_values import Comparison, Context, PathMatch, Property, Query, Related, Rule

_PEOPLE = {"user": "_user", "userTeams": "_team"}
"""The blueprint that a contextual value is a property of."""


def undeclared(query: Query, known: Mapping[str, Definition]) -> set[str]:
    """The properties that the query is about, and that none of the blueprints declares whose entities it may find.

    Stored properties are declared, derived ones, and with their `$` or without what every entity has.
    """
    named = blueprints_of(query)
    asked = [definition for name, definition in known.items() if named is None or name in named]
    declared = {name for definition in asked for name in (*definition.properties, *derived(definition))}
    subjects = (
        rule.subject.name
        for rule in leaves(with_dollars(query, declared))
        if isinstance(rule, Comparison) and isinstance(rule.subject, Property)
    )
    return {name for name in subjects if not name.startswith("$") and name not in declared}


def unknown(query: Query, known: Mapping[str, Definition], held: Collection[str] = ()) -> str | None:
    """The first thing that the query names and that is nowhere; None if everything is there.

    `held` are undeclared properties that entities have all the same: these can be found.
    """
    named = blueprints_of(query)
    absent = sorted((named or set()) - known.keys())
    if absent:
        return f"there is no blueprint {absent[0]}"
    if nowhere := sorted(undeclared(query, known).difference(held)):
        where = f"blueprint {' or '.join(sorted(named))}" if named else "any blueprint"
        return f"there is no property {nowhere[0]} of {where}"
    for rule in leaves(query):
        match rule:
            case Related(blueprint=blueprint) | PathMatch(from_blueprint=str(blueprint)) if blueprint not in known:
                return f"there is no blueprint {blueprint}"
            case PathMatch(path=path):
                relations = {name for definition in known.values() for name in definition.relations}
                for hop in path:
                    if hop.relation not in relations:
                        return f"there is no relation {hop.relation} of any blueprint"
        for context in _contexts(rule):
            if fault := _unknown_of_people(context, known):
                return fault
    return None


def _contexts(rule: Rule) -> Iterator[Context]:
    match rule:
        case Comparison(subject, _, value):
            yield from (one for one in (subject, value) if isinstance(one, Context))
        case Related(identifiers=Context() as one) | PathMatch(identifiers=Context() as one):
            yield one


def _unknown_of_people(context: Context, known: Mapping[str, Definition]) -> str | None:
    blueprint = _PEOPLE[context.whose]
    definition = known.get(blueprint)
    name = context.property
    if definition is None or name.startswith("$") or name in definition.properties or name in derived(definition):
        return None
    return f"there is no property {name} of blueprint {blueprint}"
