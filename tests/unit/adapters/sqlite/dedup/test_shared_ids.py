"""What one worker has entered is seen by all at once, however it grows and whoever dies."""

from __future__ import annotations

from fraud_detection.adapters.sqlite.dedup.bloom_filter import FIRST_BLOCKS, IDS_A_BLOCK
from fraud_detection.adapters.sqlite.dedup.shared_ids import SharedIds, shared_memory

ROOM = FIRST_BLOCKS * IDS_A_BLOCK


def test_every_id_is_seen_by_others_while_layers_are_added_and_its_worker_dies() -> None:
    profile_cache = shared_memory(0)
    writer, reader = SharedIds(profile_cache), SharedIds(profile_cache)
    assert not reader.may_hold("payment-0")
    for number in range(0, ROOM + ROOM // 4, 7):
        for each in range(number, number + 7):
            writer.enter(f"payment-{each}")
        writer.fence()
        assert reader.may_hold(f"payment-{number}")
        if number == 7 * (ROOM // 10):
            # Another process goes on where this one was killed.
            writer = SharedIds(profile_cache)
    late = SharedIds(profile_cache)
    for each in range(0, ROOM + ROOM // 4, 3):
        assert reader.may_hold(f"payment-{each}")
        assert late.may_hold(f"payment-{each}")
    assert sum(reader.may_hold(f"other-{number}") for number in range(10_000)) < 100


def test_an_id_that_is_entered_again_takes_no_room() -> None:
    profile_cache = shared_memory(0)
    ids = SharedIds(profile_cache)
    for _ in range(3):
        for number in range(1_000):
            ids.enter(f"payment-{number}")
    more = ROOM - 1_000
    for number in range(more):
        ids.enter(f"other-{number}")
    # A new worker over the same memory has the room that is left, and no more.
    assert not any(SharedIds(profile_cache).may_hold(f"new-{number}") for number in range(3))


def test_it_reports_whether_all_ids_are_there() -> None:
    profile_cache = shared_memory(0)
    mine, theirs = SharedIds(profile_cache), SharedIds(profile_cache)
    assert not theirs.is_complete()
    mine.completed()
    assert theirs.is_complete()
    assert SharedIds(profile_cache).is_complete()
