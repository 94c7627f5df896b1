"""Entry points of the simulator: a history into files, a stream into a file, a pipe or Kinesis."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target
from fraud_detection.simulator.history_file import HistorySummary, write_history
from fraud_detection.simulator.rate_control import Clock, Outbox, Prefetcher, Receiver, SystemClock, keep_rate
from fraud_detection.simulator.schedule import ArrivalKind
from fraud_detection.simulator.stream import SimulatedStream, StreamOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fraud_detection.simulator.settings import SimulatorSettings

STANDARD_OUTPUT = "-"

_HEAD_START_S = 0.25
_TIMEOUT_S = 2.0


class StreamSummary(msgspec.Struct, frozen=True):
    """What was sent.  payments: whole ones, each once; late ones are among them.

    max_lag_s: the longest that an event waited for the receiver, after it was due.
    ended_by: the limit that was set, an interrupt, or a receiver that went away.
    """

    payments: int
    late_payments: int
    duplicate_payments: int
    malformed_payments: int
    labels: int
    seconds: float
    payments_per_second: float
    max_lag_s: float
    max_queue_events: int
    ended_by: Literal["limit", "interrupt", "receiver"]


def generate_history(
    settings: SimulatorSettings,
    path: Path,
    ground_truth_path: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> HistorySummary:
    """Write a labelled history to a .parquet or .csv file, and the ground truth to another."""
    return write_history(settings, path, ground_truth_path, on_progress)


def generate_stream(
    settings: SimulatorSettings,
    to: str = STANDARD_OUTPUT,
    options: StreamOptions | None = None,
    clock: Clock | None = None,
) -> StreamSummary:
    """Send the days after the history to a file, or to standard output ('-'), at the options' rate."""
    clock = clock or SystemClock()
    options = options or StreamOptions()
    stream = SimulatedStream(settings, options)
    with opened(to) as receiver:
        return send(stream, receiver, clock)


def send(stream: SimulatedStream, receiver: Receiver, clock: Clock) -> StreamSummary:
    """Send a stream until it ends, the receiver goes away, or somebody interrupts."""
    began = clock.now() + _HEAD_START_S
    sent: Counter[ArrivalKind] = Counter()
    ended_by: Literal["limit", "interrupt", "receiver"] = "limit"
    with Outbox(receiver, clock, began) as outbox, Prefetcher(stream.chunks(round(began * 1000))) as chunks:
        try:
            for event in keep_rate(chunks, clock, began, outbox):
                sent[event.arrival_kind] += 1
        except KeyboardInterrupt:
            ended_by = "interrupt"
            outbox.timeout_s = _TIMEOUT_S
        seconds = clock.now() - began
    return _summary(sent, seconds, outbox, "receiver" if outbox.gone else ended_by)


@contextlib.contextmanager
def opened(to: str) -> Iterator[Receiver]:
    """Open what `--to` names: a path, '-' for standard output, or kinesis://STREAM."""
    kind, separator, stream = to.partition("://")
    if kind == "kinesis" and stream:
        yield _kinesis(stream)
        return
    if separator or to.startswith("kinesis:"):
        raise ConfigError(f"--to {to}: expected a file, '-' for standard output, or kinesis://STREAM")
    try:
        descriptor = (
            os.dup(1)
            if to == STANDARD_OUTPUT
            else os.open(check_target(Path(to), f"--to {to}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        )
    except OSError as error:
        raise ConfigError(f"--to {to}: cannot be written: {error}") from error
    try:
        yield Descriptor(descriptor)
    finally:
        os.close(descriptor)


def _kinesis(stream: str) -> Receiver:
    """Return a stream as a receiver; payments of a card stay in order, and their labels come behind them."""
    from fraud_detection.adapters.aws.clients import client  # noqa: PLC0415 - half a second, seldom needed
    from fraud_detection.adapters.aws.kinesis_producer import KinesisProducer, KinesisReceiver  # noqa: PLC0415 - the same

    return KinesisReceiver(KinesisProducer(client("kinesis"), stream), ("card_id", "transaction_id"))


class Descriptor:
    """A file or pipe that is written at once, without a buffer."""

    def __init__(self, number: int) -> None:
        """Take the number of an open file."""
        self._number = number

    def write(self, data: bytes) -> None:
        """Write all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._number, rest) :]

    def close(self) -> None:
        """Leave the closing to whoever opened it."""


def _summary(
    sent: Counter[ArrivalKind],
    seconds: float,
    outbox: Outbox,
    ended_by: Literal["limit", "interrupt", "receiver"],
) -> StreamSummary:
    slots = sum(count for arrival_kind, count in sent.items() if arrival_kind is not ArrivalKind.LABEL)
    return StreamSummary(
        payments=sent[ArrivalKind.ON_TIME] + sent[ArrivalKind.LATE],
        late_payments=sent[ArrivalKind.LATE],
        duplicate_payments=sent[ArrivalKind.DUPLICATE],
        malformed_payments=sent[ArrivalKind.MALFORMED],
        labels=sent[ArrivalKind.LABEL],
        seconds=seconds,
        payments_per_second=slots / max(seconds, 1e-9),
        max_lag_s=outbox.max_lag_s,
        max_queue_events=outbox.max_queue_events,
        ended_by=ended_by,
    )
