"""GitLab's webhooks: only what proves to be GitLab's counts, and what concerns no run of ours is ignored."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.jq import Evaluator
from store import runs
from tests.api.answers import refused
from tests.support.chat import without_temporal
from tests.support.gitlab import SECRET, SIGNING_TOKEN, documented, signed, with_token
from tests.support.product import Product

PATH = "/v1/integrations/gitlab/webhook"
EXTERNAL = "61"
"""What the run is called that the documented webhook is about."""
METHOD = {"type": "GITLAB", "groupName": "acme/platform", "projectName": "infra"}
NOBODY = {"ok": True, "ignored": "no run waits for this pipeline"}
Json = dict[str, Any]


@pytest.fixture
async def product(evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    async with without_temporal(evaluate, sqlite_url, gitlab_webhook_secret=SECRET) as product:
        yield product


@pytest.fixture
async def signing(evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    async with without_temporal(evaluate, sqlite_url, gitlab_webhook_secret=SIGNING_TOKEN) as product:
        yield product


async def waiting(product: Product, said: Json | None = None, **method: Any) -> str:
    """A run whose pipeline goes on; `said` is what has been reported about it."""
    await product.action(invocationMethod=METHOD | method)
    run_id: str = (await product.start())["id"]
    said = {"externalRunId": EXTERNAL} if said is None else said
    if said:
        answer = await product.api.patch(f"/v1/actions/runs/{run_id}", json=said)
        assert answer.status_code == 200, answer.text
    return run_id


def event(**attributes: Any) -> Json:
    payload = documented()
    payload["object_attributes"] |= attributes
    return payload


def naming(*run_ids: str, **attributes: Any) -> Json:
    variables = [{"key": f"RUN_{number}", "value": run_id} for number, run_id in enumerate(run_ids)]
    return event(variables=variables, **attributes)


async def told(product: Product, payload: Any) -> Json:
    """What we answer to a webhook."""
    headers = {"Authorization": "", **with_token()}
    answer = await product.api.post(PATH, content=json.dumps(payload).encode(), headers=headers)
    assert answer.status_code == 202, answer.text
    said: Json = answer.json()
    return said


@pytest.mark.parametrize(
    ("gitlabs", "status"),
    [("success", "SUCCESS"), ("failed", "FAILURE"), ("canceled", "FAILURE"), ("skipped", "FAILURE")],
)
async def test_a_run_ends_as_its_pipeline_ends(product: Product, gitlabs: str, status: str) -> None:
    run_id = await waiting(product)
    assert await told(product, event(status=gitlabs)) == {"ok": True, "runs": [run_id]}
    run = await product.get(run_id)
    assert (run["status"], run["updatedBy"], run["externalRunId"]) == (status, "interlock", EXTERNAL)
    assert run["link"] == [documented()["object_attributes"]["url"]]
    assert await product.logs(run_id) == [f"Pipeline completed: {gitlabs}"]


async def test_what_is_sent_again_changes_nothing(product: Product) -> None:
    run_id = await waiting(product)
    await told(product, event())
    ended = await product.get(run_id)
    for payload in (event(), event(status="failed")):
        assert await told(product, payload) == NOBODY
    assert await product.get(run_id) == ended
    assert len(await product.logs(run_id)) == 1


async def test_a_run_that_has_ended_by_itself_stays_as_it_is(product: Product) -> None:
    run_id = await waiting(product)
    said = {"status": "FAILURE", "summary": "tests are red"}
    await product.api.patch(f"/v1/actions/runs/{run_id}", json=said)
    ended = await product.get(run_id)
    assert await told(product, event()) == NOBODY
    assert await product.get(run_id) == ended
    assert await product.logs(run_id) == []


async def test_what_somebody_has_reported_stays(product: Product) -> None:
    said = {"externalRunId": EXTERNAL, "summary": "deployed 1.2.3", "link": "https://ci.example.test/1"}
    run_id = await waiting(product, said)
    await told(product, event(status="failed"))
    run = await product.get(run_id)
    assert (run["status"], run["summary"], run["link"]) == ("FAILURE", said["summary"], [said["link"]])


async def test_pipelines_of_other_projects_and_other_backends_end_nothing(product: Product) -> None:
    run_id = await waiting(product)
    other = event(url="https://gitlab.example.com/acme/other/-/pipelines/61")
    other["project"]["path_with_namespace"] = "acme/other"
    assert await told(product, other) == NOBODY
    assert await told(product, event(id=62)) == NOBODY
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"
    loud = event()
    loud["project"]["path_with_namespace"] = "Acme/Platform/Infra"
    assert (await told(product, loud))["runs"] == [run_id]


async def test_a_run_of_another_backend_with_the_same_external_id_is_left_alone(product: Product) -> None:
    await product.action(invocationMethod={"type": "WEBHOOK", "url": "http://127.0.0.1:1"})
    run_id = (await product.start())["id"]
    await product.api.patch(f"/v1/actions/runs/{run_id}", json={"externalRunId": EXTERNAL})
    assert await told(product, event()) == NOBODY
    assert await told(product, naming(run_id)) == NOBODY


async def test_a_project_that_was_renamed_meanwhile_is_known_by_the_page(product: Product) -> None:
    page = documented()["object_attributes"]["url"]
    run_id = await waiting(product, {"externalRunId": EXTERNAL, "link": page})
    renamed = event()
    renamed["project"]["path_with_namespace"] = "acme/new"
    assert (await told(product, renamed))["runs"] == [run_id]


async def test_a_webhook_before_our_request_was_answered_is_known_by_the_run_among_its_variables(
    product: Product,
) -> None:
    run_id = await waiting(product, {})
    assert await told(product, naming("r_ffffffffffffffff", f"x {run_id}")) == {"ok": True, "runs": [run_id]}
    run = await product.get(run_id)
    assert (run["status"], run["externalRunId"]) == ("SUCCESS", EXTERNAL)
    assert run["link"] == [documented()["object_attributes"]["url"]]


@pytest.mark.parametrize("source", ["parent_pipeline", "pipeline", "push", None])
async def test_a_child_that_got_the_variables_does_not_end_the_run_of_its_parent(
    product: Product, source: str | None
) -> None:
    run_id = await waiting(product, {})
    assert await told(product, naming(run_id, id=62, source=source)) == NOBODY
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_a_run_that_belongs_to_another_pipeline_is_not_ended_by_its_name(product: Product) -> None:
    run_id = await waiting(product, {"externalRunId": "60"})
    assert await told(product, naming(run_id)) == NOBODY
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_a_run_that_reports_a_link_to_another_pipeline_does_not_end_with_that(product: Product) -> None:
    other = "https://gitlab.example.com/acme/platform/infra/-/pipelines/99"
    run_id = await waiting(product, {"externalRunId": EXTERNAL, "link": other})
    assert await told(product, event(id=99, url=other)) == NOBODY
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"
    assert (await told(product, event()))["runs"] == [run_id], "its own one"


@pytest.mark.parametrize("odd", [0, -61, 10**25, 61.0, "61", True, None, [61]])
async def test_a_pipeline_with_an_odd_id_is_none(product: Product, odd: Any) -> None:
    run_id = await waiting(product)
    answer = await product.api.post(PATH, content=json.dumps(event(id=odd)).encode(), headers=with_token())
    refused(answer, 422, "invalid_request", "object_attributes")
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_other_events_and_moments_are_ignored(product: Product) -> None:
    run_id = await waiting(product)
    assert (await told(product, {"object_kind": "push"}))[
        "ignored"
    ] == "only events of the kind pipeline are of interest"
    for status in ("created", "pending", "running", "manual", "scheduled", "canceling"):
        assert (await told(product, event(status=status)))["ignored"] == "the pipeline goes on"
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_without_its_secret_token_nothing_is_believed(product: Product) -> None:
    run_id = await waiting(product)
    body = json.dumps(event()).encode()
    genuine = with_token()
    for given in (None, "", SECRET[:-1], SECRET + " x", SECRET.upper(), "\xe9"):
        others = [(name.encode(), value.encode()) for name, value in genuine.items() if name != "X-Gitlab-Token"]
        headers = others if given is None else [*others, (b"X-Gitlab-Token", given.encode("latin-1"))]
        answer = await product.api.post(PATH, content=body, headers=headers)
        assert SECRET not in refused(answer, 401, "unauthorized", "X-Gitlab-Token")
    refused(await product.api.post(PATH, content=body, headers=signed(body)), 401, "unauthorized", "X-Gitlab-Token")
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"
    assert (await told(product, event()))["runs"] == [run_id], "the same, with it"


async def test_a_secret_token_may_have_any_letters(evaluate: Evaluator, sqlite_url: str) -> None:
    async with without_temporal(evaluate, sqlite_url, gitlab_webhook_secret="schlüssel") as product:
        run_id = await waiting(product)
        others = [(name.encode(), value.encode()) for name, value in with_token("schlüssel").items()]
        answer = await product.api.post(PATH, content=json.dumps(event()).encode(), headers=others)
        assert answer.json() == {"ok": True, "runs": [run_id]}


async def test_what_the_signing_token_has_not_signed_is_refused(signing: Product) -> None:
    run_id = await waiting(signing)
    body = json.dumps(event()).encode()
    genuine = signed(body)
    now = datetime.now(UTC)
    another = "whsec_" + b64encode(b"another key").decode()
    for wrong in (
        with_token(),
        with_token(SIGNING_TOKEN),
        {**genuine, "webhook-signature": ""},
        {**genuine, "webhook-signature": genuine["webhook-signature"].removeprefix("v1,")},
        {**genuine, "webhook-signature": genuine["webhook-signature"].replace("v1,", "v2,")},
        {**genuine, "webhook-id": "another"},
        {**genuine, "webhook-timestamp": str(int(genuine["webhook-timestamp"]) + 1)},
        {name: value for name, value in genuine.items() if name != "webhook-id"},
        {name: value for name, value in genuine.items() if name != "webhook-timestamp"},
        signed(body + b" "),
        signed(body, another),
        signed(body, at=now - timedelta(minutes=6)),
        signed(body, at=now + timedelta(minutes=6)),
    ):
        refused(await signing.api.post(PATH, content=body, headers=wrong), 401, "unauthorized", "")
    assert (await signing.get(run_id))["status"] == "IN_PROGRESS"
    several = {**genuine, "webhook-signature": f"v1,AAAA {genuine['webhook-signature']}"}
    answer = await signing.api.post(PATH, content=body, headers=several)
    assert answer.json() == {"ok": True, "runs": [run_id]}


async def test_a_time_that_is_none_is_refused(signing: Product) -> None:
    body = b"{}"

    class Never(datetime):
        def timestamp(self) -> float:
            return 10.0**30

    headers = signed(body, at=Never(2026, 1, 1, tzinfo=UTC))
    refused(await signing.api.post(PATH, content=body, headers=headers), 401, "unauthorized", "no time in seconds")


async def test_what_proves_to_be_gitlabs_and_is_no_event_is_refused(product: Product) -> None:
    no_pipeline = {"object_kind": "pipeline", "project": {"path_with_namespace": "a/b"}}
    for body, words in (
        (b"", "JSON"),
        (b"[1]", "JSON object"),
        (json.dumps(no_pipeline).encode(), "object_attributes"),
        (json.dumps({**no_pipeline, "object_attributes": {"id": "1", "status": "success"}}).encode(), "object_attri"),
        (json.dumps({**no_pipeline, "object_attributes": {"id": True, "status": "success"}}).encode(), "object_attri"),
        (json.dumps(event() | {"project": {}}).encode(), "project"),
    ):
        refused(await product.api.post(PATH, content=body, headers=with_token()), 422, "invalid_request", words)


@pytest.mark.parametrize("odd", [{}, [], 1.5, True, None])
async def test_odd_values_where_texts_should_be_end_nothing(product: Product, odd: Any) -> None:
    run_id = await waiting(product, {})
    for key in ("source", "variables"):
        assert await told(product, naming(run_id) | event(**{key: odd})) == NOBODY
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_without_its_secret_the_door_is_closed(evaluate: Evaluator, sqlite_url: str) -> None:
    async with without_temporal(evaluate, sqlite_url) as product:
        answer = await product.api.post(PATH, content=b"{}", headers=with_token(""))
        refused(answer, 404, "not_configured", "INTERLOCK_GITLAB_WEBHOOK_SECRET")


async def test_its_workflow_is_told(product: Product) -> None:
    run_id = await waiting(product)
    await told(product, event())
    async with product.database.read() as session:
        assert (await runs.locked(session, run_id)).pending in ("start", "wake")
