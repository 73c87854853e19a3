"""Static permissions over HTTP: their defaults, how they change, and whom they let execute."""

from typing import Any

from tests.api.answers import Json, granted, refused
from tests.support.product import Product

EVERYONE = {"roles": ["Admin", "Member"], "users": [], "teams": [], "ownedByTeam": False, "policy": None}
ADMINS = {"roles": ["Admin"], "users": [], "teams": [], "policy": None}
POLICY = {
    "queries": {"q": {"combinator": "and", "rules": [{"property": "$blueprint", "operator": "=", "value": "_user"}]}},
    "conditions": ["true"],
}
PATH = "/v1/actions/deploy/permissions"


async def _patched(product: Product, **body: Any) -> Json:
    permissions: Json = granted(await product.api.patch(PATH, json=body), "permissions")
    assert permissions == granted(await product.api.get(PATH), "permissions")
    return permissions


async def test_an_action_has_permissions_from_the_moment_it_exists(product: Product) -> None:
    refused(await product.api.get(PATH), 404, "not_found", "deploy")
    refused(await product.api.patch(PATH, json={"execute": {"users": []}}), 404, "not_found")

    await product.action()
    assert granted(await product.api.get(PATH), "permissions") == {"execute": EVERYONE, "approve": ADMINS}
    assert "permissions" not in granted(await product.api.get("/v1/actions/deploy"), "action")


async def test_named_lists_are_replaced_and_all_others_stay(product: Product) -> None:
    await product.action()
    assert await _patched(product) == {"execute": EVERYONE, "approve": ADMINS}

    permissions = await _patched(product, execute={"teams": ["sre", "dev"]}, approve={"users": ["b@x.io", "a@x.io"]})
    assert permissions == {
        "execute": {**EVERYONE, "teams": ["dev", "sre"]},
        "approve": {**ADMINS, "users": ["a@x.io", "b@x.io"]},
    }, "lists come back sorted"

    permissions = await _patched(product, execute={"roles": [], "ownedByTeam": True})
    assert permissions["execute"] == {**EVERYONE, "roles": [], "teams": ["dev", "sre"], "ownedByTeam": True}
    assert permissions["approve"]["users"] == ["a@x.io", "b@x.io"]

    permissions = await _patched(product, execute={"policy": POLICY}, approve={"policy": POLICY, "users": []})
    assert permissions["execute"]["policy"] == permissions["approve"]["policy"] == POLICY
    assert permissions["execute"]["teams"] == ["dev", "sre"]
    permissions = await _patched(product, execute={"teams": []}, approve={"policy": None})
    assert permissions["execute"]["policy"] == POLICY, "leaving a policy out keeps it"
    assert permissions["approve"] == ADMINS, "null drops it"

    everything = {"execute": EVERYONE, "approve": ADMINS}
    assert await _patched(product, **everything) == everything, "a client can post back what it read"


async def test_permissions_of_the_wrong_shape_are_refused(product: Product) -> None:
    await product.action()
    for body, word in (
        ({"view": {}}, "view"),
        ({"execute": {"everyone": True}}, "everyone"),
        ({"approve": {"ownedByTeam": True}}, "ownedByTeam"),
        ({"execute": {"roles": "Admin"}}, "roles"),
        ({"execute": {"users": [1]}}, "users"),
        ({"execute": {"ownedByTeam": 1}}, "ownedByTeam"),
        ({"execute": {"ownedByTeam": "yes"}}, "ownedByTeam"),
        ({"execute": {"policy": {}}}, "policy"),
        ({"execute": {"policy": {**POLICY, "queries": {}}}}, "queries"),
        ({"execute": {"policy": {**POLICY, "conditions": []}}}, "conditions"),
        ({"execute": {"policy": {**POLICY, "conditions": [""]}}}, "conditions"),
        ({"execute": {"policy": {"conditions": ["true"]}}}, "queries"),
        ({"execute": {"policy": {"queries": POLICY["queries"]}}}, "conditions"),
        ({"execute": {"policy": {**POLICY, "mode": "any"}}}, "mode"),
        ({"execute": []}, "execute"),
        ([], ""),
    ):
        answer = await product.api.patch(PATH, json=body)
        assert answer.status_code == 422, f"{body}: {answer.text}"
        refused(answer, 422, "invalid_request", word)
    assert granted(await product.api.get(PATH), "permissions") == {"execute": EVERYONE, "approve": ADMINS}


async def test_only_admins_and_machines_change_permissions(product: Product) -> None:
    await product.action()
    member, admin = await product.person("m@example.com"), await product.person("a@example.com", "Admin")
    body = {"execute": {"users": ["m@example.com"]}}
    refused(await product.api.patch(PATH, json=body, headers=member), 403, "missing_permissions")
    granted(await product.api.get(PATH, headers=member), "permissions")
    granted(await product.api.patch(PATH, json=body, headers=admin), "permissions")


async def test_one_hit_in_any_list_lets_a_person_execute(product: Product) -> None:
    await product.action()
    nobody: Json = {"roles": [], "users": [], "teams": [], "ownedByTeam": False}
    ada = await product.person("Ada@example.com", "Developer", teams=("sre", "web"))
    bob = await product.person("bob@example.com")

    async def asks(headers: Any) -> Any:
        return await product.api.post("/v1/actions/deploy/runs", json={"properties": {}}, headers=headers)

    granted(await asks(bob), "run", status=202)
    for case, lists, let_in in (
        ("no list", {}, ()),
        ("users", {"users": ["Ada@example.com"]}, (ada,)),
        ("role", {"roles": ["Developer"]}, (ada,)),
        ("role in another case", {"roles": ["deVeloper", "x"]}, (ada,)),
        ("team", {"teams": ["ops", "web"]}, (ada,)),
        ("member role", {"roles": ["member"]}, (bob,)),
        ("both", {"roles": ["Member"], "teams": ["sre"]}, (ada, bob)),
        ("owned by team, but there is no entity", {"ownedByTeam": True}, ()),
    ):
        await _patched(product, execute={**nobody, **lists})
        for who in (ada, bob):
            answer = await asks(who)
            if who in let_in:
                assert answer.status_code == 202, f"{case}: {answer.text}"
            else:
                message = refused(answer, 403, "missing_permissions", "users", "roles", "teams")
                assert "example.com" in message, f"{case}: who was refused is not said"
    granted(await asks(None), "run", status=202)


async def test_being_an_admin_is_no_way_around_the_execute_lists(product: Product) -> None:
    await product.action()
    admin = await product.person("root@example.com", "Admin")
    body: Json = {"properties": {}}
    granted(await product.api.post("/v1/actions/deploy/runs", json=body, headers=admin), "run", status=202)
    await _patched(product, execute={"roles": ["Member"]})
    refused(await product.api.post("/v1/actions/deploy/runs", json=body, headers=admin), 403, "missing_permissions")


async def test_a_person_is_refused_before_their_inputs_are_looked_at(product: Product) -> None:
    await product.action(inputs={"size": {"type": "number", "maximum": 3}})
    member = await product.person("m@example.com")
    wrong = {"properties": {"size": 9}}
    path = "/v1/actions/deploy/runs"
    refused(await product.api.post(path, json=wrong, headers=member), 422, "user_inputs_schema_invalid")
    await _patched(product, execute={"roles": ["Admin"]})
    message = refused(await product.api.post(path, json=wrong, headers=member), 403, "missing_permissions")
    assert "size" not in message
