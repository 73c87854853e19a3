"""Who may write entities: the lists of blueprints, and what each kind of write needs."""

from typing import Any

import pytest

from domain.blueprint_permissions import BlueprintPermissions, BlueprintPermissionsPatch, refuse
from domain.blueprints import parsed
from domain.entities import Entity
from domain.errors import Forbidden, InvalidRequest
from domain.permissions import Policy
from domain.users import Caller, User
from tests.store.conftest import AT

NOBODY: dict[str, Any] = {"roles": [], "users": [], "teams": [], "ownedByTeam": False}
ADMINS = {**NOBODY, "roles": ["Admin"]}
MEMBERS = {"roles": ["Member"]}
POLICY: dict[str, Any] = {"queries": {"q": {"combinator": "and", "rules": []}}, "conditions": ["true"]}
SERVICE = parsed(
    {
        "identifier": "service",
        "schema": {"properties": {"tier": {"type": "number"}, "cost": {"type": "number"}}},
        "relations": {"domain": {"target": "domain"}},
    }
)


def person(*roles: str, teams: tuple[str, ...] = ("sre",)) -> Caller:
    user = User(id="u", email="m@x.io", roles=roles or ("Member",), teams=teams, created_at=AT, updated_at=AT)
    return Caller("org", "client", user=user)


def entity(**values: Any) -> Entity:
    known: dict[str, Any] = {
        "identifier": "cart", "title": "Cart", "blueprint": "service", "team": ("sre",), "properties": {"tier": 1},
        "relations": {}, "created_at": AT, "created_by": "u", "updated_at": AT, "updated_by": "u",
    }  # fmt: skip
    return Entity(**{**known, **values})


def _patch(**said: Any) -> BlueprintPermissionsPatch:
    return BlueprintPermissionsPatch.model_validate({"entities": said})


def permissions(**said: Any) -> BlueprintPermissions:
    return BlueprintPermissions().of(SERVICE).patched(_patch(**said))


CART = entity()


def test_at_first_there_is_a_block_for_everything_and_only_admins_are_in_them() -> None:
    properties = ["tier", "cost", "$identifier", "$title", "$icon", "$team"]
    assert BlueprintPermissions().of(SERVICE).document() == {
        "entities": {
            "register": ADMINS,
            "unregister": ADMINS,
            "update": ADMINS,
            "updateProperties": dict.fromkeys(properties, ADMINS),
            "updateRelations": {"domain": ADMINS},
        }
    }


@pytest.mark.parametrize(("before", "after"), [(None, CART), (CART, None), (CART, entity(title="x")), (CART, CART)])
@pytest.mark.parametrize(
    ("caller", "may"),
    [(person("Admin"), True), (Caller("org", "client", machine=True), True), (person(), False)],
    ids=["admin", "machine", "member"],
)
async def test_admins_and_machines_may_do_everything_and_others_nothing_that_nobody_gave_them(
    caller: Caller, may: bool, before: Entity | None, after: Entity | None
) -> None:
    nobody = permissions(**{key: {"roles": []} for key in ("register", "unregister", "update")})
    if may:
        await refuse(nobody, caller, before, after, None)
    else:
        with pytest.raises(Forbidden, match=r"m@x\.io .*'service'"):
            await refuse(nobody, caller, before, after, None)


@pytest.mark.parametrize("given", [MEMBERS, {"roles": ["mEMBER"]}, {"users": ["M@X.io"]}, {"teams": ["sre", "b"]}])
@pytest.mark.parametrize(
    ("needed", "before", "after"),
    [("register", None, CART), ("unregister", CART, None), ("update", CART, entity(properties={"any": 1}))],
)
async def test_one_hit_is_enough_and_is_for_that_one_thing(
    given: dict[str, Any], needed: str, before: Entity | None, after: Entity | None
) -> None:
    await refuse(permissions(**{needed: given}), person(), before, after, None)
    others = {"register", "unregister", "update"} - {needed}
    with pytest.raises(Forbidden, match=f"entities.{needed}"):
        await refuse(permissions(**dict.fromkeys(others, given)), person(), before, after, None)


