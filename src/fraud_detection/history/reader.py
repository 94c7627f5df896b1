"""Read historical payments row by row and logged decisions one by one, and join their labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from fraud_detection.adapters.sqlite.logged_decisions import LoggedDecision
from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.events import Label, Transaction
from fraud_detection.core.features.replay import HistoricalPayment
from fraud_detection.core.parse.content import differing_fields
from fraud_detection.core.project_schema import Schema
from fraud_detection.core.sources import KnownSource
from fraud_detection.history.logged_decisions import ControlGroupEligibility
from fraud_detection.history.rows import LabelRow, PaymentRow, RowReader

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


def check_schema_fits(path: Path, rows: int, refused: int, first: tuple[str, str] | None) -> None:
    """Raise ConfigError when most rows of a file cannot be read by the project file.

    first: path and reason of the first one that was refused.
    """
    if rows == 0:
        raise ConfigError(f"{path}: has no rows")
    if first is not None and refused > WORST_SHARE_REFUSED * rows:
        json_path, reason = first
        raise ConfigError(
            f"{path}: {refused:,} of {rows:,} rows cannot be read; the first: {reason} - at "
            f"`{json_path}`; does the schema in the project file fit this file?"
        )


def check_labels_fit(path: Path, rows: int, refused: int, first: tuple[str, str] | None) -> None:
    """Raise ConfigError when no label of a file can be read; for the arguments see `check_schema_fits`."""
    if first is not None and refused == rows:
        json_path, reason = first
        raise ConfigError(
            f"{path}: none of {rows:,} labels can be read; the first: {reason} - at `{json_path}`; name the "
            "columns as `schema.transaction_id` and `schema.label` of the project file do"
        )


class HistoryReader:
    """Collects rows of files and logged decisions, and joins payments and labels at the end."""

    def __init__(self, schema: Schema, *, textual: bool = False) -> None:
        """Read by the schema; textual: the file holds nothing but text."""
        self.rows = RowReader(schema, textual=textual)
        self.schema, self.history = schema, History()
        # The indices of the payments in the history, which is put in order at the end.
        self.seen: dict[str, int] = {}
        self.labels: dict[str, list[Label]] = {}
        self.known_until_in_rows = -1

    def take(self, raw: bytes, identity: str | None) -> None:
        """Add a payment with the label of its row, or a label."""
        try:
            row = self.rows.read(raw, identity)
        except RejectError as error:
            self.history.refused.append((error.path, error.reason))
            return
        if isinstance(row, LabelRow):
            self.labels.setdefault(row.label.transaction_id, []).append(row.label)
        else:
            self._add(row)

    def add_logged_decision(
        self, decision: LoggedDecision, eligibility: ControlGroupEligibility | None
    ) -> None:
        """Take a payment that was decided."""
        try:
            row = self.rows.read_logged(decision, eligibility)
        except RejectError as error:
            self.history.refused.append((error.path, error.reason))
            return
        self.history.decided += 1
        if row.weight != 1:
            self.history.weights[decision.transaction_id] = row.weight
        self._add(row)

    def _add(self, row: PaymentRow) -> None:
        """Add a payment, unless one with its id came before."""
        payment, payments = row.historical.payment, self.history.payments
        position = self.seen.setdefault(payment.transaction_id, len(payments))
        if position < len(payments):
            self.history.duplicates += 1
            self.history.conflicts += bool(differing_fields(self.schema, payments[position].payment, payment))
            return
        payments.append(row.historical)
        if row.states_known_at:
            self.known_until_in_rows = max(self.known_until_in_rows, row.historical.known_at)

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
    filled = FilledFields(schema)
    for payment in payments:
        filled.add(payment)
    return filled.empty()


class FilledFields:
    """Which declared fields have a readable value in at least one payment.

    flags: of the entities, the numbers, the categories and the place, in schema order.
    """

    def __init__(self, schema: Schema) -> None:
        """Start with none."""
        self._fields = [
            *((f"$.schema.entities.{name}", entity.field) for name, entity in schema.entities.items()),
            *((f"$.schema.numbers.{name}", number.field) for name, number in schema.numbers.items()),
            *(
                (f"$.schema.categories.{name}", category.field)
                for name, category in schema.categories.items()
            ),
        ]
        if schema.place is not None:
            self._fields.append(("$.schema.place", f"{schema.place.latitude}, {schema.place.longitude}"))
        self.flags = [False] * len(self._fields)

    def add(self, payment: Transaction) -> None:
        """Look at the values of a payment."""
        if all(self.flags):
            return
        values = (
            *(entity is not None for entity in payment.entities),
            *(not math.isnan(number) for number in payment.numbers),
            *(category is not None for category in payment.categories),
            payment.place is not None,
        )
        self.merge(values[: len(self.flags)])

    def merge(self, flags: Sequence[bool]) -> None:
        """Add what was seen elsewhere."""
        self.flags = [seen or flag for seen, flag in zip(self.flags, flags, strict=True)]

    def empty(self) -> Iterator[tuple[str, str]]:
        """Yield path and field of those that have none."""
        return (field for field, seen in zip(self._fields, self.flags, strict=True) if not seen)
