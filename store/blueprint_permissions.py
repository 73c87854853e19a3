"""Permissions of blueprints in SQL: a row where somebody has written them; before that, those everybody begins with."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import bindparam, insert, update
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.audit import Resource
from domain.blueprint_identifiers import NewName
from domain.blueprint_permissions import Block, BlueprintPermissions, refuse
from domain.blueprints import Definition
from domain.changes import Change
from domain.entities import Entity
from store import changes
from store.catalog_tables import BlueprintPermissionsRow
from store.columns import table
from store.database import execute
from store.entities import Writer

_COLUMNS = table(BlueprintPermissionsRow).c
_FIND = sa.select(_COLUMNS.document).where(_COLUMNS.blueprint == bindparam("of"))
_READERS = sa.select(_COLUMNS.blueprint, _COLUMNS.document).where(
    _COLUMNS.document[("entities", "read")].as_string().is_not(None)
)
_READERS_OF_ONE = _READERS.where(_COLUMNS.blueprint == bindparam("of"))
_INSERT = insert(table(BlueprintPermissionsRow))
_UPDATE = update(table(BlueprintPermissionsRow)).where(_COLUMNS.blueprint == bindparam("of"))
_RENAME = _UPDATE.values(blueprint=bindparam("now"), document=bindparam("says", type_=_COLUMNS.document.type))


async def get(session: AsyncSession, definition: Definition) -> BlueprintPermissions:
    """Who may do what with the entities of the blueprint; a block for everything they have."""
    return (await _written(session, definition.identifier) or BlueprintPermissions()).of(definition)


async def readers(session: AsyncSession, blueprint: str | None = None) -> dict[str, Block]:
    """Who reads the entities of blueprints that do not let everybody, of this one or of all."""
    statement = _READERS if blueprint is None else _READERS_OF_ONE
    rows = await execute(session, statement, {} if blueprint is None else {"of": blueprint})
    return {name: Block.model_validate(document["entities"]["read"]) for name, document in rows}


def concern(writer: Writer) -> bool:
    """Whether permissions have a say in what the writer does: not where an Admin, a machine or the product writes."""
    return writer.caller is not None and not writer.caller.is_admin


async def require(
    session: AsyncSession, definition: Definition, writer: Writer, before: Entity | None, after: Entity | None
) -> None:
    """Refuse a writer who may not make `after` of `before`. For Admins and machines it asks nothing.

    A policy is asked while the transaction goes on, of the judge that the writer brings.

    Raises:
        Forbidden, Unavailable: see `domain.blueprint_permissions.refuse`.
    """
    if writer.caller is not None and concern(writer):
        await refuse(await get(session, definition), writer.caller, before, after, writer.judge)


async def put(
    session: AsyncSession,
    definition: Definition,
    before: BlueprintPermissions,
    after: BlueprintPermissions,
    *,
    by: str,
    at: datetime,
    origin: str,
) -> None:
    """Replace the permissions of a blueprint that was read `to_change`; nothing is written when they stay the same."""
    was, is_now = before.document(), after.document()
    if was == is_now:
        return
    await _write(session, definition.identifier, after, new=await _written(session, definition.identifier) is None)
    change = Change.of(
        Resource.BLUEPRINT_PERMISSIONS,
        was,
        is_now,
        context={"blueprint": definition.identifier},
        by=by,
        at=at,
        origin=origin,
    )
    await changes.append(session, change)


async def follow(session: AsyncSession, definition: Definition, renamed: Mapping[str, str] | None = None) -> None:
    """Let the permissions have what the blueprint has now: keys that are gone go. Derived: it tells nobody.

    `renamed` says what some keys are called now.
    """
    before = await _written(session, definition.identifier)
    if before is not None and (after := before.of(definition, renamed)) != before:
        await _write(session, definition.identifier, after, new=False)


async def forget(session: AsyncSession, blueprint: str) -> None:
    """Delete the permissions of a blueprint that is gone."""
    await session.exec(delete(BlueprintPermissionsRow).where(col(BlueprintPermissionsRow.blueprint) == blueprint))


async def rename_blueprint(session: AsyncSession, what: NewName) -> None:
    """Let permissions and the queries of policies, of all blueprints, go by its new identifier. It tells nobody."""
    rows = (await session.exec(select(BlueprintPermissionsRow.blueprint, BlueprintPermissionsRow.document))).all()
    for blueprint, found in rows:
        document = dict(found)
        after, now = what.in_permissions(document), what.of(blueprint)
        if now != blueprint or after is not document:
            await execute(session, _RENAME, {"of": blueprint, "now": now, "says": after})


async def _written(session: AsyncSession, blueprint: str) -> BlueprintPermissions | None:
    found = (await execute(session, _FIND, {"of": blueprint})).first()
    return BlueprintPermissions.model_validate(found[0]) if found else None


async def _write(session: AsyncSession, blueprint: str, permissions: BlueprintPermissions, *, new: bool) -> None:
    document = permissions.document()
    if new:
        await execute(session, _INSERT, {"blueprint": blueprint, "document": document})
    else:
        await execute(session, _UPDATE, {"of": blueprint, "document": document})
