"""Ids: what they look like, and in which order they sort."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import regex

from domain.identifiers import RunId, derived, new, successive


def test_a_new_id_is_a_prefix_and_sixteen_letters_or_digits() -> None:
    made = {new("r") for _ in range(1000)}
    assert len(made) == 1000
    assert all(RunId(one) for one in made)
    assert set("".join(one[2:] for one in made)) == {*"0123456789", *map(chr, [*range(65, 91), *range(97, 123)])}


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [one for some in threads.map(lambda _: [new("r") for _ in range(500)], range(16)) for one in some]
    assert len(set(made)) == len(made) == 8_000


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_process_that_forked_does_not_make_the_ids_of_the_other() -> None:
    script = (
        "import os; from domain.identifiers import new; new('r'); child = os.fork(); "
        "os.write(1, ''.join(new('r') + ' ' for _ in range(20)).encode()); child and os.wait()"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert len(said) == len(set(said)) == 40


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
