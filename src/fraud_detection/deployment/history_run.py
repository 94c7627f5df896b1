"""Replay history on EMR Serverless: what a run needs into the bucket, the run started once, and followed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from fraud_detection.adapters.aws.emr_serverless import SUCCESS, EmrApplication, JobRequest, JobRun
from fraud_detection.adapters.aws.s3_files import Location, S3Files
from fraud_detection.core.errors import ConfigError
from fraud_detection.deployment.history_package import MAIN, JobPackage
from fraud_detection.deployment.release import Artefact
from fraud_detection.deployment.settings import Deployment, History
from fraud_detection.deployment.template.history import CORES, INPUTS, MEMORY_GB, RUNS, TABLES
from fraud_detection.history.job_description import (
    DESCRIPTION,
    LOGS,
    STATUS,
    JobDescription,
    JobStatus,
    read_status,
)

ENVIRONMENT = "environment"
JVM_GB = 7
"""Of a worker's memory; the rest is for its Python processes, one a core."""

MAY_NOT_READ = (
    "the job's role may not read it: copy it there, or name its folder in history.read and apply the settings"
)

Log = Callable[[str], object]


class Order(msgspec.Struct, frozen=True):
    """A table to make: of which history in S3, by which project file, and where it goes in S3.

    as_of: see `fraud features`.
    """

    project: bytes
    data: str
    labels: tuple[str, ...]
    out: str
    as_of: int | None = None


class Target(msgspec.Struct, frozen=True):
    """Where runs go: the stack's bucket, application and role, and their region."""

    bucket: str
    application: str
    role: str
    region: str

    @classmethod
    def of(cls, settings: Deployment, outputs: Mapping[str, str], region: str) -> Target:
        """Read the outputs of a stack; raise ConfigError where it has no application."""
        if "HistoryApplication" not in outputs:
            raise ConfigError(
                f"stack {settings.name} has no application for history yet: `fraud deploy apply` makes it; "
                "local services have none"
            )
        return cls(outputs["Bucket"], outputs["HistoryApplication"], outputs["HistoryRole"], region)


def asked_for(settings: Deployment) -> History:
    """Return what the settings say of history; raise ConfigError where they ask for no application."""
    if settings.history is None:
        raise ConfigError(
            f"{settings.name} has no application for history: write `history: {{}}` into its settings, "
            "then `fraud deploy apply`"
        )
    return settings.history


class StartedRun(msgspec.Struct, frozen=True):
    """A run under way. work: URI of its folder, with a slash at its end."""

    id: str
    work: str
    application: str

    @property
    def log(self) -> str:
        """Return the URI of what the driver printed of errors; EMR puts it there while the run goes on."""
        return f"{self.work}{LOGS}applications/{self.application}/jobs/{self.id}/SPARK_DRIVER/stderr.gz"


class FinishedRun(msgspec.Struct, frozen=True):
    """A run that made its table, and what AWS bills for it."""

    run: JobRun
    report: dict[str, int | str | None]

    def lines(self, out: str) -> Iterator[str]:
        """Yield what is to be known of it; out: the URI of the table."""
        counts = {name: count for name, count in self.report.items() if isinstance(count, int)}
        yield (
            f"{counts['payments']:,} payments ({counts['refused']:,} rows refused, {counts['duplicates']:,} "
            f"duplicate, {counts['unmatched_labels']:,} labels without their payment), "
            f"{counts['labelled']:,} labelled, {counts['frauds']:,} frauds, {counts['features']} features"
        )
        yield f"the table is {out}"
        yield (
            f"{self.run.duration_s:,} s; AWS bills {self.run.vcpu_hours:.3f} vCPU-hours, "
            f"{self.run.memory_gb_hours:.3f} GB-hours of memory and {self.run.storage_gb_hours:.3f} of disk"
        )


