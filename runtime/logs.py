"""Logs: a fixed sentence with the facts beside it, one JSON object a line, or a line for people."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from runtime.settings import Settings

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
    "temporal_log",
}
"""What every record has; the rest are the facts somebody put beside the sentence."""

QUIET = {
    "httpx": logging.WARNING,  # it logs URLs, and a URL may hold a secret
    "httpcore": logging.WARNING,
    "alembic": logging.WARNING,
}


class JsonFormatter(logging.Formatter):
    """One record, one JSON object, one line."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        document |= {name: value for name, value in facts(record).items() if name not in document}
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One record, one line for people; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        beside = "".join(f" {name}={value}" for name, value in facts(record).items())
        line = f"{clock} {record.levelname.lower():7} {record.name}: {record.getMessage()}{beside}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def facts(record: logging.LogRecord) -> Mapping[str, Any]:
    """What was put beside the sentence with `extra`."""
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


def configure(settings: Settings) -> None:
    """Send every log of this process to standard error in the configured format. Doing it again replaces it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    handler.set_name("interlock")
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if other.get_name() != "interlock"] + [handler]
    root.setLevel(settings.log_level.upper())
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
