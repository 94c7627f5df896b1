"""Keep a service on the latest release: load the next one while traffic flows.

A background thread loads a release, and the service switches to it between two batches: nothing is dropped,
and every decision is made by one release as a whole.  A release that cannot be loaded is not taken: the
previous one stays in use, and the log, `/metrics` and `/readyz` report it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping

import msgspec

from fraud_detection.core.errors import FraudDetectionError, RetryError
from fraud_detection.engine.engine import Engine
from fraud_detection.releases.lifecycle import current, engine_of
from fraud_detection.releases.registry import Release, ReleaseRegistry, ServiceReport
from fraud_detection.serving.embedded.service import EmbeddedService

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 0.2
RETRY_DELAY_S = 2.0
RELEASES = "releases"
"""The name of this part of the background work."""


class NotTakenError(FraudDetectionError):
    """A release was not taken; the previous one stays in use."""

    def __init__(self, cause: Exception) -> None:
        """Take the cause; an unexpected error is named with its type."""
        kind = "" if isinstance(cause, FraudDetectionError | OSError) else f"{type(cause).__name__}: "
        super().__init__(f"release not taken, the previous one stays in use: {kind}{cause}")
        self.__cause__ = cause


class Loaded(msgspec.Struct, frozen=True):
    """A release whose engines are loaded, by the names of their configurations."""

    release: Release
    engines: dict[str, Engine]


def load_release(registry: ReleaseRegistry, known: Mapping[str, Engine] | None = None) -> Loaded:
    """Load the latest release; engines that are `known` are not loaded again."""
    release, there = current(registry), known or {}
    configurations = [name for name in (release.champion, release.canary) if name]
    return Loaded(
        release,
        {config_id: there.get(config_id) or engine_of(registry, config_id) for config_id in configurations},
    )


class ReleaseFollower:
    """Keeps one service on the latest release; `look` is called between batches.

    release: the one in use.  problem: why a later one cannot be loaded; empty if there is none.
    """

    def __init__(self, registry: ReleaseRegistry, service: EmbeddedService, first: Loaded) -> None:
        """Let the service decide with a release that is loaded already."""
        self.registry, self._service = registry, service
        self.problem = ""
        self._part = service.state_file.background.register(RELEASES, essential=False)
        self._version = (0, 0, 0)
        self._looked = 0.0
        self._loading: threading.Thread | None = None
        self._found: Loaded | Exception | None = None
        self._loaded = first
        self._switch(first)

    @property
    def release(self) -> Release:
        """Return the release that the service decides with."""
        return self._loaded.release

    def look(self) -> None:
        """Switch to the latest release once it is loaded; costs one file lookup every `LOOK_EVERY_S`.

        Errors are reported and retried: the service stays on the release that it has.
        """
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 - reported by the supervisor, which tries it again
            self._found = self._loading = None
            self._failed(error)

    def _look(self) -> None:
        if self._found is not None:
            try:
                self._take(self._found)
            except RetryError as error:
                LOG.warning("%s; the release follows in a moment", error, extra={"event": "release_delayed"})
                return
            self._found = self._loading = None
        now = time.monotonic()
        if self._loading is not None or now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        version = self.registry.version()
        if version != self._version:
            self._version = version
            self._loading = threading.Thread(target=self._load, name="release", daemon=True)
            self._loading.start()

    def close(self) -> None:
        """Withdraw this service from the registry."""
        if self._loading is not None:
            self._loading.join()
        self.registry.withdraw(self._name)

    @property
    def _name(self) -> str:
        return str(os.getpid())

    def _load(self) -> None:
        try:
            self._found = load_release(self.registry, self._loaded.engines)
        except Exception as error:  # noqa: BLE001 - raised again between two batches
            self._found = error

    def _take(self, loaded: Loaded | Exception) -> None:
        if isinstance(loaded, Exception):
            raise loaded
        if loaded.release.number != self.release.number:
            self._switch(loaded)
        elif self.problem:
            self._report_recovered()

    def _failed(self, error: Exception) -> None:
        """Report why the latest release is not taken, and retry although the log does not change."""
        self._version, self._looked = (0, 0, 0), time.monotonic() + RETRY_DELAY_S
        previous, self.problem = self.problem, str(error) or type(error).__name__
        self._part.failed(NotTakenError(error))
        if self.problem != previous:
            self._report_or_log()

    def _report_recovered(self) -> None:
        self.problem = ""
        self._part.recovered()
        self._report_or_log()

    def _report_or_log(self) -> None:
        """Report the status, where the registry can be written: decisions do not depend on it."""
        try:
            self._report()
        except OSError as error:
            message = "%s: the report of this server cannot be written: %s"
            LOG.warning(message, self.registry.path, error, extra={"event": "report_failed"})

    def _switch(self, loaded: Loaded) -> None:
        release, engines = loaded.release, loaded.engines
        canary = engines[release.canary] if release.canary else None
        champion = engines[release.champion]
        self._service.decide_with(champion, canary, release.canary_share, release.number, release.salt)
        self._loaded = loaded
        self._report_recovered()
        LOG.info(
            "serving release %d (%s by %s): %s",
            release.number,
            release.kind,
            release.by,
            release.reason,
            extra={"event": "release_taken", "release": release.number, "kind": release.kind},
        )

    def _report(self) -> None:
        state = str(self._service.state_file.path.resolve())
        self.registry.report(
            ServiceReport(self._name, os.getpid(), self.release.number, time.time(), state, self.problem)
        )
