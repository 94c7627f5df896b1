"""Prove that served and replayed features are bit-identical.

A stream with late, duplicate, broken and out-of-order events is served through the
embedded service, with durable state, profiles saved behind, a memory too small for all profiles, and
restarts in the middle.  Its log is then replayed through plain memory, as training does,
and every value of every row is compared.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.adapters.sqlite.tables import create_state
from fraud_detection.audit.partitioned_parity import Compared, compare_log
from fraud_detection.audit.refeature import replay_event
from fraud_detection.core.decide.policy import Policy
from fraud_detection.core.decide.rules import compile_rules
from fraud_detection.core.features.category_encoding import CategoryEncoding
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import Project
from fraud_detection.engine.counters import Tally
from fraud_detection.engine.decision_engine import DecisionStrategy
from fraud_detection.engine.pipeline import Pipeline
from fraud_detection.history.load import Progress
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.training.tables.engines import ONE_PROCESS, EngineSettings

BATCH = 512
RESTARTS = 4
PROFILE_MEMORY_BYTES = 5_000_000
SOURCE = "parity"


class ParityReport(msgspec.Struct):
    """What was served, and how many feature values differ when it is replayed."""

    events: int = 0
    transactions: int = 0
    labels: int = 0
    duplicates: int = 0
    quarantined: int = 0
    restarts: int = 0
    rows_compared: int = 0
    values_compared: int = 0
    values_different: int = 0


def check_parity(  # noqa: PLR0913 - what is served, where, and what replays it
    project: Project,
    category_encoding: CategoryEncoding,
    events: Iterable[bytes],
    expected: int,
    state: Path,
    progress: Progress,
    *,
    engine: EngineSettings = ONE_PROCESS,
) -> ParityReport:
    """Serve the events into a new state file, replay its log, and compare; `expected` are announced.

    engine: what replays the log, this process by default.
    """
    report = ParityReport()
    create_state(state)
    _serve(partial(_open, project, category_encoding, state), events, expected, progress, report)
    if engine.in_partitions(None):
        with engine.opened(state, state.with_name("replayed"), progress) as flow:
            compared = compare_log(flow, project, category_encoding, state)
    else:
        compared = _replay(project, category_encoding, state, progress, report.transactions)
    progress(f"replayed {compared.rows:,} rows", 1.0)
    report.rows_compared, report.values_compared = compared.rows, compared.values
    report.values_different = compared.different
    return report


def _serve(
    open_service: Callable[[], EmbeddedService],
    events: Iterable[bytes],
    expected: int,
    progress: Progress,
    report: ParityReport,
) -> None:
    service = open_service()
    for batch in _batches(events):
        if report.events // (expected // (RESTARTS + 1) + 1) > report.restarts:
            # The process that dies here saves nothing more: the next one recovers from the log.
            _add(report, service.tally)
            service.state_file.close()
            service = open_service()
            report.restarts += 1
        service.take(Batch(batch, None, report.events), SOURCE)
        service.run_deferred_work()
        report.events += len(batch)
        progress(f"serving: {report.events:,} events", min(report.events / expected, 1.0))
    _add(report, service.tally)
    service.close()


def _replay(
    project: Project,
    category_encoding: CategoryEncoding,
    state: Path,
    progress: Progress,
    total: int,
) -> Compared:
    state_file, parser, compared = StateFile(state, reading=True), Parser(project.schema), Compared()
    profile_cache = ProfileCache(Extractor(project, category_encoding))
    for logged in state_file.since(0):
        values = replay_event(logged, parser, profile_cache)
        if values is None:
            continue
        compared.add(array("d", values).tobytes(), logged.features)
        if compared.rows % BATCH == 0:
            progress(f"replaying: {compared.rows:,} rows", compared.rows / max(total, 1))
    state_file.close()
    return compared


def _open(project: Project, category_encoding: CategoryEncoding, state: Path) -> EmbeddedService:
    extractor = Extractor(project, category_encoding)
    names = [feature.name for feature in extractor.definitions]
    strategy = DecisionStrategy(Policy("parity", 1.0, 1.0), compile_rules((), project.schema, names))
    state_file = StateFile(state)
    profile_cache = ProfileCache(extractor, state_file, PROFILE_MEMORY_BYTES)
    pipeline = Pipeline(
        Parser(project.schema, category_encoding), profile_cache, strategy, state_file.dedup_index
    )
    return EmbeddedService(pipeline, state_file, save_after_events=20_000)


def _add(report: ParityReport, tally: Tally) -> None:
    report.transactions += tally.decided
    report.labels += tally.labels
    report.duplicates += tally.duplicates
    report.quarantined += tally.quarantined


def _batches(events: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
