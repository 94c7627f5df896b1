"""Server log: one line an event, as text or JSON.

Every line has a time, a level and an `event`; docs/runbook.md lists the events.
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
from types import TracebackType
from typing import Literal, TextIO

import msgspec

LogFormat = Literal["text", "json"]
PACKAGE = "fraud_detection"
OTHER = "other"
"""The event of a line that names none: it is of a library."""
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; all else is of the event."""


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.stream = sys.stderr
        super().emit(record)


class _Text(logging.Formatter):
    """`2026-01-31T12:00:00.000Z WARNING fraud_detection.serving.http.health: message`."""

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._who = "" if worker is None else f"worker {worker}: "

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as logging calls it
        return f"{_time(record)} {record.levelname} {record.name}: {self._who}{record.message}"


class _Json(logging.Formatter):
    """One object a line."""

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._who = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": OTHER,
            "logger": record.name,
            "message": record.getMessage(),
            **self._who,
            **{name: value for name, value in vars(record).items() if name not in OWN},
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry, enc_hook=str).decode()


def configure_log(kind: LogFormat, worker: int | None = None) -> None:
    """Let this process write its log to standard error, from INFO on; what others log from WARNING on.

    worker: which one of several this process is.
    """
    handler = _Stderr()
    handler.setFormatter(_Json(worker) if kind == "json" else _Text(worker))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(PACKAGE).setLevel(logging.INFO)
    if kind == "json":
        sys.excepthook = _crashed


def _time(record: logging.LogRecord) -> str:
    at = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log an unexpected error that ends the process."""
    message = "an error of the program; this process ends"
    logging.getLogger(PACKAGE).critical(message, exc_info=(kind, error, trace), extra={"event": "crashed"})
