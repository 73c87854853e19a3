"""What runs share, when they look again, and how a circuit opens and closes."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.backend_rules import BackendRules, Budget, CircuitBreaker, Per
from domain.budgets import (
    LATEST_LOOK,
    SOONEST_LOOK,
    Circuit,
    Key,
    backend_of,
    circuit_of,
    in_words,
    look_again,
    wanted,
)
from domain.runs import Ref, Run
from tests.store.conftest import make_run

AT = datetime(2026, 1, 2, tzinfo=UTC)
CI = "https://ci.example.com"
SECOND = timedelta(seconds=1)
BREAKER = CircuitBreaker(failures=3, open=30 * SECOND)
RULES = BackendRules(
    budgets=(
        Budget(per=Per.ENTITY, concurrent=1),
        Budget(per=Per.BACKEND, concurrent=5),
        Budget(per=Per.ACTION, concurrent=2),
        Budget(per=Per.ENTITY, starts=3, within=timedelta(hours=1)),
    )
)


def run_on(entity: str | None, blueprint: str = "service") -> Run:
    """A run about an entity, or about none."""
    return make_run(blueprint=Ref(identifier=blueprint), entity=Ref(identifier=entity) if entity is not None else None)


def test_a_run_stands_in_a_line_for_each_thing_that_is_counted() -> None:
    found = wanted(run_on("cart"), "action_1", RULES, CI)
    assert {str(key): len(budgets) for key, budgets in found.budgets.items()} == {
        "ACTION action_1": 1,
        f"BACKEND {CI}": 1,
        "ENTITY service cart": 2,
    }
    assert found.circuit is None
    assert [Key.read(str(key)) for key in found.budgets] == list(found.budgets)


def test_a_run_about_no_entity_is_not_counted_for_one() -> None:
    assert {key.per for key in wanted(run_on(None), "action_1", RULES, CI).budgets} == {Per.ACTION, Per.BACKEND}


def test_nothing_is_wanted_without_rules() -> None:
    assert not wanted(run_on("cart"), "action_1", BackendRules(), CI)


def test_entities_of_the_same_name_are_others_in_another_blueprint() -> None:
    keys = [set(wanted(run_on("cart", blueprint), "a", RULES, CI).budgets) for blueprint in ("service", "shop")]
    assert len(keys[0] - keys[1]) == 1


@given(st.text(), st.text())
def test_long_names_stay_different_and_short(one: str, other: str) -> None:
    keys = [next(iter(wanted(run_on(None), "a", BackendRules(budgets=(Budget(per=Per.BACKEND, concurrent=1),)),
                             "https://" + 600 * "x" + name).budgets)) for name in (one, other)]  # fmt: skip
    assert (keys[0] == keys[1]) == (one == other)
    assert len(str(keys[0])) < 100


def test_the_name_of_a_circuit_tells_the_backend() -> None:
    assert backend_of(circuit_of(CI)) == CI
    assert backend_of(str(Key(Per.BACKEND, CI))) is None


@pytest.mark.parametrize(
    ("waits_on", "position", "words"),
    [
        ("ENTITY service cart", 3, "Waits for its turn: 3rd for entity cart"),
        ("ACTION action_1", 1, "Waits for its turn: 1st for action deploy"),
        (f"BACKEND {CI}", 22, f"Waits for its turn: 22nd for {CI}"),
        (circuit_of(CI), 0, f"Waits until {CI} answers again"),
    ],
)
def test_what_a_run_waits_for_in_words(waits_on: str, position: int, words: str) -> None:
    assert in_words(run_on("cart"), waits_on, position) == words


def test_a_circuit_opens_after_failures_in_a_row() -> None:
    circuit = Circuit()
    for _ in range(2):
        circuit = circuit.failed("r", BREAKER, at=AT)
    assert circuit.worked() == Circuit()
    assert circuit.lets("r", at=AT)
    circuit = circuit.failed("r", BREAKER, at=AT)
    assert circuit.open_until == AT + BREAKER.open
    assert not circuit.lets("r", at=AT + BREAKER.open - SECOND)


def test_one_tries_a_backend_that_was_left_alone() -> None:
    circuit, later = Circuit(failures=3, open_until=AT), AT + 5 * SECOND
    assert circuit.lets("r_1", at=AT)
    trying = circuit.tried("r_1")
    assert not trying.lets("r_2", at=later)
    assert trying.lets("r_1", at=later)
    assert trying.abandoned("r_2") == trying
    assert trying.abandoned("r_1").lets("r_2", at=later)
    assert trying.worked() == Circuit()
    again = trying.failed("r_1", BREAKER, at=later)
    assert (again.open_until, again.probe) == (later + BREAKER.open, None)


def test_calls_that_were_under_way_do_not_prolong_it() -> None:
    circuit = Circuit(failures=3, open_until=AT, probe="r_1")
    late = circuit.failed("r_9", BREAKER, at=AT + SECOND)
    assert (late.open_until, late.probe) == (AT, "r_1")


def test_who_waits_for_months_looks_seldom() -> None:
    """Some 11 events of history each time, of 51,200 that it may have."""
    at, looks = AT, 0
    while at < AT + timedelta(days=60):
        after = look_again(AT, at=at)
        assert SOONEST_LOOK <= after - at <= LATEST_LOOK
        at, looks = after, looks + 1
    assert looks < 1500


@given(st.integers(-100, 100_000), st.integers(0, 100_000))
def test_nobody_looks_later_than_is_known_to_be_soon_enough(until: int, waited: int) -> None:
    at = AT + waited * SECOND
    found = look_again(AT, at=at, until=at + until * SECOND)
    assert at < found <= at + LATEST_LOOK
    assert until <= 0 or found <= at + until * SECOND


def test_the_rules_in_the_documentation_are_rules() -> None:
    page = (Path(__file__).parents[2] / "docs" / "backends.md").read_text(encoding="utf-8")
    written = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    rules = [BackendRules.model_validate(one["interlock"]["backend"]) for one in written if "interlock" in one]
    assert {budget.per for one in rules for budget in one.budgets} == {Per.ENTITY, Per.BACKEND}
    assert CircuitBreaker() in [one.circuit_breaker for one in rules], "it shows what holds where nothing is said"
