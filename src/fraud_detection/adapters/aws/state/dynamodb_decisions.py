"""What the Lambda function has decided, in DynamoDB: the record that makes a batch that comes again harmless.

Decisions are written before profiles.  So a batch that failed in between finds its decisions, and only
the profiles that had not taken its events in are changed.

A decision is written only where there is none under its id: of two shards that decide the same id at the
same moment one is refused.  What its batch had written by then may rest on the payment that it lost, so all
that it decided is reverted, and decided anew when it is redelivered.  No profile has seen it, and no log.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from fraud_detection.adapters.aws.retries import chunks
from fraud_detection.adapters.aws.state.dynamodb_batches import (
    ITEMS_A_CALL,
    batch_delete,
    batch_get,
    batch_put,
    execute,
    expiry,
    insertion,
)
from fraud_detection.adapters.aws.state.dynamodb_counts import SHARDS, ShardCounts, journal_key
from fraud_detection.adapters.aws.state.dynamodb_labels import DynamoLabels
from fraud_detection.core.errors import RetryError
from fraud_detection.core.events import Label
from fraud_detection.core.ports import BatchState, FirstDelivery

HISTORY = "history"
"""The shard of payments that were never decided by the stream."""

Ids = tuple[str | None, ...]

PART_BYTES = 300_000
"""An item holds 400 kB, names and what the decline cap counts included."""
PART_DAYS = 400
"""Longer than a stream keeps its records; the parts of a journal are not looked for after that."""


class DecisionItem(msgspec.Struct, frozen=True, array_like=True):
    """A stored decision, or a payment of history.

    line: what was logged.  shard, sequence: the event that was decided.  features: 64-bit floats.
    versions: of the profiles that were read, by entity, 0 where there was none.  declined: whether a decline
    cap counts it so; one of the control group may be.  content: the digest of a payment of history, whose
    event is not kept.
    """

    transaction_id: str
    line: str
    shard: str
    sequence: int
    entities: Ids
    features: bytes
    event: bytes
    versions: dict[str, int] = {}
    declined: bool = False
    content: bytes = b""


class UnfinishedEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event whose decision or label may be stored while profiles have not taken it in.

    sequence_number: that of its record, and after a point its index in an aggregate.  label: the event
    itself if it is a label; a payment's event is stored with its decision.  decided: by the batch that has
    begun it, and not before.
    """

    sequence_number: str
    transaction_id: str
    label: bytes = b""
    decided: bool = False


