"""Where the Lambda function stores its profiles: chosen by a setting when it starts.

It knows the names of the stores, and nothing of what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from fraud_detection.adapters.aws.state.dynamodb_profiles import DynamoProfiles
from fraud_detection.adapters.aws.state.feature_store_profiles import FeatureStoreProfiles
from fraud_detection.adapters.aws.state.routed_profiles import ORDERING, RoutedProfiles
from fraud_detection.adapters.aws.state.versioned_profiles import VersionedProfileStore
from fraud_detection.core.errors import ConfigError


class ProfilesChoice(msgspec.Struct, frozen=True):
    """What the environment says of the profiles.

    profiles_store: where those of the entity that orders the stream are stored; all others are in the table.
    feature_groups: what the names of the feature groups begin with.  profiles_days: how long a profile is
    stored after it was saved last; 0 is for ever.
    """

    profiles_store: Literal["dynamodb", "feature-store"] = "dynamodb"
    feature_groups: str = ""
    profiles_days: int = 0


def profile_store(
    choice: ProfilesChoice, table: str, entities: Sequence[str], clients: Callable[[str], Any]
) -> VersionedProfileStore:
    """Return the store that was chosen; raise ConfigError where a setting is missing or cannot be."""
    shared = DynamoProfiles(clients("dynamodb"), table, entities, choice.profiles_days)
    if choice.profiles_store == "dynamodb":
        return shared
    if not choice.feature_groups or not entities:
        raise ConfigError(
            f"FRAUD_PROFILES_STORE is feature-store, FRAUD_FEATURE_GROUPS {choice.feature_groups!r}, and the "
            f"schema has {len(entities)} entities: name the prefix of the groups, for an entity at least"
        )
    runtime = clients("sagemaker-featurestore-runtime")
    ordering = entities[: ORDERING + 1]
    own = FeatureStoreProfiles(runtime, choice.feature_groups, ordering, days=choice.profiles_days)
    return RoutedProfiles(own, shared)
