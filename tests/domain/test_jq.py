"""What is answered without jq is what jq answers."""

import json

import jq  # type: ignore[import-not-found]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.jq import Value
from domain.jq_reading import demands, followed, led_to

keys = st.sampled_from(["a", "b", "_c", "and", "null", "A1"])
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=6), max_leaves=20
)
paths = st.lists(keys, min_size=1, max_size=3).map(lambda found: "".join(f".{key}" for key in found))
around = st.sampled_from(["", " ", "\n", "\t ", "\r\n"])
literals = (
    st.sampled_from(["true", "false", "null", "0", "1", "-7", '""', '"a"', '"#"', '"é"'])
    | st.integers(-(10**14), 10**14).map(str)
    | st.text(st.characters(exclude_characters='"\\\0', exclude_categories=["Cs"])).map(lambda text: f'"{text}"')
)
operands = paths | literals


@given(document=documents, path=paths, before=around, after=around)
def test_a_path_has_the_value_jq_finds(document: JsonValue, path: str, before: str, after: str) -> None:
    program = before + path + after
    expect_the_same(program, document)


@given(document=documents, left=operands, operator=st.sampled_from(["==", "!="]), right=operands, space=around)
def test_a_comparison_is_what_jq_says(document: JsonValue, left: str, operator: str, right: str, space: str) -> None:
    expect_the_same(space.join(("", left, operator, right, "")), document)


@given(value=plain, literal=literals)
def test_a_literal_is_equal_to_what_jq_says(value: JsonValue, literal: str) -> None:
    for document in ({"a": value}, {"a": json.loads(literal, strict=False)}):
        expect_the_same(f".a == {literal}", document)
        expect_the_same(f"{literal} != .a", document)


scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8)
wholes = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5) | keys, inner, max_size=8),
    max_leaves=40,
)


@given(value=wholes)
def test_a_list_or_an_object_is_what_jq_finds_key_by_key(value: JsonValue) -> None:
    expect_the_same(".a.b", {"a": {"b": value}})
    expect_the_same(".a", {"a": {"b": value}, "b": value})


def joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    words = st.sampled_from([" and ", " or ", "and ", " or\n"])
    several = st.lists(parts, min_size=2, max_size=3)
    return st.one_of(
        st.builds(lambda word, texts: word.join(texts), words, several),
        st.builds(lambda left, word, right: f"{left}{word}({right})", parts, words, parts),
        parts.map(lambda text: f"({text})"),
    )


comparisons = st.builds(
    lambda left, operator, right: f"{left} {operator} {right} ", operands, st.sampled_from(["==", "!="]), operands
)
opaque = st.sampled_from(
    ["(.a | not)", ".a | not", "empty", "error", ".a[]", ".a[]?", "(.b, .a)", ".a // .b", "any", ".a == .b // 1",
     '"and"', "if .a then true else .b end", "(.a | length) > 1", '.["a"] == "or"', "{and: 1}.and", ".. == 1",
     '"\\("a" and "b")"', ".a as $x | $x", "reduce .a as $x (0; 1) and .b", "def f: 1; f", "try error catch .",
     "-1 == .a", ".a # and", ".and == .or", "@text", "[.a, .b | . and true]", ".a < 3", "(.a == 1", ".a ?// 1",
     "1.and .a", ".a = 1", "[] or .b"]
)  # fmt: skip
logic = st.recursive(comparisons | paths | opaque, joined, max_leaves=6)


@given(document=documents, program=logic)
def test_what_is_joined_is_what_jq_says(document: JsonValue, program: str) -> None:
    expect_the_same(program, document)


@given(
    document=st.dictionaries(st.sampled_from(["a", "b", "and", "or"]), st.sampled_from([None, True, False, 0, 1, "a"])),
    program=logic,
)
def test_what_lacks_what_is_demanded_is_not_true(document: dict[str, JsonValue], program: str) -> None:
    for some in demands([program], every=True):
        if all(led_to(path, document) not in (value, None) for path, value in some):
            try:
                first = next(iter(jq.compile(program).input_value(document)), None)
            except ValueError:
                continue
            assert first is not True


@pytest.mark.parametrize(
    ("program", "demanded"),
    [
        ('.a == "x" and .b', ["a"]),
        ('.a == "x" and .b == "y"', ["a", "b"]),
        ('(.a == "x") and (.b | test("y, or z"))', ["a"]),
        ('((.a == "x") and .b > 3)', ["a"]),
        ('.b > 3 and .a == "x" and (.c | not)', ["a"]),
        ('.a == "x" or .b == "y"', ["ab"]),
        ('.a == "x" or .b == "y" and .c == "z"', ["ab", "ac"]),
        ('(.a == "x" or .b == "y") and .c == "z"', ["ab", "c"]),
        ('.a == "x" or .b > 3', []),
        ('.a == "x" and .b == "y" // .c', []),
        ('.a == "x" and .b == "y" | not', []),
        ('if .a == "x" and .b == "y" then false else true end', []),
        ('.a == "x" and .b, true', []),
        ('.a == "x" and .b # or true', []),
        ('.a == "x" and "\\(.b)" == "y"', []),
        (".a and .b", []),
        (".a", ["a"]),
        ('.a == "x" and .b == "y" and', ["a", "b"]),
        ('(.a == "x") and .b == "y")', []),
    ],
)
def test_what_a_program_demands(program: str, demanded: list[str]) -> None:
    found = ["".join(sorted(path[0] for path, _ in some)) for some in demands([program], every=True)]
    assert found == demanded


