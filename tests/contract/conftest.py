"""What the suites of AWS's services run on, beside the fakes: local services, and moto's server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fraud_detection.adapters.aws.clients import clients_of
from tests.moto_server import moto_server
from tests.root import ROOT
from tools.local_aws.services import LocalServices

TOOLS = ROOT / ".venv-aws"


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return what makes clients of the local services."""
    if not (TOOLS / ".locked").exists():
        pytest.skip("the local services are not here: make .venv-aws/.locked")
    with LocalServices(TOOLS, tmp_path_factory.mktemp("services")) as services:
        yield clients_of(services.environment())


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return what makes clients of moto's server."""
    with moto_server(tmp_path_factory.mktemp("moto")) as clients:
        yield clients
