"""Timers: moments of every kind, warnings, ids of workflows, and what blueprints may say of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.blueprints import Definition, parsed
from domain.entity_schemas import problems
from domain.errors import InvalidRequest
from domain.timers import Lifecycle, due_at, warn_at, workflow_id


def blueprint(**of_property: JsonValue) -> dict[str, Any]:
    return {"identifier": "env", "title": "Env", "schema": {"properties": {"ttl": {"type": "string", **of_property}}}}


DEFINITION = Definition.stored(blueprint(format="timer"))


@pytest.mark.parametrize(
    ("value", "due"),
    [
        ("2022-12-01T16:50:00+02:00", "2022-12-01T14:50:00+00:00"),
        ("2022-12-01t16:50:00z", "2022-12-01T16:50:00+00:00"),
        ("2022-12-01T16:50:00-00:00", "2022-12-01T16:50:00+00:00"),
        ("2022-12-01T16:50:00+23:59", "2022-11-30T16:51:00+00:00"),
        ("2022-12-01T16:50:00-23:59", "2022-12-02T16:49:00+00:00"),
        ("2022-12-01T16:50:00.1Z", "2022-12-01T16:50:00.100000+00:00"),
        ("2022-12-01T16:50:00.123456999Z", "2022-12-01T16:50:00.123456+00:00"),
        ("2022-12-01T16:50:00." + "1" * 100_000 + "Z", "2022-12-01T16:50:00.111111+00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
        ("2016-12-31T18:59:60.5-05:00", "2017-01-01T00:00:00.500000+00:00"),
        ("0001-01-01T00:00:00+10:00", "0001-01-02T00:00:00+00:00"),
        ("0000-01-01T00:00:00Z", "0001-01-02T00:00:00+00:00"),
        ("9999-12-31T23:59:59-10:00", "9999-12-30T00:00:00+00:00"),
        ("9999-12-31T23:59:60Z", "9999-12-30T00:00:00+00:00"),
    ],
    ids=lambda value: value[:40],
)
def test_a_moment_is_understood_however_it_is_written(value: str, due: str) -> None:
    assert problems(DEFINITION, {"ttl": value}) == [], "entities may hold it"
    found = due_at(value)
    assert found == datetime.fromisoformat(due)
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [None, 1, True, [], {}, "", "tomorrow", "2022-12-01", "2022-12-01T24:00:00Z", "2022-02-30T00:00:00Z",
     "2022-12-01 16:50:00Z", "2022-12-01T16:50:00", "2022-12-01T16:50:61Z",
     "\N{FULLWIDTH DIGIT TWO}022-12-01T16:50:00Z"],
)  # fmt: skip
def test_what_is_no_moment_is_no_timer(value: JsonValue) -> None:
    assert due_at(value) is None


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), st.integers(-1439, 1439))  # noqa: DTZ001
def test_every_offset_is_taken_into_account(local: datetime, minutes: int) -> None:
    hours, rest = divmod(abs(minutes), 60)
    text = f"{local.isoformat()}{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"
    assert problems(DEFINITION, {"ttl": text}) == []
    assert due_at(text) == local.replace(tzinfo=UTC) - timedelta(minutes=minutes)


DUE = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "at"),
    [("P1D", datetime(2026, 1, 9, tzinfo=UTC)), ("PT0.5S", DUE - timedelta(milliseconds=500)),
     ("P999999999D", datetime(1, 1, 2, tzinfo=UTC))],
)  # fmt: skip
def test_a_warning_comes_before(before: str, at: datetime) -> None:
    definition = parsed(blueprint(format="timer", interlock={"warn": {"before": before}}))
    assert warn_at(DUE, definition.timers["ttl"]) == at


def test_without_a_wish_nobody_is_warned() -> None:
    assert warn_at(DUE, Lifecycle()) is None
    assert DEFINITION.timers == {"ttl": Lifecycle()}
    assert not Definition.stored(blueprint(format="date-time")).timers


@pytest.mark.parametrize(
    ("of_property", "problem"),
    [
        ({"format": "timer", "interlock": 5}, "schema.properties.ttl.interlock: must be an object"),
        ({"format": "timer", "interlock": {"wrn": {}}}, "schema.properties.ttl.interlock.wrn: unknown key"),
        ({"format": "timer", "interlock": {"warn": {}}}, "schema.properties.ttl.interlock.warn.before: is required"),
        ({"format": "timer", "interlock": {"warn": {"before": "PT0S"}}}, "warn.before: must be longer than nothing"),
        (
            {"format": "timer", "interlock": {"warn": {"before": 5}}},
            "interlock.warn.before: must be an ISO 8601 duration",
        ),
        (
            {"format": "timer", "interlock": {"warn": {"before": "-P1D"}}},
            "interlock.warn.before: must be an ISO 8601 duration",
        ),
        (
            {"format": "timer", "interlock": {"extend": {"action": "a b"}}},
            "interlock.extend.action: 'a b' is no action",
        ),
        ({"format": "url", "interlock": {}}, "ttl.interlock: is possible for type string and format timer only"),
        (
            {"interlock": {"warn": {"before": "P1D"}}},
            "ttl.interlock: is possible for type string and format timer only",
        ),
        (
            {"type": "array", "items": {"type": "string", "format": "timer", "interlock": {}}},
            "schema.properties.ttl.items.interlock: is possible for timers only",
        ),
    ],
)
def test_a_lifecycle_that_cannot_work_is_refused_by_its_path(of_property: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(blueprint(**of_property))
    assert problem in str(refused.value)


def test_the_id_of_a_workflow_is_in_words() -> None:
    assert workflow_id("environment", "dev-7", "ttl") == "timer:environment:dev-7:ttl"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b:c", "p"), ("a:b", "c", "p")),
        (("a", "x" * 1500 + "1", "p"), ("a", "x" * 1500 + "2", "p")),
        (("a", "字" * 600, "p"), ("a", "字" * 600, "q")),
    ],
)
def test_no_two_timers_have_the_same_id(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    ids = workflow_id(*one), workflow_id(*other)
    assert ids[0] != ids[1]
    assert all(len(each.encode()) <= 1000 for each in ids)
