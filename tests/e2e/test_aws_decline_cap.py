"""A project with a decline cap and a control group, deployed: four shards that decline together what one may.

Skipped where the local services are not installed (`make .venv-aws/.locked`).
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fraud_detection.adapters.aws.clients import clients_of
from fraud_detection.adapters.aws.kinesis_producer import KinesisProducer, KinesisReceiver
from fraud_detection.adapters.aws.state.dynamodb_decisions import DynamoDedupIndex
from fraud_detection.core.decision_settings import ControlGroupSettings
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import assemble
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_decline_cap import MAX_DECLINES, project_of, stream_of
from tests.root import ROOT
from tools.aws_demo.demo import deployed, local_settings
from tools.local_aws.local_deployment import LocalDeployment
from tools.local_aws.shard_poller import PollIntervals

TOOLS = ROOT / ".venv-aws"
POLL_INTERVALS = PollIntervals(poll_s=0.05, lagging_poll_s=0.02, initial_backoff_s=0.02, max_backoff_s=0.2)
PAYMENTS, BATCH, SHARDS = 600, 5, 4
TIMEOUT_S = 120.0

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (TOOLS / ".locked").exists(), reason="the local services are not here: make .venv-aws/.locked"
    ),
]


def test_a_project_with_every_limit_decides_on_aws_and_keeps_its_bound(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    plain = read_bundle(small_simulation.bundle)
    project = msgspec.structs.replace(
        project_of(small_simulation), control_group=ControlGroupSettings(sampling_rate=0.2, max_amount=1e9)
    )
    bundle = assemble(msgspec.structs.replace(plain.contents, project=project), plain.manifest)
    settings = local_settings("limit", batches={"size": BATCH, "retries": 1000}, stream={"shards": SHARDS})
    with deployed(bundle, settings, TOOLS, tmp_path, lambda _: None) as (cloud, release, services):
        clients, outputs = clients_of(services.environment()), cloud.stack.outputs()
        deployment = LocalDeployment(services, clients, outputs, release.model, intervals=POLL_INTERVALS)
        with deployment:
            producer = KinesisProducer(clients("kinesis"), outputs["Stream"])
            receiver = KinesisReceiver(producer, ("card_id", "transaction_id"))
            for event in stream_of(small_simulation, PAYMENTS):
                receiver.write(event)
            receiver.close()
            assert deployment.mapping.drained(TIMEOUT_S), services.tail()
        assert (
            sum(shard_progress.dead_lettered for shard_progress in deployment.mapping.progress.values()) == 0
        )
        dedup_index = DynamoDedupIndex(clients("dynamodb"), outputs["DecisionsTable"], outputs["LabelsTable"])
        stored = list(dedup_index.decisions())
    assert len(stored) == PAYMENTS
    assert MAX_DECLINES <= sum(item.declined for item in stored) <= MAX_DECLINES + (SHARDS - 1) * BATCH
    assert any(json.loads(item.line).get("control_group") for item in stored)
