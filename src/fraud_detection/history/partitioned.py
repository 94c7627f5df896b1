"""Read history in partitions: the payments and labels of `load`, without one process that holds them all.

Rows are read stripe by stripe, meet by the id of their payment, and each payment gets its labels.  What
`HistoryReader` counts is counted here by partition, and added up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from fraud_detection.adapters.files.event_sources import open_file
from fraud_detection.adapters.files.tables import is_textual
from fraud_detection.adapters.files.text_tables import Stripe
from fraud_detection.core.dataflow import Collection, Dataflow, Record
from fraud_detection.core.errors import RejectError
from fraud_detection.core.features.replay import HistoricalPayment
from fraud_detection.core.parse.content import differing_fields
from fraud_detection.core.project_schema import Project, Schema
from fraud_detection.history.label_file import label_events
from fraud_detection.history.load import named_file
from fraud_detection.history.logged_decisions import DecisionHistory, state_files
from fraud_detection.history.rows import LabelRow, PaymentRow, RowReader

SOURCE_BITS = 40
"""The position of a row: the number of its file above so many bits of its number in the file."""
SUMMARY = "counts"
"""The group of the records that carry counts."""
ID = "="
"""Before an id, in the group of its rows."""


class HistoryFile(msgspec.Struct, frozen=True):
    """One file of history, and its number among all of them.

    name: what its rows without ids are named after.  textual: payments are in a file of nothing but text.
    """

    number: int
    path: str
    kind: Literal["payments", "labels", "state"]
    name: str = ""
    textual: bool = False


class ReadTask(msgspec.Struct, frozen=True):
    """A stripe of a file, to be read by one task."""

    file: HistoryFile
    stripe: Stripe


class RowCounts(msgspec.Struct):
    """What was read of one file: rows, how many were refused, and the first of them.

    first: position in the file, path and reason; None where nothing was refused.
    """

    rows: int = 0
    refused: int = 0
    first: tuple[int, str, str] | None = None

    def refuse(self, position: int, error: RejectError) -> None:
        """Count a row that cannot be read."""
        self.refused += 1
        if self.first is None or position < self.first[0]:
            self.first = (position, error.path, error.reason)

    def add(self, other: RowCounts) -> None:
        """Add the counts of another part of the file."""
        self.rows += other.rows
        self.refused += other.refused
        self.first = min(filter(None, (self.first, other.first)), default=None)


class JoinCounts(msgspec.Struct):
    """What was met when rows of one id came together; see `History` for the names.

    latest: the last event time in ms, -1 where there is none.  known_until: see `History`, without `latest`.
    """

    payments: int = 0
    duplicates: int = 0
    conflicts: int = 0
    unmatched_labels: int = 0
    decided: int = 0
    latest: int = -1
    known_until: int = -1

    def add(self, other: JoinCounts) -> None:
        """Add the counts of another partition."""
        for name in ("payments", "duplicates", "conflicts", "unmatched_labels", "decided"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latest = max(self.latest, other.latest)
        self.known_until = max(self.known_until, other.known_until)


class Counts(msgspec.Struct):
    """All counts of a partition: of each file by its number, and of the joined rows."""

    files: dict[int, RowCounts] = {}
    joined: JoinCounts = msgspec.field(default_factory=JoinCounts)

    def add(self, other: Counts) -> None:
        """Add those of another partition."""
        for number, counts in other.files.items():
            self.files.setdefault(number, RowCounts()).add(counts)
        self.joined.add(other.joined)


class JoinedPayment(msgspec.Struct, frozen=True, gc=False):
    """A payment with everything that is known of it, and its sampling weight."""

    historical: HistoricalPayment
    weight: float = 1.0


_ROWS = msgspec.msgpack.Decoder(PaymentRow | LabelRow)
_COUNTS = msgspec.msgpack.Decoder(Counts)
_JOINED = msgspec.msgpack.Decoder(JoinedPayment)
_TASKS = msgspec.msgpack.Decoder(ReadTask)
_encode = msgspec.msgpack.Encoder().encode


def history_files(path: Path | None, states: Sequence[Path], labels: Sequence[Path]) -> list[HistoryFile]:
    """Return the files of a history in the order in which `read_history` reads them."""
    textual, files = path is not None and is_textual(path), list[HistoryFile]()
    if path is not None:
        name = named_file(path, states).name
        files.append(HistoryFile(0, str(path), "payments", name, textual))
    for state in state_files(states):
        files.append(HistoryFile(len(files), str(state), "state"))
    for file in labels:
        files.append(HistoryFile(len(files), str(file), "labels", textual=textual))
    return files


def read_partitioned(
    flow: Dataflow, project: Project, files: Sequence[HistoryFile], now_ms: int
) -> Collection:
    """Return the payments with their labels, and records of the group SUMMARY with counts.

    As many tasks as run at the same time share a file.  now_ms: rows that are dated later are refused.
    """
    tasks = [
        ReadTask(file, Stripe(index, count))
        for file, count in ((file, flow.parallelism if file.kind == "payments" else 1) for file in files)
        for index in range(count)
    ]
    records = [Record("", position=number, content=_encode(task)) for number, task in enumerate(tasks)]
    rows = flow.collection(records).map(partial(read_rows, project.schema, now_ms))
    return rows.grouped().map(partial(join_rows, project.schema)).cached()


def read_rows(schema: Schema, now_ms: int, tasks: Iterable[Record]) -> Iterator[Record]:
    """Yield the rows of the tasks' files as records grouped by the id of the payment, then the counts."""
    counts = Counts()
    for record in tasks:
        task = _TASKS.decode(record.content)
        yield from _read_task(schema, now_ms, task, counts.files.setdefault(task.file.number, RowCounts()))
    yield Record(SUMMARY, content=_encode(counts))


