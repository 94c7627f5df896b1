"""Drift on purpose: a small language for what changes in the events of the stream, and when.

    rename:FIELD=NEW          the field has another name
    add:FIELD=VALUE           a field that was not there before
    drop:FIELD                the field is missing
    retype:FIELD=TYPE         its value is written in another way
    category:FIELD=VALUE      a value that was not there before
    behaviour:WHAT=NUMBER     payments themselves change (see `behaviour`)

Behind any of them may stand `@SHARE` (of payments, 1 without it), then `:after=PAYMENTS`
and `:from=TIME` (a date, or a date and time, of the simulated clock): the drift begins
when so many payments have been sent, and not before that time.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from fraud_detection.core.errors import ConfigError
from fraud_detection.simulator.population.naming import FIELDS
from fraud_detection.simulator.settings import Purpose, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

STREAM_FIELDS = (*FIELDS[:-2], "sent_at")
KINDS = ("rename", "add", "drop", "retype", "category", "behaviour")
BEHAVIOURS = {
    "amount_scale": (0.01, 100.0),
    "night_share": (0.0, 1.0),
    "online_share": (0.0, 1.0),
}
"""What behaviour can change, and between which numbers."""

_FORM = re.compile(
    r"(?P<kind>\w+):(?P<field>\w+)(=(?P<value>[^@:]*))?(@(?P<share>[^:@]*))?(?P<begin>(:(after|from)=[^@]*)*)"
)
_EXAMPLES = "rename:amount=amt@0.3, drop:latitude:after=20000, retype:amount=string:from=2026-04-15"

Fields = dict[str, Any]


class Drift(Struct, frozen=True):
    """One change.  share: of payments; after: payments sent before it; begins: ms, simulated."""

    kind: str
    field: str
    value: str = ""
    share: float = 1.0
    after: int = 0
    begins: int = 0

    def number(self) -> float:
        """Return the value of a change of behaviour."""
        return float(self.value)

    def begun(self, position: int, time: int) -> bool:
        """Return whether the change can touch the payment at this position of the stream."""
        return position >= self.after and time >= self.begins


def parse_drift(text: str) -> Drift:
    """Read one change; raise ConfigError with what is allowed.

    >>> parse_drift("rename:amount=amt@0.3:after=20000")
    Drift(kind='rename', field='amount', value='amt', share=0.3, after=20000, begins=0)
    >>> parse_drift("rename:amuont=amt")
    Traceback (most recent call last):
    ...
    fraud_detection.core.errors.ConfigError: drift 'rename:amuont=amt': no field 'amuont' in stream events; \
there are: transaction_id, event_time, card_id, customer_id, device_id, merchant_id, terminal_id, \
amount, currency, merchant_category, channel, entry_mode, latitude, longitude, sent_at
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"drift {text!r}: expected KIND:FIELD=VALUE@SHARE:after=PAYMENTS, such as {_EXAMPLES}"
        )
    after, begins = _beginning(text, match["begin"])
    drift = Drift(
        match["kind"], match["field"], match["value"] or "", _share(text, match["share"]), after, begins
    )
    problem = _problem(drift)
    if problem:
        raise ConfigError(f"drift {text!r}: {problem}")
    return drift


class FieldDrift:
    """Changes the fields of events, one after another; a function of the seed and the order alone."""

    def __init__(self, drifts: Iterable[Drift], settings: SimulatorSettings) -> None:
        """Take the changes of fields; those of behaviour are passed over."""
        chosen = [drift for drift in drifts if drift.kind != "behaviour"]
        self._changes = [
            (drift, _CHANGES[drift.kind], settings.generator(Purpose.DRIFT, number))
            for number, drift in enumerate(chosen)
        ]
        self.idle = not chosen

    def change(self, event: Fields, position: int, time: int) -> Fields:
        """Return the event with the changes that have begun, each on its share of events."""
        for drift, change, rng in self._changes:
            if drift.begun(position, time) and (drift.share >= 1 or rng.random() < drift.share):
                event = change(event, drift)
        return event


def _renamed(event: Fields, drift: Drift) -> Fields:
    return {drift.value if name == drift.field else name: value for name, value in event.items()}


