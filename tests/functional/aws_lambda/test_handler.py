"""The processor on stand-ins for AWS: the effect of one delivery, whatever is retried or killed."""

from __future__ import annotations

import base64
import json
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random
from typing import Any, Literal

import msgspec
import pytest

from fraud_detection.adapters.aws.s3_quarantine import QuarantinedEvent, read_quarantined
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.parse import Parser
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.core.score.protocol import JSON
from fraud_detection.engine.engine import make_engine
from fraud_detection.serving.aws_lambda.batch import ShardEvent
from fraud_detection.serving.aws_lambda.handler import Processor
from fraud_detection.serving.aws_lambda.profile_store import profile_store
from fraud_detection.serving.aws_lambda.settings import ProcessorSettings
from fraud_detection.serving.sagemaker.container import Endpoint
from fraud_detection.testing.aws_fakes import FakeLog, FakeRuntime, FakeS3, refusal
from fraud_detection.testing.dynamodb_fake import FakeDynamo
from fraud_detection.testing.feature_store_fake import FakeFeatureStore
from tests.conftest import SmallSimulation

ENVIRONMENT = {
    f"FRAUD_{name}": "x"
    for name in (
        "ENDPOINT",
        "PROFILES_TABLE",
        "DECISIONS_TABLE",
        "LABELS_TABLE",
        "QUARANTINE_BUCKET",
        "TOKEN_KEY",
    )
}
Store = Literal["dynamodb", "feature-store"]
STORES: list[Store] = ["dynamodb", "feature-store"]
GROUP = "live-card"
SHARDS = 4
BATCH = 40
FIRST = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898


class Killed(BaseException):
    """The process is gone: nothing of it catches this."""


class Cloud:
    """The services, the log, and a processor that may be killed and made anew."""

    def __init__(self, simulation: SmallSimulation, store: Store = "dynamodb") -> None:
        bundle = read_bundle(simulation.bundle)
        endpoint = Endpoint(bundle)
        self.dynamo, self.s3, self.features = FakeDynamo(), FakeS3(), FakeFeatureStore([GROUP])
        self.runtime = FakeRuntime(lambda body: endpoint.invoke(body, JSON, JSON)[0])
        self.log = FakeLog()
        self.lines = self.log.lines
        self.settings = ProcessorSettings(
            endpoint="e",
            profiles_table="profiles",
            decisions_table="decisions",
            labels_table="labels",
            quarantine_bucket="q",
            token_key="secret",  # noqa: S106 - of a test
            bundle=str(simulation.bundle),
            budget_ms=50,
            profiles_store=store,
            feature_groups="live",
        )

    def processor(self, bundle: Bundle | None = None) -> Processor:
        clients: dict[str, Any] = {
            "dynamodb": self.dynamo,
            "s3": self.s3,
            "sagemaker-runtime": self.runtime,
            "sagemaker-featurestore-runtime": self.features,
        }
        return Processor(self.settings, self.log.write, clients.__getitem__, bundle)

    def inject_faults(
        self, before: Callable[[str], object], after: Callable[[str], object] | None = None
    ) -> None:
        """Let something happen before and after each call of a store."""
        for service in (self.dynamo, self.features):
            service.before, service.after = before, after or before

    def lines_of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["type"] == kind]

    def aside(self) -> list[QuarantinedEvent]:
        """Return the quarantined events of all objects."""
        return [
            refused for (_, key), body in self.s3.objects.items() for refused in read_quarantined(key, body)
        ]

    def decisions(self) -> dict[str, Any]:
        items = self.dynamo.tables.get("decisions", {})
        return {
            transaction_id: msgspec.msgpack.decode(zlib.decompress(item["d"]["B"]))
            for transaction_id, item in items.items()
            if transaction_id[0] != "\n"
        }


def positions(set_aside: list[QuarantinedEvent]) -> list[tuple[str, str]]:
    return sorted(
        (record.shard, position.sequence_number) for record in set_aside for position in record.positions
    )


