"""Random assignment of payments to the control group: approved, although they would be reviewed or declined.

The outcome of a declined payment is never observed, so training and precision would only know payments that
the system has approved.  Assignment is a keyed hash of the payment's id: the same on every machine and in
every replay, and unpredictable without the key.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fraud_detection.core.events import Transaction

_HASHES = 1 << 64


class ControlGroupSampler:
    """Assigns payments of at most `max_amount`, in minor units, with a fixed probability.

    >>> from fraud_detection.core.events import Transaction
    >>> sampler = ControlGroupSampler(0.25, max_amount=5_000, key=b"secret")
    >>> sum(sampler.selects(Transaction(f"t{i}", 0, 100)) for i in range(1000))
    243
    >>> sampler.selects(Transaction("t1", 0, 5_001)), sampler.selects(Transaction("t1", 0, None))
    (False, False)
    """

    def __init__(self, sampling_rate: float, max_amount: int, key: bytes) -> None:
        """Take the probability of assignment, in (0, 1), the largest amount in minor units, and the key."""
        self.sampling_rate = sampling_rate
        self._max_amount = max_amount
        self._key = hashlib.blake2b(key).digest()

    def selects(self, payment: Transaction) -> bool:
        """Return whether a payment is assigned; one without an amount never is."""
        if payment.amount is None or payment.amount > self._max_amount:
            return False
        hashed = hashlib.blake2b(payment.transaction_id.encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(hashed, "big") < self.sampling_rate * _HASHES
