"""History on EMR Serverless as `fraud deploy history` does it, on fakes; the run really makes its table."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import fraud_detection
from fraud_detection.adapters.aws.clients import clients_of
from fraud_detection.adapters.aws.emr_serverless import EmrApplication
from fraud_detection.adapters.aws.s3_files import S3Files
from fraud_detection.adapters.files.tables import read_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.deployment import apply as applying
from fraud_detection.deployment import history_package
from fraud_detection.deployment.history_package import JobPackage, job_package
from fraud_detection.deployment.history_run import (
    ENVIRONMENT,
    HistoryRuns,
    Order,
    Target,
    asked_for,
    spark_configuration,
)
from fraud_detection.deployment.settings import Deployment, History, load_settings
from fraud_detection.deployment.status import history_status
from fraud_detection.testing.aws_fakes import FakeS3
from fraud_detection.testing.emr_serverless_fake import FakeEmrServerless
from tests.conftest import SPARK, SmallSimulation
from tests.partitioned_tables import bits
from tests.root import ROOT
from tools.local_aws.services import LocalServices

TOOLS = ROOT / ".venv-aws"
BARE = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
"""A Python without this project and its libraries."""
PROJECT = (Path(fraud_detection.__file__).parent / "simulated.yaml").read_bytes()
REGION = "eu-central-1"
BUCKET, APPLICATION = "fraud-demo-123456789012-eu-central-1", "00f1abcdefgh"
ROLE = "arn:aws:iam::123456789012:role/fraud-demo-history-eu-central-1"
HERE = History(python=f"python3.{sys.version_info.minor}")  # type: ignore[arg-type]  # a Python of today
ORDER = Order(PROJECT, f"s3://{BUCKET}/history/history.parquet", (), f"s3://{BUCKET}/features/table.parquet")
EMPTY = JobPackage("releases/history-0.zip", {}, compiled=True)


class Scene:
    """An application and a bucket with a history."""

    def __init__(self, s3: Any, settings: History = HERE) -> None:  # noqa: ANN401 - a fake, or a client
        self.emr, self.s3, self.lines = FakeEmrServerless({APPLICATION}), s3, list[str]()
        self.files = S3Files(s3)
        self.application = EmrApplication(self.emr, APPLICATION, pause_s=0.0)
        target = Target(BUCKET, APPLICATION, ROLE, REGION)
        self.runs = HistoryRuns(settings, target, self.application, self.files, self.lines.append)
        self.files.put(ORDER.data, b"a history")

    def made(self, request: Mapping[str, Any]) -> str:
        """Stand for a job that makes its table."""
        work = request["jobDriver"]["sparkSubmit"]["entryPointArguments"][0].removesuffix("job.json")
        counts = ("payments", "refused", "duplicates", "unmatched_labels", "labelled", "frauds", "features")
        report = ", ".join(f'"{name}": 7' for name in counts)
        self.files.put(f"{work}status.json", f'{{"stage": "done", "report": {{{report}}}}}'.encode())
        return ""


@pytest.fixture
def scene() -> Scene:
    return Scene(FakeS3({BUCKET, "lake"}))


def test_a_run_is_followed_to_its_table_with_what_it_costs(scene: Scene) -> None:
    scene.emr.work = scene.made
    finished = scene.runs.follow(scene.runs.start(ORDER, EMPTY))
    states = ["submitted", "pending", "scheduled", "running", "success"]
    assert [line.split()[2].rstrip(":") for line in scene.lines if line.startswith("run ")] == states
    assert "the table is s3://" in "\n".join(finished.lines(ORDER.out))
    assert "AWS bills 0.500 vCPU-hours" in "\n".join(finished.lines(ORDER.out))


def test_a_command_that_is_given_again_follows_the_run_under_way(scene: Scene) -> None:
    first, again = (scene.runs.start(ORDER, EMPTY) for _ in range(2))
    assert first == again
    assert len(scene.emr.runs) == 1
    assert scene.lines == ["uploading releases/history-0.zip (22 bytes)"]
    other = scene.runs.start(replace(ORDER, out=f"{ORDER.out}.2"), EMPTY)
    assert other.id != first.id


def test_a_run_that_has_ended_is_started_again_and_so_is_one_of_another_history(scene: Scene) -> None:
    scene.emr.work = scene.made
    first = scene.runs.start(ORDER, EMPTY)
    scene.runs.follow(first)
    second = scene.runs.start(ORDER, EMPTY)
    assert (second.id != first.id, second.work != first.work) == (True, True)
    scene.files.put(ORDER.data, b"another history")
    assert scene.runs.start(ORDER, EMPTY).id != second.id
    assert len(scene.emr.runs) == 3


def test_a_run_that_fails_gives_the_jobs_own_reason_and_else_that_of_aws(scene: Scene) -> None:
    started = scene.runs.start(ORDER, EMPTY)
    scene.emr.work = lambda _: "Worker exited with code 1"
    refused = pytest.raises(
        ConfigError, match=r"made no table \(failed\): Worker exited .*SPARK_DRIVER/stderr.gz"
    )
    with refused:
        scene.runs.follow(started)
    scene.files.put(f"{started.work}status.json", b'{"stage": "failed", "reason": "history.csv: no amount"}')
    with pytest.raises(
        ConfigError, match=r"made no table \(failed\): history.csv: no amount; the driver's log"
    ):
        scene.runs.follow(started)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"data": "history.csv"}, "expected an object in S3"),
        ({"data": f"s3://{BUCKET}/history/absent.csv"}, "no such object"),
        ({"data": f"s3://{BUCKET}/decisions/a.csv"}, "history.read"),
        ({"labels": ("s3://lake/other/labels.csv",)}, "history.read"),
        ({"out": f"s3://{BUCKET}/history/table.parquet"}, "tables go below it"),
    ],
)
def test_what_the_role_may_not_touch_is_refused_before_anything_starts(
    wrong: dict[str, Any], message: str
) -> None:
    settings = replace(HERE, read=("s3://lake/payments/",))
    scene = Scene(FakeS3({BUCKET, "lake"}), settings)
    with pytest.raises(ConfigError, match=message):
        scene.runs.start(replace(ORDER, **wrong), EMPTY)
    assert scene.emr.runs == []
    scene.files.put("s3://lake/payments/labels.csv", b"")
    assert scene.runs.start(replace(ORDER, labels=("s3://lake/payments/labels.csv",)), EMPTY).id


def test_status_shows_the_application_and_its_last_runs(scene: Scene) -> None:
    assert list(history_status(scene.application).lines()) == ["history    application CREATED, no run yet"]
    for number in range(5):
        scene.runs.start(replace(ORDER, out=f"{ORDER.out}.{number}"), EMPTY)
    lines = list(history_status(scene.application).lines())
    assert lines[0] == "history    application STARTED"
    assert [line.split()[2] for line in lines[1:]] == [run["jobRunId"] for run in scene.emr.runs[:-4:-1]]


def test_an_application_is_changed_at_rest_alone_and_removed_after_its_runs_have_ended(scene: Scene) -> None:
    started = scene.runs.start(ORDER, EMPTY)
    with pytest.raises(ConfigError, match=rf"while run {started.id} is submitted: apply again"):
        applying._rest(scene.application)
    applying._end_runs(scene.application, scene.lines.append)
    assert scene.application.run(started.id).state == "CANCELLED"
    assert scene.application.state() == "STOPPED"
    assert scene.lines[-1] == f"cancelling run {started.id} of the application for history"
    applying._rest(scene.application)


def test_settings_ask_for_an_application_by_an_empty_block_and_are_read_strictly(tmp_path: Path) -> None:
    def read(text: str) -> History | None:
        (tmp_path / "deploy.yaml").write_text(text)
        return load_settings(tmp_path / "deploy.yaml").history

    assert read("environment: demo") is None
    assert read("history: {}") == History()
    for wrong, where in (
        ("history: {cores: 4}", "cores"),
        ("history: {executors: 0}", r"\$\.history\.executors"),
        ("history: {read: [s3://lake]}", r"\$\.history\.read\[0\]"),
        ("history: {python: python3.9}", r"\$\.history\.python"),
    ):
        with pytest.raises(ConfigError, match=where):
            read(wrong)


def test_an_environment_without_an_application_says_how_it_gets_one() -> None:
    with pytest.raises(ConfigError, match=r"write `history: \{\}` into its settings"):
        asked_for(Deployment())
    with pytest.raises(ConfigError, match="`fraud deploy apply` makes it"):
        Target.of(Deployment(history=HERE), {"Bucket": BUCKET}, REGION)


def test_workers_are_as_large_as_the_application_allows() -> None:
    given = spark_configuration(History(executors=9, disk_gb=50), "s3://b/releases/a.zip", REGION)
    assert given["spark.dynamicAllocation.maxExecutors"] == "9"
    assert given["spark.default.parallelism"] == "36"
    for part in ("driver", "executor"):
        memory = [given[f"spark.{part}.{name}"] for name in ("memory", "memoryOverhead")]
        assert sum(int(size.removesuffix("g")) for size in memory) == 16
        assert given[f"spark.emr-serverless.{part}.disk"] == "50g"


@pytest.fixture(scope="module")
def package() -> JobPackage:
    return job_package(HERE)


def test_equal_files_make_an_equal_package_and_one_that_was_changed_is_refused(
    package: JobPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert job_package(HERE).key == package.key
    (tmp_path / "six.py").write_text("changed")
    monkeypatch.setattr(
        history_package, "_hash", lambda path, _: "other" if path.name == "six.py" else "as stated"
    )
    with pytest.raises(ConfigError, match="was changed since"):
        job_package(HERE)


def test_a_machine_unlike_the_clusters_is_refused() -> None:
    other = History(python="python3.13" if sys.version_info.minor != 13 else "python3.12")
    with pytest.raises(ConfigError, match=r"set history\.python and history\.architecture"):
        job_package(other)


def test_modules_compiled_for_a_newer_c_library_go_as_sources(
    package: JobPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_package, "GLIBC", 1)
    plain = job_package(HERE)
    assert not plain.compiled
    assert plain.key != package.key or not package.compiled
    assert not [name for name in plain.files if name.startswith("fraud_detection") and name.endswith(".so")]


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


@pytest.mark.parametrize(
    "engine", ["pool", pytest.param("spark", marks=(pytest.mark.java, pytest.mark.long))]
)
def test_the_package_alone_makes_the_table_of_one_process(
    engine: str,
    package: JobPackage,
    environment: dict[str, str],
    small_simulation: SmallSimulation,
    tmp_path: Path,
) -> None:
    """Unpacked as a worker does it, with a Python that has nothing else but, where it is Spark, pyspark.

    Of Spark there are two executors: processes of their own, each with what Spark unpacks for it.
    """
    scene = Scene(clients_of(environment)("s3"))
    scene.files.store(small_simulation.history, ORDER.data)

    home = spark_home(tmp_path / "spark")

    def work(request: Mapping[str, Any]) -> str:
        submitted = request["jobDriver"]["sparkSubmit"]
        configuration = settings_in(submitted["sparkSubmitParameters"])
        archive, folder = configuration["spark.archives"].split("#")
        content = scene.files.get(archive) or b""
        zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path / folder)
        (tmp_path / "package.zip").write_bytes(content)
        (tmp_path / "main.py").write_bytes(scene.files.get(submitted["entryPoint"]) or b"")
        done = subprocess.run(  # noqa: S603 - Python itself
            [
                *started_by(engine, configuration, environment),
                *submitted["entryPointArguments"],
                *(["--jobs=2"] if engine == "pool" else []),
            ],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"./{folder}",
                "PYSPARK_PYTHON": str(BARE),
                "SPARK_HOME": str(home),
                **{name: value for name, value in environment.items() if "REGION" not in name},
                "AWS_DEFAULT_REGION": configuration["spark.emr-serverless.driverEnv.AWS_DEFAULT_REGION"],
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr if done.returncode else ""

    scene.emr.work = work
    finished = scene.runs.follow(scene.runs.start(ORDER, package))
    scene.files.fetch(scene.files.version(ORDER.out), tmp_path / "made.parquet")
    made, wanted = (read_columns(path)[0] for path in (tmp_path / "made.parquet", small_simulation.features))
    assert bits(made) == bits(wanted)
    assert finished.report["payments"] == len(wanted["amount"])
    for unpacked in (tmp_path / ENVIRONMENT, home / "work"):
        shutil.rmtree(unpacked, ignore_errors=True)  # several hundred megabytes


def started_by(engine: str, configuration: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Return the command that starts the entry point, up to its arguments."""
    if engine == "pool":
        return [str(BARE), "-S", "main.py"]
    own = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        # Its executors are processes of their own, each in a folder into which it unpacks the archive.
        "spark.archives": f"package.zip#{ENVIRONMENT}",
        **{name: value for name, value in configuration.items() if name.startswith("spark.executorEnv.")},
        "spark.executorEnv.PYSPARK_PYTHON": str(BARE),
        **{f"spark.executorEnv.{name}": value for name, value in environment.items() if "REGION" not in name},
    }
    options = [f"--conf={name}={value}" for name, value in own.items()]
    return ["spark/bin/spark-submit", "--master=local-cluster[2,1,1024]", *options, "main.py"]


def spark_home(folder: Path) -> Path:
    """Make a folder that is Spark's but for the work of its executors, who leave what they unpacked there."""
    folder.mkdir()
    for entry in SPARK.glob("lib/python*/site-packages/pyspark/*"):
        (folder / entry.name).symlink_to(entry)
    return folder


def settings_in(parameters: str) -> dict[str, str]:
    return dict(part.strip().split("=", 1) for part in parameters.split("--conf ")[1:])
