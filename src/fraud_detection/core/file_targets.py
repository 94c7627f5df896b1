"""Where a command may write: never through a symbolic link, and never into the installed package.

A link may lead to a file of another user, or to the project itself.  Folders on the way may be
links, as `/tmp` is on some systems, and so may a device be, such as `/dev/stdout`.
"""

from __future__ import annotations

from pathlib import Path

from fraud_detection.core.errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]
DEVICES = Path("/dev")


def check_target(path: Path, name: str = "") -> Path:
    """Return the path if a file may be written there; raise ConfigError otherwise.

    name: what the message calls it, such as `--out PATH`; the path alone where it is empty.
    """
    called = name or str(path)
    if path.is_symlink() and not path.absolute().is_relative_to(DEVICES):
        raise ConfigError(
            f"{called}: is a symbolic link to {path.readlink()}, and nothing is written through one; "
            "remove it, or name the file itself"
        )
    if path.resolve().is_relative_to(PACKAGE):
        raise ConfigError(f"{called}: lies in the installed package; name a path of your own")
    return path
