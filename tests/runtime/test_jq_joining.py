"""Programs that are evaluated together have the outcomes that each of them has alone."""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from pydantic import JsonValue

from domain.jq import Failed, Nothing, Outcome, Overran, Value
from runtime import jq_pool, jq_process
from runtime.jq_habits import TRIED, Habits
from runtime.jq_pool import JqPool, Limits
from runtime.jq_process import TOGETHER, Programs

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SLOW = "last(range(if .slow then 1e18 else 1 end))"
HUGE = 'if .huge then "x" * .huge else "x" end | length'

MORE = [
    *(". as [$x] ?// $x | if $x == 1 then error($x | tostring) else $x end", ". as {a: $x} ?// [$x] | $x, error(.)"),
    *("(.a, 1) // 2", "(false, 1, 2) // 3", "(empty, false) // (4, 5)", "(1, error) // 2", "first(.a, .b) // 1"),
    *("try (1, 2) catch 3", '(1, error("x"))?, 2', 'try ((1, 2) | ., error("x")) catch .', "(1, 2)?", ".a[]?, 1"),
    *("isempty(1, 2)", "any(.[]?; .)", "foreach (1, 2, 3) as $x (0; . + $x)", "[limit(3; repeat(1))]", "walk(.)"),
    *(
        "0 | until(. > 4; . + 1)",
        "0 | while(. < 3; . + 1)",
        'getpath(["a", "b"])',
        "if (true, false) then 1 else 2 end",
    ),
    *('{("a", "b"): 1}', "[.[]?] | sort | first", '"\\(1, 2)"', "first(1, 2), 3", "[.[]?][0:1]", "to_entries", "min"),
    *("range(1e9) | (. // 5) | .", '.a.error != "error"', '(.error | not) and .a != "?//"'),
    *('error("\\("x" * 299) y 1234567890123456")', 'error("\\("x" * 299) y") # ?//', 'error("x" * 299 + "\\u0000y")'),
    *("1 # x \\\r", "# x \\\n2", "1 # x \\\\", "1\r\n", "# x\r1", "1 \u2028", ". as $x |", "def f: 1;", ".a += (1, 2)"),
    *("input, 1", "1, input", "try (break) catch .", "label $a | label $b | 1, break $a", "@sh", "@csv", "splits(1)"),
]
SINGLE = [
    *(
        '.a | startswith("x")',
        '.a | test("^x.$")',
        ".b == 1 and .c",
        '.b or (.a | contains("y"))',
        '."a"',
        ".a.b",
        ". | .",
    ),
    *(
        ".a\n|\nascii_upcase",
        "(.a | length) >= 2",
        "12.5",
        ".b | has(0)",
        '.a | inside("axyz")',
        "null",
        "1 1",
        ".a(",
        ")",
    ),
]
PROGRAMS = [
    *SINGLE,
    *(".a | .", ".a + 1", ".b | length", '.a | startswith("x")', ".. | numbers", ".[]?", "keys", ". == {}", ".a == .b"),
    *("empty", ".a, .b", "range(1e12)", "repeat(1)", "first(empty)", "limit(0; 1, 2)", "limit(1; .a, error)", ".a[]"),
    *("error", "error(null)", 'error("x")', "error(1)", 'error({"a": [1]})', 'error("")', 'error("a\\n  b\\u0000c")'),
    *('error("x" * 400)', 'try error("x") catch .', "try error(null) catch .", ".a?", ".a // .b", "(.a | error)?"),
    *("label $out | 1, break $out", "label $out | break $out", "label $f | (1 | ., break $f), 2", "break", "$out"),
    *('error({"__jq": 0})', 'error({("__" + "jq"): 0})', 'try error({"__jq": 1}) catch .', 'error({"__jq": "x"})'),
    *("def f: 7; f", "f", "def _reason: 3; _reason", "_reason", "def first(f): 9; first(1)", "def error: 1; error"),
    *(
        "input",
        "[inputs]",
        "now",
        "now | todate",
        "$__now",
        "env",
        "$ENV",
        "halt",
        '"x" | halt_error',
        "debug",
        "stderr",
    ),
    *("$__loc__", "$__loc__ | .line", "input_line_number", "input_filename", "get_search_list", "$__prog_args"),
    *(
        "1) , (2",
        "1]), ([2",
        "1 # x",
        "1 # x \\",
        "# x",
        "",
        "\n\n2\n",
        "1; 2",
        "1 | ",
        '"',
        '"\\(',
        "}",
        "1\0",
        "%s",
        "{}",
    ),
    *("9007199254740993", ".long", "[.long, 0.5]", ".long + 1", "1e1000", "-0", "nan", "[nan, infinite]", "0.1 + 0.2"),
    *('"\\u0000"', '"\\\\u0000"', '"é\U0001f600"', '"x" * 3000', "[range(3000)]", "reduce range(300) as $i (0; [.])"),
    *(
        "def r: [r]; 1",
        "[recurse]",
        "[paths]",
        "def f(n): if n == 0 then 0 else f(n - 1) end; f(500)",
        "tojson",
        "@json",
    ),
    *("[[.a], null]", "[]", "{}", "[[]]", "null", "true", "false", '"a reason"', "[true]", "[[true]]", "(true, false)"),
    *(
        "reduce .[]? as $x (0; . + 1)",
        ". as [$x] ?// $x | $x",
        ".a as $x | $x",
        "path(..)",
        *MORE,
        'import "a" as a; 1',
        "-1",
    ),
]
DOCUMENTS: list[JsonValue] = [
    None,
    {},
    {"a": "xy", "b": [1, {"c": None}], "long": 2**60 + 1},
    {"a": {"__jq": 0}, "b": 1e100},
    {"a": [], "b": "\x00", "long": -(2**53) - 1},
    [1, 2.5, "é"],
    "text",
]


