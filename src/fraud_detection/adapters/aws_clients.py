"""Clients of AWS, each made once in the same way; only the environment says where they call.

`AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` lead to local services, as AWS's own libraries define.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, NoRegionError

from fraud_detection.errors import ConfigError

CONNECT_S = 1.0
READ_S = {"sagemaker-runtime": 1.0}
READ_OTHERWISE_S = 5.0


PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 5})
"""For work that a person waits for: calls that are refused for a moment are repeated."""


@cache
def patient_client(service: str, region: str | None = None) -> Any:  # noqa: ANN401 - botocore makes its clients while running
    """Return a client that repeats calls by itself, as AWS's own tools do."""
    return _made(service, region, PATIENT)


@cache
def client(service: str, region: str | None = None) -> Any:  # noqa: ANN401 - botocore makes its clients while running
    """Return the client of a service; it never repeats a call by itself, because its callers do.

    region: null takes the one of the AWS profile or environment.
    """
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S.get(service, READ_OTHERWISE_S),
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
    )
    return _made(service, region, config)


def _made(service: str, region: str | None, config: Config) -> Any:  # noqa: ANN401 - botocore makes its clients while running
    try:
        return botocore.session.get_session().create_client(service, region, config=config)
    except NoRegionError:
        raise ConfigError(
            f"AWS {service}: in which region? Set AWS_DEFAULT_REGION, or `region` in the settings"
        ) from None
    except BotoCoreError as error:
        raise ConfigError(f"no client for AWS {service}: {error}") from None


def is_local() -> bool:
    """Tell whether the environment leads to local services instead of AWS."""
    return bool(os.environ.get("AWS_ENDPOINT_URL"))
