"""Azure DevOps for tests: a real HTTP server on loopback with incoming webhooks and builds, strict about both.

What is wrong with a request is remembered in `faults`, and whoever opens the server finds it empty at the end, or the
test fails. That it refuses with 500 and a message, and shows the page for signing in, is how Azure DevOps is.
"""

import hmac
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import regex

from tests.support.listening import Asked, Said, Strict, listening

Json = dict[str, Any]

TOKEN = "pat0123456789abcdefghijklmnopqrstuvwxyz0123456789abc"
SECRET = "what service hooks of Azure DevOps send"
PROJECT = "0d2f1d1c-5a5f-4f0a-8a6e-0d4f1a2b3c4d"
PIPELINE = 12

_WEBHOOK = regex.compile(r"/(?P<org>[^/]+)/_apis/public/distributedtask/webhooks/(?P<webhook>[^/]+)")
_BUILD = regex.compile(r"/(?P<org>[^/]+)/(?P<project>[^/]+)/_apis/build/builds/(?P<build>\d+)")
_VERSIONS = {"webhook": "6.0-preview", "build": "6.0"}
SIGN_IN = b"<!DOCTYPE html><html><title>Azure DevOps Services | Sign In</title></html>"


@dataclass
class Webhook:
    """A service connection of the type "Incoming WebHook"."""

    name: str = "port_trigger"
    secret: str = ""
    header: str = "X-Port-Signature"
    written: str = "sha1=hex"


@dataclass
class Started:
    """A build: it goes on until a test says how it ended."""

    id: int
    payload: Any
    number: str
    tags: list[str] = field(default_factory=list)
    status: str = "inProgress"
    result: str | None = None

    @property
    def external_run_id(self) -> str:
        """What our run is called that it belongs to."""
        return f"ado_{PROJECT}_{PIPELINE}_{self.id}"


