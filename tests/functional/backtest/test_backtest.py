"""A change tried on history: the same decisions as live, nothing from the future, tables made once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fraud_detection.adapters.files.tables import read_columns, write_columns
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.backtesting.replay import arms_of, learned_until, redecide_history, window_of
from fraud_detection.backtesting.report import BacktestSettings, backtest
from fraud_detection.cli.main import main
from fraud_detection.core.decision_settings import DeclineCapSettings, ListEntry, ListSettings, RuleSettings
from fraud_detection.core.decoding import Duration, to_plain
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Split
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.evaluation.compare import compare
from fraud_detection.evaluation.comparison import Comparison, Report
from fraud_detection.evaluation.evaluation_set import ArmDecisions, EvaluationSet
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.project.change_set import Change, apply_change, load_change
from fraud_detection.serving.batch.score_file import score_file
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.training.stages import make_features
from fraud_detection.training.tables.cache import ready_table, why_not
from fraud_detection.training.tables.dataset import read_dataset, read_info
from fraud_detection.training.tables.historical_rows import HistoricalTable
from fraud_detection.training.workflow import train
from tests.conftest import SmallSimulation
from tests.root import ROOT

EXAMPLES = ROOT / "examples" / "changes"
EVERYTHING = RuleSettings(name="everything", when="True", action="decline")
DEAR = RuleSettings(
    name="dear",
    when="amount > 1.5 * card_amount_mean_30d and merchant_category != 'grocery'",
    action="review",
)
CENTS = RuleSettings(name="cents", when="card_amount_sum_1d >= 33.33 or amount >= 19.99", action="review")

OFTEN = RuleSettings(name="often", when="card_count_1d >= 3", action="decline")
DECLINE_CAP = DeclineCapSettings(interval=Duration.parse("1d"), share=0.05, min_payments=20)
WATCHED = ListSettings(name="watched", kind="watch", of="channel", entries=(ListEntry(value="atm"),))


def silent(*_: object) -> None:
    """Say nothing."""


def decided(
    simulation: SmallSimulation, changes: list[Change], **window: int
) -> tuple[EvaluationSet, list[ArmDecisions]]:
    table = HistoricalTable(simulation.features, simulation.project.schema)
    whole = window_of(table, read_bundle(simulation.bundle), 0, None, None)
    part = replace(whole, **window)
    return redecide_history(table, arms_of(simulation.project, simulation.bundle, changes), part, silent)


def test_history_is_decided_as_the_services_decide_it(small_simulation: SmallSimulation) -> None:
    """Every payment of the file, by `fraud score` and by the backtest: action, score and rules alike."""
    change = Change(name="more", rules=(DEAR, CENTS, OFTEN), lists=(WATCHED,), decline_cap=DECLINE_CAP)
    evaluation_set, (_, decisions) = decided(small_simulation, [change])
    lines: list[bytes] = []
    engine = load_engine(small_simulation.bundle, apply_change(small_simulation.project, change))
    score_file(engine, small_simulation.history, lines.append, silent)
    served = {one["transaction_id"]: one for one in map(json.loads, lines)}
    assert len(served) == len(evaluation_set)
    own = {"score", "no_score", "decline_cap", "watched", *(rule.name for rule in engine.project.rules)}
    fired: Counter[str] = Counter()
    for row, one in enumerate(evaluation_set.transaction_id.tolist()):
        live = served[one]
        codes = tuple(reason["code"] for reason in live["reasons"] if reason["code"] in own)
        assert ("approve", "review", "decline")[decisions.action[row]] == live["action"]
        assert decisions.score[row] == live["score"]
        assert decisions.codes(row) == codes
        fired.update(codes)
    assert all(fired[code] > 20 for code in ("cents", "decline_cap", "watched", "often", "score"))


def test_a_change_of_nothing_differs_nowhere(small_simulation: SmallSimulation) -> None:
    evaluation_set, (baseline, same) = decided(small_simulation, [Change(name="same")])
    assert np.array_equal(baseline.action, same.action)
    comparison = compare(evaluation_set, baseline, same, small_simulation.project.costs)
    assert comparison.all_payments.changed == 0


def test_declining_everything_hurts_every_good_customer(small_simulation: SmallSimulation) -> None:
    evaluation_set, (baseline, change) = decided(small_simulation, [Change(name="all", rules=(EVERYTHING,))])
    comparison = compare(evaluation_set, baseline, change, small_simulation.project.costs)
    assert comparison.total is not None
    arm = comparison.total.variant.outcomes
    assert arm is not None
    mature = np.isin((evaluation_set.event_time - 4 * DAY_MS) // (7 * DAY_MS), mature_weeks(comparison))
    good = mature & (evaluation_set.label == 0)
    assert arm.good_declined.payments == good.sum() > 1000
    assert arm.good_declined.cards == np.unique(evaluation_set.card.codes[good]).size
    assert arm.frauds_missed == 0
    assert arm.recall.value == 1.0


def mature_weeks(comparison: Comparison) -> list[int]:
    starts = [np.datetime64(week.since[:10]).astype(int) for week in comparison.weeks if week.mature]
    return [int((day - 4) // 7) for day in starts]


def report(simulation: SmallSimulation, tmp_path: Path, features: Path, as_of: int | None = None) -> Report:
    path = tmp_path / "change.yaml"
    path.write_text("name: stricter\npolicy: {review_at: 0.05, decline_at: 0.4}\n")
    settings = BacktestSettings((path,), simulation.bundle, features, start=0, as_of=as_of)
    return backtest(simulation.project, settings, silent, silent)


AS_OF_DAYS = 55.5


def table_of_then(simulation: SmallSimulation, as_of: int, out: Path) -> Path:
    """Write the table that somebody would have made at that moment."""
    split = Split(validation_share=0.1, test_share=0.1)
    project = msgspec.structs.replace(simulation.project, split=split)
    make_features(project, simulation.history, out, silent, as_of=as_of)
    return out


@pytest.fixture(scope="module")
def then(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table_of_then(
        small_simulation, moment(small_simulation), tmp_path_factory.mktemp("then") / "then.parquet"
    )


def moment(simulation: SmallSimulation) -> int:
    return int(read_dataset(simulation.features).event_time[0]) + round(AS_OF_DAYS * DAY_MS)


def test_a_backtest_as_of_a_moment_is_the_one_somebody_would_have_made_then(
    small_simulation: SmallSimulation, then: Path, tmp_path: Path
) -> None:
    as_of = moment(small_simulation)
    now = report(small_simulation, tmp_path, small_simulation.features, as_of)
    assert now.variants == report(small_simulation, tmp_path, then).variants
    (variant,) = now.variants
    weeks = [week.mature for week in variant.comparison.weeks]
    assert True in weeks
    assert False in weeks
    assert variant.comparison.total is not None
    assert variant.comparison.total.frauds


def test_a_label_that_is_used_before_it_was_known_is_noticed(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    """A leak in the table's place: every label pretends to have been known at once."""
    as_of = moment(small_simulation)
    columns, metadata = read_columns(small_simulation.features)
    leaked = {**columns, "known_at": columns["event_time"]}
    write_columns(tmp_path / "leaked.parquet", leaked, metadata)
    honest = report(small_simulation, tmp_path, small_simulation.features, as_of).variants[0].comparison.total
    leaky = (
        report(small_simulation, tmp_path, tmp_path / "leaked.parquet", as_of).variants[0].comparison.total
    )
    assert honest is not None
    assert leaky is not None
    assert leaky != honest
    assert (leaky.frauds or 0) > (honest.frauds or 0)


