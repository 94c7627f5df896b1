"""What a payment costs, and an entity takes, however many are known: `python -m benchmarks.suite.scale`.

It runs in a fresh process, with a `ScaleJob` on standard input.  The same payments are decided over two
states by turns, a few hundred here and a few hundred there: whatever else the machine does meets both alike.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.suite.engine import Dispersion, Micros, micros, take_all, take_alone
from benchmarks.suite.entity_memory import EntityMemory, measure_entity_memory
from benchmarks.suite.simulation import BenchmarkSimulation, Progress, alone, copied_entities
from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.sqlite.state_guard import copy_state
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.profile import Profile, ProfilePlan
from fraud_detection.core.features.profile_codec import decode_profile, encode_profile
from fraud_detection.core.metrics import LatencyHistogram
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.embedded.stream_runner import open_service

LOADED_AT_ONCE = 500
FULL = 40
EPOCH_MS = 1_800_000_000_000
LARGE = 100_000_000


class ScaleSettings(msgspec.Struct, frozen=True):
    """How many entities are known here and there, and how many payments are decided.

    before: payments by which profiles are saved behind, as in a long run; as many are sent to the server
    whose memory is measured.  cold: payments of entities whose
    profiles are not in memory yet.
    """

    few: int = 10_000
    many: int = 1_000_000
    payments: int = 20_000
    before: int = 60_000
    cold: int = 2_000
    turn: int = 250


class ScaleFigures(msgspec.Struct, frozen=True):
    """What was found.

    few_us, many_us: of a payment until its response; *_total_us: in the mean, with deferred work.
    ratio, ratio_total: of many to few, over the turns; the interval holds eighty of a hundred turns.
    cold_us: the first payment of an entity since the start, which loads its profile.  memory: of servers, see
    `EntityMemory`.  bound_*: of a profile that is full in every window and keeps as many distinct ids as it
    may; in memory as an object.
    """

    few: int
    many: int
    few_us: Micros
    many_us: Micros
    ratio: Dispersion
    few_total_us: float
    many_total_us: float
    ratio_total: Dispersion
    cold_us: Micros
    memory: EntityMemory
    bound_bytes_in_memory: float
    bound_bytes_stored: int


class ScaleJob(msgspec.Struct, frozen=True):
    """What the fresh process is given: states and payments as files, one payment a line.

    memory: was measured before; it is passed on into the figures.
    """

    bundle: str
    few_state: str
    many_state: str
    few_payments: str
    many_payments: str
    settings: ScaleSettings
    memory: EntityMemory


def measure_scale(
    simulation: BenchmarkSimulation, settings: ScaleSettings, progress: Progress
) -> ScaleFigures:
    """Make both states, and measure in a fresh process."""
    count = settings.before + settings.cold + settings.payments
    events = simulation.events(count)
    copies = simulation.copies_of_entities(settings.many)
    memory = measure_entity_memory(simulation, copies, settings.before, progress)
    with simulation.scratch() as folder:
        files = []
        for name, entities in (("few", settings.few), ("many", settings.many)):
            copies = simulation.copies_of_entities(entities)
            source = simulation.copied(copies, progress)
            state, payments = Path(folder) / f"{name}.db", Path(folder) / f"{name}.jsonl"
            copy_state(source, state)
            payments.write_bytes(b"\n".join(copied_entities(events, copies)))
            files.append((str(state), str(payments)))
        (few_state, few), (many_state, many) = files
        progress("many entities and few: measuring", 0.0)
        job = ScaleJob(str(simulation.bundle.resolve()), few_state, many_state, few, many, settings, memory)
        completed = subprocess.run(
            [sys.executable, "-m", "benchmarks.suite.scale"],
            input=msgspec.json.encode(job),
            stdout=subprocess.PIPE,
            check=False,
        )
    if completed.returncode:
        raise ConfigError("the process that measures many entities failed; what it said is above")
    progress("many entities and few: measuring", 1.0)
    return msgspec.json.decode(completed.stdout, type=ScaleFigures)


def main() -> None:
    """Do the job that standard input holds, and print the figures as JSON."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=ScaleJob)
    settings = job.settings
    few, many = (open_service(Path(job.bundle), Path(state))[1] for state in (job.few_state, job.many_state))
    files = (Path(job.few_payments), Path(job.many_payments))
    few_events, many_events = (file.read_bytes().split(b"\n") for file in files)
    end = settings.before + settings.cold
    with few_collections():
        cold = LatencyHistogram()
        for event in many_events[: settings.cold]:
            cold.add(take_alone(many, event)[0])
        load_all(few)
        load_all(many)
        for service, events in ((few, few_events), (many, many_events)):
            take_all(service, events[settings.cold : end])
        turns = Turns(few, few_events[end:]), Turns(many, many_events[end:])
        by_turns(*turns, settings.turn)
    in_memory, stored_bytes = bound(few)
    figures = ScaleFigures(
        few=few.pipeline.profile_cache.size(),
        many=many.pipeline.profile_cache.size(),
        few_us=micros(turns[0].decide_times),
        many_us=micros(turns[1].decide_times),
        ratio=quotients(turns[1].medians_s, turns[0].medians_s),
        few_total_us=1e6 * statistics.fmean(turns[0].total_s),
        many_total_us=1e6 * statistics.fmean(turns[1].total_s),
        ratio_total=quotients(turns[1].total_s, turns[0].total_s),
        cold_us=micros(cold),
        memory=job.memory,
        bound_bytes_in_memory=in_memory,
        bound_bytes_stored=stored_bytes,
    )
    for service in (few, many):
        service.close()
    sys.stdout.buffer.write(msgspec.json.encode(figures))


