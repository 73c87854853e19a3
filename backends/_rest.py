"""A JSON API of another system: requests to paths below one address, and answers read the way such APIs mean them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import JsonValue

from backends._destinations import absolute
from backends._exchanges import retry_after
from backends._sending import Answer, Request, send
from backends.base import Resources, Unconfirmed
from domain.documents import canonical
from domain.errors import BackendBusy, BackendFault, BackendRefused, BackendUnavailable, InvalidInvocation

_TOO_MANY, _FORBIDDEN, _UNAVAILABLE = 429, 403, 503
_ELSEWHERE = frozenset({301, 302, 307, 308})
"""Redirects that say where the same is to be asked for. 303 says where to read what has come of it."""
_LONGEST_WAIT = timedelta(hours=1)
_WITHOUT_A_WORD = timedelta(minutes=1)
"""How long to wait where a limit does not say for how long it holds."""
_SOONEST = timedelta(seconds=2)
_CAUSE_LIMIT = 500
_PAGE_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class RestAnswer:
    """What the API has said."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    value: JsonValue
    """The JSON value, else the text; None for nothing."""
    broken: str | None = None
    """Why the answer is not complete, if it is not: the request may have had its effect all the same."""

    @property
    def accepted(self) -> bool:
        """Whether the API says that all is well."""
        return 200 <= self.status < 300

    @property
    def inconclusive(self) -> bool:
        """Whether what was asked for may have been done although this says no.

        A gateway that has lost its server answers 502, 503 or 504, and servers fail after they have done something.
        """
        return not (self.accepted or 400 <= self.status < 500 or self.status in _ELSEWHERE)

    def get(self, *path: str | int) -> JsonValue:
        """What is at this place of the value; None where there is nothing."""
        here: Any = self.value
        for step in path:
            match here:
                case dict() if isinstance(step, str):
                    here = here.get(step)
                case list() if isinstance(step, int) and -len(here) <= step < len(here):
                    here = here[step]
                case _:
                    return None
        found: JsonValue = here
        return found

    @property
    def cause(self) -> str:
        """The API's own words for why it refused, cut to what a summary takes; else its status.

        GitHub, GitLab and Azure DevOps all have a `message`; GitLab's may be an object, and there is also `error`.
        """
        for name in ("message", "error", "error_description"):
            match self.get(name):
                case str() as text if text:
                    return text[:_CAUSE_LIMIT]
                case dict() | list() as several if several:
                    return canonical(several)[:_CAUSE_LIMIT]
        return f"status code {self.status}"


