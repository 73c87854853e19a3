"""Forms over HTTP: what is shown and offered, what a run is held to, and what the caller may read of the catalog."""

import json
import time
from typing import Any

import httpx
import pytest
from sqlmodel import text

from domain.encryption import decrypted
from domain.templating import MASK
from tests.api.answers import granted, refused
from tests.api.examples import MOVE_WORKLOAD, NEW_QUEUE
from tests.support.product import Json, Product


def jq(program: str) -> Json:
    """A computed part."""
    return {"jqQuery": program}


def entity_of(blueprint: str, *rules: Json, **more: Any) -> Json:
    """An input that names an entity."""
    dataset = {"dataset": {"combinator": "and", "rules": list(rules)}} if rules else {}
    return {"type": "string", "format": "entity", "blueprint": blueprint, **dataset, **more}


async def shown(product: Product, action: str = "deploy", properties: Json | None = None, **more: Any) -> Any:
    """The form as it is for what is filled in."""
    how = {"headers": more.pop("headers")} if "headers" in more else {}
    body = {"properties": properties or {}, **more}
    return granted(await product.api.post(f"/v1/actions/{action}/form", json=body, **how), "form")


def by_name(form: Json) -> dict[str, Json]:
    """The inputs of a form."""
    return {one["identifier"]: one for one in form["inputs"]}


def offered(form: Json, name: str) -> list[str]:
    """The identifiers of the entities that an input offers."""
    return [one["identifier"] for one in by_name(form)[name]["options"]["entities"]]


async def ask(product: Product, properties: Json, action: str = "deploy", **how: Any) -> httpx.Response:
    """The answer to the request for a run."""
    entity = {"entity": how.pop("entity")} if "entity" in how else {}
    return await product.api.post(f"/v1/actions/{action}/runs", json={"properties": properties, **entity}, **how)


@pytest.fixture
async def clusters(product: Product) -> Product:
    """Namespaces are in clusters; there is one workload of each tier."""
    namespace = {
        "identifier": "namespace",
        "title": "Namespace",
        "schema": {"properties": {"shared": {"type": "boolean"}}},
        "relations": {"in": {"target": "cluster"}},
    }
    for name, title in (("eu-1", "Zürich"), ("us-1", "austin"), ("ap-1", "Busan")):
        await product.entity(name, "cluster", title=title, properties={"size": len(title)})
    granted(await product.api.post("/v1/blueprints", json=namespace), "blueprint", status=201)
    for name, cluster, shared in (("a", "eu-1", True), ("b", "eu-1", False), ("c", "us-1", True)):
        await product.entity(name, "namespace", properties={"shared": shared}, relations={"in": cluster}, title=name)
    await product.entity("checkout", "workload", title="Checkout", properties={"tier": "gold", "labels": ["a"]})
    await product.entity("blog", "workload", properties={"tier": "bronze"})
    return product


async def test_a_run_of_the_published_creation(product: Product) -> None:
    document = json.loads(NEW_QUEUE)
    await product.action(**{**document, "invocationMethod": product.webhook(body={"in": "{{ .inputs }}"})})
    good = {"broker": "nats", "flavour": "jetstream", "name": "a.b", "owners": ["kim@example.org"]}
    form = await shown(product, "new_queue", {**good, "name": "a-b"})
    inputs = by_name(form)
    assert inputs["flavour"]["options"] == {"values": ["jetstream"]}
    assert inputs["name"]["errors"] == ['/name must match pattern "^[a-z.]+$"']
    assert (inputs["replicas"]["value"], inputs["replicas"]["default"]) == (3, 3)
    assert inputs["owners"]["schema"]["maxItems"] == 2
    refused(await ask(product, {**good, "name": "a-b"}, "new_queue"), 422, "user_inputs_schema_invalid", "^[a-z.]+$")

    run = granted(await ask(product, good, "new_queue"), "run", status=202)
    assert run["properties"] == {**good, "replicas": 3}
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    assert product.backend.calls[0].json == {"in": {**good, "replicas": 3}}


