"""Who may execute an action and who may approve its runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StrictBool, field_serializer

from domain.documents import Document
from domain.errors import Forbidden
from domain.models import Kept, Written
from domain.users import ADMIN, MEMBER, Caller, User


@dataclass(frozen=True, slots=True)
class Allowed:
    """Yes, and by which rule."""

    reason: str

    def __bool__(self) -> Literal[True]:
        """Reads as yes."""
        return True


@dataclass(frozen=True, slots=True)
class Denied:
    """No, and what is missing."""

    reason: str

    def __bool__(self) -> Literal[False]:
        """Reads as no."""
        return False


Answer = Allowed | Denied


class Lists(Kept):
    """Roles, people and teams. One hit in any of them is enough; role names match in any case."""

    roles: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    """Email addresses."""
    teams: tuple[str, ...] = ()
    policy: Document | None = None

    @field_serializer("roles", "users", "teams")
    def _sorted(self, names: tuple[str, ...]) -> list[str]:
        return sorted(names)

    def admit(self, user: User) -> Answer:
        """Whether a list names the person."""
        if user.email.casefold() in {email.casefold() for email in self.users}:
            return Allowed(f"users names {user.email}")
        if user.has_role(*self.roles):
            return Allowed(f"roles {_words(self.roles)} include a role of {user.email}")
        if shared := set(self.teams) & set(user.teams):
            return Allowed(f"teams name {_words(shared)}")
        return Denied(
            f"{user.email} is in none of users ({_words(self.users)}), roles ({_words(self.roles)}) "
            f"and teams ({_words(self.teams)})"
        )


class ExecuteLists(Lists):
    """Who may execute."""

    roles: tuple[str, ...] = (ADMIN, MEMBER)
    owned_by_team: bool = False
    """Also whoever shares a team with the entity the action runs on."""


class ApproveLists(Lists):
    """Who may approve."""

    roles: tuple[str, ...] = (ADMIN,)


class Permissions(Kept):
    """The permissions of one action. They exist as long as the action does."""

    execute: ExecuteLists = Field(default_factory=ExecuteLists)
    approve: ApproveLists = Field(default_factory=ApproveLists)

    def may_execute(self, caller: Caller, entity_teams: Iterable[str] = ()) -> Answer:
        """Whether the caller may execute the action. The organization's own credentials always may."""
        if caller.user is None:
            return Allowed("the organization's credentials execute everything")
        if self.execute.policy is not None:
            return Denied("its execute permissions have a policy, and policies are not available yet")
        answer = self.execute.admit(caller.user)
        if answer or not self.execute.owned_by_team:
            return answer
        if shared := set(entity_teams) & set(caller.user.teams):
            return Allowed(f"ownedByTeam: the entity belongs to {_words(shared)}")
        return Denied(f"{answer.reason}, and no team of theirs owns the entity")

    def may_approve(self, caller: Caller) -> Answer:
        """Whether the caller may decide about runs that wait for approval. The organization's credentials may."""
        if caller.user is None:
            return Allowed("the organization's credentials approve everything")
        if self.approve.policy is not None:
            return Denied("its approve permissions have a policy, and policies are not available yet")
        return self.approve.admit(caller.user)

    def require_approve(self, caller: Caller) -> None:
        """Refuse a caller who may not approve.

        Raises:
            Forbidden: says which lists were looked at.
        """
        if not (answer := self.may_approve(caller)):
            raise Forbidden(f"You are not permitted to approve runs of this action: {answer.reason}")

    def require_execute(self, caller: Caller, entity_teams: Iterable[str] = ()) -> None:
        """Refuse a caller who may not execute.

        Raises:
            Forbidden: says which lists were looked at.
        """
        if not (answer := self.may_execute(caller, entity_teams)):
            raise Forbidden(f"You are not permitted to execute this action: {answer.reason}")

    def scope(self, identifier: str, caller: Caller) -> str | None:
        """What lets the caller execute the action, as one of the strings of `/v1/auth/permissions`.

        None where nothing does. Admins administer every action, so they are told of all.
        """
        if caller.is_admin or self.may_execute(caller):
            return f"execute:actions:{identifier}"
        if caller.user and self.may_execute(caller, caller.user.teams):
            return f"execute:team_entities:actions:{identifier}"
        return None

    def approvers(self, users: Iterable[User]) -> list[User]:
        """Everybody the approve lists name; nobody where a policy decides."""
        return [user for user in users if self.approve.policy is None and self.approve.admit(user)]

    def patched(self, patch: "PermissionsPatch") -> "Permissions":
        """With the named parts replaced, whole lists at a time; parts that are not named stay."""
        return Permissions(
            execute=self.execute.model_copy(update=_named(patch.execute)),
            approve=self.approve.model_copy(update=_named(patch.approve)),
        )


class Policy(Written):
    """A dynamic rule: queries over the catalog, and conditions over their results."""

    queries: dict[str, Document] = Field(min_length=1)
    conditions: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)


class ApprovePatch(Written):
    """What a request says about approving."""

    roles: list[str] | None = None
    users: list[str] | None = None
    teams: list[str] | None = None
    policy: Policy | None = None


class ExecutePatch(ApprovePatch):
    """What a request says about executing."""

    owned_by_team: StrictBool | None = None


class PermissionsPatch(Written):
    """The body of PATCH `/v1/actions/{id}/permissions`."""

    execute: ExecutePatch | None = None
    approve: ApprovePatch | None = None


def _named(part: ApprovePatch | None) -> dict[str, object]:
    """The keys a request names; null clears a policy and means nothing elsewhere."""
    if part is None:
        return {}
    said = {name: getattr(part, name) for name in part.model_fields_set}
    return {
        name: value.model_dump(mode="json")
        if isinstance(value, Policy)
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in said.items()
        if value is not None or name == "policy"
    }


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
