"""Clients of AWS, each made once in the same way; only the environment says where they call.

`AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` lead to local services, as AWS's own libraries define.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from fraud_detection.errors import ConfigError

CONNECT_S = 1.0
READ_S = {"sagemaker-runtime": 1.0}
READ_OTHERWISE_S = 5.0


@cache
def client(service: str) -> Any:  # noqa: ANN401 - botocore makes its clients while running
    """Return the client of a service; it never repeats a call by itself, because its callers do."""
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S.get(service, READ_OTHERWISE_S),
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
    )
    try:
        return botocore.session.get_session().create_client(service, config=config)
    except BotoCoreError as error:
        raise ConfigError(f"no client for AWS {service}: {error}") from None
