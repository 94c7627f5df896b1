"""What `/metrics` says: well formed, adds up over workers, and how far behind a server is."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.prometheus import BOUNDS_S, exposition
from fraud_detection.serving.http.stream_input import STREAM, StreamInput
from tests.conftest import SmallSimulation
from tests.exposition import Family, families
from tests.functional.http.test_service import Served, served
from tests.functional.serving.test_broken_state import limit_files
from tests.functional.workers.test_workers import TWO, WORKERS, children, until
from tests.states import open_service

LAG = "fraud_consumer_lag_seconds"
WITHIN = 1.02
"""A duration is known to a bucket of 2 %."""


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(300, labels="none", late_share=0, duplicate_share=0, malformed_share=0)


def scraped(server: Served) -> dict[str, Family]:
    status, text, headers = server.request("GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4")
    return families(text)


def test_metrics_of_workers_add_up_to_the_requests_and_show_the_replication_lag_of_each(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    with served(small_simulation, tmp_path / "state.db", TWO) as server:
        took = []
        for event in events[:200]:
            server._connection.close()  # another connection, and so another worker
            began = time.perf_counter()
            assert server.decide(event)[0] == 200
            took.append(time.perf_counter() - began)
        metric_families = scraped(server)
        decided = metric_families["fraud_decisions_total"]
        assert decided.total("fraud_decisions_total") == len(took)
        for worker in range(WORKERS):
            assert decided.total("fraud_decisions_total", f'worker="{worker}"') > 0
        latency = "fraud_request_latency_seconds"
        for name in (latency, "fraud_engine_seconds"):
            assert metric_families[name].total(f"{name}_count") == len(took)
            assert metric_families[name].total(f"{name}_bucket", 'le="+Inf"') == len(took)
            assert 0 < metric_families[name].total(f"{name}_sum") < WITHIN * sum(took)
            # A server's time is a part of its caller's.
            for bound in BOUNDS_S:
                within = sum(seconds * WITHIN <= bound for seconds in took)
                assert metric_families[name].total(f"{name}_bucket", f'le="{bound:g}"') >= within
        for stage in ("parse", "score", "persist"):
            name = "fraud_stage_seconds"
            assert metric_families[name].total(f"{name}_count", f'stage="{stage}"') == len(took)
        followers = {(0, 1), (1, 0)}
        assert metric_families[LAG].samples.keys() == {
            (LAG, (f'source="worker-{other}"', f'worker="{own}"')) for own, other in followers
        }
        until(lambda: scraped(server)[LAG].total(LAG) == 0)
        # A worker that can put nothing down takes in nothing of what the other decides.
        slow = children(server.process.pid)[0]
        limit_files(slow, 1)
        responses = [server.decide(event)[0] for event in events[200:]]
        assert 200 in responses
        until(lambda: 1 < max(scraped(server)[LAG].samples.values()) < 60)
        limit_files(slow, resource.RLIM_INFINITY)
        until(lambda: scraped(server)[LAG].total(LAG) == 0)


def test_a_source_that_waits_for_the_state_is_behind_and_catches_up(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    source = tmp_path / "events.jsonl"
    source.write_bytes(b"\n".join(events) + b"\n")
    _, service = open_service(small_simulation.bundle, tmp_path / "state.db")
    requests = RequestBatcher(service)
    reader = StreamInput(requests, str(source))

    def lag() -> float:
        return families(exposition(requests, {}))[LAG].total(LAG, f'source="{STREAM}"')

    async def main() -> None:
        assert lag() == 0
        service.state_file.database.execute("PRAGMA query_only = 1")
        reader.begin(asyncio.get_running_loop())
        await asyncio.to_thread(until, lambda: lag() > 0.2)
        first, at = lag(), time.monotonic()
        await asyncio.sleep(0.3)
        assert lag() - first == pytest.approx(time.monotonic() - at, abs=0.1)
        service.state_file.database.execute("PRAGMA query_only = 0")
        await asyncio.to_thread(until, lambda: service.tally.decided == len(events) and lag() == 0)
        await reader.stop()

    asyncio.run(main())
    requests.close()


def test_unsaved_events_are_those_that_a_restart_reapplies(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    _, dying = open_service(small_simulation.bundle, state)
    dying.take(Batch(events[:50], None, 0), "test")
    metric_families = families(exposition(RequestBatcher(dying), {}))
    unsaved = metric_families["fraud_unsaved_events"].total("fraud_unsaved_events")
    dying.state_file.close()
    _, service = open_service(small_simulation.bundle, state)
    assert service.recovered == unsaved == 50
    service.close()


def test_the_strict_reader_refuses_what_is_not_well_formed() -> None:
    good = '# HELP a_total Words.\n# TYPE a_total counter\na_total{b="c"} 1\n'
    assert families(good)["a_total"].samples == {("a_total", ('b="c"',)): 1.0}
    histogram = "# HELP h Words.\n# TYPE h histogram\n"
    assert families(histogram + 'h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n')
    bad = [
        good.rstrip("\n"),
        good + good,
        good + 'a_total{b="c"} 2\n',
        good + "b_total 1\n",
        good.replace("a_total", "a"),
        good.replace(" 1\n", " one\n"),
        good.replace('"c"', "c"),
        histogram + 'h_bucket{le="+Inf"} 1\nh_sum 1\nh_count 2\n',
        histogram + 'h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n',
    ]
    for text in bad:
        with pytest.raises((AssertionError, KeyError)):
            families(text)