def load_all(service: EmbeddedService) -> None:
    """Bring every profile of a state file into memory."""
    rows = service.state_file.rows("SELECT entity, id FROM profiles")
    for start in range(0, len(rows), LOADED_AT_ONCE):
        part = rows[start : start + LOADED_AT_ONCE]
        service.pipeline.profile_cache.prefetch([alone(index, transaction) for index, transaction in part])


class Turns:
    """How long payments took at one of two services that decide by turns.

    total_s: with deferred work; it is the mean of a turn, for that comes in lumps.
    """

    def __init__(self, service: EmbeddedService, events: Sequence[bytes]) -> None:
        """Take a service, and what it will be asked."""
        self.service, self.events = service, events
        self.decide_times = LatencyHistogram()
        self.medians_s: list[float] = []
        self.total_s: list[float] = []

    def take(self, start: int, end: int) -> None:
        """Decide some of the events."""
        took = [take_alone(self.service, event) for event in self.events[start:end]]
        for decide_s, _ in took:
            self.decide_times.add(decide_s)
        self.medians_s.append(statistics.median(decide_s for decide_s, _ in took))
        self.total_s.append(statistics.fmean(map(sum, took)))


def by_turns(few: Turns, many: Turns, turn: int) -> None:
    """Let two services decide by turns."""
    for start in range(0, len(few.events), turn):
        for state in (few, many):
            state.take(start, start + turn)


def quotients(many: Sequence[float], few: Sequence[float]) -> Dispersion:
    """Return the median of the quotients of turns, and the bounds of the middle eighty of a hundred."""
    ratios = sorted(many_time / few_time for many_time, few_time in zip(many, few, strict=True))
    tenth = len(ratios) // 10
    return Dispersion(statistics.median(ratios), ratios[tenth], ratios[-1 - tenth])


def bound(service: EmbeddedService) -> tuple[float, int]:
    """Return the bytes of the largest profile that can be, in memory and stored."""
    in_memory, stored_bytes = 0.0, 0
    tracemalloc.start()
    for entity in service.pipeline.profile_cache.extractor.entities:
        encoded = encode_profile(full_profile(entity.plan), 0)
        before = tracemalloc.get_traced_memory()[0]
        profiles = [decode_profile(entity.plan, encoded) for _ in range(FULL)]
        in_memory = max(in_memory, (tracemalloc.get_traced_memory()[0] - before) / len(profiles))
        stored_bytes = max(stored_bytes, len(encoded))
    tracemalloc.stop()
    return in_memory, stored_bytes


def full_profile(plan: ProfilePlan) -> Profile:
    """Return a profile that is full: every bucket of its windows, and every distinct id that it may keep."""
    profile = Profile(plan)
    fed = ((plan.windows, profile.add_payment, LARGE), (plan.risk, profile.add_label, 1))
    for windows, add, amount in fed:
        lengths = windows or [plan.bucket_count]
        for time_ms in range(
            EPOCH_MS, EPOCH_MS + max(lengths) + 1, max(min(lengths) // plan.bucket_count, 1)
        ):
            add(time_ms, amount)
    for distinct_ids in profile.distinct_ids:
        for other_id in range(plan.limit):
            distinct_ids.add(EPOCH_MS + other_id, (1 << 32) - 1 - other_id)
    return profile


if __name__ == "__main__":
    main()
