"""Slack and Microsoft for tests: real HTTP servers on loopback, as strict as theirs about tokens and shapes."""

import asyncio
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Self, cast
from urllib.parse import parse_qs, urlencode

from slack_sdk.signature import SignatureVerifier
from starlette.responses import JSONResponse, PlainTextResponse, Response
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from tests.support.backend import Call, FakeBackend
from tests.support.processes import free_ports
from tests.support.product import Product, running

Json = dict[str, Any]

SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
BOT_TOKEN = "xoxb-17653672481-19874698323"
WORKSPACE = "T0INTERLOCK"
SECURITY_TOKEN = b64encode(b"a security token of teams, 32 by").decode()
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT, CLIENT_SECRET = "66666666-7777-8888-9999-000000000000", "a client secret"

_FORM = "application/x-www-form-urlencoded"


@asynccontextmanager
async def without_temporal(evaluate: Evaluator, database_url: str, **settings: str) -> AsyncIterator[Product]:
    """The product where no Temporal answers: runs are recorded and decided about, and wait to be started."""
    client = await Client.connect(f"127.0.0.1:{free_ports(1)[0]}", lazy=True, data_converter=pydantic_data_converter)
    environment = cast(WorkflowEnvironment, SimpleNamespace(client=client))
    async with running(environment, evaluate, database_url, worker=False, **settings) as product:
        yield product


def slack_user(user_id: str, email: str, **more: Any) -> Json:
    """A person as `users.info` tells them."""
    return {
        "id": user_id,
        "team_id": WORKSPACE,
        "name": user_id.lower(),
        "deleted": False,
        "is_bot": False,
        "is_app_user": False,
        "is_restricted": False,
        "is_email_confirmed": True,
        "profile": {"email": email, "team": WORKSPACE},
        **more,
    }


