"""Draw every picture of an evaluated slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fraud_detection.core.score.reasons import title
from fraud_detection.evaluation.measures import Ranking, accuracy_measures, risk_bins
from fraud_detection.training.evaluate import amount_ranking, savings
from fraud_detection.training.report import plots
from fraud_detection.training.tables.labelled_rows import gathered

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from fraud_detection.adapters.xgboost.model import XGBoostScorer
    from fraud_detection.core.project_schema import Costs
    from fraud_detection.core.score.bundle import Bundle
    from fraud_detection.training.evaluate import Scored
    from fraud_detection.training.tables.feature_table import Table

EXPLAINED = 2_000
"""So many payments show which features matter; exact SHAP values cost time."""


def draw(
    table: Table, scored: Scored, bundle: Bundle, scorer: XGBoostScorer, costs: Costs, out_dir: Path
) -> tuple[Path, ...]:
    """Draw every picture of scored payments of a table into `out_dir`; return their paths."""
    figures = pictures(table, scored, bundle, scorer, costs)
    paths = tuple(out_dir / f"{name}.png" for name in figures)
    for figure, path in zip(figures.values(), paths, strict=True):
        plots.write(figure, path)
    return paths


def pictures(
    table: Table, scored: Scored, bundle: Bundle, scorer: XGBoostScorer, costs: Costs
) -> dict[str, Figure]:
    """Return every picture by its name."""
    known, cutoffs = scored.labelled(), bundle.manifest.cutoffs
    fraud = known.label == 1
    chosen = {"review": cutoffs.review_at, "decline": cutoffs.decline_at}
    reached = {
        name: accuracy_measures(known.score >= cutoff, fraud, known.weight) for name, cutoff in chosen.items()
    }
    ranking = Ranking.of(known.score, fraud, known.weight)
    moved = scorer.contributions(gathered(table, known.row[:: 1 + known.row.size // EXPLAINED]))
    return {
        "precision_recall": plots.precision_recall(ranking, amount_ranking(known), cutoffs, reached),
        "calibration": plots.calibration(risk_bins(known.score, known.label, weight=known.weight)),
        "money": plots.money(savings(known, cutoffs, costs), cutoffs),
        "importance": plots.importance(
            [title(definition) for definition in bundle.contents.features.definitions], moved
        ),
        "score_by_class": plots.score_by_class(known.score, known.label, cutoffs),
    }
