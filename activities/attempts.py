"""Keeping account of an attempt: what it said and was answered, masked, and what came of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from backends._exchanges import Exchange, HttpExchange, KafkaExchange
from backends.base import Receipt, Unconfirmed
from domain import documents
from domain.attempts import Answered, Attempt, Exchanged, Kind, Outcome, SentMessage, SentRequest
from domain.documents import Document, canonical
from domain.errors import BackendBusy, BackendUnavailable, InterlockError, InvalidRequest
from domain.masking import credentials, masked_headers, masked_text, masked_url
from domain.runs import RunStatus
from domain.secrets import Redactor
from domain.templating import MASK

REQUEST_LIMIT = 64 * 1024
"""How many characters of a request's body are kept."""
ANSWER_LIMIT = 16 * 1024
_AHEAD = 32 * 1024
"""How much is looked at for secrets: more than is kept, so that it has none that begin in it."""
_MOST = 20
"""How many exchanges of one attempt are kept: the first and the last ones."""
_ACCEPTED = range(200, 300)
_SHORTEST = 4
"""A shorter credential is everywhere by chance."""
_MOST_MADE = 1_000
_LONGEST_MADE = 4_096
"""What programs have made of secrets is looked for if it is no more than so many texts of so many characters."""
_PRIVATE = ("entity", "event")
"""What the message for older receivers has of the catalog, which not everybody who sees the run may read."""
_TELLING = frozenset(
    {
        "content-length",
        "content-type",
        "date",
        "deprecation",
        "location",
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "request-id",
        "retry-after",
        "server",
        "traceparent",
        "www-authenticate",
        "x-correlation-id",
        "x-github-request-id",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-request-id",
        "x-vss-activityid",
    }
)
"""The headers of answers that are kept."""


_Clear: TypeAlias = Callable[[str], str]


