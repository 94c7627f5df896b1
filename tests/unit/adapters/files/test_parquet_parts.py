"""A table in one file or in many reads the same, whatever rows are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.adapters.files.parquet_parts import ParquetParts, part_files
from fraud_detection.adapters.files.tables import column_names, read_columns, write_batches, write_columns
from fraud_detection.adapters.files.text_codes import TextCodes
from fraud_detection.core.errors import ConfigError

ROWS = 100
NUMBERS = np.arange(ROWS) * 3
TEXTS = [f"t{number}" for number in NUMBERS]
METADATA = {"key": "value"}


def write(path: Path, start: int, stop: int, group: int = 16) -> None:
    table = pa.table({"number": NUMBERS[start:stop], "text": TEXTS[start:stop]})
    pq.write_table(table.replace_schema_metadata(METADATA), path, row_group_size=group)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parts")
    for number, (start, stop) in enumerate([(0, 40), (40, 40), (40, 47), (47, ROWS)]):
        write(path / f"part-{number}.parquet", start, stop)
    (path / "_SUCCESS").touch()
    (path / ".part-0.parquet.crc").touch()
    write(path / "_ignored.parquet", 0, 5)
    return path


@given(
    start=st.integers(0, ROWS),
    length=st.integers(0, ROWS),
    rows=st.integers(1, 50),
)
def test_a_folder_yields_exactly_the_rows_that_were_asked_for(
    folder: Path, start: int, length: int, rows: int
) -> None:
    parts, stop = ParquetParts(folder), start + length
    batches = list(parts.batches(["number", "text"], start, stop, rows))
    assert [number for batch in batches for number in batch["number"]] == NUMBERS[start:stop].tolist()
    assert [text for batch in batches for text in batch["text"]] == TEXTS[start:stop]
    assert all(0 < len(batch["number"]) <= rows for batch in batches)


def test_a_folder_says_what_its_first_file_says(folder: Path) -> None:
    parts = ParquetParts(folder)
    assert (parts.rows, parts.names, parts.metadata) == (ROWS, ("number", "text"), METADATA)
    assert column_names(folder) == parts.names
    columns, metadata = read_columns(folder)
    assert (list(columns["number"]), columns["text"], metadata) == (NUMBERS.tolist(), TEXTS, METADATA)


def test_a_row_group_says_its_limits_where_the_file_has_them(folder: Path, tmp_path: Path) -> None:
    limits = [group.limits("number") for group in ParquetParts(folder).groups]
    assert limits[:2] == [(0, 45), (48, 93)]
    pq.write_table(pa.table({"number": NUMBERS}), tmp_path / "p.parquet", write_statistics=False)
    assert ParquetParts(tmp_path / "p.parquet").groups[0].limits("number") is None


def test_files_that_are_not_one_table_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without a Parquet file"):
        part_files(tmp_path)
    write(tmp_path / "a.parquet", 0, 5)
    pq.write_table(pa.table({"number": [1], "other": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(ConfigError, match=r"b\.parquet: has other columns .* \(other, text\)"):
        ParquetParts(tmp_path)
    with pytest.raises(ConfigError, match="no column 'nothing'"):
        list(ParquetParts(folder).batches(["nothing"], 0, 1))


def test_batches_make_the_file_that_all_columns_at_once_make(tmp_path: Path) -> None:
    columns = {"number": NUMBERS, "text": np.array(TEXTS, object)}
    write_columns(tmp_path / "once.parquet", columns, METADATA)
    batches = ({name: values[at : at + 7] for name, values in columns.items()} for at in range(0, ROWS, 7))
    assert write_batches(tmp_path / "batches.parquet", batches, METADATA) == ROWS
    once, again = (read_columns(tmp_path / f"{name}.parquet") for name in ("once", "batches"))
    assert once[1] == again[1] == METADATA
    assert once[0]["number"].tolist() == again[0]["number"].tolist()  # type: ignore[union-attr]
    assert once[0]["text"] == again[0]["text"]
    assert pq.ParquetFile(tmp_path / "batches.parquet").num_row_groups == 1


def test_a_file_whose_batches_break_off_is_not_there(tmp_path: Path) -> None:
    def breaking_off() -> object:
        yield {"number": NUMBERS}
        raise ConfigError("no more")

    with pytest.raises(ConfigError, match="no more"):
        write_batches(tmp_path / "p.parquet", breaking_off())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=3), max_size=20), max_size=5))
def test_texts_are_numbered_as_python_orders_them(batches: list[list[str]]) -> None:
    codes = TextCodes()
    for batch in batches:
        codes.add(np.array(batch, object))
    texts = [text for batch in batches for text in batch]
    order = {text: number for number, text in enumerate(sorted(set(texts)))}
    assert codes.numbers().tolist() == [order[text] for text in texts]
