"""Records in files of one machine: written once by one task, read by those that need a part of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa

from fraud_detection.adapters.host.record_batches import (
    ORDER,
    OVERHEAD_BYTES,
    SCHEMA,
    batch_of,
    records_of,
)
from fraud_detection.core.dataflow import Record

FLUSH_BYTES = 1 << 25
"""Of contents that a task holds before it writes them."""


class Spilled(msgspec.Struct, frozen=True):
    """A file of records: for each bucket the numbers of the batches that hold its records, in order."""

    path: str
    batches: Mapping[int, list[int]]


def spill(records: Iterable[Record], path: Path, buckets: int) -> Spilled:
    """Write records, those of one group into one bucket."""
    batches: dict[int, list[int]] = {}
    held: dict[int, list[Record]] = {}
    size = written = 0
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA, options=options) as writer:

        def flush() -> None:
            nonlocal written, size
            for bucket in sorted(held):
                writer.write_batch(batch_of(held[bucket]))
                batches.setdefault(bucket, []).append(written)
                written += 1
            held.clear()
            size = 0

        for record in records:
            bucket = zlib.crc32(record.group.encode()) % buckets if buckets > 1 else 0
            held.setdefault(bucket, []).append(record)
            size += len(record.content) + OVERHEAD_BYTES
            if size >= FLUSH_BYTES:
                flush()
        flush()
    return Spilled(str(path), batches)


def read_bucket(files: Sequence[Spilled], bucket: int, *, ordered: bool) -> Iterator[Record]:
    """Yield the records of a bucket from all files; ordered: sorted by group and order within it."""
    tables = [table for spilled in files if (table := _read(spilled, bucket)) is not None]
    if not tables:
        return
    table = pa.concat_tables(tables)
    del tables
    if ordered:
        table = table.sort_by([(name, "ascending") for name in ORDER])
    for batch in table.to_batches(max_chunksize=1 << 14):
        yield from records_of(batch)


def _read(spilled: Spilled, bucket: int) -> pa.Table | None:
    numbers = spilled.batches.get(bucket)
    if not numbers:
        return None
    with pa.memory_map(spilled.path) as file, pa.ipc.open_file(file) as reader:
        return pa.Table.from_batches([reader.get_batch(number) for number in numbers])
