"""Simulate a new kind of fraud, and measure weekly how soon it is detected."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from fraud_detection.adapters.files.tables import read_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.history.load import Progress, read_history
from fraud_detection.simulator.drift import Drift, parse_drift
from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.settings import DAY, ScenarioSettings, SimulatorSettings
from fraud_detection.training.emerging_fraud import Question, Week, emerging_fraud
from fraud_detection.training.prequential import WalkForwardPlan
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.tables.dataset import Dataset

WEEK_DAYS = 7


class EmergingFraudSettings(msgspec.Struct, frozen=True):
    """The simulation, the kind of fraud that begins on `from_day` with `weight`, and where its files are put.

    drift: changes of behaviour, in the language of `fraud generate stream --drift`.
    """

    simulation: SimulatorSettings
    kind: str
    from_day: int
    weight: float
    directory: Path
    history_days: int = 56
    review_rate: float = 0.01
    drift: tuple[str, ...] = ()


def detection_by_week(settings: EmergingFraudSettings, project: Project, progress: Progress) -> list[Week]:
    """Simulate, replay, and return the figures of each week since the new kind began."""
    question = Question(settings.kind, plan_of(settings, project), settings.review_rate)
    weeks = weeks_of(settings, question.plan)
    dataset, kinds = replay_history(settings, project, progress)
    return emerging_fraud(dataset, kinds, weeks, question, project.model, progress)


def replay_history(
    settings: EmergingFraudSettings, project: Project, progress: Progress
) -> tuple[Dataset, np.ndarray]:
    """Simulate the payments and replay them; return its table, and the kind of fraud that each payment is."""
    simulation, drifts = changed_simulation(settings), behaviour_drifts(settings.drift)
    settings.directory.mkdir(parents=True, exist_ok=True)
    history_path, ground_truth = (
        settings.directory / name for name in ("history.parquet", "ground-truth.parquet")
    )
    write_history(
        simulation,
        history_path,
        ground_truth,
        lambda day, _: progress("simulating the history", day / simulation.days),
        drifts,
    )
    history = read_history(project, history_path, progress)
    # The categories of the first model are those of all: none may be made of what it cannot know.
    apply_labels_until = (
        simulation.epoch + settings.from_day * DAY - plan_of(settings, project).delay_days * DAY
    )
    dataset, _ = feature_table(project, history, progress, apply_labels_until)
    return dataset, _kinds(dataset, ground_truth)


def changed_simulation(settings: EmergingFraudSettings) -> SimulatorSettings:
    """Return the simulation with the new kind switched on late; raise ConfigError for an unknown kind."""
    scenarios = settings.simulation.scenarios
    known = [field.name for field in msgspec.structs.fields(scenarios)]
    if settings.kind not in known:
        raise ConfigError(f"no kind of fraud {settings.kind!r}; there are: {', '.join(known)}")
    late = ScenarioSettings(weight=settings.weight, from_day=settings.from_day)
    changed = msgspec.structs.replace(scenarios, **{settings.kind: late})
    return msgspec.structs.replace(settings.simulation, scenarios=changed)


def behaviour_drifts(texts: Sequence[str]) -> list[Drift]:
    """Read the drifts of a history; raise ConfigError for one of fields, which only a stream has."""
    drifts = [parse_drift(text) for text in texts]
    for text, drift in zip(texts, drifts, strict=True):
        if drift.kind != "behaviour":
            raise ConfigError(f"drift {text!r}: in a history only behaviour drifts: behaviour:WHAT=NUMBER")
    return drifts


def plan_of(settings: EmergingFraudSettings, project: Project) -> WalkForwardPlan:
    """Return the days of each part; the delay is that of the project's labels."""
    delay = project.schema.label.delay.ms if project.schema.label else 0
    return WalkForwardPlan(WEEK_DAYS, -(-delay // DAY), WEEK_DAYS, settings.history_days)


def weeks_of(settings: EmergingFraudSettings, plan: WalkForwardPlan) -> list[dt.date]:
    """Return the first day of each whole week from the new kind's first day on."""
    needed = plan.history_days + plan.delay_days
    if settings.from_day < needed or settings.from_day + WEEK_DAYS > settings.simulation.days:
        raise ConfigError(
            f"emerging-fraud: {settings.kind} begins on day {settings.from_day} "
            f"of {settings.simulation.days}; before it must fit "
            f"{needed} days of history and delay, and after it a week"
        )
    days = range(settings.from_day, settings.simulation.days - WEEK_DAYS + 1, WEEK_DAYS)
    return [settings.simulation.date(day) for day in days]


def _kinds(dataset: Dataset, ground_truth: Path) -> np.ndarray:
    """Return the kind of each payment of the table, as the simulator knows it."""
    columns, _ = read_columns(ground_truth, ("transaction_id", "scenario"))
    kind = dict(zip(columns["transaction_id"], columns["scenario"], strict=True))
    return np.array([kind[transaction_id] for transaction_id in dataset.transaction_id], dtype=object)
