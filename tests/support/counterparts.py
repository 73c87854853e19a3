"""The systems of docs/recipes.md on loopback: each accepts its own requests only, and then does what its files say.

What a real one would let pass and then do nothing about (a variable that stays empty, say) is refused here, too.
"""

import asyncio
import json
import os
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from urllib.parse import parse_qs

import yaml
from jsonschema_rs import Draft202012Validator
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tests.support.backend import Call

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"
OURS = "https://interlock.example.com"
"""Where we are, in the files of the recipes."""

Json = dict[str, Any]
Work = dict[str, str]
"""What a system was asked to do: the run, the service and the version."""

NAMES = ("run_id", "service", "version")


class Refused(Exception):
    """The answer to a request that the system does not accept."""

    def __init__(self, status: int, body: Any) -> None:
        self.response = JSONResponse(body, status) if isinstance(body, dict) else PlainTextResponse(body, status)


@dataclass
class World:
    """What the other system has of ours: an address and credentials; and a folder to work in."""

    url: str
    client_id: str
    client_secret: str
    directory: Path
    backend: str
    """Where the system itself is."""
    hear: Callable[[Json], Awaitable[None]] | None = None
    """Takes a notification, at the address of an incoming webhook."""

    @property
    def credentials(self) -> dict[str, str]:
        """As its scripts have them."""
        names = ("INTERLOCK_URL", "INTERLOCK_CLIENT_ID", "INTERLOCK_CLIENT_SECRET")
        return dict(zip(names, (self.url, self.client_id, self.client_secret), strict=True))

    async def shell(
        self, script: str, environment: Mapping[str, str], *arguments: str, interpreter: str = "sh"
    ) -> bool:
        """Whether the script ends well. Commands of the folder are found."""
        path = f"{self.directory}:{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            interpreter, "-c", script, interpreter, *arguments, cwd=self.directory, env={**environment, "PATH": path}
        )
        return await process.wait() == 0

    def prepare(self, *, succeeds: bool) -> None:
        """A checkout, with a `deploy` that writes down what it is asked."""
        (self.directory / "report.sh").write_text((RECIPES / "report.sh").read_text())
        deploy = self.directory / "deploy"
        deploy.write_text(f'#!/bin/sh\nprintf "%s %s" "$1" "$2" > asked\nexit {0 if succeeds else 3}\n')
        deploy.chmod(0o755)


@dataclass
class Counterpart:
    """One system. `started` is what it was asked to do, and accepted."""

    origin: ClassVar[str]
    """Where it is, in the definitions."""
    secrets: ClassVar[dict[str, str]]
    denied: ClassVar[str]
    """What it says to whoever has none of its secrets; part of it."""
    started: list[Work] = field(default_factory=list)

    async def answer(self, call: Call) -> Response:
        """Answer one request."""
        try:
            return self.respond(call)
        except Refused as refused:
            return refused.response

    def respond(self, call: Call) -> Response:
        """The answer to a request that it accepts; `Refused` is raised for others."""
        raise NotImplementedError

    async def work(self, world: World, *, succeeds: bool) -> None:
        """Do what was asked last, and report it."""
        raise NotImplementedError

    def begin(self, given: Iterable[tuple[str, Any]]) -> None:
        """Keep what is to be done, if nothing is missing."""
        work = dict(given)
        if set(work) != set(NAMES) or not all(isinstance(value, str) and value for value in work.values()):
            self.refuse(400, {"message": f"not what the files of the recipe read: {work}"})
        self.started.append(work)

    def refuse(self, status: int, body: Any) -> NoReturn:
        """Answer so."""
        raise Refused(status, body)

    def expect(self, call: Call, method: str, path: str, *, media: str = "application/json") -> None:
        """Refuse another request."""
        if (call.method, call.path) != (method, path):
            self.refuse(404, {"message": f"no route {call.method} {call.path}"})
        if call.body and call.headers.get("content-type") != media:
            self.refuse(415, {"message": f"{media} is wanted, not {call.headers.get('content-type')}"})

    def shaped(self, call: Call, schema: Json) -> Any:
        """The body, if it has the shape."""
        problems = [error.message for error in Draft202012Validator(schema).iter_errors(call.json)]
        if problems:
            self.refuse(400, {"message": "; ".join(problems)})
        return call.json

    def bearer(self, call: Call, name: str, status: int, body: Any) -> None:
        """Refuse whoever has another token."""
        if call.headers.get("authorization") != f"Bearer {self.secrets[name]}":
            self.refuse(status, body)


def closed(required: Json, **optional: Json) -> Json:
    """The schema of an object that has these keys and no others."""
    properties = {**required, **optional}
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def text(*path: str) -> str:
    """A file of the recipes."""
    return RECIPES.joinpath(*path).read_text(encoding="utf-8")


STRING: Json = {"type": "string"}
WORK: Json = closed(dict.fromkeys(NAMES, STRING))


