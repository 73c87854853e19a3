"""Migrations: they make the tables there are, on both databases."""

import subprocess
import sys
from pathlib import Path

from store import migrate


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
