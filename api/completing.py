"""How entities get what is derived of them, for the routes whose rules ask for it."""

from datetime import datetime

from api.services import ApiServices
from store import completing as of_store
from store.derived import Completing


def completing(services: ApiServices, at: datetime) -> Completing:
    """In the session that reads them."""
    return of_store.completing(services.evaluate, at)


def completing_written(services: ApiServices) -> Completing:
    """How entities that are being written get what is derived from others: as these were committed last."""
    return of_store.completing_written(services.database, services.evaluate, services.now)
