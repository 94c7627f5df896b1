"""Write a simulated history to Parquet or CSV, day by day, whole or not at all.

Memory holds a row group, not the history.  Equal settings give equal bytes.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from fraud_detection.core.errors import ConfigError
from fraud_detection.simulator.population.behaviour import behave
from fraud_detection.simulator.population.catalogue import SCENARIOS
from fraud_detection.simulator.population.entities import make_population
from fraud_detection.simulator.population.naming import FIELDS, GROUND_TRUTH_FIELDS, Categorical, Naming
from fraud_detection.simulator.simulate import Simulation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from fraud_detection.simulator.columns import Block
    from fraud_detection.simulator.drift import Drift
    from fraud_detection.simulator.population.opaque import Texts
    from fraud_detection.simulator.settings import Flags, SimulatorSettings

SUFFIXES = (".parquet", ".csv")

_GROUP_ROWS = 1 << 17
_TIME = pa.timestamp("ms", "UTC")


class HistorySummary(msgspec.Struct, frozen=True):
    """What was written.  frauds: by the ground truth; labelled_frauds: by the labels."""

    path: str
    days: int
    payments: int
    frauds: int
    labelled_frauds: int
    fraud_rate: float
    scenarios: dict[str, int]
    seconds: float
    payments_per_second: float
    file_bytes: int
    ground_truth_path: str | None = None


class _Writer(Protocol):
    def write(self, table: Any) -> None:  # noqa: ANN401 - pyarrow ships no types
        """Add rows."""

    def close(self) -> None:
        """Finish the file."""


class _Counts:
    """Running totals over the days that were written."""

    def __init__(self) -> None:
        self.scenarios = np.zeros(len(SCENARIOS), dtype=np.int64)
        self.labelled = 0

    def add(self, block: Block) -> None:
        self.scenarios += np.bincount(block.payments.scenario, minlength=len(SCENARIOS))
        self.labelled += int(block.is_fraud.sum())


def write_history(
    settings: SimulatorSettings,
    path: Path,
    ground_truth_path: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    drifts: Sequence[Drift] = (),
) -> HistorySummary:
    """Write days 0 .. settings.days - 1, and their ground truth to a second file.

    on_progress gets how many days, and how many payments, have been written.  drifts: of behaviour; those
    of fields are of the stream only.
    """
    counts, began = _Counts(), time.perf_counter()
    with contextlib.ExitStack() as stack:
        history = stack.enter_context(_rows_to(path))
        ground_truth = (
            stack.enter_context(_rows_to(ground_truth_path)) if ground_truth_path is not None else None
        )
        population = make_population(settings)
        naming = Naming(population)
        for number, lived in zip(range(1, settings.days + 1), Simulation(population).days(), strict=False):
            block = behave(population, lived, drifts, int(counts.scenarios.sum()))
            table = history_table(block, naming)
            history.write(table)
            if ground_truth is not None:
                ground_truth.write(ground_truth_table(block, table))
            counts.add(block)
            if on_progress is not None:
                on_progress(number, int(counts.scenarios.sum()))
    return _summary(settings, path, ground_truth_path, counts, time.perf_counter() - began)


def history_table(block: Block, naming: Naming) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """Return a day as an Arrow table with the columns of `FIELDS`."""
    ids, payments, categories = naming.ids(block), block.payments, naming.categories(block)
    columns = {
        "transaction_id": _text(ids.transaction),
        "event_time": pa.array(payments.time, _TIME),
        "card_id": _text(ids.card),
        "customer_id": _text(ids.customer),
        "device_id": _text(ids.device, ids.no_device),
        "merchant_id": _text(ids.merchant),
        "terminal_id": _text(ids.terminal, ids.no_terminal),
        "amount": pa.array(payments.amount / 100),
        "latitude": _degrees(payments.latitude),
        "longitude": _degrees(payments.longitude),
        "is_fraud": pa.array(block.is_fraud.astype(np.int8)),
        "label_known_at": pa.array(block.known_at, _TIME),
    } | {name: _dictionary(column) for name, column in categories.items()}
    return pa.table({name: columns[name] for name in FIELDS})


def ground_truth_table(block: Block, history: Any) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """Return what the bank never sees: whether a payment is a fraud, and of which kind."""
    scenario = block.payments.scenario
    columns = (
        history.column("transaction_id"),
        pa.array(scenario > 0),
        _dictionary(Categorical(scenario, SCENARIOS)),
    )
    return pa.table(dict(zip(GROUND_TRUTH_FIELDS, columns, strict=True)))


def _text(values: Texts, missing: Flags | None = None) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """Return text of a fixed width as an Arrow column, without looking at any value."""
    width, count = values.dtype.itemsize, len(values)
    offsets = np.arange(count + 1, dtype=np.int32) * width
    valid = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), data, valid)


def _dictionary(column: Categorical) -> Any:  # noqa: ANN401 - pyarrow ships no types
    return pa.DictionaryArray.from_arrays(pa.array(column.codes.astype(np.int8)), pa.array(column.values))


def _degrees(values: np.ndarray) -> Any:  # noqa: ANN401 - pyarrow ships no types
    return pa.array(np.round(values, 5), from_pandas=True)


@contextlib.contextmanager
def _rows_to(path: Path) -> Iterator[_Rows]:
    """Open a file that appears under its name only when everything is in it."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: the name of a history ends in {' or '.join(SUFFIXES)}")
    unfinished = path.with_name(f".{path.name}.unfinished")
    with _writable(path), contextlib.ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        stack.callback(unfinished.unlink, missing_ok=True)
        with contextlib.closing(_Rows(unfinished, csv=path.suffix.lower() == ".csv")) as rows:
            yield rows
        unfinished.replace(path)


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from error


