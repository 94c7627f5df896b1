"""A deployed system brought to life here: its own package on its own stream, its own model to ask."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fraud_detection.adapters.aws.cloudwatch_logs import LogWriter
from fraud_detection.adapters.aws.lambda_api import LambdaApi
from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.adapters.aws.sqs_queue import SqsQueue
from fraud_detection.core.errors import ConfigError
from tools.local_aws.event_source_mapping import EventSourceMapping
from tools.local_aws.local_function import LocalFunction
from tools.local_aws.log_forwarder import LogForwarder
from tools.local_aws.mapping_settings import MappingSettings
from tools.local_aws.model_server import ModelServer
from tools.local_aws.runtime import FunctionRuntime
from tools.local_aws.services import LocalServices
from tools.local_aws.shard_poller import PollIntervals

Client = Callable[[str], Any]


class LocalDeployment:
    """The Lambda function of one stack, for as long as a `with` block lasts.

    services: running.  clients: makes clients of them.  outputs: of the stack.  model: key of the model's
    archive in the stack's bucket.  intervals: how often a shard is read.
    variables: more for the function, over those that the stack gives it and those that lead to services.
    """

    def __init__(
        self,
        services: LocalServices,
        clients: Client,
        outputs: Mapping[str, str],
        model: str,
        *,
        intervals: PollIntervals | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Fetch package and model from where they were deployed; nothing is started."""
        folder = services.folder / f"deployment-{uuid.uuid4().hex[:8]}"
        self.functions: dict[str, FunctionRuntime] = {}
        self.model = ModelServer(Objects(clients("s3"), outputs["Bucket"]).get(model), folder / "ml")
        self._services, self._clients, self._outputs = services, clients, outputs
        self._logs: list[LogForwarder] = []
        api = LambdaApi(clients("lambda"))
        self._function = LocalFunction(
            api.function(outputs["Function"]), services.tools, _fresh(folder / "function")
        )
        self.variables = dict(variables or {})
        settings = MappingSettings.of(_only(api.mappings(outputs["Function"]), outputs["Function"]))
        queue = SqsQueue(clients("sqs"), settings.on_failure) if settings.on_failure else None
        self.mapping = EventSourceMapping(
            settings,
            clients("kinesis"),
            self._environment,
            queue.send if queue else None,
            intervals=intervals,
        )

    def __enter__(self) -> Self:
        """Start the model's server, then the mapping."""
        self.model.start()
        try:
            self.mapping.start()
        except BaseException:
            self.model.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop them; batches in hand are finished, and what was printed reaches the log."""
        try:
            self.mapping.stop()
        finally:
            self.model.stop()
            for log in self._logs:
                log.close()

    def flush_logs(self) -> None:
        """Bring all that was printed so far into the log."""
        for log in self._logs:
            log.flush()

    def _environment(self, shard: str) -> FunctionRuntime:
        stream = f"{shard}/{uuid.uuid4().hex}"
        log = LogForwarder(LogWriter(self._clients("logs"), self._outputs["LogGroup"], stream).put)
        self._logs.append(log)
        endpoints = self._services.environment() | self.model.environment() | self.variables
        made = self.functions[shard] = self._function.runtime(endpoints, log)
        return made


def _only(mappings: list[dict[str, Any]], function: str) -> dict[str, Any]:
    if len(mappings) != 1:
        raise ConfigError(f"function {function}: expected one event source mapping, found {len(mappings)}")
    return mappings[0]


def _fresh(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