def by_shard(events: list[bytes]) -> dict[str, list[ShardEvent]]:
    """Lay the events out as Kinesis would: all of a card on one shard, with rising numbers."""
    laid_out: dict[str, list[ShardEvent]] = defaultdict(list)
    cards: dict[str, str] = {}
    for number, event in enumerate(events):
        try:
            plain = json.loads(event)
        except ValueError:
            plain = None
        plain = plain if isinstance(plain, dict) else {}
        one, card = str(plain.get("transaction_id")), str(plain.get("card_id", ""))
        if plain.get("type") != "label":
            cards[one] = card
        key = cards.get(one, one)
        shard = f"shardId-{zlib.crc32(key.encode()) % SHARDS:012d}"
        laid_out[shard].append(ShardEvent(str(FIRST + number), event, 1.0))
    return laid_out


def run(
    cloud: Cloud, shards: dict[str, list[ShardEvent]], seed: int, fault: Callable[[Random, str], None]
) -> int:
    """Deliver every shard in batches, each again until it succeeds; return how often it had to be."""
    chance, retries = Random(seed), 0
    cloud.inject_faults(lambda operation: fault(chance, operation))
    processor, at = cloud.processor(), dict.fromkeys(shards, 0)
    while any(at[shard] < len(records) for shard, records in shards.items()):
        shard = chance.choice([shard for shard, records in shards.items() if at[shard] < len(records)])
        # Lambda may cut a batch differently when it comes again.
        batch = shards[shard][at[shard] : at[shard] + chance.randint(1, BATCH)]
        try:
            failed = processor.handle(shard, batch)
        except Killed:
            processor, failed = cloud.processor(), [batch[0].number]
        assert failed in ([], [batch[0].number])
        retries += bool(failed)
        at[shard] += 0 if failed else len(batch)
    cloud.inject_faults(lambda _: None)
    return retries


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a busy store again at once: how often it is asked decides, not how long."""
    monkeypatch.setattr("fraud_detection.adapters.aws.retries.INITIAL_BACKOFF_S", 0.0)
    monkeypatch.setattr("fraud_detection.serving.aws_lambda.handler.BUSY_PAUSE_S", 0.0)


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(450, late_share=0.05, duplicate_share=0.04, malformed_share=0.03)


def valid(simulation: SmallSimulation, events: list[bytes]) -> dict[str, Transaction]:
    parser = Parser(simulation.project.schema)
    by_name: dict[str, Transaction] = {}
    for event in events:
        try:
            item = parser.parse(event)
        except RejectError:
            continue
        if isinstance(item, Transaction):
            by_name.setdefault(item.transaction_id, item)
    return by_name


def calm(_chance: Random, _operation: str) -> None:
    """Nothing goes wrong."""


def deadly(chance: Random, operation: str) -> None:
    # A batch puts many records, one a call.
    if chance.random() < (0.004 if operation == "PutRecord" else 0.04):
        raise Killed


def throttled(chance: Random, operation: str) -> None:
    if chance.random() < 0.03:
        raise refusal("ProvisionedThroughputExceededException", operation)


def profiles(cloud: Cloud) -> dict[str, Any]:
    """Return every profile's content, without versions and numbers, from wherever it rests."""
    stored = {key: item["c"]["B"] for key, item in cloud.dynamo.tables["profiles"].items()}
    for one, group in cloud.features.groups[GROUP].items():
        assert f"card#{one}" not in stored
        stored[f"card#{one}"] = base64.b64decode(group.features["profile"])
    return {key: msgspec.msgpack.decode(zlib.decompress(content))[1] for key, content in stored.items()}


@pytest.fixture(scope="module")
def undisturbed(small_simulation: SmallSimulation, events: list[bytes]) -> Cloud:
    cloud = Cloud(small_simulation)
    assert run(cloud, by_shard(events), 1, calm) == 0
    return cloud


