"""What can be bought, how, and when: the constants of the simulated economy.

The hours are weights of the 24 hours of a day; they need not add up to anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from fraud_detection.simulator.settings import Floats, Ints

CHANNELS = ("in_store", "online", "atm", "recurring")
IN_STORE, ONLINE, ATM, RECURRING = range(4)
ENTRY_MODES = ("chip", "contactless", "swipe", "keyed", "wallet", "secure", "on_file")
CHIP, CONTACTLESS, SWIPE, KEYED, WALLET, SECURE, ON_FILE = range(7)
SCENARIOS = (
    "none",
    "card_testing",
    "stolen_card",
    "account_takeover",
    "compromised_terminal",
    "collusive_merchant",
    "scaled_amounts",
    "device_farm",
)


class Category(NamedTuple):
    """A trade.  share: of merchants; online: part that sells online only; median: in major units."""

    name: str
    share: float
    online: float
    median: float
    sigma: float
    hours: str


CATEGORIES = (
    Category("grocery", 0.16, 0.05, 26.0, 0.70, "day"),
    Category("restaurant", 0.14, 0.00, 27.0, 0.60, "meals"),
    Category("fast_food", 0.10, 0.20, 9.5, 0.50, "meals"),
    Category("fuel", 0.05, 0.00, 46.0, 0.40, "day"),
    Category("transport", 0.05, 0.30, 4.5, 0.70, "commute"),
    Category("pharmacy", 0.05, 0.10, 16.0, 0.65, "day"),
    Category("clothing", 0.09, 0.45, 44.0, 0.65, "day"),
    Category("electronics", 0.05, 0.55, 95.0, 0.95, "evening"),
    Category("home_improvement", 0.05, 0.30, 55.0, 0.80, "day"),
    Category("entertainment", 0.06, 0.50, 21.0, 0.65, "evening"),
    Category("marketplace", 0.05, 1.00, 33.0, 0.85, "evening"),
    Category("digital_goods", 0.05, 1.00, 8.0, 0.90, "late"),
    Category("travel", 0.03, 0.80, 150.0, 0.85, "evening"),
    Category("jewellery", 0.01, 0.20, 140.0, 0.80, "day"),
    Category("cash", 0.04, 0.00, 80.0, 0.60, "day"),
    Category("subscription", 0.01, 1.00, 11.0, 0.40, "late"),
    Category("utilities", 0.01, 1.00, 62.0, 0.50, "late"),
)
NAMES = tuple(category.name for category in CATEGORIES)
GROCERY, CASH = NAMES.index("grocery"), NAMES.index("cash")
ELECTRONICS, MARKETPLACE, DIGITAL = (
    NAMES.index(name) for name in ("electronics", "marketplace", "digital_goods")
)
TRAVEL, SUBSCRIPTION, UTILITIES = (NAMES.index(name) for name in ("travel", "subscription", "utilities"))

HOURS = {
    "day": (1, 1, 1, 1, 1, 2, 6, 14, 28, 44, 56, 60, 56, 48, 46, 50, 60, 70, 64, 46, 26, 12, 5, 2),
    "meals": (4, 2, 1, 1, 1, 2, 8, 20, 22, 14, 14, 40, 80, 66, 24, 14, 18, 40, 76, 84, 62, 34, 18, 9),
    "commute": (3, 2, 1, 1, 4, 14, 46, 90, 80, 36, 22, 24, 28, 26, 26, 36, 62, 90, 70, 40, 26, 20, 14, 7),
    "evening": (10, 5, 3, 2, 2, 3, 7, 14, 22, 30, 36, 38, 40, 38, 36, 38, 42, 48, 56, 68, 76, 70, 46, 22),
    "late": (26, 17, 11, 8, 6, 6, 9, 15, 20, 24, 28, 30, 34, 34, 36, 38, 42, 46, 52, 62, 72, 74, 62, 42),
}
PROFILES = tuple(HOURS)
PROFILE_OF = np.asarray([PROFILES.index(category.hours) for category in CATEGORIES])

RHYTHMS = 3
WORKER, NIGHT_OWL, AT_HOME = range(RHYTHMS)
WEEKDAYS: Floats = np.asarray(
    [
        [0.88, 0.90, 0.93, 0.98, 1.14, 1.25, 0.92],
        [0.86, 0.88, 0.92, 1.00, 1.16, 1.22, 0.96],
        [1.04, 1.06, 1.06, 1.04, 1.06, 1.00, 0.74],
    ]
)
"""How busy a weekday is (Monday first), one row a rhythm."""

_RESOLUTION = 2_048


def _tilt() -> Floats:
    """Return how each rhythm changes the weight of each hour, workday and weekend."""
    tilt = np.ones((RHYTHMS, 2, 24))
    tilt[WORKER, 0, 9:12] *= 0.45
    tilt[WORKER, 0, 14:16] *= 0.45
    tilt[WORKER, 0, 17:21] *= 1.5
    tilt[NIGHT_OWL, :, :5] *= 7.0
    tilt[NIGHT_OWL, :, 22:] *= 2.5
    tilt[NIGHT_OWL, :, 6:10] *= 0.4
    tilt[AT_HOME, :, 9:16] *= 1.7
    tilt[AT_HOME, :, 20:] *= 0.4
    return tilt


def hour_table() -> Ints:
    """Return quantiles of the hour, one row for each profile, rhythm, and workday or weekend.

    Row `(profile * RHYTHMS + rhythm) * 2 + weekend`; a random column is a random hour.
    """
    weights = np.asarray(list(HOURS.values()), dtype=float)[:, None, None, :] * _tilt()
    weights = weights.reshape(-1, 24)
    edges = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    at = (np.arange(_RESOLUTION) + 0.5) / _RESOLUTION
    return np.stack([np.searchsorted(row, at) for row in edges])
