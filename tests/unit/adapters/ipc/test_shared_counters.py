"""Workers see what the others have counted, at any moment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fraud_detection.adapters.ipc.shared_counters import SharedCounters
from fraud_detection.core.decide.decline_cap import DeclineCounts

PART, FROM, READS = 7, 1_000_000, 20_000
COUNTS_ON = f"""
import itertools, pathlib, sys
from fraud_detection.adapters.ipc.shared_counters import SharedCounters
from fraud_detection.core.decide.decline_cap import DeclineCounts
counters = SharedCounters(pathlib.Path(sys.argv[1]), 0, 2)
counters.publish(DeclineCounts(1000, {{{PART}: ({FROM}, {FROM})}}))
print("ready", flush=True)
for count in itertools.count({FROM}):
    counters.set_counts({PART}, count, count)
"""


@pytest.fixture
def other_worker(tmp_path: Path) -> Iterator[None]:
    """Let another process count payments as fast as it can."""
    with subprocess.Popen(  # noqa: S603 - our own Python
        [sys.executable, "-c", COUNTS_ON, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.kill()


@pytest.mark.usefixtures("other_worker")
def test_counts_that_another_worker_changes_at_the_moment_never_fall(tmp_path: Path) -> None:
    with closing(SharedCounters(tmp_path, 1, 2)) as counters:
        before = (FROM, FROM)
        for _ in range(READS):
            (counts,) = counters.others()
            assert list(counts.buckets) == [PART]
            now = counts.buckets[PART]
            assert now[0] >= before[0]
            assert now[1] >= before[1]
            before = now
        assert before > (FROM, FROM)


def test_what_is_published_anew_stands_in_place_of_what_stood_there(tmp_path: Path) -> None:
    with closing(SharedCounters(tmp_path, 0, 2)) as own, closing(SharedCounters(tmp_path, 1, 2)) as reader:
        own.publish(DeclineCounts(1000, {part: (part, 1) for part in range(1, 9)}))
        own.publish(DeclineCounts(2000, {3: (5, 2)}))
        assert own.set_counts(3, 6, 2)
        assert not own.set_counts(4, 1, 0)
        assert reader.others() == [DeclineCounts(2000, {3: (6, 2)})]
        assert own.others() == [DeclineCounts(0, {})]
