"""Scorecards in SQL, and what they say about entities: evaluated when an entity or a scorecard is written."""

from collections.abc import Sequence
from dataclasses import replace as replace_in

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy import bindparam
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.blueprint_identifiers import NewName
from domain.blueprint_renames import Rename
from domain.blueprints import Blueprint
from domain.changes import Change
from domain.documents import Document
from domain.entities import Entity
from domain.errors import IdentifierTaken, NotFound
from domain.scorecard_blueprints import NAMES
from domain.scorecards import Scorecard
from store import changes, entities, scorecard_results, scorecard_sweeps
from store.catalog_tables import EntityRow, ScorecardResultRow, ScorecardRow
from store.columns import table
from store.database import execute
from store.derived import Completing
from store.entities import Stored, Writer
from store.scorecard_results import Outcome

_ROWS, _RESULTS, _ENTITIES = table(ScorecardRow).c, table(ScorecardResultRow).c, table(EntityRow).c
_OF_BLUEPRINT = (
    sa.select(_ROWS.id, _ROWS.revision, _ROWS.document)
    .where(_ROWS.blueprint == bindparam("of"))
    .order_by(_ROWS.identifier)
)
_FIND = sa.select(_ROWS.id, _ROWS.revision, _ROWS.document).where(
    _ROWS.blueprint == bindparam("of"), _ROWS.identifier == bindparam("this")
)
_ANY = sa.select(_ROWS.id).where(_ROWS.blueprint == bindparam("of")).limit(1)
_INSERT = sa.insert(table(ScorecardRow))
_UPDATE = sa.update(table(ScorecardRow)).where(_ROWS.id == bindparam("which"))
_REVISE = _UPDATE.values(blueprint=bindparam("of"), identifier=bindparam("called"), revision=_ROWS.revision + 1).values(
    document=bindparam("now", type_=_ROWS.document.type)
)
_DELETE = sa.delete(table(ScorecardRow)).where(_ROWS.id == bindparam("which"))
_SAID = (
    sa.select(_ENTITIES.identifier, _RESULTS.scorecard, _RESULTS.document)
    .join(_RESULTS.entity_id.table, _RESULTS.entity_id == _ENTITIES.id)
    .where(_ENTITIES.blueprint == bindparam("of"))
    .order_by(_RESULTS.scorecard)
)
_SAID_OF_ONE = _SAID.where(_ENTITIES.identifier == bindparam("this"))
_SAID_OF_SOME = _SAID.where(_ENTITIES.identifier.in_(bindparam("these", expanding=True)))
_AT_ONCE = 500
"""How many identifiers one statement asks for."""

_SCORECARD = TypeAdapter(Scorecard)
_MOST_KEPT = 1_000
_known: dict[tuple[str, int], Scorecard] = {}
"""Revisions read before: one never changes, so what is here is never stale, and is parsed only once."""


async def listed(session: AsyncSession, blueprint: str | None = None) -> list[Scorecard]:
    """The scorecards of the blueprint by identifier, or all by blueprint and identifier."""
    if blueprint is not None:
        return [_read(*row) for row in await execute(session, _OF_BLUEPRINT, {"of": blueprint})]
    rows = await session.exec(
        select(ScorecardRow.id, ScorecardRow.revision, ScorecardRow.document).order_by(
            col(ScorecardRow.blueprint), col(ScorecardRow.identifier)
        )
    )
    return [_read(*row) for row in rows]


async def get(session: AsyncSession, blueprint: str, identifier: str) -> Scorecard:
    """The scorecard.

    Raises:
        NotFound: there is none.
    """
    found = (await execute(session, _FIND, {"of": blueprint, "this": identifier})).first()
    if found is None:
        raise NotFound("Scorecard", identifier)
    return _read(*found)


async def defined(session: AsyncSession, blueprint: str) -> bool:
    """Whether the blueprint has any scorecard."""
    return (await execute(session, _ANY, {"of": blueprint})).first() is not None


async def of(session: AsyncSession, blueprint: str, identifiers: Sequence[str]) -> dict[str, Document]:
    """What scorecards say about entities of the blueprint, each as its `scorecards` shows it, by identifier.

    Those about which none says anything are left out.
    """
    found: dict[str, Document] = {}
    for start in range(0, len(identifiers), _AT_ONCE):
        some = identifiers[start : start + _AT_ONCE]
        one = {"of": blueprint, "this": some[0]}
        several = {"of": blueprint, "these": list(some)}
        rows = await (
            execute(session, _SAID_OF_ONE, one) if len(some) == 1 else execute(session, _SAID_OF_SOME, several)
        )
        for identifier, scorecard, document in rows:
            found.setdefault(identifier, {})[scorecard] = document
    return found


