"""Measure what a profile costs in its forms: as an object, as bytes in memory, and at rest in a state file.

    python -m benchmarks.suite.profile_costs [--directory DIR] [--entities N] [--quick]

Profiles of the simulation of `make bench`, and of copies of it up to so many entities.  Prints means in
microseconds and bytes; each way is measured over the same profiles, five times, and the least counts.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.suite.machine import machine
from benchmarks.suite.simulation import prepared
from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.features.profile import Profile, ProfilePlan
from fraud_detection.core.features.profile_codec import decode_profile, encode_profile, saved_later
from fraud_detection.core.ports import ProfileKey
from fraud_detection.serving.load_engine import load_engine

SAMPLE = 4_000
ROUNDS = 5


def mean_us(run: Callable[[], object], count: int) -> float:
    """Return the least mean of several runs, in microseconds for one of so many."""
    return 1e6 * min(_seconds(run) for _ in range(ROUNDS)) / count


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def costs(name: str, plan: ProfilePlan, contents: Sequence[bytes]) -> str:
    """Return a line on the profiles of one kind of entity."""
    profiles = [decode_profile(plan, content) for content in contents]
    decode = mean_us(lambda: [decode_profile(plan, content) for content in contents], len(contents))
    encode = mean_us(lambda: [encode_profile(profile, 1) for profile in profiles], len(contents))
    later = mean_us(lambda: [saved_later(content, 2) for content in contents], len(contents))
    stored = sum(map(len, contents)) / len(contents)
    return (
        f"{name}: stored {stored:,.0f} bytes, an object {object_bytes(plan, contents):,.0f}, estimated as "
        f"{sum(profile.memory_bytes() for profile in profiles) / len(profiles):,.0f}; "
        f"decode {decode:.1f} us, encode {encode:.1f} us, save the bytes later {later:.1f} us"
    )


def object_bytes(plan: ProfilePlan, contents: Sequence[bytes]) -> float:
    """Return how many bytes a profile takes as an object, in the mean."""
    gc.collect()
    tracemalloc.start()
    profiles: list[Profile] = [decode_profile(plan, content) for content in contents]
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return taken / len(profiles)


def read_us(state_file: StateFile, keys: Sequence[ProfileKey]) -> tuple[float, float]:
    """Return what reading one profile of a state file takes, at first and again."""
    first = 1e6 * _seconds(lambda: [state_file.load([key]) for key in keys]) / len(keys)
    return first, mean_us(lambda: [state_file.load([key]) for key in keys], len(keys))


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--directory", type=Path, default=Path("build/bench"), metavar="DIR")
    arguments.add_argument("--entities", type=int, default=1_000_000, metavar="N")
    arguments.add_argument("--quick", action="store_true", help="a small simulation, to try it out")
    options = arguments.parse_args()
    print(machine().describe())
    simulation = prepared(options.directory, lambda *_: None, quick=options.quick)
    state = simulation.copied(simulation.copies_of_entities(options.entities), lambda *_: None)
    state_file, chance = StateFile(state, reading=True), random.Random(1)
    for entity in load_engine(simulation.bundle).extractor.entities:
        query = "SELECT id FROM profiles WHERE entity = ?"
        ids = [str(row[0]) for row in state_file.rows(query, (entity.index,))]
        keys = [(entity.index, entity_id) for entity_id in chance.sample(ids, min(SAMPLE, len(ids)))]
        # As a service does it.
        with few_collections():
            first, again = read_us(state_file, keys)
            print(costs(entity.name, entity.plan, list(state_file.load(keys).values())))
        print(
            f"{entity.name}: read from a file of {len(ids):,}: at first {first:.1f} us, again {again:.1f} us"
        )
    state_file.close()


if __name__ == "__main__":
    main()
