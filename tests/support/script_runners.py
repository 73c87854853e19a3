"""The systems of docs/recipes.md that run scripts of their own, on loopback: Windmill and Argo."""

import re
import uuid
from typing import Any

import yaml
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tests.support.backend import Call
from tests.support.counterparts import OURS, STRING, Counterpart, Json, World, closed, text


class Windmill(Counterpart):
    """Jobs of a workspace: the script of script.sh, and a short one that is waited for."""

    origin = "https://windmill.example.com"
    secrets = {"WINDMILL_TOKEN": "windmill-0123456789"}
    denied = "Unauthorized"
    script = text("windmill", "script.sh")
    _JOB_TOKEN = "a token of the job"
    _VARIABLES = "/api/w/acme/variables/get_value/f/deployments/"
    world: World | None = None

    def respond(self, call: Call) -> Response:
        """201 and the id of the job as text; or what the job has returned."""
        if call.path.startswith(self._VARIABLES):
            return self._variable(call)
        wait = call.path.endswith("/check")
        path = "run_wait_result/p/f/deployments/check" if wait else "run/p/f/deployments/deploy"
        self.expect(call, "POST", f"/api/w/acme/jobs/{path}")
        self.bearer(call, "WINDMILL_TOKEN", 401, self.denied)
        if not wait:
            self.begin(self.shaped(call, closed(dict.fromkeys(self._arguments(), STRING))).items())
            return PlainTextResponse(str(uuid.UUID(int=7)), 201)
        asked = self.shaped(call, closed({"service": STRING, "version": STRING}))
        if asked["service"] == "unknown":
            error = {"name": "ExecutionErr", "message": "there is no service unknown", "stack": "at main"}
            self.refuse(500, {"error": error})
        return JSONResponse({"healthy": True, **asked})

    def _arguments(self) -> list[str]:
        return [
            name for name, _ in sorted(re.findall(r'^(\w+)="\$(\d)"$', self.script, re.MULTILINE), key=lambda a: a[1])
        ]

    def _variable(self, call: Call) -> Response:
        if (call.method, call.headers.get("authorization")) != ("GET", f"Bearer {self._JOB_TOKEN}") or not self.world:
            self.refuse(401, self.denied)
        values = {
            "interlock_client_id": self.world.client_id,
            "interlock_client_secret": self.world.client_secret,
        }
        return JSONResponse(values[call.path.removeprefix(self._VARIABLES)])

    async def work(self, world: World, *, succeeds: bool) -> None:
        """The script, with its arguments in their order."""
        self.world = world
        environment = {
            "WM_TOKEN": self._JOB_TOKEN,
            "WM_WORKSPACE": "acme",
            "WM_JOB_ID": str(uuid.UUID(int=7)),
            "WM_BASE_URL": self.origin,
            "BASE_INTERNAL_URL": world.backend,
        }
        arguments = [self.started[-1][name] for name in self._arguments()]
        script = self.script.replace(OURS, world.url)
        assert await world.shell(script, environment, *arguments, interpreter="bash") is succeeds


