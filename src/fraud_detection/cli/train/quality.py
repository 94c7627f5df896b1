"""Quality of a model as text: ranking, rates, frauds caught and money saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fraud_detection.cli.printing import figure

if TYPE_CHECKING:
    from fraud_detection.core.project_schema import Project

NAMES = {
    "average_precision": "average precision",
    "auc": "AUC",
    "recall_at_0_1_percent_false_positives": "frauds caught at 0.1 % false positives",
    "recall_at_1_percent_false_positives": "frauds caught at 1 % false positives",
    "amount_only_average_precision": "average precision of the amount alone",
    "money_saved_major_units": "money saved",
}
"""Figures that two models are compared by, and how each is called."""

Metrics = Mapping[str, float]


def shown(name: str, value: float) -> str:
    """Return one of the figures above as a person reads it.

    >>> shown("money_saved_major_units", 333_400.0), shown("recall_at_1_percent_false_positives", 0.5)
    ('333,400', '50.0 %')
    """
    if name.startswith("recall"):
        return _percent(value)
    return figure(value, 0 if name.startswith("money") else 3)


def quality_lines(metrics: Metrics) -> Iterator[str]:
    """Yield the figures of an evaluated slice; rates are over payments with matured labels."""
    yield (
        f"evaluated on {metrics['payments_count']:,.0f} payments of {metrics['days']:,.1f} days, "
        f"{metrics['frauds_count']:,.0f} frauds ({_percent(metrics['fraud_rate'], 2)})"
    )
    yield (
        f"ranking: average precision {figure(metrics['average_precision'], 3)} (95 %: "
        f"{figure(metrics['average_precision_low'], 3)} to "
        f"{figure(metrics['average_precision_high'], 3)}), AUC "
        f"{figure(metrics['auc'], 3)}; the amount alone reaches "
        f"{figure(metrics['amount_only_average_precision'], 3)}"
    )
    yield (
        "at 0.1 % false positives it catches "
        f"{_percent(metrics['recall_at_0_1_percent_false_positives'])} of "
        f"frauds, at 1 % {_percent(metrics['recall_at_1_percent_false_positives'])}"
    )
    for action, rate, count in (("reviewed", "review", "reviews"), ("declined", "decline", "declines")):
        yield (
            f"{action}: {_percent(metrics[f'{rate}_rate'], 2)} of payments, "
            f"{figure(metrics[f'{count}_per_day'], 1)} a day, "
            f"with {_percent(metrics[f'{action}_recall'])} of frauds"
        )
    yield f"of what is reviewed or declined {_percent(metrics['precision'])} is fraud"
    yield (
        f"money saved: {figure(metrics['money_saved_major_units'], 0)} of "
        f"{figure(metrics['cost_approving_all_major_units'], 0)} that approving everything would cost"
    )
    yield (
        f"accuracy {_percent(metrics['accuracy'], 2)}; calling everything legitimate has "
        f"{_percent(metrics['accuracy_always_legitimate'], 2)}"
    )


def quality_warnings(metrics: Metrics, project: Project) -> Iterator[str]:
    """Yield why these figures should not be trusted, or the model not used, a sentence each."""
    from fraud_detection.core.project_schema import Costs

    own, amount = metrics["average_precision"], metrics["amount_only_average_precision"]
    if amount > own:
        yield (
            f"the amount alone ranks frauds better than the model (average precision {figure(amount, 3)} "
            f"against {figure(own, 3)}): do not use it before you know why; more labelled frauds, more "
            "history for its windows, or other features may help"
        )
    if project.costs == Costs():
        yield (
            "the cut-offs and the money rest on costs that nobody has given: the defaults of `costs` in "
            "docs/params.md were taken; put your own into the project file"
        )


def _percent(share: float, digits: int = 1) -> str:
    return f"{figure(100 * share, digits)} %"
