"""GitLab for tests: a real HTTP server on loopback, as strict as GitLab about paths, credentials and parameters.

What is wrong with a request is remembered in `faults`, and whoever opens the server finds it empty at the end, or the
test fails. What GitLab itself refuses with words is answered in these words instead.

Source: GitLab 18, `lib/api/ci/pipelines.rb`, `lib/api/ci/triggers.rb`, `lib/api/helpers.rb` and its documentation.
"""

import copy
import hmac
import json
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.listening import Asked, Said, Strict, listening

Json = dict[str, Any]

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOKEN = "glpat-0123456789abcdefghij"
TRIGGER = "glptt-0123456789abcdef0123456789abcdef01234567"
SECRET = "what GitLab sends with its webhooks"
SIGNING_TOKEN = "whsec_" + b64encode(bytes(range(32))).decode()
DELIVERY = "a3c7d1e0-3f0c-4b59-9a59-1c1f3a3d6b11"

_API = "/api/v4"
_MOMENT = "%Y-%m-%dT%H:%M:%S.000Z"
_KEY = re.compile(r"[A-Za-z0-9_]{1,255}")
_LIST = {"source", "created_after", "per_page"}
_ENDED = ("success", "failed", "canceled", "skipped")


@dataclass
class Project:
    """A project with a CI configuration."""

    path: str
    id: int = 15
    default_branch: str | None = "trunk"
    refs: set[str] = field(default_factory=lambda: {"trunk", "main", "release/1", "v1"})
    restricted: bool = False
    """Whether nobody may set variables of pipelines."""
    moved: bool = False


@dataclass
class Pipeline:
    """A pipeline: it ends when a test says so."""

    id: int
    project: Project
    ref: str
    source: str
    variables: dict[str, str]
    created_at: datetime
    status: str = "created"
    payload: Json = field(default_factory=dict)
    """What a trigger has sent, its token apart."""

    @property
    def link(self) -> str:
        """Its page."""
        return f"https://gitlab.example.com/{self.project.path}/-/pipelines/{self.id}"


@cache
def _fixture(name: str) -> str:
    return (FIXTURES / f"{name}.json").read_text(encoding="utf-8")


def documented(name: str = "gitlab_pipeline_hook") -> Json:
    """A document with the keys that GitLab's have; `gitlab_pipeline_hook` is a webhook about a success."""
    document: Json = json.loads(_fixture(name))
    return document


