"""How making a table of features grows with history: CPU, memory, and what processes hand on to one another.

    python -m benchmarks.history_scale [--payments 1,3,10] [--jobs 2] [--engine local] [--write]

Histories of so many million payments, some late, some delivered twice, some corrected, become tables of
features, by an engine that works in partitions.  One process replays them too (`--no-reference` leaves that
out), and every value is compared.  Larger histories are extrapolated from the largest one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.history_scale.messy_history import MessyHistory, messy_history
from benchmarks.history_scale.process_meter import Usage, run_measured
from benchmarks.history_scale.replay_reference import Comparison
from benchmarks.suite.machine import Meter, machine
from benchmarks.suite.page import between, page_of

MILLION = 1_000_000
MARKERS = (
    "<!-- history: written by `python -m benchmarks.history_scale --write` -->",
    "<!-- end of history -->",
)
EXTRAPOLATED = (100 * MILLION, 1_000 * MILLION)
VCPU_HOUR, GB_HOUR, GB_A_VCPU = 0.052624, 0.0057785, 4
"""List prices of EMR Serverless (x86, us-east-1, dollars; Amazon EMR's pricing page), memory of a worker."""
PARAMS = Path(__file__).parents[1] / "suite" / "params.yaml"


class Point(msgspec.Struct, frozen=True):
    """One history: its rows, what each way took, and how many values were compared and differ."""

    rows: int
    partitioned: Usage
    alone: Usage | None
    compared: int
    different: int


def measure(history: MessyHistory, engine: Sequence[str], *, reference: bool) -> Point:
    """Make the table of a history in partitions, and compare it with a replay by one process."""
    folder = history.payments.parent
    table, answer = folder / "features.parquet", folder / "compared.json"
    files = [str(history.payments), str(history.labels)]
    fraud = str(Path(sys.executable).with_name("fraud"))
    command = [
        fraud,
        "features",
        "--plain",
        "--config",
        str(PARAMS),
        "--data",
        files[0],
        "--labels",
        files[1],
    ]
    partitioned = run_measured([*command, "--out", str(table), *engine], folder, ".fraud-*/**/*")
    alone, found = None, Comparison()
    if reference:
        module = [sys.executable, "-m", "benchmarks.history_scale.replay_reference"]
        with answer.open("wb") as output:
            alone = run_measured([*module, str(table), str(PARAMS), *files], folder, "-", output)
        found = msgspec.json.decode(answer.read_bytes(), type=Comparison)
        answer.unlink()
    table.unlink()
    return Point(history.rows, partitioned, alone, found.compared, found.different)


def lines(points: Sequence[Point]) -> Iterator[str]:
    """Yield the table of the page."""
    heads = ("payments", "partitions: rows a CPU second, time, memory", "handed on, bytes a row")
    yield f"| {' | '.join(heads)} | one process: the same | values compared, different |"
    yield "|---|---|---|---|---|"
    for point in points:
        used, alone = point.partitioned, point.alone
        cells = (
            f"{point.rows:,}",
            _rate(point, used),
            f"{used.scratch_mb * 1e6 / point.rows:,.0f}",
            "" if alone is None else _rate(point, alone),
            f"{point.compared:,}, {point.different:,}",
        )
        yield f"| {' | '.join(cells)} |"


def _rate(point: Point, used: Usage) -> str:
    return f"{point.rows / used.cpu_s:,.0f}, {used.wall_s:,.0f} s, {used.peak_mb:,.0f} MB"


def extrapolated(point: Point) -> Iterator[str]:
    """Yield what larger histories would take at the CPU time and bytes a row of the largest measured one."""
    yield "| payments | CPU hours | handed on | EMR Serverless, list price |"
    yield "|---|---|---|---|"
    used = point.partitioned
    for rows in EXTRAPOLATED:
        hours = used.cpu_s / point.rows * rows / 3600
        price = hours * (VCPU_HOUR + GB_A_VCPU * GB_HOUR)
        handed_gb = used.scratch_mb / point.rows * rows / 1e3
        yield f"| {rows:,} | {hours:,.1f} | {handed_gb:,.0f} GB | ${price:,.2f} |"


def main() -> None:
    """Measure each size, print the tables, and write them into the page where that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--payments", default="1,3,10", help="millions, separated by commas")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--engine", default="local")
    parser.add_argument("--directory", type=Path, default=Path("build/history-scale"))
    parser.add_argument("--no-reference", dest="reference", action="store_false")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    page = page_of(Path.cwd()) if arguments.write else None
    arguments.directory.mkdir(parents=True, exist_ok=True)
    measured_on, meter, points = machine(), Meter(), list[Point]()
    for millions in arguments.payments.split(","):
        history = messy_history(int(float(millions) * MILLION), arguments.directory)
        engine = ["--engine", arguments.engine, "--jobs", str(arguments.jobs)]
        points.append(measure(history, engine, reference=arguments.reference))
        print(*list(lines(points))[-1:], flush=True)
    busy = f"other work took {meter.elsewhere():.0%} of its cores meanwhile"
    where = f"{measured_on.describe()}; {busy}. Engine `{arguments.engine}`, {arguments.jobs} processes."
    text = "\n".join([where, "", *lines(points), "", *extrapolated(points[-1])])
    print(text)
    if page is not None:
        page.write_text(between(page.read_text(), MARKERS, text))


if __name__ == "__main__":
    main()
