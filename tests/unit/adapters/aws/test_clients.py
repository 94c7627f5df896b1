"""Clients of AWS are cheap: many are made by one process, and each cold start makes some."""

from __future__ import annotations

from collections import Counter

import pytest
from botocore.loaders import JSONFileLoader

from fraud_detection.adapters.aws import clients

LOCAL = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
}


def test_each_description_of_aws_is_read_once_for_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    load, read = JSONFileLoader.load_file, Counter[str]()

    def counted(self: JSONFileLoader, path: str) -> object:
        description = load(self, path)
        read[path] += description is not None
        return description

    monkeypatch.setattr(JSONFileLoader, "load_file", counted)
    clients._descriptions.cache_clear()
    for make in (clients.clients_of(LOCAL), clients.clients_of(LOCAL)):
        assert make("dynamodb") is not make("s3")
    assert max(read.values()) == 1
    assert sum(read.values()) > 2