@dataclass
class Watch:
    """One attempt while it is under way. It is called with every exchange, which the backends do."""

    kind: Kind
    started_at: datetime
    message: Document | None = None
    """What older receivers get where the action names no body: it is kept without what it has of the catalog."""
    known: set[str] = field(default_factory=set, repr=False)
    """Secrets that are masked wherever they stand; whoever learns of another one adds it."""
    made: set[str] = field(default_factory=set, repr=False)
    """What programs that name secrets have made of them: masked in what is read, as it is in the payload of the run."""
    lines: list[str] = field(default_factory=list, repr=False)
    """What is to be logged."""
    last: Exchange | None = field(default=None, repr=False)
    _exchanges: list[Exchange] = field(default_factory=list, repr=False)
    _left_out: int = 0
    _redactors: dict[bool, tuple[int, Redactor]] = field(default_factory=dict, repr=False)

    def __call__(self, exchange: Exchange) -> None:
        """Remember it."""
        self.last = exchange
        self._exchanges.append(exchange)
        if len(self._exchanges) > _MOST:
            del self._exchanges[_MOST // 2]
            self._left_out += 1

    @property
    def redactor(self) -> Redactor:
        """Of the secrets that are known by now, for what programs read."""
        return self._redactor(self.known, to_be_read=False)

    @property
    def to_be_read(self) -> Redactor:
        """The same for what people read: of what was made of them, too, though that may be an ordinary word."""
        return self._redactor(self.known if self._made_too_much else self.known | self.made, to_be_read=True)

    @property
    def _made_too_much(self) -> bool:
        return len(self.made) > _MOST_MADE or any(len(one) > _LONGEST_MADE for one in self.made)

    def _redactor(self, values: set[str], *, to_be_read: bool) -> Redactor:
        size, made = self._redactors.get(to_be_read, (-1, None))
        if made is None or size != len(values):  # secrets are only ever added
            made = Redactor(values)
            self._redactors[to_be_read] = len(values), made
        return made

    @property
    def final_status(self) -> int | None:
        """What the backend answered last, if that answer came to its end."""
        return self.last.final_status if self.last else None

    def retry_after(self, now: datetime) -> timedelta | None:
        """When the backend asked to come again; None: it did not."""
        return self.last.retry_after(now) if self.last else None

    def outcome(self, fault: InterlockError | None, receipt: Receipt | None) -> Outcome:
        """What came of it."""
        match fault:
            case BackendBusy():
                return Outcome.BUSY
            case BackendUnavailable():
                return Outcome.UNREACHABLE
            case Unconfirmed():
                return Outcome.ANSWER_LOST
            case None if self.kind is not Kind.INVOKE:
                return Outcome.ACCEPTED
            case None if receipt is not None and receipt.status is RunStatus.FAILURE:
                return Outcome.REFUSED
            case None:
                return Outcome.ANSWER_LOST if self._lost(receipt) else Outcome.ACCEPTED
        return Outcome.ANSWER_LOST if self.last and self.last.unknown else Outcome.REFUSED

    def _lost(self, receipt: Receipt | None) -> bool:
        """Whether the run goes on although nobody has said yes: what may have come of it is looked for."""
        if receipt is None or receipt.status is not None or not isinstance(self.last, HttpExchange):
            return False
        return self.last.status not in _ACCEPTED

    def ended(self, outcome: Outcome, said: str | None, *, at: datetime, again_at: datetime | None = None) -> Attempt:
        """The attempt as it may be kept: no secret is in it."""
        return Attempt(
            kind=self.kind,
            started_at=self.started_at,
            ended_at=at,
            outcome=outcome,
            said=self.to_be_read.text(said) if said else None,
            again_at=again_at,
            exchanges=tuple(self._masked()),
            left_out=self._left_out,
        )

    def _masked(self) -> Iterable[Exchanged]:
        # Of all of them: what authenticates one request may be echoed in the answer to the next.
        theirs = {
            value
            for one in self._exchanges
            if isinstance(one, HttpExchange)
            for value in credentials(one.url, one.request_headers)
            if len(value) >= _SHORTEST
        }
        redactor, longest_first = self.to_be_read, sorted(theirs, key=len, reverse=True)
        hides_all = self._made_too_much

        def clear(text: str) -> str:
            if hides_all:
                return MASK
            text = redactor.text(text)
            for value in longest_first:
                text = text.replace(value, MASK)
            return text

        for one in self._exchanges:
            yield self._of_kafka(one, clear) if isinstance(one, KafkaExchange) else self._of_http(one, clear)

    @staticmethod
    def _of_kafka(one: KafkaExchange, clear: _Clear) -> Exchanged:
        return Exchanged(
            at=one.at,
            milliseconds=_milliseconds(one.took),
            request=SentMessage(topic=one.topic, key=one.key, size=one.size),
            fault=clear(one.fault) if one.fault else None,
        )

    def _of_http(self, one: HttpExchange, clear: _Clear) -> Exchanged:
        headers = {clear(name): value for name, value in masked_headers(one.request_headers).items()}
        request = SentRequest(
            method=one.method,
            url=clear(masked_url(one.url)),
            headers={name: clear(value) for name, value in headers.items()},
            body=self._body(one.request_body, clear),
            size=len(one.request_body or b""),
        )
        answer = None
        if one.status is not None:
            text = clear(masked_text(clear(one.body[:_AHEAD])))
            telling = {name: value for name, value in one.headers.items() if name in _TELLING}
            if "location" in telling:
                telling["location"] = masked_url(telling["location"])
            answer = Answered(
                status=one.status,
                headers={name: clear(_storable(value)) for name, value in telling.items()},
                body=text[:ANSWER_LIMIT],
                cut=one.cut or len(text) > ANSWER_LIMIT,
            )
        return Exchanged(
            at=one.at,
            milliseconds=_milliseconds(one.took),
            request=request,
            answer=answer,
            fault=clear(one.fault) if one.fault else None,
        )

    def _body(self, body: bytes | None, clear: _Clear) -> str | None:
        if body is None:
            return None
        text = _storable(body.decode(errors="replace"))
        if self.message and text == canonical(self.message):
            text = canonical(_public(self.message))
        if self.made and not self._made_too_much:
            text = _without_values(text, self.to_be_read)
        # Masked before it is cut: half a secret is not found any more, except at the end of a long text.
        return clear(masked_text(clear(text[: REQUEST_LIMIT + _AHEAD])))[:REQUEST_LIMIT]


def _without_values(text: str, redactor: Redactor) -> str:
    """A body of JSON without the values in it that are secret: short ones and numbers are not looked for in text."""
    try:
        value = documents.parse(text.encode())
    except InvalidRequest:
        return text
    masked = redactor.value(value)
    return text if masked == value else canonical(masked)


def _public(message: Document) -> Document:
    payload = message.get("payload")
    if not isinstance(payload, dict):
        return message
    return {**message, "payload": {name: MASK if name in _PRIVATE else value for name, value in payload.items()}}


def _milliseconds(took: timedelta) -> int:
    return max(0, round(took / timedelta(milliseconds=1)))


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd")