@dataclass
class FakeSlack:
    """`auth.test`, `users.info` and the addresses where answers go."""

    people: dict[str, Json] = field(default_factory=dict)
    told: list[Json] = field(default_factory=list)
    """What was sent to response_url."""
    asked: list[str] = field(default_factory=list)
    """The methods that were called."""
    refuses: list[Response] = field(default_factory=list)
    """Answered, one after the other, before anything else."""
    held: asyncio.Event | None = None
    """Nothing is answered until it is set."""
    server: FakeBackend = field(default_factory=FakeBackend)

    async def __aenter__(self) -> Self:
        """Listen."""
        self.server.answer = self._answer
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *about: object) -> None:
        """Stop listening."""
        await self.server.__aexit__(*about)

    @property
    def settings(self) -> dict[str, str]:
        """What connects a product to it."""
        return {
            "slack_signing_secret": SIGNING_SECRET,
            "slack_bot_token": BOT_TOKEN,
            "slack_api_url": f"{self.server.url}/api",
        }

    @property
    def response_url(self) -> str:
        """Where answers go."""
        return f"{self.server.url}/commands/T0/123/abc"

    def knows(self, user_id: str, email: str, **more: Any) -> None:
        """Somebody has an account."""
        self.people[user_id] = slack_user(user_id, email, **more)

    async def heard(self, times: int = 1) -> Json:
        """The newest answer, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.told) < times:
                await asyncio.sleep(0.005)
        assert len(self.told) == times, self.told
        return self.told[-1]

    async def _answer(self, call: Call) -> Response:
        if self.held:
            await self.held.wait()
        if self.refuses:
            return self.refuses.pop(0)
        if call.path.startswith("/commands/"):
            assert call.method == "POST"
            assert call.headers["content-type"] == "application/json"
            assert "authorization" not in call.headers, "the token goes to the API only"
            self.told.append(call.json)
            return PlainTextResponse("ok")
        method = call.path.removeprefix("/api/")
        self.asked.append(method)
        return JSONResponse(self._said(method, call))

    def _said(self, method: str, call: Call) -> Json:
        if call.method != "POST" or not call.headers.get("content-type", _FORM).startswith(_FORM):
            return {"ok": False, "error": "invalid_post_type"}
        if call.headers.get("authorization") != f"Bearer {BOT_TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        if method == "auth.test":
            return {"ok": True, "team_id": WORKSPACE, "user_id": "UBOT", "bot_id": "B1"}
        if method != "users.info":
            return {"ok": False, "error": "unknown_method"}
        [user_id] = parse_qs(call.body.decode())["user"]
        user = self.people.get(user_id)
        return {"ok": True, "user": user} if user else {"ok": False, "error": "user_not_found"}


def signed(body: bytes, *, at: datetime | None = None, secret: str = SIGNING_SECRET) -> dict[str, str]:
    """The headers with which Slack sends the body."""
    timestamp = str(int((at or datetime.now(UTC)).timestamp()))
    signature = SignatureVerifier(secret).generate_signature(timestamp=timestamp, body=body)
    assert signature is not None
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature, "Content-Type": _FORM}


def slash(text: str, user_id: str, response_url: str, *, trigger: str = "1.2.3", **more: str) -> bytes:
    """The body of a slash command."""
    return urlencode(
        {
            "token": "deprecated",
            "team_id": WORKSPACE,
            "team_domain": "interlock",
            "channel_id": "C1",
            "user_id": user_id,
            "user_name": "whatever they like",
            "command": "/interlock",
            "text": text,
            "api_app_id": "A1",
            "response_url": response_url,
            "trigger_id": trigger,
            **more,
        }
    ).encode()


def pressed(action_id: str, value: str, user_id: str, response_url: str, **more: Any) -> bytes:
    """The body that tells of a button."""
    payload = {
        "type": "block_actions",
        "user": {"id": user_id, "username": "whatever", "name": "whatever", "team_id": WORKSPACE},
        "api_app_id": "A1",
        "token": "deprecated",
        "container": {"type": "message", "message_ts": "1.1", "channel_id": "C1"},
        "trigger_id": "1.2.3",
        "team": {"id": WORKSPACE, "domain": "interlock"},
        "enterprise": None,
        "channel": {"id": "C1", "name": "releases"},
        "message": {"type": "message", "text": "forged", "blocks": [{"type": "divider"}]},
        "response_url": response_url,
        "actions": [
            {
                "action_id": action_id,
                "block_id": "b",
                "type": "button",
                "text": {"type": "plain_text", "text": "x"},
                "value": value,
                "action_ts": "1.1",
            }
        ],
        **more,
    }
    return urlencode({"payload": json.dumps(payload)}).encode()


def graph_user(object_id: str, email: str | None, **more: Any) -> Json:
    """A person as Microsoft Graph tells them."""
    name = f"{object_id[:4]}@example.onmicrosoft.com"
    return {
        "id": object_id,
        "mail": email,
        "userPrincipalName": name,
        "accountEnabled": True,
        "userType": "Member",
        **more,
    }


@dataclass
class FakeMicrosoft:
    """The token endpoint of one tenant, and the users of Microsoft Graph."""

    people: dict[str, Json] = field(default_factory=dict)
    tokens: int = 0
    """How many tokens were given."""
    asked: list[str] = field(default_factory=list)
    """The object ids that were asked for."""
    held: asyncio.Event | None = None
    fault: Callable[[], Response] | None = None
    server: FakeBackend = field(default_factory=FakeBackend)

    async def __aenter__(self) -> Self:
        """Listen."""
        self.server.answer = self._answer
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *about: object) -> None:
        """Stop listening."""
        await self.server.__aexit__(*about)

    @property
    def settings(self) -> dict[str, str]:
        """What connects a product to it."""
        return {
            "teams_security_token": SECURITY_TOKEN,
            "teams_tenant_id": TENANT,
            "teams_client_id": CLIENT,
            "teams_client_secret": CLIENT_SECRET,
            "teams_login_url": self.server.url,
            "teams_graph_url": f"{self.server.url}/v1.0",
        }

    def knows(self, object_id: str, email: str | None, **more: Any) -> None:
        """Somebody has an account."""
        self.people[object_id] = graph_user(object_id, email, **more)

    async def _answer(self, call: Call) -> Response:
        if self.held:
            await self.held.wait()
        if self.fault:
            return self.fault()
        if call.path == f"/{TENANT}/oauth2/v2.0/token":
            return self._token(call)
        if call.method != "GET" or call.headers.get("authorization") != f"Bearer graph-{self.tokens}":
            return JSONResponse({"error": {"code": "InvalidAuthenticationToken"}}, status_code=401)
        object_id = call.path.removeprefix("/v1.0/users/")
        self.asked.append(object_id)
        user = self.people.get(object_id)
        if user is None:
            return JSONResponse({"error": {"code": "Request_ResourceNotFound"}}, status_code=404)
        [fields] = parse_qs(call.query)["$select"]
        return JSONResponse({name: user[name] for name in fields.split(",")})

    def _token(self, call: Call) -> Response:
        given = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        expected = {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "client_secret": CLIENT_SECRET,
            "scope": f"{self.server.url}/.default",
        }
        if call.method != "POST" or given != expected:
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        self.tokens += 1
        return JSONResponse({"token_type": "Bearer", "expires_in": 3599, "access_token": f"graph-{self.tokens}"})


def mentioned(text: str, object_id: str | None, *, at: datetime | None = None, **more: Any) -> bytes:
    """The body with which Teams tells of a message that mentions the webhook."""
    sender: Json = {"id": "29:1", "name": "whatever they like"}
    if object_id is not None:
        sender["aadObjectId"] = object_id
    moment = (at or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    activity = {
        "type": "message",
        "id": "1700000000000",
        "timestamp": moment,
        "localTimestamp": moment,
        "serviceUrl": "https://smba.trafficmanager.net/emea/",
        "channelId": "msteams",
        "from": sender,
        "conversation": {"isGroup": True, "id": "19:a@thread.tacv2;messageid=1", "tenantId": TENANT},
        "channelData": {"tenant": {"id": TENANT}, "team": {"id": "19:t"}, "channel": {"id": "19:c"}},
        "text": f"<at>Interlock</at> {text}\n",
        "textFormat": "plain",
        **more,
    }
    return json.dumps(activity).encode()


def hmac_of(body: bytes, *, token: str = SECURITY_TOKEN) -> dict[str, str]:
    """The headers with which Teams sends the body."""
    signature = b64encode(hmac.digest(b64decode(token), body, "sha256")).decode()
    return {"Authorization": f"HMAC {signature}", "Content-Type": "application/json; charset=utf-8"}
