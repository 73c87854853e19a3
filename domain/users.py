"""People, and who sent a request."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from domain.documents import Document
from domain.models import Kept, Written
from domain.times import Instant, not_before

ADMIN, MEMBER = "Admin", "Member"
_ROLES = (ADMIN, MEMBER)

FIELDS = (
    "id", "email", "firstName", "lastName", "picture", "status", "type", "providers", "createdAt", "updatedAt",
    "teams", "roles", "orgs", "orgMembers",
)  # fmt: skip
"""What is told about a person, by name."""


def _role(value: object) -> object:
    if not isinstance(value, str):
        return value
    return next((role for role in _ROLES if role.casefold() == value.casefold()), value)


Role = Annotated[Literal["Admin", "Member"], BeforeValidator(_role)]
"""A role, written in any case."""

Email = Annotated[str, Field(pattern=r"^[^\s@/]+@[^\s@/]+$", max_length=254)]
"""An email address that can also be part of a path."""


class User(Kept):
    """A person of the organization."""

    id: str
    email: str
    first_name: str = ""
    last_name: str = ""
    picture: str = ""
    status: str = "ACTIVE"
    """Only ACTIVE people may do anything."""
    type: str = "STANDARD"
    roles: tuple[str, ...] = (MEMBER,)
    teams: tuple[str, ...] = ()
    created_at: Instant
    updated_at: Instant

    def has_role(self, *names: str) -> bool:
        """Whether the person holds one of the roles; case does not matter."""
        held = {role.casefold() for role in self.roles}
        return any(name.casefold() in held for name in names)

    def is_called(self, email: str) -> bool:
        """Whether this is the person's email address; case does not matter."""
        return self.email.casefold() == email.casefold()

    def revised(self, *, at: datetime, **values: Any) -> Self:
        """With other values since `at`, or after the last change if that is later; the same person if none differs."""
        revised = self.model_copy(update=values)
        return self if revised == self else revised.model_copy(update={"updated_at": not_before(at, self.updated_at)})

    def given_credentials(self, *, at: datetime) -> Self:
        """The person once they can get tokens: who was invited has come."""
        status = "ACTIVE" if self.status == "INVITED" else self.status
        return self.model_copy(update={"status": status, "updated_at": not_before(at, self.updated_at)})

    def shown(self, organization: str) -> Document:
        """The person as the API tells about them."""
        known: Document = {
            **self.model_dump(mode="json"),
            "providers": [],
            "roles": [{"name": role} for role in self.roles],
            "orgs": [{"id": organization}],
            "orgMembers": [{"orgId": organization, "status": self.status, "lastLoginAt": None}],
        }
        return {name: known[name] for name in FIELDS}

    def as_trigger(self) -> Document:
        """The person as templates see them, `.trigger.by.user`."""
        return {
            **self.model_dump(
                mode="json",
                include={"id", "email", "first_name", "last_name", "picture", "status", "created_at", "updated_at"},
            ),
            "phoneNumber": "",
            "providers": [],
        }


class Invitee(Written):
    """Somebody who is to be a person of the organization."""

    email: Email
    roles: list[Role] = Field(default=["Member"], min_length=1)
    teams: list[str] = []


class Invitation(Written):
    """The body of POST `/v1/users/invite`."""

    invitee: Invitee


class UserPatch(Written):
    """The body of PATCH `/v1/users/{user_email}`; what is not named stays."""

    roles: list[Role] = Field(default=[], min_length=1)
    teams: list[str] = []

    def said(self) -> dict[str, tuple[str, ...]]:
        """The values it names, each name once."""
        return {name: once(getattr(self, name)) for name in self.model_fields_set}


def once(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in the order they came."""
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent this request: a person, or the organization's own credentials (a machine)."""

    organization: str
    client: str
    """The client id of the credentials."""
    user: User | None = None
    """The person; also the one a machine acts for (`run_as`). None for a machine of its own."""
    machine: bool = False
    """Whether the organization's credentials were used."""
    run_id: str | None = None
    """The run whose backend was given the access token, if it is such a token."""

    @property
    def id(self) -> str:
        """What `createdBy` says: the user id, or the client id of a machine."""
        return self.user.id if self.user else self.client

    @property
    def name(self) -> str:
        """For people who read logs: an email address, or the client id."""
        return self.user.email if self.user else self.client

    @property
    def is_admin(self) -> bool:
        """Whether everything may be administered: Admins and machines of their own."""
        return self.user.has_role(ADMIN) if self.user else self.machine

    @property
    def administers(self) -> bool:
        """Whether the caller may change what others rely on; a token that a run's backend was given may not."""
        return self.is_admin and self.run_id is None

    def acting_for(self, user: User) -> Self:
        """The same machine on behalf of a person."""
        return replace(self, user=user)
