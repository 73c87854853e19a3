"""People and teams over HTTP: who may change them, what is refused, and what is told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlmodel import col, select

from domain.documents import Document
from runtime.tokens import Claims, Tokens
from store.tables import ChangeRow
from tests.api.answers import INSTANT, Json, granted, refused
from tests.support.product import Product

USERS, TEAMS = "/v1/users", "/v1/teams"
INVITE = f"{USERS}/invite"


def rotation(email: str) -> str:
    """Where the person's credentials are rotated."""
    return f"/v1/rotate-credentials/{email}"


async def invite(product: Product, email: str, **more: Any) -> None:
    """Make a person without credentials."""
    answer = await product.api.post(INVITE, json={"invitee": {"email": email, **more}})
    assert (answer.status_code, answer.json()) == (200, {"ok": True})


async def team(product: Product, name: str, *users: str) -> Json:
    """Make a team."""
    made: Json = granted(await product.api.post(TEAMS, json={"name": name, "users": users}), "team")
    return made


async def user(product: Product, email: str) -> Json:
    """What is told about the person."""
    found: Json = granted(await product.api.get(f"{USERS}/{email}"), "user")
    return found


async def members(product: Product, name: str) -> list[str]:
    """The email addresses of who is in the team."""
    found = granted(await product.api.get(f"{TEAMS}/{name}"), "team")
    return [one["email"] for one in found["users"]]


async def changes(product: Product, kind: str) -> list[Document]:
    """The changes of people, or of teams, that have happened."""
    query = (
        select(ChangeRow.document)
        .where(ChangeRow.resource_type == kind, ChangeRow.status == "SUCCESS")
        .order_by(col(ChangeRow.sequence))
    )
    async with product.database.read() as session:
        return [dict(document) for document in await session.exec(query)]


# People


async def test_a_person_is_invited_and_told_about(product: Product) -> None:
    await team(product, "sre")
    await invite(product, "Ada@Example.com", roles=["aDMIN", "Admin"], teams=["sre", "sre"])
    found = await user(product, "ada@example.COM")
    assert found.pop("id").startswith("user_")
    assert INSTANT.fullmatch(found.pop("createdAt"))
    assert INSTANT.fullmatch(found.pop("updatedAt"))
    assert found == {
        "email": "Ada@Example.com",
        "firstName": "",
        "lastName": "",
        "picture": "",
        "status": "ACTIVE",
        "type": "STANDARD",
        "providers": [],
        "teams": ["sre"],
        "roles": [{"name": "Admin"}],
        "orgs": [{"id": product.organization.id}],
        "orgMembers": [{"orgId": product.organization.id, "status": "ACTIVE", "lastLoginAt": None}],
    }
    answer = await product.api.post(f"{INVITE}?notify=true", json={"invitee": {"email": "b@example.com"}})
    assert answer.json() == {"ok": True}
    listed = granted(await product.api.get(USERS), "users")
    assert [one["email"] for one in listed] == ["Ada@Example.com", "b@example.com"]
    assert listed[1]["roles"] == [{"name": "Member"}]
    body = {"invitee": {"email": "ADA@example.com"}}
    refused(await product.api.post(INVITE, json=body), 409, "identifier_taken", "ADA@example.com")


async def test_invitations_that_do_not_hold_are_refused(product: Product) -> None:
    good = {"email": "a@example.com"}
    invitees: list[Any] = [
        {},
        {"email": "nobody"},
        {"email": "a b@example.com"},
        {"email": "a/b@example.com"},
        {"email": "a" * 251 + "@b.c"},
        good | {"roles": []},
        good | {"roles": ["Owner"]},
        good | {"roles": [1]},
        good | {"roles": None},
        good | {"teams": "sre"},
        good | {"status": "ACTIVE"},
    ]
    bodies: list[Any] = [[], {}, good, {"invitee": good, "more": 1}, *({"invitee": one} for one in invitees)]
    for body in bodies:
        refused(await product.api.post(INVITE, json=body), 422, "invalid_request")
    nowhere = {"invitee": good | {"teams": ["nowhere"]}}
    refused(await product.api.post(INVITE, json=nowhere), 404, "not_found", "Team", "nowhere")
    assert granted(await product.api.get(USERS), "users") == []


