"""What integrations report and agents ask for over HTTP: kept, read back, and refused."""

from typing import Any

from domain.integrations import EXAMPLES_KEPT
from tests.api.answers import INSTANT, Json, granted, refused
from tests.api.test_integration_routes import ADDRESSES, INTEGRATION, MINE, RESERVED, install
from tests.support.product import Product


async def test_the_execution_agent_finds_that_there_are_no_workflows(product: Product) -> None:
    claim = {"installationId": "_PORT_EXEC_AGENT", "limit": 100}
    answer = await product.api.post("/v1/workflows/runs/claim-pending", json=claim, headers=RESERVED)
    assert granted(answer, "nodeRuns") == []
    answer = await product.api.patch("/v1/workflows/runs/ack", json={"nodeRunIdentifier": "wfnr_1"}, headers=RESERVED)
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "acked": False, "ackedCount": 0})
    answer = await product.api.get("/v1/workflows/nodes/runs?external_run_id=gh_1_2_3&include=nodeConfig")
    assert granted(answer, "nodeRuns") == []
    wrong: list[Any] = [{}, {"installationId": 1}, {"installationId": "a", "limit": "many"}, []]
    for body in wrong:
        refused(await product.api.post("/v1/workflows/runs/claim-pending", json=body), 422, "invalid_request")
    refused(await product.api.patch("/v1/workflows/runs/ack", json={"nodeRunIdentifier": 1}), 422, "invalid_request")


async def test_what_it_reports_can_be_read_newest_first(product: Product) -> None:
    mine = await install(product)
    logs, metrics, data = (mine[name]["ingestUrl"] for name in ADDRESSES)
    nobody = {"Authorization": ""}
    for number in range(3):
        answer = await product.api.post(logs, json={"logs": [{"message": str(number)}]}, headers=nobody)
        assert (answer.status_code, answer.json()) == (202, {"ok": True})
    assert (await product.api.post(metrics, json={"any": 1}, headers=nobody)).status_code == 202
    many = {"syncKindsMetrics": [{"kindIdentifier": "a"}, {"kindIdentifier": "b"}]}
    assert (await product.api.post(f"{metrics}/syncMetrics", json=many, headers=nobody)).status_code == 202
    odd = f"{metrics}/syncMetrics/resync/e/kind/%2Fapi%2Fv1%2Fusers"
    assert (await product.api.put(odd, json={"syncKindMetrics": {"c": 1}}, headers=nobody)).status_code == 202
    assert (await product.api.post(data, json={"items": [1]}, headers=nobody)).status_code == 202
    assert (await product.api.post(f"{data}/lake/items", json={"items": [2]}, headers=nobody)).status_code == 202

    said = granted(await product.api.get(f"{MINE}/logs?limit=2"), "logs")
    assert [line["message"] for line in said] == ["2", "1"]
    assert INSTANT.fullmatch(said[0]["receivedAt"])
    measured = [
        {key: value for key, value in one.items() if key != "receivedAt"}
        for one in granted(await product.api.get(f"{MINE}/metrics"), "metrics")
    ]
    assert measured == [{"c": 1}, {"kindIdentifier": "b"}, {"kindIdentifier": "a"}, {"any": 1}]
    last, first = granted(await product.api.get(f"{MINE}/data"), "data")
    assert (last["path"], last["body"], first["items"]) == ("lake/items", {"items": [2]}, [1])
    for limit in ("0", "1001", "x"):
        refused(await product.api.get(f"{MINE}/logs?limit={limit}"), 422, "invalid_request", "limit")


async def test_reports_to_nowhere_and_of_no_shape_are_refused(product: Product) -> None:
    mine = await install(product)
    logs, metrics, data = (mine[name]["ingestUrl"] for name in ADDRESSES)
    right: list[tuple[str, Json]] = [(logs, {"logs": []}), (metrics, {}), (data, {}), (f"{data}/x", {})]
    for url, body in right:
        wrong = url.replace(logs.rpartition("/")[2], "nobody-s-key")
        assert wrong != url
        message = refused(await product.api.post(wrong, json=body), 404, "not_found")
        assert "nobody-s-key" not in message
        assert (await product.api.post(url, json=body)).status_code == 202
    malformed: list[Any] = [{}, {"logs": 1}, {"logs": ["line"]}, {"logs": None}, [], "text"]
    for wrong in malformed:
        refused(await product.api.post(logs, json=wrong), 422, "invalid_request")
    no_measurements: list[Json] = [{}, {"syncKindsMetrics": {}}, {"syncKindsMetrics": [1]}]
    for body in no_measurements:
        refused(await product.api.post(f"{metrics}/syncMetrics", json=body), 422, "invalid_request", "syncKindsMetrics")
    one = f"{metrics}/syncMetrics/resync/e/kind/k"
    refused(await product.api.put(one, json={"syncKindMetrics": []}), 422, "invalid_request", "syncKindMetrics")
    refused(await product.api.post(logs, content=b'{"logs": [{"a": NaN}]}'), 422, "invalid_request")
    refused(await product.api.post(logs, json={"logs": [{"message": "x" * 2**20}]}), 413, "payload_too_large")
    assert granted(await product.api.get(f"{MINE}/logs"), "logs") == []


async def test_examples_are_kept_by_kind(product: Product) -> None:
    await install(product)
    odd = f"{MINE}/kinds/%2Fapi%2Fv1%2Fusers/examples"
    for number in range(EXAMPLES_KEPT + 5):
        assert (await product.api.post(odd, json={"examples": [{"n": number}]})).json() == {"ok": True}
    assert (await product.api.post(f"{MINE}/kinds/other/examples", json={"examples": [{"n": "x"}]})).is_success
    kept = granted(await product.api.get(odd), "examples")
    assert [one["n"] for one in kept] == list(range(EXAMPLES_KEPT + 4, 4, -1))
    assert len(granted(await product.api.get(f"{MINE}/kinds/other/examples"), "examples")) == 1

    no_examples: list[Json] = [{}, {"examples": {}}, {"examples": [1]}]
    for body in no_examples:
        refused(await product.api.post(odd, json=body), 422, "invalid_request", "examples")
    long = f"{MINE}/kinds/{'x' * 256}/examples"
    refused(await product.api.post(long, json={"examples": []}), 422, "invalid_request", "kind")
    nobody = f"{INTEGRATION}/nobody/kinds/other/examples"
    refused(await product.api.post(nobody, json={"examples": []}), 404, "not_found", "nobody")
    refused(await product.api.get(nobody), 404, "not_found", "nobody")
