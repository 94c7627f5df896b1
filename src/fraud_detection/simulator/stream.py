"""The days after the history as a schedule of JSON events: what is sent, and when it is due.

Pure: the same settings, options and start give the same bytes.  Payment k is due k / rate
seconds after the start, whatever happens to those before it; a label is due with the first
payment after the simulated moment at which it becomes known.  `keep_rate` keeps the schedule.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from msgspec import Meta

from fraud_detection.core.decoding import Count, Settings, Share
from fraud_detection.simulator.columns import joined
from fraud_detection.simulator.drift import FieldDrift, parse_drift
from fraud_detection.simulator.messages import EventWriter, Timed
from fraud_detection.simulator.population.behaviour import behave
from fraud_detection.simulator.population.entities import make_population
from fraud_detection.simulator.schedule import Faults, KnownLabels, Labels, Schedule, schedule_of
from fraud_detection.simulator.settings import DAY, Purpose, SimulatorSettings
from fraud_detection.simulator.simulate import Simulation

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 512


class StreamOptions(Settings, frozen=True):
    """How the stream is sent, and what is wrong with it.

    rate: payments a second, labels not counted.  payments, seconds: where it ends; never, without.
    late_share arrive minutes to hours late, duplicate_share twice, malformed_share come a second
    time broken, under another id.  drift: changes in the language of `drift`.
    """

    rate: Annotated[float, Meta(gt=0, le=1_000_000)] = 100.0
    payments: Count | None = None
    seconds: Annotated[float, Meta(gt=0)] | None = None
    labels: Literal["all", "fraud", "none"] = "all"
    late_share: Share = 0.01
    duplicate_share: Share = 0.005
    malformed_share: Share = 0.001
    drift: tuple[str, ...] = ()

    @property
    def max_payments(self) -> float:
        """Return how many payments are sent at most."""
        by_time = math.inf if self.seconds is None else math.ceil(self.seconds * self.rate)
        return min(by_time, math.inf if self.payments is None else self.payments)

    @property
    def faults(self) -> Faults:
        """Return the shares of payments that arrive in an odd way."""
        return Faults(self.late_share, self.duplicate_share, self.malformed_share)


class SimulatedStream:
    """The stream of a simulation: it begins on the day after the history, with its open labels."""

    def __init__(self, settings: SimulatorSettings, options: StreamOptions) -> None:
        """Check the options, and simulate the history to know which labels are open at its end."""
        self._settings, self._options = settings, options
        self._drifts = [parse_drift(text) for text in options.drift]
        self._population = make_population(settings)
        self._simulated = Simulation(self._population).days()
        self._position, self._waiting, self._labels = 0, Schedule.none(), Labels(options.labels)
        for block in itertools.islice(self._simulated, settings.days):
            self._labels.add(block, settings.epoch + settings.days * DAY)

    def chunks(self, start_ms: int) -> Iterator[list[Timed]]:
        """Yield events in the order in which they are due; `start_ms`: the wall clock at the first.

        A stream is used once.
        """
        fields = FieldDrift(self._drifts, self._settings)
        writer = EventWriter(self._population, fields, start_ms, self._options.rate)
        for day in itertools.count(self._settings.days):
            schedule, known_labels = self._day(day)
            yield from _chunks(writer, schedule, known_labels, self._position)
            self._position += len(schedule)
            if self._position >= self._options.max_payments:
                return

    def _day(self, day: int) -> tuple[Schedule, KnownLabels]:
        """Return what arrives, and becomes known, on one day; on the last one, until the last payment."""
        ends = self._settings.epoch + (day + 1) * DAY
        block = behave(self._population, next(self._simulated), self._drifts, self._position)
        self._labels.add(block)
        new = schedule_of(block, self._settings.generator(Purpose.STREAM, day), self._options.faults)
        schedule, self._waiting = joined([self._waiting, new]).in_order().until(ends)
        rest = self._options.max_payments - self._position
        if len(schedule) >= rest:
            schedule = schedule.pick(slice(int(rest)))
            ends = int(schedule.at[-1])
        return schedule, self._labels.until(ends)


def _chunks(
    writer: EventWriter, schedule: Schedule, known_labels: KnownLabels, position: int
) -> Iterator[list[Timed]]:
    """Yield the payments and labels of a day in order; they are written as they are asked for."""
    indices = np.searchsorted(schedule.at, known_labels.known_at)
    for start in range(0, max(len(schedule), 1), _CHUNK):
        end = start + _CHUNK
        here = (indices >= start) & ((indices < end) | (end >= len(schedule)))
        numbers = np.arange(start, min(end, len(schedule)))
        payments = writer.payments(schedule.pick(numbers), position + start)
        labels = writer.labels(known_labels.pick(here), position + indices[here])
        order = np.argsort(np.concatenate([indices[here] * 2, numbers * 2 + 1]), kind="stable")
        both = labels + payments
        yield [both[number] for number in order.tolist()]


def simulated_events(seed: int, events: int) -> Iterator[bytes]:
    """Yield a stream with many late, duplicate and malformed events, regardless of its schedule."""
    faults = StreamOptions(late_share=0.05, duplicate_share=0.02, malformed_share=0.005)
    stream = SimulatedStream(SimulatorSettings(seed=seed, days=1), faults)
    flat = (event.data.rstrip(b"\n") for chunk in stream.chunks(0) for event in chunk)
    yield from itertools.islice((event for event in flat if event.strip()), events)
