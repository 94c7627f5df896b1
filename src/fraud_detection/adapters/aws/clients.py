"""Clients of AWS, each made once in the same way; only the environment says where they call.

`AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` lead to local services, as AWS's own libraries define.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, NoRegionError

from fraud_detection.core.errors import ConfigError

CONNECT_S = 1.0
READ_S = {"sagemaker-runtime": 1.0}
READ_OTHERWISE_S = 5.0
PATIENT_ATTEMPTS = 5


@cache
def client(service: str, region: str | None = None) -> Any:  # noqa: ANN401 - botocore makes its clients while running
    """Return the client of a service; it never repeats a call by itself, because its callers do.

    region: None takes the one of the AWS profile or environment.
    """
    return _client(service, region, _once(service))


@cache
def patient_client(service: str, region: str | None = None) -> Any:  # noqa: ANN401 - botocore makes its clients while running
    """Return a client that repeats calls by itself, for work that a person waits for."""
    return _client(
        service, region, Config(retries={"mode": "standard", "total_max_attempts": PATIENT_ATTEMPTS})
    )


def clients_of(environment: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a client factory for another environment than this process's: that of local services.

    >>> make = clients_of({
    ...     "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
    ...     "AWS_REGION": "eu-central-1",
    ...     "AWS_ACCESS_KEY_ID": "local",
    ...     "AWS_SECRET_ACCESS_KEY": "local",
    ... })
    >>> make("kinesis").meta.endpoint_url, make("kinesis") is make("kinesis")
    ('http://127.0.0.1:4566', True)
    """
    where = {
        "endpoint_url": environment["AWS_ENDPOINT_URL"],
        "aws_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
    }
    return cache(lambda service: _client(service, environment["AWS_REGION"], _once(service), **where))


def is_local() -> bool:
    """Return whether the environment leads to local services instead of AWS."""
    return bool(os.environ.get("AWS_ENDPOINT_URL"))


def _once(service: str) -> Config:
    return Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S.get(service, READ_OTHERWISE_S),
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
        # A fifth of a batch's time, for requests that only this project makes.
        parameter_validation=False,
    )


@cache
def _descriptions() -> Any:  # noqa: ANN401 - botocore's loader
    """Return a loader of AWS's service descriptions that reads each file once, not once a client."""
    return botocore.session.get_session().get_component("data_loader")


def _client(service: str, region: str | None, config: Config, **where: str) -> Any:  # noqa: ANN401 - botocore makes its clients while running
    session = botocore.session.get_session()
    session.register_component("data_loader", _descriptions())
    try:
        return session.create_client(service, region, config=config, **where)
    except NoRegionError:
        raise ConfigError(
            f"AWS {service}: in which region? Set AWS_DEFAULT_REGION, or `region` in the settings"
        ) from None
    except (BotoCoreError, ValueError) as error:
        # botocore says ValueError of an AWS_ENDPOINT_URL without http://
        raise ConfigError(f"no client for AWS {service}: {error}") from None
