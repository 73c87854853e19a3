"""Section 5 of the specification: where jq may stand in a form, what it sees, and in which order things are computed.

Covered elsewhere, as directly: every row of table 5.1 with its result and its fallback, and the order of defaults by
`dependsOn`, `tests/domain/test_forms.py`; limits, the environment and modules, there and in
`tests/runtime/test_jq_pool.py`.
"""

from typing import Any

import pytest
from pydantic import JsonValue

from domain.documents import Document
from domain.form_values import user_of
from domain.jq import Evaluator
from domain.rule_values import Comparison
from domain.users import Caller, User
from tests.conformance.support import AT, Around, action, form, jq, of, written

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT: Document = {"type": "string"}
ENTITY: Document = {**TEXT, "format": "entity", "blueprint": "cluster"}
EU: Document = {
    "identifier": "eu-1",
    "title": "EU 1",
    "blueprint": "cluster",
    "properties": {"tier": 1},
    "relations": {},
}
ON: Document = {
    "identifier": "checkout", "title": "Checkout", "blueprint": "workload", "team": ["payments"],
    "properties": {"tier": "gold", "labels": ["a"]}, "relations": {"db": "pg", "uses": ["a", "b"]},
    "createdAt": "2026-01-05T10:00:00.000Z", "createdBy": "usr_1", "updatedAt": "2026-01-05T10:00:00.000Z",
    "updatedBy": "usr_2",
    "scorecards": {"ready": {"rules": [{"identifier": "r", "status": "SUCCESS", "level": "Gold"}], "level": "Gold"}},
}  # fmt: skip
KIM = User(
    id="usr_17", email="kim@example.org", first_name="Kim", roles=("Admin", "Lead"), teams=("payments", "sre"),
    created_at=AT, updated_at=AT,
)  # fmt: skip
SEEN: Document = {"user": user_of(Caller("org", "id", KIM), None), "blueprint": "workload", "entity": ON}
FORM: dict[str, Any] = {
    "text": TEXT, "number": {"type": "number"}, "flag": {"type": "boolean"}, "multi": {"type": "array"},
    "object": {"type": "object"}, "given": TEXT, "cluster": ENTITY, "clusters": {"type": "array", "items": ENTITY},
    "who": {**TEXT, "format": "user"}, "team": {**TEXT, "format": "team"},
}  # fmt: skip
SENT: Document = {"given": "g", "cluster": "eu-1", "clusters": ["eu-1"], "who": "kim@example.org", "team": "sre"}

