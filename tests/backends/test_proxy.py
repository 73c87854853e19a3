"""The way out through a proxy: what goes through it, what around it, and what is refused all the same."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import cache
from socket import EAI_AGAIN, EAI_NONAME, gaierror
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

import backends
from backends import Proxy
from backends._destinations import Rules, absolute, addresses, check_destination
from domain.errors import BackendRefused, BackendUnavailable, PrivateDestination, UnresolvableDestination
from domain.runs import RunStatus
from tests.backends.test_destinations import resolves as resolves
from tests.support.processes import free_ports
from tests.support.proxy import TinyProxy, proxy

if TYPE_CHECKING:
    from tests.backends.conftest import Authority, Invoke, Peer
    from tests.backends.test_destinations import Resolver

NAME = "hooks.example.test"
UNKNOWN = gaierror(EAI_NONAME, "unknown")
FAILED = "Failed to invoke the webhook with error: "

Call = Callable[..., Awaitable[backends.Receipt]]


@pytest.fixture
async def way() -> AsyncIterator[TinyProxy]:
    async with proxy() as way:
        yield way


@cache
def roots() -> SSLContext:
    """What a transport has by default; read once, as it takes longer than most tests."""
    return httpx.create_ssl_context()


@pytest.fixture
def call(way: TinyProxy, invoke: "Invoke") -> Call:
    async def call(url: str, *, tls: SSLContext | None = None, around: str = "", **using: Any) -> backends.Receipt:
        through = using.pop("through", Proxy(way.url(), frozenset(filter(None, around.split(",")))))
        http = backends.open_transport(tls or roots(), through)
        return await invoke(
            {"type": "WEBHOOK", "url": url, "synchronized": True, "body": {"a": "ü"}},
            **{"http": http, "proxy": through, **using},
        )

    return call


async def test_https_goes_through_a_tunnel_to_the_name(
    way: TinyProxy, secure_peer: "Peer", authority: "Authority", call: Call, resolves: "Resolver"
) -> None:
    resolves(["93.184.216.34"])
    way.names[NAME] = secure_peer.port
    receipt = await call(f"https://{NAME}:8443/x?y=1", tls=authority.client())
    assert (receipt.status, receipt.response) == (RunStatus.SUCCESS, {"ok": True})
    assert way.tunnels == [f"{NAME}:8443"]
    assert way.heads == [{"host": f"{NAME}:8443"}], "nothing of the request is told to the proxy"
    assert (secure_peer.asked.target, secure_peer.asked.headers["host"]) == ("/x?y=1", f"{NAME}:8443")
    assert secure_peer.asked.body == b'{"a":"\xc3\xbc"}'


async def test_http_goes_to_the_proxy_with_the_whole_address(
    way: TinyProxy, peer: "Peer", call: Call, resolves: "Resolver"
) -> None:
    resolves(UNKNOWN)
    way.names[NAME] = peer.port
    assert (await call(f"http://{NAME}/x%20y?z=1")).status is RunStatus.SUCCESS
    assert way.forwarded == [f"POST http://{NAME}/x%20y?z=1 HTTP/1.1"]
    assert way.tunnels == []
    assert (peer.asked.target, peer.asked.headers["host"]) == ("/x%20y?z=1", NAME)
    assert "proxy-authorization" not in peer.asked.headers


async def test_a_proxy_is_shown_who_we_are_and_nobody_else_is(
    way: TinyProxy, peer: "Peer", secure_peer: "Peer", authority: "Authority", call: Call, resolves: "Resolver"
) -> None:
    resolves(UNKNOWN)
    way.credentials = "Basic dXNlcjpwQHNz"
    through = Proxy(way.url("user:p%40ss@"))
    way.names[NAME] = peer.port
    assert (await call(f"http://{NAME}/", through=through)).status is RunStatus.SUCCESS
    way.names[NAME] = secure_peer.port
    assert (await call(f"https://{NAME}/", through=through, tls=authority.client())).status is RunStatus.SUCCESS
    assert [head["proxy-authorization"] for head in way.heads] == [way.credentials] * 2
    for asked in (peer.asked, secure_peer.asked):
        assert "proxy-authorization" not in asked.headers
    assert "p%40ss" not in repr(through)


@pytest.mark.parametrize("error", [UNKNOWN, gaierror(EAI_AGAIN, "try again")])
async def test_a_name_that_only_the_proxy_knows_is_left_to_it(
    way: TinyProxy, peer: "Peer", call: Call, resolves: "Resolver", error: gaierror
) -> None:
    resolves(error)
    way.names[NAME] = peer.port
    assert (await call(f"http://{NAME}/", allow_private=False)).status is RunStatus.SUCCESS
    through = Proxy(way.url())
    await check_destination(f"http://{NAME}/", allow_private=False, proxy=through)
    with pytest.raises(PrivateDestination, match="never calls"):
        await check_destination(f"http://{NAME}/", allow_private=True, never_allowed=[NAME], proxy=through)
    with pytest.raises(BackendRefused, match="never calls"):
        await call(f"http://{NAME}/", never_allowed=frozenset({NAME}))
    assert way.connections == 1


async def test_a_slow_name_service_does_not_hold_up_what_the_proxy_can_look_up(
    way: TinyProxy, peer: "Peer", call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*args: object, **kwargs: object) -> list[object]:
        await anyio.sleep(60)
        return []

    monkeypatch.setattr("backends._destinations.anyio.getaddrinfo", getaddrinfo)
    monkeypatch.setattr("backends._destinations._PATIENCE", 0.05)
    way.names[NAME] = peer.port
    with anyio.fail_after(5):
        assert (await call(f"http://{NAME}/")).status is RunStatus.SUCCESS


@pytest.mark.parametrize(
    ("answer", "rules", "words"),
    [
        (["10.0.0.1"], {"allow_private": False}, "private address"),
        (["93.184.216.34", "10.0.0.1"], {"allow_private": False}, "private address"),
        (["169.254.169.254"], {}, "cloud metadata address"),
        (["93.184.216.34"], {"never_allowed": frozenset({"93.184.216.0/24"})}, "never calls"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_a_name_leads_to_is_refused_behind_a_proxy_too(
    way: TinyProxy, call: Call, resolves: "Resolver", answer: list[str], rules: dict[str, Any], words: str, scheme: str
) -> None:
    resolves(answer)
    with pytest.raises(BackendRefused, match=words):
        await call(f"{scheme}://{NAME}/", **rules)
    with pytest.raises(BackendRefused, match=words):
        await call(f"{scheme}://{answer[-1]}/", **rules)
    assert way.connections == 0


async def test_addresses_go_through_it_as_well(way: TinyProxy, call: Call) -> None:
    way.says = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(BackendUnavailable):
        await call("https://[2606:4700::1111]/")
    assert (await call("http://93.184.216.34:81/x")).status is RunStatus.FAILURE
    assert (way.tunnels, way.forwarded) == (
        ["[2606:4700::1111]:443"],
        ["POST http://93.184.216.34:81/x HTTP/1.1"],
    )


@pytest.mark.parametrize(
    "around", ["*", NAME, "example.test", ".example.test", "*.example.test", "HOOKS.example.test."]
)
async def test_what_is_named_goes_around_it_pinned(
    way: TinyProxy,
    secure_peer: "Peer",
    authority: "Authority",
    call: Call,
    resolves: "Resolver",
    around: str,
) -> None:
    asked = resolves(["127.0.0.1"], ["169.254.169.254"])
    receipt = await call(f"https://{NAME}:{secure_peer.port}/", around=around, tls=authority.client())
    assert receipt.status is RunStatus.SUCCESS
    assert (asked, way.connections) == ([NAME], 0)


async def test_what_leads_into_a_network_that_goes_around_it_does(
    way: TinyProxy, peer: "Peer", call: Call, resolves: "Resolver"
) -> None:
    resolves(["127.0.0.1"])
    assert (await call(f"http://{NAME}:{peer.port}/", around="127.0.0.0/8")).status is RunStatus.SUCCESS
    assert way.connections == 0


async def test_loopback_and_our_own_api_go_around_it(way: TinyProxy, peer: "Peer", call: Call) -> None:
    assert (await call(peer.url)).status is RunStatus.SUCCESS
    assert (await call(f"http://localhost:{peer.port}")).status is RunStatus.SUCCESS
    assert way.connections == 0
    own = Proxy(way.url(), own_hosts=frozenset({"interlock.example.test"}))
    assert not own.takes("Interlock.example.test.")
    assert own.takes("x.interlock.example.test")
    assert own.takes("notexample.test")


async def test_who_goes_around_it_needs_an_address(way: TinyProxy, resolves: "Resolver") -> None:
    resolves(UNKNOWN)
    rules = Rules(proxy=Proxy(way.url(), frozenset({NAME})))
    with pytest.raises(UnresolvableDestination):
        await addresses(absolute(f"https://{NAME}"), rules)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", f"the proxy refuses to connect to {NAME}:443 (status code 403)"),
        (
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno!",
            f"the proxy refuses to connect to {NAME}:443 (status code 502)",
        ),
        (b"", "the proxy cut the connection"),
        (b"HTTP/1.1 200", "the proxy does not answer as one"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "the proxy does not answer as one"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "the proxy does not answer as one"),
        (b"x" * 20_000, "the proxy does not answer as one"),
    ],
)
async def test_a_proxy_that_does_not_connect_us_may_be_tried_again(
    way: TinyProxy, call: Call, resolves: "Resolver", says: bytes, words: str
) -> None:
    resolves(UNKNOWN)
    way.says = says
    with pytest.raises(BackendUnavailable) as fault:
        await call(f"https://{NAME}/?token=s3cret")
    assert str(fault.value) == f"{FAILED}{words}"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there_or_slow_may_be_tried_again(
    way: TinyProxy, call: Call, resolves: "Resolver", scheme: str
) -> None:
    resolves(UNKNOWN)
    [port] = free_ports(1)
    with pytest.raises(BackendUnavailable, match="the proxy cannot be reached"):
        await call(f"{scheme}://{NAME}/", through=Proxy(f"http://127.0.0.1:{port}"))
    way.pause = 5
    limits = {"timeout": timedelta(seconds=0.5), "connect_timeout": timedelta(seconds=0.2)}
    kind = BackendUnavailable if scheme == "https" else BackendRefused  # which the proxy may have passed on
    with pytest.raises(kind, match=r"no (connection|answer) within"):
        await call(f"{scheme}://{NAME}/", **limits)


async def test_credentials_that_the_proxy_does_not_take(way: TinyProxy, call: Call, resolves: "Resolver") -> None:
    resolves(UNKNOWN)
    way.credentials = "Basic eDp5"
    with pytest.raises(BackendUnavailable, match=r"status code 407"):
        await call(f"https://{NAME}/")
    receipt = await call(f"http://{NAME}/")
    assert receipt.status is RunStatus.FAILURE
    assert receipt.summary is not None
    assert "status code: 407" in receipt.summary


async def test_the_certificate_of_the_peer_is_verified_through_the_tunnel(
    way: TinyProxy, secure_peer: "Peer", authority: "Authority", call: Call, resolves: "Resolver"
) -> None:
    resolves(UNKNOWN)
    way.names |= {NAME: secure_peer.port, "other.example.test": secure_peer.port}
    with pytest.raises(BackendRefused, match=f"the certificate of {NAME} does not verify"):
        await call(f"https://{NAME}/")
    with pytest.raises(BackendRefused, match=r"the certificate of other\.example\.test does not verify"):
        await call("https://other.example.test/", tls=authority.client())
    assert secure_peer.received == []


async def test_what_breaks_behind_the_tunnel_is_as_without_one(
    way: TinyProxy, secure_peer: "Peer", authority: "Authority", call: Call, resolves: "Resolver"
) -> None:
    resolves(UNKNOWN)
    way.names[NAME] = secure_peer.port
    secure_peer.writes(b"")
    with pytest.raises(BackendRefused, match="the connection was cut before the answer was complete"):
        await call(f"https://{NAME}/", tls=authority.client())
    secure_peer.answers(302, Location="https://elsewhere.example.test/")
    receipt = await call(f"https://{NAME}/", tls=authority.client())
    assert receipt.status is RunStatus.FAILURE
    assert len(way.tunnels) == 2, "redirects are not followed"


async def test_no_variable_leads_through_a_proxy(
    way: TinyProxy, peer: "Peer", invoke: "Invoke", monkeypatch: pytest.MonkeyPatch, resolves: "Resolver"
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, way.url())
    resolves(["127.0.0.1"])
    url = f"http://{NAME}:{peer.port}/"
    receipt = await invoke({"type": "WEBHOOK", "url": url, "synchronized": True}, http=backends.open_transport(roots()))
    assert receipt.status is RunStatus.SUCCESS
    assert way.connections == 0
