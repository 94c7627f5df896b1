"""Retry calls of AWS with exponential backoff, until the service answers or is reported as busy.

The clients never repeat a call by themselves; what is done here is done by their callers alone, who know
that it does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.core.errors import ConfigError, RetryError

T = TypeVar("T")

ATTEMPTS = 6
INITIAL_BACKOFF_S = 0.02
MISTAKES = frozenset(
    {
        "AccessDeniedException",
        "AccessForbidden",
        "ResourceNotFound",
        "ResourceNotFoundException",
        "ValidationError",
        "ValidationException",
    }
)
"""Answers that no waiting changes, such as that a table is not there."""


def attempt(call: Callable[..., dict[str, Any]], **request: object) -> dict[str, Any] | None:
    """Return the answer, None where the service is busy or away for now; the caller counts its attempts."""
    try:
        return call(**request)
    except ClientError as error:
        check_mistake(error)
    except BotoCoreError:
        # Reading again does no harm, nor does putting the same things again.
        pass
    return None


def check_mistake(error: ClientError) -> None:
    """Raise ConfigError at once for an answer that no waiting changes."""
    if error.response["Error"]["Code"] in MISTAKES:
        raise ConfigError(str(error)) from None


def backoffs(what: str) -> Iterator[float]:
    """Yield a longer backoff after each attempt; raise RetryError after the last."""
    for number in range(ATTEMPTS - 1):
        yield INITIAL_BACKOFF_S * 2**number
    raise RetryError(f"{what} is busy or away: {ATTEMPTS} attempts failed")


def chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the values in lists of at most `size`.

    >>> list(chunks("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk
