"""Statistics as values: what may be asked, where intervals begin, and that numbers made one by one are the same."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import JsonValue

from domain.aggregations import Measured, result
from domain.computed_properties import CalculationSpec
from domain.errors import InvalidRequest
from domain.rule_values import Period
from domain.series import Past
from domain.statistics import Aggregate
from domain.tallies import MAX_VALUES, Last, Tally, Values
from domain.timelines import Interval, Timeline, TimeRange

AT = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)
SPECS = [
    {"calculationBy": "entities", "func": "count"},
    *({"calculationBy": "property", "func": func} for func in ("sum", "min", "max", "median")),
    *(
        {"calculationBy": by, "func": "average", "averageOf": of}
        for by in ("entities", "property")
        for of in ("hour", "day", "week", "month", "total")
    ),
]


@pytest.mark.parametrize("document", SPECS, ids=lambda one: "-".join(one.values()))
@pytest.mark.parametrize("size", [0, 1, 7, 2_345])
def test_a_number_made_one_by_one_is_that_made_of_all_at_once(document: dict[str, Any], size: int) -> None:
    chance = random.Random(size)  # noqa: S311 - no secret
    amounts = [3, -2, 0.25, True, None, "4", 10**20]
    times = [None, AT - timedelta(days=3), AT - timedelta(hours=5), AT + timedelta(days=1)]
    several = [Measured(chance.choice(amounts), chance.choice(times)) for _ in range(size)]
    spec = CalculationSpec.model_validate(document)
    tally = Tally(spec, at=AT)
    for one in several:
        tally.add(one)
    expected = result(spec, several, at=AT)
    assert tally.result() == (pytest.approx(expected, rel=1e-12) if isinstance(expected, float) else expected)


def test_a_number_that_is_too_large_is_null() -> None:
    for amounts in ([1e308] * 5_000, [2**1024 - 1, 0.5], [1e308, -1e308] * 900 + [1e308] * 900):
        tally = Tally(CalculationSpec.model_validate({"calculationBy": "property", "func": "sum"}), at=AT)
        for amount in amounts:
            tally.add(Measured(amount))
        assert tally.result() is None


def test_the_last_number_is_that_of_the_latest_time() -> None:
    last = Last()
    assert last.result() is None
    for amount, hours in ((1, -3), (2, -1), (None, 0), ("3", 0), (4, -2)):
        last.add(Measured(amount, AT + timedelta(hours=hours)))
    assert last.result() == 2


def test_values_are_counted_by_their_text_and_elements_for_themselves() -> None:
    values = Values("property")
    several: list[JsonValue] = ["go", None, [], ["go", "go", "c"], True, 2.0, {"a": 1}, "go"]
    for value in several:
        values.add(value)
    assert values.result() == {"go": 3, "null": 2, "2": 1, "c": 1, "true": 1, '{"a":1}': 1}
    assert list(values.result())[:2] == ["go", "null"]
    with pytest.raises(InvalidRequest, match="property: has more than"):
        values.add([str(number) for number in range(MAX_VALUES)])


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"func": "countValues"}, "property: is required"),
        ({"func": "sum"}, "property: is required"),
        ({"func": "average"}, "averageOf: is required"),
        ({"func": "count", "property": "x"}, "func: must not be count"),
        ({"func": "count", "relation": "x"}, "func: must be countValues"),
        ({"func": "countValues", "property": "x", "relation": "y"}, "relation: cannot be together with property"),
        ({"func": "countValues", "rule": "x"}, "scorecard: is required"),
        ({"func": "count", "calculationBy": "property"}, "calculationBy: must be entities"),
    ],
)
def test_keys_that_do_not_go_together_are_refused_by_name(asked: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{fault}"):
        Aggregate.model_validate({"query": {}, **asked}).check()


@pytest.mark.parametrize(
    ("preset", "zone", "start", "end"),
    [
        ("today", None, "2026-03-31T00:00:00Z", "2026-03-31T12:30:00Z"),
        ("today", "Asia/Tokyo", "2026-03-30T15:00:00Z", "2026-03-31T12:30:00Z"),
        ("yesterday", "America/New_York", "2026-03-30T04:00:00Z", "2026-03-31T03:59:59.999999Z"),
        ("lastDay", None, "2026-03-30T12:30:00Z", "2026-03-31T12:30:00Z"),
        # The clocks went forward on the 29th.
        ("lastWeek", "Europe/Berlin", "2026-03-24T13:30:00Z", "2026-03-31T12:30:00Z"),
    ],
)
def test_a_period_is_one_of_its_zone_and_ends_now(preset: str, zone: str | None, start: str, end: str) -> None:
    asked = TimeRange.model_validate({"preset": preset, "timeZone": zone})
    assert asked.period(AT) == Period(datetime.fromisoformat(start), datetime.fromisoformat(end))


def test_an_hour_that_comes_twice_is_not_lost() -> None:
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    asked = TimeRange.model_validate({"preset": "lastDay", "timeZone": "Europe/Berlin"})
    assert asked.period(second).end == second
    starts = Timeline.of(asked, "hour", at=second).starts
    assert len(set(starts)) == len(starts)
    assert {late - early for early, late in pairwise(starts)} == {timedelta(hours=1)}
    assert len(Timeline.of(TimeRange(preset="today", timeZone="Europe/Berlin"), "hour", at=second).starts) == 4


@pytest.mark.parametrize("zone", ["Mars/Base", "America", "", "../etc/passwd", "/etc/localtime", "x" * 5_000, "ä"])
def test_a_zone_that_there_is_not_is_refused(zone: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^timeRange\.timeZone: no time zone"):
        Timeline.of(TimeRange(preset="today", timeZone=zone), "day", at=AT)


@pytest.mark.parametrize(
    ("preset", "interval", "starts"),
    [
        ("last2Weeks", "isoWeek", ["2026-03-16", "2026-03-23", "2026-03-30"]),
        ("last3Months", "month", ["2025-12-01", "2026-01-01", "2026-02-01", "2026-03-01"]),
        ("last6Months", "quarter", ["2025-10-01", "2026-01-01"]),
        ("lastDay", "day", ["2026-03-30", "2026-03-31"]),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_intervals_begin_at_midnight_of_the_zone(preset: str, interval: Interval, starts: list[str], zone: str) -> None:
    timeline = Timeline.of(TimeRange.model_validate({"preset": preset, "timeZone": zone}), interval, at=AT)
    local = [start.astimezone(ZoneInfo(zone)) for start in timeline.starts]
    assert [one.isoformat()[:19] for one in local] == [f"{day}T00:00:00" for day in starts]
    for place, (start, end) in enumerate(zip(timeline.starts, timeline.ends, strict=True)):
        assert start <= end
        assert timeline.place(start) == timeline.place(end) == place


def test_the_longest_period_in_the_shortest_intervals_has_a_bounded_number_of_them() -> None:
    assert len(Timeline.of(TimeRange(preset="last3Years"), "hour", at=AT).starts) == 26_281


def days(past: Past) -> list[tuple[int, Any]]:
    """The day of the month and the value."""
    return [(datetime.fromtimestamp(row["date"] / 1000, UTC).day, row["n"]) for row in past.data()]  # type: ignore[operator]


def snapshot(value: Any, made: datetime) -> dict[str, Any]:
    return {"createdAt": made.isoformat().replace("+00:00", "Z"), "properties": {"n": value}}


def test_the_past_is_what_changes_leave_when_they_are_undone() -> None:
    timeline = Timeline.of(TimeRange(preset="lastWeek"), "day", at=AT)
    made = AT - timedelta(days=4)
    past = Past(["n"], timeline, snapshot("now", made))
    past.undo(AT - timedelta(days=1), snapshot("b", made))
    past.undo(AT - timedelta(days=1, hours=1), snapshot("hardly", made))
    past.undo(AT - timedelta(days=3), snapshot(None, made))
    past.undo(made, None)
    assert days(past) == [(27, None), (28, "hardly"), (29, "hardly"), (30, "now"), (31, "now")]


def test_what_the_log_has_forgotten_is_not_older_than_the_entity() -> None:
    timeline = Timeline.of(TimeRange(preset="lastWeek"), "day", at=AT)
    past = Past(["n"], timeline, snapshot(1, AT - timedelta(days=2)))
    assert days(past) == [(29, 1), (30, 1), (31, 1)]
