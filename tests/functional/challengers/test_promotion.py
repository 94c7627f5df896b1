"""From a shadow to the champion: by labels as they were known, through a gate, in one step."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.mlflow_tracking import MlflowTracker
from fraud_detection.adapters.sqlite.commit_marker import marker_path
from fraud_detection.challengers import live_comparison as comparing
from fraud_detection.challengers.promotion import RESCORED, ShadowComparison, compare_shadow, promote
from fraud_detection.challengers.shadow import Shadows
from fraud_detection.cli.main import main
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Gate, Model, Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.training.workflow import train
from tests.conftest import SmallSimulation
from tests.states import open_released_service

ANN = lifecycle.Author("ann", "a test")
LENIENT = Gate(min_days=7, min_frauds=10, calibration=5, segment_frauds=10_000, capacity=50, latency=100)
DAY_MS = 86_400_000
EVENTS = 9_000


class Trial(msgspec.Struct, frozen=True):
    """A folder with a champion and shadows, and a state file whose decisions they have followed."""

    registry: ReleaseRegistry
    state: Path
    good: str
    bad: str


def trained(simulation: SmallSimulation, path: Path, model: Model) -> Path:
    train(msgspec.structs.replace(simulation.project, model=model), simulation.features, path)
    return path


@pytest.fixture(scope="module")
def trial(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Return a champion that ranks by little, a shadow that is better, and one that is worse."""
    root = tmp_path_factory.mktemp("promotion")
    weak = trained(
        small_simulation, root / "weak", Model(rounds=2, max_depth=1, threads=1, learning_rate=0.01)
    )
    good = trained(small_simulation, root / "good", Model(rounds=120, max_depth=4, threads=1))
    project: Project = msgspec.structs.replace(small_simulation.project, gate=LENIENT)
    registry = ReleaseRegistry(root / "registry")
    lifecycle.start(registry, read_bundle(weak), project, ANN)
    blind = msgspec.structs.replace(
        project, policy=msgspec.structs.replace(project.policy, review_at=1.0, decline_at=1.0)
    )
    shadowed = lifecycle.set_shadows(
        registry, [(read_bundle(good), project), (read_bundle(weak), blind)], ANN
    )
    state = root / "state.db"
    _, service, follower = open_released_service(registry, state)
    shadows = Shadows(registry, [state])
    shadows.step()
    events = small_simulation.events(EVENTS, late_share=0, duplicate_share=0, malformed_share=0)
    for start in range(0, len(events), 250):
        service.take(Batch(events[start : start + 250], None, 0), "test")
    service.close()
    follower.close()
    while shadows.step():
        pass
    shadows.close()
    return Trial(registry, state, *shadowed.shadows)


@pytest.fixture(scope="module")
def of_good(trial: Trial) -> ShadowComparison:
    return compare_shadow(trial.registry, [trial.state], trial.good, None)


def copied(trial: Trial, root: Path) -> tuple[ReleaseRegistry, Path]:
    """Return folder and state file once more, for more releases and payments."""
    registry, state = ReleaseRegistry(root / "registry"), root / "state.db"
    shutil.copytree(trial.registry.path, registry.path)
    for suffix in ("", ".shadows"):
        with (
            closing(sqlite3.connect(f"{trial.state}{suffix}")) as source,
            closing(sqlite3.connect(f"{state}{suffix}")) as target,
        ):
            source.backup(target)
    shutil.copy(marker_path(trial.state), marker_path(state))
    return registry, state


def command(*arguments: str) -> int:
    return main([*arguments, "--plain"])


def checks(shadow_comparison: ShadowComparison) -> dict[str, bool]:
    return {check.name: check.passed for check in shadow_comparison.gate_result.checks}


def test_the_gate_opens_for_what_is_better_and_for_nothing_else(
    trial: Trial, of_good: ShadowComparison
) -> None:
    good = of_good
    assert checks(good) == dict.fromkeys(checks(good), True)
    assert good.comparison.all_payments.payments > EVENTS / 2
    bad = compare_shadow(trial.registry, [trial.state], trial.bad, None)
    assert not bad.gate_result.passed
    assert not checks(bad)["better"]
    assert checks(bad)["parity"]
    assert checks(bad)["schema"]