def test_each_valid_payment_is_decided_once_and_each_malformed_record_quarantined(
    small_simulation: SmallSimulation, events: list[bytes], undisturbed: Cloud
) -> None:
    good = valid(small_simulation, events)
    assert undisturbed.decisions().keys() == good.keys()
    assert sorted(line["transaction_id"] for line in undisturbed.lines_of("decision")) == sorted(good)
    set_aside = undisturbed.aside()
    assert len(positions(set_aside)) == len(undisturbed.lines_of("quarantined")) > 5
    assert all(record.reason and record.path.startswith("$") for record in set_aside)
    sums = Counter[str]()
    for line in undisturbed.lines_of("batch"):
        sums.update({key: line[key] for key in ("records", "decided", "labels", "duplicates", "quarantined")})
    assert sums["records"] == len(events) == sum(sums.values()) - sums["records"]


def test_one_call_of_the_endpoint_decides_a_batch(undisturbed: Cloud) -> None:
    doubtful = sum(
        line["action"] != "approve" and line["score"] is None for line in undisturbed.lines_of("decision")
    )
    assert doubtful == 0
    assert undisturbed.runtime.calls == sum(line["decided"] > 0 for line in undisturbed.lines_of("batch"))


def test_payments_that_only_a_rule_stopped_bring_their_reasons_with_their_scores(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    cloud = Cloud(small_simulation)
    processor = cloud.processor()
    always = RuleSettings(name="always", when="amount >= 0", action="review")
    project = msgspec.structs.replace(small_simulation.project, rules=(always,))
    processor.engine = make_engine(read_bundle(small_simulation.bundle), processor.scorer, project)
    (shard, records), *_ = by_shard(events).items()
    assert processor.handle(shard, records[:BATCH]) == []
    assert cloud.runtime.calls == 1
    lines = cloud.lines_of("decision")
    assert lines
    assert {line["action"] for line in lines} <= {"review", "decline"}
    codes = [{reason["code"] for reason in line["reasons"]} - {"always", "score"} for line in lines]
    assert all(codes)


def test_a_batch_without_requests_counts_nothing_of_the_one_before(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    cloud = Cloud(small_simulation)
    processor = cloud.processor()
    (shard, records), *_ = by_shard(events).items()
    later = int(records[-1].number) + 1_000
    again = [ShardEvent(str(later + index), record.data, 1.0) for index, record in enumerate(records[:BATCH])]
    for batch in (records[:BATCH], again):
        assert processor.handle(shard, batch) == []
    first, second = cloud.lines_of("batch")
    assert first["scored"] == first["decided"] > 0
    assert sum(first[f"band{index}"] for index in range(4)) == first["scored"]
    assert (second["decided"], second["scored"], second["above_decline"], second["bundle"]) == (
        0,
        0,
        0,
        "none",
    )
    assert [second[f"band{index}"] for index in range(4)] == [0, 0, 0, 0]


def test_the_log_names_nobody_and_gives_the_same_token_for_the_same_id(
    small_simulation: SmallSimulation, events: list[bytes], undisturbed: Cloud
) -> None:
    text = json.dumps(undisturbed.lines_of("decision"))
    good = valid(small_simulation, events)
    assert not any(str(one.entities[0]) in text for one in good.values())
    tokens = {
        (good[line["transaction_id"]].entities[0], line["delivery"]["entities"]["card"])
        for line in undisturbed.lines_of("decision")
    }
    assert len(tokens) == len({card for card, _ in tokens}) == len({token for _, token in tokens})


def test_features_of_the_ordering_entity_equal_replay_to_the_last_bit(
    small_simulation: SmallSimulation, events: list[bytes], undisturbed: Cloud
) -> None:
    bundle = read_bundle(small_simulation.bundle)
    extractor = Extractor(small_simulation.project, bundle.contents.features.category_encoding)
    of_card = [
        index
        for index, definition in enumerate(extractor.definitions)
        if definition.name.startswith("card_") and "fraud" not in definition.name
    ]
    stored, compared = undisturbed.decisions(), 0
    for records in by_shard(events).values():
        profile_cache = ProfileCache(extractor)
        for one in valid(small_simulation, [record.data for record in records]).values():
            replayed = profile_cache.extract_and_update(one)
            served = array("d", stored[one.transaction_id][5])
            assert (
                array("d", [replayed[index] for index in of_card]).tobytes()
                == array("d", [served[index] for index in of_card]).tobytes()
            )
            compared += len(of_card)
    assert compared > 5_000


def test_both_stores_serve_the_same_features_to_the_last_bit(
    small_simulation: SmallSimulation, events: list[bytes], undisturbed: Cloud
) -> None:
    cloud = Cloud(small_simulation, "feature-store")
    assert run(cloud, by_shard(events), 1, calm) == 0
    served, there = cloud.decisions(), undisturbed.decisions()
    assert {one: decision[5] for one, decision in served.items()} == {
        one: decision[5] for one, decision in there.items()
    }
    assert {one: decision[7] for one, decision in served.items()} == {
        one: decision[7] for one, decision in there.items()
    }


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("fault", [deadly, throttled])
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))])
def test_batches_that_come_again_have_the_effect_of_one_delivery(
    small_simulation: SmallSimulation,
    events: list[bytes],
    undisturbed: Cloud,
    store: Store,
    fault: Callable[[Random, str], None],
    seed: int,
) -> None:
    cloud = Cloud(small_simulation, store)
    retries = run(cloud, by_shard(events), seed, fault)
    assert retries > 0 or fault is throttled
    assert profiles(cloud) == profiles(undisturbed)
    assert bool(cloud.features.groups[GROUP]) is (store == "feature-store")
    assert cloud.decisions().keys() == undisturbed.decisions().keys()
    logged = Counter(json.dumps(line) for line in cloud.lines_of("decision"))
    assert len(logged) == len(cloud.decisions())
    assert positions(cloud.aside()) == positions(undisturbed.aside())


