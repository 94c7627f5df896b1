"""What a live system has decided becomes the history that training reads: payments, labels and weights."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.logged_decisions import LoggedDecisionReader
from fraud_detection.cli.main import main
from fraud_detection.core.decision_settings import ControlGroupSettings, ListEntry, ListSettings, RuleSettings
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.replay import HistoricalPayment
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.history.load import read_history
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.embedded.stream_runner import preload_history
from fraud_detection.serving.workers.ownership import Ownership, worker_path
from fraud_detection.training.stages import make_features
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.tables.dataset import Correction, Dataset, read_dataset
from fraud_detection.training.tables.partitioned_job import HistoryFiles
from fraud_detection.training.tables.report import FeaturesReport
from tests.conftest import SmallSimulation
from tests.partitioned_tables import in_partitions, made, silent
from tests.smaller import third_of_cards
from tests.states import open_service

SHARE = 0.3
MAX_DECLINES = 100


@pytest.fixture(scope="module")
def before(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of history to which the state file is added."""
    return third_of_cards(small_simulation.history, tmp_path_factory.mktemp("history") / "history.parquet")


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(4_500, late_share=0, duplicate_share=0, malformed_share=0)


def is_label(event: bytes) -> bool:
    return b'"type":"label"' in event.replace(b" ", b"")


@pytest.fixture(scope="module")
def project(small_simulation: SmallSimulation, events: list[bytes]) -> Project:
    denied = next(json.loads(event)["card_id"] for event in events if not is_label(event))
    deny = ListSettings(name="stolen", kind="deny", of="card", entries=(ListEntry(value=denied),))
    rule = RuleSettings(name="not_small", when="amount >= 40", action="review")
    group = ControlGroupSettings(sampling_rate=SHARE, max_amount=MAX_DECLINES)
    return msgspec.structs.replace(
        small_simulation.project, rules=(rule,), lists=(deny,), control_group=group
    )


@pytest.fixture(scope="module")
def key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAUD_CONTROL_GROUP_KEY", "a key of the tests")
        yield


def serve(service: EmbeddedService, events: list[bytes]) -> None:
    for start in range(0, len(events), 50):
        service.take(Batch(events[start : start + 50], None, 0), "test")
        service.run_deferred_work()


