"""How payments are decided: the blocks of the project file that may change from one day to the next.

The same blocks make up a change set.  Times in them are compared with the time of
the payment, never with a clock, so that a replay decides as the live system did.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fraud_detection.core.decoding import Count, Duration, Moment, Money, Name, Settings, Share


class PolicySettings(Settings, frozen=True):
    """How scores become actions.  Cut-offs that are not given are chosen by money in training.

    review_capacity_per_day: payments that people can look at in a day; None means no limit.
    """

    name: str = "by-money"
    review_at: Share | None = None
    decline_at: Share | None = None
    review_capacity_per_day: Money | None = None
    reasons: Annotated[int, Meta(ge=1, le=10)] = 3


class LifecycleSettings(Settings, frozen=True):
    """Owner, reason and expiry of a rule, a list or a list entry.

    expires: from then on it is as if it were not there.  snoozed_until: until then it is silent.
    """

    owner: str = ""
    reason: str = ""
    expires: Moment | None = None
    snoozed_until: Moment | None = None


class RuleSettings(LifecycleSettings, frozen=True, kw_only=True):
    """A named condition on the payment and its features; when it holds, at least `action`.

    version: raised with every change of the rule.
    """

    name: Name
    when: str
    action: Literal["review", "decline"]
    message: str = ""
    version: Count = 1


class ListEntry(LifecycleSettings, frozen=True, kw_only=True):
    """One value on a list."""

    value: str


class ListSettings(LifecycleSettings, frozen=True, kw_only=True):
    """Named values of an entity or a category.

    deny declines, watch reviews, allow approves whatever score and rules say; deny overrides allow.
    """

    name: Name
    kind: Literal["allow", "deny", "watch"]
    of: Name
    entries: tuple[ListEntry, ...] = ()


class DeclineCapSettings(Settings, frozen=True):
    """How many payments may be declined; what would exceed it is reviewed instead.

    share: of the payments of an interval, capped once it has `min_payments` payments.  count: in an interval;
    None means no limit.
    """

    interval: Duration = msgspec.field(default_factory=lambda: Duration.parse("1h"))
    share: Share = 0.2
    count: Count | None = None
    min_payments: Count = 200


class ControlGroupSettings(Settings, frozen=True, kw_only=True):
    """Control group: a random sample of the payments to review or decline is approved, to observe outcomes.

    sampling_rate: probability of assignment, by a keyed hash of the payment's id.  max_amount: in major
    units; larger payments, and those without an amount, are never assigned.  key_variable: environment
    variable with the key.
    """

    sampling_rate: Annotated[float, Meta(gt=0, le=0.5)]
    max_amount: Money
    key_variable: str = "FRAUD_CONTROL_GROUP_KEY"
