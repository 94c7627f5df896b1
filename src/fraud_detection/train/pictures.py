"""Draw every picture of a judged slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fraud_detection.train import plots
from fraud_detection.train.evaluate import savings
from fraud_detection.train.measures import Ranking, risk_bins

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fraud_detection.adapters.xgboost_model import XGBoostScorer
    from fraud_detection.config import Costs
    from fraud_detection.score.bundle import Bundle
    from fraud_detection.train.evaluate import Scored

EXPLAINED = 2_000
"""So many payments show which features matter; exact SHAP values cost time."""


def draw(
    scored: Scored, bundle: Bundle, scorer: XGBoostScorer, costs: Costs, out_dir: Path
) -> tuple[Path, ...]:
    """Draw every picture into `out_dir`; return their paths."""
    known, cutoffs = scored.labelled(), bundle.manifest.cutoffs
    ranking = Ranking.of(known.score, known.label == 1, known.weight)
    bins = risk_bins(known.score, known.label, weight=known.weight)
    places = savings(known, cutoffs, costs)
    moved = scorer.contributions(known.rows.features[:: 1 + len(known.rows) // EXPLAINED])
    names = bundle.contents.features.names
    pictures: dict[str, Callable[[Path], None]] = {
        "precision_recall": lambda path: plots.precision_recall(path, ranking),
        "calibration": lambda path: plots.calibration(path, bins),
        "money": lambda path: plots.money(path, places, cutoffs),
        "importance": lambda path: plots.importance(path, names, moved),
        "score_by_class": lambda path: plots.score_by_class(path, known.score, known.label, cutoffs),
    }
    for name, picture in pictures.items():
        picture(out_dir / f"{name}.png")
    return tuple(out_dir / f"{name}.png" for name in pictures)