async def test_a_run_of_the_published_change(clusters: Product) -> None:
    document = json.loads(MOVE_WORKLOAD)
    method = clusters.webhook(body={"to": "{{ .inputs.namespace }}"})
    await clusters.action(**{**document, "requiredApproval": False, "invocationMethod": method})

    form = await shown(clusters, "move_workload", entity="checkout")
    assert [step["visible"] for step in form["steps"]] == [True, False]
    assert offered(form, "cluster") == ["us-1", "ap-1", "eu-1"]
    assert offered(form, "namespace") == []  # no cluster yet: its rule finds nothing
    inputs = by_name(form)
    assert (inputs["labels"]["value"], inputs["labels"]["disabled"], inputs["namespace"]["dependsOn"]) == (
        ["a"], True, ["cluster"],
    )  # fmt: skip
    assert {name for name, one in inputs.items() if one["errors"]} == {"cluster", "namespace"}
    form = await shown(clusters, "move_workload", {"cluster": "eu-1", "namespace": "a"}, entity="checkout")
    assert offered(form, "namespace") == ["a"]
    assert by_name(form)["reason"]["visible"] is by_name(form)["reason"]["required"] is True
    form = await shown(clusters, "move_workload", {"cluster": "eu-1", "namespace": "a"}, entity="blog")
    assert by_name(form)["reason"]["visible"] is by_name(form)["reason"]["required"] is False

    for sent, words in (
        ({"cluster": "eu-1", "namespace": "a"}, "/reason is required"),
        ({"cluster": "eu-1", "namespace": "b", "reason": "x"}, "/namespace is not among the entities that are offered"),
        ({"cluster": "us-1", "namespace": "a", "reason": "x"}, "/namespace is not among the entities that are offered"),
        ({"cluster": "no-1", "namespace": "a", "reason": "x"}, "/cluster names no entity of cluster"),
    ):
        answer = await ask(clusters, sent, "move_workload", entity="checkout")
        refused(answer, 422, "user_inputs_schema_invalid", words)
    sent = {"cluster": "eu-1", "namespace": "a", "reason": "x"}
    run = granted(await ask(clusters, sent, "move_workload", entity="checkout"), "run", status=202)
    assert run["properties"] == {**sent, "labels": ["a"]}
    assert (await clusters.until(run["id"]))["status"] == "SUCCESS"
    assert clusters.backend.calls[0].json["to"]["identifier"] == "a"


async def test_programs_see_entities_with_what_is_derived(product: Product) -> None:
    blueprint = {
        "identifier": "service",
        "title": "Service",
        "schema": {"properties": {"tier": {"type": "number"}}},
        "calculationProperties": {"twice": {"type": "number", "calculation": ".properties.tier * 2"}},
    }
    granted(await product.api.post("/v1/blueprints", json=blueprint), "blueprint", status=201)
    await product.entity("cart", properties={"tier": 2})
    ada = await product.person("ada@x.io", teams=("sre",))
    inputs = {
        "on": entity_of("service"),
        "on_many": {"type": "array", "items": entity_of("service")},
        "twice": {"type": "number", "default": jq(".form.on.properties.twice")},
        "who": {"type": "string", "default": jq(".user.email")},
        "teams": {"type": "array", "default": jq(".user.team")},
        "names": {"type": "array", "default": jq("[.form.on_many[].title]")},
    }
    await product.action(inputs=inputs)
    run = granted(await ask(product, {"on": "cart", "on_many": ["cart"]}, headers=ada), "run", status=202)
    assert run["properties"] == {
        "on": "cart", "on_many": ["cart"], "twice": 4, "who": "ada@x.io", "teams": ["sre"], "names": ["cart"],
    }  # fmt: skip
    run = granted(await ask(product, {"on": "cart"}, params={"run_as": "ada@x.io"}), "run", status=202)
    assert run["properties"]["who"] == "ada@x.io"
    form = await product.api.post("/v1/actions/deploy/form", json={}, params={"run_as": "ada@x.io"})
    assert by_name(granted(form, "form"))["who"]["value"] == "ada@x.io"
    refused(
        await product.api.post("/v1/actions/deploy/form", json={}, params={"run_as": "ada@x.io"}, headers=ada),
        403, "missing_permissions", "run_as",
    )  # fmt: skip


