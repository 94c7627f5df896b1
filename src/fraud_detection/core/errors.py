"""The errors of the system, sorted by what to do next.

    FraudDetectionError
    ├── RejectError    the record is bad: quarantine it, acknowledge it, never retry it
    ├── RetryError     the platform is busy or away: keep the record, try again later
    └── ConfigError    something was set up wrongly: refuse to start

Anything else that is raised is a bug.  Where one payment raises it, that payment alone goes to review, loudly
(a `Failure`), and the stream goes on; everywhere else it must crash.  Every message says where it happened,
what was found, and what to do about it.
"""

from __future__ import annotations

import traceback


class FraudDetectionError(Exception):
    """The root of every error that this package raises on purpose."""


class RejectError(FraudDetectionError):
    """A record that can never be decided, with the reason and the path of the bad value.

    >>> RejectError("expected a number, got 'abc'", "$.amount").path
    '$.amount'
    """

    def __init__(self, reason: str, path: str = "$") -> None:
        """Keep the reason and the JSON path apart, so that both can be counted."""
        super().__init__(f"{reason} - at `{path}`")
        self.reason = reason
        self.path = path


class RetryError(FraudDetectionError):
    """A platform that is busy or away; the same call may succeed later."""


class ConfigError(FraudDetectionError):
    """A setting, file or command that is wrong; nothing was started."""


NOT_OF_ONE_EVENT = (FraudDetectionError, MemoryError)
"""What is no fault of a single event, so that leaving one out does not mend it."""


class Failure:
    """An unforeseen error while one event was processed.

    raw: the event, empty where it is not at hand.  where: the error's kind and the functions that it passed,
    without values of the event, so that it may be logged.  trace: all of it.
    """

    def __init__(self, transaction_id: str, raw: bytes, error: Exception) -> None:
        """Take the payment's id, empty where it is not known."""
        self.transaction_id: str = transaction_id
        self.raw: bytes = raw
        steps = traceback.extract_tb(error.__traceback__)
        names = " > ".join([f"{step.filename.rpartition('/')[2]}:{step.lineno}" for step in steps[-5:]])
        self.where: str = f"{type(error).__name__} at {names}" if names else type(error).__name__
        self.trace: str = "".join(traceback.format_exception(error))
