"""The decline cap in the Lambda function: one number of declines, however the stream is cut or delivered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.core.decision_settings import DeclineCapSettings, RuleSettings
from fraud_detection.core.decoding import Duration
from fraud_detection.core.outcomes import Decided
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.engine.engine import make_engine
from fraud_detection.serving.aws_lambda.batch import ShardEvent
from fraud_detection.serving.aws_lambda.handler import Processor
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.testing.aws_fakes import refusal
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud, Killed
from tests.states import opened

PAYMENTS = 600
MAX_DECLINES = 20
START_MS = 1_790_000_000_000
DECLINE_CAP = DeclineCapSettings(
    interval=Duration.parse("1h"), share=0.05, count=MAX_DECLINES, min_payments=100
)
SHARD = "shardId-000000000000"


def project_of(simulation: SmallSimulation, decline_cap: DeclineCapSettings = DECLINE_CAP) -> Project:
    everything = RuleSettings(name="everything", when="amount >= 0", action="decline")
    return msgspec.structs.replace(simulation.project, rules=(everything,), decline_cap=decline_cap)


def stream_of(simulation: SmallSimulation, payments: int) -> list[bytes]:
    """Return payments one second apart."""
    live = [json.loads(event) for event in simulation.events(payments + 300, malformed_share=0.0)]
    found = [plain for plain in live if plain.get("type") != "label"][:payments]
    assert len(found) == payments
    times = range(START_MS, START_MS + 1_000 * payments, 1_000)
    return [
        json.dumps(plain | {"transaction_id": f"t{index}", "event_time": time_ms}).encode()
        for index, (plain, time_ms) in enumerate(zip(found, times, strict=True))
    ]


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return stream_of(small_simulation, PAYMENTS)


@pytest.fixture(scope="module")
def embedded(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> set[str]:
    """Return what `fraud run` declines."""
    bundle = read_bundle(small_simulation.bundle)
    scorer = XGBoostScorer(bundle.contents.model, bundle.manifest.calibration)
    engine = make_engine(bundle, scorer, project_of(small_simulation))
    path: Path = tmp_path_factory.mktemp("embedded") / "state.db"
    state_file = opened(path)
    service = EmbeddedService(engine.pipeline(state_file, state_file.dedup_index), state_file)
    outcomes = [
        event
        for at in range(0, PAYMENTS, 70)
        for event in service.take(Batch(events[at : at + 70], None, at), "s")
    ]
    service.close()
    return {
        outcome.decision.transaction_id
        for outcome in outcomes
        if isinstance(outcome, Decided) and outcome.decision.action.label == "decline"
    }


class Stream:
    """A cloud whose processors decline everything that the decline cap admits."""

    def __init__(self, simulation: SmallSimulation, decline_cap: DeclineCapSettings = DECLINE_CAP) -> None:
        self.simulation, self.cloud = simulation, Cloud(simulation)
        self.project = project_of(simulation, decline_cap)

    def processor(self) -> Processor:
        processor = self.cloud.processor()
        processor.engine = make_engine(read_bundle(self.simulation.bundle), processor.scorer, self.project)
        return processor

    def declined(self) -> set[str]:
        decisions = self.cloud.decisions()
        return {one for one, item in decisions.items() if json.loads(item[1])["action"] == "decline"}


def records_of(events: list[bytes], first: int = FIRST) -> list[ShardEvent]:
    return [ShardEvent(str(first + index), event, 1.0) for index, event in enumerate(events)]


def test_fraud_run_declines_twenty(embedded: set[str]) -> None:
    assert len(embedded) == MAX_DECLINES


@pytest.mark.parametrize(
    "size", [1, 50, PAYMENTS, *(pytest.param(size, marks=pytest.mark.long) for size in (10, 100, 500))]
)
def test_the_same_payments_are_declined_however_the_stream_is_cut(
    small_simulation: SmallSimulation, events: list[bytes], embedded: set[str], size: int
) -> None:
    stream, records = Stream(small_simulation), records_of(events)
    processor = stream.processor()
    for at in range(0, PAYMENTS, size):
        if at % 50 == 0:
            # A cold start.
            processor = stream.processor()
        assert processor.handle(SHARD, records[at : at + size]) == []
    assert stream.declined() == embedded


def deadly(chance: Random, _operation: str) -> None:
    if chance.random() < 0.04:
        raise Killed


def throttled(chance: Random, operation: str) -> None:
    if chance.random() < 0.35:
        raise refusal("ProvisionedThroughputExceededException", operation)


@pytest.mark.parametrize("fault", [deadly, throttled])
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3, 4, 5))])
def test_a_batch_that_comes_again_is_counted_once_and_not_forgotten(
    small_simulation: SmallSimulation,
    events: list[bytes],
    embedded: set[str],
    fault: Callable[[Random, str], None],
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fraud_detection.adapters.aws.retries.INITIAL_BACKOFF_S", 0.0)
    stream, records, chance = Stream(small_simulation), records_of(events), Random(seed)
    processor, at, retries = stream.processor(), 0, 0
    stream.cloud.inject_faults(lambda operation: fault(chance, operation))
    while at < PAYMENTS:
        batch = records[at : at + chance.randint(1, 60)]
        try:
            failed = processor.handle(SHARD, batch)
        except Killed:
            processor, failed = stream.processor(), [batch[0].number]
        retries += bool(failed)
        at += 0 if failed else len(batch)
    assert retries > 2
    assert stream.declined() == embedded


@pytest.mark.parametrize(
    "calls", [2, 5, 8, *(pytest.param(calls, marks=pytest.mark.long) for calls in (1, 3, 4, 6, 7))]
)
def test_a_batch_that_was_dead_lettered_half_way_counts_as_far_as_it_was_decided(
    small_simulation: SmallSimulation, events: list[bytes], calls: int
) -> None:
    """Whatever is kept of it counts, and what is not kept frees its declines for later payments."""
    stream, records = Stream(small_simulation), records_of(events)
    left = [calls]

    def dies(_operation: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    assert stream.processor().handle(SHARD, records[:200]) == []
    stream.cloud.inject_faults(dies)
    with pytest.raises(Killed):
        stream.processor().handle(SHARD, records[200:300])
    stream.cloud.inject_faults(lambda _: None)
    for at in range(300, PAYMENTS, 70):
        assert stream.processor().handle(SHARD, records[at : at + 70]) == []
    assert len(stream.declined()) == MAX_DECLINES


def shards_of(events: list[bytes], shards: int) -> dict[str, list[ShardEvent]]:
    return {
        f"shardId-{shard:012d}": records_of(events[shard::shards], FIRST + shard * 10_000_000)
        for shard in range(shards)
    }


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.long), 25])
def test_four_shards_that_take_turns_decline_no_more_than_one(
    small_simulation: SmallSimulation, events: list[bytes], size: int
) -> None:
    stream, shards = Stream(small_simulation), shards_of(events, 4)
    processor = stream.processor()
    for at in range(0, PAYMENTS // 4, size):
        for shard, records in shards.items():
            assert processor.handle(shard, records[at : at + size]) == []
    assert len(stream.declined()) == MAX_DECLINES


@pytest.mark.parametrize("moment", ["InvokeEndpoint", "BatchWriteItem", "BatchExecuteStatement"])
@pytest.mark.parametrize("size", [pytest.param(5, marks=pytest.mark.long), 40])
def test_four_shards_at_once_decline_at_most_what_three_batches_decline_more(
    small_simulation: SmallSimulation, events: list[bytes], moment: str, size: int
) -> None:
    """In the middle of each batch, the other shards begin and end batches of their own."""
    stream, shards, chance = Stream(small_simulation), shards_of(events, 4), Random(size)
    at, busy = dict.fromkeys(shards, 0), set[str]()
    declines: list[int] = []

    def deliver(shard: str) -> None:
        batch = shards[shard][at[shard] : at[shard] + size]
        at[shard] += len(batch)
        busy.add(shard)
        before = Counter[str](line["action"] for line in stream.cloud.lines_of("decision"))
        assert stream.processor().handle(shard, batch) == []
        busy.discard(shard)
        after = Counter[str](line["action"] for line in stream.cloud.lines_of("decision"))
        declines.append(after["decline"] - before["decline"])

    def interfere(operation: str) -> None:
        free = [shard for shard in shards if shard not in busy and at[shard] < len(shards[shard])]
        if operation == moment and free and chance.random() < 0.5:
            deliver(chance.choice(free))

    stream.cloud.inject_faults(interfere)
    stream.cloud.runtime.fault = lambda: interfere("InvokeEndpoint")
    for shard, records in shards.items():
        while at[shard] < len(records):
            deliver(shard)
    total = len(stream.declined())
    assert MAX_DECLINES <= total <= MAX_DECLINES + sum(sorted(declines)[-3:])
    assert len(stream.cloud.decisions()) == PAYMENTS


def test_a_shard_that_was_closed_counts_until_its_interval_is_over(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    stream = Stream(small_simulation)
    parent, children = records_of(events[:500]), shards_of(events[500:], 2)
    assert stream.processor().handle("shardId-000000000009", parent) == []
    declined = stream.declined()
    assert len(declined) == MAX_DECLINES
    for shard, records in children.items():
        assert stream.processor().handle(shard, records) == []
    assert stream.declined() == declined
    later = [json.loads(event) for event in events[500:600]]
    for index, plain in enumerate(later):
        plain |= {"transaction_id": f"later{index}", "event_time": plain["event_time"] + 2 * 3_600_000}
    more = records_of([json.dumps(plain).encode() for plain in later], FIRST + 50_000_000)
    assert stream.processor().handle("shardId-000000000000", more) == []
    assert stream.declined() > declined


def test_no_call_is_made_for_a_payment_and_none_more_for_a_batch_of_one_shard(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    def calls(decline_cap: DeclineCapSettings | None, size: int, count: int) -> Counter[str]:
        stream = Stream(small_simulation, DECLINE_CAP)
        stream.project = msgspec.structs.replace(stream.project, decline_cap=decline_cap)
        made = Counter[str]()
        shards = shards_of(events[: 80 * count], count)
        processor = stream.processor()
        for shard, records in shards.items():
            assert processor.handle(shard, records[:40]) == []
        stream.cloud.inject_faults(lambda operation: made.update([operation]), lambda _: None)
        for shard, records in shards.items():
            assert processor.handle(shard, records[40 : 40 + size]) == []
        return made

    for size in (1, 20, 40):
        assert calls(DECLINE_CAP, size, 1) == calls(None, size, 1)
        more = calls(DECLINE_CAP, size, 4)
        more.subtract(calls(None, size, 4))
        assert +more == Counter({"BatchGetItem": 4})


def test_another_interval_goes_on_from_what_was_counted(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    stream, records = Stream(small_simulation), records_of(events)
    assert stream.processor().handle(SHARD, records[:500]) == []
    declined = stream.declined()
    day = msgspec.structs.replace(DECLINE_CAP, interval=Duration.parse("1d"))
    stream.project = project_of(small_simulation, day)
    assert stream.processor().handle(SHARD, records[500:]) == []
    assert stream.declined() == declined


def test_a_shard_that_is_silent_for_days_is_not_read_any_more(
    small_simulation: SmallSimulation, events: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, shards = Stream(small_simulation), shards_of(events, 2)
    (one, first), (other, second) = shards.items()
    processor = stream.processor()
    assert processor.handle(one, first[:10]) == []
    assert processor.handle(other, second[:10]) == []

    def named() -> set[str]:
        return set(stream.cloud.dynamo.tables["decisions"]["\n"]["shards"]["SS"])

    assert named() == {one, other}
    monkeypatch.setattr("fraud_detection.adapters.aws.state.dynamodb_counts.SILENT_DAYS", -1)
    assert processor.handle(other, second[10:20]) == []
    assert named() == {other}
    monkeypatch.undo()
    assert processor.handle(one, first[10:20]) == []
    assert named() == {one, other}


@pytest.mark.parametrize("size", [7, 200])
def test_a_canary_and_its_champion_are_capped_in_the_order_of_the_stream(
    small_simulation: SmallSimulation, events: list[bytes], embedded: set[str], size: int, tmp_path: Path
) -> None:
    bundle = read_bundle(small_simulation.bundle)
    scorer = XGBoostScorer(bundle.contents.model, bundle.manifest.calibration)
    champion = make_engine(bundle, scorer, project_of(small_simulation))
    state_file = opened(tmp_path / "state.db")
    service = EmbeddedService(champion.pipeline(state_file, state_file.dedup_index), state_file)
    service.decide_with(champion, make_engine(bundle, scorer, project_of(small_simulation)), 0.5, salt="half")
    outcomes = [
        event
        for at in range(0, PAYMENTS, size)
        for event in service.take(Batch(events[at : at + size], None, at), "s")
    ]
    service.close()
    declined = {
        outcome.decision.transaction_id
        for outcome in outcomes
        if isinstance(outcome, Decided) and outcome.decision.action.label == "decline"
    }
    assert declined == embedded
