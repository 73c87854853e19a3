"""Access tokens: signed statements of who calls, valid for a while."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt
from jwt.types import Options

from domain.errors import Unauthenticated

_ALGORITHM = "HS256"
_MOST_KNOWN = 1000
# When a token was issued says nothing: the clock of another host may be ahead of ours.
_OPTIONS: Options = {"require": ["exp", "sub", "orgId"], "verify_iat": False}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says."""

    subject: str
    """A user id, or the client id of the organization."""
    organization: str
    machine: bool
    """Whether the organization's own credentials were used."""
    run_id: str | None = None
    """The run whose backend call this token was made for."""
    depth: int = 0
    """How many runs caused each other up to that one."""


class Tokens:
    """Issues and checks access tokens. The newest key signs, every key verifies."""

    def __init__(self, keys: Sequence[bytes], lifetime: timedelta) -> None:
        self._keys = tuple(keys)
        self.lifetime = lifetime
        self._read: dict[str, tuple[Claims, float]] = {}
        """Tokens whose signature was checked before, and when each expires."""

    def issue(self, claims: Claims, *, at: datetime, lifetime: timedelta | None = None) -> str:
        """A token that says the claims, for as long as all do unless told otherwise.

        Clients read `isMachine`, `personalToken` and `exp` without checking the signature.
        """
        said = {
            "sub": claims.subject,
            "orgId": claims.organization,
            "isMachine": claims.machine,
            "personalToken": not claims.machine,
            "iat": int(at.timestamp()),
            "exp": int((at + (lifetime or self.lifetime)).timestamp()),
        }
        if claims.run_id:
            said |= {"runId": claims.run_id, "depth": claims.depth}
        return jwt.encode(said, self._keys[0], algorithm=_ALGORITHM)

    def read(self, token: str) -> Claims:
        """What the token says, once its signature and its age have been checked.

        Raises:
            Unauthenticated: expired, forged, or no token at all.
        """
        known = self._read.get(token)
        if known and time.time() < known[1]:
            return known[0]
        claims, expires = self._checked(token)
        if len(self._read) >= _MOST_KNOWN:
            self._read.clear()
        self._read[token] = claims, expires
        return claims

    def _checked(self, token: str) -> tuple[Claims, float]:
        for key in self._keys:
            try:
                said = jwt.decode(token, key, algorithms=[_ALGORITHM], options=_OPTIONS)
                claims = Claims(
                    subject=str(said["sub"]),
                    organization=str(said["orgId"]),
                    machine=said.get("isMachine") is True,
                    run_id=said.get("runId"),
                    depth=int(said.get("depth", 0)),
                )
                return claims, float(said["exp"])
            except jwt.ExpiredSignatureError:
                raise Unauthenticated("the access token has expired: get a new one") from None
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError):
                raise Unauthenticated("the access token is not one of ours: it cannot be read") from None
        raise Unauthenticated("the access token is not one of ours: its signature does not match")
