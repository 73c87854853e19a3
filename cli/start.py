"""What every command does first: settings, logs, and for some the database."""

import os
from pathlib import Path

from cli.errors import CannotStart
from runtime import logs
from runtime.settings import Settings, for_data_dir


def started(data_dir: Path | None) -> Settings:
    """The settings of this process, with its logs on their way.

    Raises:
        runtime.settings.InvalidSettings, runtime.keys.KeyFault: they are wrong, or there is no master key.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise CannotStart(f"the data directory {data_dir} does not exist; `interlock dev` makes one.")
    settings = for_data_dir(data_dir, os.environ)
    _ = settings.keys  # no command works without: say so now and not in the middle
    logs.configure(settings)
    return settings


def migrated(settings: Settings) -> None:
    """Bring the database to the shape this version needs.

    Raises:
        CannotStart: the database does not answer, is none, or was written by a newer version.
    """
    from alembic.util.exc import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from store.migrate import upgrade

    try:
        upgrade(settings.database_url)
    except (SQLAlchemyError, CommandError, OSError) as problem:
        # Of SQLAlchemy's text only what the driver said: the rest is the statement, and a link.
        reason = str(getattr(problem, "orig", None) or problem).splitlines()[0].rstrip(".")
        raise CannotStart(f"the database cannot be brought up to date: {reason}.") from None
