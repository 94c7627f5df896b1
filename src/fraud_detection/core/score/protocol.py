"""Rows of features to an endpoint and predictions back: JSON, JSON Lines and CSV, by name first.

Columns are matched by their names, so that no order has to be agreed on.  A row that cannot be read
gets an error in its place; the others are scored.  No model and no network here: only bytes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from fraud_detection.core.errors import RejectError

JSON, JSON_LINES, CSV = "application/json", "application/jsonlines", "text/csv"
TYPES = (JSON, JSON_LINES, CSV)


class ScoreRequest(msgspec.Struct, frozen=True):
    """The rows of a request: each row as values in the model's order (NaN is missing), or what is wrong.

    explain_at: rows of this probability or more get reasons; None leaves that to the model.
    explain: indices of rows that get reasons whatever their probability.
    """

    rows: list[list[float] | str]
    explain_at: float | None = None
    explain: frozenset[int] = frozenset()


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result for one row: a score (log-odds) and a probability with reasons, or an error.

    reasons: features with what each adds to the log-odds, the strongest first.
    """

    score: float | None = None
    probability: float | None = None
    reasons: list[tuple[str, float]] = []
    error: str | None = None


class ScoreResponse(msgspec.Struct, frozen=True):
    """One prediction a row, in order, and the model that made them.

    bands: how many of the scores lie in each band of the model's own training; above_decline: how many it
    would decline by its own cut-off.  Only the model that scored can count them: while a new one goes out,
    the caller still holds the cut-offs of the old one.
    """

    bundle: str
    fingerprint: str
    predictions: list[Prediction]
    bands: list[int] = []
    above_decline: int = 0


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    rows: list[Any]
    features: list[str] | None = None
    fingerprint: str | None = None
    explain_at: float | None = None
    explain: frozenset[int] = frozenset()


def write_request(
    rows: Sequence[Sequence[float]],
    names: Sequence[str],
    fingerprint: str,
    explain_at: float,
    explain: Collection[int] = (),
) -> bytes:
    """Return a request as JSON; a missing value is null.

    >>> write_request([[1.5, math.nan]], ["amount", "age"], "f", 0.5)
    b'{"rows":[[1.5,null]],"features":["amount","age"],"fingerprint":"f","explain_at":0.5,"explain":[]}'
    """
    plain = [list(row) for row in rows]
    return msgspec.json.encode(_Request(plain, list(names), fingerprint, explain_at, frozenset(explain)))


def read_response(body: bytes) -> ScoreResponse:
    """Return an endpoint's response; raise RejectError when it cannot be read."""
    try:
        return msgspec.json.decode(body, type=ScoreResponse)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RejectError(f"the endpoint's answer cannot be read: {error}") from None


def read_request(body: bytes, content_type: str, names: Sequence[str], fingerprint: str) -> ScoreRequest:
    """Return the rows of a request, in the order of `names`; raise RejectError if it has none.

    >>> read_request(b'{"rows": [{"age": 7, "amount": "much"}, [1]]}', JSON, ["amount", "age"], "f").rows
    ["expected a number, got 'much' - at `amount`", 'expected 2 values, got 1']
    """
    kind = content_type.partition(";")[0].strip().lower() or JSON
    readers: dict[str, Callable[[], ScoreRequest]] = {
        JSON: lambda: _json(body, names, fingerprint),
        JSON_LINES: lambda: ScoreRequest([_line(line, names) for line in body.splitlines() if line.strip()]),
        CSV: lambda: ScoreRequest(_csv(body, names)),
    }
    reader = readers.get(kind)
    if reader is None:
        raise RejectError(f"cannot read {kind!r}; send one of {', '.join(TYPES)}")
    return reader()


def write_response(response: ScoreResponse, accept: str) -> tuple[bytes, str]:
    """Return the answer in the wanted type, JSON where any will do, and the type.

    >>> response = ScoreResponse("b", "f", [Prediction(score=0.0, probability=0.5), Prediction(error="no")])
    >>> write_response(response, "text/csv")[0].split()
    [b'score,probability,error', b'0.0,0.5,', b',,no']
    """
    if JSON_LINES in accept:
        return b"".join(
            [msgspec.json.encode(prediction) + b"\n" for prediction in response.predictions]
        ), JSON_LINES
    if CSV in accept:
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["score", "probability", "error"])
        writer.writerows(
            [
                [prediction.score, prediction.probability, prediction.error]
                for prediction in response.predictions
            ]
        )
        return out.getvalue().encode(), CSV
    return msgspec.json.encode(response), JSON


def _json(body: bytes, names: Sequence[str], fingerprint: str) -> ScoreRequest:
    try:
        request = msgspec.json.decode(body, type=_Request)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RejectError(f'expected {{"rows": [...]}}: {error}') from None
    if request.fingerprint is not None and request.fingerprint != fingerprint:
        raise RejectError(
            f"the rows were made of features {request.fingerprint}, this model was trained on {fingerprint}"
        )
    order = names if request.features is None else request.features
    unknown = sorted(set(names) - set(order))
    if request.features is not None and unknown:
        raise RejectError(f"the request does not name the features {', '.join(unknown)}", "$.features")
    return ScoreRequest(
        [_row(row, order, names) for row in request.rows], request.explain_at, request.explain
    )


def _line(line: bytes, names: Sequence[str]) -> list[float] | str:
    try:
        return _row(msgspec.json.decode(line), names, names)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return f"not valid JSON: {error}"


def _csv(body: bytes, names: Sequence[str]) -> list[list[float] | str]:
    try:
        rows = [row for row in csv.reader(io.StringIO(body.decode("utf-8-sig"))) if row]
    except (UnicodeError, csv.Error) as error:
        raise RejectError(f"not valid CSV: {error}") from None
    order = names
    if rows and set(names) <= set(rows[0]):
        order, rows = rows[0], rows[1:]
    return [_row([value or None for value in row], order, names) for row in rows]


def _row(row: object, order: Sequence[str], names: Sequence[str]) -> list[float] | str:
    """Return the row's values in the order of `names`, or what is wrong with it."""
    if isinstance(row, list):
        if len(row) != len(order):
            return f"expected {len(order)} values, got {len(row)}"
        row = dict(zip(order, row, strict=True))
    if not isinstance(row, Mapping):
        return f"expected an object or a list, got {type(row).__name__}"
    values: list[float] = []
    for name in names:
        value = _number(row.get(name))
        if value is None:
            return f"expected a number, got {row.get(name)!r:.60} - at `{name}`"
        values.append(value)
    return values


def _number(value: object) -> float | None:
    """Return the number, NaN where there is none to give, None where it is not one."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isinf(number) else number
