"""The way out through a proxy, for deployments that have no other: which requests take it, and how."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import unquote

import anyio
import httpcore
import httpx

_MOST_HEAD = 16 * 1024
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_AUTHORIZATION = "Proxy-Authorization"


class ProxyFault(Exception):
    """The proxy does not connect us, and why. Nothing of the request was sent."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that takes requests to http as they are, and connects those to https (CONNECT)."""

    url: str = field(repr=False)
    """`http://[user:password@]host:port`"""
    around: frozenset[str] = frozenset()
    """What goes around it: hosts with all that are below them, addresses, networks; `*` for everything."""
    own_hosts: frozenset[str] = frozenset()
    """Where our own API is; this goes around it as well. So does loopback."""

    def takes(self, host: str) -> bool:
        """Whether requests to this host, a name or an address, go through it, as far as one can tell by the host."""
        host = host.lower().rstrip(".")
        if "*" in self.around or host in self.own_hosts or host == "localhost" or host.endswith(".localhost"):
            return False
        if any(host == name or host.endswith(f".{name}") for name in map(_bare, self.around)):
            return False
        return not self.is_around([host])

    def is_around(self, addresses: Iterable[str]) -> bool:
        """Whether all of these lie in networks that go around it. What is no address lies in none."""
        networks = [network for entry in (*self.around, *_LOOPBACK) if (network := _network(entry))]
        return all((one := _address(text)) and any(one in network for network in networks) for text in addresses)

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        url = httpx.URL(self.url)
        return url.host, url.port or 80

    @property
    def authorization(self) -> str | None:
        """What it is shown, if it has a user and a password."""
        url = httpx.URL(self.url)
        if not url.userinfo:
            return None
        return f"Basic {b64encode(f'{unquote(url.username)}:{unquote(url.password)}'.encode()).decode()}"


class ProxiedTransport(httpx.AsyncBaseTransport):
    """Sends through the proxy what it takes, and the rest around it.

    A request to a name goes to the proxy with that name. One to an address that somebody has looked up and checked
    (the name is in `sni_hostname` then) goes to that address: `_destinations.addresses` decides which of both it is.
    """

    def __init__(
        self, proxy: Proxy, direct: httpx.AsyncHTTPTransport, forwarding: "Through", tunnel: "Through"
    ) -> None:
        self._proxy = proxy
        self._direct, self._forwarding, self._tunnel = direct, forwarding, tunnel

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request, one connection."""
        host = request.url.raw_host.decode("ascii")
        meant = str(request.extensions.get("sni_hostname") or host)
        if _same(host, meant) and self._proxy.takes(host):
            through = self._forwarding if request.url.scheme == "http" else self._tunnel
            return await through.handle_async_request(request)
        return await self._direct.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all ways."""
        for transport in (self._direct, self._forwarding, self._tunnel):
            await transport.aclose()


class Through(httpx.AsyncHTTPTransport):
    """All connections go to the proxy: as they are, or with a tunnel to where they lead."""

    def __init__(self, proxy: Proxy, *, tunnel: bool, **how: Any) -> None:
        super().__init__(**how)
        self._proxy, self._tunnels = proxy, tunnel
        # httpx has no argument for it. Its own proxies know no `sni_hostname`, and trace CONNECT like our request.
        self._pool._network_backend = _Backend(proxy, tunnel=tunnel)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """A request as a proxy wants it: with the whole address, and with who we are."""
        if not self._tunnels:
            url = request.url
            whole = b"http://" + url.netloc + url.raw_path
            request.extensions = {**request.extensions, "target": whole}
            if authorization := self._proxy.authorization:
                request.headers[_AUTHORIZATION] = authorization
        return await super().handle_async_request(request)


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to the proxy, wherever it is asked to connect to."""

    def __init__(self, proxy: Proxy, *, tunnel: bool) -> None:
        self._proxy, self._tunnels = proxy, tunnel
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection that leads there."""
        try:
            with anyio.fail_after(timeout):
                try:
                    stream = await self._network.connect_tcp(*self._proxy.place, timeout, local_address, socket_options)
                except httpcore.ConnectError as fault:
                    raise ProxyFault("the proxy cannot be reached") from fault
                return await self._connected(stream, host, port) if self._tunnels else stream
        except TimeoutError as fault:
            raise httpcore.ConnectTimeout("the proxy") from fault
        except ProxyFault as fault:
            raise httpcore.ConnectError("the proxy") from fault

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._network.sleep(seconds)

    async def _connected(
        self, stream: httpcore.AsyncNetworkStream, host: str, port: int
    ) -> httpcore.AsyncNetworkStream:
        """The stream once the proxy has connected it.

        Raises:
            ProxyFault: it does not.
        """
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
        if authorization := self._proxy.authorization:
            lines.append(f"{_AUTHORIZATION}: {authorization}")
        try:
            await stream.write("\r\n".join([*lines, "", ""]).encode())
            status = await _status(stream)
        except BaseException as fault:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            if isinstance(fault, httpcore.NetworkError | httpcore.ProtocolError):
                raise ProxyFault("the proxy cut the connection") from fault
            raise
        if 200 <= status < 300:
            return stream
        await stream.aclose()
        raise ProxyFault(f"the proxy refuses to connect to {place} (status code {status})")


async def _status(stream: httpcore.AsyncNetworkStream) -> int:
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = await stream.read(_MOST_HEAD)
        head += chunk
        if not chunk or len(head) > _MOST_HEAD:
            raise ProxyFault("the proxy does not answer as one" if head else "the proxy cut the connection")
    version, _, rest = head.partition(b" ")
    status = rest[:3]
    # After a yes there is nothing more: the peer waits for us to speak first.
    too_much = status.startswith(b"2") and not head.endswith(b"\r\n\r\n")
    if not version.startswith(b"HTTP/1.") or not status.isdigit() or too_much:
        raise ProxyFault("the proxy does not answer as one")
    return int(status)


def _bare(entry: str) -> str:
    return entry.lower().strip(".").removeprefix("*.")


def _same(host: str, meant: str) -> bool:
    return host.lower().rstrip(".").strip("[]") == meant.lower().rstrip(".").strip("[]")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        return None
