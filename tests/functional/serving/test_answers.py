"""The whole path with a decline cap, a control group, lists and a canary, through restarts."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.core.decision_settings import (
    ControlGroupSettings,
    DeclineCapSettings,
    ListEntry,
    ListSettings,
    PolicySettings,
    RuleSettings,
)
from fraud_detection.core.decoding import Duration
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.load_engine import load_engine
from tests.conftest import SmallSimulation
from tests.states import open_service

EVERYTHING = RuleSettings(name="everything", when="True", action="decline")
DECLINE_CAP = DeclineCapSettings(interval=Duration.parse("30d"), share=0.1, min_payments=100)


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(1_200, late_share=0, duplicate_share=0, malformed_share=0, labels="none")


def changed(simulation: SmallSimulation, **blocks: object) -> Project:
    return msgspec.structs.replace(simulation.project, **blocks)


def opened(simulation: SmallSimulation, state: Path, project: Project) -> EmbeddedService:
    return open_service(simulation.bundle, state, project=project)[1]


def serve(service: EmbeddedService, events: list[bytes], size: int = 50) -> None:
    for start in range(0, len(events), size):
        service.take(Batch(events[start : start + size], None, 0), "test")
        service.run_deferred_work()


def rows(state: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(state) as db:
        query = (
            "SELECT transaction_id, action, reasons, counterfactual_action, sampling_rate, event, config_id "
            "FROM decisions"
        )
        return db.execute(f"{query} ORDER BY seq").fetchall()


def test_a_rule_that_declines_everything_cannot_stop_the_business(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    project = changed(small_simulation, rules=(EVERYTHING,), decline_cap=DECLINE_CAP)
    service = opened(small_simulation, tmp_path / "state.db", project)
    serve(service, events)
    service.close()
    declined = service.tally.actions[2]
    assert 0.05 * len(events) < declined <= 0.1 * len(events)
    assert service.tally.capped == len(events) - declined
    held = [json.loads(reasons) for _, action, reasons, *_ in rows(tmp_path / "state.db") if action == 1]
    assert {reasons[0][1] for reasons in held} == {"decline_cap"}
    assert all("everything" in {code for _, code, _ in reasons} for reasons in held)


def test_the_decline_cap_goes_on_counting_after_a_restart(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    project = changed(small_simulation, rules=(EVERYTHING,), decline_cap=DECLINE_CAP)
    once = opened(small_simulation, tmp_path / "once.db", project)
    serve(once, events)
    for start in range(0, len(events), 300):
        again = opened(small_simulation, tmp_path / "again.db", project)
        serve(again, events[start : start + 300])
        again.close()
    once.close()
    assert [row[:3] for row in rows(tmp_path / "once.db")] == [row[:3] for row in rows(tmp_path / "again.db")]


def test_the_control_group_is_marked_and_stands_for_all_that_would_have_been_stopped(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_CONTROL_GROUP_KEY", "a key of the tests")
    denied = json.loads(events[7])["card_id"]
    deny = ListSettings(name="deny", kind="deny", of="card", entries=(ListEntry(value=denied),))
    rule = RuleSettings(name="not_small", when="amount >= 20", action="review")
    settings = ControlGroupSettings(sampling_rate=0.3, max_amount=100)
    project = changed(small_simulation, rules=(rule,), lists=(deny,), control_group=settings)
    service = opened(small_simulation, tmp_path / "state.db", project)
    serve(service, events)
    service.close()
    kinds: Counter[str] = Counter()
    for _, action, reasons, counterfactual, rate, event, _ in rows(tmp_path / "state.db"):
        payment = json.loads(event)
        if payment["card_id"] == denied:
            assert action == 2
            kinds["denied"] += 1
        elif counterfactual is not None:
            assert (action, rate) == (0, 0.3)
            assert payment["amount"] <= 100
            assert json.loads(reasons)
            kinds["control group"] += 1
        elif action and payment["amount"] <= 100:
            kinds["stopped"] += 1
    assert service.tally.control_group == kinds["control group"]
    candidates = kinds["control group"] + kinds["stopped"]
    assert kinds["denied"]
    assert abs(kinds["control group"] - 0.3 * candidates) < 4 * (candidates * 0.21) ** 0.5
    assert candidates > 200


def test_without_its_key_nothing_starts_that_lets_through(
    small_simulation: SmallSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FRAUD_CONTROL_GROUP_KEY", raising=False)
    project = changed(small_simulation, control_group=ControlGroupSettings(sampling_rate=0.1, max_amount=10))
    with pytest.raises(ConfigError, match="set FRAUD_CONTROL_GROUP_KEY to some long random text"):
        opened(small_simulation, tmp_path / "state.db", project)


def test_a_canary_decides_for_its_share_of_the_cards_and_each_card_stays(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    champion = load_engine(small_simulation.bundle)
    other = changed(small_simulation, policy=PolicySettings(name="other"), rules=(EVERYTHING,))
    canary = load_engine(small_simulation.bundle, other)
    service = opened(small_simulation, tmp_path / "state.db", small_simulation.project)
    service.decide_with(champion, canary, 0.25)
    serve(service, events)
    service.close()
    by_card: dict[str, set[str]] = {}
    for _, action, _, _, _, event, config_id in rows(tmp_path / "state.db"):
        by_card.setdefault(json.loads(event)["card_id"], set()).add(config_id)
        assert config_id in {champion.configuration.config_id, canary.configuration.config_id}
        assert action == 2 or config_id == champion.configuration.config_id
    assert all(len(config_ids) == 1 for config_ids in by_card.values())
    taken = sum(config_ids == {canary.configuration.config_id} for config_ids in by_card.values())
    assert abs(taken - 0.25 * len(by_card)) < 4 * (len(by_card) * 0.19) ** 0.5
    assert taken
