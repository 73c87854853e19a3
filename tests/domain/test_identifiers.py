"""Ids: what they look like, and in which order they sort."""

from datetime import UTC, datetime, timedelta

import regex

from domain.identifiers import RunId, derived, new, successive


def test_a_new_id_is_a_prefix_and_sixteen_letters_or_digits() -> None:
    made = {new("r") for _ in range(1000)}
    assert len(made) == 1000
    assert all(RunId(one) for one in made)
    assert set("".join(one[2:] for one in made)) == {*"0123456789", *map(chr, [*range(65, 91), *range(97, 123)])}


def test_ids_of_later_milliseconds_sort_later() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    made = [successive("ent", at + timedelta(milliseconds=31**place % 10**11)) for place in range(8)]
    assert made == sorted(made)
    assert all(regex.fullmatch("ent_[0-9A-Za-z]{16}", one) for one in made)
    assert successive("ent", at) != successive("ent", at)


def test_an_id_that_is_derived_follows_from_every_part() -> None:
    parts = [("a", "b"), ("ab",), ("ab", ""), ("", "ab"), ("a", "", "b"), ("b", "a"), ("1:a", "b"), ("Ü",)]
    made = {derived("r", *some) for some in parts}
    assert len(made) == len(parts)
    assert all(RunId(one) for one in made)
    assert derived("r", "a", "b") == derived("r", "a", "b")
    assert derived("x", "a", "b")[2:] == derived("r", "a", "b")[2:]
