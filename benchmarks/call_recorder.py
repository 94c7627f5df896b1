"""Record which files control goes through while something runs.

A move is made whenever a call, or the return from one, takes control to another file of the project: to call
a function of another file and to come back are two moves.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

Figures = dict[str, int]


class Step(msgspec.Struct, frozen=True):
    """Control comes to a function: by a call, or back from one."""

    file: str
    function: str
    is_call: bool


class Recorder:
    """Records how control goes through the files below a folder, thread by thread.

    It hears of calls and returns by `sys.setprofile`, so only of those of plain Python.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder of the project."""
        self.folder, self.recording = f"{folder}/", False
        self.threads: dict[threading.Thread, list[Step]] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Listen in this thread, and in those that are started from now on."""
        threading.setprofile(self._heard)
        sys.setprofile(self._heard)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    @contextmanager
    def switched(self, *, recording: bool) -> Iterator[None]:
        """Record what happens within, or leave it out."""
        before, self.recording = self.recording, recording
        try:
            yield
        finally:
            self.recording = before

    def elsewhere(self, stand_in: object) -> Any:  # noqa: ANN401 - it looks like the stand-in
        """Return a stand-in whose work is another machine's and is not recorded."""
        return _Elsewhere(self, stand_in)

    def _heard(self, frame: FrameType, what: str, _: object) -> None:
        if not self.recording or what not in {"call", "return"} or self._file(frame) is None:
            return
        here: FrameType | None = frame if what == "call" else frame.f_back
        while here is not None and self._file(here) is None:
            here = here.f_back
        if here is not None:
            step = Step(str(self._file(here)), here.f_code.co_qualname, what == "call")
            self.threads.setdefault(threading.current_thread(), []).append(step)

    def _file(self, frame: FrameType) -> str | None:
        name = frame.f_code.co_filename
        return name.removeprefix(self.folder) if name.startswith(self.folder) else None

    def figures(self) -> Figures:
        """Return how many files were touched, and how often control went from one to another."""
        steps = list(self.threads.values())
        calls = [[step for step in thread_steps if step.is_call] for thread_steps in steps]
        return {
            "files": len({step.file for thread_steps in steps for step in thread_steps}),
            "moves": sum(map(_moves, steps)),
            "calls_apart": sum(map(_moves, calls)),
            "calls": sum(map(len, calls)),
        }

    def moves(self) -> Iterator[str]:
        """Yield the functions at which control comes to another file."""
        for steps in self.threads.values():
            for before, step in zip([None, *steps], steps, strict=False):
                if before is None or before.file != step.file:
                    yield f"{'>' if step.is_call else '<'} {step.file} {step.function}"


class _Elsewhere:
    def __init__(self, recorder: Recorder, stand_in: object) -> None:
        self._recorder, self._stand_in = recorder, stand_in

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._stand_in, name)

        def called(*arguments: object, **named: object) -> object:
            with self._recorder.switched(recording=False):
                return method(*arguments, **named)

        return called


def _moves(steps: Sequence[Step]) -> int:
    return sum(step.file != next_step.file for step, next_step in pairwise(steps))
