"""Run the embedded service over a source until it ends, is stopped, or is interrupted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from fraud_detection.adapters.files.event_sources import Batch, Pipe, Source, is_object, open_source
from fraud_detection.adapters.files.source_identity import recognised
from fraud_detection.adapters.files.tables import is_textual
from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.host.stopping import Stop
from fraud_detection.adapters.sqlite.connection import WAIT_FOR_LOCK_S
from fraud_detection.adapters.sqlite.errors import advice, opening
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.errors import RetryError
from fraud_detection.core.lenient_json import object_of
from fraud_detection.core.outcomes import NotCommittedError, Outcome
from fraud_detection.core.project_schema import Project
from fraud_detection.engine.engine import Engine
from fraud_detection.history.load import Progress, read_history
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.serving.embedded.release_follower import ReleaseFollower, load_release
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.load_engine import load_engine

LOG = logging.getLogger(__name__)
BATCH = 512
TRY_EVERY_S = 2.0
LOOK_EVERY_S = 0.5

Show = Callable[[list[Outcome]], None]


def open_service(
    bundle: Path,
    state: Path,
    *,
    project: Project | None = None,
    textual: bool = False,
    synchronous: str = "NORMAL",
    wait_s: float = WAIT_FOR_LOCK_S,
) -> tuple[Engine, EmbeddedService]:
    """Load a bundle over a state file, and recover what the last process left.

    wait_s: how long a commit waits for another process that holds the file.
    """
    engine = load_engine(bundle, project)
    service = _over(state, engine, textual=textual, synchronous=synchronous, wait_s=wait_s)
    service.decide_with(engine)
    return engine, service


def open_released_service(
    registry: ReleaseRegistry,
    state: Path,
    *,
    textual: bool = False,
    synchronous: str = "NORMAL",
    wait_s: float = WAIT_FOR_LOCK_S,
) -> tuple[Engine, EmbeddedService, ReleaseFollower]:
    """Open the service with the current release of a registry, and keep it on the latest."""
    loaded = load_release(registry)
    engine = loaded.engines[loaded.release.champion]
    service = _over(state, engine, textual=textual, synchronous=synchronous, wait_s=wait_s)
    return engine, service, ReleaseFollower(registry, service, loaded)


def _over(state: Path, engine: Engine, *, textual: bool, synchronous: str, wait_s: float) -> EmbeddedService:
    with opening(state):
        state_file = StateFile(state, synchronous=synchronous, wait_s=wait_s)
        return EmbeddedService(
            engine.pipeline(state_file, state_file.dedup_index, textual=textual), state_file
        )


def log_recovered(service: EmbeddedService) -> None:
    """Log how many events the profiles had not seen when they were saved, if there were any."""
    if service.recovered:
        message = "recovered: %s events behind the saved profiles were reapplied"
        LOG.info(message, f"{service.recovered:,}", extra={"event": "recovered", "events": service.recovered})


def preload_history(
    service: EmbeddedService, project: Project, history_path: Path, progress: Progress
) -> int:
    """Load a file of historical payments into the profiles; return how many there were."""
    history = read_history(project, history_path, progress)
    payments, done = history.payments, 0

    def count() -> None:
        nonlocal done
        done += 1
        if done % 5_000 == 0:
            progress(f"loading history: {done:,} payments", done / len(payments))

    service.preload_history(payments, count)
    if history.source is not None:
        service.state_file.store_source(history.source)
    progress(f"loading history: {done:,} payments", 1.0)
    return done


def run_stream(
    service: EmbeddedService,
    source: str,
    stop: Stop,
    show: Show,
    releases: ReleaseFollower | None = None,
) -> None:
    """Decide all events of a source, from the offset that was reached before.

    releases: followed between batches.

    While the state file cannot be written, no event is taken and no decision shown.  Raises RetryError when
    it is gone, or cannot be written when the end is asked for.
    """
    opened = open_source(source, growing=True)
    name, start = offset_in(service, source, opened)
    look_at, is_read = 0.0, False
    with few_collections():
        for batch in opened.batches(start, BATCH):
            if not service.tally.transactions and batch.events and _carries_label(service, batch.events[0]):
                message = "labels in the rows are not learned: `run` takes them as events of their own"
                LOG.warning(message, extra={"event": "labels_not_learned"})
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_EVERY_S
                check_not_lost(service)
            is_read = is_read or bool(batch.events)
            show(_decided(service, batch, name, stop) if batch.events else [])
            try:
                service.run_deferred_work()
            except RetryError as error:
                message = "%s; nothing is lost: the decisions are in the journal"
                LOG.warning(message, error, extra={"event": "deferred_work_failed"})
            if releases is not None:
                releases.look()
            if stop.requested:
                return
    _warn_of_end(opened, source, start, is_read=is_read)


def _warn_of_end(opened: Source, source: str, start: int, *, is_read: bool) -> None:
    """Warn of a last line without an end, and of a file in which nothing follows the offset of before."""
    if opened.unfinished:
        message = "the last line of %s has no end yet; it is left for the next start"
        LOG.warning(message, source, extra={"event": "source_unfinished"})
    elif start and not is_read:
        message = (
            "%s was read to its end before (offset %s), so there is nothing new to decide; append events to "
            "it, or name another --state to decide it again"
        )
        LOG.warning(message, source, f"{start:,}", extra={"event": "source_read_before", "offset": start})


def _decided(service: EmbeddedService, batch: Batch, name: str, stop: Stop) -> list[Outcome]:
    """Return what becomes of a batch, when it is committed."""
    while True:
        try:
            return service.take(batch, name)
        except NotCommittedError as error:
            _wait_until_committed(service, error, stop)
            return error.outcomes
        except RetryError as error:
            _wait_until_committed(service, error, stop)


def _wait_until_committed(service: EmbeddedService, error: RetryError, stop: Stop) -> None:
    message = None if error.__cause__ is None else advice(error.__cause__, service.state_file.database)
    check_not_lost(service)
    LOG.error(
        "%s; nothing more is decided until it can be written",
        message or error,
        extra={"event": "commit_failed"},
    )
    while not stop.requested:
        time.sleep(TRY_EVERY_S)
        check_not_lost(service)
        try:
            service.state_file.retry()
        except RetryError:
            continue
        LOG.warning(
            "the state file can be written again; nothing was lost", extra={"event": "commit_recovered"}
        )
        return
    raise error


def check_not_lost(service: EmbeddedService) -> None:
    """Raise RetryError when the state file is not there any more, though nothing was decided meanwhile."""
    error = service.state_file.look()
    if error:
        raise RetryError(error)


def offset_in(service: EmbeddedService, source: str, opened: Source) -> tuple[str, int]:
    """Return the name of a source in the state file, and the offset that was reached in it."""
    if isinstance(opened, Pipe):
        # It has no offset that survives a restart: each process begins anew.
        return source, 0
    known = recognised(opened, service.state_file.sources(opened.beginning))
    if service.state_file.store_source(known, str(Path(source).resolve())):
        message = "%s is not the file that was read before under this name: reading it from its beginning"
        LOG.warning(message, source, extra={"event": "source_replaced"})
    return known.name, known.offset


def _carries_label(service: EmbeddedService, raw: bytes) -> bool:
    parser = service.pipeline.parser
    event = object_of(raw) if is_object(raw) else {}
    return not parser.is_label(event) and parser.labels.verdict(event) is not None


def source_is_textual(source: str) -> bool:
    """Return whether the source holds nothing but text."""
    return source != "-" and is_textual(Path(source))
