"""Every kind of file answers as the same table does; every error says what to change."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import decimal
import itertools
import json
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.adapters.files.tables import (
    KINDS,
    Table,
    open_table,
    read_batches,
    read_columns,
    write_columns,
)
from fraud_detection.adapters.files.text_tables import thin
from fraud_detection.core.errors import ConfigError
from tests.root import ROOT

NAMES = ("id", "amount", "note")
ROWS = [{"id": f"t{n}", "amount": n + 0.5, "note": None if n % 3 else f"a, {n}"} for n in range(1_000)]


def as_csv(folder: Path) -> Path:
    path = folder / "p.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, NAMES)
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def as_parquet(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "p.parquet", row_group_size=99)
    return folder / "p.parquet"


def as_json_lines(folder: Path) -> Path:
    (folder / "p.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
    return folder / "p.jsonl"


@pytest.fixture(params=[as_csv, as_parquet, as_json_lines])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    write: Callable[[Path], Path] = request.param
    return open_table(write(tmp_path))


def typed(table: Table, value: object) -> object:
    return float(str(value)) if table.textual else value


class TestEveryTable:
    def test_it_knows_its_names_and_its_length(self, table: Table) -> None:
        assert table.names == NAMES
        assert table.rows == len(ROWS)

    def test_records_come_in_order_and_in_bounded_lists(self, table: Table) -> None:
        batches = list(table.records(batch_rows=64))

        assert max(len(batch) for batch in batches) == 64
        rows = [row for batch in batches for row in batch]
        assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
        assert [typed(table, row["amount"]) for row in rows] == [row["amount"] for row in ROWS]
        assert [row["note"] for row in rows] == [row["note"] for row in ROWS]

    def test_records_can_be_cut_to_some_columns(self, table: Table) -> None:
        first = next(table.records(columns=["note", "id"]))[0]

        assert first == {"note": "a, 0", "id": "t0"}

    def test_an_unknown_column_is_refused(self, table: Table) -> None:
        with pytest.raises(ConfigError, match=r"has no column 'nope' \(there are: id, amount, note\)"):
            next(table.records(columns=["nope"]))

    def test_a_sample_keeps_rows_whole_and_in_order(self, table: Table) -> None:
        sample = table.sample(200)

        assert len(sample["id"]) == 200
        indices = [int(str(row_id)[1:]) for row_id in sample["id"]]
        assert indices == sorted(set(indices))
        assert [typed(table, amount) for amount in sample["amount"]] == [index + 0.5 for index in indices]

    def test_a_sample_reaches_from_end_to_end(self, table: Table) -> None:
        indices = [int(str(row_id)[1:]) for row_id in table.sample(200)["id"]]

        assert indices[0] < 50
        assert indices[-1] > 950
        assert any(later - earlier == 1 for earlier, later in itertools.pairwise(indices))

    def test_a_sample_larger_than_the_file_is_the_file(self, table: Table) -> None:
        assert table.sample(5_000)["id"] == [row["id"] for row in ROWS]

    def test_a_sample_is_the_same_every_time(self, table: Table) -> None:
        assert table.sample(50) == open_table(table.path).sample(50)


class TestText:
    @pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_separators_line_ends_and_marks_are_recognised(
        self, tmp_path: Path, separator: str, end: str, mark: str
    ) -> None:
        lines = [
            separator.join(row) for row in (["when", "text"], ["2026-01-01", '"a\nb"'], ["2026-01-02", ""])
        ]
        path = tmp_path / "p.csv"
        path.write_bytes((mark + end.join(lines) + end).encode())

        rows = next(open_table(path).records())

        assert rows == [{"when": "2026-01-01", "text": "a\nb"}, {"when": "2026-01-02", "text": None}]

    def test_a_ragged_line_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text('a,b\n1,"x\ny"\n1,2,3\n')

        with pytest.raises(ConfigError, match=r"p\.csv, line 4: 3 values where the header names 2"):
            list(open_table(tmp_path / "p.csv").records())

    def test_empty_lines_are_no_rows(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text("\na,b\n\n1,2\n\n")

        assert open_table(tmp_path / "p.csv").rows == 1

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "the file is empty"),
            (b"\n\n", "holds no text"),
            (b"a,b\n", "no rows"),
            (b"a,a\n1,2\n", "two columns are named 'a'"),
            (b"12.5,2026,7\n1,2,3\n", "the first line looks like data"),
            (b"t1,2026-01-01 01:41:59,c1,9.5,DE\n", "the first line looks like data"),
            (b"t1,31/01/2026,c1,9.5,DE\n", "the first line looks like data"),
            (b"t1,1767225600000,c1,m1,DE\n", "the first line looks like data"),
            (b'{"a": 1, "b": 2}\n{"a": 1, "b": 2}\n', r"holds JSON, not CSV; name it p\.jsonl"),
            (b'\xef\xbb\xbf [{"a": 1}]\n', "holds JSON, not CSV"),
            (b"a,b\n\xff\xfe,2\n", "not UTF-8"),
            (b'a,b\n1,"2\n', "line 2: not valid CSV"),
        ],
    )
    def test_a_csv_file_that_cannot_be_used_reports_why(
        self, tmp_path: Path, content: bytes, message: str
    ) -> None:
        (tmp_path / "p.csv").write_bytes(content)

        with pytest.raises(ConfigError, match=message):
            list(open_table(tmp_path / "p.csv").records())

    @pytest.mark.parametrize("name", ["2026", "day_2026-01-01", "v1.2.3", "30d", "1", "{a}", "[b]"])
    def test_a_name_with_digits_or_brackets_is_a_name(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "p.csv").write_text(f"{name},b,c\n5,6,7\n")

        assert open_table(tmp_path / "p.csv").names == (name, "b", "c")

    def test_columns_may_be_numbered_from_nought(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text("0,1,2\n5,6,7\n")

        assert open_table(tmp_path / "p.csv").names == ("0", "1", "2")

    def test_a_column_without_a_name_gets_one(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text(",b\n5,6\n")

        assert next(open_table(tmp_path / "p.csv").records()) == [{"column_1": "5", "b": "6"}]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('[{"a": 1}]', "line 1: not a JSON object on one line"),
            ('{"a": 1}\n{"a": ', "line 2"),
            ("\n \n", "holds no named values"),
        ],
    )
    def test_a_json_file_that_cannot_be_used_reports_why(
        self, tmp_path: Path, content: str, message: str
    ) -> None:
        (tmp_path / "p.json").write_text(content)

        with pytest.raises(ConfigError, match=message):
            list(open_table(tmp_path / "p.json").records())

    def test_names_that_appear_later_are_names(self, tmp_path: Path) -> None:
        (tmp_path / "p.ndjson").write_text('{"a": 1}\n{"b": 2}\n')

        table = open_table(tmp_path / "p.ndjson")

        assert table.names == ("a", "b")
        assert table.sample(5) == {"a": [1, None], "b": [None, 2]}

    @given(st.lists(st.integers(), max_size=300), st.integers(1, 40))
    def test_thinning_keeps_rows_of_the_stream_in_order_and_counts_them_all(
        self, rows: list[int], size: int
    ) -> None:
        sampled, count = thin(enumerate(rows), size)

        assert count == len(rows)
        assert len(sampled) == min(size, len(rows))
        assert sampled == sorted(set(sampled))
        assert all(rows[index] == value for index, value in sampled)

    def test_thinning_gives_every_row_the_same_chance(self) -> None:
        sampled, _ = thin(range(100_000), 5_000)

        quarters = np.bincount(np.array(sampled) // 25_000, minlength=4)
        assert quarters.min() > 1_100


class TestWhateverIsInAFile:
    @given(st.sampled_from([f"p{suffix}" for suffix in KINDS]), st.binary(max_size=200))
    def test_it_is_read_or_refused_with_a_sentence(self, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ConfigError):
            path = Path(folder) / name
            path.write_bytes(content)
            table = open_table(path)
            rows = [row for batch in table.records() for row in batch]
            assert len(rows) == table.rows > 0

    @given(st.lists(st.lists(st.text(max_size=5), min_size=2, max_size=2), min_size=1, max_size=20))
    def test_text_comes_back_from_csv_as_it_was(self, rows: list[list[str]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "p.csv"
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([["a", "b"], *rows])
            rows_read = [row for batch in open_table(path).records() for row in batch]
        assert [[row["a"] or "", row["b"] or ""] for row in rows_read] == rows


class TestParquet:
    def test_values_of_every_type_become_plain(self, tmp_path: Path) -> None:
        moment = dt.datetime.fromisoformat("2026-01-31T12:00:00.500")
        paris = dt.timezone(dt.timedelta(hours=1))
        columns = {
            "naive": pa.array([moment], pa.timestamp("us")),
            "zoned": pa.array([moment.replace(tzinfo=paris)], pa.timestamp("ns", "Europe/Paris")),
            "date": pa.array([moment.date()]),
            "clock": pa.array([dt.time(13, 45)]),
            "price": pa.array([decimal.Decimal("12.30")]),
            "nan": pa.array([float("nan")]),
            "flag": pa.array([True]),
            "kind": pa.array(["web"]).dictionary_encode(),
            "bytes": pa.array([b"text"]),
            "nothing": pa.array([None]),
            "list": pa.array([[1, 2]]),
        }
        pq.write_table(pa.table(columns), tmp_path / "p.parquet")

        table = open_table(tmp_path / "p.parquet")
        row = next(table.records())[0]

        assert table.times == {"naive", "zoned"}
        assert row == {
            "naive": 1_769_860_800_500,
            "zoned": 1_769_857_200_500,
            "date": "2026-01-31",
            "clock": "13:45:00.000000",
            "price": "12.30",
            "nan": None,
            "flag": True,
            "kind": "web",
            "bytes": "text",
            "nothing": None,
            "list": [1, 2],
        }
        assert table.sample(1) == {name: [value] for name, value in row.items()}

    def test_what_is_no_parquet_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "p.parquet").write_text("a,b\n1,2\n")

        with pytest.raises(ConfigError, match="is not a Parquet file"):
            open_table(tmp_path / "p.parquet")

    def test_a_file_without_rows_is_refused(self, tmp_path: Path) -> None:
        write_columns(tmp_path / "p.parquet", {"a": np.empty(0)})

        with pytest.raises(ConfigError, match="no rows"):
            open_table(tmp_path / "p.parquet")

    def test_bytes_that_are_no_text_are_refused_by_name(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"raw": [b"\xff\xfe"]}), tmp_path / "p.parquet")

        with pytest.raises(ConfigError, match="column 'raw', binary, cannot be read"):
            next(open_table(tmp_path / "p.parquet").records())


class TestColumns:
    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        columns: dict[str, np.ndarray | list[object]] = {
            "score": np.array([0.25, np.nan]),
            "small": np.array([1.5, 2.5], np.float32),
            "time": np.array([1, 2]),
            "flag": np.array([True, False]),
            "id": ["a", None],
            "count": [3, None],
        }
        write_columns(tmp_path / "new" / "c.parquet", columns, {"fingerprint": "abc"})

        read_back, metadata = read_columns(tmp_path / "new" / "c.parquet")

        assert metadata == {"fingerprint": "abc"}
        assert list(read_back) == list(columns)
        for name in ("score", "small", "time", "flag"):
            np.testing.assert_array_equal(read_back[name], columns[name])
            assert np.asarray(read_back[name]).dtype == np.asarray(columns[name]).dtype
        assert read_back["id"] == ["a", None]
        assert read_back["count"] == [3, None]

    def test_some_columns_can_be_read_in_any_order(self, tmp_path: Path) -> None:
        write_columns(tmp_path / "c.parquet", {"a": [1], "b": [2]})

        assert list(read_columns(tmp_path / "c.parquet", ["b", "a"])[0]) == ["b", "a"]
        with pytest.raises(ConfigError, match="has no column 'z'"):
            read_columns(tmp_path / "c.parquet", ["z"])

    def test_equal_columns_give_equal_bytes(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            write_columns(tmp_path / name, {"a": np.arange(1000) / 7, "b": ["x"] * 1000}, {"k": "v"})

        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    def test_a_write_that_fails_leaves_the_old_file(self, tmp_path: Path) -> None:
        write_columns(tmp_path / "c.parquet", {"a": [1]})

        with pytest.raises(pa.ArrowException):
            write_columns(tmp_path / "c.parquet", {"a": [1, 2], "b": [1]})

        assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]
        assert read_columns(tmp_path / "c.parquet")[0]["a"] == [1]

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"c\.parquet: no such file"):
            read_columns(tmp_path / "c.parquet")


class TestOpening:
    def test_the_page_for_users_has_every_suffix(self) -> None:
        kinds = (ROOT / "docs/your-own-data.md").read_text().partition("| kind |")[2].partition("\n\n")[0]

        assert re.findall(r"`(\.\w+)`", kinds) == list(KINDS)

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"p\.csv: no such file"):
            open_table(tmp_path / "p.csv")

    def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").mkdir()

        with pytest.raises(ConfigError, match="is a folder"):
            open_table(tmp_path / "p.csv")

    def test_a_folder_is_refused_as_a_folder_whatever_it_is_called(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is a folder"):
            open_table(tmp_path)

    def test_a_file_without_a_suffix_is_refused_as_such(self) -> None:
        with pytest.raises(ConfigError, match="cannot read files without a suffix; write it as"):
            open_table(Path("payments"))

    def test_standard_input_is_refused_by_name(self) -> None:
        with pytest.raises(ConfigError, match="standard input cannot be read here; write it to a file"):
            open_table(Path("-"))

    def test_capital_letters_in_the_suffix_do_not_matter(self, tmp_path: Path) -> None:
        (tmp_path / "P.CSV").write_text("a,b\n1,2\n")

        assert open_table(tmp_path / "P.CSV").rows == 1


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return a file with some bytes changed, or without its end."""
    damaged_data = bytearray(data)
    for _ in range(chance.choice((1, 3, 30))):
        damaged_data[chance.randrange(len(damaged_data))] = chance.randrange(256)
    return bytes(
        damaged_data[: chance.randrange(len(damaged_data))] if chance.random() < 0.15 else damaged_data
    )


@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_a_damaged_parquet_file_is_read_or_refused_by_name(compression: str, tmp_path: Path) -> None:
    """Damage in a page shows only while it is read: in `init`, `train`, `score` and `run` alike."""
    count, good, bad = 400, tmp_path / "good.parquet", tmp_path / "bad.parquet"
    start = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - a column without a zone
    columns = {
        "id": [f"t{number}" for number in range(count)],
        "when": [start + dt.timedelta(minutes=number) for number in range(count)],
        "amount": [1.5 * number for number in range(count)],
        "kind": pa.array(["a", "b"] * (count // 2)).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), good, row_group_size=100, compression=compression)
    chance, refusals = random.Random(3), list[str]()
    for _ in range(60):
        bad.write_bytes(damaged(good.read_bytes(), chance))
        for read in (
            lambda: open_table(bad).sample(50),
            lambda: list(open_table(bad).records(100)),
            lambda: read_columns(bad),
            lambda: list(read_batches(bad, ["id", "amount"], 50, 350, 100)),
        ):
            try:
                read()
            except ConfigError as refusal:
                refusals.append(str(refusal))
    assert len(refusals) > 60
    assert all(message.startswith(f"{bad}: ") and "\n" not in message for message in refusals)
