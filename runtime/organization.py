"""The organization as processes use it: its id and its credentials, readable."""

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from domain.errors import IdentifierTaken, Unavailable
from domain.identifiers import new
from runtime.clock import now
from runtime.settings import Settings
from store import organizations, system_blueprints
from store.database import Database

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0


@dataclass(frozen=True)
class Organization:
    """Who we are. The secret signs webhooks and encrypts secret inputs; `repr` does not show it."""

    id: str
    client_id: str
    client_secret: str

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Organization({self.id})"


async def ensure_organization(settings: Settings, database: Database) -> Organization:
    """The organization, made with new credentials if there is none yet, and its system blueprints.

    Raises:
        Unavailable: SQL does not answer.
        KeyFault: its credentials were encrypted with a key that is not configured.
    """
    vault = settings.keys.vault
    async with database.read() as session:
        stored = await organizations.get(session)
    if stored is None:
        made = organizations.Stored(
            id=new("org"),
            client_id=secrets.token_urlsafe(24),
            client_secret=vault.encrypt(secrets.token_urlsafe(48)),
            document={"name": "Interlock", "settings": {}},
        )
        try:
            async with database.write() as session:
                await organizations.create(session, made)
            stored = made
        except IdentifierTaken:
            return await ensure_organization(settings, database)
    organization = Organization(stored.id, stored.client_id, vault.decrypt(stored.client_secret))
    await _ensure_system_blueprints(database)
    return organization


async def _ensure_system_blueprints(database: Database) -> None:
    while True:
        async with database.read() as session:
            if await system_blueprints.complete(session):
                return
        with suppress(IdentifierTaken):  # another process made them just now: look whether all are there
            return await database.transact(lambda session: system_blueprints.ensure(session, at=now()))


async def wait_for_organization(settings: Settings, database: Database) -> Organization:
    """The organization, once SQL answers and has its tables."""
    while True:
        try:
            return await ensure_organization(settings, database)
        except (Unavailable, DBAPIError) as error:
            log.warning("waiting for the database", extra={"cause": type(error).__name__})
            await asyncio.sleep(_RETRY_SECONDS)
