"""Who may do what with the entities of a blueprint."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

from pydantic import Field, SerializerFunctionWrapHandler, StrictBool, model_serializer

from domain import policies
from domain.blueprints import Definition
from domain.documents import Document
from domain.entities import Entity
from domain.errors import Forbidden, InvalidRequest
from domain.models import Kept, Written
from domain.permissions import Allowed, Answer, Denied, Lists, Policy
from domain.shapes import MAX_PROBLEMS, json_path
from domain.users import ADMIN, Caller, User

METADATA = ("$identifier", "$title", "$icon", "$team")
"""What can be changed of every entity besides its properties and relations."""

_ABSENT = object()


class Block(Lists):
    """Who may do one thing. One hit is enough; where there is a policy, it decides alone."""

    roles: tuple[str, ...] = (ADMIN,)
    owned_by_team: bool = False
    """Also whoever shares a team with the entity."""

    @model_serializer(mode="wrap")
    def _without_no_policy(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = handler(self)
        if self.policy is None:
            document.pop("policy", None)
        return document

    def allows(self, user: User, teams: Collection[str]) -> Answer:
        """Whether the lists let the person, with an entity of those teams; a policy is for others to ask."""
        answer = self.admit(user)
        if answer or not self.owned_by_team:
            return answer
        if shared := set(teams) & set(user.teams):
            return Allowed(f"ownedByTeam: the entity belongs to {', '.join(sorted(shared))}")
        return Denied(f"{answer.reason}, and no team of theirs owns the entity")


class Judge(Protocol):
    """Decides policies about what somebody wants to do with an entity: its catalog and its jq are settled."""

    async def __call__(self, policy: Policy, user: User, entity: Entity) -> bool:
        """Whether the policy lets the person.

        Raises:
            Unavailable: it cannot be decided now.
        """
        ...


class EntityPermissions(Kept):
    """What people may do with the entities."""

    read: Block | None = None
    """Whoever reads them; None: everybody. See `domain.readers`."""
    registering: Block = Field(default_factory=Block, alias="register")  # pydantic's classes have a `register`
    unregister: Block = Field(default_factory=Block)
    update: Block = Field(default_factory=Block)
    """Who may change everything; the others change what the blocks below let them."""
    update_properties: dict[str, Block] = Field(default_factory=dict)
    update_relations: dict[str, Block] = Field(default_factory=dict)


class BlueprintPermissions(Kept):
    """The permissions of one blueprint."""

    entities: EntityPermissions = Field(default_factory=EntityPermissions)

    def document(self) -> Document:
        """The permissions as the API tells them."""
        document = self.model_dump(mode="json")
        if self.entities.read is None:
            del document["entities"]["read"]
        return document

    def of(self, definition: Definition, renamed: Mapping[str, str] | None = None) -> "BlueprintPermissions":
        """With a block for everything that entities of the blueprint have, and for nothing else.

        `renamed` says what keys of it are called now that were called otherwise when these were written.
        """
        names = {now: before for before, now in (renamed or {}).items()}
        parts = self.entities
        properties = (*definition.properties, *METADATA)
        return self._with(
            update_properties={key: parts.update_properties.get(names.get(key, key), Block()) for key in properties},
            update_relations={
                key: parts.update_relations.get(names.get(key, key), Block()) for key in definition.relations
            },
        )

    def patched(self, patch: "BlueprintPermissionsPatch") -> "BlueprintPermissions":
        """With the lists that are named replaced; those that are not stay.

        Raises:
            InvalidRequest: it names a property or relation that the blueprint has not, or a policy cannot be asked.
        """
        said, parts = patch.entities, self.entities
        if said is None:
            return self
        faults = [
            *_strangers("updateProperties", said.update_properties, parts.update_properties, "property"),
            *_strangers("updateRelations", said.update_relations, parts.update_relations, "relation"),
            *_policy_faults(said),
        ]
        if faults:
            raise InvalidRequest("; ".join(faults[:MAX_PROBLEMS]))
        return self._with(
            read=_patched(parts.read or Block(), said.read) if said.read else parts.read,
            registering=_patched(parts.registering, said.registering),
            unregister=_patched(parts.unregister, said.unregister),
            update=_patched(parts.update, said.update),
            update_properties=_all_patched(parts.update_properties, said.update_properties),
            update_relations=_all_patched(parts.update_relations, said.update_relations),
        )

    def _with(self, **parts: Any) -> "BlueprintPermissions":
        return BlueprintPermissions(entities=self.entities.model_copy(update=parts))


class BlockPatch(Written):
    """What a request says about one thing."""

    users: list[str] | None = None
    roles: list[str] | None = None
    teams: list[str] | None = None
    owned_by_team: StrictBool | None = None
    policy: Policy | None = None


class EntityPermissionsPatch(Written):
    """What a request says about entities."""

    read: BlockPatch | None = None
    registering: BlockPatch | None = Field(default=None, alias="register")
    unregister: BlockPatch | None = None
    update: BlockPatch | None = None
    update_properties: dict[str, BlockPatch | None] | None = None
    update_relations: dict[str, BlockPatch | None] | None = None


class BlueprintPermissionsPatch(Written):
    """The body of PATCH `/v1/blueprints/{blueprint}/permissions`."""

    entities: EntityPermissionsPatch | None = None


async def refuse(
    permissions: BlueprintPermissions, caller: Caller, before: Entity | None, after: Entity | None, judge: Judge | None
) -> None:
    """Nothing, if the caller may make `after` of `before`; None is an entity that is not there.

    Whoever may `update` may change everything; others need the block of each property and relation that changes. Of
    a change it counts what the entity was before, and to whom it belonged. Policies are asked of the judge, each once;
    without one they let nobody through.

    Raises:
        Forbidden: the message names the blueprint, and each permission that is missing.
        Unavailable: a policy cannot be decided now.
    """
    known = before or after
    if caller.is_admin or known is None:
        return
    parts, asking = permissions.entities, _Asking(caller, known, judge)
    if before is None:
        missing = await asking.missing({"register": parts.registering})
    elif after is None:
        missing = await asking.missing({"unregister": parts.unregister})
    else:
        missing = await _missing_to_change(parts, asking, before, after)
    if missing:
        raise Forbidden(f"{caller.name} lacks permissions of blueprint {known.blueprint!r}: {'; '.join(missing)}")


class _Asking:
    """Whether blocks let the caller through with an entity; a policy that several have is asked once."""

    def __init__(self, caller: Caller, entity: Entity, judge: Judge | None) -> None:
        self._caller, self._entity, self._judge = caller, entity, judge
        self._said: dict[str, Answer] = {}

    async def missing(self, blocks: Mapping[str, Block | None]) -> list[str]:
        """The first of the blocks that do not let them through, each with the reason."""
        found: list[str] = []
        for path, block in blocks.items():
            if block is None:
                found.append(f"entities.{path}, which nobody can be given: the blueprint does not declare it")
            elif not (answer := await self._answer(block)):
                found.append(f"entities.{path}: {answer.reason}")
            if len(found) == MAX_PROBLEMS:
                break
        return found

    async def any_allows(self, blocks: Iterable[Block]) -> bool:
        """Whether one of the blocks lets them through; lists are looked at before policies are asked."""
        for block in sorted(blocks, key=lambda block: block.policy is not None):
            if await self._answer(block):
                return True
        return False

    async def _answer(self, block: Block) -> Answer:
        if self._caller.user is None:
            return Denied("no person asks")
        if block.policy is None:
            return block.allows(self._caller.user, self._entity.team)
        key = json.dumps(block.policy, sort_keys=True)
        if key not in self._said:
            self._said[key] = await self._decided(Policy.model_validate(block.policy), self._caller.user)
        return self._said[key]

    async def _decided(self, policy: Policy, user: User) -> Answer:
        if self._judge is None:
            return Denied("it has a policy, and there is nobody to ask it of")
        if await self._judge(policy, user, self._entity):
            return Allowed("its policy says so")
        return Denied(f"its policy does not let {user.email}")


async def _missing_to_change(parts: EntityPermissions, asking: _Asking, before: Entity, after: Entity) -> list[str]:
    whole = await asking.missing({"update": parts.update})
    if not whole:
        return []
    of_properties = {json_path(["updateProperties", key]): block for key, block in parts.update_properties.items()}
    of_relations = {json_path(["updateRelations", key]): block for key, block in parts.update_relations.items()}
    blocks = {**of_properties, **of_relations}
    changing = [json_path(path) for path in _changing(before, after)]
    if not changing:  # whoever could change something of it may also write it as it is
        return [] if await asking.any_allows(blocks.values()) else whole
    refused = await asking.missing({path: blocks.get(path) for path in changing})
    return [*whole, *refused] if refused else []


def _changing(before: Entity, after: Entity) -> Iterator[list[str | int]]:
    for key in METADATA:
        name = key.removeprefix("$")
        if getattr(before, name) != getattr(after, name):
            yield ["updateProperties", key]
    for key in _differing(before.properties, after.properties):
        yield ["updateProperties", key]
    for key in _differing(before.relations, after.relations):
        yield ["updateRelations", key]


def _differing(before: Mapping[str, object], after: Mapping[str, object]) -> Iterable[str]:
    return (key for key in dict.fromkeys((*before, *after)) if before.get(key, _ABSENT) != after.get(key, _ABSENT))


def _strangers(part: str, said: Mapping[str, object] | None, known: Collection[str], kind: str) -> Iterator[str]:
    for key in said or {}:
        if key not in known:
            yield f"{json_path(['entities', part, key])}: the blueprint has no such {kind}"


def _policy_faults(said: EntityPermissionsPatch) -> Iterator[str]:
    whole = {"read": said.read, "register": said.registering, "unregister": said.unregister, "update": said.update}
    for path, block in (
        *((["entities", key], block) for key, block in whole.items()),
        *((["entities", "updateProperties", key], block) for key, block in (said.update_properties or {}).items()),
        *((["entities", "updateRelations", key], block) for key, block in (said.update_relations or {}).items()),
    ):
        if block is not None and block.policy is not None:
            yield from policies.faults(block.policy, [*path, "policy"])


def _patched(block: Block, patch: BlockPatch | None) -> Block:
    """With the keys that the request names; null clears a policy and means nothing elsewhere."""
    if patch is None:
        return block
    said = {name: getattr(patch, name) for name in patch.model_fields_set}
    return block.model_copy(
        update={
            name: tuple(dict.fromkeys(value))
            if isinstance(value, list)
            else value.model_dump(mode="json")
            if isinstance(value, Policy)
            else value
            for name, value in said.items()
            if value is not None or name == "policy"
        }
    )


def _all_patched(blocks: Mapping[str, Block], said: Mapping[str, BlockPatch | None] | None) -> dict[str, Block]:
    return {key: _patched(block, (said or {}).get(key)) for key, block in blocks.items()}
