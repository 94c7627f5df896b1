"""Labels from a file: into a state file, to a running server, into a table, each as of its moment."""

from __future__ import annotations

import csv
import datetime as dt
import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.cli.main import main
from fraud_detection.core.decoding import Duration
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.history.load import read_history
from fraud_detection.training.stages import make_features
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.tables.dataset import read_dataset
from fraud_detection.training.workflow import evaluate, train
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import served
from tests.smaller import few_features
from tests.states import open_service

pytestmark = pytest.mark.usefixtures("no_pictures")

DAY = 86_400_000


def iso(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).isoformat()


def write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def decided(simulation: SmallSimulation, state: Path, count: int) -> list[dict[str, Any]]:
    events = simulation.events(count, labels="none", late_share=0, duplicate_share=0, malformed_share=0)
    service = open_service(simulation.bundle, state)[1]
    service.take(Batch(events, None, 0), "test")
    service.close()
    return [json.loads(event) for event in events]


def label_of(payment: dict[str, Any], days: int, *, fraud: int, source: str = "analyst") -> dict[str, object]:
    at = dt.datetime.fromisoformat(payment["event_time"]) + dt.timedelta(days=days)
    return {
        "transaction_id": payment["transaction_id"],
        "is_fraud": fraud,
        "label_known_at": at.isoformat(),
        "source": source,
        "happened_at": (at - dt.timedelta(days=1)).isoformat(),
    }