async def test_only_the_fields_that_are_asked_for_are_told(product: Product) -> None:
    await invite(product, "a@example.com")
    for query in ("fields=email&fields=roles.name", "fields=email,roles.name", "fields=roles&fields=email,email"):
        found = granted(await product.api.get(f"{USERS}?{query}"), "users")
        assert found == [{"email": "a@example.com", "roles": [{"name": "Member"}]}]
    assert len(granted(await product.api.get(f"{USERS}?fields="), "users")[0]) == 14
    refused(
        await product.api.get(f"{USERS}?fields=email,secret,email.x,users"),
        422,
        "invalid_request",
        "secret, email.x, users",
    )
    await team(product, "sre", "a@example.com")
    assert granted(await product.api.get(f"{TEAMS}?fields=name"), "teams") == [{"name": "sre"}]
    refused(await product.api.get(f"{TEAMS}?fields=name,roles"), 422, "invalid_request", "roles")


async def test_roles_and_teams_of_a_person_change_and_count_at_once(product: Product) -> None:
    headers = await product.person("ada@example.com")
    await team(product, "sre")
    refused(await product.api.post(TEAMS, json={"name": "x"}, headers=headers), 403, "missing_permissions")
    path = f"{USERS}/ADA@example.com"
    patched = granted(await product.api.patch(path, json={"roles": ["admin"]}), "user")
    assert (patched["roles"], patched["teams"]) == ([{"name": "Admin"}], [])
    granted(await product.api.post(TEAMS, json={"name": "x"}, headers=headers), "team")
    patched = granted(await product.api.patch(path, json={"teams": ["sre", "x", "sre"]}), "user")
    assert (patched["roles"], patched["teams"]) == ([{"name": "Admin"}], ["sre", "x"])
    assert patched == await user(product, "ada@example.com")
    assert granted(await product.api.patch(path, json={"teams": []}), "user")["teams"] == []


async def test_patches_of_people_that_do_not_hold_are_refused(product: Product) -> None:
    await invite(product, "a@example.com")
    before = await user(product, "a@example.com")
    path = f"{USERS}/a@example.com"
    bodies: list[Any] = [
        [],
        {"roles": []},
        {"roles": None},
        {"roles": ["Owner"]},
        {"roles": "Admin"},
        {"teams": None},
        {"teams": [1]},
        {"email": "b@example.com"},
        {"firstName": "A"},
    ]
    for body in bodies:
        refused(await product.api.patch(path, json=body), 422, "invalid_request")
    body = {"roles": ["Admin"], "teams": ["nowhere"]}
    refused(await product.api.patch(path, json=body), 404, "not_found", "Team", "nowhere")
    assert await user(product, "a@example.com") == before
    refused(await product.api.patch(f"{USERS}/no@example.com", json={}), 404, "not_found", "User", "no@example.com")
    refused(await product.api.get(f"{USERS}/no@example.com"), 404, "not_found", "no@example.com")
    refused(await product.api.delete(f"{USERS}/no@example.com"), 404, "not_found", "no@example.com")
    refused(await product.api.post(rotation("no@example.com")), 404, "not_found", "no@example.com")


