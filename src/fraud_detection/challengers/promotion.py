"""Compare a shadow with the champion, evaluate the gate, and promote it by one release."""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from fraud_detection.adapters.sqlite.shadow_log import ShadowLog, shadow_path
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.backtesting.replay import messages_of
from fraud_detection.challengers.live_comparison import ChampionPeriod, LiveTraffic, live_traffic
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Transaction
from fraud_detection.core.metrics import StageTimes
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import Project
from fraud_detection.engine.decision_engine import DecisionEngine
from fraud_detection.engine.engine import Engine
from fraud_detection.evaluation.compare import compare
from fraud_detection.evaluation.comparison import Comparison
from fraud_detection.evaluation.gate import GateInputs, GateResult, evaluate_gate
from fraud_detection.evaluation.ranking import ranked
from fraud_detection.evaluation.slices import mature_weeks, weeks
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.evaluation.weights import deviation
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import Release, ReleaseRegistry

RESCORED = 500
ROUNDS = 3
STORED = "SELECT event, features FROM decisions WHERE seq = ?"


class ShadowComparison(msgspec.Struct, frozen=True):
    """Comparison of a shadow with the champion, and the result of the gate.

    release: the number of the one that it was compared with.  left_out: payments that the shadow has decided
    and somebody else than the champion has answered: `OTHERS` of `live_comparison`.
    """

    release: int
    config_id: str
    bundle: str
    left_out: int
    comparison: Comparison
    gate_inputs: GateInputs
    gate_result: GateResult


class Rescorable(msgspec.Struct, frozen=True):
    """A live payment that a shadow has decided, with the shadow's score.

    rows: features as they were served, and as the shadow had them; 64-bit floats.
    """

    transaction_id: str
    event: bytes
    rows: tuple[bytes, bytes]
    score: float | None


def compare_shadow(
    registry: ReleaseRegistry, states: Sequence[Path], config_id: str, as_of: int | None
) -> ShadowComparison:
    """Compare a shadow with the champion on live traffic, and evaluate the gate."""
    release = lifecycle.current(registry)
    champion, challenger = (
        lifecycle.engine_of(registry, release.champion),
        lifecycle.engine_of(registry, config_id),
    )
    project, period = champion.project, _champion_period(registry, champion)
    both = live_traffic(states, challenger, config_id, as_of, period)
    comparison = compare(both.evaluation_set, both.champion, both.shadow, project.costs, project.model.seed)
    gate_inputs = _gate_inputs(both, (champion, challenger), states)
    gate_result = evaluate_gate(comparison, gate_inputs, project.gate)
    return ShadowComparison(
        release.number,
        config_id,
        challenger.bundle.name,
        both.left_out.size,
        comparison,
        gate_inputs,
        gate_result,
    )


def _champion_period(registry: ReleaseRegistry, champion: Engine) -> ChampionPeriod:
    """Return which decisions count as the champion's, with all its messages; current ones win."""
    champions = dict.fromkeys(release.champion for release in registry.releases())
    messages: dict[str, str] = {}
    for bundle, project in (lifecycle.content_of(registry, config_id) for config_id in champions):
        if bundle == champion.bundle.name:
            messages |= messages_of(project)
    messages |= messages_of(champion.project)
    capacity = champion.project.policy.review_capacity_per_day
    return ChampionPeriod(champion.bundle.name, frozenset(champions), capacity, messages)


def chosen(registry: ReleaseRegistry, config_id: str | None) -> str:
    """Return the named shadow, or the only one; raise ConfigError otherwise."""
    shadows = lifecycle.current(registry).shadows
    if config_id is None and len(shadows) == 1:
        return shadows[0]
    if config_id in shadows:
        return str(config_id)
    there = ", ".join(shadows) or "none; make one with `fraud release shadow`"
    raise ConfigError(f"--config-id: name one of the shadows (there are: {there})")


def promote(
    registry: ReleaseRegistry, comparison: ShadowComparison, author: lifecycle.Author, *, force: bool = False
) -> Release | None:
    """Promote the shadow if it passes the gate; return None where it does not.

    force: by the author's will alone, which the release says.  Raises ConfigError when the shadow's features
    are others than those of the services' profiles, whatever the gate says, and when other answers went
    live since the gate was asked, or the shadow was ended.
    """
    bundle = lifecycle.bundle_of(registry, comparison.config_id)
    lifecycle.check_same_features(registry, bundle)
    evidence = registry.store_evidence(
        f"{comparison.config_id}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}",
        msgspec.json.encode(comparison),
    )
    if not comparison.gate_result.passed:
        if not force:
            return None
        failed = ", ".join(check.name for check in comparison.gate_result.checks if not check.passed)
        author = lifecycle.Author(author.by, f"{author.reason} (against the gate: {failed})")
    project = project_of(registry, comparison.release, comparison.config_id)
    return lifecycle.promote(
        registry, bundle, project, author, evidence, (comparison.release, comparison.config_id)
    )


