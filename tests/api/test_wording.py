"""Refusals of what routes are sent: one notation of places, the words of the product, and nothing long."""

from typing import Any

import pytest

from tests.api.answers import Json, refused
from tests.support.product import Product
from tests.support.wording import LEAKED

MOST = 5000
"""How long a message may be; what the largest of these requests says is 200 times as much."""
TEAMS, SCORECARDS, BULK = "/v1/teams", "/v1/blueprints/service/scorecards", "/v1/blueprints/service/entities/bulk"
RUNS, LOG = "/v1/actions/runs", "/v1/audit-log"
BODY = "the body: must be a JSON object, sent with Content-Type: application/json"
MOMENT = "must be a date-time such as 2026-01-02T03:04:05Z"

SAID: list[tuple[str, str, Any, str]] = [
    ("POST", TEAMS, {"name": ".."}, "name: must not be . or ..: programs that call us take them for places in a path"),
    ("POST", TEAMS, {"name": "a/b"}, r"name: must match ^[^\s/]([^/]*[^\s/])?$"),
    ("POST", TEAMS, {"name": ""}, "name: must not be empty"),
    ("POST", TEAMS, {"name": "x" * 101}, "name: must have at most 100 characters"),
    ("POST", TEAMS, {"name": 1, "users": ["a", 1]}, "users[1]: must be a string; name: must be a string"),
    ("POST", TEAMS, {}, "name: is required"),
    ("POST", TEAMS, {"name": "x", "a b": 1, "c": 1}, '["a b"]: unknown key; c: unknown key'),
    ("POST", TEAMS, [], BODY),
    ("POST", TEAMS, 1, BODY),
    ("PUT", SCORECARDS, 1, "the body: must be an array or an object"),
    ("PUT", SCORECARDS, [{"identifier": "a"}], "[0].title: is required; [0].rules: is required"),
    ("PUT", SCORECARDS, [1], "[0]: must be an object"),
    ("PUT", SCORECARDS, {"scorecards": [{}, 1]}, "scorecards[0].identifier: is required; scorecards[0].title: is "),
    ("POST", BULK, {"entities": []}, "entities: must not be empty"),
    ("POST", BULK, {"entities": [{}] * 51}, "entities: must have at most 50 values"),
    ("POST", f"{BULK}?upsert=perhaps", {"entities": [{}]}, "upsert: must be true or false"),
    ("GET", f"{RUNS}?limit=x", None, "limit: must be an integer"),
    ("GET", f"{RUNS}?limit=0", None, "limit: must be greater than or equal to 1"),
    ("GET", f"{RUNS}?limit=1001", None, "limit: must be less than or equal to 1000"),
    ("GET", f"{RUNS}?version=v3", None, "version: must be one of v1, v2"),
    ("GET", f"{LOG}?from=x", None, f"from: {MOMENT}"),
    ("GET", f"{LOG}?to=2024-06-09T12:28:18", None, "to: must have a time zone, as 2026-01-02T03:04:05Z has"),
    ("POST", "/v1/organization/secrets", {"secretName": "a b", "secretValue": "x"}, "secretName: must match ^["),
    ("PATCH", "/v1/actions/there/permissions", {"execute": {"users": 1}}, "execute.users: must be an array"),
]


@pytest.fixture
async def catalog(product: Product) -> Product:
    """The product with an action, a blueprint and an entity of it."""
    await product.action("there")
    await product.entity()
    return product


async def test_what_is_wrong_is_said_by_its_json_path(catalog: Product) -> None:
    for method, path, body, said in SAID:
        options: Json = {} if body is None else {"json": body}
        message = refused(await catalog.api.request(method, path, **options), 422, "invalid_request")
        assert message.startswith(said), f"{method} {path} {body}"


