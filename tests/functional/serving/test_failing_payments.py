"""An error of the program with one payment: that one goes to review, loudly, and all others are decided."""

from __future__ import annotations

import json
import logging
import sqlite3
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.cli.main import main
from fraud_detection.core.decide.decline_cap import DeclineCap
from fraud_detection.core.decision_settings import DeclineCapSettings
from fraud_detection.core.events import Action, Decision, Transaction, Verdict
from fraud_detection.engine.decision_engine import Canary
from fraud_detection.serving.aws_lambda.batch import ShardEvent
from fraud_detection.testing.dynamodb_fake import FakeDynamo
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud
from tests.states import open_service

SHARD = "shardId-000000000000"
FAILING = "failing"
MANY = 40


class BugError(Exception):
    """What nobody foresaw; its words hold what must not be logged: 4111111111111111."""


def bug() -> BugError:
    return BugError("card 4111111111111111")


class BrokenRules:
    """Rules with a bug in them that one payment meets."""

    def __init__(self, rules: Any) -> None:  # noqa: ANN401 - stands before the real ones
        self._rules = rules

    def fired(self, payment: Transaction, row: Sequence[float]) -> list[Verdict]:
        if payment.transaction_id == FAILING:
            raise bug()
        return self._rules.fired(payment, row)  # type: ignore[no-any-return]

    def is_terminal(self, reasons: Sequence[Verdict]) -> bool:
        return bool(self._rules.is_terminal(reasons))


class BrokenScorer:
    """A model that cannot stand one amount, in scores or in reasons."""

    def __init__(self, scorer: Any, method: str) -> None:  # noqa: ANN401 - stands before the real one
        self._scorer, self._method = scorer, method

    def score(self, rows: Sequence[array[float]], explained: Sequence[int] = ()) -> list[float]:
        self._check("score", rows)
        return self._scorer.score(rows, explained)  # type: ignore[no-any-return]

    def contributions(self, rows: Sequence[array[float]]) -> Any:  # noqa: ANN401 - as the real one
        self._check("contributions", rows)
        return self._scorer.contributions(rows)

    def _check(self, method: str, rows: Sequence[array[float]]) -> None:
        if method == self._method and any(row[0] == AMOUNT for row in rows):
            raise bug()


