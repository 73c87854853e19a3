"""`port_blueprint`, `port_blueprint_relation` and `port_blueprint_permissions`, in the keys of the API."""

import asyncio
from typing import Any

from tests.clients import go
from tests.clients.go import ANY, BOOLEAN, INTEGER, NUMBER, STRING, Json, Map
from tests.clients.terraform import RefusedError, Wire, segment

_AUTHENTICATION: Json = {"clientId": STRING, "authorizationUrl": STRING, "tokenUrl": STRING}
_RELATION: Json = {
    "title": STRING,
    "description": STRING,
    "target": STRING,
    "required": BOOLEAN,
    "many": BOOLEAN,
    "type": STRING,
}
_DESCRIBED: Json = {"title": STRING, "description": STRING, "icon": STRING}
BLUEPRINT: Json = {
    "createdAt": STRING,
    "updatedAt": STRING,
    "createdBy": STRING,
    "updatedBy": STRING,
    "identifier": STRING,
    **_DESCRIBED,
    "schema": {
        "properties": Map(
            {
                "type": STRING,
                **_DESCRIBED,
                "items": Map(ANY),
                "default": ANY,
                "format": STRING,
                "dateFormat": STRING,
                **dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems"), INTEGER),
                "maximum": NUMBER,
                "minimum": NUMBER,
                "blueprint": STRING,
                "pattern": STRING,
                "enum": [ANY],
                "spec": STRING,
                "specAuthentication": _AUTHENTICATION,
                "enumColors": Map(STRING),
            }
        ),
        "required": [STRING],
    },
    "mirrorProperties": Map({"title": STRING, "path": STRING}),
    "calculationProperties": Map(
        {
            "type": STRING,
            **_DESCRIBED,
            "calculation": STRING,
            "items": {"type": STRING, "format": STRING},
            "default": ANY,
            "format": STRING,
            "dateFormat": STRING,
            "colorized": BOOLEAN,
            "colors": Map(STRING),
            "spec": STRING,
            "specAuthentication": _AUTHENTICATION,
        }
    ),
    "aggregationProperties": Map(
        {
            **_DESCRIBED,
            "target": STRING,
            "calculationSpec": Map(STRING),
            "query": ANY,
            "pathFilter": [{"fromBlueprint": STRING, "path": [STRING]}],
        }
    ),
    "changelogDestination": {"type": STRING, "url": STRING, "agent": BOOLEAN},
    "teamInheritance": {"path": STRING},
    "relations": Map(_RELATION),
    "ownership": {"type": STRING, "path": STRING, "title": STRING, "union": BOOLEAN},
    "includeInGlobalSearch": BOOLEAN,
}
_MIGRATION: Json = {
    **dict.fromkeys(("id", "actor", "sourceBlueprint", "status"), STRING),
    "mapping": ANY,
    **dict.fromkeys(("deleteBlueprint", "deleteEntities"), BOOLEAN),
    **dict.fromkeys(("failureCount", "successCount"), INTEGER),
}
_META = ("createdAt", "createdBy", "updatedAt", "updatedBy")
_ALWAYS = ("relations", "mirrorProperties", "calculationProperties")


async def blueprint_found(wire: Wire, identifier: str) -> Json:
    """A blueprint as the provider has it after reading: what it has no field for is gone."""
    path = f"/v1/blueprints/{segment(identifier)}"
    answer = await wire.call("GET", path, query={"exclude_calculated_properties": "true"})
    found: Json = go.read(BLUEPRINT, answer["blueprint"])
    return found


async def blueprint_put(wire: Wire, identifier: str, body: Json) -> Json:
    answer = await wire.call("PUT", f"/v1/blueprints/{segment(identifier)}", _written(body))
    written: Json = go.read(BLUEPRINT, answer["blueprint"])
    assert all(written.get(key) for key in _META), "they are followed without a look"
    return written


def _written(blueprint: Json) -> Json:
    """What is sent of a blueprint: three of its parts always, other empty ones never."""
    schema = {"properties": blueprint["schema"].get("properties") or {}}
    if blueprint["schema"].get("required"):
        schema["required"] = blueprint["schema"]["required"]
    rest = {key: value for key, value in blueprint.items() if key not in (*_ALWAYS, "schema", "title", "id")}
    title = {"title": blueprint["title"]} if blueprint.get("title") else {}
    body = {key: value for key, value in rest.items() if value is not None and value != {}}
    return {**body, **title, "schema": schema, **{key: blueprint.get(key) or {} for key in _ALWAYS}}


