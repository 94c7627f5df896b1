"""Decline cap counts in the state file: a restart changes no later decision.

The counts are saved now and then, with the number of the last event in them; at the start the decisions
behind that number are counted again, in their order.  So one that was killed counts as one that was not.
"""

from __future__ import annotations

import msgspec

from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.decide.decline_cap import DeclineCap, DeclineCounts
from fraud_detection.core.decision_settings import DeclineCapSettings
from fraud_detection.core.events import Action

KEY = "decline_counts"
SAVE_AFTER_EVENTS = 4_096
MAX_REDELIVERED = 1_000_000
"""Counts older than so many events are discarded: the decline cap was off meanwhile."""
PAGE_ROWS = 10_000

DECLINED = f"{Action.DECLINE:d} IN (action, coalesce(counterfactual_action, -1))"
"""A payment of the control group that would have been declined counts as declined."""
LATER = f"SELECT seq, event_time, {DECLINED} FROM decisions WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
LATEST_FIRST = f"""
    SELECT seq, event_time, {DECLINED} FROM decisions WHERE seq < ? ORDER BY seq DESC LIMIT ?"""  # noqa: S608


class Saved(msgspec.Struct, frozen=True, array_like=True):
    """Counts, and the number of the last event in them."""

    seq: int
    counts: DeclineCounts


def save(decline_cap: DeclineCap | None, state_file: StateFile) -> None:
    """Store the counts of a decline cap; inside a transaction, with all decisions flushed."""
    if decline_cap is not None:
        state_file.put_meta(KEY, Saved(state_file.seq, decline_cap.counts()))


def restored(settings: DeclineCapSettings, state_file: StateFile) -> DeclineCap:
    """Return a decline cap with the counts of the decisions made here."""
    stored = state_file.meta(KEY, None)
    saved = None if stored is None else msgspec.convert(stored, Saved)
    if saved is None or state_file.seq - saved.seq > MAX_REDELIVERED:
        return _recounted(settings, state_file)
    decline_cap = DeclineCap(settings, saved.counts)
    after = saved.seq
    while page := state_file.rows(LATER, (after, PAGE_ROWS)):
        for after, time_ms, declined in page:  # noqa: B007 - the last one is where the next part begins
            decline_cap.add(time_ms, declined=bool(declined))
    return decline_cap


def _recounted(settings: DeclineCapSettings, state_file: StateFile) -> DeclineCap:
    """Return a decline cap counted from the decisions of the last interval."""
    decline_cap = DeclineCap(settings)
    before_seq, since, counted = state_file.seq + 1, None, list[tuple[int, bool]]()
    while page := state_file.rows(LATEST_FIRST, (before_seq, PAGE_ROWS)):
        if since is None:
            # Not from the latest time on: a clock that runs ahead would hide all the others.
            since = sorted(time_ms for _, time_ms, _ in page)[len(page) // 2] - settings.interval.ms
        recent = [(time_ms, declined) for _, time_ms, declined in page if time_ms > since]
        counted += recent
        if not recent:
            break
        before_seq = page[-1][0]
    for time_ms, declined in sorted(counted):
        decline_cap.add(time_ms, declined=bool(declined))
    return decline_cap
