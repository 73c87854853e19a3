"""Rules of every kind for the random catalog."""

import random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.errors import InvalidRequest
from domain.rule_readers import META
from domain.rules import BLUEPRINT_SEARCH, SEARCH, Dialect, parsed
from tests.support.search_catalog import FAR, INSTANTS, LONG, NOW, NUMBERS, OTHER, SCALARS, TEXTS, Graph, group

scalars = st.sampled_from(SCALARS)
lists = st.lists(scalars, max_size=6)
names = st.sampled_from(
    ["s", "n", "t", "l", "o", "loose", "gone", "x" * 300, "$identifier", "$title", "$team", "$team", "$icon",
     "$blueprint", "$datasource", "$owned_by_team", "$createdAt", "$updatedAt", "$createdBy", "$updatedBy"]
)  # fmt: skip
contexts = st.fixed_dictionaries({"context": st.sampled_from(["user", "userTeams"]), "property": names})
instants = st.sampled_from([*INSTANTS, "2026-03-14T12:00:00.000001Z", "2026-03-14T12:00:00.001Z"])
periods = st.fixed_dictionaries({"from": instants, "to": instants}) | st.fixed_dictionaries(
    {"preset": st.sampled_from(["today", "tomorrow", "lastDay", "lastWeek"])}
)
pieces = st.sampled_from([*TEXTS, LONG, OTHER, "b", "ä", "2026", "00Z", "0"])
likely = st.sampled_from(["a1", "b2", "c3", NOW, "a", "b", "d", "ocean/a%b", True, "true", "sre", "My Teams", None])
ordered = st.sampled_from(NUMBERS) | instants | contexts
operands: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(["=", "!="], scalars | likely | lists | contexts | periods),
    **dict.fromkeys([">", ">=", "<", "<="], ordered),
    **dict.fromkeys(["contains", "doesNotContain"], (scalars | pieces).filter(lambda one: one is not None) | contexts),
    "containsAny": lists | contexts,
    **dict.fromkeys(["beginsWith", "doesNotBeginWith", "endsWith", "doesNotEndWith"], pieces | contexts),
    **dict.fromkeys(["in", "notIn"], st.lists(scalars | likely, max_size=6) | contexts),
    **dict.fromkeys(["between", "notBetween"], periods | contexts),
    **dict.fromkeys(["isEmpty", "isNotEmpty", "isExpired", "isNotExpired"], st.just(...)),
}


def comparison(operator: str, value: Any, subject: Any) -> JsonValue:
    rule = {"property": subject, "operator": operator}
    return rule if value is ... else {**rule, "value": value}


def _is_one(rule: Any, dialect: Dialect) -> bool:
    try:
        parsed(group(rule), dialect=dialect)
    except InvalidRequest:
        return False
    return True


