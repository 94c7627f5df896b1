"""Each alarm of the template calls on its fault and is silent on good hours.

The series are recorded from the real function on stand-ins, minute by minute; the alarms are the template's.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fraud_detection.core.decision_settings import DeclineCapSettings, RuleSettings
from fraud_detection.core.errors import RetryError
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.protocol import JSON
from fraud_detection.deployment.template.alarm import NAMESPACE
from fraud_detection.deployment.template.template import build
from fraud_detection.engine.engine import make_engine
from fraud_detection.serving.sagemaker.container import Endpoint
from tests.cloudwatch import ALARM, DOCUMENTED, READINGS, Metrics, Reading, state
from tests.conftest import SmallSimulation
from tests.functional.serving.test_failing_payments import FAILING, BrokenRules
from tests.stream_hours import StreamHours, refuse

BUSY, QUIET = 110, 20
"""Payments a minute: above and below `alarms.min_decisions`."""
UNREADABLE = b"\x80\x04not what it was"

Alarms = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def payments(small_simulation: SmallSimulation) -> list[dict[str, Any]]:
    events = map(json.loads, small_simulation.events(25 * BUSY, malformed_share=0.0))
    return [event for event in events if event.get("type") != "label"]


class Producer:
    """Payments that come again and again under new ids."""

    def __init__(self, payments: list[dict[str, Any]]) -> None:
        self._payments = itertools.cycle(payments)
        self._number = itertools.count()

    def take(self, count: int, **other: object) -> list[bytes]:
        """Return the next payments."""
        chosen = itertools.islice(self._payments, count)
        return [
            json.dumps(event | {"transaction_id": f"n{next(self._number)}"} | other).encode()
            for event in chosen
        ]


class Scene:
    """A stream, its producer, and the alarms that watch it."""

    def __init__(self, simulation: SmallSimulation, payments: list[dict[str, Any]]) -> None:
        self.simulation, self.hours, self.producer = simulation, StreamHours(simulation), Producer(payments)
        resources = build(self.hours.settings, self.hours.release)["Resources"]
        self.alarms: Alarms = {
            name: resource["Properties"]
            for name, resource in resources.items()
            if resource["Type"] == "AWS::CloudWatch::Alarm"
        }
        self.called: set[str] = set()
        for _ in range(12):
            self.hours.minute()

    def good(self, minutes: int, rate: int = QUIET) -> None:
        """Let good minutes pass; no alarm stands in any of them, however CloudWatch is read."""
        for _ in range(minutes):
            self.hours.minute(self.producer.take(rate))
            self.silent()

    def pass_by(self, minutes: int, events: Callable[[int], list[bytes]]) -> None:
        """Let minutes of a fault pass, and record which alarms fire in any of them."""
        for at in range(minutes):
            self.hours.minute(events(at))
            self.called |= self.alarming()

    def silent(self) -> None:
        for reading in READINGS if self.hours.now % 5 == 0 else [DOCUMENTED]:
            assert self.alarming(reading) == set(), (self.hours.now, reading)

    def alarming(self, reading: Reading = DOCUMENTED) -> set[str]:
        return {
            name
            for name, alarm in self.alarms.items()
            if state(alarm, self.hours.metrics, self.hours.now, reading) == ALARM
        }

    def payments(self, rate: int = QUIET, **other: object) -> Callable[[int], list[bytes]]:
        return lambda _: self.producer.take(rate, **other)


def table_timeout(_operation: str) -> None:
    """Refuse as the adapters do after they have waited for a busy table."""
    raise RetryError("the table is busy")


def table_is_busy(scene: Scene) -> None:
    scene.hours.cloud.inject_faults(table_timeout)
    scene.pass_by(5, scene.payments())


def function_raises(scene: Scene) -> None:
    scene.hours.cloud.inject_faults(refuse("AccessDeniedException"))
    scene.pass_by(3, scene.payments())


def batches_are_dead_lettered(scene: Scene) -> None:
    scene.hours.retries = 0
    scene.hours.cloud.inject_faults(table_timeout)
    scene.pass_by(2, scene.payments())


def other_encoding(scene: Scene) -> None:
    scene.pass_by(3, lambda _: [UNREADABLE] * BUSY)


def some_unreadable(scene: Scene) -> None:
    scene.pass_by(20, lambda _: [UNREADABLE] * 80 + scene.producer.take(10))


def all_unreadable_and_slow(scene: Scene) -> None:
    scene.pass_by(60, lambda at: [UNREADABLE] * (at % 2))


def mapping_is_lost(scene: Scene) -> None:
    scene.hours.read = False
    scene.pass_by(20, lambda at: scene.producer.take(at % 2))


def mapping_is_lost_at_night(scene: Scene) -> None:
    scene.hours.read = False
    scene.pass_by(10, lambda _: [])


def only_others_read(scene: Scene) -> None:
    scene.hours.read, scene.hours.others_read = False, True
    scene.pass_by(20, lambda at: scene.producer.take(at % 2))


def id_is_reused(scene: Scene) -> None:
    (one,) = scene.producer.take(1)
    scene.hours.minute([one])
    again = json.dumps(json.loads(one) | {"amount": 9_500.0}).encode()
    scene.pass_by(1, lambda _: [again])


def bug_meets_one(scene: Scene) -> None:
    processor = scene.hours.processor
    strategy = processor.engine.strategy
    broken = msgspec.structs.replace(strategy, rules=BrokenRules(strategy.rules))
    processor.engine = msgspec.structs.replace(processor.engine, strategy=broken)
    scene.pass_by(1, scene.payments(1, transaction_id=FAILING))


def decline_cap_reached(scene: Scene) -> None:
    processor = scene.hours.processor
    everything = RuleSettings(name="everything", when="amount >= 0", action="decline")
    decline_cap = DeclineCapSettings(count=5, min_payments=10)
    project = msgspec.structs.replace(scene.simulation.project, rules=(everything,), decline_cap=decline_cap)
    processor.engine = make_engine(read_bundle(scene.simulation.bundle), processor.scorer, project)
    scene.pass_by(2, scene.payments())


def endpoint_fails(scene: Scene) -> None:
    scene.hours.cloud.runtime.fault = refuse("ModelError")
    scene.pass_by(3, scene.payments())


def endpoint_is_slow(scene: Scene) -> None:
    scene.hours.latency_ms = 400.0
    scene.pass_by(3, scene.payments())


def endpoint_is_gone(scene: Scene) -> None:
    scene.hours.cloud.runtime.fault = refuse("ValidationError")
    scene.pass_by(3, scene.payments(BUSY))


def endpoint_is_gone_and_payments_are_few(scene: Scene) -> None:
    scene.hours.cloud.runtime.fault = refuse("ValidationError")
    scene.pass_by(60, lambda at: scene.producer.take(at % 2))


def bundle_declines_too_much(scene: Scene) -> None:
    bundle = read_bundle(scene.simulation.bundle)
    cutoffs = msgspec.structs.replace(bundle.manifest.cutoffs, review_at=0.0, decline_at=0.0)
    endpoint = Endpoint(bundle)
    endpoint.decline_at = cutoffs.decline_at
    scene.hours.cloud.runtime.invoke = lambda body: endpoint.invoke(body, JSON, JSON)[0]
    scene.pass_by(3, scene.payments(BUSY))


def payments_have_changed(scene: Scene) -> None:
    scene.pass_by(6, scene.payments(BUSY, amount=500.0))


FAULTS: list[tuple[Callable[[Scene], None], set[str]]] = [
    (table_is_busy, {"IteratorAge"}),
    (function_raises, {"FunctionErrors"}),
    (batches_are_dead_lettered, {"FailuresWaiting"}),
    (other_encoding, {"QuarantinedRate"}),
    (some_unreadable, {"QuarantinedRateOfHour"}),
    (all_unreadable_and_slow, {"QuarantinedRateOfHour", "NothingDecided"}),
    (mapping_is_lost, {"StreamUnread", "NothingDecided"}),
    (mapping_is_lost_at_night, {"StreamUnread"}),
    (only_others_read, {"NothingDecided"}),
    (id_is_reused, {"Conflicts"}),
    (bug_meets_one, {"InternalErrors"}),
    (decline_cap_reached, {"DeclineCap"}),
    (endpoint_fails, {"EndpointErrors"}),
    (endpoint_is_slow, {"EndpointLatency"}),
    (endpoint_is_gone, {"DegradedRate"}),
    (endpoint_is_gone_and_payments_are_few, {"DegradedRateOfHour"}),
    (bundle_declines_too_much, {"DeclineRate"}),
    (payments_have_changed, {"ScoreDrift", "DeclineRate"}),
]


def test_every_alarm_has_a_fault(small_simulation: SmallSimulation, payments: list[dict[str, Any]]) -> None:
    assert set().union(*(called for _, called in FAULTS)) == set(Scene(small_simulation, payments).alarms)


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=lambda one: getattr(one, "__name__", ""))
def test_each_fault_calls_and_nothing_else_does(
    small_simulation: SmallSimulation,
    payments: list[dict[str, Any]],
    fault: Callable[[Scene], None],
    expected: set[str],
) -> None:
    scene = Scene(small_simulation, payments)
    scene.good(3)
    fault(scene)
    assert scene.called == expected
    for reading in READINGS:
        # Of a metric that has no value at all nothing is documented: see `stream-unread`.
        open_to = set() if reading.missing_is_zero or reading.fills_nothing else {"NothingDecided"}
        assert expected - scene.alarming(reading) <= open_to, reading


def a_good_hour(scene: Scene) -> None:
    scene.good(12, BUSY)
    scene.good(48)


def a_night(scene: Scene) -> None:
    scene.good(10)
    scene.good(60, 0)
    scene.good(10)


def one_record_an_hour(scene: Scene) -> None:
    for _ in range(3):
        scene.good(1, 1)
        scene.good(59, 0)


def one_record_in_a_quarter_handed_over_in_the_next_minute(scene: Scene) -> None:
    scene.hours.late = True
    for _ in range(8):
        scene.good(1, 1)
        scene.good(14, 0)


def bursts(scene: Scene) -> None:
    for _ in range(4):
        scene.good(1, 2 * BUSY)
        scene.good(9, 0)


def labels_alone(scene: Scene) -> None:
    paid = [json.loads(payment) for payment in scene.producer.take(QUIET)]
    scene.hours.minute(json.dumps(payment).encode() for payment in paid)
    for payment in paid:
        names = {name: payment[name] for name in ("transaction_id", "card_id")}
        label = {"type": "label", "is_fraud": 1, "label_known_at": payment["event_time"], **names}
        scene.hours.minute([json.dumps(label).encode()])
        scene.silent()
    counted = scene.hours.cloud.lines_of("batch")
    assert sum(count["labels"] for count in counted) == len(paid)


def one_that_cannot_be_read_now_and_then(scene: Scene) -> None:
    for _ in range(4):
        scene.good(9)
        scene.hours.minute([*scene.producer.take(QUIET), UNREADABLE])
        scene.silent()


def a_pause_of_the_mapping(scene: Scene) -> None:
    """As when it is updated: what waited is decided after it."""
    scene.good(5)
    scene.hours.read = False
    scene.good(3)
    scene.hours.read = True
    scene.good(10)


@pytest.mark.parametrize(
    "hour",
    [
        a_good_hour,
        a_night,
        one_record_an_hour,
        one_record_in_a_quarter_handed_over_in_the_next_minute,
        bursts,
        labels_alone,
        one_that_cannot_be_read_now_and_then,
        a_pause_of_the_mapping,
    ],
)
def test_nobody_is_called_in_a_good_hour(
    small_simulation: SmallSimulation, payments: list[dict[str, Any]], hour: Callable[[Scene], None]
) -> None:
    hour(Scene(small_simulation, payments))


@pytest.mark.parametrize("rate", [0.02, 0.2, 1, 4, 10, 60])
def test_chance_calls_nobody_where_little_comes_in(rate: float, small_simulation: SmallSimulation) -> None:
    """Two days in which one event of a hundred cannot be read; so many events a minute, at random."""
    scene, chance = Scene(small_simulation, [{}]), random.Random(7)
    mine = {"environment": scene.hours.settings.environment}
    metrics, minutes = Metrics(), 2 * 24 * 60
    for minute in range(minutes):
        events = sum(chance.random() < rate / 100 for _ in range(100))
        bad = sum(chance.random() < 0.01 for _ in range(events))
        if events:
            metrics.put(minute, NAMESPACE, "decided", [float(events - bad)], **mine)
            metrics.put(minute, NAMESPACE, "quarantined", [float(bad)], **mine)
    alarm = scene.alarms["QuarantinedRateOfHour"]
    assert {state(alarm, metrics, end) for end in range(0, minutes, 3)} == {"OK"}