def test_to_approve_what_the_champion_stops_is_not_free_of_cost_because_nobody_hears_of_it(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, state = copied(trial, tmp_path)
    with closing(sqlite3.connect(state)) as db, db:
        db.execute("CREATE TEMP TABLE stopped AS SELECT transaction_id FROM decisions WHERE action > 0")
        silent = "DELETE FROM labels WHERE transaction_id IN (SELECT transaction_id FROM stopped)"
        assert db.execute(silent).rowcount > 20
    shadow_comparison = compare_shadow(registry, [state], trial.bad, None)
    assert not checks(shadow_comparison)["unobserved outcomes"]
    assert shadow_comparison.comparison.unobserved is not None
    assert shadow_comparison.comparison.total is not None
    assert shadow_comparison.comparison.total.difference is not None
    assert shadow_comparison.comparison.total.difference.money_saved.value == 0
    stopped = shadow_comparison.comparison.total.baseline
    assert shadow_comparison.comparison.unobserved.payments == stopped.reviewed + stopped.declined
    assert shadow_comparison.comparison.examples.newly_unobserved
    assert (
        command("compare", f"--config-id={trial.bad}", f"--registry={registry.path}", f"--state={state}") == 0
    )
    output = capsys.readouterr().out
    assert f"no figure counts {shadow_comparison.comparison.unobserved.payments:,.0f} payments" in output
    assert "FAILED  unobserved" in output


def test_a_comparison_counts_what_the_tables_hold(trial: Trial, of_good: ShadowComparison) -> None:
    comparison = of_good.comparison
    with closing(sqlite3.connect(trial.state)) as db:
        ours = dict(db.execute("SELECT transaction_id, action FROM decisions"))
    with closing(sqlite3.connect(f"{trial.state}.shadows")) as db:
        theirs = dict(
            db.execute("SELECT transaction_id, action FROM decided WHERE config_id = ?", (trial.good,))
        )
    both = ours.keys() & theirs.keys()
    assert comparison.all_payments.payments == len(both)
    for one in range(3):
        for other in range(3):
            counted = sum(ours[payment] == one and theirs[payment] == other for payment in both)
            assert comparison.actions[one][other] == counted


def test_no_label_counts_before_it_was_known(trial: Trial, tmp_path: Path) -> None:
    """A leak here would see labels of the future: figures as of a moment must not change by them."""
    with closing(sqlite3.connect(trial.state)) as db:
        ((latest,),) = db.execute("SELECT max(event_time) FROM decisions").fetchall()
    as_of = latest - 12 * DAY_MS
    _, state = copied(trial, tmp_path)
    honest = compare_shadow(trial.registry, [trial.state], trial.good, as_of)
    with closing(sqlite3.connect(state)) as db, db:
        gone = db.execute("DELETE FROM labels WHERE known_at > ?", (as_of,)).rowcount
    assert gone > 20
    without = compare_shadow(trial.registry, [state], trial.good, as_of)
    assert without.comparison == honest.comparison
    assert without.gate_inputs.average_precision == honest.gate_inputs.average_precision
    # The same labels, dated back as if they had been known all along: the log says when they came.
    shutil.copy(f"{trial.state}.shadows", f"{state}.shadows")
    with closing(sqlite3.connect(trial.state)) as source, closing(sqlite3.connect(state)) as target:
        source.backup(target)
        shutil.copy(marker_path(trial.state), marker_path(state))
        with target:
            target.execute("UPDATE labels SET known_at = ? WHERE known_at > ?", (as_of, as_of))
    dated_back = compare_shadow(trial.registry, [state], trial.good, as_of)
    assert dated_back.comparison == honest.comparison
    # Planted: their position in the log is forged too.
    with closing(sqlite3.connect(state)) as db, db:
        db.execute("UPDATE labels SET seq = -seq")
    leaking = compare_shadow(trial.registry, [state], trial.good, as_of)
    assert leaking.comparison != honest.comparison


def test_only_decisions_of_the_champions_bundle_as_champion_count(
    small_simulation: SmallSimulation, trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, state = copied(trial, tmp_path)
    first = lifecycle.current(registry).champion
    weak, good = lifecycle.bundle_of(registry, first), lifecycle.bundle_of(registry, trial.good)
    _, project = lifecycle.content_of(registry, first)
    rule = RuleSettings(name="meanwhile", when="amount > 900", action="review")
    ruled = msgspec.structs.replace(project, rules=(*project.rules, rule))
    batches = iter(
        small_simulation.events(
            EVENTS + 400, late_share=0, duplicate_share=0, malformed_share=0, labels="none"
        )[-400:]
    )

    def decide_once() -> None:
        _, service, follower = open_released_service(registry, state)
        service.take(Batch([next(batches) for _ in range(100)], None, 0), "test")
        service.close()
        follower.close()

    rules_canary = lifecycle.set_canary(registry, weak, ruled, 0.5, ANN).canary
    decide_once()
    model_canary = lifecycle.set_canary(registry, good, ruled, 0.5, ANN).canary
    decide_once()
    other = lifecycle.promote(registry, good, project, ANN).champion
    decide_once()
    lifecycle.roll_back(registry, ANN)
    lifecycle.set_canary(registry, None, project, 0.0, ANN)
    changed = msgspec.structs.replace(project, rules=())
    later = lifecycle.publish(registry, lambda _: changed, ANN).champion
    decide_once()
    with closing(Shadows(registry, [state])) as shadows:
        while shadows.step():
            pass

    named = [f"--registry={registry.path}", f"--state={state}", f"--json={tmp_path / 'figures.json'}"]
    assert command("compare", f"--config-id={trial.bad}", *named) == 0
    figures = json.loads((tmp_path / "figures.json").read_bytes())
    with closing(sqlite3.connect(state)) as db:
        by = dict(db.execute("SELECT config_id, count(*) FROM decisions GROUP BY config_id").fetchall())
    assert by.keys() == {first, later, rules_canary, model_canary, other}
    assert figures["left_out"] == by[rules_canary] + by[model_canary] + by[other] > 100
    assert figures["comparison"]["all_payments"]["payments"] == by[first] + by[later]
    assert f"left out: {figures['left_out']:,} payments" in capsys.readouterr().out

    # What a configuration answered as a canary is its own, and counts once it is champion.
    assert lifecycle.publish(registry, lambda _: ruled, ANN).champion == rules_canary
    assert compare_shadow(registry, [state], trial.bad, None).left_out == by[model_canary] + by[other]

    shadow = lifecycle.engine_of(registry, trial.bad)
    alone = comparing.live_traffic([state], shadow, trial.bad, None, comparing.ChampionPeriod(weak.name))
    assert alone.left_out.size == by[model_canary] + by[other]


def test_a_champion_that_has_decided_nothing_yet_is_not_compared(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = ReleaseRegistry(tmp_path / "registry")
    shutil.copytree(trial.registry.path, registry.path)
    lifecycle.promote(
        registry,
        lifecycle.bundle_of(registry, trial.good),
        lifecycle.content_of(registry, trial.good)[1],
        ANN,
    )
    gone = trial.state.with_name("gone.db")
    assert command("compare", f"--registry={registry.path}", f"--state={gone}") == 2
    assert capsys.readouterr().err.startswith(f"fraud compare: {gone}: no such state file")
    assert command("compare", f"--registry={registry.path}", f"--state={trial.state}") == 2
    output = capsys.readouterr().err
    assert "has answered none of " in output
    assert "name their state file with --state" in output


def test_a_comparison_passes_over_payments_that_a_service_at_work_has_in_its_journal_alone(
    small_simulation: SmallSimulation, trial: Trial, tmp_path: Path
) -> None:
    _, state = copied(trial, tmp_path)
    _, service, follower = open_released_service(trial.registry, state)
    later = small_simulation.events(
        EVENTS + 3, late_share=0, duplicate_share=0, malformed_share=0, labels="none"
    )[-3:]
    service.take(Batch(later, None, 0), "test")
    with closing(Shadows(trial.registry, [state])) as shadows:
        while shadows.step():
            pass
        assert shadows.decided == 2 * len(later)
    gate_inputs = compare_shadow(trial.registry, [state], trial.good, None).gate_inputs
    service.close()
    follower.close()
    assert (gate_inputs.rescored, gate_inputs.different) == (RESCORED - len(later), 0)


def test_payments_whose_labels_taught_the_shadow_are_not_evaluated(trial: Trial, tmp_path: Path) -> None:
    bundle = trial.registry.bundle(lifecycle.content_of(trial.registry, trial.good)[0])
    periods = msgspec.structs.replace(bundle.manifest.periods, labels_as_of="2027-01-01T00:00:00.000Z")
    later = msgspec.structs.replace(
        bundle, manifest=msgspec.structs.replace(bundle.manifest, periods=periods)
    )
    assert later.manifest.periods.labels_as_of > "2026-12"
    registry = ReleaseRegistry(tmp_path / "registry")
    shutil.copytree(trial.registry.path, registry.path)

    engine = lifecycle.engine_of(registry, trial.good)
    learned = msgspec.structs.replace(engine, bundle=later)
    with pytest.raises(ConfigError, match="decided nothing yet of payments after 2027-01-01"):
        comparing.live_traffic([trial.state], learned, trial.good, None, comparing.ChampionPeriod("any"))


def test_promote_runs_the_gate_and_reports_why_not(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = ReleaseRegistry(tmp_path / "registry")
    shutil.copytree(trial.registry.path, registry.path)
    named = [
        f"--registry={registry.path}",
        f"--state={trial.state}",
        "--reason=tried",
        "--author=ann",
        "--no-tracking",
    ]
    assert command("promote", f"--config-id={trial.bad}", *named) == 2
    output = capsys.readouterr()
    assert "FAILED  better" in output.out
    assert "the challenger fails the gate, and nothing is changed" in output.err
    assert lifecycle.current(registry).number == 2
    assert command("promote", f"--config-id={trial.good}", *named, f"--json={tmp_path / 'figures.json'}") == 0
    promoted = lifecycle.current(registry)
    assert (promoted.kind, promoted.champion, promoted.by) == ("promote", trial.good, "ann")
    evidence = json.loads((registry.path / promoted.evidence).read_bytes())
    assert evidence["gate_result"]["passed"] is True
    assert json.loads((tmp_path / "figures.json").read_bytes())["release"]["number"] == 3
    assert command("rollback", f"--registry={registry.path}", "--reason=tried", "--no-tracking") == 0
    assert lifecycle.current(registry).champion == lifecycle.current(trial.registry).champion


def test_a_shadow_does_not_set_how_much_people_can_review(
    small_simulation: SmallSimulation, trial: Trial, tmp_path: Path
) -> None:
    registry, state = copied(trial, tmp_path)
    first = lifecycle.current(registry).champion
    _, project = lifecycle.content_of(registry, first)

    def capped(capacity: float | None) -> Project:
        policy = msgspec.structs.replace(project.policy, review_capacity_per_day=capacity)
        return msgspec.structs.replace(project, policy=policy)

    lifecycle.publish(registry, lambda _: capped(0.01), ANN)
    rules = (RuleSettings(name="all", when="amount >= 0", action="review"),)
    boundless = msgspec.structs.replace(capped(None), rules=rules)
    (*_, config_id) = lifecycle.set_shadows(
        registry, [(lifecycle.bundle_of(registry, first), boundless)], ANN
    ).shadows
    with closing(Shadows(registry, [state])) as shadows:
        shadows.step()
        _, service, follower = open_released_service(registry, state)
        later = small_simulation.events(
            EVENTS + 100, late_share=0, duplicate_share=0, malformed_share=0, labels="none"
        )[-100:]
        service.take(Batch(later, None, 0), "test")
        service.close()
        follower.close()
        while shadows.step():
            pass
    shadow_comparison = compare_shadow(registry, [state], config_id, None)
    assert shadow_comparison.comparison.all_payments.variant.reviews_per_day > 1
    assert shadow_comparison.comparison.capacity_per_day == (0.01, 0.01)
    assert not checks(shadow_comparison)["reviewers"]


def test_each_arm_gives_the_messages_of_its_own_rules(
    small_simulation: SmallSimulation, trial: Trial, tmp_path: Path
) -> None:
    registry, state = copied(trial, tmp_path)
    first = lifecycle.current(registry).champion
    _, project = lifecycle.content_of(registry, first)

    def with_message(message: str, *, action: str = "review", name: str = "all") -> Project:
        rule = {"name": name, "when": "amount >= 0", "action": action, "message": message}
        return msgspec.structs.replace(project, rules=(msgspec.convert(rule, RuleSettings),))

    batches = iter(
        small_simulation.events(
            EVENTS + 80, late_share=0, duplicate_share=0, malformed_share=0, labels="none"
        )[-80:]
    )
    shadow = [(lifecycle.bundle_of(registry, first), with_message("we say", action="decline"))]
    (*_, config_id) = lifecycle.set_shadows(registry, shadow, ANN).shadows
    for champion in (with_message("it was so once", name="gone"), with_message("they said")):
        lifecycle.publish(registry, lambda _, champion=champion: champion, ANN)  # type: ignore[misc]
        with closing(Shadows(registry, [state])) as shadows:
            shadows.step()
            _, service, follower = open_released_service(registry, state)
            service.take(Batch([next(batches) for _ in range(40)], None, 0), "test")
            service.close()
            follower.close()
            while shadows.step():
                pass
    shown = compare_shadow(registry, [state], config_id, None).comparison.examples.largest
    assert {example.variant.reasons[0] for example in shown} == {"we say"}
    assert {example.baseline.reasons[0] for example in shown} == {"it was so once", "they said"}


def test_what_went_live_meanwhile_is_not_lost_by_a_promotion(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = ReleaseRegistry(tmp_path / "registry")
    shutil.copytree(trial.registry.path, registry.path)
    rule = RuleSettings(name="meanwhile", when="amount > 900", action="review")
    _, project = lifecycle.content_of(registry, lifecycle.current(registry).champion)
    lifecycle.publish(registry, lambda _: msgspec.structs.replace(project, rules=(*project.rules, rule)), ANN)
    named = [f"--registry={registry.path}", f"--state={trial.state}", "--reason=tried", "--no-tracking"]
    assert command("promote", f"--config-id={trial.bad}", "--force", *named) == 2
    assert "promoting it would take the changes back" in capsys.readouterr().err
    assert command("promote", f"--config-id={trial.good}", "--force", *named) == 0
    promoted = lifecycle.current(registry)
    bundle, project = lifecycle.content_of(registry, promoted.champion)
    assert bundle == lifecycle.content_of(registry, trial.good)[0]
    assert rule in project.rules
    assert trial.good not in promoted.shadows


class ConflictingRegistry(ReleaseRegistry):
    """A folder into which somebody else writes just before one who has read it takes the lock."""

    def __init__(self, path: Path, other: Callable[[ReleaseRegistry], object]) -> None:
        super().__init__(path)
        self.other = other

    @contextmanager
    def writing(self) -> Iterator[None]:
        self.other(ReleaseRegistry(self.path))
        with super().writing():
            yield


def changes_a_rule(registry: ReleaseRegistry) -> None:
    rule = RuleSettings(name="meanwhile", when="amount > 900", action="review")
    lifecycle.publish(registry, lambda project: msgspec.structs.replace(project, rules=(rule,)), ANN)


def sets_a_canary(registry: ReleaseRegistry) -> None:
    first = lifecycle.current(registry).champion
    ruleless = msgspec.structs.replace(lifecycle.content_of(registry, first)[1], rules=())
    lifecycle.set_canary(registry, lifecycle.bundle_of(registry, first), ruleless, 0.1, ANN)


def ends_the_shadows(registry: ReleaseRegistry) -> None:
    lifecycle.set_shadows(registry, [], ANN, ended=lifecycle.current(registry).shadows)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("other", [changes_a_rule, sets_a_canary, ends_the_shadows])
def test_a_promotion_does_not_go_over_what_another_writer_released_after_it_had_read(
    trial: Trial,
    of_good: ShadowComparison,
    tmp_path: Path,
    other: Callable[[ReleaseRegistry], None],
    *,
    force: bool,
) -> None:
    path = tmp_path / "registry"
    shutil.copytree(trial.registry.path, path)
    registry = ConflictingRegistry(path, other)
    with pytest.raises(ConfigError, match="nothing was changed: see"):
        promote(registry, of_good, ANN, force=force)
    latest = lifecycle.current(ReleaseRegistry(path))
    assert latest.number == lifecycle.current(trial.registry).number + 1
    assert latest.kind != "promote"


def test_a_shadow_that_another_writer_names_meanwhile_hinders_no_promotion(
    trial: Trial, of_good: ShadowComparison, tmp_path: Path
) -> None:
    path = tmp_path / "registry"
    shutil.copytree(trial.registry.path, path)
    bundle, project = (
        lifecycle.bundle_of(trial.registry, trial.good),
        lifecycle.content_of(trial.registry, trial.good)[1],
    )
    ruleless = msgspec.structs.replace(project, rules=())
    registry = ConflictingRegistry(
        path, lambda other: lifecycle.set_shadows(other, [(bundle, ruleless)], ANN)
    )
    released = promote(registry, of_good, ANN)
    assert released is not None
    assert (released.champion, len(released.shadows)) == (trial.good, 2)


def test_a_shut_gate_can_be_overruled_and_the_log_reports_it(trial: Trial, tmp_path: Path) -> None:
    registry = ReleaseRegistry(tmp_path / "registry")
    shutil.copytree(trial.registry.path, registry.path)
    named = [
        f"--registry={registry.path}",
        f"--state={trial.state}",
        "--reason=it is urgent",
        "--no-tracking",
    ]
    assert command("promote", f"--config-id={trial.bad}", "--force", *named) == 0
    promoted = lifecycle.current(registry)
    assert promoted.champion == trial.bad
    assert "against the gate: " in promoted.reason
    assert "better" in promoted.reason


@pytest.mark.filterwarnings("default")  # MLflow's own
def test_the_registry_follows_what_is_served(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracking = msgspec.structs.replace(small_simulation.project.tracking, uri=uri)
    project = msgspec.structs.replace(small_simulation.project, tracking=tracking, gate=LENIENT)
    tracker = MlflowTracker(project)
    names = {}
    for kind, rounds in (("first", 5), ("second", 6)):
        path = trained(small_simulation, tmp_path / kind, Model(rounds=rounds, max_depth=2, threads=1))
        bundle = read_bundle(path)
        names[kind] = tracker.trained(bundle, path, rounds)
    registry = ReleaseRegistry(tmp_path / "registry")
    lifecycle.start(registry, read_bundle(tmp_path / "first"), project, ANN)
    lifecycle.promote(registry, read_bundle(tmp_path / "second"), project, ANN)
    assert command("release", "show", f"--registry={registry.path}", "--model-registry") == 0
    model = project.tracking.model

    def champion() -> str:
        return str(tracker.client.get_model_version_by_alias(model, "champion").version)

    assert champion() == names["second"]
    assert command("rollback", f"--registry={registry.path}", "--reason=tried") == 0
    assert champion() == names["first"]
    assert f"champion of {model} is version {names['first']}" in capsys.readouterr().out
