"""A loaded bundle, whatever computes its scores."""

from __future__ import annotations

import hashlib
import math
import os
from typing import Any

import msgspec

from fraud_detection.core.decide.control_group import ControlGroupSampler
from fraud_detection.core.decide.decline_cap import DeclineCap
from fraud_detection.core.decide.policy import Policy
from fraud_detection.core.decide.rules import compile_rules
from fraud_detection.core.decoding import decode, to_plain
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.fingerprint import fingerprint
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.parse import Parser
from fraud_detection.core.ports import DedupIndex, Scorer, StateStore
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.core.score.reasons import Reasons
from fraud_detection.engine.decision_engine import DecisionStrategy
from fraud_detection.engine.pipeline import Pipeline


class Configuration(msgspec.Struct, frozen=True):
    """What decides: the bundle and the whole project file of that day, named by a hash of their content.

    Every decision names its `config_id`, so that it can be made again later.
    """

    config_id: str
    content: bytes

    @classmethod
    def of(cls, bundle: str, project: Project) -> Configuration:
        """Name a bundle with a project file; equal contents have equal names.

        Keys keep their order: that of a schema's entities has a meaning.
        """
        # Decoded once more, so that a whole number where a fraction may stand is written as one.
        read = decode(to_plain(project), Project, "project")
        content = msgspec.json.encode(_Content(bundle, to_plain(read)))
        return cls(_digest(content), content)

    @property
    def is_intact(self) -> bool:
        """Return whether the content is the one that was named so."""
        return self.config_id == _digest(self.content)

    def read(self) -> tuple[str, Project]:
        """Return the bundle's name and the project file; raise ConfigError when they cannot be read."""
        try:
            content = msgspec.json.decode(self.content, type=_Content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(
                f"configuration {self.config_id}: its content cannot be read: {error}"
            ) from None
        return content.bundle, decode(content.project, Project, f"configuration {self.config_id}")


class _Content(msgspec.Struct, frozen=True):
    bundle: str
    project: dict[str, Any]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


class Engine(msgspec.Struct, frozen=True):
    """A bundle with its scorer, ready to be wired to state."""

    project: Project
    bundle: Bundle
    extractor: Extractor
    strategy: DecisionStrategy
    configuration: Configuration

    def pipeline(
        self, store: StateStore | None, dedup_index: DedupIndex, *, textual: bool = False
    ) -> Pipeline:
        """Return the whole path, over the given state."""
        category_encoding = self.bundle.contents.features.category_encoding
        parser = Parser(self.project.schema, category_encoding, textual=textual)
        pipeline = Pipeline(parser, ProfileCache(self.extractor, store), self.strategy, dedup_index)
        if self.project.decline_cap is not None:
            pipeline.decision_engine.decline_cap = DeclineCap(self.project.decline_cap)
        return pipeline


def make_engine(
    bundle: Bundle, scorer: Scorer, project: Project | None = None, configuration: Configuration | None = None
) -> Engine:
    """Put a bundle and a scorer together; raise ConfigError when the features are not the bundle's.

    project: the project file of today, whose rules, policy and aliases take the place of the bundle's.
    configuration: as it was stored, where it was: a later version, with settings of which it knows nothing,
    would name the same project otherwise.
    """
    current_project = project or bundle.contents.project
    category_encoding = bundle.contents.features.category_encoding
    bundle.check_fingerprint(fingerprint(current_project, category_encoding))
    configuration = configuration or Configuration.of(bundle.name, current_project)
    strategy = _strategy(current_project, bundle, scorer, configuration)
    return Engine(
        current_project, bundle, Extractor(current_project, category_encoding), strategy, configuration
    )


def _strategy(
    project: Project, bundle: Bundle, scorer: Scorer, configuration: Configuration
) -> DecisionStrategy:
    cutoffs, settings = bundle.manifest.cutoffs, project.policy
    features = bundle.contents.features
    review_at = cutoffs.review_at if settings.review_at is None else settings.review_at
    decline_at = cutoffs.decline_at if settings.decline_at is None else settings.decline_at
    typical = [
        math.nan if feature.typical_value is None else feature.typical_value
        for feature in bundle.contents.reference.features
    ]
    values = {f"{name}_code": list(shares) for name, shares in features.category_encoding.items()}
    return DecisionStrategy(
        Policy(settings.name, review_at, decline_at),
        compile_rules(project.rules, project.schema, features.names, project.lists),
        scorer,
        Reasons(features.definitions, typical, values),
        settings.reasons,
        bundle.name,
        configuration.config_id,
        _control_group_sampler(project),
    )


def _control_group_sampler(project: Project) -> ControlGroupSampler | None:
    settings = project.control_group
    if settings is None:
        return None
    key = os.environ.get(settings.key_variable, "")
    if not key:
        raise ConfigError(
            "`control_group` needs a key, so that nobody can predict who is assigned: set "
            f"{settings.key_variable} to some long random text, the same on every machine"
        )
    decimals = 2 if project.schema.amount is None else project.schema.amount.decimals
    return ControlGroupSampler(
        settings.sampling_rate, round(settings.max_amount * 10**decimals), key.encode()
    )
