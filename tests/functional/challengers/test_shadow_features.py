"""A shadow with other features than the services' says what it would have said as the service itself."""

from __future__ import annotations

import datetime as dt
import logging
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.sqlite.commit_marker import marker_path
from fraud_detection.adapters.sqlite.shadow_log import STORED_ROWS, ShadowLog, shadow_path
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.challengers.promotion import compare_shadow
from fraud_detection.challengers.shadow import Shadows
from fraud_detection.challengers.shadow_features import RECENT, OwnRows
from fraud_detection.cli.main import main
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.decoding import Duration
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import AmountSource, EntityFeatures, EntitySource, Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.releases.shadow_project import shadow_project
from fraud_detection.serving.embedded.stream_runner import preload_history
from fraud_detection.simulator.history_file import write_history
from fraud_detection.training.stages import make_features
from fraud_detection.training.workflow import train
from tests.conftest import SmallSimulation
from tests.functional.challengers.test_shadow import ANN, all_of, serve
from tests.states import open_released_service, open_service, opened

EARLY = 300
PAYMENTS = 1_500
DAYS = 20
WITHOUT_CUSTOMER = 40
CORRECTED_LATER = 30

Decisions = list[tuple[str, int, float | None]]


class Trial(msgspec.Struct, frozen=True):
    """What a server has answered whose features are not the challenger's, and what the challenger answers.

    early: number of the last event before the shadow was named.
    """

    registry: ReleaseRegistry
    config_id: str
    challenger: Path
    history: Path
    state: Path
    alone: Path
    early: int

    def wanted(self) -> Decisions:
        """Return what the challenger decides as the service itself, from the shadow's first payment on."""
        with closing(StateFile(self.state, reading=True)) as state_file:
            later = {
                row[0]
                for row in state_file.rows(
                    "SELECT transaction_id FROM decisions WHERE seq > ?", (self.early,)
                )
            }
        with closing(StateFile(self.alone, reading=True)) as state_file:
            rows = state_file.rows("SELECT transaction_id, action, score FROM decisions ORDER BY seq")
        return [(one, action, score) for one, action, score in rows if one in later]

    def served(self) -> dict[str, bytes]:
        """Return the rows of the challenger as the service itself."""
        with closing(StateFile(self.alone, reading=True)) as state_file:
            return dict(state_file.rows("SELECT transaction_id, features FROM decisions"))

    def copy(self, path: Path) -> Path:
        """Return a copy of the state file in which the shadow has decided nothing yet."""
        with closing(sqlite3.connect(self.state)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
        shutil.copy(marker_path(self.state), marker_path(path))
        with closing(ShadowLog(shadow_path(path))) as log:
            log.decided_until(self.config_id, self.early)
        return path


def other_features(project: Project) -> Project:
    """Return a project that knows the customer, but not the terminal, and has one window more."""
    schema, features = project.schema, project.features
    kinds = dict(features.entities)
    card = msgspec.structs.replace(
        kinds["card"],
        windows=(*kinds["card"].windows, Duration.parse("10m")),
        first_seen=("merchant", "device", "customer"),
    )
    customer = EntityFeatures(
        windows=(Duration.parse("1d"),), statistics=("count", "sum"), risk=(Duration.parse("7d"),)
    )
    entities = {
        "card": schema.entities["card"],
        "customer": EntitySource(field="customer", aliases=("customer_id",), required=True),
        "merchant": schema.entities["merchant"],
        "device": schema.entities["device"],
    }
    return msgspec.structs.replace(
        project,
        schema=msgspec.structs.replace(
            schema,
            amount=AmountSource(field="total", aliases=("amount",)),
            entities=entities,
            ignored=("currency", "terminal_id"),
        ),
        features=msgspec.structs.replace(
            features,
            entities={
                "card": card,
                "customer": customer,
                "device": kinds["device"],
                "merchant": kinds["merchant"],
            },
        ),
    )


def trained(project: Project, history: Path, folder: Path) -> Path:
    make_features(project, history, folder / "features.parquet", lambda *_: None)
    train(project, folder / "features.parquet", folder / "bundle")
    return folder / "bundle"


def with_news(events: list[bytes]) -> list[bytes]:
    """Return a stream with labels that take others back or come early, and payments of no known customer."""
    batches: list[list[bytes]] = [[] for _ in range(len(events) + CORRECTED_LATER + 1)]
    labels = 0
    for index, raw in enumerate(events):
        try:
            event: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
        except (msgspec.DecodeError, msgspec.ValidationError):
            batches[index].append(raw)
            continue
        if event.get("type") == "label":
            labels += 1
            if labels % 2:
                known_at = dt.datetime.fromisoformat(event["label_known_at"]) + dt.timedelta(hours=6)
                corrected = event | {
                    "is_fraud": 1 - event["is_fraud"],
                    "label_known_at": known_at.isoformat(),
                }
                batches[index + CORRECTED_LATER].append(msgspec.json.encode(corrected))
        elif zlib.crc32(str(event.get("transaction_id")).encode()) % WITHOUT_CUSTOMER == 0:
            # By its id, so that one that comes again is the same.
            event.pop("customer_id", None)
            raw = msgspec.json.encode(event)  # noqa: PLW2901 - it takes the event's place
        elif index % 100 == 50 and "transaction_id" in event:
            label = {"type": "label", "transaction_id": event["transaction_id"], "is_fraud": 1}
            batches[index - 20].append(msgspec.json.encode(label | {"label_known_at": event["event_time"]}))
        batches[index].append(raw)
    return [raw for part in batches for raw in part]


@pytest.fixture(scope="module")
def short_simulation(
    small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory
) -> SmallSimulation:
    """Return the small simulation with a short history: every shadow reads it whole when it starts."""
    whole = small_simulation.settings
    later = whole.start + dt.timedelta(days=whole.days - DAYS)
    settings = msgspec.structs.replace(whole, start=later, days=DAYS)
    history = tmp_path_factory.mktemp("short") / "history.parquet"
    write_history(settings, history)
    return msgspec.structs.replace(small_simulation, settings=settings, history=history)


@pytest.fixture(scope="module")
def challenger(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenger")
    return trained(other_features(small_simulation.project), small_simulation.history, folder)


@pytest.fixture(scope="module")
def events(short_simulation: SmallSimulation) -> list[bytes]:
    shares = {"late_share": 0.03, "duplicate_share": 0.02, "malformed_share": 0.02}
    return with_news(short_simulation.events(PAYMENTS, labels="fraud", **shares))


def named(simulation: SmallSimulation, challenger: Path, path: Path) -> ReleaseRegistry:
    """Return a folder with the champion of the simulation, and the challenger in shadow mode."""
    registry = ReleaseRegistry(path)
    lifecycle.start(registry, read_bundle(simulation.bundle), simulation.project, ANN)
    change = path / "change.yaml"
    change.write_text(f"name: customers\nbundle: {challenger}\n")
    command = ["release", "shadow", str(change), f"--registry={path}", "--reason=a test", "--plain"]
    assert main([*command, "--no-tracking"]) == 0
    return registry


@pytest.fixture(scope="module")
def trial(
    short_simulation: SmallSimulation,
    challenger: Path,
    events: list[bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Trial:
    root = tmp_path_factory.mktemp("trial")
    registry = named(short_simulation, challenger, root / "registry")
    state, alone = root / "state.db", root / "alone.db"
    _, service, follower = open_released_service(registry, state)
    preload_history(service, short_simulation.project, short_simulation.history, lambda *_: None)
    (config_id,) = lifecycle.current(registry).shadows
    serve(service, events[:EARLY])
    early = service.state_file.seq
    serve(service, events[EARLY:])
    service.close()
    follower.close()
    _, project = lifecycle.content_of(registry, config_id)
    other = open_service(challenger, alone, project=project)[1]
    preload_history(other, project, short_simulation.history, lambda *_: None)
    serve(other, events)
    other.close()
    return Trial(registry, config_id, challenger, short_simulation.history, state, alone, early)


def to_the_end(shadows: Shadows) -> None:
    while shadows.step():
        pass


def decided_by(trial: Trial, state: Path, history: Path | None) -> Decisions:
    """Let the shadow decide all that it has not; return all its decisions."""
    with closing(Shadows(trial.registry, [state], history)) as shadows:
        to_the_end(shadows)
    return decisions(state, trial.config_id)


def latest_rows(state: Path, config_id: str) -> dict[str, bytes]:
    """Return the rows that a shadow keeps, by the ids of their payments."""
    with closing(ShadowLog(shadow_path(state), reading=True)) as log:
        own = log.own_rows(config_id)
        assert len(own) == STORED_ROWS
        return {
            decision.transaction_id: own[decision.seq]
            for decision in log.decisions(config_id)
            if decision.seq in own
        }


def decisions(state: Path, config_id: str) -> Decisions:
    return [
        (decision.transaction_id, decision.action, decision.score) for decision in all_of(state, config_id)
    ]


def test_the_trial_has_everything_that_could_go_wrong(trial: Trial) -> None:
    _, project = lifecycle.content_of(trial.registry, trial.config_id)
    assert list(project.schema.entities) == ["card", "customer", "merchant", "device"]
    with closing(StateFile(trial.state, reading=True)) as state_file:
        ((corrections,),) = state_file.rows(
            "SELECT count(*) FROM labels WHERE supersedes_known_at IS NOT NULL"
        )
        ((of_history,),) = state_file.rows("SELECT count(*) FROM labels WHERE source = 'history'")
        ((early,),) = state_file.rows("SELECT count(*) FROM labels WHERE applied_at > seq")
        ((in_history,),) = state_file.rows(
            "SELECT count(*) FROM labels JOIN history USING (transaction_id) WHERE source != 'history'"
        )
        ((decided,),) = state_file.rows("SELECT count(*) FROM decisions")
    with closing(StateFile(trial.alone, reading=True)) as state_file:
        ((by_challenger,),) = state_file.rows("SELECT count(*) FROM decisions")
    assert min(corrections, of_history, early, in_history) > 5
    assert 0.9 * decided < by_challenger < decided


def test_it_decides_as_the_service_itself_would_through_stops_and_a_kill(
    short_simulation: SmallSimulation,
    challenger: Path,
    events: list[bytes],
    trial: Trial,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    registry, state = named(short_simulation, challenger, tmp_path / "registry"), tmp_path / "state.db"
    _, server, follower = open_released_service(registry, state)
    preload_history(server, short_simulation.project, short_simulation.history, lambda *_: None)
    follower.close()
    serve(server, events[:EARLY])
    # A shadow begins behind what is in the tables; what is in the journal alone it would decide too.
    server.state_file.flush()

    def decide(part: list[bytes]) -> None:
        with closing(Shadows(registry, [state], short_simulation.history)) as shadows:
            to_the_end(shadows)
            serve(server, part)
            to_the_end(shadows)

    third = (len(events) - EARLY) // 3
    decide(events[EARLY : EARLY + third])
    command = [sys.executable, "-m", "fraud_detection.cli", "shadow", "--plain"]
    command += [f"--registry={registry.path}", f"--state={state}", f"--history={short_simulation.history}"]
    before = len(decisions(state, trial.config_id))
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603 - ours
    try:
        serve(server, events[EARLY + third : EARLY + 2 * third])
        until = time.monotonic() + 60
        while len(decisions(state, trial.config_id)) < before + 50:
            assert time.monotonic() < until
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        with pytest.raises(ConfigError, match="another process lets shadows follow this state file"):
            Shadows(registry, [state], short_simulation.history)
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate()
    decide(events[EARLY + 2 * third :])
    server.close()
    assert main([*command[3:], "--exit-when-idle"]) == 0
    assert decisions(state, trial.config_id) == trial.wanted()
    assert latest_rows(state, trial.config_id).items() <= trial.served().items()
    assert "are left out, as a server would" in caplog.text
    assert "payments of history and" in caplog.text


def test_its_latest_rows_are_those_that_the_service_would_have_served(trial: Trial, tmp_path: Path) -> None:
    state = trial.copy(tmp_path / "state.db")
    decided = decided_by(trial, state, trial.history)
    assert decided == trial.wanted()
    with closing(ShadowLog(shadow_path(state), reading=True)) as log:
        latest = log.decisions(trial.config_id)[-STORED_ROWS:]
    assert latest_rows(state, trial.config_id).keys() == {decision.transaction_id for decision in latest}
    assert latest_rows(state, trial.config_id).items() <= trial.served().items()


@pytest.mark.parametrize("recent", [1, RECENT])
def test_rows_are_the_same_whether_a_labelled_payment_is_recent_or_has_to_be_looked_up(
    trial: Trial, recent: int
) -> None:
    engine = lifecycle.engine_of(trial.registry, trial.config_id)
    with closing(StateFile(trial.state, reading=True)) as state_file:
        made = OwnRows(engine, state_file, trial.history, 0, lambda *_: None, recent=recent)
        assert sum(made.backfill()) > 1_000
        rows = {
            row.logged.transaction_id: row.features.tobytes() for row in made.take(list(state_file.since(0)))
        }
    assert rows == trial.served()


def test_a_history_that_is_missing_or_another_is_refused(
    short_simulation: SmallSimulation, trial: Trial, tmp_path: Path
) -> None:
    state = trial.copy(tmp_path / "state.db")
    with pytest.raises(ConfigError, match=r"began with .* name the same file with --history"):
        decided_by(trial, state, None)
    shorter = tmp_path / "shorter.parquet"
    write_history(msgspec.structs.replace(short_simulation.settings, days=DAYS // 2), shorter)
    with pytest.raises(ConfigError, match=r"shorter\.parquet has .* and 0 others; name the same file"):
        decided_by(trial, state, shorter)
    with closing(sqlite3.connect(state)) as db, db:
        ((one,),) = db.execute("SELECT max(transaction_id) FROM history")
        db.execute("UPDATE history SET transaction_id = 'x' WHERE transaction_id = ?", (one,))
    with pytest.raises(ConfigError, match="of them and 1 others"):
        decided_by(trial, state, trial.history)
    assert decisions(state, trial.config_id) == []
    command = ["shadow", "--exit-when-idle", f"--registry={trial.registry.path}", f"--state={state}"]
    assert main([*command, f"--history={tmp_path / 'none.parquet'}"]) == 2


def test_without_its_history_it_would_decide_otherwise(trial: Trial, tmp_path: Path) -> None:
    """Planted: a state file that does not tell any more that it began with history."""
    state = trial.copy(tmp_path / "state.db")
    with closing(sqlite3.connect(state)) as db, db:
        db.execute("DELETE FROM meta WHERE key = 'history'")
    with pytest.raises(ConfigError, match=r"began without history.*leave out --history"):
        decided_by(trial, state, trial.history)
    decided = decided_by(trial, state, None)
    assert [one for one, _, _ in decided] == [one for one, _, _ in trial.wanted()]
    assert decided != trial.wanted()


def test_history_that_comes_after_the_shadow_is_noticed(trial: Trial, tmp_path: Path) -> None:
    state = trial.copy(tmp_path / "state.db")
    with closing(sqlite3.connect(state)) as db, db:
        history_state = db.execute("SELECT value FROM meta WHERE key = 'history'").fetchone()
        db.execute("DELETE FROM meta WHERE key = 'history'")
    with closing(Shadows(trial.registry, [state])) as shadows:
        shadows.step()
        with closing(sqlite3.connect(state)) as db, db:
            db.execute("INSERT INTO meta VALUES ('history', ?)", history_state)
        with pytest.raises(ConfigError, match="has taken history in since"):
            to_the_end(shadows)


def test_files_without_one_order_are_refused(trial: Trial, tmp_path: Path) -> None:
    state, other = trial.copy(tmp_path / "state.db"), trial.copy(tmp_path / "other.db")
    with (
        closing(Shadows(trial.registry, [state, other], trial.history)) as shadows,
        pytest.raises(ConfigError, match="several files do not have; name one --state"),
    ):
        shadows.step()
    with closing(opened(state)) as state_file, state_file.transaction():
        state_file.put_meta("worker_state", {"worker": 0, "workers": 2, "together": "x"})
    with pytest.raises(ConfigError, match="is of one of several workers"):
        decided_by(trial, state, trial.history)


def test_it_is_compared_by_its_own_rows_and_cannot_be_promoted_or_be_a_canary(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = trial.copy(tmp_path / "state.db")
    decided_by(trial, state, trial.history)
    comparison = compare_shadow(trial.registry, [state], trial.config_id, None)
    assert (comparison.gate_inputs.rescored, comparison.gate_inputs.different) == (STORED_ROWS, 0)
    assert min(comparison.gate_inputs.p99_us) > 0
    assert comparison.comparison.all_payments.payments > 1_000
    failed = {check.name: check.message for check in comparison.gate_result.checks if not check.passed}
    assert "needs a new state file" in failed["schema"]
    before = lifecycle.current(trial.registry)
    named = [f"--registry={trial.registry.path}", "--reason=tried", "--no-tracking", "--plain"]
    assert main(["promote", f"--state={state}", "--force", *named]) == 2
    output = capsys.readouterr()
    assert "FAILED  schema" in output.out
    assert "start a second service on a new state file" in output.err
    change = tmp_path / "change.yaml"
    change.write_text(f"name: customers\nbundle: {trial.challenger}\n")
    assert main(["release", "canary", str(change), *named]) == 2
    assert "start a second service on a new state file" in capsys.readouterr().err
    bundle, (_, project) = (
        read_bundle(trial.challenger),
        lifecycle.content_of(trial.registry, trial.config_id),
    )
    with pytest.raises(ConfigError, match="needs other features than the profiles of the services"):
        lifecycle.promote(trial.registry, bundle, project, ANN)
    assert lifecycle.current(trial.registry) == before


def test_a_bundle_that_reads_labels_otherwise_is_no_shadow(
    small_simulation: SmallSimulation, trial: Trial
) -> None:
    bundle = read_bundle(trial.challenger)
    own = bundle.contents.project
    assert own.schema.label is not None
    label = msgspec.structs.replace(own.schema.label, delay=Duration.parse("3d"))
    project = msgspec.structs.replace(own, schema=msgspec.structs.replace(own.schema, label=label))
    other = msgspec.structs.replace(
        bundle, contents=msgspec.structs.replace(bundle.contents, project=project)
    )
    with pytest.raises(
        ConfigError, match=r"`schema\.label` of its project file differs from that of the current release"
    ):
        shadow_project(other, small_simulation.project)


def test_a_service_that_comes_to_serve_other_features_is_noticed_and_the_shadow_then_makes_its_own(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    """Another category encoding keeps the profiles: a server takes such a bundle when it starts again."""
    fewer = msgspec.structs.replace(small_simulation.project.features, max_category_values=3)
    project = msgspec.structs.replace(small_simulation.project, features=fewer)
    category_encoding = trained(project, small_simulation.history, tmp_path)
    registry, state = ReleaseRegistry(tmp_path / "registry"), tmp_path / "state.db"
    lifecycle.start(registry, read_bundle(small_simulation.bundle), small_simulation.project, ANN)
    rule = RuleSettings(name="large", when="amount >= 100", action="decline")
    ruled = msgspec.structs.replace(small_simulation.project, rules=(rule,))
    (config_id,) = lifecycle.set_shadows(
        registry, [(read_bundle(small_simulation.bundle), ruled)], ANN
    ).shadows
    half = len(events) // 2
    service = open_service(small_simulation.bundle, state)[1]
    with closing(Shadows(registry, [state])) as shadows:
        shadows.step()
        serve(service, events[:half])
        service.close()
        to_the_end(shadows)
        service = open_service(category_encoding, state)[1]
        serve(service, events[half:])
        service.close()
        with pytest.raises(
            ConfigError, match=r"is not in the registry .*let the service follow that registry"
        ):
            shadows.step()
        registry.store_bundle(read_bundle(category_encoding))
        with pytest.raises(ConfigError, match="answers now, whose features are others"):
            shadows.step()
    with closing(Shadows(registry, [state])) as shadows:
        to_the_end(shadows)
    alone = open_service(small_simulation.bundle, tmp_path / "alone.db", project=ruled)[1]
    serve(alone, events)
    wanted = alone.state_file.rows("SELECT transaction_id, action, score FROM decisions ORDER BY seq")
    alone.close()
    assert decisions(state, config_id) == wanted
