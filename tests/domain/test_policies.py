"""Policies of actions: what they say, and of whom."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import JsonValue

from domain.documents import Document
from domain.jq import Evaluator, Failed, Nothing, Outcome, Value
from domain.permissions import Policy
from domain.policies import Said, asks_who, said
from domain.users import User

AT = datetime(2026, 1, 2, tzinfo=UTC)
QUERY: Document = {"combinator": "and", "rules": [{"property": "$blueprint", "operator": "=", "value": "service"}]}


def policy(*conditions: str, **queries: Any) -> Policy:
    return Policy(queries=queries or {"q": QUERY}, conditions=list(conditions))


def answering(*outcomes: Outcome) -> Evaluator:
    """An evaluator that says these, one for each condition."""

    async def evaluate(programs: Sequence[str], document: JsonValue, *, now: datetime | None = None) -> list[Outcome]:
        assert isinstance(document, dict)
        assert "results" in document
        return list(outcomes)

    return evaluate


async def asked(*outcomes: Outcome, failed: dict[str, str] | None = None, fail_closed: bool = False) -> Said:
    results: dict[str, JsonValue] = {} if failed else {"q": {"entities": [{}, {}]}}
    conditions = [f"condition {number}" for number, _ in enumerate(outcomes)]
    return await said(
        policy(*conditions), {}, results, failed or {}, answering(*outcomes), at=AT, fail_closed=fail_closed
    )


@pytest.mark.parametrize(
    ("outcomes", "permits", "emails"),
    [
        ([Value(True)], True, set()),
        ([Value(False), Value(True)], True, set()),
        ([Value(1)], False, set()),
        ([Value("true")], False, set()),
        ([Value([True])], False, set()),
        ([Nothing()], False, set()),
        ([Failed("no")], False, set()),
        ([Value(["A@x.io", 3, None, ["b@x.io"]]), Value(["c@x.io"])], False, {"a@x.io", "c@x.io"}),
        ([Value("a@x.io"), Value({"a": "a@x.io"})], False, set()),
        ([Value(["a@x.io"]), Value(True), Failed("no")], True, {"a@x.io"}),
    ],
)
async def test_what_conditions_say(outcomes: list[Outcome], permits: bool, emails: set[str]) -> None:
    found = await asked(*outcomes)
    assert (found.permits, set(found.emails)) == (permits, emails)


async def test_it_tells_what_each_query_found_and_each_condition_said() -> None:
    found = await asked(Value({"long": "x" * 900}), Failed("it fails"), Nothing())
    words = found.in_words()
    assert "query 'q' found 2" in words
    assert "condition 'condition 1' failed: it fails" in words
    assert "condition 'condition 2' is without an answer" in words
    assert len(found.conditions[0].value or "") < 210
    assert len(words) < 700


async def test_a_failed_query_is_ignored_or_says_no() -> None:
    named, yes = Value(["a@x.io"]), Value(True)
    ignored = await asked(named, yes, failed={"q": "it cannot be asked"})
    assert (ignored.permits, set(ignored.emails)) == (True, {"a@x.io"})
    assert ignored.failed == {"q": "it cannot be asked"}
    closed = await asked(named, yes, failed={"q": "it cannot be asked"}, fail_closed=True)
    assert (closed.permits, set(closed.emails)) == (False, set())
    assert "it cannot be asked" in closed.in_words()
    fine = await asked(named, yes, fail_closed=True)
    assert (fine.permits, set(fine.emails)) == (True, {"a@x.io"})


async def test_people_are_named_by_their_address_in_any_case() -> None:
    found = await asked(Value(["ADA@x.io"]))
    ada = User(id="u", email="Ada@X.io", created_at=AT, updated_at=AT)
    assert found.names(ada)
    assert not found.names(ada.model_copy(update={"email": "da@x.io"}))


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ("[.trigger.user.email]", "service", False),
        ("[.trigger.by.user.email] - [.inputs.a]", "{{ .trigger.user.email }}", False),
        ("[.user.email]", "service", True),
        (". as $all | $all.user.email", "service", True),
        ("[.[] | objects | .email? // empty]", "service", True),
        ("[recurse | .email? // empty]", "service", True),
        (r'"\(.)" | contains("ada")', "service", True),
        ('@json | contains("ada")', "service", True),
        ("[add.email]", "service", True),
        ("[map(.email?)]", "service", True),
        ("[.results.q.entities[].properties.email]", "service", False),
        ("(.results.q.entities | map(.properties.email))", "service", False),
        (r'["\(.inputs.a)@x.io"]', "service", False),
        (".trigger.user.email == .user.email", "service", True),
        ("true", "{{ .user.email }}", True),
        ("true", "user", False),
        ("true", {"context": "user", "property": "$identifier"}, True),
    ],
)
def test_what_depends_on_who_is_judged_is_known(condition: str, value: Any, expected: bool) -> None:
    queries = {"q": {"combinator": "and", "rules": [{"property": "a", "operator": "=", "value": value}]}}
    assert asks_who(policy(condition, **queries)) is expected
