"""Run a backtest, from files to one report: every change set against the baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from fraud_detection.backtesting.replay import (
    Arm,
    Window,
    arms_of,
    learned_until,
    redecide_history,
    window_of,
)
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import evaluated_bundle, read_bundle
from fraud_detection.evaluation.compare import compare
from fraud_detection.evaluation.comparison import Report, Variant
from fraud_detection.evaluation.slices import iso
from fraud_detection.history.load import Progress
from fraud_detection.project.change_set import described, load_change
from fraud_detection.training.stages import make_features
from fraud_detection.training.tables.cache import check_same_features, ready_table
from fraud_detection.training.tables.engines import ONE_PROCESS, EngineSettings
from fraud_detection.training.tables.historical_rows import HistoricalTable

DEFAULT_TABLE = Path("build/features.parquet")


class BacktestSettings(msgspec.Struct, frozen=True):
    """Which changes, on which payments, with what known; times in ms.

    features: a table that is used as it is; without one, `data` is replayed into KEPT_TABLE when that
    does not fit.  data: without one, the history of the project file.  engine: what replays it.
    """

    changes: tuple[Path, ...]
    bundle: Path
    features: Path | None = None
    data: Path | None = None
    labels: tuple[Path, ...] = ()
    start: int | None = None
    end: int | None = None
    as_of: int | None = None
    engine: EngineSettings = ONE_PROCESS


def backtest(
    project: Project, settings: BacktestSettings, progress: Progress, log: Callable[[str], None]
) -> Report:
    """Backtest the change sets and compare each with the baseline.

    Raises ConfigError for a change, a table or a time that does not fit.
    """
    if project.schema.label is None:
        raise ConfigError("a backtest needs labels: declare `schema.label` in the project file")
    changes = [load_change(path) for path in settings.changes]
    arms_of(project, settings.bundle, changes)  # what cannot decide is refused before the long work
    table = HistoricalTable(_table(project, settings, progress, log), project.schema)
    bundle, bundle_notes = _evaluated(table, settings)
    arms = arms_of(project, bundle, changes)
    window = window_of(table, arms[0].model.bundle, settings.start, settings.end, settings.as_of)
    evaluation_set, (baseline, *others) = redecide_history(table, arms, window, progress)
    variants = []
    for number, (change, decisions) in enumerate(zip(changes, others, strict=True)):
        progress("evaluating", number / len(changes))
        comparison = compare(evaluation_set, baseline, decisions, project.costs, project.model.seed)
        descriptions = tuple(described(project, change))
        variants.append(
            Variant(
                name=change.name,
                owner=change.owner,
                reason=change.reason,
                changes=descriptions,
                comparison=comparison,
            )
        )
    progress("evaluating", 1.0)
    return Report(
        project=project.project,
        bundle=arms[0].model.bundle.name,
        notes=(*bundle_notes, *_moment(table, settings.as_of, window), *_notes(arms, window)),
        variants=tuple(variants),
    )


def _table(
    project: Project, settings: BacktestSettings, progress: Progress, log: Callable[[str], None]
) -> Path:
    if settings.features is not None and settings.data is None:
        if settings.labels:
            raise ConfigError("--labels: belong to payments that are replayed; name those with --data")
        check_same_features(project, settings.features)
        return settings.features
    table, data = settings.features or DEFAULT_TABLE, settings.data or Path(project.history)
    if not data.is_file():
        raise ConfigError(
            f"{data}: no such file; name historical payments with --data, or a table with --features"
        )
    return ready_table(
        project,
        table,
        [data, *settings.labels],
        lambda out: make_features(
            project, data, out, progress, settings.labels, for_training=False, engine=settings.engine
        ),
        log,
    )


def _evaluated(table: HistoricalTable, settings: BacktestSettings) -> tuple[Path, tuple[str, ...]]:
    """Return the baseline's bundle: the evaluated one, where the bundle learned all of this history.

    A bundle that was refit leaves no payment behind it whose label is in.
    """
    bundle = read_bundle(settings.bundle)
    evaluated = evaluated_bundle(settings.bundle.parent, bundle)
    known = settings.as_of or table.info.as_of or table.latest_known_at()
    begin = learned_until(bundle)
    is_later = begin + table.info.delay_ms < known if settings.start is None else begin <= settings.start
    if evaluated is None or is_later:
        return settings.bundle, ()
    note = (
        f"The bundle {bundle.name} was refit on this history; payments are decided by {evaluated.name}, "
        "its evaluated bundle, from where that one stopped learning."
    )
    return evaluated, (note,)


def _moment(table: HistoricalTable, as_of: int | None, window: Window) -> Iterator[str]:
    """Say which moment was taken for now, and why, where nobody named one."""
    info, evaluated = table.info, f"Evaluated as of {iso(window.as_of)}"
    if as_of is not None:
        return
    if info.as_of is not None:
        yield f"{evaluated}: the table was made as of then."
    elif info.known_until is None:
        yield (
            f"{evaluated}, the last payment: an older version made the table, and it does not say which "
            "labels say when they became known. Make it anew with `fraud features`, or name the moment with "
            "--as-of."
        )
    elif window.as_of > int(table.times()[-1]):
        yield f"{evaluated}: then the latest label became known that says when it did."
    else:
        yield (
            f"{evaluated}, the last payment: no label says that it became known later. If the labels are of "
            "a later moment, name it with --as-of."
        )


def _notes(arms: Sequence[Arm], window: Window) -> Iterator[str]:
    if any(arm.project.control_group is not None for arm in arms):
        yield "No control group here: every payment is evaluated by the action it would have had without one."
    for bundle in {arm.model.bundle.name: arm.model.bundle for arm in arms}.values():
        until = learned_until(bundle)
        if until > window.start:
            yield (
                f"The bundle {bundle.name} learned from labels until {iso(until)}, this time begins "
                f"{iso(window.start)}: its scores before are better than they will be. Trust what rules and "
                "cut-offs change less there, and compare bundles only on later payments."
            )
