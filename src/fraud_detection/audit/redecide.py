"""Redecide a past payment from what was stored with it, and check that both are bit-identical.

The stored event is parsed again by the project file of that day; the stored features are scored by the
bundle of that day; rules, lists, policy, decline cap, reasons and control group are computed again.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fraud_detection.adapters.sqlite import journal
from fraud_detection.adapters.sqlite.state_reader import StateReader, StoredDecision
from fraud_detection.adapters.xgboost.bundle_trial import trusted_scorer
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.audit.decline_cap_replay import AsThen, DeclineCapReplay, replay_decline_cap
from fraud_detection.audit.explanation_record import Difference
from fraud_detection.core.decide.policy import unforeseen
from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.events import INTERNAL_ERROR, Action, ControlGroupAssignment, Decision, Transaction
from fraud_detection.core.hash_chain import chain_hash
from fraud_detection.core.metrics import StageTimes
from fraud_detection.core.outcomes import Decided
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.engine.decision_engine import DecisionEngine, DecisionStrategy
from fraud_detection.engine.engine import Configuration, Engine, make_engine

VALUE_BYTES = 8
COLUMNS = StoredDecision.__struct_fields__[:-1]
"""Everything but the chain hash, which is compared apart."""


class Redecision(msgspec.Struct):
    """A decision as it was stored, and as it comes out today.

    engine: that of the decision, from its configuration and bundle.  differences: empty where all is the
    same. taken: what cannot come out of what is stored, and was taken as it stands there, in words.
    decline_cap: what it did then; None where the configuration has none.
    """

    stored: StoredDecision
    engine: Engine
    scorer: XGBoostScorer
    payment: Transaction
    values: array[float]
    decision: Decision
    differences: list[Difference]
    taken: list[str]
    decline_cap: DeclineCapReplay | None = None


def redecide(record: StateReader, stored: StoredDecision, bundles: Sequence[Path]) -> Redecision:
    """Decide a stored payment again.  Raises ConfigError where configuration, bundle or event cannot be read.

    bundles: where to look for the bundle that decided.
    """
    configuration = _configuration(record, stored)
    bundle_name, project = configuration.read()
    bundle = find_bundle(bundle_name, bundles)
    scorer = trusted_scorer(bundle)
    engine = _engine(bundle, scorer, project, configuration)
    payment, values = _event(engine, stored), _values(engine, stored)
    redecision = Redecision(stored, engine, scorer, payment, values, _undecided(stored), [], [])
    if not _met_an_error(stored):
        redecision.decline_cap = replay_decline_cap(
            record, stored, project, payment, _wants_decline(redecision)
        )
    if (
        redecision.decline_cap is not None
        and redecision.decline_cap.agrees is not True
        and redecision.decline_cap.decline_requested
    ):
        redecision.taken.append(f"what the decline cap did: {redecision.decline_cap.doubt}")
    of_sender = {"caller": stored.caller, "notes": msgspec.json.decode(stored.notes, type=tuple[str, ...])}
    redecision.decision = msgspec.structs.replace(_decide(redecision, project), **of_sender)
    _compare(record, redecision, configuration)
    return redecision


def find_bundle(name: str, paths: Sequence[Path]) -> Bundle:
    """Return the bundle of that name; raise ConfigError that says which are there instead."""
    there = []
    # One that is named after itself is the likeliest.
    for path in sorted(paths, key=lambda path: not path.name.startswith(name)):
        if not path.exists():
            there.append(f"{path} (no such file)")
            continue
        bundle = read_bundle(path)
        if bundle.name == name:
            return bundle
        there.append(f"{path} ({bundle.name})")
    raise ConfigError(
        f"the bundle {name}, which decided, is not among: {', '.join(there)}; name it with --bundle, or the "
        "folder of kept bundles with --registry"
    )


def _configuration(record: StateReader, stored: StoredDecision) -> Configuration:
    content = record.configurations().get(stored.config_id)
    if content is None:
        raise ConfigError(
            f"{record.path}: the configuration {stored.config_id!r}, which decided payment "
            f"{stored.transaction_id}, is not in the file: what decided cannot be known; see `fraud audit "
            "verify`"
        )
    return Configuration(stored.config_id, content)


def _engine(bundle: Bundle, scorer: XGBoostScorer, project: Project, configuration: Configuration) -> Engine:
    """Return the engine of that day under its name; without the control group where its key is missing."""
    usable = project if _has_key(project) else msgspec.structs.replace(project, control_group=None)
    engine = make_engine(bundle, scorer, usable)
    strategy = msgspec.structs.replace(engine.strategy, config_id=configuration.config_id)
    return msgspec.structs.replace(engine, project=project, strategy=strategy, configuration=configuration)


def _has_key(project: Project) -> bool:
    settings = project.control_group
    return settings is None or bool(os.environ.get(settings.key_variable))


def _event(engine: Engine, stored: StoredDecision) -> Transaction:
    parser = Parser(engine.project.schema, engine.bundle.contents.features.category_encoding)
    try:
        read = parser.parse(stored.event, stored.transaction_id)
    except RejectError as error:
        raise ConfigError(
            f"payment {stored.transaction_id}: its stored event cannot be read as it was then: {error}"
        ) from None
    if not isinstance(read, Transaction):
        raise ConfigError(f"payment {stored.transaction_id}: its stored event is a label, not a payment")
    return read


def _values(engine: Engine, stored: StoredDecision) -> array[float]:
    names = engine.bundle.contents.features.names
    if len(stored.features) != VALUE_BYTES * len(names):
        raise ConfigError(
            f"payment {stored.transaction_id}: {len(stored.features)} bytes of features are stored, its "
            f"bundle has {len(names)} features of {VALUE_BYTES} bytes"
        )
    return array("d", stored.features)


def _undecided(stored: StoredDecision) -> Decision:
    return Decision(stored.transaction_id, Action.REVIEW, None, (), "", "")


def _wants_decline(redecision: Redecision) -> bool:
    """Return whether rules and score ask for a decline, which a decline cap may refuse."""
    fired = redecision.engine.strategy.rules.fired(redecision.payment, redecision.values)
    score = None if redecision.stored.score is None else redecision.scorer.score([redecision.values])[0]
    return redecision.engine.strategy.policy.verdicts(score, fired)[0] is Action.DECLINE


def _met_an_error(stored: StoredDecision) -> bool:
    """Return whether the program met an error with the payment, which then went to review."""
    reasons: list[tuple[str, str, str]] = msgspec.json.decode(stored.reasons)
    return bool(reasons) and reasons[0][1] == INTERNAL_ERROR


def _decide(redecision: Redecision, project: Project) -> Decision:
    strategy = redecision.engine.strategy
    if _met_an_error(redecision.stored):
        redecision.taken.append("that the program met an error with it, and sent it to review")
        transaction_id, policy = redecision.stored.transaction_id, strategy.policy.name
        return unforeseen(transaction_id, policy, strategy.bundle, strategy.config_id)
    decision = _decide_again(redecision, strategy)
    if redecision.stored.score is None and decision.score is not None:
        # Nothing but a model that did not answer leaves no score; whether it did cannot be made again.
        redecision.taken.append("that the model did not answer")
        decision = _decide_again(redecision, msgspec.structs.replace(strategy, scorer=None))
    settings = project.control_group
    if (
        settings is not None
        and strategy.sampler is None
        and redecision.stored.counterfactual_action is not None
    ):
        redecision.taken.append(
            f"that it is in the control group: the key is not in {settings.key_variable}, so the assignment "
            "cannot be computed again"
        )
        assignment = ControlGroupAssignment(decision.action, settings.sampling_rate)
        decision = msgspec.structs.replace(decision, action=Action.APPROVE, control_group=assignment)
    return decision


def _decide_again(redecision: Redecision, strategy: DecisionStrategy) -> Decision:
    decision_engine = DecisionEngine(strategy, StageTimes())
    if redecision.decline_cap is not None and redecision.decline_cap.decline_requested:
        decision_engine.decline_cap = AsThen(
            redecision.decline_cap.settings, admitted=redecision.decline_cap.admitted
        )
    return decision_engine.decide([redecision.payment], [redecision.values])[0]


def _compare(record: StateReader, redecision: Redecision, configuration: Configuration) -> None:
    stored, differences = redecision.stored, redecision.differences
    previous_hash = record.previous_hash(stored.seq)
    outcome = Decided(stored.event, redecision.payment, redecision.values, redecision.decision)
    stored_row, recomputed = (
        msgspec.structs.astuple(stored),
        journal.decision_row(stored.seq, outcome, previous_hash),
    )
    for name, stored_value, value in zip(COLUMNS, stored_row, recomputed, strict=False):
        if msgspec.msgpack.encode(stored_value) != msgspec.msgpack.encode(value):
            differences.append(Difference(name, _as_text(name, stored_value), _as_text(name, value)))
    if not configuration.is_intact:
        differences.append(
            Difference("configuration", configuration.config_id, "its content was changed since")
        )
    if redecision.decline_cap is not None and redecision.decline_cap.agrees is False:
        differences.append(
            Difference("decline_cap", redecision.decline_cap.did, redecision.decline_cap.should)
        )
    expected = chain_hash(previous_hash, stored_row[:-1])
    if expected != stored.chain:
        differences.append(Difference("chain", stored.chain.hex(), expected.hex()))


def _as_text(name: str, value: object) -> str:
    """Return a value of a column as people read it; two that differ never look the same."""
    if name in {"action", "counterfactual_action"} and isinstance(value, int) and 0 <= value < len(Action):
        return Action(value).label
    if name == "entities" and isinstance(value, bytes):
        try:
            return str(msgspec.msgpack.decode(value))
        except msgspec.DecodeError:
            return value.hex()
    return repr(value)
