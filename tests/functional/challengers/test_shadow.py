"""Shadows decide what the services decided, from the very features, and answer nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.shadow_log import ShadowDecision, ShadowLog, shadow_path
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.challengers.shadow import Shadows
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.serving.embedded.service import EmbeddedService
from tests.conftest import SmallSimulation
from tests.states import open_released_service, open_service

ANN = lifecycle.Author("ann", "a test")


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(2_000, late_share=0.02, duplicate_share=0.02, malformed_share=0.02)


@pytest.fixture(scope="module")
def challenger(small_simulation: SmallSimulation) -> Path:
    return small_simulation.other


@pytest.fixture
def registry(small_simulation: SmallSimulation, challenger: Path, tmp_path: Path) -> ReleaseRegistry:
    """Return a folder with a champion and two shadows: another model, and another rule."""
    made = ReleaseRegistry(tmp_path / "registry")
    lifecycle.start(made, read_bundle(small_simulation.bundle), small_simulation.project, ANN)
    rule = RuleSettings(name="large", when="amount >= 100", action="decline")
    other = msgspec.structs.replace(small_simulation.project, rules=(rule,))
    lifecycle.set_shadows(
        made,
        [(read_bundle(challenger), small_simulation.project), (read_bundle(small_simulation.bundle), other)],
        ANN,
    )
    return made


def serve(service: EmbeddedService, events: list[bytes]) -> None:
    for start in range(0, len(events), 50):
        service.take(Batch(events[start : start + 50], None, 0), "test")
        service.run_deferred_work()


def all_of(state: Path, config_id: str) -> list[ShadowDecision]:
    with closing(ShadowLog(shadow_path(state), reading=True)) as log:
        return log.decisions(config_id)


def test_a_shadow_logs_what_it_would_have_decided_in_the_service_itself(
    small_simulation: SmallSimulation,
    challenger: Path,
    registry: ReleaseRegistry,
    events: list[bytes],
    tmp_path: Path,
) -> None:
    state = tmp_path / "state.db"
    _, service, follower = open_released_service(registry, state)
    shadows = Shadows(registry, [state])
    shadows.step()
    for start in range(0, len(events), 500):
        serve(service, events[start : start + 500])
        shadows.step()
    service.close()
    follower.close()
    while shadows.step():
        pass
    shadows.close()
    model, rule = lifecycle.current(registry).shadows
    alone = open_service(challenger, tmp_path / "alone.db", project=small_simulation.project)[1]
    serve(alone, events)
    wanted = alone.state_file.rows("SELECT transaction_id, action, score FROM decisions ORDER BY seq")
    alone.close()
    assert [
        (decision.transaction_id, decision.action, decision.score) for decision in all_of(state, model)
    ] == wanted
    declined = {decision.transaction_id for decision in all_of(state, rule) if "large" in decision.reasons}
    with closing(StateFile(state, reading=True)) as state_file:
        paid = state_file.rows("SELECT transaction_id, event FROM decisions")
    large = {one for one, event in paid if float(msgspec.json.decode(event)["amount"]) >= 100}
    assert declined == large != set()


def test_a_shadow_that_is_killed_misses_nothing_and_decides_nothing_twice(
    registry: ReleaseRegistry, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    _, service, follower = open_released_service(registry, state)
    follower.close()
    command = [sys.executable, "-m", "fraud_detection.cli", "shadow", "--plain"]
    command += [f"--registry={registry.path}", f"--state={state}"]
    config_id = lifecycle.current(registry).shadows[0]

    def decided() -> int:
        return len(all_of(state, config_id)) if config_ids(state) else 0

    def wait_for(count: int) -> None:
        until = time.monotonic() + 60
        while decided() < count:
            assert time.monotonic() < until
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)

    part = len(events) // 3
    for start in range(0, len(events), part):
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603 - ours
        try:
            if start == 0:
                # What came before a shadow is not decided by it: wait until it stands at the beginning.
                until = time.monotonic() + 60
                while len(config_ids(state)) < 2:
                    assert time.monotonic() < until
                    time.sleep(0.05)
            before = decided()
            serve(service, events[start : start + part])
            wait_for(before + 20)
        finally:
            running.send_signal(signal.SIGKILL)
            running.communicate()
    service.close()
    with closing(Shadows(registry, [state])) as rest:
        while rest.step():
            pass
    with closing(StateFile(state, reading=True)) as state_file:
        wanted = [row[0] for row in state_file.rows("SELECT transaction_id FROM decisions ORDER BY seq")]
    for name in lifecycle.current(registry).shadows:
        assert [decision.transaction_id for decision in all_of(state, name)] == wanted


def config_ids(state: Path) -> list[str]:
    try:
        ShadowLog(shadow_path(state), reading=True).close()
    except ConfigError:
        # It is there, but has no tables yet.
        return []
    with closing(ShadowLog(shadow_path(state), reading=True)) as log:
        return log.config_ids()
