"""Measure the embedded door: throughput from a file, and the engine's own time a payment at a fixed rate.

    python -m benchmarks.bench_engine [--payments N] [--seconds S] [--json FILE]

One process and one thread do everything: read, parse, features, score, rules, decision, reasons, and the
commit of state and decisions to SQLite.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import msgspec

from fraud_detection.adapters.event_sources import Batch
from fraud_detection.adapters.sqlite_site import SqliteSite
from fraud_detection.adapters.terminal import Terminal
from fraud_detection.generate.live import LiveOptions, LiveStream
from fraud_detection.generate.world import SimulatorSettings
from fraud_detection.metrics import LatencyHistogram
from fraud_detection.project_file import load_project
from fraud_detection.run.demo import DemoSettings, prepare
from fraud_detection.run.embedded import EmbeddedDoor
from fraud_detection.run.garbage import few_collections
from fraud_detection.run.stream import Stop, open_door, run_stream

SEED = 7
ROUNDS = 3
PROJECT = Path(__file__).with_name("params.yaml")


class FileRun(msgspec.Struct, frozen=True):
    """How fast a file was decided, how many features were made, how many profiles are kept, of what size."""

    transactions_per_s: float
    features: int
    profiles: int
    profile_bytes_mean: float
    profile_bytes_max: int


def main() -> None:
    """Print every figure, and write them with their units."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--payments", type=int, default=200_000, help="from a file (200,000)")
    parser.add_argument("--rate", type=float, default=1_000.0, help="payments/s at the fixed rate (1,000)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long at the fixed rate (30)")
    parser.add_argument("--directory", type=Path, default=Path("build/bench"), help="keeps the trained world")
    parser.add_argument("--json", type=Path, help="write the figures to FILE")
    arguments = parser.parse_args()
    world = SimulatorSettings(seed=SEED)
    settings = DemoSettings(arguments.seconds, arguments.rate, world, arguments.directory)
    if not (arguments.directory / "bundle" / "manifest.json").exists():
        screen = Terminal(plain=True)
        prepare(settings, load_project(PROJECT), screen.progress)
    events = live_events(arguments.payments)
    figures = machine() | throughput(arguments.directory, events)
    figures |= fixed_rate(arguments.directory, events, settings)
    for name, value in figures.items():
        print(f"{name:36} {value}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def machine() -> dict[str, object]:
    """Return what the figures were measured on."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - git
    return {"python": platform.python_version(), "machine": platform.machine(), "commit": commit}


def live_events(payments: int) -> list[bytes]:
    """Return the simulator's live stream without its labels, repeats and faults."""
    options = LiveOptions(payments=payments, labels="none", late_share=0, repeat_share=0, poison_share=0)
    stream = LiveStream(SimulatorSettings(seed=SEED), options)
    return [event.data.rstrip(b"\n") for chunk in stream.chunks(0) for event in chunk]


def throughput(folder: Path, events: list[bytes]) -> dict[str, object]:
    """Decide a whole file, several times, each into a new state file; quote the median."""
    runs = [decide_file(folder, events) for _ in range(ROUNDS)]
    rates = [run.transactions_per_s for run in runs]
    return {
        "features": runs[-1].features,
        "file_transactions_per_s": round(statistics.median(rates)),
        "file_transactions_per_s_lowest": round(min(rates)),
        "file_transactions_per_s_highest": round(max(rates)),
        "profiles_in_memory": runs[-1].profiles,
        "profile_bytes_mean": round(runs[-1].profile_bytes_mean),
        "profile_bytes_max": runs[-1].profile_bytes_max,
    }


def decide_file(folder: Path, events: list[bytes]) -> FileRun:
    """Decide the events from a file once."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "events.jsonl"
        source.write_bytes(b"\n".join(events) + b"\n")
        door = fresh_door(folder, Path(scratch) / "state.db")
        began = time.perf_counter()
        run_stream(door, str(source), Stop(), lambda _: None)
        door.close()
        took = time.perf_counter() - began
        memory = door.pipeline.memory
        mean, largest = profile_sizes(Path(scratch) / "state.db")
        return FileRun(len(events) / took, len(memory.extractor.definitions), memory.size(), mean, largest)


def profile_sizes(state: Path) -> tuple[float, int]:
    """Return the mean and the largest number of bytes that a profile takes at rest."""
    site = SqliteSite(state, reading=True)
    ((mean, largest),) = site.rows("SELECT avg(length(content)), max(length(content)) FROM profiles")
    site.close()
    return float(mean), int(largest)


def fixed_rate(folder: Path, events: list[bytes], settings: DemoSettings) -> dict[str, object]:
    """Take payments when they are due, however long the last ones took; the wait counts as latency."""
    latency, most = LatencyHistogram(), int(settings.rate * settings.seconds)
    with tempfile.TemporaryDirectory() as scratch:
        door = fresh_door(folder, Path(scratch) / "state.db")
        with few_collections():
            begin, taken = time.perf_counter(), 0
            while taken < min(most, len(events)):
                due = int((time.perf_counter() - begin) * settings.rate) + 1
                if due <= taken:
                    time.sleep(max(taken / settings.rate - (time.perf_counter() - begin), 0))
                    continue
                door.take(Batch(events[taken:due], None, due), "bench")
                now = time.perf_counter() - begin
                for number in range(taken, min(due, len(events))):
                    latency.add(max(now - number / settings.rate, 0.0))
                taken = due
        door.close()
        engine = door.tally.engine
    return {
        "rate_per_s": settings.rate,
        "engine_p50_ms": round(engine.percentile_ms(50), 3),
        "engine_p99_ms": round(engine.percentile_ms(99), 3),
        "engine_p99_9_ms": round(engine.percentile_ms(99.9), 3),
        "latency_p50_ms": round(latency.percentile_ms(50), 3),
        "latency_p99_ms": round(latency.percentile_ms(99), 3),
        "latency_p99_9_ms": round(latency.percentile_ms(99.9), 3),
        "reviewed_or_declined_share": round(sum(door.tally.actions[1:]) / max(door.tally.decided, 1), 4),
    }


def fresh_door(folder: Path, state: Path) -> EmbeddedDoor:
    """Return a door over a copy of the state file that knows the world's history."""
    shutil.copy(folder / "state.db", state)
    return open_door(folder / "bundle", state)[1]


if __name__ == "__main__":
    main()
