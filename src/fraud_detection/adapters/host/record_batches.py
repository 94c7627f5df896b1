"""Records of a collection as Arrow batches, as engines keep and move them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from fraud_detection.core.dataflow import Record

SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("time", pa.int64()),
        ("position", pa.int64()),
        ("rank", pa.int64()),
        ("number", pa.int64()),
        ("content", pa.binary()),
    ]
)
ORDER = ("group", "time", "position", "rank", "number")
"""The columns that records are sorted by, those of one group in the order of the others."""
OVERHEAD_BYTES = 100
"""Of a record, beside its content."""


def batch_of(records: Sequence[Record]) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """Return a batch of the records.

    >>> batch_of([Record("a", content=b"x")]).num_rows
    1
    """
    columns = zip(*map(msgspec.structs.astuple, records), strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


def records_of(batch: Any) -> Iterator[Record]:  # noqa: ANN401 - pyarrow ships no types
    """Yield the records of a batch, whatever its columns are called."""
    return map(Record, *map(_values, batch.columns))


def _values(column: Any) -> list[Any]:  # noqa: ANN401 - pyarrow ships no types
    if not pa.types.is_integer(column.type):
        return list(column.to_pylist())
    values: list[Any] = column.to_numpy().tolist()  # several times faster
    return values


def batches_of(records: Iterable[Record], max_bytes: int) -> Iterator[Any]:
    """Yield batches of about so many bytes; a larger record is a batch of its own.

    >>> records = [Record("a", content=bytes(size)) for size in (1, 1, 999, 1)]
    >>> [batch.num_rows for batch in batches_of(records, 300)]
    [3, 1]
    """
    held, size = list[Record](), 0
    for record in records:
        held.append(record)
        size += len(record.content) + OVERHEAD_BYTES
        if size >= max_bytes:
            yield batch_of(held)
            held, size = [], 0
    if held:
        yield batch_of(held)
