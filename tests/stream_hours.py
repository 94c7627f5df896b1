"""A deployed stream, minute by minute: what comes in, what is handed to the function, and what is measured.

The function is the real one, on stand-ins for the services.  Its own metrics are read from the lines that
it logs, as CloudWatch reads them; those of AWS follow from what happened: records that were put, reads of
the mapping, invocations and their errors, requests of the endpoint, batches that were dead-lettered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from botocore.exceptions import ClientError

from fraud_detection.core.score.archive import read_bundle
from fraud_detection.deployment.release import Release, prepare
from fraud_detection.deployment.settings import Deployment
from fraud_detection.deployment.template.model import endpoint_name
from fraud_detection.deployment.template.monitoring import VARIANT
from fraud_detection.deployment.template.stream import stream_name
from fraud_detection.serving.aws_lambda.batch import ShardEvent
from fraud_detection.serving.aws_lambda.handler import Processor
from fraud_detection.testing.aws_fakes import refusal
from tests.cloudwatch import Metrics
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud

SHARD = "shardId-000000000000"
BATCH = 500
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud:1"


class StreamHours:
    """One shard and its function.

    read: whether the mapping reads the stream.  others_read: whether somebody else does.  retries: how often
    a batch is tried again before it is dead-lettered.  latency_ms: of the endpoint.  late: records come at
    the very end of a minute, and are handed over in the next.
    """

    def __init__(self, simulation: SmallSimulation) -> None:
        self.cloud = Cloud(simulation)
        self.settings = Deployment(environment=self.cloud.settings.environment, region="eu-central-1")
        self.release: Release = prepare(read_bundle(simulation.bundle), b"", IMAGE)[0]
        self.metrics, self.now = Metrics(), 0
        self.read, self.others_read, self.late = True, False, False
        self.retries, self.latency_ms = 1_000, 20.0
        self._invoke = self.cloud.runtime.invoke_endpoint
        self.cloud.runtime.invoke_endpoint = self._measured  # type: ignore[method-assign]
        self.processor: Processor = self.cloud.processor()
        self._backlog: list[tuple[int, ShardEvent]] = []
        self._put = self._tried = self._size = self._dead_lettered = self._logged = 0

    def minute(self, events: Iterable[bytes] = ()) -> None:
        """Let a minute pass in which these events come in."""
        records = [
            (self.now, ShardEvent(str(FIRST + self._put + at), event, 1.0)) for at, event in enumerate(events)
        ]
        self._put += len(records)
        if records:
            self._measure("AWS/Kinesis", "IncomingRecords", [float(len(records))], StreamName=self._stream)
        ready, waiting = ([], records) if self.late else (records, [])
        self._backlog += ready
        if self.read or self.others_read:
            self._measure("AWS/Kinesis", "GetRecords.Success", [1.0] * 60, StreamName=self._stream)
        if self.read:
            self._hand_over()
        self._backlog += waiting
        if self._dead_lettered:
            name, queue = "ApproximateNumberOfMessagesVisible", f"{self.settings.name}-failures"
            self._measure("AWS/SQS", name, [float(self._dead_lettered)], QueueName=queue)
        self.now += 1

    @property
    def _stream(self) -> str:
        return stream_name(self.settings)

    def _hand_over(self) -> None:
        """Invoke the function until nothing waits, or a batch has to be tried again."""
        while self._backlog:
            # A batch that comes again is the same one, whatever came in meanwhile.
            batch = self._backlog[: self._size or BATCH]
            failed = self._fails([record for _, record in batch], self.now - batch[-1][0])
            is_dead_lettered = failed and self._tried == self.retries
            self._dead_lettered += is_dead_lettered
            if failed and not is_dead_lettered:
                self._tried, self._size = self._tried + 1, len(batch)
                return
            self._backlog = self._backlog[len(batch) :]
            self._tried = self._size = 0

    def _fails(self, records: list[ShardEvent], age_min: int) -> bool:
        """Invoke the function; tell whether the batch has to come again."""
        mine = {"FunctionName": self.settings.function_name}
        self._measure("AWS/Lambda", "IteratorAge", [60_000.0 * age_min], **mine)
        raised = False
        try:
            failed = bool(self.processor.handle(SHARD, records))
        except Exception:  # noqa: BLE001 - Lambda takes any error for the failure of the batch
            failed = raised = True
        self._measure("AWS/Lambda", "Errors", [float(raised)], **mine)
        for line in self.cloud.lines[self._logged :]:
            self._count(line)
        self._logged = len(self.cloud.lines)
        return failed

    def _count(self, line: dict[str, Any]) -> None:
        """Make the metrics of a line of the log in CloudWatch's embedded metric format."""
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
            for dimensions in directive["Dimensions"]:
                named = {name: line[name] for name in dimensions}
                for metric in directive["Metrics"]:
                    value = line[metric["Name"]]
                    values = value if isinstance(value, list) else [value]
                    self._measure(directive["Namespace"], metric["Name"], values, **named)

    def _measured(self, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
        failed = 0.0
        try:
            return self._invoke(**arguments)
        except ClientError as error:
            failed = float(error.response["Error"]["Code"] == "ModelError")
            raise
        finally:
            mine = {"EndpointName": endpoint_name(self.settings, self.release), "VariantName": VARIANT}
            self._measure("AWS/SageMaker", "Invocation5XXErrors", [failed], **mine)
            self._measure("AWS/SageMaker", "ModelLatency", [1000 * self.latency_ms], **mine)

    def _measure(self, namespace: str, name: str, values: list[float], **dimensions: str) -> None:
        self.metrics.put(self.now, namespace, name, values, **dimensions)


def refuse(code: str) -> Callable[..., object]:
    """Return what refuses every call of a stand-in."""

    def fault(operation: str = "InvokeEndpoint") -> None:
        raise refusal(code, operation)

    return fault
