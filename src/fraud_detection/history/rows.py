"""What one row of history says: a payment with the label of its row, or a label."""

from __future__ import annotations

import time

import msgspec

from fraud_detection.adapters.sqlite.logged_decisions import LoggedDecision
from fraud_detection.core.events import Label
from fraud_detection.core.features.replay import HistoricalPayment
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import Schema
from fraud_detection.history.logged_decisions import ControlGroupEligibility, weight_of


class PaymentRow(msgspec.Struct, frozen=True, gc=False, tag="payment"):
    """A payment of a row or of a logged decision.

    states_known_at: the row states when its label became known.  decided: it is a logged decision.
    weight: sampling weight, see docs/labels.md.
    """

    historical: HistoricalPayment
    states_known_at: bool = False
    decided: bool = False
    weight: float = 1.0


class LabelRow(msgspec.Struct, frozen=True, gc=False, tag="label"):
    """A label that came apart from its payment."""

    label: Label


class RowReader:
    """Reads raw rows by the schema."""

    def __init__(self, schema: Schema, *, textual: bool = False, now_ms: int | None = None) -> None:
        """Read by the schema; textual: the file holds nothing but text.

        now_ms: what is dated later is refused; the clock's time where none is given.
        """
        self.parser = Parser(schema, textual=textual)
        self.parser.bounds.arrived(int(time.time() * 1000) if now_ms is None else now_ms)

    def read(self, raw: bytes, identity: str | None) -> PaymentRow | LabelRow:
        """Return what a row says; raise RejectError where it cannot be read."""
        event = self.parser.decode(raw)
        if self.parser.is_label(event):
            return LabelRow(self.parser.label(event))
        payment, labels = self.parser.record(event, identity), self.parser.labels
        known_at = labels.known_at(event, payment.event_time)
        historical = HistoricalPayment(payment, labels.verdict(event), known_at)
        return PaymentRow(historical, historical.fraud is not None and labels.states_known_at(event))

    def read_logged(
        self, decision: LoggedDecision, eligibility: ControlGroupEligibility | None
    ) -> PaymentRow:
        """Return a payment that was decided; the label in its own row was never reported.

        Raises RejectError where it cannot be read by today's schema.
        """
        payment = self.parser.record(self.parser.decode(decision.event), decision.transaction_id)
        weight = weight_of(decision, payment.amount, eligibility)
        historical = HistoricalPayment(payment, None, payment.event_time)
        return PaymentRow(historical, decided=True, weight=weight)