def project_of(registry: ReleaseRegistry, number: int, config_id: str) -> Project:
    """Return the project to promote a shadow with, so that no change published meanwhile is lost.

    number: of the release of today.  A shadow that was another bundle alone takes its champion's project.
    Raises ConfigError where the shadow has a project of its own, and another release was
    published since it was named.
    """
    releases = registry.releases()
    # A shadow that was ended and added again was evaluated since then.
    since = itertools.takewhile(lambda release: config_id in release.shadows, reversed(releases[:number]))
    *_, named = since
    champions = named.champion, releases[number - 1].champion
    then, current, own = (
        lifecycle.content_of(registry, configuration)[1] for configuration in (*champions, config_id)
    )
    if own == then:
        return current
    if current == then:
        return own
    raise ConfigError(
        f"rules, lists or limits in force have changed since release {named.number} named the shadow "
        f"{config_id}, which has some of its own: promoting it would take the changes back; end it, and name "
        "it anew with `fraud release shadow`"
    )


def _gate_inputs(both: LiveTraffic, engines: tuple[Engine, Engine], states: Sequence[Path]) -> GateInputs:
    (champion, challenger), evaluation_set = engines, both.evaluation_set
    mature = mature_weeks(weeks(evaluation_set), "")[0]
    since, until = mature.slices[0].span if mature.slices else evaluation_set.span
    evaluated = (mature.slice_number >= 0) & (evaluation_set.label != UNKNOWN)
    fraud, weight = (evaluation_set.label[evaluated] == 1).astype(float), evaluation_set.weights()[evaluated]
    scores = [np.nan_to_num(arm.score[evaluated], nan=1.0) for arm in (both.champion, both.shadow)]
    gain = None
    if fraud.any():
        seed = champion.project.model.seed
        _, _, gain = ranked((scores[0], scores[1]), fraud, weight, evaluation_set.card.codes[evaluated], seed)
    latest = [
        rescorable for state in states for rescorable in _latest(state, challenger.configuration.config_id)
    ]
    rescored, different = _rescored(challenger, latest)
    return GateInputs(
        average_precision=gain,
        expected_frauds=float((scores[1] * weight).sum()),
        frauds=float((fraud * weight).sum()),
        deviation=deviation(weight, scores[1]),
        left_out=int(((both.left_out >= since) & (both.left_out < until)).sum()),
        p99_us=_latencies(engines, latest),
        rescored=rescored,
        different=different,
        same_features=champion.bundle.manifest.fingerprint == challenger.bundle.manifest.fingerprint,
        same_schema=champion.project.schema == challenger.project.schema,
    )


def _latest(state: Path, config_id: str) -> list[Rescorable]:
    """Return the latest payments of a state file that a shadow has decided, in log order."""
    with (
        closing(ShadowLog(shadow_path(state), reading=True)) as log,
        closing(StateFile(state, reading=True)) as state_file,
    ):
        own = log.own_rows(config_id)
        return [
            Rescorable(
                decision.transaction_id, event, (served, own.get(decision.seq, served)), decision.score
            )
            for decision in log.decisions(config_id)[-RESCORED:]
            for event, served in state_file.rows(STORED, (decision.seq,))
        ]


def _rescored(engine: Engine, latest: Sequence[Rescorable]) -> tuple[int, int]:
    """Score payments again, one at a time; return their number and how many scores differ."""
    scorer = engine.strategy.scorer
    rescored = [
        None if scorer is None else scorer.score([array("d", rescorable.rows[1])])[0] for rescorable in latest
    ]
    return len(rescored), sum(
        score != rescorable.score for score, rescorable in zip(rescored, latest, strict=True)
    )


def _latencies(engines: tuple[Engine, Engine], latest: Sequence[Rescorable]) -> tuple[float, float]:
    """Return the p99 in us of scoring and deciding a payment, measured alternately; best of ROUNDS."""
    payments = [_payments(engine, latest, index) for index, engine in enumerate(engines)]
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for index, engine in enumerate(engines):
            decision_engine = DecisionEngine(engine.strategy, StageTimes())
            best[index] = min(best[index], _p99(decision_engine.decide, payments[index]))
    return best[0], best[1]


def _payments(
    engine: Engine, latest: Sequence[Rescorable], index: int
) -> list[tuple[Transaction, array[float]]]:
    """Return payments parsed by an engine, with its own feature rows."""
    parser = Parser(engine.project.schema)
    return [
        (payment, array("d", rescorable.rows[index]))
        for rescorable in latest
        if isinstance(payment := parser.parse(rescorable.event, rescorable.transaction_id), Transaction)
    ]


def _p99(
    decide: Callable[[Sequence[Transaction], Sequence[array[float]]], object],
    payments: Sequence[tuple[Transaction, array[float]]],
) -> float:
    latencies = []
    for payment, row in payments:
        start = time.perf_counter()
        decide([payment], [row])
        latencies.append(1e6 * (time.perf_counter() - start))
    return float(np.percentile(latencies, 99)) if latencies else 0.0
