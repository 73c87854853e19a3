"""Requests made up from the OpenAPI document: no answer is a 5xx, and none is one that the document does not know."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.claims import LONGEST_WAIT
from tests.support.processes import Dev, Stack, dying_with_us

EXAMPLES = os.environ.get("INTERLOCK_FUZZ_EXAMPLES", "2")
SEED = os.environ.get("INTERLOCK_FUZZ_SEED", "1")
REQUEST_TIMEOUT = f"{2 * LONGEST_WAIT.total_seconds():.0f}"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)

pytestmark = [pytest.mark.whole, pytest.mark.timeout(800 + 50 * int(EXAMPLES))]

BLUEPRINT = {
    "identifier": "service",
    "title": "Service",
    "schema": {"properties": {"tier": {"type": "number"}, "ends": {"type": "string", "format": "timer"}}},
    "mirrorProperties": {"upper": {"path": "on.tier"}},
    "calculationProperties": {"twice": {"type": "number", "calculation": ".properties.tier * 2"}},
    "relations": {"on": {"target": "service"}, "uses": {"target": "service", "many": True}},
}
ENTITY = {"identifier": "cart", "properties": {"tier": 1}, "relations": {"on": "cart", "uses": ["cart"]}}
FORM = {"properties": {"name": {"type": "string"}}}
ACTION = {
    "identifier": "deploy",
    "title": "Deploy",
    "requiredApproval": True,
    "trigger": {"type": "self-service", "operation": "DAY-2", "blueprintIdentifier": "service", "userInputs": FORM},
    "invocationMethod": {"type": "WEBHOOK", "url": "http://127.0.0.1:9/", "body": {}},
}
SCORECARD = {
    "identifier": "ready",
    "title": "Ready",
    "rules": [
        {
            "identifier": "has-tier",
            "title": "Has a tier",
            "level": "Gold",
            "query": {"combinator": "and", "conditions": [{"property": "tier", "operator": "isNotEmpty"}]},
        }
    ],
}
WEBHOOK = {
    "identifier": "hook",
    "title": "Hook",
    "enabled": True,
    "mappings": [{"blueprint": "service", "entity": {"identifier": ".body.id"}}],
}


DEFINITIONS = r"^/v1/actions(/\{action_id\})?$"
"""The paths of the bodies with most in them: they get half of all requests."""
CATALOG = r"^/v1/(blueprints|entities)(/|$)"
WAITING = r"^/v1/actions/runs/claim-pending$"
"""Long polling: who asks for the longest wait there is gets it, so others are asked meanwhile."""
OPERATIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "all": ((),),
    "definitions": (("--include-path-regex", DEFINITIONS),),
    "catalog": (("--include-path-regex", CATALOG),),
    "others": (
        ("--include-path-regex", WAITING),
        ("--exclude-path-regex", f"{DEFINITIONS}|{CATALOG}|{WAITING}"),
    ),
}
"""What is asked at the same time, by its options. The last three are all, too, each operation once."""


@pytest.mark.parametrize(
    ("who", "phases", "operations"),
    [
        ("the organization", "coverage", "definitions"),
        ("the organization", "coverage", "catalog"),
        ("the organization", "coverage", "others"),
        ("the organization", "fuzzing", "all"),
        ("a member", "fuzzing", "all"),
    ],
)
async def test_every_answer_is_one_that_the_document_knows(
    tmp_path: Path, who: str, phases: str, operations: str
) -> None:
    async with Dev(tmp_path) as stack, httpx.AsyncClient(base_url=stack.url, timeout=30) as api:
        token = await _token(api, stack)
        api.headers["Authorization"] = f"Bearer {token}"
        known = await _filled(api)
        if who == "a member":
            token = await _member(api)
        (tmp_path / "schemathesis.toml").write_text(_configuration(known), encoding="utf-8")
        async with asyncio.TaskGroup() as group:
            for chosen in OPERATIONS[operations]:
                options = ("--header", f"Authorization: Bearer {token}", "--phases", phases, *chosen)
                group.create_task(_schemathesis(tmp_path, f"{stack.url}/openapi.json", *options))


async def _schemathesis(directory: Path, *options: str) -> None:
    child = await asyncio.create_subprocess_exec(
        str(Path(sys.prefix, "bin", "schemathesis")),
        *("--config-file", str(directory / "schemathesis.toml"), "run", *options, "--checks", ",".join(CHECKS)),
        # Longer than the longest poll, which is asked for, too.
        *("--max-examples", EXAMPLES, "--seed", SEED, "--request-timeout", REQUEST_TIMEOUT, "--no-color"),
        # One worker: Python 3.11 cannot parse in two threads at once ("AST constructor recursion depth mismatch").
        *("--workers", "1"),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=dying_with_us(),
    )
    said, _ = await child.communicate()
    assert child.returncode == 0, said.decode()[-20_000:]


async def _token(api: httpx.AsyncClient, stack: Stack) -> str:
    lines = (stack.directory / "dev.env").read_text(encoding="utf-8").splitlines()
    said = dict(line.split("=", 1) for line in lines)
    body = {"clientId": said["CLIENT_ID"], "clientSecret": said["CLIENT_SECRET"]}
    return str((await api.post("/v1/auth/access_token", json=body)).json()["accessToken"])


async def _member(api: httpx.AsyncClient) -> str:
    credentials = (await _posted(api, "/v1/rotate-credentials/ada@example.com", None))["credentials"]
    return str((await _posted(api, "/v1/auth/access_token", credentials))["accessToken"])


async def _filled(api: httpx.AsyncClient) -> dict[str, str]:
    """Something of each kind; what the parts of paths have to be to find it."""
    await _posted(api, "/v1/blueprints", BLUEPRINT)
    await _posted(api, "/v1/blueprints/service/entities?create_missing_related_entities=true", ENTITY)
    await _posted(api, "/v1/blueprints/service/scorecards", SCORECARD)
    await _posted(api, "/v1/actions", ACTION)
    run = (await _posted(api, "/v1/actions/deploy/runs", {"properties": {}, "entity": "cart"}))["run"]
    await _posted(api, "/v1/organization/secrets", {"secretName": "key", "secretValue": "value"})
    await _posted(api, "/v1/users/invite", {"invitee": {"email": "ada@example.com"}})
    await _posted(api, "/v1/teams", {"name": "sre", "users": ["ada@example.com"]})
    webhook = (await _posted(api, "/v1/webhooks", WEBHOOK))["integration"]
    installed = {"installationId": "ocean", "installationAppType": "github", "version": "1", "config": {}}
    await _posted(api, "/v1/integration", installed)
    return {
        "blueprint": "service",
        "entity": "cart",
        "scorecard": "ready",
        "action_id": "deploy",
        "run_id": run["id"],
        "user_email": "ada@example.com",
        "webhook_key": webhook["webhookKey"],
        "property": "tier",
        "key": "none",
        "identifier": "ocean",
        "name": "sre",
        "relation": "on",
    }


async def _posted(api: httpx.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    answer = await api.post(path, json=body)
    assert answer.status_code in (200, 201, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


def _configuration(known: dict[str, str]) -> str:
    parts = "\n".join(f'"path.{name}" = "{value}"' for name, value in known.items())
    return f"[parameters]\n{parts}\n"
