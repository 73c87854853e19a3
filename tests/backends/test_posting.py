"""Telling somebody something: what is sent, and which answers mean that it has to be sent again."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import backends
from domain.errors import BackendRefused, BackendUnavailable
from domain.signatures import verify
from tests.backends.conftest import SECRET

if TYPE_CHECKING:
    from tests.backends.conftest import Peer

AT = datetime(2026, 1, 2, tzinfo=UTC)


def resources(**more: Any) -> backends.Resources:
    return backends.Resources(**{"signing_secret": SECRET, "now": lambda: AT, "access_token": lambda: "token", **more})


async def post(url: str, **more: Any) -> int:
    return await backends.post(url, {"id": "ü"}, key="event_1", using=resources(**more))


async def test_it_is_signed_and_has_a_key(peer: "Peer") -> None:
    assert await post(f"{peer.url}/hook?a=b") == 200
    sent = peer.asked
    assert (sent.method, sent.target, json.loads(sent.body)) == ("POST", "/hook?a=b", {"id": "ü"})
    assert sent.headers["idempotency-key"] == "event_1"
    assert sent.headers["content-type"] == "application/json"
    assert verify(SECRET, sent.body, sent.headers, AT)
    assert "authorization" not in sent.headers


async def test_credentials_of_the_url_become_a_header(peer: "Peer") -> None:
    assert await post(f"http://ada:secret@127.0.0.1:{peer.port}/") == 200
    assert peer.asked.headers["authorization"] == "Basic YWRhOnNlY3JldA=="


@pytest.mark.parametrize("status", [204, 301, 400, 404, 410])
async def test_most_answers_are_final(peer: "Peer", status: int) -> None:
    peer.answers(status)
    assert await post(peer.url) == status


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_some_answers_ask_to_come_again(peer: "Peer", status: int) -> None:
    peer.answers(status)
    with pytest.raises(BackendUnavailable, match=str(status)):
        await post(peer.url)


async def test_no_connection_and_no_answer_ask_to_come_again(peer: "Peer") -> None:
    peer.writes()
    with pytest.raises(BackendUnavailable, match="cut"):
        await post(peer.url)
    peer.writes(then=5)
    with pytest.raises(BackendUnavailable, match="no answer within"):
        await post(peer.url, timeout=timedelta(seconds=0.3))
    with pytest.raises(BackendUnavailable):
        await post("http://127.0.0.1:1/")


async def test_what_may_not_be_called_is_not_called(peer: "Peer") -> None:
    with pytest.raises(BackendRefused, match="private"):
        await post(peer.url, allow_private=False)
    with pytest.raises(BackendRefused, match="never calls"):
        await post(peer.url, never_allowed=frozenset({"127.0.0.1"}))
    with pytest.raises(BackendRefused, match="our own API"):
        await post(f"{peer.url}/v1/blueprints", own_addresses=frozenset({peer.url}))
    with pytest.raises(BackendRefused, match="url"):
        await post("http://127.0.0.1:99999/")
    assert not peer.received
