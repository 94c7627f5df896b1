"""The arguments of what measures."""

from __future__ import annotations

from pathlib import Path

from fraud_detection.commands.arguments import Commands, OneSentenceParser, command

WORLD = Path("build/bench")
PEERS = Path(".venv-peers")


def bench(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud bench`."""
    words = "measure speed, latency and memory on this machine"
    parser = command(commands, "bench", "bench:bench", words)
    parser.add_argument(
        "what",
        nargs="?",
        choices=("engine", "scale", "http", "all", "soak"),
        default="all",
        help="engine: in this process; scale: many entities; http: `fraud serve`; "
        "soak: for long (all: all but soak)",
    )
    parser.add_argument("--quick", action="store_true", help="a small world and a few seconds, to try it out")
    parser.add_argument("--peers", action="store_true", help="beside other servers with the same model")
    parser.add_argument(
        "--environments", type=Path, default=PEERS, help=f"of the peers, see `make peers` ({PEERS})"
    )
    parser.add_argument("--write", action="store_true", help="into docs/performance.md, with charts")
    parser.add_argument("--directory", type=Path, default=WORLD, help=f"keeps the trained world ({WORLD})")
    parser.add_argument("--rate", type=float, help="payments a second at the fixed rate (1000)")
    parser.add_argument("--minutes", type=float, default=60.0, help="soak: how long (60)")
    parser.add_argument("--cards", type=int, default=1_000_000, help="soak: how many are known (1000000)")
