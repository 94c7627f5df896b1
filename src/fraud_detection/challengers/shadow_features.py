"""Feature rows of a shadow: the served ones, or its own from its own profiles.

Served rows fit only a shadow with the features of the services.  Any other shadow extracts its
features itself, like a service that had used its bundle from the start: history first, then the log, with
each label where it was ingested.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from fraud_detection.adapters.sqlite.event_log import LoggedEvent
from fraud_detection.adapters.sqlite.state_file import MAX_ENTRIES, MAX_ROWS, StateFile
from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.profile_cache import Ids, ProfileCache
from fraud_detection.core.features.replay import Replay, extract_or_missing
from fraud_detection.core.parse import Parser
from fraud_detection.engine.engine import Engine
from fraud_detection.history.load import History, Progress, read_history

LOG = logging.getLogger(__name__)
AT_ONCE = 256
RECENT = 2 * MAX_ROWS * MAX_ENTRIES
"""A payment that is not in the tables of a state file yet is always one of so many latest."""


class Row(NamedTuple):
    """A logged payment as the shadow reads it, and its features."""

    logged: LoggedEvent
    payment: Transaction
    features: array[float]


class Rows(Protocol):
    """Port: source of the feature rows of a log.

    own: whether they are other ones than those that were served.
    """

    own: bool

    def backfill(self) -> Iterator[int]:
        """Backfill the profiles with what came before the shadow; yield the events of each part."""

    def take(self, batch: Sequence[LoggedEvent]) -> list[Row]:
        """Return the rows of the payments in the next part of the log, in order."""


def next_batch(state_file: StateFile, after_seq: int, until: int | None = None) -> list[LoggedEvent]:
    """Return the events after `after_seq` in a log, some hundred at most, and none after `until`."""
    batch: list[LoggedEvent] = []
    for logged in state_file.since(after_seq):
        if until is not None and logged.seq > until:
            break
        # Never half of the events that share a number.
        if len(batch) >= AT_ONCE and logged.seq != batch[-1].seq:
            break
        batch.append(logged)
    return batch


class ServedRows:
    """The served rows.

    fingerprint_of: that of a bundle's features, by the bundle's name.
    """

    own = False

    def __init__(self, engine: Engine, fingerprint_of: Callable[[str], str]) -> None:
        """Read payments by the shadow's own project file."""
        self._config_id, self._fingerprint = (
            engine.configuration.config_id,
            engine.bundle.manifest.fingerprint,
        )
        self._fingerprint_of = fingerprint_of
        self._parser = Parser(engine.project.schema, engine.bundle.contents.features.category_encoding)

    def backfill(self) -> Iterator[int]:
        """Nothing to backfill: rows that were served are computed already."""
        return iter(())

    def take(self, batch: Sequence[LoggedEvent]) -> list[Row]:
        """Return the stored rows; raise ConfigError when other features were served."""
        paid = [logged for logged in batch if logged.event is not None]
        for bundle in {logged.bundle for logged in paid}:
            if self._fingerprint_of(bundle) != self._fingerprint:
                raise ConfigError(
                    f"the shadow {self._config_id}: bundle {bundle} answers now, whose features are others "
                    "than the shadow's; start `fraud shadow` again, and it makes its features itself"
                )
        return [
            Row(logged, _read(self._parser, logged, self._config_id), array("d", logged.features))
            for logged in paid
        ]


