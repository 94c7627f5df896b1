"""Explain a decision that was made again: features, score, rules, labels and outcome."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from fraud_detection.adapters.sqlite.state_reader import StoredLabel
from fraud_detection.audit.decline_cap_replay import DeclineCapReplay
from fraud_detection.audit.explanation_record import (
    FIRED,
    DeclineCapView,
    ExplanationRecord,
    FeatureView,
    LabelView,
    MadeBy,
    PaymentView,
    ReasonView,
    RecomputedFeatures,
    RuleView,
    ScoreView,
)
from fraud_detection.audit.redecide import Redecision
from fraud_detection.core.decide.lists import ACTIONS, Span, span
from fraud_detection.core.decision_record import iso
from fraud_detection.core.decision_settings import LifecycleSettings, ListEntry, ListSettings
from fraud_detection.core.events import Action, Transaction
from fraud_detection.core.project_schema import Schema

HELD_BACK, NOT_TRUE, NOT_KNOWN, NOT_LISTED = (
    "outvoted by a list that denies",
    "does not hold",
    "not known, because a value is missing",
    "not on it",
)


def explanation_record(
    redecision: Redecision,
    labels: Sequence[StoredLabel],
    state: str,
    recomputed_features: RecomputedFeatures | None = None,
) -> ExplanationRecord:
    """Return the explanation of a decision; `labels` are those that came, in order."""
    stored = redecision.stored
    differences = [
        *redecision.differences,
        *(() if recomputed_features is None else recomputed_features.differences),
    ]
    action, current = Action(stored.action), _current_label(labels)
    reasons = msgspec.json.decode(stored.reasons, type=list[tuple[str, str, str]])
    return ExplanationRecord(
        payment=_payment(redecision.payment, redecision.engine.project.schema, stored.event),
        state=state,
        number=stored.seq,
        action=action.label,
        reasons=[ReasonView(*reason) for reason in reasons],
        counterfactual_action=None
        if stored.counterfactual_action is None
        else Action(stored.counterfactual_action).label,
        sampling_rate=stored.sampling_rate,
        same=not differences,
        differences=differences,
        taken=redecision.taken,
        score=_score(redecision),
        features=_features(redecision),
        rules=[*_lists(redecision), *_rules(redecision)],
        decline_cap=_decline_cap(redecision.decline_cap),
        labels=[label_view(label, stands=label is current) for label in labels],
        assessment=assessment(action, None if current is None else bool(current.fraud)),
        made_by=_made_by(redecision),
        recomputed_features=recomputed_features,
        caller=stored.caller,
        notes=msgspec.json.decode(stored.notes, type=list[str]),
    )


def assessment(action: Action, fraud: bool | None) -> str:  # noqa: FBT001 - what is known of the payment
    """Say whether the decision was right, as is known now.

    >>> assessment(Action.DECLINE, True), assessment(Action.APPROVE, None)
    ('right: a fraud was stopped', 'unknown: no label yet')
    """
    if fraud is None:
        return "unknown: no label yet"
    if action is Action.APPROVE:
        return "wrong: a fraud was let pass" if fraud else "right: a legitimate payment was let pass"
    if action is Action.DECLINE:
        return "right: a fraud was stopped" if fraud else "wrong: a legitimate payment was declined"
    return "right: a fraud was sent to review" if fraud else "a legitimate payment was sent to review"


def _current_label(labels: Sequence[StoredLabel]) -> StoredLabel | None:
    return next((label for label in reversed(labels) if not label.redundant), None)


def _payment(payment: Transaction, schema: Schema, event: bytes) -> PaymentView:
    scale = 1 if schema.amount is None else 10**schema.amount.decimals
    return PaymentView(
        payment.transaction_id,
        iso(payment.event_time),
        None if payment.amount is None else payment.amount / scale,
        dict(zip(schema.entities, payment.entities, strict=True)),
        {name: _known(value) for name, value in zip(schema.numbers, payment.numbers, strict=True)},
        dict(zip(schema.categories, payment.categories, strict=True)),
        payment.place,
        event.decode(errors="replace"),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _features(redecision: Redecision) -> list[FeatureView]:
    contributions = redecision.scorer.contributions([redecision.values])[0]
    reasons = redecision.engine.strategy.reasons
    names = redecision.engine.bundle.contents.features.names
    status = names if reasons is None else reasons.sentences(redecision.values)
    return [
        FeatureView(name, _known(value), message, float(added))
        for name, value, message, added in zip(names, redecision.values, status, contributions, strict=True)
    ]


def _score(redecision: Redecision) -> ScoreView:
    log_odds = float(redecision.scorer.margins([redecision.values])[0])
    policy, calibration = redecision.engine.strategy.policy, redecision.scorer.calibration
    declared = redecision.engine.project.policy.review_at is not None
    return ScoreView(
        base=log_odds - float(redecision.scorer.contributions([redecision.values])[0].sum()),
        log_odds=log_odds,
        slope=calibration.slope,
        intercept=calibration.intercept,
        probability=calibration.probability(log_odds),
        score=redecision.stored.score,
        review_at=policy.review_at,
        decline_at=policy.decline_at,
        origin="settings" if declared else redecision.engine.bundle.manifest.cutoffs.origin,
    )


def _rules(redecision: Redecision) -> Iterator[RuleView]:
    conditions = redecision.engine.strategy.rules.conditions(redecision.payment, redecision.values)
    for rule, holds in zip(redecision.engine.project.rules, conditions, strict=True):
        silent = _silence(span(rule), rule, redecision.payment.event_time)
        status = silent or (FIRED if holds else NOT_KNOWN if holds is None else NOT_TRUE)
        when = " ".join(rule.when.split())
        yield RuleView(rule.name, "rule", status, when, rule.action, rule.owner, rule.reason, rule.version)


def _lists(redecision: Redecision) -> Iterator[RuleView]:
    spoke = {
        verdict.code
        for verdict in redecision.engine.strategy.rules.fired(redecision.payment, redecision.values)
    }
    for list_settings in redecision.engine.project.lists:
        value = _text(redecision.payment, redecision.engine.project.schema, list_settings.of)
        entry = next((entry for entry in list_settings.entries if entry.value == value), None)
        status = (
            NOT_LISTED if entry is None else _entry_status(list_settings, entry, redecision.payment, spoke)
        )
        owner, reason = ("", "") if entry is None else (entry.owner, entry.reason)
        what, action = f"{list_settings.of} {value or '(missing)'}", ACTIONS[list_settings.kind].label
        owner, reason = owner or list_settings.owner, reason or list_settings.reason
        yield RuleView(list_settings.name, f"{list_settings.kind} list", status, what, action, owner, reason)


def _entry_status(settings: ListSettings, entry: ListEntry, payment: Transaction, spoke: set[str]) -> str:
    holds, time_ms = span(entry, span(settings)), payment.event_time
    silent = _silence(holds, entry, time_ms) and (
        _silence(span(settings), settings, time_ms) or _silence(span(entry), entry, time_ms)
    )
    return silent or (FIRED if settings.name in spoke else HELD_BACK)


def _silence(within: Span, lifecycle: LifecycleSettings, time_ms: int) -> str:
    """Say why something does not speak at a time; nothing where it does."""
    since, until = within
    if time_ms >= until:
        return f"expired on {lifecycle.expires}"
    return f"snoozed until {lifecycle.snoozed_until}" if time_ms < since else ""


def _text(payment: Transaction, schema: Schema, name: str) -> str | None:
    """Return what a list of that name looks up, as the rules read it: a category before an entity."""
    texts: dict[str, str | None] = {"transaction_id": payment.transaction_id}
    texts |= dict(zip(schema.entities, payment.entities, strict=True))
    texts |= dict(zip(schema.categories, payment.categories, strict=True))
    return texts[name]


def _decline_cap(then: DeclineCapReplay | None) -> DeclineCapView | None:
    if then is None:
        return None
    did = f"{then.did}: {then.message}" if then.decline_requested and not then.admitted else then.did
    return DeclineCapView(
        then.decline_requested,
        did if then.decline_requested else "was not asked",
        then.payments,
        then.declines,
        then.agrees,
    )


def label_view(label: StoredLabel, *, stands: bool) -> LabelView:
    """Return a label as the explanation shows it."""
    note = "changes nothing" if label.redundant else ""
    if label.supersedes_known_at is not None:
        note = f"takes back the one that was known at {iso(label.supersedes_known_at)}"
    return LabelView(
        "fraud" if label.fraud else "legitimate",
        label.source,
        iso(label.known_at),
        None if label.happened_at is None else iso(label.happened_at),
        note,
        stands,
        label.caller,
    )


def _made_by(redecision: Redecision) -> MadeBy:
    manifest, stored = redecision.engine.bundle.manifest, redecision.stored
    periods = manifest.periods
    return MadeBy(
        stored.config_id,
        stored.policy,
        manifest.name,
        manifest.project,
        manifest.fingerprint,
        periods.train_from,
        periods.train_until,
        periods.labels_as_of,
    )