@dataclass
class FakeAzureDevOps(Strict):
    """One organization with a project, a pipeline and its incoming webhook."""

    org: str = "acme"
    project: str = "My Web"
    below: str = ""
    """What comes before the organization, as on a Server: `/tfs`."""
    webhook: Webhook = field(default_factory=Webhook)
    token: str = TOKEN
    builds: list[Started] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    scripted: list[Said] = field(default_factory=list)
    """What is answered instead, in order."""
    port: int = 0

    @property
    def url(self) -> str:
        """What comes before the organization."""
        return f"http://127.0.0.1:{self.port}{self.below}"

    def link(self, build: Started) -> str:
        """The page of a build."""
        return f"https://dev.azure.com/{self.org}/{PROJECT}/_build/results?buildId={build.id}"

    def conclude(self, build: Started, result: str) -> None:
        """It has ended."""
        build.status, build.result = "completed", result

    def completed(self, build: Started) -> Json:
        """`build.complete`, resource version 2.0, all details."""
        return self._event("build.complete", "tfs", "2.0", self.document(build))

    def state_changed(self, build: Started) -> Json:
        """`ms.vss-pipelines.run-state-changed-event`."""
        state = {"inProgress": "inProgress", "cancelling": "canceling", "completed": "completed"}[build.status]
        pipeline = {"id": PIPELINE, "revision": 3, "name": "deploy", "folder": "\\"}
        run = {
            "_links": {"web": {"href": self.link(build)}},
            "pipeline": pipeline,
            "state": state,
            "createdDate": "2026-05-01T10:00:00Z",
            "id": build.id,
            "name": build.number,
        }
        if build.result is not None:
            run |= {"result": build.result, "finishedDate": "2026-05-01T10:05:00Z"}
        name = "ms.vss-pipelines.run-state-changed-event"
        return self._event(name, "pipelines", "5.1-preview.1", {"run": run, "pipeline": pipeline})

    def _event(self, name: str, publisher: str, version: str, resource: Json) -> Json:
        where = {"id": "7f9d0b9e-8f6a-4c55-9a0e-1f2e3d4c5b6a", "baseUrl": f"https://dev.azure.com/{self.org}/"}
        text = {"text": "It changed.", "html": "It changed.", "markdown": "It changed."}
        return {
            "subscriptionId": "6c1a3c55-2f7a-4a0b-8e43-51f2d9a0b3c7",
            "notificationId": 7,
            "id": "b1d2c3a4-0000-4000-8000-000000000001",
            "eventType": name,
            "publisherId": publisher,
            "message": text,
            "detailedMessage": text,
            "resource": resource,
            "resourceVersion": version,
            "resourceContainers": {"collection": where, "account": where, "project": {**where, "id": PROJECT}},
            "createdDate": "2026-05-01T10:05:02.1234567Z",
        }

    def document(self, build: Started) -> Json:
        """The build as the API tells of it."""
        document: Json = {
            "_links": {
                "self": {"href": f"https://dev.azure.com/{self.org}/{PROJECT}/_apis/build/Builds/{build.id}"},
                "web": {"href": self.link(build)},
            },
            "properties": {},
            "tags": build.tags,
            "validationResults": [],
            "plans": [{"planId": "cd96240e-881a-49e9-8135-89a4ad458a6d"}],
            "triggerInfo": {},
            "id": build.id,
            "buildNumber": build.number,
            "status": build.status,
            "queueTime": "2026-05-01T10:00:00Z",
            "url": f"https://dev.azure.com/{self.org}/{PROJECT}/_apis/build/Builds/{build.id}",
            "definition": {"id": PIPELINE, "name": "deploy", "type": "build"},
            "project": {"id": PROJECT, "name": self.project, "state": "wellFormed"},
            "sourceBranch": "refs/heads/main",
            "reason": "resourceTrigger",
        }
        return document | ({"result": build.result} if build.result is not None else {})

    # --- the server

    def _answered(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Said:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
        path = parts.path.removeprefix(self.below)
        document = self._document(method, headers, body)
        self.asked.append(Asked(method, path, query, headers, document))
        if found := _WEBHOOK.fullmatch(path):
            self._expect(method == "POST", f"{method} of a webhook")
            self._expect(query == {"api-version": _VERSIONS["webhook"]}, f"query {query}")
            self._expect("authorization" not in headers, "a webhook takes no credentials")
            self._expect(headers.get("x-port-timestamp", "").isdigit(), "no timestamp")
            return self.scripted.pop(0) if self.scripted else self._triggered(found, headers, body, document)
        if found := _BUILD.fullmatch(path):
            self._expect(method in ("GET", "PATCH"), f"{method} of a build")
            self._expect(query == {"api-version": _VERSIONS["build"]}, f"query {query}")
            return self.scripted.pop(0) if self.scripted else self._build(method, found, headers, document)
        self.faults.append(f"{method} {target} is no operation")
        return Said(404, SIGN_IN, {"Content-Type": "text/html"})

    def _document(self, method: str, headers: dict[str, str], body: bytes) -> Any:
        if method == "GET":
            self._expect(body == b"", "a GET with a body")
            return None
        self._expect(headers.get("content-type") == "application/json", f"content {headers.get('content-type')}")
        self._expect("content-length" in headers, "no length")
        return json.loads(body)

    def _triggered(self, found: "regex.Match[str]", headers: dict[str, str], body: bytes, payload: Any) -> Said:
        if unquote(found["org"]).lower() != self.org.lower():
            return Said(404, b"<html>The resource cannot be found.</html>", {"Content-Type": "text/html"})
        if unquote(found["webhook"]) != self.webhook.name:
            return fault(f"No web hook found with name {unquote(found['webhook'])}")
        given = headers.get(self.webhook.header.lower())
        if given is None:
            return fault("Properties.Resources.RequiredHeaderSignatureNotFound")
        self._expect(given.startswith("sha1=") is (self.webhook.written == "sha1=hex"), f"a signature like {given}")
        digest = hmac.digest(self.webhook.secret.encode(), body, "sha1").hex()
        if not hmac.compare_digest(given.removeprefix("sha1="), digest):
            return fault("The payload does not match its signature.")
        self._expect(isinstance(payload, dict | list), "the payload is no object")
        number = 345 + len(self.builds)
        self.builds.append(Started(number, payload, f"20260501.{len(self.builds) + 1}"))
        return Said(200, None)

    def _build(self, method: str, found: "regex.Match[str]", headers: dict[str, str], document: Any) -> Said:
        accepted = {f"Basic {b64encode(f':{self.token}'.encode()).decode()}", f"Bearer {self.token}"}
        if headers.get("authorization") not in accepted:
            return Said(401, SIGN_IN, {"Content-Type": "text/html", "WWW-Authenticate": "Bearer"})
        if (unquote(found["org"]), unquote(found["project"])) not in ((self.org, PROJECT), (self.org, self.project)):
            message = f"TF200016: The following project does not exist: {unquote(found['project'])}."
            return fault(message, 404, "ProjectDoesNotExistWithNameException")
        build = next((one for one in self.builds if one.id == int(found["build"])), None)
        if build is None:
            return fault(f"The requested build {found['build']} could not be found.", 404, "BuildNotFoundException")
        if method == "PATCH":
            self._expect(document == {"status": "cancelling"}, f"a change to {document}")
            build.status = "cancelling"
        return Said(200, self.document(build))

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)


def fault(message: str, status: int = 500, kind: str = "WebHookException", **headers: str) -> Said:
    """An error as Azure DevOps writes it."""
    document = {
        "$id": "1",
        "innerException": None,
        "message": message,
        "typeName": f"Microsoft.TeamFoundation.{kind}, Microsoft.TeamFoundation",
        "typeKey": kind,
        "errorCode": 0,
        "eventId": 3000,
    }
    return Said(status, document, {name.replace("_", "-"): value for name, value in headers.items()})


@asynccontextmanager
async def azure_devops(**said: Any) -> AsyncIterator[FakeAzureDevOps]:
    """Azure DevOps on a free port; at the end nothing may have been asked of it that it would not take."""
    fake = FakeAzureDevOps(**said)
    async with listening(fake):
        yield fake
    assert fake.faults == []
