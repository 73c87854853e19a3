"""Policies of actions: who may execute and who may approve, decided by what the catalog says."""

import logging
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from tests.api.answers import Json, granted, refused
from tests.support.product import Product, running

RUNS = "/v1/actions/deploy/runs"
PERMISSIONS = "/v1/actions/deploy/permissions"


def query(blueprint: str, *rules: Json) -> Json:
    """The entities of a blueprint that pass the rules."""
    return {
        "combinator": "and",
        "rules": [{"property": "$blueprint", "operator": "=", "value": blueprint}, *rules],
    }


def policy(condition: str, *more: str, **queries: Json) -> Json:
    """A policy with these conditions; one that needs no query has one of services."""
    return {"queries": queries or {"q": query("service")}, "conditions": [condition, *more]}


async def permit(product: Product, **body: Any) -> None:
    granted(await product.api.patch(PERMISSIONS, json=body), "permissions")


async def ask(product: Product, headers: Any = None, properties: Json | None = None, **body: Any) -> httpx.Response:
    return await product.api.post(RUNS, json={"properties": properties or {}, **body}, headers=headers)


MINE = {"property": "requester", "operator": "=", "value": "{{ .trigger.user.email }}"}
QUOTA = policy("((.results.mine.entities // []) | length) < 2", mine=query("sandbox", MINE))


async def test_who_is_on_call_and_has_less_than_two_sandboxes_may_execute(product: Product) -> None:
    await product.action()
    await permit(product, execute={"policy": QUOTA})
    ada, bob = await product.person("ada@x.io"), await product.person("bob@x.io")
    await product.entity("one", "sandbox", properties={"requester": "ada@x.io"})
    granted(await ask(product, ada), "run", status=202)
    await product.entity("two", "sandbox", properties={"requester": "ada@x.io"})
    message = refused(
        await ask(product, ada), 403, "missing_permissions", "is false", "query 'mine' found 2", "// []) | length) < 2"
    )
    assert "policy" in message
    granted(await ask(product, bob), "run", status=202)
    granted(await ask(product), "run", status=202)
    for person, status in (("ada@x.io", 403), ("bob@x.io", 202)):
        answer = await product.api.post(f"{RUNS}?run_as={person}", json={"properties": {}})
        assert answer.status_code == status, "run_as judges the person"


async def test_a_policy_sees_everything_that_is_documented(product: Product) -> None:
    await product.entity("cart", team=["sre"], properties={"tier": 1})
    inputs = {"size": {"type": "number", "default": 3}, "password": {"type": "string", "encryption": "aes256-gcm"}}
    trigger = {
        "type": "self-service",
        "operation": "DAY-2",
        "blueprintIdentifier": "service",
        "userInputs": {"properties": inputs},
    }
    await product.action(trigger=trigger)
    ada = await product.person("ada@x.io", "Member", "Lead", teams=())
    for condition in (
        ".inputs.size == 3",
        '.inputs.password != "hush" and (.inputs.password | length > 20)',
        '.user.email == "ada@x.io"',
        '.user.roles | any(.name == "Lead")',
        '.trigger.user.email == "ada@x.io" and .trigger.by.user.email == "ada@x.io" and (.trigger.at | length > 0)',
        '.entity.identifier == "cart" and .entity.properties.tier == 1 and .entity.team == ["sre"]',
        '.action.identifier == "deploy"',
        '.blueprint.identifier == "service"',
        '[.results.q.entities[].identifier] == ["cart"] and .results.q.entities[0].properties.tier == 1',
    ):
        await permit(product, execute={"policy": policy(condition)})
        answer = await ask(product, ada, {"password": "hush"}, entity="cart")
        assert answer.status_code == 202, f"{condition}: {answer.text}"
        assert "hush" not in answer.text


@pytest.mark.parametrize(
    ("conditions", "allowed"),
    [
        (["true"], True),
        (["false", "true"], True),
        (["error", "true"], True),
        (["false"], False),
        (["1"], False),
        (['"true"'], False),
        (["[true]"], False),
        (["null"], False),
        (["empty"], False),
        (['error("no")'], False),
        (["no such jq ("], False),
        (["$ENV | length > 0"], False),
        (["[limit(1e9; repeat(1))] | length > 0"], False),
    ],
)
async def test_only_a_condition_that_is_exactly_true_lets_through(
    product: Product, conditions: list[str], allowed: bool
) -> None:
    await product.action()
    await permit(product, execute={"policy": policy(*conditions)})
    answer = await ask(product, await product.person("ada@x.io"))
    assert answer.status_code == (202 if allowed else 403), answer.text
    if not allowed:
        refused(answer, 403, "missing_permissions", conditions[0][:20])


