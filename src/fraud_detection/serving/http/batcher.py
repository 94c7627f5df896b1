"""Batch the payments of concurrent requests: what is queued together is decided and committed together.

While one batch is decided, the next requests arrive; they become the next batch.  So a payment alone is
decided at once, and many share the cost of a commit.  A response is sent only after the commit: a process
that is killed has lost no decision that it returned.  `health` handles errors.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.output_file import find_decision
from fraud_detection.core.errors import FraudDetectionError, RetryError
from fraud_detection.core.events import ANYBODY, Decision, Label, Quarantined, Sender
from fraud_detection.core.metrics import LatencyHistogram
from fraud_detection.core.outcomes import AppliedLabel, Decided, Duplicate, Forbidden, Outcome, RedundantLabel
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.http.health import BrokenError, Health, Readiness

LOG = logging.getLogger(__name__)

SOURCE = "requests"
MAX_QUEUE = 2_000
WAIT_S = 1.0
"""How long a commit may wait for another process that holds the file: no request is served meanwhile.  Under
lists of hundreds of payments, a checkpoint of the log has held it for more than a tenth of that."""

MAX_BATCH_SIZE = 256
MAX_CACHED = 50_000


class FullError(RetryError):
    """The queue is full: retry in a moment."""


class DecisionView(msgspec.Struct, frozen=True):
    """A decision as a response shows it: with the event time in ms, and whether it is a duplicate."""

    decision: Decision
    event_time: int
    duplicate: bool = False


Result = DecisionView | Label | Quarantined | Duplicate | Forbidden
"""Duplicate is a payment of history, which was never decided here, or a label that is known."""

OnResult = Callable[[list[Result] | RetryError], None]
Identities = Sequence[str | None] | None


class RequestBatcher:
    """Queues events from an event loop, decides them in batches, and returns results after the commit.

    max_queue: events that may be queued; one more is rejected at once.  waits: from being queued to the
    result.  lags: lag in s of each background input, by its source.
    """

    def __init__(self, service: EmbeddedService, max_queue: int = MAX_QUEUE) -> None:
        """Take the engine with its state."""
        self.service = service
        self.max_queue = max_queue
        self.refused = 0
        self.waits = LatencyHistogram()
        self.lags: dict[str, Callable[[], float]] = {}
        self.health = Health(service.state_file, self._reject_all)
        self._waiting: list[tuple[bytes, str | None, _PendingRequest]] = []
        self._recent: OrderedDict[str, DecisionView] = OrderedDict()
        self._scheduled = False

    @property
    def waiting(self) -> int:
        """Return how many events are queued."""
        return len(self._waiting)

    def readiness(self) -> Readiness:
        """Return whether the service can decide, with what decides and what needs attention."""
        champion = self.service.pipeline.decision_engine.champion
        background = self.service.state_file.background
        problems, warnings = background.problems(), background.warnings
        status = "degraded" if problems else "ready"
        status = status if background.essential_healthy else "background work failed"
        status = "cannot commit" if self.service.state_file.failed else status
        status = status if self.health.broken is None else "ends"
        deciding = (champion.bundle, champion.config_id, self.service.release)
        return Readiness(status, *deciding, self.waiting, problems, sorted(warnings))

    def enqueue(
        self,
        events: Sequence[bytes],
        on_result: OnResult,
        sender: Sender = ANYBODY,
        identities: Identities = None,
    ) -> None:
        """Queue events, all or none; `on_result` gets all results when the last one is decided.

        sender: the caller; events outside its roles become `Forbidden`, and leave no trace.  identities:
        dedup keys of events without ids of their own.

        Raises FullError when the queue is full, RetryError when the service is broken.
        """
        self.health.check()
        if len(self._waiting) + len(events) > self.max_queue:
            self.refused += len(events)
            raise FullError(f"{len(self._waiting):,} events are queued already; retry in a moment")
        pending = _PendingRequest(on_result, len(events), time.perf_counter(), sender)
        for event, identity in zip(events, identities or itertools.repeat(None), strict=False):
            self._waiting.append((event, identity, pending))
        if not self._scheduled:
            self._scheduled = True
            # After the requests that the loop has read already: they belong to the same batch.
            asyncio.get_running_loop().call_soon(self._decide)

    def submit(
        self,
        events: Sequence[bytes],
        sender: Sender = ANYBODY,
        identities: Identities = None,
        done: Callable[[], None] | None = None,
    ) -> asyncio.Future[list[Result]]:
        """Queue events and return a future of their results.

        done: called when none of the events is queued any more, even if the future was cancelled.
        """
        future: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()

        def on_results(results: list[Result] | RetryError) -> None:
            if done is not None:
                done()
            _resolve(future, results)

        self.enqueue(events, on_results, sender, identities)
        return future

    def take_stream_batch(self, batch: Batch, source: str) -> None:
        """Decide the events of a background stream, which need no response.

        Raises RetryError as the engine does, and when the service is broken.
        """
        self.health.check()
        with self.health.guarded:
            self.service.take(batch, source)
        self._run_deferred_work()

    def find(self, transaction_id: str) -> DecisionView | None:
        """Return the decision on a payment; None where it was never decided."""
        recent = self._recent.get(transaction_id)
        if recent is not None:
            return recent
        with self.health.guarded:
            stored = find_decision(self.service.state_file, transaction_id)
        return None if stored is None else DecisionView(*stored)

    def close(self) -> None:
        """Save the profiles and close the state; raise BrokenError where nothing could be saved."""
        if self.health.broken is None:
            try:
                self.service.close()
            except FraudDetectionError:
                raise
            except Exception as error:  # noqa: BLE001 - handled like any other
                self.health.fail(error)
            else:
                return
        self.service.state_file.close()
        raise BrokenError("ended by an error; it stands above, with what to do") from self.health.broken

    def _decide(self) -> None:
        if self.health.broken is not None:
            return
        batch, self._waiting = self._waiting[:MAX_BATCH_SIZE], self._waiting[MAX_BATCH_SIZE:]
        self._scheduled = bool(self._waiting)
        if not batch:
            return
        loop = asyncio.get_running_loop()
        if self._scheduled:
            loop.call_soon(self._decide)
        try:
            self._decide_batch(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, every waiting request gets it
            refusal = self.health.met(error)
            for pending in dict.fromkeys(pending for _, _, pending in batch):
                self._reject(pending, refusal)
            return
        # After the responses, which the loop writes first.
        loop.call_soon(self._run_deferred_work)

    def _decide_batch(self, batch: Sequence[tuple[bytes, str | None, _PendingRequest]]) -> None:
        events, identities = [event for event, _, _ in batch], [identity for _, identity, _ in batch]
        senders = [pending.sender for _, _, pending in batch]
        named = senders if [sender for sender in senders if sender is not ANYBODY] else None
        outcomes = self.service.take(Batch(events, identities, 0, senders=named), SOURCE)
        now = time.perf_counter()
        for (_, _, pending), outcome in zip(batch, outcomes, strict=True):
            self.waits.add(now - pending.at)
            try:
                pending.add(self._reply_to(outcome))
            except RetryError as error:
                # It was decided before, but its decision cannot be read now.
                self._reject(pending, error)

    def _reject(self, pending: _PendingRequest, error: RetryError) -> None:
        """Reject the events of a request; those still queued are not decided any more."""
        pending.reject(error)
        self._waiting = [waiting for waiting in self._waiting if waiting[2] is not pending]

    def _reject_all(self, error: RetryError) -> None:
        waiting, self._waiting = self._waiting, []
        for pending in dict.fromkeys(pending for _, _, pending in waiting):
            pending.reject(error)

    def _run_deferred_work(self) -> None:
        if self.health.broken is not None:
            return
        try:
            self.service.run_deferred_work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged
            message = "%s; nothing is lost: the decisions are in the journal"
            LOG.warning(message, self.health.met(error), extra={"event": "deferred_work_failed"})

    def _reply_to(self, outcome: Outcome) -> Result:
        if isinstance(outcome, Decided):
            view = DecisionView(outcome.decision, outcome.payment.event_time)
            self._cache(view)
            return view
        if isinstance(outcome, AppliedLabel | RedundantLabel):
            return outcome.label
        if isinstance(outcome, Duplicate) and not outcome.is_label:
            earlier = self.find(outcome.transaction_id)
            return outcome if earlier is None else msgspec.structs.replace(earlier, duplicate=True)
        return outcome

    def _cache(self, view: DecisionView) -> None:
        self._recent[view.decision.transaction_id] = view
        if len(self._recent) > MAX_CACHED:
            self._recent.popitem(last=False)


class _PendingRequest:
    """The events of one request, and their results so far."""

    __slots__ = ("at", "missing", "on_result", "results", "sender")

    def __init__(self, on_result: OnResult, events: int, at: float, sender: Sender) -> None:
        self.on_result, self.missing, self.at, self.sender = on_result, events, at, sender
        self.results: list[Result] = []

    def add(self, result: Result) -> None:
        """Add the next result; the last one completes the request."""
        if not self.missing:
            return
        self.results.append(result)
        self.missing -= 1
        if not self.missing:
            self.on_result(self.results)

    def reject(self, error: RetryError) -> None:
        """Reject the request; events that were decided give their decision when the request is retried."""
        if self.missing:
            self.missing = 0
            self.on_result(error)


def _resolve(future: asyncio.Future[list[Result]], results: list[Result] | RetryError) -> None:
    if future.done():
        # The caller has gone; the decisions stand, and a retry returns them.
        return
    if isinstance(results, RetryError):
        future.set_exception(results)
    else:
        future.set_result(results)
