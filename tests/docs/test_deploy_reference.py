"""Every setting of a deployment is explained, with the default that it has."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from fraud_detection.deployment.settings import Deployment, History
from fraud_detection.serving.aws_lambda.settings import ProcessorSettings
from tests.root import ROOT

TEXT = (ROOT / "docs/aws.md").read_text()


def keys(kind: type[msgspec.Struct]) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        yield field.encode_name
        if isinstance(field.default, msgspec.Struct):
            yield from keys(type(field.default))


@pytest.mark.parametrize("key", sorted({*keys(Deployment), *keys(History)}))
def test_every_key_of_a_deployment_is_explained(key: str) -> None:
    assert f"`{key}`" in TEXT or f".{key}`" in TEXT


@pytest.mark.parametrize("field", ProcessorSettings.__struct_fields__)
def test_every_variable_of_the_function_is_explained(field: str) -> None:
    assert f"`FRAUD_{field.upper()}`" in TEXT
