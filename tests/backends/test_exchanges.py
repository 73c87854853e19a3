"""Whoever keeps account of exchanges is told of each, as exactly as is known whether it arrived."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from backends import Delivery, Resources, Rest, open_transport, parse_rendered
from backends._exchanges import Exchange, HttpExchange, KafkaExchange, retry_after
from backends.base import Unconfirmed
from domain.errors import BackendFault, BackendRefused, BackendUnavailable
from tests.support.listening import serving

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Brokers:
    """They say what they are told to."""

    fault: BackendFault | None = None
    topics: list[str] = field(default_factory=list)

    async def publish(
        self, topic: str, message: bytes, *, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Take it, or not."""
        self.topics.append(topic)
        if self.fault:
            raise self.fault


@pytest.mark.parametrize(
    ("fault", "sent", "unknown"),
    [
        (None, True, False),
        (BackendUnavailable("no broker"), False, False),
        (BackendRefused("too large"), False, False),
        (Unconfirmed("no answer"), True, True),
    ],
)
async def test_a_message_to_kafka_is_told(fault: BackendFault | None, sent: bool, unknown: bool) -> None:
    seen: list[Exchange] = []
    using = Resources(signing_secret="s", organization="org", kafka=Brokers(fault), observe=seen.append)
    method = parse_rendered({"type": "KAFKA", "payload": {"n": 1}})
    expected = pytest.raises(type(fault)) if fault else contextlib.nullcontext()
    with expected:
        await method.invoke(Delivery(run_id="r_1", legacy_message={}), using)
    (told,) = seen
    assert isinstance(told, KafkaExchange)
    assert (told.topic, told.key, told.size) == ("org.runs", "r_1", 7)
    assert (told.fault, told.sent, told.unknown) == (str(fault) if fault else None, sent, unknown)


async def told_of(url: str, **more: str) -> HttpExchange:
    """What is told of a webhook to this address."""
    seen: list[Exchange] = []
    method = parse_rendered({"type": "WEBHOOK", "url": url, "synchronized": True, **more})
    async with open_transport() as http:
        using = Resources(signing_secret="s", http=http, observe=seen.append, timeout=timedelta(seconds=1))
        try:
            await method.invoke(Delivery(run_id="r_1", legacy_message={}), using)
        except BackendFault:
            assert seen
    (told,) = seen
    assert isinstance(told, HttpExchange)
    return told


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid/", "http://169.254.169.254/"])
async def test_a_request_that_never_arrived_is_told_with_its_cause(url: str) -> None:
    told = await told_of(url)
    assert (told.status, told.final_status, told.sent, told.unknown) == (None, None, False, False)
    assert told.fault


@pytest.mark.parametrize(("limit", "broken"), [(24, None), (23, "the answer is larger than 23 bytes")])
async def test_an_answer_of_an_api_that_was_cut_is_not_complete(limit: int, broken: str | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{"default_branch":"dev"}')
        await writer.drain()

    async with serving(serve) as port, open_transport() as http:
        using = Resources(signing_secret="s", http=http, response_limit=limit)
        answer = await Rest(url=f"http://127.0.0.1:{port}", using=using).get("/repo")
    assert (answer.accepted, answer.broken) == (True, broken)
    assert answer.get("default_branch") == (None if broken else "dev")


async def test_credentials_that_no_header_may_hold_are_refused_and_nothing_is_sent() -> None:
    seen: list[Exchange] = []
    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await came.put(await reader.read())

    async with serving(take) as port:
        async with open_transport() as http:
            using = Resources(signing_secret="s", http=http, observe=seen.append)
            evil = {"Authorization": "Bearer ghp_1\r\nX-Evil: 1"}
            api = Rest(url=f"http://127.0.0.1:{port}", using=using, headers=evil)
            with pytest.raises(BackendRefused, match="a header of the request holds a line break") as refused:
                await api.post("/jobs", {})
        assert await came.get() == b""
    assert not isinstance(refused.value, Unconfirmed)
    (told,) = seen
    assert isinstance(told, HttpExchange)
    assert (told.status, told.sent, told.unknown) == (None, False, False)


@pytest.mark.parametrize(
    ("answer", "status", "final", "unknown"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nno", 503, 503, False),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\nRetry-After: 7\r\n\r\nno", 503, None, True),
        (b"", None, None, True),
    ],
)
async def test_an_answer_is_told_and_whether_it_is_complete(
    answer: bytes, status: int | None, final: int | None, unknown: bool
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with serving(serve) as port:
        told = await told_of(f"http://127.0.0.1:{port}/", method="PUT")
    assert (told.method, told.status, told.final_status, told.unknown) == ("PUT", status, final, unknown)
    assert told.took >= timedelta(0)
    if status:
        assert (told.body, told.retry_after(NOW)) == ("no", timedelta(seconds=7))


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        (None, None),
        ("120", timedelta(minutes=2)),
        ("Fri, 02 Jan 2026 00:00:30 GMT", timedelta(seconds=30)),
        ("soon", None),
        ("-1", None),
        ("9" * 30, timedelta(seconds=10**6)),
        ("9" * 5000, timedelta(seconds=10**6)),
        ("0" * 5000 + "7", timedelta(seconds=7)),
        ("Fri, 02 Jan 2026 00:00:30", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(said: str | None, wait: timedelta | None) -> None:
    assert retry_after(said, NOW) == wait
