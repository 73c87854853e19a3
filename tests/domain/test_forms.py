"""Forms evaluated: every part that jq may compute, what holds where it does not, and what hostile ones cannot do."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from domain import form_views, forms
from domain.actions import Definition
from domain.documents import Document
from domain.errors import InvalidInputs, InvalidRequest
from domain.form_values import MOST_NAMED, batches, ordered, user_of
from domain.forms import Evaluated
from domain.inputs import UserInputs
from domain.jq import Evaluator, Outcome
from domain.rule_values import Query
from domain.templating import MASK
from domain.users import Caller, User
from runtime.jq_pool import JqPool, Limits
from tests.api.examples import MOVE_WORKLOAD, NEW_QUEUE

AT = datetime(2026, 1, 5, 10, tzinfo=UTC)
KIM = User(id="usr_17", email="kim@example.org", first_name="Kim", teams=("payments",), created_at=AT, updated_at=AT)
WORKLOAD: Document = {
    "identifier": "checkout", "blueprint": "workload", "team": ["payments"],
    "properties": {"tier": "gold", "labels": ["a"]}, "relations": {}, "scorecards": {},
}  # fmt: skip


@dataclass
class Around:
    """A catalog of a few entities, which counts what it is asked."""

    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    entity: Document | None = None
    offers: Collection[str] = ()
    asked: list[str] = field(default_factory=list)

    async def seen(self, programs: Collection[str]) -> Document:
        self.asked.append("seen")
        seen: Document = {"user": user_of(Caller("org", "id", KIM), None), "blueprint": "workload"}
        return seen if self.entity is None else {**seen, "entity": self.entity}

    async def entities(self, blueprint: str, identifiers: Collection[str]) -> Mapping[str, Document]:
        self.asked.append(f"{blueprint} {' '.join(sorted(identifiers))}")
        known = self.known.get(blueprint, ())
        return {one: {"identifier": one, "title": one.upper()} for one in identifiers if one in known}

    async def offered(self, blueprint: str, identifiers: Collection[str], dataset: Query) -> Collection[str]:
        if self.offers == "nothing can be asked":
            raise InvalidRequest("rules: too many")
        return [one for one in identifiers if one in self.offers]


@dataclass
class Counting:
    """An evaluator that remembers its trips."""

    evaluate: Evaluator
    trips: list[Sequence[str]] = field(default_factory=list)

    async def __call__(
        self, programs: Sequence[str], document: JsonValue, *, now: datetime | None = None
    ) -> list[Outcome]:
        self.trips.append(programs)
        return await self.evaluate(programs, document, now=now)


def jq(program: str) -> dict[str, str]:
    """A computed part."""
    return {"jqQuery": program}


def form(properties: dict[str, Any], **rest: Any) -> UserInputs:
    """A form."""
    return UserInputs.model_validate({"properties": properties, **rest})


async def of(
    evaluate: Evaluator, written: UserInputs, sent: Document | None = None, around: Around | None = None, **how: Any
) -> Evaluated:
    """The form evaluated."""
    return await forms.evaluated(written, sent or {}, around or Around(), evaluate, at=AT, **how)


async def test_a_computed_default_never_replaces_what_was_sent(evaluate: Evaluator) -> None:
    written = form({"a": {"type": "boolean", "default": jq("true")}, "b": {"type": "string", "default": jq('"x"')}})
    for to_show in (False, True):
        found = await of(evaluate, written, {"a": False, "b": ""}, to_show=to_show)
        assert found.values == {"a": False, "b": ""}


FAILING = ("error", "nonsense(", "empty", "null")


@pytest.mark.parametrize(
    ("definition", "program", "value", "kept"),
    [
        ({"type": "string"}, '"a"', None, "a"),
        ({"type": "string"}, "1", None, None),
        ({"type": "string"}, '"a\\u0000"', None, None),
        ({"type": "string"}, "1, 2", None, None),
        ({"type": "string"}, '"first", "second"', None, "first"),
        ({"type": "string"}, '"a"', "", ""),
        ({"type": "number"}, "1.5", None, 1.5),
        ({"type": "number"}, "true", None, None),
        ({"type": "number"}, "1", 0, 0),
        ({"type": "boolean"}, "false", None, False),
        ({"type": "boolean"}, "true", False, False),
        ({"type": "boolean"}, "0", None, None),
        ({"type": "object"}, '{"a": 1}', None, {"a": 1}),
        ({"type": "object"}, "[]", None, None),
        ({"type": "array"}, "[1]", None, [1]),
        ({"type": "array"}, '"a"', None, None),
        *(({"type": "string"}, program, None, None) for program in FAILING),
    ],
)
async def test_a_default_is_of_the_inputs_type_or_there_is_none(
    evaluate: Evaluator, definition: Document, program: str, value: JsonValue, kept: JsonValue
) -> None:
    found = await of(evaluate, form({"x": {**definition, "default": jq(program)}}), {"x": value})
    assert found.values.get("x") == kept
    assert found.faults == ()


async def test_the_default_of_an_array_may_be_that_of_its_items(evaluate: Evaluator) -> None:
    items = {"type": "number", "default": jq("[1, 2]")}
    assert (await of(evaluate, form({"x": {"type": "array", "items": items}}))).values == {"x": [1, 2]}


@pytest.mark.parametrize(
    ("part", "program", "good", "bad", "fault"),
    [
        ({"type": "string", "enum": ...}, '["a", "b"]', "a", "c", '/x must be one of "a", "b"'),
        ({"type": "string", "enum": ...}, '["a", "a", 1, null]', "a", "b", '/x must be one of "a"'),
        ({"type": "number", "enum": ...}, "[1, 2]", 1.0, 3, "/x must be one of 1, 2"),
        ({"type": "array", "items": {"type": "string", "enum": ...}}, '["a"]', ["a"], ["b"], '/x/0 must be one of "a"'),
        ({"type": "string", "pattern": ...}, '"^a+$"', "aa", "b", '/x must match pattern "^a+$"'),
        ({"type": "string", "pattern": ...}, '["a", "b"]', "b", "aa", '/x must be one of "a", "b"'),
        ({"type": "string", "enum": ["a", "b"], "pattern": ...}, '["b", "c"]', "b", "a", '/x must be one of "b"'),
        ({"type": "array", "minItems": ...}, "1", [1], [], "/x must NOT have fewer than 1 items"),
        ({"type": "array", "maxItems": ...}, "1.0", [1], [1, 2], "/x must NOT have more than 1 items"),
    ],
)
async def test_a_computed_constraint_holds(
    evaluate: Evaluator, part: Document, program: str, good: JsonValue, bad: JsonValue, fault: str
) -> None:
    written = form({"x": json.loads(json.dumps(part, default=lambda _: jq(program)))})
    assert (await of(evaluate, written, {"x": good})).faults == ()
    assert (await of(evaluate, written, {"x": bad})).faults == (fault,)
    assert (await of(evaluate, written)).faults == ()


@pytest.mark.parametrize("program", [*FAILING, '"a"'])
async def test_options_that_are_unknown_let_nothing_through(evaluate: Evaluator, program: str) -> None:
    items = {"type": "string", "enum": jq(program)}
    written = form({"x": {"type": "string", "enum": jq(program)}, "many": {"type": "array", "items": items}})
    assert (await of(evaluate, written)).faults == ()
    found = await of(evaluate, written, {"x": "a", "many": ["a"]})
    assert found.faults == ("/x has no options to choose from", "/many/0 has no options to choose from")
    assert (await of(evaluate, written, {"many": []})).faults == ()


@pytest.mark.parametrize("program", [*FAILING, "{}", "-1", "1.5", "true"])
async def test_other_constraints_that_are_unknown_are_none(evaluate: Evaluator, program: str) -> None:
    written = form(
        {
            "text": {"type": "string", "pattern": jq(program)},
            "list": {"type": "array", "minItems": jq(program), "maxItems": jq(program)},
        }
    )
    assert (await of(evaluate, written, {"text": "any", "list": [1, 2, 3]})).faults == ()


async def test_a_pattern_that_cannot_be_run_is_no_free_pass(evaluate: Evaluator) -> None:
    found = await of(evaluate, form({"x": {"type": "string", "pattern": jq('"("')}}), {"x": "a"})
    assert found.faults == ("/x cannot be validated",)


@pytest.mark.parametrize(
    ("program", "visible", "disabled"),
    [("true", True, True), ("false", False, False), *((program, True, False) for program in (*FAILING, "1"))],
)
async def test_what_is_shown(evaluate: Evaluator, program: str, visible: bool, disabled: bool) -> None:
    written = form(
        {"x": {"type": "string", "visible": jq(program), "disabled": jq(program)}},
        titles={"t": {"title": "T", "visible": jq(program)}},
        steps=[{"title": "S", "order": ["t"], "visible": jq(program)}],
    )
    shown: Any = form_views.view(await of(evaluate, written), {})
    assert (shown["inputs"][0]["visible"], shown["inputs"][0]["disabled"]) == (visible, disabled)
    assert (shown["titles"]["t"]["visible"], shown["steps"][0]["visible"]) == (visible, visible)


@pytest.mark.parametrize(
    ("program", "required"),
    [
        ('["a", "hidden", "paged", "unknown", 1]', {"a"}),
        ("true", {"a", "b"}),
        ("false", set()),
        *((program, set()) for program in (*FAILING, '"a"')),
    ],
)
async def test_what_is_required(evaluate: Evaluator, program: str, required: set[str]) -> None:
    written = form(
        {
            "a": {"type": "string"},
            "b": {"type": "string"},
            "hidden": {"type": "string", "visible": jq("false")},
            "paged": {"type": "string"},
        },
        required=jq(program),
        steps=[{"title": "1", "order": ["a", "hidden"]}, {"title": "2", "order": ["paged"], "visible": jq("false")}],
    )
    assert set((await of(evaluate, written)).faults) == {f"/{name} is required" for name in required}


async def test_a_static_form_asks_nothing_of_anybody(evaluate: Evaluator) -> None:
    around, counting = Around(), Counting(evaluate)
    written = form(
        {"x": {"type": "string", "default": "a"}, "e": {"type": "string", "format": "entity", "blueprint": "b"}}
    )
    found = await of(counting, written, {"y": 1}, around)
    assert (found.form, found.values, found.faults, found.explained) == (written, {"x": "a", "y": 1}, (), ())
    assert (around.asked, counting.trips) == ([], [])


async def test_defaults_come_after_what_they_depend_on_in_as_few_trips_as_can_be(evaluate: Evaluator) -> None:
    counting = Counting(evaluate)
    found = await of(
        counting,
        form(
            {
                "last": {"type": "string", "default": jq('.form.middle + "l"'), "dependsOn": ["middle"]},
                "middle": {"type": "string", "default": jq('.form.first + "m"'), "dependsOn": ["first"]},
                "first": {"type": "string", "default": jq('.form.fixed + "f"')},
                "apart": {"type": "string", "default": jq('"a"')},
                "after": {"type": "string", "default": jq(".form.apart + .form.sent")},
                "fixed": {"type": "string", "default": "x", "visible": jq("true")},
                "sent": {"type": "string", "default": jq('"unused"'), "disabled": jq("true")},
            }
        ),
        {"sent": "s"},
    )
    assert found.values == {
        "last": "xfml", "middle": "xfm", "first": "xf", "apart": "a", "after": "as", "fixed": "x", "sent": "s",
    }  # fmt: skip
    assert list(found.values) == ["last", "middle", "first", "apart", "after", "fixed", "sent"]
    assert [len(trip) for trip in counting.trips] == [1, 1, 2, 1, 1]


async def test_in_a_circle_the_declaration_decides(evaluate: Evaluator) -> None:
    written = form(
        {
            "a": {"type": "string", "default": jq('.form.b + "a"'), "dependsOn": ["b", "a", "unknown"]},
            "b": {"type": "string", "default": jq('.form.a + "b"'), "dependsOn": ["a"]},
        }
    )
    assert (await of(evaluate, written)).values == {"a": "a", "b": "ab"}


def test_a_long_chain_of_dependencies_is_put_in_order() -> None:
    names = [f"i{number}" for number in range(3_000)]
    written = form(
        {
            name: {"type": "string", "dependsOn": [names[place + 1]] if place < 2_999 else []}
            for place, name in enumerate(names)
        }
    )
    last, first = names[-1], names[0]
    assert list(batches(written, ordered(written), {first: "1", last: "2"})) == [[last, first]]


async def test_programs_see_the_form_and_the_time_of_the_request(evaluate: Evaluator) -> None:
    written = form(
        {
            "text": {"type": "string"},
            "number": {"type": "number"},
            "one": {"type": "string", "format": "entity", "blueprint": "cluster"},
            "many": {"type": "array", "items": {"type": "string", "format": "entity", "blueprint": "cluster"}},
            "none": {"type": "string", "format": "entity", "blueprint": "cluster"},
            "pw": {"type": "string", "encryption": "aes256-gcm"},
            "blob": {"type": "object", "encryption": "aes256-gcm"},
            "seen": {"type": "object", "default": jq("{form: (.form | del(.seen)), now: now, blueprint, entity}")},
        }
    )
    around = Around({"cluster": ["eu", "us"]})
    sent: Document = {"one": "eu", "many": ["us", "gone"], "pw": "hunter2", "blob": {"k": "v"}, "extra": 1}
    found = await of(evaluate, written, sent, around, enforced=False)
    eu, us = ({"identifier": one, "title": one.upper()} for one in ("eu", "us"))
    assert found.values["seen"] == {
        "form": {
            "text": "", "number": None, "one": eu, "many": [us, None], "none": None, "pw": MASK, "blob": MASK,
        },
        "now": AT.timestamp(), "blueprint": "workload", "entity": None,
    }  # fmt: skip
    assert found.values | sent == found.values
    assert around.asked == ["cluster eu gone us", "seen"]


async def test_no_secret_is_explained_or_in_a_fault(evaluate: Evaluator) -> None:
    written = form(
        {
            "pw": {"type": "string", "encryption": "aes256-gcm", "default": jq('"hunter2"')},
            "copy": {"type": "string", "default": jq(".form.pw")},
            "like": {"type": "string", "pattern": jq('"^" + .form.pw + "$"'), "default": "x"},
            "names": {"type": "string", "enum": jq("[.form | .. | strings]"), "default": "none"},
        }
    )
    both: tuple[Document, ...] = ({}, {"pw": "hunter2"})
    for sent in both:
        found = await of(evaluate, written, sent)
        assert found.values["pw"] == "hunter2"
        assert found.values["copy"] in (MASK, "")
        assert len(found.faults) > 0
        shown = form_views.view(found, {})
        assert "hunter2" not in json.dumps([found.faults, [one.value for one in found.explained], shown])


async def test_entities_have_to_be_there_and_offered(evaluate: Evaluator) -> None:
    dataset = {"combinator": "and", "rules": [{"property": "env", "operator": "=", "value": jq(".form.env")}]}
    entity = {"type": "string", "format": "entity", "blueprint": "cluster", "dataset": dataset}
    written = form(
        {
            "env": {"type": "string"},
            "one": entity,
            "many": {"type": "array", "items": entity},
            "free": {"type": "string", "format": "entity", "blueprint": "team_x"},
        }
    )
    around = Around({"cluster": ["eu", "us"]}, offers=["eu"])
    sent: Document = {"env": "prod", "one": "us", "many": ["eu", "gone", "us"], "free": ""}
    found = await of(evaluate, written, sent, around)
    assert found.faults == (
        "/one is not among the entities that are offered",
        "/many/1 names no entity of cluster",
        "/many/2 is not among the entities that are offered",
        "/free names no entity of team_x",
    )
    assert sorted(around.asked) == ["cluster eu gone us", "seen", "team_x "]
    assert (await of(evaluate, written, sent, around, enforced=False)).faults == ()
    assert (await of(evaluate, written, {"one": "eu"}, around)).faults == ()
    assert (await of(evaluate, written, {"many": ["eu"] * (MOST_NAMED + 1)}, around)).faults == (
        f"/many names more than {MOST_NAMED} entities",
    )
    hopeless = Around({"cluster": ["eu"]}, offers="nothing can be asked")
    assert (await of(evaluate, written, {"one": "eu"}, hopeless)).faults == ("properties.one.dataset.rules: too many",)


@pytest.mark.parametrize(
    ("rule", "program", "known"),
    [
        ({"property": "p", "operator": "="}, '"a"', True),
        ({"property": "p", "operator": "="}, "null", False),
        ({"property": "p", "operator": "!="}, "error", False),
        ({"property": "p", "operator": "="}, "{}", False),
        ({"property": "p", "operator": "containsAny"}, '[["a", "b"], "c"]', True),
        ({"property": "p", "operator": "containsAny"}, '"a"', False),
        ({"property": "p", "operator": ">"}, "1", True),
        ({"property": "p", "operator": ">"}, '"a"', False),
        ({"blueprint": "b", "operator": "relatedTo"}, ".blueprint", True),
        ({"blueprint": "b", "operator": "relatedTo"}, ".form.x.identifier", False),
        ({"property": "p", "operator": "="}, '"\\u0000"', False),
    ],
)
async def test_a_rule_whose_value_is_unknown_finds_nothing(
    evaluate: Evaluator, rule: Document, program: str, known: bool
) -> None:
    inner = {"combinator": "or", "rules": [{**rule, "value": jq(program)}]}
    dataset = {"combinator": "and", "rules": [inner]}
    written = form({"x": {"type": "string", "format": "entity", "blueprint": "b", "dataset": dataset}})
    found = await of(evaluate, written)
    assert found.faults == ()
    assert "Computed" not in repr(found.offers["x"]) if known else "Computed" in repr(found.offers["x"])
    assert (found.explained[0].error is None) is known


async def test_a_dataset_that_nobody_can_read_is_a_fault_where_it_is_enforced(evaluate: Evaluator) -> None:
    entity = {"type": "string", "format": "entity", "blueprint": "b"}
    for properties, path in (
        (
            {"x": {**entity, "dataset": {"combinator": "and", "rules": [{"property": "p"}]}}},
            "properties.x.dataset.rules[0]",
        ),
        ({"x": {"type": "array", "items": {**entity, "dataset": []}}}, "properties.x.items.dataset."),
    ):
        found = await of(evaluate, form(properties))
        assert [fault.startswith(path) for fault in found.faults] == [True]
        assert (await of(evaluate, form(properties), enforced=False)).faults == ()


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    "rule",
    [
        {"combinator": "or"},
        {"combinator": "or", "rules": [{"combinator": "and"}]},
        {"rules": []},
        {"property": "p", "operator": "~"},
        {"property": "p", "operator": "between", "value": {"from": jq("1")}},
        {"property": "p", "operator": "isEmpty", "value": jq("1")},
        {"property": "p", "operator": "=", "value": [jq("1")]},
        {"property": jq("1"), "operator": "=", "value": 1},
    ],
)
async def test_who_writes_a_dataset_that_nobody_can_read_is_told_what_every_run_would_be(
    evaluate: Evaluator, rule: Document, many: bool
) -> None:
    entity: Document = {"type": "string", "format": "entity", "blueprint": "b"}
    each: Document = {"type": "array", "items": entity} if many else entity
    written = form({"x": {**each, "dataset": {"combinator": "and", "rules": [rule]}}})
    trigger: Document = {"type": "self-service", "operation": "CREATE", "userInputs": written.document}
    with pytest.raises(InvalidInputs) as refusal:
        Definition.parse({"identifier": "a", "trigger": trigger, "invocationMethod": {"type": "KAFKA"}})
    assert refusal.value.problems == (await of(evaluate, written)).faults != ()


async def test_what_is_computed_where_nothing_can_be_is_a_fault(evaluate: Evaluator) -> None:
    written = form(
        {
            "a": {"type": "string", "minLength": jq("1")},
            "b": {"type": "object", "properties": {"c": {"enum": jq("[]")}}},
            "d": {"type": "object", "default": {"kept": jq("1")}, "spec": jq("1"), "minItems": jq("1")},
        }
    )
    found = await of(evaluate, written)
    assert found.faults == (
        "properties.a.minLength cannot be computed",
        "properties.b.properties.c.enum cannot be computed",
    )
    assert found.values == {"d": {"kept": jq("1")}}


async def test_what_overruns_is_a_fault_and_never_an_open_door() -> None:
    endless = jq("[limit(1e12; repeat(1))] | length")
    entity = {"type": "string", "format": "entity", "blueprint": "b"}
    dataset = {"combinator": "and", "rules": [{"property": "p", "operator": "=", "value": endless}]}
    async with JqPool(size=1, limits=Limits(seconds=0.2)) as evaluate:
        for part in ({"pattern": endless}, {"visible": endless}, {"default": endless}, {"enum": endless}):
            [name] = part
            [fault] = (await of(evaluate, form({"x": {"type": "string", **part}}))).faults
            assert fault.startswith(f"properties.x.{name} could not be computed: ")
        [fault] = (await of(evaluate, form({}, required=endless))).faults
        assert fault.startswith("required could not be computed: ")
        held = form({"x": {**entity, "dataset": dataset}})
        [fault] = (await of(evaluate, held)).faults
        assert fault.startswith("properties.x.dataset.rules[0].value could not be computed: ")
        assert (await of(evaluate, held, enforced=False)).faults == ()
        assert (await of(evaluate, held, enforced=False, to_show=True)).faults == ()


async def test_programs_see_nothing_of_the_process(evaluate: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_SECRET_KEY", "hunter2")
    written = form(
        {
            "env": {"type": "object", "default": jq("env")},
            "dollar": {"type": "object", "default": jq("$ENV")},
            "file": {"type": "string", "default": jq("input_filename")},
            "module": {"type": "string", "default": jq('include "x"; 1')},
        }
    )
    found = await of(evaluate, written)
    assert "hunter2" not in json.dumps(found.values)
    assert found.values.keys() <= {"env", "dollar"}


def published(text: str) -> UserInputs:
    """The form of an example."""
    return UserInputs.model_validate(json.loads(text)["trigger"]["userInputs"])


async def test_the_published_form_of_a_creation(evaluate: Evaluator) -> None:
    written = published(NEW_QUEUE)
    found = await of(evaluate, written, {"broker": "rabbit", "flavour": "quorum", "name": "a-b", "owners": ["k"]})
    assert (found.faults, found.values["replicas"]) == ((), 3)
    found = await of(
        evaluate, written, {"broker": "nats", "flavour": "quorum", "name": "a-b", "owners": ["a", "b", "c"]}
    )
    assert found.faults == (
        '/flavour must be one of "jetstream"',
        '/name must match pattern "^[a-z.]+$"',
        "/owners must NOT have more than 2 items",
    )
    shown: Any = form_views.view(await of(evaluate, written), {})
    assert shown["titles"]["sec-people"]["visible"] is False
    assert shown["order"] == ["broker", "flavour", "name", "replicas", "sec-people", "owners"]
    assert {one["identifier"]: one["errors"] for one in shown["inputs"] if one["errors"]} == {
        "broker": ["/broker is required"], "name": ["/name is required"],
    }  # fmt: skip
    assert shown["inputs"][0]["options"] == {"values": ["rabbit", "nats"]}


async def test_the_published_form_of_a_change(evaluate: Evaluator) -> None:
    written = published(MOVE_WORKLOAD)
    around = Around({"cluster": ["eu-1"], "namespace": ["eu-1-payments"]}, WORKLOAD, ["eu-1-payments"])
    found = await of(evaluate, written, {}, around)
    assert found.values == {"labels": ["a"]}
    assert found.faults == ("/cluster is required", "/namespace is required")  # nobody sees the page of reason
    sent: Document = {"cluster": "eu-1", "namespace": "eu-1-payments"}
    assert (await of(evaluate, written, sent, around)).faults == ("/reason is required",)
    found = await of(evaluate, written, {**sent, "reason": ""}, around)
    assert (found.faults, found.values["labels"]) == ((), ["a"])
    by_path = {one.path: one.value for one in found.explained}
    assert by_path["required"] == ["cluster", "namespace", "reason"]
    assert by_path["properties.namespace.dataset.rules[0].value"] == "eu-1"
    bronze = Around(around.known, {**WORKLOAD, "properties": {"tier": "bronze"}}, ["eu-1-payments"])
    found = await of(evaluate, written, sent, bronze)
    assert (found.faults, found.values) == ((), sent)


def test_the_user_is_what_published_examples_ask_for() -> None:
    known: Document = {"properties": {"port_role": "Member"}, "relations": {"manager": "ada", "friends": ["eve"]}}
    user = user_of(Caller("org", "id", KIM), known)
    assert user == {
        "userId": "usr_17", "email": "kim@example.org", "name": "Kim", "picture": "", "mainRole": "Member",
        "roles": [{"name": "Member"}], "teams": [{"name": "payments", "provider": "port"}], "team": ["payments"],
        "teamsIdentifiers": ["payments"], "identifier": "kim@example.org", "title": "Kim",
        "properties": {"port_role": "Member"},
        "relations": {
            "manager": {"identifier": "ada"}, "friends": [{"identifier": "eve"}], "teams": [{"identifier": "payments"}],
        },
    }  # fmt: skip
    machine = user_of(Caller("org", "id", machine=True), None)
    assert machine.keys() == user.keys()
    assert (machine["userId"], machine["email"], machine["roles"]) == ("id", None, [])


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
defaults = st.one_of(
    texts.map(lambda value: ("string", value)),
    st.integers(-9, 9).map(lambda value: ("number", value)),
    st.booleans().map(lambda value: ("boolean", value)),
    st.lists(texts, max_size=3).map(lambda value: ("array", value)),
    st.dictionaries(texts, texts, max_size=2).map(lambda value: ("object", value)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(defaults, min_size=1, max_size=4))
async def test_a_form_accepts_its_own_defaults(evaluate: Evaluator, given_defaults: list[tuple[str, Any]]) -> None:
    properties: dict[str, Any] = {
        f"i{place}": {
            "type": kind,
            "default": jq(json.dumps(value)),
            "enum": jq(f"[{json.dumps(value)}]") if kind in ("string", "number") else None,
        }
        for place, (kind, value) in enumerate(given_defaults)
    }
    written = form(properties, required=jq("true"))
    first = await of(evaluate, written)
    assert first.faults == ()
    assert list(first.values.values()) == [value for _, value in given_defaults]
    again = await of(evaluate, written, dict(first.values))
    assert (again.values, again.faults) == (first.values, ())
    shown: Any = form_views.view(first, {})
    assert [one["errors"] for one in shown["inputs"]] == [[] for _ in given_defaults]
    assert [one["value"] for one in shown["inputs"]] == [one["default"] for one in shown["inputs"]]
