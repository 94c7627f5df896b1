"""What a bundle becomes when it is loaded, whoever computes its scores."""

from __future__ import annotations

import math

import msgspec

from fraud_detection.config import Project
from fraud_detection.decide.policy import Policy
from fraud_detection.decide.rules import compile_rules
from fraud_detection.features.extract import Extractor
from fraud_detection.features.fingerprint import fingerprint
from fraud_detection.features.memory import FeatureMemory
from fraud_detection.parse import Parser
from fraud_detection.pipeline import Answerer, Pipeline
from fraud_detection.ports import Ledger, Scorer, StateStore
from fraud_detection.score.bundle import Bundle
from fraud_detection.score.reasons import Reasons


class Engine(msgspec.Struct, frozen=True):
    """A bundle with its scorer, ready to be wired to state."""

    project: Project
    bundle: Bundle
    extractor: Extractor
    answerer: Answerer

    def pipeline(self, store: StateStore | None, ledger: Ledger, *, textual: bool = False) -> Pipeline:
        """Return the whole path, over the given state."""
        vocabulary = self.bundle.contents.features.vocabulary
        parser = Parser(self.project.schema, vocabulary, textual=textual)
        return Pipeline(parser, FeatureMemory(self.extractor, store), self.answerer, ledger)


def make_engine(bundle: Bundle, scorer: Scorer, project: Project | None = None) -> Engine:
    """Put a bundle and a scorer together; raise ConfigError when the features are not the bundle's.

    project: the project file of today, whose rules, policy and aliases take the place of the bundle's.
    """
    today = project or bundle.contents.project
    vocabulary = bundle.contents.features.vocabulary
    bundle.check_fingerprint(fingerprint(today, vocabulary))
    return Engine(today, bundle, Extractor(today, vocabulary), _answerer(today, bundle, scorer))


def _answerer(project: Project, bundle: Bundle, scorer: Scorer) -> Answerer:
    cutoffs, settings = bundle.manifest.cutoffs, project.policy
    features = bundle.contents.features
    review_at = cutoffs.review_at if settings.review_at is None else settings.review_at
    decline_at = cutoffs.decline_at if settings.decline_at is None else settings.decline_at
    usual = [math.nan if one.usual is None else one.usual for one in bundle.contents.reference.features]
    values = {f"{name}_code": list(shares) for name, shares in features.vocabulary.items()}
    return Answerer(
        Policy(settings.name, review_at, decline_at),
        compile_rules(project.rules, project.schema, features.names),
        scorer,
        Reasons(features.definitions, usual, values),
        settings.reasons,
        bundle.name,
    )
