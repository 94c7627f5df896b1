"""Decide historical payments again, by the baseline and by each change set.

Features are read from the table that history was replayed into; scores are computed once for each
bundle; rules and cut-offs are those of the services, asked one payment at a time.  Each payment is decided
with what was known at its own time, and evaluated by the labels known at one later moment.
"""

from __future__ import annotations

import datetime as dt
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from fraud_detection.adapters.xgboost.bundle_trial import trusted_scorer
from fraud_detection.core.decide.decline_cap import DeclineCap
from fraud_detection.core.errors import NOT_OF_ONE_EVENT, ConfigError
from fraud_detection.core.events import DECLINE_CAP, Transaction
from fraud_detection.core.features.replay import missing_row
from fraud_detection.core.metrics import StageTimes
from fraud_detection.core.ports import Scorer
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.engine.decision_engine import DecisionEngine
from fraud_detection.engine.engine import Engine, make_engine
from fraud_detection.evaluation.evaluation_set import (
    ArmDecisions,
    ArmDecisionsBuilder,
    CategoricalBuilder,
    EvaluationSet,
)
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.evaluation.weights import are_equal
from fraud_detection.history.load import Progress
from fraud_detection.project.change_set import Change, apply_change
from fraud_detection.training.tables.historical_rows import HistoricalRows, HistoricalTable

BASELINE = "baseline"
"""Name of the arm without a change."""

SCORE_MESSAGES = {
    "score": "fraud probability at or above the cut-off",
    "no_score": "the model did not answer",
    DECLINE_CAP: "would be declined, but too many were",
}


@dataclass(frozen=True, slots=True)
class Window:
    """Payments to decide again, in ms (the end is exclusive), and the label cut-off `as_of`."""

    start: int
    end: int
    as_of: int


class Model:
    """A bundle with its scorer, and the scores and features of the rows at hand."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Load the model; raise ConfigError when it does not score as it did in training."""
        self.bundle = bundle
        self.scorer = trusted_scorer(bundle, threads)

    def engine(self, project: Project) -> Engine:
        """Return what decides by this model and a project file, without a control group.

        What it would have decided is asked for, and the key of the control group is for the services.
        """
        return make_engine(self.bundle, self.scorer, msgspec.structs.replace(project, control_group=None))


class Arm:
    """One arm of a backtest: an engine, and its decisions so far."""

    def __init__(self, name: str, model: Model, project: Project) -> None:
        """Put rules, cut-offs and model together, as the services do."""
        self.name, self.model, self.project = name, model, project
        self.engine = model.engine(project)
        self._scored = _Scored(model.scorer)
        # Reasons from the model's SHAP values are expensive, and change no action.
        strategy = msgspec.structs.replace(self.engine.strategy, scorer=self._scored, reasons=None)
        self._decision_engine = DecisionEngine(strategy, StageTimes())
        if project.decline_cap is not None:
            self._decision_engine.decline_cap = DeclineCap(project.decline_cap)
        self._decisions = ArmDecisionsBuilder()

    def decide(
        self, payments: Sequence[Transaction], rows: Sequence[array[float]], scores: list[float]
    ) -> None:
        """Decide some payments, in order, with their features and scores."""
        self._scored.scores = scores
        add = self._decisions.add
        for decision in self._decision_engine.decide(payments, rows):
            add(decision.action, decision.score, [reason.code for reason in decision.reasons])

    def decisions(self) -> ArmDecisions:
        """Return all decisions."""
        return self._decisions.decisions(
            self.name, messages_of(self.project), self.project.policy.review_capacity_per_day
        )


