"""What would change and why: two templates compared, with their parameters.  Reads and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from fraud_detection.deployment.secrets import TOKEN_KEY
from fraud_detection.deployment.settings import BURSTABLE, Deployment
from fraud_detection.deployment.template.template import Template

Kind = Literal["add", "change", "remove"]
HIDDEN = "(not shown)"
SHOWN_CHARACTERS = 90
ABSENT = "nothing"


class Change(msgspec.Struct, frozen=True):
    """One resource that would be added, changed or removed; `why` holds a line for each difference."""

    kind: Kind
    name: str
    type: str
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as lines."""
        sign = {"add": "+", "change": "~", "remove": "-"}[self.kind]
        return "\n".join([f"{sign} {self.name} ({self.type})", *(f"    {line}" for line in self.why)])


class Running(msgspec.Struct, frozen=True):
    """What a stack is made of at this moment; an empty template where there is none."""

    template: Template = {}
    parameters: dict[str, str] = {}

    def output(self, name: str) -> object:
        """Return a plain output's value as the template gives it; None where there is none."""
        return self.template.get("Outputs", {}).get(name, {}).get("Value")


class Plan(msgspec.Struct, frozen=True):
    """What `apply` would do to one stack. notes: what one should know before saying yes."""

    stack: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as a person reads it."""
        return "\n".join([self.head, *map(str, self.changes), *(f"note: {note}" for note in self.notes)])

    @property
    def head(self) -> str:
        """Return how much there is to do, in one line."""
        count = {
            kind: sum(change.kind == kind for change in self.changes) for kind in ("add", "change", "remove")
        }
        counted = ", ".join(f"{number} to {kind}" for kind, number in count.items() if number)
        return f"stack {self.stack}: {counted or 'nothing to do'}"


def compare(settings: Deployment, running: Running, wanted: Template, parameters: Mapping[str, str]) -> Plan:
    """Return what has to change; parameters that are not given stay as they are."""
    now, then = running.template.get("Resources", {}), wanted["Resources"]
    turned = sorted(
        name
        for name, value in parameters.items()
        if running.parameters and running.parameters.get(name) != value
    )
    changes = [Change("add", name, then[name]["Type"]) for name in then if name not in now]
    for name in then:
        why = (*differences(now.get(name, {}), then[name]), *_by_parameters(then[name], turned))
        if name in now and why:
            changes.append(Change("change", name, then[name]["Type"], why))
    changes += [Change("remove", name, now[name]["Type"]) for name in now if name not in then]
    if not changes:
        outputs = tuple(differences(running.template.get("Outputs", {}), wanted.get("Outputs", {})))
        changes += [Change("change", "Outputs", "of the stack", outputs)] if outputs else []
    return Plan(settings.name, tuple(changes), tuple(_notes(settings, running, wanted)) if changes else ())


def differences(now: object, then: object, path: str = "") -> Iterator[str]:
    """Say where two trees differ.

    >>> list(differences({"Size": 1, "Tags": [1]}, {"Size": 2, "Tags": [1]}))
    ['Size: 1 -> 2']
    """
    if isinstance(now, dict) and isinstance(then, dict):
        for key in [*now, *(key for key in then if key not in now)]:
            yield from differences(now.get(key), then.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        for index, (new_item, old_item) in enumerate(zip(now, then, strict=True)):
            yield from differences(new_item, old_item, f"{path}[{index}]")
    elif isinstance(now, list) and isinstance(then, list):
        where = path.removeprefix("Properties.")
        gone = [f"{where}: without {_short(item)}" for item in now if item not in then]
        come = [f"{where}: with {_short(item)}" for item in then if item not in now]
        yield from gone + come or [f"{where}: {len(now)} -> {len(then)} of the same"]
    elif now != then:
        yield f"{path.removeprefix('Properties.')}: {_short(now)} -> {_short(then)}"


def _short(value: object) -> str:
    if value is None:
        return ABSENT
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def _by_parameters(resource: Mapping[str, Any], turned: list[str]) -> Iterator[str]:
    """Say which parameters that change are used by a resource."""
    used = set(_references(resource))
    for name in turned:
        if name in used:
            yield f"parameter {name}: {HIDDEN}" if name == TOKEN_KEY else f"parameter {name}"


def _references(tree: object) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(tree.get("Ref"), str):
            yield tree["Ref"]
        for value in tree.values():
            yield from _references(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _references(value)


def _notes(settings: Deployment, running: Running, wanted: Template) -> Iterator[str]:
    endpoint = settings.endpoint
    previous, after = running.output("Fingerprint"), wanted["Outputs"].get("Fingerprint", {}).get("Value")
    if previous is not None and previous != after:
        yield (
            "the features have changed: they get a table of profiles and an endpoint of their own, and "
            "memory starts empty: apply with `stream.paused: true`, `fraud deploy backfill`, apply without. "
            "Table and endpoint of before are removed; DynamoDB keeps a backup of the table for 35 days"
        )
    yield from _of_changes(settings, running)
    if endpoint.serverless is not None:
        yield (
            "a serverless endpoint has no canary and no data capture; while it starts, all payments go to "
            "review"
        )
    elif endpoint.instances * endpoint.canary.share < 1 < endpoint.instances:
        share = 100 / endpoint.instances
        yield f"the canary is one of {endpoint.instances} instances: about {share:.0f} % of the requests"
    elif endpoint.instances == 1:
        yield "one instance cannot be split: a new model gets all payments at once, watched by the alarms"
    if endpoint.serverless is None and endpoint.instance_type.startswith(BURSTABLE):
        yield f"{endpoint.instance_type} is burstable: it is not scaled, and slows down under sustained load"
    if settings.stream.paused:
        yield "stream.paused is true: records wait in the stream, and nothing is decided"
    if not settings.alarms.roll_back:
        yield "alarms.roll_back is false: no alarm rolls this change back"
    if settings.alarms.email is None:
        yield "alarms.email is not set: alarms roll back and are shown, but notify nobody"
    if not settings.protect:
        yield "protect is false: `fraud deploy destroy` may remove this environment with all its data"


def _of_changes(settings: Deployment, running: Running) -> Iterator[str]:
    """Say what a change costs that looks like any other."""
    resources = running.template.get("Resources", {})
    previous = resources.get("Stream", {}).get("Properties", {}).get("ShardCount")
    now = settings.stream.shards
    if previous and now and not previous / 2 <= now <= previous * 2:
        yield f"{previous} -> {now} shards: Kinesis doubles or halves at a time; apply in steps"
    if resources and ("FeatureGroup" in resources) != (settings.profiles == "feature-store"):
        yield "profiles do not move from one store to the other: memory of the ordering entity starts empty"