async def test_whom_the_lists_hide_the_action_from_cannot_execute_it_whatever_the_policy_says(product: Product) -> None:
    await product.action()
    await permit(product, execute={"roles": ["Lead"], "policy": policy("true")})
    ada, lead = await product.person("ada@x.io"), await product.person("lead@x.io", "Lead")
    refused(await ask(product, ada), 403, "missing_permissions", "roles (Lead)")
    granted(await ask(product, lead), "run", status=202)
    for headers, expected in ((ada, []), (lead, ["execute:actions:deploy"])):
        assert granted(await product.api.get("/v1/auth/permissions", headers=headers), "permissions") == expected
    await permit(product, execute={"policy": policy("false")})
    told = granted(await product.api.get("/v1/auth/permissions", headers=lead), "permissions")
    assert told == ["execute:actions:deploy"], "the policy needs inputs, so only the lists say who is told"


FAILING = {"queries": {"q": query("service", {"property": "x", "operator": "=", "value": '{{ error("no") }}'})}}


async def test_a_query_that_fails_is_ignored_and_the_log_says_so_loudly(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    await product.action()
    ada = await product.person("ada@x.io")
    await permit(product, execute={"policy": {**FAILING, "conditions": [".results.q.entities | length > 0"]}})
    refused(await ask(product, ada), 403, "missing_permissions", "query 'q' could not be asked", "error")
    await permit(product, execute={"policy": {**FAILING, "conditions": [".results.q.entities | length == 0"]}})
    with caplog.at_level(logging.ERROR):
        granted(await ask(product, ada), "run", status=202)
    assert "let somebody through although a query failed" in caplog.text


async def test_a_property_that_is_declared_nowhere_and_that_nobody_has_makes_a_query_fail(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    await product.action()
    ada = await product.person("ada@x.io")
    await product.entity("one", "sandbox", properties={"requester": "ada@x.io"})
    typo = query("sandbox", {**MINE, "property": "requestor"})
    await permit(product, execute={"policy": policy(".results.mine.entities | length > 0", mine=typo)})
    refused(await ask(product, ada), 403, "missing_permissions", "there is no property requestor of blueprint sandbox")
    assert "a query of a policy failed" in caplog.text
    await permit(product, execute={"policy": policy("(.results.mine.entities | length) < 1", mine=typo)})
    run = granted(await ask(product, ada), "run", status=202)
    assert "let somebody through although a query failed" in caplog.text
    told = granted(await product.api.get(f"/v1/actions/runs/{run['id']}/explain"), "explanation")
    assert "there is no property requestor" in str(told)
    await permit(
        product, execute={"policy": policy("(.results.mine.entities | length) < 1", mine=query("sandbox", MINE))}
    )
    refused(await ask(product, ada), 403, "missing_permissions", "query 'mine' found 1")


async def test_a_deployment_may_refuse_where_a_query_fails(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    async with running(clock, evaluate, sqlite_url, worker=False, policy_fail_closed="true") as product:
        await product.action(requiredApproval=True)
        ada = await product.person("ada@x.io")
        await permit(product, execute={"policy": {**FAILING, "conditions": ["true"]}})
        refused(await ask(product, ada), 403, "missing_permissions", "could not be asked", "nobody through")
        await permit(product, execute={"policy": None}, approve={"policy": {**FAILING, "conditions": ['["ada@x.io"]']}})
        run = granted(await ask(product, ada), "run", status=202)
        assert run["interlock"]["approvers"] == []


@pytest.mark.parametrize("part", ["execute", "approve"])
async def test_a_policy_whose_queries_cannot_be_asked_is_refused_with_the_path(product: Product, part: str) -> None:
    await product.action()
    wrong = {"queries": {"q": {"combinator": "and", "rules": [{"operator": "="}]}}, "conditions": ["true"]}
    answer = await product.api.patch(PERMISSIONS, json={part: {"policy": wrong}})
    refused(answer, 422, "invalid_request", f"{part}.policy.queries.q.rules[0].property")


# Who may approve.

PEERS = policy(
    ".trigger.user.email as $me | [.results.leads.entities[] | .properties.mail | select(. != $me)]",
    leads=query("lead"),
)


async def waiting(product: Product, approve: Json, headers: Any = None, required: Any = True) -> Json:
    """A run that waits for whom the policy names."""
    if (await product.api.get("/v1/actions/deploy")).status_code == 404:
        await product.action(requiredApproval=required)
    await permit(product, approve={"policy": approve})
    run: Json = granted(await ask(product, headers), "run", status=202)
    assert run["status"] == "WAITING_FOR_APPROVAL"
    return run


async def say(product: Product, run: Json, headers: Any, word: str = "APPROVE") -> httpx.Response:
    path = f"/v1/actions/runs/{run['id']}/approval"
    return await product.api.patch(path, json={"status": word}, headers=headers)


async def test_whom_the_policy_names_may_approve_and_nobody_else_not_even_the_lists(product: Product) -> None:
    for name in ("ada", "Bob"):
        await product.entity(name, "lead", properties={"mail": f"{name}@x.io"})
    ada, bob = await product.person("ada@x.io"), await product.person("bob@x.io")
    admin = await product.person("root@x.io", "Admin")
    run = await waiting(product, PEERS, ada)
    listed = await product.api.get(f"/v1/actions/runs/{run['id']}/approvers?include_pending_approvers=true")
    [asked] = granted(listed, "approvers")
    assert [asked["userId"]] == run["interlock"]["approvers"], "the union of the conditions, in any case"
    assert asked["state"] == "PENDING"
    refused(await say(product, run, ada), 403, "missing_permissions", "does not name ada@x.io", "query 'leads' found 2")
    refused(await say(product, run, admin), 403, "missing_permissions", "does not name root@x.io")
    granted(await say(product, run, bob), "run", status=201)


async def test_several_conditions_are_united_and_who_is_unknown_is_nobody(product: Product) -> None:
    people = [await product.person(f"{name}@x.io") for name in ("ada", "bob", "eve")]
    named = policy('["ada@x.io", "nobody@x.io", 3, null]', '["BOB@x.io"]', "error", "true", '"eve@x.io"', "{}")
    run = await waiting(product, named, required={"type": "ALL"})
    assert len(run["interlock"]["approvers"]) == 2
    refused(await say(product, run, people[2]), 403, "missing_permissions")
    assert granted(await say(product, run, people[0]), "run", status=201)["status"] == "WAITING_FOR_APPROVAL"
    assert granted(await say(product, run, people[1]), "run", status=201)["status"] == "IN_PROGRESS"


async def test_with_nobody_named_the_run_waits_and_its_log_says_that_nobody_can_approve(product: Product) -> None:
    root = await product.person("root@x.io", "Admin")
    run = await waiting(product, policy("[]", '["nobody@x.io"]'))
    assert run["interlock"]["approvers"] == []
    [line] = [one for one in await product.logs(run["id"]) if "Nobody can approve" in one]
    assert "organization's credentials" in line
    refused(await say(product, run, root), 403, "missing_permissions")
    granted(await say(product, run, None, "DECLINE"), "run", status=201)


async def test_the_policy_is_asked_again_when_somebody_decides(product: Product) -> None:
    await product.entity("ada", "lead", properties={"mail": "ada@x.io"})
    ada, bob = await product.person("ada@x.io"), await product.person("bob@x.io")
    run = await waiting(product, PEERS)
    await product.entity("bob", "lead", properties={"mail": "bob@x.io"})
    assert (await product.api.delete("/v1/blueprints/lead/entities/ada")).status_code == 200
    refused(await say(product, run, ada), 403, "missing_permissions", "does not name ada@x.io")
    granted(await say(product, run, bob), "run", status=201)
    refused(await say(product, run, bob), 422, "run_not_waiting_for_approval")


async def test_user_is_who_would_approve(product: Product) -> None:
    lead, member = await product.person("lead@x.io", "Lead", "Member"), await product.person("m@x.io")
    condition = 'if (.user.roles | any(.name == "Lead")) then [.user.email] else [] end'
    run = await waiting(product, policy(condition), member)
    assert len(run["interlock"]["approvers"]) == 1
    refused(await say(product, run, member), 403, "missing_permissions")
    granted(await say(product, run, lead), "run", status=201)


async def test_who_is_asked_by_a_policy_sees_the_hidden_run_and_others_do_not(product: Product) -> None:
    ada, bob = await product.person("ada@x.io"), await product.person("bob@x.io")
    await product.action(requiredApproval=True, allowAnyoneToViewRuns=False)
    run = await waiting(product, policy('["ada@x.io"]'))
    path = f"/v1/actions/runs/{run['id']}"
    assert granted(await product.api.get(path, headers=ada), "run")["id"] == run["id"]
    assert [one["id"] for one in granted(await product.api.get("/v1/actions/runs", headers=ada), "runs")] == [run["id"]]
    refused(await product.api.get(path, headers=bob), 404, "not_found")
    assert granted(await product.api.get("/v1/actions/runs", headers=bob), "runs") == []
    refused(await say(product, run, bob), 404, "not_found")
    for headers, seen in ((ada, 1), (bob, 0)):
        log = await product.api.get("/v1/audit-log?resources=run", headers=headers)
        assert len(granted(log, "audits")) == seen
