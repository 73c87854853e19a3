"""`port_entity`, `port_team`, `port_webhook`, `port_scorecard` and `port_aggregation_properties`, in the API's keys."""

from typing import Any

from tests.clients import go
from tests.clients.go import ANY, BOOLEAN, STRING, Json, Map
from tests.clients.terraform import RefusedError, Wire, segment
from tests.clients.terraform_blueprints import blueprint_found, blueprint_put

_META = ("createdAt", "createdBy", "updatedAt", "updatedBy")
_TIMES: Json = dict.fromkeys(_META, STRING)
ENTITY: Json = {
    **_TIMES,
    **dict.fromkeys(("identifier", "title", "icon", "blueprint"), STRING),
    "team": [STRING],
    "properties": Map(ANY),
    "relations": Map(ANY),
    "scorecards": Map({"rules": [dict.fromkeys(("identifier", "status", "level"), STRING)], "level": STRING}),
}
_QUERY: Json = {"combinator": STRING, "conditions": [ANY]}
SCORECARD: Json = {
    **_TIMES,
    **dict.fromkeys(("identifier", "title", "blueprint"), STRING),
    "filter": _QUERY,
    "levels": [{"title": STRING, "color": STRING}],
    "rules": [{**dict.fromkeys(("identifier", "title", "description", "level"), STRING), "query": _QUERY}],
}
WEBHOOK: Json = {
    **_TIMES,
    **dict.fromkeys(("identifier", "title", "icon", "description", "webhookKey", "url"), STRING),
    "enabled": BOOLEAN,
    "security": dict.fromkeys(
        ("secret", "signatureHeaderName", "signatureAlgorithm", "signaturePrefix", "requestIdentifierPath"), STRING
    ),
    "mappings": [
        {
            **dict.fromkeys(("blueprint", "filter", "itemsToParse"), STRING),
            "operation": ANY,
            "entity": {
                "identifier": ANY,
                **dict.fromkeys(("title", "icon", "team"), STRING),
                "properties": Map(STRING),
                "relations": Map(ANY),
            },
        }
    ],
}
_FIELDS = (
    *("name", "provider", "description", "createdAt", "updatedAt"),
    *("users.firstName", "users.status", "users.email"),
)


class _Plain:
    """A kind whose attributes are the keys of the API."""

    def planned(self, config: Json) -> Json:
        """What is configured."""
        return config

    def imported(self, given: str) -> Json:
        """An import is given the identifier."""
        return {"identifier": given}


def _without_meta(found: Json) -> Json:
    assert all(found.get(key) for key in _META), "they are followed without a look"
    return {key: value for key, value in found.items() if key not in _META}


class Entity(_Plain):
    """`port_entity`."""

    def planned(self, config: Json) -> Json:
        """Both parts are there, if empty."""
        return {"properties": {}, "relations": {}, **config}

    async def _body(self, wire: Wire, plan: Json) -> Json:
        blueprint = await blueprint_found(wire, plan["blueprint"])
        body = {key: plan[key] for key in ("identifier", "icon", "team") if plan.get(key)}
        rest = {key: plan[key] for key in ("properties", "relations")}
        return {**body, **rest, "title": plan.get("title", ""), "blueprint": blueprint["identifier"]}

    async def create(self, wire: Wire, plan: Json) -> str:
        """POST it, over what may be there."""
        path = f"/v1/blueprints/{segment(plan['blueprint'])}/entities"
        query = {"upsert": "true", "run_id": ""}
        answer = await wire.call("POST", path, await self._body(wire, plan), query=query)
        found = go.read(ENTITY, answer["entity"])
        plan.setdefault("identifier", found["identifier"])
        return f"{plan['blueprint']}:{found['identifier']}"

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """PUT it to where it was."""
        path = f"/v1/blueprints/{segment(plan['blueprint'])}/entities/{segment(state['identifier'])}"
        answer = await wire.call("PUT", path, await self._body(wire, plan), query={"run_id": ""})
        return f"{plan['blueprint']}:{go.read(ENTITY, answer['entity'])['identifier']}"

    async def read(self, wire: Wire, state: Json) -> Json:
        """GET it without what is computed."""
        path = f"/v1/blueprints/{segment(state['blueprint'])}/entities/{segment(state['identifier'])}"
        answer = await wire.call("GET", path, query={"exclude_calculated_properties": "true"})
        found = _without_meta(go.read(ENTITY, answer["entity"]))
        found.pop("scorecards", None)
        team = found.pop("team", None)
        return {**found, **({"team": team} if team else {}), "id": f"{found['blueprint']}:{found['identifier']}"}

    async def delete(self, wire: Wire, state: Json) -> None:
        """DELETE it."""
        path = f"/v1/blueprints/{segment(state['blueprint'])}/entities/{segment(state['identifier'])}"
        await wire.call("DELETE", path)

    def imported(self, given: str) -> Json:
        """An import is given both identifiers."""
        blueprint, identifier = given.split(":", 1)
        return {"blueprint": blueprint, "identifier": identifier}


