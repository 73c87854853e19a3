"""`interlock secrets rotate`: afterwards the newest key alone opens everything, and nothing is lost on the way."""

import asyncio
from typing import Any

import pytest
from sqlmodel import col, select, update
from typer.testing import CliRunner

from cli.main import app
from cli.rotation import rotate_secrets
from domain.secret_values import Secret
from runtime.clock import now
from runtime.keys import KeyFault, Vault
from runtime.organization import ensure_organization
from runtime.settings import Settings
from store import secrets
from store.database import Database
from store.integration_tables import IncomingWebhookRow
from store.secrets import PLACES, Renewal
from store.tables import OrganizationRow, SecretRow

OLDEST, OLD, NEW = (f"the {name} master key which is long enough" for name in ("oldest", "old", "new"))
SIGNS = "what signs events"


def configured(url: str, *keys: str) -> Settings:
    """The settings with these keys, newest first."""
    return Settings.from_environment(
        {
            "INTERLOCK_DATABASE_URL": url,
            "INTERLOCK_SECRET_KEY": keys[0],
            "INTERLOCK_PREVIOUS_SECRET_KEYS": ",".join(keys[1:]),
        }
    )


async def keep(database: Database, vault: Vault, **values: str) -> None:
    """Make secrets with these values."""
    async with database.write() as session:
        for name, value in values.items():
            secret = Secret(secret_name=name, created_at=now(), updated_at=now())
            await secrets.create(session, secret, vault.encrypt(value), by="user_1", origin="API")


async def fill(database: Database, settings: Settings, *, number: int = 3) -> str:
    """Encrypt something in every place; the organization's client secret."""
    vault = settings.keys.vault
    organization = await ensure_organization(settings, database)
    await keep(database, vault, **{f"S{index:03}": f"value {index}" for index in range(number)})
    async with database.write() as session:
        for name, secret in (("signed", vault.encrypt(SIGNS)), ("open", None)):
            session.add(IncomingWebhookRow(id=name, identifier=name, key=f"key of {name}", secret=secret, document={}))
    return organization.client_secret


async def ciphers(database: Database) -> dict[str, str]:
    """Everything that is encrypted, as it is stored."""
    found: dict[str, str] = {}
    async with database.read() as session:
        for place in PLACES:
            rows = (await session.exec(select(place.name, place.value).where(place.value.is_not(None)))).all()
            found |= {f"{place.kind} {name}": closed for name, closed in rows}
    return found


async def opened(database: Database, vault: Vault) -> list[str]:
    """Everything that is encrypted, in plain."""
    return sorted(vault.decrypt(closed) for closed in (await ciphers(database)).values())


async def test_the_newest_key_alone_opens_everything_afterwards(database: Database) -> None:
    client_secret = await fill(database, configured(database.url, OLDEST))
    await keep(database, configured(database.url, OLD, OLDEST).keys.vault, LATER="later")
    everything = sorted([client_secret, "value 0", "value 1", "value 2", "later", SIGNS])
    alone = configured(database.url, NEW)
    with pytest.raises(KeyFault):
        await ensure_organization(alone, database)

    rotating = configured(database.url, NEW, OLD, OLDEST)
    assert await rotate_secrets(rotating) == Renewal(renewed=6)
    assert await opened(database, alone.keys.vault) == everything
    assert (await ensure_organization(alone, database)).client_secret == client_secret
    with pytest.raises(KeyFault):
        await opened(database, configured(database.url, OLD, OLDEST).keys.vault)

    before = await ciphers(database)
    assert await rotate_secrets(rotating) == Renewal(current=6)
    assert await rotate_secrets(alone) == Renewal(current=6)
    assert await ciphers(database) == before


async def test_more_than_a_transaction_takes_is_rotated_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "_AT_ONCE", 4)
    await fill(database, configured(database.url, OLD), number=12)  # the last portion is full
    await keep(database, configured(database.url, NEW).keys.vault, S005A="new already")
    assert await rotate_secrets(configured(database.url, NEW, OLD)) == Renewal(renewed=14, current=1)
    assert len(await opened(database, configured(database.url, NEW).keys.vault)) == 15


async def test_what_no_key_opens_is_named_and_stays(database: Database) -> None:
    await fill(database, configured(database.url, OLD), number=1)
    await keep(database, configured(database.url, OLDEST).keys.vault, LOST="lost", GONE="gone")
    async with database.write() as session:
        await session.exec(update(IncomingWebhookRow).values(secret="damaged"))
    before = await ciphers(database)

    done = await rotate_secrets(configured(database.url, NEW, OLD))
    assert (done.renewed, done.current) == (2, 0)
    assert done.unreadable == (
        "secret 'GONE'",
        "secret 'LOST'",
        "secret of incoming webhook 'open'",
        "secret of incoming webhook 'signed'",
    )
    after = await ciphers(database)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] == before[name]} == {
        "secret GONE",
        "secret LOST",
        "secret of incoming webhook open",
        "secret of incoming webhook signed",
    }
    # With the key that was missing, the rest can follow.
    assert (await rotate_secrets(configured(database.url, NEW, OLD, OLDEST))).renewed == 2


