"""The deployed package on local services behind the interface of all ways of serving."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fraud_detection.adapters.aws.clients import clients_of
from fraud_detection.adapters.aws.cloudformation import Stack
from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.adapters.aws.state.dynamodb_decisions import DynamoDedupIndex
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import assemble
from fraud_detection.deployment import apply as applying
from fraud_detection.deployment.logs import entries
from fraud_detection.deployment.package import package
from fraud_detection.deployment.release import prepare
from fraud_detection.deployment.settings import LOCAL_IMAGE
from tests.e2e.stream_ground_truth import log_lines, records
from tests.ways_of_serving import LOGGED, Case, Part, Result, log_result
from tools.aws_demo.demo import local_settings
from tools.local_aws.local_deployment import LocalDeployment
from tools.local_aws.services import LocalServices
from tools.local_aws.shard_poller import PollIntervals

POLL_INTERVALS = PollIntervals(poll_s=0.05, lagging_poll_s=0.02, initial_backoff_s=0.02, max_backoff_s=0.2)
TIMEOUT_S = 60.0
PAUSE_S = 0.05


class DeployedWay:
    """A stack of its own for each stream; one shard, so that the order is the stream's.

    A function that is killed starts cold, with what the tables keep.
    """

    name = "deployed"
    kinds = LOGGED

    def __init__(self, services: LocalServices) -> None:
        self.services = services
        self.clients: Callable[[str], Any] = clients_of(services.environment())

    def decide(self, case: Case, cuts: Sequence[Part], folder: Path) -> Result:  # noqa: ARG002 - it has one
        whole = read_bundle(case.bundle)
        contents = msgspec.structs.replace(whole.contents, project=case.project)
        bundle = assemble(contents, whole.manifest)
        settings = local_settings("same", stream={"shards": 1}, batches={"retries": 1000})
        stack = Stack(self.clients("cloudformation"), settings.name, PAUSE_S)
        cloud = applying.Cloud(
            stack, lambda name: Objects(self.clients("s3"), name), local=True, environment=os.environ
        )
        release, artefacts = prepare(bundle, package(bundle, settings.function), LOCAL_IMAGE)
        applying.apply(settings, release, artefacts, cloud, lambda _: None)
        try:
            return self._through(case, cuts, stack.outputs(), release.model)
        finally:
            applying.destroy(settings, cloud, lambda _: None)

    def _through(self, case: Case, cuts: Sequence[Part], outputs: dict[str, str], model: str) -> Result:
        deployment = LocalDeployment(self.services, self.clients, outputs, model, intervals=POLL_INTERVALS)
        kinesis = self.clients("kinesis")
        with deployment:
            for part in cuts:
                if part.before:
                    for function in deployment.functions.values():
                        function.kill()
                events = case.events[part.start : part.stop]
                put = [{"PartitionKey": "one", "Data": event} for event in events]
                assert (
                    kinesis.put_records(StreamName=outputs["Stream"], Records=put)["FailedRecordCount"] == 0
                )
                assert deployment.mapping.drained(TIMEOUT_S), self.services.tail()
        came = [one for _, one in records(kinesis, deployment.mapping.settings.stream_arn)]
        assert [one.data for one in came] == case.events
        log = as_configured(case, entries(log_lines(self.clients("logs"), outputs["LogGroup"])))
        result = log_result(case, log, {one.number: index for index, one in enumerate(came)})
        dedup_index = DynamoDedupIndex(
            self.clients("dynamodb"), outputs["DecisionsTable"], outputs["LabelsTable"]
        )
        assert len(list(dedup_index.decisions())) == len(result.of_kinds(frozenset({"decision"})))
        return result


def as_configured(case: Case, log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the log as of the case's bundle under another project file.

    A package holds a bundle with that project in it, which has a name of its own, and so has its
    configuration.
    """
    decisions = [line for line in log if line["type"] == "decision"]
    assert len({(line["bundle"], line["config_id"]) for line in decisions}) == 1
    mine = {"bundle": case.engine.bundle.name, "config_id": case.engine.configuration.config_id}
    return [line | mine if line["type"] == "decision" else line for line in log]
