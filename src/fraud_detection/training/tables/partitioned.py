"""Make a table of features in partitions: entity by entity, on as many processes or machines as there are.

Payments were read and joined with their labels (`history/partitioned.py`).  Each entity's payments come
together and are replayed alone (`core/features/entity_replay.py`); what comes of it meets its payment again
in a part of the table, which covers a stretch of time.  The parts are one table, equal to the one that
`build` makes by replaying all entities in one process.

These are the functions that run in partitions; `partitioned_job.py` puts them in order.
"""

from __future__ import annotations

import itertools
import math
import uuid
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from fraud_detection.core.dataflow import Record
from fraud_detection.core.errors import NOT_OF_ONE_EVENT, Failure
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.category_encoding import CategoryEncoding, CategoryTally
from fraud_detection.core.features.entity_replay import (
    EntityPayment,
    EntityRow,
    entity_payment,
    replay_entity,
)
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.replay import log_missing
from fraud_detection.core.project_schema import Project
from fraud_detection.history.partitioned import JoinedPayment, known_by, payments_known_by
from fraud_detection.history.reader import FilledFields, History
from fraud_detection.training.tables.build import dataset_of
from fraud_detection.training.tables.dataset import FeatureTableInfo, write_dataset
from fraud_detection.training.tables.historical_rows import declared_columns

PAYMENT = 0
"""The rank of a payment in its part; the features of its entities follow."""
FAILED = 1
"""The number of a record that carries the trace of an error instead of features."""

_ENTITY_PAYMENTS = msgspec.msgpack.Decoder(EntityPayment)
_JOINED = msgspec.msgpack.Decoder(JoinedPayment)
_encode = msgspec.msgpack.Encoder().encode


class Description(msgspec.Struct, frozen=True):
    """What has to be known of all payments before any table can be made.

    times: event times as int64 bytes, in any order.  filled: see `FilledFields`.
    """

    times: bytes
    labelled: int
    frauds: int
    filled: list[bool]


class Tally(msgspec.Struct, frozen=True):
    """Payments and their category values in a partition, see `CategoryTally`."""

    payments: int
    values: list[dict[str | None, int]]


class PartSummary(msgspec.Struct, frozen=True):
    """A part of the table that was written.

    control_group, left_out: payments that stand for others, and those that others stand for.
    """

    name: str
    rows: int
    control_group: int
    left_out: int


class Parts(msgspec.Struct, frozen=True):
    """The parts of a table: where they are written, and the times in ms at which all but the first begin."""

    folder: str
    begins: list[int]

    def of(self, time_ms: int) -> str:
        """Return the name of the part that a time belongs to; names sort as their times do.

        >>> parts = Parts("", [100, 200])
        >>> [parts.of(time) for time in (99, 100, 250)]
        ['part-000000', 'part-000001', 'part-000002']
        """
        return f"part-{bisect_right(self.begins, time_ms):06d}"


def describe(project: Project, as_of: int | None, records: Iterable[Record]) -> Iterator[Record]:
    """Yield the `Description` of a partition."""
    times, filled, labelled, frauds = array("q"), FilledFields(project.schema), 0, 0
    for _, joined in known_by(records, as_of):
        historical = joined.historical
        times.append(historical.payment.event_time)
        filled.add(historical.payment)
        labelled += historical.fraud is not None
        frauds += bool(historical.fraud)
    yield Record("", content=_encode(Description(times.tobytes(), labelled, frauds, filled.flags)))


def tally_categories(
    project: Project, until: int, as_of: int | None, records: Iterable[Record]
) -> Iterator[Record]:
    """Yield the `Tally` of the payments before `until` in ms."""
    tally = CategoryTally(list(project.schema.categories))
    for _, joined in known_by(records, as_of):
        if joined.historical.payment.event_time < until:
            tally.add(joined.historical.payment)
    yield Record("", content=_encode(Tally(tally.payments, [dict(values) for values in tally.values])))


def payments_by_entity(project: Project, as_of: int | None, records: Iterable[Record]) -> Iterator[Record]:
    """Yield what each entity needs of its payments, grouped by entity."""
    indexes = [entity.index for entity in Extractor(project, {}).entities]
    for position, joined in known_by(records, as_of):
        payment, content = joined.historical.payment, _encode(entity_payment(joined.historical))
        for slot, index in enumerate(indexes):
            entity_id = payment.entities[index]
            if entity_id is not None:
                yield Record(f"{slot}={entity_id}", payment.event_time, position, content=content)


