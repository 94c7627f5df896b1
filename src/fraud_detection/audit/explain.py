"""Find a payment in state files and explain it: decided, refused, of history, or unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from fraud_detection.adapters.sqlite.state_reader import StateReader, StoredDecision, StoredLabel
from fraud_detection.audit.explanation import explanation_record, label_view
from fraud_detection.audit.explanation_record import ExplanationRecord, LabelView, RecomputedFeatures
from fraud_detection.audit.redecide import Redecision, redecide
from fraud_detection.audit.refeature import recompute_features, shard_of
from fraud_detection.core.decision_record import iso
from fraud_detection.core.errors import RejectError
from fraud_detection.core.lenient_json import object_of
from fraud_detection.core.parse.values import as_id
from fraud_detection.history.load import read_history

Progress = Callable[[str, float], None]


class QuarantinedView(msgspec.Struct, frozen=True):
    """An event that was refused, and that speaks of the payment.

    count: how often it came, when first and last; what came again from the same origin is not counted.
    """

    state: str
    number: int
    reason: str
    path: str
    event: str
    count: int
    first_at: str
    last_at: str


class Undecided(msgspec.Struct, frozen=True):
    """What is known of a payment that was never decided.

    is_history: it is in the history that was loaded before the stream.
    """

    transaction_id: str
    is_history: bool
    quarantined: list[QuarantinedView]
    labels: list[LabelView]

    @property
    def is_known(self) -> bool:
        """Return whether anything was ever heard of it."""
        return bool(self.is_history or self.quarantined or self.labels)


class Where(msgspec.Struct, frozen=True):
    """Where to look for what a decision was made of.

    bundles: paths of bundles.  registry: a folder that stores each bundle as `bundles/NAME.tar.gz`.
    replay: make the features again too.  history: what the state began with.
    """

    bundles: Sequence[Path]
    registry: Path | None = None
    replay: bool = False
    history: Path | None = None

    def all_bundles(self) -> list[Path]:
        """Return every folder where a bundle may lie."""
        published = [] if self.registry is None else sorted((self.registry / "bundles").glob("*.tar.gz"))
        return [*self.bundles, *published]


def explain(
    transaction_id: str, files: Sequence[Path], where: Where, progress: Progress
) -> ExplanationRecord | Undecided:
    """Explain a payment; a decision on it is made again and compared.

    files: one state file, or those of all workers.  Raises ConfigError when what it needs is not there.
    """
    with ExitStack() as stack:
        records = [stack.enter_context(closing(StateReader(file))) for file in files]
        for record in records:
            stored = record.decision(transaction_id)
            if stored is not None:
                return _decided(record, records, stored, where, progress)
        return _undecided(transaction_id, records)


def _decided(
    record: StateReader,
    records: Sequence[StateReader],
    stored: StoredDecision,
    where: Where,
    progress: Progress,
) -> ExplanationRecord:
    redecision = redecide(record, stored, where.all_bundles())
    recomputed_features = None
    if where.replay or where.history is not None:
        recomputed_features = _replay(record, records, redecision, where, progress)
    return explanation_record(
        redecision, record.labels(stored.transaction_id), str(record.path), recomputed_features
    )


def _replay(
    record: StateReader,
    records: Sequence[StateReader],
    redecision: Redecision,
    where: Where,
    progress: Progress,
) -> RecomputedFeatures:
    history = (
        []
        if where.history is None
        else read_history(redecision.engine.project, where.history, progress).payments
    )
    shards = [(shard_of(reader), reader) for reader in records if reader is not record]
    others = {shard.worker: reader for shard, reader in shards if shard is not None}
    return recompute_features(record, others, redecision.stored, redecision.engine, history, progress)


def _undecided(transaction_id: str, records: Sequence[StateReader]) -> Undecided:
    labels: list[StoredLabel] = []
    for record in records:
        labels += record.labels(transaction_id)
    return Undecided(
        transaction_id,
        any(record.is_history(transaction_id) for record in records),
        [event for record in records for event in _quarantined(record, transaction_id)],
        [label_view(label, stands=False) for label in labels],
    )


def _quarantined(record: StateReader, transaction_id: str) -> Iterator[QuarantinedView]:
    for event in record.quarantined_events():
        if _names(event.event, transaction_id):
            text = event.event.decode(errors="replace")
            times = (iso(event.first_at), iso(event.last_at))
            yield QuarantinedView(
                str(record.path), event.seq, event.reason, event.path, text, event.count, *times
            )


def _names(event: bytes, transaction_id: str) -> bool:
    """Return whether a quarantined event names a payment; one that is no JSON object may hold its id."""
    try:
        values = object_of(event).values()
    except RejectError:
        return transaction_id.encode() in event
    return any(as_id(value) == transaction_id for value in values)
