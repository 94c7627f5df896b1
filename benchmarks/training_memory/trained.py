"""The process that is measured: it trains on a table and prints what came out, as JSON.

python -m benchmarks.training_memory.trained train|prequential PROJECT TABLE DIRECTORY ROUNDS MEMORY PAGE_ROWS
"""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from fraud_detection.adapters.files.tables import write_batches
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.project.checks import open_project
from fraud_detection.training.prequential import WalkForwardPlan, prequential
from fraud_detection.training.stages import train_evaluate_and_refit
from fraud_detection.training.tables.feature_table import FeatureTable
from fraud_detection.training.workspace import Workspace


class Trained(msgspec.Struct, frozen=True):
    """What a training gave and took.

    on_disk: whether pages were kept on disk.  models: a hash of what it learned, equal for equal models.
    average_precision: of the test slice, with its 95 % interval; empty where none was measured.
    """

    on_disk: bool
    peak_mb: float
    seconds: float
    models: str
    average_precision: tuple[float, ...] = ()


class Run(msgspec.Struct, frozen=True):
    """What is trained, and where.

    path: one of PATHS.  config: the project file, whose rounds are replaced.  directory: of the output.
    memory: as `--memory`, in bytes.  page_rows: of pages that are on disk whatever the memory; None where the
    memory decides.
    """

    path: str
    config: str
    table: str
    directory: str
    rounds: int
    memory: int
    page_rows: int | None = None


def trained(run: Run) -> Trained:
    """Train in this process."""
    started, said, directory = time.perf_counter(), list[str](), Path(run.directory)
    project = open_project(Path(run.config))
    model = msgspec.structs.replace(project.model, rounds=run.rounds, early_stopping=run.rounds)
    project = msgspec.structs.replace(project, model=model)
    workspace = replace(
        Workspace.next_to(directory / "bundle", run.memory, said.append), page_rows=run.page_rows
    )
    quality, learned = PATHS[run.path](project, Path(run.table), directory, workspace)
    seconds = time.perf_counter() - started
    return Trained(bool(said), peak_mb(), seconds, hashlib.sha256(learned).hexdigest()[:12], quality)


def _train(
    project: Project, table: Path, directory: Path, workspace: Workspace
) -> tuple[tuple[float, ...], bytes]:
    report, evaluated = train_evaluate_and_refit(
        project,
        table,
        directory / "bundle",
        directory / "evaluation",
        _silent,
        tracking=False,
        workspace=workspace,
    )
    before = read_bundle(directory / str(report.bundle.manifest.evaluated_as))
    models = before.contents.model + report.bundle.contents.model
    return _interval(evaluated.metrics), models


def _prequential(
    project: Project, table: Path, directory: Path, workspace: Workspace
) -> tuple[tuple[float, ...], bytes]:
    opened = FeatureTable(table)
    cut = opened.info.boundaries
    days = (cut.test_until - cut.train_from) // DAY_MS
    plan = WalkForwardPlan(history_days=days - 21)
    start = dt.date(1970, 1, 1) + dt.timedelta(days=cut.test_until // DAY_MS - 21)
    out = directory / "scores.parquet"
    scores = prequential(opened, [start], plan, project.model, workspace=workspace)
    write_batches(out, (batch.columns() for batch in scores))
    return (), out.read_bytes()


PATHS: Mapping[str, Callable[[Project, Path, Path, Workspace], tuple[tuple[float, ...], bytes]]] = {
    "train": _train,
    "prequential": _prequential,
}


def peak_mb() -> float:
    """Return the most resident memory that this process has had, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("the kernel does not say how much memory a process has had at most")


def _interval(metrics: Mapping[str, float]) -> tuple[float, ...]:
    name = "average_precision"
    return metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"]


def _silent(_stage: str, _share: float) -> None:
    """Discard the progress."""


if __name__ == "__main__":
    found = trained(msgspec.json.decode(sys.argv[1], type=Run))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
