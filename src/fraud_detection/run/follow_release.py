"""A door that answers by the latest release, and takes the next one while traffic flows.

A release is loaded by a thread beside the door and taken between two batches: nothing is dropped, and every
decision is made by one release as a whole.  A release that cannot be loaded is not taken: the one before it
goes on answering, and the door says so.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping

import msgspec

from fraud_detection.adapters.live_folder import DoorReport, LiveFolder, Release
from fraud_detection.errors import ConfigError, RetryError
from fraud_detection.run.embedded import EmbeddedDoor
from fraud_detection.run.engine import Engine
from fraud_detection.run.live import engine_of, standing

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 0.2
TRY_AGAIN_S = 2.0


class Loaded(msgspec.Struct, frozen=True):
    """A release whose engines are loaded, by the names of their setups."""

    release: Release
    engines: dict[str, Engine]


def load_release(folder: LiveFolder, known: Mapping[str, Engine] | None = None) -> Loaded:
    """Load the latest release; engines that are `known` are not loaded again."""
    release, there = standing(folder), known or {}
    setups = [one for one in (release.champion, release.canary) if one]
    return Loaded(release, {one: there.get(one) or engine_of(folder, one) for one in setups})


class ReleaseFollower:
    """Lets one door answer by the latest release; `look` is called between batches, again and again.

    release: the one that it answers by.  problem: why a later one cannot be followed; empty while all is
    well.
    """

    def __init__(self, folder: LiveFolder, door: EmbeddedDoor, first: Loaded) -> None:
        """Let the door answer by a release that is loaded already."""
        self.folder, self._door = folder, door
        self.problem = ""
        self._stamp = (0, 0)
        self._looked = 0.0
        self._loading: threading.Thread | None = None
        self._found: Loaded | ConfigError | OSError | None = None
        self._loaded = first
        self._switch(first)

    @property
    def release(self) -> Release:
        """Return what the door answers by."""
        return self._loaded.release

    def look(self) -> None:
        """Take the latest release if it is another one and is loaded; costs a look at a file at times."""
        if self._found is not None:
            try:
                self._take(self._found)
            except RetryError as error:
                LOG.warning("%s; the release is taken in a moment", error)
                return
            self._found = self._loading = None
        now = time.monotonic()
        if self._loading is not None or now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        stamp = self.folder.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._loading = threading.Thread(target=self._load, name="release", daemon=True)
            self._loading.start()

    def close(self) -> None:
        """Say that this door answers no more."""
        if self._loading is not None:
            self._loading.join()
        self.folder.withdraw(self._name)

    @property
    def _name(self) -> str:
        return str(os.getpid())

    def _load(self) -> None:
        try:
            self._found = load_release(self.folder, self._loaded.engines)
        except (ConfigError, OSError) as error:
            self._found = error

    def _take(self, found: Loaded | ConfigError | OSError) -> None:
        try:
            if not isinstance(found, Loaded):
                raise found
            if found.release.number != self.release.number:
                self._switch(found)
        except (ConfigError, OSError) as error:
            self.problem = str(error)
            if isinstance(error, OSError):
                # What cannot be read for a moment is asked for again, though no newer release comes.
                self._stamp, self._looked = (0, 0), time.monotonic() + TRY_AGAIN_S
            LOG.warning("release not taken, the one before it goes on answering: %s", error)
            self._report()

    def _switch(self, loaded: Loaded) -> None:
        release, engines = loaded.release, loaded.engines
        canary = engines[release.canary] if release.canary else None
        champion = engines[release.champion]
        self._door.answer_by(champion, canary, release.share, release.number, release.salt)
        self._loaded, self.problem = loaded, ""
        self._report()
        LOG.info("answering by release %d (%s): %s", release.number, release.kind, release.reason)

    def _report(self) -> None:
        state = str(self._door.site.path.resolve())
        self.folder.report(
            DoorReport(self._name, os.getpid(), self.release.number, time.time(), state, self.problem)
        )
