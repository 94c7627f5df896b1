"""What a cluster loses while it makes a table: the table comes out the same, or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from fraud_detection.adapters.spark.shipping import FOLDER
from fraud_detection.core.decoding import to_plain
from fraud_detection.demo.demo import demo_project
from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.training.stages import make_features
from fraud_detection.training.tables.report import FeaturesReport
from tests.conftest import SPARK
from tests.partitioned_tables import Made, made, silent
from tests.spark_cluster import Cluster, cluster

pytestmark = [pytest.mark.long, pytest.mark.java, pytest.mark.timeout(1200)]
SHUFFLED = "shuffle_[2-9]_*.data"
"""Files of the replay; shuffle 0 is that of reading, and 1 counts what was read."""
SIMULATION = SimulatorSettings(seed=5, days=90, cards=600)


WHERE = """
import sys
from pathlib import Path
from fraud_detection.adapters.spark.dataflow import SparkDataflow
from fraud_detection.core.dataflow import Record

def modules(records):
    import fraud_detection.core.features.windows, msgspec
    for module in (fraud_detection.core.features.windows, msgspec):
        yield Record(module.__file__)

with SparkDataflow.opened(sys.argv[1], Path(), 2, lambda *_: None) as flow:
    for record in flow.collection([Record("")]).map(modules).records():
        print(Path(record.group).resolve())
"""


class Job:
    """A history, the table that one process makes of it, and the command that makes it on a cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.history, self.config = folder, folder / "history.parquet", folder / "params.yaml"
        project = demo_project()
        self.config.write_text(json.dumps(to_plain(project)))
        write_history(SIMULATION, self.history)
        self.expected = made(
            lambda out: make_features(project, self.history, out, silent), folder / "alone.parquet"
        )

    def started(self, out: Path, master: str) -> subprocess.Popen[str]:
        command = (
            "-m",
            "fraud_detection.cli",
            "features",
            "--engine",
            "spark",
            "--master",
            master,
            "--plain",
        )
        files = (
            "--config",
            self.config,
            "--data",
            self.history,
            "--out",
            out,
            "--json",
            out.with_suffix(".json"),
        )
        return subprocess.Popen(  # noqa: S603 - our own command
            [SPARK / "bin/python", *command, *map(str, files)],
            env=os.environ | {"PYSPARK_PYTHON": str(SPARK / "bin/python")},
            stderr=subprocess.PIPE,
            text=True,
        )

    def made(self, out: Path) -> Made:
        def report(_out: Path) -> FeaturesReport:
            return msgspec.json.decode(out.with_suffix(".json").read_bytes(), type=FeaturesReport)

        return made(report, out)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return Job(tmp_path_factory.mktemp("job"))


@pytest.fixture
def spark(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster") as started:
        yield started


def replaying(process: subprocess.Popen[str], then: Callable[[], bool]) -> list[str]:
    """Do something while history is replayed, as soon as it can be done; return what was said by then."""
    said = list[str]()
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if line.startswith("replaying"):
            break
    until = time.monotonic() + 120
    while not then():
        assert time.monotonic() < until
        assert process.poll() is None, said
        time.sleep(0.05)
    return said


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, rest = process.communicate(timeout=900)
    return process.returncode, rest


def table_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    return folder


def test_a_killed_executor_changes_nothing(job: Job, spark: Cluster, tmp_path: Path) -> None:
    def kill() -> bool:
        # Once it has written a part of the shuffle, which is lost with it.
        executor = spark.executor_of(0)
        if executor is None or not spark.files_of(0, SHUFFLED):
            return False
        os.kill(executor, signal.SIGKILL)
        return True

    folder = table_folder(tmp_path)
    with job.started(folder / "features.parquet", spark.url) as process:
        replaying(process, kill)
        assert finished(process)[0] == 0
    assert job.made(folder / "features.parquet") == job.expected
    assert {path.name for path in folder.iterdir()} == {"features.parquet", "features.json"}


def test_a_lost_shuffle_file_changes_nothing(job: Job, spark: Cluster, tmp_path: Path) -> None:
    def lose() -> bool:
        files = spark.files_of(1, SHUFFLED)
        for file in files:
            file.unlink()
        return bool(files)

    folder = table_folder(tmp_path)
    with job.started(folder / "features.parquet", spark.url) as process:
        replaying(process, lose)
        assert finished(process)[0] == 0
    assert job.made(folder / "features.parquet") == job.expected


def test_a_killed_driver_leaves_no_table_and_the_next_run_makes_it(
    job: Job, spark: Cluster, tmp_path: Path
) -> None:
    folder = table_folder(tmp_path)
    with job.started(folder / "features.parquet", spark.url) as process:
        replaying(process, lambda: True)
        process.kill()
    assert not (folder / "features.parquet").exists()
    with job.started(folder / "features.parquet", spark.url) as process:
        code, said = finished(process)
        assert code == 0, said
    assert job.made(folder / "features.parquet") == job.expected
    assert {path.name for path in folder.iterdir()} == {"features.parquet", "features.json"}


def test_executors_run_the_code_that_was_shipped(spark: Cluster, tmp_path: Path) -> None:
    program = subprocess.run(  # noqa: S603 - our own program
        [SPARK / "bin/python", "-c", WHERE, spark.url],
        env=os.environ | {"PYSPARK_PYTHON": str(SPARK / "bin/python")},
        capture_output=True,
        text=True,
        check=True,
    )
    paths = program.stdout.split()
    assert len(paths) == 2
    assert all(path.startswith(str(tmp_path / "cluster")) and FOLDER in path for path in paths), paths
