"""A new kind of fraud in a small simulation: found once its labels are known, and not before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Model, Project
from fraud_detection.demo.demo import demo_project
from fraud_detection.demo.emerging_fraud import EmergingFraudSettings, plan_of, replay_history, weeks_of
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.training.emerging_fraud import Question, Week, emerging_fraud
from fraud_detection.training.prequential import WalkForwardPlan
from fraud_detection.training.tables.dataset import Dataset
from tests.smaller import few_features

PROJECT: Project = msgspec.structs.replace(
    few_features(demo_project()), model=Model(rounds=40, early_stopping=10, max_depth=4, threads=1)
)
SIMULATION = SimulatorSettings(seed=5, cards=250, merchants=120, days=112, fraud_rate=0.03)
SETTINGS = EmergingFraudSettings(
    SIMULATION,
    "account_takeover",
    from_day=56,
    weight=0.6,
    directory=Path(),
    history_days=42,
    review_rate=0.01,
)
DAY = 86_400_000


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, np.ndarray]:
    folder = tmp_path_factory.mktemp("emerging_fraud")
    return replay_history(msgspec.structs.replace(SETTINGS, directory=folder), PROJECT, lambda *_: None)


def weekly(dataset: Dataset, kinds: np.ndarray, weeks: int = 8, **changes: int) -> list[Week]:
    plan = plan_of(SETTINGS, PROJECT)
    question = Question(
        "account_takeover", WalkForwardPlan(**{**_fields(plan), **changes}), SETTINGS.review_rate
    )
    return emerging_fraud(dataset, kinds, weeks_of(SETTINGS, plan)[:weeks], question, PROJECT.model)


def _fields(plan: WalkForwardPlan) -> dict[str, int]:
    return {name: getattr(plan, name) for name in WalkForwardPlan.__slots__}


@pytest.fixture(scope="module")
def honest(simulation: tuple[Dataset, np.ndarray]) -> list[Week]:
    return weekly(*simulation)


def _mean(weeks: list[Week], name: str) -> float:
    counts = [week.frauds for week in weeks]
    return float(np.average([getattr(week, name) for week in weeks], weights=counts))


def test_a_new_kind_is_found_once_its_labels_are_learned_from(honest: list[Week]) -> None:
    before = [week for week in honest if not week.learned]
    after = [week for week in honest if week.learned]
    assert len(before) >= 2
    assert len(after) >= 3
    assert _mean(after, "recall") > _mean(before, "recall") + 0.2
    assert _mean(after, "recall") > _mean(after, "recall_never_retrained") + 0.2


def test_every_payment_of_the_kind_since_its_first_day_is_counted_in_its_week(
    simulation: tuple[Dataset, np.ndarray], honest: list[Week]
) -> None:
    dataset, kinds = simulation
    days = (dataset.event_time[kinds == "account_takeover"] - SIMULATION.epoch) // DAY
    assert days.min() >= SETTINGS.from_day
    counted = np.bincount((days - SETTINGS.from_day) // 7, minlength=8)
    assert [week.frauds for week in honest] == counted[:8].tolist()


def test_the_first_week_knows_nothing_of_it_and_is_the_model_that_is_never_retrained(
    honest: list[Week],
) -> None:
    assert honest[0].learned == 0
    assert np.isnan(honest[0].known)
    assert honest[0].recall == honest[0].recall_never_retrained
    assert honest[0].reviewed == honest[0].reviewed_never_retrained


@pytest.mark.parametrize("weeks", [2, pytest.param(5, marks=pytest.mark.long)])
def test_what_became_known_after_a_week_began_changes_nothing_in_it(
    simulation: tuple[Dataset, np.ndarray], honest: list[Week], weeks: int
) -> None:
    dataset, kinds = simulation
    began = SIMULATION.epoch + (SETTINGS.from_day + (weeks - 2) * 7) * DAY
    turned = np.where(dataset.known_at > began, 1 - dataset.label, dataset.label).astype(np.int8)
    spoilt = weekly(replace(dataset, label=turned), kinds, weeks=weeks)
    assert _equal(spoilt[: weeks - 1], honest[: weeks - 1])
    assert not _equal(spoilt, honest[:weeks])


def _equal(weeks: list[Week], other_weeks: list[Week]) -> bool:
    return msgspec.json.encode(weeks) == msgspec.json.encode(other_weeks)


@pytest.mark.long
def test_a_leak_of_labels_that_nobody_could_have_known_would_be_seen(
    simulation: tuple[Dataset, np.ndarray], honest: list[Week]
) -> None:
    dataset, kinds = simulation
    leaking = weekly(
        replace(dataset, known_at=dataset.event_time, info=msgspec.structs.replace(dataset.info, delay_ms=0)),
        kinds,
        weeks=3,
        delay_days=1,
    )
    assert min(week.known for week in leaking[1:]) > 0.9 > max(week.known for week in honest[1:3])
    assert [week.learned for week in honest[1:3]] == [0, 0]
    assert leaking[1].learned > 0
    assert _mean(leaking[1:3], "recall") > _mean(honest[1:3], "recall") + 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "bribery"}, "no kind of fraud 'bribery'; there are: card_testing"),
        ({"drift": ("rename:amount=amt",)}, "only behaviour drifts"),
    ],
)
def test_a_simulation_that_cannot_be_made_is_refused(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(SETTINGS, directory=tmp_path, **change)
    with pytest.raises(ConfigError, match=message):
        replay_history(settings, PROJECT, lambda *_: None)


def test_a_kind_that_begins_before_there_is_history_is_refused() -> None:
    early = msgspec.structs.replace(SETTINGS, from_day=20)
    with pytest.raises(ConfigError, match="before it must fit 56 days"):
        weeks_of(early, plan_of(early, PROJECT))