# Section 5.2: what a program sees, and that it is real jq.
CONTEXT: dict[str, tuple[str, JsonValue]] = {
    "text that nobody touched is empty": (".form.text", ""),
    "so the tip of the documentation works": ('.form.text == ""', True),
    "a number that nobody touched is null": (".form.number", None),
    "a toggle that nobody touched is null": (".form.flag", None),
    "a list that nobody touched is null": (".form.multi", None),
    "an object that nobody touched is null": (".form.object", None),
    "asking a list that is not there for a value is no error": ('.form.multi | index("aws") != null', False),
    "every input has a key": ('.form | has("number") and has("multi")', True),
    "what was sent is there": (".form.given", "g"),
    "an entity is whole": (".form.cluster", EU),
    "its identifier": (".form.cluster.identifier", "eu-1"),
    "its properties": (".form.cluster.properties.tier", 1),
    "entities of a list are whole": ("[.form.clusters[].identifier]", ["eu-1"]),
    "a user stays an address": (".form.who", "kim@example.org"),
    "a team stays a name": (".form.team", "sre"),
    "the entity of the action": (".entity.identifier", "checkout"),
    "its title and blueprint": ("[.entity.title, .entity.blueprint]", ["Checkout", "workload"]),
    "its teams": (".entity.team", ["payments"]),
    "its properties by name": (".entity.properties.labels", ["a"]),
    "its relations, one and many": ("[.entity.relations.db, .entity.relations.uses]", ["pg", ["a", "b"]]),
    "its times, authors": (".entity | [.createdAt, .createdBy, .updatedAt, .updatedBy] | all(.[]; length > 0)", True),
    "its scorecards": ("[.entity.scorecards.ready | .level, .rules[0].status]", ["Gold", "SUCCESS"]),
    "the user's id, address and name": (".user | [.userId, .email, .name]", ["usr_17", "kim@example.org", "Kim"]),
    "the user's picture is text": (".user.picture | type", "string"),
    "the user's main role": (".user.mainRole", "Admin"),
    "the user's roles": ('.user.roles | any(.name == "Admin")', True),
    "a role somebody does not have": ('.user.roles | any(.name == "Owner")', False),
    "the user's teams": ("[.user.teams[] | .name, (.provider | type)]", ["payments", "string", "sre", "string"]),
    "the identifiers of the user's teams": (".user.teamsIdentifiers", ["payments", "sre"]),
    "the user's team is the list of names": (".user.team", ["payments", "sre"]),
    "the user as an entity": ("[.user.identifier, .user.title]", ["kim@example.org", "Kim"]),
    "the user's relations": ("[.user.relations.teams[].identifier]", ["payments", "sre"]),
    "the user's properties": (".user.properties | type", "object"),
    "the blueprint stands alone": (".blueprint", "workload"),
    "there is no page": (".page", None),
    "a variable": (".form.given as $x | $x + $x", "gg"),
    "any": ("any(.form.clusters[]; .properties.tier == 1)", True),
    "an alternative": ('.form.number // "none"', "none"),
    "elif": ('if .form.given == "x" then 1 elif .form.given == "g" then 2 else 3 end', 2),
    "first": ("first(.form.clusters[] | .identifier)", "eu-1"),
    "the environment is empty": ("[env, $ENV]", [{}, {}]),
}  # fmt: skip

# Section 5.1, below the table: no source shows jq here. Refused when it is written, or nothing passes by it.
NOT_COMPUTED: dict[str, tuple[Document, str]] = {
    "type": ({"type": jq("1")}, "when written"),
    "format": ({**TEXT, "format": jq("1")}, "when written"),
    "blueprint": ({**TEXT, "blueprint": jq("1")}, "when written"),
    "title": ({**TEXT, "title": jq("1")}, "when written"),
    "description": ({**TEXT, "description": jq("1")}, "when written"),
    "icon": ({**TEXT, "icon": jq("1")}, "when written"),
    "dependsOn": ({**TEXT, "dependsOn": jq("[]")}, "when written"),
    "sort": ({**ENTITY, "sort": jq("1")}, "when written"),
    "encryption": ({**TEXT, "encryption": jq("1")}, "when written"),
    "the operator of a rule": ({**ENTITY, "dataset": jq("1")}, "when written"),
    "minLength": ({**TEXT, "minLength": jq("1")}, "when asked"),
    "maxLength": ({**TEXT, "maxLength": jq("9")}, "when asked"),
    "minimum": ({"type": "number", "minimum": jq("1")}, "when asked"),
    "maximum": ({"type": "number", "maximum": jq("9")}, "when asked"),
    "exclusiveMinimum": ({"type": "number", "exclusiveMinimum": jq("1")}, "when asked"),
    "uniqueItems": ({"type": "array", "uniqueItems": jq("true")}, "when asked"),
}

