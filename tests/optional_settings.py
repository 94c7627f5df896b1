"""Every optional setting of the project file, each with a stream in which it matters.

A setting is a function from a project to a project, and one from a stream to a stream.  `matters` says what
of the reference's records shows that the setting was at work: a table in which nothing happens finds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from fraud_detection.core.decision_settings import (
    ControlGroupSettings,
    DeclineCapSettings,
    ListEntry,
    ListSettings,
    PolicySettings,
    RuleSettings,
)
from fraud_detection.core.decoding import Duration, Moment
from fraud_detection.core.project_schema import IdSource, Project

Event = dict[str, Any]
Stream = list[bytes]
BOUGHT = RuleSettings(name="bought", when="amount >= 12", action="decline", message="not small")
DECLINE_CAP = DeclineCapSettings(interval=Duration.parse("12h"), share=0.1, count=5, min_payments=20)
CONTROL = ControlGroupSettings(sampling_rate=0.4, max_amount=60.0)


class Setting(msgspec.Struct, frozen=True):
    """One row of the table.  without_amount: it needs the bundle that was trained on no amounts."""

    name: str
    matters: str
    project: Callable[[Project], Project] = lambda project: project
    stream: Callable[[Stream], Stream] = lambda events: events
    without_amount: bool = False


def replaced(**fields: Any) -> Callable[[Project], Project]:  # noqa: ANN401 - those of the project
    return lambda project: msgspec.structs.replace(project, **fields)


def changed(change: Callable[[int, Event], Event | None]) -> Callable[[Stream], Stream]:
    """Return a transformer of the events that are payments; one that is None is left out."""

    def transformed(events: Stream) -> Stream:
        results = []
        for index, raw in enumerate(events):
            event = read(raw)
            payload = event if event is None or event.get("type") == "label" else change(index, event)
            if event is None or payload is event:
                results.append(raw)
            elif payload is not None:
                results.append(json.dumps(payload).encode())
        return results

    return transformed


def read(raw: bytes) -> Event | None:
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def payments(events: Stream) -> list[Event]:
    found = [read(raw) for raw in events]
    return [item for item in found if item is not None and "amount" in item and item.get("transaction_id")]


def woven(*more: Callable[[Stream], list[tuple[int, Event | bytes]]]) -> Callable[[Stream], Stream]:
    """Return a transformer that puts events in: each behind the index that it names."""

    def transformed(events: Stream) -> Stream:
        at: dict[int, list[bytes]] = {}
        for make in more:
            for index, one in make(events):
                at.setdefault(index, []).append(one if isinstance(one, bytes) else json.dumps(one).encode())
        return [one for index, raw in enumerate(events) for one in (raw, *at.get(index, []))]

    return transformed


def labels(events: Stream) -> list[tuple[int, Event | bytes]]:
    """Return labels of all kinds: of what came, of what comes later, told twice, corrected, of nothing."""
    results: list[tuple[int, Event | bytes]] = []
    for index, raw in enumerate(events):
        event = read(raw)
        if event is None or "amount" not in event or index % 7:
            continue
        payload = {
            "type": "label",
            "transaction_id": event.get("transaction_id"),
            "card_id": event.get("card_id"),
            "is_fraud": index % 2,
            "label_known_at": f"2026-03-{4 + index % 20:02d}T10:00:00Z",
        }
        results += [(max(index - 9, 0), payload)] if index % 3 == 0 else [(index, payload)]
        later = payload | {"is_fraud": 1 - index % 2, "label_known_at": f"2026-03-{26 + index % 4}T10:00:00Z"}
        results += [(min(index + 5, len(events) - 1), later), (min(index + 11, len(events) - 1), later)]
        results.append((index, payload | {"label_known_at": "2026-03-01T10:00:00Z"}))
        results.append((index, payload | {"is_fraud": "perhaps"}))
    return results


def duplicated(events: Stream) -> list[tuple[int, Event | bytes]]:
    """Return events that come again: at once, in another order of fields, and much later."""
    results: list[tuple[int, Event | bytes]] = []
    last = len(events) - 1
    for index, raw in enumerate(events):
        event = read(raw)
        if event is not None and index % 6 == 0:
            results += [(index, raw), (min(index + 30, last), dict(reversed(event.items())))]
    return results


def conflicting(events: Stream) -> list[tuple[int, Event | bytes]]:
    """Return events with the id of another one, and other content: also of a card that others decide on."""
    results: list[tuple[int, Event | bytes]] = []
    last, cards = (
        len(events) - 1,
        [payment["card_id"] for payment in payments(events) if payment.get("card_id")],
    )
    for index, raw in enumerate(events):
        event = read(raw)
        if event is not None and "amount" in event and index % 8 == 0:
            more = {"amount": 9_500.0, "merchant_id": "m9", "card_id": cards[index % len(cards)]}
            results += [(index, event | more), (min(index + 25, last), event | {"amount": 3.5})]
    return results


def undecidable(events: Stream) -> list[tuple[int, Event | bytes]]:
    """Return events that nobody can decide, for each reason, some of them twice."""
    results: list[tuple[int, Event | bytes]] = []
    for number, event in enumerate(payments(events)[::5]):
        one = event | {"transaction_id": f"u{number}"}
        kinds: list[Event | bytes] = [
            one | {"amount": "a lot"},
            one | {"amount": -5},
            one | {"event_time": "2026-13-45T25:61:00Z"},
            one | {"event_time": "2098-01-01T00:00:00Z"},
            one | {"card_id": None},
            {key: value for key, value in one.items() if key != "event_time"},
            b'{"transaction_id": "cut',
            b"no JSON at all",
            b'"text"',
            b"17",
        ]
        kind = kinds[number % len(kinds)]
        results += [(5 * number, kind), *([(5 * number + 3, kind)] if number % 3 == 0 else [])]
    return results


MARKERS = ("NULL", "n/a", "-", "unknown", "None", "", None)


def missing(position: int, event: Event) -> Event:
    """Let an id, an entity, a category or a number be a word that stands for nothing."""
    word, fields = (
        MARKERS[position % len(MARKERS)],
        ("transaction_id", "merchant_id", "terminal_id", "channel"),
    )
    if position % 3:
        return event
    return event | {fields[position // 3 % len(fields)]: word}


def without_id(_: int, event: Event) -> Event:
    return {key: value for key, value in event.items() if key != "transaction_id"}


def without_amount(_: int, event: Event) -> Event:
    return {key: value for key, value in event.items() if key != "amount"}


def misspelt(position: int, event: Event) -> Event:
    if position % 4:
        return event
    return {"merchnt_id" if key == "merchant_id" else key: value for key, value in event.items()}


def late(events: Stream) -> Stream:
    """Let every tenth event come an eighth of the stream later, every thirtieth at its very end."""
    order = [
        (len(events) if index % 30 == 4 else index + (len(events) // 8 if index % 10 == 4 else 0), index)
        for index in range(len(events))
    ]
    return [events[index] for _, index in sorted(order)]


def no_labels(events: Stream) -> Stream:
    return [raw for raw in events if (read(raw) or {}).get("type") != "label"]


def id_free(project: Project) -> Project:
    schema = msgspec.structs.replace(project.schema, transaction_id=IdSource())
    return msgspec.structs.replace(project, schema=schema)


def amount_free(project: Project) -> Project:
    """Return the project of payments of which no amount is known."""
    entities = {
        name: msgspec.structs.replace(
            entity, statistics=tuple(each for each in entity.statistics if each == "count")
        )
        for name, entity in project.features.entities.items()
    }
    schema = msgspec.structs.replace(project.schema, amount=None)
    features = msgspec.structs.replace(project.features, entities=entities)
    return msgspec.structs.replace(project, schema=schema, features=features, rules=())


RULES = (
    RuleSettings(name="large", when="amount >= 60", action="decline", version=3),
    RuleSettings(
        name="again", when="card_count_7d >= 2 and hour >= 6", action="review", message="seen before"
    ),
    RuleSettings(
        name="gone", when="amount >= 5", action="review", expires=Moment.parse("2026-03-02T12:00:00Z")
    ),
    RuleSettings(
        name="silent", when="amount >= 3", action="review", snoozed_until=Moment.parse("2026-03-02T20:00:00Z")
    ),
)


def listed(project: Project) -> Project:
    """Return a project with lists of what the small simulation's stream holds."""
    shops = tuple(
        ListEntry(
            value=f"m{number:05d}", expires=Moment.parse("2026-03-02T18:00:00Z") if number % 2 else None
        )
        for number in range(400)
    )
    lists = (
        ListSettings(name="shut", kind="deny", of="merchant", entries=shops),
        ListSettings(name="watched", kind="watch", of="channel", entries=(ListEntry(value="recurring"),)),
        ListSettings(name="fine", kind="allow", of="entry_mode", entries=(ListEntry(value="contactless"),)),
    )
    return msgspec.structs.replace(project, lists=lists)


