"""Hostile programs harm nobody but themselves, and what jq answers arrives as it is."""

import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import JsonValue

from domain.errors import Unavailable
from domain.jq import Failed, Nothing, Outcome, Overran, Value
from runtime.jq_pool import JqPool, Limits
from runtime.jq_process import CACHED, Programs

ENDLESS = "last(range(1e18))"


@pytest.fixture
async def pool() -> AsyncIterator[JqPool]:
    async with JqPool(limits=Limits(seconds=1)) as pool:
        yield pool


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, Failed)
    return outcome.reason


def exists(pid: int) -> bool:
    """Whether the process lives; one that is dead but not yet buried does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pid_of(pool: JqPool) -> int:
    """The process that serves the next call."""
    return pool._idle[-1].pid


async def test_outcomes_come_in_order_and_only_the_first_output_counts(pool: JqPool) -> None:
    programs = [".a", "empty", "error(1)", ".a,.b", "range(1e12)", ".a"]

    outcomes = await pool(programs, {"a": 1, "b": 2})

    assert outcomes == [Value(1), Nothing(), Failed("1"), Value(1), Value(0), Value(1)]


async def test_what_needs_no_process_has_the_outcome_that_one_would_have_given(pool: JqPool) -> None:
    seeded = random.Random(7)  # noqa: S311 - the same programs every time
    values: list[JsonValue] = [None, True, False, 0, 1, -3, 0.5, "", "a", "é", "true", "1", [1], {"b": 1}, {"a": {}}]
    operands = [".a", ".b", ".a.b", ".b.a", ".c.d", "null", "true", "false", "0", "1", "-3", '""', '"a"', '"é"', '"1"']
    for _ in range(20):
        document = {"a": seeded.choice(values), "b": seeded.choice(values), "c": {"d": seeded.choice(values)}}
        programs = [
            f"{seeded.choice(operands)} {seeded.choice(['==', '!='])} {seeded.choice(operands)}" for _ in range(60)
        ]

        assert await pool(programs, document) == await pool([f"({program})" for program in programs], document)


async def test_only_what_needs_a_process_goes_to_one(pool: JqPool) -> None:
    pool._turns = asyncio.Semaphore(0)
    waiting = asyncio.create_task(pool([".a", ".a+1", ".a == 1", ".b|."], {"a": 1}))

    assert await pool([".a", ".a == 1"], {"a": 1}) == [Value(1), Value(True)]
    pool._turns.release()
    assert await waiting == [Value(1), Value(2), Value(True), Value(None)]


async def test_no_programs_have_no_outcomes(pool: JqPool) -> None:
    assert await pool([], {}) == []


@pytest.mark.parametrize(
    "value",
    [9007199254740993, -12345678901234567890, 0.1, 1 / 3, "é\N{GRINNING FACE}\\u0000", "1234567890123456789", [[]], {}],
)
async def test_a_value_comes_back_as_it_went(value: JsonValue, pool: JqPool) -> None:
    outcome = (await pool(["."], {"deep": [value]}))[0]

    assert repr(outcome) == repr(Value({"deep": [value]}))


async def test_what_only_one_of_two_writers_of_json_takes_is_read_all_the_same(pool: JqPool) -> None:
    deep: JsonValue = "end"
    for _ in range(300):
        deep = [deep]

    assert await pool(["[..] | length"], deep) == [Value(301)]
    assert await pool([". | length"], {"a": "\u00e9\U0001f600"}) == [Value(1)]
    [half] = await pool([". | length"], {"a": "\ud800"})
    assert isinstance(half, Failed)
    assert "surrogate" in half.reason


async def test_integral_numbers_are_integers(pool: JqPool) -> None:
    outcomes = await pool([".x", "[4 / 2, 2.5]", "[.long, .x]", "nan"], {"x": 5.0, "long": 2**60 + 1})

    assert repr(outcomes) == repr([Value(5), Value([2, 2.5]), Value([2**60 + 1, 5]), Value(None)])


async def test_an_endless_program_is_stopped_and_the_others_are_answered(
    pool: JqPool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        outcomes = await pool([".a", f'"hidden" | {ENDLESS}', ".b"], {"a": 1, "b": 2})

    assert outcomes == [Value(1), Overran("the program took longer than 1 s"), Value(2)]
    assert [record.message for record in caplog.records] == ["jq process replaced"]
    assert "hidden" not in str(vars(caplog.records[0]))


async def test_an_endless_program_without_any_output_is_stopped(pool: JqPool) -> None:
    assert await pool(["repeat(.) | empty"], None) == [Overran("the program took longer than 1 s")]


async def test_a_call_of_nothing_but_endless_programs_is_given_up(pool: JqPool) -> None:
    began = time.monotonic()

    outcomes = await pool([ENDLESS] * 50, None)

    assert time.monotonic() - began < 10
    assert all("longer than" in reason(outcome) for outcome in outcomes[:3])
    assert all("not evaluated" in reason(outcome) for outcome in outcomes[3:])
    assert len(outcomes) == 50


@pytest.mark.parametrize("program", ['"x" * 1000000000', 'reduce range(40) as $i ("x"; . + .)'])
async def test_a_program_that_needs_too_much_memory_fails_alone(program: str) -> None:
    async with JqPool(size=1, limits=Limits(memory=64 * 2**20)) as pool:
        outcomes = await pool([".a", program, ".b"], {"a": 1, "b": 2})

    assert "memory" in reason(outcomes[1])
    assert [outcomes[0], outcomes[2]] == [Value(1), Value(2)]


async def test_a_process_that_has_grown_is_replaced_between_calls() -> None:
    async with JqPool(size=1, limits=Limits(memory=64 * 2**20)) as pool:
        first = pid_of(pool)
        # What it took once stays with the process, and this is much.
        assert await pool(['"x" * 20000000 | length'], None) == [Value(20_000_000)]
        assert await pool(["."], 1) == [Value(1)]
        assert pid_of(pool) != first


async def test_conditions_that_fit_are_compiled_once_and_of_others_at_least_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[str] = []

    def compile_(text: str) -> str:
        compiled.append(text)
        return text

    monkeypatch.setattr(Programs, "_compile", staticmethod(compile_))
    most = int(Limits().memory * CACHED)

    def asked_twice(texts: list[str]) -> int:
        """How many of them are compiled when they are asked for once more, in the same order."""
        programs = Programs(most)
        for _ in range(2):
            compiled.clear()
            for text in texts:
                assert programs.compiled(text) == text
                assert programs.size <= most
        return len(compiled)

    assert asked_twice([f".diff.after.title == {n:05}" for n in range(5_000)]) == 0
    assert asked_twice([f".diff.after.title == {n:05}" for n in range(8_000)]) < 7_000
    assert asked_twice([f"{'x' * 2**20}{n}" for n in range(2)]) == 2, "all others would be forgotten for it"


async def test_an_output_that_is_too_large_or_too_deep_fails_alone(pool: JqPool) -> None:
    outcomes = await pool(['"x" * 3000000', "reduce range(500) as $i (0; [.])", '"\\u0000"', ".a"], {"a": 1})

    assert [reason(outcome) for outcome in outcomes[:3]] == [
        "the output is too large",
        "the output nests too deeply",
        "the output holds a NUL character, which no text may contain",
    ]
    assert outcomes[3] == Value(1)


async def test_all_outputs_of_a_call_together_are_limited() -> None:
    async with JqPool(size=1, limits=Limits(output=100, total_output=250)) as pool:
        outcomes = await pool(['"x" * 90 | . + ""'] * 3 + ["1"], None)

    assert [type(outcome) for outcome in outcomes] == [Value, Value, Overran, Value]


async def test_a_document_that_is_too_large_is_not_sent() -> None:
    async with JqPool(size=1, limits=Limits(input=100)) as pool:
        assert "larger than 100 bytes" in reason((await pool(["."], "x" * 100))[0])
        assert "larger than 100 bytes" in reason((await pool(["." + " " * 100], 1))[0])
        assert await pool(["."], 1) == [Value(1)]


@pytest.mark.parametrize("program", ["env", "$ENV", "$ENV | .", "1 | env", "def f: env; f", '"\\(env)" | fromjson'])
async def test_the_environment_is_empty(program: str, pool: JqPool) -> None:
    assert "PATH" in os.environ

    assert await pool([program], None) == [Value({})]


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("input", Failed("there is no other input")),
        ("[inputs]", Value([])),
        ("input_filename", Value(None)),
        ("get_search_list", Value([])),
        ("[get_prog_origin, get_jq_origin]", Value([None, None])),
        ('"/etc/passwd" | modulemeta', Failed("there are no modules")),
        ("debug", Value(1)),
        ('debug("x")', Value(1)),
        ("stderr", Value(1)),
        ("halt", Failed("halt is not available")),
        ("halt_error", Failed("halt is not available")),
        ('"bye" | halt_error(3)', Failed("halt is not available")),
        ('0 | strflocaltime("%Z")', Value("UTC")),
    ],
)
async def test_what_leads_out_of_the_document_is_closed(program: str, outcome: Outcome, pool: JqPool) -> None:
    pid = pid_of(pool)

    assert await pool([program], 1) == [outcome]
    assert pid_of(pool) == pid


@pytest.mark.parametrize(
    "program",
    ['import "a" as a; 1', 'include "a"; 1', 'import "/etc/passwd" as $x; $x', "1) | (2", ". as $x", "", "# x"],
)
async def test_what_is_no_expression_does_not_compile(program: str, pool: JqPool) -> None:
    assert "does not compile" in reason((await pool([program], 1))[0])


@pytest.mark.parametrize(
    "program", [". # a comment", ". # continued \\", "def f: .; f", "\n.\n", ".,.", "label $f | ."]
)
async def test_any_expression_compiles_as_it_is(program: str, pool: JqPool) -> None:
    assert await pool([program], 2**53 + 1) == [Value(2**53 + 1)]


async def test_a_reason_is_one_short_line(pool: JqPool) -> None:
    for program in ('"x\\n" * 1000 | error', "foo(\n1;\n2)"):
        text = reason((await pool([program], None))[0])
        assert "\n" not in text
        assert 0 < len(text) <= 300


async def test_now_is_repeatable(pool: JqPool) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    for _ in range(2):
        assert await pool(["now", "now | todate"], None, now=at) == [
            Value(int(at.timestamp())),
            Value("2026-01-02T03:04:05Z"),
        ]
    (current,) = await pool(["now"], None)
    assert isinstance(current, Value)
    assert isinstance(current.value, float)
    assert abs(current.value - time.time()) < 60


async def test_an_idle_process_that_was_killed_is_replaced_without_blame(pool: JqPool) -> None:
    for _ in range(3):
        os.kill(pid_of(pool), signal.SIGKILL)
        assert await pool([".a"], {"a": 1}) == [Value(1)]


async def test_a_cancelled_call_leaves_no_answers_behind(pool: JqPool) -> None:
    for _ in range(2):
        task = asyncio.create_task(pool([f'"stale" | {ENDLESS}'], None))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert await asyncio.gather(*(pool(["."], n) for n in range(6))) == [[Value(n)] for n in range(6)]


async def test_a_cancelled_place_in_the_queue_is_given_up(pool: JqPool) -> None:
    busy = [asyncio.create_task(pool([ENDLESS], None)) for _ in range(2)]
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(pool(["."], 1))
    await asyncio.sleep(0.1)
    waiting.cancel()

    assert all("longer than" in reason(outcomes[0]) for outcomes in await asyncio.gather(*busy))
    assert waiting.cancelled()
    assert await asyncio.gather(*(pool(["."], n) for n in range(2))) == [[Value(0)], [Value(1)]]


async def test_fifty_calls_are_right_with_a_hostile_one_among_them(pool: JqPool) -> None:
    async def call(n: int) -> list[Outcome]:
        return await pool([".n", ENDLESS if n == 7 else ".n + 1", "[.n]"], {"n": n})

    answers = await asyncio.gather(*map(call, range(50)))

    assert "longer than" in reason(answers[7].pop(1))
    answers[7].insert(1, Value(8))
    assert answers == [[Value(n), Value(n + 1), Value([n])] for n in range(50)]


async def test_calls_that_run_into_limits_leave_a_process_to_everybody_else(pool: JqPool) -> None:
    ended: list[str] = []

    async def call(name: str, program: str) -> Outcome:
        (outcome,) = await pool([program], None)
        ended.append(name)
        return outcome

    async def together() -> list[Outcome]:
        ended.clear()
        calls = [*(call("hostile", ENDLESS) for _ in range(5)), *(call("fine", f"[range({n}9)]") for n in range(5))]
        return await asyncio.gather(*calls)

    outcomes = await together()
    assert ended == ["hostile"] * 2 + ["fine"] * 5 + ["hostile"] * 3, "nobody knew of the first two"
    assert all("longer than" in reason(one) for one in outcomes[:5])
    assert all(isinstance(one, Value) for one in outcomes[5:])
    await together()
    assert ended == ["fine"] * 5 + ["hostile"] * 5


async def test_what_ran_into_a_limit_once_and_does_no_more_is_like_others(pool: JqPool) -> None:
    program = "if . then last(range(1e18)) else 1 end"
    assert "longer than" in reason((await pool([program], True))[0])
    assert await pool([program], None) == [Value(1)]

    both = [asyncio.create_task(pool([program], True)) for _ in range(2)]
    await asyncio.sleep(0.2)
    assert pool._turns.locked(), "both are evaluated at once again"
    assert all("longer than" in reason(outcomes[0]) for outcomes in await asyncio.gather(*both))


async def test_calls_are_served_in_the_order_they_come() -> None:
    served: list[int] = []

    async with JqPool(size=1) as pool:

        async def call(n: int) -> None:
            await pool(["."], n)
            served.append(n)

        await asyncio.gather(*map(call, range(20)))

    assert served == list(range(20))


async def test_a_call_does_not_wait_for_ever() -> None:
    async with JqPool(size=1, limits=Limits(seconds=2, patience=1)) as pool:
        busy = asyncio.create_task(pool([ENDLESS], None))
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable):
            await pool(["."], 1)
        assert "longer than" in reason((await busy)[0])


async def test_a_closed_pool_is_unavailable_and_leaves_no_process() -> None:
    async with JqPool(limits=Limits(seconds=5)) as pool:
        pids = [process.pid for process in pool._processes]
        assert all(map(exists, pids)), "the search can find what is there"
        under_way = asyncio.create_task(pool([ENDLESS], None))
        await asyncio.sleep(0.1)

    with pytest.raises(Unavailable):
        await under_way
    with pytest.raises(Unavailable):
        await pool(["."], 1)
    assert not any(map(exists, pids))


@pytest.mark.parametrize("program", [".", ENDLESS])
def test_a_process_ends_when_who_started_it_is_gone(program: str) -> None:
    script = f"""
import asyncio
from runtime.jq_pool import JqPool, Limits

async def main():
    async with JqPool(size=1, limits=Limits(seconds=1)) as pool:
        print(pool._idle[-1].pid, flush=True)
        await pool([{program!r}], None)
        await asyncio.sleep(60)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert exists(pid), "the search can find what is there"
        parent.kill()

    end = time.monotonic() + 10
    while exists(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not exists(pid)
