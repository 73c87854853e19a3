"""Section 7 of the specification: asking for a run - in which order it is refused, what values are held to, its moves.

Covered elsewhere, as directly: the shape of the request and each code by itself (7.1, 7.2), the run that is returned
(7.5), `run_as`, `tests/api/test_run_routes.py`; defaults, required inputs, `null`, formats, messages and secrets (7.4),
`tests/domain/test_inputs.py`; secrets at the edge, `tests/api/test_secret_routes.py`. Section 7.4 proposes to refuse
undeclared inputs; clients need them accepted (`docs/decisions/0009-contract-choices.md`), so they are.
"""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.approvals import Decision, DecisionState, Verdict
from domain.documents import Document
from domain.errors import InterlockError
from domain.identifiers import RunId, new
from domain.runs import Ref, Report, Run, RunStatus
from tests.api.answers import Json, granted, refused
from tests.conformance.support import action, said, written
from tests.support.product import Product

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT = datetime(2026, 1, 2, tzinfo=UTC)

# Section 7.4: patterns are those of ECMAScript, searched for anywhere in the text.
PATTERNS: dict[str, tuple[str, list[str], list[str]]] = {
    "a pattern is searched for": ("b+", ["abbc"], ["ac"]),
    "anchors are the ends of the text": ("^a$", ["a"], ["a\n", "x\na", "a\nb"]),
    "a digit is one of ten": (r"^\d+$", ["0123456789"], ["٣", "a"]),
    "a word character is of ASCII": (r"^\w+$", ["aZ_9"], ["é", "名"]),
    "white space has no-break spaces and the byte order mark": (
        r"^\s$",
        [" ", "\t", "\u00a0", "\ufeff", "\u2028"],
        ["a"],
    ),
    "a point is no end of a line": ("^a.b$", ["a b"], ["a\nb", "ab"]),
    "a slash may be escaped": (r"^a\/b$", ["a/b"], ["ab"]),
    "a hyphen may be escaped in a class": (r"^[a\-z]$", ["-", "a"], ["b"]),
    "a look-ahead": ("^(?!prod)[a-z-]+$", ["staging"], ["production"]),
    "a look-behind": ("(?<=v)1$", ["v1"], ["w1"]),
    "a back-reference": (r"^(a|b)\1$", ["aa"], ["ab"]),
    "a code unit": (r"^\u00e4\x41$", ["äA"], ["aA"]),
    "a code point": (r"^\u{1F680}$", ["🚀"], ["u"]),
    "a control character": (r"^\cJ$", ["\n"], ["J"]),
    "a Unicode property": (r"^\p{Lu}$", ["Ä"], ["ä", "1"]),
    "a boundary": (r"\bb\b", ["a b c", "b"], ["ab", "bc"]),
    "a named group": (r"^(?<c>a|b)\1$", ["bb"], ["ba"]),
    "a class with signs of other dialects": ("^[[&&~~]$", ["[", "&", "~"], ["a"]),
    "a lazy count": ("^a{1,2}?$", ["aa"], ["aaa"]),
    "case is not folded": ("^a$", ["a"], ["A"]),
}

# What other dialects have and ECMAScript has not, and the few things of ECMAScript that the engine does not run: both
# are refused when they are written, so that no pattern means something else than its author thinks.
NOT_RUN: dict[str, list[str]] = {
    "flags inside": ["(?i)a", "(?x)a b", "(?-u:a)"],
    "anchors of Perl": [r"\Aa", r"a\z", r"a\Z"],
    "possessive and atomic groups": ["a++", "(?>a)"],
    "names of classes": ["[[:alpha:]]", r"\h", r"\pL"],
    "names as in Python": ["(?P<c>a)", "(?P<c>a)(?P=c)"],
    "comments": ["(?#x)a"],
    "brackets that stand alone": ["a{", "}", "a]", "a{,2}"],
    "what is not closed": ["(", "[a", "(?<c>a"],
    "ECMAScript that is not run": [r"(?<c>a)\k<c>", "[^]", "[]", r"\0", r"[\b]"],
}

# Section 7.6: from a status, by what happens, to a status; where nothing is written it is refused, or changes nothing.
WAITING, WORKING = RunStatus.WAITING_FOR_APPROVAL, RunStatus.IN_PROGRESS
SUCCESS, FAILURE, DECLINED = RunStatus.SUCCESS, RunStatus.FAILURE, RunStatus.DECLINED
MOVES: dict[str, dict[RunStatus, RunStatus]] = {
    "approved": {WAITING: WORKING},
    "declined": {WAITING: DECLINED},
    "reported as a success": {WORKING: SUCCESS},
    "reported as a failure": {WORKING: FAILURE, WAITING: FAILURE},
    "cancelled": {WORKING: FAILURE, WAITING: FAILURE},
}


