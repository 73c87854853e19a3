"""Policies asked in the transaction of a write: of what is there, with nothing written if they do not let."""

import pytest
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprint_permissions import BlueprintPermissionsPatch
from domain.blueprints import Blueprint, BlueprintId
from domain.documents import Document
from domain.entities import Author, Entity, Writing, parsed_request
from domain.errors import Forbidden, InterlockError, Unavailable
from domain.permissions import Policy
from domain.users import Caller, User
from store import blueprint_permissions, blueprints, catalog, entities
from store.database import Database
from store.entities import Writer
from store.entity_batches import Put, PutOptions
from store.tables import ChangeRow
from tests.store.conftest import AT, never

PERSON = User(id="user_m", email="m@x.io", roles=("Member",), created_at=AT, updated_at=AT)
POLICY: Document = {"queries": {"q": {"combinator": "and", "rules": []}}, "conditions": ["."]}
PRODUCT = Writer(Author("user_1", AT, "tests"), "API")


class Judge:
    """Lets writes of these entities; it looks at the database as it is committed, beside the transaction."""

    def __init__(self, database: Database, *allowed: str, fails: bool = False) -> None:
        self.database, self.allowed, self.fails = database, allowed, fails
        self.saw = list[tuple[str, int | None, bool]]()

    async def __call__(self, policy: Policy, user: User, entity: Entity) -> bool:
        assert (policy.model_dump(mode="json"), user) == (POLICY, PERSON)
        if self.fails:
            raise Unavailable("no jq")
        async with self.database.beside() as session:
            there = await entities.find(session, entity.blueprint, entity.identifier) is not None
        tier = entity.properties.get("tier")
        self.saw.append((entity.identifier, tier if isinstance(tier, int) else None, there))
        return entity.identifier in self.allowed


@pytest.fixture
async def blueprint(database: Database) -> Blueprint:
    """Services whose every write a policy decides; `cart` is there."""
    document: Document = {"identifier": "service", "schema": {"properties": {"tier": {"type": "number"}}}}
    made = Blueprint(BlueprintId("service"), document, AT, "u", AT, "u")
    definition = made.definition
    said = {name: {"policy": POLICY} for name in ("register", "unregister", "update")}
    patch = BlueprintPermissionsPatch.model_validate({"entities": said})

    async def work(session: AsyncSession) -> None:
        await blueprints.create(session, made, origin="API")
        before = await blueprint_permissions.get(session, definition)
        after = before.patched(patch)
        await blueprint_permissions.put(session, definition, before, after, by="u", at=AT, origin="API")

    await database.transact(work)
    await put(database, made, PRODUCT, {"identifier": "cart", "properties": {"tier": 1}})
    return made


def member(judge: Judge | None) -> Writer:
    return Writer(PRODUCT.author, "API", caller=Caller("org", "c", user=PERSON), judge=judge)


async def put(
    database: Database, blueprint: Blueprint, writer: Writer, *documents: Document
) -> list[Put | InterlockError]:
    requests = [parsed_request(document) for document in documents]
    names = [f"e{number}" for number in range(len(requests))]
    options = PutOptions(upsert=True, merge=True)
    return await database.transact(
        lambda session: catalog.put_all(
            session, blueprint, requests, options, generated=names, writer=writer, complete=never
        )
    )


async def tiers(database: Database) -> dict[str, object]:
    async with database.read() as session:
        found = await entities.portion(session, "service", after="")
    return {str(one.identifier): one.entity.properties.get("tier") for one in found}


async def recorded(database: Database) -> int:
    async with database.read() as session:
        return len((await session.exec(select(ChangeRow.id).where(col(ChangeRow.resource_type) == "entity"))).all())


async def test_each_entity_is_judged_as_it_was_or_as_it_is_asked_for(database: Database, blueprint: Blueprint) -> None:
    judge = Judge(database, "cart", "new")
    answers = await put(
        database,
        blueprint,
        member(judge),
        {"identifier": "new", "properties": {"tier": 5}},
        {"identifier": "cart", "properties": {"tier": 2}},
        {"identifier": "other", "properties": {"tier": 3}},
        {"identifier": "cart", "properties": {"tier": 4}},
    )
    # Nothing is committed yet, so whoever looks beside the transaction finds what was there before.
    assert judge.saw == [("new", 5, False), ("cart", 1, True), ("other", 3, False), ("cart", 2, True)]
    assert [isinstance(answer, Forbidden) for answer in answers] == [False, False, True, False]
    assert "entities.register: its policy does not let m@x.io" in str(answers[2])
    assert await tiers(database) == {"cart": 4, "new": 5}


async def test_who_brings_nobody_to_ask_is_let_by_no_policy(database: Database, blueprint: Blueprint) -> None:
    before = await recorded(database)
    [answer] = await put(database, blueprint, member(None), {"identifier": "new"})
    assert isinstance(answer, Forbidden)
    assert "entities.register: it has a policy" in str(answer)
    assert (await tiers(database), await recorded(database)) == ({"cart": 1}, before)


async def test_what_cannot_be_judged_now_is_not_written_at_all(database: Database, blueprint: Blueprint) -> None:
    before = await recorded(database)
    judge = Judge(database, fails=True)
    writer = member(judge)
    with pytest.raises(Unavailable, match="no jq"):
        await put(database, blueprint, writer, {"identifier": "new"}, {"identifier": "cart", "title": "New"})
    request = parsed_request({"title": "New"})
    with pytest.raises(Unavailable, match="no jq"):
        await database.transact(
            lambda session: catalog.change(
                session, blueprint, "cart", request, how=Writing.MERGE, writer=writer, complete=never
            )
        )
    assert (await tiers(database), await recorded(database)) == ({"cart": 1}, before)


async def test_to_change_or_delete_one_its_policy_is_asked_with_what_is_there(
    database: Database, blueprint: Blueprint
) -> None:
    async def change(writer: Writer) -> Entity:
        request = parsed_request({"identifier": "wagon", "properties": {"tier": 7}})
        return await database.transact(
            lambda session: catalog.change(
                session, blueprint, "cart", request, how=Writing.MERGE, writer=writer, complete=never
            )
        )

    async def remove(writer: Writer) -> None:
        await database.transact(
            lambda session: catalog.remove(session, "service", "wagon", delete_dependents=False, writer=writer)
        )

    no, yes = Judge(database), Judge(database, "cart", "wagon")
    with pytest.raises(Forbidden, match=r"entities\.update: its policy"):
        await change(member(no))
    assert (await change(member(yes))).identifier == "wagon"
    with pytest.raises(Forbidden, match=r"entities\.unregister: its policy"):
        await remove(member(no))
    await remove(member(yes))
    assert no.saw[0] == ("cart", 1, True)
    assert no.saw[-1] == ("wagon", 7, True)
    assert yes.saw == [("cart", 1, True), ("wagon", 7, True)]
    assert await tiers(database) == {}
