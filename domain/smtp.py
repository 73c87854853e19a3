"""Where emails are handed over: an SMTP server, as its URL says it."""

from dataclasses import dataclass, field
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

_STARTTLS: dict[str, bool | None] = {"always": True, "if-offered": None, "never": False}
_TLS_PORT, _SUBMISSION_PORT, _RELAY_PORT = 465, 587, 25


@dataclass(frozen=True)
class SmtpServer:
    """How an SMTP server is reached."""

    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    """Whether the connection begins with TLS."""
    starttls: bool | None = None
    """Whether it changes to TLS: always (or nothing is sent), never, or (None) where the server offers it."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """The server in `smtp://user:password@host:port?starttls=always` or `smtps://...`.

        Without `starttls` a password is only sent over TLS; who sends none takes TLS where it is offered.

        >>> SmtpServer.parse("smtp://mail.example.com")
        SmtpServer(host='mail.example.com', port=25, user=None, tls=False, starttls=None)
        >>> SmtpServer.parse("smtp://bot:p%40ss@mail.example.com")
        SmtpServer(host='mail.example.com', port=587, user='bot', tls=False, starttls=True)

        Raises:
            ValueError: says what it must be, and repeats nothing of it.
        """
        must = "must be smtp://user:password@host:port or smtps://..., escaped like every URL"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(must) from None
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/") or parts.fragment:
            raise ValueError(must)
        if (parts.username is None) != (parts.password is None):
            raise ValueError("must name both a user and a password, or none")
        asked = parse_qs(parts.query, keep_blank_values=True)
        tls = parts.scheme == "smtps"
        wanted = asked.pop("starttls", ["always" if parts.password and not tls else "if-offered"])
        if asked or len(wanted) != 1 or wanted[0] not in _STARTTLS:
            raise ValueError(f"must have no option but starttls, which is one of {', '.join(_STARTTLS)}")
        usual = _TLS_PORT if tls else _SUBMISSION_PORT if parts.password else _RELAY_PORT
        return cls(
            host=parts.hostname,
            port=port or usual,
            user=unquote(parts.username) if parts.username is not None else None,
            password=unquote(parts.password) if parts.password is not None else None,
            tls=tls,
            starttls=False if tls else _STARTTLS[wanted[0]],
        )


def mailbox(text: str) -> Address:
    """The mailbox in `Interlock <interlock@example.com>` or `interlock@example.com`.

    >>> str(mailbox("Interlock <interlock@example.com>"))
    'Interlock <interlock@example.com>'

    Raises:
        ValueError: there is none, or one that no message can name.
    """
    several = getaddresses([text]) if text.isprintable() else []
    try:
        ((name, address),) = several
        found = Address(name, addr_spec=address)
    except (ValueError, IndexError):  # the latter is how the parser of the standard library stumbles over some
        found = Address()
    if not (found.username and found.domain):
        raise ValueError("must be an email address, with or without a name: Interlock <interlock@example.com>")
    return found