@pytest.mark.parametrize(("pattern", "good", "bad"), PATTERNS.values(), ids=PATTERNS)
async def test_a_pattern(pattern: str, good: list[str], bad: list[str]) -> None:
    definition: Document = {"type": "string", "pattern": pattern}
    assert written(action({"x": definition})) == "stored"
    assert [text for text in good if said(definition, text)] == []
    assert [text for text in bad if not said(definition, text)] == []


@pytest.mark.parametrize("patterns", NOT_RUN.values(), ids=NOT_RUN)
async def test_a_pattern_that_is_not_run(patterns: list[str]) -> None:
    for pattern in patterns:
        refusal = written(action({"x": {"type": "string", "pattern": pattern}}))
        assert refusal == (
            "user_inputs_schema_invalid properties.x.pattern is no regular expression that can be run"
        ), pattern


def _happens(what: str, run: Run) -> Run:
    def word(state: DecisionState) -> Decision:
        return Decision(user_id="u", name="u", state=state, at=AT)

    match what:
        case "approved":
            return run.decided(word(DecisionState.APPROVED), Verdict.APPROVED)
        case "declined":
            return run.decided(word(DecisionState.DECLINED), Verdict.DECLINED)
        case "reported as a success":
            return run.reported(Report(status=SUCCESS), at=AT, by="u")
        case "reported as a failure":
            return run.reported(Report(status=FAILURE), at=AT, by="u")
    return run.cancelled("stop", at=AT, by="u")


@pytest.mark.parametrize("what", MOVES)
@pytest.mark.parametrize("status", RunStatus, ids=lambda status: f"from {status}")
async def test_a_move(status: RunStatus, what: str) -> None:
    run = Run(
        id=RunId(new("r")), status=status, action=Ref(identifier="a"), created_at=AT, created_by="u", updated_at=AT,
        updated_by="u",
    )  # fmt: skip
    expected = MOVES[what].get(status)
    try:
        after = _happens(what, run)
    except InterlockError:
        assert expected is None
        return
    assert after.status is (expected or status)
    assert (after.ended_at is not None) is (expected in (SUCCESS, FAILURE, DECLINED))


