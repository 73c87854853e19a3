"""Backends that are one HTTP request to a URL the user writes: what is sent, and what the answer means."""

from base64 import b64encode
from typing import Annotated

import httpx
import regex
from pydantic import AfterValidator, Field, JsonValue

from backends._agent import hand_to_agent
from backends._destinations import absolute
from backends._sending import Answer, Request, send
from backends.base import Delivery, InvocationMethod, Payload, Receipt, Resources, Switch
from domain.claims import WEBHOOK
from domain.documents import Document, canonical
from domain.errors import BackendFault, BackendRefused, InvalidInvocation
from domain.runs import RunStatus
from domain.signatures import sign
from domain.templating import MASK

VERBS = ("POST", "PUT", "PATCH", "DELETE", "GET")
_WITHOUT_BODY = ("GET", "DELETE")
_SUMMARY_LIMIT = 1000
_NAME = regex.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = regex.compile(r"[\x00-\x08\x0A-\x1F\x7F]")

_FRAMING = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""How a message travels is for the connection to say: an action's word on it would break or smuggle requests."""


def _verb(method: str) -> str:
    known = method.strip().upper() in VERBS
    if not known and "{{" not in method and MASK not in method:
        raise ValueError(f"must be one of {', '.join(VERBS)}")
    return method