def replay_entities(project: Project, parts: Parts, records: Iterable[Record]) -> Iterator[Record]:
    """Yield each payment's features of one entity, grouped by parts of the table, see `block`."""
    extractors = Extractor(project, {}).entities
    for group, members in itertools.groupby(records, key=lambda record: record.group):
        slot = int(group.partition("=")[0])
        replayed, own = itertools.tee(members)
        payments = ((record.time, _ENTITY_PAYMENTS.decode(record.content)) for record in replayed)
        for row, record in zip(replay_entity(extractors[slot], payments), own, strict=True):
            yield block((parts.of(record.time), record.time, record.position), slot, row)


def block(place: tuple[str, int, int], slot: int, row: EntityRow) -> Record:
    """Return the features of one entity as `RowAssembler` takes them: float64 bytes, sorted to a place."""
    if row.error is None:
        return Record(*place, slot + 1, content=array("d", row.values).tobytes())
    return Record(*place, slot + 1, FAILED, Failure("", b"", row.error).trace.encode())


def payments_by_part(parts: Parts, as_of: int | None, records: Iterable[Record]) -> Iterator[Record]:
    """Yield the payments, grouped by parts of the table."""
    for record in payments_known_by(records, as_of):
        yield Record(parts.of(record.time), record.time, record.position, PAYMENT, content=record.content)


def write_parts(
    project: Project, info: FeatureTableInfo, parts: Parts, records: Iterable[Record]
) -> Iterator[Record]:
    """Write each part as a table of features, and yield its `PartSummary`."""
    for name, members in itertools.groupby(records, key=lambda record: record.group):
        yield Record("", content=_encode(_write_part(project, info, Path(parts.folder) / name, members)))


def _write_part(
    project: Project, info: FeatureTableInfo, path: Path, records: Iterable[Record]
) -> PartSummary:
    assembler = RowAssembler(project, info.category_encoding)
    payments, rows = list[JoinedPayment](), list[bytes]()
    for _, (first, *blocks) in itertools.groupby(records, key=lambda record: (record.time, record.position)):
        joined = _JOINED.decode(first.content)
        payments.append(joined)
        rows.append(assembler.row(joined.historical.payment, blocks))
    weights = {
        joined.historical.payment.transaction_id: joined.weight for joined in payments if joined.weight != 1
    }
    history = History([joined.historical for joined in payments], weights=weights)
    times = np.array([historical.payment.event_time for historical in history.payments], np.int64)
    matrix = np.frombuffer(b"".join(rows), np.float64).reshape(len(rows), -1)
    dataset = dataset_of(project, history, times, matrix, info)
    declared = declared_columns(project.schema, [historical.payment for historical in history.payments])
    # An engine may run a task twice at the same time: each writes a file of its own, the last one stays.
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.parquet")
    write_dataset(unfinished, dataset, declared)
    unfinished.replace(path.with_name(f"{path.name}.parquet"))
    weight = dataset.weight
    return PartSummary(path.name, len(dataset), int((weight > 1).sum()), int((weight == 0).sum()))


class RowAssembler:
    """Puts the features of a payment together: its own, and those of its entities."""

    def __init__(self, project: Project, category_encoding: CategoryEncoding) -> None:
        """Take what features are made by."""
        extractor = Extractor(project, category_encoding)
        self._extractor = extractor.payment
        self._missing = [array("d", [math.nan] * entity.width).tobytes() for entity in extractor.entities]
        self._width = len(extractor.definitions)

    def row(self, payment: Transaction, blocks: Sequence[Record]) -> bytes:
        """Return a payment's features as float64 bytes, all missing where one raised an error.

        blocks: those of the entities that it names, see `block`.
        """
        own = list[float]()
        failed = next((block.content.decode() for block in blocks if block.number == FAILED), None)
        try:
            self._extractor.read(payment, own)
        except NOT_OF_ONE_EVENT:
            raise
        except Exception as error:  # noqa: BLE001 - as in `replay`
            failed = Failure(payment.transaction_id, b"", error).trace
        if failed is not None:
            log_missing(payment.transaction_id, failed)
            return array("d", [math.nan] * self._width).tobytes()
        row = [array("d", own).tobytes(), *self._missing]
        for entity in blocks:
            row[entity.rank] = entity.content
        return b"".join(row)


def decoded(records: Iterable[Record], kind: type) -> Iterator[object]:
    """Yield the contents of records."""
    return (msgspec.msgpack.decode(record.content, type=kind) for record in records)


def part_begins(times: Sequence[int] | np.ndarray, rows: int) -> list[int]:
    """Return where parts of about so many rows begin; `times` are sorted.

    Payments of one time stay together: a part has more rows where a time has more.

    >>> part_begins([1, 2, 2, 2, 3, 4], 2), part_begins([1], 5)
    ([2, 3], [])
    """
    begins = [int(times[row]) for row in range(rows, len(times), rows)]
    return [begin for begin in dict.fromkeys(begins) if begin > times[0]]
