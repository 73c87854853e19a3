"""What a webhook does when it goes wrong: each way ends in one receipt or one error, in time, with no secret in it."""

import asyncio
import socket
import time
import tracemalloc
import zlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import JsonValue

import backends
from domain.errors import BackendFault, BackendRefused, BackendUnavailable
from domain.runs import RunStatus

if TYPE_CHECKING:
    from tests.backends.conftest import Authority, Invoke, Peer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
SOON = timedelta(seconds=0.5)
MIB = 1024 * 1024


def webhook(url: str, **fields: JsonValue) -> dict[str, JsonValue]:
    return {"type": "WEBHOOK", "url": url, "synchronized": True, **fields}


@pytest.mark.parametrize("synchronized", [True, False])
@pytest.mark.parametrize(
    ("status", "body", "response"),
    [
        (500, b'{"error":"boom"}', {"error": "boom"}),
        (404, b"nothing here", "nothing here"),
        (400, b"", None),
        (500, b"x" * 5000, "x" * 5000),
    ],
)
async def test_an_answer_that_says_no_fails_the_run(
    peer: "Peer", invoke: "Invoke", status: int, body: bytes, response: JsonValue, synchronized: bool
) -> None:
    peer.answers(status, body)
    receipt = await invoke(webhook(peer.url, synchronized=synchronized))
    assert receipt.status is RunStatus.FAILURE
    assert receipt.response == (response if synchronized else None)
    text = body.decode()[:1000]
    assert receipt.summary == f"Failed to invoke the webhook with status code: {status}. Response: {text}"


async def test_an_asynchronous_202_leaves_the_run_to_its_reports(peer: "Peer", invoke: "Invoke") -> None:
    peer.answers(202, b'{"queued":true}')
    assert await invoke(webhook(peer.url, synchronized=False)) == backends.Receipt()


async def test_redirects_are_answers_and_not_followed(peer: "Peer", secure_peer: "Peer", invoke: "Invoke") -> None:
    for location in ("/there", secure_peer.url):
        peer.answers(301, b"moved", Location=location)
        receipt = await invoke(webhook(peer.url))
        assert receipt.status is RunStatus.FAILURE
        assert receipt.summary == "Failed to invoke the webhook with status code: 301. Response: moved"
        assert "redirects are not followed" in receipt.log[0]
    assert [asked.target for asked in peer.received] == ["/", "/"]
    assert not secure_peer.connections


async def test_nobody_listens(invoke: "Invoke") -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(BackendUnavailable) as fault:
            await invoke(webhook(f"http://127.0.0.1:{taken.getsockname()[1]}/?token=s3cret"))
    assert str(fault.value) == "Failed to invoke the webhook with error: Connection refused"


async def test_nobody_accepts(invoke: "Invoke") -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]  # the queue is full now: connecting takes for ever
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            for limits in ({"connect_timeout": SOON}, {"timeout": SOON}):
                with pytest.raises(BackendUnavailable, match=r"with error: no connection within 0.5 s$"):
                    await invoke(webhook(f"http://127.0.0.1:{address[1]}"), **limits)
        finally:
            for one in waiting:
                one.close()


async def test_tls_that_cannot_be_trusted_is_final(secure_peer: "Peer", invoke: "Invoke") -> None:
    with pytest.raises(BackendRefused) as fault:
        await invoke(webhook(secure_peer.url + "/?token=s3cret"))
    assert str(fault.value).startswith(
        "Failed to invoke the webhook with error: the certificate of 127.0.0.1 does not verify: "
    )
    assert not secure_peer.received


async def test_tls_that_can_be_trusted(secure_peer: "Peer", authority: "Authority", invoke: "Invoke") -> None:
    transport = backends.open_transport(authority.client())
    assert (await invoke(webhook(secure_peer.url), http=transport)).status is RunStatus.SUCCESS


async def test_a_certificate_for_another_name_is_final(
    secure_peer: "Peer", authority: "Authority", invoke: "Invoke"
) -> None:
    with pytest.raises(BackendRefused, match="the certificate of localhost does not verify"):
        await invoke(webhook(f"https://localhost:{secure_peer.port}"), http=backends.open_transport(authority.client()))


async def test_a_peer_that_speaks_no_tls_may_be_tried_again(peer: "Peer", invoke: "Invoke") -> None:
    with pytest.raises(BackendUnavailable, match=r"with error: (TLS failed: |no connection )"):
        await invoke(webhook(peer.url.replace("http:", "https:")), timeout=SOON)


