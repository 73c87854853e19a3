"""What entity inputs offer: the entities of their dataset that the caller may read, sorted, searched and in pages."""

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from pydantic import Field, JsonValue, StrictInt
from sqlmodel.ext.asyncio.session import AsyncSession

from api import readable
from api.completing import completing
from api.reading import Reading, shown
from api.services import ApiServices
from domain.documents import Document
from domain.entities import Entity
from domain.errors import InvalidRequest
from domain.inputs import Sort
from domain.models import Written
from domain.rule_values import Comparison, Operator, Property, Query
from domain.users import Caller
from runtime.turns import Turns
from store import search
from store.found import Place
from store.search import Search

PATIENCE: Final = 10.0
"""How many seconds a form that is to be shown waits for others."""
MOST_SORTED: Final = 2_000
"""Up to how many entities are sorted; more come by identifier, as the database has them in that order."""

_BY_TITLE: Final = Sort(property="$title", order="ASC")
_Key: TypeAlias = tuple[int, float | str, str]
"""The kind of a value, the value, and the identifier of its entity."""
_NOTHING: Final = 3


def form_turns(jq_processes: int) -> Turns:
    """Turns for showing forms: people type often, and one jq process is left to everything else."""
    return Turns(
        max(1, jq_processes - 1),
        patience=PATIENCE,
        refusal="many people are filling in forms, ask again in a moment",
    )


class WantedOptions(Written):
    """Which of the options of an input are wanted."""

    search: str = Field(default="", max_length=200)
    """What title or identifier have in them; case does not matter."""
    from_: str | None = Field(default=None, alias="from", max_length=4_000)
    """`next` of the page before."""
    limit: StrictInt = Field(default=25, ge=1, le=100)


@dataclass(frozen=True)
class Catalog:
    """The catalog as the caller may read it, at one moment. The session only reads."""

    services: ApiServices
    session: AsyncSession
    caller: Caller
    at: datetime

    async def search(self, blueprint: str, query: Query | None) -> Search:
        """The search for what the query finds of the blueprint.

        Raises:
            InvalidRequest: the query cannot be asked.
            Unavailable: no process could be had to decide a policy.
        """
        narrowed = await readable.narrowed(
            self.services, self.session, self.caller, query, at=self.at, blueprint=blueprint
        )
        return await search.prepared(
            self.session,
            narrowed,
            at=self.at,
            caller=self.caller,
            complete=completing(self.services, self.at),
            blueprint=blueprint,
        )

    async def options(
        self, name: str, blueprint: str, dataset: Query | None, sort: Sort | None, asked: WantedOptions
    ) -> Document:
        """A page of what the input offers.

        Raises:
            InvalidRequest: the dataset cannot be asked, or `from` is no `next`.
            Unavailable: no process could be had to decide a policy.
        """
        after = _cursor_of(name, asked.from_)
        queries = [dataset, _having(asked.search, dataset)] if asked.search else [dataset]
        for query in queries:
            found = await self.search(blueprint, query)
            page = await found.page(self.session, limit=MOST_SORTED)
            if page.next is None:
                fitting = [one.entity for one in page.found if _has(one.entity, asked.search)]
                return await self._sorted(fitting, sort or _BY_TITLE, after, asked.limit)
        place = Place(blueprint, after[2]) if after else None
        page = await found.page(self.session, after=place, limit=asked.limit)
        entities = [one.entity for one in page.found]
        last = (_NOTHING, "", str(entities[-1].identifier)) if page.next else None
        return {**_offered(entities, last), "sorted": False}

    async def _sorted(self, entities: Sequence[Entity], sort: Sort, after: _Key | None, limit: int) -> Document:
        keys = await self._keys(entities, sort.property)
        backwards = sort.order == "DESC"
        ordered = sorted(zip(keys, entities, strict=True), key=lambda pair: pair[0], reverse=backwards)
        if after is not None:
            ordered = [(key, one) for key, one in ordered if (key < after if backwards else key > after)]
        page = ordered[:limit]
        return _offered([one for _, one in page], page[-1][0] if len(ordered) > limit else None)

    async def _keys(self, entities: Sequence[Entity], by: str) -> list[_Key]:
        """What the entities are sorted by: numbers, then text in any case, then everything else."""
        if by.startswith("$"):
            documents: Iterable[Document] = (one.document() for one in entities)
            return [_key(each.get(by[1:]), one) for each, one in zip(documents, entities, strict=True)]
        whole = await shown(self.services, self.session, entities, Reading(include=(f"properties.{by}",)))
        return [_key(_property(each, by), one) for each, one in zip(whole, entities, strict=True)]


def _property(document: Document, name: str) -> JsonValue:
    properties = document.get("properties")
    return properties.get(name) if isinstance(properties, dict) else None


def _key(value: JsonValue, entity: Entity) -> _Key:
    identifier = str(entity.identifier)
    match value:
        case bool():
            return 0, float(value), identifier
        case int() | float():
            return 1, value, identifier
        case str():
            return 2, value.casefold(), identifier
    return _NOTHING, "", identifier


def _has(entity: Entity, text: str) -> bool:
    wanted = text.casefold()
    return wanted in entity.title.casefold() or wanted in str(entity.identifier).casefold()


def _having(text: str, dataset: Query | None) -> Query:
    """The dataset, of what has the text as people may have written it: the search knows upper from lower case."""
    written = dict.fromkeys((text, text.lower(), text.upper(), text.capitalize(), text.title()))
    having = Query(
        "or",
        tuple(
            Comparison(Property(name), Operator.CONTAINS, one) for name in ("$title", "$identifier") for one in written
        ),
    )
    return having if dataset is None else Query("and", (dataset, having))


def _offered(entities: Sequence[Entity], last: _Key | None) -> Document:
    offered: list[JsonValue] = [
        {"identifier": str(one.identifier), "title": one.title, "icon": one.icon} for one in entities
    ]
    return {"entities": offered} if last is None else {"entities": offered, "next": _cursor(last)}


def _cursor(last: _Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(last, ensure_ascii=False).encode()).decode()


def _cursor_of(name: str, cursor: str | None) -> _Key | None:
    if cursor is None:
        return None
    try:
        given: Any = json.loads(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
        match given:
            case [int(kind), value, str(identifier)] if "\x00" not in identifier.encode().decode():
                if kind in (0, 1) and isinstance(value, int | float):
                    return kind, value, identifier
                if kind in (2, _NOTHING) and isinstance(value, str):
                    return kind, value, identifier
    except (ValueError, RecursionError, binascii.Error):
        pass
    raise InvalidRequest(f"options.{name}.from: must be the `next` of an answer to this form")
