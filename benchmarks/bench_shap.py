"""Measure what explains one row quickest: our tables, XGBoost, or the package `shap` if it is installed.

    python -m benchmarks.bench_shap

Made-up rows of 45 values, a tenth of them missing, one thread.  Prints microseconds a row, medians, and the
largest difference from XGBoost's contributions.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
import timeit
from collections.abc import Callable
from statistics import median

import numpy as np
import xgboost as xgb

from benchmarks.bench_walk import FORESTS, TRAINED_ON, synthetic
from benchmarks.suite.machine import machine
from fraud_detection.adapters.xgboost.fit import fit
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.adapters.xgboost.pages import Sample
from fraud_detection.adapters.xgboost.shap_tables import ShapTables
from fraud_detection.core.project_schema import Model

ROWS, ROUNDS, ROUND_S = 200, 15, 0.02

Explain = Callable[[np.ndarray], np.ndarray]
"""Contributions of rows, shape (n, 45)."""


def methods(model: bytes) -> tuple[dict[str, Explain], float, int]:
    """Return all ways that are installed, how long the tables took to make in ms, and their bytes."""
    scorer = XGBoostScorer(model)
    if scorer._walk is None or scorer._tables is None:  # noqa: SLF001
        raise SystemExit("the model has no tables")
    began = time.perf_counter()
    tables = ShapTables(scorer._walk)  # noqa: SLF001
    made_ms = 1e3 * (time.perf_counter() - began)
    methods_by_name: dict[str, Explain] = {"tables": scorer.contributions, "XGBoost": scorer._explain}  # noqa: SLF001
    if importlib.util.find_spec("shap") is not None:
        booster = xgb.Booster({"nthread": 1})
        booster.load_model(bytearray(model))
        shap = importlib.import_module("shap")
        methods_by_name["shap"] = shap.TreeExplainer(
            booster, feature_perturbation="tree_path_dependent"
        ).shap_values
    return methods_by_name, made_ms, tables._table.nbytes  # noqa: SLF001


def micros(explain: Explain, row: np.ndarray) -> float:
    """Return the median of some rounds for one row."""
    times = max(1, int(ROUND_S / timeit.timeit(lambda: explain(row), number=1)))
    return 1e6 * median(timeit.timeit(lambda: explain(row), number=times) / times for _ in range(ROUNDS))


def main() -> None:
    """Measure and print."""
    print(machine().describe())
    for trees, depth in FORESTS:
        sample = synthetic(TRAINED_ON)
        signal = np.nan_to_num(sample)
        label = signal[:, 0] * signal[:, 1] + np.sin(3 * signal[:, 2]) + signal[:, 3] > 1
        settings = Model(rounds=trees, max_depth=depth, min_child_weight=1, learning_rate=0.02, threads=1)
        methods_by_name, made_ms, size = methods(
            fit(Sample(sample, label.astype(np.int8)), None, settings).model
        )
        print(f"{trees} trees of depth {depth}: tables of {size / 1e6:.1f} MB, made in {made_ms:.0f} ms")
        rows = synthetic(TRAINED_ON)[:ROWS]
        expected = methods_by_name["XGBoost"](rows)
        for name, explain in methods_by_name.items():
            apart = np.abs(np.asarray(explain(rows)) - expected).max()
            print(f"  {name:8} {micros(explain, rows[:1]):8,.0f} us a row; differs by {apart:.1e} at most")


if __name__ == "__main__":
    main()