class Jenkins(Counterpart):
    """The plugin Generic Webhook Trigger, with the job of the Jenkinsfile."""

    origin = "https://jenkins.example.com"
    secrets = {"JENKINS_TOKEN": "jenkins token/1+1"}
    denied = "Did not find any jobs with GenericTrigger configured!"
    file = text("jenkins", "Jenkinsfile")

    def respond(self, call: Call) -> Response:
        """200 also says what was resolved; 404 that no job has this token."""
        self.expect(call, "POST", "/generic-webhook-trigger/invoke")
        if parse_qs(call.query) != {"token": [self.secrets["JENKINS_TOKEN"]]}:
            self.refuse(404, {"jobs": None, "message": f"{self.denied}\nA token was supplied.\n"})
        paths = re.findall(r"key: '(\w+)', value: '\$\.(\w+)'", self.file)
        self.begin((name, call.json.get(key, "")) for name, key in paths)
        number = len(self.started)
        job = {
            "regexpFilterExpression": "",
            "triggered": True,
            "resolvedVariables": self.started[-1],
            "regexpFilterText": "",
            "id": number,
            "url": f"queue/item/{number}/",
        }
        return JSONResponse({"jobs": {"deploy": job}, "message": "Triggered jobs."})

    async def work(self, world: World, *, succeeds: bool) -> None:
        """The stage, then the block of `post` that fits."""
        environment = {
            **self.started[-1],
            **world.credentials,
            "BUILD_URL": "https://jenkins.example.com/job/deploy/1/",
        }
        [stage] = re.findall(r"steps \{.*?sh '([^']*)'", self.file, re.DOTALL)
        ended = "success" if await world.shell(stage, environment) else "unsuccessful"
        [report] = re.findall(rf"^ +{ended} \{{ sh '([^']*)' \}}$", self.file, re.MULTILINE)
        assert await world.shell(report, environment)


class CircleCI(Counterpart):
    """Version 2 of the API, with the project of config.yml."""

    origin = "https://circleci.com"
    secrets = {"CIRCLE_TOKEN": "CCIPAT_0123456789"}
    denied = "Invalid token provided."
    config: Json = yaml.safe_load(text("circleci", "config.yml"))

    def respond(self, call: Call) -> Response:
        """201 is the pipeline."""
        self.expect(call, "POST", "/api/v2/project/gh/acme/deployments/pipeline")
        if call.headers.get("circle-token") != self.secrets["CIRCLE_TOKEN"]:
            self.refuse(401, {"message": self.denied})
        scalar = {"type": ["string", "integer", "boolean"]}
        parameters = {"type": "object", "additionalProperties": scalar}
        body = self.shaped(call, closed({}, branch=STRING, tag=STRING, parameters=parameters))
        declared: Json = self.config["parameters"]
        if unknown := set(body["parameters"]) - set(declared):
            self.refuse(400, {"message": f"Unexpected argument(s): {', '.join(sorted(unknown))}"})
        given = {name: body["parameters"].get(name, declared[name]["default"]) for name in declared}
        self.begin((name, value or "-") for name, value in given.items())
        pipeline = {
            "number": 25,
            "state": "pending",
            "id": str(uuid.UUID(int=25)),
            "created_at": "2026-01-02T03:04:05Z",
        }
        return JSONResponse(pipeline, 201)

    async def work(self, world: World, *, succeeds: bool) -> None:
        """The steps of the job; those that are for the other end are skipped."""
        job = self.config["jobs"]["deploy"]
        environment = {**world.credentials, "CIRCLE_BUILD_URL": "https://circleci.com/gh/acme/deployments/25"}
        for name, value in job["environment"].items():
            [parameter] = re.findall(r"<< pipeline\.parameters\.(\w+) >>", value)
            environment[name] = self.started[-1][parameter]
        well = True
        for step in (step["run"] for step in job["steps"] if isinstance(step, dict)):
            if step.get("when", "on_success") == ("on_success" if well else "on_fail"):
                well &= await world.shell(f"set -eo pipefail\n{step['command']}", environment, interpreter="bash")
        assert well is succeeds


