"""After `train --refit`: what the next commands evaluate, and what a person is told of it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fraud_detection.cli.main import main
from fraud_detection.cli.train.quality import quality_lines, quality_warnings
from fraud_detection.core.decoding import to_plain
from fraud_detection.core.project_schema import Costs, Project
from fraud_detection.core.score.archive import read_bundle
from tests.conftest import SmallSimulation

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def refitted(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which `fraud train --refit` has run."""
    folder = tmp_path_factory.mktemp("refitted")
    plain = to_plain(small_simulation.project)
    (folder / "params.yaml").write_bytes(msgspec.yaml.encode(plain))
    (folder / "lower.yaml").write_text(
        "name: lower\nowner: ann\nreason: a trial\npolicy: {review_at: 0.01, decline_at: 0.9}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code = main(
            ["train", "--refit", "--no-tracking", "--data", str(small_simulation.history), "--json", "t.json"]
        )
    assert code == 0
    return folder


def test_evaluate_takes_the_bundle_that_was_evaluated_and_reports_it(
    refitted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(refitted)
    table = "build/features.parquet"
    assert main(["evaluate", "--no-tracking", "--features", table, "--json", "e.json"]) == 0
    evaluated = read_bundle(refitted / "build/bundle").manifest.evaluated_as
    output = capsys.readouterr().err
    assert evaluated is not None
    assert f"these are the figures of {evaluated}" in output
    trained, evaluated = (json.loads((refitted / name).read_bytes()) for name in ("t.json", "e.json"))
    assert trained == evaluated


def test_a_backtest_takes_the_bundle_that_was_evaluated_on_its_test_slice_and_reports_it(
    small_simulation: SmallSimulation,
    refitted: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(refitted)
    data = ["--data", str(small_simulation.history)]
    assert main(["backtest", "--change", "lower.yaml", *data, "--json", "b.json"]) == 0
    report = json.loads((refitted / "b.json").read_bytes())
    evaluated = read_bundle(refitted / "build/bundle").manifest.evaluated_as
    assert report["bundle"] == evaluated
    assert "was refit on this history" in capsys.readouterr().out
    test_slice = json.loads((refitted / "t.json").read_bytes())["payments_count"]
    assert report["variants"][0]["comparison"]["all_payments"]["payments"] >= test_slice


def metrics(**others: float) -> dict[str, float]:
    names = (
        "days payments_count frauds_count fraud_rate average_precision average_precision_low "
        "average_precision_high auc recall_at_0_1_percent_false_positives "
        "recall_at_1_percent_false_positives amount_only_average_precision review_rate "
        "decline_rate reviewed_recall declined_recall reviews_per_day declines_per_day precision "
        "money_saved_major_units cost_approving_all_major_units accuracy accuracy_always_legitimate"
    )
    return dict.fromkeys(names.split(), 0.25) | others


def test_training_ends_with_what_is_stopped_and_what_that_catches(refitted: Path) -> None:
    metrics = json.loads((refitted / "t.json").read_bytes())
    text = "\n".join(quality_lines(metrics))
    assert f"reviewed: {100 * metrics['review_rate']:.2f} % of payments" in text
    assert f"with {100 * metrics['declined_recall']:.1f} % of frauds" in text
    assert metrics["reviewed_recall"] + metrics["declined_recall"] == pytest.approx(
        metrics["recall"], abs=1e-5
    )
    assert "_" not in text
    assert "e+0" not in text


def test_a_model_that_ranks_worse_than_the_amount_is_a_warning(small_simulation: SmallSimulation) -> None:
    project = msgspec.structs.replace(small_simulation.project, costs=Costs(review=4.0))
    worse = metrics(average_precision=0.16, amount_only_average_precision=0.33)
    (warning,) = quality_warnings(worse, project)
    assert "the amount alone ranks frauds better than the model (average precision 0.330 against" in warning
    assert not list(quality_warnings(metrics(), project))


def test_costs_that_nobody_gave_are_a_warning(small_simulation: SmallSimulation) -> None:
    project: Project = msgspec.structs.replace(small_simulation.project, costs=Costs())
    assert ["costs that nobody has given" in one for one in quality_warnings(metrics(), project)] == [True]
