"""Pair the decisions of a shadow and the champion on the same live payments, with labels as of one moment.

It reads what both have stored and decides nothing itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fraud_detection.adapters.sqlite.logged_decisions import LoggedDecision
from fraud_detection.adapters.sqlite.shadow_log import ShadowDecision, ShadowLog, shadow_path
from fraud_detection.backtesting.replay import learned_until, messages_of
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Transaction
from fraud_detection.core.parse import Parser
from fraud_detection.engine.engine import Engine
from fraud_detection.evaluation.evaluation_set import (
    ArmDecisions,
    ArmDecisionsBuilder,
    CategoricalBuilder,
    EvaluationSet,
)
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.evaluation.weights import are_equal
from fraud_detection.history.logged_decisions import DecisionHistory, weight_of

CHAMPION = "champion"
OTHERS = "a canary, a champion with another bundle, or a service that does not follow this folder"
"""Who decided payments that are left out: not a champion with the current bundle."""


@dataclass(frozen=True, slots=True)
class ChampionPeriod:
    """Decisions that count as the champion's: those of its bundle, under any configuration it served with.

    Rules, lists and limits make new configurations all the time, so it need not be the configuration of
    today.  What a configuration answered as a canary counts too once it has been champion: the answers are
    its own, and a hash has chosen the cards.  config_ids: all that were champions by the log of releases;
    None: no log is at hand, and the bundle decides alone.  capacity: reviews that people can make a day
    today, None: any number.  messages: what people read for the codes of its reasons.
    """

    bundle: str
    config_ids: frozenset[str] | None = None
    capacity: float | None = None
    messages: Mapping[str, str] = field(default_factory=dict)

    def has(self, decision: LoggedDecision) -> bool:
        """Return whether the champion made a decision."""
        if decision.bundle != self.bundle:
            return False
        return self.config_ids is None or decision.config_id in self.config_ids


@dataclass(frozen=True, slots=True)
class LiveTraffic:
    """Payments that champion and shadow have both decided, and the decisions of each.

    left_out: when those were paid, in ms, that the shadow has decided too and the champion has not.
    """

    evaluation_set: EvaluationSet
    champion: ArmDecisions
    shadow: ArmDecisions
    left_out: np.ndarray


@dataclass(slots=True)
class PairedDecisions:
    """Live payments that a shadow has decided too, as columns in log order."""

    champion: ArmDecisionsBuilder = field(default_factory=ArmDecisionsBuilder)
    shadow: ArmDecisionsBuilder = field(default_factory=ArmDecisionsBuilder)
    payments: list[Transaction] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    known_at: list[int] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)


def live_traffic(
    states: Sequence[Path], engine: Engine, config_id: str, as_of: int | None, period: ChampionPeriod
) -> LiveTraffic:
    """Return the payments that champion and shadow have both decided, and the decisions of each.

    Only payments from after the moment are there until which labels taught the shadow's bundle: of earlier
    ones it knew the answer.  Raises ConfigError where there is none.
    """
    since, pairs = learned_until(engine.bundle), PairedDecisions()
    shadowed = {state: _decided(state, config_id, since) for state in states}
    if not any(shadowed.values()):
        raise ConfigError(
            f"the shadow {config_id} has decided nothing yet of payments after {_iso(since)}, until when "
            "labels taught its bundle"
        )
    histories = {state: DecisionHistory(state) for state in states}
    moment = max(latest_known_at(history) for history in histories.values()) if as_of is None else as_of
    for state, history in histories.items():
        _join(pairs, history, shadowed[state], engine, moment, period)
    if not pairs.payments and pairs.left_out:
        raise ConfigError(
            f"the champion's bundle {period.bundle} has answered none of {len(pairs.left_out):,} payments "
            f"that the shadow {config_id} has decided too: {OTHERS} did; wait until services that follow it "
            "have answered some (`fraud release show`) and `fraud shadow` has followed, or name their state "
            "file with --state"
        )
    if not pairs.payments:
        raise ConfigError(
            f"no payment was decided by {_iso(moment)} that the shadow {config_id} has decided too"
        )
    left_out = np.array(pairs.left_out, np.int64)
    return LiveTraffic(_evaluation_set(pairs, engine, moment), *_decisions(pairs, engine, period), left_out)


def _decided(state: Path, config_id: str, since: int) -> dict[str, ShadowDecision]:
    """Return the decisions of a shadow on the payments of one state file."""
    with closing(ShadowLog(shadow_path(state), reading=True)) as log:
        if config_id not in log.config_ids():
            there = ", ".join(log.config_ids()) or "none"
            raise ConfigError(f"{state}: no shadow {config_id} has decided here (there are: {there})")
        return {decision.transaction_id: decision for decision in log.decisions(config_id, since)}


def latest_known_at(decided: DecisionHistory) -> int:
    """Return the latest time in ms in a state file, of a payment or of a label."""
    return max([decided.reader.watermark, *(label.available_from for label in decided.reader.labels)])


def _join(
    pairs: PairedDecisions,
    decided: DecisionHistory,
    shadowed: Mapping[str, ShadowDecision],
    engine: Engine,
    as_of: int,
    period: ChampionPeriod,
) -> None:
    """Append the payments that both have decided until `as_of`, in log order."""
    parser = Parser(engine.project.schema, engine.bundle.contents.features.category_encoding)
    known = {label.transaction_id: label for label in decided.reader.labels if label.available_from <= as_of}
    for decision, eligibility in decided.decisions():
        shadow_decision = shadowed.get(decision.transaction_id)
        if shadow_decision is None or decision.event_time > as_of:
            continue
        if not period.has(decision):
            pairs.left_out.append(decision.event_time)
            continue
        payment = parser.parse(decision.event, decision.transaction_id)
        if not isinstance(payment, Transaction):
            raise ConfigError(
                f"the shadow's project file takes payment {decision.transaction_id} for a label"
            )
        action = decision.action if decision.counterfactual_action is None else decision.counterfactual_action
        pairs.payments.append(payment)
        pairs.champion.add(action, decision.score, decision.codes)
        pairs.shadow.add(shadow_decision.action, shadow_decision.score, shadow_decision.reasons)
        label = known.get(decision.transaction_id)
        pairs.labels.append(UNKNOWN if label is None else int(label.fraud))
        pairs.known_at.append(0 if label is None else label.available_from)
        pairs.weight.append(weight_of(decision, payment.amount, eligibility))


def _evaluation_set(pairs: PairedDecisions, engine: Engine, as_of: int) -> EvaluationSet:
    schema = engine.project.schema
    payments, weight = pairs.payments, np.array(pairs.weight)
    times = np.array([payment.event_time for payment in payments], np.int64)
    decimals = 2 if schema.amount is None else schema.amount.decimals
    card = CategoricalBuilder()
    card.add([payment.entities[0] if payment.entities else None for payment in payments])
    segments = {}
    for index, name in enumerate(schema.categories):
        builder = CategoricalBuilder()
        builder.add([payment.categories[index] for payment in payments])
        segments[name] = builder.categorical()
    return EvaluationSet(
        span=(int(times.min()) // DAY_MS * DAY_MS, int(times.max()) + 1),
        as_of=as_of,
        delay_ms=0 if schema.label is None else schema.label.delay.ms,
        transaction_id=np.array([payment.transaction_id for payment in payments], object),
        event_time=times,
        amount=np.array(
            [np.nan if payment.amount is None else payment.amount / 10**decimals for payment in payments],
            np.float64,
        ),
        card=card.categorical(),
        label=np.array(pairs.labels, np.int8),
        known_at=np.array(pairs.known_at, np.int64),
        segments=segments,
        weight=None if are_equal(weight) else weight,
    )


def _decisions(
    pairs: PairedDecisions, engine: Engine, period: ChampionPeriod
) -> tuple[ArmDecisions, ArmDecisions]:
    """Return the decisions of both arms; both have the champion's review capacity."""
    return (
        pairs.champion.decisions(CHAMPION, period.messages, period.capacity),
        pairs.shadow.decisions(engine.configuration.config_id, messages_of(engine.project), period.capacity),
    )


def _iso(ms: int) -> str:
    moment = dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
