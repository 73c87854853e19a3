"""What every backend is: a class whose fields are the JSON a user writes, with one `invoke`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import httpx
from pydantic import ConfigDict, JsonValue, model_validator

from backends._accounts import AzureDevOpsAccount, GitHubAccount, GitLabAccount
from backends._destinations import Rules, open_transport
from backends._exchanges import Observer
from backends._known import Known
from backends._proxy import Proxy
from domain.documents import Document
from domain.errors import BackendRefused, InvalidInvocation
from domain.models import Written
from domain.organization import Streamer
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


class Unconfirmed(BackendRefused):
    """It may have arrived, and nobody knows: only for whoever may be told twice it can be sent again."""


class Producer(Protocol):
    """The way into Kafka."""

    async def publish(
        self, topic: str, message: bytes, *, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Hand the message to the brokers, and wait until they have it.

        Raises:
            BackendUnavailable: no broker can have taken it.
            Unconfirmed: one may have.
            BackendRefused: none ever will.
        """


class Reservations(Protocol):
    """What backends note before they act, so that nothing becomes two runs' or happens twice, whoever dies then."""

    async def reserve(self, external_run_id: str, run_id: str) -> bool:
        """Whether what has this external id is the run's: it is no other run's, and will be none's from now on.

        Raises:
            Unavailable: nobody knows at the moment.
        """

    async def begin(self, run_id: str, at: datetime) -> datetime | None:
        """Note that something is about to be sent for the run that must not be sent twice.

        When it had begun before, if it had: whoever sent it has died, and nobody knows what became of it.

        Raises:
            Unavailable: it is not noted, so nothing may be sent.
        """

    async def undo(self, run_id: str) -> None:
        """What had begun has provably had no effect: it may begin again.

        Raises:
            Unavailable: it may not.
        """


@dataclass
class Remembered:
    """Reservations of one process, where no database is."""

    owners: dict[str, str] = field(default_factory=dict)
    begun: dict[str, datetime] = field(default_factory=dict)

    async def reserve(self, external_run_id: str, run_id: str) -> bool:
        """Whether it is the run's."""
        return self.owners.setdefault(external_run_id, run_id) == run_id

    async def begin(self, run_id: str, at: datetime) -> datetime | None:
        """When it had begun before."""
        earlier = self.begun.get(run_id)
        self.begun.setdefault(run_id, at)
        return earlier

    async def undo(self, run_id: str) -> None:
        """It may begin again."""
        self.begun.pop(run_id, None)


async def no_secret(_name: str) -> str | None:
    """What an organization without secrets has."""
    return None


async def not_taken(_backend: str, _external_run_id: str) -> bool:
    """What is known of external ids where no other runs are."""
    return False


async def no_streamer() -> Streamer | None:
    """What an organization without an agent has."""
    return None


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What backends may use; made once at start-up by the worker."""

    signing_secret: str = field(repr=False)
    """The organization's client secret; it signs what we send."""
    own_addresses: frozenset[str] = frozenset()
    """`scheme://host[:port]` of our own API: calls to it are authenticated by us, and never private."""
    access_token: Callable[[], str] | None = field(default=None, repr=False)
    """Makes a machine token for calls to our own API; it says which run causes the call, so that loops end."""
    http: httpx.AsyncBaseTransport = field(default_factory=open_transport, repr=False)
    """The way out. A transport, not a client: a client keeps cookies between runs and logs URLs with their secrets."""
    allow_private: bool = True
    """Whether private addresses may be called. Metadata addresses follow `always_allowed`."""
    allow_loopback: bool = True
    """Whether loopback addresses may be, as far as private ones are."""
    always_allowed: frozenset[str] = frozenset()
    """Hosts, addresses and networks that may be called although they are private, or a cloud's metadata service."""
    never_allowed: frozenset[str] = frozenset()
    """Hosts, addresses and networks that are never called. Stronger than `always_allowed`."""
    proxy: Proxy | None = None
    """What requests go through that leave the network; `http` has to be opened with the same."""
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
    organization: str = ""
    """The organization's id; names of topics begin with it."""
    secret: Callable[[str], Awaitable[str | None]] = field(default=no_secret, repr=False)
    """The organization secret of that name, readable; None if there is none. What it gives is redacted from answers."""
    taken: Callable[[str, str], Awaitable[bool]] = field(default=not_taken, repr=False)
    """Whether some run has this external id already, so that no other one takes it for its own."""
    reservations: Reservations = field(default_factory=Remembered, repr=False)
    """What must not become two runs', or happen twice."""
    kafka: Producer | None = None
    """None where no broker is configured."""
    streamer: Callable[[], Awaitable[Streamer | None]] = field(default=no_streamer, repr=False)
    """How the execution agent takes its runs, as it said when it last started; None: it never did."""
    github: GitHubAccount = field(default_factory=GitHubAccount)
    gitlab: GitLabAccount = field(default_factory=GitLabAccount)
    azure_devops: AzureDevOpsAccount = field(default_factory=AzureDevOpsAccount)
    observe: Observer | None = field(default=None, repr=False)
    """Is told of every exchange with another system; None: nobody keeps account of them."""
    known: Known = field(default_factory=Known, repr=False)
    """What other systems have said of themselves lately."""

    @property
    def destinations(self) -> Rules:
        """Which addresses may be called."""
        lists = self.always_allowed, self.never_allowed, self.own_addresses
        return Rules(self.allow_private, *lists, self.proxy, self.allow_loopback)


