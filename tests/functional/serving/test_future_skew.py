"""A payment dated in the future of the clock moves nothing of any other payment."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.cli.main import main
from fraud_detection.core.events import Quarantined
from fraud_detection.core.outcomes import Decided
from fraud_detection.demo.demo import demo_project
from fraud_detection.history.load import read_history
from fraud_detection.serving.embedded.stream_runner import preload_history
from tests.conftest import SmallSimulation
from tests.states import open_service


@pytest.fixture(scope="module")
def latest(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the latest 2,000 payments of the history."""
    path, table = (
        tmp_path_factory.mktemp("latest") / "history.parquet",
        pq.read_table(small_simulation.history),
    )
    pq.write_table(table.slice(table.num_rows - 2_000), path)
    return path


@pytest.fixture(scope="module")
def with_future_dated(small_simulation: SmallSimulation) -> tuple[list[bytes], list[bytes]]:
    """Return a stream, and the same with payments of 2099 of its own cards and merchants among it."""
    events = small_simulation.events(400, labels="none", malformed_share=0)
    mixed = []
    for number, event in enumerate(events):
        if number % 40 == 20:
            fields = json.loads(event)
            far = {"transaction_id": f"far-{number}", "event_time": "2099-06-01T00:00:00Z", "amount": 9_999.0}
            mixed.append(msgspec.json.encode(fields | far))
        mixed.append(event)
    return events, mixed


def test_the_simulated_project_has_the_default_bound() -> None:
    max_future_skew = demo_project().schema.event_time.max_future_skew
    assert max_future_skew is not None
    assert max_future_skew.ms == 86_400_000


def test_scores_of_a_file_are_the_same_with_and_without_future_dated_payments(
    small_simulation: SmallSimulation,
    latest: Path,
    with_future_dated: tuple[list[bytes], list[bytes]],
    tmp_path: Path,
) -> None:
    responses = []
    for number, events in enumerate(with_future_dated):
        source, out = tmp_path / f"{number}.jsonl", tmp_path / f"{number}.out.jsonl"
        source.write_bytes(b"\n".join(events) + b"\n")
        arguments = ["score", str(source), f"--bundle={small_simulation.bundle}", f"--out={out}", "--plain"]
        assert main([*arguments, f"--history={latest}"]) == 0
        record = [json.loads(line) for line in out.read_bytes().splitlines()]
        # Rows behind a payment that was put in have another number, and nothing else.
        names = ("transaction_id", "event_time", "action", "score", "reasons")
        responses.append([[item.get(name) for name in names] for item in record if "action" in item])
    assert responses[0] == responses[1]


def test_decisions_of_a_stream_are_the_same_with_and_without_future_dated_payments(
    small_simulation: SmallSimulation,
    latest: Path,
    with_future_dated: tuple[list[bytes], list[bytes]],
    tmp_path: Path,
) -> None:
    results = []
    for number, events in enumerate(with_future_dated):
        engine, service = open_service(small_simulation.bundle, tmp_path / f"{number}.db")
        preload_history(service, engine.project, latest, lambda *_: None)
        pending = len(service.pipeline.pending_labels)
        outcomes = [one for event in events for one in service.take(Batch([event], None, 0), "requests")]
        decided = [outcome for outcome in outcomes if isinstance(outcome, Decided)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, Quarantined)]
        assert len(refused) == len(events) - len(with_future_dated[0])
        results.append(
            (
                [(outcome.decision, outcome.values.tobytes()) for outcome in decided],
                pending,
                len(service.pipeline.pending_labels),
                service.pipeline.watermark,
            )
        )
        service.close()
    assert results[0] == results[1]


def test_history_leaves_a_future_dated_payment_out(
    small_simulation: SmallSimulation, with_future_dated: tuple[list[bytes], list[bytes]], tmp_path: Path
) -> None:
    admitted = []
    for number, events in enumerate(with_future_dated):
        source = tmp_path / f"{number}.jsonl"
        source.write_bytes(b"\n".join(events) + b"\n")
        admitted.append(read_history(small_simulation.project, source, lambda *_: None).payments)
    assert admitted[0] == admitted[1]
