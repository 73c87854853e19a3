"""What a process does, and what it leaves undone, until it works: whoever starts one waits for it."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import keys
from runtime.settings import KEY_FILE
from store import migrate

ROOT = Path(__file__).parents[2]


def said(program: str, *arguments: str) -> str:
    """What a Python program prints."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=50, cwd=ROOT).stdout.strip()


def test_garbage_is_looked_for_once_everything_is_imported() -> None:
    program = """
import gc
import cli.main
print(gc.isenabled())
from cli.start import loaded
loaded()
print(gc.isenabled(), gc.get_freeze_count() > 10_000)
"""
    assert said(program).split() == ["False", "True", "True"]


def test_every_command_looks_for_garbage(tmp_path: Path) -> None:
    program = """
import gc, sys
from pathlib import Path
import cli.main
from cli.start import started
started(Path(sys.argv[1]))
print(gc.isenabled())
"""
    keys.load_or_create(tmp_path / KEY_FILE)
    assert said(program, str(tmp_path)) == "True"


def test_alembic_is_asked_only_where_there_is_something_to_migrate(tmp_path: Path) -> None:
    program = "import sys; from store.migrate import upgrade; upgrade(sys.argv[1]); print('alembic' in sys.modules)"
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    assert [said(program, url), said(program, url)] == ["True", "False"]


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "interlock.db"
    migrate.upgrade(f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(migrate.CannotMigrate, match="9999"):
        migrate.upgrade(f"sqlite:///{file}")
