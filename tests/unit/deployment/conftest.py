from __future__ import annotations

import pytest

from fraud_detection.core.score.score_bands import Bands
from fraud_detection.deployment.release import Release
from fraud_detection.deployment.settings import Deployment


@pytest.fixture
def release() -> Release:
    return Release(
        bundle="0123456789ab",
        fingerprint="fedcba9876543210",
        code="releases/processor-0011223344556677.zip",
        model="releases/model-8899aabbccddeeff.tar.gz",
        image="123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud-detection:1.0.0",
        entities=("card", "merchant", "device"),
        bands=Bands((0.001, 0.01, 0.1), (0.5, 0.4, 0.09, 0.01)),
    )


@pytest.fixture
def settings() -> Deployment:
    return Deployment(environment="golden", region="eu-central-1")
