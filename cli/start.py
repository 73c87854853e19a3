"""What every command does first: settings, logs, and for some the database."""

import gc
import os
from pathlib import Path

from cli.errors import CannotStart
from runtime import logs
from runtime.settings import Settings, for_data_dir


def loaded() -> None:
    """Everything that is needed is imported: look for garbage from now on, and only in what is made from now on.

    Young objects may be left alone for longer than usual, but not for as long as it takes to make very many: everything
    waits while they are looked at. Nor may old ones: a workflow that leaves the cache is old, a cycle, and many
    kilobytes.
    """
    gc.freeze()
    gc.set_threshold(5_000, 1, 10)
    gc.enable()


def started(data_dir: Path | None) -> Settings:
    """The settings of this process, which has imported what it needs, with its logs on their way.

    Raises:
        runtime.settings.InvalidSettings, runtime.keys.KeyFault: they are wrong, or there is no master key.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise CannotStart(f"the data directory {data_dir} does not exist; `interlock dev` makes one.")
    loaded()
    settings = for_data_dir(data_dir, os.environ)
    _ = settings.keys  # no command works without: say so now and not in the middle
    logs.configure(settings)
    return settings


def migrated(settings: Settings) -> None:
    """Bring the database to the shape this version needs.

    Raises:
        CannotStart: the database does not answer, is none, or was written by a newer version.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from store.migrate import CannotMigrate, upgrade

    try:
        upgrade(settings.database_url)
    except (SQLAlchemyError, CannotMigrate, OSError) as problem:
        # Of SQLAlchemy's text only what the driver said: the rest is the statement, and a link.
        reason = str(getattr(problem, "orig", None) or problem).splitlines()[0].rstrip(".")
        raise CannotStart(f"the database cannot be brought up to date: {reason}.") from None
