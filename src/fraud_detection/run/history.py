"""The replay door: a file of past payments, through the code that serves, into a table of features."""

from __future__ import annotations

import itertools
import math
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from fraud_detection.adapters.event_sources import open_source
from fraud_detection.config import Project, Schema
from fraud_detection.errors import ConfigError, RejectError
from fraud_detection.events import Label, Transaction
from fraud_detection.features.extract import Extractor
from fraud_detection.features.fingerprint import fingerprint
from fraud_detection.features.memory import FeatureMemory
from fraud_detection.features.replay import PastPayment, Replay
from fraud_detection.features.vocabulary import Vocabulary, learn_vocabulary
from fraud_detection.parse import Parser
from fraud_detection.parse.values import content_id
from fraud_detection.run.garbage import few_collections
from fraud_detection.run.label_file import label_events
from fraud_detection.train.dataset import Correction, Dataset, FeatureTableInfo
from fraud_detection.train.split import UNKNOWN, Boundaries, boundaries

READ_ROWS = 4096
WORST_SHARE_REFUSED = 0.5

Progress = Callable[[str, float], None]


class History(msgspec.Struct):
    """Past payments in order of time, and what was left out and why.

    About half a kilobyte of memory a payment.
    refused: path and reason of each row that cannot be read.  strays: labels without their payment.
    empty: declared fields without a readable value in any row, as path in the project file and field.
    as_of: the moment in ms after which nothing is known; None where the file tells all.
    """

    payments: list[PastPayment] = []
    refused: list[tuple[str, str]] = []
    repeated: int = 0
    strays: int = 0
    empty: list[tuple[str, str]] = []
    as_of: int | None = None


def is_textual(path: Path) -> bool:
    """Return whether the file holds nothing but text, so that text is no drift of type."""
    return path.suffix.lower() not in {".parquet", ".jsonl", ".ndjson", ".json"}


def read_history(
    project: Project,
    path: Path,
    progress: Progress,
    labels: Sequence[Path] = (),
    as_of: int | None = None,
) -> History:
    """Read, parse and order a file of past payments; repeated ids keep their first row.

    Lines of the type 'label', and the rows of the files `labels`, are joined to their payments.
    as_of: leave out whatever happened or became known after that moment in ms.  Raises ConfigError when most
    of the rows cannot be read: then the project file does not fit.
    """
    numbered = project.schema.transaction_id.field is None
    parser = Parser(project.schema, textual=is_textual(path))
    parser.bounds.arrived(int(time.time() * 1000))
    reader = _Reader(parser)
    rows = 0
    with few_collections():
        for batch in open_source(str(path), numbered=numbered).batches(0, READ_ROWS):
            names = batch.identities or itertools.repeat(None)
            for raw, identity in zip(batch.events, names, strict=False):
                reader.take(raw, identity)
            rows += len(batch.events)
            progress(f"reading {path.name}: {rows:,} rows", 0.0)
        progress(f"reading {path.name}: {rows:,} rows", 1.0)
        _refuse_misfit(path, reader.history, rows)
        for file in labels:
            for raw in label_events(file):
                reader.take(raw, None)
            progress(f"reading {file.name}", 1.0)
    return reader.finished(project.schema, as_of)


def refuse_empty(history: History, path: Path) -> None:
    """Raise ConfigError when no row says anything of a declared field: nothing can be learned from it."""
    if history.empty:
        fields = ", ".join(f"`{field}` (at `{place}`)" for place, field in history.empty)
        raise ConfigError(
            f"{path}: no row has a readable value for {fields}; correct the name of the field in the "
            "project file, or remove it there"
        )


def feature_table(
    project: Project,
    history: History,
    progress: Progress,
    learn_until: int | None = None,
    *,
    exact: bool = False,
) -> tuple[Dataset, Replay]:
    """Replay the history; return every payment's features, as they would have been served, and the replay.

    The replay's memory is as a live engine's would be at the end of history.
    learn_until: the categories are learned from payments before that time in ms, and the table is not
    cut into slices; without it both follow the project's split.
    exact: keep the values as they would have been served, in twice the memory, not as a model reads them.
    """
    times = np.fromiter(
        (past.payment.event_time for past in history.payments), np.int64, len(history.payments)
    )
    delay_ms = project.schema.label.delay.ms if project.schema.label else 0
    if learn_until is None:
        cut = boundaries(_mature(times, history.as_of, delay_ms), project.split, delay_ms)
    else:
        until = learn_until
        cut = Boundaries(int(times[0]), until, until, until, until, int(times[-1]) + 1)
    vocabulary = _vocabulary(project, history.payments, cut)
    replay = Replay(FeatureMemory(Extractor(project, vocabulary)))
    matrix = _replayed(replay, history.payments, progress, exact=exact)
    definitions = replay.memory.extractor.definitions
    info = FeatureTableInfo(
        fingerprint(project, vocabulary), definitions, cut, vocabulary, delay_ms, history.as_of
    )
    return _dataset(project, history.payments, times, matrix, info), replay


