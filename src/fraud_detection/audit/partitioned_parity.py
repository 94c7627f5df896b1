"""Replay the log of a state file in partitions, and compare every value with the one that was served.

The functions that replay history in partitions replay the log, too; the order of an entity's events is that
of the log, in which labels stand where they were applied.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from fraud_detection.adapters.sqlite.event_log import LoggedEvent
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.dataflow import Dataflow, Record
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.category_encoding import CategoryEncoding
from fraud_detection.core.features.entity_replay import (
    EntityLabel,
    EntityPayment,
    apply_label,
    replay_payment,
)
from fraud_detection.core.features.extract import Extractor, entity_keys
from fraud_detection.core.features.profile import Profile
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import Project
from fraud_detection.training.tables.partitioned import RowAssembler, block

VALUE_BYTES = 8
STRIPE_EVENTS = 4096
PART_EVENTS = 1 << 16
"""Events of the log whose payments are compared by one task."""
PAYMENT, LABEL = 0, 1
"""The ranks of events among those of an entity, by which they are decoded."""
SERVED = 0
"""The rank of what was served; the features of the payment's entities follow."""


class Compared(msgspec.Struct):
    """How many rows and values were compared, and how many values differ."""

    rows: int = 0
    values: int = 0
    different: int = 0

    def add(self, replayed: bytes, served: bytes) -> None:
        """Compare the bits of a row of float64 values."""
        self.rows += 1
        size = max(len(replayed), len(served))
        self.values += size // VALUE_BYTES
        if replayed != served:
            starts = range(0, size, VALUE_BYTES)
            self.different += sum(
                replayed[at : at + VALUE_BYTES] != served[at : at + VALUE_BYTES] for at in starts
            )

    def merge(self, other: Compared) -> None:
        """Add the counts of another partition."""
        self.rows += other.rows
        self.values += other.values
        self.different += other.different


class ServedPayment(msgspec.Struct, frozen=True, gc=False):
    """A payment of the log, as it came, and the features that were served."""

    transaction_id: str
    event: bytes
    features: bytes


_LABELS = msgspec.msgpack.Decoder(EntityLabel)
_PAYMENTS = msgspec.msgpack.Decoder(EntityPayment)
_SERVED = msgspec.msgpack.Decoder(ServedPayment)
_COMPARED = msgspec.msgpack.Decoder(Compared)
_encode = msgspec.msgpack.Encoder().encode


def compare_log(flow: Dataflow, project: Project, category_encoding: CategoryEncoding, log: Path) -> Compared:
    """Replay the log of a state file that nobody writes, and compare."""
    count = flow.parallelism
    stripes = flow.collection([Record("", position=index) for index in range(count)])
    blocks = stripes.map(partial(entity_events, project, log, count)).grouped()
    blocks = blocks.map(partial(replay_log, project))
    served = stripes.map(partial(served_payments, log, count))
    parts = served.union(blocks).grouped().map(partial(compare_parts, project, category_encoding))
    total = Compared()
    for record in parts.records():
        total.merge(_COMPARED.decode(record.content))
    return total


def entity_events(project: Project, log: Path, stripes: int, tasks: Iterable[Record]) -> Iterator[Record]:
    """Yield what each event of the tasks' stripes changes, grouped by entity, in the order of the log."""
    indexes = [entity.index for entity in Extractor(project, {}).entities]
    parser = Parser(project.schema)
    for number, logged in _striped(log, stripes, tasks):
        if logged.event is None:
            kind, time, ids = LABEL, 0, logged.ids
            content = _encode(EntityLabel(0, logged.fraud, logged.known_at, logged.supersedes_known_at))
        else:
            payment = parser.parse(logged.event, logged.transaction_id)
            if not isinstance(payment, Transaction):
                continue
            kind, time, ids = PAYMENT, payment.event_time, payment.entities
            content = _encode(EntityPayment(payment.amount, payment.place, entity_keys(payment), []))
        for slot, index in enumerate(indexes):
            if ids[index] is not None:
                # Sorted by the number alone, which no two events share; the position carries the time.
                yield Record(f"{slot}={ids[index]}", number, time, kind, content=content)


def replay_log(project: Project, records: Iterable[Record]) -> Iterator[Record]:
    """Yield each payment's features of one entity, grouped by parts of the log."""
    extractors = Extractor(project, {}).entities
    for group, members in itertools.groupby(records, key=lambda record: record.group):
        slot = int(group.partition("=")[0])
        profile = Profile(extractors[slot].plan)
        for record in members:
            if record.rank == LABEL:
                apply_label(_LABELS.decode(record.content), profile)
                continue
            payment = _PAYMENTS.decode(record.content)
            row = replay_payment(extractors[slot], profile, record.position, payment)
            yield block((_part(record.time), record.time, 0), slot, row)


def served_payments(log: Path, stripes: int, tasks: Iterable[Record]) -> Iterator[Record]:
    """Yield what was served, grouped by parts of the log."""
    for number, logged in _striped(log, stripes, tasks):
        if logged.event is not None:
            content = _encode(ServedPayment(logged.transaction_id, logged.event, logged.features))
            yield Record(_part(number), number, 0, SERVED, content=content)


def compare_parts(
    project: Project, category_encoding: CategoryEncoding, records: Iterable[Record]
) -> Iterator[Record]:
    """Yield what was `Compared` in a partition."""
    assembler, parser, compared = RowAssembler(project, category_encoding), Parser(project.schema), Compared()
    for _, (first, *blocks) in itertools.groupby(records, key=lambda record: record.time):
        served = _SERVED.decode(first.content)
        payment = parser.parse(served.event, served.transaction_id)
        if isinstance(payment, Transaction):
            compared.add(assembler.row(payment, blocks), served.features)
    yield Record("", content=_encode(compared))


def _striped(log: Path, stripes: int, tasks: Iterable[Record]) -> Iterator[tuple[int, LoggedEvent]]:
    """Yield the events of the tasks' stripes, numbered in the order of the log."""
    own = {record.position for record in tasks}
    state_file = StateFile(log, reading=True)
    try:
        for number, logged in enumerate(state_file.since(0)):
            if number // STRIPE_EVENTS % stripes in own:
                yield number, logged
    finally:
        state_file.close()


def _part(number: int) -> str:
    return f"part-{number // PART_EVENTS:06d}"