def _read_task(schema: Schema, now_ms: int, task: ReadTask, counts: RowCounts) -> Iterator[Record]:
    rows = _READERS[task.file.kind](RowReader(schema, textual=task.file.textual, now_ms=now_ms), task)
    for number, read in rows:
        counts.rows += 1
        try:
            row = read()
        except RejectError as error:
            counts.refuse(number, error)
            continue
        position = (task.file.number << SOURCE_BITS) + number
        of = row.label if isinstance(row, LabelRow) else row.historical.payment
        yield Record(ID + of.transaction_id, position=position, content=_encode(row))


def _payments(reader: RowReader, task: ReadTask) -> Iterator[NumberedRow]:
    source = open_file(Path(task.file.path))
    source.name = task.file.name
    for number, raw, identity in source.stripe(task.stripe):
        yield number, partial(reader.read, raw, identity)


def _labels(reader: RowReader, task: ReadTask) -> Iterator[NumberedRow]:
    for number, raw in enumerate(label_events(Path(task.file.path))):
        yield number, partial(reader.read, raw, None)


def _logged(reader: RowReader, task: ReadTask) -> Iterator[NumberedRow]:
    logged, number = DecisionHistory(Path(task.file.path)), 0
    labels = logged.reader.labels
    for decision, eligibility in logged.decisions():
        yield number, partial(reader.read_logged, decision, eligibility)
        number += 1
    for label in labels:
        yield number, partial(LabelRow, label)
        number += 1


NumberedRow = tuple[int, Callable[[], PaymentRow | LabelRow]]
"""The number of a row in its file, and what reads it."""
_READERS: Mapping[str, Callable[[RowReader, ReadTask], Iterator[NumberedRow]]] = {
    "payments": _payments,
    "labels": _labels,
    "state": _logged,
}


def join_rows(schema: Schema, records: Iterable[Record]) -> Iterator[Record]:
    """Yield one record a payment with all its labels, sorted within its id; then the counts."""
    counts = Counts()
    for group, members in itertools.groupby(records, key=lambda record: record.group):
        if group == SUMMARY:
            for record in members:
                counts.add(_COUNTS.decode(record.content))
        else:
            yield from _join(schema, list(members), counts.joined)
    yield Record(SUMMARY, content=_encode(counts))


def _join(schema: Schema, members: list[Record], counts: JoinCounts) -> Iterator[Record]:
    rows = [_ROWS.decode(record.content) for record in members]
    labels = [row.label for row in rows if isinstance(row, LabelRow)]
    payments = [
        (record.position, row)
        for record, row in zip(members, rows, strict=True)
        if isinstance(row, PaymentRow)
    ]
    counts.decided += sum(row.decided for _, row in payments)
    if not payments:
        counts.unmatched_labels += 1
        return
    position, first = payments[0]
    historical = first.historical
    counts.payments += 1
    counts.duplicates += len(payments) - 1
    counts.conflicts += sum(
        bool(differing_fields(schema, historical.payment, row.historical.payment)) for _, row in payments[1:]
    )
    counts.latest = max(counts.latest, historical.payment.event_time)
    known = [historical.known_at] if first.states_known_at else []
    counts.known_until = max([counts.known_until, *known, *(label.available_from for label in labels)])
    weights = [row.weight for _, row in payments if row.weight != 1]
    joined = JoinedPayment(historical.with_labels(labels) if labels else historical, [1.0, *weights][-1])
    yield Record("", historical.payment.event_time, position, content=_encode(joined))


def counts_of(payments: Collection) -> Counts:
    """Return the counts of all partitions."""
    total = Counts()
    for record in payments.map(only_counts).records():
        total.add(_COUNTS.decode(record.content))
    return total


def only_counts(records: Iterable[Record]) -> Iterator[Record]:
    """Yield the records that carry counts."""
    return (record for record in records if record.group == SUMMARY)


def payments_known_by(records: Iterable[Record], as_of: int | None) -> Iterator[Record]:
    """Yield the payments as they were known at a moment in ms; all of them where it is None."""
    payments = (record for record in records if record.group != SUMMARY)
    if as_of is None:
        yield from payments
        return
    for record in payments:
        if record.time <= as_of:
            joined = _JOINED.decode(record.content)
            known = JoinedPayment(joined.historical.known_by(as_of), joined.weight)
            yield Record(record.group, record.time, record.position, content=_encode(known))


def known_by(records: Iterable[Record], as_of: int | None) -> Iterator[tuple[int, JoinedPayment]]:
    """Yield positions and payments, see `payments_known_by`."""
    for record in payments_known_by(records, as_of):
        yield record.position, _JOINED.decode(record.content)
