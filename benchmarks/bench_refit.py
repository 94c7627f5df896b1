"""How much a bundle gains that has learned the latest payments too, on the weeks that follow.

    python -m benchmarks.bench_refit [--seeds 3] [--cards 2500]

Simulations of half a year; in half of them a kind of fraud begins on day 98.  On day 154 a bundle is trained,
evaluated and refitted, as `fraud train --refit` does; both score the four weeks after it, unseen by either.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.demo.demo import demo_project
from fraud_detection.demo.emerging_fraud import EmergingFraudSettings, changed_simulation
from fraud_detection.evaluation.measures import Ranking
from fraud_detection.history.load import read_history
from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.settings import DAY, SimulatorSettings
from fraud_detection.training.stages import make_features, train_evaluate_and_refit
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.tables.dataset import Dataset

TRAINED, WEEKS, BEGINS = 154, 4, 98


def silent(_stage: str, _share: float) -> None:
    """Discard the progress."""


def average_precision(bundle: Bundle, rows: Dataset) -> float:
    """Return that of a bundle on labelled rows."""
    scorer = XGBoostScorer(bundle.contents.model, bundle.manifest.calibration)
    return Ranking.of(scorer.margins(rows.features), rows.label == 1).average_precision()


def compared(simulation: SimulatorSettings, folder: Path) -> tuple[float, float, int]:
    """Return average precision of the evaluated bundle and of the refitted one, and the frauds."""
    project, history_path = demo_project(), folder / "history.parquet"
    write_history(simulation, history_path)
    as_of = simulation.epoch + TRAINED * DAY
    make_features(project, history_path, folder / "features.parquet", silent, as_of=as_of)
    arguments = (project, folder / "features.parquet", folder / "bundle", folder / "evaluation", silent)
    final = train_evaluate_and_refit(*arguments, tracking=False)[0].bundle
    evaluated = read_bundle(folder / str(final.manifest.evaluated_as))
    category_encoding = final.contents.features.category_encoding
    table, _ = feature_table(
        project, read_history(project, history_path, silent), silent, category_encoding=category_encoding
    )
    later = table.slice(as_of, as_of + 7 * WEEKS * DAY)
    rows = later.take(later.label >= 0)
    return average_precision(evaluated, rows), average_precision(final, rows), int((rows.label == 1).sum())


def main() -> None:
    """Compare in a few simulations and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cards", type=int, default=2_500)
    arguments = parser.parse_args()
    sys.stdout.write("simulation                 frauds   evaluated  refitted\n")
    for seed in range(1, arguments.seeds + 1):
        plain = SimulatorSettings(seed=seed, cards=arguments.cards, days=TRAINED + 7 * WEEKS)
        with tempfile.TemporaryDirectory() as name:
            novel = EmergingFraudSettings(plain, "card_testing", BEGINS, 0.4, Path(name))
        for description, simulation in (
            ("as ever", plain),
            ("a new kind of fraud", changed_simulation(novel)),
        ):
            with tempfile.TemporaryDirectory() as name:
                evaluated, again, frauds = compared(simulation, Path(name))
            sys.stdout.write(f"{seed} {description:24} {frauds:6,}   {evaluated:.4f}   {again:.4f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
