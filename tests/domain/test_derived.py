"""Derived values by their rules: what is made of what, how calculations read, what numbers related entities make."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.aggregations import Measured, result
from domain.blueprints import Definition, parsed
from domain.computed_properties import Calculation, CalculationSpec
from domain.derived import Definitions, Node, program, typed
from domain.jq import Failed, Nothing, Outcome, Value

AT = datetime(2026, 3, 1, tzinfo=UTC)


def definition(identifier: str, **more: Any) -> Definition:
    return parsed({"identifier": identifier, "title": identifier, "schema": {"properties": {}}, **more})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("'https://' + .identifier", '"https://" + .identifier'),
        (".properties.'a-b'", '.properties."a-b"'),
        ("[.properties['a b'],'c']", '[.properties["a b"],"c"]'),
        ('"it\'s" + .a', '"it\'s" + .a'),
        (r"'it\'s'", '"it\'s"'),
        ("'say \"x\"'", r'"say \"x\""'),
        (r"'\(.a | 'x' + (.b))-y'", r'"\(.a | "x" + (.b))-y"'),
        ("'\\(.a | \"x\")'", r'"\(.a | "x")"'),
        (r'"\\" + .a', r'"\\" + .a'),
        (".a # don't\n+ 'b'", '.a # don\'t\n+ "b"'),
        ("'open", '"open'),
        ("", ""),
    ],
)
def test_single_quotes_are_as_good_as_double_ones(written: str, read: str) -> None:
    assert program(written) == read
    assert program(read) == read


@given(st.text())
def test_a_program_without_single_quotes_stays_as_it_is(written: str) -> None:
    assert program(written.replace("'", "")) == written.replace("'", "")


@pytest.mark.parametrize(
    ("kind", "outcome", "value"),
    [
        ("string", Value("x"), "x"), ("string", Value(1), None), ("number", Value(1.5), 1.5),
        ("number", Value(True), None), ("boolean", Value(False), False), ("boolean", Value(0), None),
        ("array", Value([1]), [1]), ("object", Value({}), {}), ("object", Value([]), None),
        ("string", Value(None), None), ("string", Nothing(), None), ("string", Failed("so it is"), None),
    ],
)  # fmt: skip
def test_a_calculation_has_the_type_it_declares_or_is_null(kind: Any, outcome: Outcome, value: JsonValue) -> None:
    found = typed(Calculation.model_validate({"calculation": ".", "type": kind}), outcome)
    assert (found, type(found)) == (value, type(value))


def test_what_closes_a_circle_is_found_and_what_leads_into_one_is_not_part_of_it() -> None:
    definitions = Definitions(
        {
            "a": definition(
                "a",
                relations={"b": {"target": "b"}, "gone": {"target": "nowhere"}},
                mirrorProperties={"m": {"path": "b.c"}, "outside": {"path": "b.plain"}, "far": {"path": "gone.m"}},
            ),
            "b": definition(
                "b",
                relations={"a": {"target": "a"}},
                mirrorProperties={"n": {"path": "a.m"}, "into": {"path": "a.outside"}},
                calculationProperties={"c": {"calculation": ".", "type": "object"}},
            ),
        }
    )
    m, c = Node("a", "m"), Node("b", "c")
    assert definitions.needs(m) == {c}
    assert definitions.is_circular(m, c)
    assert definitions.is_circular(Node("b", "n"), m)
    assert not definitions.is_circular(Node("b", "into"), Node("a", "outside"))
    assert definitions.needs(Node("a", "outside")) == set()
    assert definitions.needs(Node("a", "far")) == set()


def spec(**said: Any) -> CalculationSpec:
    return CalculationSpec.model_validate({"calculationBy": "property", "property": "n", **said})


def measured(*amounts: JsonValue, days: float = 0) -> list[Measured]:
    return [Measured(amount, AT - timedelta(days=days)) for amount in amounts]


@pytest.mark.parametrize(
    ("func", "amounts", "number"),
    [
        ("sum", [], 0), ("min", [], None), ("max", [], None), ("median", [], None), ("sum", [1, 2.5, "3", True], 3.5),
        ("sum", [0.1] * 10, 1), ("min", [3, None, -1], -1), ("max", [1e308, 2], int(1e308)),
        ("median", [4, 1, 3, 2], 2.5), ("median", [5], 5), ("sum", [1e308, 1e308], None),
        ("median", [2**1023, 2**1023], 2**1023), ("median", [2**1100, 2**1100 + 2], None),
    ],
)  # fmt: skip
def test_numbers_of_a_property(func: str, amounts: list[JsonValue], number: JsonValue) -> None:
    found = result(spec(func=func), measured(*amounts), at=AT)
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize(
    ("unit", "days", "number"),
    [("hour", 1, 0.25), ("day", 3, 2), ("week", 14, 3), ("month", 60, 3), ("day", 0.1, 6), ("day", -5, 6)],
)
def test_an_average_by_time_counts_from_the_first_until_now(unit: str, days: float, number: float) -> None:
    related = [*measured(1, 1, 1, days=days), *measured(1, 1, 1, days=min(days, 0))]
    by_count = CalculationSpec.model_validate(
        {"calculationBy": "entities", "func": "average", "averageOf": unit, "measureTimeBy": "$createdAt"}
    )
    assert result(by_count, related, at=AT) == number
    assert result(spec(func="average", averageOf=unit), related, at=AT) == number
    assert result(by_count, [Measured(1, None)], at=AT) is None, "what has no time does not count"


def test_an_average_by_total_is_the_mean() -> None:
    assert result(spec(func="average", averageOf="total"), measured(1, 2, None, "x"), at=AT) == 1.5
