"""Let a deployment begin where history ends: replay it, and leave its profiles in the cloud's store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from fraud_detection.adapters.aws.retries import chunks
from fraud_detection.adapters.aws.state.dynamodb_decisions import DynamoDedupIndex
from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.features.replay import HistoricalPayment, Replay
from fraud_detection.core.parse.content import content_digest
from fraud_detection.core.ports import ProfileKey, StateStore
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.history.load import Progress, read_history

PROFILES_A_STEP = 500
PROGRESS_EVERY = 4096


class BackfillResult(msgspec.Struct, frozen=True):
    """What was written: profiles, and payments that may come again or whose labels are still to come."""

    payments: int
    profiles: int
    pending: int


def backfill_profiles(
    bundle: Bundle, path: Path, store: StateStore, dedup_index: DynamoDedupIndex, progress: Progress
) -> BackfillResult:
    """Load a file of historical payments; the stream carries the labels that were not known by its end.

    It may be interrupted and started again.  Raises ConfigError when payments of a stream have already
    changed what it would write: history can only come first.
    """
    project = bundle.contents.project
    history = read_history(project, path, progress).payments
    replay = Replay(ProfileCache(Extractor(project, bundle.contents.features.category_encoding)))
    with few_collections():
        for number, _ in enumerate(replay.rows(history), start=1):
            if number % PROGRESS_EVERY == 0:
                progress(f"replaying: {number:,} payments", number / len(history))
    replay.profile_cache.store = _Careful(store, replay.profile_cache.size(), progress)
    replay.profile_cache.save_all()
    young_ms = project.features.allowed_lateness.ms
    pending = [
        (historical.payment.transaction_id, historical.payment.entities, content_digest(historical.payment))
        for historical in _open_ended(replay, history, young_ms)
    ]
    for done, chunk in enumerate(chunks(pending, PROFILES_A_STEP)):
        at = done * PROFILES_A_STEP
        progress(f"storing payments with pending labels: {at:,} of {len(pending):,}", at / len(pending))
        dedup_index.store_history(chunk)
    progress(f"storing payments with pending labels: {len(pending):,}", 1.0)
    return BackfillResult(len(history), replay.profile_cache.size(), len(pending))


def _open_ended(
    replay: Replay, history: Sequence[HistoricalPayment], allowed_lateness_ms: int
) -> list[HistoricalPayment]:
    """Return the payments whose labels are still to come, and those so young that they may come again."""
    pending = {label.transaction_id for label in replay.still_pending()}
    recent = history[-1].payment.event_time - allowed_lateness_ms
    return [
        historical
        for historical in history
        if historical.payment.transaction_id in pending or historical.payment.event_time >= recent
    ]


class _Careful:
    """A StateStore that writes step by step, and never over what a stream has changed."""

    def __init__(self, store: StateStore, total: int, progress: Progress) -> None:
        self._store, self._total, self._progress = store, total, progress

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        return self._store.load(keys)

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        for done, chunk in enumerate(chunks(profiles, PROFILES_A_STEP)):
            at = done * PROFILES_A_STEP
            self._progress(f"writing profiles: {at:,} of {self._total:,}", at / self._total)
            wanted = {key: profiles[key] for key in chunk}
            # Looked at first: not every store refuses to write over what is there.
            there = self._unchanged(wanted, chunk)
            refused = self._store.save({key: wanted[key] for key in chunk if key not in there})
            self._unchanged(wanted, list(refused))
        self._progress(f"writing profiles: {self._total:,}", 1.0)
        return set()

    def _unchanged(
        self, wanted: Mapping[ProfileKey, bytes], keys: Sequence[ProfileKey]
    ) -> Collection[ProfileKey]:
        """Return those that are there; raise ConfigError when one of them is not what is wanted."""
        there = self._store.load(keys)
        changed = [key for key, profile in there.items() if _content(profile) != _content(wanted[key])]
        if changed:
            raise ConfigError(
                f"the profile of {changed[0][1]!r} (entity {changed[0][0]}) has already been changed by "
                "payments: profiles can only be backfilled before the stream starts"
            )
        return there


def _content(profile: bytes) -> bytes:
    """Return a profile without the number of the event that it saw last."""
    return bytes(msgspec.msgpack.decode(profile, type=tuple[int | str, msgspec.Raw])[1])
