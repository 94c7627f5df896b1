"""The worker that takes a label: the one that knows its payment, else the owner of the card.

Not here: who owns a payment (`ownership`), and who decides an id (`claims`).
"""

from __future__ import annotations

from collections.abc import Sequence

from fraud_detection.adapters.http.responses import problem
from fraud_detection.serving.http.routes import Reply
from fraud_detection.serving.workers.claims import Claims
from fraud_detection.serving.workers.ownership import Ownership, Route

STRAY = 404
NOBODY = -1
"""The owner of a stray: a label whose payment no worker knows, and that names no card."""


async def owners_of_labels(routes: Sequence[Route], claims: Claims) -> dict[int, int]:
    """Return by their indices who takes labels: who knows the payment, else who owns the card.

    routes: of a list of events, payments and labels.  claims: know which worker decided a payment.
    """
    labels = {
        at: route for at, route in enumerate(routes) if route.is_label and route.transaction_id is not None
    }
    # A label may come in one list with its payment, of which the first one stands.
    payments = [
        route for route in reversed(routes) if route.transaction_id is not None and not route.is_label
    ]
    listed = {str(payment.transaction_id): payment.owner for payment in payments}
    labelled: dict[str, set[int | None]] = {}
    for label in labels.values():
        transaction_id = str(label.transaction_id)
        labelled.setdefault(transaction_id, set()).update(
            {label.owner, listed.get(transaction_id, label.owner)}
        )
    known = listed | await claims.deciders(labelled)
    owners = {at: known.get(str(label.transaction_id), label.owner) for at, label in labels.items()}
    return {at: NOBODY if owner is None else owner for at, owner in owners.items()}


async def replies_to_strays(ownership: Ownership, labels: Sequence[bytes]) -> list[Reply]:
    """Return the replies to labels of unknown payments that carry no ordering entity."""
    message = "no worker knows payment {!r}: send its label after it" + (
        f", or with its `{ownership.entity_fields[0][0]}`" if ownership.entity_fields else ""
    )
    messages = [message.format(ownership.route(label).transaction_id) for label in labels]
    return [(STRAY, problem(STRAY, text).body) for text in messages]
