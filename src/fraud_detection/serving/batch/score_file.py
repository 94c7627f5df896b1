"""Score a file or a pipe once: decisions out, nothing stored.

A file is decided in order of event time, so that windows mean what they say, and its
lines come out in the file's own order.  Labels that a file carries are learned at the
moment they became known, never earlier.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import BinaryIO

import msgspec

from fraud_detection.adapters.files.event_sources import Batch, is_object, open_file, open_source
from fraud_detection.adapters.files.source_identity import recognised
from fraud_detection.adapters.files.tables import is_textual
from fraud_detection.adapters.in_memory import MemoryDedupIndex
from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.events import Label
from fraud_detection.core.features.replay import HistoricalPayment, Replay
from fraud_detection.core.lenient_json import object_of
from fraud_detection.core.outcomes import AppliedLabel, Decided, Duplicate, Event, Outcome, RedundantLabel
from fraud_detection.core.parse import Parser
from fraud_detection.core.parse.content import content_digest
from fraud_detection.core.ports import FirstDelivery
from fraud_detection.core.sources import KnownSource
from fraud_detection.engine.counters import Tally
from fraud_detection.engine.decision_json import outcome_line
from fraud_detection.engine.engine import Engine
from fraud_detection.engine.pipeline import Pipeline
from fraud_detection.history.load import History, Progress
from fraud_detection.serving.reapply import log_failure

BATCH = 1024

Write = Callable[[bytes], object]


class Row(msgspec.Struct, frozen=True, gc=False):
    """An event of a file, with the time it happened and the label it carries."""

    number: int
    raw: bytes
    identity: str | None
    event_time: int
    transaction_id: str = ""
    label: Label | None = None


def score_pipe(engine: Engine, out: BinaryIO, history: Iterable[HistoricalPayment] = ()) -> Tally:
    """Decide events from standard input as they come, one line out for each line in that is not blank.

    Raises ConfigError when the first line is no JSON object: then it is a file of another kind.
    """
    scoring = _Scoring(engine, history, textual=False)
    row = 0
    for batch in open_source("-").batches(0, BATCH):
        if row == 0 and batch.events and not is_object(batch.events[0]):
            raise ConfigError(
                f"standard input must be JSON Lines, but begins with {batch.events[0][:40]!r}; give CSV and "
                "Parquet by their file names"
            )
        for outcome in scoring.take(list(batch.events), batch.identities):
            row += 1
            out.write(outcome_line(outcome, row))
        out.flush()
    return scoring.tally


def score_file(
    engine: Engine, path: Path, write: Write, progress: Progress, history: History | None = None
) -> Tally:
    """Decide all rows of a file; the n-th line written is about the n-th row.

    A payment of history that is in the file too counts once, there; its label is stored.
    """
    scoring, rows = _opened(engine, path, progress, history)
    waiting: dict[int, bytes] = {}
    next_number = 1
    done = 0
    for batch in _decided(scoring, rows):
        for row, outcome in batch:
            waiting[row.number] = outcome_line(outcome, row.number)
            done += 1
        while next_number in waiting:
            write(waiting.pop(next_number))
            next_number += 1
        progress(f"scored {done:,} rows", done / len(rows))
    return scoring.tally


def decide_last(engine: Engine, path: Path, history: History | None = None) -> Outcome:
    """Decide all rows of a file; return what becomes of the one that is last in event time.

    Raises ConfigError when there is none.
    """
    scoring, rows = _opened(engine, path, lambda _, __: None, history)
    outcomes = [outcome for batch in _decided(scoring, rows) for _, outcome in batch]
    if not outcomes:
        raise ConfigError(f"{path}: has no rows")
    return outcomes[-1]


def _opened(
    engine: Engine, path: Path, progress: Progress, history: History | None
) -> tuple[_Scoring, list[Row]]:
    loaded = history or History()
    rows = _read(engine, path, progress, [loaded.source] if loaded.source else [])
    own = {row.transaction_id for row in rows}
    return _Scoring(engine, loaded.payments, textual=is_textual(path), apart=own), rows


def _decided(scoring: _Scoring, rows: list[Row]) -> Iterator[list[tuple[Row, Outcome]]]:
    """Yield the rows with their outcomes, in order of event time; labels are learned between them."""
    for batch in _with_labels(rows):
        outcomes = scoring.take([event for _, event in batch], [_identity(row) for row, _ in batch])
        yield [(row, outcome) for (row, _), outcome in zip(batch, outcomes, strict=True) if row is not None]


class _Scoring:
    """A pipeline with in-memory state, and the counts of its outcomes."""

    def __init__(
        self,
        engine: Engine,
        history: Iterable[HistoricalPayment],
        *,
        textual: bool,
        apart: AbstractSet[str] = frozenset(),
    ) -> None:
        self.dedup_index = MemoryDedupIndex()
        self.pipeline: Pipeline = engine.pipeline(None, self.dedup_index, textual=textual)
        self.tally = Tally()
        self._preload_history(history, apart)

    def take(self, events: list[Event], identities: Sequence[str | None] | None) -> list[Outcome]:
        self.pipeline.parser.bounds.arrived(int(time.time() * 1000))
        processed = self.pipeline.process(events, identities)
        for failure in self.pipeline.failures:
            log_failure(failure)
        for event, outcome in zip(events, processed.outcomes, strict=True):
            # A label that stands in a row is no event of its own; that of a duplicate row says nothing.
            if not (isinstance(event, Label) and isinstance(outcome, Duplicate)):
                self.tally.add(outcome)
        for outcome in processed.log:
            if isinstance(outcome, Decided):
                payment = outcome.payment
                self.dedup_index.add_payment(
                    payment.transaction_id, payment.entities, FirstDelivery(outcome.raw)
                )
            elif isinstance(outcome, AppliedLabel):
                self.dedup_index.add_label(outcome.label)
            elif isinstance(outcome, RedundantLabel):
                self.dedup_index.add_redundant_label(outcome.label)
        return processed.outcomes

    def _preload_history(self, history: Iterable[HistoricalPayment], apart: AbstractSet[str]) -> None:
        """Load the history; the payments `apart` are still to come, only their labels are stored."""
        replay = Replay(self.pipeline.profile_cache)
        to_come = []
        for historical in history:
            if historical.payment.transaction_id in apart:
                to_come.append(historical)
                continue
            for _ in replay.rows([historical]):
                payment = historical.payment
                digest = content_digest(payment)
                self.dedup_index.add_payment(
                    payment.transaction_id, payment.entities, FirstDelivery(digest=digest)
                )
        for historical in to_come:
            replay.hold_labels_back(historical)
        self.pipeline.pending_labels = replay.still_pending()


def _read(engine: Engine, path: Path, progress: Progress, known: Sequence[KnownSource]) -> list[Row]:
    parser = Parser(engine.project.schema, textual=is_textual(path))
    parser.bounds.arrived(int(time.time() * 1000))
    rows: list[Row] = []
    opened = open_file(path)
    recognised(opened, known)
    for batch in opened.batches(0, BATCH):
        rows += _rows(parser, batch, len(rows), rows[-1].event_time if rows else 0)
        progress(f"reading {path.name}: {len(rows):,} rows", 0.0)
    rows.sort(key=lambda row: row.event_time)
    return list(_first_labels(rows))


def _first_labels(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows; a duplicate row loses its label, because its payment is not decided again."""
    seen: set[str] = set()
    for row in rows:
        yield msgspec.structs.replace(row, label=None) if row.label and row.transaction_id in seen else row
        if row.transaction_id:
            seen.add(row.transaction_id)


