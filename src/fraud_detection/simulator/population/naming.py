"""How payments are written: ids as text, names of codes, and the fields of the two files.

The same names go into a history table and into the events of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fraud_detection.simulator.population import catalogue
from fraud_detection.simulator.population.entities import CURRENCIES
from fraud_detection.simulator.population.opaque import Texts, combine, hexadecimal, numbered

if TYPE_CHECKING:
    from fraud_detection.simulator.columns import Block
    from fraud_detection.simulator.population.entities import Population
    from fraud_detection.simulator.settings import Flags, Ints

FIELDS = (
    "transaction_id",
    "event_time",
    "card_id",
    "customer_id",
    "device_id",
    "merchant_id",
    "terminal_id",
    "amount",
    "currency",
    "merchant_category",
    "channel",
    "entry_mode",
    "latitude",
    "longitude",
    "is_fraud",
    "label_known_at",
)
"""The columns of a history; a payment of the stream has all but the last two, and `sent_at`."""

GROUND_TRUTH_FIELDS = ("transaction_id", "fraud", "scenario")

_CARD_SALT, _CUSTOMER_SALT = 0xCA, 0xC0


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids as text of a fixed width; `no_device` and `no_terminal` mark those that are missing."""

    transaction: Texts
    card: Texts
    customer: Texts
    device: Texts
    no_device: Flags
    merchant: Texts
    terminal: Texts
    no_terminal: Flags


@dataclass(frozen=True, slots=True)
class Categorical:
    """A column of few values: a code a row, and the value of each code."""

    codes: Ints
    values: tuple[str, ...]


class Naming:
    """Writes out the codes of one population."""

    def __init__(self, population: Population) -> None:
        """Prepare the names that do not change."""
        merchants = population.merchants
        self._population = population
        self._merchants = numbered(len(merchants.category), "m")
        self._terminals = numbered(int(merchants.terminals.sum()), "t")
        self._currency = population.cities.currency[merchants.city]

    def ids(self, block: Block) -> Ids:
        """Return the ids of a block's payments; a replaced card has a new id."""
        payments, seed = block.payments, self._population.settings.seed
        customer = self._population.cards.customer[payments.card]
        return Ids(
            transaction=hexadecimal(block.code),
            card=self.cards(payments.card, payments.issue),
            customer=hexadecimal(combine(_CUSTOMER_SALT + seed, customer), 12, "u"),
            device=hexadecimal(payments.device, 12, "d"),
            no_device=payments.device == np.uint64(0),
            merchant=self._merchants[payments.merchant],
            terminal=self._terminals[np.maximum(payments.terminal, 0)],
            no_terminal=payments.terminal < 0,
        )

    def cards(self, card: Ints, issue: Ints) -> Texts:
        """Return the ids of cards; each issue of a card has its own."""
        return hexadecimal(combine(_CARD_SALT + self._population.settings.seed, card, issue), 12, "c")

    def categories(self, block: Block) -> dict[str, Categorical]:
        """Return the columns that have few values, by the name of their field."""
        payments = block.payments
        return {
            "currency": Categorical(self._currency[payments.merchant], CURRENCIES),
            "merchant_category": Categorical(
                self._population.merchants.category[payments.merchant], catalogue.NAMES
            ),
            "channel": Categorical(payments.channel, catalogue.CHANNELS),
            "entry_mode": Categorical(payments.entry, catalogue.ENTRY_MODES),
        }
