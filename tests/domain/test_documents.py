"""Documents: what comes in, and how it goes out."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain import documents
from domain.errors import InvalidRequest

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"))
FAITHFUL = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**1000), 2**1000) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(FAITHFUL)
def test_any_json_value_is_read_as_it_is(value: object) -> None:
    assert documents.parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a":}', "NaN", '{"a": Infinity}', "-Infinity", "1e999",
        "9" * 400, "9" * 5000, '"\\u0000"', '{"\\u0000": 1}', '"\\ud800"',
        "[" * 101 + "]" * 101, "[" * 100_000, '{"a":1} x', "'a'", b"\xff".decode("latin-1"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_faithfully_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        documents.parse(text.encode("latin-1"))


@given(
    FAITHFUL,
    FAITHFUL,
    st.sampled_from(["\x00", "a\x00b", {"\x00": 1}, float("inf"), -float("inf"), 2**1024, -(2**1024)]),
)
def test_a_fault_is_found_wherever_it_is(beside: JsonValue, other: JsonValue, fault: JsonValue) -> None:
    documents.refuse_unfaithful([beside, {"a": [other]}])
    with pytest.raises(InvalidRequest):
        documents.refuse_unfaithful([beside, {"a": [other, {"b": fault}], "c": beside}, other])


@pytest.mark.parametrize(
    ("levels", "around"),
    [(1, lambda one: [one]), (1, lambda one: {"a": one}), (2, lambda one: [1, {"a": "b", "c": one}])],
)
def test_a_document_nests_as_deeply_as_said_and_no_deeper(
    levels: int, around: Callable[[JsonValue], JsonValue]
) -> None:
    value: JsonValue = 1
    for _ in range(documents.MAX_DEPTH // levels):
        value = around(value)
    documents.refuse_unfaithful(value)
    with pytest.raises(InvalidRequest, match="deeper than 100"):
        documents.refuse_unfaithful([value])


def test_the_written_form_is_that_of_javascript() -> None:
    value: JsonValue = {"a": 1.0, "b": "é", "c": [1.5, None, True], "d": {"e": 1e21}}
    assert documents.canonical(value) == '{"a":1,"b":"é","c":[1.5,null,true],"d":{"e":1e+21}}'


@given(FAITHFUL)
def test_the_written_form_reads_back(value: object) -> None:
    assert json.loads(documents.canonical(value)) == value  # type: ignore[arg-type]
