"""Files as sources: offsets in them, names for rows without ids, and lines that are still being written."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_detection.adapters.files.event_sources import Source, open_file, open_source
from fraud_detection.adapters.files.source_identity import recognised
from fraud_detection.core.sources import KnownSource

lines_of_a_file = st.lists(st.text('ab{}" \t', max_size=12).map(str.encode), max_size=20)


def events(source: Source, offset: int = 0, max_events: int = 2) -> list[bytes]:
    return [event for batch in source.batches(offset, max_events) for event in batch.events]


def names(source: Source) -> list[str | None]:
    return [name for batch in source.batches(0, 3) for name in batch.identities or []]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines_of_a_file, st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([b"", b"\n"]))
def test_reading_on_from_any_offset_gives_the_rest(
    tmp_path: Path, lines: list[bytes], end: bytes, last: bytes
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(end.join(lines) + last)
    source = open_source(str(path))
    expected = [line for line in lines if line.strip()]
    assert [event.strip() for event in events(source)] == [line.strip() for line in expected]
    done = 0
    for batch in source.batches(0, 3):
        done += len(batch.events)
        assert events(source, batch.offset) == events(source)[done:]


def table(path: Path, values: list[object]) -> Path:
    """Write one value a row, as the suffix says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"v": values, "w": ["x"] * len(values)}), path)
    else:
        rows = [
            json.dumps({"v": value, "w": "x"}) if path.suffix == ".jsonl" else f"{value},x"
            for value in values
        ]
        path.write_text("\n".join([*([] if path.suffix == ".jsonl" else ["v,w"]), *rows]) + "\n")
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    read=st.lists(st.integers(0, 1), min_size=1, max_size=6),
    max_events=st.integers(1, 3),
    reached=st.integers(1, 6),
    then=st.lists(st.integers(0, 1), min_size=1, max_size=8),
    suffix=st.sampled_from(["jsonl", "csv", "parquet"]),
)
def test_a_file_is_a_known_source_if_it_begins_with_what_was_read_of_it(
    tmp_path: Path, read: list[object], max_events: int, reached: int, then: list[object], suffix: str
) -> None:
    opened = open_file(table(tmp_path / f"one.{suffix}", read))
    *_, last = itertools.islice(opened.batches(0, max_events), reached)
    done = min(max_events * reached, len(read))
    known = KnownSource(opened.name, last.offset, last.fingerprint, last.offset)
    longer_file = open_file(table(tmp_path / f"other.{suffix}", then))
    recognized = recognised(longer_file, [known])
    if then[:done] == read[:done]:
        assert recognized == known
        rest = [
            name
            for batch in longer_file.batches(recognized.offset, max_events)
            for name in batch.identities or []
        ]
        both = names(open_file(tmp_path / f"one.{suffix}"))[:done] + rest
        assert len(set(both)) == len(both) == len(then)
    else:
        assert recognized.offset == 0
        assert not {*names(longer_file)} & {*names(opened)}


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_file_that_is_as_a_source_was_at_first_sight_is_that_source(tmp_path: Path, suffix: str) -> None:
    first = open_file(table(tmp_path / f"one.{suffix}", [1, 1, 2]))
    name, events_of_first = first.name, names(first)
    grown = open_file(table(tmp_path / f"one.{suffix}", [1, 1, 2, 2]))
    grown.name = name
    *_, last = grown.batches(0, 9)
    old = open_file(table(tmp_path / f"backup.{suffix}", [1, 1, 2]))
    assert names(old) == events_of_first
    recognized = recognised(old, [KnownSource(name, last.offset, last.fingerprint, last.offset)])
    assert events(old, recognized.offset) == []


def test_a_last_line_that_is_still_being_written_is_left_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2, "amou')
    source = open_source(str(path), growing=True)
    (batch,) = source.batches(0, 10)
    assert (batch.events, source.unfinished) == ([b'{"id": 1}'], True)
    path.write_bytes(b'{"id": 1}\n{"id": 2, "amount": 3}\n')
    assert events(source, batch.offset) == [b'{"id": 2, "amount": 3}']


def test_a_whole_last_line_without_an_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2}')
    source = open_source(str(path), growing=True)
    (batch,) = source.batches(0, 10)
    assert (batch.events, source.unfinished) == ([b'{"id": 1}', b'{"id": 2}'], False)
    path.write_bytes(b'{"id": 1}\n{"id": 2}\n{"id": 3}\n')
    assert events(source, batch.offset) == [b'{"id": 3}']


def test_a_file_that_is_finished_hands_on_even_what_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2, "amou')
    assert events(open_source(str(path))) == [b'{"id": 1}', b'{"id": 2, "amou']
