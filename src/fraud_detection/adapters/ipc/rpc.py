"""Lines between the workers of one machine: questions and answers over Unix domain sockets.

Every worker listens at a socket of its own in a folder that only this user may enter, and holds one line to
each of the others on which it asks; many questions may be under way at once, and a number matches each answer
with its question.  A line that breaks answers every open question with RetryError and is made anew.  So does
one on which the other has not been heard for three seconds, whatever it was asked; who is heard, and does not
answer, is waited for ten.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from fraud_detection.adapters.host.background import Background
from fraud_detection.adapters.host.private_files import FILE_MODE
from fraud_detection.adapters.ipc.framing import Frame, FrameError, Frames, packed
from fraud_detection.core.errors import RetryError

LOG = logging.getLogger(__name__)

DecisionStrategy = Callable[[int, str, Any], Awaitable[Any]]
"""Answers a question of another worker: its number, what it asks, and about what.  RetryError refuses."""

ANSWER, REFUSAL, GREETING, PING = "", "!", "hello", "ping"
PINGED = -1
"""The number of every ping: nobody waits for the answer, it is enough that one comes."""
RETRY_DELAY_S = 0.05
TIMEOUT_S = 10.0
PING_EVERY_S = 0.5
SILENT_AFTER_S = 3.0
"""Longer than a loop stands still while a commit and what is put off behind it wait for the file."""


class AwayError(RetryError):
    """The other worker is not there, hangs, or goes away before it has answered."""


class Line(asyncio.Protocol):
    """The line to one other worker, on which this one asks; it is made anew whenever it breaks.

    up: it stands.  changed: is called when it has been made, and when it has broken.  patience_s: who asks
    waits about as long for an answer of a worker that answers others.
    """

    def __init__(
        self, own: int, other: int, path: Path, changed: Callable[[int], None], patience_s: float
    ) -> None:
        """Name both ends, and the socket of the other."""
        self.other, self.up, self.patience_s = other, False, patience_s
        self._own, self._path, self._changed = own, path, changed
        self._frames, self._ended = Frames(), asyncio.Event()
        self._asked: dict[int, tuple[asyncio.Future[Any], float]] = {}
        self._number, self._heard_at = 0, 0.0
        self._transport: asyncio.WriteTransport | None = None

    @property
    def well(self) -> bool:
        """Return whether it stands, and the other has been heard on it of late."""
        return self.up and asyncio.get_running_loop().time() - self._heard_at < SILENT_AFTER_S

    async def keep(self) -> None:
        """Make the line, and again whenever it has broken, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._frames = Frames()
            self._ended.clear()
            # One that was left behind by an error would be heard beside the next.
            self.close()
            try:
                await loop.create_unix_connection(lambda: self, str(self._path))
            except OSError:
                # Nobody listens there yet, or not any more: who asks meanwhile is told so.
                await asyncio.sleep(RETRY_DELAY_S)
                continue
            while not self._ended.is_set():
                # Not `wait_for`: in Python 3.11 it swallows a cancellation that comes together with the end.
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(PING_EVERY_S, self.patience_s)):
                        await self._ended.wait()
                self._look(loop.time())
            await asyncio.sleep(RETRY_DELAY_S)

    def ask(self, what: str, body: object) -> asyncio.Future[Any]:
        """Ask; the answer raises RetryError when the other worker refuses, AwayError when it goes away."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._transport is None or not self.well:
            future.set_exception(self._away())
            return future
        self._number += 1
        self._asked[self._number] = (future, loop.time())
        self._transport.write(packed(Frame(self._number, what, body)))
        return future

    def tell(self, what: str, body: object) -> None:
        """Say what needs no answer; while there is no line it is not said."""
        if self._transport is not None:
            self._transport.write(packed(Frame(0, what, body)))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the other worker."""
        self._transport, self.up = cast("asyncio.WriteTransport", transport), True
        self._heard_at = asyncio.get_running_loop().time()
        self.tell(GREETING, self._own)
        self._changed(self.other)

    def data_received(self, data: bytes) -> None:
        """Hand answers to those who asked."""
        self._heard_at = asyncio.get_running_loop().time()
        try:
            self._hand_on(data)
        except FrameError as error:
            _abort(self._transport, error)

    def _hand_on(self, data: bytes) -> None:
        for frame in self._frames.of(data):
            future, _ = self._asked.pop(frame.number, (None, 0.0))
            if future is None or future.done():
                # Whoever asked has gone, or waits no more.
                continue
            if frame.what == REFUSAL:
                future.set_exception(RetryError(frame.body))
            else:
                future.set_result(frame.body)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell all who wait that there will be no answer."""
        self._transport, self.up = None, False
        self._give_up(asked_before=math.inf)
        self._ended.set()
        self._changed(self.other)

    def close(self) -> None:
        """End the line."""
        if self._transport is not None:
            self._transport.close()

    def _look(self, now: float) -> None:
        """Ask whether the other lives, and give up what has waited too long."""
        self._give_up(asked_before=now - self.patience_s if self.well else math.inf)
        if self._transport is not None:
            self._transport.write(packed(Frame(PINGED, PING)))

    def _give_up(self, asked_before: float) -> None:
        """Tell those who asked before a time that there is no answer; questions stand in their order."""
        while self._asked:
            number, (future, asked_at) = next(iter(self._asked.items()))
            if asked_at >= asked_before:
                return
            del self._asked[number]
            if not future.done():
                future.set_exception(self._away())

    def _away(self) -> AwayError:
        return AwayError(f"worker {self.other} does not answer; ask again in a moment")


class Asked(asyncio.Protocol):
    """The other end: a line on which another worker asks this one.

    over: the other has hung up.
    """

    def __init__(self, answer: DecisionStrategy) -> None:
        """Take what answers."""
        self._answer, self._frames, self._other, self.over = answer, Frames(), -1, False
        self._transport: asyncio.WriteTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Go on with what was asked: an answer that nobody can be told stands all the same."""
        self._transport, self.over = None, True

    def data_received(self, data: bytes) -> None:
        """Answer each question, many at once; they begin in the order in which they came."""
        try:
            self._begin(data)
        except FrameError as error:
            _abort(self._transport, error)

    def _begin(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        for frame in self._frames.of(data):
            if frame.what == GREETING:
                self._other = frame.body
                continue
            if frame.what == PING:
                self._write(Frame(frame.number, ANSWER))
                continue
            task = loop.create_task(self._reply(frame))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """End the line, and leave unanswered what is not answered yet."""
        for task in self._tasks:
            task.cancel()
        if self._transport is not None:
            self._transport.close()

    async def _reply(self, frame: Frame) -> None:
        try:
            answer = Frame(frame.number, ANSWER, await self._answer(self._other, frame.what, frame.body))
        except RetryError as error:
            answer = Frame(frame.number, REFUSAL, str(error))
        if frame.number:
            self._write(answer)

    def _write(self, frame: Frame) -> None:
        if self._transport is not None:
            self._transport.write(packed(frame))


class Links:
    """All lines of one worker: `lines` by the number of the other, on which it asks."""

    def __init__(
        self,
        own: int,
        workers: int,
        folder: Path,
        answer: DecisionStrategy,
        changed: Callable[[int], None],
        patience_s: float = TIMEOUT_S,
    ) -> None:
        """Name the workers; `changed` is called with the number of the other when a line comes or goes."""
        self.own, self._folder, self._answer = own, folder, answer
        others = [other for other in range(workers) if other != own]
        self.lines: Mapping[int, Line] = {
            other: Line(own, other, socket_of(folder, other), changed, patience_s) for other in others
        }
        self._keepers: list[asyncio.Task[None]] = []
        self._asking: list[Asked] = []
        self._server: asyncio.AbstractServer | None = None

    @property
    def up(self) -> bool:
        """Return whether all lines stand."""
        return all(line.up for line in self.lines.values())

    async def open(self, background: Background | None = None) -> None:
        """Listen, and begin to make the lines, which are kept up as background work."""
        path = socket_of(self._folder, self.own)
        # A worker that was killed has left its own behind.
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._asked_by, str(path))
        path.chmod(FILE_MODE)
        self._keepers = [
            (background or Background()).task(f"link-{other}", line.keep)
            for other, line in self.lines.items()
        ]

    def tell(self, what: str, body: object) -> None:
        """Tell all others what needs no answer."""
        for line in self.lines.values():
            line.tell(what, body)

    def _asked_by(self) -> Asked:
        self._asking = [one for one in self._asking if not one.over] + [Asked(self._answer)]
        return self._asking[-1]

    async def close(self) -> None:
        """End all lines."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for line in self.lines.values():
            line.close()
        for one in self._asking:
            one.close()
        if self._server is not None:
            self._server.close()


def _abort(transport: asyncio.WriteTransport | None, error: FrameError) -> None:
    """End a line on which nothing can be understood any more; who keeps it makes it anew."""
    LOG.error("a line between workers is ended: %s", error, extra={"event": "link_failed"})
    if transport is not None:
        transport.abort()


def socket_of(folder: Path, worker: int) -> Path:
    """Return where a worker listens for the others."""
    return folder / f"{worker}.sock"
