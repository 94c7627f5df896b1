"""Peak memory and quality of training by the rows of the table, in memory and with pages on disk.

    python -m benchmarks.training_memory [1M 10M] [--memory 2GB] [--rounds 60] [--path train]

Tables of those sizes are made of a real feature table: each payment repeated, its values perturbed.  Then a
process of its own does what `fraud train --refit` does: with that --memory, with pages on disk in any case,
and in memory in any case; and others a fold of `fraud prequential`.  Peak memory is the VmHWM of the process.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import msgspec

from benchmarks.suite.machine import machine
from benchmarks.training_memory.tables import enlarged
from benchmarks.training_memory.trained import PATHS, Run, Trained
from fraud_detection.cli.options import size
from fraud_detection.project.checks import open_project
from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.training.stages import make_features
from fraud_detection.training.workspace import MAX_PAGE_ROWS

UNLIMITED = 10**15
SIMULATED = Path(str(files("fraud_detection") / "simulated.yaml"))
COUNTS = {"K": 1_000, "M": 1_000_000}
WHERE = {"limit": "within --memory", "disk": "on disk", "memory": "in memory"}
HEADINGS = ("path", "rows", "features are", "peak memory", "time", "average precision (95 %)", "models")


def count(text: str) -> int:
    """Return a number of rows such as 300K or 10M."""
    factor = COUNTS.get(text[-1:].upper())
    return int(text) if factor is None else round(float(text[:-1]) * factor)


def measured(run: Run) -> Trained:
    """Train in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training_memory.trained", msgspec.json.encode(run).decode()]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Trained)


def made(config: Path, history: Path | None, folder: Path, cards: int) -> Path:
    """Return the feature table of historical payments, or of a simulation."""
    if history is None:
        history = folder / "history.parquet"
        write_history(SimulatorSettings(cards=cards), history)
    make_features(open_project(config), history, folder / "features.parquet", lambda _stage, _share: None)
    return folder / "features.parquet"


def line(cells: Sequence[str]) -> str:
    """Return a line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def cells(path: str, rows: int, found: Trained) -> tuple[str, ...]:
    """Return the cells of what a training gave and took."""
    quality = "{:.4f} ({:.4f} to {:.4f})".format(*found.average_precision) if found.average_precision else ""
    where = "on disk" if found.on_disk else "in memory"
    return (
        path,
        f"{rows:,}",
        where,
        f"{found.peak_mb:,.0f} MB",
        f"{found.seconds:,.0f} s",
        quality,
        found.models,
    )


def compare(source: Path, folder: Path, arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table, and then how memory grew with the rows."""
    peaks: dict[tuple[str, str], list[float]] = {}
    yield line(HEADINGS)
    yield line(["---"] * len(HEADINGS))
    for rows in arguments.rows:
        table = enlarged(source, folder / f"features-{rows}.parquet", rows)
        for path, where in itertools.product(arguments.path, arguments.where):
            with tempfile.TemporaryDirectory(dir=folder) as directory:
                memory = arguments.memory if where == "limit" else UNLIMITED
                pages = MAX_PAGE_ROWS if where == "disk" else None
                places = (str(arguments.config), str(table), directory)
                found = measured(Run(path, *places, arguments.rounds, memory, pages))
            peaks.setdefault((path, where), []).append(found.peak_mb)
            yield line(cells(path, rows, found))
        table.unlink()
    growth = arguments.rows[-1] / arguments.rows[0]
    for (path, where), each in peaks.items():
        yield f"{path}, {WHERE[where]}: {each[-1] / each[0]:.2f} x the memory for {growth:g} x the rows"


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=count, nargs="*", default=[count("1M"), count("10M")])
    parser.add_argument("--memory", type=size, default=size("2GB"))
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--path", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--where", nargs="+", choices=WHERE, default=list(WHERE))
    parser.add_argument("--config", type=Path, default=SIMULATED, help="The project file.")
    parser.add_argument("--features", type=Path, help="The feature table that is enlarged.")
    parser.add_argument("--data", type=Path, help="Historical payments to make one of, without --features.")
    parser.add_argument("--cards", type=int, default=2_000, help="Of the simulation, without either.")
    parser.add_argument("--directory", type=Path, default=Path("build"), help="Where tables lie meanwhile.")
    arguments = parser.parse_args(given)
    print(f"{machine().describe()}\n")
    arguments.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        folder = Path(name)
        config, data = arguments.config, arguments.data
        source = arguments.features or made(config, data, folder, arguments.cards)
        for text in compare(source, folder, arguments):
            print(text, flush=True)


if __name__ == "__main__":
    main()
