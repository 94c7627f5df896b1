"""Evaluate the decisions of a demo by the ground truth of its simulator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from fraud_detection.core.events import Transaction
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import Project
from fraud_detection.evaluation.cutoffs import expected_costs
from fraud_detection.evaluation.measures import Ranking
from fraud_detection.simulator.ground_truth import stream_ground_truth
from fraud_detection.simulator.settings import SimulatorSettings

MAX_LOOKED_AT_A_PAYMENT, MAX_LOOKED_AT_A_DAY = 3, 100_000
"""Where the search for the ground truth of decided payments ends; a payment not found by then is a bug."""


class DecidedPayment(msgspec.Struct, frozen=True):
    """What was decided: the score (None where no model scored), the action's number, the raw event."""

    transaction_id: str
    score: float | None
    action: int
    event: bytes


class Quality(msgspec.Struct, frozen=True):
    """How good the decisions were; shares are of the payments that were decided.

    recall: share of the frauds that were reviewed or declined.  precision: share of fraud among those.
    """

    frauds: int
    recall: float
    precision: float
    average_precision: float
    money_saved: float
    money_at_risk: float


def quality(project: Project, simulation: SimulatorSettings, decided: Sequence[DecidedPayment]) -> Quality:
    """Compare the decisions with the ground truth of that simulation."""
    frauds = _ground_truth(simulation, {decision.transaction_id for decision in decided})
    label = np.array([frauds[decision.transaction_id] for decision in decided], dtype=np.int8)
    score = np.array([0.0 if decision.score is None else decision.score for decision in decided])
    action = np.array([decision.action for decision in decided], dtype=np.int64)
    fraud, flagged = label == 1, action > 0
    each = expected_costs(label, _amounts(project, decided), project.costs)
    paid = np.choose(action, [each.approved, each.reviewed, each.declined])
    return Quality(
        frauds=int(fraud.sum()),
        recall=_share(int((fraud & flagged).sum()), int(fraud.sum())),
        precision=_share(int((fraud & flagged).sum()), int(flagged.sum())),
        average_precision=Ranking.of(score, label).average_precision(),
        money_saved=float(each.approved.sum() - paid.sum()),
        money_at_risk=float(each.approved.sum()),
    )


def _amounts(project: Project, decided: Sequence[DecidedPayment]) -> np.ndarray:
    parser = Parser(project.schema)
    payments = [parser.parse(decision.event) for decision in decided]
    amounts = [payment.amount if isinstance(payment, Transaction) else None for payment in payments]
    return np.array([math.nan if amount is None else amount / 100 for amount in amounts])


def _ground_truth(simulation: SimulatorSettings, wanted: set[str]) -> dict[str, bool]:
    """Ask the simulator about every payment that was decided."""
    known: dict[str, bool] = {}
    missing = set(wanted)
    for day in stream_ground_truth(simulation):
        known.update(day)
        missing -= day.keys()
        if not missing or len(known) > MAX_LOOKED_AT_A_PAYMENT * len(wanted) + MAX_LOOKED_AT_A_DAY:
            return known
    return known


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