@pytest.mark.parametrize("store", STORES)
def test_what_other_shards_change_meanwhile_is_not_lost(
    small_simulation: SmallSimulation, events: list[bytes], undisturbed: Cloud, store: Store
) -> None:
    """Before every save, a whole batch of another shard is decided by another process."""
    cloud, shards = Cloud(small_simulation, store), by_shard(events)
    at, busy = dict.fromkeys(shards, 0), [False]

    def batch_of(shard: str) -> list[ShardEvent]:
        return shards[shard][at[shard] : at[shard] + BATCH]

    def interfere(operation: str) -> None:
        if operation != "BatchExecuteStatement" or busy[0]:
            return
        busy[0] = True
        other = next((shard for shard in shards if shard != current and batch_of(shard)), None)
        if other is not None:
            assert cloud.processor().handle(other, batch_of(other)) == []
            at[other] += BATCH
        busy[0] = False

    cloud.dynamo.before = interfere
    for current in shards:
        while batch := batch_of(current):
            assert cloud.processor().handle(current, batch) == []
            at[current] += BATCH
    assert profiles(cloud) == profiles(undisturbed)
    assert cloud.decisions().keys() == undisturbed.decisions().keys()


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3, 4))])
def test_a_batch_that_was_dead_lettered_half_way_is_finished_by_the_next_and_may_come_again(
    small_simulation: SmallSimulation, events: list[bytes], undisturbed: Cloud, seed: int
) -> None:
    """Decisions are kept, profiles are not, or not all; the records come again later, with other numbers."""
    cloud, chance = Cloud(small_simulation), Random(seed)
    shards, dead_lettered = by_shard(events), dict[str, list[ShardEvent]]()
    allowed = [0]

    def busy(operation: str) -> None:
        if operation == "BatchExecuteStatement":
            allowed[0] -= 1
            if allowed[0] < 0:
                raise refusal("ProvisionedThroughputExceededException", operation)

    for shard, records in shards.items():
        victim = chance.randrange(0, len(records) - 2 * BATCH)
        for begin in range(0, len(records), BATCH):
            batch = records[begin : begin + BATCH]
            if begin <= victim < begin + BATCH:
                cloud.dynamo.before, allowed[0] = busy, chance.randrange(0, 2)
                assert cloud.processor().handle(shard, batch) == [batch[0].number]
                cloud.dynamo.before, dead_lettered[shard] = lambda _: None, batch
            else:
                assert cloud.processor().handle(shard, batch) == []
    for shard, batch in dead_lettered.items():
        later = int(shards[shard][-1].number) + 1_000
        again = [ShardEvent(str(later + index), event.data, 1.0) for index, event in enumerate(batch)]
        assert cloud.processor().handle(shard, again) == []
    assert profiles(cloud) == profiles(undisturbed)
    assert cloud.decisions().keys() == undisturbed.decisions().keys()