@pytest.fixture(scope="module")
def programs() -> Programs:
    return Programs(2**26)


def alone(programs: Programs, text: str, given: str, most: int = 2000) -> Outcome:
    return jq_pool._outcome(*programs.answer(text, given, most))


def together(programs: Programs, texts: Sequence[str], given: str, most: int = 2000) -> list[Outcome] | None:
    answer = programs.together(json.dumps(texts).encode(), given, most)
    return [jq_pool._unjoined(item) for item in json.loads(answer)] if answer else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=repr)
def test_each_program_has_the_same_outcome_in_company(programs: Programs, document: JsonValue) -> None:
    given = json.dumps([AT.timestamp(), document])
    for text in PROGRAMS:
        expected = alone(programs, text, given)
        alone(programs, ".c?", given)
        alone(programs, "1+1", given)
        found = together(programs, ["1+1", ".c?", text, "1+1", *["2|."] * 8], given)
        alone(programs, "2|.", given)
        found = found or together(programs, ["1+1", ".c?", text, "1+1", *["2|."] * 8], given)
        if found is not None:  # some take all others with them, and then nothing is joined
            assert repr(found[2]) == repr(expected), text
            assert repr(found[0]) == repr(found[3]) == repr(Value(2)), text
        else:
            assert "__" in text, text


def test_programs_in_any_company_have_the_same_outcomes(programs: Programs) -> None:
    seeded = random.Random(11)  # noqa: S311 - the same programs every time
    compared = 0
    for _ in range(12):
        texts = [seeded.choice(PROGRAMS) for _ in range(seeded.randint(2, 2 * TOGETHER + 3))]
        texts += ["1|."] * len(texts) * 3
        for document in seeded.sample(DOCUMENTS, 2):
            given = json.dumps([AT.timestamp(), document])
            expected = [alone(programs, text, given, 20_000) for text in texts]
            found = together(programs, texts, given, 20_000)
            if found is not None:
                assert repr(found) == repr(expected)
                compared += 1
    assert compared > 4


@pytest.mark.parametrize(
    ("text", "is_apart"),
    [
        ('.a.error == "error"', False),
        ('.a != "?//" and .__loc__', False),
        ('"\\(error)"', True),
        (".a | error", True),
        (". as [$x] ?// $x | $x", True),
        ("$__loc__", True),
        (".a |", True),
    ],
)
def test_whose_words_say_more_than_data_is_not_joined(programs: Programs, text: str, is_apart: bool) -> None:
    alone(programs, text, "[0, null]")
    assert programs._is_apart(text) is is_apart


