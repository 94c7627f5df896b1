"""The order in which a table of features is made in partitions; the functions are in `partitioned.py`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from fraud_detection.core.dataflow import Collection, Dataflow
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.category_encoding import CategoryEncoding, CategoryTally
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.fingerprint import fingerprint
from fraud_detection.core.project_schema import Project
from fraud_detection.evaluation.time_split import Boundaries
from fraud_detection.history.load import Progress, check_not_empty
from fraud_detection.history.partitioned import (
    Counts,
    HistoryFile,
    counts_of,
    history_files,
    read_partitioned,
)
from fraud_detection.history.reader import FilledFields, check_labels_fit, check_schema_fits
from fraud_detection.training.tables.build import slices, uncut
from fraud_detection.training.tables.cache import source_of
from fraud_detection.training.tables.dataset import METADATA_KEY, FeatureTableInfo
from fraud_detection.training.tables.part_store import LocalParts, PartStore
from fraud_detection.training.tables.partitioned import (
    Description,
    Parts,
    PartSummary,
    Tally,
    decoded,
    describe,
    part_begins,
    payments_by_entity,
    payments_by_part,
    replay_entities,
    tally_categories,
    write_parts,
)

PART_ROWS = 1 << 17
"""Rows of a part; one process holds the features of so many payments."""


class HistoryFiles(msgspec.Struct, frozen=True):
    """What a history is made of: a file of payments, files of more labels, and state files."""

    payments: Path | None
    labels: tuple[Path, ...] = ()
    states: tuple[Path, ...] = ()

    @property
    def first(self) -> Path:
        """Return the file to name where one is to be named."""
        return self.payments or self.states[0]

    @property
    def named(self) -> list[Path]:
        """Return what a table may be recognised by later: a state file goes on growing, so nothing then."""
        return [] if self.states else [path for path in (self.payments, *self.labels) if path is not None]


class PartitionedHistory(msgspec.Struct, frozen=True):
    """Payments in partitions, and what is known of all of them.

    times: event times in ms, sorted.  known_until: see `History`.
    """

    payments: Collection
    counts: Counts
    times: np.ndarray
    labelled: int
    frauds: int
    as_of: int | None
    known_until: int | None

    @property
    def moment(self) -> int | None:
        """Return the moment in ms as of which labels count."""
        return self.known_until if self.as_of is None else self.as_of


class PartitionedTable(msgspec.Struct, frozen=True):
    """A table that was made, and the history that it was made of."""

    history: PartitionedHistory
    info: FeatureTableInfo
    control_group: int
    left_out: int


class FeatureJob:
    """Makes one table of features with an engine that runs in partitions."""

    def __init__(
        self,
        flow: Dataflow,
        project: Project,
        out: Path,
        progress: Progress,
        store: PartStore | None = None,
    ) -> None:
        """Take the engine, and where the table goes.

        store: where its parts are until then; a folder beside it where none is given.
        """
        self.flow, self.project, self.out, self.progress = flow, project, out, progress
        self.store = LocalParts(out) if store is None else store

    def run(
        self,
        files: HistoryFiles,
        as_of: int | None,
        *,
        for_training: bool,
        apply_labels_until: int | None = None,
    ) -> PartitionedTable:
        """Read the history and write the table, whole or not at all.

        as_of, for_training: see `stages.make_features`.  apply_labels_until: see `feature_table`.
        """
        self.store.clear()
        try:
            history = self._read(files, as_of)
            cut = self._cut(history, apply_labels_until, for_training=for_training)
            info = self._info(history, files, cut)
            return self._write(history, info)
        finally:
            self.store.clear()

    def _read(self, files: HistoryFiles, as_of: int | None) -> PartitionedHistory:
        path = files.first
        self.progress(f"reading {path.name}", 0.0)
        named = history_files(files.payments, files.states, files.labels)
        now_ms = int(time.time() * 1000)
        payments = read_partitioned(self.flow, self.project, named, now_ms)
        counts = counts_of(payments)
        _check_files(named, counts)
        if files.states and as_of is None and counts.joined.payments:
            as_of = counts.joined.latest + 1
        descriptions = payments.map(partial(describe, self.project, as_of)).records()
        filled, times, labelled, frauds = FilledFields(self.project.schema), [], 0, 0
        for part in cast("Iterator[Description]", decoded(descriptions, Description)):
            times.append(np.frombuffer(part.times, np.int64))
            filled.merge(part.filled)
            labelled, frauds = labelled + part.labelled, frauds + part.frauds
        ordered = np.sort(np.concatenate(times))
        if not ordered.size and as_of is not None:
            raise ConfigError("no payment is left: all of them are after --as-of")
        check_not_empty(path, list(filled.empty()))
        known_until = max(counts.joined.latest, counts.joined.known_until) if as_of is None else None
        self.progress(f"reading {path.name}: {len(ordered):,} payments", 1.0)
        return PartitionedHistory(payments, counts, ordered, labelled, frauds, as_of, known_until)

    def _cut(
        self, history: PartitionedHistory, apply_labels_until: int | None, *, for_training: bool
    ) -> Boundaries:
        if apply_labels_until is not None:
            return uncut(history.times, apply_labels_until)
        labelled = history.labelled > 0
        return slices(
            self.project, history.times, history.moment, labelled=labelled, for_training=for_training
        )

    def _info(self, history: PartitionedHistory, files: HistoryFiles, cut: Boundaries) -> FeatureTableInfo:
        project = self.project
        encoding = self._category_encoding(history, cut)
        return FeatureTableInfo(
            fingerprint=fingerprint(project, encoding),
            features=Extractor(project, encoding).definitions,
            boundaries=cut,
            category_encoding=encoding,
            delay_ms=project.schema.label.delay.ms if project.schema.label else 0,
            as_of=history.as_of,
            source=source_of(project.schema, files.named),
            known_until=history.known_until,
        )

    def _category_encoding(self, history: PartitionedHistory, cut: Boundaries) -> CategoryEncoding:
        names = list(self.project.schema.categories)
        tally = CategoryTally(names)
        if names:
            count = partial(tally_categories, self.project, cut.train_until, history.as_of)
            for counted in cast("Iterator[Tally]", decoded(history.payments.map(count).records(), Tally)):
                tally.merge(counted.payments, counted.values)
        return tally.encoding(self.project.features.max_category_values)

    def _write(self, history: PartitionedHistory, info: FeatureTableInfo) -> PartitionedTable:
        parts = Parts(self.store.folder, part_begins(history.times, PART_ROWS))
        total = len(parts.begins) + 1
        self.progress(f"replaying: {len(history.times):,} payments", 0.0)
        by_entity = history.payments.map(partial(payments_by_entity, self.project, history.as_of)).grouped()
        features = by_entity.map(partial(replay_entities, self.project, parts))
        payments = history.payments.map(partial(payments_by_part, parts, history.as_of))
        written: list[PartSummary] = []
        made = payments.union(features).grouped().map(partial(write_parts, self.project, info, parts))
        records = made.map(self.store.keep).records()
        for summary in cast("Iterator[PartSummary]", decoded(records, PartSummary)):
            written.append(summary)
            self.progress(f"replaying: {len(written)} of {total} parts", len(written) / total)
        self.progress(f"writing {self.out.name}", 0.0)
        names = sorted(summary.name for summary in written)
        self.store.join(names, {METADATA_KEY: msgspec.json.encode(info).decode()})
        self.progress(f"writing {self.out.name}", 1.0)
        control_group = sum(summary.control_group for summary in written)
        return PartitionedTable(history, info, control_group, sum(summary.left_out for summary in written))


def _check_files(files: Sequence[HistoryFile], counts: Counts) -> None:
    """Raise ConfigError where the project file does not fit a file."""
    for file in files:
        read = counts.files[file.number]
        first = None if read.first is None else read.first[1:]
        if file.kind != "state":
            check = check_labels_fit if file.kind == "labels" else check_schema_fits
            check(Path(file.path), read.rows, read.refused, first)
