"""Templates render as the published engine renders them, and secrets stay where they are delivered."""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain import templating
from domain.documents import canonical
from domain.errors import TemplateFault
from domain.jq import Evaluator, Failed, Nothing, Outcome, Value
from domain.templating import MASK, Rendering, Template, names_secrets

CONTEXT: dict[str, JsonValue] = {"foo": "bar", "n": 1, "nul": None, "arr": ["x"], "obj": {"k": "v"}}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=8,
)
braced = st.lists(st.sampled_from(["{{", "}}", "{", "}", "'", '"', "\\", " .a ", "x", "secrets"])).map("".join)


async def rendered(document: JsonValue, context: dict[str, JsonValue], evaluate: Evaluator, **how: Any) -> Rendering:
    """The document rendered over the context."""
    return await Template.parse(document).rendered(context, evaluate, **how)


def answered(document: JsonValue, outcomes: Mapping[str, Outcome] | None = None) -> JsonValue:
    """The document rendered with these outcomes, and null for every other program."""
    template = Template.parse(document)
    known: dict[str, Outcome] = dict.fromkeys((*template.programs, *template.secret_programs), Value(None))
    known |= outcomes or {}
    return template.render(known, secret_outcomes=known).value


class Asked:
    """An evaluator that remembers what it was asked, and answers with the program's text."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[str, ...], JsonValue]] = []
        self.nows: list[datetime | None] = []

    async def __call__(
        self, programs: Sequence[str], document: JsonValue, *, now: datetime | None = None
    ) -> list[Outcome]:
        self.calls.append((tuple(programs), document))
        self.nows.append(now)
        return [Value(program.strip()) for program in programs]


# What real jq makes of each golden row.


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{{ .missing }}", None),
        ("  {{ .n }}\n", 1),
        ("{{ .obj }}", {"k": "v"}),
        ("u={{ .n }}&o={{ .obj }}&z={{ .nul }}", 'u=1&o={"k":"v"}&z=null'),
        ("{{ .foo }}{{ .n }}", "bar1"),
        ({"a": "{{ empty }}", "b": 1}, {"b": 1}),
        (["{{ empty }}", 1], [None, 1]),
        ("a{{ empty }}b", "aundefinedb"),
        ({"{{ null }}": 1, '{{ "" }}': 2, "x": 3}, {"x": 3}),
        ({"{{ empty }}": 1, "x": 3}, {"x": 3}),
        ({"a": 0, "{{ spreadValue() }}": "{{ .obj }}", "k": "w"}, {"a": 0, "k": "w"}),
        (["{{ .foo }}", True, "p/{{ .foo }}"], ["bar", True, "p/bar"]),
        ("{{'pre-' + .foo}}", "pre-bar"),
        ("{{ .foo + 1 }}", None),
        ("{{ foo }}", None),
        ('{{ {"bucket-name": 5}."bucket-name" }}', 5),
        ("{{ 10 / 2 }}", 5),
        ("{{ 10 / 2 }}%", "5%"),
        ("{{ [2.0, {a: 4.0}] }}!", '[2,{"a":4}]!'),
        ("{{ .arr[], 2 }}", "x"),
        ("{{ }}", None),
        ("{{ env.PATH }}", None),
        ("{{ $ENV }}", {}),
    ],
)
async def test_a_golden_case_renders_as_published(
    document: JsonValue, expected: JsonValue, evaluate: Evaluator
) -> None:
    rendering = await rendered(document, CONTEXT, evaluate, secrets=None)

    assert rendering.value == expected
    assert type(rendering.value) is type(expected)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"{{ 1 }}": 1},
            "Evaluated object key should be undefined, null or string. Original key: {{ 1 }}, evaluated to: 1",
        ),
        (
            {"{{ spreadValue() }}": "str"},
            "Evaluated value should be an object if the key is {{ spreadValue() }}. "
            'Original value: str, evaluated to: "str"',
        ),
        (
            {"{{ spreadValue() }}": "{{ .nul }}"},
            "Evaluated value should be an object if the key is {{ spreadValue() }}. "
            "Original value: {{ .nul }}, evaluated to: null",
        ),
        (
            {"{{spreadValue( )}}": "{{ empty }}"},
            "Evaluated value should be an object if the key is {{spreadValue( )}}. "
            "Original value: {{ empty }}, evaluated to: undefined",
        ),
        ("x {{ .foo", "Found opening double braces in index 2 without closing double braces"),
        ("x }} y", "Found closing double braces in index 2 without opening double braces"),
    ],
)
async def test_a_golden_fault_has_the_published_text(document: JsonValue, message: str, evaluate: Evaluator) -> None:
    with pytest.raises(TemplateFault) as fault:
        await rendered(document, CONTEXT, evaluate, secrets=None)

    assert str(fault.value) == message


async def test_now_is_the_time_that_was_given(evaluate: Evaluator) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    assert (await rendered("{{ now | todate }}", {}, evaluate, secrets=None, now=at)).value == "2026-01-02T03:04:05Z"


# The scanner.


@pytest.mark.parametrize(
    ("text", "programs"),
    [
        ("don't {{ .a }}", (" .a ",)),
        ('{{ "}}" }}', (' "}}" ',)),
        ('{{ "{{" }}', (' "{{" ',)),
        (r'{{ "\"}}" }}', (r' "\"}}" ',)),
        ("{{ {a:1} }}", (" {a:1} ",)),
        ("{{{a:1}}}", ("{a:1",)),
        ("{{ {a:1}}}", (" {a:1",)),
        ("{{ {a:{b:1} } }}", (" {a:{b:1} } ",)),
        ("{{ .a }}{{ .b }}{{ .a }}", (" .a ", " .b ")),
        ("{{}}", ("",)),
        (r"{{ \}}", (" \\",)),
        (r"{{ \{ }}", (r" \{ ",)),
        ("a } b { c", ()),
        (r"\{{ .a }}", (" .a ",)),
    ],
)
def test_the_scanner_finds_programs_as_published(text: str, programs: tuple[str, ...]) -> None:
    assert Template.parse(text).programs == programs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ {a:{b:1}} }}", "Found closing double braces in index 13 without opening double braces"),
        ('{"a":{"b":1}}', "Found closing double braces in index 11 without opening double braces"),
        ("{{ don't }}", "Found opening double braces in index 0 without closing double braces"),
        ("{{ .a {{ .b }}", "Found double braces in index 6 inside other one in index 0"),
        ("{{{{ .a }}", "Found double braces in index 2 inside other one in index 0"),
        ("{{ .a }}}}", "Found closing double braces in index 8 without opening double braces"),
        ("\N{GRINNING FACE} }}", "Found closing double braces in index 3 without opening double braces"),
    ],
)
def test_a_scanner_fault_has_the_published_text(text: str, message: str) -> None:
    with pytest.raises(TemplateFault) as fault:
        answered(text)

    assert str(fault.value) == message


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("{{'a' + 'b'}}", '"a" + "b"'),
        ("{{ .a + ' b' }}", " .a + ' b\" "),
        ("{{ test('x') }}", " test('x') "),
        ("{{ 'a\n' }}", " \"a\n' "),
        ("{{ '\"a\"' }}", " '\"a\"' "),
    ],
)
def test_a_single_quote_at_the_edge_of_a_word_is_a_double_quote(text: str, program: str) -> None:
    assert Template.parse(text).programs == (program,)


def test_a_third_closing_brace_after_a_whole_template_is_lost() -> None:
    assert answered("{{ .a }}}", {" .a ": Value(7)}) == 7


# Objects and arrays.


def test_a_key_that_renders_to_null_drops_its_entry_and_the_fault_below_it() -> None:
    assert answered({"{{ .a }}": ["x }} y"], "b": 1}) == {"b": 1}


def test_an_empty_key_drops_its_entry_even_when_it_was_written_so() -> None:
    assert answered({"": 1, "a": 2}) == {"a": 2}


def test_a_fault_in_a_key_is_raised() -> None:
    with pytest.raises(TemplateFault):
        answered({"{{ .a": 1})


def test_the_last_of_equal_keys_wins_at_the_place_of_the_first() -> None:
    value = answered({"a": 1, "b": 2, "{{ .k }}": 3}, {" .k ": Value("a")})

    assert canonical(value) == '{"a":3,"b":2}'


def test_an_undefined_value_takes_an_earlier_one_away() -> None:
    assert answered({"a": 1, "{{ .k }}": "{{ .v }}"}, {" .k ": Value("a"), " .v ": Nothing()}) == {}


@pytest.mark.parametrize("value", [["x", "y"], "{{ .list }}"])
def test_an_array_spreads_as_its_indices(value: JsonValue) -> None:
    document: JsonValue = {"deep": [{" {{ spreadValue() }} ": value}]}

    assert answered(document, {" .list ": Value(["x", "y"])}) == {"deep": [{"0": "x", "1": "y"}]}


def test_an_object_spreads_after_its_own_templates_are_rendered() -> None:
    document: JsonValue = {"{{ spreadValue() }}": {"{{ .k }}": "{{ .v }}", "b": 2}, "z": 3}

    assert answered(document, {" .k ": Value("a"), " .v ": Value(1)}) == {"a": 1, "b": 2, "z": 3}


def test_undefined_at_the_root_is_told_apart_from_null() -> None:
    template = Template.parse("{{ empty }}")

    assert template.render({" empty ": Nothing()}, secret_outcomes=None).undefined
    assert not template.render({" empty ": Value(None)}, secret_outcomes=None).undefined


def test_a_failed_template_is_null_and_named_once() -> None:
    template = Template.parse(["{{ .a }}", "x{{ .a }}", {"{{ null }}": "{{ .b }}"}])
    outcomes: dict[str, Outcome] = {" .a ": Failed("it broke"), " null ": Value(None), " .b ": Failed("never used")}

    rendering = template.render(outcomes, secret_outcomes=None)

    assert rendering.value == [None, "xnull", {}]
    assert rendering.warnings == ("the template {{ .a }} failed and was rendered as null: it broke",)


def test_a_large_answer_cannot_be_repeated_without_end() -> None:
    with pytest.raises(TemplateFault, match="larger than"):
        answered("{{ .a }} " * 20, {" .a ": Value("x" * (templating.MAX_RENDERED // 10))})


# The secrets boundary.

SECRETS = {"TOKEN": "t0p-s3cret"}
STORED: dict[str, JsonValue] = {"x": 1, "secrets": {"OLD": "t0p-s3cret"}}


@pytest.mark.parametrize(
    "program",
    [".", '.["sec" + "rets"]', r'.["\u0073ecrets"]', "to_entries", "[paths]", "[..]", "tojson", "input", "$__loc__"],
)
async def test_a_program_that_does_not_name_secrets_cannot_reach_them(program: str, evaluate: Evaluator) -> None:
    document: JsonValue = [f"{{{{ {program} }}}}", "{{ .secrets.TOKEN }}"]

    rendering = await rendered(document, STORED, evaluate, secrets=SECRETS)

    assert isinstance(rendering.value, list)
    assert rendering.value[1] == "t0p-s3cret", "the search can find what is there"
    assert "t0p-s3cret" not in canonical(rendering.value[0])


async def test_the_delivery_copy_has_secrets_and_null_for_a_missing_one(evaluate: Evaluator) -> None:
    document: JsonValue = ['{{ .secrets["TOKEN"] }}', "Bearer {{ .secrets.GONE }}"]

    assert (await rendered(document, {}, evaluate, secrets=SECRETS)).value == ["t0p-s3cret", "Bearer null"]


async def test_the_delivery_tells_what_was_made_of_secrets(evaluate: Evaluator) -> None:
    document: JsonValue = {
        "half": "x {{ .secrets.TOKEN[:3] }} y",
        "list": '{{ [.secrets.TOKEN[4:], 1.5, true, null, {"k": [7]}] }}',
        "none": "{{ .secrets.GONE }}{{ .secrets.TOKEN == null }}",
        "other": "{{ .name }}",
    }
    context: dict[str, JsonValue] = {"name": "ada"}

    rendering = await rendered(document, context, evaluate, secrets=SECRETS)
    assert rendering.made == {
        *("t0p", "s3cret", "1.5", "k", "7"),
        '["s3cret",1.5,true,null,{"k":[7]}]',
    }
    assert "s3cret" not in repr(rendering).replace(repr(rendering.value), "")
    assert (await rendered(document, context, evaluate, secrets=None)).made == frozenset()


def test_what_was_made_of_secrets_is_not_told_again_for_each_level() -> None:
    deep: JsonValue = "x" * 10_000
    for _ in range(90):
        deep = [deep]
    template = Template.parse("{{ .secrets }}")

    made = template.render({}, secret_outcomes={template.secret_programs[0]: Value(deep)}).made
    assert sorted(map(len, made)) == [10_000, 10_182]


async def test_the_masked_copy_never_asks_with_secrets() -> None:
    asked = Asked()
    document: JsonValue = {
        "headers": {"Authorization": "Bearer {{ .secrets.T }}", "X": "{{ .x }}"},
        "list": [0, "{{ .secrets }}"],
        "{{ .secrets.K }}": 1,
        "into": {"{{ spreadValue() }}": "{{ .secrets }}"},
        "below": {"{{ spreadValue() }}": ["{{ .secrets.T }}"]},
    }

    rendering = await rendered(document, STORED, asked, secrets=None)

    assert asked.calls == [((" .x ",), {"x": 1})]
    assert rendering.value == {
        "headers": {"Authorization": f"Bearer {MASK}", "X": ".x"},
        "list": [0, MASK],
        MASK: 1,
        "into": {MASK: MASK},
        "below": {"0": MASK},
    }
    assert rendering.masked_paths == (
        ("headers", "Authorization"),
        ("list", 1),
        (MASK,),
        ("into", MASK),
        ("below", "0"),
    )


async def test_secrets_cost_a_second_question_only_when_they_are_named() -> None:
    asked = Asked()
    at = datetime(2026, 1, 2, tzinfo=UTC)

    await rendered(["{{ .a }}", "{{ .a }}"], {"a": 1}, asked, secrets=SECRETS, now=at)
    assert asked.calls == [((" .a ",), {"a": 1})]

    await rendered("{{ .a }}{{ .secrets.T }}", {"a": 1}, asked, secrets=SECRETS, now=at)
    assert asked.calls[1:] == [((" .a ",), {"a": 1}), ((" .secrets.T ",), {"a": 1, "secrets": SECRETS})]
    assert asked.nows == [at] * 3


@pytest.mark.parametrize(
    "document",
    [
        {"{{ .secrets }}": 1},
        {"{{ spreadValue() }}": "{{ .secrets.TOKEN }}"},
        {"{{ spreadValue() }}": "x{{ .secrets.TOKEN }}"},
    ],
)
async def test_a_fault_does_not_quote_a_secret(document: JsonValue, evaluate: Evaluator) -> None:
    with pytest.raises(TemplateFault) as fault:
        await rendered(document, {}, evaluate, secrets=SECRETS)

    assert str(fault.value).endswith(f"evaluated to: {MASK}")


async def test_a_warning_does_not_quote_a_secret(evaluate: Evaluator) -> None:
    rendering = await rendered(["{{ .secrets.TOKEN + 1 }}", '{{ "t0p" + 1 }}'], {}, evaluate, secrets=SECRETS)

    secret, public = rendering.warnings
    assert "t0p" in public, "the search can find what is there"
    assert secret == "the template {{ .secrets.TOKEN + 1 }} failed and was rendered as null"


def test_names_secrets_asks_for_the_word() -> None:
    assert names_secrets(".secrets.TOKEN")
    assert not names_secrets(".inputs.secret")


# Properties.


def _integral(value: JsonValue) -> JsonValue:
    match value:
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
        case dict():
            return {key: _integral(item) for key, item in value.items()}
        case list():
            return [_integral(item) for item in value]
    return value


@given(json_values)
def test_a_document_without_templates_is_unchanged(document: JsonValue) -> None:
    if "{{" not in (text := canonical(document)) and "}}" not in text:
        assert answered(document) == document


@given(json_values)
def test_one_slot_renders_to_the_value_itself(value: JsonValue) -> None:
    result = answered(" {{ .x }}\n", {" .x ": Value(value)})

    assert canonical(result) == canonical(value)
    assert repr(result) == repr(_integral(value))


@given(st.text() | braced, json_values)
def test_rendering_raises_nothing_but_a_template_fault(text: str, value: JsonValue) -> None:
    parts: tuple[JsonValue, ...] = (text, {text: text}, {"{{ spreadValue() }}": text})
    for template in map(Template.parse, parts):
        outcomes: dict[str, Outcome] = dict.fromkeys((*template.programs, *template.secret_programs), Value(value))
        for secret_outcomes in (outcomes, None):
            with contextlib.suppress(TemplateFault):
                canonical(template.render(outcomes, secret_outcomes=secret_outcomes).value)


@given(braced)
def test_what_names_secrets_is_never_asked_without_them(text: str) -> None:
    template = Template.parse([text, {text: 1}])

    assert not any(map(names_secrets, template.programs))
    assert all(map(names_secrets, template.secret_programs))
