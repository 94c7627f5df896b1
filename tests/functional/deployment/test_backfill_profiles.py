"""History goes into either store of profiles, again without harm, never over what a stream has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from fraud_detection.adapters.aws.state.dynamodb_decisions import HISTORY, DynamoDedupIndex
from fraud_detection.adapters.aws.state.versioned_profiles import VersionedProfileStore
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.deployment.backfill_profiles import BackfillResult, backfill_profiles
from fraud_detection.serving.aws_lambda.profile_store import ProfilesChoice, profile_store
from fraud_detection.simulator.history_file import write_history
from fraud_detection.testing.dynamodb_fake import FakeDynamo
from fraud_detection.testing.feature_store_fake import FakeFeatureStore
from tests.conftest import SmallSimulation

GROUP = "live-card"


@pytest.mark.parametrize("kind", ["dynamodb", "feature-store"])
def test_history_comes_first_in_every_store(
    small_simulation: SmallSimulation, kind: Literal["dynamodb", "feature-store"], tmp_path: Path
) -> None:
    history = tmp_path / "history.parquet"
    write_history(msgspec.structs.replace(small_simulation.settings, days=10), history)
    bundle, dynamo, features = read_bundle(small_simulation.bundle), FakeDynamo(), FakeFeatureStore([GROUP])
    entities = list(small_simulation.project.schema.entities)
    clients: dict[str, Any] = {"dynamodb": dynamo, "sagemaker-featurestore-runtime": features}

    def process(shard: str) -> VersionedProfileStore:
        choice = ProfilesChoice(profiles_store=kind, feature_groups="live")
        store = profile_store(choice, "profiles", entities, clients.__getitem__)
        store.shard = shard
        return store

    def backfill() -> BackfillResult:
        dedup_index = DynamoDedupIndex(dynamo, "decisions", "labels")
        dedup_index.shard = HISTORY
        return backfill_profiles(bundle, history, process(HISTORY), dedup_index, lambda *_: None)

    first = backfill()
    assert len(dynamo.tables["profiles"]) + len(features.groups[GROUP]) == first.profiles
    assert bool(features.groups[GROUP]) is (kind == "feature-store")
    saves = features.calls["PutRecord"]
    assert backfill() == first
    assert features.calls["PutRecord"] == saves

    ids = [key.partition("#")[2] for key in dynamo.tables["profiles"] if key.startswith("card#")]
    key = (0, (ids or list(features.groups[GROUP]))[0])
    stream = process("shardId-000000000001")
    content = msgspec.msgpack.decode(stream.load([key])[key])[1]
    stream.save({key: msgspec.msgpack.encode(["7", [content, "and more"]])})
    changed = process(HISTORY).load([key])
    with pytest.raises(ConfigError, match="before the stream starts"):
        backfill()
    assert process(HISTORY).load([key]) == changed
