"""Actions and automations through the Terraform provider, replayed: after every apply the next plan is empty."""

from typing import Any

import pytest
import pytest_asyncio

from tests.clients import go
from tests.clients.action_configs import (
    APPROVALS,
    BLUEPRINT,
    METHODS,
    RUNNABLE,
    TRIGGERS,
    form,
    self_service,
    strings,
)
from tests.clients.form_configs import FORMS
from tests.clients.go import Json, text
from tests.clients.terraform import RefusedError, Terraform, Wire
from tests.clients.terraform_actions import Action
from tests.support.product import Product

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER_FIELDS = {"id", "createdAt", "createdBy", "updatedAt", "updatedBy"}
BARE: Json = {"self_service_trigger": {"operation": "CREATE"}, "kafka_method": {}}
EVERYTHING = {
    f"{group}-{name}": config
    for group, configs in {"method": METHODS, "trigger": TRIGGERS, "approval": APPROVALS, "form": FORMS}.items()
    for name, config in configs.items()
}


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def catalog(product: Product) -> None:
    """The blueprint and the action that configurations name."""
    if (await product.api.get(f"/v1/blueprints/{BLUEPRINT}")).status_code == 200:
        return
    properties: Json = {
        "expires": {"type": "string", "format": "timer"},
        "tier": {"type": "string"},
    }
    body = {
        "identifier": BLUEPRINT,
        "schema": {"properties": properties},
        "relations": {"host": {"target": BLUEPRINT, "many": True}},
    }
    assert (await product.api.post("/v1/blueprints", json=body)).status_code == 201
    await product.action(RUNNABLE)


def _named(name: str, config: Json, **more: Any) -> Json:
    given = {key: value for key, value in config.items() if value is not None}
    return {"identifier": name, "title": "Grow a volume", "icon": "Disk", **given, **more}


async def _echoed(wire: Wire, identifier: str) -> Json:
    answer = await wire.call("GET", f"/v1/actions/{identifier}")
    return {key: value for key, value in answer["action"].items() if key not in SERVER_FIELDS}


@pytest.mark.parametrize("name", EVERYTHING)
async def test_what_is_applied_is_found_again(wire: Wire, name: str) -> None:
    config = _named(f"tf-{name}", EVERYTHING[name])
    identifier = config["identifier"]
    terraform = Terraform(wire, Action())
    assert wire.sent == []
    await terraform.apply(config)
    method, path, body = wire.sent[0]
    assert (method, path) == ("POST", "/v1/actions")

    assert go.text(await _echoed(wire, identifier)) == go.text(body), "nothing is added, dropped or changed"
    imported = await terraform.import_(identifier)
    for attribute in ("user_properties", "jq_condition"):  # empty blocks are known to the configuration only
        for trigger in ("self_service_trigger", "automation_trigger"):
            if not _filled(terraform.state, trigger, attribute):
                (terraform.state or {}).get(trigger, {}).pop(attribute, None)
    assert go.text(imported) == go.text(terraform.state)

    changed = {**config, "title": "Another", "description": "And why"}
    await terraform.apply(changed)
    assert wire.writes[-1][:2] == ("PUT", f"/v1/actions/{identifier}")
    del changed["title"], changed["icon"]
    await terraform.apply(changed)
    assert not (await _echoed(wire, identifier)).keys() & {"title", "icon"}

    await terraform.destroy()
    assert [call[:2] for call in wire.sent[-2:]] == [(how, f"/v1/actions/{identifier}") for how in ("DELETE", "GET")]


def _filled(state: Json | None, trigger: str, attribute: str) -> bool:
    value = ((state or {}).get(trigger) or {}).get(attribute)
    return bool(value.get("expressions")) if value and attribute == "jq_condition" else bool(value)


async def test_an_action_is_renamed_by_an_update_at_its_old_name(wire: Wire) -> None:
    terraform = Terraform(wire, Action())
    config = _named("old-name", form(strings(a={"required": True})))
    await terraform.apply(config)
    await terraform.apply({**config, "identifier": "new-name"})
    assert wire.writes[-1][:2] == ("PUT", "/v1/actions/old-name")
    assert wire.sent[-1][:2] == ("GET", "/v1/actions/new-name")
    with pytest.raises(RefusedError) as gone:
        await Terraform(wire, Action()).import_("old-name")
    assert gone.value.status == 404
    await terraform.destroy()


@pytest.mark.parametrize("order", ["forth", "back"])
async def test_one_configuration_follows_another_and_leaves_nothing_behind(wire: Wire, order: str) -> None:
    terraform = Terraform(wire, Action())
    people = [name for name, config in EVERYTHING.items() if config.get("self_service_trigger")]
    for name in people if order == "forth" else reversed(people):
        await terraform.apply(_named(f"one-{order}", EVERYTHING[name]))
        assert go.text(await _echoed(wire, f"one-{order}")) == go.text(wire.writes[-1][2]), name
    await terraform.destroy()