@dataclass(frozen=True, kw_only=True)
class Rest:
    """One API, as one caller. What it answers is never followed elsewhere."""

    url: str
    """What paths are below, without a slash at the end."""
    using: Resources = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of every request: credentials, the version of the API."""

    async def get(self, path: str, **query: str | int) -> RestAnswer:
        """Ask for what is at the path."""
        return await self.request("GET", path, query=query)

    async def post(self, path: str, document: JsonValue, **query: str | int) -> RestAnswer:
        """Send the document."""
        return await self.request("POST", path, document=document, query=query)

    async def request(
        self,
        method: str,
        path: str,
        *,
        document: JsonValue = None,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> RestAnswer:
        """One request, sent once. The path is quoted already (`segment`); a `document` is sent as JSON.

        Raises:
            BackendBusy: a rate limit holds: the API has done nothing, and says when to ask again.
            BackendUnavailable: no byte of the request was sent. The text is the cause.
            Unconfirmed: it may have been sent. The text is the cause.
            BackendRefused: it never can be. The text is the cause.
        """
        url = self._url(path, query)
        try:
            body = canonical(document).encode() if document is not None else None
        except ValueError:
            raise BackendRefused("what would be sent cannot be written as JSON") from None
        sent = {"Host": url.netloc.decode("ascii"), "Accept": "application/json", "User-Agent": self.using.user_agent}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {**self.headers, **(headers or {}), "Accept-Encoding": "identity", "Connection": "close"}
        answer = await send(Request(method, url, sent, body), self.using)
        if (wait := self._limit(answer)) is not None:
            host = url.host
            raise BackendBusy(f"{host} allows no more requests for {_words(wait)}", wait)
        # Half a document is none: what is not in it is not what the API has not said.
        cut = f"the answer is larger than {self.using.response_limit} bytes" if answer.cut else None
        return RestAnswer(answer.status, answer.headers, answer.value(), answer.broken or cut)

    def _url(self, path: str, query: Mapping[str, str | int] | None) -> httpx.URL:
        try:
            url = absolute(f"{self.url}{path}")
        except InvalidInvocation:
            raise BackendRefused("the address of the API is no absolute http or https URL") from None
        return url.copy_merge_params({name: str(value) for name, value in query.items()}) if query else url

    def _limit(self, answer: Answer) -> timedelta | None:
        """How long the API takes no more requests of ours; None: this answer is no rate limit.

        Primary limits say `X-RateLimit-Remaining: 0` and when they end; secondary ones `Retry-After`, or nothing.
        GitHub answers both with 403 or 429, GitLab with 429, Azure DevOps with 429 or 503 and `Retry-After`.
        """
        headers, status = answer.headers, answer.status
        after = self._after(headers.get("retry-after"))
        spent = headers.get("x-ratelimit-remaining", headers.get("ratelimit-remaining")) == "0"
        limited = (
            status == _TOO_MANY
            or (status == _FORBIDDEN and (spent or after is not None or "rate limit" in answer.text.lower()))
            or (status == _UNAVAILABLE and after is not None)
        )
        if not limited:
            return None
        if after is None and spent:
            after = self._until(headers.get("x-ratelimit-reset", headers.get("ratelimit-reset")))
        return min(max(after if after is not None else _WITHOUT_A_WORD, timedelta(seconds=1)), _LONGEST_WAIT)

    def _after(self, said: str | None) -> timedelta | None:
        """`Retry-After`: seconds, or a date."""
        return retry_after(said, self.using.now())

    def _until(self, said: str | None) -> timedelta | None:
        """The end of a limit in seconds since 1970."""
        if said is None or not (said.isascii() and said.isdigit()) or len(said) > 12:
            return None
        return timedelta(seconds=int(said) - self.using.now().timestamp())


def segment(text: str | int) -> str:
    """The text as one part of a path, also if it has slashes, and never one that leads elsewhere.

    Raises:
        InvalidInvocation: it is empty, or means another place (`.`, `..`).
    """
    if str(text) in ("", ".", ".."):
        raise InvalidInvocation(f"{str(text)!r} is no name that a request can have in its path")
    return quote(str(text), safe="")


def page(value: JsonValue) -> tuple[str, ...]:
    """What the API says is the page of something, as the links of a run: nothing, if no browser should go there."""
    if not isinstance(value, str) or len(value) > _PAGE_LIMIT:
        return ()
    try:
        absolute(value)
    except InvalidInvocation:
        return ()
    return (value,)


@contextmanager
def repeatable() -> Iterator[None]:
    """Around a request that may be sent again even if it has arrived: then no answer is no reason to give up.

    What never can be sent stays refused: a destination that is forbidden, a certificate that does not verify.

    Raises:
        BackendUnavailable: nobody knows whether it has arrived.
    """
    try:
        yield
    except Unconfirmed as fault:
        raise BackendUnavailable(str(fault)) from None


async def begun_before(run_id: str, using: Resources) -> datetime | None:
    """When a worker that has died since began to send for the run; None: nobody has. It is as it was afterwards.

    For whoever cannot even ask the other system. A worker that dies in here seems to have begun: nothing is sent then.
    """
    since = await using.reservations.begin(run_id, using.now())
    if since is None:
        await using.reservations.undo(run_id)
    return since


def untold(fault: BackendFault, since: datetime, patience: timedelta, using: Resources) -> BackendFault:
    """What the fault means where a worker died that may have started something, and it hides what came of that.

    As long as that would be looked for it is asked again, whatever the fault: it says nothing of what was started.
    """
    age = using.now() - since
    if age < patience:
        wait = fault.retry_after if isinstance(fault, BackendBusy) else _SOONEST
        text = f"a worker died meanwhile, and what came of it cannot be told yet: {fault}"
        return BackendBusy(text, max(age / 2, wait, _SOONEST))
    text = "a worker died meanwhile, and may have started it; it is not started again, and what came of it is unknown"
    return Unconfirmed(f"{text}: {fault}")


def because(what: str, fault: BackendFault) -> BackendFault:
    """The fault, with what was being done."""
    text = f"{what}: {fault}"
    return BackendBusy(text, fault.retry_after) if isinstance(fault, BackendBusy) else type(fault)(text)


def in_words(limit: timedelta) -> str:
    """A limit that somebody has configured.

    >>> in_words(timedelta(minutes=10)), in_words(timedelta(seconds=90))
    ('10 minutes', '90 s')
    """
    minutes, rest = divmod(limit, timedelta(minutes=1))
    return _words(limit) if rest or not minutes else f"{minutes} minute{'s' if minutes > 1 else ''}"


def _words(wait: timedelta) -> str:
    return f"{round(wait.total_seconds())} s"