AMOUNT = 77.77
FAILING_MS = 1_772_500_000_123


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    plain = [
        event for event in small_simulation.events(200) if b'"card_id"' in event and b'"label"' not in event
    ]
    found = [json.loads(one) for one in plain if b'"is_fraud"' not in one][:MANY]
    found = [item | {"transaction_id": f"t{index}"} for index, item in enumerate(found)]
    found[MANY // 2] |= {"transaction_id": FAILING, "amount": AMOUNT, "event_time": FAILING_MS}
    return [json.dumps(item).encode() for item in found]


def decide(
    simulation: SmallSimulation, events: list[bytes], state: Path, break_it: Callable[[Any], None]
) -> tuple[dict[str, Decision], Any]:
    """Decide the events at the embedded service, in one batch; return the decisions, and the service."""
    _, service = open_service(simulation.bundle, state)
    break_it(service)
    outcomes = service.take(Batch(events, None, len(events), ""), "-")
    return {
        outcome.decision.transaction_id: outcome.decision
        for outcome in outcomes
        if hasattr(outcome, "decision")
    }, service


def break_rules(service: Any) -> None:  # noqa: ANN401 - a service
    champion = service.pipeline.decision_engine.champion
    broken = msgspec.structs.replace(champion, rules=BrokenRules(champion.rules))
    service.pipeline.decision_engine.champion = broken


def break_scorer(service: Any) -> None:  # noqa: ANN401 - a service
    champion = service.pipeline.decision_engine.champion
    broken = msgspec.structs.replace(champion, scorer=BrokenScorer(champion.scorer, "score"))
    service.pipeline.decision_engine.champion = broken


class BrokenDeclineCap(DeclineCap):
    """A decline cap that cannot stand one moment."""

    def __init__(self, time_ms: int) -> None:
        super().__init__(DeclineCapSettings(share=1.0))
        self._broken_at = time_ms

    def add(self, time_ms: int, *, declined: bool) -> None:
        if time_ms == self._broken_at:
            raise bug()
        super().add(time_ms, declined=declined)


def break_decline_cap(service: Any) -> None:  # noqa: ANN401 - a service
    service.pipeline.decision_engine.decline_cap = BrokenDeclineCap(FAILING_MS)


@pytest.mark.parametrize("break_it", [break_rules, break_scorer, break_decline_cap])
def test_only_the_payment_that_raises_goes_to_review_and_the_others_as_without_the_bug(
    small_simulation: SmallSimulation,
    events: list[bytes],
    tmp_path: Path,
    break_it: Callable[[Any], None],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    healthy, service = decide(small_simulation, events, tmp_path / "healthy.db", lambda _: None)
    service.close()
    with caplog.at_level(logging.ERROR):
        found, service = decide(small_simulation, events, tmp_path / "state.db", break_it)
    assert found[FAILING].action is Action.REVIEW
    assert [reason.code for reason in found[FAILING].reasons] == ["internal_error"]
    assert len(found) == MANY
    others = {
        transaction_id: decision for transaction_id, decision in healthy.items() if transaction_id != FAILING
    }
    assert {
        transaction_id: decision for transaction_id, decision in found.items() if transaction_id != FAILING
    } == others
    assert service.tally.internal_errors == 1
    assert "BugError" in caplog.text
    service.close()
    # It is decided for good: the next start meets nothing, and the payment is known.
    _, service = open_service(small_simulation.bundle, tmp_path / "state.db")
    assert service.state_file.seq == MANY
    service.close()
    with sqlite3.connect(tmp_path / "state.db") as file:
        (reasons,) = file.execute(
            "SELECT reasons FROM decisions WHERE transaction_id = ?", (FAILING,)
        ).fetchone()
    assert "internal_error" in reasons
    # Whoever looks back is told so, and that nothing was changed.
    arguments = ["--plain", f"--bundle={small_simulation.bundle}", f"--state={tmp_path / 'state.db'}"]
    assert main(["explain", FAILING, *arguments]) == 0
    assert "the program met an error with it" in capsys.readouterr().out
    assert main(["audit", "verify", arguments[0], arguments[2]]) == 0


def test_a_card_that_the_canary_cannot_place_sends_its_payment_alone_to_review(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    _, service = open_service(small_simulation.bundle, tmp_path / "state.db")
    decision_engine, at = service.pipeline.decision_engine, MANY // 2
    parsed = [service.pipeline.parser.parse(event) for event in events]
    payments = [one for one in parsed if isinstance(one, Transaction)]
    rows = [array("d", service.pipeline.profile_cache.extract_and_update(payment)) for payment in payments]
    healthy = decision_engine.decide(payments, rows)
    decision_engine.canary = Canary(decision_engine.champion, 0.5, "salt")
    assert decision_engine.decide(payments, rows) == healthy
    # No parser lets half a character in; whatever did, ends here.
    entities = ("c\ud83d", *payments[at].entities[1:])
    payments[at] = msgspec.structs.replace(payments[at], entities=entities)
    mixed = decision_engine.decide(payments, rows)
    assert [reason.code for reason in mixed[at].reasons] == ["internal_error"]
    assert [failure.transaction_id for failure in decision_engine.failures] == [FAILING]
    assert mixed[:at] + mixed[at + 1 :] == healthy[:at] + healthy[at + 1 :]
    service.close()


def test_the_function_goes_on_behind_a_payment_that_raises(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    records = [ShardEvent(str(FIRST + index), event, 1.0) for index, event in enumerate(events)]
    healthy = Cloud(small_simulation)
    assert healthy.processor().handle(SHARD, records) == []
    cloud = Cloud(small_simulation)
    processor = cloud.processor()
    strategy = processor.engine.strategy
    broken = msgspec.structs.replace(strategy, rules=BrokenRules(strategy.rules))
    processor.engine = msgspec.structs.replace(processor.engine, strategy=broken)
    assert processor.handle(SHARD, records) == []
    actions = {item["transaction_id"]: (item["action"], item["score"]) for item in cloud.lines_of("decision")}
    expected = {
        item["transaction_id"]: (item["action"], item["score"]) for item in healthy.lines_of("decision")
    }
    assert actions == expected | {FAILING: ("review", None)}
    (aside,) = cloud.aside()
    assert (aside.reason, aside.event) == ("internal_error", events[MANY // 2])
    assert "4111111111111111" in aside.error
    (body,) = cloud.lines_of("internal_error")
    assert body["transaction_id"] == FAILING
    assert "BugError" in body["error"]
    assert "4111111111111111" not in json.dumps(cloud.lines)
    assert [item["internal_errors"] for item in cloud.lines_of("batch")] == [1]


def damage_profile(dynamo: FakeDynamo, card: str) -> None:
    dynamo.tables["profiles"] = {
        f"card#{card}": {"k": {"S": f"card#{card}"}, "v": {"N": "1"}, "c": {"B": b"no"}}
    }


def test_a_profile_that_cannot_be_read_sends_its_own_payments_to_review_and_no_others(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    cloud = Cloud(small_simulation)
    card = json.loads(events[3])["card_id"]
    mine = {event["transaction_id"] for event in map(json.loads, events) if event["card_id"] == card}
    damage_profile(cloud.dynamo, card)
    processor = cloud.processor()
    records = [ShardEvent(str(FIRST + index), event, 1.0) for index, event in enumerate(events)]
    for begin in (0, MANY // 2):
        assert processor.handle(SHARD, records[begin : begin + MANY // 2]) == []
    assert cloud.decisions().keys() == {json.loads(event)["transaction_id"] for event in events}
    failed = {
        item["transaction_id"]
        for item in cloud.lines_of("decision")
        if [reason["code"] for reason in item["reasons"]] == ["internal_error"]
    }
    assert failed == mine
    assert {record.reason for record in cloud.aside()} == {"internal_error"}
    assert processor.dedup_index.unfinished() == []


def test_an_id_that_comes_again_with_other_content_is_a_conflict_where_its_profile_cannot_be_read(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    cloud = Cloud(small_simulation)
    assert cloud.processor().handle(SHARD, [ShardEvent(str(FIRST), events[0], 1.0)]) == []
    first = json.loads(events[0])
    other = first | {"amount": 9_500.0, "card_id": "broken"}
    damage_profile(cloud.dynamo, "broken")
    sent = [events[0], json.dumps(other).encode()]
    records = [ShardEvent(str(FIRST + 1 + index), event, 1.0) for index, event in enumerate(sent)]
    assert cloud.processor().handle(SHARD, records) == []
    assert {record.kind for record in cloud.aside()} == {"conflict"}
    batches = cloud.lines_of("batch")[1:]
    assert [sum(batch[count] for batch in batches) for count in ("duplicates", "conflicts", "decided")] == [
        1,
        1,
        0,
    ]


def test_a_decision_that_cannot_be_read_sets_its_copies_aside_and_decides_all_others(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    cloud = Cloud(small_simulation)
    transaction_id = json.loads(events[5])["transaction_id"]
    cloud.dynamo.tables["decisions"] = {transaction_id: {"id": {"S": transaction_id}, "d": {"B": b"no"}}}
    records = [ShardEvent(str(FIRST + index), event, 1.0) for index, event in enumerate(events)]
    assert cloud.processor().handle(SHARD, records) == []
    payload = {line["transaction_id"] for line in cloud.lines_of("decision")}
    assert payload == {json.loads(event)["transaction_id"] for event in events} - {transaction_id}
    (aside,) = cloud.aside()
    assert aside.event == events[5]