@dataclass(frozen=True)
class Delivery:
    """What is being invoked: the run, and the message that older receivers expect when no body is configured."""

    run_id: str
    legacy_message: Document
    action: str = ""
    """The identifier of the action."""


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
    claim: str | None = None
    """The installation id that has to claim the run, which waits for it; None: nobody has to."""
    look_up_after: timedelta | None = None
    """When to ask the backend ourselves, if nobody has reported by then (`InvocationMethod.look_up`). None: never."""


@dataclass(frozen=True)
class Reference:
    """A run that was handed over: all that is known of it when its backend is asked about it."""

    run_id: str
    invoked_at: datetime
    """When the backend had accepted it."""
    external_run_id: str | None = None
    link: tuple[str, ...] = ()


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

    goes_to: ClassVar[tuple[str, ...]] = ()
    """The fields that say who does the work, beside the type."""

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

    def counterpart(self) -> str:
        """Who does the work (of a rendered method): all runs that go there share its budgets, and its circuit."""
        return " ".join(filter(None, (self.type, "/".join(str(getattr(self, name)) for name in self.goes_to))))

    def writes(self) -> EntityWrite | None:
        """What is to be written to the catalog instead of being sent (of a rendered method); None: it is invoked.

        It is written in the transaction that ends the run, so it happens once, however often the run is delivered.
        """
        return None

    @classmethod
    def completed(cls, document: Document) -> Document:
        """The rendered document, or its masked copy, with defaults that whoever gets it must find written out."""
        return document

    def handed_out(self, message: Document) -> Document:
        """What whoever claims the run gets as its payload (of a rendered method); `message` is for older receivers.

        Raises:
            InvalidInvocation: they could not read it.
            BackendRefused: runs of this type are not claimed.
        """
        raise BackendRefused(f"{self.type} runs are not for others to claim")

    def verify(self) -> None:
        """Check a *rendered* method before anything is sent.

        What the masked copy of a method hides cannot be judged: it is checked when the method is invoked.

        Raises:
            domain.errors.InvalidInvocation: a field no longer is what it must be, e.g. url is no URL.
        """

    async def invoke(self, delivery: Delivery, using: Resources) -> Receipt:
        """Deliver; what happened, or an error that says whether trying again is safe.

        Raises:
            BackendBusy: the peer has refused to do it now, and says when to ask again.
            BackendUnavailable: the request provably never reached the peer.
            BackendRefused: it will not work by trying again.
        """
        raise BackendRefused(f"{self.type} backends are not available in this version yet")

    async def look_up(self, reference: Reference, using: Resources) -> Receipt | None:
        """What became of a run that was handed over and nobody has reported about; None: nothing new, ask again later.

        A receipt without a status adds what is known by now (link, external id) and has the backend asked again.

        Raises:
            BackendBusy: it says when to ask again.
            BackendUnavailable, BackendRefused: it cannot tell at the moment. The run goes on, and it is asked again.
        """
        return None

    async def cancel(self, reference: Reference, using: Resources) -> str | None:
        """Stop what was handed over, if the backend can; a line for the run's log. None: it has no way to.

        Raises:
            BackendFault: it did not work; the text says why.
        """
        return None