class Blueprint:
    """`port_blueprint`. Aggregations, and relations it did not make, belong to other resources."""

    def __init__(self, *, force: bool = False) -> None:
        """`force`: destroying it destroys its entities."""
        self.force = force

    def planned(self, config: Json) -> Json:
        """Relations are to one entity and not required, where nothing else is said."""
        relations = {
            name: {"many": False, "required": False, **relation}
            for name, relation in (config.get("relations") or {}).items()
        }
        schema = {"properties": {}, **(config.get("schema") or {})}
        return {**{key: {} for key in _ALWAYS}, **config, "schema": schema, "relations": relations}

    async def create(self, wire: Wire, plan: Json) -> str:
        """POST it."""
        answer = await wire.call("POST", "/v1/blueprints", _written(plan), query={"create_catalog_page": "true"})
        made = go.read(BLUEPRINT, answer["blueprint"])
        assert all(made.get(key) for key in _META), "they are followed without a look"
        return str(made["identifier"])

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """GET it, for what belongs to others; PUT it, once more before where a property gets another type."""
        existing = await blueprint_found(wire, state["identifier"])
        others = {name: one for name, one in existing["relations"].items() if name not in state["relations"]}
        kept = {"aggregationProperties": existing.get("aggregationProperties")}
        before, after = state["schema"]["properties"], plan["schema"]["properties"]
        turned = {name for name, one in after.items() if name in before and one["type"] != before[name]["type"]}
        if turned:
            schema = {
                "properties": {name: one for name, one in before.items() if name not in turned},
                "required": [name for name in state["schema"].get("required", ()) if name not in turned],
            }
            rest = {**state, **kept, "schema": schema, "relations": {**others, **state["relations"]}}
            await blueprint_put(wire, state["id"], rest)
        relations = {**others, **plan["relations"]}
        return str((await blueprint_put(wire, state["id"], {**plan, **kept, "relations": relations}))["identifier"])

    async def read(self, wire: Wire, state: Json) -> Json:
        """GET it. Of an import it takes all relations."""
        found = await blueprint_found(wire, state["identifier"])
        mine = state["relations"] if "relations" in state else found["relations"]
        relations = {name: one for name, one in found["relations"].items() if name in mine}
        rest = {key: value for key, value in found.items() if key not in (*_META, "aggregationProperties")}
        return {**{key: {} for key in _ALWAYS}, **rest, "relations": relations, "id": found["identifier"]}

    async def delete(self, wire: Wire, state: Json) -> None:
        """DELETE it, or it with its entities, and wait for that."""
        path = f"/v1/blueprints/{segment(state['identifier'])}"
        if not self.force:
            await wire.call("DELETE", path)
            return
        answer = await wire.call("DELETE", f"{path}/all-entities", query={"delete_blueprint": "true"})
        async with asyncio.timeout(20):
            while (await self._migration(wire, go.read(STRING, answer["migrationId"])))["status"] != "COMPLETED":
                await asyncio.sleep(0.02)  # it waits for five seconds

    @staticmethod
    async def _migration(wire: Wire, identifier: str) -> Json:
        answer = await wire.call("GET", f"/v1/migrations/{segment(identifier)}")
        read: Json = go.read(_MIGRATION, answer["migration"])
        assert read["status"] not in ("FAILURE", "CANCELLED")
        return read

    def imported(self, given: str) -> Json:
        """An import is given the identifier."""
        return {"identifier": given}


