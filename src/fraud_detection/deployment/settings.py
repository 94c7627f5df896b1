"""What a deployment can be configured with: deploy.yaml, decoded strictly, with a default for everything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from fraud_detection.core.decoding import Count, Settings, Share, decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.project.yaml_file import read_yaml

IMAGE = re.compile(
    r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/"  # the registry
    r"[a-z0-9._/-]+(:[\w.-]+|@sha256:[0-9a-f]{64})"
)
ENVIRONMENT = re.compile("[a-z][a-z0-9-]{0,19}")
BURSTABLE = ("ml.t2.", "ml.t3.")
MAX_SERVERLESS_MB = 6144
LOCAL_IMAGE = "000000000000.dkr.ecr.local.amazonaws.com/fraud-detection:local"
"""What local services take for an image: they run none."""

LogDays = Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096]
ReleaseLabel = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._/-]{1,64}$")]
S3Prefix = Annotated[str, Meta(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/([^*?$]*/)?$")]
"""A bucket, or a folder of one; it ends in a slash."""
InstanceType = Annotated[str, Meta(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]


class Stream(Settings, frozen=True):
    """The Kinesis stream.

    shards: 1,000 records/s and 1 MiB/s each; null means on-demand.  retention_hours: how long the stream
    keeps what could not be processed.  paused: records wait, while profiles are filled from history.
    """

    shards: Annotated[int, Meta(ge=1, le=500)] | None = 4
    retention_hours: Annotated[int, Meta(ge=24, le=8760)] = 168
    paused: bool = False


class Batches(Settings, frozen=True):
    """How records come to the function: the event source mapping.

    size: records at most a batch.  window_s: how long a batch may wait to fill.  retries: how often a batch
    that failed is tried again.  age_s: older records are dead-lettered.  They are named in the queue
    of failures, and stays in the stream for its retention.
    """

    size: Annotated[int, Meta(ge=1, le=10_000)] = 500
    window_s: Annotated[int, Meta(ge=0, le=300)] = 0
    retries: Annotated[int, Meta(ge=0, le=10_000)] = 100
    age_s: Annotated[int, Meta(ge=60, le=604_800)] = 21_600


class Function(Settings, frozen=True):
    """The Lambda function.

    budget_ms: how long the endpoint may take for one batch, retries included.  reserved_concurrency: so many
    invocations at once are kept for it, and it may take no more; null shares the account's with all others.
    A stream needs one a shard.
    """

    memory_mb: Annotated[int, Meta(ge=128, le=10_240)] = 1769
    timeout_s: Annotated[int, Meta(ge=5, le=900)] = 60
    budget_ms: Annotated[int, Meta(ge=50, le=30_000)] = 2_000
    reserved_concurrency: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    runtime: Literal["python3.11", "python3.12", "python3.13"] = "python3.11"


class Serverless(Settings, frozen=True):
    """An endpoint without instances: it starts when it is asked, and has neither canary nor data capture."""

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 2048
    concurrency: Annotated[int, Meta(ge=1, le=200)] = 20


class Scaling(Settings, frozen=True):
    """How an endpoint grows.  invocations: a minute and instance that are aimed at."""

    max_instances: Count = 4
    invocations: Annotated[float, Meta(gt=0)] = 6_000.0


class Canary(Settings, frozen=True):
    """How a new model goes out: to a share of the fleet first, to the rest when no alarm has risen.

    wait_s: how long the canary is watched; the alarms need six minutes.  bake_s: how long the old fleet is
    kept after that.
    """

    share: Annotated[float, Meta(gt=0, le=0.5)] = 0.1
    wait_s: Annotated[int, Meta(ge=360, le=3600)] = 600
    bake_s: Annotated[int, Meta(ge=0, le=3600)] = 300


class Endpoint(Settings, frozen=True):
    """The SageMaker endpoint.

    serverless: instead of instances.  scaling: null means a fixed number of instances; burstable ones
    (ml.t2, ml.t3) cannot scale.  capture: share of the requests stored in the bucket.
    """

    instance_type: InstanceType = "ml.t2.medium"
    instances: Annotated[int, Meta(ge=1, le=100)] = 2
    serverless: Serverless | None = None
    scaling: Scaling | None = None
    canary: Canary = Canary()
    capture: Share = 0.1


class Retention(Settings, frozen=True):
    """How long each kind of data is stored, in days.

    decisions: also how long a duplicate payment is known as such.  profiles: since the last payment.
    """

    logs: LogDays = 30
    decisions: Annotated[int, Meta(ge=8)] = 400
    profiles: Annotated[int, Meta(ge=1)] = 400
    quarantine: Annotated[int, Meta(ge=1)] = 400
    capture: Annotated[int, Meta(ge=1)] = 90


class History(Settings, frozen=True):
    """Where history that outgrows one machine is replayed: an application of EMR Serverless.

    release: of EMR, with Spark 4.0.  python: of the release, that runs the job.  executors: at most, beside
    the driver; each of them has 4 cores and 16 GB, and the driver too.  disk_gb: of each; 20 GB cost nothing.
    timeout_minutes: a run that takes longer is ended.  read: what it may read beside the bucket of the stack.
    """

    release: ReleaseLabel = "emr-spark-8.0.0"
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    python: Literal["python3.11", "python3.12", "python3.13"] = "python3.11"
    executors: Annotated[int, Meta(ge=1, le=500)] = 3
    disk_gb: Annotated[int, Meta(ge=20, le=200)] = 20
    timeout_minutes: Annotated[int, Meta(ge=5, le=10_080)] = 120
    read: tuple[S3Prefix, ...] = ()


class Alarms(Settings, frozen=True):
    """When somebody is notified, and when a new model is rolled back.

    email: who is notified; null means nobody but the dashboard.  error_rate: of the endpoint's requests.
    decline_rate, score_drift: of what the new model answers; drift is the population stability index against
    training.  quarantined_rate: of the events, those that cannot be read.  request_latency_ms: of a request
    to the endpoint, which holds all payments of a batch, up to 500.  iterator_age_s: age of the oldest
    record that waits.  Shares and drift count from `min_decisions` a minute on; two shares have an alarm for
    slower streams too.  roll_back: false lets a repair go out while an alarm stands.
    """

    email: str | None = None
    decline_rate: Share = 0.1
    degraded_rate: Share = 0.05
    score_drift: Annotated[float, Meta(gt=0)] = 0.5
    request_latency_ms: Annotated[float, Meta(gt=0)] = 200.0
    iterator_age_s: Annotated[int, Meta(ge=1)] = 60
    min_decisions: Count = 100
    error_rate: Share = 0.05
    quarantined_rate: Share = 0.05
    roll_back: bool = True


class Deployment(Settings, frozen=True):
    """One environment on AWS.

    environment: part of every name.  region: null takes the one of the AWS profile or environment.
    image: of the container, in ECR.  profiles: where those of the ordering entity are stored; all
    others are in DynamoDB.  protect: refuse `destroy`, and let AWS refuse it too.  history: null means that
    history is replayed elsewhere, and nothing is made for it.
    """

    environment: str = "demo"
    region: str | None = None
    image: str | None = None
    profiles: Literal["dynamodb", "feature-store"] = "dynamodb"
    protect: bool = False
    stream: Stream = Stream()
    batches: Batches = Batches()
    function: Function = Function()
    endpoint: Endpoint = Endpoint()
    retention: Retention = Retention()
    alarms: Alarms = Alarms()
    history: History | None = None

    @property
    def name(self) -> str:
        """Return what every name of this environment begins with; also the name of the stack.

        >>> Deployment(environment="prod").name
        'fraud-prod'
        """
        return f"fraud-{self.environment}"

    @property
    def function_name(self) -> str:
        """Return the name of the Lambda function."""
        return f"{self.name}-processor"

    @property
    def log_group(self) -> str:
        """Return the log group of the function."""
        return f"/aws/lambda/{self.function_name}"


def load_settings(path: Path) -> Deployment:
    """Read deploy.yaml; raise ConfigError with the path of a wrong key, or for what cannot be together."""
    advice = "write `environment: demo` into it, or name another with --settings"
    return check(decode(read_yaml(path, advice) or {}, Deployment, str(path)))


def check(settings: Deployment) -> Deployment:
    """Return the settings unless they contradict themselves."""
    endpoint, batches = settings.endpoint, settings.batches
    if not ENVIRONMENT.fullmatch(settings.environment):
        raise ConfigError(
            f"environment: {settings.environment!r} is part of every name; expected 1 to 20 lowercase "
            "letters, "
            "digits and '-', a letter first: of a role's name, region included, AWS takes at most 64 letters"
        )
    if settings.image is not None and not IMAGE.fullmatch(settings.image):
        raise ConfigError(
            f"image: {settings.image!r} is not an image that SageMaker takes; expected one in ECR, such as "
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud:1.0"
        )
    if endpoint.scaling and not endpoint.serverless and endpoint.instance_type.startswith(BURSTABLE):
        raise ConfigError(
            f"endpoint.scaling: SageMaker does not scale burstable instances ({endpoint.instance_type}); "
            "choose another instance_type, such as ml.c6i.large, or leave scaling out"
        )
    if endpoint.scaling and endpoint.scaling.max_instances < endpoint.instances:
        raise ConfigError(
            f"endpoint.scaling.max_instances: {endpoint.scaling.max_instances} is less than "
            f"endpoint.instances ({endpoint.instances})"
        )
    if endpoint.serverless and endpoint.scaling:
        raise ConfigError("endpoint: serverless scales by itself; leave scaling out")
    if batches.age_s > settings.stream.retention_hours * 3600:
        raise ConfigError(
            f"batches.age_s: {batches.age_s} s is more than the stream keeps "
            f"(stream.retention_hours: {settings.stream.retention_hours})"
        )
    if 2 * settings.function.budget_ms > 1000 * settings.function.timeout_s:
        raise ConfigError(
            f"function.budget_ms: {settings.function.budget_ms} ms must be at most half of timeout_s "
            f"({settings.function.timeout_s} s), or a slow endpoint becomes a failed batch"
        )
    concurrency, shards = settings.function.reserved_concurrency, settings.stream.shards
    if concurrency is not None and shards is not None and concurrency < shards:
        raise ConfigError(
            f"function.reserved_concurrency: {concurrency} invocations at once cannot serve {shards} shards "
            f"(stream.shards); choose {shards} or more, or leave it out"
        )
    return settings