class HistoryRuns:
    """Starts and follows the runs of one application."""

    def __init__(
        self, settings: History, target: Target, application: EmrApplication, files: S3Files, log: Log
    ) -> None:
        """Take the settings, and the ways to EMR Serverless and S3."""
        self._settings, self._target, self._log = settings, target, log
        self._application, self._files = application, files

    def start(self, order: Order, package: JobPackage) -> StartedRun:
        """Start a run, or find the one under way that makes the same table of the same objects.

        Raises ConfigError for what the role may not read or write, and for what is not there.
        """
        self._check(order)
        history, *labels = [self._files.version(uri) for uri in (order.data, *order.labels)]
        project = Artefact.of("params", order.project, ".yaml")
        main = Artefact.of("history-main", MAIN, ".py")
        description = JobDescription(
            self._uri(project.key), history, tuple(labels), order.out, work="", as_of=order.as_of
        )
        configuration = spark_configuration(self._settings, self._uri(package.key), self._target.region)
        name = _name([description, configuration, main.key, self._settings.timeout_minutes])
        # One that has ended was asked for before; one under way is found by its token.
        earlier = sum(run.name == name and not run.active for run in self._application.runs())
        token = f"{name}-{earlier}"
        work = self._uri(f"{RUNS}{token}/")
        for artefact in (project, main):
            self._files.put(self._uri(artefact.key), artefact.content)
        self._upload(package)
        self._files.put(f"{work}{DESCRIPTION}", msgspec.json.encode(replace(description, work=work)))
        request = JobRequest(
            name=name,
            role=self._target.role,
            entry_point=self._uri(main.key),
            arguments=(f"{work}{DESCRIPTION}",),
            configuration=configuration,
            logs=f"{work}{LOGS}",
            timeout_minutes=self._settings.timeout_minutes,
            token=token,
        )
        return StartedRun(self._application.start(request), work, self._target.application)

    def follow(self, started: StartedRun) -> FinishedRun:
        """Report the states of a run, and its own stages, until it has ended.

        Raises ConfigError with the job's reason where it has made no table.
        """
        shown, run, status = "", None, JobStatus("")
        for run in self._application.followed(started.id):
            status = read_status(self._files.get(f"{started.work}{STATUS}"))
            line = f"{run.state.lower()}{f': {status.stage}' if status.stage and run.active else ''}"
            if line != shown:
                self._log(f"run {started.id} {line}")
                shown = line
        assert run is not None  # noqa: S101 - a run that is followed is seen at least once
        if run.state != SUCCESS or status.report is None:
            reason = status.reason or run.details
            raise ConfigError(
                f"run {started.id} made no table ({run.state.lower()}): {reason}; the driver's log is "
                f"{started.log}"
            )
        return FinishedRun(run, status.report)

    def _check(self, order: Order) -> None:
        bucket = f"s3://{self._target.bucket}/"
        readable = [f"{bucket}{INPUTS}", *self._settings.read]
        for uri in (order.data, *order.labels):
            Location.of(uri)
            _check_below(uri, readable, MAY_NOT_READ)
        Location.of(order.out)
        _check_below(order.out, [f"{bucket}{TABLES}"], "tables go below it")

    def _upload(self, package: JobPackage) -> None:
        uri = self._uri(package.key)
        if uri in self._files.below(uri):
            return
        content = package.content()
        self._log(f"uploading {package.key} ({len(content):,} bytes)")
        self._files.put(uri, content)

    def _uri(self, key: str) -> str:
        return f"s3://{self._target.bucket}/{key}"


def spark_configuration(settings: History, package: str, region: str) -> dict[str, str]:
    """Return the settings of Spark: the sizes of its workers, how many, and where Python and its modules are.

    package: URI of the archive; each worker unpacks it into its working folder.  region: of the objects,
    which boto3 has to know in each process.
    """
    python, cores = f"/usr/bin/{settings.python}", settings.executors * CORES
    variables = {
        "PYSPARK_PYTHON": python,
        "PYTHONPATH": f"./{ENVIRONMENT}",
        "AWS_DEFAULT_REGION": region,
    }
    driver = {"PYSPARK_DRIVER_PYTHON": python, **variables}
    sizes = {
        "cores": str(CORES),
        "memory": f"{JVM_GB}g",
        "memoryOverhead": f"{MEMORY_GB - JVM_GB}g",
    }
    return {
        "spark.archives": f"{package}#{ENVIRONMENT}",
        **{f"spark.emr-serverless.driverEnv.{name}": value for name, value in driver.items()},
        **{f"spark.executorEnv.{name}": value for name, value in variables.items()},
        **{f"spark.{part}.{name}": size for part in ("driver", "executor") for name, size in sizes.items()},
        "spark.emr-serverless.driver.disk": f"{settings.disk_gb}g",
        "spark.emr-serverless.executor.disk": f"{settings.disk_gb}g",
        "spark.dynamicAllocation.initialExecutors": str(settings.executors),
        "spark.dynamicAllocation.maxExecutors": str(settings.executors),
        # As many tasks share the file as there will be cores, also while the first executors are starting.
        "spark.default.parallelism": str(cores),
    }


def _name(parts: Sequence[object]) -> str:
    """Return the name of the runs that would make the same table in the same way."""
    return f"history-{hashlib.sha256(msgspec.json.encode(parts, order='sorted')).hexdigest()[:16]}"


def _check_below(uri: str, prefixes: Sequence[str], what_to_do: str) -> None:
    if not any(uri.startswith(prefix) for prefix in prefixes):
        raise ConfigError(f"{uri}: is not below {' or '.join(prefixes)}; {what_to_do}")