def _set(event: Fields, drift: Drift) -> Fields:
    return {**event, drift.field: drift.value}


def _dropped(event: Fields, drift: Drift) -> Fields:
    return {name: value for name, value in event.items() if name != drift.field}


def _retyped(event: Fields, drift: Drift) -> Fields:
    value = event.get(drift.field)
    return event if value is None else {**event, drift.field: _TYPES[drift.value](value)}


_CHANGES: dict[str, Callable[[Fields, Drift], Fields]] = {
    "rename": _renamed,
    "add": _set,
    "drop": _dropped,
    "retype": _retyped,
    "category": _set,
}


def _epoch_ms(value: Any) -> int:  # noqa: ANN401 - a value of any field
    return round(dt.datetime.fromisoformat(str(value)).timestamp() * 1000)


_TYPES: dict[str, Callable[[Any], Any]] = {
    "string": str,
    "comma": lambda value: str(value).replace(".", ","),
    "cents": lambda value: round(float(value) * 100),
    "integer": lambda value: math.floor(float(value)),
    "epoch_ms": _epoch_ms,
    "epoch_s": lambda value: _epoch_ms(value) // 1000,
}
_TYPED: dict[str, Sequence[str]] = {
    "amount": ("string", "comma", "cents", "integer"),
    "latitude": ("string", "comma", "integer"),
    "longitude": ("string", "comma", "integer"),
    "event_time": ("epoch_ms", "epoch_s"),
    "sent_at": ("string",),
}
_CATEGORICAL = ("currency", "merchant_category", "channel", "entry_mode")


def _problem(drift: Drift) -> str | None:
    """Return what is wrong with a change, as text."""
    if drift.kind not in KINDS:
        return f"no kind of drift {drift.kind!r}; there are: {', '.join(KINDS)}"
    allowed = {"behaviour": tuple(BEHAVIOURS), "category": _CATEGORICAL, "retype": tuple(_TYPED)}
    fields = allowed.get(drift.kind, STREAM_FIELDS)
    if drift.kind == "add":
        return f"{drift.field!r} is there already" if drift.field in fields else _value_problem(drift)
    if drift.field not in fields:
        where = "in stream events" if drift.kind in {"rename", "drop"} else f"that {drift.kind!r} can change"
        return f"no field {drift.field!r} {where}; there are: {', '.join(fields)}"
    return _value_problem(drift)


def _value_problem(drift: Drift) -> str | None:
    if drift.kind == "drop":
        return "'drop' takes no value" if drift.value else None
    if not drift.value:
        return f"{drift.kind!r} needs a value: {drift.kind}:{drift.field}=VALUE"
    if drift.kind == "rename" and drift.value in STREAM_FIELDS:
        return f"a field named {drift.value!r} is there already"
    if drift.kind == "retype" and drift.value not in _TYPED[drift.field]:
        return f"{drift.field!r} can become: {', '.join(_TYPED[drift.field])}"
    return _number_problem(drift) if drift.kind == "behaviour" else None


def _number_problem(drift: Drift) -> str | None:
    low, high = BEHAVIOURS[drift.field]
    try:
        fine = low <= drift.number() <= high
    except ValueError:
        fine = False
    return None if fine else f"{drift.field} is a number from {low:g} to {high:g}, got {drift.value!r}"


def _share(text: str, share: str | None) -> float:
    try:
        value = 1.0 if share is None else float(share)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise ConfigError(f"drift {text!r}: the share after @ is a number above 0 and up to 1, got {share!r}")
    return value


def _beginning(text: str, parts: str) -> tuple[int, int]:
    """Return after how many payments, and at what simulated time in ms, a change begins."""
    after = re.search(r":after=([^:]*)", parts)
    begins = re.search(r":from=(.*?)(?=:after=|$)", parts)
    try:
        return int(after[1]) if after else 0, _milliseconds(begins[1]) if begins else 0
    except ValueError as error:
        raise ConfigError(
            f"drift {text!r}: `after` is a whole number of payments, `from` a date or time ({error})"
        ) from None


def _milliseconds(text: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    utc = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return round(utc.timestamp() * 1000)