# Section 5.3: static defaults, then computed ones, then what is visible, then what is required, then constraints.
ORDER: dict[str, tuple[dict[str, Any], Any, Document, str]] = {
    "a computed default sees a static one": (
        {"a": {**TEXT, "default": "s"}, "x": {**TEXT, "default": jq('.form.a + "c"')}}, None, {"a": "s", "x": "sc"}, "",
    ),
    "a computed default sees one that was computed before": (
        {"x": {**TEXT, "default": jq('.form.a + "x"'), "dependsOn": ["a"]}, "a": {**TEXT, "default": jq('"c"')}},
        None, {"x": "cx", "a": "c"}, "",
    ),
    "what is visible sees defaults": (
        {"a": {**TEXT, "default": "hide"}, "x": {**TEXT, "visible": jq('.form.a != "hide"')}}, ["x"], {"a": "hide"}, "",
    ),
    "what is required sees defaults": (
        {"a": {**TEXT, "default": "all"}, "x": TEXT},
        jq('if .form.a == "all" then ["x"] else [] end'), {"a": "all"}, "/x is required",
    ),
    "a default fulfils what is required": ({"x": {**TEXT, "default": jq('"d"')}}, jq('["x"]'), {"x": "d"}, ""),
    "choices see defaults": (
        {"a": {**TEXT, "default": "b"}, "x": {**TEXT, "default": "c", "enum": jq("[.form.a]")}},
        None, {"a": "b", "x": "c"}, '/x must be one of "b"',
    ),
    "a default is held to the computed pattern": (
        {"x": {**TEXT, "default": jq('"a1"'), "pattern": jq('"^[a-z]+$"')}}, None, {"x": "a1"},
        '/x must match pattern "^[a-z]+$"',
    ),
    "a default of a hidden input is submitted": (
        {"x": {**TEXT, "default": jq('"d"'), "visible": jq("false")}}, ["x"], {"x": "d"}, "",
    ),
    "a default of a disabled input is submitted": (
        {"x": {**TEXT, "default": jq('"d"'), "disabled": jq("true")}}, ["x"], {"x": "d"}, "",
    ),
    "a hidden input without one is not required": ({"x": {**TEXT, "visible": jq("false")}}, jq("true"), {}, ""),
}  # fmt: skip


@pytest.mark.parametrize(("program", "value"), CONTEXT.values(), ids=CONTEXT)
async def test_what_a_program_sees(evaluate: Evaluator, program: str, value: JsonValue) -> None:
    around = Around(SEEN, cluster={"eu-1": EU})
    asked = {"seen": {"type": "object", "default": jq(f"{{is: ({program})}}")}}
    found = await of(evaluate, form({**FORM, **asked}), SENT, around)
    assert found.values["seen"] == {"is": value}, found.explained
    assert (found.values["cluster"], found.values["clusters"]) == ("eu-1", ["eu-1"]), "entities are sent by identifier"


async def test_actions_without_an_entity_see_none(evaluate: Evaluator) -> None:
    asked = form({"x": {"type": "boolean", "default": jq(".entity == null and .entity.properties.tier == null")}})
    assert (await of(evaluate, asked)).values == {"x": True}


async def test_the_widely_copied_filter_by_the_users_teams_works(evaluate: Evaluator) -> None:
    rule: Document = {"property": "$team", "operator": "containsAny", "value": jq("[.user.team]")}
    inner: Document = {"combinator": "or", "rules": [rule]}
    many: Document = {"type": "array", "items": {**ENTITY, "dataset": {"combinator": "and", "rules": [inner]}}}
    around = Around(SEEN, cluster={"eu-1": EU})
    found = await of(evaluate, form({"x": many}), {"x": ["eu-1"]}, around)
    assert found.faults == ()
    [dataset] = around.datasets
    [group] = dataset.rules
    [asked] = getattr(group, "rules", [])
    assert isinstance(asked, Comparison)
    assert "'payments', 'sre'" in repr(asked.value), "a nested list is flattened once"


@pytest.mark.parametrize(("definition", "refused"), NOT_COMPUTED.values(), ids=NOT_COMPUTED)
async def test_what_jq_does_not_compute(evaluate: Evaluator, definition: Document, refused: str) -> None:
    found = written(action({"x": definition}))
    assert found.startswith("stored" if refused == "when asked" else "invalid_request trigger.userInputs.properties.x.")
    if refused == "when asked":
        [fault] = (await of(evaluate, form({"x": definition}))).faults
        assert fault.endswith(" cannot be computed")


@pytest.mark.parametrize(("properties", "required", "values", "fault"), ORDER.values(), ids=ORDER)
async def test_the_order_of_things(
    evaluate: Evaluator, properties: dict[str, Any], required: Any, values: Document, fault: str
) -> None:
    found = await of(evaluate, form(properties, required=required))
    assert (found.values, found.faults) == (values, (fault,) if fault else ())