class _Reader:
    """Takes the rows of a file one by one, and joins what belongs together when all are there."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser
        self.history = History()
        self.seen: set[str] = set()
        self.labels: dict[str, list[Label]] = {}

    def take(self, raw: bytes, identity: str | None) -> None:
        try:
            event = self.parser.decode(raw)
            if self.parser.is_label(event):
                label = self.parser.label(event)
                self.labels.setdefault(label.transaction_id, []).append(label)
                return
            payment = self.parser.record(event, identity or content_id(raw))
            past = PastPayment(
                payment,
                self.parser.labels.verdict(event),
                self.parser.labels.known_at(event, payment.event_time),
            )
        except RejectError as error:
            self.history.refused.append((error.path, error.reason))
            return
        if payment.transaction_id in self.seen:
            self.history.repeated += 1
            return
        self.seen.add(payment.transaction_id)
        self.history.payments.append(past)

    def finished(self, schema: Schema, as_of: int | None) -> History:
        history, labels = self.history, self.labels
        if labels:
            history.payments = [
                past.with_labels(labels.get(past.payment.transaction_id, ())) for past in history.payments
            ]
        if as_of is not None:
            history.payments = [
                past.known_by(as_of) for past in history.payments if past.payment.event_time <= as_of
            ]
            if not history.payments:
                raise ConfigError("no payment is left: all of them are after --as-of")
        history.as_of = as_of
        history.strays = len(labels.keys() - self.seen)
        history.payments.sort(key=lambda past: past.payment.event_time)
        history.empty = list(_empty_fields(schema, [past.payment for past in history.payments]))
        return history


def _empty_fields(schema: Schema, payments: Sequence[Transaction]) -> Iterator[tuple[str, str]]:
    for place, (name, entity) in enumerate(schema.entities.items()):
        if all(payment.entities[place] is None for payment in payments):
            yield f"$.schema.entities.{name}", entity.field
    for place, (name, number) in enumerate(schema.numbers.items()):
        if all(math.isnan(payment.numbers[place]) for payment in payments):
            yield f"$.schema.numbers.{name}", number.field
    for place, (name, category) in enumerate(schema.categories.items()):
        if all(payment.categories[place] is None for payment in payments):
            yield f"$.schema.categories.{name}", category.field
    if schema.place is not None and all(payment.place is None for payment in payments):
        yield "$.schema.place", f"{schema.place.latitude}, {schema.place.longitude}"


def _refuse_misfit(path: Path, history: History, rows: int) -> None:
    if rows == 0:
        raise ConfigError(f"{path}: has no rows")
    if len(history.refused) > WORST_SHARE_REFUSED * rows:
        place, reason = history.refused[0]
        raise ConfigError(
            f"{path}: {len(history.refused):,} of {rows:,} rows cannot be read; the first: {reason} - at "
            f"`{place}`; does the schema in the project file fit this file?"
        )


def _mature(times: np.ndarray, as_of: int | None, delay_ms: int) -> np.ndarray:
    """Return the times of payments whose labels are in by now; no slice begins or ends later."""
    mature = times if as_of is None else times[times <= as_of - delay_ms]
    if not mature.size:
        raise ConfigError(
            "no label can be in by now: no payment is older than `schema.label.delay`; give more history, "
            "or a later --as-of"
        )
    return mature


def _vocabulary(project: Project, payments: Sequence[PastPayment], cut: Boundaries) -> Vocabulary:
    """Learn the categories from payments that training may see, and from no later ones."""
    learned = (past.payment for past in payments if past.payment.event_time < cut.train_until)
    return learn_vocabulary(list(project.schema.categories), learned, project.features.vocabulary)


def _replayed(
    replay: Replay, payments: Sequence[PastPayment], progress: Progress, *, exact: bool
) -> np.ndarray:
    kind = np.float64 if exact else np.float32
    values: array[float] = array("d" if exact else "f")
    with few_collections():
        for number, row in enumerate(replay.rows(payments), start=1):
            values.extend(row)
            if number % READ_ROWS == 0:
                progress(f"replaying: {number:,} payments", number / len(payments))
    progress(f"replaying: {len(payments):,} payments", 1.0)
    return np.frombuffer(values, dtype=kind).reshape(len(payments), -1)


def _dataset(
    project: Project,
    payments: Sequence[PastPayment],
    times: np.ndarray,
    matrix: np.ndarray,
    info: FeatureTableInfo,
) -> Dataset:
    scale = 10.0 ** (project.schema.amount.decimals if project.schema.amount else 0)
    return Dataset(
        transaction_id=np.array([past.payment.transaction_id for past in payments], dtype=object),
        event_time=times,
        amount=np.array([_major(past.payment.amount, scale) for past in payments], dtype=np.float64),
        card=np.array([_ordering_entity(past) for past in payments], dtype=object),
        label=np.array(
            [UNKNOWN if past.fraud is None else int(past.fraud) for past in payments], dtype=np.int8
        ),
        known_at=np.array([past.known_at for past in payments], dtype=np.int64),
        corrections=np.array([_corrections(past) for past in payments], dtype=object),
        features=matrix,
        info=info,
    )


def _corrections(past: PastPayment) -> str:
    return Correction.write([Correction(int(fraud), known_at) for fraud, known_at in past.corrections])


def _major(amount: int | None, scale: float) -> float:
    return float("nan") if amount is None else amount / scale


def _ordering_entity(past: PastPayment) -> str:
    ids = past.payment.entities
    return (ids[0] or "") if ids else ""