def test_what_nests_deeply_or_is_long_is_left_to_jq() -> None:
    assert followed(["(" * 60 + ".a" + ")" * 60, ".a and " * 200 + ".a"], {"a": 1}) == [None, None]
    assert followed(["((.a and .b == 1))", ".a or .b"], {"a": 1, "b": 1}) == [Value(True), Value(True)]


def expect_the_same(program: str, document: JsonValue) -> None:
    [answer] = followed([program], document)
    if answer is not None:
        expected = jq.compile(program).input_text(json.dumps(document)).first()
        assert isinstance(answer, Value)
        # Also in the order of keys, and in what is an integer, a fraction or a boolean.
        assert repr(answer.value) == repr(expected)


def test_lists_and_objects_are_answered_as_copies() -> None:
    inner: dict[str, JsonValue] = {"z": [1, {"y": "x"}], "a": None}
    document: JsonValue = {"inputs": inner, "list": [[]]}

    [answer, listed] = followed([" .inputs ", ".list"], document)

    assert isinstance(answer, Value)
    assert isinstance(listed, Value)
    assert repr(answer.value) == repr(inner)
    assert answer.value is not inner
    assert isinstance(answer.value, dict)
    assert answer.value["z"] is not inner["z"]
    assert listed == Value([[]])


def nested(depth: int) -> JsonValue:
    """So many arrays in each other."""
    value: JsonValue = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"x": 1.5},
        [2**53],
        {"x": [1.0]},
        ["\ud800"],
        {"\udfff": 1},
        ["\0"],
        {"\0": 1},
        nested(51),
        ["x" * 50_000],
        {"x" * 50_000: 1},
        [0] * 50_000,
    ],
)
def test_lists_and_objects_that_are_not_plain_or_large_are_left_to_jq(value: JsonValue) -> None:
    assert followed([".a"], {"a": value}) == [None]


@pytest.mark.parametrize("value", [None, True, False, 0, -7, 2**53 - 1, "", "x", "\0", "ünï", "\U0001f600"])
def test_plain_values_need_no_process(value: JsonValue) -> None:
    document: JsonValue = {"a": {"b": value}, "same": value}

    assert followed([".a.b", " .a.none "], document) == [Value(value), Value(None)]
    assert followed([".a.b==.same", ".same != .a.b"], document) == [Value(True), Value(False)]


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        ('.a.b == "x"', True),
        ('.a.b!="x"', False),
        ('"x"==.a.b', True),
        ('.a.b == "y" ', False),
        ("\n.a.one == 1", True),
        (".a.one == true", False),
        (".a.one == .a.true", False),
        (".a.one != -1", True),
        (".a.true == true", True),
        (".a.true != false", True),
        (".a.none == null", True),
        (".a.none == false", False),
        (".a.none == .none.at.all", True),
    ],
)
def test_comparisons_of_plain_values_need_no_process(program: str, answer: bool) -> None:
    assert followed([program], {"a": {"b": "x", "one": 1, "true": True}}) == [Value(answer)]


@pytest.mark.parametrize(
    ("program", "value"),
    [
        (".a.b.c", 1),  # through a number: jq says how it fails
        (".a.b", 1.0),
        (".a.b", 2**53),
        (".a.b", "\ud800"),
        (".a.b == null", {}),
        (".a.b != .known", [1]),
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
        ("\f.a.b", 1),
        (".a.b == 1.0", 1),
        (".a.b == 1e0", 1),
        (".a.b == -0", 0),
        (".a.b == 01", 1),
        (f".a.b == {2**53}", 1),
        (".a.b == 1", 1.0),
        (".a.b == .a.b", {}),
        (".a.b == .a.b", "\ud800"),
        (".a.b == .a.b.c", 1),
        ('.a.b == "\\n"', 1),
        ('.a.b == "\\(1)"', 1),
        ('.a.b == "\0"', 1),
        ('.a.b == "\ud800"', 1),
        ('.a.b == "x" "', 1),
        (".a.b == 'x'", 1),
        (".a.b == x", 1),
        (".a.b == {}", {}),
        (".a.b == 1 == 1", 1),
        (".a.b = 1", 1),
        (".a.b === 1", 1),
        (".a.b > 0", 1),
        ("(.a.b > 0)", 1),
        (".a.b == 1 and (1 | not)", 1),
        (".a.b == 1 and true | not", 1),
        (".a.b == " + " " * 1000 + "1", 1),
        ("", 1),
        ("now", 1),
    ],
)
def test_everything_else_is_left_to_jq(program: str, value: JsonValue) -> None:
    document: JsonValue = {"a": {"b": value}, "known": 1}

    assert followed([".known", program, ".known == 1"], document) == [Value(1), None, Value(True)]


def test_no_programs_have_no_answers() -> None:
    assert followed([], {}) == []
