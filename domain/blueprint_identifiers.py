"""Another identifier for a blueprint, and what has to follow it in everything that names the blueprint.

Source: the acceptance test of the Terraform provider that gives a blueprint another identifier by PUT.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from domain.documents import Document
from domain.errors import InvalidRequest
from domain.system_blueprints import is_system, require_own_name


@dataclass(frozen=True)
class NewName:
    """What a blueprint was called, and what it is to be called."""

    old: str
    new: str

    def require_allowed(self) -> None:
        """Refuse a name that the blueprint cannot have; whether it is taken is not asked here.

        Raises:
            InvalidRequest: the system knows the blueprint by its name, or the new one could be one of the system's.
        """
        if is_system(self.old):
            raise InvalidRequest(f"identifier: the system blueprint {self.old} keeps its identifier")
        require_own_name(self.new)

    def of(self, blueprint: str) -> str:
        """What the blueprint is called now."""
        return self.new if blueprint == self.old else blueprint

    def in_blueprint(self, document: Document) -> Document:
        """The blueprint as it was written: its own identifier, targets of relations and aggregations, and queries."""
        after: Any = copy.deepcopy(document)
        self._name(after, "identifier")
        for relation in _objects(after.get("relations")):
            self._name(relation, "target")
        for aggregation in _objects(after.get("aggregationProperties")):
            self._name(aggregation, "target")
            for way in _listed(aggregation.get("pathFilter")):
                self._name(way, "fromBlueprint")
            self._query(aggregation.get("query"))
        return _unless_same(document, after)

    def in_scorecard(self, document: Document) -> Document:
        """The scorecard as it was written: conditions about `$blueprint`."""
        after: Any = copy.deepcopy(document)
        self._query(after.get("filter"))
        for rule in _listed(after.get("rules")):
            self._query(rule.get("query"))
        return _unless_same(document, after)

    def in_action(self, document: Document) -> Document:
        """The action or automation as it was written: its trigger, inputs that are entities, and what it upserts.

        Programs and templates stay as they are: nobody can tell what a word in them means.
        """
        after: Any = copy.deepcopy(document)
        if isinstance(trigger := after.get("trigger"), dict):
            self._name(trigger, "blueprintIdentifier")
            self._name(trigger.get("event"), "blueprintIdentifier")
            self._query(trigger.get("condition"))
            if isinstance(inputs := trigger.get("userInputs"), dict):
                for each in _objects(inputs.get("properties")):
                    for schema in (each, each.get("items")):
                        self._name(schema, "blueprint")
                        self._query(schema.get("dataset") if isinstance(schema, dict) else None)
        if isinstance(method := after.get("invocationMethod"), dict):
            self._name(method, "blueprintIdentifier")
            if isinstance(mapping := method.get("mapping"), dict):
                relations = mapping.get("relations")
                named = relations.values() if isinstance(relations, dict) else ()
                for query in (mapping.get("identifier"), mapping.get("team"), *named):
                    self._query(query)
        return _unless_same(document, after)

    def in_permissions(self, document: Document) -> Document:
        """The permissions of an action or a blueprint as they are stored: the queries of their policies."""
        after: Any = copy.deepcopy(document)
        for policy in _policies(after):
            for query in _objects(policy.get("queries")):
                self._query(query)
        return _unless_same(document, after)

    def in_webhook(self, document: Document) -> Document:
        """The incoming webhook as it was written: which blueprints its mappings write."""
        after: Any = copy.deepcopy(document)
        for mapping in _listed(after.get("mappings")):
            self._name(mapping, "blueprint")
        return _unless_same(document, after)

    def _name(self, holder: Any, key: str) -> None:
        if isinstance(holder, dict) and holder.get(key) == self.old:
            holder[key] = self.new

    def _query(self, query: Any) -> None:
        """Change the rules of a query or a condition that name the blueprint; documents nest only so deep."""
        if not isinstance(query, dict):
            return
        for key in ("rules", "conditions"):
            for rule in _listed(query.get(key)):
                self._query(rule)
        if query.get("operator") == "relatedTo":
            self._name(query, "blueprint")
        asked = query.get("property")
        if isinstance(asked, dict):
            self._name(asked, "fromBlueprint")
        elif asked == "$blueprint":
            self._name(query, "value")
            if isinstance(values := query.get("value"), list):
                query["value"] = [self.of(value) for value in values]


def _unless_same(before: Document, after: Document) -> Document:
    return before if after == before else after


def _objects(holder: Any) -> Iterator[dict[str, Any]]:
    return (one for one in holder.values() if isinstance(one, dict)) if isinstance(holder, dict) else iter(())


def _listed(holder: Any) -> Iterator[dict[str, Any]]:
    return (one for one in holder if isinstance(one, dict)) if isinstance(holder, list) else iter(())


def _policies(holder: Any) -> Iterator[dict[str, Any]]:
    if isinstance(holder, dict):
        for key, value in holder.items():
            if key == "policy" and isinstance(value, dict):
                yield value
            else:
                yield from _policies(value)
