"""`port_action_permissions` as the provider writes and reads them."""

from tests.clients import go
from tests.clients.go import ANY, BOOLEAN, STRING, Json, Map
from tests.clients.terraform import Wire, segment

_LISTS = ("users", "roles", "teams")
_BLOCK: Json = {**{name: [STRING] for name in _LISTS}, "policy": Map(ANY)}
_PERMISSIONS: Json = {"execute": {**_BLOCK, "ownedByTeam": BOOLEAN}, "approve": _BLOCK}


class ActionPermissions:
    """`port_action_permissions`: they are there as long as their action is."""

    def planned(self, config: Json) -> Json:
        """Lists that are not named are empty; teams that own the entity may execute."""
        lists: Json = {name: [] for name in _LISTS}
        given = config["permissions"]
        return {
            **config,
            "permissions": {
                "execute": {**lists, "owned_by_team": True, **given["execute"]},
                "approve": {**lists, **given["approve"]},
            },
        }

    def body(self, plan: Json) -> Json:
        """What is sent: always all of it, with null for a policy that is not set."""
        blocks: Json = {}
        for name, block in plan["permissions"].items():
            policy = go.parsed(block.get("policy") or None)
            blocks[name] = {**{key: block[key] for key in _LISTS}, "policy": policy}
        blocks["execute"]["ownedByTeam"] = plan["permissions"]["execute"]["owned_by_team"]
        return blocks

    async def _put(self, wire: Wire, plan: Json) -> str:
        path = f"/v1/actions/{segment(plan['action_identifier'])}/permissions"
        answer = await wire.call("PATCH", path, self.body(plan))
        go.read(_PERMISSIONS, answer["permissions"])
        return str(plan["action_identifier"])

    async def create(self, wire: Wire, plan: Json) -> str:
        """There is nothing to make: they are changed."""
        return await self._put(wire, plan)

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """PATCH them."""
        return await self._put(wire, plan)

    async def read(self, wire: Wire, state: Json) -> Json:
        """GET them. Lists stand in the order the state has, where the members are the same."""
        action = state["action_identifier"]
        answer = await wire.call("GET", f"/v1/actions/{segment(action)}/permissions")
        found = go.read(_PERMISSIONS, answer["permissions"])
        blocks: Json = {}
        for name, block in found.items():
            old = (state.get("permissions") or {}).get(name) or {}
            # Each list is made into one of the state without a look whether there is one; null would be an empty one.
            blocks[name] = {key: _like(block.get(key) or [], old.get(key) or []) for key in _LISTS}
            blocks[name]["policy"] = go.encoded(block.get("policy"))
        blocks["execute"]["owned_by_team"] = found["execute"].get("ownedByTeam")
        return {"id": action, "action_identifier": action, "permissions": blocks}

    async def delete(self, wire: Wire, state: Json) -> None:
        """Only forgotten: they go with the action."""

    def imported(self, given: str) -> Json:
        """An import is given the action's identifier."""
        return {"action_identifier": given}


def _like(found: list[str], before: list[str]) -> list[str]:
    """What was found, in the order of before; what is new comes last."""
    return sorted(found, key=lambda one: before.index(one) if one in before else len(before))