class BlueprintRelation:
    """`port_blueprint_relation`: one relation of a blueprint that somebody else may manage."""

    def planned(self, config: Json) -> Json:
        """To one entity, and not required, where nothing else is said."""
        return {"many": False, "required": False, **config}

    @staticmethod
    def _body(plan: Json) -> Json:
        return {key: plan[key] for key in _RELATION if plan.get(key) is not None}

    async def _patch(self, wire: Wire, plan: Json) -> str:
        body = {"relations": {plan["identifier"]: self._body(plan)}}
        answer = await wire.call("PATCH", f"/v1/blueprints/{segment(plan['blueprint'])}", body)
        go.read(BLUEPRINT, answer["blueprint"])
        return f"{plan['blueprint']}:{plan['identifier']}"

    async def create(self, wire: Wire, plan: Json) -> str:
        """Look that it is not there, and PATCH it in."""
        assert plan["identifier"] not in (await blueprint_found(wire, plan["blueprint"]))["relations"]
        return await self._patch(wire, plan)

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """PATCH it; what is taken away needs the whole blueprint by PUT."""
        if all(plan.get(key) or not state.get(key) for key in ("title", "description")):
            return await self._patch(wire, plan)
        found = await blueprint_found(wire, plan["blueprint"])
        found["relations"][plan["identifier"]] = self._body(plan)
        await blueprint_put(wire, plan["blueprint"], found)
        return f"{plan['blueprint']}:{plan['identifier']}"

    async def read(self, wire: Wire, state: Json) -> Json:
        """GET the blueprint."""
        relation = (await blueprint_found(wire, state["blueprint"]))["relations"].get(state["identifier"])
        if relation is None:
            raise RefusedError(404, "the blueprint has no such relation")
        names = {key: state[key] for key in ("blueprint", "identifier")}
        rest = {key: value for key, value in relation.items() if key != "type"}
        return {**rest, **names, "id": f"{state['blueprint']}:{state['identifier']}"}

    async def delete(self, wire: Wire, state: Json) -> None:
        """PUT the blueprint without it."""
        found = await blueprint_found(wire, state["blueprint"])
        del found["relations"][state["identifier"]]
        await blueprint_put(wire, state["blueprint"], found)

    def imported(self, given: str) -> Json:
        """An import is given both identifiers."""
        blueprint, identifier = given.split(":", 1)
        return {"blueprint": blueprint, "identifier": identifier}


_LISTS = ("users", "roles", "teams")
_BLOCK: Json = {**{name: [STRING] for name in _LISTS}, "ownedByTeam": BOOLEAN, "policy": Map(ANY)}
_ENTITIES: Json = {
    **dict.fromkeys(("read", "register", "unregister", "update"), _BLOCK),
    **dict.fromkeys(("updateProperties", "updateRelations"), Map(_BLOCK)),
}


class BlueprintPermissions:
    """`port_blueprint_permissions`: they are there as long as their blueprint is."""

    def planned(self, config: Json) -> Json:
        """Lists are written in order; who owns an entity may do nothing, where nothing else is said."""
        return {**config, "entities": {name: _ordered(block) for name, block in config["entities"].items()}}

    async def _patch(self, wire: Wire, plan: Json) -> str:
        path = f"/v1/blueprints/{segment(plan['blueprint'])}/permissions"
        answer = await wire.call("PATCH", path, {"entities": plan["entities"]})
        go.read({"entities": _ENTITIES}, answer["permissions"])
        return str(plan["blueprint"])

    async def create(self, wire: Wire, plan: Json) -> str:
        """There is nothing to make: they are changed."""
        return await self._patch(wire, plan)

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """PATCH them."""
        return await self._patch(wire, plan)

    async def read(self, wire: Wire, state: Json) -> Json:
        """GET them; who may read belongs to it only where the configuration says something about that."""
        answer = await wire.call("GET", f"/v1/blueprints/{segment(state['blueprint'])}/permissions")
        entities = go.read({"entities": _ENTITIES}, answer["permissions"])["entities"]
        for name in ("register", "unregister", "update"):
            assert entities[name]["ownedByTeam"] is not None, "it is followed without a look"
        if "read" not in (state.get("entities") or {}):
            entities.pop("read", None)
        for name in ("updateProperties", "updateRelations"):
            if not entities.get(name):
                entities.pop(name, None)
        return {"blueprint": state["blueprint"], "entities": entities, "id": state["blueprint"]}

    async def delete(self, wire: Wire, state: Json) -> None:
        """Only forgotten: they go with the blueprint."""

    def imported(self, given: str) -> Json:
        """An import is given the blueprint's identifier."""
        return {"blueprint": given}


def _ordered(block: Any) -> Any:
    if "roles" not in block and "users" not in block and "teams" not in block:
        return {name: _ordered(one) for name, one in block.items()}
    lists = {name: sorted(block.get(name) or ()) for name in _LISTS}
    return {"ownedByTeam": False, **{key: value for key, value in block.items() if key not in _LISTS}, **lists}
