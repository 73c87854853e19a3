"""Section 10 of the specification: policies, what their queries find, what their conditions say, and of whom.

Covered elsewhere, as directly: the shape of a policy, `test_section_9_permissions.py`; the context (10.3), refusals,
lists beside a policy (10.1), failed queries and when a policy is asked (10.4), `tests/api/test_policies.py`; whether a
policy depends on who is judged, `tests/domain/test_policies.py`.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from pydantic import JsonValue

from domain import policies
from domain.documents import Document
from domain.jq import Evaluator
from domain.permissions import Policy
from tests.api.answers import Json, granted
from tests.support.product import Product

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT = datetime(2026, 1, 2, tzinfo=UTC)
ASKED: Document = {
    "inputs": {"env": "prod", "n": 2},
    "user": {"email": "kim@x.io", "roles": [{"name": "Lead"}], "teams": ["payments"]},
    "trigger": {"at": "2026-01-02T00:00:00.000Z", "user": {"email": "ada@x.io"}, "by": {"user": {"email": "ada@x.io"}}},
    "entity": None, "action": {"identifier": "deploy"}, "blueprint": None,
}  # fmt: skip
PEOPLE: list[JsonValue] = [{"identifier": one, "properties": {"mail": one}} for one in ("ada@x.io", "Bob@x.io")]
TWO: Document = {"q": {"entities": PEOPLE}}

# Section 10.3, execute: allowed where one condition is exactly true.
ALLOWS: dict[str, tuple[list[str], bool]] = {
    "true": (["true"], True),
    "a comparison": ([".inputs.n == 2"], True),
    "one of several": (["false", "error", ".inputs.n == 2"], True),
    "none of several": (["false", "null", ".inputs.n == 3"], False),
    "true in an array": (["[true]"], False),
    "the word": (['"true"'], False),
    "a number": (["1"], False),
    "an object": (["{}"], False),
    "no output": (["empty"], False),
    "an error": ([".inputs.n | keys"], False),
    "what is no jq": (["(", "'x'"], False),
    "the first output counts": (["true, false"], True),
    "and no later one": (["false, true"], False),
    "a result": (['[.results.q.entities[].identifier] | index("ada@x.io") != null'], True),
    "a query that is not there is null": ([".results.none.entities == null"], True),
    "and as long as nothing": (["(.results.none.entities | length) == 0"], True),
    "the person in upper and lower case is another text": (['.trigger.user.email == "Ada@x.io"'], False),
}

# Section 10.3, approve: the union of all arrays of texts.
NAMES: dict[str, tuple[list[str], set[str]]] = {
    "an array": (['["ada@x.io"]'], {"ada@x.io"}),
    "in any case": (['["Ada@X.io"]'], {"ada@x.io"}),
    "several arrays": (['["a@x.io", "b@x.io"]', '["b@x.io", "c@x.io"]'], {"a@x.io", "b@x.io", "c@x.io"}),
    "what a query found": (["[.results.q.entities[].properties.mail]"], {"ada@x.io", "bob@x.io"}),
    "all but who asked": (
        [".trigger.user.email as $me | [.results.q.entities[].identifier | select(. != $me)]"],
        {"bob@x.io"},
    ),
    "nobody": (["[]"], set()),
    "a text is no array": (['"ada@x.io"'], set()),
    "a boolean is no array": (["true"], set()),
    "an object is no array": (['{"a": "ada@x.io"}'], set()),
    "only texts of an array count": (['["ada@x.io", 1, null, ["b@x.io"], {}]'], {"ada@x.io"}),
    "an error takes nothing away": (["error", '["ada@x.io"]'], {"ada@x.io"}),
    "a query that is not there": (["[.results.none.entities[].identifier]"], set()),
    "what may be missing": (["[.results.none.entities[]?.identifier]"], set()),
}

# Example E6: people on call, with less than three sandboxes of their own.
ON_CALL = (
    ".trigger.user.email as $me | ([.results.shift.entities[]? | .properties.who] | index($me)) != null"
    " and ((.results.mine.entities // []) | length) < 3"
)
ADAS: list[JsonValue] = [{"properties": {"who": "ada@x.io"}}]
QUOTA: dict[str, tuple[Document, bool]] = {
    "on call, with nothing": ({"shift": {"entities": ADAS}, "mine": {"entities": []}}, True),
    "on call, with two": ({"shift": {"entities": ADAS}, "mine": {"entities": [{}, {}]}}, True),
    "on call, with three": ({"shift": {"entities": ADAS}, "mine": {"entities": [{}, {}, {}]}}, False),
    "not on call": ({"shift": {"entities": [{"properties": {"who": "bob@x.io"}}]}, "mine": {"entities": []}}, False),
    "nobody is on call": ({"shift": {"entities": []}, "mine": {"entities": []}}, False),
    "the query for the shift failed": ({"mine": {"entities": []}}, False),
    "the query for the sandboxes failed": ({"shift": {"entities": ADAS}}, True),
}


async def said(evaluate: Evaluator, results: Document, *conditions: str) -> policies.Said:
    """What a policy with these conditions says."""
    policy = Policy(queries={"q": {"combinator": "and", "rules": []}}, conditions=list(conditions))
    return await policies.said(policy, ASKED, results, {}, evaluate, at=AT, fail_closed=False)


@pytest.mark.parametrize(("conditions", "allowed"), ALLOWS.values(), ids=ALLOWS)
async def test_conditions_allow(evaluate: Evaluator, conditions: list[str], allowed: bool) -> None:
    assert (await said(evaluate, TWO, *conditions)).permits is allowed


@pytest.mark.parametrize(("conditions", "emails"), NAMES.values(), ids=NAMES)
async def test_conditions_name(evaluate: Evaluator, conditions: list[str], emails: set[str]) -> None:
    assert (await said(evaluate, TWO, *conditions)).emails == emails


@pytest.mark.parametrize(("results", "allowed"), QUOTA.values(), ids=QUOTA)
async def test_the_published_policy_of_people_on_call(evaluate: Evaluator, results: Document, allowed: bool) -> None:
    assert (await said(evaluate, results, ON_CALL)).permits is allowed


# Section 10.3, steps 2 and 3: templates in queries, and what they find. Services are a (1), b (2) and "c" (without).
SIZE, NAME = {"property": "size", "operator": "="}, {"property": "name", "operator": "="}
MAIL = {"property": "owner", "operator": "="}
QUERIES: dict[str, tuple[list[Json], Json, list[str] | None]] = {
    "everything": ([], {}, ["a", "b", "c"]),
    "a whole template keeps a number": ([{**SIZE, "value": "{{ .inputs.n }}"}], {"n": 1}, ["a"]),
    "a whole template keeps a text": ([{**SIZE, "value": "{{ .inputs.n }}"}], {"n": "1"}, []),
    "a template inside a text is text": ([{**NAME, "value": "svc-{{ .inputs.n }}"}], {"n": 2}, ["b"]),
    "a whole template keeps a list": (
        [{"property": "$identifier", "operator": "in", "value": "{{ .inputs.n }}"}], {"n": ["a", "c"]}, ["a", "c"],
    ),
    "a template in a list": (
        [{"property": "$identifier", "operator": "in", "value": ["b", "{{ .inputs.n }}"]}], {"n": "c"}, ["b", "c"],
    ),
    "a template in a group": (
        [{"combinator": "or", "rules": [{**SIZE, "value": "{{ .inputs.n + 1 }}"}, {**NAME, "value": "svc-1"}]}],
        {"n": 1}, ["a", "b"],
    ),
    "who asks": ([{**MAIL, "value": "{{ .trigger.user.email }}"}], {}, ["b"]),
    "the same by its other path": ([{**MAIL, "value": "{{ .trigger.by.user.email }}"}], {}, ["b"]),
    "the judged person": ([{**MAIL, "value": "{{ .user.email }}"}], {}, ["b"]),
    "two rules": ([{**SIZE, "operator": ">", "value": 0}, {**NAME, "operator": "!=", "value": "svc-1"}], {}, ["b"]),
    "a template that fails takes the query away": ([{**SIZE, "value": '{{ error("x") }}'}], {}, None),
    "a template that gives what cannot be asked, too": ([{**SIZE, "operator": ">", "value": "{{ {} }}"}], {}, None),
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kim(product: Product) -> Any:
    """Kim's headers; there are services and an action."""
    text, schema = {"type": "string"}, {"properties": {"size": {"type": "number"}}}
    schema["properties"] |= {"name": text, "owner": text}
    blueprint = {"identifier": "service", "title": "Service", "schema": schema}
    granted(await product.api.post("/v1/blueprints", json=blueprint), "blueprint", status=201)
    for name, properties in (
        ("a", {"size": 1, "name": "svc-1"}), ("b", {"size": 2, "name": "svc-2", "owner": "kim@x.io"}), ("c", {}),
    ):  # fmt: skip
        await product.entity(name, properties=properties)
    await product.action()
    return await product.person("kim@x.io")


