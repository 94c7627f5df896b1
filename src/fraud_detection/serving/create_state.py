"""Create a state file, or one for each worker: empty, or preloaded with history.

Everything is made under another name first: a file that stands under its own is whole, whenever the making
was killed.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from fraud_detection.adapters.host.file_lock import FileLock
from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.sqlite.commit_marker import SUFFIX
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.adapters.sqlite.state_guard import adopt
from fraud_detection.adapters.sqlite.tables import create_state
from fraud_detection.core.errors import ConfigError
from fraud_detection.engine.engine import Engine
from fraud_detection.history.load import Progress, read_history
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.embedded.stream_runner import preload_history
from fraud_detection.serving.workers.ownership import (
    Ownership,
    assign_workers,
    check_worker_count,
    worker_path,
)
from fraud_detection.serving.workers.replica import WorkerService

MAKING = ".making"
UNFINISHED = ".unfinished"
MAKES = "is making this state file; wait for it"


def new_state(
    state: Path,
    workers: int = 1,
    engine: Engine | None = None,
    history: Path | None = None,
    progress: Progress = lambda *_: None,
) -> int:
    """Make the state files of so many workers; return how many historical payments their profiles hold.

    engine: whose features load the history; not needed without one.  Raises ConfigError when a file is
    there already, or another process makes one.
    """
    paths = [state] if workers == 1 else [worker_path(state, worker, workers) for worker in range(workers)]
    check_worker_count(state, workers)
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path}: is there already; name another file, or remove it if nobody needs it")
    with ExitStack() as stack:
        guard = state.with_name(state.name + MAKING)
        stack.callback(FileLock(guard, MAKES).release)
        stack.callback(guard.unlink)
        drafts = [path.with_name(path.name + UNFINISHED) for path in paths]
        for draft in drafts:
            _forget(draft)
            create_state(draft)
            stack.callback(_forget, draft)
        if workers > 1:
            assign_workers(drafts)
        loaded = 0 if history is None or engine is None else _load_history(drafts, engine, history, progress)
        for draft, path in zip(drafts, paths, strict=True):
            adopt(draft, path)
    return loaded


def _load_history(drafts: list[Path], engine: Engine, history: Path, progress: Progress) -> int:
    if len(drafts) == 1:
        state_file = StateFile(drafts[0])
        service = EmbeddedService(engine.pipeline(state_file, state_file.dedup_index), state_file)
        with few_collections():
            count = preload_history(service, engine.project, history, progress)
        service.close()
        return count
    payments = read_history(engine.project, history, progress).payments
    ownership = Ownership(engine.project.schema, len(drafts))
    for worker, draft in enumerate(drafts):
        progress(f"loading history: worker {worker} of {len(drafts)}", worker / len(drafts))
        own = WorkerService(engine, worker, StateFile(draft), {})
        with few_collections():
            own.preload_own_history(payments, ownership)
        own.close()
    progress(f"loading history: {len(payments):,} payments", 1.0)
    return len(payments)


def _forget(draft: Path) -> None:
    """Remove the drafts of a run that was killed."""
    for suffix in ("", "-wal", "-shm", SUFFIX):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)
