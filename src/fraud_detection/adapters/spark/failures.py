"""Errors of tasks, carried from the Python process that met them to the one that started the job.

Spark hands on the text of a traceback alone, so an error that names its remedy travels in it as one word.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from fraud_detection.core.errors import ConfigError, RetryError

_KINDS: Mapping[str, type[Exception]] = {"ConfigError": ConfigError, "RetryError": RetryError}
_WORD = re.compile(r"fraud-detection-error:([A-Za-z0-9+/=]+)")
_LOST = re.compile(
    r"ExecutorLost|FetchFailed|executor \S+ exited|Python worker exited unexpectedly|Master removed"
    r"|All masters are unresponsive"
)


class TaskError(Exception):
    """An error in a form that survives as the text of a traceback."""


class _Carried(msgspec.Struct, frozen=True):
    kind: str
    message: str


@contextmanager
def carried() -> Iterator[None]:
    """Raise errors that name their remedy, and those of files, as TaskError."""
    try:
        yield
    except (ConfigError, RetryError, OSError) as error:
        kind = RetryError if isinstance(error, RetryError) else ConfigError
        word = base64.b64encode(msgspec.json.encode(_Carried(kind.__name__, _message(error)))).decode()
        raise TaskError(f"fraud-detection-error:{word}") from error


def as_raised(error: Exception) -> Exception:
    """Return the error that a task raised, or RetryError where processes were lost; else the error itself.

    >>> try:
    ...     with carried():
    ...         raise ConfigError("payments.csv: no such file")
    ... except TaskError as error:
    ...     as_raised(RuntimeError(f"Job aborted: {error}"))
    ConfigError('payments.csv: no such file')
    """
    text = str(error)
    found = _WORD.search(text)
    if found is not None:
        was = msgspec.json.decode(base64.b64decode(found[1]), type=_Carried)
        return _KINDS[was.kind](was.message)
    lost = _LOST.search(text)
    if lost is not None:
        return RetryError(
            f"Spark lost processes too often ({lost[0]}): nothing was written; run it again, with more "
            "memory for each of them if it happens again"
        )
    return error


def _message(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error}; each machine of the cluster has to find the file under this path"
    return str(error)
