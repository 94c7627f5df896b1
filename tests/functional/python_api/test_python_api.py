"""The public Python API: the same answers as the commands, on frames of any library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fraud_detection as fd
from fraud_detection import python_api
from fraud_detection.cli.main import main
from tests.conftest import SmallSimulation


@pytest.fixture(scope="module")
def bundle(small_simulation: SmallSimulation) -> fd.Bundle:
    return fd.load_bundle(small_simulation.bundle)


@pytest.fixture(scope="module")
def payments(small_simulation: SmallSimulation) -> pa.Table:
    """Return the last payments of the history, as a frame."""
    table = pq.read_table(small_simulation.history)
    return table.slice(table.num_rows - 300)


def earlier(small_simulation: SmallSimulation) -> pa.Table:
    table = pq.read_table(small_simulation.history)
    return table.slice(0, table.num_rows - 300)


def test_a_frame_gets_the_decisions_that_the_command_gives_its_file(
    small_simulation: SmallSimulation, bundle: fd.Bundle, payments: pa.Table, tmp_path: Path
) -> None:
    before, file, out = tmp_path / "before.parquet", tmp_path / "payments.parquet", tmp_path / "out.jsonl"
    pq.write_table(earlier(small_simulation), before)
    pq.write_table(payments, file)
    arguments = [f"--bundle={small_simulation.bundle}", f"--history={before}", f"--out={out}"]
    assert main(["score", str(file), *arguments]) == 0
    expected = [json.loads(line) for line in out.read_bytes().splitlines()]
    scored = bundle.score(payments, history=earlier(small_simulation))
    assert isinstance(scored, pa.Table)
    assert scored.num_rows == len(expected) == 300
    assert scored["action"].to_pylist() == [record["action"] for record in expected]
    assert scored["score"].to_pylist() == [record["score"] for record in expected]
    assert scored["transaction_id"].to_pylist() == [record["transaction_id"] for record in expected]


@pytest.mark.filterwarnings("ignore:Series.values returning")  # pyarrow's use of pandas
def test_pandas_in_is_pandas_out(bundle: fd.Bundle, payments: pa.Table) -> None:
    pandas = pytest.importorskip("pandas")
    scored = bundle.score(payments.to_pandas().head(20))
    assert isinstance(scored, pandas.DataFrame)
    assert len(scored) == 20


def test_contributions_and_the_score_agree_whatever_the_payment(
    bundle: fd.Bundle, payments: pa.Table
) -> None:
    """SHAP values add up to the margin, of which the score is a rising function."""

    def score(explanation: fd.Explanation) -> float:
        assert explanation.score is not None
        return explanation.score

    explanations = [bundle.explain(payments.slice(row, 1)) for row in (0, 7, 100, 250)]
    assert {len(explanation.influences) for explanation in explanations} == {len(bundle.features)}
    order = sorted(explanations, key=lambda one: sum(part.contribution for part in one.influences))
    assert [score(one) for one in order] == sorted(score(explanation) for explanation in explanations)
    assert all("<table>" in explanation._repr_html_() for explanation in explanations)


def test_a_row_that_cannot_be_decided_reports_why_in_its_place(bundle: fd.Bundle, payments: pa.Table) -> None:
    rows = payments.slice(0, 3).to_pylist()
    rows[1]["event_time"] = None
    scored = bundle.score(pa.Table.from_pylist(rows, schema=payments.schema))
    assert [explanation is None for explanation in scored["problem"].to_pylist()] == [True, False, True]
    assert scored["action"].to_pylist()[1] is None


@pytest.mark.parametrize("data", [[1, 2], None, {"a": [1]}], ids=str)
def test_what_is_no_frame_is_refused_with_what_to_give(bundle: fd.Bundle, data: object) -> None:
    with pytest.raises(fd.ConfigError, match="expected a path or a data frame"):
        bundle.score(data)


@pytest.mark.usefixtures("no_pictures")
def test_the_whole_way_from_a_frame_to_money_saved(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    table = pq.read_table(small_simulation.history)
    proposal = fd.propose(table)
    assert proposal.findings
    project = fd.load_project(proposal.save(tmp_path / "params.yaml"))
    assert project == proposal.project
    assert project.history == "payments.parquet"  # and no file that was there for a moment
    made = fd.features(table.slice(0, 2000), project)
    assert made.num_rows == 2000
    training = fd.train(table, project, tmp_path / "bundle")
    assert 0 < training.metrics["average_precision"] <= 1
    change = {"name": "stricter", "policy": {"review_at": 0.001, "decline_at": 0.002}}
    tried = fd.backtest(table, project, training.bundle, change)
    comparison = tried.report.variants[0].comparison
    assert comparison.total is not None
    assert comparison.total.variant.declined > comparison.total.baseline.declined
    for report in (proposal, training, tried, training.bundle):
        assert "<table>" in report._repr_html_() or "<iframe" in report._repr_html_()


def test_importing_the_package_loads_nothing_until_a_name_is_used() -> None:
    code = (
        "import sys, fraud_detection as fd; before = set(sys.modules); "
        "assert 'numpy' not in before and 'fraud_detection.python_api' not in before; "
        "fd.propose; "
        "assert 'fraud_detection.python_api' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - ours
    assert fd.__all__ == python_api.__all__
    assert all(getattr(fd, name) is getattr(python_api, name) for name in fd.__all__)
    with pytest.raises(AttributeError, match="no attribute 'guess'"):
        fd.guess  # noqa: B018


def test_a_wrong_argument_of_propose_is_refused_with_the_nearest_right_one(payments: pa.Table) -> None:
    with pytest.raises(TypeError, match=r"propose\(\) got .* 'amout'; did you mean 'amount'\?"):
        fd.propose(payments, amout="amount")
    with pytest.raises(TypeError, match=r"propose\(\) got .* 'xyz'; it has id, time, .*, test_from"):
        fd.propose(payments, xyz=1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"label_delay": "soon"}, "^`label_delay`: "),
        ({"entities": {"card": "card_id"}, "no_entities": True}, "^`entities` and `no_entities` contradict"),
        ({"numbers": ("card_id",)}, "^`numbers` card_id: "),
    ],
    ids=str,
)
def test_an_error_of_propose_names_arguments_and_no_options(
    payments: pa.Table, overrides: dict[str, object], message: str
) -> None:
    with pytest.raises(fd.ConfigError, match=message) as error:
        fd.propose(payments, **overrides)
    assert "--" not in str(error.value)


def test_a_proposal_names_arguments_where_it_says_what_else_could_be_used(
    small_simulation: SmallSimulation,
) -> None:
    table = pq.read_table(small_simulation.history).drop_columns(["is_fraud", "label_known_at"])
    findings = " ".join(fd.propose(table).findings)
    assert "name a column with `label`" in findings
    assert "--" not in findings


def test_an_error_of_a_missing_project_file_names_what_a_program_can_call(tmp_path: Path) -> None:
    with pytest.raises(fd.ConfigError, match=r"fd\.propose\(payments\)\.save.* with `path`$"):
        fd.load_project(tmp_path / "no.yaml")


def test_training_without_labels_names_the_command_that_takes_them(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    table = pq.read_table(small_simulation.history).drop_columns(["is_fraud"])
    with pytest.raises(fd.ConfigError, match=r"a file of them with `fraud features --labels`$"):
        fd.train(table, small_simulation.project, tmp_path / "bundle")


def test_a_backtest_on_too_short_a_history_names_the_command_that_takes_a_later_moment(
    small_simulation: SmallSimulation, bundle: fd.Bundle
) -> None:
    table = pq.read_table(small_simulation.history).slice(0, 2000)
    change = {"name": "stricter", "policy": {"review_at": 0.1, "decline_at": 0.2}}
    with pytest.raises(fd.ConfigError, match=r"that moment with `fraud backtest --as-of`$"):
        fd.backtest(table, small_simulation.project, bundle, change)