async def create(
    session: AsyncSession, blueprint: Blueprint, scorecard: Scorecard, *, writer: Writer, complete: Completing
) -> None:
    """Insert the scorecard, and evaluate all entities of the blueprint, which was read `to_change`.

    That takes time: some statements for each entity and rule, all in this transaction.

    Raises:
        IdentifierTaken: another one of the blueprint has the identifier.
        store.database.Raced: the transaction has to be done again.
    """
    await _rewrite(session, blueprint, [], [scorecard], writer, complete)


async def replace(
    session: AsyncSession,
    blueprint: Blueprint,
    before: Scorecard,
    after: Scorecard,
    *,
    writer: Writer,
    complete: Completing,
) -> None:
    """Make `after` of the scorecard, and evaluate it anew. Nothing happens when it is `before`.

    The blueprint was read `to_change`. With another identifier, what the old one said goes and the new one speaks.

    Raises:
        IdentifierTaken: another one of the blueprint has the identifier.
        store.database.Raced: the transaction has to be done again.
    """
    await _rewrite(session, blueprint, [before], [after], writer, complete)


async def replace_all(
    session: AsyncSession, blueprint: Blueprint, wanted: Sequence[Scorecard], *, writer: Writer, complete: Completing
) -> None:
    """Make these the scorecards of the blueprint, which was read `to_change`; those it has besides go.

    Raises:
        store.database.Raced: the transaction has to be done again.
    """
    before = await listed(session, blueprint.identifier)
    await _rewrite(session, blueprint, before, wanted, writer, complete)


async def remove(
    session: AsyncSession, blueprint: Blueprint, scorecard: Scorecard, *, writer: Writer, complete: Completing
) -> None:
    """Delete the scorecard of the blueprint, which was read `to_change`, and all that it said.

    Raises:
        store.database.Raced: the transaction has to be done again.
    """
    await _rewrite(session, blueprint, [scorecard], [], writer, complete)


async def follow(session: AsyncSession, blueprint: Blueprint, renamed: Rename, *, writer: Writer) -> None:
    """Let conditions name the key of the blueprint, which was read `to_change`, as it is called now."""
    changed: list[Scorecard] = []
    for before in await listed(session, blueprint.identifier):
        document = renamed.in_scorecard(before.document)
        if document != before.document:
            after = replace_in(before, document=document, updated_at=writer.author.at, updated_by=writer.author.id)
            await _write(session, before, after, writer)
            changed.append(after)
    await scorecard_results.show(session, changed, writer=writer)


async def rename_blueprint(session: AsyncSession, blueprint: Blueprint, what: NewName, *, writer: Writer) -> None:
    """Let the scorecards of a blueprint, and what shows them, go by its new identifier; all say what they said.

    Raises:
        store.database.Raced: the transaction has to be done again.
    """
    pairs: list[tuple[Scorecard, Scorecard]] = []
    for before in await listed(session):
        document, of = what.in_scorecard(before.document), what.of(before.blueprint)
        if of != before.blueprint or document is not before.document:
            after = replace_in(before, blueprint=of, document=document, updated_at=writer.author.at)
            after = replace_in(after, updated_by=writer.author.id)
            await _write(session, before, after, writer)
            pairs.append((before, after))
    await scorecard_results.rename(session, pairs, writer=writer)
    its = [after for before, after in pairs if before.blueprint == what.old]
    await scorecard_sweeps.retell(session, blueprint, what.old, its, writer=writer)


async def settle_portion(
    session: AsyncSession, blueprint: Blueprint, *, after: str, limit: int, writer: Writer, complete: Completing
) -> list[str]:
    """Evaluate the next entities of the blueprint, which was read `to_use`, after one; which they were.

    Nothing is written of those whose results stay. None is left to do where the blueprint has no scorecards.

    Raises:
        store.database.Raced: the transaction has to be done again.
        Unavailable: it cannot be done now.
    """
    found = await listed(session, blueprint.identifier)
    if not found:
        return []
    names = [one.identifier for one in found]
    return await scorecard_sweeps.some(
        session, blueprint, names, found, after=after, limit=limit, retold=False, writer=writer, complete=complete
    )


