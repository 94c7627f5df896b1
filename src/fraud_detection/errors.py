"""The errors of the system, sorted by what to do next.

    FraudDetectionError
    ├── RejectError    the record is bad: quarantine it, acknowledge it, never retry it
    ├── RetryError     the platform is busy or away: keep the record, try again later
    └── ConfigError    something was set up wrongly: refuse to start

Anything else that is raised is a bug and must crash.  Every message says where
it happened, what was found, and what to do about it.
"""

from __future__ import annotations


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
