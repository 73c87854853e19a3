"""A gate before a broker that has none: it terminates TLS and checks logins, as brokers of Kafka do both.

The broker of the tests has no TLS, and forgets its users when it ends. What passes the gate, it gets byte by byte.
Source: the Kafka protocol guide (SaslHandshake, SaslAuthenticate), RFC 4616 (PLAIN), RFC 5802 and 7677 (SCRAM).
"""

import asyncio
import base64
import hashlib
import hmac
import os
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.kafka import Broker
from tests.support.listening import serving
from tests.support.processes import LOOPBACK, free_ports

_API_VERSIONS, _HANDSHAKE, _AUTHENTICATE = 18, 17, 36
_UNSUPPORTED_MECHANISM, _FAILED = 33, 58
_ROUNDS = 4096
_LARGEST = 100 * 1024 * 1024
"""A broker of Kafka closes the connection of whoever says that more than this is coming: it is no request."""
_HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


class Refused(Exception):
    """Somebody is not let in."""


@dataclass
class Gate:
    """Who passes, and who has."""

    broker: Broker
    tls: ssl.SSLContext | None = None
    logins: dict[str, str] | None = None
    """The passwords of users. None: nobody has to log in."""
    mechanisms: tuple[str, ...] = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    port: int = field(default_factory=lambda: free_ports(1)[0])
    let_in: list[tuple[str, str]] = field(default_factory=list)
    """The mechanism and the user of each login that worked."""
    turned_away: list[str] = field(default_factory=list)
    """Why others were not let in."""
    silent: bool = False
    """Whether it takes what it is sent, and says nothing."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        inner, out = await asyncio.open_connection(LOOPBACK, self.broker.port)
        try:
            if self.silent:
                await reader.read()
            elif self.logins is not None:
                await self._login(reader, writer, inner, out)
            else:
                await _forward(await _frame(reader), out)
            await asyncio.gather(_pipe(reader, out), _pipe(inner, writer))
        except (Refused, OSError, asyncio.IncompleteReadError):
            pass  # it shows as a connection that ends, as it does with a broker
        finally:
            for end in (writer, out):
                end.close()

    async def _login(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        inner: asyncio.StreamReader,
        out: asyncio.StreamWriter,
    ) -> None:
        mechanism, scram = "", None
        while True:
            frame = await _frame(reader)
            key, version, correlation = struct.unpack_from(">hhi", frame)
            body = frame[10 + max(struct.unpack_from(">h", frame, 8)[0], 0) :]
            if key == _API_VERSIONS:
                await _forward(frame, out)
                await _forward(await _frame(inner), writer)
            elif key == _HANDSHAKE:
                mechanism = body[2:].decode()
                known = b"".join(map(_text, self.mechanisms))
                error = 0 if mechanism in self.mechanisms else _UNSUPPORTED_MECHANISM
                await _forward(struct.pack(">ihi", correlation, error, len(self.mechanisms)) + known, writer)
                scram = Scram(mechanism, self.logins or {}) if mechanism in _HASHES else None
            elif key == _AUTHENTICATE and mechanism:
                try:
                    user, said = scram.answer(body[4:]) if scram else (self._plain(body[4:]), b"")
                except Refused as why:
                    self.turned_away.append(f"{mechanism}: {why}")
                    await _forward(struct.pack(">ih", correlation, _FAILED) + _text(str(why)) + bytes(12), writer)
                    raise
                lifetime = bytes(8) if version else b""
                answer = struct.pack(">ihhi", correlation, 0, -1, len(said)) + said + lifetime
                await _forward(answer, writer)
                if user is not None:
                    self.let_in.append((mechanism, user))
                    return
            else:
                self.turned_away.append(f"request {key} without a login")
                raise Refused(self.turned_away[-1])

    def _plain(self, token: bytes) -> str:
        _, user, password = token.decode().split("\0")
        if (self.logins or {}).get(user) != password:
            raise Refused("Authentication failed: Invalid username or password")
        return user


class Scram:
    """The server's part of one login that shows that both know the password, without saying it."""

    def __init__(self, mechanism: str, logins: dict[str, str]) -> None:
        self._hash = _HASHES[mechanism]
        self._logins = logins
        self._user = ""
        self._so_far = ""
        self._nonce = ""
        self._salt = os.urandom(16)

    def answer(self, token: bytes) -> tuple[str | None, bytes]:
        """Who has logged in (None: not yet), and what the client is told."""
        text = token.decode()
        said = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
        if not self._nonce:
            self._user, self._nonce = said["n"], said["r"] + base64.b64encode(os.urandom(18)).decode()
            challenge = f"r={self._nonce},s={base64.b64encode(self._salt).decode()},i={_ROUNDS}"
            self._so_far = f"{text.removeprefix('n,,')},{challenge}"
            return None, challenge.encode()
        password = self._logins.get(self._user)
        salted = hashlib.pbkdf2_hmac(self._hash, (password or "").encode(), self._salt, _ROUNDS)
        client, server = self._mac(salted, b"Client Key"), self._mac(salted, b"Server Key")
        signed = f"{self._so_far},{text.rpartition(',p=')[0]}".encode()
        proof = bytes(
            a ^ b for a, b in zip(client, self._mac(hashlib.new(self._hash, client).digest(), signed), strict=True)
        )
        fits = hmac.compare_digest(proof, base64.b64decode(said["p"])) and said["r"] == self._nonce
        if password is None or not fits:
            raise Refused("Authentication failed during authentication due to invalid credentials with SASL mechanism")
        return self._user, b"v=" + base64.b64encode(self._mac(server, signed))

    def _mac(self, key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, self._hash).digest()


@asynccontextmanager
async def gated(broker: Broker, gate: Gate) -> AsyncIterator[Gate]:
    """The gate, open, before a broker that tells everybody to come through it."""
    broker.advertised = f"{LOOPBACK}:{gate.port}"
    async with broker, serving(gate.serve, port=gate.port, tls=gate.tls):
        yield gate
    if gate.tls:  # whoever was still shaking hands has gone, which the event loop has yet to see
        await asyncio.sleep(0.2)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    if not 0 < length <= _LARGEST:
        raise Refused(f"{length} bytes are too many")
    return await reader.readexactly(length)


async def _forward(frame: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)
    await writer.drain()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
