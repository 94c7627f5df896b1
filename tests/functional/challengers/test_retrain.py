"""A challenger: when it is time, of what was known, beside the champion, into the shadow."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.mlflow_tracking import MlflowTracker
from fraud_detection.challengers.retrain import as_of_last_payment
from fraud_detection.challengers.retrain_triggers import (
    RETRAINED,
    drift_of,
    latest_time,
    older_than,
    young_challenger,
)
from fraud_detection.cli.main import main
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.decoding import Duration, decode, to_plain
from fraud_detection.core.project_schema import Model, Project, Tracking
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.demo.demo import demo_project
from fraud_detection.history.load import read_history
from fraud_detection.project.loader import load_project
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.serving.embedded.stream_runner import preload_history
from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.simulator.stream import SimulatedStream, StreamOptions
from fraud_detection.training.drift import DRIFTED, MIN_PAYMENTS
from fraud_detection.training.tables.dataset import read_dataset
from tests.smaller import few_features
from tests.states import open_service

pytestmark = pytest.mark.usefixtures("no_pictures")

DAY = 86_400_000
SIMULATION = SimulatorSettings(seed=5, days=70, cards=160, fraud_rate=0.1)


def small(project: Project) -> Project:
    """Return the project with a few of its features and a short delay: a small history is enough."""
    assert project.schema.label is not None
    label = msgspec.structs.replace(project.schema.label, delay=Duration.parse("7d"))
    schema = msgspec.structs.replace(project.schema, label=label)
    return msgspec.structs.replace(few_features(project), schema=schema)


class Bank(msgspec.Struct, frozen=True):
    """A history of seventy days, and a champion that was trained when 45 of them had passed."""

    folder: Path
    config: Path
    history: Path
    champion: Path
    project: Project


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    folder = tmp_path_factory.mktemp("bank")
    history, config, champion = (
        folder / "history.parquet",
        folder / "params.yaml",
        folder / "first" / "bundle",
    )
    write_history(SIMULATION, history)
    tracking = Tracking(uri=f"sqlite:///{folder}/mlflow.db")
    model = Model(rounds=30, max_depth=3, threads=1, early_stopping=8)
    project = msgspec.structs.replace(
        small(demo_project()), model=model, tracking=tracking, history=str(history)
    )
    config.write_text(json.dumps(to_plain(project)))
    assert load_project(config) == project
    first = read_history(project, history, lambda *_: None).payments[0].payment.event_time
    champion.parent.mkdir()
    moment = f"--as-of={iso(first + 45 * DAY)}"
    options = ["--plain", "--no-tracking", f"--config={config}", moment]
    assert main(["train", *options, f"--bundle={champion}"]) == 0
    return Bank(folder, config, history, champion, project)


def iso(ms: int) -> str:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat()


def retrained(bank: Bank, out: Path, *more: str) -> dict[str, Any]:
    figures = out.with_suffix(".json")
    options = [f"--config={bank.config}", f"--out={out}", f"--json={figures}", "--plain"]
    champion = () if any(one.startswith("--registry") for one in more) else (f"--bundle={bank.champion}",)
    assert main(["retrain", *options, *champion, *more]) == 0
    report: dict[str, Any] = json.loads(figures.read_text())
    return report


@pytest.fixture(scope="module")
def report(bank: Bank) -> dict[str, Any]:
    return retrained(bank, bank.folder / "challengers", "--trials=2", "--no-tracking")


def test_a_challenger_learns_what_has_matured_since_and_keeps_the_champions_features(
    bank: Bank, report: dict[str, Any]
) -> None:
    made = bank.folder / "challengers" / report["bundle"]
    champion, challenger = (read_bundle(one) for one in (bank.champion, made))
    evaluated = read_bundle(bank.folder / "challengers" / report["evaluated"])
    assert challenger.manifest.evaluated_as == evaluated.name
    assert challenger.manifest.periods.labels_as_of > champion.manifest.periods.labels_as_of
    assert challenger.manifest.fingerprint == champion.manifest.fingerprint
    assert challenger.contents.features.category_encoding == champion.contents.features.category_encoding
    assert report["trials"] == 2
    assert report["score"] >= report["baseline_score"]
    table = read_dataset(bank.folder / "challengers" / "features.parquet")
    cut, as_of = table.info.boundaries, table.info.as_of
    assert as_of == int(table.event_time.max())
    assert cut.test_until <= as_of - table.info.delay_ms + 1
    assert (table.known_at[table.label >= 0] <= as_of).all()


def test_what_goes_into_the_shadow_has_learned_all_that_matured_and_keeps_what_was_evaluated(
    bank: Bank, report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = bank.folder / "challengers"
    final, evaluated = (read_bundle(out / report[name]) for name in ("bundle", "evaluated"))
    table = read_dataset(out / "features.parquet")
    cut, info = table.info.boundaries, table.info
    assert info.as_of is not None
    assert evaluated.manifest.periods.labels_as_of == moment(cut.test_from)
    assert evaluated.manifest.evaluated_as is None
    assert final.manifest.periods.labels_as_of == moment(info.as_of)
    assert final.manifest.periods.train_until == moment(info.as_of - info.delay_ms + 1)
    assert final.manifest.calibration == evaluated.manifest.calibration
    assert final.manifest.cutoffs == evaluated.manifest.cutoffs
    # A naive recount of what it may have learned from.
    mature = (table.event_time >= cut.train_from) & (table.event_time <= info.as_of - info.delay_ms)
    known = (table.label >= 0) & (table.known_at <= info.as_of)
    assert final.contents.reference.rows == (mature & known).sum() > evaluated.contents.reference.rows
    # Verdicts on payments of the test slice, told in time, teach it and not the one that is evaluated there.
    late = (table.event_time >= cut.test_from) & mature & (table.label == 1)
    assert late.sum() > 5
    rows = [
        {"transaction_id": one, "is_fraud": 0, "label_known_at": iso(info.as_of)}
        for one in table.transaction_id[late]
    ]
    late_labels = tmp_path / "late.jsonl"
    late_labels.write_text("\n".join(map(json.dumps, rows)))
    again = retrained(bank, tmp_path / "out", "--trials=2", "--no-tracking", f"--labels={late_labels}")
    assert again["evaluated"] == report["evaluated"]
    assert again["bundle"] != report["bundle"]
    # Nobody is told figures of a slice that it has learned.
    options = [f"--config={bank.config}", f"--features={out / 'features.parquet'}", "--no-tracking"]
    capsys.readouterr()
    bundle_and_out = [f"--bundle={out / report['bundle']}", f"--out={tmp_path / 'evaluated'}"]
    assert main(["evaluate", "--plain", *options, *bundle_and_out]) == 0
    assert f"these are the figures of {report['evaluated']}" in capsys.readouterr().err
    alone = shutil.copytree(out / report["bundle"], tmp_path / "alone" / "bundle")
    assert main(["evaluate", "--plain", *options, f"--bundle={alone}", bundle_and_out[1]]) == 2
    assert "the figures would be too good" in capsys.readouterr().err


def moment(ms: int) -> str:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def test_a_champion_that_was_refitted_is_evaluated_by_the_bundle_that_was_evaluated_before(
    bank: Bank, report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = bank.folder / "challengers"
    figures = tmp_path / "figures.json"
    # A project file with other costs makes another challenger, whose champion is the one of before.
    other = msgspec.structs.replace(bank.project, costs=msgspec.structs.replace(bank.project.costs, review=9))
    config = tmp_path / "params.yaml"
    config.write_text(json.dumps(to_plain(other)))
    options = ["--plain", "--no-tracking", "--trials=0", f"--config={config}", f"--json={figures}"]
    shutil.copytree(out / report["bundle"], tmp_path / "alone" / "bundle")
    alone = f"--bundle={tmp_path / 'alone' / 'bundle'}"
    assert main(["retrain", *options, alone, f"--out={tmp_path / 'elsewhere' / 'out'}"]) == 0
    output = capsys.readouterr().err
    assert f"as evaluated, it is bundle {report['evaluated']}: copy its folder into --out" in output
    assert json.loads(figures.read_text())["champion"] is None
    assert main(["retrain", *options, f"--bundle={out / report['bundle']}", f"--out={out}"]) == 0
    report = json.loads(figures.read_text())
    assert report["champion"]["average_precision"] == report["challenger"]["average_precision"]
    assert report["backtest"]["variants"][0]["comparison"]["all_payments"]["payments"] > 0


def test_both_are_evaluated_on_the_same_rows_and_the_backtest_shows_what_would_change(
    report: dict[str, Any],
) -> None:
    for name in ("payments_count", "frauds_count", "days", "amount_only_average_precision"):
        assert report["champion"][name] == report["challenger"][name], name
    assert report["champion"]["average_precision"] != report["challenger"]["average_precision"]
    (variant,) = report["backtest"]["variants"]
    assert variant["name"] == f"challenger-{report['evaluated']}"
    (note,) = report["backtest"]["notes"]
    assert "the table was made as of then" in note
    whole = variant["comparison"]["all_payments"]
    assert whole["payments"] >= report["champion"]["payments_count"]
    assert whole["changed"] > 0


@pytest.mark.long  # The next test asks for the same, of history that has more labels.
def test_the_same_seed_and_trials_give_the_same_bundle(
    bank: Bank, report: dict[str, Any], tmp_path: Path
) -> None:
    again = retrained(bank, tmp_path / "again", "--trials=2", "--no-tracking")
    assert again["bundle"] == report["bundle"]
    assert_same_archive(report, tmp_path / "again", bank.folder / "challengers")


def assert_same_archive(report: dict[str, Any], *folders: Path) -> None:
    one, other = (folder / f"{report['bundle']}.tar.gz" for folder in folders)
    assert one.read_bytes() == other.read_bytes()


def test_a_label_that_became_known_after_the_last_payment_changes_nothing(
    bank: Bank, report: dict[str, Any], tmp_path: Path
) -> None:
    history = read_history(bank.project, bank.history, lambda *_: None)
    last = history.payments[-1].payment.event_time
    later = [historical for historical in history.payments if historical.fraud and historical.known_at > last]
    assert len(later) > 5
    as_of_last_payment(history)
    assert not any(label.known_at > last for historical in history.payments for label in historical.labels())
    # Planted: the verdicts of tomorrow, and corrections of what is known, told a day after the end.
    later_labels = tmp_path / "tomorrow.jsonl"
    rows = [
        {
            "transaction_id": historical.payment.transaction_id,
            "is_fraud": 0,
            "label_known_at": iso(last + DAY),
        }
        for historical in history.payments
        if historical.fraud
    ]
    later_labels.write_text("\n".join(map(json.dumps, rows)))
    again = retrained(bank, tmp_path / "out", "--trials=2", "--no-tracking", f"--labels={later_labels}")
    assert again["bundle"] == report["bundle"]
    assert_same_archive(report, tmp_path / "out", bank.folder / "challengers")
    # The same told a day before the test slice begins is learned from.
    cut = read_dataset(bank.folder / "challengers" / "features.parquet").info.boundaries
    early = later_labels.with_name("early.jsonl")
    early.write_text(
        "\n".join(json.dumps(row | {"label_known_at": iso(cut.test_from - DAY)}) for row in rows)
    )
    other = retrained(bank, tmp_path / "other", "--trials=0", "--no-tracking", f"--labels={early}")
    assert other["bundle"] != report["bundle"]


def test_features_that_the_champion_has_not_are_refused_unless_they_are_allowed(
    bank: Bank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = other_features(bank, tmp_path)
    options = [f"--config={config}", f"--bundle={bank.champion}", f"--out={tmp_path / 'out'}", "--trials=0"]
    assert main(["retrain", "--plain", "--no-tracking", *options]) == 2
    assert "with --new-features it needs a new state file" in capsys.readouterr().err


def other_features(bank: Bank, folder: Path) -> Path:
    """Return a project file that asks for other features than the champion's."""
    features = msgspec.structs.replace(bank.project.features, calendar=("hour",))
    config = folder / "params.yaml"
    config.write_text(json.dumps(to_plain(msgspec.structs.replace(bank.project, features=features))))
    return config


