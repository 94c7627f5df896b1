"""Keywords in the names of columns: which word means an amount, a time, a label, an entity.

Names only ever suggest; the values decide whether the suggestion is followed.
"""

from __future__ import annotations

import re


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENTITIES = {
    "card": "card",
    "cc": "card",
    "pan": "card",
    "account": "account",
    "acct": "account",
    "iban": "account",
    "customer": "customer",
    "cust": "customer",
    "client": "customer",
    "cardholder": "customer",
    "user": "user",
    "member": "member",
    "player": "player",
    "payer": "payer",
    "sender": "sender",
    "buyer": "buyer",
    "orig": "origin",
    "origin": "origin",
    "originator": "origin",
    "entity": "entity",
    "merchant": "merchant",
    "merch": "merchant",
    "terminal": "terminal",
    "atm": "terminal",
    "store": "store",
    "shop": "shop",
    "seller": "seller",
    "vendor": "vendor",
    "payee": "payee",
    "beneficiary": "beneficiary",
    "recipient": "recipient",
    "receiver": "receiver",
    "dest": "destination",
    "destination": "destination",
    "counterparty": "counterparty",
    "device": "device",
    "fingerprint": "device",
    "imei": "device",
    "ip": "ip",
    "email": "email",
}
"""A word in a column's name -> the entity that it speaks of."""

PAYERS = (
    "card",
    "account",
    "customer",
    "user",
    "member",
    "player",
    "payer",
    "sender",
    "buyer",
    "origin",
    "entity",
)
"""Entities that pay: one of them orders the stream.  The earlier, the better it suits."""

_OWNERS = frozenset(PAYERS[:4])

NOT_AN_ID = _set(
    "age agent amount avg balance bin birth brand browser category city class code count country "
    "currency date day days domain first gender group has income is job language last lat latitude "
    "level limit lng lon long longitude mcc mean model months network new old os population present "
    "profile provider rating region risk score sex speed state status street tenure tier time total "
    "type version year zip zone"
)
"""Words that make a name speak of a trait of an entity, not of its id."""

ID = _set("id ids no num number nr key hash token uuid guid ref reference")
EVENT = _set("transaction transactions trans tx txn event payment order purchase claim")
TIME = _set("time timestamp ts date datetime dt at when epoch created unix")
NOT_EVENT_TIME = _set(
    "birth birthday dob expiry expires expiration exp label labelled reported report chargeback "
    "dispute claimed open opened opening signup registered registration joined updated modified due "
    "settled settlement closed last first previous prev valid resolved confirmed detected "
    "investigated account since known verdict"
)
LABEL_TIME = _set(
    "label labelled chargeback reported report confirmed detected dispute fraud investigated resolved known "
    "verdict"
)
LABEL = {
    "fraud": 4,
    "fraudulent": 4,
    "scam": 4,
    "label": 3,
    "target": 2,
    "chargeback": 2,
    "class": 1,
    "y": 1,
} | {"legit": 1, "legitimate": 1, "genuine": 1}
"""A word in a column's name -> how strongly it speaks of the label."""

LEGITIMATE = _set("legit legitimate genuine licit valid ok good clean normal no non not nonfraud notfraud")
"""Words that may turn a label round: its 1 means that all is well."""
NOT_LABEL = _set("flagged flag score prob probability type reason time timestamp date at id source rule")
AMOUNT = {
    "amount": 4,
    "amt": 4,
    "price": 3,
    "total": 2,
    "value": 2,
    "sum": 2,
    "cost": 2,
    "paid": 2,
    "usd": 1,
    "eur": 1,
}
NOT_AMOUNT = _set(
    "balance old new before after limit avg average mean max min count num number id prior previous "
    "last day days hour daily weekly monthly ratio std rate insured"
)
AFTERWARDS = _set(
    "after afterwards chargeback disputed dispute refund refunded reversal reversed flagged blocked "
    "declined investigated investigation resolution resolved outcome recovered settled settlement "
    "closed reviewed verdict decision newbalance labelled reported fraud fraudulent"
)
"""Words of values that are filled in after the payment, often by somebody who knows the answer."""

HISTORY = _set("count counts cnt num number days last previous prev prior history past avg mean rate ratio")
"""Words of values made of earlier payments, which may well speak of refunds or frauds."""

PERSONAL = _set(
    "firstname lastname surname fullname street address addr phone telephone tel mobile ssn passport "
    "licence license dob birth birthday birthdate email"
)
PROTECTED = _set("sex gender age marital race ethnicity religion nationality disability")
THINGS = _set(
    "vehicle car account acct card device merchant terminal address email phone site domain ip "
    "second seconds minute minutes hour hours day days week weeks month months"
)
"""Words beside 'age' that speak of something other than a person: nobody's age is given in days."""
CODES = _set("code mcc zip postal postcode type category bin channel region state country currency")
"""Words of columns whose numbers are names: more or less of them means nothing."""

_GLUED = re.compile(
    f"({'|'.join(sorted({*ENTITIES, *EVENT, *TIME}, key=len, reverse=True))})"
    "(id|ids|no|num|number|code|hash|key|name|address|addr|domain|time|date|type|amt|amount)"
)
_TOKENS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_HOME = _set("home billing customer cardholder user residence")
_THERE = _set("merch merchant terminal store shop atm tx trans transaction event device ip payment")


def name_tokens(name: str) -> tuple[str, ...]:
    """Return the words that the name of a column is made of.

    >>> name_tokens("TX_DATETIME"), name_tokens("nameOrig"), name_tokens("customerid"), name_tokens("card1")
    (('tx', 'date', 'time'), ('name', 'orig'), ('customer', 'id'), ('card', '1'))
    """
    tokens = [token.lower() for token in _TOKENS.findall(name)]
    return tuple(word for token in tokens for word in _unglued(token))


def identifier(name: str) -> str:
    """Return the name in the form in which the project file writes names.

    >>> identifier("DayOfWeekClaimed"), identifier("3D Secure"), identifier("")
    ('day_of_week_claimed', 'c_3_d_secure', 'column')
    """
    text = re.sub(r"[^a-z0-9]+", "_", "_".join(token.lower() for token in _TOKENS.findall(name))).strip("_")
    if not text:
        return "column"
    return text if text[0].isalpha() else f"c_{text}"


def entity_of(name: str) -> str | None:
    """Return the entity that the name speaks of, None where it names none, or only a trait of one.

    >>> entity_of("cc_num"), entity_of("nameDest"), entity_of("merchant_category"), entity_of("ip_address")
    ('card', 'destination', None, 'ip')

    In "customer_email" the customer is only the owner:

    >>> entity_of("customer_email"), entity_of("sender_account"), entity_of("customer_account")
    ('email', 'sender', 'account')
    """
    tokens = name_tokens(name)
    entities = [ENTITIES[word] for word in tokens if word in ENTITIES]
    if not entities or NOT_AN_ID & set(tokens) or any("balance" in token for token in tokens):
        return None
    return ([entity for entity in entities if entity not in _OWNERS] or entities)[-1]


def place_fitness(rest: tuple[str, ...]) -> int:
    """Score how well the words beside 'latitude' suit the location of the payment, rather than a home."""
    if _HOME & set(rest):
        return 0
    return 2 if _THERE & set(rest) else 1


def _unglued(token: str) -> tuple[str, ...]:
    match = _GLUED.fullmatch(token)
    return match.groups() if match else (token,)