POLICY = PolicySettings(name="strict", review_at=0.02, decline_at=0.3, reasons=2)


def all_of_them(project: Project) -> Project:
    rules = (BOUGHT, *RULES)
    more = replaced(rules=rules, decline_cap=DECLINE_CAP, control_group=CONTROL, policy=POLICY)
    return more(listed(project))


TABLE = [
    Setting("plain", '"action": "approve"'),
    Setting("decline_cap", "no more than 10 %", replaced(rules=(BOUGHT,), decline_cap=DECLINE_CAP)),
    Setting("control_group", '"control_group": {', replaced(rules=(BOUGHT,), control_group=CONTROL)),
    Setting("lists", '"watched"', listed),
    Setting("rules", "seen before", replaced(rules=RULES)),
    Setting("policy", '"strict"', replaced(policy=POLICY)),
    Setting(
        "no id",
        '"transaction_id": "#',
        id_free,
        lambda events: no_labels(changed(without_id)(woven(duplicated)(events))),
    ),
    Setting("no amount", '"action"', stream=changed(without_amount), without_amount=True),
    Setting("corrections", '"label": "legitimate"', stream=woven(labels)),
    Setting("late", '"action"', stream=late),
    Setting("duplicated", '"transaction_id"', stream=woven(duplicated)),
    Setting("same id, other content", "conflict: ", stream=woven(conflicting)),
    Setting(
        "missing values",
        '"transaction_id": "#',
        stream=lambda events: woven(duplicated)(changed(missing)(events)),
    ),
    Setting("undecidable", "impossible amount", stream=woven(undecidable)),
    Setting("misspelt", "did you mean", stream=changed(misspelt)),
    Setting(
        "everything",
        "no more than 10 %",
        all_of_them,
        lambda events: woven(labels, duplicated, conflicting, undecidable)(late(changed(misspelt)(events))),
    ),
]