def _rows(parser: Parser, batch: Batch, before: int, latest: int) -> Iterator[Row]:
    for index, raw in enumerate(batch.events):
        identity = batch.identities[index] if batch.identities else None
        transaction_id, label = "", None
        try:
            payment = parser.parse(raw, identity)
            if not isinstance(payment, Label):
                transaction_id, latest = payment.transaction_id, payment.event_time
                label = _label(parser, raw, transaction_id, latest)
        except RejectError:
            # It keeps its position here; the pipeline will say what is wrong with it.
            pass
        yield Row(before + index + 1, raw, identity, latest, transaction_id, label)


def _label(parser: Parser, raw: bytes, transaction_id: str, event_time: int) -> Label | None:
    if parser.schema.label is None:
        return None
    event = object_of(raw)
    verdict = parser.labels.verdict(event)
    if verdict is None:
        return None
    return Label(transaction_id, verdict, parser.labels.known_at(event, event_time), "file")


def _with_labels(rows: list[Row]) -> Iterator[list[tuple[Row | None, Event]]]:
    """Yield batches of rows in order of time, and between them the labels known by then (without a row)."""
    pending: list[tuple[int, int, Label]] = []
    batch: list[tuple[Row | None, Event]] = []
    for row in rows:
        while pending and pending[0][0] <= row.event_time:
            batch.append((None, heapq.heappop(pending)[2]))
        batch.append((row, row.raw))
        if row.label is not None:
            heapq.heappush(pending, (row.label.known_at, row.number, row.label))
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _identity(row: Row | None) -> str | None:
    return None if row is None else row.identity
