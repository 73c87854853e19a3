"""Which addresses are called: a host is looked up once, and what was checked is what is connected to."""

from collections.abc import Callable
from ipaddress import ip_address
from socket import EAI_AGAIN, EAI_NONAME, gaierror
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

import backends
from backends import check_destination
from backends._destinations import Rules, absolute
from domain.errors import (
    BackendRefused,
    BackendUnavailable,
    InvalidInvocation,
    PrivateDestination,
    UnresolvableDestination,
)
from domain.runs import RunStatus

if TYPE_CHECKING:
    from tests.backends.conftest import Authority, Invoke, Peer

Resolver = Callable[..., list[str]]


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Name service for the test: what a name leads to, at each look-up. The answer is the list of names asked for."""

    def set_up(*answers: list[str] | Exception) -> list[str]:
        asked: list[str] = []

        async def getaddrinfo(host: str, port: int, **kwargs: object) -> list[tuple[object, ...]]:
            answer = answers[min(len(asked), len(answers) - 1)]
            asked.append(host)
            if isinstance(answer, Exception):
                raise answer
            return [(0, 1, 6, "", (address, port)) for address in answer]

        monkeypatch.setattr("backends._destinations.anyio.getaddrinfo", getaddrinfo)
        return asked

    return set_up


PRIVATE = (
    "10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 127.0.0.1 127.9.9.9 0.0.0.0 100.64.0.1 224.0.0.1 240.0.0.1 "
    "255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12::1 ff02::1 2001:db8::1 100::1 ::ffff:10.0.0.1 "
    "::10.0.0.1 64:ff9b::10.0.0.1 2002:a00:1::"
)
METADATA = (
    "169.254.169.254 169.254.170.2 100.100.100.200 fd00:ec2::254 fd20:ce::254 168.63.129.16 192.0.0.192 "
    "::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1"
)
LOOPBACK = "127.0.0.1 127.9.9.9 0.0.0.0 ::1 :: ::ffff:127.0.0.1 64:ff9b::7f00:1"
PUBLIC = "93.184.216.34 172.32.0.1 2606:4700::1111 ::ffff:93.184.216.34"
URL = absolute("https://hooks.example.test")


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses_follow_the_switch(address: str) -> None:
    assert Rules(allow_private=True).refusal(URL, ip_address(address)) is None
    refusal = Rules(allow_private=False).refusal(URL, ip_address(address))
    assert refusal is not None
    assert "private address" in refusal


@pytest.mark.parametrize("address", LOOPBACK.split())
def test_loopback_addresses_are_refused_beside_private_ones(address: str) -> None:
    rules = Rules(allow_loopback=False)
    refusal = rules.refusal(URL, ip_address(address))
    assert refusal is not None
    assert "loopback address" in refusal
    assert rules.refusal(URL, ip_address("10.1.2.3")) is None
    listed = Rules(allow_loopback=False, always_allowed=frozenset({"127.0.0.0/8", "0.0.0.0/8", "::/127"}))
    assert listed.refusal(URL, ip_address(address)) is None
    own = Rules(allow_loopback=False, own_addresses=frozenset({"https://hooks.example.test"}))
    assert own.refusal(URL, ip_address(address)) is None
    assert Rules(allow_private=False, allow_loopback=True).refusal(URL, ip_address(address)) is not None


@pytest.mark.parametrize("address", METADATA.split())
def test_metadata_addresses_are_only_called_when_listed(address: str) -> None:
    refusal = Rules(allow_private=True).refusal(URL, ip_address(address))
    assert refusal is not None
    assert "metadata" in refusal
    assert Rules(always_allowed=frozenset({address})).refusal(URL, ip_address(address)) is None


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_called(address: str) -> None:
    assert Rules(allow_private=False).refusal(URL, ip_address(address)) is None


def test_lists_name_hosts_addresses_and_networks_and_the_stricter_wins() -> None:
    inside = ip_address("10.1.2.3")
    for entry in ("hooks.example.test", "HOOKS.example.test.", "10.1.2.3", "10.0.0.0/8"):
        allowing = Rules(False, always_allowed=frozenset({entry}))
        assert allowing.refusal(URL, inside) is None
        refusing = Rules(True, always_allowed=frozenset({entry}), never_allowed=frozenset({entry}))
        assert refusing.refusal(URL, inside) == "hooks.example.test is a destination that this deployment never calls"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hook",
        "/hook",
        "//host/x",
        "ftp://host",
        "http://",
        "http:///x",
        "https://a b/",
        "http://h:0",
        "http://h:70000",
        "http://h\n/",
        "http://[::1",
        "javascript:alert(1)",
        "http://\ud800/",
        "null",
        "http://" + "h" * 70000,
    ],
)
async def test_what_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInvocation) as refused:
        await check_destination(url, allow_private=True)
    assert str(refused.value) == "invocationMethod.url: must be an absolute http or https URL"


async def test_checks_ahead_of_the_delivery(resolves: Resolver) -> None:
    resolves(["93.184.216.34", "10.0.0.1"])
    await check_destination("https://hooks.example.test", allow_private=True)
    with pytest.raises(PrivateDestination, match=r"hooks.example.test leads to a private address"):
        await check_destination("https://hooks.example.test/?token=s3cret", allow_private=False)
    await check_destination("https://hooks.example.test", allow_private=False, always_allowed=["10.0.0.0/8"])
    await check_destination(
        "https://hooks.example.test/v1", allow_private=False, own_addresses=["https://hooks.example.test"]
    )
    await check_destination("https://********/", allow_private=False)
    with pytest.raises(PrivateDestination):
        await check_destination("https://x.test/********", allow_private=True, never_allowed=["x.test"])

    nothings: list[list[str] | Exception] = [gaierror(EAI_NONAME, "unknown"), UnicodeError("too long"), []]
    for nothing in nothings:
        resolves(nothing)
        with pytest.raises(UnresolvableDestination, match=r"hooks.example.test has no address"):
            await check_destination("https://hooks.example.test", allow_private=True)
    resolves(gaierror(EAI_AGAIN, "try again"))
    await check_destination("https://hooks.example.test", allow_private=True)


@pytest.mark.parametrize("spelling", ["2130706433", "127.1", "0x7f.0.0.1", "[::ffff:127.0.0.1]"])
async def test_another_spelling_of_loopback_is_loopback(spelling: str) -> None:
    with pytest.raises(PrivateDestination):
        await check_destination(f"http://{spelling}:80/", allow_private=False)


@pytest.mark.parametrize("error", [gaierror(EAI_NONAME, "unknown"), gaierror(EAI_AGAIN, "try again")])
async def test_a_host_without_address_may_get_one(resolves: Resolver, invoke: "Invoke", error: gaierror) -> None:
    resolves(error)
    with pytest.raises(BackendUnavailable, match=r"^Failed to invoke the webhook with error: .*hooks\.example\.test"):
        await invoke({"type": "WEBHOOK", "url": "https://hooks.example.test/?token=1"})


async def test_a_loopback_address_is_never_connected_to_where_it_is_not_allowed(peer: "Peer", invoke: "Invoke") -> None:
    with pytest.raises(BackendRefused, match=r"with error: 127.0.0.1 leads to a loopback address"):
        await invoke({"type": "WEBHOOK", "url": peer.url}, allow_loopback=False)
    assert not peer.connections


async def test_a_private_address_is_never_connected_to(peer: "Peer", invoke: "Invoke") -> None:
    with pytest.raises(BackendRefused, match=r"with error: 127.0.0.1 leads to a private address"):
        await invoke({"type": "WEBHOOK", "url": peer.url}, allow_private=False)
    assert not peer.connections


async def test_a_name_that_changes_its_mind_is_looked_up_once(
    secure_peer: "Peer", authority: "Authority", invoke: "Invoke", resolves: Resolver
) -> None:
    asked = resolves(["127.0.0.1"], ["169.254.169.254"])
    receipt = await invoke(
        {"type": "WEBHOOK", "url": f"https://hooks.example.test:{secure_peer.port}/x", "synchronized": True},
        http=backends.open_transport(authority.client()),
    )
    assert receipt.status is RunStatus.SUCCESS
    assert asked == ["hooks.example.test"]
    assert secure_peer.asked.headers["host"] == f"hooks.example.test:{secure_peer.port}"


async def test_the_next_address_is_tried_when_the_first_does_not_listen(
    peer: "Peer", invoke: "Invoke", resolves: Resolver
) -> None:
    resolves(["127.0.0.2", "127.0.0.1"])
    receipt = await invoke({"type": "SLACK", "url": f"http://hooks.example.test:{peer.port}"})
    assert receipt.status is RunStatus.SUCCESS
    assert peer.connections == 1


async def test_a_slow_name_service_does_not_hold_up_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*args: object, **kwargs: object) -> list[object]:
        await anyio.sleep(60)
        return []

    monkeypatch.setattr("backends._destinations.anyio.getaddrinfo", getaddrinfo)
    monkeypatch.setattr("backends._destinations._LOOK_UP_LIMIT", 0.05)
    with anyio.fail_after(5):
        await check_destination("https://hooks.example.test", allow_private=True)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://tools.example.com/interlock/v1/actions", True),
        ("https://tools.example.com/interlock", True),
        ("https://tools.example.com:443/interlock/", True),
        ("https://tools.example.com/interlock-too", False),
        ("https://tools.example.com/interlock/../other", False),
        ("https://tools.example.com/other", False),
        ("http://tools.example.com/interlock/v1", False),
    ],
)
def test_our_own_api_is_what_lies_below_our_own_address(url: str, own: bool) -> None:
    rules = Rules(own_addresses=frozenset({"https://tools.example.com/interlock"}))
    assert rules.is_own(httpx.URL(url)) is own
