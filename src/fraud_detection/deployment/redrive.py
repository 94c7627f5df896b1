"""Put dead-lettered batches into the stream again: nothing is lost as long as the stream keeps it."""

from __future__ import annotations

from typing import Any

import msgspec

from fraud_detection.adapters.aws.kinesis_consumer import read_range
from fraud_detection.adapters.aws.kinesis_producer import KinesisProducer
from fraud_detection.adapters.aws.sqs_queue import SqsQueue
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.parse.identity import redriven_from, redriven_key


class Redriven(msgspec.Struct, frozen=True):
    """How many batches were put again, their records, and records that had left the stream before."""

    batches: int
    records: int
    lost: int


class _Info(msgspec.Struct, frozen=True, rename="camel"):
    shard_id: str
    start_sequence_number: str
    end_sequence_number: str
    stream_arn: str
    batch_size: int


class _Message(msgspec.Struct, frozen=True):
    info: _Info = msgspec.field(name="KinesisBatchInfo")


class _Redriver:
    """Puts what one message names, and counts."""

    def __init__(self, kinesis: Any, stream: str) -> None:  # noqa: ANN401 - boto3's client has no type
        self._kinesis, self._stream = kinesis, stream
        self._producer = KinesisProducer(kinesis, stream)
        self.records = self.lost = 0

    def __call__(self, body: str) -> None:
        try:
            info = msgspec.json.decode(body, type=_Message).info
        except msgspec.DecodeError as error:
            raise ConfigError(f"a message of the queue names no batch: {error}") from None
        if info.stream_arn.rpartition("/")[2] != self._stream:
            raise ConfigError(f"a message of the queue is of {info.stream_arn}, not of {self._stream}")
        records = read_range(
            self._kinesis,
            info.stream_arn,
            info.shard_id,
            info.start_sequence_number,
            info.end_sequence_number,
        )
        for record in records:
            first = redriven_from(record.key, record.number) or (info.shard_id, record.number, record.key)
            self._producer.put(first[-1], record.data, redriven_key(*first))
        self._producer.flush()
        self.records += len(records)
        self.lost += max(0, info.batch_size - len(records))


def redrive(queue: SqsQueue, kinesis: Any, stream: str, timeout_s: int = 10) -> Redriven:  # noqa: ANN401 - boto3's client has no type
    """Put the records that the queue names again, each batch before its message is removed.

    They come behind what was put meanwhile.  A payment that was decided before is known by its id, or by the
    first sequence number of its record, which goes with it; so a batch that is put twice does no harm.  What
    profiles do not include yet, the next batch of its shard applies.
    """
    redriver = _Redriver(kinesis, stream)
    return Redriven(queue.take(redriver, timeout_s), redriver.records, redriver.lost)
