"""Hold calls of the Feature Store runtime against AWS's own description of it, which botocore carries.

botocore itself checks names, types and what is required; here patterns, lengths and allowed values too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

SERVICE = "sagemaker-featurestore-runtime"


@cache
def service() -> Any:  # noqa: ANN401 - botocore has no types
    """Return botocore's model of the service."""
    return botocore.session.get_session().get_service_model(SERVICE)


def wrongs(shape: Any, value: object) -> list[str]:  # noqa: ANN401 - botocore has no types
    """Return what about a value is not as the shape says, each with its path."""
    report = ParamValidator().validate(value, shape)
    return [report.generate_report()] if report.has_errors() else list(_limits(shape, value, ""))


def _limits(shape: Any, value: Any, at: str) -> Iterator[str]:  # noqa: ANN401 - botocore has no types
    """Yield the limits that a value of the right type breaks."""
    if shape.type_name == "structure":
        for name, part in value.items():
            yield from _limits(shape.members[name], part, f"{at}.{name}")
    elif shape.type_name == "list":
        yield from _length(shape, value, at)
        for index, part in enumerate(value):
            yield from _limits(shape.member, part, f"{at}[{index}]")
    elif shape.type_name == "string":
        yield from _length(shape, value, at)
        pattern, allowed = shape.metadata.get("pattern"), shape.metadata.get("enum")
        if pattern and not re.fullmatch(pattern, value):
            yield f"{at}: does not match {pattern}"
        if allowed and value not in allowed:
            yield f"{at}: is none of {allowed}"


def _length(shape: Any, value: Any, at: str) -> Iterator[str]:  # noqa: ANN401 - botocore has no types
    max_length = shape.metadata.get("max")
    if max_length is not None and len(value) > max_length:
        yield f"{at}: has length {len(value)}, more than {max_length}"
