"""What the values of settings look like in the environment, and what they must be."""

import ssl
from base64 import b64decode
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import regex
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from domain.gitlab import SIGNING
from domain.smtp import SmtpServer, mailbox
from runtime import keys

_HEADER = regex.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


def words(value: Any) -> Any:
    """What was separated by commas."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    return float(value) if isinstance(value, str) and value.replace(".", "", 1).isdigit() else value


def _long_enough(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < keys.SHORTEST:
        raise ValueError(f"must have at least {keys.SHORTEST} characters")
    return key


def smtp(url: SecretStr) -> SecretStr:
    """The address of an SMTP server."""
    SmtpServer.parse(url.get_secret_value())
    return url


def sender(text: str) -> str:
    """A name and an address that emails may be from."""
    mailbox(text)
    return text


def base64(token: SecretStr) -> SecretStr:
    """A token in base64."""
    try:
        decoded = b64decode(token.get_secret_value(), validate=True)
    except ValueError:
        decoded = b""
    if not decoded:
        raise ValueError("must be base64")
    return token


def certificates(path: Path) -> Path:
    """The path of a file that has certificates."""
    try:
        ssl.create_default_context().load_verify_locations(cafile=path)
    except (OSError, ValueError):
        raise ValueError("must be the path of a file that has certificates in PEM") from None
    return path


def header_name(name: str) -> str:
    """The name of a header."""
    if not _HEADER.fullmatch(name):
        raise ValueError("must be the name of a header")
    return name


def signing_token(token: SecretStr) -> SecretStr:
    """A secret of webhooks; one that says that it is a signing token has a key in base64."""
    text = token.get_secret_value()
    if text.startswith(SIGNING):
        try:
            base64(SecretStr(text.removeprefix(SIGNING)))
        except ValueError:
            raise ValueError(f"must be base64 after {SIGNING}") from None
    return token


def _spelled_out(value: object) -> object:
    if isinstance(value, str) and not value.strip().upper().startswith("P"):
        raise ValueError("must be in ISO 8601, such as P90D: a number alone could mean seconds or days")
    return value


def web_address(url: str) -> str:
    """The address without slashes at the end."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return url.rstrip("/")


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(words)]
"""Separated by commas in the environment."""
MasterKey = Annotated[SecretStr, AfterValidator(_long_enough)]
Duration = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta(0))]
"""ISO 8601 (`PT30S`) or seconds in the environment."""
Patience = Annotated[Duration, Field(ge=timedelta(seconds=10), le=timedelta(hours=1))]
"""How long something is looked for elsewhere that somebody waits for."""
Retention = Annotated[Duration, Field(le=timedelta(days=36500)), BeforeValidator(_spelled_out)]
"""ISO 8601, at most a hundred years, which every calendar can go back. What is older gets deleted."""
WebAddress = Annotated[str, AfterValidator(web_address)]
"""Without a slash at the end."""
HeaderName = Annotated[str, AfterValidator(header_name)]
Certificates = Annotated[Path, AfterValidator(certificates)]
"""A file, in PEM."""
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]


def private_key(pem: SecretStr) -> SecretStr:
    """A private key in PEM, or of the file at this path; a text may have backslash and n for the ends of its lines."""
    text = pem.get_secret_value().replace("\\n", "\n").strip()
    if not text.startswith("-----BEGIN "):
        try:
            text = Path(text).read_text().strip()
        except (OSError, ValueError):
            raise ValueError("must be a private key in PEM, or the path of a file that has one") from None
    if not (text.startswith("-----BEGIN ") and "PRIVATE KEY-----" in text):
        raise ValueError("must be a private key in PEM, or the path of a file that has one")
    return SecretStr(text + "\n")


PrivateKey = Annotated[SecretStr, AfterValidator(private_key)]
"""PEM, or a path."""