async def test_who_is_deleted_is_out_with_their_token(product: Product) -> None:
    headers = await product.person("last@example.com", "Admin")
    granted(await product.api.get(USERS, headers=headers), "users")
    answer = await product.api.delete(f"{USERS}/LAST@example.com", headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    refused(await product.api.get(USERS, headers=headers), 401, "unauthorized")
    assert granted(await product.api.get(USERS), "users") == []
    await invite(product, "last@example.com", roles=["Admin"])
    refused(await product.api.get(USERS, headers=headers), 401, "unauthorized")


async def test_credentials_are_rotated_and_the_old_ones_end(product: Product) -> None:
    await invite(product, "ada@example.com")
    first = granted(await product.api.post(rotation("Ada@example.com")), "credentials")
    headers = {"Authorization": f"Bearer {await product.token(first['clientId'], first['clientSecret'])}"}
    second = granted(await product.api.post(rotation("ADA@example.com"), headers=headers), "credentials")
    assert first["clientId"] != second["clientId"]
    assert first["clientSecret"] != second["clientSecret"]
    refused(await product.api.post("/v1/auth/access_token", json=first), 401, "unauthorized")
    mixed = first | {"clientId": second["clientId"]}
    refused(await product.api.post("/v1/auth/access_token", json=mixed), 401, "unauthorized")
    assert await product.token(second["clientId"], second["clientSecret"])
    kept = str(await changes(product, "user"))
    assert second["clientId"] not in kept
    assert second["clientSecret"] not in kept


async def test_nobody_rotates_the_credentials_of_others_but_admins(product: Product) -> None:
    await invite(product, "ada@example.com")
    member = await product.person("m@example.com")
    refused(await product.api.post(rotation("ada@example.com"), headers=member), 403, "missing_permissions", "Admins")
    refused(await product.api.post(rotation("no@example.com"), headers=member), 403, "missing_permissions")
    admin = await product.person("admin@example.com", "Admin")
    granted(await product.api.post(rotation("ada@example.com"), headers=admin), "credentials")


async def test_a_backend_changes_no_people_with_the_token_of_its_run(product: Product) -> None:
    tokens = Tokens(product.settings.keys.token_keys, timedelta(minutes=1))
    organization = product.organization
    claims = Claims(organization.client_id, organization.id, machine=True, run_id="r_0000000000000000")
    headers = {"Authorization": f"Bearer {tokens.issue(claims, at=datetime.now(UTC))}"}
    await invite(product, "a@example.com")
    granted(await product.api.get(USERS, headers=headers), "users")
    refused(await product.api.post(rotation("a@example.com"), headers=headers), 403, "missing_permissions", "r_0000000")
    refused(await product.api.delete(f"{USERS}/a@example.com", headers=headers), 403, "missing_permissions")


WRITES: list[tuple[str, str, Any]] = [
    ("POST", INVITE, {"invitee": {"email": "x@example.com"}}),
    ("PATCH", f"{USERS}/m@example.com", {"roles": ["Admin"]}),
    ("DELETE", f"{USERS}/m@example.com", None),
    ("POST", TEAMS, {"name": "x"}),
    ("PUT", f"{TEAMS}/sre", {"name": "x"}),
    ("PATCH", f"{TEAMS}/sre", {"users": ["m@example.com"]}),
    ("DELETE", f"{TEAMS}/sre", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=[f"{method} {path}" for method, path, _ in WRITES])
async def test_members_read_and_do_not_write(product: Product, method: str, path: str, body: Any) -> None:
    await team(product, "sre")
    headers = await product.person("m@example.com")
    before = [(await product.api.get(path, headers=headers)).json() for path in (USERS, TEAMS)]
    assert all(one["ok"] for one in before)
    refused(await product.api.request(method, path, json=body, headers=headers), 403, "missing_permissions", "Admins")
    nobody = httpx.Headers({"Authorization": "Bearer nonsense"})
    refused(await product.api.request(method, path, json=body, headers=nobody), 401, "unauthorized")
    assert [(await product.api.get(path, headers=headers)).json() for path in (USERS, TEAMS)] == before


# Teams


async def test_a_team_is_made_and_told_about(product: Product) -> None:
    await invite(product, "Ada@example.com")
    body = {"name": "Platform & SRE", "description": "Keeps it up", "users": ["ada@EXAMPLE.com", "ADA@example.com"]}
    made = granted(await product.api.post(TEAMS, json=body), "team")
    assert made["users"] == ["Ada@example.com"], "answers to a write repeat it: clients read email addresses there"
    found = granted(await product.api.get(f"{TEAMS}/Platform%20%26%20SRE"), "team")
    about = {"email": "Ada@example.com", "firstName": "", "lastName": "", "picture": "", "status": "ACTIVE"}
    assert found == made | {"users": [about]}
    assert found.pop("id").startswith("team_")
    assert INSTANT.fullmatch(found.pop("createdAt"))
    assert INSTANT.fullmatch(found.pop("updatedAt"))
    assert found == {
        "name": "Platform & SRE",
        "provider": "port",
        "description": "Keeps it up",
        "users": [about],
    }
    await team(product, "A")
    assert [one["name"] for one in granted(await product.api.get(TEAMS), "teams")] == ["A", "Platform & SRE"]
    assert (await user(product, "ada@example.com"))["teams"] == ["Platform & SRE"]
    refused(await product.api.post(TEAMS, json={"name": "A"}), 409, "identifier_taken", "A")


async def test_a_team_is_patched_and_replaced(product: Product) -> None:
    for name in ("a", "b"):
        await invite(product, f"{name}@example.com")
    await team(product, "sre", "a@example.com")
    path = f"{TEAMS}/sre"
    patched = granted(await product.api.patch(path, json={"description": "d"}), "team")
    assert (patched["description"], patched["users"]) == ("d", ["a@example.com"])
    patched = granted(await product.api.patch(path, json={"users": ["b@example.com"]}), "team")
    assert (patched["description"], patched["users"]) == ("d", ["b@example.com"])
    assert await members(product, "sre") == ["b@example.com"]
    shown = granted(await product.api.get(path), "team")
    assert granted(await product.api.put(path, json=shown), "team")["users"] == ["b@example.com"]
    replaced = granted(await product.api.put(path, json={"name": "sre"}), "team")
    assert (replaced["description"], replaced["users"]) == (None, [])
    assert (replaced["id"], replaced["createdAt"]) == (shown["id"], shown["createdAt"])
    assert (await user(product, "b@example.com"))["teams"] == []


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_renamed_team_keeps_its_members_and_their_permissions(product: Product, method: str) -> None:
    headers = await product.person("a@example.com")
    await team(product, "web", "a@example.com")
    await team(product, "sre", "a@example.com")
    body = {"name": "ops"} if method == "PATCH" else {"name": "ops", "users": ["a@example.com"]}
    renamed = granted(await product.api.request(method, f"{TEAMS}/sre", json=body), "team")
    assert (renamed["name"], renamed["users"]) == ("ops", ["a@example.com"])
    assert (await user(product, "a@example.com"))["teams"] == ["web", "ops"]
    refused(await product.api.get(f"{TEAMS}/sre"), 404, "not_found", "sre")
    refused(
        await product.api.request(method, f"{TEAMS}/ops", json=body | {"name": "web"}), 409, "identifier_taken", "web"
    )
    assert (await user(product, "a@example.com"))["teams"] == ["web", "ops"]
    await product.action()
    only = {"execute": {"roles": [], "teams": ["ops"]}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=only), "permissions")
    assert granted(await product.api.get("/v1/auth/permissions", headers=headers), "permissions")


async def test_a_deleted_team_is_taken_from_its_members(product: Product) -> None:
    await invite(product, "a@example.com")
    await team(product, "web", "a@example.com")
    await team(product, "sre", "a@example.com")
    answer = await product.api.delete(f"{TEAMS}/sre")
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert (await user(product, "a@example.com"))["teams"] == ["web"]
    for method in ("GET", "DELETE"):
        refused(await product.api.request(method, f"{TEAMS}/sre"), 404, "not_found", "Team", "sre")
    refused(await product.api.put(f"{TEAMS}/sre", json={"name": "sre"}), 404, "not_found")
    refused(await product.api.patch(f"{TEAMS}/sre", json={}), 404, "not_found")
    await team(product, "sre")
    assert await members(product, "sre") == []


async def test_whom_an_entity_must_relate_to_stays(product: Product) -> None:
    await invite(product, "ada@example.com")
    await team(product, "sre")
    relations = {
        "owner": {"target": "_user", "required": True},
        "squad": {"target": "_team", "required": True},
        "friend": {"target": "_user"},
    }
    blueprint = {"identifier": "box", "schema": {"properties": {}}, "relations": relations}
    assert (await product.api.post("/v1/blueprints", json=blueprint)).status_code == 201
    related = dict.fromkeys(("owner", "friend"), "ada@example.com")
    box = {"identifier": "b", "relations": {**related, "squad": "sre"}}
    granted(await product.api.post("/v1/blueprints/box/entities", json=box), "entity", status=201)
    for path, relation in ((f"{USERS}/ada@example.com", "owner"), (f"{TEAMS}/sre", "squad")):
        refused(await product.api.delete(path), 403, "has_dependents", "box 'b'", f"relations.{relation}")
        assert (await product.api.get(path)).status_code == 200
    assert granted(await product.api.get("/v1/blueprints/box/entities/b"), "entity")["relations"] == box["relations"]

    assert (await product.api.delete("/v1/blueprints/box/entities/b")).status_code == 200
    for path in (f"{USERS}/ada@example.com", f"{TEAMS}/sre"):
        assert (await product.api.delete(path)).status_code == 200


async def test_who_bears_the_name_is_in_a_team_that_is_made_later(product: Product) -> None:
    await product.person("early@example.com", teams=("sre",))
    granted(await product.api.post(TEAMS, json={"name": "sre"}), "team")
    assert await members(product, "sre") == ["early@example.com"]


async def test_a_team_with_somebody_unknown_changes_nothing(product: Product) -> None:
    await invite(product, "a@example.com")
    await team(product, "sre")
    body = {"name": "new", "description": "d", "users": ["a@example.com", "no@example.com"]}
    for method, path in (("POST", TEAMS), ("PUT", f"{TEAMS}/sre"), ("PATCH", f"{TEAMS}/sre")):
        refused(await product.api.request(method, path, json=body), 404, "not_found", "User", "no@example.com")
    [found] = granted(await product.api.get(TEAMS), "teams")
    assert (found["name"], found["description"], found["users"]) == ("sre", None, [])
    assert (await user(product, "a@example.com"))["teams"] == []
    assert len(await changes(product, "team")) == 1


async def test_teams_of_the_wrong_shape_are_refused(product: Product) -> None:
    await team(product, "sre")
    wrong: list[Json] = [
        {"name": ""},
        {"name": "n" * 101},
        {"name": "a/b"},
        {"name": "."},
        {"name": ".."},
        {"name": None},
        {"name": "x", "users": "a@example.com"},
        {"name": "x", "users": [1]},
        {"name": "x", "users": [{"firstName": "A"}]},
        {"name": "x", "description": 1},
        {"name": "x", "more": 1},
    ]
    for body in wrong:
        for method, path in (("POST", TEAMS), ("PUT", f"{TEAMS}/sre"), ("PATCH", f"{TEAMS}/sre")):
            refused(await product.api.request(method, path, json=body), 422, "invalid_request")
    for method, path in (("POST", TEAMS), ("PUT", f"{TEAMS}/sre")):
        refused(await product.api.request(method, path, json={"description": "d"}), 422, "invalid_request", "name")
    [found] = granted(await product.api.get(TEAMS), "teams")
    assert found["name"] == "sre"


# Changes


async def test_each_write_is_a_change_and_one_that_changes_nothing_is_none(product: Product) -> None:
    await invite(product, "a@example.com")
    for _ in range(2):
        await product.api.patch(f"{USERS}/a@example.com", json={"roles": ["Admin"]})
    granted(await product.api.post(rotation("a@example.com")), "credentials")
    await team(product, "sre", "a@example.com")
    for _ in range(2):
        await product.api.patch(f"{TEAMS}/sre", json={"name": "ops"})
        await product.api.patch(f"{TEAMS}/ops", json={"name": "ops"})
    await product.api.delete(f"{TEAMS}/ops")
    await product.api.delete(f"{USERS}/a@example.com")

    people, teams = await changes(product, "user"), await changes(product, "team")
    assert [one["action"] for one in people] == ["CREATE", *["UPDATE"] * 5, "DELETE"]
    assert [one["action"] for one in teams] == ["CREATE", "UPDATE", "DELETE"]
    for one in people:
        assert one["context"] == {"user": "a@example.com"}
    assert [one["context"] for one in teams] == [{"team": "sre"}, {"team": "ops"}, {"team": "ops"}]
    for one in (*people, *teams):
        assert (one["by"], one["origin"]) == (product.organization.client_id, "API")
        assert (one["before"] is None) is (one["action"] == "CREATE")
        assert (one["after"] is None) is (one["action"] == "DELETE")
    after: Any = [one["after"] for one in people[:-1]]
    assert [one["teams"] for one in after] == [[], [], [], ["sre"], ["ops"], []]
    assert after[1]["roles"] == ["Admin"]
    assert teams[1]["before"]["users"] == teams[1]["after"]["users"] == ["a@example.com"]  # type: ignore[index, call-overload]