class DynamoDedupIndex:
    """A DedupIndex over two tables with the key `id`; `shard` is the shard whose events are being decided."""

    def __init__(self, client: Any, decisions: str, labels: str, days: int = 0) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take boto3's client and the names of the tables.

        days: how long decisions and labels are stored, and a duplicate payment is known; 0 is for ever.
        """
        self.shard = ""
        self._days = days
        self._client, self._decisions = client, decisions
        self._labels = DynamoLabels(client, labels, days)
        self.counts: ShardCounts | None = None
        self._stored: dict[str, DecisionItem] = {}

    def forget(self) -> None:
        """Read everything anew from now on."""
        self._stored.clear()
        self._labels.forget()

    def batch_state(self, payments: Sequence[str], labelled: Sequence[str]) -> BatchState:
        """Load deduplication and label state of these payments, and of the labelled ones.

        Numbers are those of this shard's events; what came by another shard has none.
        """
        ids = [*payments, *labelled]
        self._read_decisions(ids)
        self._labels.read(ids)
        stored = {
            transaction_id: self._stored[transaction_id]
            for transaction_id in ids
            if transaction_id in self._stored
        }
        return BatchState(
            {
                transaction_id: stored[transaction_id].sequence
                if stored[transaction_id].shard == self.shard
                else 0
                for transaction_id in payments
                if transaction_id in stored
            },
            {
                transaction_id: stored[transaction_id].entities
                for transaction_id in labelled
                if transaction_id in stored
            },
            self._labels.of(ids, self.shard, redundant=False),
            self._labels.of(ids, self.shard, redundant=True),
            {
                transaction_id
                for transaction_id in payments
                if transaction_id in stored and stored[transaction_id].declined
            },
            first={
                transaction_id: FirstDelivery(stored[transaction_id].event, stored[transaction_id].content)
                for transaction_id in payments
                if transaction_id in stored
            },
        )

    def redelivered(self, transaction_id: str, sequence: int) -> DecisionItem | None:
        """Return the decision on just this event, if it was stored before; its log line may be missing."""
        stored = self._stored.get(transaction_id)
        return (
            stored
            if stored is not None and (stored.shard, stored.sequence) == (self.shard, sequence)
            else None
        )

    def unfinished(self) -> list[UnfinishedEvent]:
        """Return the events of this shard that a batch has begun and not ended, in their order.

        What a batch has decided but not stored completely is reverted first: it was not begun.  What the
        decline caps of all shards have counted is read with them, where `counts` are kept.
        """
        keys = [self._journal, *([] if self.counts is None else [SHARDS])]
        items = {item["id"]["S"]: item for item in self._read(keys)}
        journal = items.get(self._journal, {})
        if self.counts is not None:
            self.counts.take(self.shard, items.get(SHARDS, {}), journal)
        if "d" not in journal:
            return []
        content = journal["d"]["B"]
        if "parts" in journal:
            content += self._parts(journal["parts"]["SS"])
        return self._current(msgspec.msgpack.decode(zlib.decompress(content), type=list[UnfinishedEvent]))

    def store_unfinished(self, events: Sequence[UnfinishedEvent]) -> None:
        """Put down which events of this shard are begun; none when all is saved.

        What the decline cap counts stands in the same item, so that the two always fit together.
        """
        content = zlib.compress(msgspec.msgpack.encode(events), 6)
        item: dict[str, Any] = {"id": {"S": self._journal}, "d": {"B": content[:PART_BYTES]}}
        if len(content) > PART_BYTES:
            item["parts"] = {"SS": self._store_parts(content)}
        if self.counts is not None:
            item |= self.counts.item()
        batch_put(self._client, self._decisions, [item])

    def _store_parts(self, content: bytes) -> list[str]:
        """Store what exceeds one item in further items, and return their ids.

        They are named after the whole content and written before it is spoken of: what stood there is never
        overwritten, so a batch that ends at any moment leaves a whole journal, of before or of now.
        """
        name = f"{self._journal}\n{zlib.crc32(content):08x}"
        starts = range(PART_BYTES, len(content), PART_BYTES)
        parts = {f"{name}\n{start:09d}": content[start : start + PART_BYTES] for start in starts}
        items = [
            {"id": {"S": part_id}, "d": {"B": part}} | expiry(PART_DAYS) for part_id, part in parts.items()
        ]
        batch_put(self._client, self._decisions, items)
        return list(parts)

    def _parts(self, ids: Sequence[str]) -> bytes:
        contents = {item["id"]["S"]: item["d"]["B"] for item in self._read(ids)}
        return b"".join(contents[part_id] for part_id in sorted(ids))

    def event(self, transaction_id: str) -> bytes | None:
        """Return the event of a payment that this shard has decided; None where it has not."""
        self._read_decisions([transaction_id])
        stored = self._stored.get(transaction_id)
        return stored.event if stored is not None and stored.shard == self.shard else None

    @property
    def _journal(self) -> str:
        return journal_key(self.shard)

    def store(
        self, decisions: Sequence[DecisionItem], labels: Iterable[Label], redundant: Iterable[Label] = ()
    ) -> None:
        """Keep decisions and labels of one batch; labels carry the numbers of their events.

        redundant: labels that changed nothing.

        Raises RetryError where another shard has decided one of the payments meanwhile.
        """
        for chunk in chunks(decisions, ITEMS_A_CALL):
            self._insert(chunk)
        self._labels.add(self.shard, labels, redundant)
        self._stored |= {decision.transaction_id: decision for decision in decisions}

    def _insert(self, decisions: Sequence[DecisionItem]) -> None:
        items = {
            decision.transaction_id: _decision_item(decision) | expiry(self._days) for decision in decisions
        }
        writes = {item_id: insertion(self._decisions, item) for item_id, item in items.items()}
        refused = execute(self._client, self._decisions, writes)
        # One whose answer was lost is there as it was written.
        for item in self._read(sorted(refused)) if refused else ():
            if item["d"]["B"] != items[item["id"]["S"]]["d"]["B"]:
                raise RetryError(f"payment {item['id']['S']!r} was decided by another shard at the same time")

    def _current(self, events: list[UnfinishedEvent]) -> list[UnfinishedEvent]:
        """Return the events that stand; where not all decisions of a batch were stored, none does."""
        decided = [event.transaction_id for event in events if event.decided]
        self._read_decisions(decided)
        mine = [
            transaction_id
            for transaction_id in decided
            if transaction_id in self._stored and self._stored[transaction_id].shard == self.shard
        ]
        if len(mine) == len(decided):
            return [msgspec.structs.replace(event, decided=False) for event in events]
        batch_delete(
            self._client, self._decisions, [{"id": {"S": transaction_id}} for transaction_id in mine]
        )
        for transaction_id in mine:
            del self._stored[transaction_id]
        return [event for event in events if not event.decided]

    def decisions(self) -> Iterator[DecisionItem]:
        """Return every decision that was made on a stream, in no order; reads the whole table."""
        more: dict[str, Any] = {}
        while True:
            response = self._client.scan(TableName=self._decisions, **more)
            items = [item for item in response["Items"] if not item["id"]["S"].startswith("\n")]
            stored_decisions = (_decision(item["d"]["B"]) for item in items)
            yield from (stored for stored in stored_decisions if stored.shard != HISTORY)
            if "LastEvaluatedKey" not in response:
                return
            more = {"ExclusiveStartKey": response["LastEvaluatedKey"]}

    def store_history(self, payments: Iterable[tuple[str, Ids, bytes]]) -> None:
        """Enter payments loaded before the stream began, with the digests of their content.

        A label that comes finds their entities.
        """
        items = [
            DecisionItem(transaction_id, "", HISTORY, 0, ids, b"", b"", content=digest)
            for transaction_id, ids, digest in payments
        ]
        batch_put(
            self._client, self._decisions, [_decision_item(item) | expiry(self._days) for item in items]
        )

    def _read(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        return batch_get(self._client, self._decisions, [{"id": {"S": item_id}} for item_id in ids])

    def _read_decisions(self, transaction_ids: Sequence[str]) -> None:
        absent = dict.fromkeys(
            transaction_id for transaction_id in transaction_ids if transaction_id not in self._stored
        )
        for item in self._read(list(absent)):
            stored = _decision(item["d"]["B"])
            self._stored[stored.transaction_id] = stored


def _decision_item(stored: DecisionItem) -> dict[str, Any]:
    # The numbers of a stream are longer than what the format takes as a number.
    plain = [*msgspec.structs.astuple(stored)[:3], str(stored.sequence), *msgspec.structs.astuple(stored)[4:]]
    # Deflated, an item costs one unit of writing where it would cost two.
    return {"id": {"S": stored.transaction_id}, "d": {"B": zlib.compress(msgspec.msgpack.encode(plain), 6)}}


def _decision(content: bytes) -> DecisionItem:
    plain = msgspec.msgpack.decode(zlib.decompress(content))
    plain[3] = int(plain[3])
    return msgspec.convert(plain, DecisionItem)
