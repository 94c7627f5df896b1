"""Measure what a payment costs more with several workers, in CPU time and each part by itself.

    python -m benchmarks.bench_worker_parts [--directory DIR]

The trained simulation is that of `benchmarks.bench_workers`, which makes it.  Deciding is measured
as well: with more workers the same payments come in smaller batches.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.http.server import run_loop
from fraud_detection.adapters.ipc.rpc_node import RpcNode
from fraud_detection.adapters.sqlite.dedup.dedup_index import SqliteDedupIndex
from fraud_detection.adapters.sqlite.dedup.shared_ids import SharedIds, shared_memory
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.engine.engine import Engine
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.serving.workers.claims import Claims
from fraud_detection.serving.workers.ownership import Ownership, worker_path
from fraud_detection.serving.workers.replica import WorkerService
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.simulator.stream import SimulatedStream, StreamOptions

SEED = 7
PAYMENTS = 3_000
ROUND_TRIPS = 20_000
IN_FLIGHT = 8


def main() -> None:
    """Print each part in microseconds of CPU time an event."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--directory", type=Path, default=Path("build/bench"), help="keeps the trained simulation"
    )
    engine = load_engine(parser.parse_args().directory / "bundle")
    options = StreamOptions(
        payments=20_000, labels="none", late_share=0, duplicate_share=0, malformed_share=0
    )
    stream = SimulatedStream(SimulatorSettings(seed=SEED), options)
    events = [event.data.rstrip(b"\n") for chunk in stream.chunks(0) for event in chunk]
    ownership = Ownership(engine.project.schema, 2)
    began = time.process_time()
    owners = [ownership.route(event).owner for event in events]
    _print("send to its owner", time.process_time() - began, len(events))
    _claim()
    first = [event for event, owner in zip(events, owners, strict=True) if owner == 0]
    with tempfile.TemporaryDirectory() as scratch:
        run_loop(_round_trips(Path(scratch), events[0]))
        with few_collections():
            _decide_and_replicate(engine, Path(scratch) / "state.db", first)


def _claim() -> None:
    """Claim ids that nobody else has, one after another."""
    shared_ids = [SharedIds(shared_memory(worker)) for worker in range(2)]
    for worker_ids in shared_ids:
        worker_ids.completed()
    dedup_index = SqliteDedupIndex(sqlite3.connect(":memory:"), lambda: None)
    claims = Claims(0, shared_ids, {}, dedup_index, lambda *_: asyncio.sleep(0))
    ids = [[f"payment-{number}"] for number in range(100_000)]
    began = time.process_time()
    for claimed_id in ids:
        if claims.claim(claimed_id, set) is None:
            claims.release(claimed_id)
    _print("claim its id", time.process_time() - began, len(ids))


def _decide_and_replicate(engine: Engine, state: Path, events: list[bytes]) -> None:
    new_state(state, 2)
    paths = [worker_path(state, worker, 2) for worker in range(2)]
    services = [
        WorkerService(engine, own, StateFile(paths[own]), {1 - own: StateFile(paths[1 - own], reading=True)})
        for own in range(2)
    ]
    fresh = iter(events)
    for size in (1, 2, 4, 8, 16, 64):
        batches = [list(itertools.islice(fresh, size)) for _ in range(PAYMENTS // 2 // size)]
        done = sum(map(len, batches))
        began = time.process_time()
        for batch in batches:
            services[0].take(Batch(batch, None, 0), "bench")
        _print(f"decide and commit, {size} together", time.process_time() - began, done)
        began = time.process_time()
        while services[1].replicate(0):
            pass
        _print("follow", time.process_time() - began, done)
    for service in services:
        service.close()


async def _round_trips(folder: Path, event: bytes) -> None:
    async def handle(_other: int, _what: str, body: Any) -> Any:  # noqa: ANN401 - as links have it
        return [[200, body[0]]]

    both = [RpcNode(own, 2, folder, handle, lambda _: None) for own in range(2)]
    for worker in both:
        await worker.open()
    await asyncio.sleep(1.0)

    async def call() -> None:
        for _ in range(ROUND_TRIPS // IN_FLIGHT):
            await both[0].clients[1].call("take", [event])

    began = time.process_time()
    await asyncio.gather(*(call() for _ in range(IN_FLIGHT)))
    _print("hand to its owner and back, both ends", time.process_time() - began, ROUND_TRIPS)
    for worker in both:
        await worker.close()


def _print(name: str, seconds: float, events: int) -> None:
    print(f"{name:40} {1e6 * seconds / events:6.1f} us")


if __name__ == "__main__":
    main()
