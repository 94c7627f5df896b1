"""Put quarantined events into the stream again after their cause is fixed.

What was put is stored beside each object, in `<its key>.redriven`, when the stream has taken all of it: a
second run puts nothing twice.  After a kill the object is put again that was in hand, which does no harm:
each event carries its first sequence number, by which one without an id is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from fraud_detection.adapters.aws.kinesis_producer import KinesisClient, KinesisProducer
from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.adapters.aws.s3_quarantine import PREFIX, Kind, read_quarantined
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.parse.identity import redriven_key

REDRIVEN_SUFFIX: Final = ".redriven"
LEFT: Final[dict[Kind, str]] = {
    "conflict": "in conflict: the first payment of the id stands",
    "internal_error": "with which the program met an error: see `error` in the object",
    "beginning": "of which only the beginning is stored: ask the producer",
}
"""What is not put again, and why."""


class QuarantineRedrive(msgspec.Struct):
    """How many objects were read; events put, put by an earlier run, and left where they are, by kind."""

    objects: int = 0
    events: int = 0
    before: int = 0
    left: Counter[str] = msgspec.field(default_factory=Counter)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report."""
        yield f"{self.events:,} events of {self.objects:,} objects were put into the stream again"
        if self.before:
            yield f"{self.before:,} were put by an earlier run"
        for kind, message in LEFT.items():
            if self.left[kind]:
                yield f"{self.left[kind]:,} stay where they are, {message}"


def redrive_quarantine(bucket: Objects, kinesis: KinesisClient, stream: str, below: str) -> QuarantineRedrive:
    """Put the events of the objects `quarantine/<below>...` again, each with its partition key.

    Those of a shard keep their order.  An event that still cannot be decided is quarantined again, in another
    object.  Raises ConfigError when an object cannot be read, RetryError when the stream takes nothing.
    """
    done, producer = QuarantineRedrive(), KinesisProducer(kinesis, stream)
    keys = dict.fromkeys(bucket.keys(PREFIX + below))
    for key in keys:
        if key.endswith(REDRIVEN_SUFFIX):
            continue
        progress_key = key + REDRIVEN_SUFFIX
        redriven = _redriven_before(progress_key, bucket.get(progress_key)) if progress_key in keys else set()
        put = _put(key, bucket.get(key), redriven, producer, done)
        producer.flush()
        if put:
            bucket.put(progress_key, msgspec.json.encode(sorted(redriven | put)))
        done.objects += 1
    return done


def _put(
    key: str, content: bytes, redriven: set[str], producer: KinesisProducer, done: QuarantineRedrive
) -> set[str]:
    """Put what was not put before; return the positions of these events."""
    put: set[str] = set()
    for quarantined in read_quarantined(key, content):
        if quarantined.kind in LEFT:
            done.left[quarantined.kind] += quarantined.count
            continue
        for position in quarantined.positions:
            if position.sequence_number in redriven:
                done.before += 1
            else:
                carrying = redriven_key(quarantined.shard, position.sequence_number, position.partition_key)
                producer.put(position.partition_key, quarantined.event, carrying)
                put.add(position.sequence_number)
    done.events += len(put)
    return put


def _redriven_before(key: str, content: bytes) -> set[str]:
    try:
        return msgspec.json.decode(content, type=set[str])
    except msgspec.DecodeError as error:
        raise ConfigError(f"{key}: is no list of what was redriven: {error}; remove it to put all") from None
