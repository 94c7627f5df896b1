"""Batches that were given up, put into the stream again: nothing is lost as long as the stream keeps it."""

from __future__ import annotations

from typing import Any

import msgspec

from fraud_detection.adapters.kinesis import KinesisProducer
from fraud_detection.adapters.kinesis_reader import read_range
from fraud_detection.adapters.sqs_queue import SqsQueue
from fraud_detection.errors import ConfigError


class Redriven(msgspec.Struct, frozen=True):
    """How many batches were put again, and how many records they had."""

    batches: int
    records: int


class _Info(msgspec.Struct, frozen=True, rename="camel"):
    shard_id: str
    start_sequence_number: str
    end_sequence_number: str
    stream_arn: str


class _Message(msgspec.Struct, frozen=True):
    info: _Info = msgspec.field(name="KinesisBatchInfo")


def redrive(queue: SqsQueue, kinesis: Any, stream: str) -> Redriven:  # noqa: ANN401 - boto3's client has no type
    """Put the records that the queue names again, each batch before its message is removed.

    They come behind what was put meanwhile.  A payment that was decided before is known by its id, so a
    batch that is put twice does no harm.  Raises ConfigError when the stream no longer has a record.
    """
    producer, records = KinesisProducer(kinesis, stream), 0

    def again(body: str) -> None:
        nonlocal records
        try:
            info = msgspec.json.decode(body, type=_Message).info
        except msgspec.DecodeError as error:
            raise ConfigError(f"queue {queue.url}: a message that names no batch: {error}") from None
        for record in read_range(
            kinesis, info.stream_arn, info.shard_id, info.start_sequence_number, info.end_sequence_number
        ):
            producer.put(record.key, record.data)
            records += 1
        producer.flush()

    return Redriven(queue.take(again), records)
