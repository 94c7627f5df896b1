"""Load history: payments and labels of files, and logged decisions of state files, parsed and sorted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from fraud_detection.adapters.files.event_sources import JsonLinesFile, TableRows, open_file
from fraud_detection.adapters.files.source_identity import recognised
from fraud_detection.adapters.files.tables import is_textual
from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.sources import KnownSource
from fraud_detection.history.label_file import label_events
from fraud_detection.history.logged_decisions import DecisionHistory, state_files
from fraud_detection.history.reader import History, HistoryReader, check_labels_fit, check_schema_fits

__all__ = ["History", "Progress", "check_not_empty", "read_history"]

READ_ROWS = 4096

Progress = Callable[[str, float], None]


def read_history(
    project: Project,
    path: Path | None,
    progress: Progress,
    labels: Sequence[Path] = (),
    as_of: int | None = None,
    states: Sequence[Path] = (),
) -> History:
    """Read, parse and sort a file of historical payments; of duplicate ids the first row is kept.

    Lines of the type 'label', and the rows of the files `labels`, are joined to their payments.
    states: state files whose decided payments and labels follow; of all that was known when the last payment
    had been decided, where no `as_of` is given.  What they know of the file names its rows without ids.
    as_of: leave out whatever happened or became known after that moment in ms.  Raises ConfigError when most
    of the rows cannot be read: then the project file does not fit.
    """
    reader = HistoryReader(project.schema, textual=path is not None and is_textual(path))
    with few_collections():
        if path is not None:
            _read_file(reader, path, progress, states)
        for state in state_files(states):
            _read_state(reader, state, progress)
        for file in labels:
            _read_labels(reader, file)
            progress(f"reading {file.name}", 1.0)
    if states and as_of is None and reader.history.payments:
        as_of = max(historical.payment.event_time for historical in reader.history.payments) + 1
    return reader.finished(project.schema, as_of)


def _read_file(reader: HistoryReader, path: Path, progress: Progress, states: Sequence[Path]) -> None:
    rows, opened = 0, named_file(path, states)
    # Also where the schema declares an id: a row without one is known by its offset.
    for batch in opened.batches(0, READ_ROWS):
        reader.history.source = KnownSource(opened.name, batch.offset, batch.fingerprint)
        names = batch.identities or itertools.repeat(None)
        for raw, identity in zip(batch.events, names, strict=False):
            reader.take(raw, identity)
        rows += len(batch.events)
        progress(f"reading {path.name}: {rows:,} rows", 0.0)
    progress(f"reading {path.name}: {rows:,} rows", 1.0)
    refused = reader.history.refused
    check_schema_fits(path, rows, len(refused), next(iter(refused), None))


def named_file(path: Path, states: Sequence[Path]) -> JsonLinesFile | TableRows:
    """Open a file under the name by which state files know it, or one of its own."""
    opened = open_file(path)
    recognised(opened, list(_known_sources(states, opened.beginning)))
    return opened


def _known_sources(states: Sequence[Path], beginning: str) -> Iterator[KnownSource]:
    for state in state_files(states):
        with closing(StateFile(state, reading=True)) as state_file:
            yield from state_file.sources(beginning)


def _read_labels(reader: HistoryReader, path: Path) -> None:
    refused, rows = len(reader.history.refused), 0
    for raw in label_events(path):
        reader.take(raw, None)
        rows += 1
    errors = reader.history.refused[refused:]
    check_labels_fit(path, rows, len(errors), next(iter(errors), None))


def _read_state(reader: HistoryReader, path: Path, progress: Progress) -> None:
    logged = DecisionHistory(path)
    rows, labels = 0, logged.reader.labels
    for decision, eligibility in logged.decisions():
        reader.add_logged_decision(decision, eligibility)
        rows += 1
        if rows % READ_ROWS == 0:
            progress(f"reading {path.name}: {rows:,} decisions", 0.0)
    for label in labels:
        reader.labels.setdefault(label.transaction_id, []).append(label)
    progress(f"reading {path.name}: {rows:,} decisions", 1.0)


def check_not_empty(path: Path, empty: Sequence[tuple[str, str]]) -> None:
    """Raise ConfigError when a declared field has no readable value in any row, see `History.empty`."""
    if empty:
        fields = ", ".join(f"`{field}` (at `{json_path}`)" for json_path, field in empty)
        raise ConfigError(
            f"{path}: no row has a readable value for {fields}; correct the name of the field in the "
            "project file, or remove it there"
        )
