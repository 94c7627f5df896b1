"""Write the model card: the model's purpose, training data, metrics, cut-offs, features and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fraud_detection.core.project_schema import Project
    from fraud_detection.core.score.bundle import Cutoffs, Periods
    from fraud_detection.core.score.reference import FeatureReference, Reference

_DESCRIPTIONS = {
    "average_precision": "average precision",
    "auc": "area under the ROC curve",
    "recall_at_0_1_percent_false_positives": "recall at 0.1 % false positives",
    "recall_at_1_percent_false_positives": "recall at 1 % false positives",
    "card_precision_at_100": "card precision@100",
    "brier": "Brier score",
    "calibration_error": "calibration error (10 bins)",
    "accuracy": "accuracy of the decisions",
    "accuracy_always_legitimate": "accuracy of approving everything",
    "precision": "precision of reviews and declines",
    "recall": "recall of reviews and declines",
    "reviews_per_day": "reviews a day",
    "declines_per_day": "declines a day",
    "money_saved_major_units_per_day": "money saved a day, major units",
    "amount_only_average_precision": "average precision of the amount alone",
}


def model_card(
    project: Project,
    periods: Periods,
    cutoffs: Cutoffs,
    metrics: Mapping[str, float],
    reference: Reference,
    evaluated: str | None = None,
) -> str:
    """Return the card as Markdown; the same training gives the same text.

    evaluated: the bundle that these figures are of, where the model was refit since.
    """
    return "\n".join(
        [
            f"# Model card: {project.project}",
            "",
            "A gradient-boosted tree model (XGBoost, `hist`) that gives a payment its probability of fraud.",
            "It ranks payments for review and decline; it is not meant to assess a person, to grant credit,",
            "or to score payments of another kind than its training data.",
            "",
            *_learned(periods, reference),
            *_quality(metrics, evaluated),
            *_cutoffs(project, cutoffs),
            *_features(reference.features),
            *_limits(project),
        ]
    )


def _learned(periods: Periods, reference: Reference) -> list[str]:
    return [
        "## Training data",
        "",
        *_table(
            ("slice", "from", "until (exclusive)"),
            [
                ("training", periods.train_from, periods.train_until),
                (
                    "early stopping, calibration, cut-offs",
                    periods.validation_from,
                    periods.validation_until,
                ),
            ],
        ),
        "",
        f"{reference.rows} labelled payments, {100 * reference.fraud_rate:.3g} % of them fraud.",
        f"Labels as known at {periods.labels_as_of}; payments without a label were left out,",
        "never taken as legitimate.",
        "",
    ]


def _quality(metrics: Mapping[str, float], evaluated: str | None) -> list[str]:
    refit_rows = [
        f"They are those of bundle {evaluated}, which was not trained on these payments. Then the model was",
        "refit on all payments with mature labels; calibration and cut-offs are still those of that bundle.",
        "",
    ]
    rows = [
        (description, f"{metrics[name]:.4g}")
        for name, description in _DESCRIPTIONS.items()
        if name in metrics
    ]
    return [
        "## Metrics",
        "",
        "On the validation slice, which also stopped the training and set calibration and cut-offs, so these",
        "figures are optimistic. `fraud evaluate` measures on the later test slice, which chose nothing.",
        "",
        *(refit_rows if evaluated else ()),
        *_table(("measure", "value"), rows),
        "",
    ]


def _cutoffs(project: Project, cutoffs: Cutoffs) -> list[str]:
    costs = project.costs
    chosen = {"money": "chosen by money on the validation slice", "settings": "set in the project file"}
    return [
        "## Cut-offs and costs",
        "",
        f"Review from {cutoffs.review_at:g}, decline from {cutoffs.decline_at:g}: {chosen[cutoffs.origin]}.",
        f"A missed fraud costs {costs.missed_fraud_share:g} of its amount plus {costs.missed_fraud_fixed:g};",
        f"a review costs {costs.review:g} and finds {costs.review_recall:g} of the frauds;",
        f"a declined good payment costs {costs.declined_good_share:g} of its amount plus",
        f"{costs.declined_good_fixed:g} (major units).",
        "",
    ]


def _features(features: Iterable[FeatureReference]) -> list[str]:
    rows = [
        (
            f"`{feature.name}`",
            "-" if feature.typical_value is None else f"{feature.typical_value:.4g}",
            f"{100 * feature.distribution.missing:.3g} %",
        )
        for feature in features
    ]
    return ["## Features", "", *_table(("feature", "typical value", "missing"), rows), ""]


def _limits(project: Project) -> list[str]:
    return [
        "## Limits",
        "",
        f"- Fraud that looks like nothing in the training slice of `{project.project}` is not found;",
        "  retrain when the drift checks or the delayed labels say so.",
        "- A fraud that nobody reported counts as legitimate in training.",
        "- The score is a probability only while fraud is about as frequent as in the validation slice.",
        "- Reviews and declines change what is reported later; a control group measures it.",
        "",
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
