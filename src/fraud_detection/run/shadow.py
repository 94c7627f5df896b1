"""Shadows: setups that decide every live payment too, in a process of their own, and answer nobody.

They follow the log of decisions and read the very features that were served.  So nothing that they do can
slow or change an answer, and what they say is what they would have said.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from fraud_detection.adapters.live_folder import LiveFolder
from fraud_detection.adapters.shadow_log import ShadowDecision, ShadowLog, shadow_path
from fraud_detection.adapters.sqlite_log import PastEvent
from fraud_detection.adapters.sqlite_site import SqliteSite
from fraud_detection.answerer import Answering
from fraud_detection.decide.limiter import DeclineLimiter
from fraud_detection.errors import ConfigError
from fraud_detection.events import Action, Transaction
from fraud_detection.metrics import Stage, StageTimes
from fraud_detection.parse import Parser
from fraud_detection.run.engine import Engine
from fraud_detection.run.live import engine_of, standing

AT_ONCE = 256
PAUSE_S = 0.2
NICE = 10
"""Whoever answers goes first."""


class Shadow:
    """One setup over the decisions of a state file, from a place in its log on."""

    def __init__(self, engine: Engine, log: ShadowLog) -> None:
        """Take what decides, and remember what it declined lately."""
        self.setup = engine.setup.name
        self._log = log
        self._parser = Parser(engine.project.schema, engine.bundle.contents.features.vocabulary)
        # It lets nobody through: what it would have answered is asked for.
        answerer = msgspec.structs.replace(engine.answerer, draw=None, reasons=None)
        self._answering = Answering(answerer, StageTimes([stage.name.lower() for stage in Stage]))
        if engine.project.limiter is not None:
            self._answering.limiter = limiter = DeclineLimiter(engine.project.limiter)
            for one in log.decisions(self.setup):
                limiter.note(one.event_time, declined=one.action == Action.DECLINE)

    def decide(self, part: Sequence[PastEvent]) -> int:
        """Decide the payments of a part of the log, and keep that; return how many they are."""
        paid = [past for past in part if past.event is not None]
        payments = [self._parsed(past) for past in paid]
        rows = [array("d", past.features) for past in paid]
        start = time.perf_counter()
        decisions = self._answering.answer(payments, rows)
        us = 1e6 * (time.perf_counter() - start) / max(len(payments), 1)
        kept = [
            ShadowDecision(
                past.seq,
                past.transaction_id,
                payment.event_time,
                int(decision.action),
                decision.score,
                tuple(reason.code for reason in decision.reasons),
                us,
            )
            for past, payment, decision in zip(paid, payments, decisions, strict=True)
        ]
        self._log.keep(self.setup, kept, part[-1].seq)
        return len(kept)

    def _parsed(self, past: PastEvent) -> Transaction:
        parsed = self._parser.parse(past.event or b"", past.transaction_id)
        if not isinstance(parsed, Transaction):
            raise ConfigError(f"the project file of shadow {self.setup} takes payment {past.seq} for a label")
        return parsed


class Shadows:
    """All shadows of the latest release over some state files."""

    def __init__(self, folder: LiveFolder, states: Sequence[Path], say: Callable[[str], None]) -> None:
        """Open the files; `say` which shadows come and go."""
        self._folder, self._say = folder, say
        self._open = ExitStack()
        self._sites = {state: self._open.enter_context(closing(_reading(state))) for state in states}
        self._logs = {
            state: self._open.enter_context(closing(ShadowLog(shadow_path(state)))) for state in states
        }
        self._shadows: dict[str, dict[Path, Shadow]] = {}
        self._stamp = (-1, -1)
        self.decided = 0

    def close(self) -> None:
        """Close the files."""
        self._open.close()

    def step(self) -> int:
        """Let each shadow decide the next part of each log; return how many decisions were made."""
        self._follow()
        made = 0
        for name, by_state in self._shadows.items():
            for state, shadow in by_state.items():
                part = self._next(state, name)
                made += shadow.decide(part) if part else 0
        self.decided += made
        return made

    def run(self, stop: Callable[[], bool]) -> None:
        """Go on until told to stop."""
        os.nice(NICE)
        while not stop():
            if not self.step():
                time.sleep(PAUSE_S)

    def _next(self, state: Path, setup: str) -> list[PastEvent]:
        site = self._sites[state]
        place = self._logs[state].place(setup, 0)
        part: list[PastEvent] = []
        for past in site.since(place):
            # Never half of the events that share a number.
            if len(part) >= AT_ONCE and past.seq != part[-1].seq:
                break
            part.append(past)
        return part

    def _follow(self) -> None:
        stamp = self._folder.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        wanted = standing(self._folder).shadows
        for gone in self._shadows.keys() - set(wanted):
            del self._shadows[gone]
            self._say(f"the shadow {gone} has ended")
        new = [name for name in wanted if name not in self._shadows]
        for state, site in self._sites.items():
            latest = _latest(site)
            for name in new:
                self._logs[state].place(name, latest)
        for name in new:
            engine = engine_of(self._folder, name)
            self._shadows[name] = {state: Shadow(engine, log) for state, log in self._logs.items()}
            self._say(f"the shadow {name} decides too (bundle {engine.bundle.name})")


def _reading(state: Path) -> SqliteSite:
    return SqliteSite(state, reading=True)


def _latest(site: SqliteSite) -> int:
    """Return the number of the latest decision that is in the tables."""
    return int(site.rows("SELECT coalesce(max(seq), 0) FROM decisions")[0][0])
