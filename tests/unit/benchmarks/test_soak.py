"""The verdict of a soak: what grows or slows down is not called flat."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.load_generator.load import Latencies, Load, Slice
from benchmarks.suite.machine import Memory, Meter, machine, memory_of
from benchmarks.suite.page import BENCH, SOAK, between, page_of, write_soak
from benchmarks.suite.server import StartTimes
from benchmarks.suite.soak import Minute, Population, SoakFigures, SoakSettings, verdict
from fraud_detection.core.errors import ConfigError


def minutes(memory: Callable[[int], float], p99: Callable[[int], float]) -> list[Minute]:
    return [
        Minute(
            Slice(60.0 * index, Latencies(60_000, 0.5, 1.0, p99(index), 9.0, 20.0), 0),
            Memory(memory(index), 50.0),
            100.0 + index,
        )
        for index in range(60)
    ]


def test_what_stays_is_flat() -> None:
    problems = verdict(minutes(lambda index: 1_000 + index % 2, lambda index: 2.0 + 0.1 * (index % 3)))
    assert problems.memory_flat
    assert problems.p99_flat
    assert abs(problems.memory_mb_per_hour) < 5


def test_a_leak_is_reported_in_megabytes_an_hour() -> None:
    problems = verdict(minutes(lambda index: 1_000 + 2 * index, lambda _: 2.0))
    assert problems.memory_mb_per_hour == pytest.approx(120)
    assert problems.memory_share == pytest.approx(58 / 1_089, rel=0.01)
    assert not problems.memory_flat


def test_memory_that_has_found_its_level_by_half_time_is_flat() -> None:
    assert verdict(minutes(lambda index: min(1_000 + 50 * index, 2_000), lambda _: 2.0)).memory_flat


def test_responses_that_grow_slower_are_not_flat() -> None:
    problems = verdict(minutes(lambda _: 1_000, lambda index: 2.0 + index / 20))
    assert problems.p99_ratio > 1.5
    assert not problems.p99_flat


def test_the_page_gets_the_soak_and_its_charts_and_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "docs/performance.md"
    page.parent.mkdir()
    rest = f"words\n{BENCH[0]}\nkept\n{BENCH[1]}\n"
    page.write_text(f"{rest}{SOAK[0]}\nold\n{SOAK[1]}\nend\n")
    looked = minutes(lambda _: 1_000, lambda _: 2.0)
    times = looked[0].load.latencies
    whole = Load(1_000, 1_000, times, {"200": 60_000}, 0, 0, times, 0, 60_000, 0.1)
    memory = Memory(1_000, 50)
    times_s = StartTimes(1.5, 1.6)
    population = Population(1_000_000, 1_300_000, times_s, memory, memory, whole, looked, {})
    alongside = Population(15_000, 22_000, times_s, memory, memory, whole, looked, {})
    found = (Memory(100, 50), population, alongside, verdict(looked), 0.07)
    figures = SoakFigures(machine(), SoakSettings(alongside=15_000), *found)
    write_soak(tmp_path, figures)
    text = page.read_text()
    assert text.startswith(rest)
    assert text.endswith(f"{SOAK[1]}\nend\n")
    assert "old" not in text
    assert "1,000,000; 1,300,000" in text
    assert "the other server: cards; entities known | 15,000; 22,000" in text
    # 900 MB more than an empty server, for 1.3 million.
    assert "memory for a million entities, at the end | 0.69 GB" in text
    assert "other work took 7 % of its cores" in text
    for name in ("soak-latency.svg", "soak-memory.svg"):
        assert f"(pictures/{name})" in text
        svg = ET.fromstring((page.parent / "pictures" / name).read_text())  # noqa: S314 - our own
        assert len(svg.findall(".//{http://www.w3.org/2000/svg}polyline")) >= 2


def test_the_page_of_the_project_has_the_places_of_both_tables() -> None:
    page = (Path(__file__).parents[3] / "docs/performance.md").read_text()
    for markers in (BENCH, SOAK):
        assert between(page, markers, "new") != page


def test_there_is_no_page_to_write_outside_the_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run it in the folder of the project"):
        page_of(tmp_path)


def test_the_load_of_other_processes_is_distinguished_from_ones_own() -> None:
    own, meter = Meter(), Meter()
    until = time.perf_counter() + 0.3
    while time.perf_counter() < until:
        pass
    alone = own.elsewhere()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy_process:
        time.sleep(1.0)
        # It has not ended yet, so it is somebody else's work until it does.
        running = meter.elsewhere()
        busy_process.kill()
    ended = meter.elsewhere()
    assert 0 <= alone <= 1
    assert running > ended + 0.1 / (os.cpu_count() or 1)


def test_a_process_knows_its_own_memory() -> None:
    before = memory_of().own_mb
    buffer = bytearray(64 << 20)
    buffer[:: 1 << 12] = b"x" * len(buffer[:: 1 << 12])
    assert memory_of().own_mb - before == pytest.approx(67, rel=0.1)
