"""Labels in DynamoDB, by payment: the later ones in one item, the earlier ones of very many in full parts.

An item holds 400 kB.  A payment that a producer labels again and again would fill it, and the batch
with the next label would fail for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fraud_detection.adapters.aws.state.dynamodb_batches import batch_get, batch_put, expiry
from fraud_detection.core.events import Label

LABELS_A_PART = 1_000
"""A label takes at most some 300 bytes, most of them the number of its record and the name of its source."""


class _StoredLabel(msgspec.Struct, frozen=True):
    """A label, the shard by which it came, and whether it changed nothing."""

    label: Label
    shard: str
    redundant: bool = False


class _Full(msgspec.Struct, frozen=True):
    """How many full parts hold the earlier labels of a payment, and how many labels these are."""

    parts: int = 0
    labels: int = 0


class DynamoLabels:
    """Labels of payments over one table with the key `id`, kept in memory once they were read."""

    def __init__(self, client: Any, table: str, days: int) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take boto3's client and the table.  days: how long labels are stored; 0 is for ever."""
        self._client, self._table, self._days = client, table, days
        self._by_payment: dict[str, list[_StoredLabel]] = {}
        self._full: dict[str, _Full] = {}

    def forget(self) -> None:
        """Read everything anew from now on."""
        self._by_payment.clear()
        self._full.clear()

    def read(self, payments: Sequence[str]) -> None:
        """Read the labels of these payments that were not read before."""
        absent = dict.fromkeys(
            transaction_id for transaction_id in payments if transaction_id not in self._by_payment
        )
        for item in self._get(list(absent)):
            transaction_id, parts = item["id"]["S"], int(item.get("parts", {"N": "0"})["N"])
            earlier = {
                part["id"]["S"]: part
                for part in self._get([_part(transaction_id, at) for at in range(parts)])
            }
            # A part that is older than the retention is gone, and what it held with it.
            labels = [each for key in sorted(earlier) for each in _labels(earlier[key]["l"]["B"])]
            self._full[transaction_id] = _Full(parts, len(labels))
            self._by_payment[transaction_id] = labels + _labels(item["l"]["B"])

    def of(self, payments: Sequence[str], shard: str, *, redundant: bool) -> dict[str, list[Label]]:
        """Return the labels that were read, by payment; numbers are those of this shard, of others 0."""
        return {
            transaction_id: [
                stored_label.label
                if stored_label.shard == shard
                else msgspec.structs.replace(stored_label.label, sequence=0)
                for stored_label in self._by_payment[transaction_id]
                if stored_label.redundant is redundant
            ]
            for transaction_id in payments
            if transaction_id in self._by_payment
        }

    def add(self, shard: str, labels: Iterable[Label], redundant: Iterable[Label]) -> None:
        """Keep labels that came by a shard.  redundant: labels that changed nothing."""
        changed: set[str] = set()
        for added, is_redundant in ((labels, False), (redundant, True)):
            for label in added:
                self._by_payment.setdefault(label.transaction_id, []).append(
                    _StoredLabel(label, shard, is_redundant)
                )
                changed.add(label.transaction_id)
        # A part is there, whole, before an item speaks of it.
        self._put([part for transaction_id in sorted(changed) for part in self._fill(transaction_id)])
        self._put([self._latest(transaction_id) for transaction_id in sorted(changed)])

    def _fill(self, transaction_id: str) -> list[dict[str, Any]]:
        """Return the parts that the labels of a payment fill from now on."""
        labels, full = self._by_payment[transaction_id], self._full.get(transaction_id, _Full())
        filled = (len(labels) - full.labels) // LABELS_A_PART
        end = full.labels + filled * LABELS_A_PART
        self._full[transaction_id] = _Full(full.parts + filled, end)
        return [
            self._item(
                _part(transaction_id, full.parts + index),
                transaction_id,
                labels[start : start + LABELS_A_PART],
            )
            for index, start in enumerate(range(full.labels, end, LABELS_A_PART))
        ]

    def _latest(self, transaction_id: str) -> dict[str, Any]:
        full = self._full[transaction_id]
        parts = {"parts": {"N": str(full.parts)}} if full.parts else {}
        return (
            self._item(transaction_id, transaction_id, self._by_payment[transaction_id][full.labels :])
            | parts
        )

    def _item(self, key: str, item_id: str, labels: Sequence[_StoredLabel]) -> dict[str, Any]:
        content = {"B": msgspec.msgpack.encode([item_id, [_plain(each) for each in labels]])}
        return {"id": {"S": key}, "l": content, **expiry(self._days)}

    def _get(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        return batch_get(self._client, self._table, [{"id": {"S": item_id}} for item_id in ids])

    def _put(self, items: list[dict[str, Any]]) -> None:
        batch_put(self._client, self._table, items)


def _part(transaction_id: str, index: int) -> str:
    # No payment has an id that begins so.
    return f"\n{transaction_id}\n{index:09d}"


def _plain(stored_label: _StoredLabel) -> tuple[object, ...]:
    label = stored_label.label
    number = str(label.sequence)
    return (
        label.fraud,
        label.known_at,
        label.source,
        number,
        stored_label.shard,
        label.happened_at,
        stored_label.redundant,
    )


def _labels(content: bytes) -> list[_StoredLabel]:
    transaction_id, plain = msgspec.msgpack.decode(content)
    return [
        # Those of before end with the shard.
        _StoredLabel(Label(transaction_id, fraud, known_at, source, int(number), *more[:1]), shard, *more[1:])
        for fraud, known_at, source, number, shard, *more in plain
    ]
