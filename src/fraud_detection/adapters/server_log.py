"""The log of a server: one line for each thing that happened, with its time and level, as text or JSON."""

from __future__ import annotations

import datetime as dt
import logging
import sys
from typing import Literal, TextIO

import msgspec

LogFormat = Literal["text", "json"]
PACKAGE = "fraud_detection"
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; all else is of the event."""


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.stream = sys.stderr
        super().emit(record)


class _Text(logging.Formatter):
    """`2026-01-31T12:00:00.000Z WARNING fraud_detection.run.health: words`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as logging calls it
        return f"{_time(record)} {record.levelname} {record.name}: {record.message}"


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in OWN},
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(told, enc_hook=str).decode()


def configure_log(kind: LogFormat) -> None:
    """Let this process write its log to standard error, from INFO on; what others log from WARNING on."""
    handler = _Stderr()
    handler.setFormatter(_Json() if kind == "json" else _Text())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(PACKAGE).setLevel(logging.INFO)


def _time(record: logging.LogRecord) -> str:
    at = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
