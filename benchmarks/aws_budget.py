"""What the Lambda function needs and costs on AWS at a rate of payments, by published limits and prices.

    python -m benchmarks.aws_budget [--write]

Demand is counted here (calls, units and bytes a payment at batches of 500 records); the time of a DynamoDB
call on AWS is assumed.  Prices are AWS's list prices for us-east-1 as published in 2025, without free tiers,
savings plans or provisioned capacity: look them up again before relying on them.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import msgspec

PAGE = Path(__file__).resolve().parents[1] / "docs/performance.md"
BEGIN, END = "<!-- budget: written by `python -m benchmarks.aws_budget --write` -->", "<!-- end of budget -->"
RATES = (1_000, 10_000, 100_000)
MONTH_H = 730
MONTH_S = 3600 * MONTH_H


class Demand(msgspec.Struct, frozen=True):
    """Of one payment with one label, counted on stand-ins as DynamoDB counts, in batches of 500 records.

    calls: of DynamoDB.  cpu_ms: of the function without compiled modules, AWS's client included, rounded up.
    shared_writes: of profiles that all shards touch, assumed.  profile_bytes, lane_bytes: of a profile at
    rest, and of what it holds of each shard.
    """

    records: float = 2.0
    write_units: float = 4.6
    largest_table_share: float = 0.55
    shared_writes: float = 0.6
    profile_bytes: float = 700.0
    shard_bytes: float = 32.0
    read_units: float = 6.5
    calls: float = 0.25
    log_bytes: float = 491.0
    cpu_ms: float = 1.0
    rows: float = 1.0


class Limits(msgspec.Struct, frozen=True):
    """What bounds it.

    Published: a shard's records/s, a table's default units/s.  Assumed: ms a call of DynamoDB, how full a
    function or an instance may run.  Measured: ms a row in the endpoint, in batches of 100.
    """

    shard_records_per_s: float = 1_000.0
    table_write_units: float = 40_000.0
    call_ms: float = 5.0
    full: float = 0.6
    row_ms: float = 0.05
    cores_an_instance: float = 2.0


class Prices(msgspec.Struct, frozen=True):
    """US dollars, us-east-1."""

    shard_hour: float = 0.015
    shard_hour_of_seven_days: float = 0.02
    million_puts: float = 0.014
    gigabyte_second: float = 0.0000166667
    million_invocations: float = 0.20
    million_writes: float = 0.625
    million_reads: float = 0.125
    log_gigabyte: float = 0.50
    instance_hour: float = 0.102
    memory_gb: float = 1769 / 1024


class Budget(msgspec.Struct, frozen=True):
    """What is needed at a rate, and what it costs a month in dollars, by service."""

    rate: int
    shards: int
    write_units: float
    read_units: float
    raise_tables: bool
    instances: int
    stream: float
    function: float
    tables: float
    logs: float
    endpoint: float

    @property
    def total(self) -> float:
        """Return all of it."""
        return self.stream + self.function + self.tables + self.logs + self.endpoint


def budget(rate: int, demand: Demand, limits: Limits, prices: Prices) -> Budget:
    """Return what so many payments a second need.

    >>> budget(1_000, Demand(), Limits(), Prices()).shards
    4
    """
    records = rate * demand.records
    # A shard's batches come one after another: it can take what its function works off.
    busy_ms = demand.cpu_ms + demand.calls * limits.call_ms
    by_function = 1000 / busy_ms * demand.records * limits.full
    shards = math.ceil(records / min(limits.shard_records_per_s * limits.full, by_function))
    # A profile that all shards touch holds a number for each of them.
    shared_units = math.ceil((demand.profile_bytes + demand.shard_bytes * shards) / 1024) - 1
    writes = rate * (demand.write_units + demand.shared_writes * shared_units)
    reads = rate * demand.read_units
    cores = rate * demand.rows * limits.row_ms / 1000 / limits.full
    instances = max(2, math.ceil(cores / limits.cores_an_instance))
    invocations = records / 500
    return Budget(
        rate=rate,
        shards=shards,
        write_units=writes,
        read_units=reads,
        raise_tables=writes * demand.largest_table_share > limits.table_write_units,
        instances=instances,
        stream=shards * MONTH_H * (prices.shard_hour + prices.shard_hour_of_seven_days)
        + records * MONTH_S / 1e6 * prices.million_puts,
        function=rate * busy_ms / 1000 * MONTH_S * prices.memory_gb * prices.gigabyte_second
        + invocations * MONTH_S / 1e6 * prices.million_invocations,
        tables=MONTH_S / 1e6 * (writes * prices.million_writes + reads * prices.million_reads),
        logs=rate * demand.log_bytes * MONTH_S / 1e9 * prices.log_gigabyte,
        endpoint=instances * MONTH_H * prices.instance_hour,
    )


def table() -> str:
    """Return the budgets as a page shows them."""
    budgets = [budget(rate, Demand(), Limits(), Prices()) for rate in RATES]
    rows = {
        "payments/s": [f"{budget.rate:,}" for budget in budgets],
        "shards, and so functions at once": [f"{budget.shards:,}" for budget in budgets],
        "DynamoDB write units/s": [f"{budget.write_units:,.0f}" for budget in budgets],
        "DynamoDB read units/s": [f"{budget.read_units:,.0f}" for budget in budgets],
        "a table above the default quota": [
            "yes: raise it" if budget.raise_tables else "no" for budget in budgets
        ],
        "instances ml.c6i.large": [f"{budget.instances}" for budget in budgets],
        "Kinesis, $ a month": [f"{budget.stream:,.0f}" for budget in budgets],
        "Lambda": [f"{budget.function:,.0f}" for budget in budgets],
        "DynamoDB, on demand": [f"{budget.tables:,.0f}" for budget in budgets],
        "CloudWatch Logs": [f"{budget.logs:,.0f}" for budget in budgets],
        "SageMaker": [f"{budget.endpoint:,.0f}" for budget in budgets],
        "together": [f"{budget.total:,.0f}" for budget in budgets],
    }
    lines = [f"| {name} | {' | '.join(values)} |" for name, values in rows.items()]
    return "\n".join([lines[0], "|---|---|---|---|", *lines[1:]])


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    if parser.parse_args().write:
        text = PAGE.read_text()
        PAGE.write_text(f"{text.partition(BEGIN)[0]}{BEGIN}\n{table()}\n{END}{text.partition(END)[2]}")
    print(table())


if __name__ == "__main__":
    main()
