"""Health of a service: failed commits are retried, and an unexpected error ends it.

Every returned decision is committed.  So a service that cannot commit responds with 503 and retries by
itself; `/readyz` takes it out of service meanwhile.  After an unexpected error the state in memory is
unknown: every waiting request fails at once, nothing is saved, and the process ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from fraud_detection.adapters.sqlite.errors import advice
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.errors import FraudDetectionError, RetryError

LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
TRY_EVERY_S = 2.0
ENDS = "this process met an error and ends; retry in a moment"


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the process serves, and what decides; parts and workers only where they need attention."""

    status: Annotated[
        str, Meta(description="`ready`; `degraded`: a part is down that payments do not need; else why not")
    ]
    bundle: str | UnsetType = UNSET
    config_id: str | UnsetType = UNSET
    release: int | UnsetType = UNSET
    queued: Annotated[int, Meta(description="events in the queue")] | UnsetType = UNSET
    background: Annotated[dict[str, str], Meta(description="the problem of each part that is down")] = {}
    look_at: Annotated[list[str], Meta(description="parts that work, with a warning in the log")] = []
    workers_unavailable: Annotated[list[int], Meta(description="workers that do not respond")] = []

    @property
    def serves(self) -> bool:
        """Return whether payments are decided."""
        return self.status in {"ready", "degraded"}


class BrokenError(FraudDetectionError):
    """The service met an error after which it cannot go on; the log says what it was, and what to do."""


class Health:
    """Health of the state of one service.

    broken: the error that ended it, None while it is open.  guarded: a context in which an unexpected error
    ends the service, and is raised as RetryError.
    """

    def __init__(self, state_file: StateFile, reject: Callable[[RetryError], None]) -> None:
        """Take the state file, and a function that rejects all queued requests."""
        self.broken: Exception | None = None
        self.guarded = _Guarded(self)
        self._state_file, self._reject = state_file, reject
        self._retries = False
        self._look_at = 0.0

    def check(self) -> None:
        """Raise RetryError when the service is broken."""
        if self.broken is not None:
            raise RetryError(ENDS)

    def look(self) -> None:
        """Check now and then that the state file is still there; until it is, no decision is returned."""
        now = time.monotonic()
        if now < self._look_at or self.broken is not None:
            return
        self._look_at = now + LOOK_EVERY_S
        error = self._state_file.look()
        if error:
            self.defer(RetryError(error))

    def defer(self, error: RetryError) -> None:
        """Retry a failed commit in the background until it succeeds."""
        if self._retries or not self._state_file.failed:
            return
        self._retries = True
        hint = None if error.__cause__ is None else advice(error.__cause__, self._state_file.database)
        message = "%s; until it can be written, payments get 503"
        LOG.error(message, hint or error, extra={"event": "commit_failed"})
        self._try_later()

    def met(self, error: Exception) -> RetryError:
        """Handle an error; return the RetryError for the waiting requests."""
        if isinstance(error, RetryError):
            self.defer(error)
            return error
        return self.fail(error)

    def fail(self, error: Exception) -> RetryError:
        """End the service: log why, once, and reject all queued requests; return the RetryError for them."""
        refusal = RetryError(ENDS)
        if self.broken is None:
            self.broken = error
            message = advice(error.__cause__ or error, self._state_file.database)
            if isinstance(error, FraudDetectionError):
                message = message or str(error)
            LOG.critical(
                "%s; this process ends",
                message or "an error of the program",
                exc_info=None if message else error,
                extra={"event": "broken"},
            )
            self._reject(refusal)
        return refusal

    def _try_later(self) -> None:
        asyncio.get_running_loop().call_later(TRY_EVERY_S, self._try)

    def _try(self) -> None:
        try:
            self._state_file.retry()
        except RetryError:
            self._try_later()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the service
            self.fail(error)
        else:
            self._retries = False
            LOG.warning(
                "the state file can be written again; nothing was lost", extra={"event": "commit_recovered"}
            )


class _Guarded:
    """The context of `Health.guarded`; a class, because it stands on the path of every payment."""

    __slots__ = ("_health",)

    def __init__(self, health: Health) -> None:
        self._health = health

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        """Distinguish an error from a refusal."""
        if isinstance(error, Exception) and (refusal := self._health.met(error)) is not error:
            raise refusal from error
