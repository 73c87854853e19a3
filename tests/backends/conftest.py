"""A real HTTP server on loopback that remembers what it was asked and answers what a test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import JsonValue

import backends
from tests.support.listening import listening

SECRET = "0123456789abcdef0123456789abcdef"

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Peer:
    """The server. Without `reply` it answers 200 with `{"ok":true}`."""

    port: int = 0
    scheme: str = "http"
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    reply: Reply | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def asked(self) -> Received:
        """The only request."""
        assert len(self.received) == 1
        return self.received[0]

    def answers(self, status: int, body: bytes = b"", **headers: str) -> None:
        """From now on a complete answer; `Content_Type` becomes `Content-Type`."""
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writes("\r\n".join([*lines, "", ""]).encode() + body)

    def writes(self, *parts: bytes, every: float = 0, then: float = 0) -> None:
        """From now on exactly these bytes, with pauses between and after them, and then the connection ends."""

        async def reply(writer: asyncio.StreamWriter) -> None:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(every)
            await asyncio.sleep(then)

        self.reply = reply

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            assert len(headers) == len(lines), "no header comes twice"
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, target, _ = first.split(" ")
            self.received.append(Received(method, target, headers, body))
            if self.reply is None:
                self.answers(200, b'{"ok":true}')
            assert self.reply is not None
            await self.reply(writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    async with listening(peer):
        yield peer


@dataclass(frozen=True)
class Authority:
    """A throw-away certificate authority's files."""

    root: Path
    server: Path

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.root))

    def listener(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.server)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates for 127.0.0.1 and hooks.example.test."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.now(UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "throw-away root")])
    usual = x509.CertificateBuilder().not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    root = (
        usual.subject_name(root_name)
        .issuer_name(root_name)
        .public_key(root_key.public_key())
        .serial_number(1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("hooks.example.test")]
    certificate = (
        usual.subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer")]))
        .issuer_name(root_name)
        .public_key(key.public_key())
        .serial_number(2)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "root.pem").write_bytes(root.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    return Authority(folder / "root.pem", folder / "server.pem")


@pytest.fixture
async def secure_peer(authority: Authority) -> AsyncIterator[Peer]:
    peer = Peer(scheme="https")
    async with listening(peer, authority.listener()):
        yield peer


Invoke = Callable[..., Awaitable[backends.Receipt]]


@pytest.fixture
def invoke() -> Invoke:
    """Invokes a rendered method; what is named beside it goes to its resources."""

    async def invoke(document: dict[str, JsonValue], **using: object) -> backends.Receipt:
        method = backends.parse_rendered(document)
        delivery = backends.Delivery("r_0123456789abcdef", {"action": "legacy", "trägt": [1.0]})
        return await method.invoke(delivery, backends.Resources(signing_secret=SECRET, **using))  # type: ignore[arg-type]

    return invoke
