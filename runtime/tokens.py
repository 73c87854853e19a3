"""Access tokens: signed statements of who calls, valid for a while."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from domain.errors import Unauthenticated

_ALGORITHM = "HS256"


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

    def issue(self, claims: Claims, *, at: datetime) -> str:
        """A token that says the claims, for `lifetime` from now.

        Clients read `isMachine`, `personalToken` and `exp` without checking the signature.
        """
        said = {
            "sub": claims.subject,
            "orgId": claims.organization,
            "isMachine": claims.machine,
            "personalToken": not claims.machine,
            "iat": int(at.timestamp()),
            "exp": int((at + self.lifetime).timestamp()),
        }
        if claims.run_id:
            said |= {"runId": claims.run_id, "depth": claims.depth}
        return jwt.encode(said, self._keys[0], algorithm=_ALGORITHM)

    def read(self, token: str) -> Claims:
        """What the token says, once its signature and its age have been checked.

        Raises:
            Unauthenticated: expired, forged, or no token at all.
        """
        for key in self._keys:
            try:
                said = jwt.decode(token, key, algorithms=[_ALGORITHM], options={"require": ["exp", "sub", "orgId"]})
                return Claims(
                    subject=str(said["sub"]),
                    organization=str(said["orgId"]),
                    machine=said.get("isMachine") is True,
                    run_id=said.get("runId"),
                    depth=int(said.get("depth", 0)),
                )
            except jwt.ExpiredSignatureError:
                raise Unauthenticated("the access token has expired: get a new one") from None
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError):
                raise Unauthenticated("the access token is not one of ours: it cannot be read") from None
        raise Unauthenticated("the access token is not one of ours: its signature does not match")
