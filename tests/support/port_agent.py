"""What the execution agent does with messages and claimed runs, as strictly: what passes here passes there.

Source: port-agent of 2026, read and run.
"""

import hmac
import json
from base64 import b64encode
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import httpx

Json = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """A request that the agent sends: by default the whole message is its body."""

    run_id: str | None
    method: str
    url: str
    synchronized: bool
    body: Json


def order_of_run(value: bytes, secret: str) -> Order | None:
    """What the agent does about a message of the topic of runs; None: nothing, and only its log says why."""
    message = json.loads(value.decode())
    said = message.get("payload", {}).get("action", {}).get("invocationMethod", {})
    if not said.get("agent", False):
        return None
    run_id = message["context"].get("runId")
    if not _believed(message, said.get("type", ""), secret):
        return None
    return Order(run_id, said.get("method", "POST"), said.get("url", ""), bool(said.get("synchronized")), message)


def order_of_change(value: bytes) -> Order | None:
    """What the agent does about a message of the topic of changes, which are not signed."""
    message = json.loads(value.decode())
    said = message.get("changelogDestination", {})
    if not said.get("agent", False):
        return None
    return Order(message["context"].get("runId"), said.get("method", "POST"), said["url"], False, message)


def order_of_claim(run: Json) -> Order:
    """What the agent does about a run that it has claimed. What it cannot read it reports as failed.

    Raises:
        Exception: it cannot read it.
    """
    payload = run["payload"]
    said = {"synchronized": False, "method": "POST", "headers": {}}
    said |= {name: payload[name] for name in ("type", "url", "agent", *said) if name in payload}
    if not said.get("type") or not said.get("url"):
        raise ValueError(f"Run {run['id']} has no invocation method type or url")
    assert said.pop("agent"), "it would take the run, and never say anything about it"
    message = deepcopy(payload["body"])
    message.setdefault("headers", {})
    if said["headers"]:
        message["headers"] = said["headers"]
    message.setdefault("payload", {}).setdefault("action", {})["invocationMethod"] = said
    message.setdefault("context", {})["runId"] = run["id"]
    return Order(run["id"], str(said["method"]), str(said["url"]), bool(said["synchronized"]), message)


class PollingAgent:
    """The agent with `STREAMER_NAME=POLLING`: a fresh token for every call, and nothing is said twice."""

    def __init__(self, api: httpx.AsyncClient, client_id: str, client_secret: str) -> None:
        self._api = api
        self._credentials = {"clientId": client_id, "clientSecret": client_secret}
        self.sent: list[Order] = []
        """The requests it has made."""

    async def start(self) -> None:
        """Say how it takes its runs."""
        await self._must("PATCH", "/v1/organization", {"settings": {"portAgentStreamerName": "POLLING"}})

    async def poll(self, target: Callable[[Order], httpx.Response]) -> int:
        """One round: claim, acknowledge each, then call for those it has; workflows after that. How many runs it had.

        Raises:
            httpx.HTTPStatusError: something that it takes for a failure of the whole round.
        """
        asked = {"installationId": "_PORT_EXEC_AGENT", "limit": 100}
        claimed = await self._must("POST", "/v1/actions/runs/claim-pending", {**asked, "invocationMethod": "WEBHOOK"})
        taken = [
            run
            for run in claimed["runs"]
            if (await self._must("PATCH", "/v1/actions/runs/ack", {"runIds": [run["id"]]}))["ackedCount"]
        ]
        for run in taken:
            try:
                await self._process(run, target)
            except Exception:
                failure = {"status": "FAILURE", "summary": "Agent failed to process the run"}
                await self._call("PATCH", f"/v1/actions/runs/{run['id']}", failure)
        assert (await self._must("POST", "/v1/workflows/runs/claim-pending", asked))["nodeRuns"] == []
        return len(taken)

    async def _process(self, run: Json, target: Callable[[Order], httpx.Response]) -> None:
        path = f"/v1/actions/runs/{run['id']}"
        order = order_of_claim(run)
        await self._log(path, "An action message has been received")
        await self._log(path, "Preparing the payload for the request")
        await self._log(path, "Sending the request")
        self.sent.append(order)
        answer = target(order)
        went = "has completed successfully" if answer.is_success else "failed"
        await self._log(path, f"Action invocation {went} with status code: {answer.status_code}")
        if order.synchronized and answer.content:
            await self._log(path, "Reporting the run response")
            reported = await self._call("PATCH", f"{path}/response", {"response": answer.json()})
            assert reported.is_success
            await self._log(path, "The run response was reported successfully ")
        if not answer.is_success:
            text = f"Failed to invoke the webhook with status code: {answer.status_code}. Response: {answer.text}"
            await self._call("PATCH", path, {"status": "FAILURE", "summary": text})
        elif order.synchronized:
            await self._call("PATCH", path, {"status": "SUCCESS"})
        answer.raise_for_status()
        await self._log(path, "Port agent finished processing the action run")

    async def _log(self, path: str, message: str) -> None:
        await self._call("POST", f"{path}/logs", {"message": message})  # it does not look at the answer

    async def _must(self, method: str, path: str, body: Json) -> Json:
        answer = await self._call(method, path, body)
        answer.raise_for_status()
        found: Json = answer.json()
        return found

    async def _call(self, method: str, path: str, body: Json) -> httpx.Response:
        token = await self._api.post("/v1/auth/access_token", json=self._credentials)
        token.raise_for_status()
        headers = {"authorization": f"Bearer {token.json()['accessToken']}", "user-agent": "port-agent"}
        if path.endswith(("claim-pending", "ack")):
            headers["x-port-reserved-usage"] = "true"
        return await self._api.request(method, path, json=body, headers=headers)


def _believed(message: Json, kind: str, secret: str) -> bool:
    """Whether the signature fits the message without it; of GitLab's, without any headers. The age does not matter."""
    if "changelogDestination" in message:
        return True
    signature = message.get("headers", {}).get("X-Port-Signature")
    timestamp = message.get("headers", {}).get("X-Port-Timestamp")
    if not signature or not timestamp:
        return False
    if kind == "GITLAB":
        del message["headers"]
    else:
        del message["headers"]["X-Port-Signature"]
        del message["headers"]["X-Port-Timestamp"]
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    expected = hmac.new(secret.encode(), f"{timestamp}.{text}".encode(), sha256).digest()
    return bool(signature == f"v1,{b64encode(expected).decode()}")