class _Scored:
    """Scorer that returns precomputed scores of the current payments."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.scores: list[float] = []

    def score(self, rows: Sequence[Sequence[float]], explained: Collection[int] = ()) -> list[float]:  # noqa: ARG002 - they are known
        return self.scores

    def contributions(self, rows: Sequence[Sequence[float]]) -> Sequence[Sequence[float]] | np.ndarray:
        return self._scorer.contributions(rows)


@dataclass(slots=True)
class _DecidedPayments:
    """The payments that were decided, column by column, without their features."""

    categories: tuple[str, ...]
    ids: list[str] = field(default_factory=list)
    times: array[int] = field(default_factory=lambda: array("q"))
    amounts: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    known_at: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    card: CategoricalBuilder = field(default_factory=CategoricalBuilder)
    segments: list[CategoricalBuilder] = field(default_factory=list)

    def take(self, rows: HistoricalRows) -> None:
        self.segments = self.segments or [CategoricalBuilder() for _ in self.categories]
        self.ids += [payment.transaction_id for payment in rows.payments]
        self.times.extend([payment.event_time for payment in rows.payments])
        self.amounts.append(rows.amount)
        self.labels.append(rows.label)
        self.known_at.append(rows.known_at)
        self.weights.append(rows.weight)
        self.card.add([payment.entities[0] if payment.entities else None for payment in rows.payments])
        for index, builder in enumerate(self.segments):
            builder.add([payment.categories[index] for payment in rows.payments])

    def evaluation_set(self, window: Window, delay_ms: int) -> EvaluationSet:
        segments = self.segments or [CategoricalBuilder() for _ in self.categories]
        weight = np.concatenate(self.weights)
        return EvaluationSet(
            span=(window.start, window.end),
            as_of=window.as_of,
            delay_ms=delay_ms,
            transaction_id=np.array(self.ids, object),
            event_time=np.array(self.times, np.int64),
            amount=np.concatenate(self.amounts),
            card=self.card.categorical(),
            label=np.concatenate(self.labels),
            known_at=np.concatenate(self.known_at),
            segments={
                name: segment.categorical() for name, segment in zip(self.categories, segments, strict=True)
            },
            weight=None if are_equal(weight) else weight,
        )


def messages_of(project: Project) -> dict[str, str]:
    """Return what people read for the code of each reason that a project decides by."""
    messages = {rule.name: rule.message or " ".join(rule.when.split()) for rule in project.rules}
    lists = {
        list_settings.name: f"{list_settings.of} is on the list `{list_settings.name}`"
        for list_settings in project.lists
    }
    return SCORE_MESSAGES | messages | lists


def arms_of(project: Project, bundle: Path, changes: Sequence[Change]) -> list[Arm]:
    """Return the baseline and one arm per change set; a bundle that several use is loaded once."""
    models: dict[Path, Model] = {}

    def model(path: Path) -> Model:
        resolved = path.resolve()
        if resolved not in models:
            models[resolved] = Model(read_bundle(path), project.model.threads)
        return models[resolved]

    _check_unique_names([change.name for change in changes])
    arms = [Arm(BASELINE, model(bundle), project)]
    for change in changes:
        own = bundle if change.bundle is None else Path(change.bundle)
        try:
            arms.append(Arm(change.name, model(own), apply_change(project, change)))
        except ConfigError as error:
            raise ConfigError(f"change {change.name}: {error}") from None
    return arms


def redecide_history(
    table: HistoricalTable, arms: Sequence[Arm], window: Window, progress: Progress
) -> tuple[EvaluationSet, list[ArmDecisions]]:
    """Let every arm decide the payments of the window; return them, and the decisions of each arm."""
    start, stop = np.searchsorted(table.times(), (window.start, window.end)).tolist()
    if start == stop:
        raise ConfigError(f"{table.path}: holds no payment of that time")
    seen = _DecidedPayments(tuple(table.schema.categories))
    for rows in table.batches(start, stop, window.as_of):
        seen.take(rows)
        for model, own in _by_model(arms).items():
            values, scores = _scored(model, own[0].engine, rows)
            for arm in own:
                arm.decide(rows.payments, values, scores)
        done = len(seen.ids)
        progress(f"deciding again: {done:,} payments", done / (stop - start))
    return seen.evaluation_set(window, table.info.delay_ms), [arm.decisions() for arm in arms]


def _by_model(arms: Sequence[Arm]) -> Mapping[Model, list[Arm]]:
    grouped: dict[Model, list[Arm]] = {}
    for arm in arms:
        grouped.setdefault(arm.model, []).append(arm)
    return grouped


def _scored(model: Model, engine: Engine, rows: HistoricalRows) -> tuple[list[array[float]], list[float]]:
    """Return the features of each payment as this bundle serves them, and its scores.

    What a payment says by itself is read anew: another bundle has other codes for the same categories.
    """
    reader = engine.extractor.payment
    width = len(reader.definitions)
    own: list[list[float]] = []
    for payment in rows.payments:
        row: list[float] = []
        try:
            reader.read(payment, row)
        except NOT_OF_ONE_EVENT:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged, and ends at one payment
            row = missing_row(payment, error, width)
        own.append(row)
    matrix = np.array(own, np.float64).reshape(len(own), width)
    features = np.concatenate([matrix, rows.features[:, width:]], axis=1)
    return [array("d", row.tobytes()) for row in features], model.scorer.score(features)


def _check_unique_names(names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name == BASELINE or name in names[:index]:
            owner = "what is in force" if name == BASELINE else "another change"
            raise ConfigError(f"the name `{name}` is taken by {owner}; give the change another - at `$.name`")


def learned_until(bundle: Bundle) -> int:
    """Return the moment in ms until which labels taught the bundle: earlier figures would be too good."""
    return round(dt.datetime.fromisoformat(bundle.manifest.periods.labels_as_of).timestamp() * 1000)


def window_of(
    table: HistoricalTable, bundle: Bundle, start: int | None, end: int | None, as_of: int | None
) -> Window:
    """Return the time to decide again, cut to whole days that the table has.

    Without a start it begins where the bundle stopped learning; without `as_of` it is evaluated at the last
    moment that the table knows of.  Raises ConfigError when the table knows less than is asked for.
    """
    table_as_of = table.info.as_of
    if as_of is not None and table_as_of is not None and as_of > table_as_of:
        raise ConfigError(
            f"{table.path}: was made as of an earlier moment than --as-of; make it anew by `fraud features`"
        )
    moment = table_as_of if as_of is None else as_of
    known = table.latest_known_at() if moment is None else moment
    times = table.times()
    first, last = int(times[0]) // DAY_MS * DAY_MS, (int(times[-1]) // DAY_MS + 1) * DAY_MS
    begin = learned_until(bundle) if start is None else start
    until = last if end is None else min(end, last)
    window = Window(max(begin, first), min(until, known + 1), known)
    if start is None and window.start >= min(until, known + 1):
        raise ConfigError(
            f"bundle {bundle.name} has learned labels until {bundle.manifest.periods.labels_as_of}, and no "
            "payment is later: give later payments, the --bundle that it was evaluated as where it was "
            "refitted, or --from DAY for figures that are too good"
        )
    if window.start >= window.end:
        raise ConfigError("nothing is left to decide again: need --from before --to, both within history")
    return window