class CloudBuild(Counterpart):
    """The webhook of trigger.yaml, with the build of cloudbuild.yaml."""

    origin = "https://cloudbuild.googleapis.com"
    secrets = {"GOOGLE_API_KEY": "AIza-key&more", "CLOUD_BUILD_SECRET": "a secret in the query = yes"}
    denied = "PERMISSION_DENIED"
    trigger: Json = yaml.safe_load(text("cloud-build", "trigger.yaml"))

    def respond(self, call: Call) -> Response:
        """200 and `{}`: Google tells nothing of the build."""
        self.expect(call, "POST", f"/v1/projects/acme/triggers/{self.trigger['name']}:webhook")
        if parse_qs(call.query) != {"key": ["AIza-key&more"], "secret": ["a secret in the query = yes"]}:
            error = {"code": 403, "message": "The caller does not have permission", "status": self.denied}
            self.refuse(403, {"error": error})
        self.begin((name[1:].lower(), self._found(call.json, path)) for name, path in self._paths())
        return JSONResponse({})

    def _paths(self) -> Iterable[tuple[str, str]]:
        for name, binding in self.trigger["substitutions"].items():
            [path] = re.findall(r"^\$\(body\.([\w.]+)\)$", binding)
            yield name, path

    def _found(self, body: Any, path: str) -> Any:
        for step in path.split("."):
            body = body.get(step) if isinstance(body, dict) else None
        return body or ""

    async def work(self, world: World, *, succeeds: bool) -> None:
        """The steps, with substitutions written into them as Cloud Build does."""
        known = {f"_{name.upper()}": value for name, value in self.started[-1].items()}
        known |= {"BUILD_ID": "b1-2", "PROJECT_ID": "acme"}
        well = True
        build = yaml.safe_load(text("cloud-build", "cloudbuild.yaml").replace(OURS, world.url))
        for step in build["steps"]:
            arguments, environment = ([self._substituted(one, known) for one in step[key]] for key in ("args", "env"))
            assert (step["entrypoint"], arguments[0]) == ("sh", "-c")
            values = dict(one.split("=", 1) for one in environment)
            secret = {name: world.credentials[name] for name in step.get("secretEnv", ())}
            well = await world.shell(arguments[1], {**values, **secret})
            if not well and not step.get("allowFailure"):
                break
        assert well is succeeds

    def _substituted(self, written: str, known: Mapping[str, str]) -> str:
        """`$NAME` is a substitution, `$$` a dollar."""
        return re.sub(r"\$(\$|\w+)", lambda found: "$" if found[1] == "$" else known[found[1]], written)


class TerraformCloud(Counterpart):
    """Runs of one workspace; its notifications tell how they end."""

    origin = "https://app.terraform.io"
    secrets = {"TERRAFORM_TOKEN": "tfc.atlasv1.0123456789"}
    denied = "unauthorized"
    _MEDIA = "application/vnd.api+json"
    _RUN = "run-CZcmD7eagjhyX0vN"
    _variable = closed({"key": STRING, "value": STRING})
    _optional: ClassVar[Json] = {"auto-apply": {"type": "boolean"}, "variables": {"type": "array", "items": _variable}}
    _attributes = closed({"message": {"type": "string", "minLength": 1}}, **_optional)
    _workspace = closed({"data": closed({"type": {"const": "workspaces"}, "id": {"pattern": "^ws-[A-Za-z0-9]{16}$"}})})
    _schema = closed(
        {
            "data": closed(
                {
                    "type": {"const": "runs"},
                    "attributes": _attributes,
                    "relationships": closed({"workspace": _workspace}),
                }
            )
        }
    )

    def respond(self, call: Call) -> Response:
        """201 is a document of JSON:API; variables have to be HCL literals."""
        self.expect(call, "POST", "/api/v2/runs", media=self._MEDIA)
        self.bearer(call, "TERRAFORM_TOKEN", 401, {"errors": [{"status": "401", "title": self.denied}]})
        attributes = self.shaped(call, self._schema)["data"]["attributes"]
        variables = {one["key"]: json.loads(one["value"]) for one in attributes["variables"]}
        self.message = attributes["message"]
        self.begin(
            {"run_id": self.message, "service": variables.get("service"), "version": variables.get("release")}.items()
        )
        data = {"id": self._RUN, "type": "runs", "attributes": {"status": "pending", "message": self.message}}
        links = {"self": f"/api/v2/runs/{self._RUN}"}
        return Response(json.dumps({"data": {**data, "links": links}}), 201, media_type=self._MEDIA)

    async def work(self, world: World, *, succeeds: bool) -> None:
        """The notifications of a run, with others among them; the last one comes twice."""
        nobody = {"run_id": None, "run_message": None, "run_url": None}
        last = ("run:completed", "applied") if succeeds else ("run:errored", "canceled")
        assert world.hear
        for notification in (
            self._notification("verification", None, **nobody),
            {"payload_version": 2, "trigger_scope": "assessment", "trigger": "assessment:drifted", "details": {}},
            self._notification("run:completed", "applied", run_message="Queued by hand", run_id="run-of-somebody"),
            self._notification("run:created", "pending"),
            self._notification("run:applying", "applying"),
            self._notification(*last),
            self._notification(*last),
        ):
            await world.hear(notification)

    def _notification(self, trigger: str, status: str | None, **more: Any) -> Json:
        told = {"message": "Run told", "trigger": trigger, "run_status": status}
        return {
            "payload_version": 1,
            "notification_configuration_id": "nc-AeUQ2zfKZzW9TiGZ",
            "run_url": f"https://app.terraform.io/app/acme/deployments/runs/{self._RUN}",
            "run_id": self._RUN,
            "run_message": self.message,
            "workspace_id": "ws-LLGHCr4SWy28wyGN",
            "organization_name": "acme",
            "notifications": [{**told, "run_updated_at": None, "run_updated_by": None}],
            **more,
        }