@pytest.mark.parametrize(
    ("parts", "pause", "cause"),
    [
        ((b"",), 5.0, "no answer within 0.5 s"),
        ((b"HTTP/1.1 200",), 5.0, "no answer within 0.5 s"),
        ((HEAD, b"abc"), 5.0, "the answer was not complete within 0.5 s"),
        ((HEAD, b"abc"), 0.0, "the connection was cut before the answer was complete"),
        ((b"HTTP/1.1 2",), 0.0, "the connection was cut before the answer was complete"),
        ((b"",), 0.0, "the connection was cut before the answer was complete"),
        ((b"SMTP ready\r\n\r\n",), 0.0, "the answer is not valid HTTP"),
        ((b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot gzip",), 0.0, "the answer cannot be decompressed"),
    ],
)
async def test_what_may_have_been_received_is_never_tried_again(
    peer: "Peer", invoke: "Invoke", parts: tuple[bytes, ...], pause: float, cause: str
) -> None:
    peer.writes(*parts, then=pause)
    began = time.monotonic()
    with pytest.raises(BackendRefused) as fault:
        await invoke(webhook(peer.url + "/?token=s3cret", headers={"X-Key": "s3cret"}), timeout=SOON)
    assert str(fault.value) == f"Failed to invoke the webhook with error: {cause}"
    assert time.monotonic() - began < 3
    assert len(peer.received) == 1


async def test_the_time_limit_is_for_all_of_a_dripping_answer(peer: "Peer", invoke: "Invoke") -> None:
    peer.writes(b"HTTP/1.1 200 OK\r\n\r\n", *[b"drip"] * 100, every=0.1)
    began = time.monotonic()
    with pytest.raises(BackendRefused, match=r"the answer was not complete within 0.5 s"):
        await invoke(webhook(peer.url), timeout=SOON)
    assert time.monotonic() - began < 3

    peer.writes(b"HTTP/1.1 500 No\r\n\r\n", *[b"drip"] * 100, every=0.1)
    receipt = await invoke(webhook(peer.url), timeout=SOON)
    assert receipt.status is RunStatus.FAILURE, "its status says enough"
    assert receipt.log == ("The response is incomplete: the answer was not complete within 0.5 s",)

    peer.writes(b"HTTP/1.1 202 Yes\r\n\r\n", *[b"drip"] * 100, every=0.1)
    assert await invoke(webhook(peer.url, synchronized=False), timeout=SOON) == backends.Receipt()


async def test_endless_headers_end(peer: "Peer", invoke: "Invoke") -> None:
    peer.writes(b"HTTP/1.1 200 OK\r\n", *[b"X-More: " + b"x" * 1000 + b"\r\n"] * 1000)
    with pytest.raises(BackendRefused, match="not valid HTTP"):
        await invoke(webhook(peer.url))


async def test_a_large_answer_is_cut(peer: "Peer", invoke: "Invoke") -> None:
    peer.answers(200, b"x" * (5 * MIB))
    receipt = await invoke(webhook(peer.url))
    assert (receipt.status, receipt.response) == (RunStatus.SUCCESS, "x" * MIB)
    assert receipt.log == ("The response is larger than 1048576 bytes: the rest was cut",)


async def test_an_answer_of_exactly_the_limit_is_whole(peer: "Peer", invoke: "Invoke") -> None:
    peer.answers(200, b"x" * 100)
    receipt = await invoke(webhook(peer.url), response_limit=100)
    assert (receipt.response, receipt.log) == ("x" * 100, ())


async def test_a_compression_bomb_does_not_grow(peer: "Peer", invoke: "Invoke") -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    bomb = b"".join([*(packer.compress(bytes(MIB)) for _ in range(256)), packer.flush()])
    peer.answers(200, bomb, Content_Encoding="gzip")
    using = {"http": backends.open_transport()}
    tracemalloc.start()
    try:
        receipt = await invoke(webhook(peer.url), response_limit=1000, **using)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert receipt.response == "\ufffd" * 1000
    assert peak < 8 * MIB


async def test_each_delivery_has_its_own_connection_and_no_cookies(peer: "Peer", invoke: "Invoke") -> None:
    peer.answers(200, b"", Set_Cookie="session=one; Path=/", Connection="keep-alive")
    using = {"http": backends.open_transport()}
    for _ in range(2):
        await invoke(webhook(peer.url), **using)
    assert peer.connections == 2
    assert not [asked for asked in peer.received if "cookie" in asked.headers]


async def test_a_cancelled_delivery_stops_at_once(peer: "Peer", invoke: "Invoke") -> None:
    peer.writes(HEAD, then=30)
    delivery = asyncio.ensure_future(invoke(webhook(peer.url)))
    while not peer.received:
        await asyncio.sleep(0.01)
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery


async def test_no_log_and_no_error_tells_what_was_sent(
    peer: "Peer", invoke: "Invoke", caplog: pytest.LogCaptureFixture
) -> None:
    """Libraries like to log the URL with its query."""
    caplog.set_level("INFO")
    peer.writes(b"")
    with pytest.raises(BackendFault) as fault:
        await invoke(
            webhook(
                f"http://user:s3cret@127.0.0.1:{peer.port}/?token=s3cret", headers={"X": "s3cret"}, body={"x": "s3cret"}
            )
        )
    assert b"s3cret" in peer.asked.body, "the search can find what is there"
    assert "s3cret" not in str(fault.value) + caplog.text
    assert fault.value.__cause__ is None


async def test_what_only_delivery_can_judge_is_refused_there(invoke: "Invoke") -> None:
    for fields in ({"url": "********"}, {"url": "http://127.0.0.1:1", "method": "********"}):
        with pytest.raises(BackendRefused, match=r"with error: invocationMethod\.(url|method): must be"):
            await invoke({"type": "WEBHOOK", **fields})