@pytest.mark.parametrize("code", ["ThrottlingException", "ModelError", "ValidationError"])
def test_an_unavailable_endpoint_means_review_and_never_approval(
    small_simulation: SmallSimulation, events: list[bytes], code: str
) -> None:
    cloud = Cloud(small_simulation)

    def fault() -> None:
        raise refusal(code, "InvokeEndpoint")

    cloud.runtime.fault = fault
    (shard, records), *_ = by_shard(events).items()
    assert cloud.processor().handle(shard, records[:BATCH]) == []
    lines = cloud.lines_of("decision")
    assert lines
    assert all(
        line["score"] is None and line["action"] != "approve" and line["reasons"][0]["code"] == "no_score"
        for line in lines
    )


def test_a_label_from_two_sources_counts_once_and_both_are_stored(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    payment = next(event for event in events if b'"card_id"' in event and b'"label"' not in event)
    plain = json.loads(payment)
    label = {
        "type": "label",
        "transaction_id": plain["transaction_id"],
        "is_fraud": 1,
        "label_known_at": plain["event_time"],
    }
    first = json.dumps(label | {"source": "customer"}).encode()
    second = json.dumps(label | {"source": "chargeback", "happened_at": plain["event_time"]}).encode()
    clouds = []
    for labels in ([first], [first, second]):
        cloud = Cloud(small_simulation)
        records = [ShardEvent(str(FIRST + n), event, 1.0) for n, event in enumerate([payment, *labels])]
        for _ in range(2):  # at least once is what Lambda promises
            assert cloud.processor().handle("shardId-000000000000", records) == []
        clouds.append(cloud)
    once, twice = clouds
    assert profiles(once) == profiles(twice)
    _, stored_labels = msgspec.msgpack.decode(
        twice.dynamo.tables["labels"][plain["transaction_id"]]["l"]["B"]
    )
    assert [(fraud, source, redundant) for fraud, _, source, _, _, _, redundant in stored_labels] == [
        (True, "customer", False),
        (True, "chargeback", True),
    ]


@pytest.mark.parametrize(
    ("store", "busy_one"),
    [("dynamodb", "dynamo"), ("feature-store", "dynamo"), ("feature-store", "features")],
)
def test_a_store_that_stays_busy_ends_the_batch_and_loses_nothing(
    small_simulation: SmallSimulation, events: list[bytes], store: Store, busy_one: str
) -> None:
    cloud = Cloud(small_simulation, store)
    (shard, records), *_ = by_shard(events).items()

    def busy(operation: str) -> None:
        raise refusal("ThrottlingException", operation)

    getattr(cloud, busy_one).before = busy
    assert cloud.processor().handle(shard, records[:BATCH]) == [records[0].number]
    assert cloud.lines_of("decision") == []
    assert cloud.lines_of("retry")[0]["from"] == records[0].number
    getattr(cloud, busy_one).before = lambda _: None
    assert cloud.processor().handle(shard, records[:BATCH]) == []
    assert cloud.lines_of("decision")


def test_a_wrong_environment_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match="endpoint"):
        ProcessorSettings.read({"FRAUD_BUNDLE": "x", "PATH": "/bin"})
    with pytest.raises(ConfigError, match="endpont"):
        ProcessorSettings.read({"FRAUD_ENDPONT": "x"})
    with pytest.raises(ConfigError, match="profiles_store"):
        ProcessorSettings.read(ENVIRONMENT | {"FRAUD_PROFILES_STORE": "feature_store"})


def test_the_feature_store_needs_the_prefix_of_its_groups() -> None:
    chosen = ProcessorSettings.read(ENVIRONMENT | {"FRAUD_PROFILES_STORE": "feature-store"})
    with pytest.raises(ConfigError, match="FRAUD_FEATURE_GROUPS"):
        profile_store(chosen, "t", ["card"], {"dynamodb": FakeDynamo()}.__getitem__)
