"""An SMTP server for tests: a real one on loopback that remembers what it was handed."""

import asyncio
import email
import email.policy
import socket
import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.listening import no_more

Answer = Callable[[str], str]
"""What the server says to a recipient's address."""


@dataclass
class FakeMailbox:
    """Accepts every email unless told otherwise."""

    letters: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    """Who each was for, as the envelope says."""
    connections: int = 0
    answer: Answer | None = None
    arrived: Callable[[], Any] | None = None
    """Called, and awaited, before an email is accepted."""
    password: str | None = None
    """What `bot` has to log in with, if anybody has to."""
    tls: ssl.SSLContext | None = None
    port: int = 0
    _sessions: list[SMTP] = field(default_factory=list)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"smtp://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Listen on a free port of loopback."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(self._session, sock=listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._server:
            await no_more(self._server.sockets[0].fileno())
            self._server.close()
        for session in self._sessions:
            if session.transport:
                session.transport.close()
        await asyncio.sleep(0)  # what is closed says so in the next round of the loop

    def _session(self) -> SMTP:
        self.connections += 1
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Requiring AUTH while not requiring TLS")
            session = SMTP(
                self,
                hostname="mail.test",
                enable_SMTPUTF8=False,
                tls_context=self.tls,
                authenticator=self._authenticate if self.password else None,
                auth_required=self.password is not None,
                auth_require_tls=self.tls is not None,
                loop=asyncio.get_running_loop(),
            )
        self._sessions.append(session)
        return session

    def _authenticate(self, *said: Any) -> AuthResult:
        given = cast(LoginPassword, said[-1])
        known = (given.login, given.password) == (b"bot", (self.password or "").encode())
        return AuthResult(success=known, handled=False)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take the address, or not."""
        answer = self.answer(address) if self.answer else "250 OK"
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take the email."""
        if self.arrived:
            await self.arrived()
        message = email.message_from_bytes(cast(bytes, envelope.original_content), policy=email.policy.default)
        self.letters.append(message)
        self.recipients.append([str(address) for address in envelope.rcpt_tos])
        return "250 OK"