@pytest.mark.parametrize(
    ("given", "change", "missing"),
    [
        ({"updateProperties": {"tier": MEMBERS}}, {"properties": {"tier": 2}}, None),
        ({"updateProperties": {"tier": MEMBERS}}, {"properties": {"tier": 2, "cost": 1}}, "updateProperties.cost"),
        ({"updateProperties": {"tier": MEMBERS}}, {"properties": {"tier": 1, "cost": None}}, "updateProperties.cost"),
        ({"updateProperties": {"tier": MEMBERS}}, {"properties": {"tier": 1, "new": 1}}, "updateProperties.new"),
        ({"updateProperties": {"tier": MEMBERS}}, {"title": "x"}, "updateProperties.$title"),
        ({"updateProperties": {"$title": MEMBERS}}, {"title": "x"}, None),
        ({"updateProperties": {"$team": MEMBERS}}, {"team": ()}, None),
        ({"updateProperties": {"tier": MEMBERS}}, {"relations": {"domain": "shop"}}, "updateRelations.domain"),
        ({"updateRelations": {"domain": MEMBERS}}, {"relations": {"domain": "shop"}}, None),
        ({"updateRelations": {"domain": MEMBERS}}, {}, None),
        ({"update": MEMBERS, "updateProperties": {"tier": NOBODY}}, {"properties": {"tier": 2}}, None),
    ],
)
async def test_a_change_needs_update_or_the_block_of_everything_that_changes(
    given: dict[str, Any], change: dict[str, Any], missing: str | None
) -> None:
    if missing is None:
        await refuse(permissions(**given), person(), CART, entity(**change), None)
    else:
        with pytest.raises(Forbidden) as refusal:
            await refuse(permissions(**given), person(), CART, entity(**change), None)
        assert f"entities.{missing}" in str(refusal.value)
        assert "updateProperties.tier" not in str(refusal.value), "only what is missing is named"


async def test_a_team_owns_what_was_its_own_before_and_registers_what_is_its_own_afterwards() -> None:
    owners = permissions(**{key: {"ownedByTeam": True} for key in ("register", "unregister", "update")})
    foreign = entity(team=("web",), title="x")
    await refuse(owners, person(), None, CART, None)
    await refuse(owners, person(), CART, foreign, None)
    await refuse(owners, person(), CART, None, None)
    for before, after in ((None, foreign), (foreign, CART), (foreign, None)):
        with pytest.raises(Forbidden, match="no team of theirs owns"):
            await refuse(owners, person(), before, after, None)


class Judge:
    """Lets through what is in `allowed`, by the first condition, and remembers what it was asked."""

    def __init__(self, *allowed: str) -> None:
        self.allowed, self.asked = allowed, list[tuple[str, str, Entity]]()

    async def __call__(self, policy: Policy, user: User, entity: Entity) -> bool:
        self.asked.append((policy.conditions[0], user.email, entity))
        return policy.conditions[0] in self.allowed


def policy(name: str, **more: Any) -> dict[str, Any]:
    return {**more, "policy": {**POLICY, "conditions": [name]}}


async def test_a_policy_decides_alone_and_is_not_asked_about_admins() -> None:
    given = permissions(register={"roles": ["Member"], "policy": POLICY})
    assert given.document()["entities"]["register"]["policy"] == POLICY  # type: ignore[index, call-overload]
    no, yes = Judge(), Judge("true")
    for caller in (person("Admin"), Caller("org", "client", machine=True)):
        await refuse(given, caller, None, CART, no)
    assert no.asked == []
    with pytest.raises(Forbidden, match=r"entities\.register: its policy does not let m@x\.io$"):
        await refuse(given, person(), None, CART, no)
    assert no.asked == [("true", "m@x.io", CART)]
    await refuse(permissions(register=policy("true", roles=[])), person(), None, CART, yes)


async def test_a_policy_that_nobody_can_be_asked_about_lets_nobody() -> None:
    with pytest.raises(Forbidden, match=r"entities\.unregister: it has a policy"):
        await refuse(permissions(unregister=policy("true", roles=["Member"])), person(), CART, None, None)


async def test_of_a_change_policies_see_what_was_before_and_update_is_asked_first() -> None:
    given = permissions(update=policy("all"), updateProperties={"tier": policy("tier"), "cost": policy("cost")})
    after = entity(properties={"tier": 2, "cost": 3})
    judge = Judge("all")
    await refuse(given, person(), CART, after, judge)
    assert judge.asked == [("all", "m@x.io", CART)]
    await refuse(given, person(), CART, after, Judge("tier", "cost"))
    with pytest.raises(Forbidden) as refusal:
        await refuse(given, person(), CART, after, Judge("tier"))
    assert "entities.update: its policy" in str(refusal.value)
    assert "entities.updateProperties.cost: its policy" in str(refusal.value)
    assert "updateProperties.tier" not in str(refusal.value)