async def test_nobody_sees_through_a_form_what_they_may_not_read(clusters: Product) -> None:
    ada = await clusters.person("ada@x.io")
    hidden = {"entities": {"read": {"roles": ["Admin"], "users": [], "teams": [], "ownedByTeam": False}}}
    path = "/v1/blueprints/cluster/permissions"
    assert (await clusters.api.patch(path, json=hidden)).status_code == 200
    await clusters.action(inputs={"x": entity_of("cluster"), "y": {"type": "string", "default": jq(".form.x.title")}})
    trigger = {
        "type": "self-service", "operation": "DAY-2", "blueprintIdentifier": "cluster",
        "userInputs": {"properties": {"y": {"type": "string", "default": jq(".entity.title")}}},
    }  # fmt: skip
    await clusters.action("resize", trigger=trigger)

    assert by_name(await shown(clusters, properties={"x": "eu-1"}))["y"]["value"] == "Zürich"
    form = await shown(clusters, properties={"x": "eu-1"}, headers=ada)
    assert (offered(form, "x"), by_name(form)["y"]["value"]) == ([], None)
    assert by_name(form)["x"]["errors"] == ["/x names no entity of cluster"]
    refused(await ask(clusters, {"x": "eu-1"}, headers=ada), 422, "user_inputs_schema_invalid", "/x names no entity")
    at = "/v1/actions/resize/form"
    assert by_name(await shown(clusters, "resize", entity="eu-1"))["y"]["value"] == "Zürich"
    for name in ("eu-1", "none"):
        refused(await clusters.api.post(at, json={"entity": name}, headers=ada), 404, "not_found", name)


async def test_a_definition_can_leave_datasets_to_the_form(clusters: Product) -> None:
    size = {"property": "size", "operator": ">", "value": jq("5")}
    inputs = {"x": entity_of("cluster", size)}
    await clusters.action("strict", inputs=inputs)
    await clusters.action("loose", inputs=inputs, interlock={"form": {"enforceDataset": False}})
    for action in ("strict", "loose"):
        assert offered(await shown(clusters, action), "x") == ["us-1", "eu-1"]
    refused(await ask(clusters, {"x": "ap-1"}, "strict"), 422, "user_inputs_schema_invalid", "/x is not among")
    for name in ("ap-1", "none"):
        granted(await ask(clusters, {"x": name}, "loose"), "run", status=202)
    granted(await ask(clusters, {"x": "eu-1"}, "strict"), "run", status=202)

    method, event = clusters.webhook(), {"type": "ENTITY_CREATED", "blueprintIdentifier": "cluster"}
    automation = {"identifier": "auto", "trigger": {"type": "automation", "event": event}, "invocationMethod": method}
    for section, words in (({"enforceDataset": "no"}, "enforceDataset"), ({"enforceDataset": True}, "interlock.form")):
        answer = await clusters.api.post("/v1/actions", json={**automation, "interlock": {"form": section}})
        refused(answer, 422, "invalid_request", words)


async def test_a_dataset_that_no_run_could_read_is_refused_unless_it_is_left_to_the_form(clusters: Product) -> None:
    inputs = {"v": entity_of("cluster", {"combinator": "or"})}
    loose = {"form": {"enforceDataset": False}}
    await clusters.action("loose", inputs=inputs, interlock=loose)
    granted(await ask(clusters, {"v": "eu-1"}, "loose"), "run", status=202)
    written = granted(await clusters.api.get("/v1/actions/loose"), "action")
    for method, path, identifier in (("PUT", "/v1/actions/loose", "loose"), ("POST", "/v1/actions", "strict")):
        document = {**written, "identifier": identifier, "interlock": {}}
        answer = await clusters.api.request(method, path, json=document)
        said = refused(answer, 422, "user_inputs_schema_invalid")
        assert said == "properties.v.dataset.rules[0].rules: is required"
    assert granted(await clusters.api.get("/v1/actions/loose"), "action") == written, "nothing is written"


