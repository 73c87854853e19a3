"""A run is recorded as it was judged: what is taken away meanwhile counts, on both databases."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from api import recording
from api.requesting import Asking, Prepared, prepare
from api.services import ApiServices
from domain.actions import Action
from domain.jq import Evaluator
from domain.runs import Run
from tests.api.answers import granted, refused
from tests.support.product import Product, running

Meddle = Callable[[], Awaitable[httpx.Response]]
PATH = "/v1/actions/deploy"


@pytest.fixture
async def product(clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str) -> AsyncIterator[Product]:
    async with running(clock, evaluate, database_url, worker=False) as made:
        yield made


class Meddled:
    """Judges as ever; then, as often as told, somebody changes something before the run is recorded."""

    def __init__(self, meddle: Meddle, times: int = 1) -> None:
        self.judged, self._meddle, self._times = 0, meddle, times

    async def __call__(self, asking: Asking, services: ApiServices, so_far: Prepared) -> tuple[Action, Run]:
        found = await prepare(asking, services, so_far)
        self.judged += 1
        if self.judged <= self._times:
            answer = await self._meddle()
            assert answer.is_success, answer.text
        return found


async def meddled(
    product: Product, monkeypatch: pytest.MonkeyPatch, meddle: Meddle, headers: Any = None, *, times: int = 1
) -> tuple[httpx.Response, int]:
    """The answer to a request, and how often it was judged."""
    judge = Meddled(meddle, times)
    monkeypatch.setattr(recording, "prepare", judge)
    answer = await product.api.post(f"{PATH}/runs", json={"properties": {}}, headers=headers)
    return answer, judge.judged


async def count(product: Product) -> int:
    return len(granted(await product.api.get("/v1/actions/runs"), "runs"))


def permit(product: Product, **execute: Any) -> Meddle:
    return lambda: product.api.patch(f"{PATH}/permissions", json={"execute": execute})


async def test_nothing_that_changes_is_judged_once(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    await product.action()
    answer, judged = await meddled(product, monkeypatch, lambda: product.api.get(PATH), await product.person("a@x.io"))
    granted(answer, "run", status=202)
    assert (judged, await count(product)) == (1, 1)


@pytest.mark.parametrize("taken", [{"roles": ["Lead"]}, {"policy": {"queries": {}, "conditions": ["false"]}}])
async def test_who_is_taken_off_the_permissions_meanwhile_runs_nothing(
    product: Product, monkeypatch: pytest.MonkeyPatch, taken: dict[str, Any]
) -> None:
    await product.action()
    if "policy" in taken:
        query = {"combinator": "and", "rules": [{"property": "$identifier", "operator": "=", "value": "x"}]}
        taken = {"policy": {**taken["policy"], "queries": {"q": query}}}
    ada = await product.person("ada@x.io")
    answer, judged = await meddled(product, monkeypatch, permit(product, **taken), ada)
    refused(answer, 403, "missing_permissions")
    assert (judged, await count(product)) == (1, 0), "it is refused while it is judged again"


async def test_whose_role_is_taken_away_meanwhile_runs_nothing(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    await product.action()
    await permit(product, roles=["Lead"])()
    lead = await product.person("lead@x.io", "Lead")
    demote = lambda: product.api.patch("/v1/users/lead@x.io", json={"roles": ["Member"]})  # noqa: E731
    answer, _ = await meddled(product, monkeypatch, demote, lead)
    refused(answer, 403, "missing_permissions", "roles (Lead)")
    assert await count(product) == 0


async def test_who_is_deleted_meanwhile_runs_nothing(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    await product.action()
    ada = await product.person("ada@x.io")
    answer, _ = await meddled(product, monkeypatch, lambda: product.api.delete("/v1/users/ada@x.io"), ada)
    assert answer.status_code == 401, answer.text
    assert await count(product) == 0


async def test_a_new_version_is_what_runs(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    action = await product.action()
    changed = {
        "identifier": "deploy",
        "trigger": action["trigger"],
        "invocationMethod": product.webhook(),
        "title": "2",
    }
    answer, judged = await meddled(product, monkeypatch, lambda: product.api.put(PATH, json=changed))
    run = granted(answer, "run", status=202)
    assert (judged, run["action"]["title"], await count(product)) == (2, "2", 1)


async def test_an_action_that_is_deleted_meanwhile_is_not_there(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    await product.action()
    answer, judged = await meddled(product, monkeypatch, lambda: product.api.delete(PATH))
    assert (answer.status_code, judged, await count(product)) == (404, 1, 0), answer.text


async def test_what_changes_every_time_is_asked_again_later(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    await product.action()
    roles = iter(f"role-{number}" for number in range(100))
    meddle = lambda: permit(product, roles=["Member", next(roles)])()  # noqa: E731
    ada = await product.person("ada@x.io")
    answer, judged = await meddled(product, monkeypatch, meddle, ada, times=100)
    refused(answer, 503, "service_unavailable", "again and again")
    assert (judged, await count(product)) == (recording.ATTEMPTS, 0)
    answer, judged = await meddled(product, monkeypatch, meddle, ada, times=recording.ATTEMPTS - 1)
    granted(answer, "run", status=202)