@pytest.mark.parametrize(("rules", "inputs", "found"), QUERIES.values(), ids=QUERIES)
async def test_a_query(product: Product, kim: Any, rules: list[Json], inputs: Json, found: list[str] | None) -> None:
    only = {"property": "$blueprint", "operator": "=", "value": "service"}
    expected = "null" if found is None else str(found).replace("'", '"')
    condition = f".results.q | if . then [.entities[].identifier] | sort else null end | . == {expected}"
    policy = {"queries": {"q": {"combinator": "and", "rules": [only, *rules]}}, "conditions": [condition]}
    body = {"execute": {"policy": policy}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=body), "permissions")

    answer = await product.api.post("/v1/actions/deploy/runs", json={"properties": inputs}, headers=kim)
    granted(answer, "run", status=202)


async def test_a_query_finds_a_thousand_at_most_and_its_entities_are_whole(
    product: Product, kim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert policies.MOST_FOUND == 1_000
    monkeypatch.setattr(policies, "MOST_FOUND", 2)
    only = {"property": "$blueprint", "operator": "=", "value": "service"}
    whole = '["identifier", "title", "blueprint", "team", "properties", "relations"] - keys == []'
    conditions = [f".results.q.entities | length == 2 and all(.[]; {whole})"]
    body = {"execute": {"policy": {"queries": {"q": {"combinator": "and", "rules": [only]}}, "conditions": conditions}}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=body), "permissions")
    answer = await product.api.post("/v1/actions/deploy/runs", json={"properties": {}}, headers=kim)
    granted(answer, "run", status=202)
