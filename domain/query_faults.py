"""What a query names that is not there: a blueprint, a property, a relation that nobody has declared.

A rule that compares finds nothing then, and a search says so; one that follows relations is refused. For a query that
decides about people no typo must look like an answer.
"""

from collections.abc import Collection, Iterator, Mapping

from domain.blueprints import Definition
from domain.derived import derived
from domain.errors import InvalidRequest
from domain.meta_names import with_dollars
from domain.query_parts import blueprints_of, is_about, leaves
from domain.rule_values import Comparison, Context, PathMatch, Property, Query, Related, RelationEnd, Rule
from domain.shapes import Path, json_path, shortened

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
    relations = _relations(known)
    for rule in leaves(query):
        for _, problem in _nowhere(rule, known, relations):
            return problem
        for context in _contexts(rule):
            if fault := _unknown_of_people(context, known):
                return fault
    return None


def nowhere(query: Query, known: Mapping[str, Definition], blueprint: str | None = None) -> InvalidRequest | None:
    """What to answer if a rule follows relations, or from a blueprint, that are not there; it names the first by path.

    `blueprint` is the one whose entities alone are searched.
    """
    relations = _relations(known)
    for path, rule in _located(query):
        for within, problem in _nowhere(rule, known, relations, blueprint):
            return InvalidRequest(f"{json_path([*path, *within])}: {shortened(problem)}")
    return None


def follows(query: Query) -> bool:
    """Whether a rule of the query follows relations."""
    return any(isinstance(rule, Related | PathMatch) or is_about(RelationEnd, rule) for rule in leaves(query))


def _located(query: Query, path: Path = ()) -> Iterator[tuple[Path, Rule]]:
    for place, rule in enumerate(query.rules):
        here = (*path, "rules", place)
        if isinstance(rule, Query):
            yield from _located(rule, here)
        else:
            yield here, rule


def _nowhere(
    rule: Rule, known: Mapping[str, Definition], relations: Collection[str], blueprint: str | None = None
) -> Iterator[tuple[Path, str]]:
    match rule:
        case Related(blueprint=name) if name not in known:
            yield ("blueprint",), f"there is no blueprint {name}"
        case PathMatch(from_blueprint=str(name)) if name not in known:
            yield ("property", "fromBlueprint"), f"there is no blueprint {name}"
        case PathMatch(path=path):
            for place, hop in enumerate(path):
                if hop.relation not in relations:
                    yield ("property", "path", place), f"there is no relation {hop.relation} of any blueprint"
        case Comparison(subject=RelationEnd(relation=name)) if blueprint and name not in known[blueprint].relations:
            yield ("relation",), f"{blueprint} has no relation {name}"


def _relations(known: Mapping[str, Definition]) -> set[str]:
    return {name for definition in known.values() for name in definition.relations}


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
