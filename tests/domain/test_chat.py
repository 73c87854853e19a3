"""Commands as people write them, and the values in them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.approvals import Word
from domain.chat import Ask, Command, Decide, Help, Status, command, properties
from domain.errors import InvalidInputs, InvalidRequest
from domain.inputs import UserInputs

RUN = "r_0123456789abcdef"

UNDERSTOOD: dict[str, Command] = {
    "": Help(),
    "  help me ": Help(),
    f"status {RUN}": Status(RUN),
    f"STATUS  {RUN} ": Status(RUN),
    f"approve {RUN}": Decide(RUN, Word.APPROVE),
    f"approve {RUN}  looks good,\nsaid 'Ada' ": Decide(RUN, Word.APPROVE, "looks good,\nsaid 'Ada'"),
    f"decline {RUN} it's \"too late": Decide(RUN, Word.DECLINE, "it's \"too late"),
    "request deploy": Ask("deploy"),
    "request deploy on cart": Ask("deploy", "cart"),
    'request deploy on "the cart" a=1': Ask("deploy", "the cart", {"a": "1"}),
    'request deploy on "a=b"': Ask("deploy", "a=b"),
    "request deploy on=1": Ask("deploy", None, {"on": "1"}),
    "request deploy a=x=y b=": Ask("deploy", None, {"a": "x=y", "b": ""}),
    'request deploy a="x y" b=\'{"c": "d"}\'': Ask("deploy", None, {"a": "x y", "b": '{"c": "d"}'}),
    r'request deploy a="say \"hi\" \\ \n"': Ask("deploy", None, {"a": r'say "hi" \ \n'}),
    "request deploy a=“x y” b=”z”": Ask("deploy", None, {"a": "x y", "b": "z"}),
    "request deploy a=\N{LEFT SINGLE QUOTATION MARK}x y\N{RIGHT SINGLE QUOTATION MARK}": Ask(
        "deploy", None, {"a": "x y"}
    ),
    "request deploy a=don't b=5\"": Ask("deploy", None, {"a": "don't", "b": '5"'}),
    'request deploy a=""': Ask("deploy", None, {"a": ""}),
    r"request deploy a=C:\x\y": Ask("deploy", None, {"a": r"C:\x\y"}),
}


@pytest.mark.parametrize("text", UNDERSTOOD)
def test_a_command_is_understood(text: str) -> None:
    assert command(text) == UNDERSTOOD[text]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frobnicate x", '"frobnicate" is no command'),
        ("approve", "say which run"),
        ("status", "say which run"),
        (f"status {RUN} more", "say which run"),
        ("request", "say which action"),
        ("request a=1", "say which action"),
        ("request deploy on", "say on which entity"),
        ("request deploy cart", "is no input=value"),
        ("request deploy =1", "is no input=value"),
        ("request deploy a=1 a=2", "is there twice"),
        ('request deploy a="x y', "does not end"),
        ('request deploy a="x"y', "there must be a space"),
        ("x" * 10_001, "at most 10000"),
    ],
)
def test_what_is_no_command_says_what_is_missing(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        command(text)
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 300


@given(st.text(max_size=200))
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    for written in (text, f"request {text}", f"request deploy a={text}", f"approve {text}"):
        with suppress(InvalidRequest):
            assert isinstance(command(written), Help | Ask | Status | Decide)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text(max_size=30), max_size=4))
def test_every_value_can_be_written_in_double_quotes(inputs: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("”", "\\”") + '"'

    text = " ".join(["request deploy", *(f"{name}={quoted(value)}" for name, value in inputs.items())])
    assert command(text) == Ask("deploy", None, inputs)


FORM = UserInputs.model_validate(
    {
        "properties": {
            "text": {"type": "string"},
            "number": {"type": "number"},
            "switch": {"type": "boolean"},
            "thing": {"type": "object"},
            "words": {"type": "array", "items": {"type": "string"}},
            "counts": {"type": "array", "items": {"type": "number"}},
            "any": {"type": "array"},
            "hush": {"type": "string", "encryption": "aes256-gcm"},
        }
    }
)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "007", "007"),
        ("text", "true", "true"),
        ("text", "", ""),
        ("number", "3", 3),
        ("number", "-2.5e3", -2500.0),
        ("switch", "TRUE", True),
        ("switch", "no", False),
        ("thing", '{"a": [1]}', {"a": [1]}),
        ("words", "a, b", ["a", "b"]),
        ("words", '["a, b"]', ["a, b"]),
        ("words", "", []),
        ("counts", "1,2.5", [1, 2.5]),
        ("counts", "[1]", [1]),
        ("any", "1,x", ["1", "x"]),
    ],
)
def test_a_value_is_read_by_the_type_of_its_input(name: str, text: str, value: object) -> None:
    read = properties(FORM, {name: text})[name]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("number", "three"),
        ("number", "true"),
        ("number", "NaN"),
        ("number", "Infinity"),
        ("number", "1e999"),
        ("number", '"3"'),
        ("number", ""),
        ("switch", "1"),
        ("thing", "[1]"),
        ("thing", "{a: 1}"),
        ("counts", "1,x"),
        ("counts", "[1"),
        ("words", "[1"),
        ("text", "a\x00b"),
        ("hush", "secret"),
        ("other", "1"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_by_its_input(name: str, text: str) -> None:
    with pytest.raises((InvalidInputs, InvalidRequest)) as refusal:
        properties(FORM, {name: text})
    if name != "text":
        assert str(refusal.value).startswith(f"/{name} ")
    assert "secret" not in str(refusal.value).replace("is secret, and secrets", "")


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidInputs) as refusal:
        properties(FORM, {"number": "x", "switch": "x", "text": "fine"})
    assert [problem.partition(" ")[0] for problem in refusal.value.problems] == ["/number", "/switch"]
