"""Give up root once what only root may do is done.

SageMaker starts containers as root.  Requests come from outside, so the process that reads them runs as
another user.
"""

from __future__ import annotations

import os
import pwd

from fraud_detection.core.errors import ConfigError


def become(user: str) -> None:
    """Become `user` for good; a process that is not root keeps its user."""
    if os.geteuid() != 0:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f"FRAUD_RUN_AS: there is no user {user!r} here") from None
    if entry.pw_uid == 0:
        raise ConfigError(f"FRAUD_RUN_AS: {user!r} is root; name a user without its rights, or unset it")
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