async def test_a_policy_that_many_blocks_have_is_asked_once_for_each_entity() -> None:
    given = permissions(updateProperties={key: policy("same") for key in ("tier", "cost", "$title")})
    judge = Judge("same")
    for _ in range(2):
        await refuse(given, person(), CART, entity(title="x", properties={"tier": 2, "cost": 3}), judge)
    assert len(judge.asked) == 2
    different = permissions(update=policy("no"), updateProperties={"tier": policy("tier"), "cost": policy("cost")})
    with pytest.raises(Forbidden):
        await refuse(different, person(), CART, entity(properties={"tier": 2, "cost": 3}), judge)
    assert [name for name, *_ in judge.asked[2:]] == ["no", "tier", "cost"], "others are asked for themselves"


async def test_who_may_change_something_of_it_may_write_it_as_it_is() -> None:
    given = permissions(update=policy("no"), updateProperties={"tier": policy("tier"), "$title": MEMBERS})
    judge = Judge("tier")
    await refuse(given, person(), CART, CART, judge)
    assert [name for name, *_ in judge.asked] == ["no"], "a list lets them, so no further policy is asked"
    await refuse(
        permissions(update=policy("no"), updateProperties={"tier": policy("tier")}), person(), CART, CART, judge
    )
    with pytest.raises(Forbidden, match=r"entities\.update: its policy"):
        await refuse(given.patched(_patch(updateProperties={"$title": NOBODY})), person(), CART, CART, Judge())


async def test_a_long_refusal_names_the_first_and_asks_no_further() -> None:
    judge = Judge()
    known = {f"p{number}": number for number in range(50)}
    kind = parsed({"identifier": "service", "schema": {"properties": {key: {"type": "number"} for key in known}}})
    given = BlueprintPermissions().of(kind).patched(_patch(updateProperties={key: policy(key) for key in known}))
    with pytest.raises(Forbidden):
        await refuse(given, person(), entity(properties={}), entity(properties=known), judge)
    assert 0 < len(judge.asked) < len(known)


def test_a_patch_replaces_the_lists_it_names_and_null_says_nothing() -> None:
    first = permissions(register={"users": ["b@x.io", "a@x.io", "b@x.io"], "policy": POLICY}, read=MEMBERS)
    patch = BlueprintPermissionsPatch.model_validate(
        {
            "entities": {
                "register": {"roles": [], "users": None, "teams": None, "ownedByTeam": None},
                "updateProperties": {"tier": {"ownedByTeam": True}, "cost": None},
                "updateRelations": None,
                "unregister": None,
            }
        }
    )
    found: Any = first.patched(patch).document()["entities"]
    assert found["register"] == {
        "roles": [], "users": ["a@x.io", "b@x.io"], "teams": [], "ownedByTeam": False, "policy": POLICY,
    }  # fmt: skip
    assert found["updateProperties"]["tier"] == {**ADMINS, "ownedByTeam": True}
    assert found["updateProperties"]["cost"] == found["unregister"] == ADMINS
    assert found["read"] == {**NOBODY, "roles": ["Member"]}
    cleared = BlueprintPermissionsPatch.model_validate({"entities": {"register": {"policy": None}}})
    assert "policy" not in first.patched(cleared).document()["entities"]["register"]  # type: ignore[index, call-overload, operator]


def test_a_patch_names_only_what_the_blueprint_has() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        permissions(updateProperties={"x.y": MEMBERS, "tier": MEMBERS}, updateRelations={"tier": MEMBERS})
    assert str(refusal.value) == (
        'entities.updateProperties["x.y"]: the blueprint has no such property; '
        "entities.updateRelations.tier: the blueprint has no such relation"
    )


def test_permissions_follow_keys_and_forget_those_that_go() -> None:
    given = permissions(updateProperties={"tier": MEMBERS, "cost": MEMBERS}, updateRelations={"domain": MEMBERS})
    after = parsed(
        {
            "identifier": "service",
            "schema": {"properties": {"level": {"type": "number"}, "new": {"type": "number"}}},
            "relations": {"of": {"target": "domain"}},
        }
    )
    found: Any = given.of(after, {"tier": "level", "domain": "of"}).document()["entities"]
    assert found["updateProperties"]["level"]["roles"] == found["updateRelations"]["of"]["roles"] == ["Member"]
    assert found["updateProperties"]["new"] == ADMINS
    assert "cost" not in found["updateProperties"]
