"""A shadow beside the champion on the same live payments, by what was known of them at a moment.

It reads what both have kept and decides nothing itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from fraud_detection.adapters.shadow_log import ShadowDecision, ShadowLog, shadow_path
from fraud_detection.adapters.sqlite_site import SqliteSite
from fraud_detection.errors import ConfigError
from fraud_detection.events import Transaction
from fraud_detection.judge.traffic import AnswerBook, Answers, Coder, Traffic
from fraud_detection.parse import Parser
from fraud_detection.run.engine import Engine
from fraud_detection.train.measures import DAY_MS
from fraud_detection.train.split import UNKNOWN

CHAMPION = "champion"
ANSWERED = """
    SELECT seq, event, action, score, reasons, instead_of, share FROM decisions
    WHERE seq BETWEEN ? AND ? ORDER BY seq"""
KNOWN = """
    SELECT transaction_id, fraud, known_at FROM labels WHERE NOT noted AND known_at <= ? ORDER BY seq"""
AT_ONCE = 5_000


@dataclass(slots=True)
class Beside:
    """Live payments that a shadow has decided too, column by column, in order of the logs.

    stopped: whether the champion would have stopped the payment, had it not been let through by lot.
    """

    champion: AnswerBook = field(default_factory=AnswerBook)
    shadow: AnswerBook = field(default_factory=AnswerBook)
    payments: list[Transaction] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    known_at: list[int] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    stopped: list[bool] = field(default_factory=list)


def live_traffic(
    states: Sequence[Path], engine: Engine, setup: str, as_of: int | None
) -> tuple[Traffic, Answers, Answers]:
    """Return the payments that both have decided, and the answers of champion and shadow.

    Only payments from after the moment are there until which labels taught the shadow's bundle: of earlier
    ones it knew the answer.  Raises ConfigError where there is none.
    """
    beside = Beside()
    since = learned_until(engine)
    with ExitStack() as files:
        sites = [files.enter_context(closing(SqliteSite(state, reading=True))) for state in states]
        logs = [files.enter_context(closing(ShadowLog(shadow_path(state), reading=True))) for state in states]
        if setup not in {name for log in logs for name in log.setups()}:
            there = ", ".join(dict.fromkeys(name for log in logs for name in log.setups())) or "none"
            raise ConfigError(f"no shadow {setup} has decided here (there are: {there})")
        moment = max(map(latest_news, sites)) if as_of is None else as_of
        for site, log in zip(sites, logs, strict=True):
            _join(beside, site, log.decisions(setup, since), engine, moment)
    if not beside.payments:
        raise ConfigError(
            f"the shadow {setup} has decided nothing yet of payments after {_iso(since)}, until when labels "
            "taught its bundle"
        )
    return _traffic(beside, engine, moment), *_answers(beside, engine)


def learned_until(engine: Engine) -> int:
    """Return the moment in ms until which labels taught a bundle."""
    told = engine.bundle.manifest.periods.labels_as_of
    return round(dt.datetime.fromisoformat(told).timestamp() * 1000)


def latest_news(site: SqliteSite) -> int:
    """Return the latest moment in ms that a state file knows of: of a payment or of a label."""
    ((known,),) = site.rows("SELECT coalesce(max(known_at), 0) FROM labels")
    ((paid,),) = site.rows("SELECT coalesce(max(event_time), 0) FROM decisions")
    return int(max(known, paid))


def _join(
    beside: Beside, site: SqliteSite, decided: Sequence[ShadowDecision], engine: Engine, as_of: int
) -> None:
    """Take what both have decided, a part of the log at a time."""
    parser = Parser(engine.project.schema, engine.bundle.contents.features.vocabulary)
    known = {one: (fraud, known_at) for one, fraud, known_at in site.rows(KNOWN, (as_of,))}
    for start in range(0, len(decided), AT_ONCE):
        part = decided[start : start + AT_ONCE]
        rows = {row[0]: row[1:] for row in site.rows(ANSWERED, (part[0].seq, part[-1].seq))}
        for one in part:
            event, action, score, reasons, instead_of, share = rows[one.seq]
            if one.event_time > as_of:
                continue
            payment = parser.parse(event, one.transaction_id)
            if not isinstance(payment, Transaction):
                continue
            beside.payments.append(payment)
            answer = action if instead_of is None else instead_of
            beside.champion.add(answer, score, [code for _, code, _ in msgspec.json.decode(reasons)])
            beside.shadow.add(one.action, one.score, one.reasons)
            fraud, known_at = known.get(one.transaction_id, (UNKNOWN, 0))
            beside.labels.append(int(fraud))
            beside.known_at.append(known_at)
            beside.share.append(1.0 if share is None else share)
            beside.stopped.append(bool(action) and instead_of is None)


def _traffic(beside: Beside, engine: Engine, as_of: int) -> Traffic:
    schema = engine.project.schema
    payments, share = beside.payments, np.array(beside.share)
    times = np.array([payment.event_time for payment in payments], np.int64)
    decimals = 2 if schema.amount is None else schema.amount.decimals
    card = Coder()
    card.add([payment.entities[0] if payment.entities else None for payment in payments])
    segments = {}
    for place, name in enumerate(schema.categories):
        coder = Coder()
        coder.add([payment.categories[place] for payment in payments])
        segments[name] = coder.coded()
    # Those let through stand for all of their kind, which else have no label or one that people gave.
    lots = bool((share < 1).any())
    weight = np.where(np.array(beside.stopped), 0.0, 1 / share) if lots else None
    return Traffic(
        span=(int(times.min()) // DAY_MS * DAY_MS, int(times.max()) + 1),
        as_of=as_of,
        delay_ms=0 if schema.label is None else schema.label.delay.ms,
        transaction_id=np.array([payment.transaction_id for payment in payments], object),
        event_time=times,
        amount=np.array(
            [np.nan if one.amount is None else one.amount / 10**decimals for one in payments], np.float64
        ),
        card=card.coded(),
        label=np.array(beside.labels, np.int8),
        known_at=np.array(beside.known_at, np.int64),
        segments=segments,
        weight=weight,
    )


def _answers(beside: Beside, engine: Engine) -> tuple[Answers, Answers]:
    project = engine.project
    words = {rule.name: rule.words or " ".join(rule.when.split()) for rule in project.rules}
    capacity = project.policy.review_capacity_per_day
    return (
        beside.champion.answers(CHAMPION, words, capacity),
        beside.shadow.answers(engine.setup.name, words, capacity),
    )


def _iso(ms: int) -> str:
    moment = dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
