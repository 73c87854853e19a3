"""Teams: who belongs together. Membership is kept with each person, and a team's list of users follows from it."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from domain.documents import Document
from domain.models import Kept, Written
from domain.times import Instant
from domain.users import User

FIELDS = ("id", "name", "provider", "description", "users", "createdAt", "updatedAt")
"""What is told about a team, by name."""

MOST_DESCRIPTION = 1000
"""How many characters a description may have."""

_READ_ONLY = ("id", "provider", "createdAt", "updatedAt")
_SHOWN_OF_USERS = {"email", "first_name", "last_name", "picture", "status"}


class Team(Kept):
    """A team of the organization."""

    id: str
    name: str
    provider: str = "port"
    description: str | None = None
    created_at: Instant
    updated_at: Instant

    def members(self, people: Iterable[User]) -> list[User]:
        """Those of the people who are in the team."""
        return [person for person in people if self.name in person.teams]

    def shown(self, people: Iterable[User]) -> Document:
        """The team as the API tells about it, with something about each of its users."""
        users = [person.model_dump(mode="json", include=_SHOWN_OF_USERS) for person in self.members(people)]
        known = {**self.model_dump(mode="json"), "users": users}
        return {name: known[name] for name in FIELDS}

    def written(self, people: Iterable[User]) -> Document:
        """The team as a request says it, and as answers to one repeat it: with the email addresses of its users."""
        return {**self.shown(()), "users": [person.email for person in self.members(people)]}


def transferred(
    person: User, *, old: str | None, new: str | None, members: Collection[str] | None, at: datetime
) -> User:
    """The person after a write of a team that was called `old` and is called `new`; None before and after its life.

    `members` are email addresses in lower case. Without them everybody stays who was in it by either name.
    """
    belongs = members is None or person.email.casefold() in members
    if members is None:
        belongs = bool({old, new} & set(person.teams))
    names = [new if name == old else name for name in person.teams]
    kept = [name for name in names if name is not None and (belongs or name != new)]
    if belongs and new is not None:
        kept.append(new)
    return person.revised(at=at, teams=tuple(dict.fromkeys(kept)))


def _email(value: object) -> object:
    return value["email"] if isinstance(value, dict) and "email" in value else value


def _no_place(value: str) -> str:
    if value in (".", ".."):
        raise ValueError("must not be . or ..: programs that call us take them for places in a path")
    return value


TeamName = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[^\s/]([^/]*[^\s/])?$"), AfterValidator(_no_place)
]
"""It is part of a path, so it has no slash, no white space around it, and is neither `.` nor `..`."""

Member = Annotated[str, BeforeValidator(_email)]
"""An email address, by itself or as a team shows its users."""


class _TeamRequest(Written):
    description: str | None = Field(default=None, max_length=MOST_DESCRIPTION)
    users: list[Member] = []

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_shown(cls, value: Any) -> Any:
        """Without what only we write: clients send back what they were shown."""
        return {key: value[key] for key in value if key not in _READ_ONLY} if isinstance(value, dict) else value

    def members(self) -> list[str] | None:
        """The email addresses it names; None when it says nothing about users."""
        return self.users if "users" in self.model_fields_set else None


class TeamRequest(_TeamRequest):
    """The body of POST `/v1/teams` and of PUT `/v1/teams/{name}`."""

    name: TeamName


class TeamPatch(_TeamRequest):
    """The body of PATCH `/v1/teams/{name}`; what is not named stays."""

    name: TeamName = ""

    def said(self) -> dict[str, str | None]:
        """The values it names, besides users."""
        return {name: getattr(self, name) for name in ("name", "description") if name in self.model_fields_set}
