"""What an entity is found by: the entries of its properties, and what differs after a change."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.comparisons import equal, instant, key
from domain.indexed_values import Entry, difference, entries, micros

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
NOW = "2026-03-14T12:00:00Z"
values: st.SearchStrategy[JsonValue] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)


def of(value: JsonValue) -> list[Entry]:
    """The entries of a property `p` with this value."""
    return entries({"p": value}, ())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        (True, [Entry("p", "", 1.0, 0, "boolean")]),
        (2, [Entry("p", "", 2.0, 0, "number")]),
        (2**1024 - 1, [Entry("p", "", float("inf"), 0, "number")]),
        ("a", [Entry("p", "a", 0.0, 0, "text")]),
        ("a" * 201, [Entry("p", "a" * 200, 0.0, 0, "text", "a" * 201)]),
        ({"a": 1}, [Entry("p", "", 0.0, 0, "object")]),
    ],
)
def test_the_entries_of_a_value(value: JsonValue, expected: list[Entry]) -> None:
    assert of(value) == expected


def test_an_instant_is_found_by_its_moment_and_keeps_its_text() -> None:
    text = "1970-01-01T01:00:00.000002+01:00"
    assert of(text) == [Entry("p", "", 2.0, 0, "instant", text, 2)]
    assert micros(datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)) == 253402300799999999


def test_elements_have_entries_once_unless_they_are_equal_to_nothing() -> None:
    array: list[JsonValue] = ["a", "a", 1, 1.0, True, None, ["b"], {"c": 1}, [{"c": 1}]]
    assert [entry.kind for entry in of(array)] == ["text", "number", "boolean", "null", "array"]
    same = "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"
    assert [entry.whole for entry in of(list(same))] == list(same), "equal, but as texts they differ"


def test_what_is_remembered_of_texts_is_of_no_other_array() -> None:
    for _ in range(2):
        assert [(entry.head, entry.number, entry.kind) for entry in of(["1"])] == [("1", 0.0, "text")]
        assert [entry.kind for entry in of([1])] == ["number"]
        assert [entry.kind for entry in of([True])] == ["boolean"]
        assert of([["1"]]) != of(["1"]) != of([])
        assert [entry.name for entry in entries({"p": ["1"], "q": ["1"]}, ("1",))] == ["p", "q", "$team"]


def test_the_first_element_tells_what_follows() -> None:
    assert [entry.rest for entry in of(["a"])] == [""]
    first, second = of(["a", "b"])
    assert (len(first.rest or ""), second.rest) == (20, None)
    assert [entry.rest for entry in of(["a", "a", "b"])] != [first.rest, None], "how often counts, too"
    objects: list[JsonValue] = [{"c": 1}]
    assert [entry.rest for entry in of(["a", *objects])] == [None], "it holds an object, so it is equal to nothing"
    [none], [nothing_to_find] = of([]), of(objects)
    assert (none.kind, none.place, nothing_to_find) == ("array", 0, Entry("p", "", 0.0, 0, "array"))
    assert none.head


def test_every_entry_has_a_key_of_its_own() -> None:
    long = "a" * 200
    array: list[JsonValue] = [
        True,
        1,
        0,
        False,
        None,
        "",
        long,
        long + "b",
        long + "c",
        NOW,
        NOW.replace("Z", "+00:00"),
    ]
    found = entries({"p": array, "q": array, "": 0}, ("", long, long + "b"))
    assert len(found) == 2 * 11 + 1 + 3
    assert len({entry[:4] for entry in found}) == len(found)


def test_an_element_less_changes_only_its_own_entry_and_the_first() -> None:
    many: list[JsonValue] = [f"tag-{number}" for number in range(100)]
    gone, new = difference(of(many), of([*many[:50], *many[51:]]))
    assert [entry.head for entry in gone] == ["tag-0", "tag-50"]
    assert [entry.head for entry in new] == ["tag-0"]


def test_names_that_nobody_can_ask_for_have_no_entries() -> None:
    assert entries({"$team": "a", "x" * 201: 1, "x" * 200: None}, ()) == []
    assert entries({}, ("web",)) == [entry._replace(name="$team") for entry in of(["web"])]


@given(st.lists(values, max_size=3), st.lists(values, max_size=3))
def test_arrays_are_equal_exactly_if_their_first_entries_are(left: Any, right: Any) -> None:
    def told(array: list[JsonValue]) -> object:
        first = of(array)[0]
        if first.place == 0:
            return first.head or None
        return None if first.rest is None else (key(array[0]), first.rest)

    for one, other in ((left, right), (left, left), (left, [*left[:1], *right[1:]])):
        assert equal(one, other) is (told(one) is not None and told(one) == told(other))


@given(st.dictionaries(st.sampled_from("abc"), values), st.dictionaries(st.sampled_from("abc"), values))
def test_the_difference_makes_one_of_the_other(before: Any, after: Any) -> None:
    old, new = entries(before, ()), entries(after, ())
    gone, written = difference(old, new)
    assert set(gone) <= set(old)
    assert set(new) == set(old) - set(gone) | set(written)
    assert not set(written) & set(old)
    assert difference(new, new) == ([], [])


def test_text_that_only_looks_like_an_instant_is_text() -> None:
    assert instant("2026-02-30T00:00:00Z") is None
    assert of("2026-02-30T00:00:00Z")[0].kind == "text"
