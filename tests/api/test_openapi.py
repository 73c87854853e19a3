"""The OpenAPI document: every route says what it takes and what it answers."""

from tests.api.answers import Json
from tests.support.product import Product

SUCCESS = {
    ("post", "/v1/auth/access_token"): "200",
    ("post", "/v1/actions"): "200",
    ("get", "/v1/actions"): "200",
    ("get", "/v1/actions/{action_id}"): "200",
    ("put", "/v1/actions/{action_id}"): "200",
    ("delete", "/v1/actions/{action_id}"): "200",
    ("get", "/v1/actions/{action_id}/permissions"): "200",
    ("patch", "/v1/actions/{action_id}/permissions"): "200",
    ("post", "/v1/actions/{action_id}/runs"): "202",
    ("get", "/v1/actions/runs"): "200",
    ("get", "/v1/actions/runs/{run_id}"): "200",
    ("patch", "/v1/actions/runs/{run_id}"): "200",
    ("post", "/v1/actions/runs/{run_id}/logs"): "201",
    ("get", "/v1/actions/runs/{run_id}/logs"): "200",
    ("patch", "/v1/actions/runs/{run_id}/response"): "200",
    ("post", "/v1/actions/runs/{run_id}/cancel"): "200",
    ("patch", "/v1/actions/runs/{run_id}/approval"): "201",
    ("get", "/v1/actions/runs/{run_id}/approvers"): "200",
    ("post", "/v1/organization/secrets"): "200",
    ("get", "/v1/organization/secrets"): "200",
    ("get", "/v1/organization/secrets/{name}"): "200",
    ("patch", "/v1/organization/secrets/{name}"): "200",
    ("delete", "/v1/organization/secrets/{name}"): "200",
}

BACKENDS = {"WEBHOOK", "KAFKA", "GITHUB", "GITLAB", "AZURE_DEVOPS", "UPSERT_ENTITY", "INTEGRATION_ACTION"}


async def _document(product: Product) -> Json:
    answer = await product.api.get("/openapi.json", headers={"Authorization": ""})
    assert answer.status_code == 200
    document: Json = answer.json()
    return document


def _resolved(document: Json, schema: Json) -> Json:
    while "$ref" in schema:
        assert schema["$ref"].startswith("#/")
        found = document
        for part in schema["$ref"][2:].split("/"):
            found = found[part]
        schema = found
    return schema


async def test_every_route_documents_its_statuses_and_the_one_shape_of_errors(product: Product) -> None:
    document = await _document(product)
    for (method, path), success in SUCCESS.items():
        operation = document["paths"][path][method]
        declared = set(operation["responses"])
        if (method, path) == ("post", "/v1/actions/{action_id}/runs"):
            declared.remove("200")  # a dry run
        assert {code for code in declared if code.startswith("2")} == {success}, f"{method} {path}"
        expected = {"401", "422"}
        if "{" in path:
            expected.add("404")
        if "requestBody" in operation:
            expected.add("413")
        if method != "get" and path not in ("/v1/auth/access_token",):
            expected.add("403")
        if (method, path) in {("post", "/v1/actions"), ("put", "/v1/actions/{action_id}")}:
            expected.add("409")
        assert expected <= declared, f"{method} {path} does not declare {sorted(expected - declared)}"
        for code in declared - {success}:
            schema = operation["responses"][code]["content"]["application/json"]["schema"]
            assert set(_resolved(document, schema)["properties"]) == {"ok", "error", "message"}, (
                f"{method} {path} {code}"
            )
        assert operation.get("summary") or operation.get("description"), f"{method} {path}"


async def test_an_invocation_method_is_one_of_the_backends(product: Product) -> None:
    document = await _document(product)
    content = document["paths"]["/v1/actions"]["post"]["requestBody"]["content"]
    action = _resolved(document, content["application/json"]["schema"])
    assert {"identifier", "trigger", "invocationMethod", "requiredApproval"} <= set(action["properties"])
    assert {"identifier", "trigger", "invocationMethod"} <= set(action["required"])
    method = _resolved(document, action["properties"]["invocationMethod"])
    types = set()
    for one in method["oneOf"]:
        kind = _resolved(document, one)["properties"]["type"]
        types |= set(kind.get("enum", [kind.get("const")]))
    assert types >= BACKENDS
    assert method["discriminator"]["propertyName"] == "type"
    assert (
        _resolved(
            document,
            document["paths"]["/v1/actions/{action_id}"]["put"]["requestBody"]["content"]["application/json"]["schema"],
        )
        == action
    )


async def test_every_reference_leads_somewhere_and_every_operation_has_its_own_id(product: Product) -> None:
    document = await _document(product)
    seen = 0

    def follow(value: object) -> None:
        nonlocal seen
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                _resolved(document, value)
                seen += 1
            for part in value.values():
                follow(part)
        elif isinstance(value, list):
            for part in value:
                follow(part)

    follow(document)
    assert seen > 10
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)


async def test_a_client_can_see_how_to_authenticate(product: Product) -> None:
    document = await _document(product)
    schemes = document.get("components", {}).get("securitySchemes", {})
    assert schemes, "no security scheme is declared"
