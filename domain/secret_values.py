"""Secrets of the organization as everybody may see them: never the value."""

from typing import Annotated

from pydantic import Field

from domain.models import Kept, Written
from domain.times import Instant

_NAME = r"^[A-Za-z0-9_-]{1,50}$"

SecretName = Annotated[str, Field(pattern=_NAME)]


class Secret(Kept):
    """What is told about a secret."""

    secret_name: str
    description: str | None = None
    created_at: Instant
    updated_at: Instant


class NewSecret(Written):
    """The body of POST `/v1/organization/secrets`."""

    secret_name: SecretName
    secret_value: str = Field(min_length=1)
    description: str | None = Field(default=None, max_length=200)


class SecretPatch(Written):
    """The body of PATCH `/v1/organization/secrets/{name}`."""

    secret_value: str | None = Field(default=None, min_length=1)
    description: str | None = Field(default=None, max_length=200)
