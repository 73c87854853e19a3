"""Migrations: they make the tables there are, on both databases."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text

from store import migrate
from store.database import execute, sessions


def test_the_migrations_make_the_tables_there_are(database_url: str) -> None:
    assert migrate.pending_differences(database_url) == []


def test_migrating_again_changes_nothing(database_url: str) -> None:
    migrate.upgrade(database_url)
    assert migrate.pending_differences(database_url) == []


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    program = "import sys; from store.migrate import upgrade; upgrade(sys.argv[1])"
    processes = [subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    assert migrate.pending_differences(url) == []


@pytest.fixture
def first_url(database_url: str) -> Iterator[str]:
    """The address of a database with the first schema, and the newest again afterwards."""
    _move(database_url, "downgrade", "0001")
    yield database_url
    migrate.upgrade(database_url)


def test_what_was_recorded_before_is_in_the_audit_log_too(first_url: str) -> None:
    documents: list[dict[str, Any]] = [
        {"action": "CREATE", "origin": "UI", "context": {"runId": "r_1", "blueprint": "service", "entity": "ö"}},
        {"action": "DELETE", "origin": "API", "context": {"action": "deploy", "blueprint": None}},
    ]
    for number, document in enumerate(documents):
        _ask(
            first_url,
            "INSERT INTO changes (id, at, resource_type, pending, document)"
            " VALUES (:id, '2026-01-02 03:04:05', 'run', false, :document)",
            id=str(number),
            document=json.dumps(document, ensure_ascii=False),
        )
    migrate.upgrade(first_url)
    columns = "happening, status, origin, blueprint, entity, webhook_id, webhook_event_id, installation_id"
    assert _ask(first_url, f"SELECT {columns} FROM changes ORDER BY id") == [  # noqa: S608 - our own names
        ("CREATE", "SUCCESS", "UI", "service", "ö", None, None, None),
        ("DELETE", "SUCCESS", "API", None, None, None, None, None),
    ]


def test_a_process_of_the_release_before_can_go_on_recording(database_url: str) -> None:
    insert = (
        "INSERT INTO changes (id, at, resource_type, run_id, action, pending, document)"
        " VALUES ('event_1', '2026-01-02 03:04:05', 'run', NULL, NULL, false, '{}')"
    )
    _ask(database_url, insert)
    assert _ask(database_url, "SELECT status, origin FROM changes") == [("SUCCESS", None)]


def _move(url: str, way: str, revision: str) -> None:
    asyncio.run(migrate._with_connection(url, lambda config: getattr(command, way)(config, revision)))


def _ask(url: str, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    async def ask() -> list[tuple[Any, ...]]:
        source = sessions(url)
        try:
            async with source.write() as session:
                result = await execute(session, text(statement), parameters)
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            await source.close()

    return asyncio.run(ask())
