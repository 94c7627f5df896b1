"""Deduplication index of a state file: decided payments, their labels, and historical payments."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import msgspec

from fraud_detection.adapters.sqlite.dedup.bloom_filter import BloomFilter
from fraud_detection.adapters.sqlite.dedup.shared_ids import SharedIds
from fraud_detection.core.events import HISTORY, Label
from fraud_detection.core.features.replay import HistoricalPayment
from fraud_detection.core.parse.content import content_digest
from fraud_detection.core.ports import BatchState, FirstDelivery

Ids = tuple[str | None, ...]

MAX_PARAMETERS = 500
NEXT_IDS = "SELECT transaction_id FROM {} WHERE transaction_id > ? ORDER BY transaction_id LIMIT ?"
"""No id is empty, so the first ones come after the empty text."""


class SqliteDedupIndex:
    """The DedupIndex over the tables of a state file, and what of history has to be in them.

    awaited: payments of which a label has come before them.  unflushed: payments that were decided, but are
    not in the tables yet.  elsewhere: payments in hand that another worker has decided.
    """

    def __init__(
        self, db: sqlite3.Connection, flush: Callable[[], None], shared_ids: SharedIds | None = None
    ) -> None:
        """Take the connection of the one writer, and what brings the tables up to date.

        shared_ids: where other workers see the ids.
        """
        self._db = db
        self._flush = flush
        self.unflushed: set[str] = set()
        self.awaited: set[str] = set()
        self.elsewhere: dict[str, FirstDelivery] = {}
        self._ids, self._shared_ids = BloomFilter(), shared_ids
        # Tables whose ids are not all in the filter, with the last one that is; until then SQLite is asked.
        self._to_enter = {"decisions": "", "history": ""}

    def enter(self, decided: Sequence[str]) -> None:
        """Add payments that are decided, but not in the tables yet."""
        self.unflushed.update(decided)
        for transaction_id in decided:
            self._ids.enter(transaction_id)

    def enter_from_tables(self, max_ids: int) -> None:
        """Load up to so many more ids from the tables; once all are loaded, no new id needs a query."""
        while self._to_enter and max_ids > 0:
            table, after = next(iter(self._to_enter.items()))
            rows = self._db.execute(NEXT_IDS.format(table), (after, max_ids)).fetchall()
            for (transaction_id,) in rows:
                self._ids.enter(transaction_id)
                if self._shared_ids is not None:
                    self._shared_ids.enter(transaction_id)
            if len(rows) < max_ids:
                del self._to_enter[table]
            else:
                self._to_enter[table] = rows[-1][0]
            max_ids -= len(rows)
        if self._shared_ids is not None and not self._to_enter:
            self._shared_ids.completed()

    def look_for_awaited(self) -> None:
        """Find the labels that arrived before their payments."""
        rows = self._db.execute(
            "SELECT transaction_id FROM labels WHERE applied_at IS NULL AND NOT redundant"
        )
        self.awaited = {row[0] for row in rows}

    def batch_state(self, payments: Sequence[str], labelled: Sequence[str]) -> BatchState:
        """Load the state of these payments, and of the labelled ones."""
        first = self.first(payments)
        if self.elsewhere:
            first |= {
                transaction_id: self.elsewhere[transaction_id]
                for transaction_id in payments
                if transaction_id in self.elsewhere
            }
        already_processed = dict.fromkeys(first, 0)
        if not labelled and self.awaited.isdisjoint(payments):
            return BatchState(already_processed, {}, {}, first=first)
        labelled = [
            *labelled,
            *[transaction_id for transaction_id in payments if transaction_id in self.awaited],
        ]
        return BatchState(already_processed, self.entities(labelled), *self._labels(labelled), first=first)

    def first(self, payments: Sequence[str]) -> dict[str, FirstDelivery]:
        """Return what is stored of those payments that were decided here, or are of history."""
        candidates = (
            payments
            if self._to_enter
            else [transaction_id for transaction_id in payments if self._ids.may_hold(transaction_id)]
        )
        if not candidates:
            return {}
        if not self.unflushed.isdisjoint(candidates):
            # What it was is in the journal alone.
            self._flush()
        of_stream = "SELECT transaction_id, event, x'' FROM decisions WHERE transaction_id"
        of_history = "SELECT transaction_id, x'', content FROM history WHERE transaction_id"
        rows = where_in(self._db, candidates, of_stream, of_history)
        return {transaction_id: FirstDelivery(event, digest) for transaction_id, event, digest in rows}

    def entities(self, transaction_ids: Sequence[str]) -> dict[str, Ids]:
        """Return the entities of those payments that are known, of history or decided."""
        self._flush()
        of_stream = "SELECT transaction_id, entities FROM decisions WHERE transaction_id"
        of_history = "SELECT transaction_id, entities FROM history WHERE transaction_id"
        rows = where_in(self._db, transaction_ids, of_stream, of_history)
        return {transaction_id: tuple(msgspec.msgpack.decode(ids)) for transaction_id, ids in rows}

    def store_history(self, payments: Iterable[HistoricalPayment], pending_labels: Sequence[Label]) -> None:
        """Store historical payments; `pending_labels` are not applied yet.  Call inside a transaction."""
        to_come = {(label.transaction_id, label.known_at) for label in pending_labels}
        rows = (self._history_row(historical, to_come) for historical in payments)
        self._db.executemany("INSERT INTO history VALUES (?,?,?,?,?)", rows)

    def store_pending_labels(self, labels: Sequence[Label]) -> None:
        """Store labels to apply once the watermark passes them, latest first.  Call inside a transaction."""
        rows = [
            (label.known_at, -index, label.transaction_id, label.fraud) for index, label in enumerate(labels)
        ]
        self._db.executemany("INSERT INTO pending_labels VALUES (?,?,?,?)", reversed(rows))

    def pending_labels(self, watermark: int) -> list[Label]:
        """Return the labels of history that become known after `watermark`, latest first."""
        query = """
            SELECT transaction_id, fraud, known_at FROM pending_labels
            WHERE known_at > ? ORDER BY known_at DESC, number DESC"""
        return [
            Label(transaction_id, bool(fraud), known_at, HISTORY)
            for transaction_id, fraud, known_at in self._db.execute(query, (watermark,))
        ]

    def _labels(
        self, transaction_ids: Sequence[str]
    ) -> tuple[dict[str, list[Label]], dict[str, list[Label]]]:
        """Return the current and superseded labels, and the redundant ones."""
        labels: tuple[dict[str, list[Label]], dict[str, list[Label]]] = {}, {}
        of_stream = (
            "SELECT transaction_id, fraud, known_at, source, seq, redundant FROM labels WHERE transaction_id"
        )
        of_history = (
            "SELECT transaction_id, fraud, known_at, 'history', 0, 0 FROM history "
            "WHERE fraud IS NOT NULL AND transaction_id"
        )
        rows = where_in(self._db, transaction_ids, of_stream, of_history)
        for transaction_id, fraud, known_at, source, _, redundant in sorted(
            rows, key=lambda row: int(row[4])
        ):
            labels[bool(redundant)].setdefault(transaction_id, []).append(
                Label(transaction_id, bool(fraud), known_at, source)
            )
        return labels

    def _history_row(
        self, historical: HistoricalPayment, to_come: set[tuple[str, int]]
    ) -> tuple[object, ...]:
        transaction_id = historical.payment.transaction_id
        labels = [label for label in historical.labels() if (transaction_id, label.known_at) not in to_come]
        fraud, known_at = (labels[-1].fraud, labels[-1].known_at) if labels else (None, None)
        self._ids.enter(transaction_id)
        ids = msgspec.msgpack.encode(historical.payment.entities)
        return (transaction_id, ids, fraud, known_at, content_digest(historical.payment))


def where_in(db: sqlite3.Connection, values: Sequence[str], *queries: str) -> list[tuple[Any, ...]]:
    """Return the rows of all queries, each of which ends with the column that holds one of the values."""
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(values), MAX_PARAMETERS):
        part = values[start : start + MAX_PARAMETERS]
        rows += db.execute(_among(len(part), queries), [*part] * len(queries)).fetchall()
    return rows


@cache
def _among(count: int, queries: tuple[str, ...]) -> str:
    return " UNION ALL ".join([f"{query} IN ({','.join('?' * count)})" for query in queries])