@pytest.fixture(scope="module")
def state(
    small_simulation: SmallSimulation,
    before: Path,
    project: Project,
    events: list[bytes],
    key: None,  # noqa: ARG001 - it is set
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the state file of a service that has loaded history and decided all events, labels too."""
    path = tmp_path_factory.mktemp("decided") / "state.db"
    service = open_service(small_simulation.bundle, path, project=project)[1]
    preload_history(service, project, before, lambda *_: None)
    serve(service, events)
    service.close()
    return path


def decisions(state: Path) -> dict[str, tuple[Any, ...]]:
    with sqlite3.connect(state) as db:
        query = (
            "SELECT transaction_id, action, reasons, counterfactual_action, sampling_rate, event, features "
            "FROM decisions"
        )
        return {row[0]: row[1:] for row in db.execute(query)}


@pytest.fixture(scope="module")
def dataset(small_simulation: SmallSimulation, before: Path, state: Path) -> Dataset:
    history = read_history(small_simulation.project, before, lambda *_: None, (), None, [state])
    category_encoding = read_bundle(small_simulation.bundle).contents.features.category_encoding
    return feature_table(
        small_simulation.project, history, lambda *_: None, category_encoding=category_encoding
    )[0]


def test_each_payment_weighs_its_decision(dataset: Dataset, state: Path, project: Project) -> None:
    (denied,) = project.lists[0].entries
    kinds: dict[str, int] = {}
    logged = decisions(state)
    weights = dict(zip(dataset.transaction_id, dataset.weight, strict=True))
    for transaction_id, (action, reasons, counterfactual, rate, event, _) in logged.items():
        payment = json.loads(event)
        if counterfactual is not None:
            kind, expected = "control group", 1 / SHARE
            assert rate == SHARE
        elif action == 0:
            kind, expected = "approved", 1.0
        elif payment["card_id"] == denied.value:
            kind, expected = "denied", 1.0
            assert "stolen" in reasons
        elif payment["amount"] > MAX_DECLINES:
            kind, expected = "too large for the control group", 1.0
        else:
            kind, expected = "stopped", 0.0
        assert weights[transaction_id] == pytest.approx(expected), kind
        kinds[kind] = kinds.get(kind, 0) + 1
    assert min(kinds.values()) >= 5
    assert set(kinds) == {"control group", "approved", "denied", "too large for the control group", "stopped"}
    of_history = [weights[transaction_id] for transaction_id in weights.keys() - logged.keys()]
    assert len(of_history) > 1_000
    assert set(of_history) == {1.0}
    # The control group stands for all that would have been stopped and was eligible for it.
    candidates = kinds["control group"] + kinds["stopped"]
    assert kinds["control group"] / SHARE == pytest.approx(candidates, rel=0.25)


def test_features_of_decided_payments_are_those_that_were_served(dataset: Dataset, state: Path) -> None:
    logged = decisions(state)
    compared = 0
    for transaction_id, row in zip(dataset.transaction_id, dataset.features, strict=True):
        if transaction_id in logged:
            served = np.frombuffer(logged[transaction_id][5]).astype(np.float32)
            assert np.array_equal(row, served, equal_nan=True), transaction_id
            compared += 1
    assert compared == len(logged) > 3_000


def test_labels_are_those_that_were_known_by_the_last_payment(
    dataset: Dataset, state: Path, small_simulation: SmallSimulation, before: Path
) -> None:
    last = int(dataset.event_time.max())
    assert dataset.info.as_of == last + 1
    with sqlite3.connect(state) as db:
        query = "SELECT transaction_id, fraud, known_at FROM labels WHERE known_at <= ? ORDER BY seq"
        labels = db.execute(query, (last,)).fetchall()
    decided_ids = set(decisions(state))
    heard = {transaction_id: fraud for transaction_id, fraud, _ in labels if transaction_id in decided_ids}
    assert len(heard) > 50
    for row, transaction_id in enumerate(dataset.transaction_id):
        if transaction_id in decided_ids:
            assert dataset.label[row] == heard.get(transaction_id, UNKNOWN), transaction_id
    known = dataset.label != UNKNOWN
    assert (dataset.known_at[known] <= last).all()
    # Labels of history that the stream told are the same news, not more of it.
    alone = read_history(small_simulation.project, before, lambda *_: None, (), last)
    expected = {historical.payment.transaction_id: historical.fraud for historical in alone.payments}
    in_table = dict(zip(dataset.transaction_id, dataset.label, strict=True))
    differ = [
        transaction_id
        for transaction_id, fraud in expected.items()
        if (UNKNOWN if fraud is None else fraud) != in_table[transaction_id]
    ]
    assert differ == []
    assert not any(Correction.read(text) for text in dataset.corrections)


def test_a_payment_of_both_counts_once_with_the_weight_of_its_decision(
    small_simulation: SmallSimulation, state: Path, events: list[bytes], tmp_path: Path
) -> None:
    again = tmp_path / "again.jsonl"
    again.write_bytes(b"\n".join(event for event in events if not is_label(event)))
    files = [
        read_history(small_simulation.project, path, lambda *_: None, (), None, [state])
        for path in (again, None)
    ]
    both, alone = (
        [historical.payment.transaction_id for historical in history.payments] for history in files
    )
    assert both == alone
    assert len(set(both)) == len(both) == files[0].duplicates == files[0].decided
    assert files[0].weights == files[1].weights != {}


def test_nothing_that_became_known_later_is_in_a_table_of_an_earlier_moment(
    small_simulation: SmallSimulation, before: Path, state: Path, dataset: Dataset
) -> None:
    times = dataset.event_time
    began = int(times[times.size - len(decisions(state))])
    as_of = (began + int(times[-1])) // 2
    early = read_history(small_simulation.project, before, lambda *_: None, (), as_of, [state])
    assert max(historical.payment.event_time for historical in early.payments) <= as_of
    labels = [label for historical in early.payments for label in historical.labels()]
    assert max(label.known_at for label in labels) <= as_of
    assert sum(historical.payment.event_time >= began for historical in early.payments) > 1_000


def ms(time: str) -> int:
    return round(dt.datetime.fromisoformat(time).timestamp() * 1000)


def late_labels(events: list[bytes], by: int) -> list[bytes]:
    """Return the events, with every other label so many events later, as of a bank that tells in bulk."""
    keyed: list[tuple[int, bytes]] = []
    labels = 0
    for index, event in enumerate(events):
        labels += is_label(event)
        is_late = is_label(event) and labels % 2 == 0
        keyed.append((index + by if is_late else index, event))
    return [event for _, event in sorted(keyed, key=lambda pair: pair[0])]


def test_a_label_that_came_late_was_not_known_before_whatever_date_it_bears(
    small_simulation: SmallSimulation,
    before: Path,
    project: Project,
    events: list[bytes],
    key: None,
    tmp_path: Path,
) -> None:
    del key
    service = open_service(small_simulation.bundle, tmp_path / "state.db", project=project)[1]
    preload_history(service, project, before, lambda *_: None)
    stream = late_labels(events, by=1_500)
    serve(service, stream)
    service.close()
    # A recount by the stream itself: which payments had been decided when a label came.
    heard: dict[str, int] = {}
    reached = -1
    for event in stream:
        content = json.loads(event)
        if is_label(event):
            heard.setdefault(content["transaction_id"], reached)
        else:
            reached = max(reached, ms(content["event_time"]))
    files = (before, lambda *_: None, (), None, [tmp_path / "state.db"])
    history = read_history(small_simulation.project, *files)
    category_encoding = read_bundle(small_simulation.bundle).contents.features.category_encoding
    table = feature_table(
        small_simulation.project, history, lambda *_: None, category_encoding=category_encoding
    )[0]
    logged, late = decisions(tmp_path / "state.db"), 0
    with sqlite3.connect(tmp_path / "state.db") as db:
        dates = dict(db.execute("SELECT transaction_id, known_at FROM labels"))
    for row, transaction_id in enumerate(table.transaction_id):
        if transaction_id in logged:
            served = np.frombuffer(logged[transaction_id][5]).astype(np.float32)
            assert np.array_equal(table.features[row], served, equal_nan=True), transaction_id
            if table.label[row] != UNKNOWN:
                assert table.known_at[row] > heard[transaction_id]
                late += int(dates[transaction_id] < table.known_at[row])
    assert late > 20
    # Somebody who goes by the dates alone sees other features than those that were served: a leak.
    naive = msgspec.structs.replace(
        history, payments=[_by_date(historical) for historical in history.payments]
    )
    leaky = feature_table(
        small_simulation.project, naive, lambda *_: None, category_encoding=category_encoding
    )[0]
    assert not np.array_equal(leaky.features, table.features, equal_nan=True)
    # As of a moment between its date and its coming, a label is not there.
    of_date = {
        historical.payment.transaction_id: historical.dated[0]
        for historical in history.payments
        if historical.dated
    }
    transaction_id, date = next(iter(of_date.items()))
    early = read_history(small_simulation.project, *files[:3], date, *files[4:])
    assert [
        historical.fraud
        for historical in early.payments
        if historical.payment.transaction_id == transaction_id
    ] == [None]


def test_late_payments_turn_no_clock_back_and_a_future_dated_one_turns_none_for_long(
    small_simulation: SmallSimulation, project: Project, events: list[bytes], key: None, tmp_path: Path
) -> None:
    del key
    payments = [event for event in events if not is_label(event)][:900]
    times = [ms(json.loads(event)["event_time"]) for event in payments]
    service = open_service(small_simulation.bundle, tmp_path / "state.db", project=project)[1]
    future = json.loads(payments[300]) | {"transaction_id": "future", "event_time": "2027-01-01T00:00:00Z"}
    paid = json.loads(payments[400])
    label = {"type": "label", "transaction_id": paid["transaction_id"], "card_id": paid["card_id"]}
    early = label | {"is_fraud": 1, "label_known_at": paid["event_time"]}
    # The newer ones first, one far ahead among them, then three hundred that are older, then the label.
    serve(
        service, [json.dumps(future).encode(), *payments[300:], *payments[:300], json.dumps(early).encode()]
    )
    service.close()
    (logged,) = LoggedDecisionReader(tmp_path / "state.db").labels
    assert max(times) - logged.ingested_at < 0.1 * (max(times) - min(times))
    assert logged.ingested_at <= max(times)
    assert logged.available_from > logged.known_at


def _by_date(historical: HistoricalPayment) -> HistoricalPayment:
    return HistoricalPayment(
        historical.payment, historical.fraud, *historical.dated[:1] or [historical.known_at]
    )


def test_a_service_at_work_is_read_up_to_its_latest_decision(
    small_simulation: SmallSimulation, project: Project, events: list[bytes], key: None, tmp_path: Path
) -> None:
    del key
    service = open_service(small_simulation.bundle, tmp_path / "state.db", project=project)[1]
    # Neither settled nor closed: the last batches stand in the journal alone.
    for start in range(0, 300, 10):
        service.take(Batch(events[start : start + 10], None, 0), "test")
    history = read_history(small_simulation.project, None, lambda *_: None, (), None, [tmp_path / "state.db"])
    payments = [json.loads(event)["transaction_id"] for event in events[:300] if not is_label(event)]
    assert sorted(historical.payment.transaction_id for historical in history.payments) == sorted(payments)
    service.take(Batch(events[300:350], None, 0), "test")
    service.close()


def test_the_files_of_workers_are_found_under_their_common_name(
    small_simulation: SmallSimulation,
    project: Project,
    events: list[bytes],
    state: Path,
    key: None,
    tmp_path: Path,
) -> None:
    del key
    owners = Ownership(project.schema, 2)
    payments = [event for event in events if not is_label(event)]
    for worker in range(2):
        path = worker_path(tmp_path / "state.db", worker, 2)
        service = open_service(small_simulation.bundle, path, project=project)[1]
        serve(service, [event for event in payments if owners.route(event).owner == worker])
        service.close()
    together = read_history(
        small_simulation.project, None, lambda *_: None, (), None, [tmp_path / "state.db"]
    )
    assert together.decided == len(payments) == len(decisions(state))
    with pytest.raises(ConfigError, match="no such state file"):
        read_history(small_simulation.project, None, lambda *_: None, (), None, [tmp_path / "none.db"])


def test_the_command_trains_on_files_and_state_together(
    small_simulation: SmallSimulation,
    before: Path,
    state: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, figures = tmp_path / "params.yaml", tmp_path / "figures.json"
    small = msgspec.structs.replace(small_simulation.project, history=str(tmp_path / "absent.parquet"))
    config.write_bytes(msgspec.json.encode(msgspec.to_builtins(small, enc_hook=str)))
    out = tmp_path / "features.parquet"
    options = [f"--config={config}", f"--state={state}", f"--out={out}", f"--json={figures}", "--plain"]
    assert main(["features", f"--data={before}", *options]) == 0
    counts = json.loads(figures.read_text())
    table = read_dataset(out)
    assert counts["decided"] == len(decisions(state))
    assert counts["control_group"] == (table.weight > 1).sum() > 0
    assert counts["left_out"] == (table.weight == 0).sum() > 0
    assert "as control group, which stand for" in capsys.readouterr().err
    # Without a file of historical payments the state tells all; with a wrong name it is missed.
    assert main(["features", f"--data={tmp_path / 'absent.parquet'}", *options]) == 2
    assert "no such file" in capsys.readouterr().err


def test_partitions_read_the_same_history_with_the_same_weights(
    small_simulation: SmallSimulation, before: Path, state: Path, tmp_path: Path
) -> None:
    project = small_simulation.project

    def alone(out: Path) -> FeaturesReport:
        return make_features(project, before, out, silent, states=[state], for_training=False)

    def partitioned(out: Path) -> FeaturesReport:
        return in_partitions(project, HistoryFiles(before, states=(state,)), out)

    expected = made(alone, tmp_path / "alone.parquet")
    assert made(partitioned, tmp_path / "partitioned.parquet") == expected
    assert isinstance(expected[0], FeaturesReport)
    report = expected[0]
    assert min(report.decided, report.control_group, report.left_out) > 0