async def test_a_definition_can_refuse_what_its_form_does_not_have(clusters: Product) -> None:
    secret = {"password": {"type": "string", "encryption": "aes256-gcm"}, "x": {"type": "number", "maximum": 1}}
    for name in ("keep", "refuse"):
        await clusters.action(name, inputs=secret, interlock={"form": {"undeclaredInputs": name}})
    sent = {"pasword": "hush-hush", "x": 2, **{f"more{number}": None for number in range(25)}}
    names = [name for name in sent if name != "x"]

    dry = await clusters.api.post("/v1/actions/refuse/runs?dry_run=true", json={"properties": sent})
    messages = [
        refused(await ask(clusters, sent, "refuse"), 422, "user_inputs_schema_invalid"),
        granted(dry, "dryRun")["refusal"]["message"],
        ", ".join((await shown(clusters, "refuse", sent))["errors"]),
    ]
    for message in messages:
        assert [name for name in names if f"/{name} is not declared" not in message] == []
        assert "hush-hush" not in message
    assert messages[0] == messages[1]
    assert ", /x " in messages[0], "what else is wrong is named, too"
    assert granted(await clusters.api.get("/v1/actions/runs"), "runs") == []
    granted(await ask(clusters, {"password": "hush-hush", "x": 1}, "refuse"), "run", status=202)
    assert (await shown(clusters, "refuse", {"x": 1}))["errors"] == []

    kept = granted(await ask(clusters, {"more": None, "y": [1]}, "keep"), "run", status=202)
    assert kept["properties"] == {"more": None, "y": [1]}
    assert (await shown(clusters, "keep", {"y": 1}))["errors"] == []
    refused(await ask(clusters, {"y": 1, "x": 2}, "keep"), 422, "user_inputs_schema_invalid", "/x")

    method, form = clusters.webhook(), {"undeclaredInputs": "drop"}
    trigger = {"type": "self-service", "operation": "CREATE", "userInputs": {"properties": {}}}
    other = {"identifier": "o", "trigger": trigger, "invocationMethod": method, "interlock": {"form": form}}
    refused(await clusters.api.post("/v1/actions", json=other), 422, "invalid_request", "undeclaredInputs")


async def test_options_are_sorted_searched_and_in_pages(clusters: Product) -> None:
    by_size = {"property": "size", "order": "DESC"}
    await clusters.action(
        inputs={
            "title": entity_of("cluster"),
            "size": entity_of("cluster", sort=by_size),
            "many": {
                "type": "array",
                "items": entity_of("cluster"),
                "sort": {"property": "$identifier", "order": "ASC"},
            },
            "nowhere": entity_of("gone"),
            "hidden": entity_of("cluster", visible=jq("false")),
            "locked": entity_of("cluster", disabled=True),
            "colour": {"type": "string", "enum": jq('["red", "green"]')},
        }
    )
    form = await shown(clusters)
    assert offered(form, "title") == ["us-1", "ap-1", "eu-1"]  # austin, Busan, Zürich
    assert offered(form, "size") == ["us-1", "eu-1", "ap-1"]
    assert offered(form, "many") == ["ap-1", "eu-1", "us-1"]
    assert offered(form, "nowhere") == []
    assert by_name(form)["title"]["options"]["entities"][0] == {"identifier": "us-1", "title": "austin", "icon": None}
    assert [name for name, one in by_name(form).items() if "options" not in one] == ["hidden", "locked"]

    for name, ordered in (("title", ["us-1", "ap-1", "eu-1"]), ("size", ["us-1", "eu-1", "ap-1"])):
        met, cursor = list[str](), dict[str, str]()
        for _ in range(4):
            form = await shown(clusters, options={name: {"limit": 1, **cursor}})
            assert sum("entities" in one.get("options", {}) for one in form["inputs"]) == 1
            met += offered(form, name)
            if "next" not in (page := by_name(form)[name]["options"]):
                break
            cursor = {"from": page["next"]}
        assert met == ordered
    form = await shown(
        clusters, options={"title": {"search": "ZÜR"}, "many": {"search": "US-"}, "colour": {"search": "RE"}}
    )
    assert (offered(form, "title"), offered(form, "many")) == (["eu-1"], ["us-1"])
    assert by_name(form)["colour"]["options"] == {"values": ["red", "green"]}
    at = "/v1/actions/deploy/form"
    for options, words in (
        ({"none": {}}, "options.none"),
        ({"title": {"limit": 101}}, "options.title.limit"),
        ({"title": {"limit": 0}}, "options.title.limit"),
        ({"title": {"from": "!"}}, "options.title.from"),
        ({"title": {"from": "WzFd"}}, "options.title.from"),
        ({"title": {"colour": 1}}, "options.title.colour"),
    ):
        refused(await clusters.api.post(at, json={"options": options}), 422, "invalid_request", words)


