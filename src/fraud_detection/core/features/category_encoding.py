"""Category encoding: which category values get a code, learned from training payments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from fraud_detection.core.events import Transaction

CategoryEncoding = dict[str, dict[str, float]]


def learn_category_encoding(
    names: Sequence[str], payments: Iterable[Transaction], limit: int
) -> CategoryEncoding:
    """Return for each category its `limit` most frequent values, with their share of payments.

    Values of equal frequency are in alphabetical order, so that the result does not
    depend on the order of the payments.

    >>> payments = [Transaction("1", 0, 0, categories=("web",)), Transaction("2", 0, 0, categories=(None,))]
    >>> learn_category_encoding(["channel"], payments, 10)
    {'channel': {'web': 0.5}}
    """
    tally = CategoryTally(names)
    for payment in payments:
        tally.add(payment)
    return tally.encoding(limit)


class CategoryTally:
    """Counts the values of each category; tallies of parts add up to the tally of the whole."""

    def __init__(self, names: Sequence[str]) -> None:
        """Start empty."""
        self.names = names
        self.values: list[Counter[str | None]] = [Counter() for _ in names]
        self.payments = 0

    def add(self, payment: Transaction) -> None:
        """Count a payment."""
        self.payments += 1
        for tally, value in zip(self.values, payment.categories, strict=True):
            tally[value] += 1

    def merge(self, payments: int, values: Sequence[Mapping[str | None, int]]) -> None:
        """Add what was counted elsewhere."""
        self.payments += payments
        for tally, counted in zip(self.values, values, strict=True):
            tally.update(counted)

    def encoding(self, limit: int) -> CategoryEncoding:
        """Return the encoding, see `learn_category_encoding`."""
        named = zip(self.names, self.values, strict=True)
        return {name: _shares(tally, self.payments, limit) for name, tally in named}


def _shares(tally: Counter[str | None], total: int, limit: int) -> dict[str, float]:
    values = sorted(((-count, value) for value, count in tally.items() if value is not None))
    return {value: -count / total for count, value in values[:limit]}