comparisons = st.one_of(
    *(
        st.builds(comparison, st.just(operator), value, names if "Expired" in operator else names | contexts)
        for operator, value in operands.items()
    )
).filter(lambda rule: _is_one(rule, SEARCH))
identifiers = st.sampled_from(["a1", "b1", "c2", NOW, ["a1", "b2", "d3", "a3", "gone"], []]) | contexts
related = st.fixed_dictionaries(
    {"operator": st.just("relatedTo"), "blueprint": st.sampled_from("abcd"), "value": identifiers},
    optional={"direction": st.sampled_from(["upstream", "downstream"]), "required": st.booleans()},
)
hop = st.sampled_from(["one", "must", "many", "gone"])
paths = st.lists(hop, min_size=1, max_size=3) | st.builds(
    lambda before, name, most, after: [*before, {"relation": name, "maxHops": most}, *after],
    st.lists(hop, max_size=1), hop, st.integers(1, 4), st.lists(hop, max_size=1),
)  # fmt: skip
on_path = st.fixed_dictionaries(
    {
        "operator": st.just("matchAny"),
        "property": st.fixed_dictionaries({"path": paths}, optional={"fromBlueprint": st.sampled_from("abcd")}),
        "value": identifiers,
    }
)
shapes = st.sampled_from(
    [{"type": "string"}, {"type": "string", "format": "timer"}, {"type": "number"}, {"type": "object"},
     {"type": "array", "items": {"type": "string"}}]
)  # fmt: skip
shaped = st.builds(
    lambda shape, operator, value: {"propertySchema": shape, "operator": operator, "value": value},
    shapes, st.sampled_from(["=", "!="]), scalars | contexts,
) | st.builds(
    lambda shape, value: {"propertySchema": shape, "operator": "contains", "value": value},
    shapes, (scalars | pieces).filter(lambda one: one is not None),
)  # fmt: skip
anywhere = comparisons | related | on_path | shaped
compared = [one for one in operands if one not in (">", ">=", "<", "<=", "between", "notBetween")]
fitting: dict[str, list[Any]] = {"in": [["b1", "b2"], ["Gold", None]], "=": ["b1", "Gold", []]}
about_one = [
    *(
        {"relation": name, "targetProperty": f"${end}"}
        for name in ("one", "many", "gone")
        for end in ("identifier", "title")
    ),
    {"scorecard": "ready"},
    {"scorecard": "ready", "scorecardRule": "r"},
]
of_one = st.one_of(
    *(
        st.builds(
            lambda about, operator, value: {
                **about,
                "operator": operator,
                **({} if value is ... else {"value": value}),
            },
            st.sampled_from(about_one),
            st.just(operator),
            operands[operator].filter(lambda one: not isinstance(one, dict) or "context" in one)
            | st.sampled_from(fitting.get(operator, [...] if "Empty" in operator else ["b"])),
        )
        for operator in compared
        if "Expired" not in operator
    )
).filter(lambda rule: _is_one(rule, BLUEPRINT_SEARCH))


def groups(rules: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    nested = st.recursive(
        rules,
        lambda inner: st.builds(
            lambda combinator, parts: group(*parts, combinator=combinator),
            st.sampled_from(["and", "or"]),
            st.lists(inner, max_size=3),
        ),
        max_leaves=5,
    )
    return st.builds(
        lambda combinator, parts: group(*parts, combinator=combinator),
        st.sampled_from(["and", "or"]),
        st.lists(nested, min_size=1, max_size=2),
    )


def drawn(strategy: st.SearchStrategy[Any], number: int) -> list[Any]:
    """Always the same examples: they are asked one after the other in one catalog."""
    examples: list[Any] = []

    @settings(
        max_examples=number, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), deadline=None,
    )  # fmt: skip
    @given(strategy)
    def draw(example: Any) -> None:
        examples.append(example)

    draw()
    return examples


def telling(graph: Graph, number: int) -> list[JsonValue]:
    """Rules made of what is in the catalog, so that most of them find some entities and not others."""
    chance = random.Random(number)  # noqa: S311
    made: list[JsonValue] = []
    while len(made) < number:
        entity = graph.whole(chance.choice(graph.rows))
        name = chance.choice(["s", "n", "t", "l", "loose", "x" * 300, *META])
        if (rule := _telling(name, entity.value(name), chance)) and _is_one(rule, SEARCH):
            made.append(rule)
    return made


def _telling(name: str, value: JsonValue, chance: random.Random) -> JsonValue:
    match value:
        case str():
            start = chance.randrange(len(value) + 1)
            wanted: dict[str, JsonValue] = {
                "=": value, "!=": value, "in": [value, 1], "notIn": [value], ">": value, ">=": value, "<": value,
                "<=": value, "between": {"from": value, "to": FAR}, "notBetween": {"from": NOW, "to": value},
                "contains": value[start:], "beginsWith": value[:start], "endsWith": value[start:],
                "doesNotContain": value[start:], "doesNotBeginWith": value[:start], "doesNotEndWith": value[start:],
            }  # fmt: skip
        case [*elements] if elements:
            one = chance.choice(elements)
            wanted = {"=": value, "contains": one, "containsAny": [one], "in": [one], "notIn": [one]}
        case bool() | int() | float():
            wanted = dict.fromkeys(["=", "!=", ">", ">=", "<", "<="], value) | {"in": [value], "notIn": [value]}
        case _:
            wanted = {"isEmpty": ..., "isNotEmpty": ..., "isExpired": ..., "=": None}  # type: ignore[dict-item]
    operator = chance.choice(list(wanted))
    return comparison(operator, wanted[operator], name)
