"""Who may execute an action and who may approve its runs.

Where there is no policy, the lists decide. Where there is one it decides, and the lists only say who sees the action or
the runs; whom they hide an action from cannot execute it, whatever the policy says.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

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


class Names(Protocol):
    """What a policy says about who may approve; `domain.policies.Said` is one."""

    def names(self, user: User) -> bool:
        """Whether it names the person."""
        ...

    def in_words(self) -> str:
        """How it came to it."""
        ...


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

    @property
    def rule(self) -> "Policy | None":
        """The policy, to be asked."""
        return None if self.policy is None else Policy.model_validate(self.policy)

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
        """Whether the lists let the caller execute the action; where there is a policy, it has to be asked as well.

        The organization's own credentials always may.
        """
        if caller.user is None:
            return Allowed("the organization's credentials execute everything")
        answer = self.execute.admit(caller.user)
        if answer or not self.execute.owned_by_team:
            return answer
        if shared := set(entity_teams) & set(caller.user.teams):
            return Allowed(f"ownedByTeam: the entity belongs to {_words(shared)}")
        return Denied(f"{answer.reason}, and no team of theirs owns the entity")

    def may_approve(self, caller: Caller, said: "Names | None" = None) -> Answer:
        """Whether the caller may decide about a run that waits for approval. The organization's credentials may.

        `said` is what the policy says about the run when the caller is judged; without it nobody passes a policy.
        """
        if caller.user is None:
            return Allowed("the organization's credentials approve everything")
        if self.approve.policy is None:
            return self.approve.admit(caller.user)
        if said is None:
            return Denied("its approve permissions have a policy, which was not asked")
        if said.names(caller.user):
            return Allowed(f"the approve policy names {caller.user.email}")
        return Denied(f"the approve policy does not name {caller.user.email}: {said.in_words()}")

    def shows_runs(self, caller: Caller, asked: Collection[str] = ()) -> bool:
        """Whether who sees only the runs they may approve sees one; `asked` were to approve it when it was made."""
        if caller.user is None or self.approve.admit(caller.user):
            return True
        return self.approve.policy is not None and caller.id in asked

    def require_approve(self, caller: Caller, said: "Names | None" = None) -> Allowed:
        """By which rule the caller may approve.

        Raises:
            Forbidden: says which lists were looked at, or what the policy said.
        """
        answer = self.may_approve(caller, said)
        if isinstance(answer, Denied):
            raise Forbidden(f"You are not permitted to approve runs of this action: {answer.reason}")
        return answer

    def scope(self, identifier: str, caller: Caller) -> str | None:
        """What lets the caller execute the action, as one of the strings of `/v1/auth/permissions`.

        None where nothing does. Admins administer every action, so they are told of all.
        """
        if caller.is_admin or self.may_execute(caller):
            return f"execute:actions:{identifier}"
        if caller.user and self.may_execute(caller, caller.user.teams):
            return f"execute:team_entities:actions:{identifier}"
        return None

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
