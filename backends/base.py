"""What every backend is: a class whose fields are the JSON a user writes, with one `invoke`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any, ClassVar, Literal, TypeAlias

import httpx
from pydantic import ConfigDict, JsonValue, model_validator

from backends._destinations import Rules, open_transport
from domain.documents import Document
from domain.errors import BackendRefused, InvalidInvocation
from domain.models import Written
from domain.runs import RunStatus

Switch: TypeAlias = bool | str
"""A boolean, or a template of one. Rendered methods (`backends.parse_rendered`) have the boolean."""

Payload: TypeAlias = dict[str, JsonValue] | list[JsonValue] | str
"""What is sent: an object, an array, or one template of either."""


def _user_agent() -> str:
    try:
        return f"interlock/{metadata.version('interlock')}"
    except metadata.PackageNotFoundError:  # run from a checkout
        return "interlock/0"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What backends may use; made once at start-up by the worker."""

    signing_secret: str = field(repr=False)
    """The organization's client secret; it signs what we send."""
    own_addresses: frozenset[str] = frozenset()
    """`scheme://host[:port]` of our own API: calls to it are authenticated by us, and never private."""
    access_token: str | None = field(default=None, repr=False)
    """A machine token for calls to our own API; it says which run causes the call, so that loops end."""
    http: httpx.AsyncBaseTransport = field(default_factory=open_transport, repr=False)
    """The way out. A transport, not a client: a client keeps cookies between runs and logs URLs with their secrets."""
    allow_private: bool = True
    """Whether private addresses may be called, loopback among them. Metadata addresses follow `always_allowed`."""
    always_allowed: frozenset[str] = frozenset()
    """Hosts, addresses and networks that may be called although they are private, or a cloud's metadata service."""
    never_allowed: frozenset[str] = frozenset()
    """Hosts, addresses and networks that are never called. Stronger than `always_allowed`."""
    timeout: timedelta = timedelta(seconds=30)
    """How long one delivery may take in all, from the look-up of the host to the last byte of the answer."""
    connect_timeout: timedelta = timedelta(seconds=10)
    """How long one address of the host may take to accept the connection, TLS included."""
    response_limit: int = 1024 * 1024
    """How many bytes of an answer are kept, after decompression; the rest is cut."""
    default_body: Literal["legacy", "empty"] = "legacy"
    """What is sent where no body is configured: the message older receivers expect, or `{}`."""
    user_agent: str = field(default_factory=_user_agent)
    """What we call ourselves, unless the action says otherwise."""
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)
    """The clock that signatures are dated by."""

    @property
    def destinations(self) -> Rules:
        """Which addresses may be called."""
        return Rules(self.allow_private, self.always_allowed, self.never_allowed, self.own_addresses)


@dataclass(frozen=True)
class Delivery:
    """What is being invoked: the run, and the message that older receivers expect when no body is configured."""

    run_id: str
    legacy_message: Document


@dataclass(frozen=True)
class Receipt:
    """What came of an invocation.

    `status` is None while the backend still works and will report later.
    """

    status: RunStatus | None = None
    summary: str | None = None
    response: JsonValue = None
    """The answer of a synchronous backend; None when it said nothing."""
    link: tuple[str, ...] = ()
    external_run_id: str | None = None
    log: tuple[str, ...] = field(default=())
    """Lines for the run's log."""


@dataclass(frozen=True)
class EntityWrite:
    """An entity as an invocation wants it in the catalog: only the keys that are there are written."""

    blueprint: str
    entity: Document


class InvocationMethod(Written):
    """One way to do the work. Closed: a key it does not know is refused.

    The class reads definitions and never writes them: what a user wrote is stored and shown as it was received.
    """

    model_config = ConfigDict(strict=True)

    available: ClassVar[bool] = True
    """False while this version only stores the definition: its runs fail with a clear summary."""

    leftovers: ClassVar[frozenset[str]] = frozenset({"omitPayload", "omitUserInputs"})
    """Keys of version 1 that old definitions still have. They are tolerated and mean nothing."""

    type: str

    @model_validator(mode="before")
    @classmethod
    def _without_leftovers(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        return {key: value for key, value in document.items() if key not in cls.leftovers}

    @classmethod
    def settled(cls, document: Document) -> Document:
        """The *rendered* document in the shape of the class: switches are booleans, or absent for their default.

        Raises:
            InvalidInvocation: a switch was rendered to something else.
        """
        settled = dict(document)
        for name, info in cls.model_fields.items():
            key = info.alias or name
            if info.annotation != Switch or key not in settled:
                continue
            match settled[key]:
                case None:
                    del settled[key]
                case "true" | "false" as word:
                    settled[key] = word == "true"
                case bool():
                    pass
                case _:
                    raise InvalidInvocation(f"invocationMethod.{key}: must be true or false once it is rendered")
        return settled

    def synchronous(self) -> bool:
        """Whether the answer of the backend ends the run (of a rendered method)."""
        return False

    def destination(self) -> str | None:
        """The URL that we would call ourselves (of a rendered method), to refuse it ahead; None if there is none."""
        return None

    def writes(self) -> EntityWrite | None:
        """What is to be written to the catalog instead of being sent (of a rendered method); None: it is invoked.

        It is written in the transaction that ends the run, so it happens once, however often the run is delivered.
        """
        return None

    def verify(self) -> None:
        """Check a *rendered* method before anything is sent.

        What the masked copy of a method hides cannot be judged: it is checked when the method is invoked.

        Raises:
            domain.errors.InvalidInvocation: a field no longer is what it must be, e.g. url is no URL.
        """

    async def invoke(self, delivery: Delivery, using: Resources) -> Receipt:
        """Deliver; what happened, or an error that says whether trying again is safe.

        Raises:
            BackendUnavailable: the request provably never reached the peer.
            BackendRefused: it will not work by trying again.
        """
        raise BackendRefused(f"{self.type} backends are not available in this version yet")
