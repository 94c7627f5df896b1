"""The description of the HTTP service in OpenAPI, with the fields of the project's own payments.

What the service sends is described by the types that it encodes; no type says the paths and their statuses.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fraud_detection.adapters.http.responses import ProblemDetails
from fraud_detection.core.decision_record import RECORDS
from fraud_detection.core.project_schema import Project
from fraud_detection.serving.http.event_schemas import label_schema, payment_schema
from fraud_detection.serving.http.health import Readiness

Json = dict[str, Any]

ERRORS = {
    "400": "The request cannot be read.",
    "401": "No key, or an unknown one.",
    "403": "The key lacks the role.",
    "413": "The request is too large.",
    "415": "The body is packed: send it without Content-Encoding.",
    "429": "The key exceeds its rate limit; Retry-After says when to retry.",
    "431": "The headers have more than 64 kB.",
    "503": "The queue is full, the state cannot be written, or a process ends; see Retry-After.",
}


SENT, COMPONENTS = msgspec.json.schema_components(
    (*RECORDS, ProblemDetails, Readiness), ref_template="#/components/schemas/{name}"
)
DECISION, LABEL, QUARANTINE, CONFLICT, DUPLICATE, PROBLEM, READINESS = SENT
OF_KEYS = ("401", "403", "429")
"""Statuses that only exist where keys are required."""


def openapi(project: Project, version: str, *, with_keys: bool) -> Json:
    """Return the description as plain data; with_keys: whether callers need one."""
    schemes = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if with_keys else {}
    document = {
        "openapi": "3.1.0",
        "info": {"title": f"Fraud decisions: {project.project}", "version": version},
        "paths": _paths(),
        "components": {
            "schemas": {
                "Payment": payment_schema(project.schema),
                "Label": label_schema(project.schema),
                **COMPONENTS,
            },
            **schemes,
        },
    }
    return document if with_keys else _open_to_all(document)


def _paths() -> Json:
    metrics = "Counters and latencies, in the text format of Prometheus"
    return {
        "/v1/decisions": {"post": _decide()},
        "/v1/decisions/{id}": {"get": _find()},
        "/v1/labels": {"post": _label()},
        "/healthz": {"get": _plain("The process lives")},
        "/readyz": {"get": _ready()},
        "/metrics": {"get": _plain(metrics, secured=True)},
    }


def _open_to_all(document: Json) -> Json:
    """Take what belongs to keys out of a description."""
    for path in document["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
            for status in OF_KEYS:
                operation["responses"].pop(status, None)
    return document


IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "By it a payment without an id is known when it is sent again.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
CONFLICTS = (
    "Its id was given to another payment, which stands, or to one of the history; or its time has not come "
    "yet by the clock here."
)
ANY_EVENT: Json = {
    "description": "An event as it would come alone; each has its own result, an invalid one too."
}
MAX_EVENTS = 500


def _post(summary: str, schema: str, *records: Json) -> Json:
    """Describe an operation that takes one event, or a list with one result each."""
    taken = {"anyOf": [{"$ref": f"#/components/schemas/{schema}"}, _list(ANY_EVENT)]}
    any_result = {"oneOf": [DECISION, LABEL, QUARANTINE, CONFLICT, DUPLICATE, PROBLEM]}
    result = {"anyOf": [{"oneOf": [*records]}, _list(any_result)]}
    return {
        "summary": summary,
        "security": [{"key": []}],
        "requestBody": {"required": True, "content": _content(taken)},
        "responses": {
            "200": _response("The result, or one for each of a list.", result),
            "409": _problem(CONFLICTS),
            "422": _problem("Cannot be decided: the reason, and the path of the field."),
            **_errors(),
        },
    }


def _decide() -> Json:
    described = _post("Decide a payment, or a list of them", "Payment", DECISION, LABEL, DUPLICATE)
    return described | {"parameters": [IDEMPOTENCY_KEY]}


def _label() -> Json:
    described = _post("Report what became known of a payment", "Label", LABEL, DUPLICATE)
    described["responses"]["404"] = _problem("None of several workers knows the payment.")
    return described


def _find() -> Json:
    where = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "summary": "Look a decision up",
        "security": [{"key": []}],
        "parameters": [where],
        "responses": {
            "200": _response("The decision.", DECISION),
            "404": _problem("There is none."),
            **_errors("413", "415", "431"),
        },
    }


def _ready() -> Json:
    return {
        "summary": "Readiness, with the bundle in use",
        "responses": {
            "200": _response("Serving.", READINESS),
            "503": _response("It cannot commit, a part that payments need failed, or it ends.", READINESS),
        },
    }


def _plain(summary: str, *, secured: bool = False) -> Json:
    kind = "text/plain" if secured else "application/json"
    ok = {"description": "OK.", "content": {kind: {}}}
    more = {
        status: description for status, description in _errors().items() if status in {"401", "403", "503"}
    }
    return {
        "summary": summary,
        "responses": {"200": ok, **(more if secured else {})},
        **({"security": [{"key": []}]} if secured else {}),
    }


def _errors(*without: str) -> Json:
    return {status: _problem(description) for status, description in ERRORS.items() if status not in without}


def _problem(description: str) -> Json:
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": PROBLEM}},
    }


def _response(description: str, schema: Json) -> Json:
    return {"description": description, "content": _content(schema)}


def _content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _list(schema: Json) -> Json:
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": MAX_EVENTS}
