"""GitHub for tests: a real HTTP server on loopback, as strict as GitHub's own description of its API.

Every request is compared with it: path, query, headers, body, credentials. What is wrong is remembered in `faults`, and
whoever opens the server finds it empty at the end, or the test fails. What it answers is compared as well.
"""

import hmac
import json
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.types import Options

from tests.support.github_contract import (
    DESCRIPTION,
    Json,
    filled,
    nested,
    operation_of,
    problems,
    sample,
    wrong_body,
    wrong_headers,
    wrong_parameters,
)
from tests.support.listening import Asked, Said, Strict, listening

CAPTURED = Path(__file__).parents[1] / "fixtures" / "github_workflow_run_completed.json"
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ0123"
SECRET = "what GitHub signs its webhooks with"
APP_ID = "123456"
SLUG = "octoapp"
PERSON = "octocat"

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
_AS_APP = ("/app", "/app/installations/{installation_id}/access_tokens", "/repos/{owner}/{repo}/installation")


@dataclass
class Repository:
    """A repository and its workflows: for each file, the names of the inputs it declares."""

    owner: str
    name: str
    id: int = 1296269
    owner_id: int = 583231
    default_branch: str = "trunk"
    branches: set[str] = field(default_factory=lambda: {"trunk", "release/1", "v1"})
    workflows: dict[str, set[str]] = field(default_factory=lambda: {"deploy.yml": {"env", "context"}})
    required: set[str] = field(default_factory=set)
    run_name: str = "Deploy"
    """What runs are called; `{context}` stands for the input of that name, as `run-name` of a workflow has it."""


@dataclass
class WorkflowRun:
    """A run of a workflow: it is queued, goes on and ends when a test says so."""

    id: int
    repository: Repository
    workflow: str
    ref: str
    inputs: Json
    actor: str
    title: str
    created_at: datetime
    status: str = "queued"
    conclusion: str | None = None

    @property
    def external_run_id(self) -> str:
        """What our run is called that it belongs to."""
        return f"gh_{self.repository.owner_id}_{self.repository.id}_{self.id}"

    @property
    def link(self) -> str:
        """Its page."""
        return f"https://github.com/{self.repository.owner}/{self.repository.name}/actions/runs/{self.id}"


@dataclass(frozen=True)
class Told:
    """What a webhook sends."""

    content: bytes
    headers: dict[str, str]


def captured() -> Json:
    """A webhook as GitHub has really sent it: a workflow run has ended with success."""
    payload: Json = json.loads(CAPTURED.read_text(encoding="utf-8"))
    return payload


def signed(body: bytes, event: str = "workflow_run", secret: str = SECRET) -> dict[str, str]:
    """The headers of a webhook with this body."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-GitHub-Event": event,
        "X-Hub-Signature-256": f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}",
    }


def refusal(status: int, message: str, **headers: str) -> Said:
    """An error as GitHub writes it."""
    document = {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)}
    return Said(status, document, {name.replace("_", "-"): value for name, value in headers.items()})


@cache
def private_key() -> str:
    """The key of the App."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    return key.private_bytes(*pem).decode()


@cache
def _public_key() -> Any:
    return serialization.load_pem_private_key(private_key().encode(), None).public_key()


