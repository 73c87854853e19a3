"""Where requests may go: a host is looked up once, every address is checked, and only a checked one is connected to."""

import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import EAI_AGAIN, SOCK_STREAM, gaierror
from typing import Any

import anyio
import httpx
import regex

from backends._proxy import ProxiedTransport, Proxy, Through
from domain.errors import BackendUnavailable, InvalidInvocation, PrivateDestination, UnresolvableDestination
from domain.templating import MASK

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PRIVATE: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "::1/128",
        "100::/64",
        "2001:db8::/32",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
_LOOPBACK: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "127.0.0.0/8",
        "0.0.0.0/8",  # which Linux connects to itself
        "::1/128",
        "::/128",
    )
)
_METADATA: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # AWS, Google Cloud, Azure, DigitalOcean, and the credentials of containers
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's host
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google Cloud
    )
)
"""They hand out credentials to whoever asks from the machine, so nobody may make us ask."""

_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")
_HOST = regex.compile(r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-z:.%_-]*", regex.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOK_UP_LIMIT = 5.0  # seconds; only for checks ahead of time, deliveries have their own limit
_PATIENCE = 2.0  # seconds, with a name that the proxy may know better


@dataclass(frozen=True, slots=True)
class Rules:
    """Which destinations may be called."""

    allow_private: bool = True
    always_allowed: frozenset[str] = frozenset()
    never_allowed: frozenset[str] = frozenset()
    own_addresses: frozenset[str] = frozenset()
    proxy: Proxy | None = None
    allow_loopback: bool = True
    """Beside `allow_private`: what else listens on this machine trusts whoever can connect."""

    def is_own(self, url: httpx.URL) -> bool:
        """Whether the URL is one of our own API: same scheme, host and port, and a path below ours."""
        origin, path = _origin(url), f"{url.path}/"
        return any(origin == own and path.startswith(below) for own, below in map(_own, self.own_addresses))

    def refusal(self, url: httpx.URL, address: Address | None = None) -> str | None:
        """Why this address of the URL's host may not be called; None when it may. Without one, why the host may not."""
        host, meant = _host(url), tuple(_meant(address)) if address else ()
        if _listed(host, meant, self.never_allowed):
            return f"{host} is a destination that this deployment never calls"
        if _listed(host, meant, self.always_allowed) or self.is_own(url):
            return None
        if any(one in network for one in meant for network in _METADATA):
            return f"{host} leads to a cloud metadata address, which is never called"
        if not self.allow_loopback and any(one in network for one in meant for network in _LOOPBACK):
            return f"{host} leads to a loopback address, and this deployment does not call its own machine"
        if not self.allow_private and any(one in network for one in meant for network in _PRIVATE):
            return f"{host} leads to a private address, and this deployment does not call private addresses"
        return None


def open_transport(tls: ssl.SSLContext | None = None, proxy: Proxy | None = None) -> httpx.AsyncBaseTransport:
    """The way out: verifies certificates (by default with the usual roots, or those of `SSL_CERT_FILE`).

    Each request has a connection of its own. On a kept one a peer that hangs up at that moment cannot be told
    from one that has read the request, and a connection to a checked address must not serve another host.

    No variable of the environment leads through a proxy; only `proxy` does.
    """
    how: dict[str, Any] = {
        "verify": tls or httpx.create_ssl_context(),
        "trust_env": False,
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=0),
    }
    direct = httpx.AsyncHTTPTransport(**how)
    if proxy is None:
        return direct
    return ProxiedTransport(proxy, direct, Through(proxy, tunnel=False, **how), Through(proxy, tunnel=True, **how))


def absolute(url: str) -> httpx.URL:
    """The URL, if it is absolute, http or https, and has a host.

    Raises:
        InvalidInvocation: it is not. The text does not repeat the URL, which may hold secrets.
    """
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError):
        parsed = httpx.URL()
    port_fits = parsed.port is None or 0 < parsed.port < 65536
    if parsed.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(_host(parsed)) or not port_fits:
        raise InvalidInvocation("invocationMethod.url: must be an absolute http or https URL")
    return parsed


