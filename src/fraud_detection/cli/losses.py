"""`--accept-loss`: go on with state files that have lost something, for every command that opens them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from fraud_detection.adapters.sqlite.losses import accept_loss

LOG = logging.getLogger(__name__)


def accept_losses(states: Sequence[Path]) -> None:
    """Let state files go on without what they have lost, and log what that is."""
    for state in states:
        loss = accept_loss(state)
        if loss is not None:
            message = "%s: %s; continuing without them, as --accept-loss allows"
            LOG.warning(message, state, loss.message, extra={"event": "loss_accepted"})
