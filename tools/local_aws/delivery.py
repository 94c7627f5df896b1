"""What becomes of a batch when its function has answered: go on, try again, split, or give up.

Pure: no I/O and no clock.  `next_step` decides about one invocation; `Delivery` walks a batch to its end,
strictly in order, so that a checkpoint is always a single sequence number.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tools.local_aws.invocation import Invocation
from tools.local_aws.mapping_settings import FOREVER, MappingSettings


class RecordRange(msgspec.Struct, frozen=True):
    """Records [start, stop) of a batch, delivered in one invocation.

    retries: how many of the retries that they have are used; invocations: how often they were delivered.
    """

    start: int
    stop: int
    retries: int = 0
    invocations: int = 0


class Step(msgspec.Struct, frozen=True):
    """What follows from one invocation.

    checkpoint: everything before it is done.  given_up: what is sent to the on-failure destination; done too,
    once it is sent.  left: what is delivered next, in order.  again: the same is tried again, after a pause.
    """

    checkpoint: int
    dead_lettered: RecordRange | None = None
    left: tuple[RecordRange, ...] = ()
    retry: bool = False


def next_step(record_range: RecordRange, done: int, settings: MappingSettings) -> Step:
    """Return what follows when the first `done` records of a piece succeeded.

    >>> settings = MappingSettings("s", "f", "LATEST", bisect_on_error=True, maximum_retry_attempts=2)
    >>> [(half.start, half.stop) for half in next_step(RecordRange(0, 9), 0, settings).left]
    [(0, 4), (4, 9)]

    Splitting uses up no retry, and an answer that names the failed record splits there:

    >>> next_step(RecordRange(0, 9), 3, settings).left
    (RecordRange(start=3, stop=9, retries=0, invocations=1),)

    A single record is tried as often as allowed, then dead-lettered:

    >>> next_step(RecordRange(4, 5, retries=2, invocations=7), 0, settings).dead_lettered
    RecordRange(start=4, stop=5, retries=2, invocations=8)
    """
    start, retries, invocations = (
        record_range.start + done,
        record_range.retries,
        record_range.invocations + 1,
    )
    rest = RecordRange(start, record_range.stop, retries, invocations)
    if start == record_range.stop:
        return Step(record_range.stop)
    if settings.bisect_on_error and done:
        return Step(start, left=(rest,))
    if settings.bisect_on_error and record_range.stop - start > 1:
        middle = (start + record_range.stop) // 2
        halves = (
            RecordRange(start, middle, retries, invocations),
            RecordRange(middle, record_range.stop, retries, invocations),
        )
        return Step(start, left=halves)
    if settings.maximum_retry_attempts != FOREVER and retries >= settings.maximum_retry_attempts:
        return Step(start, dead_lettered=rest)
    return Step(start, left=(msgspec.structs.replace(rest, retries=retries + 1),), retry=True)


class Delivery:
    """One batch on its way: its pieces, of which the first is delivered next."""

    def __init__(self, count: int, settings: MappingSettings) -> None:
        """Start with all of it in one piece."""
        self._settings = settings
        self._left: list[RecordRange] = [RecordRange(0, count)] if count else []

    @property
    def next(self) -> RecordRange | None:
        """Return what is delivered next, None when the batch is done."""
        return self._left[0] if self._left else None

    def delivered(self, done: int) -> Step:
        """Take the answer to the next piece: how many of its first records are done."""
        step = next_step(self._left.pop(0), done, self._settings)
        self._left[:0] = step.left
        return step

    def expired(self, count: int) -> RecordRange:
        """Take the first records of the next piece out of it: they have become too old."""
        record_range = self._left.pop(0)
        middle = record_range.start + count
        if middle < record_range.stop:
            self._left.insert(0, msgspec.structs.replace(record_range, start=middle))
        return msgspec.structs.replace(record_range, stop=middle)


def records_done(result: Invocation, numbers: Sequence[str], settings: MappingSettings) -> int:
    """Return how many of the first records an answer says are done: all, none, or those before a failed one.

    Nothing reported is success; a report that cannot be understood is the failure of all.
    """
    if result.error_type is not None:
        return 0
    if not settings.report_batch_item_failures:
        return len(numbers)
    try:
        response = msgspec.json.decode(result.payload or b"null", type=_Report | None)
    except (msgspec.DecodeError, UnicodeError):
        return 0
    failed = (
        [] if response is None else [failure.itemIdentifier for failure in response.batchItemFailures or ()]
    )
    index_of = {number: index for index, number in enumerate(numbers)}
    return min([index_of.get(number, 0) for number in failed], default=len(numbers))


class _Failure(msgspec.Struct, frozen=True):
    itemIdentifier: str  # noqa: N815 - Lambda's names


class _Report(msgspec.Struct, frozen=True):
    batchItemFailures: list[_Failure] | None = None  # noqa: N815 - Lambda's names
