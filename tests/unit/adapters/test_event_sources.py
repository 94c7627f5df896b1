"""Files as sources: places in them, names for rows without ids, and lines that are still being written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_detection.adapters.event_sources import Source, open_source

lines_of_a_file = st.lists(st.text('ab{}" \t', max_size=12).map(str.encode), max_size=20)


def events(source: Source, position: int = 0, most: int = 2) -> list[bytes]:
    return [event for batch in source.batches(position, most) for event in batch.events]


def names(source: Source) -> list[str | None]:
    return [name for batch in source.batches(0, 3) for name in batch.identities or []]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines_of_a_file, st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([b"", b"\n"]))
def test_reading_on_from_any_place_gives_the_rest(
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
        assert source.holds(batch.position, batch.mark)
        assert events(source, batch.position) == events(source)[done:]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_another_file_under_the_same_name_is_noticed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events.{suffix}"
    rows = [f'{{"id": {n}}}' if suffix == "jsonl" else f"{n},x" for n in range(1000, 1100)]
    head = [] if suffix == "jsonl" else ["id,word"]
    path.write_text("\n".join([*head, *rows]) + "\n")
    first = next(iter(open_source(str(path)).batches(0, 50)))
    path.write_text("\n".join([*head, *rows, rows[0]]) + "\n")
    assert open_source(str(path)).holds(first.position, first.mark)
    path.write_text("\n".join([*head, *reversed(rows)]) + "\n")
    assert not open_source(str(path)).holds(first.position, first.mark)
    path.write_text("\n".join([*head, *rows[:10]]) + "\n")
    assert not open_source(str(path)).holds(first.position, first.mark)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_rows_without_ids_are_named_apart_within_a_file_and_between_files(
    tmp_path: Path, suffix: str
) -> None:
    def file(name: str, values: list[int]) -> Path:
        path = tmp_path / f"{name}.{suffix}"
        rows = [f'{{"v": {value}}}' if suffix == "jsonl" else f"{value},x" for value in values]
        path.write_text("\n".join([*([] if suffix == "jsonl" else ["v,w"]), *rows]) + "\n")
        return path

    one, other = file("one", [1, 1, 2]), file("other", [3, 4, 4])
    first, second = (names(open_source(str(path))) for path in (one, other))
    assert len({*first, *second}) == 6
    grown = file("one", [1, 1, 2, 9])
    assert names(open_source(str(grown)))[:3] == first


def test_a_last_line_that_is_still_being_written_is_left_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2, "amou')
    source = open_source(str(path), growing=True)
    (batch,) = source.batches(0, 10)
    assert (batch.events, source.unfinished) == ([b'{"id": 1}'], True)
    path.write_bytes(b'{"id": 1}\n{"id": 2, "amount": 3}\n')
    assert events(source, batch.position) == [b'{"id": 2, "amount": 3}']


def test_a_whole_last_line_without_an_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2}')
    source = open_source(str(path), growing=True)
    (batch,) = source.batches(0, 10)
    assert (batch.events, source.unfinished) == ([b'{"id": 1}', b'{"id": 2}'], False)
    path.write_bytes(b'{"id": 1}\n{"id": 2}\n{"id": 3}\n')
    assert source.holds(batch.position, batch.mark)
    assert events(source, batch.position) == [b'{"id": 3}']


def test_a_file_that_is_finished_hands_on_even_what_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2, "amou')
    assert events(open_source(str(path))) == [b'{"id": 1}', b'{"id": 2, "amou']
