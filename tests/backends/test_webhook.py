"""What a webhook sends, and what its answer makes of the run."""

import gzip
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from pydantic import JsonValue

from backends._destinations import Rules, absolute
from backends.base import Receipt
from domain.errors import InvalidInvocation
from domain.runs import RunStatus
from domain.signatures import sign, verify

if TYPE_CHECKING:
    from tests.backends.conftest import Invoke, Peer

SECRET = "0123456789abcdef0123456789abcdef"
BODY: JsonValue = {"b": "é ☃", "a": [1, 2.5, 3.0, None, True], "nested": {"z": {}, "y": []}, "slash": "</x>"}


def webhook(url: str, **fields: JsonValue) -> dict[str, JsonValue]:
    return {"type": "WEBHOOK", "url": url, **fields}


async def test_both_ways_to_verify_the_signature_accept_it(peer: "Peer", invoke: "Invoke") -> None:
    await invoke(webhook(peer.url + "/hook?a=1&b=%2F", body=BODY))

    asked, now = peer.asked, datetime.now(UTC)
    assert (asked.method, asked.target) == ("POST", "/hook?a=1&b=%2F")
    assert verify(SECRET, asked.body, asked.headers, now)
    assert asked.body.decode() == (
        '{"b":"é ☃","a":[1,2.5,3,null,true],"nested":{"z":{},"y":[]},"slash":"</x>"}'  # as JSON.stringify writes it
    )
    stringified = json.dumps(json.loads(asked.body), ensure_ascii=False, separators=(",", ":")).encode()
    assert verify(SECRET, stringified, asked.headers, now)
    assert not verify(SECRET, asked.body + b" ", asked.headers, now)


async def test_headers_of_a_delivery(peer: "Peer", invoke: "Invoke") -> None:
    await invoke(
        webhook(
            peer.url,
            headers={
                "RUN_ID": "r_1",
                "X-Number": 5.0,
                "X-Object": {"a": [1]},
                "X-Nothing": None,
                "X-Padded": "  word\t",
                "X-Umlaut": "ä",
                "content-type": "application/vnd.x+json",
                "x-port-signature": "forged",
                "X-PORT-TIMESTAMP": "0",
                "idempotency-key": "theirs",
                "X-Interlock-Depth": "0",
                "Content-Length": "3",
                "Transfer-Encoding": "chunked",
                "Connection": "keep-alive",
            },
        ),
        user_agent="interlock/9",
        access_token=lambda: "machine-token",
        own_addresses=frozenset({"http://own.example"}),
    )

    headers = peer.asked.headers
    expected = {
        "host": f"127.0.0.1:{peer.port}",
        "user-agent": "interlock/9",
        "content-type": "application/vnd.x+json",
        "idempotency-key": "r_0123456789abcdef",
        "run_id": "r_1",
        "x-number": "5",
        "x-object": '{"a":[1]}',
        "x-padded": "word",
        "x-umlaut": "ä".encode().decode("latin-1"),
        "connection": "close",
        "content-length": str(len(peer.asked.body)),
    }
    assert {name: headers.get(name) for name in expected} == expected
    assert verify(SECRET, peer.asked.body, headers, datetime.now(UTC)), "our signature wins"
    assert not {"x-nothing", "transfer-encoding", "authorization"} & set(headers)


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"X-A": "one\r\nX-Evil: 1"}, "headers.X-A"),
        ({"X-A": "one\ntwo"}, "headers.X-A"),
        ({"X-A": "nul\x00"}, "headers.X-A"),
        ({"X-A": "\ud800"}, "headers.X-A"),
        ({"X A": "1"}, "'X A'"),
        ({"X-A\r\nX-Evil": "1"}, "X-A"),
        ({"": "1"}, "''"),
    ],
)
async def test_a_header_that_cannot_be_sent_is_named(
    peer: "Peer", invoke: "Invoke", headers: dict[str, JsonValue], named: str
) -> None:
    with pytest.raises(InvalidInvocation) as refused:
        await invoke(webhook(peer.url, headers=headers))
    assert named in str(refused.value)
    assert "Evil: 1" not in str(refused.value)
    assert not peer.connections


@pytest.mark.parametrize("method", ["post", "PUT", "Patch", "delete", "GET"])
async def test_the_method_is_normalised_and_an_explicit_body_goes_with_each(
    peer: "Peer", invoke: "Invoke", method: str
) -> None:
    await invoke(webhook(peer.url, method=method, body={}))
    assert (peer.asked.method, peer.asked.body) == (method.upper(), b"{}")


@pytest.mark.parametrize(
    ("fields", "using", "body"),
    [
        ({}, {}, '{"action":"legacy","trägt":[1]}'),
        ({"method": "PUT"}, {"default_body": "empty"}, "{}"),
        ({"method": "GET"}, {}, ""),
        ({"method": "DELETE"}, {}, ""),
        ({"body": []}, {}, "[]"),
        ({"body": "text"}, {}, '"text"'),
    ],
)
async def test_what_is_sent_as_body(
    peer: "Peer", invoke: "Invoke", fields: dict[str, JsonValue], using: dict[str, object], body: str
) -> None:
    await invoke(webhook(peer.url, **fields), **using)
    assert peer.asked.body.decode() == body
    assert ("content-type" in peer.asked.headers) == bool(body)
    assert verify(SECRET, peer.asked.body, peer.asked.headers, datetime.now(UTC)), "an empty body is signed too"


