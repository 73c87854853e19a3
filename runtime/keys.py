"""The keys of the product: all derived from one master key, so that an installation has one secret to keep."""

import base64
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

SHORTEST = 32
"""Characters a master key has at least; `secrets.token_urlsafe(32)` has 43."""


class KeyFault(Exception):
    """A key cannot be read, or what it should open was closed with another one. Holds no secret."""


class Vault:
    """Encrypts texts at rest. The newest key encrypts, every key decrypts.

    >>> vault = Vault([derived("a" * 32, "vault"), derived("b" * 32, "vault")])
    >>> vault.decrypt(vault.encrypt("hush"))
    'hush'
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])

    def encrypt(self, text: str) -> str:
        """The text, closed; another one every time."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, closed: str) -> str:
        """The text that was encrypted with any of the keys.

        Raises:
            KeyFault: it was encrypted with a key that is not configured, or changed since.
        """
        try:
            return self._fernet.decrypt(closed.encode()).decode()
        except InvalidToken:
            raise KeyFault("a stored secret cannot be decrypted with the configured keys") from None

    def rotated(self, closed: str) -> str:
        """The same text, encrypted with the newest key.

        Raises:
            KeyFault: as `decrypt`.
        """
        try:
            return self._fernet.rotate(closed.encode()).decode()
        except InvalidToken:
            raise KeyFault("a stored secret cannot be decrypted with the configured keys") from None


@dataclass(frozen=True, slots=True)
class Keys:
    """Everything derived from the master key and its predecessors, newest first."""

    master: SecretStr
    previous: tuple[SecretStr, ...] = ()

    @property
    def token_key(self) -> bytes:
        """Signs access tokens (HS256)."""
        return derived(self.master.get_secret_value(), "access tokens")

    @property
    def token_keys(self) -> tuple[bytes, ...]:
        """Verify access tokens: those signed before a rotation live until they expire."""
        return self._all("access tokens")

    @property
    def vault(self) -> Vault:
        """Encrypts what is stored in SQL."""
        return Vault(self._all("vault"))

    @property
    def payload_keys(self) -> dict[str, bytes]:
        """Encrypt Temporal payloads: key id to key, the first is the one to encrypt with."""
        return {hashlib.sha256(b"payload key id" + key).hexdigest()[:16]: key for key in self._all("payloads")}

    @property
    def request_key(self) -> bytes:
        """Makes fingerprints of what runs would send; another master key makes others, so what was decided is void."""
        return derived(self.master.get_secret_value(), "approved requests")

    def _all(self, purpose: str) -> tuple[bytes, ...]:
        return tuple(derived(key.get_secret_value(), purpose) for key in (self.master, *self.previous))


def derived(master: str, purpose: str) -> bytes:
    """32 bytes that only serve this purpose: knowing them tells nothing about the master key or other purposes."""
    return HKDF(algorithm=SHA256(), length=32, salt=b"interlock", info=purpose.encode()).derive(master.encode())


def load(path: Path) -> SecretStr | None:
    """The master key in the file; None when there is no file.

    Raises:
        KeyFault: the file cannot be read, or holds no key.
    """
    try:
        key = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as problem:
        raise KeyFault(f"the key file {path} cannot be read: {_reason(problem)}") from None
    if len(key) < SHORTEST:
        raise KeyFault(f"the key file {path} holds no key: it has fewer than {SHORTEST} characters")
    return SecretStr(key)


def load_or_create(path: Path) -> SecretStr:
    """The master key in the file; a new one is written when there is no file. Only the owner may read it.

    Raises:
        KeyFault: the file cannot be read or written, or holds no key.
    """
    if (key := load(path)) is not None:
        return key
    # Written beside and linked into place: no reader sees half a key, and of two writers one wins for both.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink(missing_ok=True)
    except OSError as problem:
        raise KeyFault(f"the key file {path} cannot be written: {_reason(problem)}") from None
    made = load(path)
    if made is None:
        raise KeyFault(f"the key file {path} vanished while it was made")
    return made


def _reason(problem: Exception) -> str:
    return (problem.strerror or "unknown") if isinstance(problem, OSError) else "it is no plain text"