def test_a_number_of_a_label_means_nothing_to_the_program_of_somebody_else() -> None:
    for number in range(6):
        text = f'first({{("_" + "_jq"): {number}}} | error), 5'
        for place in range(4):
            programs = Programs(2**26)  # labels are counted as long as a program lives
            texts = ["1|."] * 8
            texts.insert(place, text)
            for one in texts[-2:]:
                alone(programs, one, "[0, null]")
            programs.compiled(text)
            found = together(programs, texts, "[0, null]")
            assert found
            assert repr(found[place]) == repr(alone(Programs(2**26), text, "[0, null]")), (number, place)


@pytest.mark.parametrize("text", ['error("a\\u0000b")', '"a\\u0000b" | error', '{} | .["\\u0000"] | error("\\u0000x")'])
def test_no_reason_holds_what_no_database_takes(programs: Programs, text: str) -> None:
    outcome = alone(programs, text, "[0, null]")
    assert isinstance(outcome, Failed)
    assert "\0" not in outcome.reason


def test_what_is_too_much_together_is_not_joined(programs: Programs) -> None:
    texts = ['"x" * 900 | .', '"y" * 900 | .']
    for text in texts:
        alone(programs, text, "[0, null]")
    asked = json.dumps(texts).encode()
    assert programs.together(asked, "[0, null]", 2000)
    assert programs.together(asked, "[0, null]", 1000) == b""
    assert programs.together(asked, "[0, null]", 2000) == b"", "it would be evaluated twice, again and again"


def test_only_what_has_compiled_alone_is_joined(programs: Programs) -> None:
    texts = ["1 + 41", "2 + 41"]
    alone(programs, texts[0], "[0, null]")
    assert together(programs, texts, "[0, null]") is None
    alone(programs, texts[1], "[0, null]")
    assert together(programs, texts, "[0, null]") == [Value(42), Value(43)]


def test_what_is_joined_counts_as_memory() -> None:
    programs = Programs(2**19)
    for number in range(40):
        texts = [f"{number} + {place}" for place in range(3)]
        for text in texts:
            alone(programs, text, "[0, null]")
        # Some may have been forgotten by now.
        assert together(programs, texts, "[0, null]") in (None, [Value(number + place) for place in range(3)])
        assert programs.size <= 2**19


@pytest.mark.skipif(not jq_process._address_space(), reason="nobody tells how much memory there is")
def test_what_is_joined_takes_no_more_than_is_counted() -> None:
    programs = Programs(2**40)
    texts = [f"..|..|..|..|..|{number}" for number in range(100)]
    for one in texts:
        alone(programs, one, "[0, null]")
    small, counted = jq_process._address_space(), programs.size
    for _ in range(30):
        texts.append(texts.pop(0))
        assert together(programs, texts, "[0, null]", 10**6)
    assert jq_process._address_space() - small <= (programs.size - counted) * 1.25