@dataclass
class FakeGitHub(Strict):
    """GitHub; with `enterprise` a server of one's own that is older than `return_run_details`, below `/api/v3`."""

    enterprise: bool = False
    repositories: list[Repository] = field(default_factory=lambda: [Repository("acme", "infra")])
    runs: list[WorkflowRun] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    scripted: list[tuple[str, Said]] = field(default_factory=list)
    """What is answered instead, in order: to requests whose operation ends like this."""
    token: str = TOKEN
    installed: bool = True
    issued: list[str] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    lifetime: timedelta = timedelta(hours=1)
    invisible: bool = False
    """Whether runs are not listed yet."""
    first_run: int = 30433642
    port: int = 0
    tls: ssl.SSLContext | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{self._below}"

    @property
    def _below(self) -> str:
        return "/api/v3" if self.enterprise else ""

    def answers(self, operation: str, *said: Said) -> None:
        """The next answers to an operation, by the end of its method and path."""
        self.scripted += [(operation, one) for one in said]

    def operations(self, ending: str = "") -> list[Asked]:
        """The requests for operations that end like this."""
        return [asked for asked in self.asked if asked.operation.endswith(ending)]

    def begin(self, run: WorkflowRun) -> None:
        """A runner has taken it."""
        run.status = "in_progress"

    def conclude(self, run: WorkflowRun, conclusion: str) -> None:
        """It has ended."""
        run.status, run.conclusion = "completed", conclusion

    def webhook(self, run: WorkflowRun, action: str = "completed") -> Json:
        """What GitHub's webhook says about the run now."""
        payload = captured()
        said = self._run(run)
        repository = said.pop("repository")
        for known, values in ((payload["workflow_run"]["repository"], repository), (payload["repository"], repository)):
            known["owner"] |= {name: values["owner"][name] for name in ("id", "login")}
            known |= {name: values[name] for name in ("id", "name")}
        changing = (
            "id",
            "name",
            "display_title",
            "head_branch",
            "event",
            "status",
            "conclusion",
            "html_url",
            "created_at",
        )
        payload["workflow_run"] |= {name: said[name] for name in changing}
        payload["action"] = action
        if action == "completed":
            assert problems(DESCRIPTION["webhook"]["schema"], payload) == []
        return payload

    def told(self, payload: Json, event: str = "workflow_run", secret: str = SECRET) -> Told:
        """The webhook as it is sent: its bytes, signed."""
        body = json.dumps(payload).encode()
        return Told(body, signed(body, event, secret))

    # --- the server

    def _answered(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Said:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
        path = parts.path.removeprefix(self._below)
        found = operation_of(method, path) if parts.path.startswith(f"{self._below}/") else None
        if found is None:
            self.faults.append(f"{method} {parts.path} is no operation")
            return refusal(404, "Not Found")
        operation, values = found
        described = DESCRIPTION["operations"][operation]
        document = json.loads(body) if body else None
        asked = Asked(method, path, query, headers, document, operation)
        self.asked.append(asked)
        wrong = [*wrong_parameters(described, values, query), *wrong_headers(headers, body)]
        wrong += wrong_body(described, document)
        self.faults += [f"{operation}: {one}" for one in wrong]
        for number, (ending, said) in enumerate(self.scripted):
            if operation.endswith(ending):
                del self.scripted[number]
                if said.after_all:
                    self._handled(operation, values, asked)
                return said
        said = self._refused(operation, headers) or self._handled(operation, values, asked)
        if self.enterprise:
            said = replace(said, headers={**said.headers, "X-GitHub-Enterprise-Version": "3.19.4"})
        schema = described["answers"].get(str(said.status))
        if schema and (differs := problems(schema, said.body)):
            self.faults.append(f"{operation}: GitHub would not answer this: {differs[:3]}")
        return said

    def _refused(self, operation: str, headers: dict[str, str]) -> Said | None:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            self.faults.append(f"{operation}: no bearer token")
        if operation.split(" ")[1] not in _AS_APP:
            known = {self.token, *self.issued} - self.revoked
            return None if credentials in known else refusal(401, "Bad credentials")
        kept: Options = {"require": ["iat", "exp", "iss"], "verify_exp": False, "verify_iat": False}
        try:
            claims = jwt.decode(credentials, _public_key(), algorithms=["RS256"], options=kept)
        except jwt.InvalidTokenError:
            return refusal(401, "A JSON web token could not be decoded")
        now = self.now().timestamp()
        if claims["iss"] != APP_ID:
            return refusal(401, "'Issuer' claim ('iss') must be an Integer")
        if not claims["iat"] <= now < claims["exp"] <= now + 600:
            return refusal(401, "'Expiration time' claim ('exp') is too far in the future")
        return None

    def _handled(self, operation: str, values: dict[str, str], asked: Asked) -> Said:
        name = DESCRIPTION["operations"][operation]["operationId"]
        schema = next(iter(DESCRIPTION["operations"][operation]["answers"].values()))
        match name:
            case "apps/get-authenticated":
                return Said(200, filled(schema, slug=SLUG))
            case "users/get-authenticated":
                return Said(200, filled(schema, login=PERSON))
            case "apps/create-installation-access-token":
                return self._token_issued(schema)
        repository = self._repository(values)
        if repository is None or (name == "apps/get-repo-installation" and not self.installed):
            return refusal(404, "Not Found")
        match name:
            case "apps/get-repo-installation":
                return Said(200, filled(schema, id=77, app_slug=SLUG))
            case "repos/get":
                owner = {**nested(schema, "owner"), "id": repository.owner_id, "login": repository.owner}
                whole = {"id": repository.id, "name": repository.name, "default_branch": repository.default_branch}
                return Said(200, filled(schema, owner=owner, **whole))
            case "actions/create-workflow-dispatch":
                return self._dispatched(repository, unquote(values["workflow_id"]), asked)
            case "actions/list-workflow-runs":
                return self._listed(repository, unquote(values["workflow_id"]), asked.query)
        run = next((one for one in self.runs if str(one.id) == values["run_id"] and one.repository is repository), None)
        if run is None:
            return refusal(404, "Not Found")
        if name == "actions/get-workflow-run":
            return Said(200, self._run(run))
        if run.status == "completed":
            return refusal(409, "Cannot cancel a workflow run that is completed.")
        self.conclude(run, "cancelled")
        return Said(202, {})

    def _repository(self, values: dict[str, str]) -> Repository | None:
        asked = f"{unquote(values['owner'])}/{unquote(values['repo'])}".lower()
        return next((one for one in self.repositories if f"{one.owner}/{one.name}".lower() == asked), None)

    def _token_issued(self, schema: Json) -> Said:
        self.issued.append(f"ghs_{len(self.issued):036}")
        until = (self.now() + self.lifetime).strftime(_MOMENT)
        return Said(201, filled(schema, token=self.issued[-1], expires_at=until))

    def _dispatched(self, repository: Repository, workflow: str, asked: Asked) -> Said:
        sent = asked.body
        if workflow not in repository.workflows:
            return refusal(404, "Not Found")
        if self.enterprise and "return_run_details" in sent:
            return refusal(422, 'Invalid request.\n\n"return_run_details" is not a permitted key.')
        if sent["ref"].removeprefix("refs/heads/").removeprefix("refs/tags/") not in repository.branches:
            return refusal(422, f"No ref found for: {sent['ref']}")
        inputs = sent.get("inputs", {})
        self.faults += [f"the input {name} is no text" for name, value in inputs.items() if not isinstance(value, str)]
        if unknown := sorted(inputs.keys() - repository.workflows[workflow]):
            return refusal(422, f"Unexpected inputs provided: {json.dumps(unknown)}")
        if missing := sorted(repository.required - inputs.keys()):
            return refusal(422, f"Required input '{missing[0]}' not provided")
        number = self.first_run + len(self.runs)
        as_app = asked.headers["authorization"].removeprefix("Bearer ") in self.issued
        actor = f"{SLUG}[bot]" if as_app else PERSON
        ref = sent["ref"].removeprefix("refs/heads/").removeprefix("refs/tags/")
        title = repository.run_name.format_map(defaultdict(str, inputs))
        run = WorkflowRun(number, repository, workflow, ref, inputs, actor, title, self.now())
        self.runs.append(run)
        if not sent.get("return_run_details"):
            return Said(204)
        address = f"{self.url}/repos/{repository.owner}/{repository.name}/actions/runs/{number}"
        return Said(200, {"workflow_run_id": number, "run_url": address, "html_url": run.link})

    def _listed(self, repository: Repository, workflow: str, query: dict[str, str]) -> Said:
        since = datetime.fromisoformat(query["created"].removeprefix(">=")) if "created" in query else None
        fitting = [
            one
            for one in reversed(self.runs)
            if not self.invisible
            and (one.repository, one.workflow) == (repository, workflow)
            and query.get("event") in (None, "workflow_dispatch")
            and query.get("branch") in (None, one.ref)
            and query.get("actor") in (None, one.actor)
            and (since is None or one.created_at.replace(microsecond=0) >= since)
        ]
        return Said(200, {"total_count": len(fitting), "workflow_runs": [self._run(one) for one in fitting]})

    def _run(self, run: WorkflowRun) -> Json:
        schema = DESCRIPTION["operations"]["GET /repos/{owner}/{repo}/actions/runs/{run_id}"]["answers"]["200"]
        repository = nested(schema, "repository")
        repository |= {"id": run.repository.id, "name": run.repository.name}
        repository["owner"] |= {"id": run.repository.owner_id, "login": run.repository.owner}
        return filled(  # type: ignore[no-any-return]
            schema,
            id=run.id,
            name=run.workflow,
            display_title=run.title,
            head_branch=run.ref,
            event="workflow_dispatch",
            status=run.status,
            conclusion=run.conclusion,
            html_url=run.link,
            created_at=run.created_at.strftime(_MOMENT),
            actor={**sample({"$ref": "#/definitions/simple-user"}), "login": run.actor},
            repository=repository,
        )


@asynccontextmanager
async def github(**said: Any) -> AsyncIterator[FakeGitHub]:
    """GitHub on a free port; at the end nothing may have been asked of it that it would not take."""
    fake = FakeGitHub(**said)
    async with listening(fake, fake.tls):
        yield fake
    assert fake.faults == []
