"""Shadow mode: configurations that decide every live payment in a process of their own, without an effect.

A shadow follows the decision log and reads the served features, or extracts its own, see `shadow_features`.
So it cannot slow or change a decision, and it decides as it would have decided as the champion.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import msgspec

from fraud_detection.adapters.host.background import Background
from fraud_detection.adapters.host.gc_tuning import sweep
from fraud_detection.adapters.sqlite.event_log import LoggedEvent
from fraud_detection.adapters.sqlite.shadow_log import ShadowDecision, ShadowLog, shadow_path
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.challengers.shadow_features import OwnRows, Rows, ServedRows, next_batch
from fraud_detection.core.decide.decline_cap import DeclineCap, joined
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Action
from fraud_detection.core.metrics import StageTimes
from fraud_detection.engine.decision_engine import DecisionEngine
from fraud_detection.engine.engine import Engine
from fraud_detection.history.load import Progress
from fraud_detection.releases.lifecycle import bundle_of, current, engine_of
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.serving.embedded.release_follower import RELEASES

LOG = logging.getLogger(__name__)
PAUSE_S = 0.2
RETRY_DELAY_S = 2.0
NICE = 10
"""Services have priority."""


class Shadow:
    """One configuration over the decisions of one state file, from an offset in its log.

    decline_cap: one for all the files over which the configuration decides, as several workers have one
    bound.
    """

    def __init__(self, engine: Engine, log: ShadowLog, rows: Rows, decline_cap: DeclineCap | None) -> None:
        """Take the engine, the log to write, and the source of feature rows."""
        self.config_id = engine.configuration.config_id
        self._log, self._rows, self._backfill = log, rows, rows.backfill()
        # Without a control group: the action of the policy itself is compared.
        strategy = msgspec.structs.replace(engine.strategy, sampler=None, reasons=None)
        self._decision_engine = DecisionEngine(strategy, StageTimes())
        self._decision_engine.decline_cap = decline_cap

    def backfill(self) -> int:
        """Backfill the next part of what came before it; return how many events, 0 when all is loaded."""
        return next(self._backfill, 0)

    def decide(self, batch: Sequence[LoggedEvent]) -> int:
        """Decide the payments of a part of the log, and store that; return how many they are."""
        rows = self._rows.take(batch)
        start = time.perf_counter()
        decisions = self._decision_engine.decide(
            [payment for _, payment, _ in rows], [features for _, _, features in rows]
        )
        us = 1e6 * (time.perf_counter() - start) / max(len(rows), 1)
        shadow_decisions = [
            ShadowDecision(
                logged.seq,
                logged.transaction_id,
                payment.event_time,
                int(decision.action),
                decision.score,
                tuple(reason.code for reason in decision.reasons),
                us,
            )
            for (logged, payment, _), decision in zip(rows, decisions, strict=True)
        ]
        own = [(logged.seq, features.tobytes()) for logged, _, features in rows] if self._rows.own else []
        self._log.store(self.config_id, shadow_decisions, batch[-1].seq, own)
        return len(shadow_decisions)


class Shadows:
    """All shadows of the current release over some state files."""

    def __init__(
        self,
        registry: ReleaseRegistry,
        states: Sequence[Path],
        history: Path | None = None,
        progress: Progress = lambda *_: None,
    ) -> None:
        """Open the files.

        history: what the state file began with, for shadows that make their features themselves.
        """
        self._registry = registry
        self._history, self._progress = history, progress
        self._fingerprints: dict[str, str] = {}
        self._open = ExitStack()
        self._state_files = {state: self._open.enter_context(closing(_reading(state))) for state in states}
        self._logs = {
            state: self._open.enter_context(closing(ShadowLog(shadow_path(state)))) for state in states
        }
        self._shadows: dict[str, dict[Path, Shadow]] = {}
        self._version = (-1, -1, -1)
        self._releases = Background().register(RELEASES)
        self._retry_at = 0.0
        self.decided = 0

    def close(self) -> None:
        """Close the files."""
        self._open.close()

    def step(self) -> int:
        """Let each shadow decide the next part of each log; return how many events, 0 when there are no more.

        One that computes its features itself is backfilled first, part by part, while others decide.
        """
        self._read_release()
        done = 0
        for name, by_state in self._shadows.items():
            for state, shadow in by_state.items():
                done += shadow.backfill() or self._decide(shadow, name, state)
        if done:
            sweep()
        return done

    def run(self, stop: Callable[[], bool]) -> None:
        """Run until stopped."""
        os.nice(NICE)
        while not stop():
            if not self.step():
                time.sleep(PAUSE_S)

    def _decide(self, shadow: Shadow, config_id: str, state: Path) -> int:
        """Let a shadow take the next part of a log; return how many events that has."""
        batch = next_batch(self._state_files[state], self._logs[state].decided_until(config_id, 0))
        if batch:
            self.decided += shadow.decide(batch)
        return len(batch)

    def _read_release(self) -> None:
        version = self._registry.version()
        if version == self._version or time.monotonic() < self._retry_at:
            return
        try:
            release = current(self._registry)
        except (ConfigError, OSError) as error:
            if not self._shadows:
                raise
            # The shadows of before go on, and the log is read again when it is mended.
            self._releases.failed(error)
            self._retry_at = time.monotonic() + RETRY_DELAY_S
            return
        wanted = release.shadows
        self._version = version
        self._releases.recovered()
        LOG.info(
            "following release %d: %d shadows",
            release.number,
            len(wanted),
            extra={"event": "release_taken", "release": release.number, "kind": release.kind},
        )
        for gone in self._shadows.keys() - set(wanted):
            del self._shadows[gone]
            LOG.info("the shadow %s has ended", gone, extra={"event": "shadow_ended", "config_id": gone})
        new = [name for name in wanted if name not in self._shadows]
        for state, state_file in self._state_files.items():
            latest = _latest(state_file)
            for name in new:
                self._logs[state].decided_until(name, latest)
        for name in new:
            engine = engine_of(self._registry, name)
            decline_cap = _decline_cap(engine, list(self._logs.values()))
            self._shadows[name] = {
                state: Shadow(engine, log, self._rows(engine, state), decline_cap)
                for state, log in self._logs.items()
            }
            message = "the shadow %s decides too (bundle %s)"
            LOG.info(message, name, engine.bundle.name, extra={"event": "shadow_started", "config_id": name})

    def _rows(self, engine: Engine, state: Path) -> Rows:
        state_file = self._state_files[state]
        decided_seq = self._logs[state].decided_until(engine.configuration.config_id, 0)
        fingerprint_of = partial(self._fingerprint, state)
        if self._deciding_fingerprints(state_file, decided_seq, fingerprint_of) == {
            engine.bundle.manifest.fingerprint
        }:
            return ServedRows(engine, fingerprint_of)
        if len(self._state_files) > 1:
            raise ConfigError(
                f"the shadow {engine.configuration.config_id} needs other features than the services have, "
                "and makes them itself, of all payments in one order, which several files do not have; name "
                "one --state"
            )
        return OwnRows(engine, state_file, self._history, decided_seq, self._progress)

    def _deciding_fingerprints(
        self, state_file: StateFile, after_seq: int, fingerprint_of: Callable[[str], str]
    ) -> set[str]:
        """Return the fingerprints of the champion and of the bundles that decided after an offset."""
        champion = bundle_of(self._registry, current(self._registry).champion)
        bundles = state_file.rows("SELECT DISTINCT bundle FROM decisions WHERE seq > ?", (after_seq,))
        return {champion.manifest.fingerprint, *(fingerprint_of(bundle) for (bundle,) in bundles)}

    def _fingerprint(self, state: Path, bundle: str) -> str:
        if bundle not in self._fingerprints:
            if not self._registry.bundle_path(bundle).exists():
                raise ConfigError(
                    f"{state}: bundle {bundle}, which decides, is not in the registry {self._registry.path}, "
                    "so its features cannot be compared with a shadow's; let the service follow that "
                    "registry (--registry)"
                )
            self._fingerprints[bundle] = self._registry.bundle(bundle).manifest.fingerprint
        return self._fingerprints[bundle]


def _decline_cap(engine: Engine, logs: Sequence[ShadowLog]) -> DeclineCap | None:
    """Return a decline cap that has counted what a shadow declined lately, over all the files."""
    settings = engine.project.decline_cap
    if settings is None:
        return None
    counted = []
    for log in logs:
        decline_cap = DeclineCap(settings)
        for decided in log.decisions(engine.configuration.config_id):
            decline_cap.add(decided.event_time, declined=decided.action == Action.DECLINE)
        counted.append(decline_cap.counts())
    return joined(settings, counted)


def _reading(state: Path) -> StateFile:
    return StateFile(state, reading=True)


def _latest(state_file: StateFile) -> int:
    """Return the number of the latest decision that is in the tables."""
    return int(state_file.rows("SELECT coalesce(max(seq), 0) FROM decisions")[0][0])