ROUTES: dict[tuple[str, str], tuple[str, ...]] = {
    ("POST", TEAMS): ("name", "description", "users"),
    ("POST", "/v1/users/invite"): ("invitee",),
    ("PATCH", "/v1/users/ada@example.com"): ("roles", "teams"),
    ("POST", BULK): ("entities",),
    ("POST", "/v1/blueprints/service/entities"): ("identifier", "title", "team", "properties", "relations"),
    ("PUT", SCORECARDS): ("scorecards",),
    ("POST", SCORECARDS): ("identifier", "title", "levels", "rules", "filter"),
    ("POST", "/v1/blueprints"): ("identifier", "schema", "relations", "mirrorProperties", "aggregationProperties"),
    ("POST", "/v1/actions"): ("identifier", "trigger", "invocationMethod", "requiredApproval", "interlock"),
    ("PATCH", "/v1/actions/there/permissions"): ("execute", "approve"),
    ("POST", "/v1/actions/there/runs"): ("properties", "entity"),
    ("PATCH", f"{RUNS}/r_0000000000000000"): ("status", "message", "link", "logs"),
    ("POST", f"{RUNS}/r_0000000000000000/logs"): ("message", "terminationStatus"),
    ("POST", "/v1/entities/search"): ("combinator", "rules"),
    ("POST", "/v1/entities/aggregate"): ("func", "query", "property"),
    ("POST", "/v1/organization/secrets"): ("secretName", "secretValue"),
    ("POST", "/v1/webhooks"): ("identifier", "title", "enabled", "mappings", "security"),
    ("POST", "/v1/auth/access_token"): ("clientId", "clientSecret"),
}
QUERIES: dict[str, tuple[str, ...]] = {
    RUNS: ("limit", "version", "source", "entity"),
    LOG: ("limit", "from", "to", "action", "status", "resources", "includes"),
    TEAMS: ("fields",),
    "/v1/users": ("fields",),
    "/v1/blueprints/service/entities": ("include", "exclude_calculated_properties"),
}
LONG = "x" * 500_000
VALUES: tuple[Any, ...] = (
    *(None, True, 1, -1.5, "", "x", "a b/..", "PT0S", [], [1], [[]], {}, {"a": 1}, {"a": {}}, {"value": 1}),
    *(LONG, [LONG], {LONG: LONG}, [{LONG: 1}] * 2, [1] * 5000),
)


def _stays_in_our_words(message: str) -> None:
    assert not [word for word in LEAKED if word in message], message[:MOST]
    assert len(message) < MOST, f"{len(message)} characters: {message[:300]}"


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=[" ".join(route) for route in ROUTES])
async def test_no_body_is_refused_in_words_of_python(catalog: Product, method: str, path: str) -> None:
    bodies = [*VALUES, *({name: value} for name in ROUTES[method, path] for value in VALUES)]
    refusals = 0
    for body in bodies:
        answer = await catalog.api.request(method, path, json=body)
        assert answer.status_code < 500, f"{body!r:.100}: {answer.text[:300]}"
        if answer.status_code >= 400:
            refusals += 1
            _stays_in_our_words(refused(answer, answer.status_code, None))
    assert refusals > len(bodies) / 2


async def test_no_query_is_refused_in_words_of_python(catalog: Product) -> None:
    for path, names in QUERIES.items():
        for name in names:
            for value in ("x", "-1", "1.5", "9" * 5000, "x" * 20_000, "2020", "true", "\x01"):
                answer = await catalog.api.get(path, params={name: value})
                assert answer.status_code < 500, f"{name} {value[:50]}: {answer.text[:300]}"
                if answer.status_code >= 400:
                    _stays_in_our_words(refused(answer, answer.status_code, None))


async def test_a_name_is_not_repeated_whole(catalog: Product) -> None:
    for path in (f"/v1/actions/{'n' * 5000}", f"/v1/blueprints/{'n' * 5000}", f"/v1/{'n' * 5000}"):
        assert len(refused(await catalog.api.get(path), 404, None)) < 400
    action = {"identifier": "x y" * 100_000, "invocationMethod": {"type": "KAFKA"}, "trigger": {"type": "self-service"}}
    said = refused(await catalog.api.post("/v1/actions", json=action), 422, "invalid_request")
    assert len(said) < 1000
    assert "is no action identifier: it must match ^" in said
