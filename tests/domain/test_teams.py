"""Teams: who is in one after it was written, and what is told about it."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from domain.teams import FIELDS, Team, TeamPatch, TeamRequest, transferred
from domain.times import not_before
from domain.users import FIELDS as USER_FIELDS
from domain.users import User, UserPatch

AT = datetime(2026, 1, 2, tzinfo=UTC)
LATER = datetime(2026, 1, 3, tzinfo=UTC)
ADA = "ada@example.com"


def person(*teams: str, email: str = "Ada@example.com") -> User:
    """Somebody in these teams."""
    return User(id="user_1", email=email, teams=teams, created_at=AT, updated_at=AT)


@pytest.mark.parametrize(
    ("teams", "old", "new", "members", "expected"),
    [
        # It is made.
        ((), None, "sre", None, ()),
        (("web",), None, "sre", (ADA,), ("web", "sre")),
        (("sre", "web"), None, "sre", None, ("sre", "web")),
        (("sre", "web"), None, "sre", (), ("web",)),
        # It stays what it is called.
        (("sre",), "sre", "sre", (ADA,), ("sre",)),
        (("sre", "web"), "sre", "sre", (), ("web",)),
        (("web",), "sre", "sre", None, ("web",)),
        # It is renamed.
        (("a", "sre", "z"), "sre", "ops", None, ("a", "ops", "z")),
        (("a", "sre", "z"), "sre", "ops", (), ("a", "z")),
        (("a",), "sre", "ops", (ADA,), ("a", "ops")),
        (("ops", "sre"), "sre", "ops", None, ("ops",)),
        # It is deleted.
        (("a", "sre"), "sre", None, None, ("a",)),
        (("a",), "sre", None, None, ("a",)),
    ],
)
def test_who_is_in_a_team_after_it_was_written(
    teams: tuple[str, ...],
    old: str | None,
    new: str | None,
    members: Collection[str] | None,
    expected: tuple[str, ...],
) -> None:
    before = person(*teams)
    after = transferred(before, old=old, new=new, members=members, at=LATER)
    assert after.teams == expected
    assert after.updated_at == (AT if teams == expected else LATER)


def test_a_person_who_stays_the_same_is_the_same() -> None:
    before = person("sre")
    assert before.revised(at=LATER, teams=("sre",), roles=("Member",)) is before
    assert before.revised(at=LATER, teams=()).updated_at == LATER


def test_a_change_is_not_earlier_than_the_one_before_it() -> None:
    before = person("sre").revised(at=LATER, teams=())
    assert before.revised(at=AT, teams=("sre",)).updated_at == not_before(AT, LATER) > LATER
    assert before.given_credentials(at=AT).updated_at == not_before(AT, LATER)


def test_a_team_tells_about_those_who_bear_its_name() -> None:
    team = Team(id="team_1", name="sre", created_at=AT, updated_at=AT)
    people = [person("sre"), person("SRE", email="eve@example.com"), person()]
    shown = team.shown(people)
    assert tuple(shown) == FIELDS
    assert shown["users"] == [
        {"email": "Ada@example.com", "firstName": "", "lastName": "", "picture": "", "status": "ACTIVE"}
    ]
    assert team.written(people) == shown | {"users": ["Ada@example.com"]}


def test_what_is_told_about_a_person_has_each_field() -> None:
    shown = person("sre").shown("org_1")
    assert tuple(shown) == USER_FIELDS
    assert (shown["teams"], shown["roles"]) == (["sre"], [{"name": "Member"}])
    assert shown["orgMembers"] == [{"orgId": "org_1", "status": "ACTIVE", "lastLoginAt": None}]


def test_a_team_can_be_sent_back_as_it_was_shown() -> None:
    shown = Team(id="team_1", name="sre", created_at=AT, updated_at=AT).shown([person("sre")])
    request = TeamRequest.model_validate(shown)
    assert (request.name, request.members()) == ("sre", ["Ada@example.com"])


@pytest.mark.parametrize("name", ["", "n" * 101, "a/b", " a", "a ", "\n", 1, None])
def test_a_name_that_cannot_be_one_is_refused(name: Any) -> None:
    for model in (TeamRequest, TeamPatch):
        with pytest.raises(ValidationError, match="name"):
            model.model_validate({"name": name})


@pytest.mark.parametrize("name", ["a", "n" * 100, "Platform & SRE", "ä.b-c"])
def test_a_name_of_a_team(name: str) -> None:
    assert TeamRequest.model_validate({"name": name}).name == name


def test_a_patch_says_only_what_is_in_it() -> None:
    assert TeamPatch.model_validate({}).said() == {}
    assert TeamPatch.model_validate({}).members() is None
    assert TeamPatch.model_validate({"description": None, "users": []}).said() == {"description": None}
    assert TeamPatch.model_validate({"users": []}).members() == []
    assert UserPatch.model_validate({}).said() == {}
    assert UserPatch.model_validate({"roles": ["aDMIN", "Admin"]}).said() == {"roles": ("Admin",)}