class ArgoWorkflows(Counterpart):
    """The server of Argo Workflows, with the template of workflow-template.yaml."""

    origin = "https://argo.example.com"
    secrets = {"ARGO_TOKEN": "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"}
    denied = "token not valid"
    template: Json = yaml.safe_load(text("argo", "workflow-template.yaml"))
    _schema = closed(
        {
            "namespace": STRING,
            "resourceKind": {"enum": ["WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow"]},
            "resourceName": STRING,
        },
        submitOptions=closed(
            {}, labels=STRING, generateName=STRING, parameters={"type": "array", "items": {"pattern": "^[^=]+=.*$"}}
        ),
    )

    def respond(self, call: Call) -> Response:
        """200 is the workflow."""
        self.expect(call, "POST", "/api/v1/workflows/deployments/submit")
        self.bearer(call, "ARGO_TOKEN", 401, {"code": 16, "message": self.denied})
        body = self.shaped(call, self._schema)
        metadata = self.template["metadata"]
        if (body["namespace"], body["resourceName"]) != (metadata["namespace"], metadata["name"]):
            self.refuse(404, {"code": 5, "message": f'workflowtemplates "{body["resourceName"]}" not found'})
        options = body["submitOptions"]
        self.submit(parameter.split("=", 1) for parameter in options["parameters"])
        label, _, value = options["labels"].partition("=")
        made = {"name": "deploy-x7k2p", "namespace": body["namespace"], "labels": {label: value}}
        return JSONResponse({"metadata": made, "spec": {}, "status": {"phase": ""}})

    def submit(self, parameters: Any) -> None:
        """Begin a workflow of the template, if it has just the arguments that are declared."""
        given = dict(parameters)
        declared = {one["name"] for one in self.template["spec"]["arguments"]["parameters"]}
        if set(given) != declared:
            self.refuse(400, {"code": 3, "message": f"the arguments are {sorted(declared)}"})
        self.begin(given.items())

    async def work(self, world: World, *, succeeds: bool) -> None:
        """The entrypoint, then the exit handler."""
        spec = self.template["spec"]
        known = {f"workflow.parameters.{name}": value for name, value in self.started[-1].items()}
        known["workflow.name"] = "deploy-x7k2p"
        well = await self._run(world, spec["entrypoint"], known)
        assert well is succeeds
        assert await self._run(world, spec["onExit"], {**known, "workflow.status": "Succeeded" if well else "Failed"})

    async def _run(self, world: World, name: str, known: dict[str, str]) -> bool:
        [script] = [one["script"] for one in self.template["spec"]["templates"] if one["name"] == name]
        secret = {"url": world.url, "client-id": world.client_id, "client-secret": world.client_secret}
        environment = {}
        for one in script["env"]:
            if "value" in one:
                value = re.sub(r"\{\{([\w.]+)\}\}", lambda found: known[found[1]], one["value"])
            else:
                reference = one["valueFrom"]["secretKeyRef"]
                assert reference["name"] == "interlock"
                value = secret[reference["key"]]
            environment[one["name"]] = value
        assert "{{" not in script["source"], "Argo would write it into the script"
        return await world.shell(script["source"], environment, interpreter=script["command"][0])


class ArgoEvents(ArgoWorkflows):
    """The webhook of event-source.yaml, and the sensor that submits the template for what it hears."""

    origin = "http://deploy-eventsource-svc.argo-events:12000"
    secrets = {"ARGO_EVENTS_TOKEN": "argo-events-0123456789"}
    denied = "invalid auth token"
    source: Json = yaml.safe_load(text("argo", "event-source.yaml"))
    sensor: Json = yaml.safe_load(text("argo", "sensor.yaml"))

    def respond(self, call: Call) -> Response:
        """200 and `success` once the event is on the bus."""
        [(event, webhook)] = self.source["spec"]["webhook"].items()
        name, namespace = self.source["metadata"]["name"], self.source["metadata"]["namespace"]
        assert self.origin == f"http://{name}-eventsource-svc.{namespace}:{webhook['port']}"
        self.expect(call, webhook["method"], webhook["endpoint"])
        self.bearer(call, "ARGO_EVENTS_TOKEN", 400, self.denied)
        [trigger] = self.sensor["spec"]["triggers"]
        [dependency] = self.sensor["spec"]["dependencies"]
        assert (dependency["eventSourceName"], dependency["eventName"]) == (name, event)
        workflow = trigger["template"]["argoWorkflow"]
        spec = workflow["source"]["resource"]["spec"]
        assert spec["workflowTemplateRef"]["name"] == self.template["metadata"]["name"]
        places = spec["arguments"]["parameters"]
        given = {}
        for parameter in workflow["parameters"]:
            assert parameter["src"]["dependencyName"] == dependency["name"]
            [number] = re.findall(r"^spec\.arguments\.parameters\.(\d)\.value$", parameter["dest"])
            [key] = re.findall(r"^body\.(\w+)$", parameter["src"]["dataKey"])
            if key in call.json:
                given[places[int(number)]["name"]] = call.json[key]
        self.submit(given.items())
        return PlainTextResponse("success")