async def test_a_value_that_somebody_changes_at_the_same_time_is_not_overwritten(database: Database) -> None:
    old, new = configured(database.url, OLD).keys.vault, configured(database.url, NEW, OLD).keys.vault
    await keep(database, old, A="before", B="other")
    read: list[str] = []

    def renewed(closed: str) -> str | None:
        read.append(new.decrypt(closed))
        return new.rotated(closed)

    # The portion has read both; before it writes, another process that has the old key only gives A another value.
    async with database.write() as session:
        rows = (await session.exec(select(SecretRow.name, SecretRow.value).order_by(col(SecretRow.name)))).all()
        stale = dict(rows)["A"]
        await session.exec(
            update(SecretRow).where(col(SecretRow.name) == "A").values(value=old.encrypt("written meanwhile"))
        )
    async with database.write() as session:
        place = next(place for place in PLACES if place.kind == "secret")
        assert await secrets._renewed(session, place, "A", stale, renewed)
    assert read == ["before", "written meanwhile"], "it looked again"
    async with database.read() as session:
        sealed = await secrets.encrypted(session)
    assert configured(database.url, NEW).keys.vault.decrypt(sealed["A"]) == "written meanwhile"
    assert old.decrypt(sealed["B"]) == "other"

    async with database.write() as session:
        await secrets.remove(session, "A", by="user_1", at=now(), origin="API")
    async with database.write() as session:
        assert not await secrets._renewed(session, place, "A", stale, renewed), "what is gone stays gone"
    async with database.read() as session:
        assert set(await secrets.encrypted(session)) == {"B"}


async def test_people_change_secrets_while_it_runs(database: Database) -> None:
    settings = configured(database.url, NEW, OLD)
    await fill(database, configured(database.url, OLD), number=20)
    vault = settings.keys.vault

    async def change(name: str, value: str) -> None:
        async def work(session: Any) -> None:
            secret = await secrets.get(session, name, to_change=True)
            await secrets.replace(session, secret, vault.encrypt(value), by="user_1", origin="API")

        await database.transact(work)

    names = [f"S{index:03}" for index in range(20)]
    await asyncio.gather(rotate_secrets(settings), *(change(name, f"new {name}") for name in names))
    async with database.read() as session:
        sealed = await secrets.encrypted(session)
    alone = configured(database.url, NEW).keys.vault
    assert {name: alone.decrypt(closed) for name, closed in sealed.items()} == {name: f"new {name}" for name in names}


def run(environment: dict[str, str | None]) -> Any:
    return CliRunner().invoke(app, ["secrets", "rotate"], env=environment)


def test_the_command_says_how_much_and_never_what(sqlite_url: str) -> None:
    async def prepared() -> str:
        async with Database(sqlite_url) as database:
            return await fill(database, configured(sqlite_url, OLD))

    async def lose() -> None:
        async with Database(sqlite_url) as database:
            await keep(database, configured(sqlite_url, OLDEST).keys.vault, LOST="lost value")

    client_secret = asyncio.run(prepared())
    environment: dict[str, str | None] = {
        "INTERLOCK_DATABASE_URL": sqlite_url,
        "INTERLOCK_SECRET_KEY": NEW,
        "INTERLOCK_PREVIOUS_SECRET_KEYS": OLD,
    }
    done = run(environment)
    assert (done.exit_code, done.stdout) == (0, "5 encrypted again, 0 had the newest key already\n"), done.output
    environment["INTERLOCK_PREVIOUS_SECRET_KEYS"] = None
    assert run(environment).stdout == "0 encrypted again, 5 had the newest key already\n"

    asyncio.run(lose())
    said = run(environment)
    assert said.exit_code == 1
    assert said.stdout == "0 encrypted again, 5 had the newest key already\n"
    assert said.stderr == "interlock: no configured key opens these, and they stay as they are: secret 'LOST'.\n"
    for value in (client_secret, "value 0", SIGNS, "lost value", OLD, NEW):
        assert value not in done.output + said.output


def test_every_encrypted_column_is_a_place() -> None:
    columns = {(place.value.table.name, place.value.name) for place in PLACES}
    assert columns == {
        (OrganizationRow.__tablename__, "client_secret"),
        (SecretRow.__tablename__, "value"),
        (IncomingWebhookRow.__tablename__, "secret"),
    }