async def test_more_than_can_be_sorted_come_by_identifier(clusters: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.form_options.MOST_SORTED", 2)
    await clusters.action(inputs={"x": entity_of("cluster")})
    met, cursor = list[str](), dict[str, str]()
    for _ in range(3):
        form = await shown(clusters, options={"x": {"limit": 2, **cursor}})
        page = by_name(form)["x"]["options"]
        assert page["sorted"] is False
        met += offered(form, "x")
        if "next" not in page:
            break
        cursor = {"from": page["next"]}
    assert met == ["ap-1", "eu-1", "us-1"]
    form = await shown(clusters, options={"x": {"search": "busan"}})
    assert offered(form, "x") == ["ap-1"]


async def test_secrets_stay_in_memory(product: Product) -> None:
    inputs = {
        "pw": {"type": "string", "encryption": "aes256-gcm", "minLength": 3},
        "made": {"type": "string", "encryption": "aes256-gcm", "default": jq('"hunter" + "3"')},
        "like": {"type": "string", "enum": jq("[.form.pw]")},
        "copy": {"type": "string", "default": jq(".form.pw")},
    }
    await product.action(inputs=inputs)
    form = await shown(product, properties={"pw": "hunter2"})
    assert (by_name(form)["pw"]["value"], by_name(form)["made"]["value"]) == (MASK, MASK)
    refusal = await ask(product, {"pw": "hunter2", "like": "x"})
    refused(refusal, 422, "user_inputs_schema_invalid", "/like")
    run = granted(await ask(product, {"pw": "hunter2"}), "run", status=202)
    assert run["properties"]["copy"] == MASK
    secret = product.organization.client_secret
    assert decrypted(run["properties"]["made"], client_secret=secret) == "hunter3"
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    async with product.database.read() as session:
        tables = (await session.exec(text("SELECT name FROM sqlite_master WHERE type = 'table'"))).all()  # type: ignore[call-overload]
        rows = [(await session.exec(text(f'SELECT * FROM "{name}"'))).all() for (name,) in tables]  # type: ignore[call-overload]  # noqa: S608
    assert MASK in repr(rows)
    assert [word for word in ("hunter2", "hunter3") if word in repr([rows, form, refusal.text])] == []


async def test_a_hostile_program_is_an_error_within_limits(product: Product) -> None:
    endless = jq("def f: f; f")
    await product.action(inputs={"x": {"type": "string", "visible": endless}, "y": {"type": "string", "default": "a"}})
    started = time.monotonic()
    refused(await ask(product, {}), 422, "user_inputs_schema_invalid", "properties.x.visible could not be computed")
    form = await shown(product)
    assert time.monotonic() - started < 60
    assert by_name(form)["x"]["errors"][0].startswith("properties.x.visible could not be computed")
    assert by_name(form)["y"]["errors"] == []


async def test_what_has_no_form_is_refused(product: Product) -> None:
    event = {"type": "ENTITY_CREATED", "blueprintIdentifier": "service"}
    await product.entity("cart", properties={"frozen": True})
    await product.action("auto", trigger={"type": "automation", "event": event})
    frozen = {"property": "frozen", "operator": "!=", "value": True}
    trigger = {
        "type": "self-service", "operation": "DAY-2", "blueprintIdentifier": "service",
        "userInputs": {"properties": {}}, "condition": {"type": "SEARCH", "combinator": "and", "rules": [frozen]},
    }  # fmt: skip
    await product.action("scale", trigger=trigger)
    refused(await product.api.post("/v1/actions/none/form", json={}), 404, "not_found", "none")
    refused(await product.api.post("/v1/actions/auto/form", json={}), 422, "run_non_self_service_error")
    refused(await product.api.post("/v1/actions/auto/form", json={"colour": 1}), 422, "invalid_request", "colour")
    assert (await shown(product, "scale"))["errors"] == ["entity is required: the action runs on an entity of service"]
    assert (await shown(product, "scale", entity="cart"))["errors"] == [
        "entity does not meet the condition of action scale"
    ]


async def test_programs_that_are_wrong_are_stored_and_told(product: Product) -> None:
    action = await product.action(inputs={"x": {"type": "string", "default": jq("'Test'"), "enum": jq("Test")}})
    assert action["trigger"]["userInputs"]["properties"]["x"]["default"] == jq("'Test'")
    form = await shown(product)
    assert [warning.split(":")[0] for warning in form["warnings"]] == ["properties.x.default", "properties.x.enum"]
    granted(await ask(product, {}), "run", status=202)
    refused(await ask(product, {"x": "a"}), 422, "user_inputs_schema_invalid", "/x has no options to choose from")
