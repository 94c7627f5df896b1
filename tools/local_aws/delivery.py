"""What becomes of a batch when its function has answered: go on, try again, split, or give up.

Pure: no I/O and no clock.  `next_step` decides about one invocation; `Delivery` walks a batch to its end,
strictly in order, so that a checkpoint is always a single sequence number.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tools.local_aws.invocation import Invocation
from tools.local_aws.mapping_settings import FOREVER, MappingSettings


class Piece(msgspec.Struct, frozen=True):
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
    dead_lettered: Piece | None = None
    left: tuple[Piece, ...] = ()
    retry: bool = False


def next_step(piece: Piece, done: int, settings: MappingSettings) -> Step:
    """Return what follows when the first `done` records of a piece succeeded.

    >>> settings = MappingSettings("s", "f", "LATEST", bisect_on_error=True, maximum_retry_attempts=2)
    >>> [(half.start, half.stop) for half in next_step(Piece(0, 9), 0, settings).left]
    [(0, 4), (4, 9)]

    Splitting uses up no retry, and an answer that names the failed record splits there:

    >>> next_step(Piece(0, 9), 3, settings).left
    (Piece(start=3, stop=9, retries=0, invocations=1),)

    A single record is tried as often as allowed, then dead-lettered:

    >>> next_step(Piece(4, 5, retries=2, invocations=7), 0, settings).dead_lettered
    Piece(start=4, stop=5, retries=2, invocations=8)
    """
    start, retries, invocations = piece.start + done, piece.retries, piece.invocations + 1
    rest = Piece(start, piece.stop, retries, invocations)
    if start == piece.stop:
        return Step(piece.stop)
    if settings.bisect_on_error and done:
        return Step(start, left=(rest,))
    if settings.bisect_on_error and piece.stop - start > 1:
        middle = (start + piece.stop) // 2
        halves = Piece(start, middle, retries, invocations), Piece(middle, piece.stop, retries, invocations)
        return Step(start, left=halves)
    if settings.maximum_retry_attempts != FOREVER and retries >= settings.maximum_retry_attempts:
        return Step(start, dead_lettered=rest)
    return Step(start, left=(msgspec.structs.replace(rest, retries=retries + 1),), retry=True)


class Delivery:
    """One batch on its way: its pieces, of which the first is delivered next."""

    def __init__(self, count: int, settings: MappingSettings) -> None:
        """Start with all of it in one piece."""
        self._settings = settings
        self._left: list[Piece] = [Piece(0, count)] if count else []

    @property
    def next(self) -> Piece | None:
        """Return what is delivered next, None when the batch is done."""
        return self._left[0] if self._left else None

    def delivered(self, done: int) -> Step:
        """Take the answer to the next piece: how many of its first records are done."""
        step = next_step(self._left.pop(0), done, self._settings)
        self._left[:0] = step.left
        return step

    def expired(self, count: int) -> Piece:
        """Take the first records of the next piece out of it: they have become too old."""
        piece = self._left.pop(0)
        middle = piece.start + count
        if middle < piece.stop:
            self._left.insert(0, msgspec.structs.replace(piece, start=middle))
        return msgspec.structs.replace(piece, stop=middle)


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
    failed = [] if response is None else [one.itemIdentifier for one in response.batchItemFailures or ()]
    index_of = {number: index for index, number in enumerate(numbers)}
    return min([index_of.get(number, 0) for number in failed], default=len(numbers))


class _Failure(msgspec.Struct, frozen=True):
    itemIdentifier: str  # noqa: N815 - Lambda's names


class _Report(msgspec.Struct, frozen=True):
    batchItemFailures: list[_Failure] | None = None  # noqa: N815 - Lambda's names