def stored_labels(state: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(state) as db:
        columns = "transaction_id, fraud, source, supersedes_known_at IS NOT NULL, redundant, happened_at"
        return db.execute(f"SELECT {columns} FROM labels ORDER BY seq").fetchall()  # noqa: S608 - ours


def imported(tmp_path: Path, *arguments: str) -> dict[str, int]:
    figures = tmp_path / "figures.json"
    assert main(["label", "import", "--plain", f"--json={figures}", *arguments]) == 0
    found: dict[str, int] = json.loads(figures.read_text())
    return found


def test_no_decision_is_overwritten_and_nothing_counts_twice(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    first, second, third = decided(small_simulation, state, 3)
    rows = [
        label_of(first, 5, fraud=1, source="customer"),
        label_of(first, 9, fraud=1, source="chargeback"),
        label_of(first, 20, fraud=0, source="chargeback"),
        label_of(second, 3, fraud=0),
        {**label_of(third, 3, fraud=1), "transaction_id": "still to come"},
    ]
    file = write_csv(tmp_path / "labels.csv", rows)
    arguments = (str(file), f"--bundle={small_simulation.bundle}", f"--state={state}")
    expected = {"learned": 4, "redundant": 1, "duplicates": 0, "refused": 0, "waiting": 1}
    assert imported(tmp_path, *arguments) == expected
    assert imported(tmp_path, *arguments) == {
        "learned": 0,
        "redundant": 0,
        "duplicates": 5,
        "refused": 0,
        "waiting": 0,
    }
    transaction_id = first["transaction_id"]
    stored = stored_labels(state)
    assert [row[1:5] for row in stored if row[0] == transaction_id] == [
        (1, "customer", 0, 0),
        (1, "chargeback", 0, 1),
        (0, "chargeback", 1, 0),
    ]
    assert all(row[5] is not None for row in stored)


def test_a_row_that_is_no_label_is_refused_with_its_reason_and_the_others_are_learned(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.db"
    first, second = decided(small_simulation, state, 2)
    rows = [
        label_of(first, 5, fraud=1),
        {**label_of(second, 5, fraud=1), "is_fraud": "perhaps"},
        {**label_of(second, 5, fraud=1), "happened_at": label_of(second, 9, fraud=1)["label_known_at"]},
        {**label_of(second, 5, fraud=1), "source": "x" * 41},
    ]
    file = write_csv(tmp_path / "labels.csv", rows)
    counts = imported(tmp_path, str(file), f"--bundle={small_simulation.bundle}", f"--state={state}")
    assert (counts["learned"], counts["refused"]) == (1, 3)
    output = capsys.readouterr()
    text = output.out + output.err
    again = "; correct it and import the file again"
    verdict = "a label needs a verdict that the schema declares - at `$.is_fraud`"
    assert f"{file}, row 2: {verdict}{again}" in text
    assert f"{file}, row 3: a label cannot be known before it happened - at `$.happened_at`{again}" in text
    assert f"at most 40 letters - at `$.source`{again}" in text
    assert "3 refused; when the file is imported again, each label counts once" in text


@pytest.mark.parametrize("to_a_server", [False, True])
def test_a_file_of_which_every_row_is_refused_is_no_success(
    small_simulation: SmallSimulation,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    to_a_server: bool,
) -> None:
    state = tmp_path / "state.db"
    payments = decided(small_simulation, state, 3)
    rows = [{**label_of(payment, 5, fraud=1), "is_fraud": "perhaps"} for payment in payments]
    command = ["label", "import", str(write_csv(tmp_path / "labels.csv", rows)), "--plain"]
    command.append(f"--json={tmp_path / 'figures.json'}")
    if to_a_server:
        with served(small_simulation, state) as server:
            assert main([*command, f"--to=http://127.0.0.1:{server.port}"]) == 2
            server.stop()
    else:
        assert main([*command, f"--bundle={small_simulation.bundle}", f"--state={state}"]) == 2
    output = capsys.readouterr().err
    assert "none of its 3 rows was imported; row 1: a label needs a verdict" in output
    assert "at `$.is_fraud`" in output
    assert "import it again" in output
    # The figures are written all the same, and what was refused left no label behind.
    assert json.loads((tmp_path / "figures.json").read_text())["refused"] == 3
    assert stored_labels(state) == []


def test_a_file_that_comes_again_is_a_success_though_nothing_is_new(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    (payment,) = decided(small_simulation, state, 1)
    rows = [label_of(payment, 5, fraud=1), {**label_of(payment, 5, fraud=1), "is_fraud": "perhaps"}]
    file = write_csv(tmp_path / "labels.csv", rows)
    for learned in (1, 0):
        counts = imported(tmp_path, str(file), f"--bundle={small_simulation.bundle}", f"--state={state}")
        assert (counts["learned"], counts["duplicates"], counts["refused"]) == (learned, 1 - learned, 1)


def test_a_running_server_learns_the_labels_of_a_file(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.db"
    payments = decided(small_simulation, state, 4)
    file = write_csv(tmp_path / "labels.csv", [label_of(payment, 4, fraud=1) for payment in payments])
    with served(small_simulation, state) as server:
        # The state is the server's: whoever wants to write beside it is told so.
        command = ["label", "import", str(file), f"--bundle={small_simulation.bundle}", f"--state={state}"]
        assert main(command) == 2
        assert "another process" in capsys.readouterr().err
        counts = imported(tmp_path, str(file), f"--to=http://127.0.0.1:{server.port}/")
        assert (counts["learned"], counts["refused"]) == (4, 0)
        again = imported(tmp_path, str(file), f"--to=http://127.0.0.1:{server.port}")
        assert (again["learned"], again["duplicates"]) == (0, 4)
        server.stop()
    assert [row[1] for row in stored_labels(state)] == [1] * 4
    assert main(["label", "import", str(file), "--to=http://127.0.0.1:1"]) == 2
    assert "cannot be reached" in capsys.readouterr().err


def test_a_table_as_of_a_moment_is_that_of_a_file_which_ended_there(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    project, history = small_simulation.project, small_simulation.history
    whole = read_history(project, history, lambda *_: None)
    times = [historical.payment.event_time for historical in whole.payments]
    as_of = times[len(times) // 2]
    corrections = write_csv(
        tmp_path / "corrections.csv",
        [
            {
                "transaction_id": historical.payment.transaction_id,
                "is_fraud": 0,
                "label_known_at": iso(historical.known_at + 3 * DAY),
            }
            for historical in whole.payments
            if historical.fraud
        ],
    )
    early = read_history(project, history, lambda *_: None, [corrections], as_of)
    known = {
        historical.payment.transaction_id: [(label.fraud, label.known_at) for label in historical.labels()]
        for historical in early.payments
    }
    naive = {}
    for historical in whole.payments:
        if historical.payment.event_time <= as_of:
            labels = [(label.fraud, label.known_at) for label in historical.labels()]
            labels += [(False, historical.known_at + 3 * DAY)] if historical.fraud else []
            naive[historical.payment.transaction_id] = [label for label in labels if label[1] <= as_of]
    assert known == naive
    assert any(len(one) == 2 for one in known.values())
    assert any(not one for one in known.values())


def test_a_file_of_labels_that_cannot_be_read_at_all_is_refused_with_the_first_reason(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    wrong = write_csv(tmp_path / "wrong.csv", [{"id": "t1", "verdict": 1}, {"id": "t2", "verdict": 0}])
    with pytest.raises(ConfigError, match=r"wrong\.csv: none of 2 labels can be read; the first: .*`\$"):
        read_history(small_simulation.project, small_simulation.history, lambda *_: None, [wrong])


def labelled_in_days(project: Project) -> Project:
    """Return the project with a delay that leaves room for its slices before the end of a short history."""
    assert project.schema.label is not None
    label = msgspec.structs.replace(project.schema.label, delay=Duration.parse("4d"))
    return msgspec.structs.replace(project, schema=msgspec.structs.replace(project.schema, label=label))


def test_a_table_that_was_cut_holds_no_label_and_no_payment_of_later(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    project = labelled_in_days(few_features(small_simulation.project))
    whole = read_history(project, small_simulation.history, lambda *_: None)
    times = [historical.payment.event_time for historical in whole.payments]
    as_of = times[9 * len(times) // 10]
    table = tmp_path / "features.parquet"
    make_features(project, small_simulation.history, table, lambda *_: None, (), as_of)
    dataset = read_dataset(table)
    assert dataset.info.as_of == as_of
    assert int(dataset.event_time.max()) <= as_of
    assert (dataset.known_at[dataset.label != UNKNOWN] <= as_of).all()
    # A leak, planted: the same cut with every later label told beforehand must change the features.
    cut = read_history(project, small_simulation.history, lambda *_: None, (), as_of)
    honest = feature_table(project, cut, lambda *_: None)[0]
    assert np.array_equal(honest.features, dataset.features, equal_nan=True)
    leaky = [historical for historical in whole.payments if historical.payment.event_time <= as_of]
    cut.payments = [
        type(historical)(
            historical.payment, historical.fraud, min(historical.known_at, historical.payment.event_time)
        )
        for historical in leaky
    ]
    leaked = feature_table(project, cut, lambda *_: None)[0]
    assert not np.array_equal(leaked.features, dataset.features, equal_nan=True)


def test_what_is_immature_is_counted_and_left_out_of_every_figure(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    project, history = labelled_in_days(few_features(small_simulation.project)), small_simulation.history
    times = [
        historical.payment.event_time
        for historical in read_history(project, history, lambda *_: None).payments
    ]
    table, bundle = tmp_path / "features.parquet", tmp_path / "bundle"
    as_of = times[9 * len(times) // 10]
    make_features(project, history, table, lambda *_: None, (), as_of)
    train(project, table, bundle)
    dataset, metrics = read_dataset(table), evaluate(project, table, bundle, tmp_path / "out").metrics
    cut, delay = dataset.info.boundaries, dataset.info.delay_ms
    known = [time for time in times if time <= as_of]
    mature = [time for time in known if time + delay <= as_of]
    assert metrics["immature_count"] == len(known) - len(mature) > 0
    assert metrics["payments_count"] == sum(time >= cut.test_from for time in mature) > 0
    with pytest.raises(ConfigError, match="no label can be in by now"):
        make_features(project, history, table, lambda *_: None, (), times[0] + delay - 1)


def test_a_state_file_that_is_not_there_is_refused_and_not_made(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(tmp_path / "labels.csv", [{"transaction_id": "t1", "is_fraud": 1}])
    state = tmp_path / "typo.db"
    assert (
        main(["label", "import", str(file), f"--bundle={small_simulation.bundle}", f"--state={state}"]) == 2
    )
    assert f"{state}: no such state file; put it back if there was one" in capsys.readouterr().err
    assert not state.exists()