async def test_the_signature_is_dated_by_the_clock_that_is_handed_in(peer: "Peer", invoke: "Invoke") -> None:
    at = datetime.fromtimestamp(1700000000, UTC)
    await invoke(webhook(peer.url, body={}), now=lambda: at)
    signed = {name.lower(): value for name, value in sign(SECRET, b"{}", at).items()}
    assert signed.items() <= peer.asked.headers.items()


async def test_credentials_in_the_url_become_basic_authorization(peer: "Peer", invoke: "Invoke") -> None:
    await invoke(webhook(f"http://ann:p%40ss@127.0.0.1:{peer.port}/"))
    assert peer.asked.headers["authorization"] == "Basic YW5uOnBAc3M="
    assert peer.asked.headers["host"] == f"127.0.0.1:{peer.port}"


async def test_our_own_api_is_called_as_the_organization(peer: "Peer", invoke: "Invoke") -> None:
    own = {
        "own_addresses": frozenset({peer.url.upper()}),
        "access_token": lambda: "machine-token",
        "allow_private": False,
    }
    await invoke(webhook(f"{peer.url}/v1/actions/x/runs?run_as=a@b.c"), **own)
    assert peer.asked.target == "/v1/actions/x/runs?run_as=a@b.c"
    assert peer.asked.headers["authorization"] == "Bearer machine-token"
    assert (peer.asked.body, peer.asked.headers["content-length"]) == (b"", "0"), "never the legacy message"

    peer.received.clear()
    await invoke(webhook(peer.url, headers={"authorization": "Bearer other"}, body={"properties": {}}), **own)
    assert peer.asked.headers["authorization"] == "Bearer other"
    assert peer.asked.body == b'{"properties":{}}'


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("https://api.example.com", "https://api.example.com:443"),
        ("https://API.example.com:443/", "https://api.example.com"),
        ("http://api.example.com./v1", "http://api.example.com:80"),
    ],
)
def test_default_ports_and_case_do_not_hide_our_own_api(address: str, own: str) -> None:
    assert Rules(own_addresses=frozenset({own})).is_own(absolute(address))
    for other in ("http://api.example.com:443", "https://api.example.com:8443", "https://api.example.com.evil.test"):
        assert not Rules(own_addresses=frozenset({own})).is_own(absolute(other))


@pytest.mark.parametrize(
    ("status", "body", "headers", "response"),
    [
        (200, b'{"id":5,"ok":[true]}', {}, {"id": 5, "ok": [True]}),
        (201, b"\xef\xbb\xbf[1]", {}, [1]),
        (200, b"ok", {"Content_Type": "text/plain"}, "ok"),
        (200, "für".encode("latin-1"), {"Content_Type": "text/plain; charset=ISO-8859-1"}, "für"),
        (200, b"x", {"Content_Type": "text/plain; charset=punycode"}, "x"),
        (200, b'{"a":NaN}', {}, '{"a":NaN}'),
        (200, b'{"a":1e999}', {}, '{"a":1e999}'),
        (200, b'{"a":"\\u0000"}', {}, '{"a":"\\u0000"}'),
        (200, b"nul\x00\xff", {}, "nul\ufffd\ufffd"),
        (200, gzip.compress(b'{"zipped":true}', mtime=0), {"Content_Encoding": "gzip"}, {"zipped": True}),
        (204, b"", {}, None),
        (200, b"", {}, None),
    ],
)
async def test_a_synchronized_run_succeeds_with_the_answer(
    peer: "Peer", invoke: "Invoke", status: int, body: bytes, headers: dict[str, str], response: JsonValue
) -> None:
    peer.answers(status, body, **headers)
    receipt = await invoke(webhook(peer.url, synchronized="true"))
    assert (receipt.status, receipt.response, receipt.summary) == (RunStatus.SUCCESS, response, None)


async def test_slack_is_synchronized_unless_it_says_otherwise(peer: "Peer", invoke: "Invoke") -> None:
    slack: dict[str, JsonValue] = {"type": "SLACK", "url": peer.url, "body": {"text": "Hi"}}
    assert (await invoke(slack)).status is RunStatus.SUCCESS
    assert (await invoke({**slack, "synchronized": False})).status is None
    assert [asked.body for asked in peer.received] == [b'{"text":"Hi"}'] * 2


async def test_a_request_for_the_agent_is_left_to_be_claimed(peer: "Peer", invoke: "Invoke") -> None:
    for agent in (True, "true"):
        receipt = await invoke(webhook(peer.url, agent=agent, synchronized=True))
        assert receipt == Receipt(claim="_PORT_EXEC_AGENT"), "the agent reports, whether synchronized or not"
    assert not peer.connections