def test_an_evaluation_that_is_given_later_labels_refuses(small_simulation: SmallSimulation) -> None:
    """A leak: labels of the end of history, evaluated as of an earlier moment."""
    as_of = moment(small_simulation)
    evaluation_set, _ = decided(small_simulation, [], as_of=as_of, end=as_of + 1)
    dataset = read_dataset(small_simulation.features)
    assert (evaluation_set.label == UNKNOWN).any()
    with pytest.raises(ConfigError, match=r"labels are later than `as_of`"):
        replace(
            evaluation_set,
            label=dataset.label[: len(evaluation_set)],
            known_at=dataset.known_at[: len(evaluation_set)],
        )


def test_a_table_knows_no_more_than_it_was_made_with(
    small_simulation: SmallSimulation, then: Path, tmp_path: Path
) -> None:
    as_of = moment(small_simulation)
    with pytest.raises(ConfigError, match="made as of an earlier moment than --as-of"):
        report(small_simulation, tmp_path, then, as_of + 1)


def test_a_table_is_made_once_and_again_only_for_other_history_or_other_features(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    project, history = small_simulation.project, small_simulation.history
    table, made, messages = tmp_path / "kept.parquet", list[Path](), list[str]()

    def make(out: Path) -> None:
        made.append(out)
        make_features(project, history, out, silent)

    for _ in range(2):
        assert ready_table(project, table, [history], make, messages.append) == table
    assert (made, len(messages)) == ([table], 1)
    assert "there is none yet" in messages[0]
    other_table = tmp_path / "other.parquet"
    other_table.write_bytes(history.read_bytes() + b" ")
    assert why_not(project, table, [other_table]) == "it was made of other history"
    fewer = msgspec.structs.replace(project, features=msgspec.structs.replace(project.features, buckets=12))
    assert why_not(fewer, table, [history]) == "it was made of other features"
    with pytest.raises(ConfigError, match="is no feature table"):
        why_not(project, history, [history])


def test_another_bundle_is_tried_with_its_own_scores(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    """A model of another month has other codes for the same categories; the table serves both."""
    project = msgspec.structs.replace(
        small_simulation.project,
        split=Split(burn_in=Duration.parse("3d"), validation_share=0.1, test_share=0.1),
    )
    table, bundle = tmp_path / "f.parquet", tmp_path / "bundle"
    make_features(project, small_simulation.history, table, silent)
    train(project, table, bundle)
    assert read_info(table).category_encoding != read_info(small_simulation.features).category_encoding
    (tmp_path / "new.yaml").write_text("name: new\nbundle: bundle\n")
    change = load_change(tmp_path / "new.yaml")
    historical_table = HistoricalTable(small_simulation.features, small_simulation.project.schema)
    window = window_of(historical_table, read_bundle(small_simulation.bundle), None, None, None)
    # It learned from the earlier ones, and would look better there than it is.
    assert (
        window.start >= learned_until(read_bundle(small_simulation.bundle)) > int(historical_table.times()[0])
    )
    arms = arms_of(small_simulation.project, small_simulation.bundle, [change])
    evaluation_set, (_, decisions) = redecide_history(historical_table, arms, window, silent)
    own = read_dataset(table).slice(window.start, window.end)
    scores = load_engine(bundle, small_simulation.project).strategy.scorer
    assert isinstance(scores, XGBoostScorer)
    assert own.transaction_id.tolist() == evaluation_set.transaction_id.tolist()
    assert decisions.score.tolist() == list(scores.score(own.features))


def test_the_command_prints_the_money_and_writes_the_report(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, change = tmp_path / "params.yaml", tmp_path / "change.yaml"
    config.write_bytes(msgspec.yaml.encode(to_plain(small_simulation.project)))
    change.write_text("name: stricter\nowner: ann\npolicy: {review_at: 0.05, decline_at: 0.4}\n")
    paths = [
        f"--config={config}",
        f"--bundle={small_simulation.bundle}",
        f"--features={small_simulation.features}",
    ]
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    command = ["backtest", f"--change={change}", *paths, f"--out={out}", f"--json={figures}"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "stricter: review_at: 0.05 in place of what training chose" in printed
    assert "money saved" in printed
    report = msgspec.json.decode((out / "backtest.json").read_bytes(), type=Report)
    assert report.variants[0].comparison.all_payments.changed > 0
    assert report.variants[0].owner == "ann"
    assert json.loads(figures.read_text())["variants"][0]["name"] == "stricter"
    again = tmp_path / "again"
    assert main([*command[:-2], f"--out={again}"]) == 0
    assert (again / "backtest.json").read_bytes() == (out / "backtest.json").read_bytes()
    shown = (out / "backtest.html").read_text()
    assert shown == (again / "backtest.html").read_text()
    assert "stricter" in shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("name: baseline\n", "`baseline` is taken by what is in force"),
        ("name: c\nrules: [{name: r, when: card_cuont > 1, action: review}]\n", "nearest"),
        ("name: c\nbundle: nowhere\n", "nowhere"),
        ("name: c\nlists: [{name: l, kind: deny, of: crad}]\n", "no entity or category"),
        ("name: c\nentries: {nobody: []}\n", "no list `nobody`"),
    ],
)
def test_a_change_that_cannot_be_tried_is_refused_before_any_work(
    small_simulation: SmallSimulation, tmp_path: Path, change: str, message: str
) -> None:
    (tmp_path / "c.yaml").write_text(change)
    with pytest.raises(ConfigError, match=message):
        arms_of(small_simulation.project, small_simulation.bundle, [load_change(tmp_path / "c.yaml")])


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_changes_that_are_shown_fit_the_simulated_project(
    small_simulation: SmallSimulation, example: Path
) -> None:
    change = load_change(example)
    assert change.owner
    assert change.reason
    (baseline, arm) = arms_of(small_simulation.project, small_simulation.bundle, [change])
    assert arm.project != baseline.project
