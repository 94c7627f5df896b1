"""The real template, package and handler on local AWS services: a whole stream, on a good and on a bad day.

Skipped where the local services are not installed (`make .venv-aws/.locked`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.aws.clients import clients_of
from fraud_detection.adapters.aws.kinesis_producer import KinesisProducer, KinesisReceiver
from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.adapters.aws.s3_quarantine import PREFIX, QuarantinedEvent, read_quarantined
from fraud_detection.adapters.aws.state.dynamodb_decisions import DecisionItem, DynamoDedupIndex
from fraud_detection.adapters.aws.state.versioned_profiles import unpack
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.deployment.logs import entries
from tests.conftest import SmallSimulation
from tests.e2e.stream_ground_truth import GroundTruth, SavedProfiles, events, log_lines, records
from tests.root import ROOT
from tools.aws_demo.demo import deployed, local_settings
from tools.local_aws.local_deployment import LocalDeployment
from tools.local_aws.shard_poller import PollIntervals
from tools.local_aws.tap import Call, Hangup, Reply, Tap, refusal

TOOLS = ROOT / ".venv-aws"
FAST = PollIntervals(poll_s=0.05, lagging_poll_s=0.02, initial_backoff_s=0.02, max_backoff_s=0.2)
TIMEOUT_S = 240.0
FEW, MANY = 1_000, 20_000
SHARDS = {FEW: 2, MANY: 4}
SIZES = [pytest.param(FEW, id="short"), pytest.param(MANY, id="long", marks=pytest.mark.long)]
LOOKED_AT = 300

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (TOOLS / ".locked").exists(), reason="the local services are not here: make .venv-aws/.locked"
    ),
]


class Day(msgspec.Struct):
    """One stream through a deployed stack, and all that is known of it afterwards."""

    ground_truth: GroundTruth
    decisions: list[DecisionItem]
    log: list[dict[str, Any]]
    quarantine: list[QuarantinedEvent]
    failures: int
    saved: SavedProfiles
    profiles: dict[str, bytes]
    seconds: float
    retries: int
    cold_starts: int


class Stage:
    """Taps in front of DynamoDB and of the endpoint, and the deployment behind them."""

    def __init__(self, dynamo: Tap, endpoint: Tap, deployment: LocalDeployment) -> None:
        self.dynamo, self.endpoint, self.deployment = dynamo, endpoint, deployment


def play(
    simulation: SmallSimulation,
    folder: Path,
    payments: int,
    fault: Callable[[Stage], object] = lambda _: None,
) -> Day:
    """Deploy, send payments at full speed, inject faults, and collect what became of them."""
    bundle = read_bundle(simulation.bundle)
    settings = local_settings(
        "e2e",
        stream={"shards": SHARDS[payments]},
        batches={"retries": 1000},
        function={"budget_ms": 400, "timeout_s": 10},
    )
    sent = simulation.events(
        payments, late_share=0.03, duplicate_share=0.02, malformed_share=0.015, labels="fraud"
    )
    with deployed(bundle, settings, TOOLS, folder, lambda _: None) as (cloud, release, services):
        clients, outputs = clients_of(services.environment()), cloud.stack.outputs()
        saved = SavedProfiles()
        with Tap(services.port) as dynamo:
            dynamo.saw = saved
            deployment = LocalDeployment(
                services,
                clients,
                outputs,
                release.model,
                intervals=FAST,
                variables={"AWS_ENDPOINT_URL_DYNAMODB": dynamo.url},
            )
            with Tap(deployment.model.port) as endpoint:
                deployment.variables["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = endpoint.url
                began = time.monotonic()
                with deployment:
                    fault(Stage(dynamo, endpoint, deployment))
                    receiver = KinesisReceiver(
                        KinesisProducer(clients("kinesis"), outputs["Stream"]), ("card_id", "transaction_id")
                    )
                    for event in sent:
                        receiver.write(event)
                    receiver.close()
                    assert deployment.mapping.drained(TIMEOUT_S), services.tail()
                    seconds = time.monotonic() - began
        progress = deployment.mapping.progress.values()
        category_encoding = bundle.contents.features.category_encoding
        came = events(simulation.project, records(clients("kinesis"), deployment.mapping.settings.stream_arn))
        assert len(came) == len(sent)
        dedup_index = DynamoDedupIndex(clients("dynamodb"), outputs["DecisionsTable"], outputs["LabelsTable"])
        bucket = Objects(clients("s3"), outputs["Bucket"])
        return Day(
            ground_truth=GroundTruth(simulation.project, category_encoding, came),
            decisions=list(dedup_index.decisions()),
            log=entries(log_lines(clients("logs"), outputs["LogGroup"])),
            quarantine=[
                quarantined_event
                for key in bucket.keys(PREFIX)
                for quarantined_event in read_quarantined(key, bucket.get(key))
            ],
            failures=waiting(clients("sqs"), outputs["Failures"]),
            saved=saved,
            profiles=dict(stored(clients("dynamodb"), outputs["ProfilesTable"])),
            seconds=seconds,
            retries=sum(shard_progress.retries + shard_progress.splits for shard_progress in progress),
            cold_starts=sum(function.cold_starts for function in deployment.functions.values()),
        )


def stored(client: Any, table: str) -> Iterator[tuple[str, bytes]]:  # noqa: ANN401 - boto3's client
    more: dict[str, Any] = {}
    while True:
        page = client.scan(TableName=table, **more)
        for item in page["Items"]:
            _, content = unpack(item["c"]["B"], "")
            yield item["k"]["S"], bytes(msgspec.msgpack.decode(content, type=tuple[str, msgspec.Raw])[1])
        if "LastEvaluatedKey" not in page:
            return
        more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def waiting(client: Any, url: str) -> int:  # noqa: ANN401 - boto3's client
    name = "ApproximateNumberOfMessages"
    queue_attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(queue_attributes["Attributes"][name])


PHASES = (("slow", 2), ("failing", 8), ("absent", 14))
"""What the endpoint does until how many calls of a short day; then it is well."""


class BadEndpoint:
    """Slow, then failing, then absent, then well."""

    def __init__(self, days: int) -> None:
        self._calls, self._chance, self._days = itertools.count(), Random(5), days

    def __call__(self, _: Call) -> Reply | None:
        passed = next(self._calls) / self._days
        match next((name for name, end in PHASES if passed < end), "healthy"):
            case "slow":
                time.sleep(0.6)
            case "failing":
                return refusal("ModelError", 424) if self._chance.random() < 0.8 else Reply(500, b"{}")
            case "absent":
                raise Hangup
        return None


class BadTables:
    """Throttles some calls, and lets the line of others go dead."""

    def __init__(self) -> None:
        self._chance = Random(6)

    def __call__(self, _: Call) -> Reply | None:
        if self._chance.random() < 0.03:
            return refusal("ProvisionedThroughputExceededException")
        if self._chance.random() < 0.01:
            raise Hangup
        return None


def kill_often(deployment: LocalDeployment, days: int) -> None:
    chance = Random(7)
    for _ in range(4 * days):
        time.sleep(0.7)
        function = chance.choice(list(deployment.functions.values()))
        if function.pid:
            function.kill()


def bad(stage: Stage, days: int) -> None:
    """Let everything go wrong while payments come, for as long as so many short days."""
    stage.endpoint.disturb, stage.dynamo.disturb = BadEndpoint(days), BadTables()
    threading.Thread(target=kill_often, args=(stage.deployment, days), daemon=True).start()


@pytest.fixture(scope="module")
def played(
    small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int], Day]:
    """Return what plays a day of a kind and a number of payments, each once."""

    @cache
    def play_once(kind: str, payments: int) -> Day:
        fault = partial(bad, days=payments // FEW) if kind == "bad" else lambda _: None
        return play(small_simulation, tmp_path_factory.mktemp(kind), payments, fault)

    return play_once


@pytest.fixture(params=SIZES)
def good_day(request: pytest.FixtureRequest, played: Callable[[str, int], Day]) -> Day:
    return played("good", request.param)


@pytest.fixture(params=SIZES)
def bad_day(request: pytest.FixtureRequest, played: Callable[[str, int], Day]) -> Day:
    return played("bad", request.param)


@pytest.fixture(params=["good", "bad"])
def kind(request: pytest.FixtureRequest) -> str:
    param: str = request.param
    return param


@pytest.fixture(params=SIZES)
def day(request: pytest.FixtureRequest, kind: str, played: Callable[[str, int], Day]) -> Day:
    return played(kind, request.param)


def test_each_valid_payment_is_decided_exactly_once(day: Day) -> None:
    assert sorted(decision.transaction_id for decision in day.decisions) == sorted(day.ground_truth.first)
    actions_by_id = defaultdict(set)
    for entry in day.log:
        if entry["type"] == "decision":
            actions_by_id[entry["transaction_id"]].add(
                (entry["action"], entry["score"], entry["delivery"]["sequence_number"])
            )
    # A batch that failed after its decisions were kept tells them again, and tells the same.
    assert actions_by_id.keys() == day.ground_truth.first.keys()
    assert {len(each) for each in actions_by_id.values()} == {1}


def test_on_a_good_day_nothing_is_sent_twice(good_day: Day) -> None:
    ids = [entry["transaction_id"] for entry in good_day.log if entry["type"] == "decision"]
    assert len(ids) == len(set(ids)) > len(good_day.ground_truth.came) * 0.9
    assert [entry for entry in good_day.log if entry["type"] == "retry"] == []
    assert good_day.retries == 0


def test_a_card_is_decided_in_the_order_in_which_its_payments_came(day: Day) -> None:
    order = {event.data: index for index, event in enumerate(day.ground_truth.came)}
    last: dict[str, tuple[str, int, int]] = {}
    for decision in sorted(day.decisions, key=lambda decision: decision.sequence):
        card = str(decision.entities[0])
        shard, sequence, index = last.get(card, (decision.shard, -1, -1))
        assert decision.shard == shard
        assert decision.sequence > sequence
        assert order[decision.event] > index
        last[card] = (decision.shard, decision.sequence, order[decision.event])
    assert len(last) > 100


def test_each_malformed_record_is_in_quarantine_with_its_reason_and_nothing_was_dead_lettered(
    day: Day,
) -> None:
    malformed = {(event.shard, event.number): event.data for event in day.ground_truth.malformed}
    set_aside = [
        ((quarantined_event.shard, int(position.sequence_number)), quarantined_event.event)
        for quarantined_event in day.quarantine
        for position in quarantined_event.positions
    ]
    assert dict(set_aside) == malformed
    assert (
        len(set_aside)
        == sum(quarantined_event.count for quarantined_event in day.quarantine)
        == len(malformed)
        > 10
    )
    assert all(quarantined_event.reason and quarantined_event.path for quarantined_event in day.quarantine)
    assert day.failures == 0


def test_features_equal_replay_to_the_last_bit_at_the_versions_that_the_decisions_name(day: Day) -> None:
    looked_at = Random(1).sample(day.decisions, min(LOOKED_AT, len(day.decisions)))
    for decision in looked_at:
        assert day.ground_truth.row(decision, day.saved) == decision.features, decision.transaction_id
    shared = [decision for decision in looked_at if any(decision.versions.values())]
    # How many depends on how events were cut into batches: a busy machine makes few large ones.
    assert len(shared) > LOOKED_AT / 10


def test_every_profile_is_updated_by_every_event_just_once(day: Day) -> None:
    looked_at = Random(3).sample(sorted(day.profiles), LOOKED_AT)
    for key in looked_at:
        name, _, entity_id = key.partition("#")
        assert day.profiles[key] == day.ground_truth.profile(name, entity_id), key
    touched = {key for decision in day.decisions for key in names_of(day, decision)}
    assert touched == day.profiles.keys()


def names_of(day: Day, item: DecisionItem) -> list[str]:
    ids = zip(day.ground_truth.entities, item.entities, strict=True)
    stored = {day.ground_truth.entities[entity.index] for entity in day.ground_truth.extractor.entities}
    return [f"{name}#{entity_id}" for name, entity_id in ids if entity_id is not None and name in stored]


def test_how_stale_a_shared_profile_was_is_bounded_by_the_batches_under_way(good_day: Day) -> None:
    """What a profile does not know yet is what other shards had in hand: a batch or two, not their past."""
    looked_at = Random(2).sample(good_day.decisions, LOOKED_AT)
    stale = sorted(good_day.ground_truth.profile_lag_s(decision, good_day.saved) for decision in looked_at)
    assert stale[0] == 0.0
    assert stale[LOOKED_AT // 2] < good_day.seconds / 10


def test_without_a_score_of_the_model_nothing_is_approved(bad_day: Day) -> None:
    decided = [msgspec.json.decode(decision.line) for decision in bad_day.decisions]
    degraded = [decision for decision in decided if decision["score"] is None]
    assert degraded
    assert {decision["action"] for decision in degraded} <= {"review", "decline"}
    assert all(decision["score"] is None for decision in degraded)
    assert len(degraded) < len(decided)
    # The function that is killed writes no line of its batch: there may be none of a bad call.
    lines = [entry for entry in bad_day.log if entry["type"] == "batch" and entry["degraded"]]
    assert all(entry["endpoint_error"] for entry in lines)


def test_the_bad_day_was_one(bad_day: Day) -> None:
    assert bad_day.retries > 0
    assert bad_day.cold_starts > 4
