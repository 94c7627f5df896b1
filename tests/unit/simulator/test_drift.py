from __future__ import annotations

import datetime as dt
import itertools

import msgspec
import numpy as np
import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.simulator.columns import Block
from fraud_detection.simulator.drift import STREAM_FIELDS, FieldDrift, parse_drift
from fraud_detection.simulator.messages import PaymentEvent
from fraud_detection.simulator.population.behaviour import behave
from fraud_detection.simulator.population.entities import Population
from fraud_detection.simulator.settings import DAY, HOUR, SimulatorSettings
from fraud_detection.simulator.stream import SimulatedStream, StreamOptions

SMALL = SimulatorSettings(cards=200, merchants=90, days=2)


def payments(*drift: str, count: int = 400) -> list[dict[str, object]]:
    """Return the whole payments of a stream, in the order of sending."""
    options = StreamOptions(payments=count, drift=drift, labels="none", malformed_share=0.0)
    events = itertools.chain.from_iterable(SimulatedStream(SMALL, options).chunks(1_000_000))
    return [msgspec.json.decode(event.data) for event in events]


PLAIN = payments()


def test_payments_have_the_fields_that_drift_knows() -> None:
    assert PaymentEvent.__struct_fields__ == STREAM_FIELDS
    assert tuple(PLAIN[0]) == STREAM_FIELDS


def test_a_renamed_field_keeps_its_value() -> None:
    for before, after in zip(PLAIN, payments("rename:amount=amt"), strict=True):
        assert after.pop("amt") == before["amount"]
        assert after == {name: value for name, value in before.items() if name != "amount"}


def test_a_share_of_events_is_touched_and_no_other() -> None:
    drifted = payments("rename:amount=amt@0.3", count=2_000)
    assert np.mean(["amt" in event for event in drifted]) == pytest.approx(0.3, abs=0.04)
    assert all(("amt" in event) != ("amount" in event) for event in drifted)


def test_a_drift_begins_after_the_payments_it_names() -> None:
    drifted = payments("drop:latitude:after=150")
    assert [number for number, event in enumerate(drifted) if "latitude" not in event] == list(
        range(150, 400)
    )


def test_a_drift_begins_at_the_simulated_time_it_names() -> None:
    begins = dt.datetime.fromisoformat("2026-01-04T12:00:00Z")
    for event in payments("add:loyalty_tier=gold:from=2026-01-04T12:00"):
        time = dt.datetime.fromisoformat(str(event["event_time"]))
        touched = event.get("loyalty_tier") == "gold"
        assert touched == (time >= begins) or time > begins - dt.timedelta(
            hours=7
        )  # a late one arrives after it


def test_retyped_values_mean_the_same() -> None:
    changes = ("retype:amount=cents", "retype:event_time=epoch_ms", "retype:latitude=comma")
    for before, after in zip(PLAIN, payments(*changes), strict=True):
        assert after["amount"] == round(100 * float(str(before["amount"])))
        moment = dt.datetime.fromtimestamp(int(str(after["event_time"])) / 1000, dt.UTC)
        assert moment == dt.datetime.fromisoformat(str(before["event_time"]))
        if before["latitude"] is not None:
            assert float(str(after["latitude"]).replace(",", ".")) == before["latitude"]
    assert {type(event["amount"]) for event in payments("retype:amount=string")} == {str}


def test_a_new_category_appears_in_its_share() -> None:
    drifted = payments("category:merchant_category=crypto@0.05", count=2_000)
    assert np.mean([event["merchant_category"] == "crypto" for event in drifted]) == pytest.approx(
        0.05, abs=0.02
    )


def test_changes_of_fields_leave_the_payments_themselves_alone() -> None:
    drifted = payments("rename:channel=kind@0.5", "add:tier=gold")
    assert [event["transaction_id"] for event in drifted] == [event["transaction_id"] for event in PLAIN]
    assert drifted == payments("rename:channel=kind@0.5", "add:tier=gold")


def test_without_changes_an_event_stays_itself() -> None:
    drift = FieldDrift([parse_drift("behaviour:amount_scale=2")], SMALL)
    event = {"amount": 1.0}
    assert drift.idle
    assert drift.change(event, 0, 0) is event


def changed(population: Population, town: Block, drift: str) -> tuple[Block, Block]:
    """Return a day before and after a change of behaviour."""
    start = population.settings.epoch
    day = town.pick(town.payments.time < start + DAY)
    return day, behave(population, day, [parse_drift(drift)], 0)


def test_amounts_are_scaled_and_nothing_else(population: Population, town: Block) -> None:
    before, after = changed(population, town, "behaviour:amount_scale=1.5")
    assert np.abs(after.payments.amount - before.payments.amount * 1.5).max() <= 0.5
    assert (after.payments.time == before.payments.time).all()


def test_payments_move_to_the_night_and_their_labels_with_them(population: Population, town: Block) -> None:
    before, after = changed(population, town, "behaviour:night_share=0.3")
    night = (after.payments.time % DAY < 6 * HOUR).mean() - (before.payments.time % DAY < 6 * HOUR).mean()
    assert 0.2 < night < 0.4
    assert (np.diff(after.payments.time) >= 0).all()
    assert (after.known_at > after.payments.time).all()
    assert sorted(after.code) == sorted(before.code)


def test_payments_move_online(population: Population, town: Block) -> None:
    before, after = changed(population, town, "behaviour:online_share=0.5@0.5")
    stores = [(block.payments.channel == 0).sum() for block in (before, after)]
    assert stores[1] / stores[0] == pytest.approx(0.75, abs=0.05)
    assert ((after.payments.device > 0) >= (after.payments.channel == 1)).all()
    assert (after.payments.card == before.payments.card).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("amount=amt", "expected KIND:FIELD=VALUE"),
        ("melt:amount=amt", "there are: rename, add, drop"),
        ("rename:amuont=amt", "no field 'amuont' in stream events; there are: transaction_id"),
        ("rename:amount", "needs a value"),
        ("rename:amount=card_id", "is there already"),
        ("add:amount=1", "is there already"),
        ("drop:amount=1", "takes no value"),
        ("retype:amount=date", "can become: string, comma, cents"),
        ("retype:channel=string", "there are: amount, latitude"),
        ("category:amount=1", "there are: currency, merchant_category"),
        ("behaviour:mood=1", "there are: amount_scale, night_share, online_share"),
        ("behaviour:night_share=2", "from 0 to 1, got '2'"),
        ("behaviour:amount_scale=much", "got 'much'"),
        ("behaviour:amount_scale=nan", "got 'nan'"),
        ("rename:amount=amt@0", "above 0 and up to 1, got '0'"),
        ("rename:amount=amt@often", "got 'often'"),
        ("rename:amount=amt:after=soon", "whole number of payments"),
        ("rename:amount=amt:from=someday", "a date or time"),
        ("rename:amount=amt:until=3", "expected KIND:FIELD=VALUE"),
    ],
)
def test_a_wrong_drift_is_refused_with_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_drift(text)
    assert str(refused.value).startswith(f"drift {text!r}: ")
    assert message in str(refused.value)


def test_a_stream_with_a_wrong_drift_is_not_begun() -> None:
    with pytest.raises(ConfigError, match="no kind of drift"):
        SimulatedStream(SMALL, StreamOptions(drift=("melt:amount=amt",)))
