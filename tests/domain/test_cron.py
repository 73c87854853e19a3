"""Cron expressions and time zones: what is accepted, and what a refusal says."""

import pytest

from domain import cron

FIVE = "must have five fields: minute, hour, day of month, month and day of week"


@pytest.mark.parametrize(
    "expression",
    [
        "0 8 * * 1-5",
        "*/15 * * * *",
        "5-7/2,9/10 * * * *",
        "0 0 1 JAN-MAR mon,Sun",
        "0 0 1 jan-12 *",
        "0 0 * * 0,7",
        "0 0 * * fri-7",
        "0 0 29 2 *",
        "0 0 30 2,4 *",
        "  0\t8 * * *  ",
    ],
)
def test_what_temporal_reads_is_kept_as_it_is(expression: str) -> None:
    assert cron.checked(expression) == expression


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", FIVE),
        ("0 8 * *", FIVE),
        ("0 8 * * * 2030", FIVE),
        ("@daily", FIVE),
        ("TZ=UTC 0 8 * * *", FIVE),
        ("0 8 * * * # mornings", FIVE),
        ("0 8 * * " + ",".join("1" * 1000), FIVE),
        ("60 * * * *", "minute: must be *, or numbers from 0 to 59, ranges of them and steps"),
        ("* 24 * * *", "hour: must be *, or numbers from 0 to 23, ranges of them and steps"),
        ("* * 0 * *", "day of month: must be *, or numbers from 1 to 31, ranges of them and steps"),
        ("* * ? * *", "day of month: must be *, or numbers from 1 to 31, ranges of them and steps"),
        ("* * * 13 *", "month: must be *, or numbers from 1 to 12, ranges of them and steps"),
        ("* * * mon *", "month: must be *, or numbers from 1 to 12, ranges of them and steps"),
        ("* * * * 8", "day of week: must be *, or numbers from 0 to 7, ranges of them and steps"),
        ("* * * * monday", "day of week: must be *, or numbers from 0 to 7, ranges of them and steps"),
        ("+1 * * * *", "minute: must be *, or numbers from 0 to 59, ranges of them and steps"),
        ("٣ * * * *", "minute: must be *, or numbers from 0 to 59, ranges of them and steps"),
        (", * * * *", "minute: must be *, or numbers from 0 to 59, ranges of them and steps"),
        ("1-2-3 * * * *", "minute: must be *, or numbers from 0 to 59, ranges of them and steps"),
        ("30-10 * * * *", "minute: a range must not end before it begins"),
        ("*/0 * * * *", "minute: the step after / must be a number, and not 0"),
        ("*/ * * * *", "minute: the step after / must be a number, and not 0"),
        ("1/2/3 * * * *", "minute: the step after / must be a number, and not 0"),
        ("0 0 31 2,4 *", "never comes to its time: no month has such a day"),
        ("0 0 30 feb *", "never comes to its time: no month has such a day"),
    ],
)
def test_a_refusal_says_what_is_wrong(expression: str, said: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole text is compared
        cron.checked(expression)
    assert str(refusal.value) == said


@pytest.mark.parametrize(
    ("expression", "most"),
    [("* * * * *", 1440), ("0 8 * * 1-5", 1), ("*/15 8-17 * * *", 40), ("0,0-5,3 */12 1 1 *", 12)],
)
def test_how_often_it_comes_on_one_day(expression: str, most: int) -> None:
    assert cron.most_a_day(expression) == most


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+3"])
def test_time_zones_are_known_by_name(name: str) -> None:
    assert cron.time_zone(name) == name


@pytest.mark.parametrize(
    "name", ["", "Berlin", "Europe", "Europe/", "localtime", "../zone", "/etc/localtime", "x\0y", "Ü", "a" * 5000]
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a time zone such as Europe/Berlin or UTC$"):
        cron.time_zone(name)