class _Rows:
    """Gathers small tables into row groups, and writes those."""

    def __init__(self, path: Path, *, csv: bool) -> None:
        self._path = path
        self._open = _csv_writer if csv else _parquet_writer
        self._writer: _Writer | None = None
        self._waiting: list[Any] = []

    def write(self, table: Any) -> None:  # noqa: ANN401 - pyarrow ships no types
        self._waiting.append(table)
        if sum(len(waiting) for waiting in self._waiting) >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            self._writer = self._writer or self._open(self._path, table.schema)
            self._writer.write(table)
            self._waiting = []


def _parquet_writer(path: Path, schema: Any) -> _Writer:  # noqa: ANN401 - pyarrow ships no types
    dictionary_columns = [field.name for field in schema if _has_few_values(field)]
    writer: _Writer = pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=dictionary_columns,
        store_schema=False,
    )
    return writer


def _has_few_values(field: Any) -> bool:  # noqa: ANN401 - pyarrow ships no types
    """Return whether a dictionary makes the column smaller: numbers and times rarely come twice."""
    textual = pa.types.is_string(field.type) or pa.types.is_dictionary(field.type)
    return bool(textual) and field.name != "transaction_id"


class _CsvWriter:
    """Times as ISO 8601 with T and Z, as events of the stream have them."""

    def __init__(self, path: Path, schema: Any) -> None:  # noqa: ANN401 - pyarrow ships no types
        self._schema = pa.schema([(field.name, _plain_type(field.type)) for field in schema])
        self._writer = pc.CSVWriter(path, self._schema)

    def write(self, table: Any) -> None:  # noqa: ANN401 - pyarrow ships no types
        columns = [_iso(column) if column.type == _TIME else column for column in table.columns]
        self._writer.write_table(
            pa.table(dict(zip(table.column_names, columns, strict=True))).cast(self._schema)
        )

    def close(self) -> None:
        self._writer.close()


def _csv_writer(path: Path, schema: Any) -> _Writer:  # noqa: ANN401 - pyarrow ships no types
    return _CsvWriter(path, schema)


def _plain_type(kind: Any) -> Any:  # noqa: ANN401 - pyarrow ships no types
    return pa.string() if kind == _TIME or pa.types.is_dictionary(kind) else kind


def _iso(column: Any) -> Any:  # noqa: ANN401 - pyarrow ships no types
    times = column.cast(pa.int64()).to_numpy().astype("datetime64[ms]")
    return pa.array(np.char.add(np.datetime_as_string(times, unit="ms"), "Z"))


def _summary(
    settings: SimulatorSettings, path: Path, ground_truth_path: Path | None, counts: _Counts, seconds: float
) -> HistorySummary:
    payments, honest = int(counts.scenarios.sum()), int(counts.scenarios[0])
    return HistorySummary(
        path=str(path),
        days=settings.days,
        payments=payments,
        frauds=payments - honest,
        labelled_frauds=counts.labelled,
        fraud_rate=(payments - honest) / max(payments, 1),
        scenarios={name: int(n) for name, n in zip(SCENARIOS, counts.scenarios, strict=True) if n},
        seconds=seconds,
        payments_per_second=payments / seconds,
        file_bytes=path.stat().st_size,
        ground_truth_path=None if ground_truth_path is None else str(ground_truth_path),
    )
