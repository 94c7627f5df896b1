"""What becomes of a batch, whatever its function answers: nothing lost, nothing out of order, an end."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.local_aws.delivery import Delivery, RecordRange, next_step, records_done
from tools.local_aws.invocation import Invocation
from tools.local_aws.mapping_settings import MappingSettings

BASE = MappingSettings("arn:aws:kinesis:eu-central-1:0:stream/s", "arn:f", "TRIM_HORIZON")
REPORTING = msgspec.structs.replace(BASE, report_batch_item_failures=True)


def settings_with(*, bisect: bool, retries: int) -> MappingSettings:
    return msgspec.structs.replace(BASE, bisect_on_error=bisect, maximum_retry_attempts=retries)


class Walk:
    """Delivers a batch to a function that says how many of some records succeed, and notes all of it."""

    def __init__(self, count: int, settings: MappingSettings, handle: Callable[[range], int]) -> None:
        self.invoked: list[range] = []
        self.done: list[int] = []
        self.dead_lettered: list[int] = []
        delivery = Delivery(count, settings)
        while (record_range := delivery.next) is not None:
            records = range(record_range.start, record_range.stop)
            assert records.start == self.checkpoint, (
                "delivered is what follows the checkpoint, and nothing else"
            )
            self.invoked.append(records)
            step = delivery.delivered(handle(records))
            self.done += range(record_range.start, step.checkpoint)
            if step.dead_lettered is not None:
                self.dead_lettered += range(step.dead_lettered.start, step.dead_lettered.stop)

    @property
    def checkpoint(self) -> int:
        return len(self.done) + len(self.dead_lettered)


bounded = st.builds(
    lambda bisect, retries: settings_with(bisect=bisect, retries=retries), st.booleans(), st.integers(0, 5)
)
chances = st.randoms(use_true_random=False)


@given(st.integers(0, 60), bounded, chances)
def test_whatever_fails_every_record_is_done_or_dead_lettered_and_none_is_both(
    count: int, settings: MappingSettings, chance: Random
) -> None:
    walk = Walk(
        count,
        settings,
        lambda records: chance.choice([0, 0, len(records), chance.randint(0, len(records))]),
    )
    assert sorted(walk.done + walk.dead_lettered) == list(range(count))


@given(st.integers(1, 60), bounded, chances)
def test_the_order_is_kept_and_nothing_done_is_delivered_again(
    count: int, settings: MappingSettings, chance: Random
) -> None:
    walk = Walk(
        count,
        settings,
        lambda records: chance.randint(0, len(records)),
    )
    starts = [records.start for records in walk.invoked]
    assert starts == sorted(starts)
    assert walk.done == sorted(walk.done)
    assert walk.dead_lettered == sorted(walk.dead_lettered)


@given(st.integers(1, 60), bounded)
def test_attempts_are_bounded_when_everything_fails(count: int, settings: MappingSettings) -> None:
    walk = Walk(count, settings, lambda _: 0)
    assert walk.dead_lettered == list(range(count))
    # Splitting takes one invocation for each piece larger than a record, and uses up no retry.
    tries = settings.maximum_retry_attempts + 1
    assert len(walk.invoked) == (count - 1 + count * tries if settings.bisect_on_error else tries)


@given(st.integers(1, 200), st.data(), st.integers(0, 3))
def test_bisecting_dead_letters_the_failing_records_and_no_other(
    count: int, data: st.DataObject, retries: int
) -> None:
    failing = data.draw(st.sets(st.integers(0, count - 1), max_size=5))
    walk = Walk(
        count,
        settings_with(bisect=True, retries=retries),
        lambda records: 0 if failing & set(records) else len(records),
    )
    assert walk.dead_lettered == sorted(failing)


@given(st.integers(1, 200), st.data(), st.integers(0, 3))
def test_bisecting_and_reporting_delivers_only_from_the_first_failed_record_on(
    count: int, data: st.DataObject, retries: int
) -> None:
    failing = data.draw(st.sets(st.integers(0, count - 1), max_size=5))
    walk = Walk(
        count,
        settings_with(bisect=True, retries=retries),
        lambda records: min([n - records.start for n in failing & set(records)], default=len(records)),
    )
    assert walk.dead_lettered == sorted(failing)


@pytest.mark.parametrize("bisect", [True, False])
@given(count=st.integers(1, 40), failures=st.integers(1, 40))
def test_without_a_bound_a_batch_is_tried_until_it_succeeds(
    *, bisect: bool, count: int, failures: int
) -> None:
    left = [failures]

    def handle(records: range) -> int:
        left[0] -= 1
        return 0 if left[0] >= 0 else len(records)

    walk = Walk(count, settings_with(bisect=bisect, retries=-1), handle)
    assert walk.done == list(range(count))
    assert len(walk.invoked) >= failures + 1


def test_only_what_is_tried_again_as_it_was_waits() -> None:
    delivery = Delivery(2, settings_with(bisect=True, retries=1))
    assert [delivery.delivered(0).retry for _ in range(3)] == [False, True, False]
    assert delivery.next is not None
    assert (delivery.next.start, delivery.next.retries) == (1, 0)


def test_a_partial_success_counts_as_a_retry_unless_batches_are_split() -> None:
    rest = [
        next_step(RecordRange(0, 9), 4, settings_with(bisect=bisect, retries=1)).left
        for bisect in (False, True)
    ]
    assert rest == [
        (RecordRange(4, 9, retries=1, invocations=1),),
        (RecordRange(4, 9, retries=0, invocations=1),),
    ]


@given(st.integers(1, 30), st.data())
def test_records_that_became_too_old_leave_the_rest_as_it_is(count: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, count))
    delivery = Delivery(count, BASE)
    dead_lettered = delivery.expired(old)
    assert (dead_lettered.start, dead_lettered.stop, dead_lettered.invocations) == (0, old, 0)
    rest = delivery.next
    assert (rest is None) is (old == count)
    assert rest is None or (rest.start, rest.stop) == (old, count)


NUMBERS = ["100", "200", "300"]


def delivered(content: object) -> Invocation:
    return Invocation("1", json.dumps(content).encode())


def failures(*numbers: object) -> dict[str, object]:
    return {"batchItemFailures": [{"itemIdentifier": number} for number in numbers]}


@pytest.mark.parametrize("content", [None, {}, failures(), {"batchItemFailures": None}, {"more": 1}])
def test_nothing_reported_is_success(content: object) -> None:
    assert records_done(delivered(content), NUMBERS, REPORTING) == 3


@pytest.mark.parametrize(
    ("reported", "done"), [(["300"], 2), (["300", "200"], 1), (["100"], 0), (["200"] * 2, 1)]
)
def test_the_lowest_reported_number_is_where_it_starts_again(reported: list[str], done: int) -> None:
    assert records_done(delivered(failures(*reported)), NUMBERS, REPORTING) == done


@pytest.mark.parametrize(
    "content",
    [
        failures(""),
        failures(None),
        failures("400"),
        failures("300", "400"),
        failures(300),
        {"batchItemFailures": [{"id": "200"}]},
        {"batchItemFailures": "200"},
        "200",
        [200],
    ],
)
def test_a_report_that_cannot_be_understood_is_the_failure_of_all(content: object) -> None:
    assert records_done(delivered(content), NUMBERS, REPORTING) == 0


def test_a_report_counts_only_where_the_mapping_requests_it() -> None:
    assert records_done(delivered(failures("100")), NUMBERS, BASE) == 3


@pytest.mark.parametrize("settings", [BASE, REPORTING])
def test_an_error_is_the_failure_of_all(settings: MappingSettings) -> None:
    assert records_done(Invocation("1", b"{}", "ValueError"), NUMBERS, settings) == 0