def with_token(secret: str = SECRET) -> dict[str, str]:
    """The headers of a webhook that has a secret token."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitLab/18.10.0",
        "Idempotency-Key": DELIVERY,
        "X-Gitlab-Event": "Pipeline Hook",
        "X-Gitlab-Webhook-UUID": "1b2e5ad8-8ce5-4c3b-8ec9-5ab5b2f8d1c2",
        "X-Gitlab-Instance": "https://gitlab.example.com",
        "X-Gitlab-Event-UUID": "13792a34-cac6-4fda-95a8-c58e00a3954e",
        "X-Gitlab-Token": secret,
    }


def signed(body: bytes, token: str = SIGNING_TOKEN, at: datetime | None = None) -> dict[str, str]:
    """The headers of a webhook that has a signing token."""
    timestamp = str(int((at or datetime.now(UTC)).timestamp()))
    key = b64decode(token.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{DELIVERY}.{timestamp}.".encode() + body, "sha256")
    headers = with_token()
    del headers["X-Gitlab-Token"]
    signature = f"v1,{b64encode(mac).decode()}"
    return {**headers, "webhook-id": DELIVERY, "webhook-timestamp": timestamp, "webhook-signature": signature}


def refusal(status: int, message: Any, **headers: str) -> Said:
    """An error as GitLab writes most of them."""
    return Said(status, {"message": message}, {name.replace("_", "-"): value for name, value in headers.items()})


def throttled(reset: int, **headers: str) -> Said:
    """What the rate limit of an instance answers: a text, and headers."""
    limits = {"RateLimit-Limit": "600", "RateLimit-Name": "throttle_authenticated_api", "RateLimit-Observed": "601"}
    limits |= {"RateLimit-Remaining": "0", "RateLimit-Reset": str(reset), "Content-Type": "text/plain"}
    return Said(429, b"Retry later\n", limits | {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class FakeGitLab(Strict):
    """GitLab, below the path of `root` if it has one."""

    root: str = ""
    projects: list[Project] = field(default_factory=lambda: [Project("acme/platform/infra")])
    pipelines: list[Pipeline] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    scripted: list[tuple[str, Said]] = field(default_factory=list)
    """What is answered instead, in order: to requests whose operation ends like this."""
    token: str = TOKEN
    trigger: str = TRIGGER
    first: int = 61
    port: int = 0
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def url(self) -> str:
        """The address of GitLab."""
        return f"http://127.0.0.1:{self.port}{self.root}"

    def answers(self, operation: str, *said: Said) -> None:
        """The next answers to an operation, by the end of its method and path."""
        self.scripted += [(operation, one) for one in said]

    def operations(self, ending: str = "") -> list[Asked]:
        """The requests for operations that end like this."""
        return [asked for asked in self.asked if asked.operation.endswith(ending)]

    def webhook(self, pipeline: Pipeline) -> Json:
        """What GitLab's webhook says about the pipeline now."""
        event = documented()
        event["object_attributes"] |= {
            "id": pipeline.id,
            "ref": pipeline.ref,
            "source": pipeline.source,
            "status": pipeline.status,
            "url": pipeline.link,
            "variables": [{"key": key, "value": value} for key, value in pipeline.variables.items()],
        }
        event["project"] |= {"id": pipeline.project.id, "path_with_namespace": pipeline.project.path}
        return event

    # --- one request

    def _answered(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Said:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
        if not parts.path.startswith(f"{self.root}{_API}/projects/"):
            self.faults.append(f"{method} {parts.path} is no operation")
            return Said(404, {"error": "404 Not Found"})
        project, *rest = parts.path.removeprefix(f"{self.root}{_API}/projects/").split("/")
        number = next((one for one in rest if one.isdigit()), "")
        operation = "/".join([f"{method} /projects/:id", *(":pipeline_id" if one == number else one for one in rest)])
        if body and headers.get("content-type") != "application/json":
            self.faults.append(f"{operation}: the body is no JSON")
        asked = Asked(
            method, parts.path.removeprefix(self.root), query, headers, json.loads(body or b"null"), operation
        )
        self.asked.append(asked)
        for position, (ending, said) in enumerate(self.scripted):
            if operation.endswith(ending):
                del self.scripted[position]
                if said.after_all:
                    self._handled(operation, unquote(project), number, asked)
                return said
        return self._handled(operation, unquote(project), number, asked)

    def _handled(self, operation: str, path: str, number: str, asked: Asked) -> Said:
        project = next((one for one in self.projects if one.path.lower() == path.lower()), None)
        if operation == "POST /projects/:id/trigger/pipeline":
            return self._triggered(project, asked)
        if refused := self._refused(operation, asked):
            return refused
        if project is None:
            return refusal(404, "404 Project Not Found")
        if project.moved and asked.method != "GET":
            return refusal(405, "Non GET methods are not allowed for moved projects")
        match operation:
            case "GET /projects/:id":
                whole = {
                    "id": project.id,
                    "path_with_namespace": project.path,
                    "default_branch": project.default_branch,
                }
                return Said(200, whole)
            case "POST /projects/:id/pipeline":
                return self._created(project, asked)
            case "GET /projects/:id/pipelines":
                return self._listed(project, asked)
        pipeline = next((one for one in self.pipelines if str(one.id) == number and one.project is project), None)
        if pipeline is None:
            return refusal(404, "404 Not found")
        match operation:
            case "GET /projects/:id/pipelines/:pipeline_id":
                return Said(200, self._whole(pipeline))
            case "GET /projects/:id/pipelines/:pipeline_id/variables":
                listed = [{"variable_type": "env_var", "key": key, "value": value, "raw": False} for key, value in
                          pipeline.variables.items()]  # fmt: skip
                return Said(200, listed)
            case "POST /projects/:id/pipelines/:pipeline_id/cancel":
                if pipeline.status not in _ENDED:
                    pipeline.status = "canceled"
                return Said(200, self._whole(pipeline))
        self.faults.append(f"{operation} is no operation")
        return Said(404, {"error": "404 Not Found"})

    def _refused(self, operation: str, asked: Asked) -> Said | None:
        bearer = asked.headers.get("authorization", "").removeprefix("Bearer ")
        given = asked.headers.get("private-token") or bearer
        if not given:
            self.faults.append(f"{operation}: no token")
        if given != self.token:
            return refusal(401, "401 Unauthorized")
        return None

    def _created(self, project: Project, asked: Asked) -> Said:
        sent = asked.body
        if not isinstance(sent, dict) or sent.keys() - {"ref", "variables"}:
            self.faults.append(f"POST pipeline: {sent} has what GitLab does not know")
        listed = sent.get("variables", [])
        for one in listed:
            if one.keys() != {"key", "value"} or not all(isinstance(text, str) for text in one.values()):
                self.faults.append(f"POST pipeline: {one} is no variable")
        if len({one["key"] for one in listed}) != len(listed):
            self.faults.append("POST pipeline: a variable comes twice")
        if not sent.get("ref"):
            return Said(400, {"error": "ref is missing" if "ref" not in sent else "ref is empty"})
        if project.restricted and listed:
            return refusal(400, {"base": ["Insufficient permissions to set pipeline variables"]})
        if not all(_KEY.fullmatch(one["key"]) for one in listed):
            return refusal(400, {"variables.key": ["can contain only letters, digits and '_'."]})
        if sent["ref"] not in project.refs:
            return refusal(400, {"base": ["Reference not found"]})
        variables = {one["key"]: one["value"] for one in listed}
        return Said(201, self._whole(self.begins(project, sent["ref"], variables)))

    def _triggered(self, project: Project | None, asked: Asked) -> Said:
        sent = copy.copy(asked.body)
        if {"authorization", "private-token"} & asked.headers.keys():
            self.faults.append("POST trigger/pipeline: the trigger token is all that it needs")
        variables = sent.get("variables", {})
        if not all(isinstance(value, str) for value in variables.values()):
            return refusal(400, "variables needs to be a map of key-valued strings")
        if project is None or sent.pop("token", None) != self.trigger:
            return refusal(404, "404 Not Found")
        if sent["ref"] not in project.refs:
            return refusal(400, {"base": ["Reference not found"]})
        pipeline = self.begins(project, sent["ref"], variables, source="trigger")
        pipeline.payload = sent
        return Said(201, self._whole(pipeline))

    def _listed(self, project: Project, asked: Asked) -> Said:
        if asked.query.keys() - _LIST:
            self.faults.append(f"GET pipelines: {asked.query}")
        since = datetime.fromisoformat(asked.query.get("created_after", "1970-01-01T00:00:00Z"))
        source = asked.query.get("source")
        found = [
            one
            for one in reversed(self.pipelines)
            if one.project is project and one.created_at >= since and source in (None, one.source)
        ]
        basic = (
            "id",
            "iid",
            "project_id",
            "name",
            "sha",
            "ref",
            "status",
            "source",
            "created_at",
            "updated_at",
            "web_url",
        )
        return Said(200, [{key: self._whole(one)[key] for key in basic} for one in found])

    def begins(self, project: Project, ref: str, variables: dict[str, str], source: str = "api") -> Pipeline:
        """A new pipeline."""
        number = self.first + len(self.pipelines)
        self.pipelines.append(Pipeline(number, project, ref, source, variables, self.now()))
        return self.pipelines[-1]

    def _whole(self, pipeline: Pipeline) -> Json:
        told = {
            "id": pipeline.id,
            "project_id": pipeline.project.id,
            "ref": pipeline.ref,
            "source": pipeline.source,
            "status": pipeline.status,
            "web_url": pipeline.link,
            "created_at": pipeline.created_at.strftime(_MOMENT),
        }
        return documented("gitlab_pipeline") | told


@asynccontextmanager
async def gitlab(**said: Any) -> AsyncIterator[FakeGitLab]:
    """GitLab on a free port; at the end nothing may have been asked of it that it would not take."""
    fake = FakeGitLab(**said)
    async with listening(fake):
        yield fake
    assert fake.faults == []
