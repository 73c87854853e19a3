"""People, and who sent a request."""

from dataclasses import dataclass, replace
from typing import Self

from domain.documents import Document
from domain.models import Kept
from domain.times import Instant

ADMIN, MEMBER = "Admin", "Member"


class User(Kept):
    """A person of the organization."""

    id: str
    email: str
    first_name: str = ""
    last_name: str = ""
    picture: str = ""
    status: str = "ACTIVE"
    roles: tuple[str, ...] = (MEMBER,)
    teams: tuple[str, ...] = ()
    created_at: Instant
    updated_at: Instant

    def has_role(self, *names: str) -> bool:
        """Whether the person holds one of the roles; case does not matter."""
        held = {role.casefold() for role in self.roles}
        return any(name.casefold() in held for name in names)

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

    def acting_for(self, user: User) -> Self:
        """The same machine on behalf of a person."""
        return replace(self, user=user)
