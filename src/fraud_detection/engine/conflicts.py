"""Find conflicts: payments with other content than the first one under their id.

The first one stands.  Not here: which ids were decided, which the deduplication index says.
"""

from __future__ import annotations

from fraud_detection.core.errors import RejectError
from fraud_detection.core.events import Conflict, Transaction
from fraud_detection.core.outcomes import Decided, Outcome
from fraud_detection.core.parse import Parser
from fraud_detection.core.parse.content import content_digest, differing_fields
from fraud_detection.core.ports import BatchState


class ConflictFinder:
    """Compares payments with the first ones under their ids; rare, so nothing is cached for it."""

    def __init__(self, parser: Parser) -> None:
        """Compare payments as `parser` reads them."""
        self._parser = parser
        self._reader: Parser | None = None

    def find(
        self, raw: bytes, payment: Transaction, state: BatchState, outcomes: list[Outcome]
    ) -> Conflict | None:
        """Return the conflict of a payment whose id was decided before; None where it says the same.

        raw: the event that `payment` was read from.  outcomes: of the events before it in its batch, where
        the first one is if the stored ones lack it.
        """
        transaction_id, fields = payment.transaction_id, None
        first = state.first.get(transaction_id)
        if first is None:
            of_batch = (outcome for outcome in outcomes if isinstance(outcome, Decided))
            earlier = next(
                (outcome.payment for outcome in of_batch if outcome.payment.transaction_id == transaction_id),
                payment,
            )
            fields = differing_fields(self._parser.schema, earlier, payment)
        elif first.event == raw or (not first.event and first.digest in (b"", content_digest(payment))):
            return None
        elif first.event:
            fields = self._differing(first.event, payment)
        if fields == ():
            return None
        reason = "conflict: transaction_id already decided with other content"
        if fields:
            reason += f": {', '.join(fields)} {'differs' if len(fields) == 1 else 'differ'}"
        return Conflict(raw, reason, f"$.{self._parser.id_reader.field}".rstrip("."), transaction_id)

    def _differing(self, event: bytes, payment: Transaction) -> tuple[str, ...] | None:
        """Return the fields that differ from an earlier event; None where it can no longer be read."""
        if self._reader is None:
            # A second parser: what it reads is in the drift counts already.
            self._reader = Parser(self._parser.schema)
        try:
            earlier = self._reader.parse(event, payment.transaction_id)
        except RejectError:
            return None
        return (
            differing_fields(self._parser.schema, earlier, payment)
            if isinstance(earlier, Transaction)
            else None
        )
