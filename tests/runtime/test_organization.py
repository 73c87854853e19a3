"""The organization: there is one, whoever sets it up first."""

import asyncio

import pytest

from runtime.keys import KeyFault
from runtime.organization import ensure_organization
from runtime.settings import Settings
from store.database import Database


def settings(url: str, key: str = "a master key for tests, long enough") -> Settings:
    """Settings for the database."""
    return Settings.from_environment({"INTERLOCK_DATABASE_URL": url, "INTERLOCK_SECRET_KEY": key})


async def test_processes_that_start_at_once_agree_on_one(database: Database) -> None:
    found = await asyncio.gather(*(ensure_organization(settings(database.url), database) for _ in range(6)))
    assert len({(one.id, one.client_id, one.client_secret) for one in found}) == 1
    assert len(found[0].client_secret.encode()) >= 32
    assert found[0].client_secret not in repr(found[0])


async def test_another_master_key_is_told_from_the_right_one(database: Database) -> None:
    await ensure_organization(settings(database.url), database)
    with pytest.raises(KeyFault):
        await ensure_organization(settings(database.url, key="another master key, long enough too"), database)