# Section 7.3: each request is wrong in two ways, and the one that is looked at first is told.
BROKEN = {"type": "WEBHOOK", "url": "https://example.org", "body": {"a": "{{ .inputs"}}
SEARCH = {"type": "SEARCH", "combinator": "and", "rules": [{"property": "frozen", "operator": "!=", "value": True}]}
NEVER: Json = {"queries": {"q": {"combinator": "and", "rules": []}}, "conditions": ["false"]}
NUMBER: Json = {"n": {"type": "number"}}
GOOD: Json = {"properties": {"n": 1}, "entity": "cart"}
FROZEN: Json = {"properties": {"n": 1}, "entity": "ice"}
ORDER: dict[str, tuple[str, str, Any, int, str | None, str]] = {
    "the token before the body": ("scale", "stranger", 5, 401, "unauthorized", ""),
    "the body before the action": ("nothing", "member", 5, 422, "invalid_request", ""),
    "the action before the person": ("nothing", "outsider", GOOD, 404, "not_found", "nothing"),
    "the kind of action before the person": ("auto", "outsider", GOOD, 422, "run_non_self_service_error", ""),
    "a missing entity before the person": (
        "scale", "outsider", {"properties": {}}, 422, "missing_self_service_action_entity", "",
    ),
    "an unknown entity before the person": ("scale", "outsider", {**GOOD, "entity": "none"}, 404, "not_found", "none"),
    "the person before the condition": ("scale", "outsider", FROZEN, 403, "missing_permissions", ""),
    "the person before the inputs": (
        "scale", "outsider", {**GOOD, "properties": {"n": "x"}}, 403, "missing_permissions", "",
    ),
    "the condition before the inputs": (
        "scale", "member", {**FROZEN, "properties": {"n": "x"}}, 422, "entity_does_not_pass_condition", "ice",
    ),
    "the inputs before the policy": (
        "closed", "member", {**GOOD, "properties": {"n": "x"}}, 422, "user_inputs_schema_invalid", "/n must be number",
    ),
    "the policy before the templates": ("closed", "member", GOOD, 403, "missing_permissions", "policy"),
    "the inputs before the templates": (
        "broken", "member", {**GOOD, "properties": {"n": "x"}}, 422, "user_inputs_schema_invalid", "",
    ),
    "the templates at last": ("broken", "member", GOOD, 422, "evaluate_invocation_method_error", ""),
    "an entity of another blueprint is none": ("scale", "member", {**GOOD, "entity": "only"}, 404, "not_found", "only"),
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(product: Product) -> dict[str, httpx.Headers]:
    """Who asks; the actions that they ask for are there."""
    await product.entity("cart")
    await product.entity("ice", properties={"frozen": True})
    await product.entity("only", "shop")

    async def on_service(identifier: str, execute: Json, **more: Any) -> None:
        trigger = {
            "type": "self-service", "operation": "DAY-2", "blueprintIdentifier": "service",
            "userInputs": {"properties": NUMBER}, "condition": SEARCH,
        }  # fmt: skip
        await product.action(identifier, **{"trigger": trigger, **more})
        path = f"/v1/actions/{identifier}/permissions"
        granted(await product.api.patch(path, json={"execute": execute}), "permissions")

    event = {"type": "ENTITY_CREATED", "blueprintIdentifier": "service"}
    await on_service("auto", {"roles": []}, trigger={"type": "automation", "event": event}, publish=False)
    await on_service("scale", {"roles": ["Member"]})
    await on_service("closed", {"policy": NEVER}, invocationMethod=BROKEN)
    await on_service("broken", {}, invocationMethod=BROKEN)
    await on_service("later", {}, invocationMethod=BROKEN, requiredApproval=True)
    return {
        "member": await product.person("member@x.io"),
        "outsider": await product.person("outsider@x.io", "Guest"),
        "stranger": httpx.Headers({"Authorization": "Bearer no.such.token"}),
    }


@pytest.mark.parametrize(("asked", "who", "body", "status", "code", "word"), ORDER.values(), ids=ORDER)
async def test_what_is_told_first(
    product: Product, callers: dict[str, httpx.Headers], asked: str, who: str, body: Any, status: int,
    code: str | None, word: str,
) -> None:  # fmt: skip
    answer = await product.api.post(f"/v1/actions/{asked}/runs", json=body, headers=callers[who])
    refused(answer, status, code, word)


async def test_what_waits_for_approval_is_rendered_when_it_is_released(
    product: Product, callers: dict[str, httpx.Headers]
) -> None:
    answer = await product.api.post("/v1/actions/later/runs", json=GOOD, headers=callers["member"])
    assert granted(answer, "run", status=202)["status"] == "WAITING_FOR_APPROVAL"


@pytest.mark.parametrize(
    ("operation", "blueprint", "sent", "kept"),
    [
        ("CREATE", "service", "cart", None),
        ("CREATE", None, "cart", None),
        ("CREATE", "service", None, None),
        ("DAY-2", "service", "cart", "cart"),
        ("DELETE", "service", "cart", "cart"),
        ("DAY-2", None, None, None),
        ("DELETE", None, "nothing", None),
    ],
)
async def test_which_actions_run_on_an_entity(
    product: Product, callers: dict[str, httpx.Headers], operation: str, blueprint: str | None, sent: str | None,
    kept: str | None,
) -> None:  # fmt: skip
    name = new("a")
    tied = {"blueprintIdentifier": blueprint} if blueprint else {}
    trigger = {"type": "self-service", "operation": operation, "userInputs": {"properties": {}}, **tied}
    await product.action(name, trigger=trigger)
    body = {"properties": {}, **({"entity": sent} if sent else {})}
    run = granted(await product.api.post(f"/v1/actions/{name}/runs", json=body), "run", status=202)
    assert (run.get("entity") or {}).get("identifier") == kept


@pytest.mark.parametrize(
    ("run_as", "status", "code"),
    [("member@x.io", 202, None), ("nobody@x.io", 404, "not_found"), ("no address", 404, "not_found")],
    ids=["a person", "nobody", "no address"],
)
async def test_machines_run_for_people(
    product: Product, callers: dict[str, httpx.Headers], run_as: str, status: int, code: str | None
) -> None:
    answer = await product.api.post("/v1/actions/scale/runs", json=GOOD, params={"run_as": run_as})
    if code is not None:
        refused(answer, status, code, run_as)
    else:
        run = granted(answer, "run", status=status)
        assert run["impersonatedBy"] == product.organization.client_id != run["createdBy"]
