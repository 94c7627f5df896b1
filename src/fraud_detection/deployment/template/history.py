"""Where history is replayed on many machines: an application of EMR Serverless, and what its jobs may do.

It is made where the settings ask for it.  Nothing of it is paid for while no job runs: no worker is kept
ready, and an idle application stops.
"""

from __future__ import annotations

from typing import Any

from fraud_detection.deployment.settings import Deployment, History
from fraud_detection.deployment.template.resources import (
    ON_AWS,
    Resources,
    allow,
    arn,
    resource,
    role,
    sub,
)

CORES, MEMORY_GB = 4, 16
"""Of the driver and of each executor; it is the size that EMR takes by itself."""
IDLE_MINUTES = 5
RUNS = "history-runs/"
INPUTS = "history/"
TABLES = "features/"
ARCHITECTURES = {"x86_64": "X86_64", "arm64": "ARM64"}


def history(settings: Deployment) -> Resources:
    """Return the application and its role; nothing where the settings do not ask for it."""
    if settings.history is None:
        return {}
    return {
        "HistoryRole": role(
            f"{settings.name}-history", "emr-serverless.amazonaws.com", _allowed(settings.history)
        )
        | {"Condition": ON_AWS},
        "HistoryApplication": resource(
            "EMRServerless::Application",
            {
                "Name": f"{settings.name}-history",
                "Type": "SPARK",
                "ReleaseLabel": settings.history.release,
                "Architecture": ARCHITECTURES[settings.history.architecture],
                "AutoStartConfiguration": {"Enabled": True},
                "AutoStopConfiguration": {"Enabled": True, "IdleTimeoutMinutes": IDLE_MINUTES},
                "MaximumCapacity": _maximum(settings.history),
            },
            Condition=ON_AWS,
        ),
    }


def history_outputs(settings: Deployment) -> dict[str, Any]:
    """Return what `fraud deploy history` looks up; local services have neither."""
    if settings.history is None:
        return {}
    return {
        "HistoryApplication": {"Value": {"Ref": "HistoryApplication"}, "Condition": ON_AWS},
        "HistoryRole": {"Value": arn("HistoryRole"), "Condition": ON_AWS},
    }


def _maximum(chosen: History) -> dict[str, str]:
    workers = chosen.executors + 1
    return {
        "Cpu": f"{workers * CORES} vCPU",
        "Memory": f"{workers * MEMORY_GB} GB",
        "Disk": f"{workers * chosen.disk_gb} GB",
    }


def _allowed(chosen: History) -> list[dict[str, Any]]:
    """Return what a job may do: read code and history, write tables, and keep what is its own."""
    inputs = [sub(f"${{Bucket.Arn}}/{prefix}*") for prefix in ("releases/", INPUTS)]
    others = [sub(f"arn:${{AWS::Partition}}:s3:::{prefix.removeprefix('s3://')}*") for prefix in chosen.read]
    own = sub(f"${{Bucket.Arn}}/{RUNS}*")
    tables = sub(f"${{Bucket.Arn}}/{TABLES}*")
    listed = {"Condition": {"StringLike": {"s3:prefix": [f"{RUNS}*", "releases/*"]}}}
    return [
        allow(["s3:GetObject"], *inputs, *others, own),
        allow(["s3:PutObject", "s3:AbortMultipartUpload"], tables, own),
        allow(["s3:DeleteObject"], own),
        allow(["s3:ListBucket"], arn("Bucket"), **listed),
    ]