async def test_what_is_required_changes_from_inputs_to_a_program_and_back(wire: Wire) -> None:
    terraform = Terraform(wire, Action())
    listed = _named("required", form(strings(a={"required": True}, b={"required": True}, c={})))
    computed = _named("required", form(strings(a={}, b={}, c={}), required_jq_query="1==1"))
    for config in (listed, computed, listed, _named("required", form(strings(a={}, b={}, c={})))):
        await terraform.apply(config)
    assert "required" not in (await _echoed(wire, "required"))["trigger"]["userInputs"]


async def test_a_condition_comes_changes_and_goes(wire: Wire) -> None:
    terraform = Terraform(wire, Action())
    for name in ("$identifier", "$title", None):
        rule = {"property": name, "operator": "=", "value": "Data"}
        condition = name and text({"type": "SEARCH", "combinator": "and", "rules": [rule]})
        await terraform.apply(_named("conditional", self_service(condition=condition)))


async def test_a_condition_loses_its_empty_list_on_the_way_and_every_entity_meets_it(
    wire: Wire, product: Product
) -> None:
    assert (await product.api.post(f"/v1/blueprints/{BLUEPRINT}/entities", json={"identifier": "data"})).is_success
    for combinator in ("and", "or"):
        written = text({"type": "SEARCH", "combinator": combinator, "rules": []})
        config = _named(f"for-all-{combinator}", self_service(condition=written))
        created = await Action().create(wire, Action().planned(config))
        sent = wire.writes[-1][2]["trigger"]["condition"]
        assert sent == {"type": "SEARCH", "combinator": combinator}
        assert (await _echoed(wire, created))["trigger"]["condition"] == sent
        run = {"properties": {}, "entity": "data"}
        assert (await product.api.post(f"/v1/actions/{created}/runs", json=run)).status_code == 202


async def test_a_condition_of_an_automation_comes_and_goes(wire: Wire) -> None:
    terraform = Terraform(wire, Action())
    event = {"entity_created_event": {"blueprint_identifier": BLUEPRINT}}
    for expressions in (["true"], [], [".a", ".b"], None):
        condition = {} if expressions is None else {"jq_condition": {"expressions": expressions, "combinator": "or"}}
        config = {"automation_trigger": {**event, **condition}, "kafka_method": {}}
        await terraform.apply(_named("listening", config))


async def test_what_others_changed_is_planned_back_and_what_they_deleted_is_made_again(
    wire: Wire, product: Product
) -> None:
    terraform = Terraform(wire, Action())
    config = _named("drifting", form(strings(a={"required": True}), order_properties=["a"]))
    await terraform.apply(config)
    drifted = {**(await _echoed(wire, "drifting")), "title": "By hand", "description": "By hand"}
    assert (await product.api.put("/v1/actions/drifting", json=drifted)).status_code == 200
    assert await terraform.difference(config) == {
        "title": ("By hand", "Grow a volume"),
        "description": ("By hand", None),
    }
    await terraform.apply(config)
    assert (await product.api.delete("/v1/actions/drifting")).status_code == 200
    assert await terraform.refresh() is None
    await terraform.apply(config)
    assert wire.writes[-1][:2] == ("POST", "/v1/actions")


async def test_an_apply_of_what_is_there_writes_nothing(wire: Wire) -> None:
    terraform = Terraform(wire, Action())
    config = _named("still", FORMS["text-with-everything"])
    for _ in range(3):
        await terraform.apply(config)
    assert [call[0] for call in wire.writes] == ["POST"]


async def test_a_name_that_is_taken_and_an_action_that_is_gone_are_told(wire: Wire) -> None:
    config = _named("taken", BARE)
    await Terraform(wire, Action()).apply(config)
    with pytest.raises(RefusedError, match="identifier_taken") as taken:
        await Terraform(wire, Action()).apply(config)
    assert taken.value.status == 409

    gone = _named("never-made", BARE)
    with pytest.raises(RefusedError, match="not_found") as missing:
        await Action().update(wire, gone, gone)
    assert missing.value.status == 404
    with pytest.raises(RefusedError, match="not_found") as missing:
        await Action().delete(wire, gone)
    assert missing.value.status == 404


async def test_a_trigger_of_the_other_kind_is_refused_and_has_to_be_replaced(wire: Wire) -> None:
    terraform = Terraform(wire, Action())
    await terraform.apply(_named("turned", BARE))
    automation = _named("turned", TRIGGERS["entity-created-event"])
    with pytest.raises(RefusedError, match=r"trigger\.type: cannot change"):
        await terraform.apply(automation)
    await terraform.destroy()
    await terraform.apply(automation)


async def test_the_client_authenticates_and_sends_empty_parameters(wire: Wire, product: Product) -> None:
    credentials = {"clientId": product.organization.client_id, "clientSecret": product.organization.client_secret}
    answer = await wire.call("POST", "/v1/auth/access_token", credentials)
    read = go.read({"ok": "boolean", "accessToken": "string", "expiresIn": "integer", "tokenType": "string"}, answer)
    assert read["accessToken"]
    assert read["tokenType"] == "Bearer"
    with pytest.raises(RefusedError) as wrong:
        await wire.call("POST", "/v1/auth/access_token", {**credentials, "clientSecret": "wrong"})
    assert wrong.value.status == 401