def test_a_challenger_with_other_features_goes_into_the_shadow_with_its_own_and_the_rules_that_are_live(
    bank: Bank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = ReleaseRegistry(tmp_path / "registry")
    rule = RuleSettings(name="large", when="amount > 900", action="review")
    current_project = msgspec.structs.replace(bank.project, rules=(rule,))
    lifecycle.start(registry, read_bundle(bank.champion), current_project, lifecycle.Author("ann", "a test"))
    config = other_features(bank, tmp_path)
    options = [f"--config={config}", f"--out={tmp_path / 'out'}", f"--registry={registry.path}", "--trials=0"]
    assert main(["retrain", "--plain", "--no-tracking", "--new-features", *options]) == 0
    output = capsys.readouterr()
    assert "the champion has other features" in output.err
    assert "`fraud shadow` extracts them itself, and needs the --history" in output.out
    (config_id,) = lifecycle.current(registry).shadows
    _, project = lifecycle.content_of(registry, config_id)
    assert (project.features, project.rules) == (load_project(config).features, (rule,))


class RecordingTracker:
    """Stands for the registry: what it is given, in order."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []

    def trained(self, bundle: Bundle, directory: Path, rounds: int) -> str:
        assert read_bundle(directory) == bundle
        assert rounds > 0
        self.given.append(("trained", bundle.name))
        return "7"

    def evaluated(self, bundle_name: str, metrics: dict[str, float], pictures: Sequence[Path]) -> None:
        assert metrics["payments_count"] > 0
        assert not pictures
        self.given.append(("evaluated", bundle_name))


def test_a_live_folder_gets_the_challenger_as_a_shadow_and_the_registry_hears_of_it(
    bank: Bank, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker_calls = RecordingTracker()
    for module in ("training.workflow", "challengers.retrain"):
        monkeypatch.setattr(f"fraud_detection.{module}.tracker", lambda _: tracker_calls)
    report = into_the_shadow(bank, tmp_path)
    assert "in shadow mode" in capsys.readouterr().out
    assert report["tracked"] == "7"
    assert tracker_calls.given == [("trained", report["bundle"]), ("evaluated", report["bundle"])]


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # MLflow's own
def test_the_registry_calls_it_the_challenger(bank: Bank, tmp_path: Path) -> None:
    report = into_the_shadow(bank, tmp_path)
    client, model = MlflowTracker(bank.project).client, bank.project.tracking.model
    aliases = client.get_registered_model(model).aliases
    assert str(aliases["challenger"]) == report["tracked"]


def into_the_shadow(bank: Bank, root: Path) -> dict[str, Any]:
    registry = ReleaseRegistry(root / "registry")
    lifecycle.start(registry, read_bundle(bank.champion), bank.project, lifecycle.Author("ann", "a test"))
    champion = lifecycle.current(registry).champion
    report = retrained(bank, root / "out", "--trials=0", f"--registry={registry.path}", "--author=ann")
    now = lifecycle.current(registry)
    assert (now.champion, now.shadows) == (champion, (report["shadow"],))
    assert lifecycle.bundle_of(registry, report["shadow"]).name == report["bundle"]
    return report


@pytest.fixture(scope="module")
def events() -> list[bytes]:
    plain = {"payments": 1_500, "labels": "none", "late_share": 0, "duplicate_share": 0, "malformed_share": 0}
    options = decode(plain, StreamOptions, "test")
    return [
        event.data.rstrip(b"\n")
        for chunk in SimulatedStream(SIMULATION, options).chunks(0)
        for event in chunk
    ]


def decided(bank: Bank, state: Path, events: list[bytes]) -> Path:
    service = open_service(bank.champion, state)[1]
    for start in range(0, len(events), 100):
        service.take(Batch(events[start : start + 100], None, 0), "test")
        service.run_deferred_work()
    service.close()
    return state


def test_a_schedule_waits_until_labels_are_old_enough(
    bank: Bank, events: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = decided(bank, tmp_path / "state.db", events[:300])
    champion = read_bundle(bank.champion)
    last = latest_time([state])
    assert last is not None
    learned = dt.datetime.fromisoformat(champion.manifest.periods.labels_as_of)
    age = last - round(learned.timestamp() * 1000)
    assert older_than(champion, last, age).due
    assert not older_than(champion, last, age + 1).due
    report = retrained(bank, tmp_path / "out", f"--state={state}", "--when-older-than=900d", "--no-tracking")
    assert report["due"] is False
    assert "not yet" in capsys.readouterr().out
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert main(["retrain", f"--config={bank.config}", "--when-drifted", f"--bundle={bank.champion}"]) == 2
    assert "name a state file with --state" in capsys.readouterr().err


def test_drift_is_seen_in_what_was_served_and_nothing_is_seen_in_too_few(
    bank: Bank, events: list[bytes], tmp_path: Path
) -> None:
    champion = read_bundle(bank.champion)
    changed = []
    for event in events:
        payment = json.loads(event)
        changed.append(json.dumps(payment | {"amount": round(20 * payment["amount"], 2)}).encode())
    state = decided(bank, tmp_path / "changed.db", changed)
    last = latest_time([state]) or 0
    drift = drift_of(champion, [state], last)
    assert drift.features["amount"] >= DRIFTED
    assert drift.reason().due
    few = decided(bank, tmp_path / "few.db", changed[: MIN_PAYMENTS // 2])
    assert not drift_of(champion, [few], latest_time([few]) or 0).reason().due
    # Nothing that came later than the moment is looked at.
    assert drift_of(champion, [state], last - 400 * DAY).payments == 0


def test_payments_that_go_on_as_before_have_not_drifted(
    bank: Bank, events: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first champion has learned from little more than a week: no yardstick of anything.
    champion = tmp_path / "later" / "bundle"
    options = ["--plain", "--no-tracking", f"--config={bank.config}", f"--bundle={champion}"]
    assert main(["train", *options]) == 0
    bank = msgspec.structs.replace(bank, champion=champion)
    state = tmp_path / "state.db"
    service = open_service(champion, state)[1]
    preload_history(service, bank.project, bank.history, lambda *_: None)
    service.close()
    decided(bank, state, events)
    drift = drift_of(read_bundle(champion), [state], latest_time([state]) or 0)
    assert drift.payments >= MIN_PAYMENTS
    assert drift.score is not None
    assert not drift.reason().due, drift
    # A rate that follows labels may move, and is reported.
    assert drift.risk
    report = retrained(bank, tmp_path / "out", f"--state={state}", "--when-drifted", "--when-older-than=900d")
    assert report["due"] is False
    assert "no drift: the largest index is" in capsys.readouterr().err


def test_a_scheduler_that_runs_every_night_does_not_train_while_a_young_challenger_waits(
    bank: Bank, tmp_path: Path
) -> None:
    registry, now = ReleaseRegistry(tmp_path / "registry"), dt.datetime.now(dt.UTC)
    champion, day_ms = read_bundle(bank.champion), 86_400_000
    lifecycle.start(registry, champion, champion.contents.project, lifecycle.Author("ann", "begins"))
    other = RuleSettings(name="other", when="amount > 1", action="review")
    project = msgspec.structs.replace(champion.contents.project, rules=(other,))
    lifecycle.set_shadows(registry, [(champion, project)], lifecycle.Author("ann", "by hand"))
    assert young_challenger(registry, now, 7 * day_ms) is None
    project = msgspec.structs.replace(project, rules=(msgspec.structs.replace(other, name="another"),))
    lifecycle.set_shadows(
        registry, [(champion, project)], lifecycle.Author("cron", f"{RETRAINED} {champion.name}")
    )
    waits = young_challenger(registry, now + dt.timedelta(days=6.5), 7 * day_ms)
    assert waits is not None
    assert not waits.due
    assert waits.message == (
        "release 3 put a challenger into the shadow 6.5 days ago: another one comes after 7"
    )
    assert young_challenger(registry, now + dt.timedelta(days=7.1), 7 * day_ms) is None


def test_a_challenger_is_trained_of_what_was_decided_too(
    bank: Bank, events: list[bytes], tmp_path: Path
) -> None:
    state = decided(bank, tmp_path / "state.db", events)
    report = retrained(
        bank, tmp_path / "out", f"--state={state}", "--trials=0", "--no-tracking", "--when-older-than=7d"
    )
    assert report["due"] is True
    table = read_dataset(tmp_path / "out" / "features.parquet")
    ids = {json.loads(event)["transaction_id"] for event in events}
    assert ids <= set(table.transaction_id)