async def settle(
    session: AsyncSession,
    blueprint: Blueprint,
    before: Stored | None,
    after: Entity,
    *,
    writer: Writer,
    complete: Completing,
) -> None:
    """Let scorecards say what they have to about an entity that was just written, in the transaction that wrote it.

    Where the blueprint has no scorecards, this is one statement. Only one transaction at a time writes an entity, and
    its blueprint was read `to_use`: so nobody stores results of it meanwhile, and no scorecard changes.

    Args:
        session: the transaction.
        blueprint: that of the entity.
        before: what it was; None when it was created.
        after: what it is.
        writer: who wrote it.
        complete: asked only if a scorecard names something derived.

    Raises:
        store.database.Raced: the transaction has to be done again.
    """
    if blueprint.identifier in NAMES:
        return
    scorecards = await listed(session, blueprint.identifier)
    if not scorecards:
        return
    stored = before or await entities.get(session, blueprint.identifier, after.identifier)
    said = await scorecard_results.of_entity(session, stored.id) if before else {}
    (says,) = await scorecard_results.evaluate(session, blueprint, scorecards, [after], writer, complete)
    outcome = Outcome(
        stored.id,
        after,
        stored.entity.identifier,
        before=said,
        after=says,
        retold=_shown(stored.entity) != _shown(after),
    )
    by_name: dict[str, Scorecard] = {one.identifier: one for one in scorecards}
    await scorecard_results.write(session, [outcome], by_name, writer=writer)


async def forget_all(session: AsyncSession, blueprint: Blueprint, *, writer: Writer) -> None:
    """Delete the scorecards of a blueprint that has no entities, and was read `to_change` to be deleted.

    Raises:
        store.database.Raced: the transaction has to be done again.
    """

    async def nothing(*_: object, **__: object) -> Sequence[candidates.Entity]:
        return ()

    await replace_all(session, blueprint, [], writer=writer, complete=nothing)


async def forget(session: AsyncSession, entity: Stored, *, writer: Writer) -> None:
    """Take back what scorecards said about an entity that was just deleted, in the transaction that did it.

    Raises:
        store.database.Raced: the transaction has to be done again.
    """
    if said := await scorecard_results.of_entity(session, entity.id):
        gone = Outcome(entity.id, entity.entity, entity.entity.identifier, before=said, after={})
        await scorecard_results.write(session, [gone], {}, writer=writer)


async def _rewrite(
    session: AsyncSession,
    blueprint: Blueprint,
    before: Sequence[Scorecard],
    after: Sequence[Scorecard],
    writer: Writer,
    complete: Completing,
) -> None:
    """Make `after` of the scorecards `before`: the same id means the same scorecard."""
    old, new = {one.id: one for one in before}, {one.id: one for one in after}
    changed = [name for name in {**old, **new} if old.get(name) is not new.get(name)]
    if not changed:
        return
    was, now = ([of[name] for name in changed if name in of] for of in (old, new))
    for name in sorted(changed, key=lambda name: name in new):  # what goes makes room
        await _write(session, old.get(name), new.get(name), writer)
    await scorecard_results.show(session, now, writer=writer)
    names = {one.identifier for one in (*was, *now)}
    await scorecard_sweeps.every(session, blueprint, sorted(names), now, writer=writer, complete=complete)
    await scorecard_results.unshow(session, was, now, writer=writer)


async def _write(session: AsyncSession, before: Scorecard | None, after: Scorecard | None, writer: Writer) -> None:
    try:
        if after is None:
            await execute(session, _DELETE, {"which": before.id if before else ""})
        else:
            document = _SCORECARD.dump_python(after, mode="json")
            if before:
                parameters = {"which": after.id, "of": after.blueprint, "called": after.identifier, "now": document}
                await execute(session, _REVISE, parameters)
            else:
                row = {"blueprint": after.blueprint, "identifier": after.identifier, "revision": 0}
                await execute(session, _INSERT, {"id": after.id, **row, "document": document})
    except IntegrityError:
        raise IdentifierTaken("Scorecard", after.identifier if after else "") from None
    known = after or before
    change = Change.of(
        "scorecard",
        before.echo() if before else None,
        after.echo() if after else None,
        context={"blueprint": known.blueprint, "scorecard": known.identifier} if known else {},
        at=writer.author.at,
        by=writer.author.id,
        origin=writer.origin,
    )
    await changes.append(session, change)


def _shown(entity: Entity) -> tuple[object, ...]:
    """What the entities for results show of the one they are about."""
    return entity.identifier, entity.title, entity.team


def _read(row_id: str, revision: int, document: object) -> Scorecard:
    if scorecard := _known.get((row_id, revision)):
        return scorecard
    scorecard = _SCORECARD.validate_python(document)
    if len(_known) >= _MOST_KEPT:
        _known.clear()
    _known[row_id, revision] = scorecard
    return scorecard
