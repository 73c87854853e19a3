"""All blueprints as rules about derived values see them, read again only when one has changed."""

from collections import OrderedDict
from collections.abc import Collection
from hashlib import sha256
from typing import Final

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint, Definition
from domain.derived import Definitions
from domain.errors import InvalidRequest
from store import blueprints
from store.catalog_tables import BlueprintRow
from store.columns import table
from store.database import ONLY_READS, execute

_KEPT: Final = 4
_SEEN: Final = "definitions"
_columns = table(BlueprintRow).c
_REVISIONS = sa.select(_columns.id, _columns.revision).order_by(_columns.id)
_known: OrderedDict[str, Definitions] = OrderedDict()
"""By what the revisions of all blueprints were: a revision never changes."""


async def current(session: AsyncSession) -> Definitions:
    """All blueprints as they are. The session only reads: what a transaction writes may never be committed.

    A session of `Database.read` sees them as they were when it asked first: one answer is made of one catalog.
    """
    remembered: Definitions | None = session.info.get(_SEEN)
    if remembered is None:
        remembered = await _read(session)
        if session.info.get(ONLY_READS):
            session.info[_SEEN] = remembered
    return remembered


async def about(session: AsyncSession, of: Collection[str], known: Collection[Blueprint] = ()) -> Definitions:
    """What derives values of entities of these blueprints; nothing is read if all are `known` and derive nothing."""
    found = Definitions({one.identifier: one.definition for one in known})
    return await current(session) if any(map(found.derives, of)) else found


async def _read(session: AsyncSession) -> Definitions:
    revisions = (await execute(session, _REVISIONS, {})).all()
    version = sha256(repr([tuple(row) for row in revisions]).encode()).hexdigest()
    if version not in _known:
        found: dict[str, Definition] = {}
        for blueprint in await blueprints.listed(session):
            try:
                found[blueprint.identifier] = blueprint.definition
            except InvalidRequest:
                continue  # stored by a version with other rules: what it derives cannot be known
        _known[version] = Definitions(found, version)
        if len(_known) > _KEPT:
            _known.popitem(last=False)
    _known.move_to_end(version)
    return _known[version]
