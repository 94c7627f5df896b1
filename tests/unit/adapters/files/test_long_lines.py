"""Lines longer than any event: read past in pieces, told with size and digest, and the source goes on."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from fraud_detection.adapters.files.event_sources import Pipe, open_source
from fraud_detection.adapters.files.long_lines import LineCutter, read_line
from fraud_detection.core.parse.oversize import (
    MAX_EVENT_BYTES,
    CutEvent,
    TruncatedEvent,
    too_large,
    truncated_event,
)

SMALL = b'{"id": 1}'
SIZES = [
    MAX_EVENT_BYTES - 1,
    MAX_EVENT_BYTES,
    MAX_EVENT_BYTES + 1,
    MAX_EVENT_BYTES + 2,
    MAX_EVENT_BYTES + 3,
    1_000_003,
]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", SIZES)
def test_a_line_is_read_alike_however_it_arrives(size: int, end: bytes, tmp_path: Path) -> None:
    whole = bytes(n % 200 + 33 for n in range(1000)) * (size // 1000 + 1)
    whole = whole[:size]
    content = SMALL + end + whole + end + SMALL + end
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    source = open_source(str(path))
    batches = list(source.batches(0, 1))
    from_file = [event for batch in batches for event in batch.events]
    assert len(from_file) == 3
    assert (from_file[0], from_file[2]) == (SMALL, SMALL)
    for batch in batches:
        assert batch.fingerprint == hashlib.sha256(content[: batch.offset]).hexdigest()[:32]
    assert batches[-1].offset == len(content)
    for step in (len(content), 65_536, 4_099):
        cutter = LineCutter()
        arrived = [line for at in range(0, len(content), step) for line in cutter.of(content[at : at + step])]
        arrived += cutter.of(b"")
        assert [line.rstrip(b"\r") for line in arrived if not isinstance(line, CutEvent)].count(SMALL) == 2
        for event in (from_file[1], arrived[1]):
            if size <= MAX_EVENT_BYTES:
                assert event.rstrip(b"\r") == whole
            else:
                assert MAX_EVENT_BYTES < len(event) <= MAX_EVENT_BYTES + 2
                part = truncated_event(event)
                assert part == whole[:65_536]
                assert isinstance(part, TruncatedEvent)
                assert part.full_sha256 in too_large(event)
        if size > MAX_EVENT_BYTES + 2:
            assert f"got {size:,}" in too_large(arrived[1])
            assert hashlib.sha256(whole).hexdigest() in too_large(arrived[1])
            assert hashlib.sha256(whole).hexdigest() in too_large(from_file[1])
            assert f"from byte {len(SMALL + end):,} of the file on" in too_large(from_file[1])


def test_a_line_of_60_mb_takes_little_memory_from_a_file_and_from_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.writelines([SMALL, b"\n", *[b"x" * 1_000_000] * 60, b"\n", SMALL, b"\n"])
    read, write = os.pipe()

    def feed() -> None:
        with path.open("rb") as file, os.fdopen(write, "wb") as end:
            while chunk := file.read(1 << 18):
                end.write(chunk)

    thread = threading.Thread(target=feed)
    tracemalloc.start()
    try:
        thread.start()
        piped = [len(event) for batch in Pipe(read).batches(0, 512) for event in batch.events]
        thread.join()
        sizes = [len(e) for batch in open_source(str(path)).batches(0, 512) for e in batch.events]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        os.close(read)
    assert piped == sizes == [9, MAX_EVENT_BYTES + 1, 9]
    assert peak < 8_000_000


def test_many_large_lines_come_in_small_batches(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.writelines([b"x" * 250_000 + b"\n"] * 100)
    batches = list(open_source(str(path)).batches(0, 512))
    assert sum(len(batch.events) for batch in batches) == 100
    assert max(len(batch.events) for batch in batches) < 40


def test_a_long_line_that_is_still_being_written_is_left_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(SMALL + b"\n" + b"x" * 400_000)
    source = open_source(str(path), growing=True)
    assert [batch.events for batch in source.batches(0, 512)] == [[SMALL]]
    assert source.unfinished
    path.write_bytes(path.read_bytes() + b"\n")
    assert len(next(iter(source.batches(len(SMALL) + 1, 512))).events) == 1


def test_nothing_is_read_at_the_end() -> None:
    assert read_line(io.BytesIO(b""), 0) == (b"", False)
