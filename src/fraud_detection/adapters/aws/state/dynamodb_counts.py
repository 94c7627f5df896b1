"""Decline cap counts of each shard in DynamoDB, beside the journal of its events.

A shard writes its own counts alone, in the item of its journal: one write puts down both what is begun and
what was counted before it.  So a batch that fails at any moment is counted once when it comes again.  The
counts of the other shards are read once a batch, and a shard that is closed counts until its interval is
over.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from fraud_detection.adapters.aws.retries import attempt, backoffs, chunks
from fraud_detection.adapters.aws.state.dynamodb_batches import KEYS_A_CALL, SECONDS_A_DAY, batch_get
from fraud_detection.core.decide.decline_cap import NOTHING, DeclineCounts

SHARDS = "\n"
"""The id of the item that names the shards; ids of payments are stripped of blanks and never begin so."""
SILENT_DAYS = 2
"""A shard that has written nothing for so long is not read any more, until it writes again."""
NAME, ATTRIBUTE = "shards", "n"


def journal_key(shard: str) -> str:
    """Return the id of a shard's own item."""
    return f"{SHARDS}{shard}"


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """The stored counts of one shard.

    through: number of the last event that is counted in `settled`, as text: it has more digits than a number
    of the format.  settled: as of the last batch that has ended.  begun: with the batch in hand, for the
    other shards.  saved_s: when it was written, in s since 1970.
    """

    through: str = "-1"
    settled: DeclineCounts = NOTHING
    begun: DeclineCounts = NOTHING
    saved_s: int = 0


class ShardCounts:
    """The counts of the shard in hand and of all others, from the start of a batch to its end.

    through, settled: what was counted before the batch in hand.  begun: with it.  others: of the other
    shards.
    """

    def __init__(self, client: Any, table: str) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take boto3's client, and the table of decisions."""
        self._client, self._table = client, table
        self.through, self.settled, self.begun = -1, NOTHING, NOTHING
        self.others: list[DeclineCounts] = []

    def take(self, shard: str, shards: dict[str, Any], journal: dict[str, Any]) -> None:
        """Begin a batch with the item of all shards and that of the shard's journal."""
        own = _counted(journal)
        self.through, self.settled, self.begun = int(own.through), own.settled, own.settled
        named = set(shards.get(NAME, {}).get("SS", ()))
        if shard not in named:
            self._change("ADD", [shard])
        self.others = self._read(sorted(named - {shard}))

    def counted(self, through: int, counts: DeclineCounts) -> None:
        """Load the counts that an earlier batch stored."""
        self.through, self.settled, self.begun = through, counts, counts

    def begin(self, counts: DeclineCounts) -> None:
        """Take the counts with the batch in hand."""
        self.begun = counts

    def item(self) -> dict[str, Any]:
        """Return the attribute that stores the counts."""
        counted = Counted(str(self.through), self.settled, self.begun, int(time.time()))
        return {ATTRIBUTE: {"B": zlib.compress(msgspec.msgpack.encode(counted), 1)}}

    def _read(self, shards: Sequence[str]) -> list[DeclineCounts]:
        """Return the counts of other shards; those that are silent for long are left out."""
        counts_by_key: dict[str, Counted] = {}
        for chunk in chunks(shards, KEYS_A_CALL):
            keys = [{"id": {"S": journal_key(shard)}} for shard in chunk]
            items = batch_get(self._client, self._table, keys, ("id", ATTRIBUTE))
            counts_by_key |= {item["id"]["S"]: _counted(item) for item in items}
        oldest = time.time() - SILENT_DAYS * SECONDS_A_DAY
        # One that is named and has written nothing is about to write for the first time.  One that writes
        # again at this very moment is named again by its next batch.
        silent = {key for key, shard_counts in counts_by_key.items() if 0 < shard_counts.saved_s < oldest}
        if silent:
            self._change("DELETE", [key.removeprefix(SHARDS) for key in sorted(silent)])
        return [shard_counts.begun for key, shard_counts in counts_by_key.items() if key not in silent]

    def _change(self, verb: str, shards: Sequence[str]) -> None:
        """Add names of shards or take them away; others may do the same at the same time."""
        request = {
            "TableName": self._table,
            "Key": {"id": {"S": SHARDS}},
            "UpdateExpression": f"{verb} {NAME} :shards",
            "ExpressionAttributeValues": {":shards": {"SS": list(shards)}},
        }
        waits = backoffs(f"table {self._table}")
        while attempt(self._client.update_item, **request) is None:
            time.sleep(next(waits))


def _counted(item: dict[str, Any]) -> Counted:
    content = item.get(ATTRIBUTE)
    if content is None:
        return Counted()
    return msgspec.msgpack.decode(zlib.decompress(content["B"]), type=Counted)
