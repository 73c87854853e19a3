"""`interlock secrets rotate`: what is encrypted in SQL gets the newest key, so that older ones can go."""

from runtime.keys import KeyFault, Keys
from runtime.settings import Settings
from store import secrets
from store.database import Database
from store.secrets import Renewal, Unreadable


async def rotate_secrets(settings: Settings) -> Renewal:
    """Encrypt again with the newest key what is not; what came of it."""
    newest, every = Keys(settings.keys.master).vault, settings.keys.vault

    def renewed(closed: str) -> str | None:
        try:
            newest.decrypt(closed)
        except KeyFault:
            try:
                return every.rotated(closed)
            except KeyFault:
                raise Unreadable from None
        return None

    async with Database(settings.database_url) as database:
        return await secrets.renew(database, renewed)
