"""The job that replays history in S3 makes the table that one process makes of files, or says why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fraud_detection
from fraud_detection.adapters.aws.clients import clients_of
from fraud_detection.adapters.aws.s3_files import S3Files
from fraud_detection.adapters.files.tables import read_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.history.job_description import (
    DESCRIPTION,
    STATUS,
    JobDescription,
    JobStatus,
    read_description,
    read_status,
)
from fraud_detection.testing.aws_fakes import FakeS3
from fraud_detection.training.history_job.s3_inputs import FetchingDataflow
from fraud_detection.training.history_job.s3_parts import S3Parts
from fraud_detection.training.tables import partitioned_job
from fraud_detection.training.tables.partitioned_job import FeatureJob, HistoryFiles
from tests.conftest import SmallSimulation
from tests.in_memory_dataflow import InMemoryDataflow
from tests.partitioned_tables import bits, silent
from tests.root import ROOT
from tools.local_aws.services import LocalServices

TOOLS = ROOT / ".venv-aws"
PROJECT = Path(fraud_detection.__file__).parent / "simulated.yaml"
BUCKET, WORK, OUT = "bucket", "s3://bucket/history-runs/a/", "s3://bucket/features/table.parquet"
FAKE = FakeS3({BUCKET})


def fake_files() -> S3Files:
    """Return the way to the fake, by a name that a pickled transform can carry."""
    return S3Files(FAKE)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if not (TOOLS / ".locked").exists():
        pytest.skip("the local services are not here: make .venv-aws/.locked")
    with LocalServices(TOOLS, tmp_path_factory.mktemp("services")) as services:
        where = dict(services.environment())
        clients_of(where)("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": where["AWS_REGION"]}
        )
        yield where


@pytest.fixture(scope="module")
def files(environment: dict[str, str]) -> S3Files:
    return S3Files(clients_of(environment)("s3"))


@pytest.fixture
def described(files: S3Files, small_simulation: SmallSimulation) -> JobDescription:
    return put_job(files, small_simulation.history)


def put_job(files: S3Files, history: Path) -> JobDescription:
    files.put("s3://bucket/releases/params.yaml", PROJECT.read_bytes())
    files.store(history, f"s3://bucket/history/{history.name}")
    version = files.version(f"s3://bucket/history/{history.name}")
    description = JobDescription("s3://bucket/releases/params.yaml", version, (), OUT, WORK)
    files.put(f"{WORK}{DESCRIPTION}", msgspec.json.encode(description))
    return description


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "fraud_detection.training.history_job",
        f"{WORK}{DESCRIPTION}",
        "--jobs=2",
    ]
    return subprocess.run(  # noqa: S603 - Python itself
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def status_of(files: S3Files) -> JobStatus:
    return read_status(files.get(f"{WORK}{STATUS}"))


def test_the_job_makes_the_table_of_one_process_to_the_bit(
    environment: dict[str, str],
    files: S3Files,
    described: JobDescription,
    small_simulation: SmallSimulation,
    tmp_path: Path,
) -> None:
    done = run(environment)
    assert done.returncode == 0, done.stderr
    files.fetch(files.version(described.out), tmp_path / "table.parquet")
    assert bits(read_columns(tmp_path / "table.parquet")[0]) == bits(
        read_columns(small_simulation.features)[0]
    )
    assert metadata_of(tmp_path / "table.parquet") == metadata_of(small_simulation.features)
    report = status_of(files).report or {}
    assert report["payments"] == len(read_columns(small_simulation.features, ["amount"])[0]["amount"])
    assert list(files.below(WORK)) == [f"{WORK}{DESCRIPTION}", f"{WORK}{STATUS}"]


def metadata_of(table: Path) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in read_columns(table, [])[1].items()}


def test_a_history_that_was_replaced_since_is_not_read(
    environment: dict[str, str], files: S3Files, described: JobDescription
) -> None:
    files.put(described.history.uri, b"another")
    done = run(environment)
    assert done.returncode == 1
    status = status_of(files)
    assert (status.stage, status.reason) == (
        "failed",
        "s3://bucket/history/history.parquet: was replaced while it was read; start again",
    )
    assert status.reason in done.stderr


def test_a_file_that_does_not_fit_leaves_the_table_of_before(
    environment: dict[str, str], files: S3Files, tmp_path: Path
) -> None:
    (tmp_path / "history.csv").write_text("a,b\n1,2\n")
    put_job(files, tmp_path / "history.csv")
    files.put(OUT, b"the table of before")
    assert run(environment).returncode == 1
    assert "history.csv" in status_of(files).reason
    assert files.get(OUT) == b"the table of before"


@pytest.fixture
def in_memory(
    small_simulation: SmallSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], FeatureJob]:
    """Return a job on the fake, with many parts; its transforms run twice each, in another place."""
    monkeypatch.setattr(partitioned_job, "PART_ROWS", 500)
    FAKE.objects.clear()
    version = put_job(fake_files(), small_simulation.history).history

    def make() -> FeatureJob:
        flow = FetchingDataflow(InMemoryDataflow(), fake_files, [version], tmp_path)
        parts = S3Parts(fake_files, f"{WORK}parts/", tmp_path, OUT)
        return FeatureJob(flow, small_simulation.project, tmp_path / "table", silent, parts)

    return make


def test_many_parts_are_one_table_and_none_is_left(
    in_memory: Callable[[], FeatureJob], small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    run_in_memory(in_memory(), small_simulation.history)
    fake_files().fetch(fake_files().version(OUT), tmp_path / "made.parquet")
    assert bits(read_columns(tmp_path / "made.parquet")[0]) == bits(
        read_columns(small_simulation.features)[0]
    )
    assert not list(fake_files().below(f"{WORK}parts/"))


def test_parts_that_a_killed_run_left_are_no_rows_of_the_next(
    in_memory: Callable[[], FeatureJob], small_simulation: SmallSimulation
) -> None:
    fake_files().put(f"{WORK}parts/part-999999.parquet", b"of a killed run")
    run_in_memory(in_memory(), small_simulation.history)
    assert not list(fake_files().below(f"{WORK}parts/"))


def run_in_memory(job: FeatureJob, history: Path) -> None:
    job.run(HistoryFiles(history), None, for_training=True)


def test_a_description_of_another_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="not the description of a job of this version"):
        read_description("s3://a/b", b'{"project": "s3://a/p", "cores": 4}')
    with pytest.raises(ConfigError, match="no such object"):
        read_description("s3://a/b", None)
