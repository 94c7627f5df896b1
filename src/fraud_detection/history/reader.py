"""Read historical payments row by row and logged decisions one by one, and join their labels."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from fraud_detection.adapters.sqlite.logged_decisions import LoggedDecision
from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.events import Label, Transaction
from fraud_detection.core.features.replay import HistoricalPayment
from fraud_detection.core.parse import Parser
from fraud_detection.core.parse.content import differing_fields
from fraud_detection.core.project_schema import Schema
from fraud_detection.core.sources import KnownSource
from fraud_detection.history.logged_decisions import ControlGroupEligibility, weight_of

WORST_SHARE_REFUSED = 0.5


class History(msgspec.Struct):
    """Historical payments sorted by time, and what was left out and why.

    About half a kilobyte of memory a payment.
    refused: path and reason of each row that cannot be read.  duplicates: rows left out because their id came
    before.  conflicts: those of them whose content is not that of the first.
    unmatched_labels: number of labels without their payment.
    decided: payments out of state files.  weights: of payments with a sampling weight other than 1.
    empty: declared fields without a readable value in any row, as path in the project file and field.
    as_of: the moment in ms after which nothing is known; None where the file holds all.
    source: the file that they were read from.
    known_until: then the last moment in ms that the file knows of: of a payment, or of a label that states
    itself when it became known.
    """

    payments: list[HistoricalPayment] = []
    refused: list[tuple[str, str]] = []
    duplicates: int = 0
    conflicts: int = 0
    unmatched_labels: int = 0
    empty: list[tuple[str, str]] = []
    as_of: int | None = None
    known_until: int | None = None
    decided: int = 0
    weights: dict[str, float] = {}
    source: KnownSource | None = None


def check_schema_fits(path: Path, history: History, rows: int) -> None:
    """Raise ConfigError when most rows of a file cannot be read by the project file."""
    if rows == 0:
        raise ConfigError(f"{path}: has no rows")
    if len(history.refused) > WORST_SHARE_REFUSED * rows:
        json_path, reason = history.refused[0]
        raise ConfigError(
            f"{path}: {len(history.refused):,} of {rows:,} rows cannot be read; the first: {reason} - at "
            f"`{json_path}`; does the schema in the project file fit this file?"
        )


class HistoryReader:
    """Collects rows of files and logged decisions, and joins payments and labels at the end."""

    def __init__(self, schema: Schema, *, textual: bool = False) -> None:
        """Read by the schema; textual: the file holds nothing but text."""
        self.parser = Parser(schema, textual=textual)
        self.parser.bounds.arrived(int(time.time() * 1000))
        self.history = History()
        # The indices of the payments in the history, which is put in order at the end.
        self.seen: dict[str, int] = {}
        self.labels: dict[str, list[Label]] = {}
        self.known_until_in_rows = -1

    def take(self, raw: bytes, identity: str | None) -> None:
        """Add a payment with the label of its row, or a label."""
        try:
            event = self.parser.decode(raw)
            if self.parser.is_label(event):
                label = self.parser.label(event)
                self.labels.setdefault(label.transaction_id, []).append(label)
                return
            payment = self.parser.record(event, identity)
            historical = HistoricalPayment(
                payment,
                self.parser.labels.verdict(event),
                self.parser.labels.known_at(event, payment.event_time),
            )
        except RejectError as error:
            self.history.refused.append((error.path, error.reason))
            return
        if self._is_duplicate(payment):
            return
        self.history.payments.append(historical)
        if historical.fraud is not None and self.parser.labels.states_known_at(event):
            self.known_until_in_rows = max(self.known_until_in_rows, historical.known_at)

    def add_logged_decision(
        self, decision: LoggedDecision, eligibility: ControlGroupEligibility | None
    ) -> None:
        """Take a payment that was decided; the label in its own row was never reported."""
        transaction_id = decision.transaction_id
        try:
            payment = self.parser.record(self.parser.decode(decision.event), transaction_id)
        except RejectError as error:
            self.history.refused.append((error.path, error.reason))
            return
        self.history.decided += 1
        weight = weight_of(decision, payment.amount, eligibility)
        if weight != 1:
            self.history.weights[transaction_id] = weight
        if self._is_duplicate(payment):
            return
        self.history.payments.append(HistoricalPayment(payment, None, payment.event_time))

    def _is_duplicate(self, payment: Transaction) -> bool:
        """Return whether the id is a duplicate, and record it otherwise."""
        transaction_id, payments = payment.transaction_id, self.history.payments
        position = self.seen.setdefault(transaction_id, len(payments))
        if position == len(payments):
            return False
        self.history.duplicates += 1
        self.history.conflicts += bool(
            differing_fields(self.parser.schema, payments[position].payment, payment)
        )
        return True

    def finished(self, schema: Schema, as_of: int | None) -> History:
        """Join labels and payments, and leave out what was not known at `as_of` in ms."""
        history, labels = self.history, self.labels
        if labels:
            history.payments = [
                historical.with_labels(labels.get(historical.payment.transaction_id, ()))
                for historical in history.payments
            ]
        if as_of is not None:
            history.payments = [
                historical.known_by(as_of)
                for historical in history.payments
                if historical.payment.event_time <= as_of
            ]
            if not history.payments:
                raise ConfigError("no payment is left: all of them are after --as-of")
        history.as_of = as_of
        history.known_until = self._known_until() if as_of is None else None
        history.unmatched_labels = len(labels.keys() - self.seen.keys())
        history.payments.sort(key=lambda historical: historical.payment.event_time)
        history.empty = list(_empty_fields(schema, [historical.payment for historical in history.payments]))
        return history

    def _known_until(self) -> int | None:
        joined = [labels for transaction_id, labels in self.labels.items() if transaction_id in self.seen]
        apart = (label.available_from for labels in joined for label in labels)
        latest = max((historical.payment.event_time for historical in self.history.payments), default=None)
        return None if latest is None else max([latest, self.known_until_in_rows, *apart])


def _empty_fields(schema: Schema, payments: Sequence[Transaction]) -> Iterator[tuple[str, str]]:
    for index, (name, entity) in enumerate(schema.entities.items()):
        if all(payment.entities[index] is None for payment in payments):
            yield f"$.schema.entities.{name}", entity.field
    for index, (name, number) in enumerate(schema.numbers.items()):
        if all(math.isnan(payment.numbers[index]) for payment in payments):
            yield f"$.schema.numbers.{name}", number.field
    for index, (name, category) in enumerate(schema.categories.items()):
        if all(payment.categories[index] is None for payment in payments):
            yield f"$.schema.categories.{name}", category.field
    if schema.place is not None and all(payment.place is None for payment in payments):
        yield "$.schema.place", f"{schema.place.latitude}, {schema.place.longitude}"