@pytest.fixture
async def pool(joined: list[int]) -> AsyncIterator[JqPool]:
    async with JqPool(size=1, limits=Limits(seconds=2, memory=2**27)) as pool:
        yield pool


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many outcomes came together, for each call of which all did."""
    counted: list[int] = []
    original = jq_pool._unjoined

    def unjoined(item: JsonValue) -> Outcome:
        counted.append(1)
        return original(item)

    monkeypatch.setattr(jq_pool, "_unjoined", unjoined)
    return counted


async def habit(pool: JqPool, programs: Sequence[str], document: JsonValue) -> list[Outcome]:
    """The outcomes of a call that has often been made."""
    for _ in range(50):
        outcomes = await pool(programs, document, now=AT)
        if pool._habits.joined(tuple(programs)):
            return outcomes
    raise AssertionError("it never becomes one")


async def test_a_call_that_is_made_again_is_joined_and_its_outcomes_are_the_same(
    pool: JqPool, joined: list[int]
) -> None:
    programs = [".a + 1", "empty", "error(1)", "foo", *(f".a + {number}" for number in range(120))]
    expected = await habit(pool, programs, {"a": 1})
    assert not joined

    assert await pool(programs, {"a": 1}, now=AT) == expected
    assert expected[:3] == [Value(2), Nothing(), Failed("1")]
    assert len(joined) == len(programs)
    assert [Value(number + 5) for number in range(120)] == (await pool(programs, {"a": 5}))[4:]


@pytest.mark.parametrize(("program", "what"), [(SLOW, "slow"), (HUGE, "huge")])
async def test_what_overruns_later_overruns_alone_and_is_not_joined_again(
    pool: JqPool, joined: list[int], program: str, what: str
) -> None:
    programs = [".a + 1", program, ".a + 2"]
    await habit(pool, programs, {"a": 1})
    await pool(programs, {"a": 1})
    assert len(joined) == 3

    outcomes = await pool(programs, {"a": 1, what: 10**9})
    assert [outcomes[0], type(outcomes[1]), outcomes[2]] == [Value(2), Overran, Value(3)]
    assert (await pool(programs, {"a": 1}))[0] == Value(2)
    assert len(joined) == 3, "it was not tried again"


async def test_a_call_that_overruns_is_never_joined(joined: list[int]) -> None:
    async with JqPool(size=1, limits=Limits(seconds=0.5)) as pool:
        for _ in range(TRIED + 1):
            outcomes = await pool([".a + 1", SLOW], {"a": 1, "slow": True})
            assert isinstance(outcomes[1], Overran)
    assert not joined


async def test_a_process_that_dies_over_a_joined_call_costs_nobody_an_outcome(pool: JqPool) -> None:
    expected = await habit(pool, [".a + 1", ".a + 2"], {"a": 1})
    os.kill(pool._idle[-1].pid, signal.SIGKILL)

    assert await pool([".a + 1", ".a + 2"], {"a": 1}) == expected


async def test_a_cancelled_call_leaves_no_answers_behind(pool: JqPool) -> None:
    programs = [".a + 1", SLOW]
    await habit(pool, programs, {"a": 1})
    task = asyncio.create_task(pool(programs, {"a": 1, "slow": True}))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await pool(programs, {"a": 7}) == [Value(8), Value(0)]


def test_habits_are_forgotten_where_there_are_too_many() -> None:
    habits = Habits()
    for number in range(1000):
        for _ in range(TRIED):
            habits.went_well((f"{number}", "."))
    assert habits.joined(("999", ".")) == b'["999", "."]'
    assert habits.joined(("0", ".")) is None
    for number in range(20):
        for _ in range(TRIED):
            habits.went_well(("x" * 2**20, f"{number}"))
    assert habits._size <= 8 * 2**20
    assert habits.joined(("x" * 2**20, "19"))
    assert habits.joined(("999", ".")) is None


def test_what_is_asked_all_the_time_is_not_forgotten() -> None:
    habits, often = Habits(), ("1", "2")
    for _ in range(TRIED):
        habits.went_well(often)
    for number in range(1000):
        assert habits.joined(often), number
        habits.went_well((f"{number}", "."))


def test_what_is_kept_for_habits_counts() -> None:
    habits = Habits()
    for number in range(20):
        programs = ("\U0001f600" * 2**18, f"{number}")
        for _ in range(TRIED):
            habits.went_well(programs)
        assert habits.joined(programs)
    habits.went_wrong(programs)
    habits.went_well(("1", "2"))
    kept = sum(len(habit.texts or b"") + sum(map(len, texts)) for texts, habit in habits._habits.items())
    assert habits._size == kept
    assert kept <= 8 * 2**20


def test_one_program_alone_is_no_habit() -> None:
    habits = Habits()
    for _ in range(TRIED):
        habits.went_well((".",))
    assert habits.joined((".",)) is None


NOT_SINGLE = [
    *(
        "1, 2",
        ".[]",
        "..",
        ".a[]",
        "empty",
        "range(3)",
        "recurse",
        "error",
        '"\\(1, 2)"',
        "def f: 1; f",
        "first(1)",
        "$x",
    ),
    *("# x", ".a?", ".a // 1", "[1]", "{}", "label $f | 1", "if . then 1 end", "input", "1 ?// 2", ".a..", "notempty"),
]


@pytest.mark.parametrize("text", NOT_SINGLE)
def test_whatever_may_have_more_outputs_is_known(text: str) -> None:
    assert not jq_process.SINGLE.fullmatch(text)


def test_what_has_one_output_is_known_at_once() -> None:
    assert all(map(jq_process.SINGLE.fullmatch, SINGLE))
    assert not jq_process.SINGLE.fullmatch("1" * 100_000 + ",")
