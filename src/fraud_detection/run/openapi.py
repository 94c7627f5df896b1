"""The description of the request door in OpenAPI, with the fields of the project's own payments."""

from __future__ import annotations

from typing import Any

from fraud_detection.config import Project, Schema
from fraud_detection.decision_record import schemas

Json = dict[str, Any]

ERRORS = {
    "400": "The request cannot be read.",
    "401": "No key, or an unknown one.",
    "403": "The key lacks the role.",
    "413": "The request is too large.",
    "415": "The body is packed: send it without Content-Encoding.",
    "429": "The key asks more than it may; Retry-After says when to ask again.",
    "431": "The headers have more than 64 kB.",
    "503": "Too much waits, the state cannot be written, or a process ends; Retry-After says when to try.",
}


def openapi(project: Project, version: str) -> Json:
    """Return the description as plain data."""
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Fraud decisions: {project.project}", "version": version},
        "paths": {
            "/v1/decisions": {
                "post": _post(
                    "Decide a payment, or a list of them",
                    "Payment",
                    ("DecisionRecord", "LabelRecord", "DuplicateRecord"),
                )
            },
            "/v1/decisions/{id}": {"get": _find()},
            "/v1/labels": {"post": _label()},
            "/healthz": {"get": _plain("The process lives")},
            "/readyz": {"get": _ready()},
            "/metrics": {
                "get": _plain("Counters and latencies, in the text format of Prometheus", secured=True)
            },
        },
        "components": {
            "schemas": {
                "Payment": payment(project.schema),
                "Label": label(project.schema),
                **schemas("#/components/schemas/{name}"),
                "Error": ERROR,
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def payment(schema: Schema) -> Json:
    """Return the JSON schema of a payment; what it does not name is ignored and counted."""
    fields: Json = {}
    if schema.transaction_id.field is not None:
        fields[schema.transaction_id.field] = {"type": "string", "description": "the transaction's id"}
    required = [name for name in (schema.transaction_id.field, schema.event_time.field) if name]
    if schema.event_time.field is not None:
        words = f"when it took place; format {schema.event_time.format}"
        fields[schema.event_time.field] = {"type": ["string", "number"], "description": words}
    if schema.amount is not None:
        fields[schema.amount.field] = {"type": "number", "description": "the amount, in major units"}
        required.append(schema.amount.field)
    for name, entity in schema.entities.items():
        fields[entity.field] = {"type": ["string", "null"], "description": f"the {name}"}
        required += [entity.field] if entity.required else []
    for name, number in schema.numbers.items():
        fields[number.field] = {"type": ["number", "null"], "description": f"the number {name}"}
    for name, category in schema.categories.items():
        fields[category.field] = {"type": ["string", "null"], "description": f"the category {name}"}
    if schema.place is not None:
        for field in (schema.place.latitude, schema.place.longitude):
            fields[field] = {"type": ["number", "null"], "description": "in degrees"}
    if schema.sent_at is not None:
        fields[schema.sent_at] = {"type": "integer", "description": "when it was sent, in ms since 1970"}
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": True}


def label(schema: Schema) -> Json:
    """Return the JSON schema of a label."""
    one = schema.transaction_id.field or "transaction_id"
    verdict = "label" if schema.label is None else schema.label.field
    known_at = "label_known_at" if schema.label is None else schema.label.known_at or "label_known_at"
    words = "of the payment: by it several workers know where the label belongs"
    ordering = [entity.field for entity in schema.entities.values()][:1]
    fields = {
        one: {"type": "string", "description": "of the payment"},
        **{field: {"type": ["string", "null"], "description": words} for field in ordering},
        verdict: {"description": "fraud or not, as the project file spells it"},
        known_at: {"type": ["string", "number"], "description": "when it became known"},
        "source": {"type": "string", "description": "who says so: chargeback, analyst, customer, rule ..."},
        "happened_at": {"type": ["string", "number"], "description": "when it was found out or claimed"},
    }
    return {"type": "object", "properties": fields, "required": [one, verdict, known_at]}


ERROR: Json = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "record": {"type": "object", "description": "of what was set aside"},
    },
    "required": ["type", "title", "status", "detail"],
}
RECORDS_OF_EVENTS = ("DecisionRecord", "LabelRecord", "QuarantineRecord", "ConflictRecord", "DuplicateRecord")
MOST_EVENTS = 500


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _post(summary: str, taken: str, given: tuple[str, ...]) -> Json:
    """Describe what takes one event, or a list of them whose events have an answer each."""
    any_record = {"oneOf": [_ref(name) for name in (*RECORDS_OF_EVENTS, "Error")]}
    one = {"oneOf": [_ref(name) for name in given]}
    return {
        "summary": summary,
        "security": [{"key": []}],
        "requestBody": {"required": True, "content": _content(_one_or_many(_ref(taken)))},
        "responses": {
            "200": _answer("The answer, or one for each of a list.", {"anyOf": [one, _list(any_record)]}),
            "409": _problem("Its id was given to another payment, which stands, or to one of the history."),
            "422": _problem("It can never be decided: the reason, and the path of the field."),
            **_errors(),
        },
    }


def _label() -> Json:
    described = _post("Tell what became known of a payment", "Label", ("LabelRecord", "DuplicateRecord"))
    described["responses"]["404"] = _problem("None of several workers knows the payment.")
    return described


def _find() -> Json:
    where = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "summary": "Look a decision up",
        "security": [{"key": []}],
        "parameters": [where],
        "responses": {
            "200": _answer("The decision.", _ref("DecisionRecord")),
            "404": _problem("There is none."),
            **_errors("413", "415", "431"),
        },
    }


def _ready() -> Json:
    status = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
    why = "It cannot commit, a part of its background work failed, or it ends."
    return {
        "summary": "The process answers, with this bundle",
        "responses": {"200": _answer("It is ready.", status), "503": _answer(why, status)},
    }


def _plain(summary: str, *, secured: bool = False) -> Json:
    kind = "text/plain" if secured else "application/json"
    found = {"description": "All is well.", "content": {kind: {}}}
    more = {status: words for status, words in _errors().items() if status in {"401", "403", "503"}}
    return {
        "summary": summary,
        "responses": {"200": found, **(more if secured else {})},
        **({"security": [{"key": []}]} if secured else {}),
    }


def _errors(*without: str) -> Json:
    return {status: _problem(words) for status, words in ERRORS.items() if status not in without}


def _problem(words: str) -> Json:
    return {"description": words, "content": {"application/problem+json": {"schema": _ref("Error")}}}


def _answer(words: str, schema: Json) -> Json:
    return {"description": words, "content": _content(schema)}


def _content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _one_or_many(schema: Json) -> Json:
    return {"oneOf": [schema, _list(schema)]}


def _list(schema: Json) -> Json:
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": MOST_EVENTS}
