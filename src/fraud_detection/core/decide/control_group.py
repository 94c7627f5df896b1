"""Which payments are approved by lot although they would be reviewed or declined.

Without them nobody learns what became of such payments: training and precision would only know those that the
system itself has let pass.  The lot is a keyed hash of the payment's id: the same for ever, on every machine
and in every replay, and not to be foreseen by whoever does not know the key.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fraud_detection.core.events import Transaction

_SHARES = 1 << 64


class Draw:
    """Draws a share of the payments whose amount is at most `maximum`, in minor units.

    >>> from fraud_detection.core.events import Transaction
    >>> draw = Draw(0.25, maximum=5_000, key=b"secret")
    >>> drawn = [draw.chooses(Transaction(f"t{i}", 0, 100)) for i in range(1000)]
    >>> sum(drawn)
    243
    >>> draw.chooses(Transaction("t1", 0, 5_001)), draw.chooses(Transaction("t1", 0, None))
    (False, False)
    """

    def __init__(self, share: float, maximum: int, key: bytes) -> None:
        """Take the probability of being chosen, in (0, 1)."""
        self.share = share
        self._maximum = maximum
        self._key = hashlib.blake2b(key).digest()

    def chooses(self, payment: Transaction) -> bool:
        """Tell whether a payment is chosen; one without an amount never is."""
        if payment.amount is None or payment.amount > self._maximum:
            return False
        drawn = hashlib.blake2b(payment.transaction_id.encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(drawn, "big") < self.share * _SHARES
