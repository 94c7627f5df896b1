"""Feature names, and the sentences of their values in reason codes.

Names are made of what they mean: entity, measure, statistic, window.
"""

from __future__ import annotations

from collections.abc import Sequence

from fraud_detection.core.decoding import Duration
from fraud_detection.core.events import FeatureDefinition
from fraud_detection.core.project_schema import EntityFeatures

_SPANS = {"m": "minutes", "h": "hours", "d": "days", "s": "seconds"}

_STATISTICS = {
    "count": (
        "{entity}_count_{window}",
        "{{value}} payments on this {entity} in {span}, usually {{typical}}",
        "count",
    ),
    "sum": (
        "{entity}_amount_sum_{window}",
        "{{value}} spent on this {entity} in {span}, usually {{typical}}",
        "money",
    ),
    "mean": (
        "{entity}_amount_mean_{window}",
        "mean amount on this {entity} in {span} {{value}}, usually {{typical}}",
        "money",
    ),
    "min": (
        "{entity}_amount_min_{window}",
        "smallest amount on this {entity} in {span} {{value}}, usually {{typical}}",
        "money",
    ),
    "max": (
        "{entity}_amount_max_{window}",
        "largest amount on this {entity} in {span} {{value}}, usually {{typical}}",
        "money",
    ),
    "std": (
        "{entity}_amount_std_{window}",
        "standard deviation of amounts on this {entity} in {span} {{value}}, usually {{typical}}",
        "money",
    ),
    "zscore": (
        "{entity}_amount_zscore_{window}",
        "amount {{value}} standard deviations from the mean of this {entity} in {span}, usually {{typical}}",
        "number",
    ),
    "ratio": (
        "{entity}_amount_ratio_{window}",
        "amount {{value}} times the mean of this {entity} in {span}, usually {{typical}}",
        "number",
    ),
}


def span(window: Duration) -> str:
    """Return the window in words.

    >>> span(Duration.parse("1h")), span(Duration.parse("7d"))
    ('the last hour', 'the last 7 days')
    """
    number, unit = int(window.text[:-1]), _SPANS[window.text[-1]]
    return f"the last {unit[:-1]}" if number == 1 else f"the last {number} {unit}"


def window_feature(entity: str, statistic: str, window: Duration) -> FeatureDefinition:
    """Describe one statistic of the amounts in one window.

    >>> window_feature("card", "sum", Duration.parse("1d")).name
    'card_amount_sum_1d'
    """
    name, template, unit = _STATISTICS[statistic]
    fields = {"entity": entity, "window": window.text, "span": span(window)}
    return FeatureDefinition(name.format(**fields), template.format(**fields), unit)


def distinct_feature(entity: str, related: str, window: Duration) -> FeatureDefinition:
    """Describe the count of different `related` ids seen with `entity`.

    >>> distinct_feature("card", "merchant", Duration.parse("7d")).name
    'card_merchant_distinct_7d'
    """
    template = f"{{value}} different {related}s on this {entity} in {span(window)}, usually {{typical}}"
    return FeatureDefinition(f"{entity}_{related}_distinct_{window}", template, "count")


def first_seen_feature(entity: str, related: str) -> FeatureDefinition:
    """Describe whether the pair is seen for the first time."""
    return FeatureDefinition(
        f"{entity}_{related}_first_seen",
        f"first payment of this {entity} with this {related}: {{value}}",
        "flag",
    )


def time_since_last_feature(entity: str) -> FeatureDefinition:
    """Describe the time since the entity's latest payment."""
    template = f"{{value}} since the last payment on this {entity}, usually {{typical}}"
    return FeatureDefinition(f"{entity}_seconds_since_last", template, "seconds")


def speed_feature(entity: str) -> FeatureDefinition:
    """Describe the speed between the last two places."""
    template = f"{{value}} km/h needed since the last place of this {entity}, usually {{typical}}"
    return FeatureDefinition(f"{entity}_speed_kmh", template, "number")


def risk_features(entity: str, window: Duration) -> list[FeatureDefinition]:
    """Describe the risk features of an entity: labels that became known in the window.

    >>> [feature.name for feature in risk_features("terminal", Duration.parse("7d"))]
    ['terminal_fraud_count_7d', 'terminal_fraud_rate_7d']
    """
    when = f"became known on this {entity} in {span(window)}"
    return [
        FeatureDefinition(
            f"{entity}_fraud_count_{window}",
            f"{{value}} confirmed frauds {when}, usually {{typical}}",
            "count",
        ),
        FeatureDefinition(
            f"{entity}_fraud_rate_{window}",
            f"share of frauds among the labels that {when} {{value}}, usually {{typical}}",
            "share",
        ),
    ]


def amount_feature() -> FeatureDefinition:
    """Describe the amount itself."""
    return FeatureDefinition("amount", "amount {value}, usually {typical}", "money")


def calendar_feature(part: str) -> FeatureDefinition:
    """Describe the hour, the weekday (Monday is 0) or whether it is night."""
    if part == "night":
        return FeatureDefinition("is_night", "paid at night: {value}", "flag")
    return FeatureDefinition(part, f"{part} {{value}}, usually {{typical}}", "count")


def number_feature(name: str) -> FeatureDefinition:
    """Describe a numeric attribute."""
    return FeatureDefinition(name, f"{name.replace('_', ' ')} {{value}}, usually {{typical}}", "number")


def category_features(name: str) -> list[FeatureDefinition]:
    """Describe a category's code and how frequent its value is."""
    label = name.replace("_", " ")
    return [
        FeatureDefinition(f"{name}_code", f"unusual {label}", "code"),
        FeatureDefinition(
            f"{name}_frequency",
            f"this {label} makes up {{value}} of payments, usually {{typical}}",
            "share",
        ),
    ]


def entity_features(
    name: str, settings: EntityFeatures, related: Sequence[str], statistics: Sequence[str]
) -> list[FeatureDefinition]:
    """Describe all features of one kind of entity, in the order in which they are read."""
    made = [
        window_feature(name, statistic, window) for window in settings.windows for statistic in statistics
    ]
    if settings.time_since_last:
        made.append(time_since_last_feature(name))
    if settings.speed:
        made.append(speed_feature(name))
    for related_name in related:
        made += [
            distinct_feature(name, related_name, window) for window in settings.distinct.get(related_name, ())
        ]
        if related_name in settings.first_seen:
            made.append(first_seen_feature(name, related_name))
    for window in settings.risk:
        made += risk_features(name, window)
    return made