class Team(_Plain):
    """`port_team`, by its name."""

    async def create(self, wire: Wire, plan: Json) -> str:
        """POST it."""
        answer = await wire.call("POST", "/v1/teams", go.without_empty(plan))
        return str(go.read({"name": STRING, "users": [STRING]}, answer["team"])["name"])

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """PATCH it."""
        answer = await wire.call("PATCH", f"/v1/teams/{segment(state['name'])}", go.without_empty(plan))
        return str(go.read({"name": STRING, "users": [STRING]}, answer["team"])["name"])

    async def read(self, wire: Wire, state: Json) -> Json:
        """GET some fields of it."""
        answer = await wire.call("GET", f"/v1/teams/{segment(state['name'])}", query={"fields": list(_FIELDS)})
        shape = {"name": STRING, "description": STRING, "users": [{"email": STRING}], "createdAt": STRING}
        found = go.read(shape, answer["team"])
        assert found.pop("createdAt")
        users = sorted(user["email"] for user in found.get("users") or ())
        return {**found, "users": users, "id": found["name"]}

    async def delete(self, wire: Wire, state: Json) -> None:
        """DELETE it."""
        await wire.call("DELETE", f"/v1/teams/{segment(state['name'])}")

    def imported(self, given: str) -> Json:
        """An import is given the name."""
        return {"name": given}


class Webhook(_Plain):
    """`port_webhook`: an incoming one."""

    def planned(self, config: Json) -> Json:
        """Off, where nothing else is said."""
        return {"enabled": False, **config}

    async def create(self, wire: Wire, plan: Json) -> str:
        """POST it."""
        return self._known(await wire.call("POST", "/v1/webhooks", plan))

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """PUT it."""
        return self._known(await wire.call("PUT", f"/v1/webhooks/{segment(state['identifier'])}", plan))

    @staticmethod
    def _known(answer: Json) -> str:
        found = go.read(WEBHOOK, answer["integration"])
        assert found["webhookKey"]
        assert found["url"]
        return str(found["identifier"])

    async def read(self, wire: Wire, state: Json) -> Json:
        """GET it. The secret is never told: configurations have to ignore changes of it, as our documentation says."""
        answer = await wire.call("GET", f"/v1/webhooks/{segment(state['identifier'])}")
        found = _without_meta(go.read(WEBHOOK, answer["integration"]))
        assert "secret" not in found["security"]  # it is followed without a look whether it is there
        known = {key: value for key, value in (state.get("security") or {}).items() if key == "secret"}
        security = {"security": {**known, **found["security"]}} if found["security"] else {"security": None}
        rest = {key: value for key, value in found.items() if key not in ("webhookKey", "url")}
        return {**rest, **security, "id": self._known(answer)}

    async def delete(self, wire: Wire, state: Json) -> None:
        """DELETE it."""
        await wire.call("DELETE", f"/v1/webhooks/{segment(state['identifier'])}")


class Scorecard(_Plain):
    """`port_scorecard`."""

    @staticmethod
    def _path(of: Json, identifier: str | None = None) -> str:
        path = f"/v1/blueprints/{segment(of['blueprint'])}/scorecards"
        return path if identifier is None else f"{path}/{segment(identifier)}"

    async def create(self, wire: Wire, plan: Json) -> str:
        """POST it."""
        answer = await wire.call("POST", self._path(plan), plan)
        return str(go.read(SCORECARD, answer["scorecard"])["identifier"])

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """PUT it."""
        answer = await wire.call("PUT", self._path(plan, state["identifier"]), plan)
        return str(go.read(SCORECARD, answer["scorecard"])["identifier"])

    async def read(self, wire: Wire, state: Json) -> Json:
        """GET it."""
        answer = await wire.call("GET", self._path(state, state["identifier"]))
        found = _without_meta(go.read(SCORECARD, answer["scorecard"]))
        levels = {} if "levels" in state or "rules" not in state else {"levels": None}  # computed where not configured
        return {**found, **levels, "id": found["identifier"]}

    async def delete(self, wire: Wire, state: Json) -> None:
        """DELETE it."""
        await wire.call("DELETE", self._path(state, state["identifier"]))

    def imported(self, given: str) -> Json:
        """An import is given both identifiers."""
        blueprint, identifier = given.split(":", 1)
        return {"blueprint": blueprint, "identifier": identifier}


class Aggregations(_Plain):
    """`port_aggregation_properties`: those of one blueprint, which is written as a whole."""

    async def _written(self, wire: Wire, blueprint: str, properties: Any) -> str:
        found = await blueprint_found(wire, blueprint)
        found.pop("aggregationProperties", None)
        written = await blueprint_put(wire, blueprint, {**found, "aggregationProperties": properties})
        assert go.text(written.get("aggregationProperties") or {}) == go.text(properties)
        return blueprint

    async def create(self, wire: Wire, plan: Json) -> str:
        """PUT the blueprint with them."""
        return await self._written(wire, plan["blueprint"], plan["properties"])

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """PUT the blueprint with them."""
        return await self._written(wire, plan["blueprint"], plan["properties"])

    async def read(self, wire: Wire, state: Json) -> Json:
        """GET the blueprint."""
        found: Json = (await blueprint_found(wire, state["blueprint"])).get("aggregationProperties") or {}
        if not found:
            raise RefusedError(404, "the blueprint has none")
        return {"blueprint": state["blueprint"], "properties": found, "id": state["blueprint"]}

    async def delete(self, wire: Wire, state: Json) -> None:
        """PUT the blueprint without them."""
        await self._written(wire, state["blueprint"], {})

    def imported(self, given: str) -> Json:
        """An import is given the blueprint."""
        return {"blueprint": given}
