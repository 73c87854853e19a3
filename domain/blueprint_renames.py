"""Another key for a property, a mirror or a relation of a blueprint, and what has to follow it in all blueprints."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from pydantic import AliasChoices, Field, JsonValue

from domain.blueprints import Definition
from domain.documents import Document
from domain.errors import Forbidden, IdentifierTaken, NotFound
from domain.models import Written
from domain.property_schemas import Key
from domain.system_blueprints import structure


class Part(StrEnum):
    """What is renamed."""

    PROPERTY = "Property"
    MIRROR = "Mirror property"
    RELATION = "Relation"


class PropertyRename(Written):
    """The body of PATCH `.../properties/{property}/rename`."""

    new: Key = Field(validation_alias=AliasChoices("newPropertyIdentifier", "newIdentifier"))


class MirrorRename(Written):
    """The body of PATCH `.../mirror/{property}/rename`."""

    new: Key = Field(validation_alias=AliasChoices("newMirrorIdentifier", "newIdentifier"))


class RelationRename(Written):
    """The body of PATCH `.../relations/{relation}/rename`."""

    new: Key = Field(validation_alias=AliasChoices("newRelationIdentifier", "newIdentifier"))


@dataclass(frozen=True)
class Rename:
    """A key of a blueprint, and what it is to be called."""

    part: Part
    old: str
    new: str

    def renamed(self, definitions: Mapping[str, Definition], blueprint: str) -> dict[str, Document]:
        """The documents of the blueprints that change by it, of all there are: the blueprint, and who names the key.

        Paths and aggregations follow. The text of jq programs does not: nobody can tell what a word in it means.

        Raises:
            NotFound: the blueprint has no such key.
            Forbidden: it is of the system's part of a system blueprint.
            IdentifierTaken: it has the new one, of whatever it is.
        """
        definition = definitions[blueprint]
        if self.old not in self._holder(definition):
            raise NotFound(f"{self.part} of {blueprint}", self.old)
        shipped = structure(blueprint)
        if shipped is not None and self.old in self._holder(Definition.stored(shipped)):
            raise Forbidden(f"{self.old!r} is a part of the system blueprint {blueprint} and keeps its name")
        if self.old == self.new:
            return {}
        if self.new in _keys(definition):
            raise IdentifierTaken(f"Key of {blueprint}", self.new)
        after = {identifier: copy.deepcopy(one.document) for identifier, one in definitions.items()}
        self._rename_key(after[blueprint])
        follower = _Follower(self, blueprint, _targets(definitions))
        for identifier, document in after.items():
            follower.follow(identifier, document)
        return {
            identifier: document
            for identifier, document in after.items()
            if identifier == blueprint or document != definitions[identifier].document
        }

    def in_entity(self, entity: Document) -> Document:
        """The entity as it is stored, with the key renamed; the very same when it does not have it.

        A property of the new name that the blueprint did not declare gives way.
        """
        part = {Part.PROPERTY: "properties", Part.RELATION: "relations"}.get(self.part)
        holder = entity.get(part) if part else None
        if part is None or not isinstance(holder, dict) or self.old not in holder:
            return entity
        return {**entity, part: self._keyed({key: value for key, value in holder.items() if key != self.new})}

    @property
    def turned(self) -> Self:
        """The same the other way round."""
        return replace(self, old=self.new, new=self.old)

    def in_scorecard(self, scorecard: Document) -> Document:
        """The scorecard of the blueprint as it was written, with its conditions about the key by its new name."""
        after = copy.deepcopy(scorecard)
        rules = after.get("rules")
        for rule in [after, *(rules if isinstance(rules, list) else ())]:
            if isinstance(rule, dict):
                self._in_conditions(rule.get("filter" if rule is after else "query"))
        return after

    def in_automation(self, automation: Document, blueprint: str) -> Document:
        """The definition, listening to the timer property of the blueprint by its new name; the same if it does not."""
        trigger: Any = automation.get("trigger")
        event = trigger.get("event") if isinstance(trigger, dict) else None
        named = {"blueprintIdentifier": blueprint, "propertyIdentifier": self.old}
        if self.part is not Part.PROPERTY or not isinstance(event, dict) or not named.items() <= event.items():
            return automation
        return {**automation, "trigger": {**trigger, "event": {**event, "propertyIdentifier": self.new}}}

    def _in_conditions(self, group: Any) -> None:
        if not isinstance(group, dict):
            return
        if self.part is Part.RELATION and group.get("relation") == self.old:
            group["relation"] = self.new
        if self.part is not Part.RELATION and group.get("property") == self.old:
            group["property"] = self.new
        for key in ("conditions", "rules"):
            parts = group.get(key)
            for part in parts if isinstance(parts, list) else ():
                self._in_conditions(part)

    def _holder(self, definition: Definition) -> Mapping[str, object]:
        match self.part:
            case Part.PROPERTY:
                return definition.properties
            case Part.MIRROR:
                return definition.mirror_properties
            case Part.RELATION:
                return definition.relations

    def _rename_key(self, document: Document) -> None:
        match self.part:
            case Part.PROPERTY:
                schema: Any = document["schema"]
                schema["properties"] = self._keyed(schema["properties"])
                if schema.get("required"):
                    schema["required"] = [self.new if key == self.old else key for key in schema["required"]]
            case Part.MIRROR:
                document["mirrorProperties"] = self._keyed(document["mirrorProperties"])
            case Part.RELATION:
                document["relations"] = self._keyed(document["relations"])

    def _keyed(self, holder: Any) -> Document:
        return {self.new if key == self.old else key: value for key, value in holder.items()}


@dataclass(frozen=True)
class _Follower:
    """Puts the new key where a document names the old one. Relations still lead as they did before."""

    rename: Rename
    blueprint: str
    targets: Mapping[str, Mapping[str, str]]
    """Where the relations of each blueprint lead, by their old names."""

    def follow(self, identifier: str, document: Document) -> None:
        """Change what the document of a blueprint says about the key."""
        for mirror in _objects(document.get("mirrorProperties")):
            mirror["path"] = self._path(identifier, mirror["path"], to_value=True)
        for key in ("ownership", "teamInheritance"):
            owner = document.get(key)
            if isinstance(owner, dict) and isinstance(owner.get("path"), str):
                owner["path"] = self._path(identifier, str(owner["path"]), to_value=False)
        for aggregation in _objects(document.get("aggregationProperties")):
            self._aggregation(identifier, aggregation)

    def _path(self, start: str, path: str, *, to_value: bool) -> str:
        *names, last = path.split(".")
        if not to_value:
            return ".".join(self._relations(start, [*names, last]))
        at: str | None = start
        for name in names:
            at = self._next(at, name)
        return ".".join([*self._relations(start, names), self._value(at, last)])

    def _relations(self, start: str | None, names: list[Any]) -> list[Any]:
        followed, at = [], start
        for name in names:
            plain = name.get("relation") if isinstance(name, dict) else name
            hit = at == self.blueprint and plain == self.rename.old and self.rename.part is Part.RELATION
            new = {**name, "relation": self.rename.new} if isinstance(name, dict) else self.rename.new
            followed.append(new if hit else name)
            at = self._next(at, plain)
        return followed

    def _next(self, at: str | None, relation: Any) -> str | None:
        return self.targets.get(at, {}).get(relation) if at is not None and isinstance(relation, str) else None

    def _value(self, at: str | None, name: Any) -> Any:
        hit = at == self.blueprint and name == self.rename.old and self.rename.part is not Part.RELATION
        return self.rename.new if hit else name

    def _aggregation(self, identifier: str, aggregation: dict[str, Any]) -> None:
        target, spec = aggregation.get("target"), aggregation.get("calculationSpec")
        if isinstance(spec, dict):
            for key in ("property", "measureTimeBy"):
                if key in spec:
                    spec[key] = self._value(target, spec[key])
        for way in aggregation.get("pathFilter") or ():
            way["path"] = self._relations(way.get("fromBlueprint") or identifier, way["path"])
        if isinstance(target, str):
            self._query(target, aggregation.get("query"))

    def _query(self, target: str, query: Any) -> None:
        """Change the rules that entities of the target are asked by; documents nest only so deep."""
        if not isinstance(query, dict):
            return
        rules = query.get("rules")
        for rule in rules if isinstance(rules, list) else ():
            self._query(target, rule)
        asked = query.get("property")
        if isinstance(asked, dict) and isinstance(asked.get("path"), list):
            asked["path"] = self._relations(asked.get("fromBlueprint") or target, asked["path"])
        elif isinstance(asked, str):
            query["property"] = self._value(target, asked)
        if isinstance(query.get("relation"), str):
            query["relation"] = self._relations(target, [query["relation"]])[0]


def _objects(holder: JsonValue | None) -> list[dict[str, Any]]:
    return [one for one in holder.values() if isinstance(one, dict)] if isinstance(holder, dict) else []


def _targets(definitions: Mapping[str, Definition]) -> dict[str, dict[str, str]]:
    return {
        identifier: {name: relation.target for name, relation in one.relations.items()}
        for identifier, one in definitions.items()
    }


def _keys(definition: Definition) -> set[str]:
    return {
        *definition.properties,
        *definition.mirror_properties,
        *definition.calculation_properties,
        *definition.aggregation_properties,
        *definition.relations,
    }
