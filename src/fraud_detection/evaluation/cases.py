"""Example payments that two arms decide differently, and how often each reason fired."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fraud_detection.core.events import Action
from fraud_detection.evaluation.comparison import ArmDecision, Example, Examples, Fired, Reason
from fraud_detection.evaluation.evaluation_set import NONE, ArmDecisions, EvaluationSet
from fraud_detection.evaluation.resample import figure
from fraud_detection.evaluation.slices import Segmentation, iso
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.evaluation.unobserved_outcomes import unobserved_weights

MAX_EXAMPLES = 10


def examples(
    evaluation_set: EvaluationSet, arms: tuple[ArmDecisions, ArmDecisions], total: Segmentation
) -> Examples:
    """Return the payments with the largest amounts for each kind of difference.

    `largest` covers all payments; the others cover `total`, the weeks with mature labels.
    """
    baseline_action, variant_action = (arm.action for arm in arms)
    evaluated = (total.slice_number != NONE) & (baseline_action != variant_action)
    fraud, good = evaluated & (evaluation_set.label == 1), evaluated & (evaluation_set.label == 0)
    picked = {
        "largest": baseline_action != variant_action,
        "newly_caught": fraud & (baseline_action == Action.APPROVE),
        "newly_missed": fraud & (variant_action == Action.APPROVE),
        "newly_hurt": good & (variant_action > baseline_action),
        "newly_spared": good & (variant_action < baseline_action),
        "newly_unobserved": unobserved_weights(evaluation_set, arms, total) > 0,
    }
    return Examples(**{name: tuple(_largest(evaluation_set, arms, rows)) for name, rows in picked.items()})


def _largest(
    evaluation_set: EvaluationSet, arms: tuple[ArmDecisions, ArmDecisions], rows: np.ndarray
) -> Iterator[Example]:
    indices = np.flatnonzero(rows)
    order = np.argsort(-np.nan_to_num(evaluation_set.amount[indices]), kind="stable")[:MAX_EXAMPLES]
    for row in indices[order].tolist():
        label = int(evaluation_set.label[row])
        yield Example(
            transaction_id=str(evaluation_set.transaction_id[row]),
            event_time=iso(int(evaluation_set.event_time[row])),
            amount=figure(float(evaluation_set.amount[row])),
            card=evaluation_set.card.name(row),
            fraud=None if label == UNKNOWN else label == 1,
            segments={name: categorical.name(row) for name, categorical in evaluation_set.segments.items()},
            baseline=_decision_of(arms[0], row),
            variant=_decision_of(arms[1], row),
        )


def _decision_of(arm: ArmDecisions, row: int) -> ArmDecision:
    messages = [arm.messages.get(code, code) for code in arm.codes(row)]
    return ArmDecision(
        action=Action(int(arm.action[row])).label,
        score=figure(float(arm.score[row])),
        reasons=tuple(messages),
    )


def reasons(
    evaluation_set: EvaluationSet, arms: tuple[ArmDecisions, ArmDecisions], total: Segmentation
) -> tuple[Reason, ...]:
    """Return how often each reason fired, the most frequent first."""
    baseline, variant = (_fired(evaluation_set, arm, total) for arm in arms)
    codes = sorted(
        {*baseline, *variant}, key=lambda code: (-max(_often(baseline, code), _often(variant, code)), code)
    )
    none = Fired(payments=0, frauds=0.0, good=0.0, unlabelled=0)
    return tuple(
        Reason(
            code=code,
            message=_message(code, arms),
            baseline=baseline.get(code, none),
            variant=variant.get(code, none),
        )
        for code in codes
    )


def _message(code: str, arms: tuple[ArmDecisions, ArmDecisions]) -> str:
    """Return what people read for a code; of both arms where a change set gave it another meaning."""
    arm_by_message = {arm.messages[code]: arm.name for arm in reversed(arms) if code in arm.messages}
    if len(arm_by_message) < len(arms):
        return next(iter(arm_by_message), code)
    return "; ".join(f"{name}: {message}" for message, name in reversed(arm_by_message.items()))


def _often(fired: dict[str, Fired], code: str) -> int:
    return fired[code].payments if code in fired else 0


def _fired(evaluation_set: EvaluationSet, arm: ArmDecisions, total: Segmentation) -> dict[str, Fired]:
    inside = total.slice_number != NONE
    why, label, weight = arm.why[inside], evaluation_set.label[inside], evaluation_set.weights()[inside]
    size = len(arm.reasons)
    count = np.bincount(why, minlength=size)
    frauds = np.bincount(why, weights=weight * (label == 1), minlength=size)
    good = np.bincount(why, weights=weight * (label == 0), minlength=size)
    unknown = np.bincount(why[label == UNKNOWN], minlength=size)
    return {
        code: Fired(
            payments=int(count[indices].sum()),
            frauds=round(float(frauds[indices].sum()), 6),
            good=round(float(good[indices].sum()), 6),
            unlabelled=int(unknown[indices].sum()),
        )
        for code, indices in _payments_by_reason(arm).items()
        if count[indices].any()
    }


def _payments_by_reason(arm: ArmDecisions) -> dict[str, list[int]]:
    """Return the positions in `reasons` of each code."""
    payments: dict[str, list[int]] = {}
    for index, codes in enumerate(arm.reasons):
        for code in codes:
            payments.setdefault(code, []).append(index)
    return payments
