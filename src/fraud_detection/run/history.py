"""The replay door: a file of past payments, through the code that serves, into a table of features."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from fraud_detection.adapters.event_sources import open_file
from fraud_detection.adapters.source_identity import KnownSource, recognised
from fraud_detection.adapters.sqlite_site import SqliteSite
from fraud_detection.config import LabelSource, Project
from fraud_detection.errors import ConfigError
from fraud_detection.features.extract import Extractor
from fraud_detection.features.fingerprint import fingerprint
from fraud_detection.features.memory import FeatureMemory
from fraud_detection.features.replay import PastPayment, Replay
from fraud_detection.features.vocabulary import Vocabulary, learn_vocabulary
from fraud_detection.run.decided import Decided, state_files
from fraud_detection.run.garbage import few_collections
from fraud_detection.run.label_file import label_events
from fraud_detection.run.past_reader import History, PastReader, refuse_misfit
from fraud_detection.train.dataset import Correction, Dataset, FeatureTableInfo
from fraud_detection.train.split import UNKNOWN, Boundaries, boundaries

__all__ = ["History", "Progress", "feature_table", "is_textual", "read_history", "refuse_empty"]

READ_ROWS = 4096

Progress = Callable[[str, float], None]


def is_textual(path: Path) -> bool:
    """Return whether the file holds nothing but text, so that text is no drift of type."""
    return path.suffix.lower() not in {".parquet", ".jsonl", ".ndjson", ".json"}


def read_history(
    project: Project,
    path: Path | None,
    progress: Progress,
    labels: Sequence[Path] = (),
    as_of: int | None = None,
    states: Sequence[Path] = (),
) -> History:
    """Read, parse and order a file of past payments; repeated ids keep their first row.

    Lines of the type 'label', and the rows of the files `labels`, are joined to their payments.
    states: state files whose decided payments and labels follow; of all that was known when the last payment
    had been decided, where no `as_of` is given.  What they know of the file names its rows without ids.
    as_of: leave out whatever happened or became known after that moment in ms.  Raises ConfigError when most
    of the rows cannot be read: then the project file does not fit.
    """
    reader = PastReader(project.schema, textual=path is not None and is_textual(path))
    with few_collections():
        if path is not None:
            _read_file(reader, path, progress, states)
        for state in state_files(states):
            _read_state(reader, state, progress)
        for file in labels:
            _read_labels(reader, file)
            progress(f"reading {file.name}", 1.0)
    if states and as_of is None and reader.history.payments:
        as_of = max(past.payment.event_time for past in reader.history.payments) + 1
    return reader.finished(project.schema, as_of)


def _read_file(reader: PastReader, path: Path, progress: Progress, states: Sequence[Path]) -> None:
    rows, opened = 0, open_file(path)
    recognised(opened, list(_known_sources(states, opened.beginning)))
    # Also where the schema declares an id: a row without one is known by its place.
    for batch in opened.batches(0, READ_ROWS):
        reader.history.source = KnownSource(opened.name, batch.position, batch.digest)
        names = batch.identities or itertools.repeat(None)
        for raw, identity in zip(batch.events, names, strict=False):
            reader.take(raw, identity)
        rows += len(batch.events)
        progress(f"reading {path.name}: {rows:,} rows", 0.0)
    progress(f"reading {path.name}: {rows:,} rows", 1.0)
    refuse_misfit(path, reader.history, rows)


def _known_sources(states: Sequence[Path], beginning: str) -> Iterator[KnownSource]:
    for state in state_files(states):
        with closing(SqliteSite(state, reading=True)) as site:
            yield from site.sources(beginning)


def _read_labels(reader: PastReader, path: Path) -> None:
    refused, rows = len(reader.history.refused), 0
    for raw in label_events(path):
        reader.take(raw, None)
        rows += 1
    found = reader.history.refused[refused:]
    if found and len(found) == rows:
        place, reason = found[0]
        raise ConfigError(
            f"{path}: none of {rows:,} labels can be read; the first: {reason} - at `{place}`; name the "
            "columns as `schema.transaction_id` and `schema.label` of the project file do"
        )


def _read_state(reader: PastReader, path: Path, progress: Progress) -> None:
    decided = Decided(path)
    rows, told = 0, decided.past.labels
    for decision, lot in decided.decisions():
        reader.take_decided(decision, lot)
        rows += 1
        if rows % READ_ROWS == 0:
            progress(f"reading {path.name}: {rows:,} decisions", 0.0)
    for label in told:
        reader.labels.setdefault(label.transaction_id, []).append(label)
    progress(f"reading {path.name}: {rows:,} decisions", 1.0)


def refuse_empty(history: History, path: Path) -> None:
    """Raise ConfigError when no row says anything of a declared field: nothing can be learned from it."""
    if history.empty:
        fields = ", ".join(f"`{field}` (at `{place}`)" for place, field in history.empty)
        raise ConfigError(
            f"{path}: no row has a readable value for {fields}; correct the name of the field in the "
            "project file, or remove it there"
        )


def feature_table(  # noqa: PLR0913 - what is replayed, and what the table is for
    project: Project,
    history: History,
    progress: Progress,
    learn_until: int | None = None,
    *,
    vocabulary: Vocabulary | None = None,
    exact: bool = False,
    for_training: bool = True,
) -> tuple[Dataset, Replay]:
    """Replay the history; return every payment's features, as they would have been served, and the replay.

    The replay's memory is as a live engine's would be at the end of history.
    learn_until: the categories are learned from payments before that time in ms, and the table is not
    cut into slices; without it both follow the project's split.
    vocabulary: of a bundle whose features these are to be, instead of one that is learned anew.
    exact: keep the values as they would have been served, in twice the memory, not as a model reads them.
    for_training: refuse a history that is too short for slices whose labels are in; else they are cut as if
    all were.
    """
    times = np.fromiter(
        (past.payment.event_time for past in history.payments), np.int64, len(history.payments)
    )
    delay_ms = project.schema.label.delay.ms if project.schema.label else 0
    if learn_until is None:
        cut = _slices(project, history, times, delay_ms, for_training=for_training)
    else:
        until = learn_until
        cut = Boundaries(int(times[0]), until, until, until, until, int(times[-1]) + 1)
    if vocabulary is None:
        vocabulary = _vocabulary(project, history.payments, cut)
    replay = Replay(FeatureMemory(Extractor(project, vocabulary)))
    matrix = _replayed(replay, history.payments, progress, exact=exact)
    definitions = replay.memory.extractor.definitions
    info = FeatureTableInfo(
        fingerprint=fingerprint(project, vocabulary),
        features=definitions,
        boundaries=cut,
        vocabulary=vocabulary,
        delay_ms=delay_ms,
        as_of=history.as_of,
        told_until=history.told_until,
    )
    return _dataset(project, history, times, matrix, info), replay


def _slices(
    project: Project, history: History, times: np.ndarray, delay_ms: int, *, for_training: bool
) -> Boundaries:
    if for_training and all(past.fraud is None for past in history.payments):
        raise ConfigError(_no_labels(project.schema.label))
    moment = history.told_until if history.as_of is None else history.as_of
    try:
        return boundaries(_mature(times, moment, delay_ms), project.split, delay_ms)
    except ConfigError:
        if for_training:
            raise
        return boundaries(times, project.split, delay_ms)


def _no_labels(source: LabelSource | None) -> str:
    words = "nothing can be learned: no payment has a label"
    if source is None:
        return f"{words}, since `schema.label` names none"
    values = ", ".join((*source.positive, *source.negative))
    return (
        f"{words}. No row has one of the values {values} in the field `{source.field}` (`schema.label`); "
        "give a history that has labels, or a file of them with --labels"
    )


def _mature(times: np.ndarray, moment: int | None, delay_ms: int) -> np.ndarray:
    """Return the times of payments whose labels are in by then; no slice begins or ends later."""
    mature = times if moment is None else times[times <= moment - delay_ms]
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
    history: History,
    times: np.ndarray,
    matrix: np.ndarray,
    info: FeatureTableInfo,
) -> Dataset:
    payments, weights = history.payments, history.weights
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
        weight=np.array([weights.get(past.payment.transaction_id, 1.0) for past in payments], np.float64),
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
