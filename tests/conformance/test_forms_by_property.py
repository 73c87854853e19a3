"""What holds for every form, whatever is in it: its own defaults, inputs it does not declare, and inputs nobody sees.

Undeclared inputs are accepted, not refused, because clients send them (`docs/decisions/0009-contract-choices.md`): what
has to hold is that they change nothing else.
"""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import form_views
from domain.documents import Document
from domain.inputs import refuse_faults
from domain.jq import Evaluator
from tests.conformance.support import form, jq, of

pytestmark = pytest.mark.asyncio(loop_scope="module")

examples = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
numbers = st.integers(-1_000, 1_000) | st.floats(-1_000, 1_000).map(lambda number: round(number, 3))


def _computed(value: Any) -> st.SearchStrategy[Any]:
    """The value as it is, or as a program that gives it."""
    return st.sampled_from([value, jq(json.dumps(value))])


@st.composite
def _keywords(draw: st.DrawFn, kind: str, value: Any) -> Document:
    """Constraints that the value meets."""
    others: st.SearchStrategy[Any] = {"string": texts, "number": numbers}.get(kind, st.just(value))
    options: dict[str, Document] = {
        "string": {
            "minLength": draw(st.integers(0, len(value))) if kind == "string" else 0,
            "maxLength": draw(st.integers(len(value), 20)) if kind == "string" else 0,
            "pattern": draw(_computed(r"^[\s\S]*$")),
        },
        "number": {"minimum": value, "maximum": value, "exclusiveMinimum": -1_001, "exclusiveMaximum": 1_001},
        "array": {
            "minItems": draw(_computed(len(value))) if kind == "array" else 0,
            "maxItems": draw(_computed(len(value) + 1)) if kind == "array" else 0,
            "items": {"type": "string"},
        },
        "object": {"additionalProperties": {"type": "string"}},
        "boolean": {},
    }
    if kind in ("string", "number"):
        options[kind]["enum"] = draw(_computed([*draw(st.lists(others, max_size=2)), value]))
    chosen = draw(st.sets(st.sampled_from(sorted(options[kind])))) if options[kind] else set()
    return {key: options[kind][key] for key in sorted(chosen)}


@st.composite
def _inputs(draw: st.DrawFn, *, with_default: bool | None = None) -> Document:
    """An input; its default meets its own definition."""
    kind, values = draw(
        st.sampled_from(
            [
                ("string", texts),
                ("number", numbers),
                ("boolean", st.booleans()),
                ("array", st.lists(texts, max_size=3)),
                ("object", st.dictionaries(texts, texts, max_size=2)),
            ]
        )
    )
    value: Any = draw(values)
    found: Document = {"type": kind, **draw(_keywords(kind, value))}
    if with_default or (with_default is None and draw(st.booleans())):
        found["default"] = draw(_computed(value))
    for flag in ("visible", "disabled"):
        if draw(st.booleans()):
            found[flag] = draw(_computed(draw(st.booleans())))
    return found


@st.composite
def _forms(draw: st.DrawFn, *, with_defaults: bool | None = None) -> Document:
    """A form of a few inputs, laid out somehow, which requires some of them somehow."""
    found = draw(st.lists(_inputs(with_default=with_defaults), min_size=1, max_size=4))
    properties: dict[str, Any] = {f"i{place}": one for place, one in enumerate(found)}
    names = list(properties)
    if len(names) > 1:
        properties[names[-1]]["dependsOn"] = names[:-1]
    required = draw(st.lists(st.sampled_from(names), unique=True))
    whole: dict[str, Any] = {
        "properties": properties,
        "required": draw(st.sampled_from([required, jq(json.dumps(required)), jq("true")])),
    }
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(names)))
        shown: Any = draw(_computed(draw(st.booleans())))
        whole["steps"] = [{"title": "1", "order": names[:cut]}, {"title": "2", "order": names[cut:], "visible": shown}]
    elif draw(st.booleans()):
        whole["order"] = list[Any](draw(st.permutations(names)))
    return whole


def _is(part: Any) -> Any:
    """What a part says, however it is written."""
    return json.loads(part["jqQuery"]) if isinstance(part, dict) and part.keys() == {"jqQuery"} else part


def _nobody_sees(whole: Any, name: str) -> bool:
    """Whether the input is hidden, by itself or with all its pages; said again here, apart from the product."""
    pages = [step for step in whole.get("steps", []) if name in step["order"]]
    hidden = bool(pages) and not any(_is(step.get("visible", True)) for step in pages)
    return hidden or _is(whole["properties"][name].get("visible", True)) is False


@examples
@given(_forms(with_defaults=True))
async def test_a_form_that_is_shown_accepts_its_own_defaults(evaluate: Evaluator, whole: Any) -> None:
    written = form(**whole)
    refuse_faults(written)
    shown: Any = form_views.view(await of(evaluate, written, to_show=True), {})
    assert shown["errors"] == [] == [error for one in shown["inputs"] for error in one["errors"]]
    filled = {one["identifier"]: one["value"] for one in shown["inputs"]}
    assert filled == {name: _is(one["default"]) for name, one in whole["properties"].items()}
    sent = await of(evaluate, written, filled)
    assert (sent.faults, sent.values) == ((), filled)
    assert (await of(evaluate, written)).values == filled, "who sends nothing gets the same"


@examples
@given(_forms(), st.dictionaries(texts.map(lambda name: f"?{name}"), texts | st.none() | st.lists(texts), max_size=3))
async def test_what_is_not_declared_is_kept_and_changes_nothing_else(
    evaluate: Evaluator, whole: Any, others: Document
) -> None:
    written = form(**whole)
    alone, beside = await of(evaluate, written), await of(evaluate, written, others)
    assert (beside.faults, beside.values) == (alone.faults, {**alone.values, **others})
    assert list(beside.values) == [*alone.values, *others], "declared inputs come first"
    assert form_views.view(alone, {}) == form_views.view(beside, {})


@examples
@given(_forms())
async def test_what_nobody_sees_is_never_required(evaluate: Evaluator, whole: Any) -> None:
    found = await of(evaluate, form(**whole))
    names: list[str] = list(whole["properties"]) if _is(whole["required"]) is True else _is(whole["required"])
    demanded = {name for name in names if "default" not in whole["properties"][name] and not _nobody_sees(whole, name)}
    assert {fault for fault in found.faults if fault.endswith("is required")} == {
        f"/{name} is required" for name in demanded
    }
    shown: Any = form_views.view(found, {})
    hidden = {name for name in whole["properties"] if _nobody_sees(whole, name)}
    assert {one["identifier"] for one in shown["inputs"] if one["required"]} <= set(names) - hidden