class HttpMethod(InvocationMethod):
    """One signed request; the answer ends the run if it is synchronized, else the receiver reports later.

    Source: webhook backend of the API reference; texts of failures as the execution agent writes them.
    """

    url: str
    agent: Switch = False
    synchronized: Switch = False
    method: Annotated[str, AfterValidator(_verb)] = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    body: Payload = Field(default_factory=dict)

    @classmethod
    def settled(cls, document: Document) -> Document:
        """The rendered document in the shape of the class: also, headers are texts, and those of null are dropped."""
        settled = super().settled(document)
        if isinstance(headers := settled.get("headers"), dict):
            settled["headers"] = {
                name: value if isinstance(value, str) else canonical(value)
                for name, value in headers.items()
                if value is not None
            }
        return settled

    def synchronous(self) -> bool:
        """Whether the answer ends the run; an agent reports what the answer was."""
        return self.synchronized is True and self.agent is not True

    def destination(self) -> str | None:
        """The URL, unless an agent calls it from another network."""
        return None if self.agent else self.url

    def counterpart(self) -> str:
        """Where the URL leads: its scheme, host and port, whoever calls it."""
        url = absolute(self.url)
        return f"{url.scheme}://{url.netloc.decode('ascii')}"

    def verify(self) -> None:
        """Check url, method and headers once rendered; what is masked is left for `invoke`.

        Raises:
            InvalidInvocation: one of them cannot be sent.
        """
        if MASK not in self.url:
            absolute(self.url)
        if MASK not in self.method:
            self._verb()
        self._written_headers()

    def handed_out(self, message: Document) -> Document:
        """The request as the execution agent reads it, nothing left out.

        Source: the agent looks up type, url, agent and body, copies the body and assigns keys to it.

        Raises:
            InvalidInvocation: the body is not an object that it can read.
        """
        body = self.body if "body" in self.model_fields_set else message
        if not isinstance(body, dict):
            raise InvalidInvocation("invocationMethod.body: must be an object for the execution agent")
        for name in ("payload", "context"):
            if name in body and not isinstance(body[name], dict):
                raise InvalidInvocation(f"invocationMethod.body.{name}: must be an object for the execution agent")
        return {
            "type": WEBHOOK,
            "url": self.url,
            "agent": True,
            "synchronized": self.synchronized is True,
            "method": self._verb(),
            "headers": dict[str, JsonValue](self._written_headers()),
            "body": body,
        }

    async def invoke(self, delivery: Delivery, using: Resources) -> Receipt:
        """Send the request, once; or leave it to the agent.

        Raises:
            BackendUnavailable: it provably never reached the peer.
            BackendRefused: it may have, or never will.
        """
        if self.agent is True:
            return await hand_to_agent(self.handed_out(delivery.legacy_message), delivery, using)
        try:
            answer = await send(self._request(delivery, using), using)
            if answer.accepted and answer.broken and self.synchronous():
                raise BackendRefused(answer.broken)
        except BackendFault as fault:
            raise type(fault)(f"Failed to invoke the webhook with error: {fault}") from None
        except InvalidInvocation as problem:
            raise BackendRefused(f"Failed to invoke the webhook with error: {problem}") from None
        return self._receipt(answer, using)

    def _request(self, delivery: Delivery, using: Resources) -> Request:
        url, verb = absolute(self.url), self._verb()
        own = using.destinations.is_own(url)
        body = self._body(delivery, using, own, verb)

        host = url.netloc.decode("ascii")
        headers = {"Host": host, "Accept": "*/*", "User-Agent": using.user_agent}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if url.userinfo:
            headers["Authorization"] = f"Basic {b64encode(f'{url.username}:{url.password}'.encode()).decode()}"
        elif own and using.access_token:
            headers["Authorization"] = f"Bearer {using.access_token()}"

        ours = {
            **sign(using.signing_secret, body or b"", using.now()),
            "Idempotency-Key": delivery.run_id,
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        taken = {*_FRAMING, *map(str.lower, ours)}
        theirs = {name: value for name, value in self._written_headers().items() if name.lower() not in taken}
        return Request(verb, url.copy_with(userinfo=b""), _merged(headers, theirs, ours), body)

    def _body(self, delivery: Delivery, using: Resources, own: bool, verb: str) -> bytes | None:
        body: Payload
        if "body" in self.model_fields_set:
            body = self.body
        elif own or verb in _WITHOUT_BODY:
            return None
        else:
            body = delivery.legacy_message if using.default_body == "legacy" else {}
        try:
            return canonical(body).encode()
        except ValueError:
            raise InvalidInvocation("invocationMethod.body: cannot be written as JSON") from None

    def _verb(self) -> str:
        verb = self.method.strip().upper()
        if verb not in VERBS:
            raise InvalidInvocation(f"invocationMethod.method: must be one of {', '.join(VERBS)}")
        return verb

    def _written_headers(self) -> dict[str, str]:
        """The headers of the action, if they can be sent as they are."""
        headers: dict[str, str] = {}
        for name, written in self.headers.items():
            value = written.strip(" \t")
            if not _NAME.fullmatch(name):
                raise InvalidInvocation(f"invocationMethod.headers: {name!r} is no name of a header")
            if _CONTROL.search(value) or not _is_unicode(value):
                raise InvalidInvocation(f"invocationMethod.headers.{name}: holds a line break or control character")
            headers[name] = value
        return headers

    def _receipt(self, answer: Answer, using: Resources) -> Receipt:
        response = answer.value() if self.synchronous() else None
        if answer.accepted and not self.synchronous():
            return Receipt()
        log = []
        if answer.cut:
            log.append(f"The response is larger than {using.response_limit} bytes: the rest was cut")
        if answer.accepted:
            return Receipt(status=RunStatus.SUCCESS, response=response, log=tuple(log))
        if httpx.codes.is_redirect(answer.status):
            log.append("The response is a redirect: redirects are not followed, write the final URL into the action")
        if answer.broken:
            log.append(f"The response is incomplete: {answer.broken}")
        summary = (
            f"Failed to invoke the webhook with status code: {answer.status}. Response: {answer.text[:_SUMMARY_LIMIT]}"
        )
        return Receipt(status=RunStatus.FAILURE, summary=summary, response=response, log=tuple(log))


def _merged(*layers: dict[str, str]) -> dict[str, str]:
    """The headers of all layers; the later wins, whatever the case of the name."""
    merged: dict[str, tuple[str, str]] = {}
    for layer in layers:
        merged.update({name.lower(): (name, value) for name, value in layer.items()})
    return dict(merged.values())


def _is_unicode(value: str) -> bool:
    """Whether it has no half of a surrogate pair, which no encoding can write."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
