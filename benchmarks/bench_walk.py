"""Measure what finds margins quickest: a compiled walk over the trees, the same in numpy, or XGBoost itself.

    python -m benchmarks.bench_walk [--json FILE]

Made-up rows of 45 values, a tenth of them missing, one thread.  Prints microseconds a call, medians.
"""

from __future__ import annotations

import argparse
import sys
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from benchmarks.suite.machine import Machine, machine
from fraud_detection.adapters.xgboost.fit import fit
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.adapters.xgboost.pages import Sample
from fraud_detection.adapters.xgboost.tree_walk import TreeWalk
from fraud_detection.core.project_schema import Model

WIDTH = 45
TRAINED_ON = 20_000
ROWS = (1, 2, 4, 16, 64, 128, 256, 512)
FORESTS = ((66, 5), (300, 6))
ROUNDS, ROUND_S = 15, 0.02


class Call(msgspec.Struct, frozen=True):
    """Microseconds a call for so many rows."""

    trees: int
    depth: int
    rows: int
    compiled_us: float
    numpy_us: float
    xgboost_us: float


class Figures(msgspec.Struct, frozen=True):
    """All calls."""

    machine: Machine
    calls: list[Call]


def synthetic(rows: int) -> np.ndarray:
    """Return float32 values of shape (rows, 45), the same each time."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


def measure(trees: int, depth: int) -> list[Call]:
    """Measure one forest; the three take turns, so that what else the machine does meets all alike."""
    sample = synthetic(TRAINED_ON)
    signal = np.nan_to_num(sample)
    label = signal[:, 0] * signal[:, 1] + np.sin(3 * signal[:, 2]) + signal[:, 3] > 1
    settings = Model(rounds=trees, max_depth=depth, min_child_weight=1, learning_rate=0.02, threads=1)
    model = fit(Sample(sample, label.astype(np.int8)), None, settings).model
    scorer = XGBoostScorer(model)
    compiled, plain = scorer._walk, TreeWalk(bytes(scorer._booster.save_raw("json")))  # noqa: SLF001
    if compiled is None or compiled._compiled is None:  # noqa: SLF001
        sys.exit("nothing is compiled here: `make setup`")
    plain._compiled = None  # noqa: SLF001
    walks = compiled.margins, plain.margins, scorer._predict  # noqa: SLF001
    return [Call(trees, depth, rows, *_micros(synthetic(rows), walks)) for rows in ROWS]


def _micros(rows: np.ndarray, methods: tuple[Callable[[np.ndarray], object], ...]) -> list[float]:
    seconds: list[list[float]] = [[] for _ in methods]
    times = [max(1, int(ROUND_S / timeit.timeit(partial(method, rows), number=1))) for method in methods]
    for _ in range(ROUNDS):
        for index, method in enumerate(methods):
            seconds[index].append(timeit.timeit(partial(method, rows), number=times[index]) / times[index])
    return [1e6 * median(method_seconds) for method_seconds in seconds]


def main() -> None:
    """Measure and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    options = arguments.parse_args()
    figures = Figures(machine(), [call for forest in FORESTS for call in measure(*forest)])
    print(figures.machine.describe())
    print("trees  depth  rows  compiled  numpy  XGBoost (us)")
    for call in figures.calls:
        print(
            f"{call.trees:5}  {call.depth:5}  {call.rows:4}  {call.compiled_us:8,.0f}  "
            f"{call.numpy_us:5,.0f}  "
            f"{call.xgboost_us:7,.0f}"
        )
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode(figures))


if __name__ == "__main__":
    main()
