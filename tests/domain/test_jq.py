"""What is answered without jq is what jq answers."""

import json

import jq  # type: ignore[import-not-found]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.jq import Value, followed

keys = st.sampled_from(["a", "b", "_c", "and", "null", "A1"])
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=6), max_leaves=20
)
paths = st.lists(keys, min_size=1, max_size=3).map(lambda found: "".join(f".{key}" for key in found))
around = st.sampled_from(["", " ", "\n", "\t "])


@given(document=documents, path=paths, before=around, after=around)
def test_a_path_has_the_value_jq_finds(document: JsonValue, path: str, before: str, after: str) -> None:
    program = before + path + after
    answers = followed([program], document)

    if answers is not None:
        [answer] = answers
        expected = jq.compile(program).input_text(json.dumps(document)).first()
        assert isinstance(answer, Value)
        assert (answer.value, type(answer.value)) == (expected, type(expected))


@pytest.mark.parametrize("value", [None, True, False, 0, -7, 2**53 - 1, "", "x", "\0", "ünï", "\U0001f600"])
def test_plain_values_need_no_process(value: JsonValue) -> None:
    assert followed([".a.b", " .a.none "], {"a": {"b": value}}) == [Value(value), Value(None)]


@pytest.mark.parametrize(
    ("program", "value"),
    [
        (".a.b.c", 1),  # through a number: jq says how it fails
        (".a.b", 1.0),
        (".a.b", 2**53),
        (".a.b", "\ud800"),
        (".a.b", {}),
        (".a.b", [1]),
        (".a.b?", 1),
        (".a.b|.", 1),
        (".a .b", 1),
        (".a.é", 1),
        (".a[0]", 1),
        (".", 1),
        ("..a", 1),
        ("a", 1),
        (".a.b#", 1),
        (".a.1b", 1),
        ("", 1),
        ("now", 1),
    ],
)
def test_everything_else_is_left_to_jq(program: str, value: JsonValue) -> None:
    assert followed([".a", program], {"a": {"b": value}}) is None
    assert followed([program], {"a": {"b": value}}) is None


def test_no_programs_have_no_answers() -> None:
    assert followed([], {}) == []
