"""Category encoding: which category values get a code, learned from training payments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

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
    tallies: list[Counter[str | None]] = [Counter() for _ in names]
    total = 0
    for payment in payments:
        total += 1
        for tally, value in zip(tallies, payment.categories, strict=True):
            tally[value] += 1
    return {name: _shares(tally, total, limit) for name, tally in zip(names, tallies, strict=True)}


def _shares(tally: Counter[str | None], total: int, limit: int) -> dict[str, float]:
    values = sorted(((-count, value) for value, count in tally.items() if value is not None))
    return {value: -count / total for count, value in values[:limit]}