async def addresses(url: httpx.URL, rules: Rules) -> tuple[str, ...]:
    """The addresses of the URL's host, all of which may be called; of a host behind the proxy its name.

    A name that only the proxy can look up is left to the proxy, unless it is listed as never called.

    Raises:
        PrivateDestination: one of them may not.
        UnresolvableDestination: the host has no address.
        BackendUnavailable: the name service does not answer at the moment.
    """
    host, port = _host(url), url.port or _DEFAULT_PORTS[url.scheme]
    proxied = rules.proxy is not None and rules.proxy.takes(host)
    if _is_address(host):
        unique: tuple[str, ...] = (host,)
    else:
        unique = await (_perhaps_looked_up(host, port) if proxied else _looked_up(host, port))
    if reason := rules.refusal(url):
        raise PrivateDestination(reason)
    for one in unique:
        if reason := rules.refusal(url, ip_address(one)):
            raise PrivateDestination(reason)
    if proxied and rules.proxy and not (unique and rules.proxy.is_around(unique)):
        return (host,)
    if not unique:
        raise UnresolvableDestination(f"{host} has no address")
    return unique


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _looked_up(host: str, port: int) -> tuple[str, ...]:
    try:
        found = await anyio.getaddrinfo(host, port, type=SOCK_STREAM)
    except gaierror as error:
        if error.errno == EAI_AGAIN:
            raise BackendUnavailable(f"the address of {host} could not be looked up") from None
        raise UnresolvableDestination(f"{host} has no address") from None
    except (UnicodeError, OSError):
        raise UnresolvableDestination(f"{host} has no address") from None
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


async def _perhaps_looked_up(host: str, port: int) -> tuple[str, ...]:
    """What this machine knows of a host behind the proxy; many know nothing of the world outside."""
    with anyio.move_on_after(_PATIENCE):
        try:
            return await _looked_up(host, port)
        except (UnresolvableDestination, BackendUnavailable):
            return ()
    return ()


async def check_destination(
    url: str,
    *,
    allow_private: bool,
    always_allowed: Iterable[str] = (),
    never_allowed: Iterable[str] = (),
    own_addresses: Iterable[str] = (),
    proxy: Proxy | None = None,
    allow_loopback: bool = True,
) -> None:
    """Refuse a rendered URL ahead of its delivery, which checks again.

    Says nothing about a host that is masked, or while the name service does not answer: the delivery will.

    Raises:
        PrivateDestination: this deployment does not call the address.
        UnresolvableDestination: the host has no address.
        InvalidInvocation: it is no absolute http or https URL.
    """
    try:
        parsed = absolute(url)
    except InvalidInvocation:
        if MASK in url:
            return
        raise
    lists = frozenset(always_allowed), frozenset(never_allowed), frozenset(own_addresses)
    rules = Rules(allow_private, *lists, proxy, allow_loopback)
    with anyio.move_on_after(_LOOK_UP_LIMIT):
        try:
            await addresses(parsed, rules)
        except BackendUnavailable:
            return


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").lower().rstrip(".")


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, _host(url), url.port or _DEFAULT_PORTS.get(url.scheme)


@lru_cache(maxsize=64)
def _own(address: str) -> tuple[tuple[str, str, int | None], str]:
    """The origin of an address of ours, and what paths below it begin with."""
    url = httpx.URL(address)
    return _origin(url), f"{url.path.rstrip('/')}/"


def _meant(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address that a gateway or the kernel would make of it."""
    yield address
    if isinstance(address, IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64 or address in _COMPATIBLE:
            inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
        yield from (one for one in inner if one is not None)


def _listed(host: str, meant: Iterable[Address], entries: frozenset[str]) -> bool:
    networks = [network for entry in entries if (network := _network(entry))]
    return host in {entry.lower().rstrip(".") for entry in entries} or any(
        one in network for one in meant for network in networks
    )


@lru_cache(maxsize=1024)
def _network(entry: str) -> Network | None:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        return None
