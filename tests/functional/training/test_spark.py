"""A table that Spark makes equals the one that one process makes, to the bit."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from fraud_detection.adapters.files.tables import open_table
from fraud_detection.adapters.spark.java import check_java
from fraud_detection.core.decoding import to_plain
from fraud_detection.core.errors import ConfigError
from fraud_detection.training.stages import make_features
from fraud_detection.training.tables.report import FeaturesReport
from tests.conftest import SPARK, SmallSimulation
from tests.partitioned_tables import made, silent

Row = dict[str, object]


def spark(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the environment that has pyspark."""
    return subprocess.run(  # noqa: S603 - our own command
        [SPARK / "bin/python", "-m", "fraud_detection.cli", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def messy(simulation: SmallSimulation, folder: Path) -> tuple[Path, Path]:
    """Return a history with rows that are repeated, changed, late and refused, and a file of more labels."""
    [rows] = open_table(simulation.history).records(1 << 20)
    ids = [row["transaction_id"] for row in rows]
    late = [row | {"transaction_id": f"late-{row['transaction_id']}"} for row in rows[::50]]
    refused: list[Row] = [rows[0] | {"amount": "much"}, {"transaction_id": "t"}, {"type": "label"}]
    changed = [row | {"amount": 1.25} for row in rows[::90]]
    payments = folder / "history.jsonl"
    payments.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, *late, *changed, *refused]))
    known = [row["event_time"] for row in rows]
    labels = folder / "labels.jsonl"
    more: list[Row] = [
        {"type": "label", "transaction_id": ids[at], "is_fraud": verdict, "label_known_at": known[later]}
        for at, verdict, later in ((5, 1, 90), (5, 0, 900), (6, 1, 0), (7, 9, 90), (300, 1, -1))
    ]
    more.append(more[0] | {"transaction_id": "of no payment"})
    labels.write_text("".join(f"{json.dumps(row)}\n" for row in more))
    return payments, labels


@pytest.mark.java
def test_spark_makes_the_table_of_one_process(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    project = small_simulation.project
    (tmp_path / "params.yaml").write_text(json.dumps(to_plain(project)))
    payments, labels = messy(small_simulation, tmp_path)

    def alone(out: Path) -> FeaturesReport:
        return make_features(project, payments, out, silent, [labels])

    def by_spark(out: Path) -> FeaturesReport:
        report = tmp_path / "report.json"
        files = ("--config", tmp_path / "params.yaml", "--data", payments, "--labels", labels)
        command = spark("features", *files, "--out", out, "--engine", "spark", "--json", report, "--plain")
        assert command.returncode == 0, command.stderr
        return msgspec.json.decode(report.read_bytes(), type=FeaturesReport)

    expected = made(alone, tmp_path / "alone" / "features.parquet")
    assert isinstance(expected[0], FeaturesReport), expected[0]
    assert min(expected[0].refused, expected[0].conflicts, expected[0].unmatched_labels) > 0
    assert made(by_spark, tmp_path / "spark" / "features.parquet") == expected
    assert [path.name for path in (tmp_path / "spark").iterdir()] == ["features.parquet"]


def test_a_missing_java_is_one_sentence_with_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no `java` was found: apt-get install openjdk-17-jre-headless"):
        check_java({"PATH": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"JAVA_HOME names /nowhere, which has no bin/java"):
        check_java({"PATH": str(tmp_path), "JAVA_HOME": "/nowhere"})


def test_a_java_that_is_too_old_is_refused(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_292\"' >&2\n")
    java.chmod(0o755)
    with pytest.raises(ConfigError, match=r"Java 17 or newer, and .*/java says 'openjdk version .1.8"):
        check_java({"PATH": str(tmp_path)})