class OwnRows:
    """Rows made by the shadow's own features, in a memory that begins anew with each process.

    Payments are read by the shadow's own schema, so its entities may be others than the services'.  Labels
    are taken from the log, which has those of history too, each where it became known.
    """

    own = True

    def __init__(
        self,
        engine: Engine,
        state_file: StateFile,
        history: Path | None,
        until: int,
        progress: Progress,
        *,
        recent: int = RECENT,
    ) -> None:
        """Begin with nothing; raise ConfigError for a state with a history that cannot be loaded here.

        history: what the state file began with.  until: up to which number the log is backfilled, and not
        decided.  recent: of at least so many latest payments the entities are known without a look at the
        state file.
        """
        self._project, self._config_id = engine.project, engine.configuration.config_id
        self._state_file, self._history, self._until = state_file, history, until
        self._progress = progress
        self._parser = Parser(engine.project.schema, engine.bundle.contents.features.category_encoding)
        self._profile_cache = ProfileCache(engine.extractor)
        self._began: int | None = state_file.meta("history", None)
        self._check_same_start()
        self._of_history: dict[str, Ids] = {}
        self._most_recent = recent
        self._recent: dict[str, Ids] = {}
        self._before: dict[str, Ids] = {}
        self._refused = 0

    def backfill(self) -> Iterator[int]:
        """Backfill history, and the log before the shadow; raise ConfigError for another history."""
        start, events, payments = time.perf_counter(), 0, 0
        if self._history is not None:
            history = read_history(self._project, self._history, self._progress)
            self._check_same_history(history)
            payments = len(history.payments)
            yield from self._backfill_history(history)
        seq = 0
        while batch := next_batch(self._state_file, seq, self._until):
            for logged in batch:
                payment = self._payment(logged)
                if payment is not None:
                    self._profile_cache.reapply_payment(payment)
            seq = batch[-1].seq
            events += len(batch)
            self._progress(f"loading the log: {events:,} events", seq / self._until)
            yield len(batch)
        seconds = time.perf_counter() - start
        LOG.info(
            "the shadow %s makes its features itself: it has loaded %s payments of history and %s events "
            "of the log in %.1f s",
            self._config_id,
            f"{payments:,}",
            f"{events:,}",
            seconds,
            extra={"event": "shadow_backfilled", "config_id": self._config_id},
        )

    def take(self, batch: Sequence[LoggedEvent]) -> list[Row]:
        """Update the profiles and return a row for each payment that the shadow's schema can read."""
        self._check_history_in_time()
        rows: list[Row] = []
        for logged in batch:
            payment = self._payment(logged)
            if payment is not None:
                rows.append(
                    Row(logged, payment, array("d", extract_or_missing(self._profile_cache, payment)))
                )
        return rows

    def _backfill_history(self, history: History) -> Iterator[int]:
        """Add historical payments, with the labels known by the last one; the log has the others."""
        payments = history.payments
        for number, _ in enumerate(Replay(self._profile_cache).rows(payments), start=1):
            if number % AT_ONCE == 0:
                self._progress(f"loading history: {number:,} payments", number / len(payments))
                yield AT_ONCE
        self._of_history = {
            historical.payment.transaction_id: historical.payment.entities for historical in payments
        }
        self._progress(f"loading history: {len(payments):,} payments", 1.0)

    def _payment(self, logged: LoggedEvent) -> Transaction | None:
        """Learn a label; return a payment, None where a service would have refused it."""
        self._profile_cache.sequence = logged.seq
        if logged.event is None:
            ids = self._ids(logged.transaction_id)
            if ids is not None:
                self._profile_cache.apply_label(
                    ids, logged.known_at, fraud=logged.fraud, supersedes_known_at=logged.supersedes_known_at
                )
            return None
        try:
            payment = _read(self._parser, logged, self._config_id)
        except RejectError as error:
            self._leave_out(logged, error)
            return None
        if len(self._recent) >= self._most_recent:
            self._before, self._recent = self._recent, {}
        self._recent[logged.transaction_id] = payment.entities
        return payment

    def _ids(self, transaction_id: str) -> Ids | None:
        """Return the entities of a payment as the shadow reads them; None where it cannot, or knows none."""
        for known in (self._recent, self._before, self._of_history):
            if transaction_id in known:
                return known[transaction_id]
        query = "SELECT event FROM decisions WHERE transaction_id = ?"
        for (event,) in self._state_file.rows(query, (transaction_id,)):
            try:
                payment = self._parser.parse(event, transaction_id)
            except RejectError:
                return None
            return payment.entities if isinstance(payment, Transaction) else None
        return None

    def _leave_out(self, logged: LoggedEvent, error: RejectError) -> None:
        self._refused += 1
        if self._refused == 1:
            LOG.warning(
                "the shadow %s cannot read payment %s: %s; such payments are left out, as a server would put "
                "them into quarantine",
                self._config_id,
                logged.transaction_id,
                error,
                extra={"event": "payment_left_out", "config_id": self._config_id},
            )

    def _check_same_start(self) -> None:
        what = (
            f"the shadow {self._config_id} needs other features than the services have, and makes them itself"
        )
        if self._state_file.meta("worker_state", None) is not None:
            raise ConfigError(
                f"{self._state_file.path}: is of one of several workers; {what}, of all payments in one "
                "order, which several files do not have; let it follow a service that is alone"
            )
        if self._began and self._history is None:
            raise ConfigError(
                f"{self._state_file.path}: began with {self._began:,} payments of history; {what}: name "
                "the same file with --history"
            )
        if not self._began and self._history is not None:
            raise ConfigError(
                f"{self._state_file.path}: began without history; {what}, as the service did: "
                "leave out --history"
            )

    def _check_same_history(self, history: History) -> None:
        file_ids = {historical.payment.transaction_id for historical in history.payments}
        state_ids = {row[0] for row in self._state_file.rows("SELECT transaction_id FROM history")}
        # What this schema refuses may have been read by the service's.
        if file_ids - state_ids or len(state_ids - file_ids) > len(history.refused):
            raise ConfigError(
                f"{self._state_file.path}: began with {len(state_ids):,} payments of history, and "
                f"{self._history} has {len(file_ids & state_ids):,} of them and "
                f"{len(file_ids - state_ids):,} others; name the same file with --history"
            )

    def _check_history_in_time(self) -> None:
        if self._state_file.meta("history", None) != self._began:
            raise ConfigError(
                f"{self._state_file.path}: has taken history in since the shadow {self._config_id} began; "
                "start `fraud shadow` again, with the same --history"
            )


def _read(parser: Parser, logged: LoggedEvent, config_id: str) -> Transaction:
    read = parser.parse(logged.event or b"", logged.transaction_id)
    if not isinstance(read, Transaction):
        raise ConfigError(f"the project file of shadow {config_id} takes payment {logged.seq} for a label")
    return read
